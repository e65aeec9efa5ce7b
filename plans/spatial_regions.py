"""Spatial regions: the text "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03" as the pixels of STXM images, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Self

from callbacks.contract import StxmRegion
from plans.errors import PlanError

EXPECTED = (
    "expected x and y in um as start:stop:step, as in x=-1.8:1.77:0.03 y=-1.8:1.77:0.03, "
    "or centre, size and step as x,y, as in centre=0,0 size=3.6,3.6 step=0.03"
)
MAX_PIXELS = 4_000_000  # of all regions together, 2000 x 2000; beyond it, a step was mistyped
MAX_POSITIONS = 100_000  # along one axis
SMALLEST_STEP, FARTHEST = Decimal("0.0001"), Decimal(100_000)  # um; outside, a number was mistyped


@dataclass(frozen=True)
class Axis:
    """Evenly spaced positions, both ends included; a single position has ``start == stop`` and no step.

    Decimal numbers, so that steps of 0.03 um land on the positions as typed.
    """

    start: Decimal  # um
    stop: Decimal  # um
    step: Decimal  # um; 0 for a single position

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
        numbers = [number(field, where, expected) for field in fields]
        if len(numbers) == 1:
            return cls(start=numbers[0], stop=numbers[0], step=Decimal(0))
        return cls.between(*numbers, where=where)

    @classmethod
    def between(cls, start: Decimal, stop: Decimal, step: Decimal, *, where: str) -> Self:
        """Give the positions from `start` to `stop`; raises and parameters as `parse`."""
        if step < SMALLEST_STEP:
            raise PlanError(f"{where}: step {plain(step)} um, expected at least {SMALLEST_STEP} um")
        if stop <= start:
            raise PlanError(f"{where}: stop {plain(stop)} um is not above start {plain(start)} um")
        if (positions := (stop - start) // step + 1) > MAX_POSITIONS:
            raise PlanError(f"{where}: {positions} positions, expected at most {MAX_POSITIONS}")
        if last := (stop - start) % step:
            raise PlanError(
                f"{where}: stop is not a whole number of steps from start; "
                f"the last step within it ends at {plain(stop - last)} um"
            )
        return cls(start=start, stop=stop, step=step)

    @property
    def ends(self) -> tuple[float, float]:
        """First and last position, um; each the float nearest to the decimal typed."""
        return float(self.start), float(self.stop)

    @property
    def points(self) -> list[float]:
        """All positions, um, ascending."""
        return [float(position) for position in self]

    def __len__(self) -> int:
        """Count the positions."""
        return int((self.stop - self.start) // self.step) + 1 if self.step else 1

    def __iter__(self) -> Iterator[Decimal]:
        """Give the positions, ascending."""
        return (self.start + index * self.step for index in range(len(self)))

    def __str__(self) -> str:
        """Give the text that parses to this axis."""
        return ":".join(plain(field) for field in ([self.start, self.stop, self.step] if self.step else [self.start]))


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
        When lines are not of as many pixels in all regions, or there are more than `MAX_PIXELS`.
    """

    regions: tuple[SpatialRegion, ...]

    def __post_init__(self) -> None:
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


def blank_in(regions: StxmRegions, text: str) -> tuple[float, float, float, float] | None:
    """Read the rectangle without sample.

    Parameters
    ----------
    regions : StxmRegions
    text : str
        ``x=from:to y=from:to`` in um; empty for none.

    Returns
    -------
    tuple of float or None
        x and y from and to, um.

    Raises
    ------
    PlanError
        When it cannot be read, or holds no pixel, or is not within the pixels of one region.
    """
    if not text.strip():
        return None
    where, expected = f"blank {text!r}", "expected x=from:to y=from:to in um, as in x=1.2:1.8 y=-1.8:1.8"
    fields = assignments(text, where, expected)
    if fields.keys() != {"x", "y"} or any(value.count(":") != 1 for value in fields.values()):
        raise PlanError(f"{where}: {expected}")
    ends = {name: [number(end, where, expected) for end in value.split(":")] for name, value in fields.items()}
    for name, (low, high) in ends.items():
        if high <= low:
            raise PlanError(f"{where}: {name} to {plain(high)} um is not above {name} from {plain(low)} um")
    (left, right), (bottom, top) = ends["x"], ends["y"]
    for region in regions.regions:
        if _holds(region.x, left, right) and _holds(region.y, bottom, top):
            if any(left <= x <= right for x in region.x) and any(bottom <= y <= top for y in region.y):
                return float(left), float(right), float(bottom), float(top)
            raise PlanError(f"{where}: there is no centre of a pixel of '{region}' in it")
    raise PlanError(f"{where}: is not inside the field, '{regions}'")


def assignments(text: str, where: str, expected: str) -> dict[str, str]:
    """Read ``name=value name=value``; `PlanError` names where, for what is not so or comes twice."""
    fields: dict[str, str] = {}
    for field in text.split():
        name, equals, value = field.partition("=")
        if not equals or name in fields:
            raise PlanError(f"{where}: {field!r} {'is given twice' if equals else 'is not name=value'}; {expected}")
        fields[name] = value
    return fields


def number(text: str, where: str, expected: str) -> Decimal:
    """Read a number of um; `PlanError` names where, for what is none or farther than any stage."""
    try:
        value = Decimal(text.strip()).normalize()
    except InvalidOperation:
        raise PlanError(f"{where}: {text.strip()!r} is not a number; {expected}") from None
    if not (value.is_finite() and abs(value) <= FARTHEST):
        raise PlanError(f"{where}: {text.strip()} is not between -{FARTHEST} and {FARTHEST}; {expected}")
    return value + 0  # no -0


def plain(value: Decimal) -> str:
    """Write a number without an exponent."""
    return f"{value.normalize():f}"


def _pair(fields: dict[str, str], key: str, where: str) -> tuple[Decimal, Decimal]:
    numbers = [number(text, f"{where}: {key}", EXPECTED) for text in fields[key].split(",")]
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


def _holds(axis: Axis, low: Decimal, high: Decimal) -> bool:
    """Whether the pixels along an axis cover from `low` to `high`; a single line is taken to be as wide as it gets."""
    if not axis.step:
        return low <= axis.start <= high
    return axis.start - axis.step / 2 <= low and high <= axis.stop + axis.step / 2
