"""Twin of the STXM line scanner."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from ophyd import Component, Kind
from ophyd.status import Status

from beamline.endstation.devices.scanner import ARRAYS, check_mode, describe_line
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import Key, ScannerConfig
from simulated_devices.physics.microscope import DEAD_TIME
from simulated_devices.twins.base import SoftSignal, Twin


class Setting(SoftSignal):
    """A setting that takes effect with the next line."""

    def set(self, value: Any, **_kwargs: Any) -> Status:
        """Put a value."""
        self.check_value(value)
        self.put(value)
        status = Status(self)
        status.set_finished()
        return status


class Mode(Setting):
    """How the fine stage moves: "line" or "point"."""

    def check_value(self, value: Any, **_kwargs: Any) -> None:
        """Raise ValueError for another mode."""
        check_mode(self.name, value)


class LineScanner(Twin):
    """Flies a line and counts along it: each trigger gives the counts, dwell times and positions of all its pixels."""

    x_start = Component(Setting, value=-1.0, key="stxm_x_start", units="um", limits=(-50.0, 50.0), kind=Kind.omitted)
    x_stop = Component(Setting, value=1.0, key="stxm_x_stop", units="um", limits=(-50.0, 50.0), kind=Kind.omitted)
    columns = Component(Setting, value=100, key="stxm_columns", limits=(1, 4000), kind=Kind.omitted)
    y = Component(Setting, value=0.0, key="stxm_y_setpoint", units="um", limits=(-50.0, 50.0), kind=Kind.omitted)
    dwell = Component(
        Setting, value=0.001, key="stxm_dwell_setpoint", units="s", limits=(1e-4, 10.0), kind=Kind.omitted
    )
    mode = Component(Mode, value="line", key="stxm_mode", kind=Kind.omitted)
    counts = Component(SoftSignal, value=np.zeros(1), key=str(Key.STXM_COUNTS), units="counts", kind=Kind.normal)
    dwell_times = Component(SoftSignal, value=np.zeros(1), key=str(Key.STXM_DWELL), units="s", kind=Kind.normal)
    x = Component(SoftSignal, value=np.zeros(1), key=str(Key.STXM_X), units="um", kind=Kind.normal)
    y_positions = Component(SoftSignal, value=np.zeros(1), key=str(Key.STXM_Y), units="um", kind=Kind.normal)
    dead_time = Component(SoftSignal, value=DEAD_TIME, key=str(ScannerConfig.DEAD_TIME), units="s", kind=Kind.config)
    dark_rate = Component(
        SoftSignal, value=float("nan"), key=str(ScannerConfig.DARK_RATE), units="counts/s", kind=Kind.config
    )

    def trigger(self) -> TaskStatus:
        """Fly a line; done when it is counted."""
        x = np.linspace(self.x_start.get(), self.x_stop.get(), int(self.columns.get()))
        y, dwell, point = float(self.y.get()), float(self.dwell.get()), self.mode.get() == "point"
        begin = self.world.clock.now()
        end = begin + self.world.line_time(len(x), dwell, point=point)

        def fly() -> None:
            self.wait_until(end)
            line = self.world.line(begin, x, y, dwell, point=point)
            for name, values in zip(ARRAYS, line, strict=True):
                self.put(getattr(self, name), values)

        return self.in_background(fly)

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the arrays of the next line."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        describe_line(described, int(self.columns.get()))
        return described
