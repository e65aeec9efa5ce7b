"""Windows before and after an edge, and what is taken from them: background and jump, as matrices on the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
Window = tuple[float, float]  # eV, from and to

PRE_EDGE_SHARE, POST_EDGE_SHARE = 0.12, 0.15  # of the energy range, where no window is given
SIGMAS = 3.0  # by which a jump, a slope or an area must be above zero: noise alone gives that once in 740 spectra
NO_EDGE = "no edge: the jump is not above 3 sigma"
MISSING = "not measured at an energy that is needed"


def windows(energy: FloatArray, pre_edge: Window | None, post_edge: Window | None) -> tuple[Window, Window]:
    """Give the windows before and after the edge: as asked for, else the ends of the range."""
    if not len(energy):
        return (0.0, 0.0), (0.0, 0.0)
    first, last, span = float(energy[0]), float(energy[-1]), float(np.ptp(energy))
    pre = pre_edge or (first, first + PRE_EDGE_SHARE * span)
    return pre, post_edge or (last - POST_EDGE_SHARE * span, last)


def points_inside(energy: FloatArray, window: Window, name: str, fewest: int) -> NDArray[np.bool_]:
    """Tell which energies lie in a window.

    Raises
    ------
    ValueError
        When there are fewer than `fewest`.
    """
    inside = (energy >= window[0]) & (energy <= window[1])
    if inside.sum() < fewest:
        raise ValueError(
            f"the {name} window {window[0]:g} to {window[1]:g} eV holds {number_of(int(inside.sum()), 'point')},"
            f" expected {fewest} or more"
        )
    return inside


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


def background(energy: FloatArray, variance: FloatArray, inside: NDArray[np.bool_], kind: str) -> LowRank:
    """Give what turns a spectrum into its background: a weighted fit to the points inside, drawn on.

    Parameters
    ----------
    energy, variance : numpy.ndarray, shape (n_energies,)
        eV; of the points, independent.
    inside : numpy.ndarray of bool, shape (n_energies,)
    kind : {"constant", "linear"}
    """
    design = np.ones((len(energy), 1))
    if kind == "linear":
        design = np.column_stack([design, energy - energy[inside].mean()])
    weight = 1.0 / np.sqrt(variance[inside])
    rows = np.zeros(design.T.shape)
    rows[:, inside] = np.linalg.pinv(design[inside] * weight[:, None]) * weight
    return LowRank(design, rows)


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
    """Give the weights whose sum over a spectrum is the mean of its points in a window, or with "area" the area."""
    weight = np.zeros(len(energy))
    if kind == "area":
        weight[measured] = area_weight(energy[measured], window)
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
