"""What all STXM plans share: the checks before anything moves, and lines of pixels, one an event."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import ImageOutput, Key, Measurement, Stream, StxmGrid, polarisation_called
from plans.checks import (
    check_beamline,
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
    ALL_ENERGIES,
    Aim,
    Decisions,
    HeldSettings,
    Interruptions,
    Setting,
    Teller,
    run_with_light,
    start_metadata,
    take_point,
    take_until,
)
from plans.options import SAMPLE, PolarisationOptions, SampleOptions
from plans.regions import EnergyRegions, StxmRegions, blank_in

Mode = Literal["line", "point"]
MAX_LINES = 200_000  # of a run: 100 images of 2000 lines, 2 days at 1 s; beyond it, a step was mistyped
MOST_DARK_LINES = 1000
LARGEST_FRACTION_SIGMA = 0.29  # of a fraction of which nothing is known but that it lies from 0 to 1: 1 / sqrt(12)


class FocusOptions(PolarisationOptions, total=False):
    """How a focus scan is measured."""

    sample: Annotated[str, "Sample to move into the beam; the one that is there when left out."]
    mode: Annotated[Mode, "line: the fine stage flies along the line. point: it stops at each pixel."]
    dark_lines: Annotated[int, "Lines to take first with the shutter closed; 0 for none."]


class ImageOptions(PolarisationOptions, total=False):
    """How the lines of images are measured."""

    mode: Annotated[Mode, "line: the fine stage flies along a line. point: it stops at each pixel."]
    follow_focus: Annotated[
        bool, "Whether the zone plate moves to the nominal focus at each energy; otherwise it stays where it is."
    ]
    blank: Annotated[
        str, "Rectangle without sample, inside the field, as x=from:to y=from:to in um; not known when left out."
    ]
    dark_lines: Annotated[int, "Lines to take first with the shutter closed; 0 for none."]


class StxmOptions(SampleOptions, ImageOptions, total=False):
    """What is measured, and how."""


class StackOptions(StxmOptions, total=False):
    """What is measured, how, and until when."""

    until_fraction_sigma: Annotated[
        float,
        "Add passes over all images until the median standard uncertainty of the reduced fraction, over the pixels that"
        " hold sample, is at most this, as 0.05; 0: one pass. Needs the live reduction, and references of both phases.",
    ]
    most_passes: Annotated[int, "Passes at most, also where the reduction is late; with until_fraction_sigma."]
    most_time: Annotated[
        float,
        "s",
        "Time from the end of the first pass on in which another one is begun; 0: no limit; with until_fraction_sigma.",
    ]


FOCUS: FocusOptions = {"sample": "", "polarisation": "", "mode": "line", "dark_lines": 0}
IMAGES: ImageOptions = {"polarisation": "", "mode": "line", "follow_focus": True, "blank": "", "dark_lines": 3}
STXM: StxmOptions = {**SAMPLE, **IMAGES}
STACK: StackOptions = {**STXM, "until_fraction_sigma": 0.0, "most_passes": 5, "most_time": 0.0}


@dataclass(frozen=True)
class StxmScan:
    """A STXM measurement as it was asked for.

    Attributes
    ----------
    plan_name : str
    plan_args : dict
        As the start document has them.
    technique : str
    energies : EnergyRegions
        With the dwell of a pixel, where it is their own.
    regions : StxmRegions
    dwell : float
        s a pixel.
    sample, edge : str
    polarisation : str
        "" to leave it as it is.
    mode : str
        ``line`` or ``point``.
    follow_focus : bool
        Whether the zone plate goes into focus at each energy; otherwise it is left where it is.
    zone_plate : tuple of float
        Of a focus scan, um: one position a line, while the line stays the same.
    blank : str
    dark_lines : int
    dimensions : tuple of str
        Data keys that events run along, the slowest first.
    until_fraction_sigma : float
        What is to be reached by passes over all images; 0 where there is one pass.
    most_passes : int
    most_time : float
        s in which passes are begun; 0 for no limit.
    """

    plan_name: str
    plan_args: dict[str, Any]
    technique: str
    energies: EnergyRegions
    regions: StxmRegions
    dwell: float
    sample: str
    edge: str = ""
    polarisation: str = ""
    mode: Mode = "line"
    follow_focus: bool = True
    zone_plate: tuple[float, ...] = ()
    blank: str = ""
    dark_lines: int = 0
    dimensions: tuple[str, ...] = (Key.ENERGY, Key.STXM_Y)
    until_fraction_sigma: float = 0.0
    most_passes: int = 5
    most_time: float = 0.0

    @property
    def aim(self) -> Aim | None:
        """What is to be reached; None where there is one pass."""
        if self.until_fraction_sigma == 0:
            return None
        return Aim(
            ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA,
            self.until_fraction_sigma,
            least=1,
            most=self.most_passes,
            most_time=math.inf if self.most_time == 0 else self.most_time,
            counted="passes",
            stream=Stream.IMAGES,
        )

    @property
    def visits(self) -> list[tuple[float, float]]:
        """Energy, eV, and dwell, s, in the order of measurement."""
        dwells = np.where(np.isnan(self.energies.dwell), self.dwell, self.energies.dwell)
        return list(zip(self.energies.points.tolist(), dwells.tolist(), strict=True))

    @property
    def grid(self) -> StxmGrid:
        """What is covered, by all passes that there may be; raises `PlanError` where `blank` is not inside it."""
        regions = self.regions.grid_regions
        if self.zone_plate:
            regions = [region.model_copy(update={"rows": len(self.zone_plate)}) for region in regions]
        return StxmGrid(
            energies=self.energies.points.tolist() * (1 if self.aim is None else self.aim.most),
            regions=regions,
            mode=self.mode,
            blank=blank_in(self.regions, self.blank),
            zone_plate=list(self.zone_plate),
        )

    def check(self, endstation: Endstation) -> MsgGenerator[Measurement]:
        """Check that it can be measured; nothing moves.

        Returns
        -------
        Measurement
            Of the start document.

        Raises
        ------
        PlanError
            Naming what cannot be measured, and what was expected.
        """
        if self.mode not in get_args(Mode):
            raise PlanError(f"mode: {self.mode!r} is none of {', '.join(get_args(Mode))}")
        check_positive(dwell=self.dwell)
        check_count("dark_lines", self.dark_lines, least=0, most=MOST_DARK_LINES)
        check_dark(endstation, "dark_lines", self.dark_lines, "shutter")
        aim = self.aim
        if aim is not None:
            aim.check("until_fraction_sigma", endstation, largest=LARGEST_FRACTION_SIGMA)
            check_count("most_passes", aim.most, most=MAX_LINES)
        grid = self.grid
        lines = grid.lines * len(grid.energies)
        check_count(f"{self.plan_name}: lines of all images", lines, most=MAX_LINES)
        check_reachable(endstation.energy, self.energies.points)
        polarisations = check_polarisation(endstation, self.polarisation, self.energies.points)
        if positions := self.zone_plate or self._focus_positions(endstation):
            check_reachable(endstation.zone_plate, positions)
        scanner = endstation.scanner
        check_reachable(scanner.x_start, [region.x[0] for region in grid.regions])
        check_reachable(scanner.x_stop, [region.x[1] for region in grid.regions])
        check_reachable(scanner.y, [y for region in grid.regions for y in region.y])
        check_reachable(scanner.columns, [self.regions.columns])
        check_reachable(scanner.dwell, [dwell for _, dwell in self.visits])
        least = sum(dwell for _, dwell in self.visits) * grid.lines * self.regions.columns
        check_counting_time(least if aim is None else least * aim.most)
        sample = yield from check_beamline(endstation, self.sample)
        return Measurement(
            technique=self.technique,
            sample=sample,
            edge=self.edge,
            energy_regions=str(self.energies),
            points=lines,
            exposure_time=self.dwell,
            polarisations=polarisations,
            grid=grid,
            precision=None
            if aim is None
            else aim.block(least_points=grid.lines * len(self.energies), least_time=least),
        )

    def measure(
        self, endstation: Endstation, measurement: Measurement, metadata: dict[str, Any] | None = None
    ) -> MsgGenerator[str]:
        """Measure, in one run.

        Parameters
        ----------
        endstation : Endstation
        measurement : Measurement
            What `check` gave.
        metadata : dict, optional
            More of the start document.

        Returns
        -------
        str
            Uid of the run.
        """
        blocks = start_metadata(self.plan_name, self.plan_args, measurement, dimensions=self.dimensions)
        return (
            yield from run_with_light(
                endstation,
                lambda interruptions: self._take_lines(endstation, interruptions),
                detectors=[endstation.scanner],
                metadata=blocks | (metadata or {}),
                move_to_sample=self.sample,
            )
        )

    def check_and_measure(self, endstation: Endstation) -> MsgGenerator[str]:
        """Measure once everything has been checked; give the run's uid."""
        measurement = yield from self.check(endstation)
        return (yield from self.measure(endstation, measurement))

    def _focus_positions(self, endstation: Endstation) -> list[float]:
        if not self._follows(endstation):
            return []
        return [endstation.zone_plate.focus(energy) for energy, _ in self.visits]

    def _follows(self, endstation: Endstation) -> bool:
        """Tell whether the zone plate goes into focus at each energy."""
        return self.follow_focus and "zone_plate" in endstation

    def _take_lines(self, endstation: Endstation, interruptions: Interruptions) -> MsgGenerator[None]:
        devices = [*endstation.those("energy", "polarisation", "scanner", "ring", "zone_plate")]
        held = HeldSettings(interruptions)
        for _ in range(self.dark_lines):
            dark = [(endstation.shutter, CLOSED), *next(self._lines(endstation))]
            yield from take_point(endstation, interruptions, held.positions(dark), devices, stream=Stream.DARK)
        decisions: Decisions | None = None
        if self.aim is not None and endstation.feedback is not None:
            decisions = Decisions(Teller(endstation.feedback, interruptions, self.aim.of, self.aim.stream), self.aim)
        light = [(shutter, OPEN) for shutter in endstation.those("shutter")]
        passes = itertools.count(1)

        def take(index: int) -> MsgGenerator[None]:
            for line in self._lines(endstation):
                positions = held.positions([*light, *line])
                point = yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)
            if decisions is not None:
                decisions.took(index, number=next(passes) * len(self.energies), at=point.time)

        if decisions is not None:
            yield from take_until(decisions, [[ALL_ENERGIES]], take)
        else:
            yield from take(ALL_ENERGIES)

    def _lines(self, endstation: Endstation) -> Iterator[list[Setting]]:
        """Give the settings of each line, in the order that `StxmGrid.place` counts them in."""
        scanner = endstation.scanner
        polarised: list[Setting] = []
        if self.polarisation:
            polarised = [(endstation.polarisation, polarisation_called(self.polarisation))]
        for energy, dwell in self.visits:
            focus: list[Setting] = []
            if self._follows(endstation):
                focus = [(endstation.zone_plate, endstation.zone_plate.focus(energy))]
            for region in self.regions.regions:
                image: list[Setting] = [
                    *polarised,
                    (endstation.energy, energy),
                    (scanner.x_start, region.x.ends[0]),
                    (scanner.x_stop, region.x.ends[1]),
                    (scanner.columns, len(region.x)),
                    (scanner.dwell, dwell),
                    (scanner.mode, self.mode),
                ]
                for y in region.y.points:
                    if self.zone_plate:
                        plate = endstation.zone_plate
                        yield from ([*image, (scanner.y, y), (plate, position)] for position in self.zone_plate)
                    else:
                        yield [*image, *focus, (scanner.y, y)]
