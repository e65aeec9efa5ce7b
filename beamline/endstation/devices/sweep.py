"""The monochromator flies over a range of energies, the undulator follows, and a multichannel scaler counts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.counters import with_channels
from beamline.endstation.devices.signals import Numbers, Setting, SoftSetting, check_limits
from beamline.endstation.devices.task import StoppedError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from callbacks.contract import UNITS, Key, Severity, SweepConfig, sweep_key

ARRAYS = {"bin_times": Key.SWEEP_BIN_TIMES, "energies": Key.SWEEP_ENERGIES, "energy_times": Key.SWEEP_ENERGY_TIMES}
MARGIN = 60.0  # s that a sweep may take beyond its time bins: the way to where it sets off, and both ramps


class TimeBins(Numbers):
    """An array with a value for each time bin of a sweep: NaN before the first sweep."""

    each = "time bin"

    def _convert(self, value: Any) -> tuple[Any, Severity, str]:
        if not self.parent.has_flown:
            return self.unknown, Severity.NO_ALARM, ""
        return super()._convert(value)


def _array(suffix: str, key: str, units: str, **options: Any) -> Component:
    return Component(TimeBins, suffix, key=str(key), units=units, kind=Kind.normal, **options)


class EnergySweep(TaskDevice):
    """Flies over a range of energies at one velocity and counts meanwhile: each trigger gives the arrays of a sweep.

    The monochromator's controller goes to where it sets off, ramps up, starts the multichannel scaler when it passes
    `start`, ramps down behind `stop_at`, and has the undulator follow. `Fly` completes when that is done and the arrays
    hold it; set to 0 meanwhile, it ends the sweep, and completes when the arrays hold what was counted, then NaN.

    Nothing here sets a velocity: a program that dies leaves none behind, and the time that Channel Access takes is no
    part of the sweep.

    Parameters
    ----------
    prefix : str
        In front of `Mono:Start`, `Mono:Stop`, `Mono:Energies` (eV), `Mono:EnergyTimes` (s), of `MCS:Channels`,
        `MCS:Dwell`, `MCS:DwellTimes` (s), of the channels, and of `Fly`.
    name : str
    channels : mapping of str to str
        Names of channels, as the counters have them, and the waveforms of their counts.
    fastest : float
        eV/s; a faster sweep is refused.
    lag : float
        s by which the times of the readbacks are late; NaN where it is not known, and to be found.
    margin : float
        s that a sweep may take beyond its time bins.
    """

    start = Component(Setting, "Mono:Start", key="sweep_start", units="eV", kind=Kind.omitted)
    stop_at = Component(Setting, "Mono:Stop", key="sweep_stop", units="eV", kind=Kind.omitted)
    bins = Component(Setting, "MCS:Channels", key="sweep_bins", kind=Kind.omitted)
    bin_time = Component(Setting, "MCS:Dwell", key="sweep_bin_time_setpoint", units="s", kind=Kind.omitted)
    fly = Component(EpicsSignal, "Fly", kind=Kind.omitted)
    bin_times = _array("MCS:DwellTimes", Key.SWEEP_BIN_TIMES, "s")
    energies = _array("Mono:Energies", Key.SWEEP_ENERGIES, "eV")
    energy_times = _array("Mono:EnergyTimes", Key.SWEEP_ENERGY_TIMES, "s")
    lag = Component(SoftSetting, value=np.nan, key=str(SweepConfig.LAG), units="s", kind=Kind.config)

    def __new__(cls, _prefix: str = "", *, channels: Mapping[str, str], **_kwargs: Any) -> EnergySweep:
        """Make one with these channels."""

        def parts(name: str) -> dict[str, Component[Any]]:
            return {name: _array(channels[name], sweep_key(name), UNITS[Key.I0], counts=True)}

        made: EnergySweep = with_channels(cls, channels, parts)
        return made

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        channels: Mapping[str, str],
        fastest: float,
        lag: float = np.nan,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self.channels, self.fastest, self.margin = tuple(channels), float(fastest), margin
        self.has_flown = False  # since it was staged
        super().__init__(prefix, name=name, **kwargs)
        self.lag.put(float(lag))

    @property
    def expected(self) -> int:
        """Time bins of a sweep, and readbacks."""
        return int(self.bins.last_setpoint)

    def check_sweep(self, start: float, stop: float, seconds: float) -> None:
        """Raise LimitError where a range, eV, cannot be flown over in a time, s."""
        check_velocity(self.name, start, stop, seconds, self.fastest)

    def stage(self) -> list[Any]:
        """Prepare for a scan: what the arrays hold belongs to another one."""
        self.has_flown = False
        result: list[Any] = super().stage()
        return result

    def trigger(self) -> TaskStatus:
        """Fly; done when it is counted. Where it is stopped, the arrays have what was counted until then."""
        for name in (*(f"channel_{channel}" for channel in self.channels), *ARRAYS):
            getattr(self, name).expect_renewal()
        self.has_flown = True

        def fly(stopped: threading.Event) -> None:
            timeout = self.expected * float(self.bin_time.last_setpoint) + self.margin
            if not stopped.is_set():
                # Of one that is stopped, by `halt`, it completes as well, once the arrays have what was counted.
                put_and_wait(self.fly, 1, timeout=timeout, wanted="0 (flown)")
            if stopped.is_set():
                raise StoppedError(f"{self.name}: stopped")

        return self.work(fly)

    def halt(self) -> None:
        """Stop the sweep under way."""
        put_without_waiting(self.fly, 0)


def check_velocity(name: str, start: float, stop: float, seconds: float, fastest: float) -> None:
    """Raise LimitError, naming the device, where a range, eV, would be flown over faster than it can be, eV/s."""
    check_limits(f"{name}: velocity", abs(stop - start) / seconds, (0.0, fastest), "eV/s")
