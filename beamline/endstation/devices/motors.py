"""Motors: one position that is set and read back, on an EPICS motor record."""

from __future__ import annotations

import math
import threading
from typing import Any

from ophyd import Component, EpicsSignal, Kind
from ophyd.utils.errors import LimitError

from beamline.endstation.devices.signals import Field, Reading, Setting, check_finite, check_limits
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting, wait_for

MARGIN = 30.0  # s that a move may take beyond distance over speed
ARRIVAL = 2.0  # s in which the readback must reach the setpoint once the motor has stopped
PHOTON = 1.239842  # eV um


class Motor(TaskDevice):
    """A motor record.

    A move is done when the record says so and the readback is at the setpoint; a motor that was stopped has failed.

    Parameters
    ----------
    prefix : str
        The record, without a field.
    name : str
    key, setpoint_key : str, optional
        Data keys of readback and setpoint; the setpoint is not recorded where it has none.
    units : str
    tolerance : float, optional
        Largest distance of the readback from the setpoint, in `units`; where not given, the record's retry deadband
        (.RDBD), and never less than twice its resolution.
    margin : float
        s that a move may take beyond distance over speed.
    """

    readback = Component(Reading, ".RBV", kind=Kind.hinted)
    setpoint = Component(Setting, ".VAL", kind=Kind.omitted)
    velocity = Component(Field, ".VELO", kind=Kind.omitted)
    low_limit = Component(Field, ".LLM", kind=Kind.omitted)
    high_limit = Component(Field, ".HLM", kind=Kind.omitted)
    deadband = Component(Field, ".RDBD", kind=Kind.omitted)
    resolution = Component(Field, ".MRES", kind=Kind.omitted)
    stop_field = Component(EpicsSignal, ".STOP", kind=Kind.omitted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        key: str | None = None,
        setpoint_key: str | None = None,
        units: str = "um",
        tolerance: float | None = None,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._units, self.tolerance, self.margin = units, tolerance, margin
        self.readback.name = key or name
        self.readback.declared_units = self.setpoint.declared_units = units
        if setpoint_key:
            self.setpoint.name = setpoint_key
            self.setpoint.kind = Kind.normal

    @property
    def position(self) -> float:
        """Position read back; NaN where it is not known."""
        return float(self.readback.get())

    @property
    def limits(self) -> tuple[float, float]:
        """Soft limits of the record; equal where there are none."""
        return self.low_limit.last, self.high_limit.last

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where a position is outside the record's soft limits."""
        check_finite(self.readback.name, float(value))
        low, high = self.limits  # the last known ones where the record does not answer; the move will then fail
        if math.isnan(low) or math.isnan(high):
            raise LimitError(
                f"{self.readback.name}: its limits are {low:g} to {high:g} {self._units}, expected numbers"
            )
        if low < high:
            check_limits(self.readback.name, float(value), (low, high), self._units)

    def set(self, value: float) -> TaskStatus:
        """Move to a position; done when the motor has arrived."""
        value = float(value)
        self.check_value(value)
        return self.work(lambda stopped: self.move(value, stopped))

    def halt(self) -> None:
        """Stop the motor."""
        put_without_waiting(self.stop_field, 1)

    def move(self, value: float, stopped: threading.Event) -> None:
        """Move to a position and wait until the motor has arrived.

        Raises
        ------
        DeviceError
            When its position is not known, or it has not arrived in time: names the PV, the position or the alarm seen,
            and the position wanted.
        """
        velocity, position = self.velocity.last, self.readback.known("a position")
        expected = abs(value - position) / velocity if velocity > 0 else 0.0
        self.check_value(value)
        tolerance = self._tolerance()
        wanted = f"{value:g} ± {tolerance:.2g} {self._units}"
        timeout = 1.5 * expected + self.margin
        put_and_wait(self.setpoint, value, timeout=timeout, wanted=wanted, seen=self.readback, stopped=stopped)
        self.check_position(value, stopped)

    def check_position(self, value: float, stopped: threading.Event) -> None:
        """Raise DeviceError where the readback does not reach a position."""
        tolerance = self._tolerance()
        wait_for(
            self.readback,
            lambda seen: abs(seen - value) <= tolerance,
            timeout=ARRIVAL,
            wanted=f"{value:g} ± {tolerance:.2g} {self._units}",
            stopped=stopped,
        )

    def _tolerance(self) -> float:
        if self.tolerance is not None:
            return self.tolerance
        result: float = max(self.deadband.last, 2 * abs(self.resolution.last))
        return result


class ZonePlate(Motor):
    """The zone plate along the beam, um.

    Parameters
    ----------
    diameter, outer_zone : float
        um, of the zone plate.
    offset : float
        um between position and focal length.
    """

    def __init__(self, *args: Any, diameter: float, outer_zone: float, offset: float = 0.0, **kwargs: Any) -> None:
        self._diameter, self._outer_zone, self._offset = diameter, outer_zone, offset
        super().__init__(*args, **kwargs)

    def focus(self, energy: float) -> float:
        """Give the position, um, that is in focus at an energy in eV: the first-order focal length plus the offset."""
        return self._diameter * self._outer_zone * energy / PHOTON + self._offset


class OrderSortingAperture(TaskDevice):
    """Order-sorting aperture on three motors, um."""

    x = Component(Motor, "X", key="osa_x", kind=Kind.normal)
    y = Component(Motor, "Y", key="osa_y", kind=Kind.normal)
    z = Component(Motor, "Z", key="osa_z", kind=Kind.normal)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for axis in (self.x, self.y, self.z):
            axis.readback.kind = Kind.normal
