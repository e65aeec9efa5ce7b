"""RIXS: CCD frames of the emitted light at each excitation energy, with the dark frames that belong to them."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import Key, Measurement, Stream
from callbacks.incident_flux import judge_flux
from callbacks.rixs.calibration import FEWEST_LINES
from plans.checks import check_beamline, check_positive, check_reachable
from plans.endstation import CLOSED, OPEN, Endstation
from plans.errors import PlanError
from plans.measuring import Interruptions, Point, run_with_light, start_metadata, take_point
from plans.regions import EnergyRegions

logger = logging.getLogger(__name__)

Order = Literal["up", "up_down", "random"]


def rixs_map(
    endstation: Endstation,
    regions: EnergyRegions | str,
    exposure_time: float,
    *,
    sample: str = "",
    edge: str = "",
    frames_per_energy: int = 1,
    order: Order = "up",
    seed: int = 0,
    dark_frames: int = 3,
    dark_ttl: float = 3600.0,
    retake_partial: bool = False,
) -> MsgGenerator[str]:
    """Measure a RIXS map: CCD frames and I0 at each excitation energy.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    regions : EnergyRegions, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own exposure.
    exposure_time : float, s
        Exposure of a frame, where the region has none of its own; I0, TEY and TFY are counted as long.
    sample : str
        Sample to move into the beam; the one that is there when left out.
    edge : str
        Absorption edge, kept with the data, as in "Co L3".
    frames_per_energy : int
        Frames taken at each energy, each an event of its own.
    order : str
        up: all frames of an energy, then the next energy. up_down: one frame an energy, going alternately up
        and down. random: all frames shuffled.
    seed : int
        Seed of the random order, kept with the data.
    dark_frames : int
        Dark frames to take first, and again when they are too old or the exposure changes; 0 for none.
    dark_ttl : float, s
        How long dark frames are good for, by the camera's clock.
    retake_partial : bool
        Take frames whose I0 was lost or partial, against those around them, again at the end, once.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the map cannot be measured as asked.
    """
    return (
        yield from _take_map(
            endstation,
            plan_name="rixs_map",
            technique="rixs",
            regions=EnergyRegions.of(regions),
            exposure_time=exposure_time,
            sample=sample,
            edge=edge,
            frames_per_energy=frames_per_energy,
            order=order,
            seed=seed,
            dark_frames=dark_frames,
            dark_ttl=dark_ttl,
            retake_partial=retake_partial,
        )
    )


def elastic_scan(
    endstation: Endstation,
    regions: EnergyRegions | str,
    exposure_time: float,
    *,
    sample: str = "",
    frames_per_energy: int = 1,
    dark_frames: int = 3,
    dark_ttl: float = 3600.0,
) -> MsgGenerator[str]:
    """Calibrate the spectrograph: frames at a few energies where the elastic line stands alone.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    regions : EnergyRegions, eV
        At least four excitation energies away from any resonance of the sample, as in "512, 515, 518, 521".
    exposure_time : float, s
        Exposure of a frame, where the region has none of its own.
    sample : str
        Sample to move into the beam, best one that scatters; the one that is there when left out.
    frames_per_energy : int
        Frames taken at each energy, each an event of its own.
    dark_frames : int
        Dark frames to take first, and again when they are too old or the exposure changes; 0 for none.
    dark_ttl : float, s
        How long dark frames are good for, by the camera's clock.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the scan cannot be measured as asked.
    """
    regions = EnergyRegions.of(regions)
    if len(regions) < FEWEST_LINES:
        raise PlanError(f"regions: {len(regions)} energies, expected at least {FEWEST_LINES} to calibrate with")
    return (
        yield from _take_map(
            endstation,
            plan_name="elastic_scan",
            technique="elastic",
            regions=regions,
            exposure_time=exposure_time,
            sample=sample,
            edge="",
            frames_per_energy=frames_per_energy,
            order="up",
            seed=0,
            dark_frames=dark_frames,
            dark_ttl=dark_ttl,
        )
    )


def visit_order(energies: int, frames_per_energy: int, order: Order, *, seed: int) -> list[int]:
    """Give the order in which frames are taken.

    Parameters
    ----------
    energies : int
        Number of energies.
    frames_per_energy : int
        Frames at each of them.
    order : str
        ``up``, ``up_down`` or ``random``, as `rixs_map` explains them.
    seed : int
        Of the random order.

    Returns
    -------
    list of int
        Index of the energy of each frame; every index comes `frames_per_energy` times.

    Raises
    ------
    PlanError
        When the order is none of these, or goes down without a second frame to go down with.
    """
    match order:
        case "up":
            return [index for index in range(energies) for _ in range(frames_per_energy)]
        case "up_down":
            if frames_per_energy < 2:
                raise PlanError(f"order: 'up_down' needs frames_per_energy of 2 or more, not {frames_per_energy}")
            passes = [list(range(energies)), list(reversed(range(energies)))]
            return [index for frame in range(frames_per_energy) for index in passes[frame % 2]]
        case "random":
            visits = list(range(energies)) * frames_per_energy
            random.Random(seed).shuffle(visits)
            return visits
        case _:
            raise PlanError(f"order: {order!r} is none of {', '.join(get_args(Order))}")


def _take_map(
    endstation: Endstation,
    *,
    plan_name: str,
    technique: str,
    regions: EnergyRegions,
    exposure_time: float,
    sample: str,
    edge: str,
    frames_per_energy: int,
    order: Order,
    seed: int,
    dark_frames: int,
    dark_ttl: float,
    retake_partial: bool | None = None,
) -> MsgGenerator[str]:
    check_positive(exposure_time=exposure_time, frames_per_energy=frames_per_energy, dark_ttl=dark_ttl)
    if dark_frames < 0:
        raise PlanError(f"dark_frames: {dark_frames} is below zero")
    exposures = np.where(np.isnan(regions.dwell), exposure_time, regions.dwell)
    check_reachable(endstation.energy, regions.points)
    check_reachable(endstation.scaler.dwell, exposures)
    check_reachable(endstation.ccd.exposure_time, exposures)
    visits = visit_order(len(regions), frames_per_energy, order, seed=seed)
    measured_sample = yield from check_beamline(endstation, sample)

    measurement = Measurement(
        technique=technique,
        sample=measured_sample,
        edge=edge,
        energy_regions=str(regions),
        points=len(visits),
        exposure_time=exposure_time,
        frames_per_energy=frames_per_energy,
        order=order,
    )
    plan_args = {
        "regions": str(regions),
        "exposure_time": exposure_time,
        "sample": sample,
        "edge": edge,
        "frames_per_energy": frames_per_energy,
        "order": order,
        "seed": seed,
        "dark_frames": dark_frames,
        "dark_ttl": dark_ttl,
    }
    if retake_partial is not None:
        plan_args["retake_partial"] = retake_partial
    frames = list(zip(regions.points[visits].tolist(), exposures[visits].tolist(), strict=True))
    cameras = [endstation.ccd, endstation.ccd_dark] if dark_frames else [endstation.ccd]
    return (
        yield from run_with_light(
            endstation,
            lambda interruptions: _take_frames(
                endstation,
                interruptions,
                frames,
                dark_frames=dark_frames,
                dark_ttl=dark_ttl,
                retake_partial=bool(retake_partial),
            ),
            detectors=[endstation.scaler, *cameras],
            metadata=start_metadata(plan_name, plan_args, measurement),
            move_to_sample=sample,
        )
    )


def _take_frames(
    endstation: Endstation,
    interruptions: Interruptions,
    frames: Sequence[tuple[float, float]],
    *,
    dark_frames: int,
    dark_ttl: float,
    retake_partial: bool,
) -> MsgGenerator[None]:
    """Take a frame for each (energy in eV, exposure in s), and dark frames whenever those at hand do not serve."""
    camera, dark_camera = endstation.ccd, endstation.ccd_dark
    devices = [endstation.energy, endstation.scaler, endstation.ring, camera]
    dark_exposure, dark_time, now = 0.0, 0.0, 0.0  # times by the camera's clock, which a simulation may speed up
    points: list[Point] = []
    for energy, seconds in _with_retakes(frames, points) if retake_partial else frames:
        if dark_frames and (seconds != dark_exposure or now - dark_time >= dark_ttl):
            for _ in range(dark_frames):
                positions = [endstation.shutter, CLOSED, dark_camera.exposure_time, seconds]
                dark = yield from take_point(endstation, interruptions, positions, [dark_camera], stream=Stream.DARK)
                now = dark.time
            dark_exposure, dark_time = seconds, now
        exposure = [camera.exposure_time, seconds, endstation.scaler.dwell, seconds]
        positions = [endstation.shutter, OPEN, endstation.energy, energy, *exposure]
        point = yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)
        now = point.time
        points.append(point)


def _with_retakes(frames: Sequence[tuple[float, float]], points: Sequence[Point]) -> Iterator[tuple[float, float]]:
    """Give all frames, then, once their points are there, those again whose incident flux was lost or partial."""
    yield from frames
    if any(Key.I0 in point.values for point in points):  # not so for those who list a plan's messages
        reasons = judge_flux([_flux(point) for point in points]).reasons
        if all(reasons):
            logger.warning("I0 was lost or partial in every frame; none is taken again")
            return
        yield from [frame for frame, reason in zip(frames, reasons, strict=True) if reason]


def _flux(point: Point) -> float:
    """Give the incident flux of a point, counts/s; NaN where it was not recorded."""
    dwell = float(point.values.get(Key.DWELL, math.nan))
    return float(point.values.get(Key.I0, math.nan)) / dwell if dwell > 0 else math.nan
