"""Step 1 of a RIXS map: take the pedestal off a frame, and find the noise and gain that the next steps need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.contract import CcdConfig, Key, RixsOutput
from callbacks.step import Step

FloatArray = NDArray[np.floating]

_MAD_TO_SIGMA = 1.4826
_BLOCK_ROWS, _BLOCK_COLUMNS = 8, 4  # of the blocks whose scatter gives the gain; a photon's charge fits into one
_FEWEST_BLOCKS = 40
# Share of a photon's charge that stays within a block, in the mean over where it lands: what a charge cloud of 0.3
# pixels rms loses over the edges. It scales the scatter of block sums to the counts of a photon.
_BLOCK_SHARE = 0.87


class DarkSettings(BaseModel):
    """Settings of `DarkSubtraction`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts_per_ev: float | None = Field(None, gt=0)  # where the CCD does not say; estimated from the frames otherwise
    read_noise: float | None = Field(None, gt=0)  # counts rms


def estimate_pedestal(frame: FloatArray) -> tuple[float, float]:
    """Estimate the level of pixels without light, and their noise, from a frame with light on it.

    Parameters
    ----------
    frame : numpy.ndarray, shape (rows, columns)
        Counts.

    Returns
    -------
    level, noise : float
        Counts, and counts rms.

    Notes
    -----
    Light only adds. The noise is taken from the pixels below the level, and pixels more than 2.5 times the noise above
    it are left out of the mean until it stays where it is.
    """
    values = frame.ravel()
    level = float(np.median(values))
    noise = 1.0
    for _ in range(20):
        below = level - values[values < level]
        noise = max(float(np.median(below)) * _MAD_TO_SIGMA, 0.3) if below.size else 0.3
        dark = values[np.abs(values - level) < 2.5 * noise]
        before, level = level, float(dark.mean())
        if abs(level - before) < 0.01 * noise:
            break
    return level, noise


def estimate_clipped_noise(frame: FloatArray) -> tuple[float, float]:
    """Estimate level and noise of dark pixels where the instrument has clipped the frame at zero.

    Parameters
    ----------
    frame : numpy.ndarray, shape (rows, columns)
        Counts, none below zero.

    Returns
    -------
    level, noise : float
        Mean of a dark pixel (clipping leaves a positive one) and counts rms before clipping.
    """
    positive = frame[frame > 0]
    if positive.size < 100:
        return 0.0, 1.0
    limit = float(np.median(positive))
    for _ in range(20):
        before, limit = limit, 4.0 * float(np.sqrt(np.mean(positive[positive <= limit] ** 2)))
        if abs(limit - before) < 0.01 * limit:
            break
    noise = limit / 4.0
    dark = frame[frame <= 2.5 * noise]
    return float(dark.mean()), noise


def estimate_photon_counts(image: FloatArray, *, read_noise: float) -> tuple[float, float, str]:
    """Estimate the counts of one photon from how blocks of equal emission energy scatter.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed.
    read_noise : float
        Counts rms a pixel.

    Returns
    -------
    photon_counts, sigma : float
        NaN where the frame cannot tell.
    reason : str
        "" or why it cannot.

    Notes
    -----
    N photons of g counts scatter by g sqrt(N): the variance of the counts of a block over their mean is g, in each
    group of columns. The median over the groups passes cosmic rays by.
    """
    rows, columns = image.shape
    n_rows, n_columns = rows // _BLOCK_ROWS, columns // _BLOCK_COLUMNS
    if n_rows < 4:
        return math.nan, math.nan, f"{rows} rows are too few to see the scatter of photons"
    trimmed = image[: n_rows * _BLOCK_ROWS, : n_columns * _BLOCK_COLUMNS]
    sums = trimmed.reshape(n_rows, _BLOCK_ROWS, n_columns, _BLOCK_COLUMNS).sum(axis=(1, 3))
    # Neighbouring blocks are compared: an uneven illumination of the slit and a tilted line are no scatter.
    mean, scatter = sums.mean(axis=0), 0.5 * (np.diff(sums, axis=0) ** 2).mean(axis=0)
    middle, high = np.percentile(mean, (50, 95))
    bright = (mean > middle) & (mean < high)  # at the brightest, a line moves more than photons scatter
    if mean[bright].sum() <= 0:
        return math.nan, math.nan, "no light in the frame"
    # The median resists cosmic rays and is biased low where photons are few; with it, hits are told from photons, and
    # the sums over what is left are unbiased.
    first = float(np.median(scatter[bright] / mean[bright]))
    largest = mean + 3 * first + 6 * np.sqrt(first * np.clip(mean, 0, None))
    used = bright & (sums.max(axis=0) < largest)
    total, freedom = float(mean[used].sum()), n_rows - 1
    if used.sum() < _FEWEST_BLOCKS or total < 5 * first:
        return math.nan, math.nan, "too few photons in the frame to see their scatter"
    noise = _BLOCK_ROWS * _BLOCK_COLUMNS * read_noise**2
    photon_counts = float((scatter[used] - noise).sum()) / total / _BLOCK_SHARE
    sigma = math.sqrt(2 / freedom * float((scatter[used] ** 2).sum()) + first**2 * total) / total / _BLOCK_SHARE
    if not photon_counts > 3 * sigma:
        return math.nan, math.nan, "too few photons in the frame to see their scatter"
    return photon_counts, sigma, ""


class DarkSubtraction(Step):
    """Take the pedestal off each frame.

    With dark frames it is their mean, pixel by pixel, plus what the pedestal has drifted since, as one number; without,
    one number found in the frame; where the instrument has subtracted it and clipped the frame, the mean that clipping
    leaves of the noise. Dark frames that come after light frames replace those before.
    """

    kept = (
        RixsOutput.PEDESTAL,
        RixsOutput.READ_NOISE,
        RixsOutput.PHOTON_COUNTS,
    )

    def __init__(self, settings: DarkSettings) -> None:
        self._settings = settings
        self._dark_sum: FloatArray | None = None
        self._n_dark = 0
        self._replace = False  # light frames came: the next dark frame begins a new set
        self._photon_counts_per_ev: list[float] = []

    def push_dark(self, event: Mapping[str, Any]) -> None:
        """Take a dark frame."""
        frame = np.asarray(event[Key.CCD_DARK_IMAGE], dtype=float)
        if self._dark_sum is None or self._replace or self._dark_sum.shape != frame.shape:
            self._dark_sum, self._n_dark, self._replace = np.zeros(frame.shape), 0, False
        self._dark_sum += frame
        self._n_dark += 1

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame as read; give it without its pedestal, with its noise and the counts of a photon."""
        raw = np.asarray(event[Key.CCD_IMAGE])
        image = raw.astype(float)
        saturated = raw >= _known(event.get(CcdConfig.FULL_SCALE), math.inf)
        self._replace = True
        if event.get(CcdConfig.PEDESTAL_SUBTRACTED):
            level, noise = estimate_clipped_noise(image)
        else:
            if self._dark_sum is not None and self._dark_sum.shape == image.shape:
                image -= self._dark_sum / self._n_dark
            level, noise = estimate_pedestal(image)
        image -= level
        noise = _known(event.get(CcdConfig.READ_NOISE), self._settings.read_noise or noise)
        if self._dark_sum is not None:
            noise *= math.sqrt(1 + 1 / self._n_dark)  # the dark frames' own
        photon_counts, reason = self._photon_counts(event, image, noise)
        return {
            RixsOutput.IMAGE: image,
            RixsOutput.SATURATED: saturated,
            RixsOutput.PEDESTAL: level,
            RixsOutput.READ_NOISE: noise,
            RixsOutput.PHOTON_COUNTS: photon_counts,
            RixsOutput.PHOTON_COUNTS_REASON: reason,
        }

    def _photon_counts(self, event: Mapping[str, Any], image: FloatArray, noise: float) -> tuple[float, str]:
        """Give the counts of a photon: known, or the median of the estimates from the frames so far."""
        energy = float(event[Key.ENERGY])
        known = self._settings.counts_per_ev or _known(event.get(CcdConfig.COUNTS_PER_EV), math.nan)
        if math.isfinite(known):
            return known * energy, ""
        estimate, _, reason = estimate_photon_counts(image, read_noise=noise)
        if not reason:
            self._photon_counts_per_ev.append(estimate / energy)
        if not self._photon_counts_per_ev:
            return math.nan, reason
        return float(np.median(self._photon_counts_per_ev)) * energy, ""


def _known(value: Any, otherwise: float) -> float:
    return float(value) if value is not None and math.isfinite(float(value)) else otherwise
