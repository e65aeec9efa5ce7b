"""A potentiostat that charges an operando cell: charge, voltage and current, and charging to a given charge."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.signals import Reading, Setting, check_limits
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting, wait_for

MARGIN = 60.0  # s that charging may take beyond charge over rate


class Potentiostat(TaskDevice):
    """A potentiostat, by records of these names behind its prefix.

    ``Charge``, ``Voltage`` and ``Current`` are read: mAh/g, V and mA/g, of the active material. ``Goal`` takes a
    charge: the cell is charged or discharged to it at ``Rate`` (mA/g, above zero) and then held; the put completes when
    it is there. ``Stop`` holds it where it is.

    Parameters
    ----------
    prefix : str
    name : str
    capacity : float
        mAh/g; a charge beyond is refused.
    tolerance : float
        mAh/g, of the charge that is reached.
    margin : float
        s that charging may take beyond charge over rate.
    """

    charge = Component(Reading, "Charge", units="mAh/g", kind=Kind.hinted)
    voltage = Component(Reading, "Voltage", units="V", kind=Kind.normal)
    current = Component(Reading, "Current", units="mA/g", kind=Kind.normal)
    goal = Component(Setting, "Goal", units="mAh/g", kind=Kind.omitted)
    rate = Component(Reading, "Rate", units="mA/g", kind=Kind.omitted)
    hold = Component(EpicsSignal, "Stop", kind=Kind.omitted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        capacity: float,
        tolerance: float = 0.5,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self._capacity, self._tolerance, self.margin = float(capacity), tolerance, margin
        super().__init__(prefix, name=name, **kwargs)

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where a charge cannot be reached."""
        check_limits(self.name, float(value), (0.0, self._capacity), "mAh/g")

    def set(self, value: float) -> TaskStatus:
        """Charge or discharge to a charge; done when it is there, and then held."""
        value = float(value)
        self.check_value(value)
        return self.work(lambda stopped: self._charge(value, stopped))

    def halt(self) -> None:
        """Hold the cell where it is."""
        put_without_waiting(self.hold, 1)

    def _charge(self, value: float, stopped: threading.Event) -> None:
        rate, charge = self.rate.known("a rate"), self.charge.known("a charge")
        seconds = abs(value - charge) / rate * 3600.0
        wanted = f"{value:g} ± {self._tolerance:g} mAh/g"
        put_and_wait(
            self.goal, value, timeout=1.5 * seconds + self.margin, wanted=wanted, seen=self.charge, stopped=stopped
        )
        wait_for(
            self.charge,
            lambda seen: abs(seen - value) <= self._tolerance,
            timeout=self.margin,
            wanted=wanted,
            stopped=stopped,
        )
