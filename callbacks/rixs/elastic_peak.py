"""Find the elastic line in one spectrum: by a matched filter and a fit, accepted only where the line stands alone.

The elastic line has the energy of excitation: nothing is emitted above it, it moves with the excitation, and it is as
narrow as the instrument. Fluorescence stays at its emission energy and is wider; at a resonance it lies under and
beside the elastic line and biases a fit of it. The scans of the constants are in
docs/decisions/constants-elastic-line.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.rixs.line_fit import FWHM_PER_SIGMA, fit_line, line_and_slopes

FloatArray = NDArray[np.floating]

FILTER_REACH = 2.5  # FWHM on either side that the matched filter looks at
FIT_LEFT, FIT_RIGHT = 2.1, 3.8  # FWHM on either side of the line that are fitted; less below it, where emission is
NEIGHBOUR_FWHM = (1.4, 2.8)  # FWHM below a line: where emission that would bias its fit is looked for
FEATURES = 4  # from the highest energy down that are tried where nothing says where to look
UNSEEN_BIAS = 0.25  # rms of the same, for emission that may be as high as the noise lets it
NEIGHBOUR_BIAS = 0.5  # of a FWHM, for emission as high as the line: it is under the line as well as beside it
_LEVEL_COLUMNS = 8  # on the high-energy side, that give the first guess of the level there
_LINE_COLUMNS = 2  # beside the start that are left out of the first guess of the level below


class LineCriteria(BaseModel):
    """What an elastic line looks like, and how clearly it must be seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fwhm: float = Field(5.0, gt=1)  # pixels; of the instrument
    fwhm_range: tuple[float, float] = (0.55, 1.6)  # share of `fwhm` that a line may have
    significance: float = Field(5.0, gt=0)  # a line's height over its uncertainty, where nothing says where to look
    expected_significance: float = Field(4.0, gt=0)  # the same where the calibration says where
    largest_neighbour: float = Field(0.15, gt=0)  # emission just below a line, as a share of its height


@dataclass(frozen=True)
class Peak:
    """A line fitted to a spectrum.

    Attributes
    ----------
    pixel, sigma : float
        Position and its standard uncertainty, columns; NaN where nothing was fitted.
    significance : float
        Height over its uncertainty.
    fwhm : float
        Columns.
    amplitude : float
        Height, counts a column.
    below, above : float
        Background on the low- and high-energy side, counts a column.
    reason : str
        "" for an elastic line, else why this is none.
    pull : float
        By how much emission that may be there unseen would move it, columns rms; the same way for all lines.
    """

    pixel: float
    sigma: float
    significance: float
    fwhm: float
    amplitude: float
    below: float
    above: float
    reason: str
    pull: float = 0.0

    def model(self, columns: FloatArray) -> FloatArray:
        """Evaluate the fitted line with its background."""
        width = self.fwhm / FWHM_PER_SIGMA
        return line_and_slopes(columns, np.array([self.pixel, width, self.amplitude, self.below, self.above]))[0]


def no_peak(reason: str) -> Peak:
    """Give a peak that was not found."""
    nan = math.nan
    return Peak(nan, nan, nan, nan, nan, nan, nan, reason)


def find_elastic_line(
    spectrum: FloatArray,
    variance: FloatArray,
    *,
    settings: LineCriteria | None = None,
    expected_pixel: float | None = None,
    search: float = 0.0,
) -> Peak:
    """Find the elastic line of a spectrum.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts²; energy rises along the columns.
    settings : LineCriteria, optional
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
    settings = settings or LineCriteria()
    if spectrum.shape != variance.shape or spectrum.ndim != 1:
        raise ValueError(
            f"spectrum and variance have the shapes {spectrum.shape} and {variance.shape}, expected one length"
        )
    if not np.isfinite(spectrum).all():
        return no_peak("the spectrum is not measured")
    seen = _matched_filter(spectrum, variance, settings.fwhm)
    if expected_pixel is not None:
        low = max(int(expected_pixel - search), 0)
        high = min(int(expected_pixel + search) + 2, len(seen))
        if high - low < 1:
            return no_peak(f"expected at column {expected_pixel:.0f}, off the detector")
        start = low + int(seen[low:high].argmax())
        return _fit_peak(spectrum, variance, start, settings, settings.expected_significance)
    # Second-order light can excite emission above the excitation energy; it is wide, and passed over.
    refused: list[Peak] = []
    for start in _highest_features(seen, settings):
        peak = _fit_peak(spectrum, variance, start, settings, settings.significance)
        if not peak.reason:
            return peak
        refused.append(peak)
    return refused[0] if refused else no_peak("no feature stands out of the noise")


def _matched_filter(spectrum: FloatArray, variance: FloatArray, fwhm: float) -> FloatArray:
    """Significance of a line of the instrument's width at every column, over the mean of its surroundings."""
    reach = math.ceil(FILTER_REACH * fwhm)
    offsets = np.arange(-reach, reach + 1)
    template = np.exp(-0.5 * (offsets * FWHM_PER_SIGMA / fwhm) ** 2)
    template -= template.mean()
    padded, padded_variance = np.pad(spectrum, reach, mode="edge"), np.pad(variance, reach, mode="edge")
    signal = np.convolve(padded, template, mode="valid")
    noise = np.convolve(padded_variance, template**2, mode="valid")
    return np.asarray(signal / np.sqrt(np.maximum(noise, np.finfo(float).tiny)))


def _highest_features(seen: FloatArray, settings: LineCriteria) -> list[int]:
    """List the first significant maxima from the highest energy down."""
    inner = seen[1:-1]
    maxima = 1 + np.flatnonzero((inner >= seen[:-2]) & (inner > seen[2:]) & (inner > settings.significance))
    return [int(column) for column in maxima[::-1][:FEATURES]]


def _fit_peak(
    spectrum: FloatArray, variance: FloatArray, start: int, settings: LineCriteria, significance: float
) -> Peak:
    """Fit the line nearest to a column, and judge whether it is an elastic line that stands alone."""
    fwhm = settings.fwhm
    low, high = max(round(start - FIT_LEFT * fwhm), 0), min(round(start + FIT_RIGHT * fwhm), len(spectrum))
    if start - low < fwhm or high - start < fwhm:
        return no_peak(f"at column {start}, at the edge of the detector")
    columns = np.arange(low, high, dtype=float)
    counts, noise = spectrum[low:high], np.sqrt(variance[low:high])
    levels = counts[: start - low - _LINE_COLUMNS].min(), np.median(counts[-_LEVEL_COLUMNS:])
    begin = np.array([start, fwhm / FWHM_PER_SIGMA, spectrum[start], *levels])
    parameters, covariance, reduced = fit_line(columns, counts, noise, begin, fwhm=fwhm)
    centre, width, amplitude, below, above = parameters
    # Of a fit that ran away the centre lies beyond these columns, or may lie anywhere among them, or the height is
    # said to be better known than by all their counts.
    known = low <= centre < high and 0 < covariance[0, 0] < fwhm**2 and covariance[2, 2] > 0
    if not known or amplitude**2 > covariance[2, 2] * float(((counts / noise) ** 2).sum()):
        return no_peak(f"at column {start}, a fit that the counts do not determine")
    # Scatter up to 2 sigma of the reduced chi square is noise; beyond, the line has another shape.
    likely = 1 + 2 * math.sqrt(2 / (len(columns) - len(parameters)))
    peak = Peak(
        pixel=float(centre),
        sigma=math.sqrt(covariance[0, 0] * (reduced if reduced > likely else 1.0)),
        significance=float(amplitude / math.sqrt(covariance[2, 2])),
        fwhm=float(width * FWHM_PER_SIGMA),
        amplitude=float(amplitude),
        below=float(below),
        above=float(above),
        reason="",
    )
    neighbour, neighbour_sigma = _neighbour(spectrum, variance, peak, fwhm)
    reason = _why_not_elastic(peak, start, neighbour, settings, significance)
    # Emission that is seen beside the line is also under it, and biases the fit by up to its share of half the width.
    bias = 0.0 if reason else NEIGHBOUR_BIAS * fwhm * max(0.0, neighbour - 2 * neighbour_sigma)
    pull = 0.0 if reason else UNSEEN_BIAS * fwhm * (max(neighbour, 0.0) + neighbour_sigma)
    return replace(peak, sigma=math.hypot(peak.sigma, bias), reason=reason, pull=pull)


def _why_not_elastic(peak: Peak, start: int, neighbour: float, settings: LineCriteria, significance: float) -> str:
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
    """Emission just below a line (`NEIGHBOUR_FWHM`) as a share of its height, and its uncertainty."""
    nearest, farthest = NEIGHBOUR_FWHM
    place = float(np.clip(peak.pixel, 3 * fwhm, len(spectrum)))
    low, high = int(place - farthest * fwhm), int(place - nearest * fwhm)
    mean = float(spectrum[low:high].mean()) - peak.above
    height = peak.amplitude or math.inf
    return mean / height, math.sqrt(float(variance[low:high].sum())) / (high - low) / height
