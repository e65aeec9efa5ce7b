"""Run the service of a data folder until it is told to end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.runs import data_folder
from beamline.processes.followers import FollowingProcess
from beamline.processes.kinds import KINDS
from beamline.serve.care import QueueCare
from beamline.serve.keys import load_keys
from beamline.serve.parts import QUEUE, Places, ask_engine, has_redis, parts_of, queue_client
from beamline.serve.supervisor import PartStatus, Supervisor
from beamline.storage.locks import is_locked, locked
from beamline.techniques.settings import processing_problems

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 0.5  # s
CARE_INTERVAL = 1.0  # s
ASK_AGAIN = 10.0  # s within which a second Ctrl-C ends what is measured
ABORTED_WITHIN = 20.0  # s that a run may take to be closed
LEFT_WITHIN = 30.0  # s for what is left to be reduced and to be taken into the catalogue; the next one does the rest


@dataclass(frozen=True)
class Told:
    """Who is told what while a service runs.

    Attributes
    ----------
    change : callable
        Called with name, state and error of a process when these have changed.
    line : callable
        Called with one line that the user has to know.
    ready : str
        The line that is told as soon as all processes are well.
    """

    change: Callable[[str, str, str], None]
    line: Callable[[str], None]
    ready: str = ""


def serve(*, config: Path | None, data_dir: Path | None, told: Told, single: bool = False) -> None:
    """Run the service until SIGINT or SIGTERM; then everything ends, the run that is measured in order.

    Parameters
    ----------
    config, data_dir : Path or None
        The endstation; the data folder.
    told : Told
    single : bool
        For one user, without a queue.

    Raises
    ------
    BeamlineError
        When another service works in the data folder, or the configuration is wrong.
    """
    loaded = load_config(config)
    if problems := processing_problems(loaded):
        raise BeamlineError(*problems)
    folder = data_folder(data_dir, loaded).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    places = Places.of(folder)
    with locked(places.lock, keep_waiting=lambda: False) as held:
        if not held:
            raise BeamlineError(f"{folder}: another `beamline serve` works here; `beamline status` tells of it")
        keys = load_keys(places.keys)
        parts = parts_of(loaded, folder, places, keys, single=single)
        client = None if single else queue_client(places)
        if client is not None:
            parts = [
                replace(each, before_stop=partial(end_in_order, client)) if each.name == QUEUE else each
                for each in parts
            ]
        supervisor = Supervisor(parts, places.notes, places.folder)
        care = None
        if client is not None:
            queue = supervisor.supervised[QUEUE]
            care = QueueCare(
                client,
                places.control.removeprefix("ipc://"),
                lambda: queue.status.pid,
                lambda: is_locked(places.worker_lock),
            )
        if not single and not has_redis():
            told.line("Redis is not installed: the queue is kept in memory, and is gone when the service ends")
        page = f"http://{loaded.service.host}:{loaded.service.page_port}/"
        told.line(f"starting; the page will be at {page}")
        ready = f"ready: {page} asks for a key; they are in {places.keys}"
        _run(supervisor, care, folder, Measuring(client, places), replace(told, ready=ready))


class Measuring:
    """Tells whether a plan is being measured."""

    def __init__(self, client: Any, places: Places | None) -> None:
        self._client, self._places = client, places

    def __bool__(self) -> bool:
        """Whether it is; not where nothing can be asked."""
        with suppress(Exception):
            if self._client is not None:
                return bool(self._client.status(reload=True)["re_state"] not in (None, "idle"))
            assert self._places is not None
            return bool(ask_engine(self._places.engine, {"do": "status"})["running"])
        return False


def _run(supervisor: Supervisor, care: QueueCare | None, folder: Path, measuring: Measuring, told: Told) -> None:
    followers = {name: FollowingProcess(name, folder, log_failures=False) for name in KINDS}
    signals = _Signals()
    caring = threading.Thread(target=_care, args=(care, supervisor, signals.ending), name="care", daemon=True)
    states: dict[str, tuple[str, str]] = {}
    with signals:
        try:
            for follower in followers.values():
                follower.start()
            supervisor.start()
            caring.start()
            while not signals.ending.is_set():
                supervisor.note()
                parts = {name: _of_part(each.status) for name, each in supervisor.supervised.items()}
                for name, state in ({name: _of_follower(each) for name, each in followers.items()} | parts).items():
                    if states.get(name) != state:
                        states[name] = state
                        told.change(name, *state)
                if told.ready and all(state == "running" for state, _ in parts.values()):
                    told.line(told.ready)
                    told = replace(told, ready="")
                if signals.asked.wait(LOOK_INTERVAL):
                    signals.decide(measuring, told)
            told.line("aborting the plan, then ending" if measuring else "ending")
        finally:
            signals.ending.set()
            caring.join()
            supervisor.stop()
            _do_what_is_left(followers, signals.again, told)
    told.line("ended")


class _Signals:
    """What SIGINT and SIGTERM ask for; a handler only notes them, as it may come amid anything.

    Attributes
    ----------
    asked : threading.Event
        Set where one came that was not decided upon.
    ending : threading.Event
        Set where all is to end.
    again : threading.Event
        Set where it was asked for once more while all ends.
    """

    def __init__(self) -> None:
        self.asked, self.ending, self.again = threading.Event(), threading.Event(), threading.Event()
        self._came: list[int] = []
        self._until = 0.0  # monotonic, s: when a second Ctrl-C counts as another first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.ending.is_set():
            self.again.set()
        self._came.append(number)
        self.asked.set()

    def decide(self, measuring: Measuring, told: Told) -> None:
        """End, unless it is the first Ctrl-C while a plan is measured: then a second one is asked for."""
        self.asked.clear()
        came, self._came = self._came, []
        first = came == [signal.SIGINT] and time.monotonic() > self._until
        if first and measuring:
            self._until = time.monotonic() + ASK_AGAIN
            told.line(
                f"a plan is being measured: Ctrl-C once more within {ASK_AGAIN:g} s aborts it and ends the service"
            )
        else:
            self.ending.set()


def _do_what_is_left(followers: Mapping[str, FollowingProcess], hurry: threading.Event, told: Told) -> None:
    """Let what follows the logs do what is left, but not for ever; then nothing runs any more."""
    for follower in followers.values():
        follower.finish()
    own = {name: follower for name, follower in followers.items() if not follower.is_found}
    deadline = time.monotonic() + LEFT_WITHIN
    tell_at: float | None = time.monotonic() + LOOK_INTERVAL
    while left := [name for name, each in own.items() if not each.has_ended() and each.status().waiting]:
        if hurry.wait(0.1) or time.monotonic() > deadline:
            break
        if tell_at is not None and time.monotonic() > tell_at:
            told.line(f"{' and '.join(left)}: doing what is left; Ctrl-C leaves it to the next `beamline serve`")
            tell_at = None
    for follower in own.values():
        follower.stop()


def _care(care: QueueCare | None, supervisor: Supervisor, ending: threading.Event) -> None:
    if care is None:
        return
    queue = supervisor.supervised[QUEUE]
    while not ending.wait(CARE_INTERVAL):
        if queue.is_well.is_set():
            try:
                care.look()
            except Exception as error:  # noqa: BLE001 - what a connection raises; it is looked at again
                logger.warning("the queue: %s: %s", type(error).__name__, " ".join(str(error).split())[:200])


def _of_follower(follower: FollowingProcess) -> tuple[str, str]:
    status = follower.status()
    state = "running" if status.state in ("idle", "working") else status.state
    return state, status.errors.get("", "")


def _of_part(status: PartStatus) -> tuple[str, str]:
    return status.state, status.error if status.state != "running" else ""


def end_in_order(client: Any) -> None:
    """Abort the plan that is measured, so that its run is closed: its data are kept, and it says why it ended."""
    with suppress(Exception):  # what does not answer is ended as it is; nothing that was measured is lost
        client.queue_stop()
    deadline = time.monotonic() + ABORTED_WITHIN
    measuring = Measuring(client, None)
    while time.monotonic() < deadline and measuring:
        with suppress(Exception):
            state = client.status(reload=True)["re_state"]
            if state == "running":
                client.re_pause(option="immediate")
            elif state == "paused":
                client.re_abort()
        time.sleep(0.3)
