"""Twins of the devices that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.counters import with_channels
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import UNITS, Key
from simulated_devices.twins.base import SoftSignal, Twin

COUNTED = ("i0", "tey", "tfy")


class Scaler(Twin):
    """Counts I0, TEY, TFY and what else the world has, for `dwell` s.

    Parameters
    ----------
    prefix, name, shared
        As of `Twin`.
    channels : sequence of str
        Of those that `SimulatedEndstation.counts` gives.
    """

    dwell = Component(SoftSignal, value=1.0, key=str(Key.DWELL), units="s", limits=(0.001, 36000.0), kind=Kind.normal)

    def __new__(cls, _prefix: str = "", *, channels: Sequence[str] = COUNTED, **_kwargs: Any) -> Scaler:
        """Make a scaler with these channels."""

        def counted(name: str) -> Component[Any]:
            return Component(SoftSignal, value=0.0, key=name, units=UNITS[Key.I0], kind=Kind.hinted)

        made: Scaler = with_channels(cls, channels, counted)
        return made

    def __init__(self, prefix: str = "", *, channels: Sequence[str] = COUNTED, **kwargs: Any) -> None:
        self.channels = tuple(channels)
        super().__init__(prefix, **kwargs)

    def trigger(self) -> TaskStatus:
        """Count."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def count() -> None:
            self.wait_until(end)
            counts = self.world.counts(begin, end)
            for name in self.channels:
                self.put(getattr(self, f"channel_{name}"), counts[name])

        return self.in_background(count)
