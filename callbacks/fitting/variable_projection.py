"""Sums of shapes that depend on one more parameter (a shift, an exponent), fitted to many spectra at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.normal_equations import fit_columns, normal_equations, solve_normal_equations
from callbacks.fitting.reference_noise import reference_noise

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
# From a parameter (n,) to the shapes (n, k, n_energies) and their derivatives by it
Shapes = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

MOST_STEPS = 40
CONVERGED = 1e-6  # of the spacing of the grid: a step that is smaller ends the search
SPANNED = 1e-12  # of the derivative's square: what is left of it is rounding, the shapes span it


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
    residuals : numpy.ndarray, shape (n, n_energies)
        Spectrum minus fit; 0 where the weight is.
    problem : numpy.ndarray of str, shape (n,)
        "", or what is wrong with the parameter: "not determined", "at its limit", "not settled". Coefficients without
        a variance say themselves that shapes cannot be told apart.
    """

    coefficients: FloatArray
    parameter: FloatArray
    covariance: FloatArray
    active: BoolArray
    residuals: FloatArray
    problem: NDArray[np.str_]


@dataclass(frozen=True)
class _LinearFit:
    """Coefficients at given parameters, and how the fit depends on the parameter."""

    coefficients: FloatArray
    covariance: FloatArray
    active: BoolArray
    residuals: FloatArray
    derivative: FloatArray  # of the fit by the parameter
    mixed: FloatArray  # (n, k): by how much the coefficients fall as the parameter grows
    information: FloatArray  # (n,): inverse variance of the parameter


def fit_shapes(
    spectra: FloatArray,
    weights: FloatArray,
    shapes: Shapes,
    grid: FloatArray,
    *,
    non_negative: bool,
    noise: FloatArray | None = None,
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
    noise : numpy.ndarray, shape (k, n_energies), optional
        Variance of the shapes themselves, near the parameter: see `callbacks.fitting.reference_noise`.

    Returns
    -------
    Projection

    Notes
    -----
    Variable projection (G. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413): the coefficients are solved
    for at each value of the parameter, so that one unknown a spectrum is left; its Gauss-Newton step is taken along
    the part of the derivative that the shapes do not span (L. Kaufman, BIT 15 (1975) 49).
    """
    problem = _Problem(np.where(weights > 0, spectra, 0.0), weights, shapes, non_negative)
    parameter = problem.best_of(grid)
    moving = _search(problem, parameter, grid)
    fit = problem.solve(parameter)
    why_not = np.full(len(spectra), "", dtype="<U20")
    why_not[moving] = "not settled"
    why_not[(parameter <= grid[0]) | (parameter >= grid[-1])] = "at its limit"
    why_not[~(fit.information > 0)] = "not determined"
    why_not[np.isnan(np.einsum("nii->ni", fit.covariance)).any(axis=1)] = ""  # the shapes cannot be told apart
    covariance = _covariance(fit)
    if noise is not None:
        free = np.concatenate([fit.active, np.ones((len(spectra), 1), dtype=bool)], axis=1)
        inverse = np.where(free[:, :, None] & free[:, None, :], covariance, 0.0)
        design = np.concatenate([shapes(parameter)[0], fit.derivative[:, None]], axis=1)
        covariance += reference_noise(inverse, design, weights, fit.coefficients, noise)
    return Projection(fit.coefficients, parameter, covariance, fit.active, fit.residuals, why_not)


def _search(problem: _Problem, parameter: FloatArray, grid: FloatArray) -> NDArray[np.intp]:
    """Move each parameter, in place, by Gauss-Newton steps to its minimum; give those that still move at the end.

    No step is longer than the spacing of the grid, and half as long whenever the direction turns: where a coefficient
    meets zero the derivative jumps, and full steps would go to and fro.
    """
    spacing = float(np.diff(grid).max())
    longest, last = np.full(len(parameter), spacing), np.zeros(len(parameter))
    moving = np.arange(len(parameter))
    for _ in range(MOST_STEPS):
        fit = problem.solve(parameter[moving], moving)
        slope = np.einsum("ne,ne,ne->n", problem.weights[moving], fit.residuals, fit.derivative)
        step = np.divide(slope, fit.information, out=np.zeros(len(moving)), where=fit.information > 0)
        longest[moving[step * last[moving] < 0]] /= 2
        step = step.clip(-longest[moving], longest[moving])
        last[moving] = step
        moved = (parameter[moving] + step).clip(grid[0], grid[-1])
        still = np.abs(moved - parameter[moving]) > CONVERGED * spacing
        parameter[moving] = moved
        moving = moving[still]
        if not moving.size:
            break
    return moving


def _covariance(fit: _LinearFit) -> FloatArray:
    """Give the covariance (n, k + 1, k + 1) of coefficients and (last) parameter; NaN where it is not determined."""
    spectra, count = fit.coefficients.shape
    variance = np.divide(1.0, fit.information, out=np.full(spectra, np.nan), where=fit.information > 0)
    covariance = np.empty((spectra, count + 1, count + 1))
    covariance[:, :count, :count] = (
        fit.covariance + fit.mixed[:, :, None] * fit.mixed[:, None, :] * variance[:, None, None]
    )
    covariance[:, :count, count] = covariance[:, count, :count] = -fit.mixed * variance[:, None]
    covariance[:, count, count] = variance
    return covariance


@dataclass(frozen=True)
class _Problem:
    """Spectra, 0 where their weight is, and the shapes that they are fitted by."""

    spectra: FloatArray
    weights: FloatArray
    shapes: Shapes
    non_negative: bool

    def best_of(self, grid: FloatArray) -> FloatArray:
        """Give the value on the grid at which each spectrum is fitted best."""
        best, most = np.full(len(self.spectra), grid[0]), np.full(len(self.spectra), -np.inf)
        for value in grid:
            columns = self.shapes(np.array([value]))[0][0]
            gram, offered = normal_equations(self.spectra, self.weights, columns)
            coefficients, _, _ = solve_normal_equations(gram, offered, non_negative=self.non_negative)
            explained = np.einsum("nk,nk->n", coefficients, offered)
            better = explained > most
            best[better], most[better] = value, explained[better]
        return best

    def solve(self, parameter: FloatArray, some: NDArray[np.intp] | slice = slice(None)) -> _LinearFit:
        """Solve for the coefficients of some spectra, all by default, at their parameters."""
        columns, derivatives = self.shapes(parameter)
        weights = self.weights[some]
        fit = fit_columns(self.spectra[some], weights, columns, non_negative=self.non_negative)
        derivative = np.einsum("nk,nke->ne", fit.coefficients, derivatives)
        product = np.where(fit.active, np.einsum("nke,ne->nk", fit.weighted, derivative), 0.0)
        mixed = np.where(fit.active, np.einsum("nij,nj->ni", fit.covariance, product), 0.0)
        square = np.einsum("ne,ne,ne->n", weights, derivative, derivative)
        information = square - np.einsum("nk,nk->n", mixed, product)
        information[~(information > SPANNED * square)] = 0.0
        return _LinearFit(fit.coefficients, fit.covariance, fit.active, fit.residuals, derivative, mixed, information)
