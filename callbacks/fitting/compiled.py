"""Unmix spectra that each have variances of their own, compiled: one pixel after the other, in the processor's cache.

By matrix products, normal equations of so many small problems are bound by memory: each of some twenty passes reads
and writes as much as the stack. Here a pixel's energies are read once. It serves ordinary pixels; those whose
references are all but dependent there, or that have too few points, are left to `callbacks.fitting.normal_equations`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from callbacks.compilation import compiled

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

LEAST_PIVOT = 1e-8  # of a reference, what is left beside the others, squared; below, rounding takes half of the digits
REFINED_BELOW = 1e-2  # the pivot below which a step of iterative refinement is worth its time
WIDTH = 8  # numbers that a processor works on at once: energies are filled up to a multiple with such of no weight
MOST_CHANGES = 200  # of support; Murty's rule ends after 2^6 = 64 of them


def unmix_compiled(
    spectra: FloatArray, variance: FloatArray, references: FloatArray, *, free: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Unmix spectra that each have variances of their own.

    Parameters
    ----------
    spectra, variance : numpy.ndarray, shape (n, n_energies)
        Where either is not finite, the point is left out. A variance that is not above zero leaves its spectrum
        unsolved.
    references : numpy.ndarray, shape (k, n_energies)
    free : int
        The last so many references may be negative.

    Returns
    -------
    fractions : numpy.ndarray, shape (n, k)
    covariance : numpy.ndarray, shape (n, k, k)
    residual : numpy.ndarray, shape (n,)
        As `callbacks.fitting.nonnegative.Unmixed` describes them; of no meaning where not solved.
    solved : numpy.ndarray of bool, shape (n,)

    Notes
    -----
    The support is found by pivots of the normal equations, from all references on: the first reference that violates
    the conditions of Karush, Kuhn and Tucker changes sides, which ends for a positive definite matrix (K. Murty,
    Opsearch 11 (1974) 123).
    """
    count, energies = references.shape
    padded = np.zeros((count, -(-energies // WIDTH) * WIDTH))
    padded[:, :energies] = references
    pairs = np.array([padded[i] * padded[j] for i in range(count) for j in range(i, count)])
    pixels = len(spectra)
    fractions, covariance = np.empty((pixels, count)), np.empty((pixels, count, count))
    residual, solved = np.empty(pixels), np.zeros(pixels, dtype=bool)
    kernel = compiled(_unmix, sums_in_any_order=True)
    kernel(spectra, variance, padded, pairs, count - free, fractions, covariance, residual, solved)
    return fractions, covariance, residual, solved


def _unmix(  # noqa: PLR0917, PLR0912, PLR0915 - one loop, as it is compiled  # pragma: no cover
    spectra: FloatArray,
    variance: FloatArray,
    references: FloatArray,
    pairs: FloatArray,
    constrained: int,
    fractions: FloatArray,
    covariance: FloatArray,
    residual: FloatArray,
    solved: BoolArray,
) -> None:
    energies = spectra.shape[1]
    count, padded = references.shape
    weight, weighted, rest = np.zeros(padded), np.zeros(padded), np.zeros(padded)
    tableau = np.empty((count, count + 1))
    scale, slope = np.empty(count), np.empty(count)
    inside = np.empty(count, dtype=np.bool_)
    for pixel in range(len(spectra)):
        valid, wrong = 0, 0
        for e in range(energies):
            value, noise = spectra[pixel, e], variance[pixel, e]
            good = (value - value == 0) & (noise - noise == 0)  # both are finite
            wrong += noise <= 0
            valid += good
            weight[e] = 1.0 / noise if good else 0.0
            rest[e] = value if good else 0.0
        if wrong or valid < count:
            continue
        for e in range(padded):
            weighted[e] = weight[e] * rest[e]

        # The normal equations, each reference scaled to a norm of 1.
        pair = 0
        for i in range(count):
            for j in range(i, count):
                total = 0.0
                for e in range(padded):
                    total += weight[e] * pairs[pair, e]
                tableau[i, j] = total
                pair += 1
            total = 0.0
            for e in range(padded):
                total += weighted[e] * references[i, e]
            tableau[i, count] = total
            scale[i] = math.sqrt(tableau[i, i])
            inside[i] = False
        if not scale.min() > 0 or not math.isfinite(scale.sum() + tableau[:, count].sum()):
            continue
        for i in range(count):
            for j in range(i, count):
                tableau[i, j] /= scale[i] * scale[j]
                tableau[j, i] = tableau[i, j]
            tableau[i, count] /= scale[i]

        # Pivots: within the support the inverse and the coefficients, beside it what is left.
        found, least = False, 1.0
        for change in range(MOST_CHANGES):
            pivot = -1
            if change < count:
                pivot = change
            else:
                for i in range(constrained):
                    if (tableau[i, count] < 0) if inside[i] else (tableau[i, count] > 0):
                        pivot = i
                        break
            if pivot < 0:
                found = True
                break
            divisor = tableau[pivot, pivot]
            if not divisor > LEAST_PIVOT:
                break
            least = min(least, divisor)
            inside[pivot] = not inside[pivot]
            for j in range(count + 1):
                if j != pivot:
                    tableau[pivot, j] /= divisor
            for i in range(count):
                if i != pivot:
                    factor = tableau[i, pivot]
                    for j in range(count + 1):
                        if j != pivot:
                            tableau[i, j] -= factor * tableau[pivot, j]
                    tableau[i, pivot] = -factor / divisor
            tableau[pivot, pivot] = 1.0 / divisor
        if not found:
            continue

        for i in range(count):
            fractions[pixel, i] = tableau[i, count] / scale[i] if inside[i] else 0.0
            if inside[i]:
                for e in range(padded):
                    rest[e] -= fractions[pixel, i] * references[i, e]
            for j in range(count):
                covariance[pixel, i, j] = 0.0
                if inside[i] and inside[j]:
                    covariance[pixel, i, j] = tableau[i, j] / (scale[i] * scale[j])
            if not inside[i]:
                covariance[pixel, i, i] = 1.0 / (tableau[i, i] * scale[i] ** 2)
        if least < REFINED_BELOW:
            for i in range(count):
                slope[i] = 0.0
                if inside[i]:
                    total = 0.0
                    for e in range(padded):
                        total += weight[e] * rest[e] * references[i, e]
                    slope[i] = total
            for i in range(count):
                if inside[i]:
                    step = 0.0
                    for j in range(count):
                        step += covariance[pixel, i, j] * slope[j]
                    if i < constrained:
                        step = max(step, -fractions[pixel, i])
                    fractions[pixel, i] += step
                    for e in range(padded):
                        rest[e] -= step * references[i, e]
        total = 0.0
        for e in range(padded):
            total += rest[e] ** 2 if weight[e] > 0 else 0.0
        residual[pixel] = math.sqrt(total)
        solved[pixel] = True
