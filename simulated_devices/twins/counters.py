"""Twin of the scaler."""

from __future__ import annotations

from ophyd import Component, Kind

from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import UNITS, Key
from simulated_devices.twins.base import SoftSignal, Twin


class Scaler(Twin):
    """Counts I0, TEY and TFY for `dwell` s."""

    i0 = Component(SoftSignal, value=0.0, key=str(Key.I0), units=UNITS[Key.I0], kind=Kind.hinted)
    tey = Component(SoftSignal, value=0.0, key=str(Key.TEY), units=UNITS[Key.TEY], kind=Kind.hinted)
    tfy = Component(SoftSignal, value=0.0, key=str(Key.TFY), units=UNITS[Key.TFY], kind=Kind.hinted)
    dwell = Component(SoftSignal, value=1.0, key=str(Key.DWELL), units="s", limits=(0.001, 36000.0), kind=Kind.normal)

    def trigger(self) -> TaskStatus:
        """Count."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def count() -> None:
            self.wait_until(end)
            for name, value in self.world.counts(begin, end).items():
                self.put(getattr(self, name), value)

        return self.in_background(count)
