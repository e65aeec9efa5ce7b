"""The IOC: every process variable of the simulated endstation on one port of this computer, with fault switches."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from caproto import get_environment_variables
from caproto.asyncio.server import Context

from simulated_devices.ioc.alarms import AlarmSwitch
from simulated_devices.ioc.area_detector import SimulatedCamera
from simulated_devices.ioc.axes import motors
from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.channels import Enum, Integer, Pvs, Text, choice, number
from simulated_devices.ioc.environment import Potentiostat
from simulated_devices.ioc.instruments import (
    DriftDetector,
    Electrometer,
    EnergySweep,
    LineScanner,
    Ring,
    Scaler,
    Shutter,
    UndulatorMode,
)
from simulated_devices.ioc.repeater import repeat_beacons
from simulated_devices.ports import LOOPBACK, free_port
from simulated_devices.world import SimulatedEndstation

OFF_ON = ("Off", "On")


class _PromptContext(Context):
    """A server that sends each answer at once (TCP_NODELAY): collecting small ones costs up to 40 ms."""

    async def tcp_handler(self, client: Any, addr: Any) -> None:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await super().tcp_handler(client, addr)
        except RuntimeError as error:  # caproto may await a task of its own twice when a client disconnects
            self.log.debug("client %s: %s", addr, error)


class Ioc:
    """An IOC that serves the simulated endstation.

    Parameters
    ----------
    prefix : str
        In front of every process variable.
    **options
        Of the simulation, see `SimulatedEndstation`.

    Notes
    -----
    Its switches break things: ``Fault:FreezeMotor`` (a motor's name), ``Fault:HangCamera``, ``Fault:StallWriter``,
    ``Fault:NanI0``, ``Fault:DumpBeam``, ``Fault:CloseFrontEnd`` (on and off), ``Fault:DropConnection`` (put 1: every
    client is disconnected once), ``Fault:Restart`` (put s: the server is down for that long), ``Fault:Alarm`` (a
    process variable without the prefix and its alarm, as in "Scaler.S2 INVALID", MAJOR, MINOR, UNPROCESSED or FROZEN;
    empty for none any more) and ``Fault:ClockOffset`` (s by which its clock is ahead).
    ``Ready`` is 1 once everything is served.
    """

    def __init__(self, prefix: str, **options: Any) -> None:
        self._prefix = prefix
        self._world = SimulatedEndstation(kept_truths=0, **options)  # no client can read them
        self._set_up()

    def _set_up(self) -> None:
        """Make all process variables from the present state of the world: hardware outlives its IOC."""
        self.bench = Bench(self._world)
        prefix = self._prefix
        self._ready = Integer(self.bench, value=0)
        self._ring = Ring(self.bench, prefix)
        self._camera = SimulatedCamera(self.bench, f"{prefix}CCD:")
        self._motors = motors(self.bench, prefix)
        self._context: Any = None
        self._running: asyncio.Task[None] | None = None
        self._down_for: float | None = None  # s
        self._dumped_at: float | None = None  # s since 1970, where the fault switch dumped the beam
        self._published: list[Any] = [self._ring, Potentiostat(self.bench, prefix)]  # again and again
        still = (UndulatorMode, Shutter, Scaler, Electrometer, DriftDetector)
        instruments = [*self._published, *(part(self.bench, prefix) for part in still)]
        self.pvdb: Pvs = {f"{prefix}Ready": self._ready}
        self._alarms = AlarmSwitch(prefix, self.pvdb)
        self.pvdb |= self._faults()
        named = {motor.name_of_motor: motor for motor in self._motors}
        sweep = EnergySweep(self.bench, prefix, monochromator=named["Mono:Energy"], undulator=named["ID:Gap"])
        for part in [*instruments, LineScanner(self.bench, prefix), sweep, self._camera, *self._motors]:
            self.pvdb |= part.pvdb

    def run(self, port: int, ready: Callable[[int, int], None], *, until_stdin_closes: bool = False) -> None:
        """Serve until told to stop by SIGINT or SIGTERM, or by the end of standard input.

        Parameters
        ----------
        port : int
            Of Channel Access, UDP for searches and TCP; 0 for one that is free.
        ready : callable
            Is given the port and the number of process variables once they are served.
        until_stdin_closes : bool
            Whether to stop when standard input ends: an IOC that another program has started ends with it.

        Raises
        ------
        OSError
            When the port is in use.
        """
        port = free_port(port)
        logging.getLogger("caproto").setLevel(logging.CRITICAL)  # clients may come and go
        os.environ |= {
            "EPICS_CA_SERVER_PORT": str(port),
            "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
            "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CA_ADDR_LIST": LOOPBACK,
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
        }
        while True:
            asyncio.run(self._serve(port, ready, until_stdin_closes=until_stdin_closes))
            if self._down_for is None:
                return
            time.sleep(self._down_for)
            self._down_for = None
            self._set_up()

    async def _serve(self, port: int, ready: Callable[[int, int], None], *, until_stdin_closes: bool) -> None:
        repeater = asyncio.create_task(repeat_beacons(get_environment_variables()["EPICS_CA_REPEATER_PORT"]))
        self._context = _PromptContext(self.pvdb, interfaces=[LOOPBACK])
        self._running = asyncio.create_task(self._context.run())
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self._running.cancel)
        if until_stdin_closes:
            loop.add_reader(sys.stdin.fileno(), self._at_end_of_input)
        shown = [asyncio.create_task(each.run()) for each in self._published]
        for motor in self._motors:
            await motor.is_set_up.wait()
        await self._ready.write(1)
        if self._context.port != port:
            raise OSError(f"port {port} of {LOOPBACK} is in use")
        ready(port, len(self.pvdb))
        try:
            await self._running
        except asyncio.CancelledError:
            pass
        finally:
            for task in shown:
                task.cancel()
            self._disconnect_clients()
            repeater.cancel()
            await self._camera.close()

    def _disconnect_clients(self) -> None:
        for circuit in list(self._context.circuits):
            circuit.client.writer.transport.abort()

    def _at_end_of_input(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096) and self._running is not None:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._running.cancel()

    def _faults(self) -> Pvs:
        """Make the switches that break things; the class lists them."""
        faults = self.bench.faults
        switches = {
            "FreezeMotor": Text(self.bench, value="", on_put=self._freeze),
            "HangCamera": self._switch(partial(setattr, faults, "hung_camera")),
            "StallWriter": self._switch(partial(setattr, faults, "stalled_writer")),
            "NanI0": self._switch(partial(setattr, faults, "nan_i0")),
            "DumpBeam": self._switch(self._dump),
            "CloseFrontEnd": self._switch(self._close_front_end),
            "DropConnection": Integer(self.bench, value=0, on_put=self._drop_connections),
            "Restart": Integer(self.bench, value=0, on_put=self._restart),
            "Alarm": Text(self.bench, value="", on_put=self._alarms.put),
            "ClockOffset": number(self.bench, 0.0, units="s", on_put=self._set_clock),
        }
        return {f"{self._prefix}Fault:{name}": channel for name, channel in switches.items()}

    def _switch(self, turn: Callable[[bool], None]) -> Enum:
        """Make a switch that calls `turn` with whether it is on, and publishes the state of the ring."""

        async def put(word: str) -> None:
            turn(word == "On")
            await self._ring.show()

        return choice(self.bench, "Off", OFF_ON, on_put=put)

    async def _set_clock(self, offset: float) -> None:
        self.bench.faults.clock_offset = offset

    async def _freeze(self, name: str) -> None:
        names = [motor.name_of_motor for motor in self._motors]
        if name and name not in names:
            raise ValueError(f"no motor {name!r}; there are {', '.join(names)}")
        self.bench.faults.frozen_motor = name

    def _dump(self, on: bool) -> None:
        now, dumps = self.bench.now(), self._world.ring.dumps
        if on and self._dumped_at is None:
            self._dumped_at = now
            dumps.append((now, math.inf))
        elif not on and self._dumped_at is not None:
            dumps.remove((self._dumped_at, math.inf))
            dumps.append((self._dumped_at, now))
            self._dumped_at = None

    def _close_front_end(self, on: bool) -> None:
        self._world.front_end_open = not on

    async def _drop_connections(self, value: int) -> None:
        if value:
            self._disconnect_clients()

    async def _restart(self, seconds: int) -> None:
        self._down_for = float(seconds)
        assert self._running is not None
        asyncio.get_running_loop().call_soon(self._running.cancel)  # which cancels this, too
