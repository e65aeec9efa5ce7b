"""How far a spectrograph has drifted since the first frame, by light that does not follow the excitation energy.

Fluorescence of elements whose edge is elsewhere stays at its emission energy: where it moves on the chip, the chip has
moved. Frames of one energy that were taken at different times say the same. Between them the drift is a smooth function
of time, and where nothing tells it, it is as uncertain as drifts of such instruments are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter1d

from callbacks.rixs.calibration import Displacements

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

UNKNOWN_TIME = 300.0  # s that frames lie apart whose times and exposures are not known: such frames take minutes
MOST_KNOTS = 24  # of the drift as a function of time, a straight line between two
SMOOTHING = 1.5  # columns rms, narrower than any line
# Of the window around a line, rms: the template's own noise must not be what is followed. It is a fifth of a Gaussian
# line's width.
TEMPLATE_SMOOTHING = 0.03
LEAST_PROMINENCE = 8.0  # standard uncertainties by which a line stands out of the mean spectrum
SURROUNDINGS = 200  # columns that it stands out of
WIDTH_SHARE = 0.9  # of its prominence down to which a line's width is taken: to its feet
LARGEST_REACH, LEAST_REACH = 80, 12  # columns on either side of a line that are compared
# Columns: where a frame tells a line's place less well, frames are summed; a fit to so few photons finds other places.
WANTED_SIGMA, FEWEST_GROUPS = 1.0, 3
LARGEST_MEAN_SIGMA = 0.5  # columns, of the mean of all frames: a line that tells less is none
LARGEST_SIGMA = 4.0  # columns; a frame that tells less of a line's place than this tells nothing
LARGEST_DRIFT = 20.0  # columns
# A line of the element whose edge is scanned grows with its absorption, and moves with the excitation. One of another
# element grows with the incident light, and loses where the edge takes light from it.
GROWTH, LOSS = 1.6, 0.3  # over its median
FEWEST_FRAMES = 6  # in which a line must be seen
_STEPS, _CONVERGED = 5, 0.1  # of the fit of a template, each with the template of before; shares of the uncertainty
_CAP = 4.0  # sigmas that a column's residual counts for at most: what a cosmic ray leaves
_INFLATIONS = 4  # times that uncertainties are brought to the scatter about the drift


class DriftSettings(BaseModel):
    """What is known of the drift of a spectrograph before it is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Mean rates of five maps of four hours, one after another, were -1.5, -1.9, 0.0, 0.6 and 1.5 columns/h.
    rate: float = Field(1.45, ge=0)  # columns/h, rms
    persistence: float = Field(6.0, gt=0)  # h, over which the rate stays the same
    track: bool = True  # by fluorescence


@dataclass(frozen=True)
class Moved:
    """A comparison of frames: the drift of some less that of others.

    Attributes
    ----------
    frames : numpy.ndarray of int, shape (n,)
    shift, sigma : numpy.ndarray, shape (n,)
        Columns.
    against : numpy.ndarray of int, shape (n,), or None
        The frames that they are compared with; None where they are compared with a place that is not known.
    """

    frames: NDArray[np.intp]
    shift: FloatArray
    sigma: FloatArray
    against: NDArray[np.intp] | None


def prior_covariance(times: FloatArray, settings: DriftSettings) -> FloatArray:
    """Give the covariance of the drift since time 0 at some times (h), columns².

    The rate is a stationary process with exponential correlation (an Ornstein-Uhlenbeck process); the drift is its
    integral.
    """
    first, second = np.meshgrid(times, times, indexing="ij")
    tau = settings.persistence
    decays = np.exp(-first / tau) + np.exp(-second / tau) - 1 - np.exp(-np.abs(first - second) / tau)
    return np.asarray(settings.rate**2 * tau * (2 * np.minimum(first, second) + tau * decays))


def find_drift(times: FloatArray, moved: Sequence[Moved], settings: DriftSettings) -> Displacements:
    """Find the drift of frames since the first from comparisons among them.

    Parameters
    ----------
    times : numpy.ndarray, shape (n,)
        h since the first frame, ascending.
    moved : sequence of Moved
    settings : DriftSettings

    Returns
    -------
    Displacements
        Of all frames; the first has none.

    Notes
    -----
    The drift at some times (knots) is estimated by least squares from the comparisons and from what is known before
    (C. Rasmussen and C. Williams, "Gaussian Processes for Machine Learning", 2006, section 2.2; between the knots it
    runs straight). Where comparisons of one kind scatter about it more than their uncertainties explain, these are
    scaled up.
    """
    to_knots, prior = _knots(times, settings)
    scales = [1.0] * len(moved)
    mean, factor = np.zeros(prior.shape[1]), np.eye(prior.shape[1])
    for _ in range(_INFLATIONS if moved else 0):
        precision, pull = np.eye(prior.shape[1]), np.zeros(prior.shape[1])
        for one, scale in zip(moved, scales, strict=True):
            design = to_knots[one.frames] @ prior
            weight = 1 / (scale * one.sigma) ** 2
            shift = one.shift
            if one.against is None:  # about the weighted mean, whose place is not known
                design = design - weight @ design / weight.sum()
                shift = shift - weight @ shift / weight.sum()
            else:
                design = design - to_knots[one.against] @ prior
            precision += design.T @ (weight[:, None] * design)
            pull += design.T @ (weight * shift)
        factor = np.linalg.inv(np.linalg.cholesky(precision)).T
        mean = factor @ (factor.T @ pull)
        again = [_scatter(one, to_knots @ (prior @ mean)) for one in moved]
        if np.allclose(again, scales, rtol=0.05):
            break
        scales = again
    through = to_knots @ prior
    return Displacements(through @ mean, through @ factor)


def _scatter(one: Moved, drift: FloatArray) -> float:
    """Give the factor that brings the uncertainties of comparisons to their scatter about a drift; at least 1."""
    left, weight = one.shift - drift[one.frames], 1 / one.sigma**2
    left = left - weight @ left / weight.sum() if one.against is None else left + drift[one.against]
    freedom = len(left) - 2
    return max(1.0, float(np.sqrt(weight @ left**2 / freedom))) if freedom > 0 else 1.0


def _knots(times: FloatArray, settings: DriftSettings) -> tuple[FloatArray, FloatArray]:
    """Give the matrix that leads from knots to frames, and a root of the knots' covariance."""
    span = float(times[-1]) if len(times) else 0.0
    if not span > 0 or not settings.rate > 0:
        return np.zeros((len(times), 1)), np.zeros((1, 1))
    number = min(MOST_KNOTS, len(times))
    knots = np.linspace(0.0, span, number)
    step = knots[1]
    at = np.minimum((times / step).astype(int), number - 2)
    beyond = times / step - at
    to_knots = np.zeros((len(times), number))
    rows = np.arange(len(times))
    to_knots[rows, at], to_knots[rows, at + 1] = 1 - beyond, beyond
    root = np.zeros((number, number - 1))
    root[1:] = np.linalg.cholesky(prior_covariance(knots[1:], settings) + 1e-12 * np.eye(number - 1))
    return to_knots, root


def find_lines(spectrum: FloatArray, variance: FloatArray) -> list[slice]:
    """Find the windows around the lines that stand out of a mean spectrum, none of which overlap.

    Parameters
    ----------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts².
    """
    from scipy.signal import find_peaks, peak_prominences  # noqa: PLC0415 - 1.4 s, which only the first frame waits

    width = 2 * SMOOTHING
    smooth = gaussian_filter1d(spectrum, width, mode="nearest")
    noise = np.sqrt(gaussian_filter1d(variance, 2 * width, mode="nearest") / (2 * np.sqrt(np.pi) * width))
    peaks, _ = find_peaks(smooth)
    prominence, *_ = peak_prominences(smooth, peaks, wlen=2 * SURROUNDINGS + 1)
    found: list[slice] = []
    for number in np.argsort(-prominence, kind="stable"):
        peak = int(peaks[number])
        if prominence[number] < LEAST_PROMINENCE * noise[peak]:
            continue
        foot = smooth[peak] - WIDTH_SHARE * prominence[number]
        below, above = np.flatnonzero(smooth[:peak] < foot), np.flatnonzero(smooth[peak:] < foot)
        left = peak - int(below[-1]) if below.size else LARGEST_REACH
        right = int(above[0]) if above.size else LARGEST_REACH
        reach = int(np.clip(1.3 * max(left, right), LEAST_REACH, LARGEST_REACH))
        window = slice(peak - reach, peak + reach + 1)
        if window.start < 1 or window.stop >= len(spectrum):  # what stands still at an end is shadow, not light
            continue
        if all(window.stop <= other.start or window.start >= other.stop for other in found):
            found.append(window)
    return sorted(found, key=lambda window: window.start)


def line_centre(spectrum: FloatArray, variance: FloatArray) -> tuple[float, float]:
    """Give the place of a line in its window, and the standard uncertainty: the mean of its upper half, columns."""
    smooth = gaussian_filter1d(spectrum, 2 * SMOOTHING, mode="nearest")
    peak = int(smooth.argmax())
    half = smooth < (smooth[peak] + np.quantile(smooth, 0.1)) / 2
    low = np.flatnonzero(half[:peak])[-1] + 1 if half[:peak].any() else 0
    high = peak + (np.flatnonzero(half[peak:])[0] if half[peak:].any() else len(half) - peak)
    weight, at = np.clip(spectrum[low:high], 0, None), np.arange(low, high)
    total = float(weight.sum()) or 1.0
    centre = float(weight @ at) / total
    return centre, float(np.sqrt(((at - centre) ** 2) @ variance[low:high])) / total + 1 / np.sqrt(12)


def follow_line(
    spectra: FloatArray, variances: FloatArray, window: slice, start: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Follow a line through frames: by the shift and the strength with which their mean fits each best.

    Parameters
    ----------
    spectra, variances : numpy.ndarray, shape (n, columns)
        Counts and counts².
    window : slice
        Columns.
    start : numpy.ndarray, shape (n,)
        Where to begin, columns to the right.

    Returns
    -------
    shift, sigma : numpy.ndarray, shape (n,)
        Columns to the right, about their mean, and standard uncertainty.
    strength : numpy.ndarray, shape (n,)
        Counts.
    """
    columns = np.arange(window.start, window.stop, dtype=float)
    every = np.arange(spectra.shape[1], dtype=float)
    margin = int(LARGEST_DRIFT) + 3
    near = slice(max(0, window.start - margin), min(spectra.shape[1], window.stop + margin))
    values = spectra[:, window]
    weight = 1 / np.maximum(gaussian_filter1d(variances[:, near], 4.0, axis=1, mode="nearest"), np.finfo(float).tiny)
    weight = weight[:, window.start - near.start :][:, : len(columns)]
    smoothing = max(SMOOTHING, TEMPLATE_SMOOTHING * len(columns))
    shift = start.copy()
    sigma = np.full(len(spectra), np.nan)
    strength = np.zeros(len(spectra))
    for _ in range(_STEPS):
        aligned = [
            np.interp(every[near] + by, every[near], row) for by, row in zip(shift, spectra[:, near], strict=True)
        ]
        template = gaussian_filter1d(np.mean(aligned, axis=0), smoothing, mode="nearest")
        slope = np.gradient(template)
        at = columns - shift[:, None]
        modelled, sloping = (np.interp(at, every[near], one) for one in (template, -slope))
        bounded = weight
        for _ in range(2):
            # Three numbers for each frame: strength, a level below, and a further shift.
            design = np.stack([modelled, np.ones_like(modelled), sloping], axis=1)
            weighted = design * bounded[:, None]
            normal = weighted @ design.transpose(0, 2, 1)
            normal += 1e-9 * np.einsum("nii->ni", normal)[:, :, None] * np.eye(3)
            solution = np.linalg.solve(normal, weighted @ values[:, :, None])[:, :, 0]
            residual = values - np.einsum("nk,nkc->nc", solution, design)
            far = np.abs(residual) * np.sqrt(weight) / _CAP
            bounded = weight / np.maximum(far, 1.0)
        gain = np.where(np.abs(solution[:, 0]) > 1e-3, solution[:, 0], np.nan)
        step = np.clip(np.nan_to_num(solution[:, 2] / gain), -2.0, 2.0)
        shift = np.clip(shift + step, -LARGEST_DRIFT, LARGEST_DRIFT)
        sigma = np.sqrt(np.linalg.inv(normal)[:, 2, 2]) / np.abs(gain)
        strength = solution[:, 0] * float(template.max() - template.min())
        if not (np.abs(step) > _CONVERGED * sigma).any():
            break
    return shift, sigma, strength


def track(
    spectra: FloatArray, variances: FloatArray, factors: FloatArray, start: FloatArray
) -> tuple[list[Moved], NDArray[np.intp]]:
    """Follow all lines that do not follow the excitation.

    Parameters
    ----------
    spectra, variances : numpy.ndarray, shape (n, columns)
        Counts and counts², in the order of time.
    factors : numpy.ndarray, shape (n,)
        That normalise each to the incident light; NaN where not known.
    start : numpy.ndarray, shape (n,)
        The drift as far as it is known, columns.

    Returns
    -------
    moved : list of Moved
        One for each line.
    columns : numpy.ndarray of int
        Where they are.
    """
    moved, places = [], []
    if len(spectra) < FEWEST_FRAMES:
        return [], np.zeros(0, dtype=np.intp)
    mean = spectra.mean(axis=0)
    for window in find_lines(mean, variances.mean(axis=0) / len(spectra)):
        shift, sigma, strength = follow_line(spectra, variances, window, start)
        middle = np.arange(len(spectra))
        typical = float(np.nanmedian(sigma)) if np.isfinite(sigma).any() else np.inf
        together = 2 * int(min((typical / WANTED_SIGMA) ** 2, len(spectra)) / 2) + 1
        if together > 1:  # a line of few photons is seen in the sum of several frames only
            groups = [slice(first, first + together) for first in range(0, len(spectra) - together + 1, together)]
            if len(groups) < FEWEST_GROUPS:
                continue
            shift, sigma, strength = follow_line(
                np.array([spectra[group].sum(axis=0) for group in groups]),
                np.array([variances[group].sum(axis=0) for group in groups]),
                window,
                np.array([start[group].mean() for group in groups]),
            )
            middle = np.array([group.start + together // 2 for group in groups])
            strength = strength / together
        light = strength * factors[middle]
        usable = np.isfinite(sigma) & (sigma < LARGEST_SIGMA) & (np.abs(shift) < LARGEST_DRIFT)
        if usable.sum() < len(usable) / 2 or not (sigma[usable] ** -2.0).sum() > LARGEST_MEAN_SIGMA**-2:
            continue
        known = light[np.isfinite(light)]
        if known.size:
            usual = np.median(known)
            strong = np.quantile(known, (0.05, 0.95))
            if not (LOSS * usual < strong[0] and strong[1] < GROWTH * usual):
                continue
        moved.append(Moved(middle[usable], shift[usable], sigma[usable], None))
        places.append(window.start + int(mean[window].argmax()))
    return moved, np.array(places, dtype=np.intp)
