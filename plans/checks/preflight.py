"""What is checked before anything moves: one line says what cannot be done and why."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from callbacks.contract import alarm_key
from plans.endstation import OPEN, Endstation, Positioner, lacking
from plans.errors import PlanError

DAY = 86400.0  # s
LONGEST = 100 * DAY  # counting time of a plan; no beam time is as long: beyond it, a time or a number was mistyped


def check_reachable(device: Positioner, values: Iterable[float]) -> None:
    """Check every value against the limits of its device.

    Raises
    ------
    PlanError
        Naming the device, the first value out of reach and the limits.
    """
    for value in values:
        try:
            device.check_value(value)
        except ValueError as error:
            raise PlanError(str(error)) from error


def check_positive(**values: float) -> None:
    """Check that the named values are finite and above zero; `PlanError` names the first that is not."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise PlanError(f"{name}: {value} is not positive")


def check_count(name: str, value: int, *, most: int, least: int = 1) -> None:
    """Check a number of points, frames or lines; `PlanError` names what is out of its range."""
    if not least <= value <= most:
        raise PlanError(f"{name}: {value}, expected {least} to {most}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Check a choice; `PlanError` names those that there are."""
    if value not in choices:
        raise PlanError(f"{name}: {value!r} is none of {', '.join(choices)}")


def check_counting_time(seconds: float) -> None:
    """Check the counting time of all points together; `PlanError` where nobody can have meant it."""
    if not seconds <= LONGEST:
        raise PlanError(
            f"the points count for {seconds / DAY:.4g} days in all, expected at most {LONGEST / DAY:g} days"
        )


def check_dark(endstation: Endstation, name: str, count: int, *roles: str) -> None:
    """Check that what is measured without light can be; `PlanError` names what the endstation lacks for it."""
    if count and (missing := [role for role in roles if role not in endstation]):
        raise PlanError(f"{name}: {count}, but {lacking(*missing)}; expected 0")


def check_beamline(endstation: Endstation, sample: str) -> MsgGenerator[str]:
    """Check that light can reach the endstation and that the sample is on the holder.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    sample : str
        Name of a sample; where empty, the one in the beam. Any name where there is no sample holder.

    Returns
    -------
    str
        Name of the sample that will be measured.

    Raises
    ------
    PlanError
        When the front-end shutter is not open, or the holder has no such sample.
    """
    # The default values are for plans whose messages are only listed, without an engine.
    for shutter in endstation.those("front_end_shutter"):
        state = yield from bps.rd(shutter, default_value=OPEN)
        if state == OPEN:
            continue
        alarm = ((yield from bps.read(shutter)) or {}).get(alarm_key(shutter.name), {"value": ""})["value"]
        seen = f"{state!r} ({alarm})" if alarm else repr(state)
        raise PlanError(f"{shutter.name}: is {seen}, expected {OPEN!r}; there is no light")
    if "sample" not in endstation:
        return sample
    if not sample:
        result: str = yield from bps.rd(endstation.sample, default_value="")
        return result
    if sample not in (held := tuple(endstation.sample.samples)):
        near = difflib.get_close_matches(sample, held, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"{endstation.sample.name}: holds no {sample!r}, only {', '.join(held)}{hint}")
    return sample
