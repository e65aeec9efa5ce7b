"""Compare the incident flux of every frame or point with its trend over the run: normal, partial, high or lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

BELOW_ZERO = "I0 lost: below zero, and not known"
TURNED = "I0 lost: at or below zero throughout; is the sign of its electrometer turned?"
NORMALISATION_COUNTS = 1e6  # spectra are given for this many counts of I0: numbers of a handy size


class IncidentFluxSettings(BaseModel):
    """When I0 counts as lost, partial or high, and how well it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    i0: str = Field("i0", min_length=1)  # data key of the monitor that is divided by
    neighbours: int = Field(5, ge=1)  # frames on either side that make the trend; it follows drift and top-up steps
    lost_below: float = Field(0.05, gt=0, lt=1)  # of the run's median flux
    # Of the trend; by as many times above it, I0 is high. The flux of a beamline bends by less over a few points.
    partial_below: float = Field(0.8, gt=0, lt=1)
    monitor_noise: float = Field(0.001, ge=0)  # relative error of I0 beyond counting statistics, e.g. of its amplifier


@dataclass(frozen=True)
class FluxCheck:
    """The flux of each frame against its trend.

    Attributes
    ----------
    relative : numpy.ndarray, shape (n,)
        Flux over its trend; NaN where either is not known.
    lost : numpy.ndarray of bool, shape (n,)
        Frames that cannot be normalised.
    departure : numpy.ndarray, shape (n,)
        Relative uncertainty of one over the flux where that is partial or high: its whole departure from the trend,
        since the light need not have changed with it. 0 elsewhere.
    reasons : list of str, length n
        "" for a frame with normal flux.
    """

    relative: NDArray[np.float64]
    lost: NDArray[np.bool_]
    departure: NDArray[np.float64]
    reasons: list[str]


def check_flux(flux: ArrayLike, settings: IncidentFluxSettings | None = None) -> FluxCheck:
    """Compare the flux of each frame with the median of its neighbours in time.

    Parameters
    ----------
    flux : array_like, shape (n,)
        I0 over the time it was counted for, counts/s, in the order of measurement; NaN where it was not recorded.
    settings : IncidentFluxSettings, optional

    Returns
    -------
    FluxCheck

    Notes
    -----
    A frame does not contribute to its own trend, and lost frames to none: a long beam dump does not become the trend.
    """
    settings = settings or IncidentFluxSettings()
    flux = np.asarray(flux, dtype=float)
    positive = np.isfinite(flux) & (flux > 0)
    usual = np.median(flux[positive]) if positive.any() else np.nan
    lost = ~positive | (np.where(positive, flux, 0) < settings.lost_below * usual)
    trend = _trend(np.where(lost, np.nan, flux), settings.neighbours)
    relative = np.where(lost, np.nan, flux) / trend
    with np.errstate(invalid="ignore"):
        marked = (relative < settings.partial_below) | (relative > 1 / settings.partial_below)
    departure = np.where(marked, np.abs(relative - 1), 0.0)
    reasons = []
    for value, share, gone in zip(flux, relative, lost, strict=True):
        if not np.isfinite(value):
            reasons.append("I0 lost: not recorded")
        elif value < 0:
            reasons.append(TURNED if positive.sum() == 0 else BELOW_ZERO)
        elif gone:
            reasons.append(f"I0 lost: {value:.4g} counts/s" + (f", usually {usual:.4g}" if np.isfinite(usual) else ""))
        elif share < settings.partial_below:
            reasons.append(f"I0 partial: {share:.2f} of its trend")
        elif share > 1 / settings.partial_below:
            reasons.append(f"I0 high: {share:.3g} times its trend")
        else:
            reasons.append("")
    return FluxCheck(relative, lost, departure, reasons)


def _trend(flux: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Give the median of the neighbours of each value that are not NaN; NaN where there are none."""
    if not len(flux):
        return np.full(0, np.nan)
    padded = np.pad(flux, neighbours, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * neighbours + 1).copy()
    windows[:, neighbours] = np.nan
    trend = np.full(len(flux), np.nan)
    known = np.isfinite(windows).any(axis=1)
    trend[known] = np.nanmedian(windows[known], axis=1)
    return trend


def relative_variance(i0: float, *, monitor_noise: float) -> float:
    """Give the relative variance of I0: counting statistics and the monitor's own noise.

    Parameters
    ----------
    i0 : float
        Counts, above zero.
    monitor_noise : float
        Relative.
    """
    return 1.0 / i0 + monitor_noise**2
