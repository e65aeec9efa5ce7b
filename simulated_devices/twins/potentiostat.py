"""Twin of the potentiostat."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import StoppedError, TaskStatus
from simulated_devices.physics.cell import CAPACITY
from simulated_devices.twins.base import SoftSignal, Twin


class Potentiostat(Twin):
    """Charges an operando cell to a charge, mAh/g, and reads it; the sample "LRNMC operando" is in that cell."""

    charge = Component(SoftSignal, value=0.0, units="mAh/g", kind=Kind.hinted)
    voltage = Component(SoftSignal, value=0.0, units="V", kind=Kind.normal)
    current = Component(SoftSignal, value=0.0, units="mA/g", kind=Kind.normal)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read the present charge, voltage and current."""
        now, cell = self.world.clock.now(), self.world.cell
        self.put(self.charge, cell.at(now))
        self.put(self.voltage, cell.voltage(now))
        self.put(self.current, cell.current(now))
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        return reading

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where a charge cannot be reached."""
        check_limits(self.name, float(value), (0.0, CAPACITY), "mAh/g")

    def set(self, value: float) -> TaskStatus:
        """Charge or discharge to a charge; done when it is there, and then held."""
        self.check_value(value)

        def charge() -> None:
            clock, cell = self.world.clock, self.world.cell
            try:
                self.wait_until(cell.go(clock.now(), float(value)))
            except StoppedError:
                cell.hold(clock.now())
                raise

        return self.in_background(charge)
