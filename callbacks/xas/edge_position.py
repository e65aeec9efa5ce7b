"""Edge position: the energy at which a spectrum passes half the height of its edge jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import as_rows, mean_variance
from callbacks.xas.background import Window, background_operator, points_inside, windows

FloatArray = NDArray[np.floating]

SIGMAS = 3.0  # by which jump and slope must be above zero


@dataclass(frozen=True)
class EdgePosition:
    """Edge positions of one spectrum or many.

    Attributes
    ----------
    position, sigma : numpy.ndarray, shape (...)
        eV; NaN where `status` is not "ok".
    jump, jump_sigma : numpy.ndarray, shape (...)
        Edge jump at the position; NaN where there is no crossing to take it at.
    status : numpy.ndarray of str, shape (...)
        "ok", or why there is no position.
    """

    position: FloatArray
    sigma: FloatArray
    jump: FloatArray
    jump_sigma: FloatArray
    status: NDArray[np.str_]


def edge_position(
    energy: FloatArray,
    spectra: FloatArray,
    variance: FloatArray,
    *,
    pre_edge: Window | None = None,
    post_edge: Window | None = None,
    post_edge_form: Literal["mean", "line"] = "mean",
    search: Window | None = None,
    points: int = 4,
) -> EdgePosition:
    """Find where the rising edge passes half the edge jump.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
        Absorbance or yield, one spectrum or a map; NaN where not measured. An energy that no spectrum has is left out.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    pre_edge, post_edge : tuple of float, optional
        eV; default the ends of the range. A line is fitted before the edge.
    post_edge_form : {"mean", "line"}
        What the jump is beyond the edge: a constant, or a line drawn back to it.
    search : tuple of float, optional
        eV, where the edge is looked for; default the whole range.
    points : int
        Even; the crossing is that of a weighted line through so many points around it. More points stand more noise,
        and bend the position more where the edge is curved.

    Returns
    -------
    EdgePosition

    Raises
    ------
    ValueError
        When shapes do not match, a window holds too few energies, or `points` is not an even number of 2 or more.

    Notes
    -----
    Spectrum minus background minus half the jump is linear in the spectrum. The crossing is bracketed where the
    integral of it, cut off at half the jump, is least: the one energy that best parts what is below half height from
    what is above. A point or two on the wrong side do not move it, nor does a pre-edge peak that comes down again.
    The uncertainty is propagated through line, background and jump.
    """
    if points < 2 or points % 2:
        raise ValueError(f"points {points}: expected an even number, 2 or more")
    rows = as_rows(energy, spectra, variance)
    known = (rows.weights > 0).any(axis=0)
    energy, weights = np.asarray(energy, dtype=float)[known], rows.weights[:, known]
    measured = weights > 0
    values = np.where(measured, rows.spectra[:, known], 0.0)
    pre, post = windows(energy, pre_edge, post_edge)
    before, beyond = points_inside(energy, pre, "pre-edge", 3), points_inside(energy, post, "post-edge", 3)
    within = points_inside(energy, search or (energy[0], energy[-1]), "search", 2)
    mean = mean_variance(weights)
    subtract = np.eye(len(energy)) - background_operator(energy, mean, before, "linear")
    form = "linear" if post_edge_form == "line" else "constant"
    jump = background_operator(energy, mean, beyond, form) @ subtract
    half = subtract - 0.5 * jump
    excess, height = values @ half.T, values @ jump.T
    last_below = _part(energy, excess, height, measured & within)
    chosen = last_below[:, None] + np.arange(1 - points // 2, points // 2 + 1)
    searched = np.flatnonzero(within)
    at_end = (chosen[:, 0] < searched[0]) | (chosen[:, -1] > searched[-1])
    chosen = chosen.clip(0, len(energy) - 1)
    needed = np.concatenate([np.take_along_axis(measured, chosen, 1), measured[:, before | beyond]], axis=1)
    missing: NDArray[np.bool_] = np.any(~needed, axis=1)
    noise = np.divide(1.0, weights, out=np.zeros(weights.shape), where=measured)
    found = _cross(energy, excess, chosen, np.where(missing[:, None], 1.0, np.take_along_axis(weights, chosen, 1)))
    slope_sigma = _sigma(_spread(found.slope_row, chosen, len(energy)) @ half, noise)
    sigma = _sigma(_spread(found.position_row, chosen, len(energy)) @ half, noise)
    rows_of_jump = jump[last_below]
    jump_here, jump_sigma = np.einsum("ne,ne->n", rows_of_jump, values), _sigma(rows_of_jump, noise)

    position = found.position
    first, last = energy[chosen[:, 0]], energy[chosen[:, -1]]
    outside = np.logical_not((position >= first) & (position <= last))
    status = np.full(len(values), "ok", dtype="<U60")
    status[outside] = "no crossing: the line fitted does not cross between its points"
    status[~(found.slope > SIGMAS * slope_sigma)] = "no crossing: it does not rise there by more than 3 sigma"
    status[at_end] = "no crossing within the range searched"
    status[~(jump_here > SIGMAS * jump_sigma)] = "no edge: the jump is not above 3 sigma"
    status[missing] = "not measured at an energy that is needed"
    position[status != "ok"], sigma[status != "ok"] = np.nan, np.nan
    jump_here[missing], jump_sigma[missing] = np.nan, np.nan
    answer = (position, sigma, jump_here, jump_sigma)
    position, sigma, jump_here, jump_sigma = (rows.restore(each) for each in answer)
    return EdgePosition(position, sigma, jump_here, jump_sigma, status=rows.restore(status))


def _part(energy: FloatArray, excess: FloatArray, height: FloatArray, counted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Give the number (n,) of the last energy below half height: where the integral of the excess is least."""
    relative = np.divide(excess, height, out=np.zeros(excess.shape), where=counted & (height > 0)).clip(-0.5, 0.5)
    return np.argmin(np.cumsum(relative * np.gradient(energy), axis=1), axis=1)


@dataclass(frozen=True)
class _Crossing:
    """Where lines through some points cross zero, and what each point does to it."""

    position: FloatArray
    slope: FloatArray
    position_row: FloatArray  # (n, points): derivative by the points' excess
    slope_row: FloatArray


def _cross(energy: FloatArray, excess: FloatArray, chosen: NDArray[np.intp], weights: FloatArray) -> _Crossing:
    """Fit a weighted line through the chosen points of each spectrum and find its zero."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    x, y = energy[chosen], np.take_along_axis(excess, chosen, 1)
    centre = np.sum(weights * x, axis=1)
    x = x - centre[:, None]
    spread = np.sum(weights * x**2, axis=1, keepdims=True)
    # chosen points coincide at the end of the range, where there is no answer
    slope_row = np.divide(weights * x, spread, out=np.zeros(x.shape), where=spread > 0)
    slope, mean = np.sum(slope_row * y, axis=1), np.sum(weights * y, axis=1)
    rising = np.where(slope > 0, slope, np.nan)
    offset = -mean / rising
    position_row = -(weights + offset[:, None] * slope_row) / rising[:, None]
    return _Crossing(centre + offset, slope, position_row, slope_row)


def _spread(row: FloatArray, chosen: NDArray[np.intp], length: int) -> FloatArray:
    """Put what belongs to the chosen points at their place among all energies."""
    whole = np.zeros((len(row), length))
    np.put_along_axis(whole, chosen, row, axis=1)
    return whole


def _sigma(jacobian: FloatArray, noise: FloatArray) -> FloatArray:
    return np.sqrt(np.einsum("ne,ne,ne->n", jacobian, jacobian, noise))
