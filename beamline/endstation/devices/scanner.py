"""The STXM line scanner: the fine stage flies, and a multichannel scaler counts pixel by pixel."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.signals import Numbers, Setting, SoftSetting
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from callbacks.contract import UNITS, Key, ScannerConfig, Severity

ARRAYS = {"counts": Key.STXM_COUNTS, "dwell_times": Key.STXM_DWELL, "x": Key.STXM_X, "y_positions": Key.STXM_Y}
MODES = ("line", "point")
POINT_TIME = 1.0  # s more that a pixel may take in point mode, where the stage stops at each
MARGIN = 10.0  # s that a line may take beyond the time of its pixels


class Pixels(Numbers):
    """An array with a value for each pixel of a line, cut to its length: NaN before the first line."""

    each = "pixel"

    @property
    def expected(self) -> int:
        """Pixels of the line."""
        return int(self.parent.columns.last_setpoint)

    def _convert(self, value: Any) -> tuple[Any, Severity, str]:
        if not self.parent.has_flown:
            return self.unknown, Severity.NO_ALARM, ""
        return super()._convert(value)


class Mode(Setting):
    """How the fine stage moves: "line" or "point"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, string=True, **kwargs)

    def check_value(self, value: Any, **_kwargs: Any) -> None:
        """Raise ValueError for another mode."""
        check_mode(self.name, value)


class LineScanner(TaskDevice):
    """Flies a line and counts along it: each trigger gives the counts, dwell times and positions of all its pixels.

    The stage's controller steps the multichannel scaler, one channel a pixel. `Fly` completes when the line has been
    flown and the arrays hold it.

    Parameters
    ----------
    prefix : str
        In front of `Stage:XStart`, `XStop`, `Y`, `Mode`, `XTrace`, `YTrace` (um), of `MCS:Channels`, `Dwell` (s),
        `Counts`, `DwellTimes`, and of `Fly`.
    name : str
    dead_time : float
        s, of the counting detector, non-paralysable; NaN where it is not known.
    dark_rate : float
        counts/s; NaN where it is not known.
    margin : float
        s that a line may take beyond the time of its pixels.
    """

    x_start = Component(Setting, "Stage:XStart", key="stxm_x_start", units="um", kind=Kind.omitted)
    x_stop = Component(Setting, "Stage:XStop", key="stxm_x_stop", units="um", kind=Kind.omitted)
    y = Component(Setting, "Stage:Y", key="stxm_y_setpoint", units="um", kind=Kind.omitted)
    mode = Component(Mode, "Stage:Mode", key="stxm_mode", kind=Kind.omitted)
    columns = Component(Setting, "MCS:Channels", key="stxm_columns", kind=Kind.omitted)
    dwell = Component(Setting, "MCS:Dwell", key="stxm_dwell_setpoint", units="s", kind=Kind.omitted)
    fly = Component(EpicsSignal, "Fly", kind=Kind.omitted)
    counts = Component(
        Pixels, "MCS:Counts", key=str(Key.STXM_COUNTS), units=UNITS[Key.STXM_COUNTS], counts=True, kind=Kind.normal
    )
    dwell_times = Component(
        Pixels, "MCS:DwellTimes", key=str(Key.STXM_DWELL), units=UNITS[Key.STXM_DWELL], kind=Kind.normal
    )
    x = Component(Pixels, "Stage:XTrace", key=str(Key.STXM_X), units=UNITS[Key.STXM_X], kind=Kind.normal)
    y_positions = Component(Pixels, "Stage:YTrace", key=str(Key.STXM_Y), units=UNITS[Key.STXM_Y], kind=Kind.normal)
    dead_time = Component(SoftSetting, value=np.nan, key=str(ScannerConfig.DEAD_TIME), units="s", kind=Kind.config)
    dark_rate = Component(
        SoftSetting, value=np.nan, key=str(ScannerConfig.DARK_RATE), units="counts/s", kind=Kind.config
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        dead_time: float = np.nan,
        dark_rate: float = np.nan,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self.margin = margin
        self.has_flown = False  # since it was staged
        super().__init__(prefix, name=name, **kwargs)
        self.dead_time.put(float(dead_time))
        self.dark_rate.put(float(dark_rate))

    def stage(self) -> list[Any]:
        """Prepare for a scan: what the arrays hold belongs to another one."""
        self.has_flown = False
        result: list[Any] = super().stage()
        return result

    def trigger(self) -> TaskStatus:
        """Fly a line; done when it is counted."""
        for array in (self.counts, self.dwell_times, self.x, self.y_positions):
            array.expect_renewal()

        def fly(stopped: threading.Event) -> None:
            pixel = float(self.dwell.last_setpoint) + (POINT_TIME if self.mode.last_setpoint == "point" else 0.0)
            timeout = int(self.columns.last_setpoint) * pixel + self.margin
            put_and_wait(self.fly, 1, timeout=timeout, wanted="0 (line flown)", stopped=stopped)
            self.has_flown = True

        return self.work(fly)

    def halt(self) -> None:
        """Stop the line under way."""
        put_without_waiting(self.fly, 0)

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the arrays of the next line."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        describe_line(described, int(self.columns.last_setpoint))
        return described


def check_mode(name: str, value: Any) -> None:
    """Raise ValueError, naming the signal, where a value is no mode of the fine stage."""
    if value not in MODES:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(MODES)}")


def describe_line(described: dict[str, dict[str, Any]], columns: int) -> None:
    """Describe the arrays of a line of so many pixels, in the data keys of a line scanner."""
    for key in ARRAYS.values():
        described[str(key)] |= {"dtype": "array", "dtype_numpy": "<f8", "shape": [columns], "units": UNITS[key]}
