"""Read a file in a process of its own: on damaged ones libhdf5 crashes, runs without end, or takes 4 GB.

None of this can be caught where it happens. The process is a copy of this one that reads, sends what it has read, and
is gone.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import size_of, unreadable
from beamline.formats.text import one_line

T = TypeVar("T")

TIME = 30.0  # s of the processor to read a file, and a second more for each
BYTES_PER_SECOND = 20_000_000  # of it
PATIENCE = 4.0  # times as long by the clock, on a machine that does other things as well
SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGXCPU, signal.SIGTERM, signal.SIGINT)


def read_apart(path: Path, read: Callable[[], T]) -> T:
    """Call `read` in a copy of this process, and return its result.

    Parameters
    ----------
    path : Path
        The file that it reads, for the time that this may take and for messages.
    read : callable
        Its result must be one that can be pickled.

    Raises
    ------
    BeamlineError
        When there is no such file, or it is no regular one; when `read` raised one or any other error; or when reading
        crashed or did not come to an end.
    """
    try:
        seconds = TIME + size_of(path) / BYTES_PER_SECOND
    except FileNotFoundError:
        raise BeamlineError(f"{path}: no such file") from None
    except ValueError as refused:
        raise BeamlineError(unreadable(path, refused)) from refused
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: h5py has its lock for the copy
        pid = os.fork()
    if pid == 0:
        _read_and_end(path, read, (reader, writer), seconds)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        if not select.select([answers], [], [], seconds * PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
        try:
            answer = pickle.load(answers)  # noqa: S301 - of our own process
        except (EOFError, pickle.UnpicklingError):
            answer = None
    _, status = os.waitpid(pid, 0)
    if answer is None:
        raise BeamlineError(f"{path}: cannot be read: {_reason(os.waitstatus_to_exitcode(status))}")
    result, error = answer
    if error is not None:
        raise BeamlineError(error)
    return result  # type: ignore[no-any-return]


def _reason(code: int) -> str:
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return "it is damaged, and reading it takes too long or too much memory"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"it is damaged in a way that crashes libhdf5 ({name})"


def _read_and_end(path: Path, read: Callable[[], object], pipe: tuple[int, int], seconds: float) -> NoReturn:
    """Read, send the result, and end without any of the cleaning up that is the other process's own."""
    reader, writer = pipe
    try:
        os.close(reader)
        limit = int(time.process_time() + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # no report of a crash that is one line there
        answer: tuple[object, str | None]
        try:
            answer = (read(), None)
        except BeamlineError as error:
            answer = (None, str(error))
        except Exception as error:  # noqa: BLE001 - it would be told as a crash of libhdf5
            answer = (None, f"{path}: cannot be read: {type(error).__name__}: {one_line(error)}")
        with os.fdopen(writer, "wb") as file:
            pickle.dump(answer, file, protocol=5)
    finally:
        os._exit(0)
