"""Go on with a plan whose runs were interrupted: what has been measured is passed over, the rest is measured.

Points that have been measured are measured again where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky.utils import Msg, MsgGenerator, ensure_generator

from callbacks.contract import CONTINUES, SERIES, Continues, Stream
from plans.measuring import Interruptions

DONE = ("monitor", "unmonitor")  # whatever is passed over of a run that is gone on with


@dataclass(frozen=True)
class Done:
    """What has been measured of a run of the plan.

    Attributes
    ----------
    uids : tuple of str
        The runs that hold it, in order.
    points : int
        Events of the stream `primary` in all of them.
    complete : bool
        Whether nothing is to be measured.
    series : dict, optional
        Block of the series that they belong to.
    again : tuple of int
        Numbers of the points that are to be taken again, from 1, ascending.
    ends : tuple of int
        Number of the last point of each of the runs.
    """

    uids: tuple[str, ...]
    points: int
    complete: bool
    series: dict[str, Any] | None = None
    again: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def has(self, number: int) -> bool:
        """Tell whether a point needs not be measured."""
        return number <= self.points and number not in self.again


NOTHING = Done((), 0, complete=False)


def continued(plan: MsgGenerator[Any], done: Sequence[Done]) -> MsgGenerator[Any]:
    """Measure what is missing of the runs of a plan.

    The plan is gone through as it was, and what it wants to do for points that were measured is answered without being
    done, as when a plan is only checked: it finds its place by itself, whichever order it measures in. The first point
    that is measured sets all that it needs, and frames are preceded by dark frames.

    Parameters
    ----------
    plan : generator of Msg
        With the parameters of before.
    done : sequence of Done
        Of its runs, in order; runs behind them are measured whole.

    Returns
    -------
    Any
        What the plan returns.
    """
    passing = _Passing(done)
    messages = ensure_generator(plan)
    answer, error = None, None
    while True:
        try:
            message = messages.send(answer) if error is None else messages.throw(error)
        except StopIteration as ended:
            return ended.value
        answer, error = None, None
        try:
            message = passing.take(message)
            if passing.passes:
                answer = passing.answer(message)
            else:
                answer = yield message
                passing.was_done(message)
        except GeneratorExit:
            messages.close()
            raise
        except BaseException as raised:  # noqa: BLE001 - thrown into the plan, as an engine does
            error = raised


class _Passing:
    """Tells which messages of a plan are passed over, and answers those.

    Attributes
    ----------
    passes : bool
        Whether the message that was taken last is.
    """

    def __init__(self, done: Sequence[Done]) -> None:
        self._done = list(done)
        self._series = next((each.series["uid"] for each in done if each.series), "")
        self._open = NOTHING  # of the run that is open
        self._next = 1  # number of its next point
        self._stream = ""  # of the event that is open
        self._moves = False  # whether the plan has begun to move: what it reads before is read
        self._interruptions: Interruptions | None = None
        self.passes = False

    def take(self, message: Msg) -> Msg:
        """Take the next message of the plan; give what is to be done in its place."""
        whole = bool(self._done) and self._done[0].complete
        match message.command:
            case "open_run" if self._done and not whole:
                self._open, self._next = self._done.pop(0), 1
                self.passes = False
                return message._replace(kwargs=_with(message.kwargs, self._open))
            case "open_run" if self._series and SERIES in message.kwargs:  # behind those: of the same series
                series = {**message.kwargs[SERIES], "uid": self._series}
                message = message._replace(kwargs={**message.kwargs, SERIES: series})
            case "checkpoint" if isinstance(message.obj, Interruptions):
                self._interruptions = message.obj
            case "set" | "stage":
                self._moves = True
        if message.command == "create":
            self._stream = message.kwargs["name"]
        outside = message.command == "read" and not self._stream  # of an event: what a plan checks is read
        has = self._open.has(self._next) and message.command not in DONE
        self.passes = (whole and self._moves and not outside) or has
        return message

    def answer(self, message: Msg) -> Any:
        """Answer a message that is passed over."""
        match message.command:
            case "open_run":
                return self._done[0].uids[-1]
            case "close_run":
                self._done.pop(0)
            case "read":
                # Late before a point that is measured, so that dark frames are too old for it.
                late = self._stream == Stream.PRIMARY and not self._open.has(self._next + 1)
                return {"": {"value": math.nan, "timestamp": math.inf if late else 0.0}}
            case "save":
                self._saved()
                if not self._open.has(self._next) and self._interruptions is not None:
                    self._interruptions.count += 1  # so that what was not set is
            case "drop":
                self._stream = ""
            case "stage" | "unstage":
                return [message.obj]
        return None

    def was_done(self, message: Msg) -> None:
        """Note that a message was not passed over."""
        match message.command:
            case "save":
                self._saved()
            case "drop":
                self._stream = ""
            case "close_run":
                self._open = NOTHING

    def _saved(self) -> None:
        self._next += self._stream == Stream.PRIMARY
        self._stream = ""


def _with(metadata: dict[str, Any], before: Done) -> dict[str, Any]:
    """Give the metadata of a run that goes on with others."""
    block = Continues(uids=list(before.uids), points=before.points, ends=list(before.ends), again=list(before.again))
    return {**metadata, CONTINUES: block.model_dump()} | ({SERIES: before.series} if before.series else {})
