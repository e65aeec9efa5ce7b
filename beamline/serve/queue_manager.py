"""The manager of the queue, of bluesky-queueserver: ``python -m beamline.serve.queue_manager --config FILE``.

What it says when Redis does not answer holds the address of Redis with its password: that is taken out of what it logs.
"""

from __future__ import annotations

import logging
import os
import re

from bluesky_queueserver.manager.start_manager import start_manager

_PASSWORD = re.compile(r":[0-9a-f]{32,}@")


class _WithoutPassword(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802 - overrides
        return _PASSWORD.sub(":...@", super().getMessage())


def main() -> None:
    """Run the manager."""
    os.umask(0o077)
    logging.setLogRecordFactory(_WithoutPassword)
    start_manager()


if __name__ == "__main__":
    main()
