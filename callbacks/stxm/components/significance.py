"""What noise alone would give: the cut for noisy pixels, and how many components stand above it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]

MAD_TO_SIGMA = 1.4826  # of a normal distribution: 1 over its quantile at 3/4
TRACY_WIDOM_99 = 2.02  # 99th percentile of the Tracy-Widom distribution of real matrices: Johnstone, table 1


def noise_cut(noise: ArrayLike, share: float | None = None, *, deviations: float = 3.0) -> float:
    """Give a noise cut for `StreamingPCA.set_filter` from the noise of all pixels.

    Parameters
    ----------
    noise : array_like
        Standard deviations of pixels; those that are not positive numbers are not looked at.
    share : float, optional
        The share of the pixels to leave out, the noisiest; Gent et al. (2017) left out about 0.10 by eye.
    deviations : float
        Without a share: the cut is where the logarithm of the noise lies so many standard deviations, estimated from
        the median absolute deviation, above its median.

    Returns
    -------
    float
        In the unit of `noise`.

    Raises
    ------
    ValueError
        When no noise is known or the share is not between 0 and 1.
    """
    values = np.asarray(noise, dtype=np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        raise ValueError("no pixel with known noise, expected a background window with two energies or more")
    if share is not None:
        if not 0 <= share < 1:
            raise ValueError(f"share {share} of the pixels to leave out, expected from 0 to below 1")
        return float(np.quantile(values, 1 - share))
    logarithm = np.log(values)
    return float(
        np.exp(np.median(logarithm) + deviations * MAD_TO_SIGMA * np.median(np.abs(logarithm - np.median(logarithm))))
    )


def count_significant(eigenvalues: FloatArray, freedom: float, *, known_noise: bool) -> int:
    """Count the eigenvalues of a covariance that noise alone would not give.

    Parameters
    ----------
    eigenvalues : numpy.ndarray, shape (p,)
        Descending; of a covariance in which the noise is white, with variance 1 if it is known.
    freedom : float
        Independent spectra less one, more than 1.
    known_noise : bool
        False: its variance is estimated from the median, see `StreamingPCA.result`.

    Returns
    -------
    int
    """
    size = len(eigenvalues)
    if not size:
        return 0
    if known_noise:
        return int(np.sum(eigenvalues > noise_edge(size, freedom)))
    rounding = np.finfo(np.float64).eps * size * float(eigenvalues[0])
    number = 0
    while number < min(size, int(freedom)):
        rest, left = size - number, freedom - number
        bulk = eigenvalues[number : number + min(rest, int(left))]  # beyond as many as there are pixels they are zero
        variance = max(float(np.median(bulk)) / marchenko_pastur_median(rest, left), rounding)
        found = int(np.sum(eigenvalues > variance * noise_edge(rest, left)))
        if found <= number:
            break
        number = found
    return number


def noise_edge(size: int, freedom: float) -> float:
    """Give the 99th percentile of the largest eigenvalue of a covariance of white noise of variance 1.

    Of `size` variables with `freedom` degrees of freedom: Johnstone, Ann. Stat. 29 (2001) 295, with the centring of
    Ma, Bernoulli 18 (2012) 322.
    """
    pixels, energies = np.sqrt(max(freedom - 0.5, 0.5)), np.sqrt(size - 0.5)
    width = (pixels + energies) * (1 / pixels + 1 / energies) ** (1 / 3)
    return float(((pixels + energies) ** 2 + TRACY_WIDOM_99 * width) / freedom)


def marchenko_pastur_median(size: float, freedom: float) -> float:
    """Give the median of the eigenvalues that are not zero of a covariance of white noise of variance 1."""
    if size > freedom:
        return size / freedom * marchenko_pastur_median(freedom, size)
    ratio = size / freedom
    angle = (np.arange(2000) + 0.5) * np.pi / 2000
    value = 1 + ratio - 2 * np.sqrt(ratio) * np.cos(angle)
    share = np.cumsum(np.sin(angle) ** 2 / value)  # the density, in steps of the angle
    return float(np.interp(0.5, share / share[-1], value))
