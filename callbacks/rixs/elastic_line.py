"""Step 6 of a RIXS map: find the elastic line in each spectrum and calibrate emission energy with all of them.

The elastic line has the energy of excitation: nothing is emitted above it, it moves with the excitation, and it is as
narrow as the instrument. Fluorescence stays at its emission energy and is wider; at a resonance it lies under and
beside the elastic line and draws a fit to itself. A line is used only where it stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr

from callbacks.contract import CalibrationResult, RixsOutput
from callbacks.rixs.calibration import Calibration, fit_calibration
from callbacks.step import Step

__all__ = ["Calibration", "ElasticLine", "ElasticLineSettings", "Peak", "find_elastic_line", "fit_calibration"]

FloatArray = NDArray[np.floating]

SIGMA_TO_FWHM = 2.3548
_FIT_LEFT, _FIT_RIGHT = 2.1, 3.8  # FWHM on either side of the line that are fitted; less below it, where emission is
WINDOW = 29  # columns around a line that are kept, for drawing


class LoadedCalibration(BaseModel):
    """A calibration from before, to compare with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pivot: float
    coefficients: tuple[float, ...] = Field(min_length=2, max_length=3)
    sigma_ev: float = Field(0.1, gt=0)  # uncertainty of the energies it gives


class ElasticLineSettings(BaseModel):
    """Settings of `ElasticLine`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fwhm: float = Field(5.0, gt=1)  # pixels; of the instrument
    fwhm_range: tuple[float, float] = (0.55, 1.6)  # share of `fwhm` that a line may have
    significance: float = Field(5.0, gt=0)  # a line's area over its uncertainty, where nothing says where to look
    expected_significance: float = Field(4.0, gt=0)  # the same where the calibration says where
    largest_neighbour: float = Field(0.15, gt=0)  # emission just below a line, as a share of its height
    alarm_sigmas: float = Field(5.0, gt=0)
    loaded: LoadedCalibration | None = None


@dataclass(frozen=True)
class Peak:
    """A line fitted to a spectrum.

    Attributes
    ----------
    pixel, sigma : float
        Position and its standard uncertainty, columns; NaN where nothing was fitted.
    significance : float
        Area over its uncertainty.
    fwhm : float
        Columns.
    amplitude : float
        Height, counts a column.
    below, above : float
        Background on the low- and high-energy side, counts a column.
    reason : str
        "" for an elastic line, else why this is none.
    """

    pixel: float
    sigma: float
    significance: float
    fwhm: float
    amplitude: float
    below: float
    above: float
    reason: str

    def model(self, columns: FloatArray) -> FloatArray:
        """Evaluate the fitted line with its background."""
        return _line(
            columns, np.array([self.pixel, self.fwhm / SIGMA_TO_FWHM, self.amplitude, self.below, self.above])
        )[0]


def _no_peak(reason: str) -> Peak:
    nan = math.nan
    return Peak(nan, nan, nan, nan, nan, nan, nan, reason)


def find_elastic_line(
    spectrum: FloatArray,
    variance: FloatArray,
    *,
    settings: ElasticLineSettings | None = None,
    expected_pixel: float | None = None,
    search: float = 0.0,
) -> Peak:
    """Find the elastic line of a spectrum.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts²; energy rises along the columns.
    settings : ElasticLineSettings, optional
    expected_pixel : float, optional
        Where the calibration expects the line. Without it the highest feature that looks like an elastic line is taken.
    search : float
        How far from there to look, columns.

    Returns
    -------
    Peak
        Its `reason` is "" where it is an elastic line that stands alone.

    Raises
    ------
    ValueError
        When spectrum and variance differ in shape.
    """
    settings = settings or ElasticLineSettings()
    if spectrum.shape != variance.shape or spectrum.ndim != 1:
        raise ValueError(
            f"spectrum and variance have the shapes {spectrum.shape} and {variance.shape}, expected one length"
        )
    if not np.isfinite(spectrum).all():
        return _no_peak("the spectrum is not measured")
    seen = _matched_filter(spectrum, variance, settings.fwhm)
    if expected_pixel is not None:
        low = max(int(expected_pixel - search), 0)
        high = min(int(expected_pixel + search) + 2, len(seen))
        if high - low < 1:
            return _no_peak(f"expected at column {expected_pixel:.0f}, off the detector")
        return _fit_peak(
            spectrum, variance, low + int(seen[low:high].argmax()), settings, settings.expected_significance
        )
    # Second-order light can excite emission above the excitation energy; it is wide, and passed over.
    refused: list[Peak] = []
    for start in _highest_features(seen, settings):
        peak = _fit_peak(spectrum, variance, start, settings, settings.significance)
        if not peak.reason:
            return peak
        refused.append(peak)
    return refused[0] if refused else _no_peak("no feature stands out of the noise")


def _matched_filter(spectrum: FloatArray, variance: FloatArray, fwhm: float) -> FloatArray:
    """Significance of a line of the instrument's width at every column, over the mean of its surroundings."""
    reach = math.ceil(2.5 * fwhm)
    offsets = np.arange(-reach, reach + 1)
    template = np.exp(-0.5 * (offsets * SIGMA_TO_FWHM / fwhm) ** 2)
    template -= template.mean()
    padded, padded_variance = np.pad(spectrum, reach, mode="edge"), np.pad(variance, reach, mode="edge")
    signal = np.convolve(padded, template, mode="valid")
    noise = np.convolve(padded_variance, template**2, mode="valid")
    return signal / np.sqrt(np.maximum(noise, np.finfo(float).tiny))


def _highest_features(seen: FloatArray, settings: ElasticLineSettings) -> list[int]:
    """List the significant maxima, highest energy first; the first four are enough."""
    inner = seen[1:-1]
    maxima = 1 + np.flatnonzero((inner >= seen[:-2]) & (inner > seen[2:]) & (inner > settings.significance))
    return maxima[::-1][:4].tolist()


def _line(columns: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give a Gaussian on a background that steps from one level to another under it, and its derivatives.

    Emission lies below the elastic line and none above: the step stands for it.
    """
    centre, sigma, amplitude, below, above = parameters
    u = (columns - centre) / sigma
    shape, step = np.exp(-0.5 * u**2), ndtr(u)
    edge = (above - below) * shape / math.sqrt(2 * math.pi)
    model = amplitude * shape + below + (above - below) * step
    slope = (amplitude * shape * u - edge) / sigma
    return model, np.stack([slope, slope * u, shape, 1 - step, step], axis=1)


def _fit_peak(
    spectrum: FloatArray, variance: FloatArray, start: int, settings: ElasticLineSettings, significance: float
) -> Peak:
    fwhm = settings.fwhm
    low, high = max(round(start - _FIT_LEFT * fwhm), 0), min(round(start + _FIT_RIGHT * fwhm), len(spectrum))
    if start - low < fwhm or high - start < fwhm:
        return _no_peak(f"at column {start}, at the edge of the detector")
    columns = np.arange(low, high, dtype=float)
    counts, noise = spectrum[low:high], np.sqrt(variance[low:high])
    begin = np.array(
        [start, fwhm / SIGMA_TO_FWHM, spectrum[start], counts[: start - low - 2].min(), np.median(counts[-8:])]
    )
    parameters, covariance, reduced = _levenberg_marquardt(columns, counts, noise, begin, fwhm)
    centre, width, amplitude, below, above = parameters
    if not (covariance[0, 0] > 0 and covariance[2, 2] > 0):
        return _no_peak(f"at column {start}, a fit that the counts do not determine")
    error = math.sqrt(covariance[2, 2])
    likely = 1 + 2 * math.sqrt(2 / (len(columns) - len(parameters)))  # a line of another shape, not noise, exceeds it
    peak = Peak(
        pixel=float(centre),
        sigma=math.sqrt(covariance[0, 0] * (reduced if reduced > likely else 1.0)),
        significance=float(amplitude / error),
        fwhm=float(width * SIGMA_TO_FWHM),
        amplitude=float(amplitude),
        below=float(below),
        above=float(above),
        reason="",
    )
    neighbour, neighbour_sigma = _neighbour(spectrum, variance, peak, fwhm)
    reason = _why_not_elastic(peak, start, neighbour, settings, significance)
    # Emission that is seen beside the line is also under it, and pulls the fit by up to its share of half the width.
    pull = 0.0 if reason else 0.5 * fwhm * max(0.0, neighbour - 2 * neighbour_sigma)
    return replace(peak, sigma=math.hypot(peak.sigma, pull), reason=reason)


def _why_not_elastic(
    peak: Peak, start: int, neighbour: float, settings: ElasticLineSettings, significance: float
) -> str:
    """Say why a peak is no elastic line that stands alone; "" where it is one."""
    narrowest, widest = (share * settings.fwhm for share in settings.fwhm_range)
    if not peak.significance >= significance:
        return f"{peak.significance:.1f} sigma, expected {significance:g} or more"
    if not narrowest <= peak.fwhm <= widest:
        return f"{peak.fwhm:.1f} columns wide, expected {narrowest:.1f} to {widest:.1f}"
    if abs(peak.pixel - start) > settings.fwhm:
        return "on the slope of brighter emission"
    if neighbour > settings.largest_neighbour:
        return f"emission just below it has {neighbour:.2f} of its height"
    return ""


def _neighbour(spectrum: FloatArray, variance: FloatArray, peak: Peak, fwhm: float) -> tuple[float, float]:
    """Emission 1.4 to 2.8 FWHM below a line as a share of its height, and its uncertainty."""
    place = float(np.clip(peak.pixel, 3 * fwhm, len(spectrum)))
    low, high = int(place - 2.8 * fwhm), int(place - 1.4 * fwhm)
    mean = float(spectrum[low:high].mean()) - peak.above
    height = peak.amplitude or math.inf
    return mean / height, math.sqrt(float(variance[low:high].sum())) / (high - low) / height


def _levenberg_marquardt(
    columns: FloatArray, counts: FloatArray, noise: FloatArray, start: FloatArray, fwhm: float
) -> tuple[FloatArray, FloatArray, float]:
    """Fit `_line` by weighted least squares; give parameters, covariance and reduced chi square."""
    narrowest, widest = 0.3 * fwhm / SIGMA_TO_FWHM, 3 * fwhm / SIGMA_TO_FWHM
    parameters, damping = start, 1e-2
    model, slopes = _line(columns, parameters)
    cost = float((((counts - model) / noise) ** 2).sum())
    for _ in range(40):
        weighted = slopes / noise[:, None]
        curvature = weighted.T @ weighted
        diagonal = np.diag(np.diag(curvature) + np.finfo(float).eps)
        step = np.linalg.solve(curvature + damping * diagonal, weighted.T @ ((counts - model) / noise))
        trial = parameters + step
        trial[1] = np.clip(trial[1], narrowest, widest)
        trial_model, trial_slopes = _line(columns, trial)
        trial_cost = float((((counts - trial_model) / noise) ** 2).sum())
        if trial_cost > cost:
            damping *= 5
            if damping > 1e8:
                break
            continue
        settled = cost - trial_cost < 1e-6 * (1 + cost)
        parameters, model, slopes, cost = trial, trial_model, trial_slopes, trial_cost
        damping /= 5
        if settled:
            break
    weighted = slopes / noise[:, None]
    covariance = np.linalg.pinv(weighted.T @ weighted, hermitian=True)
    return parameters, covariance, cost / max(1, len(columns) - len(parameters))


@dataclass
class _Row:
    energy: float
    spectrum: FloatArray
    variance: FloatArray
    blind: Peak  # what is found without knowing where to look
    peak: Peak  # what is taken


class ElasticLine(Step):
    """Find the elastic line of every row, and calibrate with all rows so far.

    Lines are first looked for without a calibration. As soon as enough of them agree, the rows that gave none are
    looked at again where the calibration expects their line.
    """

    kept = (
        RixsOutput.ELASTIC_LINE_PIXEL,
        RixsOutput.ELASTIC_LINE_SIGMA,
        RixsOutput.ELASTIC_LINE_SIGNIFICANCE,
        RixsOutput.ELASTIC_LINE_REASON,
        RixsOutput.CALIBRATION_NOW,
        RixsOutput.CALIBRATION_NOW_COEFFICIENTS,
        RixsOutput.CALIBRATION_NOW_PIVOT,
    )

    def __init__(self, settings: ElasticLineSettings) -> None:
        self._settings = settings
        self._rows: dict[int, _Row] = {}
        self._calibration = fit_calibration([], [], [])
        self._found: dict[tuple[int, int], Peak] = {}  # by row and expected column

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take the rows that a frame changed; give the line of the frame's row and the calibration so far."""
        for row in event[RixsOutput.ROWS]:
            blind = find_elastic_line(row.spectrum, row.variance, settings=self._settings)
            self._rows[row.index] = _Row(row.energy, row.spectrum, row.variance, blind, blind)
            self._found = {key: peak for key, peak in self._found.items() if key[0] != row.index}
        self._calibrate()
        peak = self._rows[event[RixsOutput.ROW]].peak
        coefficients, _ = self._padded()
        return {
            RixsOutput.ELASTIC_LINE_PIXEL: peak.pixel,
            RixsOutput.ELASTIC_LINE_SIGMA: peak.sigma,
            RixsOutput.ELASTIC_LINE_SIGNIFICANCE: peak.significance,
            RixsOutput.ELASTIC_LINE_REASON: peak.reason,
            RixsOutput.CALIBRATION: self._calibration,
            RixsOutput.CALIBRATION_NOW: self._calibration.status,
            RixsOutput.CALIBRATION_NOW_COEFFICIENTS: coefficients,
            RixsOutput.CALIBRATION_NOW_PIVOT: self._calibration.pivot,
        }

    @property
    def calibration(self) -> Calibration:
        """The calibration by all rows so far."""
        return self._calibration

    @property
    def result(self) -> CalibrationResult:
        """The calibration and the line of each row, in the order of first visits."""
        rows = [self._rows[index] for index in sorted(self._rows)]
        peaks = [row.peak for row in rows]
        accepted = self._calibration.accepted
        coefficients, covariance = self._padded()
        columns = np.stack([_window(row) for row in rows]) if rows else np.zeros((0, WINDOW), dtype=int)
        return CalibrationResult(
            calibration_status=self._calibration.status,
            calibration_alarm=self._alarm(),
            calibration_coefficients=coefficients,
            calibration_covariance=covariance,
            calibration_pivot=self._calibration.pivot,
            calibration_dispersion_ev_per_pixel=self._calibration.dispersion,
            calibration_dispersion_sigma=self._calibration.dispersion_sigma,
            calibration_rms_ev=self._calibration.rms,
            calibration_accepted=int(accepted.sum()),
            calibration_rejected=int(len(rows) - accepted.sum()),
            elastic_energy=np.array([row.energy for row in rows]),
            elastic_pixel=np.array([peak.pixel for peak in peaks]),
            elastic_sigma=np.array([peak.sigma for peak in peaks]),
            elastic_significance=np.array([peak.significance for peak in peaks]),
            elastic_fwhm=np.array([peak.fwhm for peak in peaks]),
            elastic_accepted=accepted.copy(),
            elastic_reason=np.array(
                [
                    peak.reason or ("" if used else "disagrees with the other lines")
                    for peak, used in zip(peaks, accepted, strict=True)
                ],
                dtype=str,
            ),
            elastic_window_column=columns,
            elastic_window_counts=np.array([row.spectrum[at] for row, at in zip(rows, columns, strict=True)]),
            elastic_window_sigma=np.sqrt([row.variance[at] for row, at in zip(rows, columns, strict=True)]),
            elastic_window_model=np.array([row.peak.model(at) for row, at in zip(rows, columns, strict=True)]),
        )

    def _calibrate(self) -> None:
        rows = list(self._rows.values())
        self._calibration = _calibrate([row.blind for row in rows], rows)
        for row in rows:
            row.peak = row.blind
        if self._calibration.status != "ok":
            return
        for _ in range(2):  # the second time the lines found by the first guide the others
            for index, row in self._rows.items():
                if row.blind.reason or not self._is_near(row):
                    row.peak = self._expected(index, row)
            again = _calibrate([row.peak for row in rows], rows)
            if again.status != "ok":
                return
            self._calibration = again

    def _is_near(self, row: _Row) -> bool:
        away = abs(row.blind.pixel - float(self._calibration.pixel(row.energy)))
        return away < self._settings.fwhm

    def _expected(self, index: int, row: _Row) -> Peak:
        pixel = float(self._calibration.pixel(row.energy))
        sigma = float(self._calibration.sigma(pixel)) / self._calibration.dispersion
        if not -WINDOW < pixel < len(row.spectrum) + WINDOW:
            return _no_peak(f"expected at column {pixel:.0f}, off the detector")
        if sigma > self._settings.fwhm:
            return _no_peak("the calibration does not say well enough where to look")
        key = (index, round(pixel))
        if key not in self._found:
            search = 0.6 * self._settings.fwhm
            self._found[key] = find_elastic_line(
                row.spectrum, row.variance, settings=self._settings, expected_pixel=float(key[1]), search=search
            )
        return self._found[key]

    def _alarm(self) -> str:
        """Say how far the calibration of this run lies from the loaded one, where that is too far."""
        loaded, found = self._settings.loaded, self._calibration
        if loaded is None or found.status != "ok":
            return ""
        pixel = found.pivot
        expected = float(np.polynomial.polynomial.polyval(pixel - loaded.pivot, loaded.coefficients))
        seen, sigma = float(found.coefficients[0]), math.hypot(float(found.sigma(pixel)), loaded.sigma_ev)
        if abs(seen - expected) <= max(self._settings.alarm_sigmas * sigma, found.dispersion):
            return ""
        return (
            f"the loaded calibration is off by {seen - expected:+.2f} eV"
            f" ({(seen - expected) / found.dispersion:+.1f} pixels) at column {pixel:.0f}:"
            f" {seen:.2f} eV measured, {expected:.2f} eV loaded"
        )

    def _padded(self) -> tuple[FloatArray, FloatArray]:
        found = self._calibration
        coefficients, covariance = np.zeros(3), np.zeros((3, 3))
        n = len(found.coefficients)
        coefficients[:n] = found.coefficients
        covariance[:n, :n] = found.covariance
        return coefficients, covariance


def _calibrate(peaks: list[Peak], rows: list[_Row]) -> Calibration:
    pixels = [math.nan if peak.reason else peak.pixel for peak in peaks]
    return fit_calibration(pixels, [row.energy for row in rows], [peak.sigma for peak in peaks])


def _window(row: _Row) -> NDArray[np.int_]:
    centre = row.peak.pixel if np.isfinite(row.peak.pixel) else len(row.spectrum) / 2
    first = int(np.clip(round(centre) - WINDOW // 2 - 3, 0, len(row.spectrum) - WINDOW))
    return np.arange(first, first + WINDOW)
