"""A repeater of Channel Access: passes the beacons of servers on to all clients of this computer.

Each client registers with one, and complains where EPICS has not installed any; a beacon is how a client that lost an
IOC learns at once that it is back.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from simulated_devices.ports import LOOPBACK

HEADER = struct.Struct(">HHHHII")  # command, bytes of payload, data type, count, two parameters
BEACON, CONFIRM, REGISTER = 13, 17, 24  # commands
LOOPBACK_NUMBER = 0x7F000001
RETRY = 1.0  # s


class Repeater(asyncio.DatagramProtocol):
    """Receives registrations and beacons at the repeater's port."""

    def __init__(self) -> None:
        self._clients: set[tuple[str, int]] = set()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport, to answer by it."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Register a client, or pass a beacon on."""
        if len(data) < HEADER.size or HEADER.unpack_from(data)[0] == REGISTER:
            self._clients.add(address)
            self._transport.sendto(HEADER.pack(CONFIRM, 0, 0, 0, 0, LOOPBACK_NUMBER), address)
            return
        command, *rest, server = HEADER.unpack_from(data)
        if command == BEACON and server == 0:  # the server leaves its address to the repeater
            data = HEADER.pack(command, *rest, LOOPBACK_NUMBER) + data[HEADER.size :]
        for client in self._clients - {address}:
            self._transport.sendto(data, client)


async def repeat_beacons(port: int) -> None:
    """Run a repeater on this computer's loopback, as soon as there is no other, until cancelled."""
    while True:
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                Repeater, local_addr=(LOOPBACK, port)
            )
        except OSError:  # there is one
            await asyncio.sleep(RETRY)
            continue
        try:
            await asyncio.Event().wait()
        finally:
            transport.close()
