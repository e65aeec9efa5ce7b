"""The run around all points of a measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator, RunEngineControlException

from callbacks.contract import MEASUREMENT, Key, Measurement, Stream
from plans.endstation import CLOSED, Endstation
from plans.measuring.interruptions import Interruptions
from plans.measuring.point import checkpoint


def run_with_light(
    endstation: Endstation,
    points: Callable[[Interruptions], MsgGenerator[None]],
    *,
    detectors: Sequence[Any],
    metadata: dict[str, Any],
    move_to_sample: str = "",
) -> MsgGenerator[str]:
    """Measure points in one run; whatever happens, it ends with the run closed, detectors unstaged, shutter closed.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    points : callable
        Is given the run's `Interruptions`; returns the plan that measures the points with `take_point`.
    detectors : sequence
        What is staged.
    metadata : dict
        Of the start document.
    move_to_sample : str
        Sample moved into the beam before the run opens, so that the baseline sees it; none where empty.

    Returns
    -------
    str
        Uid of the run.
    """
    interruptions = Interruptions()

    def closed() -> MsgGenerator[None]:
        if "shutter" in endstation:
            yield from bps.mv(endstation.shutter, CLOSED)

    def measure() -> MsgGenerator[str]:
        yield from closed()
        if move_to_sample and "sample" in endstation:
            yield from bps.mv(endstation.sample, move_to_sample)
        result: str = yield from bpp.stage_wrapper(opened(), detectors)
        return result

    def opened() -> MsgGenerator[str]:  # as `bpp.run_wrapper`, which tells the uid when the run is over
        interruptions.run = yield from bps.open_run(metadata)
        for signal in endstation.monitored:
            yield from bps.monitor(signal, name=f"{signal.name}_monitor")
        yield from bpp.contingency_wrapper(taken(), except_plan=closed_after, else_plan=bps.close_run)
        return interruptions.run

    def closed_after(error: Exception) -> MsgGenerator[None]:
        if isinstance(error, RunEngineControlException):
            yield from bps.close_run(exit_status=getattr(error, "exit_status"))  # noqa: B009 - all have it but the base
        else:
            yield from bps.close_run(exit_status="fail", reason=str(error))

    def taken() -> MsgGenerator[None]:
        try:
            yield from points(interruptions)
        finally:
            interruptions.allow_replay()
        yield from checkpoint(interruptions)  # a pause while the run is being closed repeats no point

    result: str = yield from bpp.finalize_wrapper(measure(), closed)
    return result


def start_metadata(
    plan_name: str, plan_args: dict[str, Any], measurement: Measurement, *, dimensions: Sequence[str] = (Key.ENERGY,)
) -> dict[str, Any]:
    """Give the start document's blocks of a measurement, whose events run along `dimensions`, the slowest first."""
    return {
        "plan_name": plan_name,
        "plan_args": plan_args,
        "sample": {"name": measurement.sample},
        MEASUREMENT: measurement.model_dump(mode="json"),
        "hints": {"dimensions": [([str(key)], str(Stream.PRIMARY)) for key in dimensions]},
    }
