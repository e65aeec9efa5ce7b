"""What devices of ophyd-async promise, for those who are not an engine."""

from __future__ import annotations

import inspect
from typing import Any

from bluesky.run_engine import call_in_bluesky_event_loop

PATIENCE = 10.0  # s that an answer may take


def kept(promised: Any, timeout: float = PATIENCE) -> Any:
    """Give what a device says, also where it is of ophyd-async, which promises it: on the loop of Bluesky's engine.

    Parameters
    ----------
    promised : Any
        As a method of a device gave it.
    timeout : float
        s that it may take.

    Raises
    ------
    TimeoutError
        When it takes longer.
    """
    return call_in_bluesky_event_loop(promised, timeout) if inspect.isawaitable(promised) else promised
