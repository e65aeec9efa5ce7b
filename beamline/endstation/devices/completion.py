"""What a server says when it has processed a put: pyepics tells that it has, and not whether it refused.

It refuses what is out of limits or still busy with the put before, and what is lost with a connection completes, too:
without looking at the status, a scaler that never counted would be read as if it had.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import epics
from epics import ca, dbr

ECA_NORMAL, ECA_DISCONN = 1, 192  # of the Channel Access protocol

_this_thread = threading.local()


def _take(args: Any, **_kwargs: Any) -> None:
    _this_thread.status = args.status
    if callable(args.usr):
        args.usr()


# pyepics has no public place for it; a test holds that this one is still used.
ca._CB_PUTWAIT = dbr.make_callback(_take, dbr.event_handler_args)


class Completion:
    """Is told when a put has been processed, and keeps how.

    Parameters
    ----------
    wake : callable
        Called then, on the thread of Channel Access: it must be quick.

    Attributes
    ----------
    status : int or None
        As the server gave it; None before.
    """

    _wrapped_callback = True  # for ophyd: call it where the status is, not on a thread of its own

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.status: int | None = None

    def __call__(self, **_kwargs: Any) -> None:
        """Take note."""
        self.status = getattr(_this_thread, "status", ECA_NORMAL)
        self._wake()

    @property
    def message(self) -> str:
        """What the status means."""
        return str(epics.ca.message(self.status)) if self.status is not None else ""
