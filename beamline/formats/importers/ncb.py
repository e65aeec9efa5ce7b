"""A stack in the binary form of aXis2000, ``.ncb`` with its ``.dat``, converted to a raw run.

The form is that of public readers and of MANTiS, which writes it as well. The ``.dat`` is text: columns, rows and
scale; first and last x; first and last y (um); the number of images; the energy of each (eV); and for each a line with
its name, energy and dwell (ms). The ``.ncb`` has the images one after the other, x fastest, little-endian: whole
numbers of 16 bits, to be divided by the scale, or 32-bit floats where the scale is negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import LARGEST_TEXT, check_lines, check_points, inside, read_bytes
from beamline.formats.importers.kind import Kind
from beamline.formats.importers.quantities import (
    ENERGIES,
    ENERGY_TOLERANCE,
    MOST_COUNTS,
    POSITIONS,
    check_range,
    number_of,
)
from beamline.formats.importers.stxm_run import (
    NOT_RECORDED,
    Documents,
    StxmImage,
    missing_dwell,
    negative_counts,
    scan_id_of,
    stxm_run,
)
from beamline.formats.text import decode, quoted
from callbacks.contract import Measurement, StxmGrid, StxmRegion

FloatArray = NDArray[np.floating]

# No microscope tells an optical density of ten from more: 5e-5 of the light. Ten counts at most are known to a third.
MOST_DENSITY = 10.0


@dataclass(frozen=True)
class _Layout:
    """What the text file says."""

    columns: int
    rows: int
    scale: float
    x: tuple[float, float]
    y: tuple[float, float]
    energies: FloatArray
    dwells: FloatArray  # s, NaN where not known
    problems: list[str]


def ncb_documents(path: Path) -> Documents:
    """Convert a stack to the documents of a raw run.

    Parameters
    ----------
    path : Path
        The ``.ncb`` file, or the ``.dat`` beside it.

    Yields
    ------
    name, doc : str, dict
        Start, descriptor, one event for each line, stop.

    Raises
    ------
    BeamlineError
        When one of the two files cannot be read, they do not fit one another, or the numbers are no counts: aXis2000
        keeps stacks of optical density in the same form, which are no raw data.
    """
    data_path, text_path = (_beside(path, ending) for ending in (".ncb", ".dat"))
    try:
        layout = _read_layout(text_path)
        counts = _read_counts(data_path, layout)
    except (ValueError, FileNotFoundError) as error:
        raise BeamlineError(f"{path}: {error}") from error
    problems = [
        f"{data_path.name}: the form has no unit; taken for counts",
        f"{data_path.name}: the form has no time; that of the file stands for it",
        *layout.problems,
    ]
    grid = StxmGrid(
        energies=layout.energies.tolist(),
        regions=[StxmRegion(x=layout.x, y=layout.y, columns=layout.columns, rows=layout.rows)],
    )
    known = layout.dwells[np.isfinite(layout.dwells)]
    measurement = Measurement(
        technique="stxm",
        sample=NOT_RECORDED,
        points=len(layout.energies) * layout.rows,
        exposure_time=float(np.median(known)) if known.size else math.nan,
        grid=grid,
    )
    start = data_path.stat().st_mtime
    x, y = np.linspace(*layout.x, layout.columns), np.linspace(*layout.y, layout.rows)
    images = [
        StxmImage(
            index,
            0,
            counts[index],
            dwell=layout.dwells[index],
            x=x,
            y=y[:, np.newaxis],
            energy_readback=layout.energies[index],
            ring_current=math.nan,
            time=start,
            measured=np.isfinite(counts[index]).any(axis=1),
        )
        for index in range(len(layout.energies))
    ]
    metadata = {
        "plan_name": "import_ncb",
        "scan_id": scan_id_of(path, problems),
        "sample": {"name": NOT_RECORDED},
        "imported_from": str(path.resolve()),
        "time_source": "the file; the form has none",
        "import_problems": [*problems, *missing_dwell(measurement, images), *negative_counts(images)],
    }
    yield from stxm_run(measurement, images, metadata=metadata, source=data_path.name, start_time=start)


def recognises_ncb(path: Path) -> bool:
    """Tell whether a file is one of the two of a stack, by their names and the first line of the text."""
    if path.suffix.lower() not in (".ncb", ".dat"):
        return False
    try:
        text_path = _beside(path, ".dat")
        words = decode(read_bytes(text_path, LARGEST_TEXT)).split("\n", 1)[0].split()
        columns, rows, scale = (number_of(word) for word in words)
        whole = columns == int(columns) > 0 and rows == int(rows) > 0
        return whole and math.isfinite(scale) and _beside(path, ".ncb").is_file()
    except (BeamlineError, ValueError, OverflowError, FileNotFoundError):
        return False


def _beside(path: Path, ending: str) -> Path:
    """Return the file of the same name with another ending, in whatever case it is."""
    for name in (f"{path.stem}{ending}", f"{path.stem}{ending.upper()}"):
        if (found := inside(path.parent, name, named_by=str(path))).exists():
            return found
    return inside(path.parent, f"{path.stem}{ending}", named_by=str(path))


def _read_layout(path: Path) -> _Layout:
    """Read the text file; ValueError with the line that is not as it should be."""
    lines = [line.split() for line in decode(read_bytes(path, LARGEST_TEXT)).split("\n")]
    while lines and not lines[-1]:
        lines.pop()

    def numbers(index: int, count: int, what: str) -> list[float]:
        words = lines[index] if index < len(lines) else []
        try:
            found = [number_of(word) for word in words]
        except ValueError:
            found = []
        if len(found) < count or not all(map(math.isfinite, found)):
            seen = quoted(" ".join(words)) if words else "nothing"
            raise ValueError(f"{path.name}: line {index + 1}: {seen}, expected {what}")
        return found[:count]

    columns, rows, scale = numbers(0, 3, "columns, rows and scale")
    if not (columns == int(columns) > 0 and rows == int(rows) > 0) or scale == 0:
        raise ValueError(f"{path.name}: {columns:g} columns, {rows:g} rows, scale {scale:g}")
    check_points(path.name, int(columns) * int(rows))
    x = numbers(1, 2, "the first and the last x")
    y = numbers(2, 2, "the first and the last y")
    check_range(f"{path.name}: positions", np.array([*x, *y]), POSITIONS, "um")
    (images,) = numbers(3, 1, "the number of images")
    if images != int(images) or images < 1:
        raise ValueError(f"{path.name}: {images:g} images")
    check_lines(path.name, int(images) * int(rows))
    check_points(path.name, int(images) * int(rows) * int(columns))
    energies = np.array([numbers(4 + index, 1, f"one of {images:g} energies")[0] for index in range(int(images))])
    check_range(f"{path.name}: energies", energies, ENERGIES, "eV")
    dwells, problems = _dwells(path.name, lines[4 + len(energies) :], energies)
    return _Layout(int(columns), int(rows), scale, (x[0], x[1]), (y[0], y[1]), energies, dwells, problems)


def _dwells(name: str, lines: Sequence[Sequence[str]], energies: FloatArray) -> tuple[FloatArray, list[str]]:
    """Read the dwell of each image, s, from the lines with their names; say where these have other energies."""
    dwells = np.full(len(energies), math.nan)
    others = []
    for index, words in enumerate(lines[: len(energies)]):
        try:
            energy, dwell = (number_of(word) for word in words[-2:])
        except ValueError:
            continue
        if 0 < dwell < math.inf:
            dwells[index] = dwell / 1000
        if abs(energy - energies[index]) > ENERGY_TOLERANCE:
            others.append((energy, energies[index]))
    problems = []
    if others:
        seen, axis = others[0]
        problems.append(
            f"{name}: {len(others)} of {len(energies)} images are named with another energy than the axis has, such as "
            f"{seen:g} eV for {axis:g} eV; the axis is taken"
        )
    if missing := int(np.isnan(dwells).sum()):
        problems.append(f"{name}: {missing} of {len(energies)} images have no dwell")
    return dwells, problems


def _read_counts(path: Path, layout: _Layout) -> FloatArray:
    """Read the images, shape (energies, rows, columns)."""
    kind = np.dtype("<f4") if layout.scale < 0 else np.dtype("<i2")
    shape = (len(layout.energies), layout.rows, layout.columns)
    size = math.prod(shape) * kind.itemsize
    data = read_bytes(path, size, f" for {shape[0]} images of {shape[2]} x {shape[1]} pixels, scale {layout.scale:g}")
    if len(data) != size:
        raise ValueError(
            f"{path.name}: {len(data):,} bytes, expected {size:,} for {shape[0]} images of {shape[2]} x {shape[1]} "
            f"pixels, scale {layout.scale:g}"
        )
    counts = np.frombuffer(data, kind).astype(float).reshape(shape)
    if layout.scale > 0:
        counts = counts / layout.scale
    counts[~(np.abs(counts) <= MOST_COUNTS)] = np.nan
    if not np.isfinite(counts).any():
        raise ValueError(f"{path.name}: holds no number")
    least, most = float(np.nanmin(counts)), float(np.nanmax(counts))
    if most <= MOST_DENSITY:
        raise ValueError(
            f"{path.name}: numbers from {least:g} to {most:g} are no counts, but can be optical densities; "
            "expected raw data"
        )
    return counts


NCB = Kind(
    name="ncb",
    title="STXM stack of aXis2000: a .ncb with its .dat",
    recognises=recognises_ncb,
    documents=lambda request: ncb_documents(request.path),
)
