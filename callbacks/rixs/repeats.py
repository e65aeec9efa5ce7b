"""Step 5 of a RIXS map: add the frames of one excitation energy, corrected for drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.contract import Key, RixsOutput, RowsResult
from callbacks.rixs.curvature import straighten
from callbacks.rixs.smoothing import smooth_signal
from callbacks.step import Step

FloatArray = NDArray[np.floating]


class RepeatedFramesSettings(BaseModel):
    """Settings of `RepeatedFrames`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    significance: float = Field(3.0, gt=0)  # a drift is corrected when it is this many times its uncertainty
    largest_drift: float = Field(20.0, gt=0)  # columns; more is not a drift of the instrument


def measure_drift(
    spectrum: FloatArray, variance: FloatArray, reference: FloatArray, *, largest_drift: float
) -> tuple[float, float]:
    """Measure by how many columns a spectrum has drifted to the right of a reference.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts² of the frame.
    reference : numpy.ndarray, shape (columns,)
        Counts of the other frames of the same energy.
    largest_drift : float
        Columns; how far to look.

    Returns
    -------
    drift, sigma : float
        Columns. NaN where there is nothing to compare.

    Notes
    -----
    The correlation is largest at the nearest whole column; three Gauss-Newton steps from there fit the reference,
    scaled and displaced, to the spectrum by weighted least squares. The noise of the reference adds to the uncertainty
    by its share of counts.
    """
    smooth = smooth_signal(reference - np.median(reference))
    signal = spectrum - np.median(spectrum)
    reach = math.ceil(largest_drift)
    transforms = np.fft.rfft(np.stack([smooth_signal(signal), smooth]), 2 * len(signal))
    correlation = np.fft.irfft(transforms[0] * transforms[1].conj())
    lags = np.r_[0 : reach + 1, -reach:0]
    drift = float(lags[correlation[lags].argmax()])
    sigma = math.nan
    weight = 1.0 / np.maximum(variance, np.finfo(float).tiny)
    for _ in range(3):
        moved = straighten(smooth[None, :], np.array([-drift]))[0]
        power = (weight * moved**2).sum()
        if not power > 0:
            return math.nan, math.nan
        scale = (weight * signal * moved).sum() / power
        slope = -scale * np.gradient(moved)
        information = (weight * slope**2).sum()
        if not information > 0 or not scale > 0:
            return math.nan, math.nan
        drift += float(np.clip((weight * slope * (signal - scale * moved)).sum() / information, -1, 1))
        sigma = math.sqrt((1 + scale) / information)
    return drift, sigma


@dataclass
class Row:
    """One excitation energy of a map: the frames that belong to it, added up."""

    index: int
    frames: list[int] = field(default_factory=list)
    energy: float = math.nan
    spectrum: FloatArray = field(default_factory=lambda: np.zeros(0))
    variance: FloatArray = field(default_factory=lambda: np.zeros(0))
    normalised_spectrum: FloatArray = field(default_factory=lambda: np.zeros(0))
    normalised_variance: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass
class _Frame:
    energy: float
    spectrum: FloatArray
    variance: FloatArray
    factor: float
    factor_variance: float
    drift: float = 0.0
    drift_sigma: float = math.nan


class RepeatedFrames(Step):
    """Add the frames of each excitation energy.

    Frames belong together when their energies were set to the same value, or, where no setpoint was recorded, when
    their energies are equal. Each frame is compared with the sum of the earlier ones; a significant drift is undone
    before it is added.

    The counts of the frames are added for the search of the elastic line. The normalised spectrum of a row is the sum
    of the counts over the sum of the incident fluxes: of all weightings of Poisson counts this has the least variance.
    Frames whose I0 is lost do not contribute to it.
    """

    kept = (
        RixsOutput.ROW,
        RixsOutput.DRIFT_PIXELS,
        RixsOutput.DRIFT_SIGMA,
    )

    def __init__(self, settings: RepeatedFramesSettings) -> None:
        self._settings = settings
        self._frames: dict[int, _Frame] = {}
        self._rows: dict[float, Row] = {}

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame's spectrum; give the rows that it changed."""
        for number, (spectrum, variance) in event[RixsOutput.REVISED_SPECTRA].items():
            if number in self._frames:
                self._frames[number].spectrum, self._frames[number].variance = spectrum, variance
        energy = float(event[Key.ENERGY])
        setpoint = float(event.get(Key.ENERGY_SETPOINT, energy))
        row = self._rows.setdefault(setpoint, Row(len(self._rows)))
        number = int(event["seq_num"])
        frame = _Frame(
            energy,
            event[RixsOutput.SPECTRUM],
            event[RixsOutput.SPECTRUM_VARIANCE],
            event[RixsOutput.NORMALISATION],
            event[RixsOutput.NORMALISATION_VARIANCE],
        )
        self._frames[number] = frame
        row.frames.append(number)
        changed = self._rows.values() if event[RixsOutput.REVISED_SPECTRA] else (row,)
        for each in changed:
            self._add_up(each)
        return {
            RixsOutput.ROW: row.index,
            RixsOutput.DRIFT_PIXELS: frame.drift,
            RixsOutput.DRIFT_SIGMA: frame.drift_sigma,
            RixsOutput.ROWS: tuple(changed),
        }

    @property
    def result(self) -> RowsResult:
        """How many frames make each row, in the order of first visits."""
        return RowsResult(row_frames=np.array([len(row.frames) for row in self._rows.values()], dtype=int))

    def _add_up(self, row: Row) -> None:
        frames = [self._frames[number] for number in row.frames]
        row.energy = float(np.mean([frame.energy for frame in frames]))
        spectrum, variance = frames[0].spectrum.copy(), frames[0].variance.copy()
        known = frames[0] if np.isfinite(frames[0].factor) else None
        counts, noise = (
            (spectrum.copy(), variance.copy()) if known else (np.zeros_like(spectrum), np.zeros_like(spectrum))
        )
        for frame in frames[1:]:
            frame.drift, frame.drift_sigma = self._drift(frame, spectrum)
            shift = np.array([frame.drift])
            moved = straighten(frame.spectrum[None, :], shift)[0]
            moved_variance = straighten(frame.variance[None, :], shift)[0]
            spectrum += moved
            variance += moved_variance
            if np.isfinite(frame.factor):
                counts += moved
                noise += moved_variance
        row.spectrum, row.variance = spectrum, variance
        row.normalised_spectrum, row.normalised_variance = _normalise(counts, noise, frames)

    def _drift(self, frame: _Frame, reference: FloatArray) -> tuple[float, float]:
        largest = self._settings.largest_drift
        drift, sigma = measure_drift(frame.spectrum, frame.variance, reference, largest_drift=largest)
        credible = abs(drift) <= largest and abs(drift) >= self._settings.significance * sigma
        return (drift, sigma) if credible else (0.0, sigma)


def _normalise(counts: FloatArray, variance: FloatArray, frames: list[_Frame]) -> tuple[FloatArray, FloatArray]:
    known = [frame for frame in frames if np.isfinite(frame.factor)]
    if not known:
        nothing = np.full_like(counts, np.nan)
        return nothing, nothing.copy()
    flux = sum(1.0 / frame.factor for frame in known)
    flux_variance = sum(frame.factor_variance / frame.factor**4 for frame in known)
    normalised = counts / flux
    return normalised, variance / flux**2 + normalised**2 * flux_variance / flux**2
