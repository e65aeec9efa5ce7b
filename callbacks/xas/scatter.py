"""The noise of a spectrum whose uncertainty nobody wrote down, from the scatter of its points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

NEIGHBOURS = (-2, -1, 1, 2)
FEWEST = 10  # residuals; the estimate of so few is known to 40 %
MEDIAN_OF_NORMAL = 0.6744897501960817  # of the absolute value of a standard normal deviate


def scatter_of(energy: FloatArray, values: FloatArray) -> tuple[float, str]:
    """Estimate the standard uncertainty that the points of a spectrum have in common.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        In any order and of any steps; values at one energy count as their mean would.
    values : numpy.ndarray, shape (n,)
        NaN where not known.

    Returns
    -------
    sigma : float
        NaN where it cannot be told.
    reason : str
        Why; "" where it can.

    Notes
    -----
    Each point is compared with the cubic through its two neighbours on either side. The difference has the variance of
    a point times one plus the sum of the squared weights of the cubic; the median of its absolute value, so scaled, is
    that of a normal deviate times sigma. What is sharper than five points is taken for noise, but it does not move the
    median while fewer than half of the points are within it. Noise that neighbours share, as after smoothing or
    interpolation, is not seen: of such points sigma is too small.
    """
    known = np.isfinite(energy) & np.isfinite(values)
    at, place, number = np.unique(energy[known], return_inverse=True, return_counts=True)
    mean = np.bincount(place.ravel(), values[known], minlength=len(at)) / np.maximum(number, 1)
    fewest = FEWEST + len(NEIGHBOURS)
    if len(at) < fewest:
        return math.nan, f"{len(at)} energies are too few to tell the noise by, expected {fewest} or more"
    middle = np.arange(2, len(at) - 2)
    nodes = np.stack([at[middle + step] for step in NEIGHBOURS])
    weights = np.ones_like(nodes)
    for one in range(len(NEIGHBOURS)):
        for other in range(len(NEIGHBOURS)):
            if other != one:
                weights[one] *= (at[middle] - nodes[other]) / (nodes[one] - nodes[other])
    around = np.stack([middle + step for step in NEIGHBOURS])
    difference = mean[middle] - (weights * mean[around]).sum(axis=0)
    size = np.sqrt(1 / number[middle] + (weights**2 / number[around]).sum(axis=0))
    sigma = float(np.median(np.abs(difference) / size)) / MEDIAN_OF_NORMAL
    # Of numbers that were computed, what is left is how they were rounded: to a few times the last digit of a float.
    if sigma <= 8 * np.finfo(float).eps * float(np.abs(mean).max()):
        return math.nan, "the points do not scatter"
    return sigma, ""
