"""Step 6 of a RIXS map: find the elastic line in each spectrum and calibrate emission energy with all of them.

How a line is found in one spectrum, and when it is refused, stands in `callbacks.rixs.elastic_peak`; the fit of the
calibration in `callbacks.rixs.calibration`. Here is the state of a run: all rows so far, and where their lines are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.contract import CalibrationResult, RixsOutput
from callbacks.rixs.calibration import Calibration, fit_calibration
from callbacks.rixs.elastic_peak import LineCriteria, Peak, find_elastic_line, no_peak
from callbacks.step import Step

FloatArray = NDArray[np.floating]

WINDOW = 29  # columns around a line that are kept, for drawing
SEARCH = 0.6  # FWHM on either side of where the calibration expects a line


class LoadedCalibration(BaseModel):
    """A calibration from before, to compare with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pivot: float
    coefficients: tuple[float, ...] = Field(min_length=2, max_length=3)
    sigma_ev: float = Field(0.1, gt=0)  # uncertainty of the energies it gives


class ElasticLineSettings(LineCriteria):
    """Settings of `ElasticLine`."""

    # The loaded calibration is off where it differs by more than this, and by more than a pixel.
    alarm_sigmas: float = Field(5.0, gt=0)
    loaded: LoadedCalibration | None = None


@dataclass
class _Row:
    energy: float
    spectrum: FloatArray
    variance: FloatArray
    blind: Peak  # found without knowing where to look
    peak: Peak  # used: this one, or the one found where the calibration expects it


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
            return no_peak(f"expected at column {pixel:.0f}, off the detector")
        if sigma > self._settings.fwhm:
            return no_peak("the calibration does not say well enough where to look")
        key = (index, round(pixel))
        if key not in self._found:
            search = SEARCH * self._settings.fwhm
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
    """Give the columns around a row's line that are kept: a few more on the low-energy side, where emission is."""
    centre = row.peak.pixel if np.isfinite(row.peak.pixel) else len(row.spectrum) / 2
    first = int(np.clip(round(centre) - WINDOW // 2 - 3, 0, len(row.spectrum) - WINDOW))
    return np.arange(first, first + WINDOW)
