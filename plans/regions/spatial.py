"""Spatial regions: the text "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03" as the pixels of STXM images, and back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from callbacks.contract import StxmRegion
from plans.errors import PlanError
from plans.regions.edges import first_repeated
from plans.regions.steps import Steps, check_ascending, check_whole_steps
from plans.regions.text import assignments, plain, read_number

EXPECTED = (
    "expected x and y in um as start:stop:step, as in x=-1.8:1.77:0.03 y=-1.8:1.77:0.03, "
    "or centre, size and step as x,y, as in centre=0,0 size=3.6,3.6 step=0.03"
)
MAX_PIXELS = 4_000_000  # of all regions together, 2000 x 2000; beyond it, a step was mistyped
MAX_POSITIONS = 100_000  # along one axis
SMALLEST_STEP, FARTHEST = Decimal("0.0001"), Decimal(100_000)  # um; outside, a number was mistyped


@dataclass(frozen=True)
class Axis(Steps):
    """Evenly spaced positions, um."""

    @classmethod
    def parse(cls, text: str, where: str, expected: str) -> Self:
        """Read ``start:stop:step``, or a single position, in um.

        Parameters
        ----------
        text : str
        where : str
            What it belongs to, for messages.
        expected : str
            What is expected there, for messages.

        Raises
        ------
        PlanError
            Naming where, what was wrong and what was expected.
        """
        fields = text.split(":")
        if len(fields) not in (1, 3):
            raise PlanError(f"{where}: {text.strip()!r} is not start:stop:step; {expected}")
        numbers = [read_position(field, where, expected) for field in fields]
        if len(numbers) == 1:
            return cls(start=numbers[0], stop=numbers[0], step=Decimal(0))
        return cls.between(*numbers, where=where)

    @classmethod
    def between(cls, start: Decimal, stop: Decimal, step: Decimal, *, where: str) -> Self:
        """Give the positions from `start` to `stop`; raises and parameters as `parse`."""
        if step < SMALLEST_STEP:
            raise PlanError(f"{where}: step {plain(step)} um, expected at least {SMALLEST_STEP} um")
        check_ascending(start, stop, where=where, unit="um")
        if (positions := (stop - start) // step + 1) > MAX_POSITIONS:
            raise PlanError(f"{where}: {positions} positions, expected at most {MAX_POSITIONS}")
        check_whole_steps(start, stop, step, where=where, unit="um")
        return cls(start=start, stop=stop, step=step)

    @property
    def ends(self) -> tuple[float, float]:
        """First and last position, um; each the float nearest to the decimal typed."""
        return float(self.start), float(self.stop)

    @property
    def points(self) -> list[float]:
        """All positions, um, ascending."""
        return [float(position) for position in self]


@dataclass(frozen=True)
class SpatialRegion:
    """A rectangle of pixels in coordinates of the fine stage; lines run along x."""

    x: Axis  # the pixels of a line
    y: Axis  # the lines

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one region.

        Parameters
        ----------
        text : str
            ``x=start:stop:step y=start:stop:step`` with the centres of the first and last pixels, where a single y is
            one line. Or ``centre=x,y size=x,y step=x,y`` with the size from edge to edge, a whole number of pixels; one
            number stands for both.

        Raises
        ------
        PlanError
            Naming the region and what was expected.
        """
        where = f"spatial region {text!r}"
        fields = assignments(text, where, EXPECTED)
        if fields.keys() == {"x", "y"}:
            x, y = (Axis.parse(fields[name], f"{where}: {name}", EXPECTED) for name in ("x", "y"))
        elif fields.keys() == {"centre", "size", "step"}:
            centre, size, step = (_pair(fields, key, where) for key in ("centre", "size", "step"))
            x, y = (_around(centre[i], size[i], step[i], where=f"{where}: {name}") for i, name in enumerate("xy"))
        else:
            raise PlanError(f"{where}: {EXPECTED}")
        if len(x) < 2:
            raise PlanError(f"{where}: x: a line of one pixel, expected at least 2 pixels")
        return cls(x=x, y=y)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return len(self.x) * len(self.y)

    @property
    def grid(self) -> StxmRegion:
        """The region as start documents have it."""
        return StxmRegion(x=self.x.ends, y=self.y.ends, columns=len(self.x), rows=len(self.y))

    def __str__(self) -> str:
        """Give the text that parses to this region."""
        return f"x={self.x} y={self.y}"


@dataclass(frozen=True)
class StxmRegions:
    """Regions of an image, measured one after the other. `str` gives the text that parses to the same regions.

    Coordinates are those of the fine stage; the coarse stage stays where it is.

    Raises
    ------
    PlanError
        When a region is given twice, which would be measured twice, lines are not of as many pixels in all regions, or
        there are more than `MAX_PIXELS`.
    """

    regions: tuple[SpatialRegion, ...]

    def __post_init__(self) -> None:
        if twice := first_repeated(map(str, self.regions)):
            raise PlanError(f"spatial region '{twice}': is given twice; expected each region once")
        first, *others = self.regions
        for region in others:
            if len(region.x) != len(first.x):
                raise PlanError(
                    f"spatial region '{region}': {len(region.x)} pixels a line, expected {len(first.x)} as in "
                    f"'{first}'; lines of one run are equally long"
                )
        if self.pixels > MAX_PIXELS:
            raise PlanError(f"spatial regions '{self}': {self.pixels} pixels, expected at most {MAX_PIXELS}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read regions separated by semicolons, as in ``"x=-1:0.98:0.02 y=0:1:0.02; x=2:3.98:0.02 y=0:1:0.02"``.

        Raises
        ------
        PlanError
            Naming the region and what was expected.
        """
        if not text.strip():
            raise PlanError(f"spatial regions: none given; {EXPECTED}")
        regions = tuple(SpatialRegion.parse(part.strip()) for part in text.split(";"))
        return cls(regions)

    @classmethod
    def of(cls, regions: Self | str) -> Self:
        """Give `regions` as they are, or parsed where they are text."""
        return cls.parse(regions) if isinstance(regions, str) else regions

    @property
    def grid_regions(self) -> list[StxmRegion]:
        """The regions as start documents have them."""
        return [region.grid for region in self.regions]

    @property
    def columns(self) -> int:
        """Pixels of a line."""
        return len(self.regions[0].x)

    @property
    def pixels(self) -> int:
        """Pixels of all regions."""
        return sum(region.pixels for region in self.regions)

    def __str__(self) -> str:
        """Give the text that parses to these regions."""
        return "; ".join(str(region) for region in self.regions)


def single_line(line: StxmRegions | str) -> StxmRegions:
    """Give the one line that `line` is.

    Raises
    ------
    PlanError
        When it is not a line, or more than one.
    """
    regions = StxmRegions.of(line)
    if len(regions.regions) != 1 or len(regions.regions[0].y) != 1:
        lines = sum(len(region.y) for region in regions.regions)
        raise PlanError(f"line '{regions}': {lines} lines, expected one, as in x=-1.8:1.77:0.03 y=0.2")
    return regions


def read_position(text: str, where: str, expected: str) -> Decimal:
    """Read a number of um; `PlanError` names where, for what is none or farther than any stage moves."""
    return read_number(text, where, expected, lowest=-FARTHEST, highest=FARTHEST)


def _pair(fields: dict[str, str], key: str, where: str) -> tuple[Decimal, Decimal]:
    numbers = [read_position(text, f"{where}: {key}", EXPECTED) for text in fields[key].split(",")]
    if len(numbers) > 2 or (key == "centre" and len(numbers) != 2):
        raise PlanError(f"{where}: {key}: {fields[key]!r} is not x,y; {EXPECTED}")
    return numbers[0], numbers[-1]


def _around(centre: Decimal, size: Decimal, step: Decimal, *, where: str) -> Axis:
    """Give the centres of pixels that fill `size` um around `centre`."""
    if step < SMALLEST_STEP:
        raise PlanError(f"{where}: step {plain(step)} um, expected at least {SMALLEST_STEP} um")
    if size <= 0 or size % step:
        raise PlanError(f"{where}: size {plain(size)} um is not a whole number of steps of {plain(step)} um")
    if size == step:
        return Axis(start=centre, stop=centre, step=Decimal(0))
    reach = (size - step) / 2
    return Axis.between(centre - reach, centre + reach, step, where=where)
