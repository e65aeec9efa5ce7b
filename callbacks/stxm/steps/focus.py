"""Focus scan: where the zone plate images a line of the sample most sharply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import FocusOutput, FocusResult, Key, LineOutput, StxmGrid
from callbacks.step import Step

FloatArray = NDArray[np.floating]

FEWEST_POSITIONS = 5
TOP_SHARE = 0.35  # of the height of the sharpest line above the dullest: what is fitted
SIGMAS = 3.0  # by which the sharpest line must stand out


def sharpness(rate: FloatArray, variance: FloatArray) -> tuple[float, float]:
    """Give the mean square slope of a line relative to its mean, without what noise adds, and its uncertainty.

    Parameters
    ----------
    rate, variance : numpy.ndarray, shape (pixels,)
        NaN where not measured.
    """
    known = np.isfinite(rate) & np.isfinite(variance)
    rate, variance = rate[known], variance[known]
    if len(rate) < 4 or not rate.mean() > 0:
        return float("nan"), float("nan")
    slope, noise = np.diff(rate), variance[1:] + variance[:-1]
    value = float(np.mean(slope**2 - noise))
    # A count enters two slopes, of opposite sign: its weight is the bend of the line there, without what noise adds.
    bend = np.diff(slope, prepend=0.0, append=0.0)
    of_bend = np.convolve(variance, (1.0, 4.0, 1.0), mode="same")
    signal = max(0.0, 4 * float(np.sum((bend**2 - of_bend) * variance)))
    scale = len(slope) * rate.mean() ** 2
    return value / float(rate.mean()) ** 2, float(np.sqrt(signal + 3 * np.sum(noise**2)) / scale)


def best_focus(position: FloatArray, value: FloatArray, sigma: FloatArray) -> tuple[float, float, str]:
    """Fit a parabola to the top of the sharpness.

    Parameters
    ----------
    position : numpy.ndarray, shape (n,)
        um.
    value, sigma : numpy.ndarray, shape (n,)
        As `sharpness` gives them.

    Returns
    -------
    best, sigma : float
        um; NaN where `status` is not "ok".
    status : str
    """
    nan = float("nan")
    known = np.isfinite(value) & (sigma > 0)
    if known.sum() < FEWEST_POSITIONS:
        return nan, nan, f"{known.sum()} lines with a sharpness, expected {FEWEST_POSITIONS} or more"
    z, v, s = position[known], value[known], sigma[known]
    order = np.argsort(z)
    z, v, s = z[order], v[order], s[order]
    peak = int(v.argmax())
    if v[peak] - v.min() < SIGMAS * s[peak]:
        return nan, nan, "no line is sharper than the others: no structure, or the range is too small"
    if peak in (0, len(z) - 1):
        return nan, nan, f"the sharpest line is at the end of the range, {z[peak]:.1f} um: focus lies beyond"
    chosen, pivot = _top(v, peak), z[peak]
    design = np.vander(z[chosen] - pivot, 3) / s[chosen, None]
    coefficients, *_ = np.linalg.lstsq(design, v[chosen] / s[chosen], rcond=None)
    curvature, slope, _ = coefficients
    if not curvature < 0:
        return nan, nan, "the sharpness has no top"
    best = -slope / (2 * curvature)
    covariance = np.linalg.pinv(design.T @ design)
    gradient = np.array([slope / (2 * curvature**2), -1 / (2 * curvature), 0.0])
    return float(pivot + best), float(np.sqrt(gradient @ covariance @ gradient)), "ok"


def _top(value: FloatArray, peak: int) -> slice:
    """Give the lines around the sharpest that are nearly as sharp, one on either side at least."""
    top = value > value.min() + (1 - TOP_SHARE) * (value[peak] - value.min())
    low = high = peak
    while low > 0 and top[low - 1]:
        low -= 1
    while high < len(value) - 1 and top[high + 1]:
        high += 1
    return slice(max(0, min(low, peak - 1)), min(len(value) - 1, max(high, peak + 1)) + 1)


class Focus(Step):
    """Find the best focus of a focus scan."""

    kept = (
        FocusOutput.ZONE_PLATE_POSITION,
        FocusOutput.SHARPNESS,
        FocusOutput.SHARPNESS_SIGMA,
    )

    def __init__(self, grid: StxmGrid) -> None:
        self._grid = grid
        self._lines: list[tuple[float, float, float, FloatArray]] = []
        self._marks: list[tuple[int, str]] = []

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a line; give its sharpness."""
        value, sigma = sharpness(event[LineOutput.RATE], event[LineOutput.VARIANCE])
        position = float(event.get(Key.ZONE_PLATE, np.nan))
        self._lines.append((position, value, sigma, np.asarray(event[LineOutput.RATE], dtype=float)))
        if event[LineOutput.MARK]:
            self._marks.append((event["seq_num"], event[LineOutput.MARK]))
        return {
            FocusOutput.ZONE_PLATE_POSITION: position,
            FocusOutput.SHARPNESS: value,
            FocusOutput.SHARPNESS_SIGMA: sigma,
        }

    @property
    def result(self) -> FocusResult:
        """The best focus, um, and the sharpness of every line."""
        position, value, sigma = np.array([line[:3] for line in self._lines]).reshape(-1, 3).T
        best, best_sigma, status = best_focus(position, value, sigma)
        return FocusResult(
            focus=best,
            focus_sigma=best_sigma,
            focus_status=status,
            focus_position=position,
            focus_sharpness=value,
            focus_sharpness_sigma=sigma,
            focus_lines=np.array([line[3] for line in self._lines]).reshape(len(self._lines), -1),
            marked_frames=np.array([number for number, _ in self._marks], dtype=int),
            marks=np.array([mark for _, mark in self._marks], dtype=str),
        )
