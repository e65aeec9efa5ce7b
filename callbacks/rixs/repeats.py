"""Step 5 of a RIXS map: add the frames of one excitation energy, corrected for drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter1d

from callbacks.contract import Key, RixsOutput, RowsResult
from callbacks.rixs.calibration import Displacements
from callbacks.rixs.curvature import straighten
from callbacks.rixs.drift import LARGEST_DRIFT, UNKNOWN_TIME, DriftSettings, Moved, find_drift, track
from callbacks.rixs.smoothing import smooth_signal
from callbacks.step import Step
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]

SMOOTHING = 2.0  # columns rms: of two frames that are compared; an elastic line is of 5 FWHM
# Of what the slope of two frames seems to tell of their shift, noise apart. Pairs of simulated maps, dim to bright, are
# off by 1.8 to 2.3 times what the first order says below it (rms, 360 pairs), and by 0.7 to 1.2 times what is quoted
# above it (2400 pairs).
LEAST_TOLD = 0.3
REDONE = 0.03  # columns by which the drift of a frame must have changed for its row to be added up again

# Relative: a frame whose flux is known no better has no part in a row that others show. Less than the departure from
# the trend that I0 is marked for, and more than what counting leaves of an I0 that one would normalise by.
UNSURE = 0.15


class RepeatedFramesSettings(BaseModel):
    """Settings of `RepeatedFrames`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drift: DriftSettings = DriftSettings()
    largest_sigma: float = Field(
        2.0, gt=0
    )  # columns; frames of one energy that tell less of the drift are not compared
    # Columns of a resolution element, over which `row_relative_error` sums: an elastic line is of 5 FWHM.
    resolution_columns: int = Field(5, ge=1)


def measure_drift(
    spectrum: FloatArray,
    variance: FloatArray,
    reference: FloatArray,
    reference_variance: FloatArray,
    *,
    largest_drift: float,
) -> tuple[float, float]:
    """Measure by how many columns a spectrum has drifted to the right of a reference.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts² of the frame.
    reference, reference_variance : numpy.ndarray, shape (columns,)
        The same of another frame of the same energy.
    largest_drift : float
        Columns; how far to look.

    Returns
    -------
    drift, sigma : float
        Columns. NaN where there is nothing to compare.

    Notes
    -----
    The correlation is largest at the nearest whole column. From there the difference of both is fitted by the slope of
    their smoothed mean, weighted by their variances. The noise of that slope would pass for structure that tells the
    drift, and draw it towards the whole column: what it adds on average is taken off. Where that is much, the largest
    correlation may be chance, and the variance of the first order is too small: it is divided by the share left.
    """
    signal, other = (each - np.median(each) for each in (spectrum, reference))
    reach = math.ceil(largest_drift)
    transforms = np.fft.rfft(np.stack([smooth_signal(signal), smooth_signal(other)]), 2 * len(signal))
    correlation = np.fft.irfft(transforms[0] * transforms[1].conj())
    lags = np.r_[0 : reach + 1, -reach:0]
    whole = int(lags[correlation[lags].argmax()])
    for _ in range(3):
        ours, theirs = (
            slice(max(0, whole), len(signal) + min(0, whole)),
            slice(max(0, -whole), len(signal) - max(0, whole)),
        )
        moved, still = signal[ours], other[theirs]
        noise = gaussian_filter1d(variance[ours] + reference_variance[theirs], SMOOTHING, mode="nearest")
        weight = 1.0 / np.maximum(noise, np.finfo(float).tiny)
        mean = gaussian_filter1d((moved + still) / 2, SMOOTHING, mode="nearest")
        slope = np.gradient(mean)
        seen = float((weight * slope**2).sum())
        # Variance of the derivative of a Gaussian mean of half the noise of both.
        told = seen - len(slope) / 4 / (4 * math.sqrt(math.pi) * SMOOTHING**3)
        scale = float((weight * moved * mean).sum() / max(float((weight * still * mean).sum()), np.finfo(float).tiny))
        if not told > LEAST_TOLD * seen or not scale > 0:
            return math.nan, math.nan
        beyond = -float((weight * slope * (moved - scale * still)).sum()) / told / math.sqrt(scale)
        if abs(beyond) <= 0.6 or abs(whole + round(beyond)) > reach:
            break
        whole += round(float(np.clip(beyond, -2, 2)))
    return whole + beyond, math.sqrt(seen / told) * math.sqrt(seen) / told


def relative_error(spectrum: FloatArray, variance: FloatArray, flux_sigma: float, *, columns: int) -> float:
    """Give the relative standard uncertainty of the brightest resolution element of a row.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (n,)
        Normalised to I0, with the noise of the flux in every column; NaN where not known.
    flux_sigma : float
        Relative standard uncertainty of the incident flux, which is one error for all columns.
    columns : int
        Of a resolution element.

    Returns
    -------
    float
        NaN where the spectrum is not known, or is nowhere above zero.

    Notes
    -----
    The brightest of many elements is bright partly by chance: of noise alone its relative error is one over what the
    largest of as many normal deviates is, about 0.3. Below 0.2 it is the emission's.
    """
    known = np.isfinite(spectrum) & np.isfinite(variance)
    if known.sum() < columns:
        return math.nan
    values, noise = np.where(known, spectrum, 0.0), np.where(known, variance, 0.0)
    ones = np.ones(columns)
    sums = np.convolve(values, ones, mode="valid")
    sums[np.convolve(known, ones, mode="valid") < columns] = -math.inf
    place = int(sums.argmax())
    total, inside = float(sums[place]), slice(place, place + columns)
    if not 0 < total < math.inf:
        return math.nan
    common = flux_sigma**2 * max(total**2 - float((values[inside] ** 2).sum()), 0.0)
    return math.sqrt(float(noise[inside].sum()) + common) / total


@dataclass
class Row:
    """One excitation energy of a map: the frames that belong to it, added up on the scale of the first frame."""

    index: int
    frames: list[int] = field(default_factory=list)
    energy: float = math.nan
    # From counts to what is normalised to I0, to the exposure where no frame of the map has I0; NaN where it is lost.
    scale: float = math.nan
    flux_sigma: float = 0.0  # relative standard uncertainty of the incident flux: one error for all columns
    spectrum: FloatArray = field(default_factory=lambda: np.zeros(0))
    variance: FloatArray = field(default_factory=lambda: np.zeros(0))
    normalised_spectrum: FloatArray = field(default_factory=lambda: np.zeros(0))
    normalised_variance: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass
class _Frame:
    place: int  # in the order of time
    time: float  # h since the first frame
    row: Row
    energy: float
    spectrum: FloatArray
    variance: FloatArray
    factor: float
    factor_variance: float
    exposure: float  # s; NaN where not known
    undone: float = 0.0  # columns of drift that were undone when it was added


class RepeatedFrames(Step):
    """Bring all frames to the scale of the first one, and add those of each excitation energy.

    The drift of the spectrograph is told by fluorescence that does not follow the excitation, and by frames of one
    energy at different times; see `callbacks.rixs.drift`. It is looked for again as frames come, and frames are added
    anew where it has changed.

    Frames belong together when their energies were set to the same value, or, where no setpoint was recorded, when
    their energies are equal. The counts of the frames are added for the search of the elastic line. The normalised
    spectrum of a row is the sum of the counts over the sum of the incident fluxes: of all weightings of Poisson counts
    this has the least variance. Frames whose I0 is lost do not contribute to it, and those whose flux is known no
    better than by `UNSURE` only where a row has no others.
    """

    kept = (
        RixsOutput.ROW,
        RixsOutput.DRIFT_PIXELS,
        RixsOutput.DRIFT_SIGMA,
        RixsOutput.ROW_RELATIVE_ERROR,
    )

    def __init__(self, settings: RepeatedFramesSettings) -> None:
        self._settings = settings
        self._frames: dict[int, _Frame] = {}
        self._rows: dict[float, Row] = {}
        self._ended = math.nan  # s since 1970, when the newest frame was taken
        # By frame: its place, that of the first one of its row, and the shift against it with its uncertainty.
        self._compared: dict[int, tuple[int, int, float, float]] = {}
        self._followed: list[Moved] = []  # along each line of fluorescence
        self._lines: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._followed_at = 0  # frames
        self._drift = Displacements.none(0)
        self._has_flux = False  # some frame has I0

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame's spectrum; give the rows that it changed."""
        revised = event[RixsOutput.REVISED_SPECTRA]
        for number, (spectrum, variance) in revised.items():
            if number in self._frames:
                self._frames[number].spectrum, self._frames[number].variance = spectrum, variance
        renormalised = event[RixsOutput.REVISED_NORMALISATION]
        for number, (factor, variance) in renormalised.items():
            if number in self._frames:
                self._frames[number].factor, self._frames[number].factor_variance = factor, variance
        number = int(event["seq_num"])
        frame = self._frames[number] = self._new(event)
        frame.row.frames.append(number)
        for each in self._frames if revised else (number,):
            self._compare(each)
        first_flux = math.isfinite(frame.factor) and not self._has_flux
        self._has_flux |= first_flux
        self._find_drift(anew=bool(revised))
        moved = [
            one
            for one, at in zip(self._frames.values(), self._drift.mean, strict=True)
            if abs(at - one.undone) > REDONE
        ]
        for one in moved:
            one.undone = float(self._drift.mean[one.place])
        touched = [*moved, *(self._frames[each] for each in renormalised if each in self._frames), frame]
        everything = revised or first_flux
        changed = self._rows.values() if everything else {id(one.row): one.row for one in touched}.values()
        for row in changed:
            self._add_up(row)
        return {
            RixsOutput.ROW: frame.row.index,
            RixsOutput.DRIFT_PIXELS: float(self._drift.mean[-1]),
            RixsOutput.DRIFT_SIGMA: float(self._drift.sigma[-1]),
            RixsOutput.ROW_RELATIVE_ERROR: relative_error(
                frame.row.normalised_spectrum,
                frame.row.normalised_variance,
                frame.row.flux_sigma,
                columns=self._settings.resolution_columns,
            ),
            RixsOutput.ROWS: tuple(changed),
            RixsOutput.ROW_DISPLACEMENTS: self._of_rows(),
        }

    @property
    def rows(self) -> list[Row]:
        """All rows so far, in the order of first visits."""
        return list(self._rows.values())

    @property
    def result(self) -> RowsResult:
        """How many frames make each row, in the order of first visits, and the drift of each frame."""
        return RowsResult(
            row_frames=np.array([len(row.frames) for row in self._rows.values()], dtype=int),
            drift_status=self._status(),
            drift_frame_hours=np.array([frame.time for frame in self._frames.values()]),
            drift_frame_pixels=self._drift.mean.copy(),
            drift_frame_sigma=self._drift.sigma,
        )

    def _new(self, event: Mapping[str, Any]) -> _Frame:
        """Take up a frame; it came as long after the one before as the clock says, or as it was exposed."""
        energy = float(event[Key.ENERGY])
        setpoint = float(event.get(Key.ENERGY_SETPOINT, energy))
        row = self._rows.setdefault(setpoint, Row(len(self._rows)))
        now, exposure = float(event.get("time", math.nan)), float(event.get(Key.EXPOSURE_TIME, math.nan))
        hours = 0.0
        if self._frames:
            passed = max((each for each in (now - self._ended, exposure) if each > 0), default=UNKNOWN_TIME)
            hours = next(reversed(self._frames.values())).time + passed / 3600
        self._ended = now
        return _Frame(
            len(self._frames),
            hours,
            row,
            energy,
            event[RixsOutput.SPECTRUM],
            event[RixsOutput.SPECTRUM_VARIANCE],
            event[RixsOutput.NORMALISATION],
            event[RixsOutput.NORMALISATION_VARIANCE],
            exposure,
        )

    def _compare(self, number: int) -> None:
        """Compare a frame with the first one of its row."""
        frame = self._frames[number]
        first = self._frames[frame.row.frames[0]]
        if frame is first:
            return
        shift, sigma = measure_drift(
            frame.spectrum, frame.variance, first.spectrum, first.variance, largest_drift=LARGEST_DRIFT
        )
        self._compared.pop(number, None)
        if abs(shift) <= LARGEST_DRIFT and sigma <= self._settings.largest_sigma:
            self._compared[number] = (frame.place, first.place, shift, sigma)

    def _find_drift(self, *, anew: bool) -> None:
        """Find the drift of all frames; lines are followed again when there are a twentieth more frames."""
        frames = list(self._frames.values())
        if self._settings.drift.track and (anew or len(frames) >= 1.05 * self._followed_at):
            self._followed_at = len(frames)
            start = np.array([frame.undone for frame in frames])
            self._followed, self._lines = track(
                np.array([frame.spectrum for frame in frames]),
                np.array([frame.variance for frame in frames]),
                np.array([frame.factor if self._has_flux else 1 / frame.exposure for frame in frames]),
                start,
            )
        times = np.array([frame.time for frame in frames])
        repeats = np.array([*self._compared.values()]).reshape(-1, 4)
        at, against = repeats[:, :2].astype(int).T
        compared = [Moved(at, repeats[:, 2], repeats[:, 3], against)] if len(repeats) else []
        self._drift = find_drift(times, self._followed + compared, self._settings.drift)

    def _of_rows(self) -> Displacements:
        """Give what is not known of the displacement of each row: of the mean of its frames."""
        factor = [
            self._drift.factor[[self._frames[number].place for number in row.frames]].mean(axis=0)
            for row in self._rows.values()
        ]
        return Displacements(np.zeros(len(factor)), np.array(factor))

    def _status(self) -> str:
        told = []
        if self._lines.size:
            told.append(f"fluorescence near column {', '.join(str(each) for each in self._lines)}")
        if self._compared:
            told.append(number_of(len(self._compared), "repeated frame"))
        return f"by {' and '.join(told)}" if told else "not tracked: nothing but the elastic line moves with the chip"

    def _add_up(self, row: Row) -> None:
        frames = [self._frames[number] for number in row.frames]
        row.energy = float(np.mean([frame.energy for frame in frames]))
        back = np.array([frame.undone for frame in frames])
        spectra = straighten(np.array([frame.spectrum for frame in frames]), back)
        variances = straighten(np.array([frame.variance for frame in frames]), back)
        row.spectrum, row.variance = spectra.sum(axis=0), variances.sum(axis=0)
        factor, factor_variance = (
            np.array([getattr(frame, name) for frame in frames]) for name in ("factor", "factor_variance")
        )
        known = np.isfinite(factor)
        sure = known & (factor_variance <= (UNSURE * factor) ** 2)
        used = sure if sure.any() else known
        flux = float((1 / factor[used]).sum())
        row.scale = used.mean() / flux if flux > 0 else math.nan
        if not self._has_flux:  # emission grows at a resonance by more than the incident flux changes
            row.scale = 1 / sum(frame.exposure for frame in frames)
        row.flux_sigma = math.sqrt(float((factor_variance[used] / factor[used] ** 4).sum())) / flux if flux > 0 else 0.0
        factor, factor_variance = factor[used, None], factor_variance[used, None]
        # Where the drift moved columns off the chip, fewer frames see the energy, or none.
        seen = straighten(np.ones_like(spectra), back)[used]
        seen_flux = (seen / factor).sum(axis=0)
        flux_of = np.where(seen_flux > 0, seen_flux, math.nan)
        flux_variance = (seen**2 * factor_variance / factor**4).sum(axis=0)
        row.normalised_spectrum = spectra[used].sum(axis=0) / flux_of
        of_flux = row.normalised_spectrum**2 * flux_variance
        row.normalised_variance = (variances[used].sum(axis=0) + of_flux) / flux_of**2
