"""Integral and centroid of a spectrum in a window, above a background, with their uncertainties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import as_rows
from callbacks.xas.background import (
    MISSING,
    SIGMAS,
    Form,
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
Background = Literal["none"] | Form

NO_AREA = "no area: it is not above 3 sigma"


@dataclass(frozen=True)
class Moments:
    """Integral and centroid of one spectrum or many.

    Attributes
    ----------
    area, area_sigma : numpy.ndarray, shape (...)
        In units of the spectrum times eV; NaN where a point that it needs is not measured.
    centroid, centroid_sigma : numpy.ndarray, shape (...)
        eV; NaN where `status` is not "ok".
    status : numpy.ndarray of str, shape (...)
        Of the centroid: "ok", or why there is none.
    area_status : numpy.ndarray of str, shape (...)
    """

    area: FloatArray
    area_sigma: FloatArray
    centroid: FloatArray
    centroid_sigma: FloatArray
    status: NDArray[np.str_]
    area_status: NDArray[np.str_]


def moments(
    energy: FloatArray,
    spectra: FloatArray,
    variance: FloatArray,
    *,
    window: Window,
    form: Background = "linear",
    pre_edge: Window | None = None,
    alike: bool = False,
) -> Moments:
    """Integrate spectra over a window, by trapezoids from end to end, and find the centroid of what is in it.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
        NaN where not measured. Of an energy in the window that no spectrum has, the status of all says so; the
        background does without.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    window : tuple of float
        eV.
    form : {"none", "constant", "linear", "power_law"}
        Of what is fitted before the edge and taken off.
    pre_edge : tuple of float, optional
        eV, where it is fitted; default beside the edge of the mean of the spectra (`callbacks.xas.background.windows`).
    alike : bool
        Whether the spectra are of one kind, as pixels are: those of which too little is expected
        (`callbacks.xas.expected`) have no centroid.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        When shapes do not match, or a window holds too few energies or reaches beyond them.

    Notes
    -----
    Both moments are linear in the spectrum, so that their covariance is exact; that of their quotient, the centroid,
    is to first order.
    """
    rows = as_rows(energy, spectra, variance)
    energy, rows = np.asarray(energy, dtype=float)[rows.spanned], rows.at(rows.spanned)
    recorded = rows.recorded
    middle = 0.5 * (window[0] + window[1])
    weight = integrated(energy, window, "integration", recorded)
    matrix = np.stack([weight, weight * (energy - middle)])
    beneath: FloatArray = np.zeros((len(energy), 0))
    if form != "none":
        pre = windows(energy, pre_edge, None, rows.mean)[0]
        before = points_inside(energy, pre, "pre-edge", 1 if form == "constant" else 2, recorded)
        fitted = background(energy, rows.mean_variance, before, form, rows.mean)
        matrix, beneath = fitted.after_off(matrix), fitted.columns
        rows = straightened(rows, form, fitted)
    values = rows.values @ matrix.T
    covariance = (rows.variance @ (matrix[:, None] * matrix[None]).reshape(4, -1).T).reshape(-1, 2, 2)
    needed = (matrix != 0).any(axis=0)
    missing = (~rows.measured & needed).any(axis=1)
    why = next((said for places, said in gaps(energy, recorded) if needed[places].any()), MISSING)
    values[missing], covariance[missing] = np.nan, np.nan
    area, area_sigma = values[:, 0], np.sqrt(covariance[:, 0, 0])
    status = np.full(len(values), "ok", dtype="<U60")
    status[~(area > SIGMAS * area_sigma)] = NO_AREA
    if alike:
        enough = holds_enough(rows, beneath, matrix[0], area, area_sigma)
        status[(status == "ok") & ~enough] = too_thin("area")
    status[missing] = why
    ratio = np.divide(values[:, 1], area, out=np.full(len(area), np.nan), where=status == "ok")
    gradient = np.stack([-ratio, np.ones_like(ratio)], axis=1) / np.where(status == "ok", area, np.nan)[:, None]
    sigma = np.sqrt(np.einsum("ni,nij,nj->n", gradient, covariance, gradient))
    area_status = np.where(missing, why, "ok")
    return Moments(*(rows.restore(each) for each in (area, area_sigma, middle + ratio, sigma, status, area_status)))
