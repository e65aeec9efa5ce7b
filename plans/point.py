"""One point of a scan, and the run around all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import Msg, MsgGenerator, short_uid

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
    # Plain messages: each plan stub of Bluesky formats a stack trace, a millisecond for every few.
    yield Msg("checkpoint")
    moved, triggered = short_uid("move"), short_uid("trigger")
    for device, value in zip(positions[::2], positions[1::2], strict=True):
        yield Msg("set", device, value, group=moved)
    yield Msg("wait", None, group=moved)
    to_be_triggered = [device for device in devices if hasattr(device, "trigger")]
    for device in to_be_triggered:
        yield Msg("trigger", device, group=triggered)
    if to_be_triggered:
        yield Msg("wait", None, group=triggered)
    yield Msg("create", None, name=str(stream))
    newest = 0.0
    try:
        for device in devices:
            reading = yield Msg("read", device)
            newest = max([newest, *(each["timestamp"] for each in (reading or {}).values())])
    except Exception:
        yield Msg("drop")
        raise
    yield Msg("save")
    return newest


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
