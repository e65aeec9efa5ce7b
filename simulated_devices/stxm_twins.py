"""Soft twins of the microscope: zone plate, aperture, stages and line scanner."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import Any

import numpy as np
from ophyd import Component, Kind
from ophyd.status import Status

from beamline.endstation.devices.base import check_limits
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import UNITS, Key, ScannerConfig
from simulated_devices.microscope import DEAD_TIME, focal_length
from simulated_devices.twins import SoftSignal, Twin

ARRAYS = {"counts": Key.STXM_COUNTS, "dwell_times": Key.STXM_DWELL, "x": Key.STXM_X, "y_positions": Key.STXM_Y}
MODES = ("line", "point")


class Setting(SoftSignal):
    """A setting that is put at once, and applied with the next line."""

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
        if value not in MODES:
            raise ValueError(f"{self.name}: {value!r} is none of {', '.join(MODES)}")


class Axis(Twin):
    """A motor with one position, um."""

    readback = Component(SoftSignal, value=0.0, units="um", kind=Kind.hinted)
    limits = (-3000.0, 3000.0)
    speed, settle_time = 500.0, 0.1  # um/s, s

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.readback.name = self.name
        self.put(self.readback, self.place)

    @property
    @abstractmethod
    def place(self) -> float:
        """Where it stands in the shared world, um."""

    @place.setter
    @abstractmethod
    def place(self, value: float) -> None: ...

    @property
    def position(self) -> float:
        """Position read back, um."""
        return self.readback.get()

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where the position is out of reach."""
        check_limits(self.name, value, self.limits, "um")

    def set(self, value: float) -> TaskStatus:
        """Move to a position; done when it has settled."""
        value = float(value)
        self.check_value(value)
        distance = abs(value - self.place)

        def move() -> None:
            if distance:
                self.wait_until(self.world.clock.now() + distance / self.speed + self.settle_time)
            self.place = value
            self.put(self.readback, value)

        return self.in_background(move)


class CoarseStage(Axis):
    """One axis of the coarse sample stage.

    Parameters
    ----------
    axis : str
        "x" or "y".
    """

    def __init__(self, *args: Any, axis: str, **kwargs: Any) -> None:
        if axis not in ("x", "y"):
            raise ValueError(f"axis is {axis!r}, expected 'x' or 'y'")
        self.axis = axis
        super().__init__(*args, **kwargs)

    @property
    def place(self) -> float:
        """Where it stands, um."""
        return self.world.microscope.coarse[self.axis]

    @place.setter
    def place(self, value: float) -> None:
        self.world.microscope.coarse[self.axis] = value


class ZonePlate(Axis):
    """Zone plate: position along the beam, um."""

    limits = (500.0, 6000.0)
    speed, settle_time = 200.0, 0.05

    @property
    def place(self) -> float:
        """Where it stands, um."""
        return self.world.microscope.zone_plate

    @place.setter
    def place(self, value: float) -> None:
        self.world.microscope.zone_plate = value

    def focus(self, energy: float) -> float:
        """Give the position, um, that is in focus at an energy in eV, by the data sheet of the zone plate."""
        return focal_length(energy)


class OrderSortingAperture(Twin):
    """Order-sorting aperture: its place, um."""

    x = Component(SoftSignal, value=0.0, key="osa_x", units="um", kind=Kind.normal)
    y = Component(SoftSignal, value=0.0, key="osa_y", units="um", kind=Kind.normal)
    z = Component(SoftSignal, value=250.0, key="osa_z", units="um", kind=Kind.normal)


class LineScanner(Twin):
    """Flies a line and counts along it: each trigger gives the counts, dwell times and places of all its pixels."""

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
        """Describe the arrays of a line, as long as it is to be."""
        described = super().describe()
        for key in ARRAYS.values():
            described[str(key)] |= {
                "dtype": "array",
                "dtype_numpy": "<f8",
                "shape": [int(self.columns.get())],
                "units": UNITS[key],
            }
        return described
