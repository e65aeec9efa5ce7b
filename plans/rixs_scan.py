"""What RIXS maps and elastic scans share: checks, the order of frames, dark frames, and frames taken again."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, Literal, TypedDict, get_args

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import Key, Measurement, Stream
from callbacks.incident_flux import check_flux
from plans.checks import check_beamline, check_count, check_counting_time, check_positive, check_reachable
from plans.endstation import CLOSED, OPEN, Endstation
from plans.errors import PlanError
from plans.measuring import Interruptions, Point, run_with_light, start_metadata, take_point
from plans.options import SAMPLE, SampleOptions
from plans.regions import EnergyRegions
from plans.regions.energy import MAX_POINTS

logger = logging.getLogger(__name__)

Order = Literal["up", "up_down", "random"]
LARGEST_SEED = 10**12  # beyond it, the number was mistyped; the catalogue keeps whole numbers of 64 bits
MOST_DARK_FRAMES = 1000  # taken at a time; beyond it, the number was mistyped


class ElasticOptions(TypedDict, total=False):
    """What is measured, and with which frames."""

    sample: Annotated[str, "Sample to move into the beam; the one that is there when left out."]
    frames_per_energy: Annotated[int, "Frames taken at each energy, each an event of its own."]
    dark_frames: Annotated[
        int, "Dark frames to take first, and again when they are too old or the exposure changes; 0 for none."
    ]
    dark_ttl: Annotated[float, "s", "How long dark frames are good for, by the camera's clock."]


class RixsOptions(SampleOptions, ElasticOptions, total=False):
    """What is measured, with which frames, and in which order."""

    order: Annotated[
        Order,
        "up: all frames of an energy, then the next energy. up_down: one frame an energy, going alternately up and "
        "down. random: all frames shuffled.",
    ]
    seed: Annotated[int, "Seed of the random order, kept with the data."]
    retake_partial: Annotated[
        bool, "Take frames whose I0 was lost or partial, against those around them, again at the end, once."
    ]


ELASTIC: ElasticOptions = {"sample": "", "frames_per_energy": 1, "dark_frames": 3, "dark_ttl": 3600.0}
RIXS: RixsOptions = {
    **SAMPLE,
    "frames_per_energy": 1,
    "order": "up",
    "seed": 0,
    "dark_frames": 3,
    "dark_ttl": 3600.0,
    "retake_partial": False,
}


@dataclass(frozen=True)
class RixsScan:
    """A measurement of CCD frames as it was asked for.

    Attributes
    ----------
    plan_name : str
    technique : str
    regions : EnergyRegions
        With the exposure of a frame, where it is their own.
    exposure_time : float
        s a frame.
    sample, edge : str
    frames_per_energy : int
    order : str
        As `visit_order` explains them.
    seed : int
        Of the random order.
    dark_frames : int
    dark_ttl : float
        s that dark frames are good for, by the camera's clock.
    retake_partial : bool, optional
        Whether frames whose I0 was lost or partial are taken again; None where the plan has no such parameter.
    """

    plan_name: str
    technique: str
    regions: EnergyRegions
    exposure_time: float
    sample: str
    edge: str = ""
    frames_per_energy: int = 1
    order: Order = "up"
    seed: int = 0
    dark_frames: int = 3
    dark_ttl: float = 3600.0
    retake_partial: bool | None = None

    @property
    def plan_args(self) -> dict[str, Any]:
        """The parameters as the start document has them."""
        args = {field.name: getattr(self, field.name) for field in fields(self)[2:]} | {"regions": str(self.regions)}
        if self.retake_partial is None:
            del args["retake_partial"]
        return args

    @property
    def exposures(self) -> np.ndarray:
        """Exposure at each energy, s, shape (n,)."""
        return np.where(np.isnan(self.regions.dwell), self.exposure_time, self.regions.dwell)

    @property
    def frames(self) -> list[tuple[float, float]]:
        """Energy, eV, and exposure, s, of each frame in the order of measurement."""
        visits = visit_order(len(self.regions), self.frames_per_energy, self.order, seed=self.seed)
        return list(zip(self.regions.points[visits].tolist(), self.exposures[visits].tolist(), strict=True))

    def check(self, endstation: Endstation) -> MsgGenerator[Measurement]:
        """Check that it can be measured, `PlanError` where not; nothing moves. Give what the start document holds."""
        check_positive(
            exposure_time=self.exposure_time, frames_per_energy=self.frames_per_energy, dark_ttl=self.dark_ttl
        )
        check_count("seed", self.seed, least=-LARGEST_SEED, most=LARGEST_SEED)
        check_count("dark_frames", self.dark_frames, least=0, most=MOST_DARK_FRAMES)
        check_count("frames", len(self.regions) * self.frames_per_energy, most=MAX_POINTS)
        check_counting_time(self.frames_per_energy * float(self.exposures.sum()))
        check_reachable(endstation.energy, self.regions.points)
        check_reachable(endstation.scaler.dwell, self.exposures)
        check_reachable(endstation.ccd.exposure_time, self.exposures)
        frames = self.frames
        check_count("dark frames in all", self.dark_frames * self._renewals(frames), least=0, most=MAX_POINTS)
        sample = yield from check_beamline(endstation, self.sample)
        return Measurement(
            technique=self.technique,
            sample=sample,
            edge=self.edge,
            energy_regions=str(self.regions),
            points=len(frames),
            exposure_time=self.exposure_time,
            frames_per_energy=self.frames_per_energy,
            order=self.order,
        )

    def _renewals(self, frames: list[tuple[float, float]]) -> int:
        """Count how often dark frames are taken, before the first frame included, where a frame takes no longer."""
        exposures = [seconds for _, seconds in frames]
        changes = sum(before != after for before, after in pairwise(exposures))
        too_old = min(float(len(frames)), sum(exposures) / self.dark_ttl)
        return min(len(frames), 1 + changes + int(too_old))

    def check_and_measure(self, endstation: Endstation) -> MsgGenerator[str]:
        """Measure in one run once everything has been checked; give the run's uid."""
        measurement = yield from self.check(endstation)
        cameras = [endstation.ccd, endstation.ccd_dark] if self.dark_frames else [endstation.ccd]
        return (
            yield from run_with_light(
                endstation,
                lambda interruptions: self._take_frames(endstation, interruptions),
                detectors=[endstation.scaler, *cameras],
                metadata=start_metadata(self.plan_name, self.plan_args, measurement),
                move_to_sample=self.sample,
            )
        )

    def _take_frames(self, endstation: Endstation, interruptions: Interruptions) -> MsgGenerator[None]:
        """Take all frames, and dark frames whenever the last ones are too old or of another exposure."""
        camera = endstation.ccd
        devices = [endstation.energy, endstation.scaler, endstation.ring, camera]
        dark_exposure, dark_time, now = 0.0, 0.0, 0.0  # times by the camera's clock, which a simulation may speed up
        points: list[Point] = []
        frames = self.frames
        for energy, seconds in _with_retakes(frames, points) if self.retake_partial else frames:
            if self.dark_frames and (seconds != dark_exposure or now - dark_time >= self.dark_ttl):
                dark_time = now = yield from self._take_dark_frames(endstation, interruptions, seconds)
                dark_exposure = seconds
            exposure = [camera.exposure_time, seconds, endstation.scaler.dwell, seconds]
            positions = [endstation.shutter, OPEN, endstation.energy, energy, *exposure]
            point = yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)
            now = point.time
            points.append(point)

    def _take_dark_frames(
        self, endstation: Endstation, interruptions: Interruptions, seconds: float
    ) -> MsgGenerator[float]:
        """Take dark frames of an exposure, s; give the time of the last, s."""
        camera = endstation.ccd_dark
        for _ in range(self.dark_frames):
            positions = [endstation.shutter, CLOSED, camera.exposure_time, seconds]
            point = yield from take_point(endstation, interruptions, positions, [camera], stream=Stream.DARK)
        return point.time


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
        Index of the energy of each frame; every index occurs `frames_per_energy` times.

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


def _with_retakes(frames: Sequence[tuple[float, float]], points: Sequence[Point]) -> Iterator[tuple[float, float]]:
    """Give all frames, then, once their points are measured, again those whose incident flux was lost or partial."""
    yield from frames
    if any(Key.I0 in point.values for point in points):  # not where a plan's messages are only listed
        reasons = check_flux([_flux(point) for point in points]).reasons
        if all(reasons):
            logger.warning("I0 was lost or partial in every frame; none is taken again")
            return
        yield from [frame for frame, reason in zip(frames, reasons, strict=True) if reason]


def _flux(point: Point) -> float:
    """Give the incident flux of a point, counts/s; NaN where it was not recorded."""
    dwell = float(point.values.get(Key.DWELL, math.nan))
    return float(point.values.get(Key.I0, math.nan)) / dwell if dwell > 0 else math.nan
