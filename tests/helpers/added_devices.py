"""Devices without a role, as others write them: one of ophyd-async, one of ophyd; configurations name their classes."""

import asyncio

from ophyd import Component, Device, Kind, Signal
from ophyd_async.core import AsyncStatus, StandardReadable, soft_signal_r_and_setter, soft_signal_rw


class Cryostat(StandardReadable):
    """Goes to a temperature within some hundredths of a second."""

    def __init__(self, prefix="", name=""):
        with self.add_children_as_readables():
            self.temperature, self._put = soft_signal_r_and_setter(float, 295.0, units="K", precision=2)
        self.setpoint = soft_signal_rw(float, 295.0, units="K")
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value):
        await self.setpoint.set(value)
        await asyncio.sleep(0.02)
        self._put(float(value))


class Missing(StandardReadable):
    """Never answers."""

    async def connect(self, *_args, **_kwargs):
        raise TimeoutError("no answer from ca://COLD:T")


class Thermometer(Device):
    """Two readings and a setting, all soft."""

    holder = Component(Signal, value=296.0, kind=Kind.hinted)
    pump = Component(Signal, value="on", kind=Kind.normal)
    interval = Component(Signal, value=1.0, kind=Kind.config)
