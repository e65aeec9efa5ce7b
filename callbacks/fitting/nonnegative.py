"""Unmixing: every pixel's spectrum as a sum of reference spectra with non-negative fractions, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
Support = tuple[int, ...]

MOST_REFERENCES = 6  # 63 supports
CHUNK = 2048  # pixels: what is worked on at a time stays in the processor's cache
# A reference is a sum of others where less than this of its norm is left beside them.
INDEPENDENT = 1e-11
INDEPENDENT_IN_GRAM = 1e-6  # its square is seen through the rounding of normal equations


@dataclass(frozen=True)
class Unmixed:
    """Non-negative fractions of references, and how well they are known.

    Attributes
    ----------
    fractions : numpy.ndarray, shape (n_pixels, k)
        In units of the references; NaN where a spectrum has gaps and fewer valid energies than there are references.
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


def unmix(spectra: FloatArray, references: FloatArray, variance: FloatArray | None = None) -> Unmixed:
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

    Returns
    -------
    Unmixed

    Raises
    ------
    ValueError
        When shapes do not match, references are not finite, too many or none, or a variance is not above zero.

    Notes
    -----
    The minimiser of a non-negative least-squares problem is the unconstrained fit of its own support, the references
    above zero. A support is the right one where its fit is nowhere negative and no reference beside it would come out
    positive, were it added (the conditions of Karush, Kuhn and Tucker; C. Lawson and R. Hanson, "Solving Least Squares
    Problems", 1974, chapter 23). Each fit is a linear map, so all 2^k supports are tried with matrix products, from
    the full one down, each on the pixels not yet settled. Where one weighting serves all pixels the maps are made
    once, from the QR factors of the references; else from the normal equations of each pixel, with one step of
    iterative refinement. Supports that are not linearly independent are not needed and not tried.
    """
    spectra, references = np.asarray(spectra, dtype=float), np.asarray(references, dtype=float)
    weights = _checked_weights(spectra, references, variance)
    pixels, count = len(spectra), len(references)
    unmixed = Unmixed(
        np.empty((pixels, count)), np.empty((pixels, count)), np.empty(pixels), np.empty((pixels, count, count))
    )
    if weights.ndim == 1:
        with np.errstate(invalid="ignore", over="ignore"):
            whole = np.isfinite(spectra.sum(axis=1))
        whole[~whole] = np.isfinite(spectra[~whole]).all(axis=1)  # where a sum overflowed
        used = weights > 0
        everything = bool(whole.all()) and bool(used.all())
        complete = spectra if everything else spectra[whole][:, used]
        _store(unmixed, whole, _unmix_alike(complete, references[:, used], weights[used], variance is not None))
        gaps = np.flatnonzero(~whole)
    else:
        gaps = np.arange(pixels)
    for start in range(0, len(gaps), CHUNK):
        rows = gaps[start : start + CHUNK]
        valid = np.isfinite(spectra[rows])
        own = np.where(valid, weights if weights.ndim == 1 else weights[rows], 0.0)
        part = _unmix_each(np.where(valid, spectra[rows], 0.0), references, own, variance is not None)
        _store(unmixed, rows, part)
    np.sqrt(np.einsum("pii->pi", unmixed.covariance), out=unmixed.sigma)
    return unmixed


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
    # a fraction that does not enter has no say, be its uncertainty known or not
    among = np.flatnonzero(member + (np.arange(count) == numerator))
    gradient, covariance = gradient[:, among] / total[:, None], unmixed.covariance[:, among[:, None], among]
    return value, np.sqrt(np.einsum("pi,pij,pj->p", gradient, covariance, gradient))


def with_misfit(unmixed: Unmixed, spectra: FloatArray, references: FloatArray, variance: FloatArray) -> Unmixed:
    """Widen the uncertainties of pixels that the references do not fit within the noise.

    Parameters
    ----------
    unmixed : Unmixed
        Of these spectra, references and variances.
    spectra, variance : numpy.ndarray, shape (n_pixels, n_energies)
    references : numpy.ndarray, shape (k, n_energies)

    Returns
    -------
    Unmixed
        Uncertainties times the square root of the reduced chi-squared where that is above one (R. T. Birge, Phys. Rev.
        40 (1932) 207): what moves a spectrum beyond its noise, such as a pixel at the edge of a particle that was not
        always in the same place, moves the fractions as well.
    """
    weights = np.where(np.isfinite(spectra) & np.isfinite(variance), 1.0 / variance, 0.0)
    misfit = np.nan_to_num(spectra - unmixed.fractions @ references)
    freedom = (weights > 0).sum(axis=1) - (unmixed.fractions > 0).sum(axis=1)
    chi_squared = np.einsum("pe,pe,pe->p", weights, misfit, misfit) / np.maximum(freedom, 1)
    factor = np.maximum(chi_squared, 1.0)
    return replace(
        unmixed,
        sigma=unmixed.sigma * np.sqrt(factor)[:, None],
        covariance=unmixed.covariance * factor[:, None, None],
    )


def _checked_weights(spectra: FloatArray, references: FloatArray, variance: FloatArray | None) -> FloatArray:
    """Give the weight of each point, 0 where its variance is not finite."""
    if spectra.ndim != 2 or references.ndim != 2 or spectra.shape[1] != references.shape[1]:
        raise ValueError(
            f"spectra {spectra.shape} and references {references.shape}:"
            " expected (n_pixels, n_energies) and (k, n_energies)"
        )
    if not 1 <= len(references) <= MOST_REFERENCES:
        raise ValueError(f"{len(references)} references: expected 1 to {MOST_REFERENCES}")
    if not np.isfinite(references).all():
        energy = int(np.flatnonzero(~np.isfinite(references).all(axis=0))[0])
        raise ValueError(f"references are not finite at energy number {energy}: expected numbers throughout")
    if variance is None:
        return np.ones(spectra.shape[1])
    variance = np.asarray(variance, dtype=float)
    if variance.shape not in (spectra.shape[1:], spectra.shape):
        raise ValueError(f"variance {variance.shape}: expected {spectra.shape[1:]} or {spectra.shape}")
    if (variance <= 0).any():
        raise ValueError(f"variance {np.nanmin(variance):g}: expected above zero, or NaN where not measured")
    known = np.isfinite(variance)
    return np.divide(1.0, variance, out=np.zeros_like(variance), where=known)


def _store(whole: Unmixed, rows: IntArray | NDArray[np.bool_], part: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    whole.fractions[rows], whole.covariance[rows], whole.residual[rows] = part


@cache
def _supports(count: int) -> tuple[Support, ...]:
    """Give all supports, from the full one to the empty one."""
    return tuple(support for size in range(count, -1, -1) for support in combinations(range(count), size))


def _settle(pixels: int, count: int, violation: Callable[[Support, IntArray | slice], FloatArray | None]) -> IntArray:
    """Give the number of each pixel's support: the first without a violation, else (rounding) that with the least."""
    number, least = np.zeros(pixels, dtype=np.intp), np.full(pixels, np.inf)
    left: IntArray | slice = slice(None)
    for candidate, support in enumerate(_supports(count)):
        seen = violation(support, left)
        if seen is None:
            continue
        index = np.arange(pixels) if isinstance(left, slice) else left
        better = seen < least[index]
        number[index[better]] = candidate
        left = index[seen > 0]
        if not left.size:
            break
        least[index] = np.minimum(least[index], seen)
    return number


def _unmix_alike(
    spectra: FloatArray, references: FloatArray, weights: FloatArray, propagate: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unmix spectra without gaps under one weighting: one set of maps, made from QR factors."""
    root = np.sqrt(weights)
    basis, factor, scale = _factors(references * root)
    projected = (basis * root[:, None]).T @ spectra.T  # the rest of a spectrum is outside the span of the references
    maps = _Maps(factor)

    def violation(support: Support, left: IntArray | slice) -> FloatArray | None:
        conditions = maps.conditions(support)
        return None if conditions is None else -(conditions @ projected[:, left]).min(axis=0).clip(max=0.0)

    count = len(references)
    number = _settle(len(spectra), count, violation)
    fractions, table = np.zeros((count, len(spectra))), np.zeros((2**count, count, count))
    for candidate in np.flatnonzero(np.bincount(number, minlength=2**count)):
        support = _supports(count)[candidate]
        rows = np.flatnonzero(number == candidate)
        fractions[np.array(support, dtype=int)[:, None], rows] = (maps.fit(support) @ projected[:, rows]).clip(min=0.0)
        table[candidate] = maps.covariance(support) / np.outer(scale, scale)
    found = np.ascontiguousarray((fractions / scale[:, None]).T)
    residual = np.empty(len(spectra))
    for start in range(0, len(spectra), CHUNK):
        part = slice(start, start + CHUNK)
        rest = spectra[part] - found[part] @ references
        residual[part] = np.sqrt(np.einsum("pe,pe->p", rest, rest))
    covariance = np.take(table, number, axis=0)
    if not propagate:
        sizes = np.array([len(support) for support in _supports(count)])
        covariance *= _scatter(residual, len(weights) - sizes[number])[:, None, None]
    return found, covariance, residual


def _factors(references: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give an orthonormal basis (n_energies, r), the references of unit norm in it (r, k), and their norms."""
    norm = np.linalg.norm(references, axis=1)
    scale = np.where(norm > 0, norm, 1.0)
    basis, factor = np.linalg.qr((references / scale[:, None]).T)
    return basis, factor, scale


class _Maps:
    """The linear maps from a projected spectrum to the fits of each support."""

    def __init__(self, factor: FloatArray) -> None:
        self._factor = factor
        self._fits: dict[Support, FloatArray | None] = {}

    def _fit(self, support: Support) -> FloatArray | None:
        """Give the map (size, r) to the coefficients of a support; None where it is not linearly independent."""
        if support not in self._fits:
            columns = self._factor[:, list(support)]
            u, s, vt = np.linalg.svd(columns, full_matrices=False)
            independent = not support or (len(s) == len(support) and s[-1] > INDEPENDENT)
            self._fits[support] = (vt.T / s) @ u.T if independent else None
        return self._fits[support]

    def fit(self, support: Support) -> FloatArray:
        """Give the map (size, r) to the coefficients of a linearly independent support."""
        fit = self._fit(support)
        if fit is None:
            raise ValueError(f"the references {support} are not linearly independent")
        return fit

    def conditions(self, support: Support) -> FloatArray | None:
        """Give the map (k, r) to the numbers that are all non-negative where this support is the right one.

        A reference that is a sum of those of the support has no condition: the fit already reaches what it offers.
        """
        fit = self._fit(support)
        if fit is None:
            return None
        rows = np.zeros(self._factor.T.shape)
        rows[list(support)] = fit
        for other in set(range(len(rows))) - set(support):
            wider = tuple(sorted((*support, other)))
            beside = self._fit(wider)
            if beside is not None:
                rows[other] = -beside[wider.index(other)]
        return rows

    def covariance(self, support: Support) -> FloatArray:
        """Give the covariance (k, k) of the fractions for unit variance, as `Unmixed` describes it."""
        fit = self.fit(support)
        covariance = np.zeros((self._factor.shape[1],) * 2)
        covariance[np.array(support, dtype=int)[:, None], list(support)] = fit @ fit.T
        for other in set(range(len(covariance))) - set(support):
            wider = tuple(sorted((*support, other)))
            beside = self._fit(wider)
            if beside is not None:
                covariance[other, other] = float(np.sum(beside[wider.index(other)] ** 2))
                continue
            covariance[other, other] = np.nan
            shared = np.array(support, dtype=int)[np.abs(fit @ self._factor[:, other]) > np.sqrt(INDEPENDENT)]
            covariance[shared, :] = covariance[:, shared] = np.nan
        return covariance


def _scatter(residual: FloatArray, freedom: IntArray) -> FloatArray:
    """Give the variance of a point from the residual; NaN where nothing is left to judge by."""
    return np.divide(residual**2, freedom, out=np.full(len(residual), np.nan), where=freedom > 0)


def _unmix_each(
    spectra: FloatArray, references: FloatArray, weights: FloatArray, propagate: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unmix spectra each with weights of its own (0: left out), by their normal equations."""
    count, energies = references.shape
    pairs = (references[:, None] * references[None]).reshape(count**2, energies)
    gram = (weights @ pairs.T).reshape(-1, count, count)
    fractions, covariance, active = solve_normal_equations(gram, (weights * spectra) @ references.T)
    slope = np.where(active, (weights * (spectra - fractions @ references)) @ references.T, 0.0)
    fractions += np.where(active, np.einsum("pij,pj->pi", np.nan_to_num(covariance), slope), 0.0)
    fractions = fractions.clip(min=0.0)
    valid = weights > 0
    residual = np.linalg.norm(np.where(valid, spectra - fractions @ references, 0.0), axis=1)
    points = valid.sum(axis=1)
    if not propagate:
        covariance *= _scatter(residual, points - active.sum(axis=1))[:, None, None]
    few = points < count
    fractions[few], covariance[few], residual[few] = np.nan, np.nan, np.nan
    return fractions, covariance, residual


def solve_normal_equations(
    gram: FloatArray, offered: FloatArray, *, non_negative: bool = True
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Solve many small least-squares problems, each with references and weights of its own.

    Parameters
    ----------
    gram : numpy.ndarray, shape (n, k, k)
        Products of the references with one another, weighted.
    offered : numpy.ndarray, shape (n, k)
        Products of the references with the spectrum, weighted.
    non_negative : bool
        Without it the plain minimum; NaN where the references are not linearly independent.

    Returns
    -------
    fractions : numpy.ndarray, shape (n, k)
    covariance : numpy.ndarray, shape (n, k, k)
        For weights that are inverse variances; as `Unmixed` describes it.
    active : numpy.ndarray of bool, shape (n, k)
        The support of each problem.
    """
    count = offered.shape[1]
    gram, offered = np.moveaxis(gram, 0, -1), offered.T  # the many last: fast
    norm = np.sqrt(np.einsum("iip->ip", gram))
    scale = np.where(norm > 0, norm, 1.0)
    tableau = np.empty((count, count + 1, offered.shape[1]))
    tableau[:, :-1], tableau[:, -1] = gram / (scale[:, None] * scale), offered / scale

    def violation(support: Support, left: IntArray | slice) -> FloatArray:
        swept, independent, aside = _sweep(tableau[:, :, left], support)
        # beside the support: what each reference would get, were it added
        values = np.divide(swept[:, -1], aside, out=np.zeros(aside.shape), where=aside > 0)
        values[[other for other in range(count) if other not in support]] *= -1.0
        return np.where(independent, -values.min(axis=0).clip(max=0.0), np.inf)

    pixels = offered.shape[1]
    number = _settle(pixels, count, violation) if non_negative else np.zeros(pixels, dtype=np.intp)
    fractions, covariance = np.empty((pixels, count)), np.empty((pixels, count, count))
    active = np.zeros((pixels, count), dtype=bool)
    for candidate in np.unique(number):
        rows, support = np.flatnonzero(number == candidate), _supports(count)[candidate]
        swept, independent, aside = _sweep(tableau[:, :, rows], support)
        fractions[rows], covariance[rows] = _read_off(swept, aside, support)
        active[np.ix_(rows, np.array(support, dtype=int))] = True
        fractions[rows[~independent]] = covariance[rows[~independent]] = np.nan
    scale = scale.T
    return fractions / scale, covariance / (scale[:, :, None] * scale[:, None, :]), active


def _sweep(tableau: FloatArray, support: Support) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Sweep the support into the normal equations [G | b] (J. Goodnight, Am. Stat. 33 (1979) 149).

    Returns
    -------
    swept : numpy.ndarray, shape (k, k + 1, n)
        Within the support, the inverse of G and (last column) the coefficients; beside it, what is left of each
        reference and of its product with the spectrum.
    independent : numpy.ndarray of bool, shape (n,)
        Whether the support is linearly independent.
    aside : numpy.ndarray, shape (k, n)
        1 within the support; else the squared norm that is left of a reference, 0 where none is.
    """
    swept, independent = tableau.copy(), np.ones(tableau.shape[2], dtype=bool)
    for pivot in support:
        independent &= swept[pivot, pivot] > INDEPENDENT_IN_GRAM**2
        left = np.where(independent, swept[pivot, pivot], 1.0)
        column, row = swept[:, pivot].copy(), swept[pivot] / left
        swept -= column[:, None] * row
        swept[pivot] = row
        swept[:, pivot] = -column / left
        swept[pivot, pivot] = 1.0 / left
    aside = np.einsum("iip->ip", swept[:, :-1]).copy()
    aside[aside < INDEPENDENT_IN_GRAM**2] = 0.0
    aside[list(support)] = 1.0
    return swept, independent, aside


def _read_off(swept: FloatArray, aside: FloatArray, support: Support) -> tuple[FloatArray, FloatArray]:
    """Give fractions (n, k) and their covariance (n, k, k) for the given weights, as `Unmixed` describes it."""
    count, pixels = aside.shape
    fractions, covariance = np.zeros((pixels, count)), np.zeros((pixels, count, count))
    for index in support:
        fractions[:, index] = swept[index, -1]
        for other in support:
            covariance[:, index, other] = swept[index, other]
    for other in set(range(count)) - set(support):
        apart = aside[other] > 0
        covariance[:, other, other] = np.divide(1.0, aside[other], out=np.full(pixels, np.nan), where=apart)
        for index in support:
            shared = ~apart & (np.abs(swept[index, other]) > INDEPENDENT_IN_GRAM)
            covariance[shared, index] = covariance[shared, :, index] = np.nan
    return fractions, covariance
