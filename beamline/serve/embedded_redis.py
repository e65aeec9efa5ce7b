"""Redis in Python, where none is installed: ``python -m beamline.serve.embedded_redis PORT``.

What it holds is gone when it ends; and whoever works on this computer can reach it. It is enough to begin with.
"""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main(port: int) -> None:
    """Serve on loopback until ended."""
    TcpFakeServer(("127.0.0.1", port), server_type="redis").serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
