"""How two maps of one place go together, pixel by pixel; those of two runs are registered before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from callbacks.analysis.rows import Pixels
from callbacks.stxm.alignment.registration import register

FloatArray = NDArray[np.floating]

FEWEST = 20  # pixels: of fewer nothing is told
SIGMAS = 3.0  # by which a coefficient without noise may lie beyond one


@dataclass(frozen=True)
class Correlation:
    """How two maps go together.

    Attributes
    ----------
    first, second : numpy.ndarray, shape (n,)
        Their values in the pixels where both are known.
    pearson, spearman : float
        Coefficients of their values, and of the ranks of these; NaN where `status` is not "ok".
    pearson_sigma : float
        Of so many pixels, taken to be independent.
    without_noise : float
        Pearson's coefficient, had the values no noise: as measured over the root of the product of both reliabilities,
        the share of each map's variance that is not its noise. NaN of two maps of one run, which share their noise,
        and where noise is all there is, or less than is said.
    shift : tuple of float
        um, x and y: what is added to positions in the second run; 0 within one.
    status : str
        "ok", or why nothing is told.
    """

    first: FloatArray
    second: FloatArray
    pearson: float
    pearson_sigma: float
    spearman: float
    without_noise: float
    shift: tuple[float, float]
    status: str


def nothing(reason: str) -> Correlation:
    """Give the answer where there is none."""
    return Correlation(np.zeros(0), np.zeros(0), *(math.nan,) * 4, (math.nan, math.nan), reason)


def correlate(
    first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray], places: tuple[Pixels, Pixels]
) -> Correlation:
    """Compare two maps pixel by pixel.

    Parameters
    ----------
    first, second : (numpy.ndarray, numpy.ndarray), shape (lines, columns)
        Values and standard uncertainties; NaN where not known.
    places : (Pixels, Pixels)
        Of the two; the same for two maps of one run.

    Notes
    -----
    The second run is brought to the pixels of the first by its positions, and by the shift at which its mean image
    lies on that of the first; values between its pixels are interpolated. The correction for noise is that of
    C. Spearman, Am. J. Psychol. 15 (1904) 72; the uncertainty is by the transformation of R. A. Fisher.
    """
    one, other = places
    shift = (0.0, 0.0)
    if one is not other:
        if one.x is None or one.y is None or other.x is None or other.y is None:
            return nothing("the positions of the pixels are not known, or images have several regions")
        if min(map(len, (one.x, one.y, other.x, other.y))) < 2:
            return nothing("the two runs cannot be registered: an image is a single line, expected two or more")
        grid = _grid(one, other, shift)
        found = register(np.exp(-_at(other.picture, grid)), np.exp(-one.picture))
        if found.status != "ok":
            return nothing(f"the two runs cannot be registered: {found.status}")
        lines, columns = found.shift
        shift = float(columns * (one.x[1] - one.x[0])), float(lines * (one.y[1] - one.y[0]))
        grid = _grid(one, other, shift)
        second = (_at(second[0], grid), _at(second[1], grid))
    both = np.isfinite(first[0]) & np.isfinite(second[0])
    if both.sum() < FEWEST:
        return nothing(f"both are known in {int(both.sum())} pixels, expected {FEWEST} or more")
    x, y = first[0][both], second[0][both]
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return nothing("one of the two is the same everywhere")
    pearson = float(np.corrcoef(x, y)[0, 1])
    spearman = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    reliable = [
        1 - float(np.mean(sigma[both] ** 2)) / float(np.var(values))
        for values, sigma in ((x, first[1]), (y, second[1]))
    ]
    sigma = (1 - pearson**2) / math.sqrt(len(x) - 3)
    without_noise = math.nan
    if one is not other and min(reliable) > 0:
        share = math.sqrt(reliable[0] * reliable[1])
        if abs(pearson) <= share + SIGMAS * sigma:  # else the noise is not what it is said to be
            without_noise = pearson / share
    return Correlation(x, y, pearson, sigma, spearman, without_noise, shift, "ok")


def _ranks(values: FloatArray) -> FloatArray:
    """Give the place of each value in their order; equal ones share the middle of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - 0.5 * (count - 1))[place])


def _grid(one: Pixels, other: Pixels, shift: tuple[float, float]) -> FloatArray:
    """Give where the pixels of one run lie among those of another, shape (2, lines, columns)."""
    assert one.x is not None and one.y is not None and other.x is not None and other.y is not None  # noqa: PT018
    along_x, along_y = (
        (own - moved - theirs[0]) / (theirs[1] - theirs[0])
        for own, moved, theirs in ((one.x, shift[0], other.x), (one.y, shift[1], other.y))
    )
    return np.stack(np.meshgrid(along_y, along_x, indexing="ij"))


def _at(image: FloatArray, grid: FloatArray) -> FloatArray:
    """Interpolate an image; NaN beside it, and where a neighbour is not known."""
    return np.asarray(map_coordinates(image, grid, order=1, cval=np.nan))
