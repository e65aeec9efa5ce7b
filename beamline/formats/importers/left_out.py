"""Count what an import leaves out, and say it in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NAMED = 3  # files in a line, before the rest is only counted
MOST_NOTES = 20  # lines of a kind, likewise
MISSING = "missing"


@dataclass(frozen=True)
class LeftOut:
    """One thing, such as an image, that is not imported whole.

    Attributes
    ----------
    name : str
        Of its file.
    kind : str
        In a word or two: "missing", "broken off".
    detail : str
        What was seen, with the name; empty if the kind says it.
    lines : int
        Lines left out.
    """

    name: str
    kind: str
    detail: str = ""
    lines: int = 0


def summary_of(things: str, planned: int, lines: int, found: Sequence[LeftOut]) -> str:
    """Sum up: "5 of 10 images: 1 broken off, 4 missing; 93 of 200 lines left out"."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in found).items())
    left_out = sum(one.lines for one in found)
    return f"{len(found)} of {planned} {things}: {kinds}" + (
        f"; {left_out} of {lines} lines left out" if left_out else ""
    )


def details_of(found: Sequence[LeftOut]) -> list[str]:
    """Say of each thing what was seen; those that are missing share a line."""
    missing = [one for one in found if one.kind == MISSING]
    details = [one.detail + (f"; {one.lines} lines left out" if one.lines else "") for one in found if one.detail]
    details = shortened(details, "files")
    if missing:
        names = ", ".join(one.name for one in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        details.append(f"{names}{more}: missing; {sum(one.lines for one in missing)} lines left out")
    return details


def shortened(lines: Sequence[str], things: str) -> list[str]:
    """Return the first lines, and how many more there are: "and 280 more frames"."""
    if len(lines) <= MOST_NOTES:
        return list(lines)
    return [*lines[:MOST_NOTES], f"and {len(lines) - MOST_NOTES} more {things}"]
