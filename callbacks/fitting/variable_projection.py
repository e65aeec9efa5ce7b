"""Sums of shapes that depend on one more parameter (a shift, an exponent), fitted to many spectra at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.nonnegative import solve_normal_equations

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
# From a parameter (n,) to the shapes (n, k, n_energies) and their derivatives by it
Shapes = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

MOST_STEPS = 40
SETTLED = 1e-6  # of the spacing of the grid


@dataclass(frozen=True)
class Projection:
    """Coefficients of shapes, and their parameter.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (n, k)
    parameter : numpy.ndarray, shape (n,)
    covariance : numpy.ndarray, shape (n, k + 1, k + 1)
        Of coefficients and (last) parameter, for weights that are inverse variances.
    active : numpy.ndarray of bool, shape (n, k)
        Coefficients not held at zero.
    rest : numpy.ndarray, shape (n, n_energies)
        Spectrum minus fit; 0 where the weight is.
    problem : numpy.ndarray of str, shape (n,)
        "", or what is wrong with the parameter: "not determined", "at its limit", "not settled".
    """

    coefficients: FloatArray
    parameter: FloatArray
    covariance: FloatArray
    active: BoolArray
    rest: FloatArray
    problem: NDArray[np.str_]


@dataclass(frozen=True)
class _Linear:
    coefficients: FloatArray
    covariance: FloatArray
    active: BoolArray
    rest: FloatArray
    derivative: FloatArray  # of the fit by the parameter
    mixed: FloatArray  # (n, k): what the coefficients give way as the parameter grows
    information: FloatArray  # (n,): inverse variance of the parameter


def fit_shapes(
    spectra: FloatArray, weights: FloatArray, shapes: Shapes, grid: FloatArray, *, non_negative: bool
) -> Projection:
    """Fit coefficients and the one parameter of shapes, for every spectrum.

    Parameters
    ----------
    spectra, weights : numpy.ndarray, shape (n, n_energies)
        Weight 0: left out.
    shapes : callable
    grid : numpy.ndarray, shape (g,)
        Values of the parameter, ascending; the best one is where the search begins, the ends are its limits.
    non_negative : bool
        Whether coefficients are kept from falling below zero.

    Returns
    -------
    Projection

    Notes
    -----
    Variable projection (G. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413): the coefficients are solved
    for at each value of the parameter, so that one unknown a spectrum is left; its Gauss-Newton step is taken along
    the part of the derivative that the shapes do not span (L. Kaufman, BIT 15 (1975) 49).
    """
    spectra = np.where(weights > 0, spectra, 0.0)
    parameter = _best_of(spectra, weights, shapes, grid, non_negative)
    spacing = float(np.diff(grid).max())
    left, limit, last = np.arange(len(spectra)), np.full(len(spectra), spacing), np.zeros(len(spectra))
    for _ in range(MOST_STEPS):
        fit = _solve(spectra[left], weights[left], shapes(parameter[left]), non_negative)
        slope = np.einsum("ne,ne,ne->n", weights[left], fit.rest, fit.derivative)
        step = np.divide(slope, fit.information, out=np.zeros(len(left)), where=fit.information > 0)
        limit[left[step * last[left] < 0]] /= 2  # it may go to and fro where a coefficient meets zero
        step = step.clip(-limit[left], limit[left])
        last[left] = step
        moved = (parameter[left] + step).clip(grid[0], grid[-1])
        moving = np.abs(moved - parameter[left]) > SETTLED * spacing
        parameter[left] = moved
        left = left[moving]
        if not left.size:
            break
    fit = _solve(spectra, weights, shapes(parameter), non_negative)
    determined = fit.information > 0
    variance = np.divide(1.0, fit.information, out=np.full(len(spectra), np.nan), where=determined)
    count = fit.coefficients.shape[1]
    covariance = np.empty((len(spectra), count + 1, count + 1))
    covariance[:, :count, :count] = (
        fit.covariance + fit.mixed[:, :, None] * fit.mixed[:, None, :] * variance[:, None, None]
    )
    covariance[:, :count, count] = covariance[:, count, :count] = -fit.mixed * variance[:, None]
    covariance[:, count, count] = variance
    problem = np.full(len(spectra), "", dtype="<U20")
    problem[left] = "not settled"
    problem[(parameter <= grid[0]) | (parameter >= grid[-1])] = "at its limit"
    problem[~determined] = "not determined"
    return Projection(fit.coefficients, parameter, covariance, fit.active, fit.rest, problem)


def _best_of(
    spectra: FloatArray, weights: FloatArray, shapes: Shapes, grid: FloatArray, non_negative: bool
) -> FloatArray:
    """Give the value on the grid where each spectrum is met best."""
    best, most = np.full(len(spectra), grid[0]), np.full(len(spectra), -np.inf)
    for value in grid:
        columns = shapes(np.array([value]))[0][0]
        pairs = (columns[:, None] * columns[None]).reshape(-1, columns.shape[1])
        gram = (weights @ pairs.T).reshape(len(spectra), len(columns), len(columns))
        offered = (weights * spectra) @ columns.T
        coefficients, _, _ = solve_normal_equations(gram, offered, non_negative=non_negative)
        explained = np.einsum("nk,nk->n", coefficients, offered)
        better = explained > most
        best[better], most[better] = value, explained[better]
    return best


def _solve(
    spectra: FloatArray, weights: FloatArray, shapes: tuple[FloatArray, FloatArray], non_negative: bool
) -> _Linear:
    """Solve for the coefficients at given parameters, and see how the fit depends on the parameter."""
    columns, derivatives = shapes
    heavy = columns * weights[:, None, :]
    gram, offered = heavy @ columns.transpose(0, 2, 1), np.einsum("nke,ne->nk", heavy, spectra)
    coefficients, covariance, active = solve_normal_equations(gram, offered, non_negative=non_negative)
    rest = np.where(weights > 0, spectra - np.einsum("nk,nke->ne", coefficients, columns), 0.0)
    derivative = np.einsum("nk,nke->ne", coefficients, derivatives)
    product = np.where(active, np.einsum("nke,ne->nk", heavy, derivative), 0.0)
    mixed = np.where(active, np.einsum("nij,nj->ni", covariance, product), 0.0)
    whole = np.einsum("ne,ne,ne->n", weights, derivative, derivative)
    information = whole - np.einsum("nk,nk->n", mixed, product)
    information[~(information > 1e-12 * whole)] = 0.0  # spanned by the shapes: rounding
    return _Linear(coefficients, covariance, active, rest, derivative, mixed, information)
