"""Serves the camera of the IOC with switches for its faults, until it is terminated. Argument: the speed-up."""

import asyncio
import shutil
import signal
import socket
import sys
from types import SimpleNamespace

from caproto import ChannelInteger
from caproto.asyncio.server import Context

from simulated_devices.ioc.area_detector import SimulatedCamera
from simulated_devices.ioc.bench import Bench
from simulated_devices.world import SimulatedEndstation

bench = Bench(SimulatedEndstation(speed_up=float(sys.argv[1])))
disk = SimpleNamespace(is_full=False)
usage = shutil.disk_usage
shutil.disk_usage = lambda path: SimpleNamespace(free=0) if disk.is_full else usage(path)


class Switch(ChannelInteger):
    def __init__(self, thing, name):
        super().__init__(value=0)
        self.thing, self.name = thing, name

    async def verify_value(self, value):
        setattr(self.thing, self.name, bool(value))
        return value


class PromptContext(Context):  # small answers are not collected
    async def tcp_handler(self, client, addr):
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().tcp_handler(client, addr)


async def main():
    simulated = SimulatedCamera(bench, "SIM:CCD:")
    pvdb = {
        **simulated.pvdb,
        "T:hung": Switch(bench.faults, "hung_camera"),
        "T:stalled": Switch(bench.faults, "stalled_writer"),
        "T:full": Switch(disk, "is_full"),
        "T:shutter": Switch(bench.world, "shutter_open"),
    }
    serving = asyncio.create_task(PromptContext(pvdb, ["127.0.0.1"]).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    try:
        await asyncio.gather(serving, return_exceptions=True)
    finally:
        await simulated.close()


asyncio.run(main())
