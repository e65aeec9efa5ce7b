"""What the text above an absorption spectrum says of it: when, at which edge, with which crystal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.quantities import is_time
from beamline.formats.text import quoted

FloatArray = NDArray[np.floating]

ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?")
D_SPACING = re.compile(r"\bD(?:[-_ ]?spacing)?\s*[=:]\s*([0-9]+\.[0-9]+)", re.IGNORECASE)
# Edges that a spectrum over several is named by, with the lowest of them.
WHOLE_SHELLS = {
    "L": "L3",
    "M": "M5",
    "N": "N7",
    "O": "O7",
    "L2,3": "L3",
    "L23": "L3",
    "L3,2": "L3",
    "M4,5": "M5",
    "M45": "M5",
}


def time_in(text: str) -> float | None:
    """Return the first time of ISO 8601 in a text, s since 1970; None where there is none."""
    found = ISO_TIME.search(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"\s+(?=Z|[+-]\d{2}:?\d{2}$)", "", found[0].strip()))
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if is_time(seconds) else None


def start_time(path: Path, text: str, problems: list[str], *, what: str = "the file") -> float:
    """Return the time that a text names, or else that of the file, and say so."""
    time = time_in(text)
    if time is None:
        problems.append(f"no time of the measurement is in {what}; that of the file stands for it")
        return path.stat().st_mtime
    found = ISO_TIME.search(text)
    if found is not None and not found[3]:
        problems.append(f"the time {found[0].strip()} has no time zone: taken as UTC")
    return time


def d_spacing_in(lines: Sequence[str]) -> float:
    """Return the d-spacing of the monochromator that a header names, angstrom; NaN where it does not."""
    for line in lines:
        if found := D_SPACING.search(line):
            return float(found[1])
    return float("nan")


def edge_named(symbol: str, shell: str, energy: FloatArray, problems: list[str]) -> str:
    """Return the name of an edge, as in "O K"; say where it is none, or not among the energies.

    Parameters
    ----------
    symbol, shell : str
        As the file has them; both empty where it has none.
    energy : numpy.ndarray, shape (n,)
        eV.
    problems : list of str
        Receives what is wrong.
    """
    import xraydb  # noqa: PLC0415 - takes time to import

    symbol, shell = symbol.strip().capitalize(), shell.strip().upper()
    if not symbol or not shell:
        if symbol or shell:
            problems.append(f"the edge is not known: {'no element' if shell else 'no shell'} is named")
        return ""
    name = f"{symbol} {shell}"
    try:
        known = {edge: found.energy for edge, found in xraydb.xray_edges(symbol).items()}
    except ValueError:
        problems.append(f"the file names the edge {quoted(name)}: there is no element {quoted(symbol)}; left out")
        return ""
    lowest = WHOLE_SHELLS.get(shell, shell)
    if lowest not in known:
        problems.append(f"the file names the edge {quoted(name)}: {symbol} has {', '.join(known)}; left out")
        return ""
    low, high = float(np.nanmin(energy)), float(np.nanmax(energy))
    if not low <= known[lowest] <= high:
        problems.append(
            f"the file names the edge {name}, which is at {known[lowest]:.1f} eV, and its energies are {low:.1f} to"
            f" {high:.1f} eV"
        )
    return name
