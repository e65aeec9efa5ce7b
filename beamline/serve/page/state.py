"""What is going on, in words and numbers: for the head of the page, which is read from two metres."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamline.endstation.config import Config
from beamline.operations.runs import INTERRUPTIONS
from beamline.processes.followers import FollowingProcess
from beamline.processes.kinds import KINDS
from beamline.serve.page.growing import GrowingRun
from beamline.storage.layout import PICTURE
from callbacks.contract import Key, Stream


class State:
    """Tells what is going on.

    Parameters
    ----------
    config : Config
    data_dir : Path
    notes : Path
        What the supervisor writes down.
    """

    def __init__(self, config: Config, data_dir: Path, notes: Path) -> None:
        self._config, self._data_dir, self._notes = config, data_dir, notes
        self._followers = {
            name: FollowingProcess(name, data_dir, log_failures=False) for name in KINDS if name != PICTURE
        }

    def now(self, raw: GrowingRun | None, derived: GrowingRun | None, queue: Mapping[str, Any]) -> dict[str, Any]:
        """Give all of it, for JSON."""
        return {
            "time": time.time(),
            "endstation": self._config.endstation.name,
            "run": self._run(raw, derived, queue),
            "queue": queue,
            "parts": self._parts(),
            "free_gb": round(shutil.disk_usage(self._data_dir).free / 1e9, 1),
        }

    def _run(self, raw: GrowingRun | None, derived: GrowingRun | None, queue: Mapping[str, Any]) -> dict[str, Any]:
        if raw is None:
            return {}
        block = raw.measurement
        done, points = raw.count(Stream.PRIMARY), int(block.get("points") or 0)
        began = float(raw.start["time"])
        measuring = raw.stop is None
        last = derived.last(Stream.FRAMES) if derived else {}
        reduced = derived.count(Stream.FRAMES) if derived else 0
        elapsed = (time.time() if measuring else float((raw.stop or {})["time"])) - began
        return {
            "uid": raw.uid,
            "scan_id": raw.start.get("scan_id"),
            "plan": raw.start.get("plan_name"),
            "technique": block.get("technique"),
            "sample": block.get("sample"),
            "edge": block.get("edge"),
            "since": began,
            "measuring": measuring,
            "exit_status": (raw.stop or {}).get("exit_status"),
            "reason": (raw.stop or {}).get("reason", ""),
            "done": done,
            "points": points,
            "elapsed": elapsed,
            "left": elapsed / done * (points - done) if measuring and done and points else None,
            "behind": max(0, done - reduced),
            "reduced": derived is not None and derived.stop is not None,
            "problem": str(last.get("problem") or ""),
            "ring": last.get(Key.RING_CURRENT),
            "held": held_why(raw, queue) if measuring else "",
        }

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name, follower in self._followers.items():
            status = follower.status()
            state = "running" if status.state in ("idle", "working") else status.state
            parts[name] = {
                "does": KINDS[name].does,
                "state": state,
                "restarts": status.restarts,
                "error": "; ".join(status.errors.values()),
                "behind": status.behind,
                "waiting": status.waiting,
            }
        try:
            noted = json.loads(self._notes.read_text())
        except (OSError, ValueError):
            return parts
        keys = ("does", "state", "restarts", "error")
        return parts | {name: {key: one[key] for key in keys} for name, one in noted["parts"].items()}


def held_why(raw: GrowingRun, queue: Mapping[str, Any]) -> str:
    """Say why a run does not go on, in the words of what holds it; "" where it does."""
    if queue.get("status", {}).get("re_state") == "paused":
        return "paused by a user"
    reason = str(raw.last(INTERRUPTIONS).get("interruption", "resume"))
    went_on = raw.last_time(Stream.PRIMARY, Stream.DARK) > raw.last_time(INTERRUPTIONS)
    return "" if reason == "resume" or went_on else reason
