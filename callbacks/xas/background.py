"""Windows before and after an edge, and what is taken from them: background and jump, as matrices on the spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
            f"the {name} window {window[0]:g} to {window[1]:g} eV holds {inside.sum()} points,"
            f" expected {fewest} or more"
        )
    return inside


def background_operator(energy: FloatArray, variance: FloatArray, inside: NDArray[np.bool_], kind: str) -> FloatArray:
    """Give the matrix that turns a spectrum into its background: a weighted fit to the points inside, drawn on."""
    design = np.ones((len(energy), 1))
    if kind == "linear":
        design = np.column_stack([design, energy - energy[inside].mean()])
    weight = 1.0 / np.sqrt(variance[inside])
    operator = np.zeros((len(energy), len(energy)))
    operator[:, inside] = design @ np.linalg.pinv(design[inside] * weight[:, None]) * weight
    return operator


def subtraction_operator(energy: FloatArray, variance: FloatArray, inside: NDArray[np.bool_], kind: str) -> FloatArray:
    """Give the matrix that takes its background, see `background_operator`, off a spectrum."""
    return np.eye(len(energy)) - background_operator(energy, variance, inside, kind)


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


def jump_weight(energy: FloatArray, inside: NDArray[np.bool_], kind: str) -> FloatArray:
    """Give the weights whose sum over a spectrum is the jump (the mean inside), or the area by trapezoids."""
    weight = np.zeros(len(energy))
    if kind == "edge":
        weight[inside] = 1.0 / inside.sum()
    else:
        widths = np.diff(energy[inside])
        weight[inside] = (np.r_[widths, 0.0] + np.r_[0.0, widths]) / 2
    return weight
