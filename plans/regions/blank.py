"""The rectangle without sample: the text "x=1.2:1.8 y=-1.8:1.8" as a part of the field."""

from __future__ import annotations

from decimal import Decimal

from plans.errors import PlanError
from plans.regions.spatial import StxmRegions, read_position
from plans.regions.steps import Steps
from plans.regions.text import assignments, plain


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
    ends = {name: [read_position(end, where, expected) for end in value.split(":")] for name, value in fields.items()}
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


def _holds(axis: Steps, low: Decimal, high: Decimal) -> bool:
    """Whether the pixels along an axis cover `low` to `high`; the height of a single line is not limited."""
    if not axis.step:
        return low <= axis.start <= high
    return axis.start - axis.step / 2 <= low and high <= axis.stop + axis.step / 2
