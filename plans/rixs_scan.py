"""What RIXS maps and elastic scans share: checks, the order of frames, dark frames, and frames taken again."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import Key, Measurement, Precision, Reason, RixsOutput, Stream, polarisation_called
from callbacks.incident_flux import IncidentFluxSettings, check_flux
from plans.checks import (
    check_beamline,
    check_choice,
    check_count,
    check_counting_time,
    check_dark,
    check_polarisation,
    check_positive,
    check_reachable,
)
from plans.endstation import CLOSED, OPEN, Endstation
from plans.errors import PlanError
from plans.measuring import (
    Aim,
    Decisions,
    Interruptions,
    Point,
    Teller,
    run_with_light,
    start_metadata,
    take_point,
    take_until,
)
from plans.options import SAMPLE, PolarisationOptions, SampleOptions
from plans.regions import EnergyRegions
from plans.regions.energy import MAX_POINTS

logger = logging.getLogger(__name__)

Order = Literal["up", "up_down", "random"]
Retake = Literal["no", "at_once", "at_end"]
LARGEST_SEED = 10**12  # beyond it, the number was mistyped; the catalogue keeps whole numbers of 64 bits
MOST_DARK_FRAMES = 1000  # taken at a time; beyond it, the number was mistyped
# Of a resolution element that is the brightest of 400: noise alone reaches five of its sigmas once in 9000 spectra.
LARGEST_RELATIVE_ERROR = 0.2


class ElasticOptions(PolarisationOptions, total=False):
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
    retake: Annotated[
        Retake,
        "Take frames again, once, whose I0 was lost, partial or high, or that the reduction marks or cannot use:"
        " at_once, judged against the frames before, or at_end, against those on both sides.",
    ]
    until_relative_error: Annotated[
        float,
        "Add frames at each energy until the relative standard uncertainty of the brightest resolution element of its"
        " spectrum is at most this, as 0.05; 0: take frames_per_energy. Needs the live reduction.",
    ]
    most_frames: Annotated[
        int, "Frames at an energy at most, also where the reduction is late; with until_relative_error."
    ]
    most_time: Annotated[
        float,
        "s",
        "Time from the first frame on in which more than frames_per_energy are taken; 0: no limit; with"
        " until_relative_error.",
    ]


ELASTIC: ElasticOptions = {
    "sample": "",
    "polarisation": "",
    "frames_per_energy": 1,
    "dark_frames": 3,
    "dark_ttl": 3600.0,
}
RIXS: RixsOptions = {
    **SAMPLE,
    "frames_per_energy": 1,
    "order": "up",
    "seed": 0,
    "dark_frames": 3,
    "dark_ttl": 3600.0,
    "retake": "no",
    "until_relative_error": 0.0,
    "most_frames": 20,
    "most_time": 0.0,
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
    polarisation : str
        "" to leave it as it is.
    frames_per_energy : int
    order : str
        As `visit_order` explains them.
    seed : int
        Of the random order.
    dark_frames : int
    dark_ttl : float
        s that dark frames are good for, by the camera's clock.
    retake : str, optional
        Whether marked frames are taken again, and when; None where the plan has no such parameter, nor those below.
    until_relative_error : float
        What is to be reached at each energy; 0 where `frames_per_energy` are taken.
    most_frames : int
        At an energy, where something is to be reached.
    most_time : float
        s in which more than `frames_per_energy` are taken; 0 for no limit.
    """

    plan_name: str
    technique: str
    regions: EnergyRegions
    exposure_time: float
    sample: str
    edge: str = ""
    polarisation: str = ""
    frames_per_energy: int = 1
    order: Order = "up"
    seed: int = 0
    dark_frames: int = 3
    dark_ttl: float = 3600.0
    retake: Retake | None = None
    until_relative_error: float = 0.0
    most_frames: int = 20
    most_time: float = 0.0

    @property
    def plan_args(self) -> dict[str, Any]:
        """The parameters as the start document has them."""
        args = {field.name: getattr(self, field.name) for field in fields(self)[2:]} | {"regions": str(self.regions)}
        if self.retake is None:
            for name in ("retake", "until_relative_error", "most_frames", "most_time"):
                del args[name]
        return args

    @property
    def aim(self) -> Aim | None:
        """What is to be reached; None where a fixed number of frames is taken."""
        if self.until_relative_error == 0:
            return None
        return Aim(
            RixsOutput.ROW_RELATIVE_ERROR,
            self.until_relative_error,
            least=self.frames_per_energy,
            most=self.most_frames,
            most_time=math.inf if self.most_time == 0 else self.most_time,
        )

    @property
    def exposures(self) -> np.ndarray:
        """Exposure at each energy, s, shape (n,)."""
        return np.where(np.isnan(self.regions.dwell), self.exposure_time, self.regions.dwell)

    @property
    def visits(self) -> list[int]:
        """Index of the energy of each frame in the order of measurement, where their number is fixed."""
        return visit_order(len(self.regions), self.frames_per_energy, self.order, seed=self.seed)

    def in_order(self, energies: Sequence[int], number: int) -> list[int]:
        """Give the order of a pass over energies, of which one frame each is taken; `number` counts passes from 0."""
        match self.order:
            case "up_down" if number % 2:
                return list(reversed(energies))
            case "random":
                return random.Random(f"{self.seed} {number}").sample(energies, len(energies))
        return list(energies)

    def check(self, endstation: Endstation) -> MsgGenerator[Measurement]:
        """Check that it can be measured, `PlanError` where not; nothing moves. Give what the start document holds."""
        check_positive(
            exposure_time=self.exposure_time, frames_per_energy=self.frames_per_energy, dark_ttl=self.dark_ttl
        )
        check_count("seed", self.seed, least=-LARGEST_SEED, most=LARGEST_SEED)
        check_count("dark_frames", self.dark_frames, least=0, most=MOST_DARK_FRAMES)
        check_dark(endstation, "dark_frames", self.dark_frames, "shutter", "ccd_dark")
        check_choice("order", self.order, get_args(Order))
        if self.retake is not None:
            check_choice("retake", self.retake, get_args(Retake))
        aim = self.aim
        if aim is not None:
            aim.check("until_relative_error", endstation, largest=LARGEST_RELATIVE_ERROR)
        most = self.frames_per_energy if aim is None else aim.most
        check_count("frames", len(self.regions) * most, most=MAX_POINTS)
        check_counting_time(most * float(self.exposures.sum()))
        check_reachable(endstation.energy, self.regions.points)
        polarisations = check_polarisation(endstation, self.polarisation, self.regions.points)
        check_reachable(endstation.scaler.dwell, self.exposures)
        check_reachable(endstation.ccd.exposure_time, self.exposures)
        visits = self.visits if aim is None else visit_order(len(self.regions), most, "up", seed=0)
        check_count("dark frames in all", self.dark_frames * self._renewals(visits), least=0, most=MAX_POINTS)
        sample = yield from check_beamline(endstation, self.sample)
        return Measurement(
            technique=self.technique,
            sample=sample,
            edge=self.edge,
            energy_regions=str(self.regions),
            points=len(visits),
            exposure_time=self.exposure_time,
            frames_per_energy=self.frames_per_energy,
            order=self.order,
            polarisations=polarisations,
            precision=None if aim is None else self._precision(aim),
        )

    def _precision(self, aim: Aim) -> Precision:
        least = self.frames_per_energy
        return aim.block(least_points=len(self.regions) * least, least_time=least * float(self.exposures.sum()))

    def _renewals(self, visits: Sequence[int]) -> int:
        """Count how often dark frames are taken, before the first frame included, where a frame takes no longer."""
        exposures: list[float] = self.exposures[list(visits)].tolist()
        changes = sum(before != after for before, after in pairwise(exposures))
        too_old = min(float(len(visits)), sum(exposures) / self.dark_ttl)
        return min(len(visits), 1 + changes + int(too_old))

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
        """Take all frames, and again those that are marked where that is asked for."""
        frames = _Frames(self, endstation, interruptions)
        if (aim := self.aim) is None:
            for index in self.visits:
                yield from frames.take(index)
        else:
            assert frames.teller is not None  # `check` says so before
            yield from self._take_until(frames, Decisions(frames.teller, aim))
        if self.retake == "at_end":
            for index in (yield from frames.marked()):
                yield from frames.take(index)

    def _take_until(self, frames: _Frames, decisions: Decisions) -> MsgGenerator[None]:
        """Take frames at each energy until it has enough: one energy after the other, or pass after pass."""
        energies, passes = range(len(self.regions)), iter(range(MAX_POINTS))

        def take(index: int) -> MsgGenerator[None]:
            point = yield from frames.take(index)
            decisions.took(index, number=len(frames.points), at=point.time)

        groups = [[index] for index in energies] if self.order == "up" else [list(energies)]
        yield from take_until(decisions, groups, take, lambda left: iter(self.in_order(left, next(passes))))


class _Frames:
    """Takes frames of a scan, and dark frames whenever the last ones are too old or of another exposure.

    Parameters
    ----------
    scan : RixsScan
    endstation : Endstation
    interruptions : Interruptions
        Of the run.

    Attributes
    ----------
    points : list of Point
        The frames, in order.
    teller : Teller or None
        Of what the reduction finds; None where nobody asks, or nothing tells.
    """

    def __init__(self, scan: RixsScan, endstation: Endstation, interruptions: Interruptions) -> None:
        self._scan = scan
        self._endstation = endstation
        self._interruptions = interruptions
        self._energies, self._exposures = scan.regions.points.tolist(), scan.exposures.tolist()
        named = [polarisation_called(scan.polarisation)] if scan.polarisation else []
        self._polarised = [item for name in named for item in endstation.positions("polarisation", name)]
        self._dark_exposure, self._dark_time, self._now = 0.0, 0.0, 0.0  # by the camera's clock, which may be fast
        self._indices: list[int] = []  # of the energies of the points
        self.points: list[Point] = []
        self.teller: Teller | None = None
        asks = scan.aim is not None or scan.retake not in (None, "no")
        if asks and endstation.feedback is not None:
            of, mark = RixsOutput.ROW_RELATIVE_ERROR, RixsOutput.FRAME_MARK
            self.teller = Teller(endstation.feedback, interruptions, of, mark=mark)

    def take(self, index: int) -> MsgGenerator[Point]:
        """Take a frame at an energy, and another one where it is marked and frames are taken again at once."""
        point = yield from self._take(index)
        if self._scan.retake == "at_once" and (yield from self._mark(len(self.points), self._flux_marks()[-1])):
            point = yield from self._take(index)
        return point

    def marked(self) -> MsgGenerator[list[int]]:
        """Give the indices of the energies of all frames that are marked; none where all are."""
        marks = []
        for number, mark in enumerate(self._flux_marks(), start=1):
            marks.append((yield from self._mark(number, mark)))
        if all(marks):
            logger.warning("every frame is marked, the last one as %s; none is taken again", marks[-1])
            return []
        return [index for index, mark in zip(self._indices, marks, strict=True) if mark]

    def _take(self, index: int) -> MsgGenerator[Point]:
        seconds, scan, endstation = self._exposures[index], self._scan, self._endstation
        if scan.dark_frames and (seconds != self._dark_exposure or self._now - self._dark_time >= scan.dark_ttl):
            self._dark_time = self._now = yield from self._take_dark(seconds)
            self._dark_exposure = seconds
        camera, scaler = endstation.ccd, endstation.scaler
        exposure = [camera.exposure_time, seconds, scaler.dwell, seconds]
        light = [*endstation.positions("shutter", OPEN), *self._polarised]
        positions = [*light, endstation.energy, self._energies[index], *exposure]
        devices = [*endstation.those("energy", "polarisation"), scaler, *endstation.those("ring"), camera]
        point = yield from take_point(endstation, self._interruptions, positions, devices, stream=Stream.PRIMARY)
        self._now = point.time
        self._indices.append(index)
        self.points.append(point)
        return point

    def _take_dark(self, seconds: float) -> MsgGenerator[float]:
        """Take dark frames of an exposure, s; give the time of the last, s."""
        camera = self._endstation.ccd_dark
        for _ in range(self._scan.dark_frames):
            positions = [self._endstation.shutter, CLOSED, camera.exposure_time, seconds]
            point = yield from take_point(
                self._endstation, self._interruptions, positions, [camera], stream=Stream.DARK
            )
        return point.time

    def _flux_marks(self) -> list[str]:
        """Say of each frame what is wrong with its incident flux; nothing where a plan's messages are only listed."""
        told = self._endstation.feedback
        settings = IncidentFluxSettings() if told is None else told.flux
        if not any(settings.i0 in point.values for point in self.points):
            return [""] * len(self.points)
        return check_flux([_flux(point, settings.i0) for point in self.points], settings).reasons

    def _mark(self, number: int, mark: str) -> MsgGenerator[str]:
        """Say why a frame is not to be trusted, by its flux or by the reduction; keep it in the stream `decision`."""
        if self.teller is None:
            return mark
        yield from self.teller.ask(number)
        mark = mark or self.teller.mark
        if mark:
            index = self._indices[number - 1]
            count = self._indices[:number].count(index)
            asked = self._scan.until_relative_error or math.nan
            yield from self.teller.keep(Reason.MARKED, asked=asked, index=index, count=count, again=mark)
        return mark


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


def _flux(point: Point, i0: str) -> float:
    """Give the incident flux of a point by its monitor `i0`, counts/s; NaN where it was not recorded."""
    dwell = float(point.values.get(Key.DWELL, math.nan))
    return float(point.values.get(i0, math.nan)) / dwell if dwell > 0 else math.nan
