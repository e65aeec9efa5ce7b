"""Twins of the motors: exit slit, coarse stage, zone plate and order-sorting aperture."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import TaskStatus
from simulated_devices.physics.microscope import focal_length
from simulated_devices.twins.base import SoftSignal, Twin


class Positioner(Twin):
    """A twin with one position, in `units`."""

    readback = Component(SoftSignal, value=0.0, units="um", kind=Kind.hinted)
    limits = (-3000.0, 3000.0)
    units = "um"

    @property
    def position(self) -> float:
        """Position read back."""
        result: float = self.readback.get()
        return result

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where a position is outside the limits."""
        check_limits(self.name, value, self.limits, self.units)


class ExitSlit(Positioner):
    """Exit slit, um: flux against resolution."""

    readback = Component(SoftSignal, value=30.0, key="exit_slit", units="um", kind=Kind.hinted)
    limits = (5.0, 200.0)

    def set(self, value: float) -> TaskStatus:
        """Move to a gap."""
        self.check_value(value)

        def move() -> None:
            self.wait_until(self.world.clock.now() + 1.0)
            self.world.slit = float(value)
            self.put(self.readback, float(value))

        return self.in_background(move)


class Axis(Positioner):
    """A motor of the microscope, um."""

    speed, settle_time = 500.0, 0.1  # um/s, s

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.readback.name = self.name
        self.put(self.readback, self.place)

    @property
    @abstractmethod
    def place(self) -> float:
        """Position in the shared world, um."""

    @place.setter
    @abstractmethod
    def place(self, value: float) -> None: ...

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
        """Position in the shared world, um."""
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
        """Position in the shared world, um."""
        return self.world.microscope.zone_plate

    @place.setter
    def place(self, value: float) -> None:
        self.world.microscope.zone_plate = value

    def focus(self, energy: float) -> float:
        """Give the position, um, that is in focus at an energy in eV, by the data sheet of the zone plate."""
        return focal_length(energy)


class OrderSortingAperture(Twin):
    """Order-sorting aperture: its position, um."""

    x = Component(SoftSignal, value=0.0, key="osa_x", units="um", kind=Kind.normal)
    y = Component(SoftSignal, value=0.0, key="osa_y", units="um", kind=Kind.normal)
    z = Component(SoftSignal, value=250.0, key="osa_z", units="um", kind=Kind.normal)
