"""A text image of a SDF scan: rows of numbers separated by white space."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.inside import read_bytes
from beamline.formats.importers.quantities import MOST_COUNTS, number_of
from beamline.text import clean

FloatArray = NDArray[np.floating]

LONGEST_NUMBER = 1024  # bytes; those of MAX IV have some 500
LARGEST_EXCESS = 65_536  # bytes of a file beyond its numbers


def read_xim(path: Path, rows: int, columns: int) -> tuple[FloatArray, str]:
    """Read a text image.

    Parameters
    ----------
    path : Path
        File with rows of numbers separated by white space.
    rows, columns : int
        Numbers of rows and columns that it should have.

    Returns
    -------
    values : numpy.ndarray, shape (rows, columns)
        The rows up to the first that is not as long as the first one, or is truncated. What is no number of
        counts is NaN.
    problem : str
        Why the file is incomplete; empty if it is complete.

    Raises
    ------
    FileNotFoundError
        When there is no file.
    ValueError
        When there are no numbers in it, or it is far larger than its image can be.
    """
    largest = LONGEST_NUMBER * rows * columns + LARGEST_EXCESS
    data = read_bytes(path, largest, f" for {rows} rows of {columns} pixels").replace(b"\r", b"\n")
    lines = [line for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path.name}: empty")
    width = len(lines[0].split())
    found: list[tuple[FloatArray, bytes]] = []
    problem = ""
    for line in lines:
        fields = line.split()
        if len(fields) != width:
            problem = f"{path.name}: row {len(found) + 1} has {len(fields)} columns, not {width}"
            break
        found.append(_row(fields))
    last = lines[-1].split()
    if not problem and not data.endswith(b"\n") and (len(found) < rows or _differ_in_decimals(last[-1], last[0])):
        found.pop()  # the last number may be truncated
        problem = f"{path.name}: row {len(found) + 1} breaks off"
    if not found:
        raise ValueError(problem)
    return np.array([row for row, _ in found]), problem or _wrong_numbers(path.name, [wrong for _, wrong in found])


def _row(fields: Sequence[bytes]) -> tuple[FloatArray, bytes]:
    """Return the numbers of a row, with NaN for what is none, and the first that is none."""
    try:
        row = np.array(fields, dtype=float)
        if (np.abs(row) <= MOST_COUNTS).all() and not any(b"_" in one for one in fields):
            return row, b""
    except ValueError:
        pass
    row, wrong = np.full(len(fields), np.nan), b""
    for column, text in enumerate(fields):
        try:
            value = number_of(text.decode("ascii"))
        except ValueError:
            value = math.nan
        if abs(value) <= MOST_COUNTS:
            row[column] = value
        else:
            wrong = wrong or text
    return row, wrong


def _wrong_numbers(name: str, wrong: Sequence[bytes]) -> str:
    """Say which rows hold something that is no number of counts."""
    rows = [index for index, text in enumerate(wrong) if text]
    if not rows:
        return ""
    first = clean(wrong[rows[0]][:40].decode("latin-1"))
    more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
    return f"{name}: row {rows[0] + 1}{more} holds {first!r}, expected a number of counts"


def _differ_in_decimals(one: bytes, other: bytes) -> bool:
    """Tell whether two numbers have a different number of decimals."""
    return len(one.partition(b".")[2]) != len(other.partition(b".")[2])
