"""Twins of ring, shutters and the RIXS spectrograph."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np
from ophyd import Component, Kind

from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import Key
from simulated_devices.twins.base import SoftSignal, Twin


class RingCurrent(SoftSignal):
    """The ring current, updated while somebody subscribes to it; without beam, simulated time passes meanwhile."""

    PERIOD = 0.1  # s of wall-clock time

    def subscribe(self, *args: Any, **kwargs: Any) -> int:
        """Subscribe to it; see `ophyd.Signal.subscribe`."""
        token: int = super().subscribe(*args, **kwargs)
        if not any(thread.name == self._thread_name for thread in threading.enumerate()):
            threading.Thread(target=self._keep_updating, name=self._thread_name, daemon=True).start()
        return token

    @property
    def _thread_name(self) -> str:
        return f"ring current {id(self)}"

    def _keep_updating(self) -> None:
        clock = self.parent.world.clock
        while not self._destroyed:
            self.parent.update()
            time.sleep(self.PERIOD)
            if self.get() == 0:
                clock.reach(clock.now() + self.PERIOD * clock.speed_up)


class Ring(Twin):
    """Storage ring: current, mA."""

    current = Component(RingCurrent, value=0.0, key=str(Key.RING_CURRENT), units="mA", kind=Kind.normal)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read the present current."""
        self.update()
        result: OrderedDict[str, dict[str, Any]] = super().read()
        return result

    def update(self) -> None:
        """Set the signal to the present current."""
        now = self.world.clock.now()
        self.put(self.current, float(self.world.ring.current(np.array([now]))[0]))


class Shutter(Twin):
    """Sample shutter: "open" or "closed"."""

    state = Component(SoftSignal, value="closed", kind=Kind.hinted)
    opens = "shutter_open"  # attribute of the shared world

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state.name = self.name
        self.put(self.state, "open" if getattr(self.world, self.opens) else "closed")

    def set(self, value: str) -> TaskStatus:
        """Open or close it."""
        if value not in ("open", "closed"):
            raise ValueError(f"{self.name}: {value!r} is neither 'open' nor 'closed'")

        def move() -> None:
            self.wait_until(self.world.clock.now() + 0.1)
            setattr(self.world, self.opens, value == "open")
            self.put(self.state, value)

        return self.in_background(move)


class FrontEndShutter(Shutter):
    """The facility's shutter: "open" or "closed"."""

    opens = "front_end_open"


class Spectrograph(Twin):
    """RIXS spectrograph: emission energy in the middle of the chip as its motors say, eV."""

    energy = Component(SoftSignal, value=525.0, key="spectrograph_energy", units="eV", kind=Kind.normal)
