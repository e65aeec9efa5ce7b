"""Step 1 of a RIXS map: subtract the pedestal of a frame, and find the noise and gain that the next steps need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.contract import CcdConfig, Key, RixsOutput
from callbacks.rixs.clipping import ClippedNoise, find_clipped_noise
from callbacks.rixs.compiled import count_whole
from callbacks.step import Step, UnusableError

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.intp]

# Of a normal distribution, to the digits that stored noises were computed with. The deviations are those of pixels
# below the level only, which scipy's median_abs_deviation does not know.
MAD_TO_SIGMA = 1.4826
NOISE_REACH = 2.5  # sigmas about the level that the mean is taken over: light beyond is left out, 1 % of the noise too
LEAST_NOISE = 0.3  # counts: frames are whole numbers, which alone scatter by 1 / sqrt(12)
_ITERATIONS, _CONVERGED = 20, 0.01  # of both, in sigmas
DARK_HIT = 6.0  # standard deviations of the difference of two dark frames; of noise one pixel in 10^9 lies beyond
CLIPPED_NOISE = 8.0  # counts rms, where no frame so far tells it: that of the instrument that clips
BLOCK_ROWS, BLOCK_COLUMNS = 8, 4  # of the blocks whose scatter gives the gain; a photon's charge fits into one
FEWEST_BLOCKS, FEWEST_LIT = 40, 8  # columns of blocks; of those that are lit brightly enough
# Share f of a photon's charge within a block, as the scatter of block sums sees it: E[f^2] / E[f] over where photons
# land, for the charge cloud that was measured: between those of an unbinned chip, 0.81, and with 8 rows binned, 0.86.
BLOCK_SHARE = 0.835
LARGEST_SATURATED = 0.5  # share of the pixels: with more, the median of the frame is full scale, and nothing is dark


def mean_of_dark_frames(frames: Sequence[NDArray[Any]]) -> FloatArray:
    """Average dark frames, without the cosmic rays that crossed one of them.

    Parameters
    ----------
    frames : sequence of numpy.ndarray, shape (rows, columns)
        Counts.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        The mean, for each pixel, of the frames in which it is not above its lowest value by more than `DARK_HIT`
        standard deviations of such a difference; with one frame that frame.

    Notes
    -----
    A cosmic ray in a dark frame would be missing from every frame that it is subtracted from. The noise is told by the
    median of the differences of the first two frames, which hits do not move.
    """
    if len(frames) == 1:
        return np.asarray(frames[0], dtype=float)
    levels = [float(np.median(frame)) for frame in frames]  # which drift from frame to frame
    shapes = [np.subtract(frame, level, dtype=np.float32) for frame, level in zip(frames, levels, strict=True)]
    between = float(np.median(np.abs(shapes[0] - shapes[1]))) * MAD_TO_SIGMA
    highest = np.minimum.reduce(shapes) + DARK_HIT * max(between, LEAST_NOISE)
    hits = [shape > highest for shape in shapes]
    kept = len(frames) - np.sum(hits, axis=0)
    shape = sum(np.where(hit, 0.0, each) for hit, each in zip(hits, shapes, strict=True)) / kept
    # In place of a hit the others' mean, to a whole count: the sum of all stays one, by which the pedestal is found.
    filled = (
        np.where(hit, np.rint(shape + level), frame) for hit, level, frame in zip(hits, levels, frames, strict=True)
    )
    return np.asarray(sum(filled) / len(frames))


class DarkSettings(BaseModel):
    """Settings of `DarkSubtraction`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts_per_ev: float | None = Field(None, gt=0)  # where the CCD does not say; estimated from the frames otherwise
    read_noise: float | None = Field(None, gt=0)  # counts rms


def estimate_pedestal(frame: FloatArray, *, parts: int = 1) -> tuple[float, float]:
    """Estimate the level of pixels without light, and their noise, from a frame with light on it.

    Parameters
    ----------
    frame : numpy.ndarray, shape (rows, columns)
        Counts.
    parts : int
        All counts are whole multiples of one part in so many: as many as there were dark frames in a mean that was
        subtracted. Where they are not, the estimate is the same, and takes several times as long.

    Returns
    -------
    level, noise : float
        Counts, and counts rms. The level is NaN where a count is.

    Notes
    -----
    Light only adds. The noise is taken from the pixels below the level; pixels farther than 2.5 times the noise from
    the level are left out of the mean, until it no longer changes.
    """
    values, counts = _distinct(frame, parts)
    if np.isnan(values[-1]):
        return math.nan, LEAST_NOISE
    up_to = np.cumsum(counts)
    level = _median(values, up_to, int(up_to[-1]))
    noise = 1.0
    for _ in range(_ITERATIONS):
        n_below = int(counts[values < level].sum())
        noise = max((level - _median(values, up_to, n_below)) * MAD_TO_SIGMA, LEAST_NOISE) if n_below else LEAST_NOISE
        dark = np.abs(values - level) < NOISE_REACH * noise
        before, level = level, _mean(values[dark], counts[dark])
        if abs(level - before) < _CONVERGED * noise:
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
        Mean of a dark pixel (clipping leaves a positive one) and counts rms before clipping; NaN where the frame does
        not tell. See `callbacks.rixs.clipping.find_clipped_noise`, which also gives their uncertainties.
    """
    found = find_clipped_noise(frame)
    return found.level(), found.noise


def _distinct(frame: FloatArray, parts: int = 1) -> tuple[FloatArray, IndexArray]:
    """Give the values of a frame, ascending, and how many pixels have each: a few thousand stand for millions."""
    flat = frame.ravel()
    return count_whole(flat, parts=parts) or np.unique(flat, return_counts=True)


def _mean(values: FloatArray, counts: IndexArray) -> float:
    return float((values * counts).sum() / counts.sum())


def _median(values: FloatArray, up_to: IndexArray, number: int) -> float:
    """Give the median of the lowest so many pixels, by how many there are up to each value."""
    lower, upper = values[np.searchsorted(up_to, ((number - 1) // 2, number // 2), side="right")]
    return float(lower + upper) / 2


def estimate_photon_counts(
    image: FloatArray, *, read_noise: float, least: float | None = None
) -> tuple[float, float, str]:
    """Estimate the counts of one photon from how blocks of equal emission energy scatter.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed.
    read_noise : float
        Counts rms a pixel.
    least : float, optional
        Mean counts a pixel of the columns that are looked at: where a frame was clipped, dim ones do not scatter as
        photons do. The brighter half of all, but for the brightest, where not given.

    Returns
    -------
    photon_counts, sigma : float
        NaN where the frame cannot tell.
    reason : str
        "" or why it cannot.

    Notes
    -----
    N photons of g counts scatter by g sqrt(N): the variance of the counts of a block over their mean is g, in each
    group of columns. Groups with a cosmic ray are left out: the median over the groups, which is insensitive to them,
    tells them apart.
    """
    sums = _block_sums(image)
    n_rows = len(sums)
    if n_rows < 4:
        return math.nan, math.nan, f"{len(image)} rows are too few to see the scatter of photons"
    # Neighbouring blocks are compared: an uneven illumination of the slit and a tilted line are no scatter.
    mean, scatter = sums.mean(axis=0), 0.5 * (np.diff(sums, axis=0) ** 2).mean(axis=0)
    middle, high = np.percentile(mean, (50, 95))
    bright = (mean > max(middle, 0.0)) & (mean < high)  # at the brightest, a line moves more than photons scatter
    if least is not None:
        bright = mean > BLOCK_ROWS * BLOCK_COLUMNS * least
    if not bright.any() or mean[bright].sum() <= 0:
        return math.nan, math.nan, "no light in the frame"
    # The median is insensitive to cosmic rays, and biased low where photons are few; with it, hits are told apart from
    # photons, and the sums over the rest are unbiased.
    first = float(np.median(scatter[bright] / mean[bright]))
    largest = mean + 3 * first + 6 * np.sqrt(first * np.clip(mean, 0, None))
    used = bright & (sums.max(axis=0) < largest)
    total, freedom = float(mean[used].sum()), n_rows - 1
    if used.sum() < (FEWEST_BLOCKS if least is None else FEWEST_LIT) or total < 5 * first:
        return math.nan, math.nan, "too few photons in the frame to see their scatter"
    noise = BLOCK_ROWS * BLOCK_COLUMNS * read_noise**2
    photon_counts = float((scatter[used] - noise).sum()) / total / BLOCK_SHARE
    sigma = math.sqrt(2 / freedom * float((scatter[used] ** 2).sum()) + first**2 * total) / total / BLOCK_SHARE
    if not photon_counts > 3 * sigma:
        return math.nan, math.nan, "too few photons in the frame to see their scatter"
    return photon_counts, sigma, ""


def _block_sums(image: FloatArray) -> FloatArray:
    """Sum blocks of pixels, shape (rows of blocks, columns of blocks); what does not fill a block is left out."""
    n_rows, n_columns = image.shape[0] // BLOCK_ROWS, image.shape[1] // BLOCK_COLUMNS
    trimmed = image[: n_rows * BLOCK_ROWS, : n_columns * BLOCK_COLUMNS]
    along = trimmed.reshape(n_rows, BLOCK_ROWS, -1).sum(axis=1)  # in the order of the memory
    return np.asarray(along.reshape(n_rows, n_columns, BLOCK_COLUMNS).sum(axis=2))


def largest_count(dtype: np.dtype[Any]) -> float:
    """Give the largest count that a frame of this type can hold, which is full scale where the camera says none."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else math.inf


class DarkSubtraction(Step):
    """Subtract the pedestal of each frame.

    With dark frames it is their mean, pixel by pixel, plus the drift of the pedestal since, as one number; without dark
    frames one number found in the frame; where the instrument has subtracted it and clipped the frame, the mean that
    clipping leaves of the noise. Dark frames that come after light frames replace those before. A frame that is mostly
    saturated, or has no level, is refused.
    """

    kept = (
        RixsOutput.PEDESTAL,
        RixsOutput.READ_NOISE,
        RixsOutput.PHOTON_COUNTS,
    )

    def __init__(self, settings: DarkSettings) -> None:
        self._settings = settings
        self._dark_frames: list[NDArray[Any]] = []
        self._dark: FloatArray | None = None  # their mean, once it is needed
        self._replace = False  # light frames came: the next dark frame begins a new set
        self._photon_counts_per_ev: list[float] = []
        self._noises: list[tuple[float, float]] = []  # of clipped frames, with their uncertainties

    def push_dark(self, event: Mapping[str, Any]) -> None:
        """Take a dark frame."""
        frame = np.asarray(event[Key.CCD_DARK_IMAGE])
        if self._replace or (self._dark_frames and self._dark_frames[0].shape != frame.shape):
            self._dark_frames.clear()
        self._replace, self._dark = False, None
        self._dark_frames.append(frame)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame as read; give it without its pedestal, with its noise and the counts of a photon."""
        raw = np.asarray(event[Key.CCD_IMAGE])
        image = raw.astype(float)
        saturated = raw >= _known(event.get(CcdConfig.FULL_SCALE), largest_count(raw.dtype))
        self._replace = True
        if (share := float(saturated.mean())) > LARGEST_SATURATED:
            raise UnusableError(f"{share:.0%} of the pixels are saturated: neither pedestal nor light is known")
        if not np.isfinite(image.sum()):
            raise UnusableError("the frame holds values that are not finite")
        clipping = self._clipping(image) if event.get(CcdConfig.PEDESTAL_SUBTRACTED) else None
        if clipping is not None:
            level, noise = clipping.level(), clipping.noise
        else:
            parts = 1
            if self._dark_frames and self._dark_frames[0].shape == image.shape:
                if self._dark is None:
                    self._dark = mean_of_dark_frames(self._dark_frames)
                image -= self._dark
                parts = len(self._dark_frames)
            level, noise = estimate_pedestal(image, parts=parts)
        if not math.isfinite(level):
            raise UnusableError("the frame has no dark pixels that tell its level without light")
        image -= level
        noise = _known(event.get(CcdConfig.READ_NOISE), self._settings.read_noise or noise)
        if self._dark_frames:
            noise *= math.sqrt(1 + 1 / len(self._dark_frames))  # the dark frames' own
        photon_counts, reason = self._photon_counts(event, image, noise, clipping)
        return {
            RixsOutput.IMAGE: image,
            RixsOutput.SATURATED: saturated,
            RixsOutput.PEDESTAL: level,
            RixsOutput.READ_NOISE: noise,
            RixsOutput.CLIPPING: clipping,
            RixsOutput.PHOTON_COUNTS: photon_counts,
            RixsOutput.PHOTON_COUNTS_REASON: reason,
        }

    def _clipping(self, image: FloatArray) -> ClippedNoise:
        """Find how a frame was clipped; the noise is the camera's, and all frames so far tell it."""
        found = find_clipped_noise(image)
        if math.isfinite(found.noise):
            self._noises.append((found.noise, found.noise_sigma))
        if not self._noises:
            return found.with_noise(CLIPPED_NOISE)
        noises, sigmas = np.array(self._noises).T
        return found.with_noise(float(np.exp(np.average(np.log(noises), weights=(noises / sigmas) ** 2))))

    def _photon_counts(
        self, event: Mapping[str, Any], image: FloatArray, noise: float, clipping: ClippedNoise | None
    ) -> tuple[float, str]:
        """Give the counts of a photon: known, or the median of the estimates from the frames so far."""
        energy = float(event[Key.ENERGY])
        known = self._settings.counts_per_ev or _known(event.get(CcdConfig.COUNTS_PER_EV), math.nan)
        if math.isfinite(known):
            return known * energy, ""
        if clipping is not None:
            lit, scatter = clipping.give_back(image + clipping.level())
            estimate, _, reason = estimate_photon_counts(lit, read_noise=scatter, least=noise)
        else:
            estimate, _, reason = estimate_photon_counts(image, read_noise=noise)
        if not reason:
            self._photon_counts_per_ev.append(estimate / energy)
        if not self._photon_counts_per_ev:
            return math.nan, reason
        return float(np.median(self._photon_counts_per_ev)) * energy, ""


def _known(value: Any, otherwise: float) -> float:
    return float(value) if value is not None and math.isfinite(float(value)) else otherwise
