"""Energy regions: the text "520:526:0.5, 526:535:0.1" as the energies to visit, and back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Self

import numpy as np

from plans.errors import PlanError
from plans.regions.steps import Steps, check_ascending, check_whole_steps
from plans.regions.text import plain, read_number

EXPECTED = "expected start:stop:step or one energy, in eV, with @seconds for a dwell of its own, as in 520:526:0.5@0.2"
MAX_POINTS = 100_000  # a week at one point in 6 s; beyond it, a step was mistyped
SMALLEST, LARGEST = Decimal("0.000001"), Decimal(1_000_000)  # eV and s; outside, a number was mistyped


@dataclass(frozen=True)
class EnergyRegion(Steps):
    """Evenly spaced energies, eV, with a dwell."""

    dwell: Decimal | None = None  # s; None: the plan's own

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one region.

        Parameters
        ----------
        text : str
            ``start:stop:step``, or a single energy, in eV; ``@seconds`` behind it gives the region a dwell.

        Raises
        ------
        PlanError
            Naming the region and what was expected.
        """
        energies, at, dwell_text = text.partition("@")
        fields = energies.split(":")
        if len(fields) not in (1, 3):
            raise PlanError(f"energy region {text!r}: {EXPECTED}")
        where = f"energy region {text!r}"
        numbers = [_number(field, where) for field in fields]
        dwell = _number(dwell_text, where) if at else None
        if len(numbers) == 1:
            return cls(start=numbers[0], stop=numbers[0], step=Decimal(0), dwell=dwell)
        start, stop, step = numbers
        check_ascending(start, stop, where=where, unit="eV")
        region = cls(start=start, stop=stop, step=step, dwell=dwell)
        if len(region) > MAX_POINTS:
            raise PlanError(f"{where}: {len(region)} points, expected at most {MAX_POINTS}")
        check_whole_steps(start, stop, step, where=where, unit="eV")
        return region

    def __str__(self) -> str:
        """Give the text that parses to this region."""
        return super().__str__() + (f"@{plain(self.dwell)}" if self.dwell else "")


@dataclass(frozen=True)
class EnergyRegions:
    """Energy regions in ascending order. `str` gives the text that parses to the same regions.

    An end that two regions share is visited once, as the last point of the first of them, with its dwell. An energy by
    itself is no region to share an end with: where it is given again, it was mistyped.
    """

    regions: tuple[EnergyRegion, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read regions separated by commas, as in ``"520:526:0.5, 526:535:0.1@0.2, 540"``.

        Raises
        ------
        PlanError
            Naming the region and what was expected: numbers, ascending, not overlapping, none twice.
        """
        if not text.strip():
            raise PlanError(f"energy regions: none given; {EXPECTED}")
        regions = tuple(EnergyRegion.parse(part.strip()) for part in text.split(","))
        for before, region in pairwise(regions):
            if region.start == before.stop and not (region.step and before.step):
                raise PlanError(
                    f"energy region '{region}': {plain(region.start)} eV is given twice; expected each energy once"
                    " (rixs_map and elastic_scan take several frames at each with frames_per_energy)"
                )
            if region.start < before.stop:
                raise PlanError(
                    f"energy region '{region}': starts below {plain(before.stop)} eV, where '{before}' ends; "
                    "expected ascending regions that share no more than an end"
                )
        if (points := sum(len(region) for region in regions)) > MAX_POINTS:
            raise PlanError(f"energy regions {text!r}: {points} points, expected at most {MAX_POINTS}")
        return cls(regions)

    @classmethod
    def of(cls, regions: Self | str) -> Self:
        """Give `regions` as they are, or parsed where they are text."""
        return cls.parse(regions) if isinstance(regions, str) else regions

    @property
    def points(self) -> np.ndarray:
        """Energies to visit in eV, shape (n,), strictly ascending; each the float nearest to the decimal typed."""
        return np.array([float(energy) for energy, _ in self._visits()])

    @property
    def dwell(self) -> np.ndarray:
        """Dwell of each point in s, shape (n,); NaN where its region has none of its own."""
        return np.array([float("nan") if dwell is None else float(dwell) for _, dwell in self._visits()])

    @property
    def parts(self) -> list[tuple[EnergyRegion, np.ndarray]]:
        """Each region with the energies that are visited in it, eV: without those that the region before has."""
        seen: set[Decimal] = set()
        found = []
        for region in self.regions:
            found.append((region, np.array([float(energy) for energy in region if energy not in seen])))
            seen.update(region)
        return found

    def __len__(self) -> int:
        """Count the energies to visit."""
        return len(self._visits())

    def __str__(self) -> str:
        """Give the text that parses to these regions."""
        return ", ".join(str(region) for region in self.regions)

    def _visits(self) -> list[tuple[Decimal, Decimal | None]]:
        visits: dict[Decimal, Decimal | None] = {}
        for region in self.regions:
            for energy in region:
                visits.setdefault(energy, region.dwell)
        return list(visits.items())


def _number(text: str, where: str) -> Decimal:
    return read_number(text, where, EXPECTED, lowest=SMALLEST, highest=LARGEST)
