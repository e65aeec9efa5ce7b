"""MLLS: a power-law background and any references fitted together over a window, for one spectrum or a stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.linear_combination import TOO_FEW
from callbacks.fitting.normal_equations import ColumnFit, fit_columns
from callbacks.fitting.reference_noise import reference_noise
from callbacks.fitting.rows import CHUNK, as_rows, check_reference_variance, check_references, scatter_variance
from callbacks.fitting.supports import MOST_REFERENCES
from callbacks.fitting.variable_projection import Shapes, fit_shapes
from callbacks.xas.background import points_inside, windows

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.str_]

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
    status: TextArray
    reference_energy: float


def fit_mlls(
    energy: FloatArray,
    spectra: FloatArray,
    references: FloatArray,
    variance: FloatArray | None = None,
    *,
    reference_variance: FloatArray | None = None,
    window: tuple[float, float] | None = None,
    exponent: Literal["joint", "pre-edge"] | float | FloatArray = "joint",
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
        Of independent points. Without it points weigh alike and uncertainties follow from the scatter, which the noise
        of the references is part of.
    reference_variance : numpy.ndarray, shape (k, n_energies), optional
        Of the references, with `variance`: see `callbacks.fitting.reference_noise`.
    window : tuple of float, optional
        eV, what is fitted; default the whole range.
    exponent : {"joint", "pre-edge"} or number or numpy.ndarray, shape (...)
        Where r comes from: all points of the fit, together with the coefficients; each spectrum's own points of the
        pre-edge window, for samples that hold what no reference explains; or as given.
    pre_edge : tuple of float, optional
        eV, only with "pre-edge"; default the lowest 12 % of the range. References are taken to be zero there.
    non_negative : bool
        Whether background and coefficients are kept from falling below zero.

    Returns
    -------
    Mlls

    Raises
    ------
    ValueError
        When shapes do not match, energies do not ascend from above zero, references are not finite or too many, a
        window holds too few energies, or a pre-edge is given that is not used.

    Notes
    -----
    Fitted together, exponent and coefficients have one covariance (`callbacks.fitting.variable_projection`): the
    uncertainty of the coefficients holds that of the exponent. A narrow pre-edge tells the exponent badly: its noise,
    and whatever there is no power law, are carried under the whole edge. What the references lack biases the exponent
    that is fitted together; only there the pre-edge is the better choice. Its noise is that of points that the fit
    itself may use as well: the Jacobian of the coefficients over all points is propagated, which holds both.
    """
    references = check_references(references, len(energy), MOST_REFERENCES - 1)
    rows = as_rows(energy, spectra, variance)
    if not energy[0] > 0:
        raise ValueError(f"energy {energy[0]:g} eV: a power law needs energies above zero")
    window = window or (float(energy[0]), float(energy[-1]))
    used = points_inside(energy, window, "fit", len(references) + 2)
    centre = 0.5 * (window[0] + window[1])
    source = exponent if isinstance(exponent, str) else "given"
    before = np.zeros(len(energy), dtype=bool)
    if source == "pre-edge":
        before = points_inside(energy, windows(energy, pre_edge, None)[0], "pre-edge", 3)
    elif source not in ("joint", "given"):
        raise ValueError(f"exponent {exponent!r}: expected 'joint', 'pre-edge' or numbers")
    elif pre_edge is not None:
        raise ValueError(f"pre_edge {pre_edge}: is used with exponent 'pre-edge' only, which is {exponent!r}")
    given = np.broadcast_to(np.nan if isinstance(exponent, str) else np.asarray(exponent, dtype=float), rows.shape)
    noise = check_reference_variance(reference_variance, references) if rows.weighted else None
    model = _Model(energy / centre, references, used, before, non_negative, noise)
    answers = []
    for start in range(0, max(len(rows), 1), CHUNK):
        part = slice(start, start + CHUNK)
        points = rows.spectra[part], rows.weights[part]
        if source == "given":
            fit = model.fit_with(given.reshape(-1)[part], *points)
        else:
            fit = model.fit_pre_edge(*points) if source == "pre-edge" else model.fit_joint(*points)
        answers.append(_answer(fit, points[1][:, used], exponent_fitted=source != "given", weighted=rows.weighted))
    values, covariance, residual, status = (np.concatenate(answer) for answer in zip(*answers, strict=True))
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
    residuals: FloatArray
    active: BoolArray
    problem: TextArray  # what is wrong with the exponent, "" where nothing is


@dataclass(frozen=True)
class _Model:
    """A power law and references, fitted at the energies `used`; `before` are those of the pre-edge.

    `relative` are the energies over that of the middle, so that the power law is 1 there.
    """

    relative: FloatArray
    references: FloatArray
    used: BoolArray
    before: BoolArray
    non_negative: bool
    noise: FloatArray | None  # variance of the references

    def _noise(self) -> FloatArray | None:
        """Give the variance of power law and references at the energies fitted."""
        return None if self.noise is None else np.insert(self.noise[:, self.used], 0, 0.0, axis=0)

    def fit_joint(self, spectra: FloatArray, weights: FloatArray) -> _Fit:
        """Fit exponent and coefficients together."""
        shapes = _power_law_and(self.relative[self.used], self.references[:, self.used])
        return _fit_exponent(spectra[:, self.used], weights[:, self.used], shapes, self.non_negative, self._noise())

    def fit_pre_edge(self, spectra: FloatArray, weights: FloatArray) -> _Fit:
        """Fit the exponent before the edge, then the coefficients with it."""
        weight = weights[:, self.before]
        law = _power_law_and(self.relative[self.before], self.references[:0, self.before])
        fit = _fit_exponent(spectra[:, self.before], weight, law, False)
        exponent, variance = fit.values[:, 1], fit.covariance[:, 1, 1]
        columns, derivatives = law(exponent)
        # along what the power law itself does not take up
        aside = fit.values[:, :1] * derivatives[:, 0] + (fit.covariance[:, 0, 1] / variance)[:, None] * columns[:, 0]
        jacobian = np.zeros(spectra.shape)
        jacobian[:, self.before] = variance[:, None] * weight * aside
        problem = np.where((weight > 0).sum(axis=1) < 2, "not determined", fit.problem)
        return replace(self.fit_with(exponent, spectra, weights, exponent_jacobian=jacobian), problem=problem)

    def fit_with(
        self,
        exponent: FloatArray,
        spectra: FloatArray,
        weights: FloatArray,
        *,
        exponent_jacobian: FloatArray | None = None,
    ) -> _Fit:
        """Fit the coefficients for given exponents; propagate the noise of both where exponents have a Jacobian."""
        shapes = _power_law_and(self.relative[self.used], self.references[:, self.used])
        columns, derivatives = shapes(exponent)
        weight = weights[:, self.used]
        values = np.where(weight > 0, spectra[:, self.used], 0.0)
        fit = fit_columns(values, weight, columns, non_negative=self.non_negative)
        count = fit.coefficients.shape[1]
        covariance = np.zeros((len(spectra), count + 1, count + 1))
        covariance[:, :count, :count] = fit.covariance
        if exponent_jacobian is not None:
            jacobian = _jacobian(fit, derivatives[:, 0], weight, self.used, exponent_jacobian)
            variance = np.divide(1.0, weights, out=np.zeros(weights.shape), where=weights > 0)
            propagated = (jacobian * variance[:, None, :]) @ jacobian.transpose(0, 2, 1)
            held = np.zeros(covariance.shape, dtype=bool)  # at zero: their one-sided variance stays as it is
            held[:, :count, :count] = ~(fit.active[:, :, None] & fit.active[:, None, :])
            covariance = np.where(held, covariance, propagated)
        if (noise := self._noise()) is not None:
            inverse = np.where(fit.active[:, :, None] & fit.active[:, None, :], fit.covariance, 0.0)
            covariance[:, :count, :count] += reference_noise(inverse, columns, weight, fit.coefficients, noise)
        both = np.concatenate([fit.coefficients, exponent[:, None]], axis=1)
        return _Fit(both, covariance, fit.residuals, fit.active, np.full(len(spectra), "", dtype="<U60"))


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


def _fit_exponent(
    spectra: FloatArray, weights: FloatArray, shapes: Shapes, non_negative: bool, noise: FloatArray | None = None
) -> _Fit:
    """Fit exponent and coefficients together."""
    grid = np.linspace(*EXPONENT_LIMITS, EXPONENTS_TRIED)
    found = fit_shapes(spectra, weights, shapes, grid, non_negative=non_negative, noise=noise)
    values = np.concatenate([found.coefficients, found.parameter[:, None]], axis=1)
    return _Fit(values, found.covariance, found.residuals, found.active, found.problem)


def _jacobian(
    fit: ColumnFit, derivative: FloatArray, weight: FloatArray, used: BoolArray, exponent_jacobian: FloatArray
) -> FloatArray:
    """Give the derivatives (n, k + 1, n_energies) of coefficients and (last) exponent by the points of the spectrum.

    `derivative` is that of the power law by its exponent, (n, energies used).
    """
    count = fit.coefficients.shape[1]
    inverse = np.where(fit.active[:, :, None] & fit.active[:, None, :], fit.covariance, 0.0)
    jacobian = np.zeros((len(weight), count + 1, len(used)))
    jacobian[:, :count, used] = inverse @ fit.weighted
    bent = fit.coefficients[:, :1] * derivative  # how the background moves with the exponent
    pull = -np.einsum("nke,ne->nk", fit.weighted, bent)
    pull[:, 0] += np.einsum("ne,ne,ne->n", derivative, weight, fit.residuals)
    follow = np.einsum("nij,nj->ni", inverse, pull)
    jacobian[:, :count] += follow[:, :, None] * exponent_jacobian[:, None, :]
    jacobian[:, count] = exponent_jacobian
    return jacobian


def _answer(
    fit: _Fit, weights: FloatArray, *, exponent_fitted: bool, weighted: bool
) -> tuple[FloatArray, FloatArray, FloatArray, TextArray]:
    """Give values, covariance, residual and status; NaN where there is no answer."""
    values, covariance, residual = fit.values, fit.covariance, np.linalg.norm(fit.residuals, axis=1)
    points = (weights > 0).sum(axis=1)
    if not weighted:
        freedom = points - (fit.active.sum(axis=1) + exponent_fitted)
        covariance = covariance * scatter_variance(np.sum(fit.residuals**2, axis=1), freedom)[:, None, None]
    status = np.where(fit.problem == "", "ok", np.char.add("the exponent is ", fit.problem)).astype("<U60")
    unknowns = values.shape[1] - 1 + exponent_fitted
    unsure = np.isnan(np.einsum("nii->ni", covariance)).any(axis=1) & (points > unknowns)  # as of linear combinations
    dependent = ~np.isfinite(values).all(axis=1) | unsure
    status[dependent & (fit.problem == "")] = "references and background not linearly independent"
    status[points < unknowns] = TOO_FEW
    refused = status != "ok"
    values[refused], covariance[refused], residual[refused] = np.nan, np.nan, np.nan
    return values, covariance, residual, status
