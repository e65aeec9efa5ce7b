"""How much charge photons leave in a few pixels, and with what chance: what a cosmic ray is told apart from.

A photon leaves its charge as a cloud, of which each pixel catches the part that falls on it. The charge in a box of
pixels is the sum of such parts over all photons that happen to land near it (a compound Poisson distribution), and the
read noise. The constants are derived in docs/decisions/constants-cosmic-rays.md.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.floating]

# Rows and columns of the boxes whose charge is looked at. Where rows are binned, a hit lies along one of them.
BOXES = ((1, 1), (1, 2), (2, 2), (3, 3))

CLOUD_SIGMA = 0.47  # columns rms: the brightest pixel then holds the measured 0.60 of a photon's charge
LEAST_CREDIBLE = 2.25  # photons: two in one place, or one of the second order, are always credible
LARGEST_CHANCE = 5e-5  # that the charge of a box is above its limit, where bright light could lose more

_MARGIN = 2.0  # pixels about a box; charge of a photon that lands farther off does not reach it
_POSITIONS = 40  # of a photon, for each pixel
_BINS = 32  # of the charge of a photon
_SIZE = 1 << 13  # of these bins: what 256 photons leave
_FEWEST, _MOST, _STEPS = 1e-4, 1e3, 112  # photons a pixel that limits are computed for, and how many values
_MANY = 0.4  # of the bins: above it the expansion about a normal distribution is used
_ROUNDING = 1e-13  # of a probability that is computed by Fourier transforms


def charge_limits(
    photons: FloatArray, *, largest_loss: float, noise: float, cloud_sigma: float = CLOUD_SIGMA
) -> FloatArray:
    """Give the charge in boxes of pixels that is more than photons leave but for a small share of their charge.

    Parameters
    ----------
    photons : numpy.ndarray
        Expected a pixel.
    largest_loss : float
        Share of the photons' charge above the limit, less what is expected in the box, with one box for each pixel.
    noise : float
        Read noise of a pixel, in photons.
    cloud_sigma : float
        Radius of the charge of a photon along a row, columns rms.

    Returns
    -------
    numpy.ndarray, shape (len(BOXES), ...)
        In photons; infinity where nothing may be lost. They are computed for values 16 % apart, and interpolated.

    Notes
    -----
    The charge of N photons, N by Poisson's law with the mean m, has the characteristic function exp(m (f - 1)), f being
    that of one photon; beyond some 80 photons in a box it is expanded in its cumulants (E. Cornish and R. Fisher, Rev.
    Inst. Int. Stat. 5 (1938) 307).
    """
    if not largest_loss > 0:
        return np.full((len(BOXES), *np.shape(photons)), math.inf)
    # Two digits of the noise, and the cloud to 0.05 columns, both to the safe side: tables are kept, and serve a scan.
    unit = 10.0 ** (math.floor(math.log10(noise)) - 1)
    cloud_sigma = math.floor(cloud_sigma / 0.05 + 1e-6) * 0.05
    table = _limits(largest_loss, round(math.ceil(noise / unit) * unit, 12), cloud_sigma)
    steps = np.log(np.geomspace(_FEWEST, _MOST, _STEPS))
    limits = [np.interp(np.log(np.maximum(photons, _FEWEST)), steps, each) for each in table]
    least = [LEAST_CREDIBLE * _shares(columns, cloud_sigma).max() for _, columns in BOXES]
    return np.asarray(np.maximum(np.stack(limits), np.reshape(least, (-1, *[1] * np.ndim(photons)))))


def pixel_share(cloud_sigma: float) -> float:
    """Give the mean square share of a photon's charge in a pixel over the mean share: what bright pixels scatter by."""
    share = _shares(1, cloud_sigma)
    return float((share**2).sum() / share.sum())


def cloud_of(share: float) -> float:
    """Give the radius of the charge, columns rms, at which bright pixels scatter by this share; within 0.2 to 0.7."""
    sigmas = np.linspace(0.2, 0.7, 51)
    return float(np.interp(-share, -_pixel_shares(), sigmas))


@lru_cache(1)
def _pixel_shares() -> FloatArray:
    return np.array([pixel_share(sigma) for sigma in np.linspace(0.2, 0.7, 51)])


def _shares(columns: int, cloud_sigma: float) -> FloatArray:
    """Share of a photon's charge in so many columns, for photons that land evenly over them and their surroundings."""
    at = (np.arange(int(_POSITIONS * (columns + 2 * _MARGIN))) + 0.5) / _POSITIONS - _MARGIN
    return np.asarray(ndtr((columns - at) / cloud_sigma) - ndtr(-at / cloud_sigma))


@lru_cache(64)
def _limits(largest_loss: float, noise: float, cloud_sigma: float) -> FloatArray:
    """Tabulate the limits of all boxes, shape (boxes, steps); they rise with what is expected."""
    photons = np.geomspace(_FEWEST, _MOST, _STEPS)
    table = np.empty((len(BOXES), _STEPS))
    charge = np.arange(_SIZE)
    charge[int(0.9 * _SIZE) :] -= _SIZE  # noise may be below zero
    order = np.argsort(charge)[::-1]
    for limits, (rows, columns) in zip(table, BOXES, strict=True):
        share = _shares(columns, cloud_sigma)
        area = rows * (columns + 2 * _MARGIN)
        scatter = noise * math.sqrt(rows * columns)
        few = photons * rows * columns < _MANY * _SIZE / _BINS
        one = rfft(np.bincount(np.rint(_BINS * share).astype(int), minlength=_SIZE) / share.size)
        blur = rfft(np.diff(ndtr((np.arange(_SIZE + 1) - _SIZE // 2 - 0.5) / (scatter * _BINS))))
        blur *= (-1.0) ** np.arange(len(blur))  # about zero
        chance = irfft(np.exp(np.outer(photons[few] * area, one - 1)) * blur, _SIZE, axis=1)[:, order]
        chance[chance < _ROUNDING] = 0.0
        more = np.maximum(charge[order] / _BINS - rows * columns * photons[few][:, None], 0.0)
        too_much = (chance * more).cumsum(axis=1) > largest_loss * photons[few][:, None]
        limits[few] = charge[order][np.argmax(too_much | (chance.cumsum(axis=1) > LARGEST_CHANCE), axis=1)] / _BINS
        mean, variance, third = (photons[~few] * area * (share**power).mean() for power in (1, 2, 3))
        deviation, sigmas = np.sqrt(variance + scatter**2), -float(ndtri(LARGEST_CHANCE))
        limits[~few] = mean + deviation * (sigmas + (sigmas**2 - 1) / 6 * third / deviation**3)
    return np.asarray(np.maximum.accumulate(table, axis=1))
