"""Dichroism: difference and mean of the spectra of two polarisations, with uncertainties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from callbacks.wording import number_of
from callbacks.xas.background import SIGMAS, background, gaps, jump_weight, windows

if TYPE_CHECKING:
    from callbacks.xas.spectrum import XasSettings

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Light:
    """What is known of the light of two polarisations.

    Attributes
    ----------
    degree, degree_sigma : float
        Degree of polarisation that the difference is divided by, and its standard uncertainty; NaN where not known.
    energy_sigma : float
        eV by which the photon energies of the two may differ at the same setpoint, rms; 0 or NaN: they do not.
    """

    degree: float = math.nan
    degree_sigma: float = math.nan
    energy_sigma: float = 0.0


@dataclass(frozen=True)
class Dichroism:
    """Two spectra, normalised alike, their difference and their mean; by energy.

    Attributes
    ----------
    mean, mean_sigma : numpy.ndarray, shape (n,)
        Half of the sum, background subtracted, edge jump 1.
    difference, difference_sigma : numpy.ndarray, shape (n,)
        The first less the second, of the edge jump of the mean.
    per_degree, per_degree_sigma : numpy.ndarray, shape (n,)
        The difference over the degree of polarisation; NaN where that is not known.
    jump, jump_sigma : float
        What was divided by.
    matched_by, matched_by_sigma : float
        What the second spectrum was multiplied by, so that both agree before the edge, or what was added to it; 1 (or
        0) and 0 where they were left.
    status : str
        "ok", or why nothing is known; everything else is NaN then.
    """

    mean: FloatArray
    mean_sigma: FloatArray
    difference: FloatArray
    difference_sigma: FloatArray
    per_degree: FloatArray
    per_degree_sigma: FloatArray
    jump: float
    jump_sigma: float
    matched_by: float
    matched_by_sigma: float
    status: str


@dataclass(frozen=True)
class _Pair:
    """Two spectra over I0 where both are measured, 0 elsewhere, and their variances."""

    first: FloatArray
    second: FloatArray
    first_variance: FloatArray
    second_variance: FloatArray

    def sigma(
        self, own: tuple[float, float], columns: FloatArray, first_rows: FloatArray, second_rows: FloatArray
    ) -> FloatArray:
        """Propagate both through a Jacobian that is (own[0] 1 + columns first_rows, own[1] 1 + columns second_rows).

        Parameters
        ----------
        own : (float, float)
            Derivatives of each number by the two values at its own energy.
        columns : numpy.ndarray, shape (n, rank)
        first_rows, second_rows : numpy.ndarray, shape (rank, n)
        """
        variance = np.zeros(len(self.first))
        for each, noise, rows in (
            (own[0], self.first_variance, first_rows),
            (own[1], self.second_variance, second_rows),
        ):
            variance += noise * (each**2 + 2.0 * each * np.einsum("nr,rn->n", columns, rows))
            variance += np.einsum("nr,rs,ns->n", columns, (rows * noise) @ rows.T, columns)
        return np.sqrt(np.maximum(variance, 0.0))

    def sigma_of(self, first_row: FloatArray, second_row: FloatArray) -> float:
        """Propagate both to one number."""
        return math.sqrt(float(first_row**2 @ self.first_variance + second_row**2 @ self.second_variance))


def dichroism(
    energy: FloatArray,
    first: tuple[FloatArray, FloatArray],
    second: tuple[FloatArray, FloatArray],
    settings: XasSettings,
    light: Light | None = None,
    *,
    shifted: bool = False,
) -> Dichroism:
    """Give the difference and the mean of the spectra of two polarisations.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV, ascending, of both.
    first, second : (numpy.ndarray, numpy.ndarray), shape (n,) each
        Yield over I0 with each polarisation, and its variance, of independent points; NaN where not measured.
    settings : XasSettings
        Windows and background, as of one spectrum.
    light : Light, optional
    shifted : bool
        Whether the two are made to agree by a shift: what is given is the logarithm of a transmission.

    Returns
    -------
    Dichroism

    Notes
    -----
    As in X-ray magnetic circular dichroism (C. T. Chen et al., Phys. Rev. Lett. 75 (1995) 152; J. Stohr and H. C.
    Siegmann, Magnetism, Springer 2006, chapter 10): what is equal for both, flux and efficiency, is taken out by a
    factor f, or a shift, that makes the two agree before the edge, where there is no dichroism
    (``match_polarisations``); background and edge jump J are those of the mean m = (a + f b) / 2, and the difference is
    (a - f b) / J. Both are functions of all points, through f, background and jump; the uncertainty goes through the
    whole Jacobian, which is that of each point plus one of low rank: work and memory are linear in their number.

    Photon energies that differ by d at the same setpoint leave d dm/dE in the difference: its variance is added, point
    by point, though all points have the same d.
    """
    light = light or Light()
    measured = np.isfinite(first[0]) & np.isfinite(first[1]) & np.isfinite(second[0]) & np.isfinite(second[1])
    both = np.where(measured, first[0] + second[0], np.nan)
    pre, post = windows(energy, settings.pre_edge, settings.post_edge, both)
    in_pre = measured & (energy >= pre[0]) & (energy <= pre[1])
    in_post = measured & (energy >= post[0]) & (energy <= post[1])
    for name, window, inside in (("pre-edge", pre, in_pre), ("post-edge", post, in_post)):
        if inside.sum() < settings.fewest_points:
            return not_known(
                len(energy),
                f"the {name} window {window[0]:g} to {window[1]:g} eV holds {number_of(int(inside.sum()), 'point')}"
                f" of both polarisations, expected {settings.fewest_points} or more",
            )
    pair = _Pair(*(np.where(measured, each, 0.0) for each in (first[0], second[0], first[1], second[1])))
    match = _match(pair, in_pre, shifted=shifted) if settings.match_polarisations else _left(pair, shifted=shifted)
    factor, by_first, by_second = match.factor, match.by_first, match.by_second
    if not factor > 0:
        return not_known(len(energy), "a spectrum is not above zero before the edge: the two cannot be scaled alike")
    matched = factor * pair.second + np.where(measured, match.offset, 0.0)
    mean = (pair.first + matched) / 2
    before = background(energy, pair.first_variance + pair.second_variance, in_pre, settings.background)
    weight = jump_weight(energy, post, measured, settings.normalise)
    if gap := next((said for places, said in gaps(energy, measured) if weight[places].any()), ""):
        return not_known(len(energy), gap)
    row = before.after_off(weight)
    jump = float(row @ mean)
    # how jump and mean change with the two spectra, through the factor too
    turned = float(row @ match.moves) / 2
    jump_first, jump_second = row / 2 + turned * by_first, factor * row / 2 + turned * by_second
    jump_sigma = pair.sigma_of(jump_first, jump_second)
    if not jump > SIGMAS * jump_sigma:
        return not_known(len(energy), f"no edge: the jump is {jump:.3g} ± {jump_sigma:.3g}")
    normalised, difference = before.off(mean) / jump, (pair.first - matched) / jump
    columns = np.column_stack([before.off(match.moves) / 2, -normalised, -before.columns]) / jump
    mean_sigma = pair.sigma(
        (0.5 / jump, 0.5 * factor / jump),
        columns,
        np.vstack([by_first, jump_first, before.rows / 2]),
        np.vstack([by_second, jump_second, factor * before.rows / 2]),
    )
    difference_sigma = pair.sigma(
        (1.0 / jump, -factor / jump),
        np.column_stack([-match.moves, -difference]) / jump,
        np.vstack([by_first, jump_first]),
        np.vstack([by_second, jump_second]),
    )
    if light.energy_sigma > 0:
        difference_sigma = np.hypot(difference_sigma, light.energy_sigma * _slope(energy, normalised, measured))
    degree = light.degree if light.degree > 0 else math.nan
    per_degree = difference / degree
    per_degree_sigma = np.hypot(difference_sigma, per_degree * light.degree_sigma) / degree

    def known(values: FloatArray) -> FloatArray:
        return np.where(measured, values, np.nan)

    return Dichroism(
        mean=known(normalised),
        mean_sigma=known(mean_sigma),
        difference=known(difference),
        difference_sigma=known(difference_sigma),
        per_degree=known(per_degree),
        per_degree_sigma=known(per_degree_sigma),
        jump=jump,
        jump_sigma=jump_sigma,
        matched_by=match.offset if shifted else factor,
        matched_by_sigma=pair.sigma_of(by_first, by_second),
        status="ok",
    )


def not_known(number: int, reason: str) -> Dichroism:
    """Give the dichroism at a number of energies that is not known, and why."""
    return Dichroism(
        mean=np.full(number, np.nan),
        mean_sigma=np.full(number, np.nan),
        difference=np.full(number, np.nan),
        difference_sigma=np.full(number, np.nan),
        per_degree=np.full(number, np.nan),
        per_degree_sigma=np.full(number, np.nan),
        jump=math.nan,
        jump_sigma=math.nan,
        matched_by=math.nan,
        matched_by_sigma=math.nan,
        status=reason,
    )


@dataclass(frozen=True)
class _Match:
    """What is done to the second spectrum: factor and offset, and how the one that is found changes with the spectra.

    Attributes
    ----------
    by_first, by_second : numpy.ndarray, shape (n,)
        Derivatives of factor or offset by the first spectrum and the second.
    moves : numpy.ndarray, shape (n,)
        Derivative of the second spectrum, as it is used, by factor or offset.
    """

    factor: float
    offset: float
    by_first: FloatArray
    by_second: FloatArray
    moves: FloatArray


def _left(pair: _Pair, *, shifted: bool) -> _Match:
    """Leave the second spectrum as it is."""
    nothing = np.zeros(len(pair.first))
    return _Match(1.0, 0.0, nothing, nothing, np.ones(len(nothing)) if shifted else pair.second)


def _match(pair: _Pair, inside: NDArray[np.bool_], *, shifted: bool) -> _Match:
    """Make the two agree before the edge; the factor is NaN where none does."""
    first, second = float(pair.first[inside].sum()), float(pair.second[inside].sum())
    number = int(inside.sum())
    if shifted:
        each = np.where(inside, 1.0 / number, 0.0)
        return _Match(1.0, (first - second) / number, each, -each, np.ones(len(each)))
    factor = first / second if second > 0 else math.nan
    by_first = np.where(inside, 1.0 / second if second > 0 else math.nan, 0.0)
    return _Match(factor, 0.0, by_first, -factor * by_first, pair.second)


def _slope(energy: FloatArray, values: FloatArray, measured: NDArray[np.bool_]) -> FloatArray:
    """Give the derivative by energy where measured, 0 elsewhere."""
    slope = np.zeros(len(energy))
    if measured.sum() > 1:
        slope[measured] = np.gradient(values[measured], energy[measured])
    return slope
