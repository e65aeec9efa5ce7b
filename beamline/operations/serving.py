"""Serve: keep the processes running that follow the logs of a data folder, for whoever measures there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.runs import data_folder
from beamline.processes.followers import FollowerStatus, FollowingProcess
from beamline.processes.kinds import KINDS

LOOK_INTERVAL = 0.5  # s


def serve(
    *,
    config: Path | None,
    data_dir: Path | None,
    on_change: Callable[[str, FollowerStatus], None],
) -> None:
    """Keep the processes of a data folder running until SIGINT or SIGTERM; then they do what is left, and end.

    While they run, a command that measures finds them, and need not wait for what they import.

    Parameters
    ----------
    config, data_dir : Path or None
        For the data folder.
    on_change : callable
        Called with the name of a process and how it is, when that has changed.

    Raises
    ------
    BeamlineError
        When a process cannot be kept running; says why.
    """
    folder = data_folder(data_dir, load_config(config))
    followers = {name: FollowingProcess(name, folder, log_failures=False) for name in KINDS}
    states: dict[str, str] = {}
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for follower in followers.values():
            follower.start()
        while not ended.is_set():
            for name, follower in followers.items():
                status = follower.status()
                if status.state == "failed":
                    raise BeamlineError(status.errors[""])
                if _settled(status.state) != states.get(name):
                    states[name] = _settled(status.state)
                    on_change(name, status)
            ended.wait(LOOK_INTERVAL)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for follower in followers.values():
            follower.finish()


def _settled(state: str) -> str:
    """Give a state; that a process has something to do now and then is no change of it."""
    return "idle" if state == "working" else state
