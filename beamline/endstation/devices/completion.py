"""The status of a completed put, which pyepics does not pass on: it reports that a put completed, not that it failed.

Servers refuse values out of limits, and puts to records that are busy; a put whose connection is lost completes as
well. Without the status, a scaler that never counted would be read as if it had.
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


# pyepics has no public hook for it; a test checks that this one is still used.
ca._CB_PUTWAIT = dbr.make_callback(_take, dbr.event_handler_args)  # noqa: SLF001


class Completion:
    """Callback of a put that keeps the status it completed with.

    Parameters
    ----------
    wake : callable
        Called on completion, on the thread of Channel Access: it must be quick.

    Attributes
    ----------
    status : int or None
        As the server gave it; None before completion.
    """

    _wrapped_callback = True  # for ophyd: call it on the thread that has the status, not on one of its own

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.status: int | None = None

    def __call__(self, **_kwargs: Any) -> None:
        """Keep the status."""
        self.status = getattr(_this_thread, "status", ECA_NORMAL)
        self._wake()

    @property
    def message(self) -> str:
        """The meaning of the status."""
        return str(epics.ca.message(self.status)) if self.status is not None else ""
