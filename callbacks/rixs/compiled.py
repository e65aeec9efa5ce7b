"""Passes over the pixels of a CCD frame, compiled: each reads the frame once, in the order of the memory.

In numpy each comparison, difference and product of a frame is an array as large as the frame. Sums are made in the same
order as numpy's along the rows, one pixel after the other in each column: what they give is that to the last bit, and
the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from callbacks.compilation import compiled

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.intp]

_LANES = 4  # of counters that are used in turn: adding to one need not wait for the value before
_WHOLE = 1e-6  # of a part; rounding leaves some 1e-11 of a difference of counts below 2^16


def capped_means(
    image: FloatArray,
    edges: IndexArray,
    *,
    parts: int,
    cap_sigmas: float,
    cap_counts: float,
    photon_counts: float,
    read_noise: float,
) -> FloatArray:
    """Average the columns of each block of rows, without the part of a pixel that is more than light can leave.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed; finite.
    edges : numpy.ndarray of int, shape (blocks + 1,)
        First row of each block, and the end.
    parts : int
        Of a block, as nearly of a size as whole rows allow: the median of their means is the level that the cap is
        above.
    cap_sigmas, cap_counts : float
        The cap above that level: in standard deviations of its photons and the read noise, and added to these, counts.
    photon_counts, read_noise : float
        Counts of one photon; counts rms a pixel.

    Returns
    -------
    numpy.ndarray, shape (blocks, columns)
        Counts a pixel.
    """
    means = np.zeros((len(edges) - 1, image.shape[1]))
    arguments = (float(cap_sigmas), float(cap_counts), float(photon_counts), float(read_noise) ** 2)
    compiled(_capped_means)(np.ascontiguousarray(image), edges, int(parts), *arguments, means)
    return means


def pixels_above(image: FloatArray, levels: FloatArray, block_of: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Find the pixels above the level of their block and column.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts.
    levels : numpy.ndarray, shape (blocks, columns)
        Counts.
    block_of : numpy.ndarray of int, shape (rows,)
        The block of each row.

    Returns
    -------
    rows, columns : numpy.ndarray of int, shape (n,)
        In the order of the memory.
    """
    rows, columns = compiled(_pixels_above)(np.ascontiguousarray(image), np.ascontiguousarray(levels), block_of)
    return rows, columns


def box_charges(image: FloatArray, rows: IndexArray, columns: IndexArray) -> FloatArray:
    """Give the charge of pixels, and the most that boxes of pixels about each hold.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed. Beyond it there is no charge.
    rows, columns : numpy.ndarray of int, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (4, n)
        In a pixel, 1 x 2, 2 x 2 and 3 x 3 (`callbacks.rixs.photon_charge.BOXES`). The last is about the pixel, and
        minus infinity where a neighbour is brighter, so that a hit is looked at once.
    """
    charges = np.empty((4, len(rows)))
    compiled(_box_charges)(np.ascontiguousarray(image), rows, columns, charges)
    return charges


def straightened_sum(image: FloatArray, displacement: FloatArray) -> FloatArray:
    """Sum the rows of an image, each moved back by its displacement.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts.
    displacement : numpy.ndarray, shape (rows,)
        Columns by which the row's lines lie too far right.

    Returns
    -------
    numpy.ndarray, shape (columns,)

    See Also
    --------
    callbacks.rixs.curvature.straighten : The rows themselves.
    """
    total = np.zeros(image.shape[1])
    whole = np.floor(-displacement)
    compiled(_straightened_sum)(np.ascontiguousarray(image), whole.astype(np.intp), -displacement - whole, total)
    return total


def count_whole(values: FloatArray, *, parts: int) -> tuple[FloatArray, IndexArray] | None:
    """Count how often each value is met, where all are whole numbers, or such over a number of parts.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
    parts : int
        Of a unit, that all values are whole multiples of, to a millionth of one.

    Returns
    -------
    values, counts : numpy.ndarray, shape (m,), or None
        Those that are met, ascending, and how often. None where some are no such multiples, or where counting them
        takes more counters than there are values.
    """
    least, most = parts * values.min(), parts * values.max()
    if not _LANES * (most - least) < len(values):
        return None
    lowest = round(least)
    counts = np.zeros((round(most) - lowest + 1, _LANES), dtype=np.intp)
    if not compiled(_count_whole)(np.ascontiguousarray(values), float(parts), float(lowest), counts):
        return None
    number = counts.sum(axis=1)
    met = np.flatnonzero(number)
    return (met + lowest) / parts, number[met]


def _capped_means(  # noqa: PLR0917 - as Numba takes them  # pragma: no cover
    image: FloatArray,
    edges: IndexArray,
    parts: int,
    cap_sigmas: float,
    cap_counts: float,
    photon_counts: float,
    noise_variance: float,
    means: FloatArray,
) -> None:
    columns = image.shape[1]
    for block in range(len(edges) - 1):
        first, rows = edges[block], edges[block + 1] - edges[block]
        number = min(parts, rows)
        sums, cap, sorted_means = np.zeros((number, columns)), np.empty(columns), np.empty(number)
        row = first
        for part in range(number):
            size = rows // number + (part < rows % number)
            for _ in range(size):
                for column in range(columns):
                    sums[part, column] += image[row, column]
                row += 1
            for column in range(columns):
                sums[part, column] /= size
        for column in range(columns):
            for part in range(number):
                value, place = sums[part, column], part
                while place > 0 and sorted_means[place - 1] > value:
                    sorted_means[place] = sorted_means[place - 1]
                    place -= 1
                sorted_means[place] = value
            middle = (sorted_means[(number - 1) // 2] + sorted_means[number // 2]) / 2
            level = max(middle, 0.0)
            cap[column] = level + cap_sigmas * math.sqrt(photon_counts * level + noise_variance) + cap_counts
        for row in range(first, first + rows):
            for column in range(columns):
                means[block, column] += min(image[row, column], cap[column])
        for column in range(columns):
            means[block, column] /= rows


def _pixels_above(  # pragma: no cover
    image: FloatArray, levels: FloatArray, block_of: IndexArray
) -> tuple[IndexArray, IndexArray]:
    n_rows, n_columns = image.shape
    numbers = np.zeros(n_rows, dtype=np.intp)
    for row in range(n_rows):
        pixels, level, number = image[row], levels[block_of[row]], 0
        for column in range(n_columns):
            number += pixels[column] > level[column]
        numbers[row] = number
    rows, columns = np.empty(numbers.sum(), dtype=np.intp), np.empty(numbers.sum(), dtype=np.intp)
    found = 0
    for row in range(n_rows):
        for column in range(n_columns if numbers[row] else 0):
            if image[row, column] > levels[block_of[row], column]:
                rows[found], columns[found] = row, column
                found += 1
    return rows, columns


def _box_charges(  # pragma: no cover
    image: FloatArray, rows: IndexArray, columns: IndexArray, charges: FloatArray
) -> None:
    n_rows, n_columns = image.shape
    around = np.zeros((3, 3))
    for k in range(len(rows)):
        for i in range(3):
            for j in range(3):
                row, column = rows[k] + i - 1, columns[k] + j - 1
                inside = 0 <= row < n_rows and 0 <= column < n_columns
                around[i, j] = image[row, column] if inside else 0.0
        own, four, nine, brightest = around[1, 1], -np.inf, 0.0, -np.inf
        for i in range(3):
            for j in range(3):
                if i != 1 and j != 1:
                    four = max(four, own + around[i, 1] + around[1, j] + around[i, j])
                if i != 1 or j != 1:
                    nine += around[i, j]
                    brightest = max(brightest, around[i, j])
        charges[0, k], charges[1, k], charges[2, k] = own, own + max(around[1, 0], around[1, 2]), four
        charges[3, k] = own + nine if own >= brightest else -np.inf


def _straightened_sum(  # pragma: no cover
    image: FloatArray, whole: IndexArray, fraction: FloatArray, total: FloatArray
) -> None:
    columns = image.shape[1]
    for row in range(len(image)):
        shift, right = whole[row], fraction[row]
        left = 1 - right
        first, last = max(shift + 1, 0), min(columns + shift, columns)
        if first < last:
            to, own = total[first:last], image[row, first - shift : last - shift]
            before = image[row, first - shift - 1 : last - shift - 1]
            for k in range(len(to)):
                to[k] += left * own[k] + right * before[k]
        if 0 <= shift < columns:
            total[shift] += left * image[row, 0]
        if 0 <= columns + shift < columns:
            total[columns + shift] += right * image[row, columns - 1]


def _count_whole(  # pragma: no cover
    values: FloatArray, parts: float, lowest: float, counts: IndexArray
) -> bool:
    farthest = 0.0
    for k in range(len(values)):
        multiple = values[k] * parts
        whole = np.rint(multiple)
        farthest = max(farthest, abs(multiple - whole))
        counts[np.uintp(whole - lowest), np.uintp(k) % np.uintp(_LANES)] += 1
    return farthest < _WHOLE
