"""Edge position: the energy at which a spectrum passes half the height of its edge jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import Rows, as_rows
from callbacks.xas.background import (
    LEAST_LINE,
    MISSING,
    NO_EDGE,
    SIGMAS,
    LowRank,
    Window,
    background,
    points_inside,
    propagated,
    windows,
)

FloatArray = NDArray[np.floating]

IN_WINDOW = "no position: the edge is not between pre-edge and post-edge"


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
    post_edge_form: Literal["mean", "line"] | None = None,
    search: Window | None = None,
    points: int = 2,
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
        eV; default beside the edge of the mean of the spectra (`callbacks.xas.background.windows`). A line is fitted
        before the edge.
    post_edge_form : {"mean", "line"}, optional
        What the jump is beyond the edge: a constant, or a line drawn back to it. Default a line where no window beyond
        the edge is given and it is 30 eV wide or more, as absorption falls there; else a constant.
    search : tuple of float, optional
        eV, where the edge is looked for; default the whole range.
    points : int
        Even; the crossing is that of a weighted line through so many points around it. More of them average noise, but
        bend the position where the edge is curved over so many steps, which its uncertainty does not tell: of four
        points at steps of a third of the edge's width it held the truth in half of the pixels only.

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
    energy, rows = np.asarray(energy, dtype=float)[rows.recorded], rows.at(rows.recorded)
    low, high = search or (-np.inf, np.inf)
    pre, post = windows(energy, pre_edge, post_edge, np.where((energy >= low) & (energy <= high), rows.mean, np.nan))
    before, beyond = points_inside(energy, pre, "pre-edge", 3), points_inside(energy, post, "post-edge", 3)
    within = points_inside(energy, search or (energy[0], energy[-1]), "search", 2)
    if post_edge_form is None:
        post_edge_form = "line" if post_edge is None and post[1] - post[0] >= LEAST_LINE else "mean"
    noise = rows.mean_variance
    line = background(energy, noise, before, "linear")
    level = background(energy, noise, beyond, "linear" if post_edge_form == "line" else "constant")
    jump = LowRank(level.columns, line.after_off(level.rows))
    below_half = LowRank(np.hstack([line.columns, 0.5 * jump.columns]), np.vstack([line.rows, jump.rows]))
    values = rows.values
    excess, height = below_half.off(values), jump.of(values)
    last_below = _last_below(energy, excess, height, rows.measured & within)
    chosen = last_below[:, None] + np.arange(1 - points // 2, points // 2 + 1)
    searched = np.flatnonzero(within)
    at_end = (chosen[:, 0] < searched[0]) | (chosen[:, -1] > searched[-1])
    chosen = chosen.clip(0, len(energy) - 1)
    missing = _missing(rows, chosen, before | beyond)
    weights = np.where(missing[:, None], 1.0, np.take_along_axis(rows.weights, chosen, 1))
    crossing = _cross(energy, excess, chosen, weights)
    slope_row, position_row = (
        below_half.after_off(_spread(row, chosen, len(energy))) for row in (crossing.slope_row, crossing.position_row)
    )
    slope_sigma = propagated(slope_row, rows.variance)
    jump_row = jump.columns[last_below] @ jump.rows
    jump_here = np.einsum("ne,ne->n", jump_row, values)
    jump_sigma = propagated(jump_row, rows.variance)

    position, sigma = crossing.position, propagated(position_row, rows.variance)
    status = np.full(len(values), "ok", dtype="<U60")
    status[~crossing.between(energy[chosen])] = "no crossing: the line fitted does not cross between its points"
    status[~(crossing.slope > SIGMAS * slope_sigma)] = "no crossing: it does not rise there by more than 3 sigma"
    status[(position <= pre[1]) | (position >= post[0])] = IN_WINDOW
    status[at_end] = "no crossing within the range searched"
    status[~(jump_here > SIGMAS * jump_sigma)] = NO_EDGE
    status[missing] = MISSING
    position[status != "ok"], sigma[status != "ok"] = np.nan, np.nan
    jump_here[missing], jump_sigma[missing] = np.nan, np.nan
    return EdgePosition(*(rows.restore(each) for each in (position, sigma, jump_here, jump_sigma, status)))


def _last_below(
    energy: FloatArray, excess: FloatArray, height: FloatArray, counted: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Give the number (n,) of the last energy below half height: where the integral of the excess is least."""
    relative = np.divide(excess, height, out=np.zeros(excess.shape), where=counted & (height > 0)).clip(-0.5, 0.5)
    return np.asarray(np.argmin(np.cumsum(relative * np.gradient(energy), axis=1), axis=1))


def _missing(rows: Rows, chosen: NDArray[np.intp], needed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which spectra were not measured at their chosen points, or at the energies that all need."""
    measured = rows.measured
    both = np.concatenate([np.take_along_axis(measured, chosen, 1), measured[:, needed]], axis=1)
    return np.asarray(np.any(~both, axis=1))


@dataclass(frozen=True)
class _Crossing:
    """Where lines through some points cross zero, and what each point does to it."""

    position: FloatArray
    slope: FloatArray
    position_row: FloatArray  # (n, points): derivative by the points' excess
    slope_row: FloatArray

    def between(self, points: FloatArray) -> NDArray[np.bool_]:
        """Tell which lines cross between their points (n, points)."""
        return np.asarray((self.position >= points[:, 0]) & (self.position <= points[:, -1]))


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
