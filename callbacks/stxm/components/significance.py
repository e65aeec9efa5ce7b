"""What noise alone would give: the cut for noisy pixels, and how many components stand above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]

MAD_TO_SIGMA = 1.4826  # of a normal distribution: 1 over its quantile at 3/4
QUARTILES = (0.25, 0.5, 0.75)  # of the eigenvalues of noise that its variance and the independent pixels are told by
BISECTIONS = 16
FEWEST_IN_BULK = 12  # eigenvalues, to tell more than the variance by
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


@dataclass(frozen=True)
class Significance:
    """How many components there are, told in two ways.

    Attributes
    ----------
    above_noise : int
        Eigenvalues that noise alone would not give.
    before_gap : int
        Of these, those before the largest step of the scree: the ratio of an eigenvalue to the next.
    edge : float
        The largest eigenvalue that noise alone would give.
    """

    above_noise: int
    before_gap: int
    edge: float


def significance(eigenvalues: FloatArray, freedom: float) -> Significance:
    """Tell how many components stand above the noise, and after how many the scree has its gap.

    Parameters
    ----------
    eigenvalues : numpy.ndarray, shape (p,)
        Descending; of a covariance in which the noise is white. Its variance is estimated.
    freedom : float
        Pixels less one, more than 1.

    Returns
    -------
    Significance

    Notes
    -----
    The eigenvalues of noise alone follow the distribution of Marchenko and Pastur, whose place tells the variance of
    the noise and whose width how many pixels are independent: interpolation correlates neighbours, and what it leaves
    out of the variance of each, it puts into the width. Both are estimated from the eigenvalues that do not stand out,
    by their median and the ratio of their outer quartiles, anew while more are found that do.
    """
    size = len(eigenvalues)
    if not size:
        return Significance(0, 0, float("nan"))
    rounding = np.finfo(np.float64).eps * size * float(eigenvalues[0])
    number, edge = 0, float("nan")
    while number < min(size, int(freedom)):
        rest, left = size - number, freedom - number
        bulk = eigenvalues[number : number + min(rest, int(left))]  # beyond as many as there are pixels they are zero
        variance, independent = _noise_of(bulk, rest, left)
        edge = max(variance, rounding) * noise_edge(rest, independent)
        found = int(np.sum(eigenvalues > edge))
        if found <= number:
            break
        number = found
    return Significance(number, _before_gap(eigenvalues, number), edge)


def _noise_of(bulk: FloatArray, size: int, freedom: float) -> tuple[float, float]:
    """Give variance and degrees of freedom of the noise that has such eigenvalues; never more than `freedom`."""
    low, middle, high = np.quantile(bulk, QUARTILES)
    nominal = marchenko_pastur_quantiles(size, freedom, QUARTILES)
    if len(bulk) < FEWEST_IN_BULK or not high * nominal[0] > nominal[2] * low or not low > 0:
        return float(middle / nominal[1]), freedom
    few, many = min(float(size), freedom), freedom
    for _ in range(BISECTIONS):
        between = float(np.sqrt(few * many))
        nominal = marchenko_pastur_quantiles(size, between, QUARTILES)
        few, many = (between, many) if nominal[2] * low > high * nominal[0] else (few, between)
    return float(middle / nominal[1]), between


def _before_gap(eigenvalues: FloatArray, above_noise: int) -> int:
    """Give the number of eigenvalues before the largest step among those above the noise."""
    if not above_noise:
        return 0
    following = np.append(eigenvalues, eigenvalues[-1])[1 : above_noise + 1]
    steps = np.log(eigenvalues[:above_noise]) - np.log(np.maximum(following, np.finfo(float).tiny))
    return int(np.argmax(steps)) + 1


def noise_edge(size: int, freedom: float) -> float:
    """Give the 99th percentile of the largest eigenvalue of a covariance of white noise of variance 1.

    Of `size` variables with `freedom` degrees of freedom: Johnstone, Ann. Stat. 29 (2001) 295, with the centring of
    Ma, Bernoulli 18 (2012) 322.
    """
    pixels, energies = np.sqrt(max(freedom - 0.5, 0.5)), np.sqrt(size - 0.5)
    width = (pixels + energies) * (1 / pixels + 1 / energies) ** (1 / 3)
    return float(((pixels + energies) ** 2 + TRACY_WIDOM_99 * width) / freedom)


def marchenko_pastur_quantiles(size: float, freedom: float, shares: tuple[float, ...]) -> FloatArray:
    """Give quantiles of the eigenvalues that are not zero of a covariance of white noise of variance 1."""
    if size > freedom:
        return size / freedom * marchenko_pastur_quantiles(freedom, size, shares)
    ratio = size / freedom
    angle = (np.arange(500) + 0.5) * np.pi / 500
    value = 1 + ratio - 2 * np.sqrt(ratio) * np.cos(angle)
    share = np.cumsum(np.sin(angle) ** 2 / value)  # the density, in steps of the angle
    return np.asarray(np.interp(shares, share / share[-1], value))
