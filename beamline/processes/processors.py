"""Which processor works for whom: one for whoever measures, the others for what follows.

An engine hands on from thread to thread at every point. Where the thread that is next finds its processor at work for
another process, it waits for it; where there are two processors only, that is as likely as not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def leave_the_first() -> None:
    """Keep this process from the first processor, where there are more."""
    if len(others := sorted(os.sched_getaffinity(0))[1:]):
        os.sched_setaffinity(0, others)


def threads() -> list[int]:
    """List the threads of this process, by the numbers that the system knows them by."""
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]


def keep_to_the_first(some: Iterable[int]) -> set[int]:
    """Keep some threads to the first processor, where there are two; so will be the threads that they start.

    Returns
    -------
    set of int
        The processors that they had before, for `allow`.
    """
    before = os.sched_getaffinity(0)
    if len(before) == 2:
        allow({min(before)}, some)
    return before


def allow(processors: set[int], some: Iterable[int]) -> None:
    """Let some threads work on these processors; one that has ended does not matter."""
    for thread in some:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, processors)
