"""A silicon drift detector behind an MCA record: a spectrum of the fluorescence at each point."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.counters import MARGIN
from beamline.endstation.devices.signals import Numbers, Reading, Setting, SoftSetting
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from callbacks.contract import UNITS, FluorescenceConfig, Key


class FluorescenceDetector(TaskDevice):
    """An MCA record (synApps): each trigger takes a spectrum of `dwell` s of real time.

    The window of an element is cut out by the reduction (`processing.xas.windows`), from the spectrum that is kept.

    Parameters
    ----------
    prefix : str
        The record, without a field.
    name : str
    bins : int
        Of the spectrum that are kept.
    first : float
        Energy of the middle of the first bin, eV.
    width : float
        Of a bin, eV.
    margin : float
        s that a spectrum may take beyond its time.
    """

    channels = ()  # it has windows in their place

    spectrum = Component(
        Numbers, ".VAL", key=str(Key.FLUORESCENCE), units=UNITS[Key.FLUORESCENCE], counts=True, kind=Kind.normal
    )
    real_time = Component(
        Reading, ".ERTM", key=str(Key.FLUORESCENCE_REAL_TIME), units="s", is_new=True, kind=Kind.normal
    )
    live_time = Component(
        Reading, ".ELTM", key=str(Key.FLUORESCENCE_LIVE_TIME), units="s", is_new=True, kind=Kind.normal
    )
    dwell = Component(Setting, ".PRTM", units="s", limits=(0.001, 36000.0), kind=Kind.normal)
    start = Component(EpicsSignal, ".ERST", kind=Kind.omitted)
    end = Component(EpicsSignal, ".STOP", kind=Kind.omitted)
    first = Component(SoftSetting, value=0.0, key=str(FluorescenceConfig.FIRST), units="eV", kind=Kind.config)
    width = Component(SoftSetting, value=1.0, key=str(FluorescenceConfig.WIDTH), units="eV", kind=Kind.config)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        bins: int,
        first: float,
        width: float,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self.expected, self.margin = bins, margin
        super().__init__(prefix, name=name, **kwargs)
        self.first.put(float(first))
        self.width.put(float(width))

    def trigger(self) -> TaskStatus:
        """Take a spectrum; done when its time is over."""
        self.spectrum.expect_renewal()

        def take(stopped: threading.Event) -> None:
            timeout = float(self.dwell.last_setpoint) + self.margin
            put_and_wait(self.start, 1, timeout=timeout, wanted="0 (spectrum taken)", stopped=stopped)

        return self.work(take)

    def halt(self) -> None:
        """Stop counting."""
        put_without_waiting(self.end, 1)
