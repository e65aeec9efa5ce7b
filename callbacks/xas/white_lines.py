"""White-line ratio L3/L2: areas of the two lines above a two-step continuum, with the ratio's uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import as_rows
from callbacks.xas.background import (
    MISSING,
    NO_EDGE,
    SIGMAS,
    LowRank,
    Window,
    background,
    gaps,
    integrated,
    points_inside,
    straightened,
    windows,
)
from callbacks.xas.expected import holds_enough, too_thin

FloatArray = NDArray[np.floating]

L3_SHARE = 2 / 3  # of the continuum step: the 2p3/2 level holds four electrons, 2p1/2 two


@dataclass(frozen=True)
class WhiteLines:
    """White lines of one spectrum or many.

    Attributes
    ----------
    ratio, sigma : numpy.ndarray, shape (...)
        L3 area over L2 area; NaN where `status` is not "ok".
    areas : numpy.ndarray, shape (..., 2)
        Of L3 and L2, in units of the spectrum times eV; NaN where a point they need is not measured.
    areas_covariance : numpy.ndarray, shape (..., 2, 2)
    jump, jump_sigma : numpy.ndarray, shape (...)
        Height of both continuum steps together.
    status : numpy.ndarray of str, shape (...)
        "ok", or why there is no ratio.
    """

    ratio: FloatArray
    sigma: FloatArray
    areas: FloatArray
    areas_covariance: FloatArray
    jump: FloatArray
    jump_sigma: FloatArray
    status: NDArray[np.str_]


def white_line_ratio(
    energy: FloatArray,
    spectra: FloatArray,
    variance: FloatArray,
    *,
    edges: tuple[float, float],
    l3_window: Window,
    l2_window: Window,
    pre_edge: Window | None = None,
    post_edge: Window | None = None,
    step: Literal["arctan", "sharp"] = "arctan",
    width: float = 1.0,
    form: Literal["linear", "power_law"] = "linear",
    alike: bool = False,
) -> WhiteLines:
    """Measure the areas of the L3 and L2 white lines and divide them.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
        Absorbance or yield; NaN where not measured. Of an energy in the window of a line that no spectrum has, the
        status of all says so; background and continuum do without.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    edges : tuple of float
        eV, where the continuum steps up: L3, L2.
    l3_window, l2_window : tuple of float
        eV, over which the areas are taken, by trapezoids, from end to end.
    pre_edge, post_edge : tuple of float, optional
        eV; background and height of the continuum are taken here. Default the ends of the range.
    step : {"arctan", "sharp"}
        Form of a continuum step.
    width : float
        eV, full width at half maximum of the Lorentzian whose integral the arctan is.
    form : {"linear", "power_law"}
        Of what is fitted before the edge and taken off: the latter beneath energy-loss spectra.
    alike : bool
        Whether the spectra are of one kind, as pixels are: those of which too little is expected
        (`callbacks.xas.expected`) are left out, and none for its own jump.

    Returns
    -------
    WhiteLines

    Raises
    ------
    ValueError
        When shapes do not match, a window holds too few energies, windows overlap, or edges and width make no sense.

    Notes
    -----
    What is fitted before the edge is subtracted; the continuum is two steps whose heights are as 2 to 1, scaled to the
    mean beyond both lines (D. Pearson, C. Ahn and B. Fultz, Phys. Rev. B 47 (1993) 8471). Areas and jump are linear in
    the spectrum, the same matrix for all spectra, so their covariance is exact; the ratio's is to first order.
    """
    rows = as_rows(energy, spectra, variance)
    if not edges[0] < edges[1] or not width > 0:
        raise ValueError(f"edges {edges} eV and width {width:g} eV: expected L3 below L2, and a width above zero")
    if l3_window[1] > l2_window[0]:
        raise ValueError(
            f"l3_window {l3_window[0]:g} to {l3_window[1]:g} eV and l2_window {l2_window[0]:g} to {l2_window[1]:g} eV:"
            " expected the second behind the first"
        )
    beside = windows(energy, pre_edge, post_edge)
    energy, rows = np.asarray(energy, dtype=float)[rows.spanned], rows.at(rows.spanned)
    continuum = _continuum(energy, edges, width if step == "arctan" else 0.0)
    before = points_inside(energy, beside[0], "pre-edge", 3, rows.recorded)
    beneath = background(energy, rows.mean_variance, before, form, rows.mean)
    rows = straightened(rows, form, beneath)
    matrix = _functionals(
        energy, rows.recorded, beneath, post_edge=beside[1], lines=(l3_window, l2_window), continuum=continuum
    )
    values = rows.values @ matrix.T
    covariance = (rows.variance @ (matrix[:, None] * matrix[None]).reshape(9, -1).T).reshape(-1, 3, 3)
    needed = (matrix != 0).any(axis=0)
    missing = (~rows.measured & needed).any(axis=1)
    values[missing], covariance[missing] = np.nan, np.nan
    sigma = np.sqrt(np.einsum("nii->ni", covariance))
    status = np.full(len(values), "ok", dtype="<U60")
    status[~(values[:, 2] > SIGMAS * sigma[:, 2])] = "no L2 line: its area is not above 3 sigma"
    if alike:  # not by their own jump either, whose noise is in the areas beside it
        enough = holds_enough(rows, beneath.columns, matrix[2], values[:, 2], sigma[:, 2])
        status[(status == "ok") & ~enough] = too_thin("L2 area")
    else:
        status[~(values[:, 0] > SIGMAS * sigma[:, 0])] = NO_EDGE
    status[missing] = next((said for places, said in gaps(energy, rows.recorded) if needed[places].any()), MISSING)
    l2 = np.where(status == "ok", values[:, 2], np.nan)
    ratio = values[:, 1] / l2
    gradient = np.stack([np.ones_like(ratio), -ratio], axis=1) / l2[:, None]
    areas_covariance = covariance[:, 1:, 1:]
    return WhiteLines(
        ratio=rows.restore(ratio),
        sigma=rows.restore(np.sqrt(np.einsum("ni,nij,nj->n", gradient, areas_covariance, gradient))),
        areas=rows.restore(values[:, 1:]),
        areas_covariance=rows.restore(areas_covariance),
        jump=rows.restore(values[:, 0]),
        jump_sigma=rows.restore(sigma[:, 0]),
        status=rows.restore(status),
    )


def _functionals(
    energy: FloatArray,
    recorded: NDArray[np.bool_],
    beneath: LowRank,
    *,
    post_edge: Window,
    lines: tuple[Window, Window],
    continuum: FloatArray,
) -> FloatArray:
    """Give the rows (3, n_energies) that make jump, L3 area and L2 area of a spectrum."""
    beyond = points_inside(energy, post_edge, "post-edge", 1, recorded)
    mean = beyond / beyond.sum()
    continuum = beneath.off(continuum)  # what is fitted before the edge takes up the tail of an arctan
    if not mean @ continuum > 0:
        raise ValueError(f"the post-edge window {post_edge[0]:g} to {post_edge[1]:g} eV lies below the edges")
    jump = beneath.after_off(mean) / (mean @ continuum)
    areas = np.stack(
        [integrated(energy, window, name, recorded) for window, name in zip(lines, ("L3", "L2"), strict=True)]
    )
    return np.vstack([jump, beneath.after_off(areas) - np.outer(areas @ continuum, jump)])


def _continuum(energy: FloatArray, edges: tuple[float, float], width: float) -> FloatArray:
    """Give two steps of heights 2/3 and 1/3; sharp where the width is 0."""
    total = np.zeros(len(energy))
    for edge, height in zip(edges, (L3_SHARE, 1 - L3_SHARE), strict=True):
        if width:
            total += height * (0.5 + np.arctan((energy - edge) / (width / 2)) / np.pi)
        else:
            total += height * np.heaviside(energy - edge, 0.5)
    return total
