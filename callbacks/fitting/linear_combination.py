"""Linear-combination fits: a spectrum as a sum of references, with a common energy shift where asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PPoly

from callbacks.fitting.nonnegative import CHUNK, MOST_REFERENCES, solve_normal_equations, unmix
from callbacks.fitting.rows import Rows, as_rows, check_references
from callbacks.fitting.variable_projection import Shapes, fit_shapes

FloatArray = NDArray[np.floating]

MOST_SHIFTS = 41  # tried before the search proper
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
    residual: FloatArray
    status: NDArray[np.str_]


def fit_linear_combination(
    energy: FloatArray,
    spectrum: FloatArray,
    references: FloatArray,
    variance: FloatArray | None = None,
    *,
    non_negative: bool = True,
    shift: bool = False,
    max_shift: float = 1.0,
) -> LinearCombination:
    """Fit a spectrum, or each of many, by a sum of references.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending; of spectra and references.
    spectrum : numpy.ndarray, shape (..., n_energies)
        NaN: left out.
    references : numpy.ndarray, shape (k, n_energies)
        At most six, finite; their own noise is not propagated.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectrum, optional
        Of independent points. Without it points weigh alike and uncertainties follow from the scatter.
    non_negative : bool
        Whether fractions are kept from falling below zero.
    shift : bool
        Whether one energy shift, common to the references, is fitted to each spectrum. The references are interpolated
        by cubic splines, and only energies at least `max_shift` from either end of the range are fitted, so that no
        reference is ever extrapolated.
    max_shift : float
        eV, limit of the shift to either side.

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
    references = check_references(energy, references, MOST_REFERENCES)
    rows = as_rows(energy, spectrum, variance)
    if shift:
        return _shifted(energy, rows, references, max_shift, non_negative)
    return _in_place(rows, references, non_negative)


def _in_place(rows: Rows, references: FloatArray, non_negative: bool) -> LinearCombination:
    count = len(references)
    if non_negative:
        variance = np.divide(1.0, rows.weights, out=np.full(rows.weights.shape, np.nan), where=rows.weights > 0)
        unmixed = unmix(rows.spectra, references, variance if rows.weighted else None)
        fractions, covariance, residual = unmixed.fractions, unmixed.covariance, unmixed.residual
    else:
        spectra = np.where(rows.weights > 0, rows.spectra, 0.0)
        pairs = (references[:, None] * references[None]).reshape(count**2, -1)
        gram = (rows.weights @ pairs.T).reshape(-1, count, count)
        fractions, covariance, _ = solve_normal_equations(
            gram, (rows.weights * spectra) @ references.T, non_negative=False
        )
        rest = np.where(rows.weights > 0, spectra - fractions @ references, 0.0)
        residual = np.linalg.norm(rest, axis=1)
        if not rows.weighted:
            covariance *= point_variance(rest, rows.weights, count)[:, None, None]
    status = np.full(len(fractions), "ok", dtype="<U60")
    status[~np.isfinite(fractions).all(axis=1)] = "references not linearly independent"
    status[(rows.weights > 0).sum(axis=1) < count] = TOO_FEW
    nothing = np.zeros(len(fractions))
    return _collect(rows, status, fractions, covariance, nothing, nothing.copy(), residual)


def _shifted(
    energy: FloatArray, rows: Rows, references: FloatArray, max_shift: float, non_negative: bool
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
    spectra, weights = rows.spectra[:, used], rows.weights[:, used]
    fractions, covariance = np.empty((len(spectra), count)), np.empty((len(spectra), count + 1, count + 1))
    found, residual = np.empty(len(spectra)), np.empty(len(spectra))
    status = np.full(len(spectra), "ok", dtype="<U60")
    for start in range(0, len(spectra), CHUNK):
        part = slice(start, start + CHUNK)
        fit = fit_shapes(spectra[part], weights[part], shapes, grid, non_negative=non_negative)
        fractions[part], found[part], covariance[part] = fit.coefficients, fit.parameter, fit.covariance
        residual[part] = np.linalg.norm(fit.rest, axis=1)
        if not rows.weighted:
            covariance[part] *= point_variance(fit.rest, weights[part], fit.active.sum(axis=1) + 1)[:, None, None]
        status[part] = np.where(fit.problem == "", "ok", np.char.add("the shift is ", fit.problem))
    status[~np.isfinite(fractions).all(axis=1)] = "references not linearly independent"
    status[(weights > 0).sum(axis=1) < count + 1] = TOO_FEW
    shift_sigma = np.sqrt(covariance[:, count, count])
    return _collect(rows, status, fractions, covariance[:, :count, :count], found, shift_sigma, residual)


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


def point_variance(rest: FloatArray, weights: FloatArray, unknowns: int | NDArray[np.integer]) -> FloatArray:
    """Give the variance (n,) of a point from the scatter about a fit; NaN where nothing is left to judge by."""
    freedom = (weights > 0).sum(axis=1) - unknowns
    return np.divide(np.sum(rest**2, axis=1), freedom, out=np.full(len(rest), np.nan), where=freedom > 0)


def _collect(rows: Rows, status: NDArray[np.str_], *answer: FloatArray) -> LinearCombination:
    """Put fractions, covariance, shift, its sigma and residual together; NaN where there is no answer."""
    for values in answer:
        values[status != "ok"] = np.nan
    fractions, covariance, shift, shift_sigma, residual = (rows.restore(values) for values in answer)
    return LinearCombination(
        fractions=fractions,
        sigma=np.sqrt(np.einsum("...ii->...i", covariance)),
        covariance=covariance,
        shift=shift,
        shift_sigma=shift_sigma,
        residual=residual,
        status=rows.restore(status),
    )
