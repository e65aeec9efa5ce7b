"""A spectrum that was flown: time bins shared over the energies asked for, and the lag between readback and counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

SIGNIFICANCE = 5.0  # sigmas by which the slopes of a spectrum must be above their noise, for a lag to be found in them
TRIALS = 41  # lags that are tried before the best is refined: between them the edge of an element is still one edge
STEPS = 20  # of the refinement at most; it doubles its digits with each
SLOPE = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) / 10.0  # of a line through five points, per step (Savitzky and Golay)


@dataclass(frozen=True)
class Sweep:
    """What was read of one sweep over a region of energies.

    Attributes
    ----------
    counts : mapping of str to numpy.ndarray, shape (bins,)
        By channel.
    bin_times : numpy.ndarray, shape (bins,)
        s, length of each time bin; they follow one another without a gap.
    energies, energy_times : numpy.ndarray, shape (samples,)
        Readbacks, eV, and when each is stamped, s since the first time bin began.
    """

    counts: Mapping[str, FloatArray]
    bin_times: FloatArray
    energies: FloatArray
    energy_times: FloatArray

    def edges(self, lag: float) -> FloatArray:
        """Give the energies, eV, shape (bins + 1,), at the ends of the time bins; NaN where they were not read.

        Parameters
        ----------
        lag : float
            s by which the times of the readbacks are late.

        Notes
        -----
        Interpolated linearly. The monochromator swings about its mean velocity; where readbacks are as dense as time
        bins and both are short against a swing, what that leaves is far below the step of a spectrum.
        """
        moments = np.concatenate([[0.0], np.cumsum(self.bin_times)]) + lag
        known = np.isfinite(self.energies) & np.isfinite(self.energy_times)
        if not known.any():
            return np.full(len(moments), np.nan)
        at: FloatArray = np.interp(moments, self.energy_times[known], self.energies[known], left=np.nan, right=np.nan)
        return at

    @property
    def longest_lag(self) -> float:
        """The lag, s, at either sign, up to which all time bins have a readback at their ends."""
        known = self.energy_times[np.isfinite(self.energies)]
        lengths = self.bin_times[np.isfinite(self.bin_times)]
        if not known.size:
            return 0.0
        return float(max(0.0, min(-known[0], known[-1] - lengths.sum())))


@dataclass(frozen=True)
class Binned:
    """What a sweep counted on a grid of energies.

    Attributes
    ----------
    counts : mapping of str to numpy.ndarray, shape (energies,)
    exposure : numpy.ndarray, shape (energies,)
        s that were counted.
    energy : numpy.ndarray, shape (energies,)
        eV, mean over that time; NaN where nothing was.
    """

    counts: Mapping[str, FloatArray]
    exposure: FloatArray
    energy: FloatArray


def grid_edges(energies: FloatArray) -> FloatArray:
    """Give the ends, eV, shape (n + 1,), of the steps in whose middle evenly spaced energies are, shape (n,)."""
    half = (energies[-1] - energies[0]) / (len(energies) - 1) / 2
    return np.concatenate([energies - half, energies[-1:] + half])


def share_out(sweep: Sweep, edges: FloatArray, *, lag: float) -> Binned:
    """Share the time bins of a sweep over bins of energy.

    Parameters
    ----------
    sweep : Sweep
    edges : numpy.ndarray, shape (energies + 1,)
        eV, ascending.
    lag : float
        s by which the times of the readbacks are late.

    Returns
    -------
    Binned

    Notes
    -----
    A time bin reaches from the energy at its beginning to that at its end, and is shared over what it covers in
    proportion, counts and time alike: conservative rebinning, exact where the rate is constant within a time bin. What
    is beyond the grid is left out.

    With m time bins in a bin of energy, each of its two ends cuts a time bin in two, on average so that of its counts
    N a share f(1 - f), 1/6 of N, is lost to the variance and found in the covariance with the neighbour. The sum then
    has the variance 1 - 1/(3m) of its counts, and a correlation of 1/(6m) with each neighbour: with ten time bins, 3 %
    less than Poisson's and 1.7 %. Uncertainties are taken as Poisson's.
    """
    ends = sweep.edges(lag)
    low, high = np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(sweep.bin_times)
    known &= np.all([np.isfinite(values) for values in sweep.counts.values()], axis=0)
    known &= (high > edges[0]) & (low < edges[-1])
    low, high = low[known], high[known]
    width = np.maximum(high - low, np.finfo(float).tiny)
    number = len(edges) - 1
    first = np.searchsorted(edges, low, side="right") - 1
    last = np.searchsorted(edges, high, side="left") - 1
    time = sweep.bin_times[known]
    exposure, moment = np.zeros(number), np.zeros(number)
    counts = {name: np.zeros(number) for name in sweep.counts}
    for step in range(int((last - first).max(initial=-1)) + 1):
        place = first + step
        inside = (place <= last) & (place >= 0) & (place < number)
        at = place[inside]
        begin, end = np.maximum(low[inside], edges[at]), np.minimum(high[inside], edges[at + 1])
        share = np.where(high[inside] > low[inside], (end - begin) / width[inside], 1.0)
        np.add.at(exposure, at, share * time[inside])
        np.add.at(moment, at, share * time[inside] * (begin + end) / 2)
        for name, values in sweep.counts.items():
            np.add.at(counts[name], at, share * values[known][inside])
    with np.errstate(invalid="ignore"):
        energy = np.where(exposure > 0, moment / exposure, np.nan)
    return Binned(counts, exposure, energy)


@dataclass(frozen=True)
class Lag:
    """By how much the times of the readbacks are late.

    Attributes
    ----------
    value, sigma : float
        s; NaN where it could not be found.
    status : str
        "ok", or why it could not.
    """

    value: float
    sigma: float
    status: str


@dataclass(frozen=True)
class Region:
    """The sweeps over one region of energies.

    Attributes
    ----------
    edges : numpy.ndarray, shape (energies + 1,)
        eV, of the grid.
    up, down : sequence of Sweep
        Those towards higher energy, and those back.
    """

    edges: FloatArray
    up: Sequence[Sweep]
    down: Sequence[Sweep]


def find_lag(regions: Sequence[Region], channel: str, i0: str) -> Lag:
    """Find the lag between readback and counts, by which spectra that are flown up and down are apart.

    Parameters
    ----------
    regions : sequence of Region
        Those that were not flown in both directions tell nothing.
    channel, i0 : str
        Which channel has structure, and what it is divided by.

    Returns
    -------
    Lag

    Notes
    -----
    Where a readback at time t tells of the energy at t - L0 and is taken for that at t - L, a spectrum r(E) that is
    flown at the velocity v appears at E + v (L - L0): the two directions differ by D = -2 v (L - L0) r'(E). By weighted
    least squares D is fitted with the slope of both together, g = 2 v r', and with r itself, since the sample or a
    channel may have changed by a factor from one sweep to the next; L is moved until nothing is left. A first value is
    the best of some that are tried, by the same squares.

    The slope is that of a line through five points, and carries noise of its own. What is common to both directions and
    what is not are independent where both have been counted for as long, so the noise does not bias D; it adds its
    variance to the squares of g, which is taken off again. Of the numerator sum(w g D) the variance is sum(w g**2) with
    that noise, of the denominator without.
    """
    pairs = [region for region in regions if region.up and region.down and len(region.edges) > len(SLOPE)]
    if not pairs:
        return Lag(math.nan, math.nan, "flown in one direction only: sweep up and down, or configure the lag")
    reach = min(sweep.longest_lag for region in pairs for sweep in (*region.up, *region.down))
    fits = [(lag, _fit(pairs, channel, i0, lag)) for lag in np.linspace(-reach, reach, TRIALS)]
    if not any(fit.squares < math.inf for _, fit in fits):
        return Lag(math.nan, math.nan, f"{channel} over {i0} is not known in both directions")
    lag, fit = min(fits, key=lambda each: each[1].squares)
    for _ in range(STEPS):
        if not fit.information > SIGNIFICANCE * fit.information_sigma:
            return Lag(math.nan, math.nan, f"{channel} has no structure that would tell it")
        lag += fit.step
        if not abs(lag) <= reach:
            return Lag(math.nan, math.nan, f"beyond the {reach:.3g} s for which the energy was read before and after")
        fit = _fit(pairs, channel, i0, lag)
        if abs(fit.step) < 0.01 * fit.sigma:
            return Lag(float(lag), fit.sigma, "ok")
    return Lag(math.nan, math.nan, f"not found within {STEPS} steps")


@dataclass(frozen=True)
class _Fit:
    """How a lag does, and the step to a better one, s."""

    squares: float  # of what is left, weighted
    step: float
    sigma: float
    information: float  # 1/s^2
    information_sigma: float


def _fit(regions: Sequence[Region], channel: str, i0: str, lag: float) -> _Fit:
    parts = [_slopes(region, channel, i0, lag) for region in regions]
    difference, variance, slope, slope_variance, mean = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = np.isfinite(difference) & np.isfinite(slope) & (variance > 0)
    if known.sum() < len(SLOPE):
        return _Fit(math.inf, math.nan, math.nan, 0.0, math.inf)
    weight = 1 / variance[known]
    difference, slope, mean = difference[known], slope[known], mean[known]
    noise = slope_variance[known]
    # A factor between the directions is fitted along: what it explains is taken out of both.
    factor = (weight * mean) / (weight @ mean**2)
    difference = difference - mean * (factor @ difference)
    slope = slope - mean * (factor @ slope)
    observed = float(weight @ slope**2)
    information = observed - float(weight @ noise)
    # Of squares of noise: twice their own, and neighbours share points of their lines.
    spread = math.sqrt(2 * float(np.sum((weight * noise) ** 2)) * len(SLOPE))
    return _Fit(
        squares=float(weight @ difference**2) / len(difference),
        step=float(weight @ (slope * difference)) / information if information > 0 else math.nan,
        sigma=math.sqrt(observed) / information if information > 0 else math.nan,
        information=information,
        information_sigma=spread,
    )


def _slopes(region: Region, channel: str, i0: str, lag: float) -> tuple[FloatArray, ...]:
    """Give for each energy but two at either end D, its variance, g, its variance, and the mean of both directions."""
    (up, up_variance), (down, down_variance) = (
        _ratio_of([share_out(sweep, region.edges, lag=lag) for sweep in sweeps], channel, i0)
        for sweeps in (region.up, region.down)
    )
    mean, mean_variance = (up + down) / 2, (up_variance + down_variance) / 4
    per_time = 2 * _velocity(region) / (region.edges[1] - region.edges[0])  # steps a second
    inner = slice(2, len(mean) - 2)
    slope = per_time * np.convolve(mean, SLOPE[::-1], mode="valid")
    slope_variance = per_time**2 * np.convolve(mean_variance, SLOPE**2, mode="valid")
    return up[inner] - down[inner], (up_variance + down_variance)[inner], slope, slope_variance, mean[inner]


def _ratio_of(binned: Sequence[Binned], channel: str, i0: str) -> tuple[FloatArray, FloatArray]:
    counts, light = (np.sum([each.counts[name] for each in binned], axis=0) for name in (channel, i0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(light > 0, counts / light, np.nan)
        return ratio, np.maximum(counts, 1.0) / light**2 + ratio**2 / light


def _velocity(region: Region) -> float:
    """Give the mean velocity of the sweeps, eV/s, over the grid."""
    times = [float(np.nansum(sweep.bin_times)) for sweep in (*region.up, *region.down)]
    return float(region.edges[-1] - region.edges[0]) / float(np.mean(times))
