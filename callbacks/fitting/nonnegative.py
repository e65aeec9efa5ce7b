"""Unmixing: every pixel's spectrum as a sum of reference spectra with non-negative fractions, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.common_weights import unmix_with_common_weights
from callbacks.fitting.compiled import unmix_compiled
from callbacks.fitting.normal_equations import unmix_with_own_weights
from callbacks.fitting.rows import CHUNK, check_references, check_variance, inverse_variance, too_few_energies
from callbacks.fitting.supports import MOST_REFERENCES

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Unmixed:
    """Non-negative fractions of references, and how well they are known.

    Attributes
    ----------
    fractions : numpy.ndarray, shape (n_pixels, k)
        In units of the references. NaN, as are `sigma` and `residual`, where a spectrum has fewer valid energies than
        there are references: those where it and its variance are finite.
    sigma : numpy.ndarray, shape (n_pixels, k)
        Standard uncertainties. That of a fraction which the constraint holds at zero is the one-sided uncertainty it
        would have, were its reference added to the unconstrained fit of the others that are above zero. NaN where the
        references do not determine a fraction (one is a sum of others).
    residual : numpy.ndarray, shape (n_pixels,)
        2-norm of spectrum minus fit, not weighted, over the valid energies; in units of the spectra.
    covariance : numpy.ndarray, shape (n_pixels, k, k)
        Of the fractions; zero between a fraction held at zero and any other.
    """

    fractions: FloatArray
    sigma: FloatArray
    residual: FloatArray
    covariance: FloatArray


def unmix(spectra: FloatArray, references: FloatArray, variance: FloatArray | None = None, *, free: int = 0) -> Unmixed:
    """Fit non-negative fractions of references to every spectrum: the exact minimum, all pixels at once.

    Parameters
    ----------
    spectra : numpy.ndarray, shape (n_pixels, n_energies)
        Optical density, or any quantity in which components add up. NaN: that energy is left out for that pixel.
    references : numpy.ndarray, shape (k, n_energies)
        At most six, finite.
    variance : numpy.ndarray, shape (n_energies,) or (n_pixels, n_energies), optional
        Of the spectra, points independent; one weighting for all pixels, or one a pixel. Where it is not finite the
        point is left out. Without it points weigh alike, and uncertainties follow from the scatter about the fit.
    free : int
        The last so many references, six others at most, may have negative fractions: such as a constant. They need a
        variance a pixel.

    Returns
    -------
    Unmixed

    Raises
    ------
    ValueError
        When shapes do not match, references are not finite, too many, none, or more than there are energies, or a
        variance is not above zero.

    Notes
    -----
    The minimiser of a non-negative least-squares problem is the unconstrained fit of its own support, the references
    above zero. A support is the right one where its fit is nowhere negative and no reference beside it would come out
    positive, were it added (the conditions of Karush, Kuhn and Tucker; C. Lawson and R. Hanson, "Solving Least Squares
    Problems", 1974, chapter 23). Where one weighting serves all pixels, each fit is a linear map, made once from the QR
    factors of the references; all 2^k supports are tried with matrix products, from the full one down, each on the
    pixels not yet settled. A pixel with a weighting of its own is solved by pivots of its normal equations, see
    `callbacks.fitting.compiled`; where the references are all but dependent in it, or it has gaps, by trying the
    supports, too, with one step of iterative refinement. Supports that are not linearly independent are not needed and
    not tried.
    """
    spectra = np.asarray(spectra, dtype=float)
    if spectra.ndim != 2:
        raise ValueError(f"spectra {spectra.shape}: expected (n_pixels, n_energies)")
    references = check_references(references, spectra.shape[1], MOST_REFERENCES + free)
    if problem := too_few_energies(spectra.shape[1], len(references)):
        raise ValueError(problem)
    pixels, count, propagate = len(spectra), len(references), variance is not None
    each = None if variance is None or np.ndim(variance) < 2 else check_variance(variance, spectra.shape)
    if each is not None:
        fractions, covariance, residual, settled = unmix_compiled(spectra, each, references, free=free)
    else:
        if free:
            raise ValueError("references that may be negative: expected a variance a pixel")
        weights = np.ones(spectra.shape[1]) if variance is None else inverse_variance(variance, spectra.shape)
        fractions, covariance = np.empty((pixels, count)), np.empty((pixels, count, count))
        used = weights > 0
        residual, settled = np.empty(pixels), _without_gaps(spectra) & (used.sum() >= count)
        complete = spectra if settled.all() and used.all() else spectra[settled][:, used]
        fractions[settled], covariance[settled], residual[settled] = unmix_with_common_weights(
            complete, references[:, used], weights[used], propagate=propagate
        )
    apart = np.flatnonzero(~settled)
    for start in range(0, len(apart), CHUNK):
        rows = apart[start : start + CHUNK]
        valid = np.isfinite(spectra[rows])
        if each is not None:
            weights = inverse_variance(each[rows], valid.shape)
        own = np.where(valid, weights, 0.0)
        fractions[rows], covariance[rows], residual[rows] = unmix_with_own_weights(
            np.where(valid, spectra[rows], 0.0), references, own, propagate=propagate, free=free
        )
    return Unmixed(fractions, np.sqrt(np.einsum("pii->pi", covariance)), residual, covariance)


def _without_gaps(spectra: FloatArray) -> BoolArray:
    """Tell which spectra are finite throughout, at the cost of a sum where all are."""
    with np.errstate(invalid="ignore", over="ignore"):
        complete = np.isfinite(spectra.sum(axis=1))
    complete[~complete] = np.isfinite(spectra[~complete]).all(axis=1)  # where a sum overflowed
    return np.asarray(complete)


def ratio(unmixed: Unmixed, numerator: int, denominator: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Divide one fraction by the sum of some, with the full covariance of the fractions.

    Parameters
    ----------
    unmixed : Unmixed
    numerator : int
    denominator : sequence of int
        ``ratio(unmixed, i, (i, j))`` is f_i / (f_i + f_j).

    Returns
    -------
    value, sigma : numpy.ndarray, shape (n_pixels,)
        NaN where the sum is not above zero.

    Raises
    ------
    ValueError
        When there is no such fraction.
    """
    count = unmixed.fractions.shape[1]
    if not denominator or not all(0 <= index < count for index in (numerator, *denominator)):
        raise ValueError(
            f"ratio of fraction {numerator} to the sum of {denominator}: expected numbers 0 to {count - 1}"
        )
    member = np.zeros(count)
    member[list(denominator)] = 1.0
    total = unmixed.fractions[:, list(dict.fromkeys(denominator))].sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    value = unmixed.fractions[:, numerator] / total
    gradient = -value[:, None] * member
    gradient[:, numerator] += 1.0
    # a fraction that does not enter does not contribute, whether its uncertainty is known or not
    among = np.flatnonzero(member + (np.arange(count) == numerator))
    gradient, covariance = gradient[:, among] / total[:, None], unmixed.covariance[:, among[:, None], among]
    return value, np.sqrt(np.einsum("pi,pij,pj->p", gradient, covariance, gradient))


def misfit(unmixed: Unmixed, spectra: FloatArray, references: FloatArray, variance: FloatArray) -> FloatArray:
    """Give the reduced chi-squared of each spectrum, 1 where it is less, shape (n_pixels,).

    By its root uncertainties are multiplied (R. T. Birge, Phys. Rev. 40 (1932) 207): what moves a spectrum beyond its
    noise, such as a pixel at the edge of a particle that was not always in the same place, moves the fractions as well.
    """
    weights = np.where(np.isfinite(spectra) & np.isfinite(variance), 1.0 / variance, 0.0)
    left = np.nan_to_num(spectra - unmixed.fractions @ references)
    freedom = (weights > 0).sum(axis=1) - (unmixed.fractions != 0).sum(axis=1)
    chi_squared = np.einsum("pe,pe,pe->p", weights, left, left) / np.maximum(freedom, 1)
    return np.asarray(np.maximum(chi_squared, 1.0))


def no_fractions(pixels: int, references: int) -> Unmixed:
    """Give the fractions of so many references in pixels that were not fitted: NaN."""
    shapes = (pixels, references), (pixels, references), (pixels,), (pixels, references, references)
    return Unmixed(*(np.full(shape, np.nan) for shape in shapes))


def reordered(unmixed: Unmixed, order: Sequence[int]) -> Unmixed:
    """Give the fractions with the references in another order: the places that they had."""
    return replace(
        unmixed,
        fractions=unmixed.fractions[:, order],
        sigma=unmixed.sigma[:, order],
        covariance=unmixed.covariance[:, order][:, :, order],
    )


def put(part: Unmixed, pixels: NDArray[np.intp], into: Unmixed) -> None:
    """Put the fractions of some pixels among those of all."""
    into.fractions[pixels], into.sigma[pixels] = part.fractions, part.sigma
    into.residual[pixels], into.covariance[pixels] = part.residual, part.covariance
