"""Frames that the instrument has clipped at zero: the noise before clipping, and what clipping has taken of the light.

An instrument that subtracts more than the pedestal and stores what is left without a sign makes zeros of most dark
pixels. What remains above zero is the upper tail of their noise, and a lit pixel lacks what was subtracted too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr, ndtri

from callbacks.rixs.photon_charge import CLOUD_SIGMA

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

DARKEST = 0.1  # of the columns, by their share of zeros: those that light reaches least
NEIGHBOURS = 15  # columns over which that share is averaged, so that chance does not choose them
# Counts up to which dark pixels are looked at: seven standard deviations of the noises that were measured. Light that
# is left in dark columns, of single photons with their charge shared, is about evenly spread there.
REACH = 60
FEWEST_ABOVE = 50  # dark pixels above zero that tell their noise
LARGEST_UNCERTAINTY = 0.5  # of the logarithm of the noise
_STEPS = (0.05, 0.01, 0.05)  # of the parameters, for second derivatives
_PHOTONS = np.concatenate([[0.0], np.geomspace(0.003, 10.0, 60)])  # a pixel, of the table of what clipping takes
_BINS = 4096  # of the charge of a pixel, in that table
_POSITIONS = 61  # of a photon along a row


@dataclass(frozen=True)
class ClippedNoise:
    """Noise of dark pixels before clipping.

    Attributes
    ----------
    offset, offset_sigma : float
        Mean of a dark pixel before clipping and its standard uncertainty, counts: below zero where more than the
        pedestal was subtracted.
    noise, noise_sigma : float
        Counts rms; NaN where the frame does not tell.
    zeros : float
        Share of dark pixels that are zero.
    """

    offset: float
    offset_sigma: float
    noise: float
    noise_sigma: float
    zeros: float

    def level(self) -> float:
        """Mean of a dark pixel after clipping, counts."""
        return float(_above_zero(np.array([self.offset]), self.noise)[0])

    def give_back(self, frame: FloatArray) -> tuple[FloatArray, float]:
        """Give lit pixels back what was subtracted too much.

        Parameters
        ----------
        frame : numpy.ndarray
            Counts, as clipped.

        Returns
        -------
        image : numpy.ndarray
            Counts; the mean of dark pixels is 0.
        scatter : float
            Standard deviation of dark pixels, counts.
        """
        u = self.offset / self.noise
        height = math.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        mean, square = self.noise * height, self.noise**2 * (float(ndtr(u)) - u * height)
        return np.where(frame > 0, frame - self.offset, 0.0) - mean, math.sqrt(max(square - mean**2, 0.0))

    def with_noise(self, noise: float) -> ClippedNoise:
        """Give the offset that leaves as many zeros with another noise."""
        offset = 0.5 - noise * float(ndtri(min(max(self.zeros, 1e-6), 1 - 1e-6)))
        return ClippedNoise(offset, self.offset_sigma, noise, self.noise_sigma, self.zeros)


def find_clipped_noise(frame: FloatArray) -> ClippedNoise:
    """Fit a normal distribution, clipped at zero and rounded, to the dark columns of a frame.

    Parameters
    ----------
    frame : numpy.ndarray, shape (rows, columns)
        Counts: whole numbers, none below zero.

    Returns
    -------
    ClippedNoise

    Notes
    -----
    Maximum likelihood of how often dark pixels have each count up to `REACH`; a part that is evenly spread stands for
    light. Zeros are all that was below one half.
    """
    zeros = uniform_filter1d((frame == 0).mean(axis=0), NEIGHBOURS, mode="nearest")
    dark = frame[:, zeros >= np.quantile(zeros, 1 - DARKEST)]
    counts = np.bincount(np.clip(dark, 0, REACH + 1).astype(int).ravel(), minlength=REACH + 2)[: REACH + 1]
    total = counts.sum()
    share = float(counts[0] / total) if total else math.nan
    unknown = ClippedNoise(math.nan, math.nan, math.nan, math.nan, share)
    if counts[1:].sum() < FEWEST_ABOVE or not counts[0]:
        return unknown
    edges = np.arange(REACH + 1) + 0.5
    even = np.full(REACH + 1, 1 / REACH)
    even[0] = 0.0

    def chances(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the chance of each count, and its derivatives by offset, log of the noise and logit of the light."""
        offset, noise, light = parameters[0], math.exp(parameters[1]), float(expit(parameters[2]))
        u = (edges - offset) / noise
        height = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        below = np.stack([ndtr(u), -height / noise, -height * u])  # and its derivatives
        each, all_ = np.diff(below, prepend=0.0, axis=1), below[:, -1:]
        share = each[0] / all_[0]
        slopes = (1 - light) * (each[1:] - share * all_[1:]) / all_[0]
        chance = np.maximum((1 - light) * share + light * even, 1e-300)
        return chance, np.concatenate([slopes, light * (1 - light) * (even - share)[None]])

    def surprise(parameters: FloatArray) -> tuple[float, FloatArray]:
        chance, slopes = chances(parameters)
        return -float(counts @ np.log(chance)), -slopes @ (counts / chance)

    def information(parameters: FloatArray) -> FloatArray:
        chance, slopes = chances(parameters)
        return np.asarray((slopes * (counts.sum() / chance)) @ slopes.T)

    # From the mean square of what is above zero as if half of the noise were, and the offset that the zeros tell.
    begin = math.sqrt(float(counts[1:] @ np.arange(1, REACH + 1) ** 2) / float(counts[1:].sum()))
    start = np.array([-begin * float(ndtri(share)), math.log(begin), float(logit(0.01))])
    found = minimize(surprise, start, jac=True, hess=information, method="trust-exact", options={"gtol": 1e-3}).x
    moved = [[surprise(found + sign * step)[1] for sign in (1, -1)] for step in np.diag(_STEPS)]
    curvature = np.array([(up - down) / (2 * step) for (up, down), step in zip(moved, _STEPS, strict=True)])
    curvature = (curvature + curvature.T) / 2
    if not np.isfinite(curvature).all() or np.linalg.eigvalsh(curvature).min() <= 0:
        return unknown
    covariance = np.linalg.inv(curvature)
    if not covariance[1, 1] < LARGEST_UNCERTAINTY**2:
        return unknown
    noise = math.exp(found[1])
    return ClippedNoise(float(found[0]), math.sqrt(covariance[0, 0]), noise, noise * math.sqrt(covariance[1, 1]), share)


def _above_zero(mean: FloatArray, noise: float) -> FloatArray:
    """Give the mean of a normal distribution clipped at zero."""
    u = mean / noise
    return np.asarray(noise * np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi) + mean * ndtr(u))


def undo_clipping(means: FloatArray, found: ClippedNoise, photon_counts: float) -> tuple[FloatArray, FloatArray]:
    """Give the light in a pixel of each column that clipping has left a mean of.

    Parameters
    ----------
    means : numpy.ndarray, shape (columns,)
        Counts a pixel, as clipped, less the level of a dark pixel.
    found : ClippedNoise
    photon_counts : float
        Counts of one photon.

    Returns
    -------
    light : numpy.ndarray, shape (columns,)
        Counts a pixel.
    slope : numpy.ndarray, shape (columns,)
        By how much it changes with the mean.

    Notes
    -----
    The mean that is left of some light is that of the charge of a pixel, which follows from Poisson's law for photons
    whose charge is shared along the row, with the noise, clipped; it is tabulated and inverted.
    """
    light, left = _table(round(found.offset, 1), round(found.noise, 1), round(photon_counts, 0))
    slopes = np.gradient(light, left)
    below = means < 0
    undone = np.where(below, means * slopes[0], np.interp(means, left, light))
    beyond = means > left[-1]
    undone = np.where(beyond, light[-1] + means - left[-1], undone)
    slope = np.where(below, slopes[0], np.where(beyond, 1.0, np.interp(means, left, slopes)))
    return undone, slope


@lru_cache(maxsize=64)
def _table(offset: float, noise: float, photon_counts: float) -> tuple[FloatArray, FloatArray]:
    """Tabulate the mean that clipping leaves, less that of the dark, against light, both in counts a pixel."""
    width = photon_counts * _PHOTONS[-1] * 3 / _BINS
    at = np.linspace(-1.5 - 2 * CLOUD_SIGMA, 1.5 + 2 * CLOUD_SIGMA, _POSITIONS)
    share = ndtr((at + 0.5) / CLOUD_SIGMA) - ndtr((at - 0.5) / CLOUD_SIGMA)
    share /= share.sum() * (at[1] - at[0])
    charge = photon_counts * share / width
    low = np.floor(charge).astype(int)
    one = np.zeros(_BINS)  # the charge of a photon in a pixel, by where it lands: its integral over the row
    np.add.at(one, low, (1 - (charge - low)) * (at[1] - at[0]))
    np.add.at(one, low + 1, (charge - low) * (at[1] - at[0]))
    seen = np.fft.rfft(one) - one.sum()
    above = _above_zero(offset + width * np.arange(_BINS), noise)
    left = np.array([np.fft.irfft(np.exp(number * seen), _BINS) @ above for number in _PHOTONS])
    return photon_counts * _PHOTONS, left - above[0]
