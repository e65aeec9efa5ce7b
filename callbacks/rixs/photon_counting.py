"""Count single photons, each at the sub-pixel centre of its charge: the alternative to summing counts.

Where photons are far apart, the charge of each spreads over two or three columns, but its centre is known to better
than a pixel, and the read noise of empty pixels does not contribute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.rixs.smoothing import smooth_level

FloatArray = NDArray[np.floating]

SEED_SHARE = 0.35  # of a photon's charge: the brightest pixel of a photon has more
SMALLEST, LARGEST = 0.6, 1.5  # share of a photon's charge that the 3 x 3 pixels around it hold
# Photons a pixel: another one lands in the 3 x 3 pixels of a photon in 9 x 0.02, one of six cases. Those that hold more
# charge than one leaves are counted as two; beyond this, too many touch.
LARGEST_OCCUPANCY = 0.02
FEWEST_NOISE_SIGMAS = 5.0  # of the read noise, that the threshold for the brightest pixel is above
LEAST_SHARE_OF_MEAN = 0.2  # a column's variance is at least this share of the mean over all: no weight is infinite


@dataclass(frozen=True)
class Photons:
    """Single photons of a frame.

    Attributes
    ----------
    row, column : numpy.ndarray, shape (n,)
        Centre of charge, pixels.
    counts : numpy.ndarray, shape (n,)
        Charge within 3 x 3 pixels.
    occupancy : float
        Photons a pixel where they are densest: the mean over the brightest twentieth of the columns.
    status : str
        "ok", or why the photons of this frame cannot be told apart; there are none then.
    """

    row: FloatArray
    column: FloatArray
    counts: FloatArray
    occupancy: float
    status: str


def find_photons(image: FloatArray, *, photon_counts: float, read_noise: float) -> Photons:
    """Find the single photons of a frame.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed, cosmic rays replaced.
    photon_counts : float
        Counts of one photon.
    read_noise : float
        Counts rms a pixel.

    Returns
    -------
    Photons

    Notes
    -----
    A photon is a pixel brighter than its eight neighbours and than a threshold, with a charge in 3 x 3 pixels that one
    photon leaves. Two photons in 3 x 3 pixels, with more charge, count as two at their common centre.
    """
    column_light = np.clip(image.sum(axis=0), 0, None) / (photon_counts * len(image))
    occupancy = float(np.sort(column_light)[-max(1, len(column_light) // 20) :].mean())
    seed = SEED_SHARE * photon_counts
    if seed < FEWEST_NOISE_SIGMAS * read_noise:
        return _none(
            occupancy, f"a photon leaves {photon_counts:.0f} counts, too few above a noise of {read_noise:.1f}"
        )
    if occupancy > LARGEST_OCCUPANCY:
        return _none(occupancy, f"{occupancy:.3f} photons a pixel, at most {LARGEST_OCCUPANCY} can be told apart")
    padded = np.pad(image, 1)
    rows, columns = np.nonzero(image > seed)
    around = np.stack([padded[rows + 1 + i, columns + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    own = around[4]
    earlier, later = around[:4], around[5:]
    peak = (own > earlier.max(axis=0, initial=-np.inf)) & (own >= later.max(axis=0, initial=-np.inf))
    rows, columns, around = rows[peak], columns[peak], around[:, peak]
    counts = around.sum(axis=0)
    one = counts >= SMALLEST * photon_counts
    rows, columns, around, counts = rows[one], columns[one], around[:, one], counts[one]
    offsets = np.array([-1.0, 0.0, 1.0])
    row = rows + (offsets.repeat(3)[:, None] * around).sum(axis=0) / counts
    column = columns + (np.tile(offsets, 3)[:, None] * around).sum(axis=0) / counts
    several = np.maximum(1, np.rint(counts / photon_counts)).astype(int)
    several[counts <= LARGEST * photon_counts] = 1
    return Photons(row.repeat(several), column.repeat(several), (counts / several).repeat(several), occupancy, "ok")


def photon_spectrum(
    photons: Photons, displacement: FloatArray, columns: int, *, photon_counts: float
) -> tuple[FloatArray, FloatArray]:
    """Make a spectrum of single photons.

    Parameters
    ----------
    photons : Photons
    displacement : numpy.ndarray, shape (rows,)
        Columns by which each row's lines are displaced; each photon is moved back by that of its own position.
    columns : int
        Columns of the spectrum.
    photon_counts : float
        Counts of one photon: the spectrum has the same unit as one that is summed.

    Returns
    -------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts²: Poisson's, of the mean over five columns, at least a fifth of that over all.
    """
    position = photons.column - np.interp(photons.row, np.arange(len(displacement)), displacement)
    number = np.histogram(position, bins=columns, range=(-0.5, columns - 0.5))[0].astype(float)
    least = LEAST_SHARE_OF_MEAN * number.mean()
    return photon_counts * number, photon_counts**2 * np.maximum(smooth_level(number), least)


def _none(occupancy: float, reason: str) -> Photons:
    nothing = np.zeros(0)
    return Photons(nothing, nothing.copy(), nothing.copy(), occupancy, reason)
