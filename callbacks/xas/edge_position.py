"""Edge position: the energy at which a spectrum passes half the height of its edge jump."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
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
    gaps,
    points_inside,
    propagated,
    windows,
)
from callbacks.xas.expected import holds_enough, too_thin

FloatArray = NDArray[np.floating]

SURE = 2 * SIGMAS  # a slope so many sigma above zero is known to a sixth, and so is the sigma of a position
DEGREE = 3  # of the polynomial through them: a line through as many would move the position as the edge bends
NUMBERS = (4, 8, 16, 32)  # of points tried
BISECTIONS = 50  # of the step that holds the crossing: to the last digits of a number
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
    points: int | None = None,
    alike: bool = False,
) -> EdgePosition:
    """Find where the rising edge passes half the edge jump.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
        Absorbance or yield, one spectrum or a map; NaN where not measured. Where the curve at the crossing would span
        an energy that no spectrum has, the status says so; background and jump do without.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    pre_edge, post_edge : tuple of float, optional
        eV; default beside the edge of the mean of the spectra (`callbacks.xas.background.windows`). A line is fitted
        before the edge.
    post_edge_form : {"mean", "line"}, optional
        What the jump is beyond the edge: a constant, or a line drawn back to it. Default a line where no window beyond
        the edge is given and it is 75 eV wide or more, as absorption falls there; else a constant.
    search : tuple of float, optional
        eV, where the edge is looked for; default the whole range.
    points : int, optional
        Even; the crossing is that of a weighted cubic through so many points around it, or of a line through 2. More of
        them average noise, but move the position where the edge bends more than a cubic over so many steps, which its
        uncertainty does not tell. Default as few of 4, 8, 16 and 32 as make the slope six sigma; where none do, as many
        as make it the most.
    alike : bool
        Whether the spectra are of one kind, as pixels are: those of which too little is expected
        (`callbacks.xas.expected`) are left out.

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
    The uncertainty is propagated through curve, background and jump. Of three edges at steps of a quarter of an
    electronvolt (smooth, with a white line, a mixture) with noise of 0.3 to 10 % of their height it held the truth in
    60 to 72 % of trials; with lines in place of cubics in 43 to 71 %. Where few spectra have a jump above three sigma,
    those are kept to which noise has added, and of these it holds few: that is what `alike` is for.
    """
    if points is not None and (points < 2 or points % 2):
        raise ValueError(f"points {points}: expected an even number, 2 or more")
    rows = as_rows(energy, spectra, variance)
    energy, rows = np.asarray(energy, dtype=float)[rows.spanned], rows.at(rows.spanned)
    recorded = rows.recorded
    low, high = search or (-np.inf, np.inf)
    pre, post = windows(energy, pre_edge, post_edge, np.where((energy >= low) & (energy <= high), rows.mean, np.nan))
    before, beyond = (
        points_inside(energy, window, name, 3, recorded) for window, name in ((pre, "pre-edge"), (post, "post-edge"))
    )
    within = points_inside(energy, search or (energy[0], energy[-1]), "search", 2, recorded)
    if post_edge_form is None:
        post_edge_form = "line" if post_edge is None and post[1] - post[0] >= LEAST_LINE else "mean"
    noise = rows.mean_variance
    line = background(energy, noise, before, "linear")
    level = background(energy, noise, beyond, "linear" if post_edge_form == "line" else "constant")
    jump = LowRank(level.columns, line.after_off(level.rows))
    below_half = LowRank(np.hstack([line.columns, 0.5 * jump.columns]), np.vstack([line.rows, jump.rows]))
    excess, height = below_half.off(rows.values), jump.of(rows.values)
    last_below = _last_below(energy, excess, height, rows.measured & within)
    halves = _Halves(energy, rows, excess, last_below, below_half, before | beyond, np.flatnonzero(within))
    crossing = halves.crossing(NUMBERS[0] if points is None else points)
    for number in NUMBERS[1:] if points is None else ():
        unsure = np.flatnonzero(~(crossing.significance > SURE))
        if unsure.size:
            crossing.replace(unsure, halves.of(unsure).crossing(number))
    jump_row = jump.columns[last_below] @ jump.rows
    jump_here = np.einsum("ne,ne->n", jump_row, rows.values)
    jump_sigma = propagated(jump_row, rows.variance)

    position, sigma, missing = crossing.position, crossing.sigma, crossing.missing
    status = np.full(len(rows), "ok", dtype="<U80")
    status[~crossing.between] = "no crossing: the curve fitted does not rise through half the jump between its points"
    status[~(crossing.significance > SIGMAS)] = "no crossing: it does not rise there by more than 3 sigma"
    status[(position <= pre[1]) | (position >= post[0])] = IN_WINDOW
    status[crossing.at_end] = "no crossing within the range searched"
    if alike:
        status[~holds_enough(rows, line.columns, jump_row, jump_here, jump_sigma)] = too_thin("edge jump")
    status[~(jump_here > SIGMAS * jump_sigma)] = NO_EDGE
    status[missing] = MISSING
    for places, said in gaps(energy, recorded):
        status[(crossing.first < places.stop) & (crossing.last >= places.start)] = said
    position[status != "ok"], sigma[status != "ok"] = np.nan, np.nan
    jump_here[missing], jump_sigma[missing] = np.nan, np.nan
    return EdgePosition(*(rows.restore(each) for each in (position, sigma, jump_here, jump_sigma, status)))


@dataclass(frozen=True)
class _Crossing:
    """Where curves through some points of each spectrum pass half the jump; arrays of shape (n,)."""

    position: FloatArray
    sigma: FloatArray
    significance: FloatArray  # of the slope, in its sigmas
    between: NDArray[np.bool_]  # whether it is between the points
    at_end: NDArray[np.bool_]  # whether points are beyond the range searched
    missing: NDArray[np.bool_]
    first: NDArray[np.intp]  # of the points
    last: NDArray[np.intp]

    def replace(self, rows: NDArray[np.intp], other: _Crossing) -> None:
        """Take those of another number of points, for some rows, where the slope is more significant by them."""
        better = (other.significance > self.significance[rows]) & ~other.at_end & ~other.missing
        for field in fields(self):
            getattr(self, field.name)[rows[better]] = getattr(other, field.name)[better]


@dataclass(frozen=True)
class _Halves:
    """Spectra less background and half their jump, and where they are about to pass it."""

    energy: FloatArray
    rows: Rows
    excess: FloatArray
    last_below: NDArray[np.intp]
    below_half: LowRank
    needed: NDArray[np.bool_]  # energies that all need
    searched: NDArray[np.intp]

    def of(self, some: NDArray[np.intp]) -> _Halves:
        """Give some of the spectra."""
        return replace(self, rows=self.rows.of(some), excess=self.excess[some], last_below=self.last_below[some])

    def crossing(self, points: int) -> _Crossing:
        """Find it by curves through so many points."""
        first = self.last_below + 1 - points // 2
        at_end = (first < self.searched[0]) | (first + points - 1 > self.searched[-1])
        chosen = first.clip(0, len(self.energy) - points)[:, None] + np.arange(points)
        missing = _missing(self.rows, chosen, self.needed)
        weights = np.where(missing[:, None], 1.0, np.take_along_axis(self.rows.weights, chosen, 1))
        curve = _cross(self.energy, self.excess, chosen, weights)
        slope_sigma, sigma = (
            propagated(self.below_half.after_off(_spread(row, chosen, len(self.energy))), self.rows.variance)
            for row in (curve.slope_row, curve.position_row)
        )
        significance = np.divide(curve.slope, slope_sigma, out=np.zeros(len(sigma)), where=slope_sigma > 0)
        between = np.isfinite(curve.position)
        return _Crossing(curve.position, sigma, significance, between, at_end, missing, chosen[:, 0], chosen[:, -1])


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
class _Curve:
    """Where polynomials through some points rise through zero, and what each point does to that."""

    position: FloatArray  # NaN where there is none between the points
    slope: FloatArray
    position_row: FloatArray  # (n, points): derivative by the points' excess
    slope_row: FloatArray


def _cross(energy: FloatArray, excess: FloatArray, chosen: NDArray[np.intp], weights: FloatArray) -> _Curve:
    """Fit a weighted cubic, or a line through two, to the chosen points of each spectrum and find where it rises."""
    weights = weights / weights.sum(axis=1, keepdims=True)
    x, y = energy[chosen], np.take_along_axis(excess, chosen, 1)
    centre = np.sum(weights * x, axis=1, keepdims=True)
    width = np.sqrt(np.sum(weights * (x - centre) ** 2, axis=1, keepdims=True))
    x = (x - centre) / width
    exponents = np.arange(min(DEGREE, chosen.shape[1] - 1) + 1)
    powers = x[:, :, None] ** exponents
    weighted = (powers * weights[:, :, None]).swapaxes(1, 2)
    of_points = np.linalg.solve(weighted @ powers, weighted)  # (n, terms, points)
    terms = np.einsum("nkp,np->nk", of_points, y)
    root = _rises(x, np.einsum("npk,nk->np", powers, terms), terms)
    slopes = exponents * root[:, None] ** np.maximum(exponents - 1, 0)
    slope_row = np.einsum("nk,nkp->np", slopes, of_points) / width
    slope = np.sum(slope_row * y, axis=1)
    level_row = np.einsum("nk,nkp->np", root[:, None] ** exponents, of_points)
    position_row = -level_row / np.where(slope > 0, slope, np.nan)[:, None]
    return _Curve((centre + root[:, None] * width)[:, 0], slope, position_row, slope_row)


def _rises(x: FloatArray, values: FloatArray, terms: FloatArray) -> FloatArray:
    """Give where polynomials (n, terms), whose values at some x (n, points) are known, rise through zero.

    That is between those two points nearest to the middle of which one is below zero and the next is not; NaN where
    there are none.
    """
    intervals = np.arange(x.shape[1] - 1)
    rising = (values[:, :-1] < 0) & (values[:, 1:] >= 0)
    nearest = np.where(rising, np.abs(intervals - intervals.mean()), np.inf).argmin(axis=1)[:, None]
    low, high = (np.take_along_axis(x, nearest + step, 1)[:, 0] for step in (0, 1))
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = _polynomial(terms, middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(rising.any(axis=1), 0.5 * (low + high), np.nan)


def _polynomial(terms: FloatArray, at: FloatArray) -> FloatArray:
    value = terms[:, -1]
    for term in terms.T[-2::-1]:
        value = value * at + term
    return value


def _spread(row: FloatArray, chosen: NDArray[np.intp], length: int) -> FloatArray:
    """Put what belongs to the chosen points at their place among all energies."""
    whole = np.zeros((len(row), length))
    np.put_along_axis(whole, chosen, row, axis=1)
    return whole
