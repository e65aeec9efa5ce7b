"""Twin of monochromator and undulator."""

from __future__ import annotations

from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import Key
from simulated_devices.physics.undulator import gap_of, setting_for
from simulated_devices.twins.base import SoftSignal
from simulated_devices.twins.motors import Positioner


class Energy(Positioner):
    """Monochromator and undulator: excitation energy, eV."""

    readback = Component(SoftSignal, value=530.0, key=str(Key.ENERGY), units="eV", kind=Kind.hinted)
    setpoint = Component(SoftSignal, value=530.0, key=str(Key.ENERGY_SETPOINT), units="eV", kind=Kind.normal)
    gap = Component(SoftSignal, value=gap_of(530.0), key=str(Key.UNDULATOR_GAP), units="mm", kind=Kind.normal)
    limits = (200.0, 1500.0)
    units = "eV"
    speed, settle_time, jitter = 5.0, 0.8, 0.002  # eV/s, s, eV rms

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.polarisation = self.tuned = "LH"  # that the undulator is to have, and has

    def set(self, value: float) -> TaskStatus:
        """Move to an energy; done when it has settled."""
        value = float(value)
        self.check_value(value)
        self.put(self.setpoint, value)
        distance = abs(value - self.world.energy)

        def move() -> None:
            self.wait_until(self.world.clock.now() + distance / self.speed + self.settle_time)
            self.world.energy = value
            self.tune()
            self.put(self.readback, value + self.jitter * self.world.rng("energy").standard_normal())

        return self.in_background(move)

    def tune(self) -> None:
        """Bring gap and phase to where they are for energy and polarisation."""
        self.tuned = self.polarisation
        self.world.undulator = setting_for(self.world.energy, self.polarisation)
        self.put(self.gap, self.world.gap)
