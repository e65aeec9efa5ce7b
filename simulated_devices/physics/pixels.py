"""Charge on the pixels of a chip: where photons land, and what is shared with the pixels around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

FloatArray = NDArray[np.floating]


def count_hits(counted: NDArray[np.int32], row: FloatArray, column: FloatArray) -> None:
    """Add one to the pixel under each position; what lies beyond the chip along the columns is lost.

    Parameters
    ----------
    counted : numpy.ndarray, shape (rows, columns)
        Is added to.
    row, column : numpy.ndarray, shape (n,)
        Positions; each within the rows.
    """
    columns = counted.shape[1]
    y, x = np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)
    inside = (x >= 0) & (x < columns)
    flat = np.bincount(y[inside] * columns + x[inside], minlength=counted.size)
    counted += flat.reshape(counted.shape).astype(np.int32)


def deposit_charges(
    image: NDArray[np.float32],
    row: FloatArray,
    column: FloatArray,
    charge: FloatArray,
    *,
    sigma: FloatArray,
    row_binning: int,
) -> None:
    """Add charges to an image, each shared over 3 x 3 pixels by a Gaussian cloud.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Is added to.
    row, column, charge, sigma : numpy.ndarray, shape (n,)
        Positions, charges, and rms radii of the clouds in unbinned pixels.
    row_binning : int
        Unbinned rows in each row of the image.
    """
    rows, columns = image.shape
    y, x = np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)
    shares_y = _shares(row - y, sigma / row_binning)
    shares_x = _shares(column - x, sigma)
    on_chip = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    width = columns + 2  # the rim takes what is shared beyond the chip
    corner = y[on_chip] * width + x[on_chip]
    index = np.concatenate([corner + (i * width + j) for i in range(3) for j in range(3)])
    share = np.concatenate([(charge * sy * sx)[on_chip] for sy in shares_y for sx in shares_x])
    padded = np.bincount(index, weights=share, minlength=(rows + 2) * width)
    image += padded.reshape(-1, width)[1:-1, 1:-1]


def _shares(offset: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Share of a Gaussian cloud in the pixel before, the pixel of, and the pixel behind its centre at `offset`."""
    below = 0.5 * (1 + erf((-0.5 - offset) / (np.sqrt(2) * sigma)))
    above = 0.5 * (1 - erf((0.5 - offset) / (np.sqrt(2) * sigma)))
    return below, 1 - below - above, above
