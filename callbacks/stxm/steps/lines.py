"""From the counts of a line to rates: dark counts, dead time, ring current; and from lines to images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.alarms import is_known
from callbacks.contract import (
    RING,
    SCANNER,
    Key,
    LineOutput,
    LineResult,
    RegionsResult,
    ScannerConfig,
    StxmGrid,
    StxmRegion,
)
from callbacks.step import Step
from callbacks.stxm.stack import IMAGE, Image

FloatArray = NDArray[np.floating]


class LineSettings(BaseModel):
    """How lines are corrected; what is given here takes precedence over what the detector says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dead_time: float | None = Field(None, ge=0)  # s
    dark_rate: float | None = Field(None, ge=0)  # counts/s
    lost_below: float = Field(0.05, gt=0, lt=1)  # of the highest ring current so far: the beam is gone
    flux_noise: float = Field(0.001, ge=0)  # relative error of the incident flux from line to line, beyond the current


@dataclass(frozen=True)
class Rate:
    """A corrected count rate, counts/s, and its variance."""

    value: FloatArray
    variance: FloatArray


def count_rate(
    counts: FloatArray,
    dwell: FloatArray,
    *,
    dead_time: float,
    dark_rate: float,
    dark_variance: float = 0.0,
    divider: float = 1.0,
) -> Rate:
    """Correct counts for dead time and dark counts.

    Parameters
    ----------
    counts, dwell : numpy.ndarray, shape (pixels,)
        Counts and the time they were counted for, s.
    dead_time : float
        s; a photon that comes within it is lost and does not prolong it.
    dark_rate, dark_variance : float
        counts/s and its variance.
    divider : float
        Photons that make one count, of a prescaled counter.

    Returns
    -------
    Rate
        NaN where the detector was busy all the time, or nothing was counted for any time.

    Notes
    -----
    With a rate of n and a dead time of t, a time T gives nT / (1 + nt) counts on average, with the variance
    nT / (1 + nt)**3 (J. W. Mueller, Nucl. Instrum. Methods 112 (1973) 47).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        alive = 1.0 - counts * divider * dead_time / dwell
        rate = counts / dwell / alive
        variance = np.maximum(counts, 1.0) / divider / dwell**2 / alive**3
    possible = (dwell > 0) & (alive > 0)
    return Rate(np.where(possible, rate - dark_rate, np.nan), np.where(possible, variance + dark_variance, np.nan))


class LineCorrection(Step):
    """Scale each line to counts/s at the ring current of the first line.

    Dark lines (stream `dark`) give the dark rate; without any, the detector's own number is taken, or 0.

    Parameters
    ----------
    settings : LineSettings
    dwell_known : bool
        Whether the run says how long its pixels were counted for. Without, a rate is the counts of a pixel, as if each
        was counted for 1 s: the unit drops out of counts over I0. Dead time and dark counts cannot be taken out then; a
        line that needs it is not known.
    flux_given : bool
        Whether I0 was measured elsewhere, in counts/s: then a rate must be one.
    """

    kept = (LineOutput.MARK,)

    def __init__(self, settings: LineSettings, *, dwell_known: bool = True, flux_given: bool = False) -> None:
        self._settings = settings
        self._dwell_known = dwell_known
        self._flux_given = flux_given
        self._dark_counts = 0.0
        self._dark_time = 0.0
        self._first_current = math.nan
        self._highest_current = 0.0
        self._current_before, self._time_before = math.nan, math.nan  # of the line before

    def push_dark(self, event: Mapping[str, Any]) -> None:
        """Take a dark line."""
        self._dark_counts += float(np.sum(event[Key.STXM_COUNTS]))
        self._dark_time += float(np.sum(event[Key.STXM_DWELL]))

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a line; give rate and variance of its pixels, what of it they share, and what is wrong with the line."""
        counts = np.asarray(event[Key.STXM_COUNTS], dtype=float)
        dwell = np.asarray(event[Key.STXM_DWELL], dtype=float)
        if not self._dwell_known:
            dwell = np.ones(len(counts))
        dark_rate, dark_variance = self._dark(event)
        dead_time = self._settings.dead_time
        dead_time = _known(event.get(ScannerConfig.DEAD_TIME), 0.0) if dead_time is None else dead_time
        rate = count_rate(
            counts,
            dwell,
            dead_time=dead_time,
            dark_rate=dark_rate,
            dark_variance=dark_variance,
            divider=_known(event.get(ScannerConfig.COUNTER_DIVIDER), 1.0),
        )
        factor, mark = self._current_factor(_known(event.get(Key.RING_CURRENT), math.nan))
        lower, uncertain = self._topped_up(event, dwell)
        if uncertain.any():
            mark = "; ".join(filter(None, (mark, "topped up within the line, it is not known where")))
        if not is_known(event, RING):
            factor, mark = math.nan, "I0 lost: ring current not known"
        if not is_known(event, SCANNER):
            factor, mark = math.nan, "; ".join(filter(None, ("line not known", mark)))
        if needs_dwell := self._what_needs_dwell(dead_time, dark_rate):
            factor, mark = math.nan, f"dwell not known, which {needs_dwell}"
        factors = factor / (1 - lower)
        value = rate.value * factors
        variance = rate.variance * factors**2 + (self._settings.flux_noise**2 + uncertain**2) * value**2
        shared = self._settings.flux_noise**2 + float(np.mean(uncertain**2))
        return {
            LineOutput.RATE: value,
            LineOutput.VARIANCE: variance,
            LineOutput.SHARED: shared,
            LineOutput.MARK: mark,
        }

    @property
    def result(self) -> LineResult:
        """The dark rate, counts/s, NaN where none was measured."""
        measured = self._dark_time > 0
        return LineResult(dark_rate=self._dark_counts / self._dark_time if measured else math.nan)

    def _what_needs_dwell(self, dead_time: float, dark_rate: float) -> str:
        """Say for what the dwell is missing; empty where it is known or not needed."""
        if self._dwell_known:
            return ""
        if dead_time > 0:
            return "the dead time needs"
        if dark_rate > 0 or self._dark_counts > 0:
            return "dark counts need"
        return "an I0 in counts/s needs" if self._flux_given else ""

    def _current_factor(self, current: float) -> tuple[float, str]:
        """Give what scales a line to the first ring current, and what is wrong with it; 1 where none is recorded."""
        if not math.isfinite(current):
            return 1.0, ""
        self._highest_current = max(self._highest_current, current)
        if current < self._settings.lost_below * self._highest_current or not current > 0:
            return math.nan, f"beam lost: ring current {current:.3g} mA"
        if math.isnan(self._first_current):
            self._first_current = current
        return self._first_current / current, ""

    def _topped_up(self, event: Mapping[str, Any], dwell: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give by how much the current was lower at each pixel than it was read, and how uncertain that is.

        The ring current is read when a line ends. Where it has risen since the line before, the ring was topped up in
        between, at any moment alike: the later a pixel, the less likely before it. Both are relative to the current.
        """
        current, time = _known(event.get(Key.RING_CURRENT), math.nan), float(event.get("time", math.nan))
        before, time_before = self._current_before, self._time_before
        self._current_before, self._time_before = current, time
        nothing = np.zeros(len(dwell))
        lost = self._settings.lost_below * self._highest_current
        if not (before > lost and current > lost):  # a beam that comes back does so between lines
            return nothing, nothing
        counted = float(np.nansum(dwell))
        waited = time - time_before if time > time_before else counted
        rise = (current - before) / current
        likely = min(1.0, counted / waited) if waited > 0 and self._dwell_known else 1.0
        if not rise * likely > self._settings.flux_noise:
            return nothing, nothing
        earlier = likely * (1 - (np.arange(len(dwell)) + 0.5) / len(dwell))
        return rise * earlier, rise * np.sqrt(earlier * (1 - earlier))

    def _dark(self, event: Mapping[str, Any]) -> tuple[float, float]:
        if self._settings.dark_rate is not None:
            return self._settings.dark_rate, 0.0
        if self._dark_time > 0:
            return self._dark_counts / self._dark_time, max(self._dark_counts, 1.0) / self._dark_time**2
        return _known(event.get(ScannerConfig.DARK_RATE), 0.0), 0.0


class ImageAssembly(Step):
    """Put lines into images. An image closes with its last line, or when a line of another energy comes."""

    def __init__(self, grid: StxmGrid) -> None:
        self._grid = grid
        self._open: Image | None = None
        self._energies: list[float] = []
        self._closed: list[dict[str, Any]] = []
        self._marks: list[tuple[int, str]] = []

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a line."""
        index, region, row_of_region = self._grid.place(event["seq_num"])
        row = row_of_region + sum(each.rows for each in self._grid.regions[:region])
        rate = event[LineOutput.RATE]
        if self._open is not None and self._open.index != index:
            self._close()
        if self._open is None:
            shape = (self._grid.lines, max(each.columns for each in self._grid.regions))
            unknown = np.full(shape, np.nan)
            self._open = Image(
                index, math.nan, unknown, unknown.copy(), np.zeros((2, *shape)),
                moments=unknown[:, 0].copy(), shared=np.zeros(shape[0]),
            )  # fmt: skip
        image = self._open
        image.rate[row, : len(rate)], image.variance[row, : len(rate)] = rate, event[LineOutput.VARIANCE]
        image.off_place[:, row, : len(rate)] = self._off_place(event, self._grid.regions[region], row_of_region)
        self._energies.append(float(event[Key.ENERGY]))
        times = event.get("timestamps", {})
        assert image.moments is not None
        assert image.shared is not None
        image.shared[row] = event[LineOutput.SHARED]
        image.moments[row] = _known(times.get(Key.STXM_COUNTS, event.get("time")), math.nan)
        image.measured += 1
        if event[LineOutput.MARK]:
            self._marks.append((event["seq_num"], event[LineOutput.MARK]))
        if image.measured == self._grid.lines:
            self._close()
        return {}

    def take_closed(self, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Give the images that have closed since, as events for the steps that work on images.

        Parameters
        ----------
        final : bool
            Close also the image that is under way.
        """
        if final and self._open is not None:
            self._close()
        closed, self._closed = self._closed, []
        return iter(closed)

    @property
    def result(self) -> RegionsResult:
        """Lines that are not to be trusted, and how the lines make regions."""
        return RegionsResult(
            marked_frames=np.array([number for number, _ in self._marks], dtype=int),
            marks=np.array([mark for _, mark in self._marks], dtype=str),
            region_rows=np.array([region.rows for region in self._grid.regions], dtype=int),
            region_columns=np.array([region.columns for region in self._grid.regions], dtype=int),
            region_x=np.array([region.x for region in self._grid.regions]),
            region_y=np.array([region.y for region in self._grid.regions]),
        )

    @staticmethod
    def _off_place(event: Mapping[str, Any], region: StxmRegion, row: int) -> FloatArray:
        """Give how far the pixels of a line were from the grid, rows and columns, pixel; 0 where it is not recorded."""
        off = np.zeros((2, region.columns))
        y = region.y[0] + row * (region.y[1] - region.y[0]) / max(1, region.rows - 1)
        x = np.linspace(*region.x, region.columns)
        for axis, key, asked, ends, count in (
            (0, Key.STXM_Y, y, region.y, region.rows),
            (1, Key.STXM_X, x, region.x, region.columns),
        ):
            if key in event and count > 1 and ends[1] != ends[0]:
                off[axis] = (np.asarray(event[key], dtype=float) - asked) * (count - 1) / (ends[1] - ends[0])
        return np.nan_to_num(off)

    def _close(self) -> None:
        image = self._open
        assert image is not None
        image.energy = float(np.mean(self._energies))
        self._energies.clear()
        self._open = None
        self._closed.append({"seq_num": image.index + 1, IMAGE: image})


def _known(value: Any, default: float) -> float:
    """Give a number, or the default where it is missing or NaN."""
    return default if value is None or math.isnan(float(value)) else float(value)
