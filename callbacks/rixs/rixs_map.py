"""Step 7 of a RIXS map: all spectra together, on calibrated axes, with partial yields and emission cuts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from callbacks.contract import RixsMapResult, RixsOutput
from callbacks.rixs.calibration import fit_calibration
from callbacks.rixs.curvature import straighten
from callbacks.rixs.repeats import Row
from callbacks.step import Step

FloatArray = NDArray[np.floating]


class RixsMapSettings(BaseModel):
    """Settings of `RixsMap`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Emission energies (eV) that are summed for the partial yield; all that is on the detector where not given.
    yield_window: tuple[float, float] | None = None


def map_on_energy_loss(
    intensity: FloatArray, variance: FloatArray, emission: FloatArray, excitation: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Put every spectrum on a common axis of energy loss, excitation minus emission.

    Parameters
    ----------
    intensity, variance : numpy.ndarray, shape (n, columns)
        Per column.
    emission : numpy.ndarray, shape (columns,)
        eV, ascending.
    excitation : numpy.ndarray, shape (n,)
        eV.

    Returns
    -------
    loss : numpy.ndarray, shape (m,)
        eV, ascending, in steps of the dispersion in the middle of the detector.
    intensity, variance : numpy.ndarray, shape (n, m)
        Per step of loss; NaN where the detector does not reach.

    Notes
    -----
    The sum up to each energy is interpolated and differentiated, so that the integral over any range is kept. The
    variance is treated alike; neighbouring steps share a little noise.
    """
    step = float(np.nanmedian(np.diff(emission)))
    edges = _bin_edges(emission)
    low = math.floor((excitation.min() - edges[-1]) / step)
    high = math.ceil((excitation.max() - edges[0]) / step)
    loss_edges = (np.arange(low, high + 1) - 0.5) * step  # a step is centred on no loss
    result = []
    for values in (intensity, variance):
        moved = np.full((len(excitation), len(loss_edges) - 1), np.nan)
        for row, energy in enumerate(excitation):
            seen = np.flatnonzero(np.isfinite(values[row]))
            if not seen.size:
                continue
            columns = slice(seen[0], seen[-1] + 1)
            total = np.concatenate([[0.0], np.cumsum(values[row, columns])])
            at = (energy - loss_edges)[::-1]
            summed = np.interp(at, edges[seen[0] : seen[-1] + 2], total, left=np.nan, right=np.nan)
            moved[row] = np.diff(summed)[::-1]
        result.append(moved)
    return (loss_edges[:-1] + loss_edges[1:]) / 2, result[0], result[1]


def _moved(rows: FloatArray, shifts: FloatArray) -> FloatArray:
    """Move each row back by its shift; NaN where it comes from beyond the chip."""
    on_chip = straighten(np.ones_like(rows), shifts) > 1 - 1e-9
    return np.where(on_chip, straighten(rows, shifts), np.nan)


def _bin_edges(centres: FloatArray) -> FloatArray:
    middle = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def partial_yield(
    intensity: FloatArray,
    variance: FloatArray,
    emission: FloatArray,
    window: tuple[float, float] | None,
    flux_sigma: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Sum each spectrum over a window of emission energies.

    Parameters
    ----------
    intensity, variance : numpy.ndarray, shape (n, columns)
        NaN where a row does not reach: the columns that all rows have are summed.
    emission : numpy.ndarray, shape (columns,)
        eV.
    window : (float, float) or None
        eV; None for all columns.
    flux_sigma : numpy.ndarray, shape (n,), optional
        Relative standard uncertainty of the incident flux of each row. It is part of the variance, column by column,
        and one error for all columns of a row, so that it does not average out in the sum.

    Returns
    -------
    partial yield, sigma : numpy.ndarray, shape (n,)
        NaN throughout where the window holds no column.
    """
    inside = np.ones(len(emission), dtype=bool) if window is None else (emission >= window[0]) & (emission <= window[1])
    rows = np.isfinite(intensity).any(axis=1)  # one without I0 has none
    inside &= np.isfinite(intensity[rows]).all(axis=0)
    if not inside.any():
        nothing = np.full(len(intensity), np.nan)
        return nothing, nothing.copy()
    values, total = intensity[:, inside], variance[:, inside].sum(axis=1)
    summed = values.sum(axis=1)
    if flux_sigma is not None:
        total = total + flux_sigma**2 * np.maximum(summed**2 - (values**2).sum(axis=1), 0.0)
    return summed, np.sqrt(total)


def inverse_partial_yield(values: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Invert a partial yield: where another edge absorbs, less is emitted in the window.

    Parameters
    ----------
    values, sigma : numpy.ndarray, shape (n,)

    Returns
    -------
    inverse, sigma : numpy.ndarray, shape (n,)
        ``1 / values``; NaN where the yield is not above zero.

    References
    ----------
    Achkar et al., Phys. Rev. B 83, 081106(R) (2011).
    """
    positive = np.where(values > 0, values, np.nan)
    return 1.0 / positive, sigma / positive**2


def emission_cut(
    intensity: FloatArray, variance: FloatArray, excitation: FloatArray, energy: float, *, width: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Cut a map at an excitation energy.

    Parameters
    ----------
    intensity, variance : numpy.ndarray, shape (n, columns)
    excitation : numpy.ndarray, shape (n,)
        eV.
    energy : float
        Where to cut, eV.
    width : float
        Rows within half of it are averaged, eV; the nearest row where none is.

    Returns
    -------
    cut, sigma : numpy.ndarray, shape (columns,)

    Raises
    ------
    ValueError
        When the energy is outside the map.
    """
    if not excitation.min() - width / 2 <= energy <= excitation.max() + width / 2:
        raise ValueError(f"{energy} eV is outside the map, {excitation.min():.2f} to {excitation.max():.2f} eV")
    chosen = np.abs(excitation - energy) <= width / 2
    if not chosen.any():
        chosen = np.arange(len(excitation)) == np.abs(excitation - energy).argmin()
    return intensity[chosen].mean(axis=0), np.sqrt(variance[chosen].sum(axis=0)) / chosen.sum()


class RixsMap(Step):
    """Combine the spectra of all excitation energies."""

    def __init__(self, settings: RixsMapSettings) -> None:
        self._settings = settings
        self._calibration = fit_calibration([], [], [])  # none yet
        self._rows: dict[int, Row] = {}
        self._shifts = np.zeros(0)  # columns, of the rows

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take the rows that a frame changed, and the calibration by all rows so far."""
        self._calibration = event[RixsOutput.CALIBRATION]
        self._rows.update({row.index: row for row in event[RixsOutput.ROWS]})
        self._shifts = event[RixsOutput.ROW_SHIFTS]
        return {}

    @property
    def result(self) -> RixsMapResult:
        """The map so far, by ascending excitation energy."""
        rows = sorted(self._rows.values(), key=lambda row: row.energy)
        if not rows:
            return RixsMapResult(excitation_energy=np.zeros(0), map=np.zeros((0, 0)), map_variance=np.zeros((0, 0)))
        excitation = np.array([row.energy for row in rows])
        shifts = self._shifts[[row.index for row in rows]]
        intensity = _moved(np.stack([row.normalised_spectrum for row in rows]), shifts)
        variance = _moved(np.stack([row.normalised_variance for row in rows]), shifts)
        flux_sigma = np.array([row.flux_sigma for row in rows])
        columns = np.arange(intensity.shape[1])
        if self._calibration.status != "ok":
            nothing = np.full(intensity.shape[1], np.nan)
            pfy, pfy_sigma = partial_yield(intensity, variance, nothing, None, flux_sigma)
            ipfy, ipfy_sigma = inverse_partial_yield(pfy, pfy_sigma)
            return RixsMapResult(
                excitation_energy=excitation,
                map=intensity,
                map_variance=variance,
                emission_energy=nothing,
                emission_energy_sigma=nothing.copy(),
                pfy=pfy,
                pfy_sigma=pfy_sigma,
                ipfy=ipfy,
                ipfy_sigma=ipfy_sigma,
            )
        emission = self._calibration.energy(columns)
        loss, on_loss, loss_variance = map_on_energy_loss(intensity, variance, emission, excitation)
        pfy, pfy_sigma = partial_yield(intensity, variance, emission, self._settings.yield_window, flux_sigma)
        ipfy, ipfy_sigma = inverse_partial_yield(pfy, pfy_sigma)
        return RixsMapResult(
            excitation_energy=excitation,
            map=intensity,
            map_variance=variance,
            emission_energy=emission,
            emission_energy_sigma=self._calibration.sigma(columns),
            energy_loss=loss,
            map_loss=on_loss,
            map_loss_variance=loss_variance,
            pfy=pfy,
            pfy_sigma=pfy_sigma,
            ipfy=ipfy,
            ipfy_sigma=ipfy_sigma,
        )
