"""Cosmic rays that cross a chip: spots that cover a few pixels, and straight tracks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.floating]

# Charge of cosmic-ray hits: log-normal up to the 95th percentile, then a power law up to the largest hits.
MEDIAN = 750.0
PERCENTILE_95 = 3_000.0
LARGEST = 40_000.0
TAIL_EXPONENT = 1.5
TRACK_FRACTION = 0.12  # of the hits run along the chip; the others are spots


def cosmic_tracks(hits: int, rows: int, columns: int, row_binning: int, *, rng: np.random.Generator) -> FloatArray:
    """Draw the charges that cosmic rays leave along their tracks.

    Parameters
    ----------
    hits : int
        Number of cosmic rays.
    rows, columns : int
        Size of a frame.
    row_binning : int
        Unbinned rows in each row of the frame.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray, shape (4, n)
        Row, column, charge (counts) and sigma (unbinned pixels) of each piece of a track.
    """
    pieces: list[FloatArray] = [np.empty((4, 0))]
    for charge in cosmic_charges(hits, rng=rng):
        row, column = rng.uniform(-0.5, rows - 0.5), rng.uniform(-0.5, columns - 0.5)
        is_track = rng.uniform() < TRACK_FRACTION
        length = rng.uniform(6, 40) if is_track else rng.exponential(1.2)  # unbinned pixels
        angle = rng.uniform(0, np.pi)
        along = np.linspace(-length / 2, length / 2, max(3, int(3 * length)))
        loss = rng.gamma(1.5, size=along.size)  # the energy loss fluctuates along the path
        sigma = np.full(along.size, rng.uniform(0.25, 0.6))
        pieces.append(
            np.stack(
                [
                    row + along * np.sin(angle) / row_binning,
                    column + along * np.cos(angle),
                    charge * loss / loss.sum(),
                    sigma,
                ]
            )
        )
    return np.concatenate(pieces, axis=1)


def cosmic_charges(number: int, *, rng: np.random.Generator) -> FloatArray:
    """Draw the charge of cosmic-ray hits in counts (ADU).

    Median 750, 95th percentile 3,000 and none above 40,000: as measured on frames of the iRIXS camera
    (ALS beamline 8.0.1). Log-normal up to the 95th percentile; above it a power law.

    Parameters
    ----------
    number : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray, shape (number,)
        Counts.
    """
    u = rng.uniform(size=number)
    width = np.log(PERCENTILE_95 / MEDIAN) / ndtri(0.95)
    body = MEDIAN * np.exp(width * ndtri(np.minimum(u, 0.95)))
    largest = (PERCENTILE_95 / LARGEST) ** TAIL_EXPONENT
    survival = 1 - (1 - largest) * np.clip((u - 0.95) / 0.05, 0, 1)
    result: FloatArray = np.where(u < 0.95, body, PERCENTILE_95 * survival ** (-1 / TAIL_EXPONENT))
    return result
