"""A frame of the ALS iRIXS endstation as text: ``cox17174-00001-2D.txt``, which its software writes beside the TIFF.

A header, of which ``X Size``, ``Y Size`` and ``Total Counts`` are looked at, then a line ``X Y Counts`` and a line for
each pixel, X first. X runs along the columns of the TIFF.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.inside import read_bytes
from beamline.formats.text import decode, one_line, quoted

ENDING = "-2D.txt"
TABLE = re.compile(r"^X\tY\tCounts[ \t]*$", re.MULTILINE)
BYTES_PER_PIXEL = 40  # at most: three numbers and what separates them
LARGEST_HEADER = 10_000  # bytes
LARGEST_COUNT = 65535


def text_shape(path: Path, largest: int) -> tuple[int, int]:
    """Return the rows and columns that a file claims; ValueError if it claims none, or more than so many pixels."""
    with path.open("rb") as file:
        return _shape(path, decode(file.read(LARGEST_HEADER)), largest)


def read_text_frame(path: Path, largest: int) -> NDArray[np.uint16]:
    """Read a frame.

    Parameters
    ----------
    path : Path
    largest : int
        Pixels that it may have.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)

    Raises
    ------
    ValueError
        When it is damaged, or its counts are not those that its header says.
    FileNotFoundError
        When there is none.
    """
    text = decode(read_bytes(path, LARGEST_HEADER + largest * BYTES_PER_PIXEL))
    rows, columns = _shape(path, text, largest)
    table = TABLE.search(text)
    if table is None:
        raise ValueError(f"{path.name}: no line 'X Y Counts'")
    words = text[table.end() :].split()
    if len(words) != 3 * rows * columns:
        raise ValueError(f"{path.name}: {len(words) // 3} pixels, expected {rows} x {columns}")
    try:
        numbers = np.array(words, dtype=np.int64).reshape(-1, 3)
    except ValueError as error:
        raise ValueError(f"{path.name}: {one_line(error)}") from error
    x, y, counts = numbers.T
    place = y * columns + x
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    if not inside.all() or len(np.unique(place)) != len(place):
        raise ValueError(f"{path.name}: not each of its {rows} x {columns} pixels once")
    if counts.min() < 0 or counts.max() > LARGEST_COUNT:
        raise ValueError(f"{path.name}: counts from {counts.min()} to {counts.max()}, expected 0 to {LARGEST_COUNT}")
    said = _number("Total Counts", text[: table.start()])
    if said is not None and said != counts.sum():
        raise ValueError(f"{path.name}: holds {counts.sum()} counts, its header says {said}")
    frame = np.zeros(rows * columns, np.uint16)
    frame[place] = counts
    return frame.reshape(rows, columns)


def _shape(path: Path, text: str, largest: int) -> tuple[int, int]:
    columns, rows = _number("X Size", text), _number("Y Size", text)
    if not columns or not rows or rows * columns > largest:
        seen = f"X Size {columns}, Y Size {rows}"
        raise ValueError(f"{path.name}: {quoted(seen)}, expected a frame of at most {largest:,} pixels")
    return rows, columns


def _number(name: str, text: str) -> int | None:
    found = re.search(rf"^{name}:[ \t]*(\d{{1,18}})[ \t]*$", text, re.MULTILINE)
    return int(found[1]) if found else None
