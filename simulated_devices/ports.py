"""Ports of this computer that are free."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Below those that Linux, macOS and Windows give to whoever opens a connection: so a server that is started again on its
# port finds it free.
FREE = range(20_000, 32_768)


def free_port(port: int = 0) -> int:
    """Give a port on which nothing listens, TCP or UDP: the one asked for, or any where that is 0.

    Raises
    ------
    OSError
        When the one asked for is in use.
    """
    chance = random.SystemRandom()  # a seed would give each of several processes the same
    for _ in range(100):
        wanted = port or chance.choice(FREE)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
            try:
                tcp.bind((LOOPBACK, wanted))
                udp.bind((LOOPBACK, wanted))
            except OSError as error:
                if port:
                    raise OSError(f"port {port} of {LOOPBACK} is in use: choose another, or 0 for any") from error
                continue
            return wanted
    raise OSError(f"no port of {LOOPBACK} is free")
