"""Twin of the monochromator that flies while a multichannel scaler counts."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ophyd import Component, Kind

from beamline.endstation.devices.counters import with_channels
from beamline.endstation.devices.sweep import ARRAYS, check_velocity
from beamline.endstation.devices.task import StoppedError, TaskStatus
from callbacks.contract import UNITS, Key, SweepConfig, sweep_key
from simulated_devices.physics.flight import POSITIONING
from simulated_devices.twins.base import SoftSignal, Twin
from simulated_devices.twins.counters import COUNTED, check_channels
from simulated_devices.twins.scanner import Setting

ENERGIES = (200.0, 1500.0)  # eV


def _array(key: str, units: str) -> Component:
    return Component(SoftSignal, value=np.zeros(1), key=str(key), units=units, kind=Kind.normal)


class EnergySweep(Twin):
    """Flies over a range of energies and counts meanwhile: each trigger gives the arrays of a sweep.

    Parameters
    ----------
    prefix, name, shared
        As of `Twin`.
    channels : sequence of str
        Of those that `SimulatedEndstation.sweep` gives.
    """

    start = Component(Setting, value=520.0, key="sweep_start", units="eV", limits=ENERGIES, kind=Kind.omitted)
    stop_at = Component(Setting, value=530.0, key="sweep_stop", units="eV", limits=ENERGIES, kind=Kind.omitted)
    bins = Component(Setting, value=100, key="sweep_bins", limits=(2, 100_000), kind=Kind.omitted)
    bin_time = Component(
        Setting, value=0.01, key="sweep_bin_time_setpoint", units="s", limits=(1e-4, 100.0), kind=Kind.omitted
    )
    bin_times = _array(Key.SWEEP_BIN_TIMES, UNITS[Key.SWEEP_BIN_TIMES])
    energies = _array(Key.SWEEP_ENERGIES, UNITS[Key.SWEEP_ENERGIES])
    energy_times = _array(Key.SWEEP_ENERGY_TIMES, UNITS[Key.SWEEP_ENERGY_TIMES])
    lag = Component(SoftSignal, value=np.nan, key=str(SweepConfig.LAG), units="s", kind=Kind.config)
    fastest = POSITIONING  # eV/s

    def __new__(cls, _prefix: str = "", *, channels: Sequence[str] = COUNTED, **_kwargs: Any) -> EnergySweep:
        """Make one with these channels."""
        check_channels(channels, COUNTED)
        made: EnergySweep = with_channels(cls, channels, lambda name: {name: _array(sweep_key(name), UNITS[Key.I0])})
        return made

    def __init__(self, prefix: str = "", *, channels: Sequence[str] = COUNTED, **kwargs: Any) -> None:
        self.channels = tuple(channels)
        super().__init__(prefix, **kwargs)

    def check_sweep(self, start: float, stop: float, seconds: float) -> None:
        """Raise LimitError where a range, eV, cannot be flown over in a time, s."""
        check_velocity(self.name, start, stop, seconds, self.fastest)

    def trigger(self) -> TaskStatus:
        """Fly; done when it is counted. Where it is stopped, the arrays have what was counted until then."""
        start, stop = float(self.start.get()), float(self.stop_at.get())
        bins, bin_time = int(self.bins.get()), float(self.bin_time.get())
        begin = self.world.clock.now()
        end = begin + self.world.sweep_time(start, stop, bins * bin_time)

        def fly() -> None:
            ended = math.inf
            try:
                self.wait_until(end)
            except StoppedError:
                ended = self.world.clock.now()
                raise
            finally:
                found = self.world.sweep(begin, start, stop, bins=bins, bin_time=bin_time, ended=ended)
                for channel in self.channels:
                    self.put(getattr(self, f"channel_{channel}"), found[channel])
                for name in ARRAYS:
                    self.put(getattr(self, name), found[name])

        return self.in_background(fly)

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the arrays of the next sweep."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        for key in (*(sweep_key(channel) for channel in self.channels), *ARRAYS.values()):
            described[str(key)] |= {"dtype": "array", "dtype_numpy": "<f8", "shape": [int(self.bins.get())]}
        return described
