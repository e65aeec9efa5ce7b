"""Windows before and after an edge, and what is taken from them: background and jump, as matrices on the spectrum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import Rows
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
Window = tuple[float, float]  # eV, from and to
Form = Literal["constant", "linear", "power_law"]  # of a background

PRE_EDGE_SHARE, POST_EDGE_SHARE = 0.12, 0.15  # of the energy range, where no window is given
# Of a spectrum that reaches far beyond its edge, as Larch has them (`larch.xafs.pre_edge` of xraylarch 2026.3.1), eV:
# from where above the edge its fine structure averages out, up to where a line follows it. A line over less than 75 eV
# would be told by the second of two edges, M4 of lanthanides, up to 50 eV above M5: there the range ends in it.
POST_EDGE_BEGINS, POST_EDGE_ENDS, LEAST_LINE = 25.0, 300.0, 75.0
FEWEST_BESIDE = 3  # points on either side of an edge: a line through two has no residual
ROUNDING = 1e-6  # eV: energies that are computed, or printed, are the same to that; encoders tell them to a meV
# Times that a power law is fitted: with exponents off by 2, over 400 to 528 eV drawn on to 560 and 500 to 535 drawn on
# to 760 eV, each gains a digit, and 7e-9 of the law is left.
MOST_BENDS = 8
MOST_OFF = 10.0  # by which the exponent of a spectrum may differ from that of the mean
SIGMAS = 3.0  # by which a jump, a slope or an area must be above zero: noise alone gives that once in 740 spectra
NO_EDGE = "no edge: the jump is not above 3 sigma"
MISSING = "not measured at an energy that is needed"


def windows(
    energy: FloatArray, pre_edge: Window | None, post_edge: Window | None, spectrum: FloatArray | None = None
) -> tuple[Window, Window]:
    """Give the windows before and after the edge: as asked for, else by where the edge is, else the ends of the range.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    pre_edge, post_edge : tuple of float, optional
        eV; as asked for.
    spectrum : numpy.ndarray, shape (n_energies,), optional
        Whose edge they are put beside; NaN where not measured.

    Returns
    -------
    tuple of tuple of float
        eV. Without an edge the first 12 % and the last 15 % of the range. The former ends halfway to the edge at the
        latest. Where 75 eV or more are measured from 25 to 300 eV above the edge, that is the latter, and the former
        goes all the way to halfway.
    """
    if not len(energy):
        return (0.0, 0.0), (0.0, 0.0)
    first, last, span = float(energy[0]), float(energy[-1]), float(np.ptp(energy))
    pre, post = (first, first + PRE_EDGE_SHARE * span), (last - POST_EDGE_SHARE * span, last)
    if spectrum is not None and not (pre_edge and post_edge):
        edge = step_energy(energy, spectrum)
        begins, ends = edge + POST_EDGE_BEGINS, min(edge + POST_EDGE_ENDS, last)
        halfway = (first + edge) / 2
        if ends - begins >= LEAST_LINE:
            pre, post = (first, halfway), (begins, ends)
        elif np.isfinite(edge):
            pre = (first, min(pre[1], halfway))
    return pre_edge or pre, post_edge or post


def step_energy(energy: FloatArray, spectrum: FloatArray) -> float:
    """Tell roughly where the edge of a spectrum is: where two lines, the second higher, follow it best.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectrum : numpy.ndarray, shape (n_energies,)
        NaN where not measured.

    Returns
    -------
    float
        eV, in the middle between two points; NaN where there are too few, or no step up.

    Notes
    -----
    This is regression in two phases (R. E. Quandt, J. Am. Stat. Assoc. 53 (1958) 873): of all energies between two
    points, the one where a line through all before and one through all after it leave the least sum of squares. Points
    weigh by their steps, since scans are finer at the edge. Neither a glitch nor a pre-edge peak moves it far, which
    take the largest slope; all sums are running ones, so that its work is linear in the number of points.
    """
    known = np.isfinite(spectrum)
    at = energy[known]
    if len(at) < 2 * FEWEST_BESIDE:
        return float("nan")
    weight = np.gradient(at)
    x, y = at - at.mean(), spectrum[known] - spectrum[known].mean()
    moments = np.array([weight, weight * x, weight * x**2, weight * y, weight * x * y, weight * y**2])
    before = np.cumsum(moments, axis=1)[:, FEWEST_BESIDE - 1 : -FEWEST_BESIDE]
    middle = (x[FEWEST_BESIDE - 1 : -FEWEST_BESIDE] + x[FEWEST_BESIDE : len(x) - FEWEST_BESIDE + 1]) / 2
    low, its_rest = _line_to(middle, before)
    high, other_rest = _line_to(middle, moments.sum(axis=1, keepdims=True) - before)
    rest = np.where(high > low, its_rest + other_rest, np.inf)
    place = int(np.argmin(rest))
    return float(middle[place] + at.mean()) if np.isfinite(rest[place]) else float("nan")


def _line_to(x: FloatArray, moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give what lines of least squares are at x (n,) and what they leave, by sums w, wx, wxx, wy, wxy, wyy: (6, n)."""
    w, wx, wxx, wy, wxy, wyy = moments
    slope = (w * wxy - wx * wy) / (w * wxx - wx**2)
    constant = (wy - slope * wx) / w
    return constant + slope * x, wyy - constant * wy - slope * wxy


def gaps(energy: FloatArray, recorded: NDArray[np.bool_]) -> list[tuple[slice, str]]:
    """Give where nothing was measured, between energies at which something was: the places, and words for a status.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    recorded : numpy.ndarray of bool, shape (n_energies,)
        Energies at which anything was measured.
    """
    at = np.flatnonzero(recorded)
    return [
        (slice(low + 1, high), f"nothing was measured between {energy[low]:g} and {energy[high]:g} eV")
        for low, high in pairwise(at.tolist())
        if high > low + 1
    ]


def points_inside(
    energy: FloatArray, window: Window, name: str, fewest: int, recorded: NDArray[np.bool_] | bool = True
) -> NDArray[np.bool_]:
    """Tell which energies, of those at which anything was measured, lie in a window, whose ends are good to `ROUNDING`.

    Raises
    ------
    ValueError
        When there are fewer than `fewest`.
    """
    inside = recorded & (energy >= window[0] - ROUNDING) & (energy <= window[1] + ROUNDING)
    if inside.sum() < fewest:
        raise ValueError(
            f"the {name} window {window[0]:g} to {window[1]:g} eV holds {number_of(int(inside.sum()), 'point')},"
            f" expected {fewest} or more"
        )
    return inside


def integrated(energy: FloatArray, window: Window, name: str, recorded: NDArray[np.bool_]) -> FloatArray:
    """Give the weights whose sum over a spectrum is its area in a window; see `area_weight`.

    Raises
    ------
    ValueError
        When the window holds fewer than two energies at which anything was measured, or reaches beyond the first or
        the last one by more than the step there.
    """
    points_inside(energy, window, name, 2, recorded)
    first, last = 2 * energy[0] - energy[1], 2 * energy[-1] - energy[-2]
    if window[0] < first or window[1] > last:
        raise ValueError(
            f"the {name} window {window[0]:g} to {window[1]:g} eV reaches beyond what was measured,"
            f" {energy[0]:g} to {energy[-1]:g} eV"
        )
    return area_weight(energy, window)


@dataclass(frozen=True)
class LowRank:
    """A matrix on spectra of n energies as the product of a tall and a wide one: n x n numbers are never held.

    Attributes
    ----------
    columns : numpy.ndarray, shape (n_energies, rank)
    rows : numpy.ndarray, shape (rank, n_energies)
    """

    columns: FloatArray
    rows: FloatArray

    def of(self, spectra: FloatArray) -> FloatArray:
        """Give what it makes of spectra, (..., n_energies)."""
        return np.asarray((spectra @ self.rows.T) @ self.columns.T)

    def after(self, functionals: FloatArray) -> FloatArray:
        """Give the functionals (..., n_energies) of a spectrum that are those given, of what it makes of it."""
        return np.asarray((functionals @ self.columns) @ self.rows)

    def off(self, spectra: FloatArray) -> FloatArray:
        """Take what it makes of spectra, (..., n_energies), off them."""
        return spectra - self.of(spectra)

    def after_off(self, functionals: FloatArray) -> FloatArray:
        """Give the functionals (..., n_energies) of a spectrum that are those given, once that is taken off."""
        return functionals - self.after(functionals)


def background(
    energy: FloatArray,
    variance: FloatArray,
    inside: NDArray[np.bool_],
    kind: Form,
    mean: FloatArray | None = None,
) -> LowRank:
    """Give what turns a spectrum into its background: a weighted fit to the points inside, drawn on.

    Parameters
    ----------
    energy, variance : numpy.ndarray, shape (n_energies,)
        eV; of the points, independent.
    inside : numpy.ndarray of bool, shape (n_energies,)
    kind : {"constant", "linear", "power_law"}
    mean : numpy.ndarray, shape (n_energies,), optional
        Of the spectra, for a power law.

    Raises
    ------
    ValueError
        For a power law, where an energy or the mean is not above zero.

    Notes
    -----
    Power laws of about the exponent r of the mean are E^-r (b + c ln E), to first order in how much theirs differ: they
    are fitted as a line is, and c takes up what each has of its own. `straightened` takes off what is beyond that.
    """
    design = np.ones((len(energy), 1))
    if kind == "linear":
        design = np.column_stack([design, energy - energy[inside].mean()])
    elif kind == "power_law":
        if not energy[0] > 0:
            raise ValueError(f"background: a power law needs energies above zero; the first is {energy[0]:g} eV")
        if mean is None or not (mean[inside] > 0).all():
            raise ValueError("background: a power law needs a mean above zero everywhere in the pre-edge window")
        logarithm = np.log(energy / energy[inside].mean())
        exponent = np.polyfit(logarithm[inside], np.log(mean[inside]), 1, w=mean[inside] / np.sqrt(variance[inside]))[0]
        law = np.exp(exponent * logarithm)
        design = np.column_stack([law, law * logarithm])
    weight = 1.0 / np.sqrt(variance[inside])
    rows = np.zeros(design.T.shape)
    rows[:, inside] = np.linalg.pinv(design[inside] * weight[:, None]) * weight
    return LowRank(design, rows)


def straightened(spectra: Rows, kind: Form, fitted: LowRank) -> Rows:
    """Take off spectra by how much a power law of each one's own exponent bends away from what is fitted to it.

    Parameters
    ----------
    spectra : Rows
    kind : {"none", "constant", "linear", "power_law"}
        Of the background; others than a power law have nothing to be taken off.
    fitted : LowRank
        By `background`.

    Notes
    -----
    A power law of exponent r + d is E^-r (1 - d ln E + ...): b and c of the fit tell d. What is left of the series is
    taken off and the fit repeated, until it is that of the power law of least squares. Its noise is propagated as that
    of the fit, to first order in d.
    """
    if kind != "power_law":
        return spectra
    law, slope = fitted.columns.T
    logarithm = slope / law
    bent = np.zeros(spectra.values.shape)
    for _ in range(MOST_BENDS):
        height, turn = ((spectra.values - bent) @ fitted.rows.T).T
        off = np.divide(-turn, height, out=np.zeros(len(height)), where=height > 0).clip(-MOST_OFF, MOST_OFF)
        power = off[:, None] * logarithm
        bent = np.where(spectra.measured, np.maximum(height, 0.0)[:, None] * law * (np.expm1(-power) + power), 0.0)
    return replace(spectra, spectra=spectra.spectra - bent)


def propagated(jacobian: FloatArray, variance: FloatArray) -> FloatArray:
    """Give the standard uncertainty (n,) of one number a spectrum.

    Parameters
    ----------
    jacobian : numpy.ndarray, shape (n, n_energies)
        Derivatives of the number by the points.
    variance : numpy.ndarray, shape (n, n_energies)
        Of the points, independent.
    """
    return np.asarray(np.sqrt(np.einsum("ne,ne,ne->n", jacobian, jacobian, variance)))


def jump_weight(energy: FloatArray, window: Window, measured: NDArray[np.bool_], kind: str) -> FloatArray:
    """Give the weights whose sum over a spectrum is the mean of its points in a window, or with "area" the area.

    An area needs points in gaps of what was measured, too; a mean does without.
    """
    weight = np.zeros(len(energy))
    if kind == "area":
        at = np.flatnonzero(measured)
        span = slice(at[0], at[-1] + 1)
        weight[span] = area_weight(energy[span], window)
    else:
        inside = measured & (energy >= window[0]) & (energy <= window[1])
        weight[inside] = 1.0 / inside.sum()
    return weight


def area_weight(energy: FloatArray, window: Window) -> FloatArray:
    """Give the weights whose sum over a spectrum is its area in a window.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    window : tuple of float
        eV. What of it lies beyond the first or the last energy counts for nothing.

    Returns
    -------
    numpy.ndarray, shape (n_energies,)
        eV; beside points inside, the next one beyond either end has a weight.

    Notes
    -----
    Between two points a spectrum is a straight line, which is integrated from end to end of the window: inside, by
    trapezoids. By the points inside alone, an energy asked for at an end, as ends mostly are, would belong to the
    window or not as its readback scatters by millielectronvolts, and a whole step with it.
    """
    ends = energy.clip(*window)
    low, high = ends[:-1], ends[1:]
    width = np.diff(energy)
    share = np.divide((low + high) / 2 - energy[:-1], width, out=np.zeros(len(width)), where=width > 0)
    weight = np.zeros(len(energy))
    weight[:-1] += (high - low) * (1 - share)
    weight[1:] += (high - low) * share
    return weight
