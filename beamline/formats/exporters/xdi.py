"""Write an absorption spectrum in the XAS Data Interchange format (XDI), as it was counted.

XDI Working Group, "XAS Data Interchange Format Draft Specification, version 1.0" and "Dictionary of XAS Data
Interchange Metadata", of the International X-ray Absorption Society.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.formats.channel_fields import channel_fields
from beamline.formats.exporters.nexus import iso_time
from beamline.formats.exporters.nxxas import counted_points
from beamline.storage import Documents, Run, Table, collect
from beamline.text import clean
from callbacks.contract import UNITS, Channel, Key
from callbacks.xas import channels_of

FloatArray = NDArray[np.floating]
LABELS = {"transmission": "itrans", "reference": "irefer"}  # of the dictionary, by what a channel is called here
DIGITS = 10  # of a number that is not whole


def write_xdi(path: Path, raw_documents: Documents, derived: Run | None) -> None:
    """Write a spectrum to one file: a line for each point, in the order of measurement.

    Parameters
    ----------
    path : Path
    raw_documents : iterable of (name, document)
        The raw run.
    derived : Run or None
        The run derived from it: which channel is I0, and what its energies are off by.

    Raises
    ------
    BeamlineError
        When it was flown, so that there is no count at a point; or when no point, or no incident flux, was measured.
    OSError
        When the file cannot be written.
    """
    raw = collect(raw_documents)
    points, i0 = counted_points(raw, derived, "XDI")
    columns = list(_columns(points, channels_of(raw.measurement), i0))
    lines = [*_header(raw, derived, columns), *_numbers([values for *_, values in columns])]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _columns(points: Table, channels: Sequence[Channel], i0: str) -> Iterator[tuple[str, str, FloatArray]]:
    """Give label, unit and values of each column."""
    yield "energy", "eV", _column(points, Key.ENERGY)
    yield "i0", points.units.get(i0, ""), _column(points, i0)
    for channel in channels:
        if channel.name == i0 or channel.name not in points or points[channel.name].ndim > 1:
            continue
        label = LABELS.get(channel.name, channel.name) if channel.form == "transmission" else channel.name
        yield label, points.units.get(channel.name, ""), _column(points, channel.name)
        if (sigma := f"{channel.name}_sigma") in points:
            yield f"{label}_sigma", points.units.get(channel.name, ""), _column(points, sigma)
    if Key.DWELL in points:
        yield "dwell", UNITS[Key.DWELL], _column(points, Key.DWELL)


def _column(points: Table, key: str) -> FloatArray:
    return np.asarray(points[key], dtype=float)


def _header(raw: Run, derived: Run | None, columns: list[tuple[str, str, FloatArray]]) -> Iterator[str]:
    yield f"# XDI/1.0 stxm-rixs-beamline/{version('stxm-rixs-beamline')}"
    for number, (label, unit, _) in enumerate(columns, 1):
        yield f"# Column.{number}: {label} {unit}".rstrip()
    element, _, shell = raw.measurement.edge.partition(" ")
    if shell:
        yield f"# Element.symbol: {element}"
        yield f"# Element.edge: {shell}"
    yield f"# Sample.name: {clean(raw.measurement.sample)}"
    yield f"# Scan.start_time: {iso_time(raw.start['time'])}"
    if raw.stop:
        yield f"# Scan.end_time: {iso_time(raw.stop['time'])}"
    yield f"# Beamline.name: {clean(raw.start.get('endstation', 'not recorded'))}"
    yield f"# Scan.uid: {raw.uid}"
    for field in channel_fields(channels_of(raw.measurement)):
        yield f"# {field}"
    yield "# ///"
    yield "# Energies are as they were read back."
    for problem in raw.start.get("import_problems", []):
        yield f"# {clean(problem)}"
    if derived is not None and derived.result.get("energy_calibration"):
        offset = float(derived.result.get("energy_offset", float("nan")))
        yield f"# Its reduction adds {offset:.4f} eV to them: {clean(derived.result['energy_calibration'])}"
    yield "#---"
    yield "# " + " ".join(label for label, *_ in columns)


def _numbers(columns: list[FloatArray]) -> Iterator[str]:
    for row in zip(*columns, strict=True):
        yield "  ".join(f"{value:.0f}" if value.is_integer() else f"{value:.{DIGITS}g}" for value in map(float, row))
