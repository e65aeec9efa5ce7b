"""The step that makes points of a spectrum of the sweeps in which it was flown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from callbacks.alarms import is_known
from callbacks.contract import (
    ENERGY_SWEEP,
    Channel,
    FlownResult,
    Key,
    SweepConfig,
    SweepGrid,
    SweepOutput,
    alarm_key,
    sweep_key,
)
from callbacks.step import Step, UnusableError
from callbacks.xas.spectrum import XasSettings
from callbacks.xas.sweep import Lag, Region, Sweep, find_lag, grid_edges, share_out

CONFIGURED = "configured"


@dataclass(frozen=True)
class _Flown:
    """A sweep over a region."""

    number: int  # of its event
    region: int
    up: bool
    sweep: Sweep


class Sweeps(Step):
    """Put each sweep on the grid of energies; its points go to the steps behind.

    Without a configured lag, points are given when there is a sweep up and one down: the lag is found of all sweeps so
    far, whenever there are twice as many as when it was found before, and at the end.

    Parameters
    ----------
    settings : XasSettings
    channels : sequence of Channel
        What is measured.
    grid : SweepGrid
        What was asked for.
    """

    kept = (SweepOutput.EXPOSURE, SweepOutput.LAG)

    def __init__(self, settings: XasSettings, channels: Sequence[Channel], grid: SweepGrid) -> None:
        self._grid, self._i0 = grid, settings.i0
        self._names = list(dict.fromkeys([settings.i0, *(channel.name for channel in channels)]))
        self._tell = [each.name for each in channels if each.form != "monitor" and each.name != settings.i0]
        self._edges = [grid_edges(np.asarray(region.energies)) for region in grid.regions]
        self._exposure = [np.zeros(len(region.energies)) for region in grid.regions]
        self._configured = settings.lag is not None
        self._lag = Lag(math.nan, math.nan, "no sweep was measured")
        self._channel = ""
        if settings.lag is not None:
            self._lag = Lag(settings.lag, math.nan, CONFIGURED)
        self._flown: list[_Flown] = []
        self._given = 0  # sweeps whose points were given
        self._found_of = 0  # sweeps of which the lag was found

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a sweep; say how long it counted, and which lag is taken by now."""
        if not is_known(event, ENERGY_SWEEP):
            raise UnusableError(f"sweep not known: {event[alarm_key(ENERGY_SWEEP)]}")
        own = float(event.get(SweepConfig.LAG, math.nan))
        if not self._configured and math.isfinite(own):
            self._configured, self._lag = True, Lag(own, math.nan, CONFIGURED)
        if missing := [name for name in self._names if sweep_key(name) not in event]:
            raise UnusableError(f"sweep without {', '.join(missing)}")
        values = {
            key: np.asarray(event[key], dtype=float)
            for key in (Key.SWEEP_BIN_TIMES, Key.SWEEP_ENERGIES, Key.SWEEP_ENERGY_TIMES)
        }
        counts = {name: np.asarray(event[sweep_key(name)], dtype=float) for name in self._names}
        sweep = Sweep(counts, values[Key.SWEEP_BIN_TIMES], values[Key.SWEEP_ENERGIES], values[Key.SWEEP_ENERGY_TIMES])
        region, up = self._grid.place(event["seq_num"])
        exposure = share_out(sweep, self._edges[region], lag=self._used).exposure
        self._exposure[region] += exposure
        self._flown.append(_Flown(event["seq_num"], region, up, sweep))
        return {SweepOutput.EXPOSURE: float(exposure.sum()), SweepOutput.LAG: self._lag.value}

    def take_closed(self, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Give the points of sweeps, once it is known at which energies they were counted.

        Parameters
        ----------
        final : bool
            Give also those of sweeps without one in the other direction.
        """
        whole = self._flown and self._flown[-1].number % (2 * len(self._grid.regions)) == 0
        if not (final or self._configured or whole):
            return
        if not self._configured and (final or len(self._flown) >= 2 * self._found_of):
            self._find()
        waiting, self._given = self._flown[self._given :], len(self._flown)
        for flown in waiting:
            yield from self._points_of(flown)

    @property
    def result(self) -> FlownResult:
        """The lag, and how long each energy was counted for."""
        return FlownResult(
            lag=self._lag.value,
            lag_sigma=self._lag.sigma,
            lag_status=self._lag.status,
            lag_channel=self._channel,
            asked_energy=np.concatenate([region.energies for region in self._grid.regions]),
            exposure=np.concatenate(self._exposure),
        )

    @property
    def _used(self) -> float:
        """The lag that is taken, s: 0 where none is known."""
        return 0.0 if math.isnan(self._lag.value) else self._lag.value

    def _find(self) -> None:
        """Find the lag in the channel that tells it best."""
        self._found_of = len(self._flown)
        if not self._flown:
            return
        regions = [
            Region(
                edges,
                [each.sweep for each in self._flown if each.region == index and each.up],
                [each.sweep for each in self._flown if each.region == index and not each.up],
            )
            for index, edges in enumerate(self._edges)
        ]
        found = {name: find_lag(regions, name, self._i0) for name in self._tell}
        told = {name: lag for name, lag in found.items() if lag.status == "ok"}
        self._channel = min(told, key=lambda name: told[name].sigma, default="")
        self._lag = told[self._channel] if told else next(iter(found.values()), self._lag)

    def _points_of(self, flown: _Flown) -> Iterator[dict[str, Any]]:
        """Give the points of a sweep in the order in which it passed them."""
        binned = share_out(flown.sweep, self._edges[flown.region], lag=self._used)
        energies = self._grid.regions[flown.region].energies
        for index in range(len(energies)) if flown.up else reversed(range(len(energies))):
            counted = bool(binned.exposure[index] > 0)
            yield {
                "seq_num": flown.number,
                str(Key.ENERGY): float(binned.energy[index]) if counted else energies[index],
                str(Key.ENERGY_SETPOINT): energies[index],
                str(Key.DWELL): float(binned.exposure[index]),
                **{name: float(values[index]) if counted else math.nan for name, values in binned.counts.items()},
            }
