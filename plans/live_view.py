"""Monitor a detector at the energy and on the sample in the beam: only the shutter moves, nothing is reduced."""

from __future__ import annotations

from typing import Any, Literal, get_args

from bluesky.utils import MsgGenerator

from callbacks.contract import Stream
from plans.checks import check_beamline, check_count, check_counting_time, check_positive, check_reachable
from plans.endstation import OPEN, Endstation
from plans.errors import PlanError
from plans.measuring import Interruptions, run_with_light, take_point
from plans.regions.energy import MAX_POINTS

Detector = Literal["scaler", "ccd"]


def live_view(
    endstation: Endstation, detector: Detector = "scaler", exposure_time: float = 1.0, frames: int = 10
) -> MsgGenerator[str]:
    """Read a detector again and again, at the energy and on the sample that are there.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    detector : str
        scaler (with the ring current) or ccd.
    exposure_time : float, s
        Exposure of a frame, or counting time of the scaler.
    frames : int
        How often.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when it cannot be measured as asked.
    """
    if detector not in get_args(Detector):
        raise PlanError(f"detector: {detector!r} is none of {', '.join(get_args(Detector))}")
    check_positive(exposure_time=exposure_time)
    check_count("frames", frames, most=MAX_POINTS)
    check_counting_time(frames * exposure_time)
    time = endstation.ccd.exposure_time if detector == "ccd" else endstation.scaler.dwell
    devices: list[Any] = [endstation.ccd] if detector == "ccd" else [endstation.scaler, *endstation.those("ring")]
    check_reachable(time, [exposure_time])
    sample = yield from check_beamline(endstation, "")

    def points(interruptions: Interruptions) -> MsgGenerator[None]:
        for _ in range(frames):
            positions = [*endstation.positions("shutter", OPEN), time, exposure_time]
            yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)

    metadata = {
        "plan_name": "live_view",
        "plan_args": {"detector": detector, "exposure_time": exposure_time, "frames": frames},
        "sample": {"name": sample},
    }
    return (yield from run_with_light(endstation, points, detectors=devices[:1], metadata=metadata))
