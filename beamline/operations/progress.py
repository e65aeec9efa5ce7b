"""How far something is: what operations call, and who counts the events of a run for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callbacks.contract import MEASUREMENT, Stream, points_before, taken_again

Progress = Callable[[str, int, int | None], None]  # is given what is under way, how much is done, and of how much


def no_progress(_what: str, _done: int, _total: int | None) -> None:
    """Show no progress."""


class EventCounter:
    """Tell of every event of the stream `primary`. Callable with (name, document).

    Parameters
    ----------
    progress : callable
        Is given technique and sample, the events so far, and how many were planned.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._what = ""
        self._primary = ""
        self._done, self._planned = 0, 0

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "start" if MEASUREMENT in doc:
                block = doc[MEASUREMENT]
                self._what = f"{block['technique']} of {block['sample']}"
                self._done = points_before(doc) - len(taken_again(doc))
                self._planned = block["points"]
                self._progress(self._what, self._done, self._planned)
            case "descriptor" if doc["name"] == Stream.PRIMARY:
                self._primary = doc["uid"]
            case "event" if doc["descriptor"] == self._primary and self._planned:
                self._done += 1
                self._progress(self._what, self._done, self._planned)
