"""Measure until a precision is reached: what the reduction tells, what is made of it, and the stream that keeps why."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bluesky.utils import Msg, MsgGenerator, short_uid

from callbacks.contract import UNITS, DecisionKey, Output, Precision, Reason, Stream
from plans.endstation import Endstation, Feedback, Question
from plans.errors import PlanError
from plans.measuring.interruptions import Interruptions
from plans.measuring.point import read_event

logger = logging.getLogger(__name__)

ALL_ENERGIES = -1  # index of what is decided for all energies at once


@dataclass(frozen=True)
class Aim:
    """What is to be reached, and what may be spent on it.

    Attributes
    ----------
    of : Output
        The output of the reduction that is to be small enough.
    asked : float
        Its largest value.
    least, most : int
        Frames or points at an energy, or passes.
    most_time : float
        s from the first point on in which more than the least are taken; infinity for no limit.
    counted : str
        What is counted, in the plural, for messages.
    stream : Stream
        Of the derived run.
    """

    of: Output
    asked: float
    least: int
    most: int
    most_time: float = math.inf
    counted: str = "frames"
    stream: Stream = Stream.FRAMES

    def check(self, name: str, endstation: Endstation, *, largest: float) -> None:
        """Check that it can be reached at all; `PlanError` where not.

        Parameters
        ----------
        name : str
            Of the plan's parameter.
        endstation : Endstation
        largest : float
            Beyond it, what is asked for tells nothing.
        """
        if not 0 < self.asked <= largest:
            raise PlanError(f"{name}: {self.asked}, expected more than 0 and at most {largest:g}")
        if not self.most >= self.least:
            raise PlanError(
                f"most_{self.counted}: {self.most}, expected {self.least} or more, which are taken at least"
            )
        if not self.most_time > 0:
            raise PlanError(f"most_time: {self.most_time} is not positive")
        if endstation.feedback is None:
            raise PlanError(f"{name}: needs the live reduction, and this endstation has none")
        if why := endstation.feedback.why_not(self.of):
            raise PlanError(f"{name}: {why}")

    def block(self, *, least_points: int, least_time: float) -> Precision:
        """Give what the start document says of it.

        Parameters
        ----------
        least_points : int
            Events of the stream `primary` that are taken at least.
        least_time : float
            s that these count for.
        """
        return Precision(
            of=str(self.of),
            asked=self.asked,
            least_points=least_points,
            least_time=least_time,
            most_time=self.most_time if math.isfinite(self.most_time) else None,
        )


@dataclass
class _Spent:
    """What was spent on an energy, or on all."""

    count: int = 0
    number: int = 0  # of the newest frame, point or image
    time: float = 0.0  # when that was read, s
    blind: bool = False  # the reduction was late: the most are taken


class Decisions:
    """Decides after each frame, point or pass whether one more is taken, and keeps why in the stream `decision`.

    Where the reduction is late, the most are taken of what is under way, without looking. Afterwards it is asked again,
    but not waited for before it has caught up.

    Parameters
    ----------
    teller : Teller
    aim : Aim
    """

    def __init__(self, teller: Teller, aim: Aim) -> None:
        self._teller = teller
        self._aim = aim
        self._spent: dict[int, _Spent] = {}
        self._began = math.nan

    def took(self, index: int, *, number: int, at: float) -> None:
        """Take note of a frame, point or pass.

        Parameters
        ----------
        index : int
            Of the energy, `ALL_ENERGIES` for a pass.
        number : int
            Of the frame or point, or of the last image of the pass, as the derived run counts them.
        at : float
            When it was read, by the devices' clock, s.
        """
        if math.isnan(self._began):
            self._began = at
        spent = self._spent.setdefault(index, _Spent())
        spent.count, spent.number, spent.time = spent.count + 1, number, at

    def enough(self, index: int) -> MsgGenerator[bool]:
        """Tell whether no more is to be taken at an energy."""
        spent, aim = self._spent[index], self._aim
        in_time = spent.time - self._began < aim.most_time
        if spent.count < aim.least:
            return False
        if spent.blind:
            return spent.count >= aim.most or not in_time
        reached, late = yield from self._teller.ask(spent.number)
        if reached <= aim.asked:
            reason = Reason.REACHED
        elif spent.count >= aim.most:
            reason = Reason.MOST
        elif not in_time:
            reason = Reason.TIME
        else:
            reason = Reason.LATE if late else Reason.GO_ON
        spent.blind = reason is Reason.LATE
        if spent.blind:
            where = "" if index == ALL_ENERGIES else f" at energy {index + 1}"
            logger.warning("the reduction is late: %d %s are taken%s without looking", aim.most, aim.counted, where)
        yield from self._teller.keep(reason, asked=aim.asked, index=index, count=spent.count)
        return reason is not Reason.GO_ON and not spent.blind


class Teller:
    """Asks the reduction of a run, and keeps what it said with what is made of it; one a run.

    Parameters
    ----------
    feedback : Feedback
    interruptions : Interruptions
        Of the run.
    of : Output
    stream : Stream
        Of the derived run.
    mark : Output, optional
        Which output says why a frame or point is not to be trusted.
    """

    def __init__(
        self,
        feedback: Feedback,
        interruptions: Interruptions,
        of: Output,
        stream: Stream = Stream.FRAMES,
        mark: Output | None = None,
    ) -> None:
        self._feedback = feedback
        self._interruptions = interruptions
        self._of, self._stream, self._mark = of, stream, mark
        self._decision = _Decision()
        self._late = False
        self.mark = ""  # of what was asked for last

    def ask(self, number: int) -> MsgGenerator[tuple[float, bool]]:
        """Ask what the reduction found when it came to a frame, point or image; wait for it unless it was late before.

        Returns
        -------
        value : float
            NaN where it is not known.
        late : bool
            False also where a plan's messages are only listed: then nobody answers, and it takes the most.
        """
        told = yield from self._told(number, patient=not self._late)
        if self._late and told.get(DecisionKey.TOLD, -1) >= number - 1 and told[DecisionKey.LATE]:
            told = yield from self._told(number, patient=True)  # it has caught up
        self.mark = str(told.get(DecisionKey.MARK, ""))
        if not told:
            return math.nan, False
        if self._late and not told[DecisionKey.LATE]:
            logger.warning("the reduction has caught up: what it finds is looked at again")
        self._late = bool(told[DecisionKey.LATE])
        return float(told[DecisionKey.REACHED]), self._late

    def keep(self, reason: Reason, *, asked: float, index: int, count: int, again: str = "") -> MsgGenerator[None]:
        """Keep a decision, with what was answered last, in the stream `decision`."""
        self._decision.values = {
            DecisionKey.ASKED: asked,
            DecisionKey.ENERGY_INDEX: index,
            DecisionKey.COUNT: count,
            DecisionKey.REASON: str(reason),
            DecisionKey.AGAIN: again,
        }
        saved = False
        while not saved:
            point, _ = yield from read_event(
                self._interruptions, [self._feedback, self._decision], Stream.DECISION, None
            )
            saved = point is not None
        yield Msg("save")

    def _told(self, number: int, *, patient: bool) -> MsgGenerator[dict[str, Any]]:
        """Give the reading of the feedback; empty where nobody answers."""
        feedback, question = (
            self._feedback,
            Question(self._interruptions.run, number, self._of, self._stream, self._mark, patient),
        )
        while True:
            before = self._interruptions.count
            group = short_uid("feedback")
            yield Msg("set", feedback, question, group=group)
            yield Msg("trigger", feedback, group=group)
            yield Msg("wait", None, group=group)
            reading = yield Msg("read", feedback)
            if self._interruptions.count == before:  # otherwise the wait was cut short
                break
        values = {key: each["value"] for key, each in (reading or {}).items()}
        return values if values.get(DecisionKey.EVENT) == number else {}


class _Decision:
    """What a plan makes of an answer: the second half of the keys of the stream `decision`."""

    name = "decision"
    parent = None

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Give the decision."""
        return {str(key): {"value": value, "timestamp": time.time()} for key, value in self.values.items()}

    def describe(self) -> dict[str, Any]:
        """Describe its data keys."""
        kinds = {float: "number", int: "integer", str: "string"}
        return {
            str(key): {"source": "plan", "dtype": kinds[type(value)], "shape": [], "units": UNITS[key]}
            for key, value in self.values.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        """Give nothing: it has no configuration."""
        return {}

    describe_configuration = read_configuration


def take_until(
    decisions: Decisions,
    groups: Sequence[Sequence[int]],
    take: Callable[[int], MsgGenerator[None]],
    ordered: Callable[[Sequence[int]], Iterator[int]] = iter,
) -> MsgGenerator[None]:
    """Take frames, points or passes until each energy has enough.

    Parameters
    ----------
    decisions : Decisions
    groups : sequence of sequence of int
        Indices of energies; those of a group are gone through again and again, less those that have enough.
    take : callable
        Takes one at an energy, given its index, and notes it by `Decisions.took`.
    ordered : callable
        Gives the order of a pass over the energies that are left.
    """
    for group in groups:
        left = list(group)
        while left:
            for index in ordered(left):
                yield from take(index)
            for index in tuple(left):
                if (yield from decisions.enough(index)):
                    left.remove(index)
