"""MLLS: a power-law background and any references fitted together over a window, for one spectrum or a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.linear_combination import TOO_FEW, point_variance
from callbacks.fitting.nonnegative import CHUNK, MOST_REFERENCES, solve_normal_equations
from callbacks.fitting.rows import as_rows, check_references
from callbacks.fitting.variable_projection import Shapes, fit_shapes
from callbacks.xas.background import points_inside, windows

FloatArray = NDArray[np.floating]

EXPONENT_LIMITS = (-10.0, 20.0)  # over a few eV of a soft X-ray pre-edge noise alone makes it wander by several
EXPONENTS_TRIED = 31


@dataclass(frozen=True)
class Mlls:
    """Coefficients of references beside a power-law background; NaN where `status` is not "ok".

    Attributes
    ----------
    coefficients, sigma : numpy.ndarray, shape (..., k)
        Of the references.
    background, background_sigma : numpy.ndarray, shape (...)
        Power law at `reference_energy`: b1 A reference_energy^-r.
    covariance : numpy.ndarray, shape (..., k + 1, k + 1)
        Of background (first) and coefficients, what the exponent leaves uncertain included.
    exponent, exponent_sigma : numpy.ndarray, shape (...)
        r; sigma 0 where it was given.
    residual : numpy.ndarray, shape (...)
        2-norm of spectrum minus fit, not weighted, over the window.
    status : numpy.ndarray of str, shape (...)
        "ok", or why there is no answer.
    reference_energy : float
        eV, the middle of the window.
    """

    coefficients: FloatArray
    sigma: FloatArray
    background: FloatArray
    background_sigma: FloatArray
    covariance: FloatArray
    exponent: FloatArray
    exponent_sigma: FloatArray
    residual: FloatArray
    status: NDArray[np.str_]
    reference_energy: float


def fit_mlls(
    energy: FloatArray,
    spectra: FloatArray,
    references: FloatArray,
    variance: FloatArray | None = None,
    *,
    window: tuple[float, float] | None = None,
    exponent: Literal["pre-edge", "joint"] | float | FloatArray = "pre-edge",
    pre_edge: tuple[float, float] | None = None,
    non_negative: bool = False,
) -> Mlls:
    """Fit S(E) = b1 A E^-r + sum of b_i S_i(E) by multiple linear least squares.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending, above zero.
    spectra : numpy.ndarray, shape (..., n_energies)
        One spectrum or a stack; NaN: left out.
    references : numpy.ndarray, shape (k, n_energies)
        Without background; at most five.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra, optional
        Of independent points. Without it points weigh alike and uncertainties follow from the scatter.
    window : tuple of float, optional
        eV, what is fitted; default the whole range.
    exponent : {"pre-edge", "joint"} or number or numpy.ndarray, shape (...)
        Where r comes from: each spectrum's own points of the pre-edge window; all points of the fit together with the
        coefficients; or as given.
    pre_edge : tuple of float, optional
        eV; default the lowest 12 % of the range. References are taken to be zero there.
    non_negative : bool
        Whether background and coefficients are kept from falling below zero.

    Returns
    -------
    Mlls

    Raises
    ------
    ValueError
        When shapes do not match, energies do not ascend from above zero, references are not finite or too many, or a
        window holds too few energies.

    Notes
    -----
    With r from the pre-edge its noise is that of points which the fit itself may use; the Jacobian of the coefficients
    over all points is propagated, both ways included.
    """
    references = check_references(energy, references, MOST_REFERENCES - 1)
    rows = as_rows(energy, spectra, variance)
    if not energy[0] > 0:
        raise ValueError(f"energy {energy[0]:g} eV: a power law needs energies above zero")
    window = window or (float(energy[0]), float(energy[-1]))
    used = points_inside(energy, window, "fit", len(references) + 2)
    centre = 0.5 * (window[0] + window[1])
    shapes = _power_law_and(energy[used] / centre, references[:, used])
    before, given = None, None
    if not isinstance(exponent, str):
        given = np.broadcast_to(np.asarray(exponent, dtype=float), rows.shape).reshape(-1)
    elif exponent == "pre-edge":
        before = points_inside(energy, windows(energy, pre_edge, None)[0], "pre-edge", 3)
    elif exponent != "joint":
        raise ValueError(f"exponent {exponent!r}: expected 'pre-edge', 'joint' or numbers")
    parts = []
    for start in range(0, max(len(rows.spectra), 1), CHUNK):
        part = slice(start, start + CHUNK)
        spectra, weights = rows.spectra[part], rows.weights[part]
        problem = np.full(len(spectra), "", dtype="<U60")
        if given is not None:
            fit = _with_exponent(spectra, weights, used, shapes, given[part], non_negative=non_negative)
        elif before is not None:
            law = _power_law_and(energy[before] / centre, references[:0, before])
            own, jacobian, problem = _pre_edge_exponent(spectra, weights, before, law)
            fit = _with_exponent(
                spectra, weights, used, shapes, own, exponent_jacobian=jacobian, non_negative=non_negative
            )
        else:
            fit, problem = _joint(spectra[:, used], weights[:, used], shapes, non_negative)
        parts.append(_judged(fit, weights[:, used], problem, given is None, rows.weighted))
    values, covariance, residual, status = (np.concatenate(part) for part in zip(*parts, strict=True))
    values, covariance = rows.restore(values), rows.restore(covariance)
    sigma = np.sqrt(np.einsum("...ii->...i", covariance))
    return Mlls(
        coefficients=values[..., 1:-1],
        sigma=sigma[..., 1:-1],
        background=values[..., 0],
        background_sigma=sigma[..., 0],
        covariance=covariance[..., :-1, :-1],
        exponent=values[..., -1],
        exponent_sigma=sigma[..., -1],
        residual=rows.restore(residual),
        status=rows.restore(status),
        reference_energy=centre,
    )


@dataclass(frozen=True)
class _Fit:
    """Background, coefficients and (last) exponent, with their covariance for weights that are inverse variances."""

    values: FloatArray
    covariance: FloatArray
    rest: FloatArray
    active: NDArray[np.bool_]


def _power_law_and(relative: FloatArray, references: FloatArray) -> Shapes:
    """Give the function from exponents (n,) to power law and references (n, k + 1, n_energies), and derivatives."""
    logarithm = np.log(relative)

    def shapes(exponent: FloatArray) -> tuple[FloatArray, FloatArray]:
        law = np.exp(-exponent[:, None] * logarithm)
        columns = np.empty((len(exponent), len(references) + 1, len(relative)))
        columns[:, 0], columns[:, 1:] = law, references
        derivatives = np.zeros_like(columns)
        derivatives[:, 0] = -logarithm * law
        return columns, derivatives

    return shapes


def _joint(
    spectra: FloatArray, weights: FloatArray, shapes: Shapes, non_negative: bool
) -> tuple[_Fit, NDArray[np.str_]]:
    """Fit exponent and coefficients together."""
    grid = np.linspace(*EXPONENT_LIMITS, EXPONENTS_TRIED)
    found = fit_shapes(spectra, weights, shapes, grid, non_negative=non_negative)
    values = np.concatenate([found.coefficients, found.parameter[:, None]], axis=1)
    return _Fit(values, found.covariance, found.rest, found.active), found.problem


def _pre_edge_exponent(
    spectra: FloatArray, weights: FloatArray, before: NDArray[np.bool_], law: Shapes
) -> tuple[FloatArray, FloatArray, NDArray[np.str_]]:
    """Fit the power law before the edge; give exponents, their Jacobian (n, n_energies), and what is wrong."""
    fit, problem = _joint(spectra[:, before], weights[:, before], law, non_negative=False)
    exponent, variance = fit.values[:, 1], fit.covariance[:, 1, 1]
    columns, derivatives = law(exponent)
    # along what the power law itself does not take up
    aside = fit.values[:, :1] * derivatives[:, 0] + (fit.covariance[:, 0, 1] / variance)[:, None] * columns[:, 0]
    jacobian = np.zeros(spectra.shape)
    jacobian[:, before] = variance[:, None] * weights[:, before] * aside
    few = (weights[:, before] > 0).sum(axis=1) < 2
    return exponent, jacobian, np.where(few, "not determined", problem)


def _with_exponent(
    spectra: FloatArray,
    weights: FloatArray,
    used: NDArray[np.bool_],
    shapes: Shapes,
    exponent: FloatArray,
    *,
    exponent_jacobian: FloatArray | None = None,
    non_negative: bool,
) -> _Fit:
    """Fit the coefficients for given exponents, and propagate what the points make of both."""
    columns, derivatives = shapes(exponent)
    weight = weights[:, used]
    values = np.where(weight > 0, spectra[:, used], 0.0)
    heavy = columns * weight[:, None, :]
    gram, offered = heavy @ columns.transpose(0, 2, 1), np.einsum("nke,ne->nk", heavy, values)
    coefficients, inverse, active = solve_normal_equations(gram, offered, non_negative=non_negative)
    rest = np.where(weight > 0, values - np.einsum("nk,nke->ne", coefficients, columns), 0.0)
    count = coefficients.shape[1]
    covariance = np.zeros((len(spectra), count + 1, count + 1))
    covariance[:, :count, :count] = inverse
    if exponent_jacobian is not None:
        both = active[:, :, None] & active[:, None, :]
        inverse = np.where(both, inverse, 0.0)
        jacobian = np.zeros((len(spectra), count + 1, spectra.shape[1]))
        jacobian[:, :count, used] = inverse @ heavy
        bent = coefficients[:, :1] * derivatives[:, 0]  # how the background moves with the exponent
        pull = -np.einsum("nke,ne->nk", heavy, bent)
        pull[:, 0] += np.einsum("ne,ne,ne->n", derivatives[:, 0], weight, rest)
        follow = np.einsum("nij,nj->ni", inverse, pull)
        jacobian[:, :count] += follow[:, :, None] * exponent_jacobian[:, None, :]
        jacobian[:, count] = exponent_jacobian
        variance = np.divide(1.0, weights, out=np.zeros(weights.shape), where=weights > 0)
        whole = (jacobian * variance[:, None, :]) @ jacobian.transpose(0, 2, 1)
        held = np.zeros(covariance.shape, dtype=bool)  # at zero: their one-sided variance stays as it is
        held[:, :count, :count] = ~both
        covariance = np.where(held, covariance, whole)
    return _Fit(np.concatenate([coefficients, exponent[:, None]], axis=1), covariance, rest, active)


def _judged(
    fit: _Fit, weights: FloatArray, problem: NDArray[np.str_], exponent_fitted: bool, weighted: bool
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.str_]]:
    """Give values, covariance, residual and status; NaN where there is no answer."""
    values, covariance, residual = fit.values, fit.covariance, np.linalg.norm(fit.rest, axis=1)
    if not weighted:
        unknowns = fit.active.sum(axis=1) + exponent_fitted
        covariance = covariance * point_variance(fit.rest, weights, unknowns)[:, None, None]
    status = np.where(problem == "", "ok", np.char.add("the exponent is ", problem)).astype("<U60")
    dependent = ~np.isfinite(values).all(axis=1)
    status[dependent & (problem == "")] = "references and background not linearly independent"
    status[(weights > 0).sum(axis=1) < values.shape[1] - 1 + exponent_fitted] = TOO_FEW
    refused = status != "ok"
    values[refused], covariance[refused], residual[refused] = np.nan, np.nan, np.nan
    return values, covariance, residual, status
