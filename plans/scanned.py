"""An outer loop around any plan: a run at each position of a device, all of them a series."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from typing import Annotated, Any, Self, TypedDict

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable
from bluesky.utils import Msg, MsgGenerator

from callbacks.contract import SERIES, Series
from plans.endstation import Endstation
from plans.errors import PlanError
from plans.options import with_options
from plans.regions.steps import Steps, check_ascending, check_whole_steps
from plans.regions.text import read_number

EXPECTED = "expected device=start:stop:step, or positions separated by commas, as in cryostat=20:80:10"
MOST = 1000  # runs of a series; beyond it, a step was mistyped
LARGEST = Decimal(10) ** 12
BY_ITSELF = ("set", "stage", "trigger")  # messages of a plan that has checked what it was asked
ROLES_MOVED = ("exit_slit", "coarse_x", "coarse_y")  # that no plan moves


@dataclass(frozen=True)
class ScanAxis:
    """Positions of a device, in order. `str` gives the text that parses to the same."""

    device: str
    steps: tuple[Steps, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``device=start:stop:step``, or ``device=position, position``; `PlanError` says what was expected."""
        name, equals, positions = text.partition("=")
        if not equals or not name.strip():
            raise PlanError(f"scan {text!r}: {EXPECTED}")
        axis = cls(name.strip(), tuple(_steps(part.strip()) for part in positions.split(",")))
        if (count := sum(steps.count for steps in axis.steps)) > MOST:
            raise PlanError(f"scan {text!r}: {count} positions, expected at most {MOST}")
        return axis

    @property
    def positions(self) -> Iterator[float]:
        """The positions, in order."""
        return (float(value) for steps in self.steps for value in steps)

    def __str__(self) -> str:
        """Give the text that parses to these positions."""
        return f"{self.device}={', '.join(map(str, self.steps))}"


class ScanOptions(TypedDict, total=False):
    """What is repeated."""

    scan: Annotated[
        str,
        "Repeat all of it at positions of a device, as in cryostat=20:80:10 or cryostat=20, 35, 80: one run each, which"
        " together are a series.",
    ]


def scannable(plan: Callable[..., MsgGenerator[Any]]) -> Callable[..., MsgGenerator[Any]]:
    """Let a plan of one run take ``scan``: it is then measured at each position of a device.

    The device moves once the plan has checked what it was asked, and before its run is opened. The block ``series`` of
    the start documents says where it is.
    """

    @wraps(plan)
    def scanned(endstation: Endstation, *args: Any, scan: str = "", **kwargs: Any) -> MsgGenerator[Any]:
        if not scan:
            return (yield from plan(endstation, *args, **kwargs))
        axis = ScanAxis.parse(scan)
        positions = list(axis.positions)
        device = _movable(endstation, axis.device)
        _check_reachable(device, axis.device, positions)
        uid, uids = str(uuid.uuid4()), []
        for index, position in enumerate(positions):
            block = Series(
                uid=uid,
                index=index,
                runs=len(positions),
                role="sample",
                axis=axis.device,
                position=position,
                unit=endstation.units.get(axis.device, ""),
            )
            once = plan(endstation, *args, **kwargs)
            uids.append((yield from _at(once, device, position, block, str(axis))))
        return tuple(uids)

    return with_options(ScanOptions, {"scan": ""})(scanned)


def _at(plan: MsgGenerator[Any], device: Movable[Any], position: float, block: Series, axis: str) -> MsgGenerator[Any]:
    """Run a plan with a device at a position."""
    moved = False

    def moved_first(message: Msg) -> tuple[MsgGenerator[Any] | None, None]:
        nonlocal moved
        if moved or message.command not in BY_ITSELF:
            return None, None
        moved = True
        return move_and(message), None

    def move_and(message: Msg) -> MsgGenerator[Any]:
        yield from bps.mv(device, position)
        return (yield message)

    def with_series(message: Msg) -> Msg:
        if message.command != "open_run":
            return message
        arguments = {**message.kwargs.get("plan_args", {}), "scan": axis}
        return message._replace(kwargs={**message.kwargs, "plan_args": arguments, SERIES: block.model_dump()})

    return (yield from bpp.msg_mutator(bpp.plan_mutator(plan, moved_first), with_series))


def _movable(endstation: Endstation, name: str) -> Any:
    able = {
        each: device
        for each, device in endstation.all_devices.items()
        if isinstance(device, Movable) and (each in ROLES_MOVED or each in endstation.added)
    }
    if name not in able:
        there = ", ".join(able) or "none"
        raise PlanError(f"scan: {name!r} is no device that can be moved beside a plan; there are {there}")
    return able[name]


def _check_reachable(device: Any, name: str, positions: list[float]) -> None:
    if check := getattr(device, "check_value", None):
        for position in positions:
            try:
                check(position)
            except ValueError as error:  # ophyd's LimitError is one
                text = " ".join(str(error).split())
                raise PlanError(text if name in text else f"{name}: {text}") from error


def _steps(text: str) -> Steps:
    where = f"scan {text!r}"
    numbers = [read_number(each, where, EXPECTED, lowest=-LARGEST, highest=LARGEST) for each in text.split(":")]
    match numbers:
        case [position]:
            return Steps(position, position, Decimal(0))
        case [start, stop, step] if step > 0:
            check_ascending(start, stop, where=where, unit="")
            check_whole_steps(start, stop, step, where=where, unit="")
            return Steps(start, stop, step)
        case [start, stop, step] if step < 0:
            check_ascending(stop, start, where=where, unit="")
            check_whole_steps(stop, start, -step, where=where, unit="")
            return Steps(start, stop, step)
    raise PlanError(f"{where}: {EXPECTED}")
