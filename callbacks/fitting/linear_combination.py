"""Linear-combination fits: a spectrum as a sum of references, with a common energy shift where asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PPoly

from callbacks.fitting.nonnegative import unmix
from callbacks.fitting.normal_equations import normal_equations, solve_normal_equations
from callbacks.fitting.reference_noise import reference_noise
from callbacks.fitting.rows import (
    CHUNK,
    Rows,
    as_rows,
    check_reference_variance,
    check_references,
    scatter_variance,
)
from callbacks.fitting.supports import MOST_REFERENCES
from callbacks.fitting.variable_projection import Projection, Shapes, fit_shapes

FloatArray = NDArray[np.floating]

MOST_SHIFTS = 41  # tried before the search proper
DEPENDENT = "references not linearly independent"
SMOOTHED = 0.244  # of the variance of independent points, gone in the middle between those of a cubic spline
MOST_PULL = 0.1  # of the uncertainty: the intervals of fractions and shift hold 62 to 64 % at 0.07, 57 to 61 % at 0.2
TOO_NOISY = "the references are too noisy to be shifted"
TOO_FEW = "fewer valid energies than unknowns"


@dataclass(frozen=True)
class LinearCombination:
    """Fractions of references in one spectrum or many; NaN where `status` is not "ok".

    Attributes
    ----------
    fractions, sigma : numpy.ndarray, shape (..., k)
        Not forced to any sum.
    covariance : numpy.ndarray, shape (..., k, k)
        Of the fractions, what the shift leaves uncertain included; as `callbacks.fitting.nonnegative.Unmixed`
        describes it for a fraction held at zero.
    shift, shift_sigma : numpy.ndarray, shape (...)
        eV; the references moved up by so much meet the spectrum. 0 where none is fitted.
    pull : numpy.ndarray, shape (...)
        Of its uncertainties, by which the noise of the references may draw the shift to where they are interpolated,
        and have less; 0 where they are known exactly.
    residual : numpy.ndarray, shape (...)
        2-norm of spectrum minus fit, not weighted, over the energies fitted.
    status : numpy.ndarray of str, shape (...)
        "ok", or why there is no answer.
    """

    fractions: FloatArray
    sigma: FloatArray
    covariance: FloatArray
    shift: FloatArray
    shift_sigma: FloatArray
    pull: FloatArray
    residual: FloatArray
    status: NDArray[np.str_]


def fit_linear_combination(
    energy: FloatArray,
    spectrum: FloatArray,
    references: FloatArray,
    variance: FloatArray | None = None,
    *,
    reference_variance: FloatArray | None = None,
    non_negative: bool = True,
    shift: bool = False,
    max_shift: float = 1.0,
    most_pull: float = MOST_PULL,
) -> LinearCombination:
    """Fit a spectrum, or each of many, by a sum of references.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending; of spectra and references.
    spectrum : numpy.ndarray, shape (..., n_energies)
        NaN: left out.
    references : numpy.ndarray, shape (k, n_energies)
        At most six, finite.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectrum, optional
        Of independent points. Without it points weigh alike and uncertainties follow from the scatter, which the noise
        of the references is part of.
    reference_variance : numpy.ndarray, shape (k, n_energies), optional
        Of the references, with `variance`: see `callbacks.fitting.reference_noise`.
    non_negative : bool
        Whether fractions are kept from falling below zero.
    shift : bool
        Whether one energy shift, common to the references, is fitted to each spectrum. The references are interpolated
        by cubic splines, and only energies at least `max_shift` from either end of the range are fitted, so that no
        reference is ever extrapolated.
    max_shift : float
        eV, limit of the shift to either side.
    most_pull : float
        Of the uncertainties of the shift, by which the noise of the references may draw it: beyond, there is no answer.

    Returns
    -------
    LinearCombination

    Raises
    ------
    ValueError
        When shapes do not match, energies do not ascend, references are not finite or too many, or the range is too
        narrow for the shift.

    See Also
    --------
    callbacks.fitting.variable_projection.fit_shapes : the method
    """
    references = check_references(references, len(energy), MOST_REFERENCES)
    rows = as_rows(energy, spectrum, variance)
    noise = check_reference_variance(reference_variance, references) if rows.weighted else None
    if shift:
        return _shifted(energy, rows, references, max_shift, non_negative, noise=noise, most_pull=most_pull)
    return _in_place(rows, references, noise, non_negative)


def _in_place(rows: Rows, references: FloatArray, noise: FloatArray | None, non_negative: bool) -> LinearCombination:
    count = len(references)
    if non_negative:
        variance = np.where(rows.measured, rows.variance, np.nan)
        unmixed = unmix(rows.spectra, references, variance if rows.weighted else None)
        fractions, covariance, residual = unmixed.fractions, unmixed.covariance, unmixed.residual
    else:
        gram, offered = normal_equations(rows.values, rows.weights, references)
        fractions, covariance, _ = solve_normal_equations(gram, offered, non_negative=False)
        residuals = np.where(rows.measured, rows.values - fractions @ references, 0.0)
        residual = np.linalg.norm(residuals, axis=1)
        if not rows.weighted:
            freedom = rows.measured.sum(axis=1) - count
            covariance *= scatter_variance(np.sum(residuals**2, axis=1), freedom)[:, None, None]
    if noise is not None:
        _add_noise(covariance, rows, references, noise, non_negative)
    status = _status(fractions, covariance, rows, count)
    unmoved = np.zeros(len(fractions))
    return _collect(rows, status, fractions, covariance, unmoved, unmoved.copy(), unmoved.copy(), residual)


def _add_noise(
    covariance: FloatArray, rows: Rows, references: FloatArray, noise: FloatArray, non_negative: bool
) -> None:
    """Add what the noise of the references does to the covariance of fractions, in place."""
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        weights = rows.weights[part]
        gram, offered = normal_equations(rows.values[part], weights, references)
        fractions, inverse, active = solve_normal_equations(gram, offered, non_negative=non_negative)
        inverse = np.where(active[:, :, None] & active[:, None, :], inverse, 0.0)
        design = np.broadcast_to(references, (len(weights), *references.shape))
        covariance[part] += reference_noise(inverse, design, weights, fractions, noise)


def _shifted(
    energy: FloatArray,
    rows: Rows,
    references: FloatArray,
    max_shift: float,
    non_negative: bool,
    *,
    noise: FloatArray | None,
    most_pull: float,
) -> LinearCombination:
    count = len(references)
    used = (energy >= energy[0] + max_shift) & (energy <= energy[-1] - max_shift)
    if not max_shift > 0 or used.sum() < count + 1:
        raise ValueError(
            f"max_shift {max_shift:g} eV: {used.sum()} energies are further than that from both ends of"
            f" {energy[0]:g} to {energy[-1]:g} eV, expected {count + 1} or more, and a shift above zero"
        )
    steps = min(MOST_SHIFTS, 2 * int(np.ceil(max_shift / np.median(np.diff(energy)))) + 1)
    grid = np.linspace(-max_shift, max_shift, max(steps, 3))
    shapes = moved_references(energy, references, energy[used])
    fitted = rows.at(used)
    fractions, covariance = np.empty((len(fitted), count)), np.empty((len(fitted), count + 1, count + 1))
    found, residual, problem = np.empty(len(fitted)), np.empty(len(fitted)), np.full(len(fitted), "", dtype="<U60")
    pull = np.zeros(len(fitted))
    for start in range(0, len(fitted), CHUNK):
        part = slice(start, start + CHUNK)
        fit = fit_shapes(
            fitted.spectra[part], fitted.weights[part], shapes, grid, non_negative=non_negative,
            noise=None if noise is None else noise[:, used],
        )  # fmt: skip
        fractions[part], found[part], covariance[part] = fit.coefficients, fit.parameter, fit.covariance
        residual[part] = np.linalg.norm(fit.residuals, axis=1)
        if not rows.weighted:
            freedom = fitted.measured[part].sum(axis=1) - (fit.active.sum(axis=1) + 1)
            covariance[part] *= scatter_variance(np.sum(fit.residuals**2, axis=1), freedom)[:, None, None]
        problem[part] = np.where(fit.problem == "", "", np.char.add("the shift is ", fit.problem))
        if noise is not None:
            pull[part] = _pull(fit, fitted.weights[part], noise[:, used], float(np.median(np.diff(energy))))
            problem[part][(pull[part] > most_pull) & (problem[part] == "")] = TOO_NOISY
    status = _status(fractions, covariance, fitted, count + 1, problem)
    shift_sigma = np.sqrt(covariance[:, count, count])
    return _collect(rows, status, fractions, covariance[:, :count, :count], found, shift_sigma, pull, residual)


def _pull(fit: Projection, weights: FloatArray, noise: FloatArray, step: float) -> FloatArray:
    """Give by how much of its uncertainty a shift is pulled by the noise of the references, shape (n,).

    Between its points a spline has less noise than at them, so that chi square swings with the shift, by that noise,
    from one step of the energies to the next: its slope, at most pi over two of that a step, is taken for a pull.
    """
    swing = SMOOTHED * np.einsum("ne,ne->n", weights, fit.coefficients**2 @ noise)
    return np.asarray(np.pi / 2 * swing / step * np.sqrt(fit.covariance[:, -1, -1]))


def moved_references(energy: FloatArray, references: FloatArray, at: FloatArray) -> Shapes:
    """Give the function from shifts (n,) to references moved up by them (n, k, n_at), and their derivatives.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
    references : numpy.ndarray, shape (k, n_energies)
    at : numpy.ndarray, shape (n_at,)
        eV, where the moved references are wanted.
    """
    spline, count = CubicSpline(energy, references.T), len(references)
    slope = np.concatenate([np.zeros_like(spline.c[:1]), spline.derivative().c])
    both = PPoly(np.concatenate([spline.c, -slope], axis=-1), spline.x)  # one search for the interval serves both

    def shapes(shift: FloatArray) -> tuple[FloatArray, FloatArray]:
        values = both(at - shift[:, None]).transpose(0, 2, 1)
        return values[:, :count], values[:, count:]

    return shapes


def _status(
    fractions: FloatArray,
    covariance: FloatArray,
    fitted: Rows,
    unknowns: int,
    problem: NDArray[np.str_] | None = None,
) -> NDArray[np.str_]:
    """Give "ok" or what is wrong with each fit, shape (n,)."""
    status = np.full(len(fractions), "ok", dtype="<U60")
    points = fitted.measured.sum(axis=1)
    # Of so many points only what is not determined has no uncertainty: a reference that is a sum of others.
    status[np.isnan(np.einsum("nii->ni", covariance)).any(axis=1) & (points > unknowns)] = DEPENDENT
    if problem is not None:
        status[problem != ""] = problem[problem != ""]
    status[~np.isfinite(fractions).all(axis=1)] = DEPENDENT
    status[points < unknowns] = TOO_FEW
    return status


def _collect(rows: Rows, status: NDArray[np.str_], *answer: FloatArray) -> LinearCombination:
    """Put fractions, covariance, shift, its sigma and residual together; NaN where there is no answer."""
    for values in answer:
        values[status != "ok"] = np.nan
    fractions, covariance, shift, shift_sigma, pull, residual = (rows.restore(values) for values in answer)
    return LinearCombination(
        fractions=fractions,
        sigma=np.sqrt(np.einsum("...ii->...i", covariance)),
        covariance=covariance,
        shift=shift,
        shift_sigma=shift_sigma,
        pull=pull,
        residual=residual,
        status=rows.restore(status),
    )
