"""An electrometer of four channels: mean currents over the dwell, with their uncertainty."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.counters import MARGIN, with_channels
from beamline.endstation.devices.signals import Reading, Setting, SoftSetting, Whole
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting, write
from callbacks.contract import SCALER, Key

SINGLE = "Single"  # acquisition that ends when the averaging time has passed
UNITS = "nA"


class Electrometer(TaskDevice):
    """A quadEM electrometer (NSLS EM, AH501, TetrAMM...): each trigger averages all its channels over `dwell` s.

    Its process variables are those of `ophyd.quadem.QuadEM`, of which it needs twelve. A current has the standard
    uncertainty of the mean of its samples, which are taken for independent.

    Parameters
    ----------
    prefix : str
        As of QuadEM, with the colon.
    name : str
    channels : mapping of str to int
        Data key of each channel, and its number, 1 to 4; `<key>_sigma` is its uncertainty.
    units : str
        Of the currents, as the IOC scales them.
    margin : float
        s that averaging may take beyond its time.
    """

    dwell = Component(Setting, "AveragingTime", units="s", limits=(0.001, 36000.0), kind=Kind.normal)
    mode = Component(Setting, "AcquireMode", string=True, kind=Kind.omitted)
    acquire = Component(EpicsSignal, "Acquire", kind=Kind.omitted)
    averaged = Component(Whole, "NumAveraged_RBV", kind=Kind.omitted)

    def __new__(
        cls, _prefix: str = "", *, channels: Mapping[str, int], units: str = UNITS, **_kwargs: Any
    ) -> Electrometer:
        """Make an electrometer with these channels."""

        def parts(name: str) -> dict[str, Component[Any]]:
            stats = f"Current{channels[name]}:"
            return {
                name: Component(Reading, f"{stats}MeanValue_RBV", key=name, units=units, is_new=True, kind=Kind.hinted),
                f"{name}_spread": Component(Reading, f"{stats}Sigma_RBV", is_new=True, kind=Kind.omitted),
                f"{name}_sigma": Component(
                    SoftSetting, value=math.nan, key=f"{name}_sigma", units=units, kind=Kind.normal
                ),
            }

        made: Electrometer = with_channels(cls, channels, parts)
        return made

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        channels: Mapping[str, int],
        units: str = UNITS,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self.channels, self.margin = tuple(channels), margin
        super().__init__(prefix, name=name, **kwargs)
        if name == SCALER:  # it alone counts, and its time is that of the point
            self.dwell.name = str(Key.DWELL)

    def trigger(self) -> TaskStatus:
        """Average; done when the currents are there."""
        for channel in self.channels:
            getattr(self, f"channel_{channel}").expect_renewal()

        def average(stopped: threading.Event) -> None:
            timeout = float(self.dwell.last_setpoint) + self.margin
            write(self.mode, SINGLE)
            put_and_wait(self.acquire, 1, timeout=timeout, wanted="0 (averaged)", stopped=stopped)
            samples = self.averaged.get()
            for channel in self.channels:
                spread = getattr(self, f"channel_{channel}_spread").get()
                getattr(self, f"channel_{channel}_sigma").put(spread / math.sqrt(samples) if samples > 0 else math.nan)

        return self.work(average)

    def halt(self) -> None:
        """Stop averaging."""
        put_without_waiting(self.acquire, 0)
