"""One point of a scan, and the run around all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from callbacks.contract import MEASUREMENT, Key, Measurement, Stream
from plans.endstation import CLOSED, Endstation


def take_point(positions: Sequence[Any], devices: Sequence[Readable[Any]], *, stream: Stream) -> MsgGenerator[float]:
    """Move, trigger all devices together, and read them into one event.

    A point is told everything it needs, so that after a pause it is taken again, and right, whatever was moved
    meanwhile; a pause costs no more than the point it falls into.

    Parameters
    ----------
    positions : sequence
        Device, value, device, value...; all set at once.
    devices : sequence of Readable
        What is read; those that can be triggered are, in one group.
    stream : Stream
        Where the event goes.

    Returns
    -------
    float
        When the devices were read, by their own clock, in s since the epoch; 0 without an engine.
    """
    yield from bps.checkpoint()
    yield from bps.mv(*positions)
    readings = yield from bps.trigger_and_read(devices, name=str(stream))
    return max((reading["timestamp"] for reading in (readings or {}).values()), default=0.0)


def run_with_light(
    endstation: Endstation,
    points: Callable[[], MsgGenerator[None]],
    *,
    detectors: Sequence[Any],
    metadata: dict[str, Any],
    move_to_sample: str = "",
) -> MsgGenerator[str]:
    """Take points in one run; whatever happens, the run ends closed, detectors unstaged and the shutter closed.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    points : callable
        Gives the plan that takes the points.
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

    def measure() -> MsgGenerator[str]:
        yield from bps.mv(endstation.shutter, CLOSED)
        if move_to_sample:
            yield from bps.mv(endstation.sample, move_to_sample)
        return (yield from bpp.stage_wrapper(bpp.run_wrapper(taken(), md=metadata), detectors))

    def taken() -> MsgGenerator[None]:
        yield from points()
        yield from bps.checkpoint()  # a pause while the run is being closed takes no point again

    return (yield from bpp.finalize_wrapper(measure(), lambda: bps.mv(endstation.shutter, CLOSED)))


def start_metadata(plan_name: str, plan_args: dict[str, Any], measurement: Measurement) -> dict[str, Any]:
    """Give the start document's blocks of a measurement."""
    return {
        "plan_name": plan_name,
        "plan_args": plan_args,
        "sample": {"name": measurement.sample},
        MEASUREMENT: measurement.model_dump(mode="json"),
        "hints": {"dimensions": [([str(Key.ENERGY)], str(Stream.PRIMARY))]},
    }
