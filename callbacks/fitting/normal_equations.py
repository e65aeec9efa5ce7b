"""Least-squares fits of spectra that each have weights of their own, by their normal equations, all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import scatter_variance
from callbacks.fitting.supports import Support, choose_supports, supports_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer]

# A reference is a sum of others where less than this of its norm is left beside them. Normal equations hold the square
# of it, 1e-12, which must stand above their rounding: 1e-16 times the number of energies.
INDEPENDENT = 1e-6


@dataclass(frozen=True)
class ColumnFit:
    """Spectra fitted by columns, each spectrum by columns of its own.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (n, k)
    covariance : numpy.ndarray, shape (n, k, k)
        For weights that are inverse variances; as `callbacks.fitting.nonnegative.Unmixed` describes it.
    active : numpy.ndarray of bool, shape (n, k)
        Coefficients not held at zero.
    residuals : numpy.ndarray, shape (n, n_energies)
        Spectrum minus fit; 0 where the weight is.
    weighted : numpy.ndarray, shape (n, k, n_energies)
        The columns times the weights.
    """

    coefficients: FloatArray
    covariance: FloatArray
    active: BoolArray
    residuals: FloatArray
    weighted: FloatArray


def fit_columns(spectra: FloatArray, weights: FloatArray, columns: FloatArray, *, non_negative: bool) -> ColumnFit:
    """Fit each spectrum (n, n_energies), 0 where its weight is, by columns (n, k, n_energies) of its own."""
    weighted = columns * weights[:, None, :]
    gram, offered = weighted @ columns.transpose(0, 2, 1), np.einsum("nke,ne->nk", weighted, spectra)
    coefficients, covariance, active = solve_normal_equations(gram, offered, non_negative=non_negative)
    fitted = np.einsum("nk,nke->ne", coefficients, columns)
    return ColumnFit(coefficients, covariance, active, np.where(weights > 0, spectra - fitted, 0.0), weighted)


def normal_equations(spectra: FloatArray, weights: FloatArray, references: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the weighted products of references (k, n_energies) with one another (n, k, k) and with spectra (n, k)."""
    count = len(references)
    pairs = (references[:, None] * references[None]).reshape(count**2, -1)
    gram = (weights @ pairs.T).reshape(len(weights), count, count)
    return gram, (weights * spectra) @ references.T


def unmix_with_own_weights(
    spectra: FloatArray, references: FloatArray, weights: FloatArray, *, propagate: bool, free: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unmix spectra each with weights of its own (0: left out), the last `free` references with either sign."""
    count = len(references)
    gram, offered = normal_equations(spectra, weights, references)
    fractions, covariance, active = solve_normal_equations(gram, offered, free=free)
    slope = np.where(active, (weights * (spectra - fractions @ references)) @ references.T, 0.0)
    fractions += np.where(active, np.einsum("pij,pj->pi", np.nan_to_num(covariance), slope), 0.0)
    fractions[:, : count - free] = fractions[:, : count - free].clip(min=0.0)
    valid = weights > 0
    residual = np.linalg.norm(np.where(valid, spectra - fractions @ references, 0.0), axis=1)
    points = valid.sum(axis=1)
    if not propagate:
        covariance *= scatter_variance(residual**2, points - active.sum(axis=1))[:, None, None]
    few = points < count
    fractions[few], covariance[few], residual[few] = np.nan, np.nan, np.nan
    return fractions, covariance, residual


def dependent_references(references: FloatArray, together: int) -> list[int]:
    """Find references that no fit can tell apart: one that is a sum of others, and these.

    Parameters
    ----------
    references : numpy.ndarray, shape (k, n_energies)
        At the energies fitted.
    together : int
        How many of them are fitted together: sums of more are not looked for.

    Returns
    -------
    list of int
        None where there are none, or fewer energies than are fitted together: then there is no fit at all.
    """
    count, energies = references.shape
    if energies < min(count, together):
        return []
    length = np.linalg.norm(references, axis=1, keepdims=True)
    unit = references / np.where(length > 0, length, 1.0)
    apart: list[int] = []
    for place in range(count):
        sums, *_ = np.linalg.lstsq(unit[apart].T, unit[place])
        if np.linalg.norm(unit[place] - sums @ unit[apart]) > INDEPENDENT:
            apart.append(place)
            continue
        found = [other for other, share in zip(apart, sums, strict=True) if abs(share) > INDEPENDENT]
        if len(found) <= together:
            return [*found, place]
    return []


def solve_normal_equations(
    gram: FloatArray, offered: FloatArray, *, non_negative: bool = True, free: int = 0
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Solve many small least-squares problems, each with references and weights of its own.

    Parameters
    ----------
    gram : numpy.ndarray, shape (n, k, k)
        Products of the references with one another, weighted.
    offered : numpy.ndarray, shape (n, k)
        Products of the references with the spectrum, weighted.
    non_negative : bool
        Without it the plain minimum; NaN where the references are not linearly independent.
    free : int
        The last so many references may be negative all the same.

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

    unbounded = set(range(count - free, count))

    def violation(support: Support, left: IntArray | slice) -> FloatArray | None:
        if not unbounded.issubset(support):
            return None
        swept, independent, aside = _sweep(tableau[:, :, left], support)
        # beside the support: what each reference would get, were it added
        values = np.divide(swept[:, -1], aside, out=np.zeros(aside.shape), where=aside > 0)
        values[[other for other in range(count) if other not in support]] *= -1.0
        values[count - free :] = 0.0
        return np.where(independent, -values.min(axis=0).clip(max=0.0), np.inf)

    pixels = offered.shape[1]
    number = choose_supports(pixels, count, violation) if non_negative else np.zeros(pixels, dtype=np.intp)
    fractions, covariance = np.empty((pixels, count)), np.empty((pixels, count, count))
    active = np.zeros((pixels, count), dtype=bool)
    for candidate in np.unique(number):
        rows, support = np.flatnonzero(number == candidate), supports_of(count)[candidate]
        swept, independent, aside = _sweep(tableau[:, :, rows], support)
        fractions[rows], covariance[rows] = _fractions_of(swept, aside, support)
        active[np.ix_(rows, np.array(support, dtype=int))] = True
        fractions[rows[~independent]] = covariance[rows[~independent]] = np.nan
    scale = scale.T
    return fractions / scale, covariance / (scale[:, :, None] * scale[:, None, :]), active


def _sweep(tableau: FloatArray, support: Support) -> tuple[FloatArray, BoolArray, FloatArray]:
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
        independent &= swept[pivot, pivot] > INDEPENDENT**2
        left = np.where(independent, swept[pivot, pivot], 1.0)
        column, row = swept[:, pivot].copy(), swept[pivot] / left
        swept -= column[:, None] * row
        swept[pivot] = row
        swept[:, pivot] = -column / left
        swept[pivot, pivot] = 1.0 / left
    aside = np.einsum("iip->ip", swept[:, :-1]).copy()
    aside[aside < INDEPENDENT**2] = 0.0
    aside[list(support)] = 1.0
    return swept, independent, aside


def _fractions_of(swept: FloatArray, aside: FloatArray, support: Support) -> tuple[FloatArray, FloatArray]:
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
            shared = ~apart & (np.abs(swept[index, other]) > INDEPENDENT)
            covariance[shared, index] = covariance[shared, :, index] = np.nan
    return fractions, covariance
