"""How far each pixel scatters beyond its noise, as told by the components that no end member explains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

FloatArray = NDArray[np.floating]

LEAST_VARIANCE = 1e-12  # of a pixel without any scatter, whose logarithm is taken
FEWEST, MOST = 1e-3, 1e6  # half degrees of freedom that are looked for; with more, all pixels scatter by as much


def with_own_scatter(noise: FloatArray, beside: FloatArray) -> FloatArray:
    """Widen the noise of each pixel by as much as it scatters where no end member explains it.

    What alignment leaves, or interpolation between pixels, moves a pixel at the rim of a grain along the end members as
    much as beside them, and others hardly.

    Parameters
    ----------
    noise : numpy.ndarray, shape (n,)
        Standard deviation of each pixel in every direction.
    beside : numpy.ndarray, shape (n, m)
        Coordinates of the pixels along components that no end member explains; m may be 0.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Never less than the noise.

    Notes
    -----
    The mean square of m coordinates over the noise tells little of a pixel where m is small: it is drawn towards that
    of all pixels, by as much as these are alike beyond chance (moderated variances: G. Smyth, Stat. Appl. Genet. Mol.
    Biol. 3 (2004) 3). Of pixels that scatter by their noise nothing but chance is left, and all have theirs.
    """
    number = beside.shape[1]
    if not number:
        return noise
    square = (beside**2).mean(axis=1) / noise**2
    scatter, weight = _prior(np.log(np.maximum(square, LEAST_VARIANCE)), number)
    moderated = scatter if np.isinf(weight) else (weight * scatter + number * square) / (weight + number)
    return np.asarray(noise * np.sqrt(np.maximum(moderated, 1.0)))


def _prior(logarithm: FloatArray, number: int) -> tuple[float, float]:
    """Give the variance that those of pixels are drawn towards, and how many degrees of freedom it weighs.

    By mean and variance of the logarithms; infinite where these vary by no more than chance.
    """
    centred = logarithm - digamma(number / 2) + np.log(number / 2)
    beyond = float(centred.var(ddof=1) - polygamma(1, number / 2))
    if beyond <= polygamma(1, MOST):
        return float(np.exp(centred.mean())), np.inf
    half = brentq(lambda half: polygamma(1, half) - beyond, FEWEST, MOST)
    return float(np.exp(centred.mean() + digamma(half) - np.log(half))), 2 * half
