"""Twins of the devices that count."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ophyd import Component, Kind

from beamline.endstation.devices.counters import with_channels
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import SCALER, UNITS, FluorescenceConfig, Key
from simulated_devices.physics.drift_detector import BINS, FIRST, WIDTH
from simulated_devices.twins.base import SoftSignal, Twin
from simulated_devices.world.endstation import CURRENTS

COUNTED = ("i0", "tey", "tfy")
LIMITS = (0.001, 36000.0)  # s


def check_channels(channels: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError where the simulation does not measure a channel."""
    for name in channels:
        if name not in known:
            raise ValueError(f"channels: the simulation has no {name!r} here, expected {', '.join(known)}")


class Scaler(Twin):
    """Counts I0, TEY, TFY and what else the world has, for `dwell` s.

    Parameters
    ----------
    prefix, name, shared
        As of `Twin`.
    channels : sequence of str
        Of those that `SimulatedEndstation.counts` gives.
    """

    dwell = Component(SoftSignal, value=1.0, key=str(Key.DWELL), units="s", limits=LIMITS, kind=Kind.normal)

    def __new__(cls, _prefix: str = "", *, channels: Sequence[str] = COUNTED, **_kwargs: Any) -> Scaler:
        """Make a scaler with these channels."""
        check_channels(channels, COUNTED)

        def parts(name: str) -> dict[str, Component[Any]]:
            return {name: Component(SoftSignal, value=0.0, key=name, units=UNITS[Key.I0], kind=Kind.hinted)}

        made: Scaler = with_channels(cls, channels, parts)
        return made

    def __init__(self, prefix: str = "", *, channels: Sequence[str] = COUNTED, **kwargs: Any) -> None:
        self.channels = tuple(channels)
        super().__init__(prefix, **kwargs)

    def trigger(self) -> TaskStatus:
        """Count."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def count() -> None:
            self.wait_until(end)
            counts = self.world.counts(begin, end)
            for name in self.channels:
                self.put(getattr(self, f"channel_{name}"), counts[name])

        return self.in_background(count)


class Electrometer(Twin):
    """Averages currents over `dwell` s.

    Parameters
    ----------
    prefix, name, shared
        As of `Twin`.
    channels : sequence of str
        Of those that `SimulatedEndstation.currents` gives.
    """

    dwell = Component(SoftSignal, value=1.0, units="s", limits=LIMITS, kind=Kind.normal)

    def __new__(cls, _prefix: str = "", *, channels: Sequence[str], **_kwargs: Any) -> Electrometer:
        """Make an electrometer with these channels."""
        check_channels(channels, list(CURRENTS))

        def parts(name: str) -> dict[str, Component[Any]]:
            return {
                name: Component(SoftSignal, value=0.0, key=name, units="nA", kind=Kind.hinted),
                f"{name}_sigma": Component(
                    SoftSignal, value=math.nan, key=f"{name}_sigma", units="nA", kind=Kind.normal
                ),
            }

        made: Electrometer = with_channels(cls, channels, parts)
        return made

    def __init__(self, prefix: str = "", *, name: str, channels: Sequence[str], **kwargs: Any) -> None:
        self.channels = tuple(channels)
        super().__init__(prefix, name=name, **kwargs)
        if name == SCALER:  # it alone counts, and its time is that of the point
            self.dwell.name = str(Key.DWELL)

    def trigger(self) -> TaskStatus:
        """Average."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def average() -> None:
            self.wait_until(end)
            currents = self.world.currents(begin, end)
            for name in self.channels:
                mean, spread, samples = currents[name]
                self.put(getattr(self, f"channel_{name}"), mean)
                self.put(getattr(self, f"channel_{name}_sigma"), spread / math.sqrt(samples))

        return self.in_background(average)


class FluorescenceDetector(Twin):
    """Takes a spectrum of the fluorescence in `dwell` s."""

    channels = ()

    spectrum = Component(
        SoftSignal, value=np.zeros(BINS), key=str(Key.FLUORESCENCE), units=UNITS[Key.FLUORESCENCE], kind=Kind.normal
    )
    real_time = Component(SoftSignal, value=0.0, key=str(Key.FLUORESCENCE_REAL_TIME), units="s", kind=Kind.normal)
    live_time = Component(SoftSignal, value=0.0, key=str(Key.FLUORESCENCE_LIVE_TIME), units="s", kind=Kind.normal)
    dwell = Component(SoftSignal, value=1.0, units="s", limits=LIMITS, kind=Kind.normal)
    first = Component(SoftSignal, value=FIRST, key=str(FluorescenceConfig.FIRST), units="eV", kind=Kind.config)
    width = Component(SoftSignal, value=WIDTH, key=str(FluorescenceConfig.WIDTH), units="eV", kind=Kind.config)

    def trigger(self) -> TaskStatus:
        """Take a spectrum."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def take() -> None:
            self.wait_until(end)
            counts, live_time = self.world.fluorescence(begin, end)
            self.put(self.spectrum, counts)
            self.put(self.real_time, end - begin)
            self.put(self.live_time, live_time)

        return self.in_background(take)

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the spectrum as an array of numbers."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        described[str(Key.FLUORESCENCE)] |= {"dtype": "array", "dtype_numpy": "<f8", "shape": [BINS]}
        return described
