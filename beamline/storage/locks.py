"""Locks on files: only one process at a time does what a lock stands for."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from beamline.errors import BeamlineError

POLL_INTERVAL = 0.2  # s


class LockError(BeamlineError):
    """The file of a lock cannot be opened."""


@contextmanager
def locked(path: Path, *, keep_waiting: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock on a file.

    Parameters
    ----------
    path : Path
        The file, which is made if it is not there.
    keep_waiting : callable
        Called repeatedly while another process holds the lock; waiting ends when it returns False.

    Yields
    ------
    bool
        Whether the lock was obtained.

    Raises
    ------
    LockError
        When the file cannot be opened.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LockError(f"{path}: {error.strerror}") from error
    try:
        held = _try_lock(lock, fcntl.LOCK_EX)
        while not held and keep_waiting():
            time.sleep(POLL_INTERVAL)
            held = _try_lock(lock, fcntl.LOCK_EX)
        yield held
    finally:
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock on a file; a file that cannot be opened is not locked."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
