"""What the processes that follow the logs report of themselves, and log, in files of the data folder for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from beamline.storage.layout import Layout

# s of processor time that only work takes within the half minute or more that is waited for progress: a process that
# waits takes some thousandths of a processor.
CPU_STEP = 1.0


class ReportedRun(BaseModel):
    """What a process reports of a run that it is not done with."""

    uid: str
    documents: int
    error: str
    given_up: bool
    behind: int = 0


class Report(BaseModel):
    """What a process reports."""

    pid: int
    time: float
    state: str
    runs: list[ReportedRun]
    since: float | None = None
    error: str = ""
    cpu: float = 0.0


def last_report(layout: Layout, name: str) -> Report | None:
    """Read the last report of a process, whoever started it; None if there is none alive.

    Parameters
    ----------
    layout : Layout
        Of the data folder.
    name : str
        One of `beamline.storage.layout.PROCESSES`.
    """
    # No file, no process, or not what the process writes.
    with suppress(OSError, ValueError, OverflowError, RecursionError):
        report = Report.model_validate_json(layout.process_status(name).read_bytes())
        with suppress(PermissionError):  # it is another user's
            os.kill(report.pid, 0)  # raises if the process has died, which makes its report obsolete
        return report
    return None


def progress_of(layout: Layout, name: str) -> tuple[int, int]:
    """Give what grows while a process works: documents of the runs it is not done with, and its processor time.

    A step may take minutes, as the last of a large stack does.

    Parameters
    ----------
    layout : Layout
        Of the data folder.
    name : str
        One of `beamline.storage.layout.PROCESSES`.

    Returns
    -------
    documents : int
    steps : int
        Multiples of `CPU_STEP`.
    """
    if (report := last_report(layout, name)) is None:
        return 0, 0
    return sum(run.documents for run in report.runs), int(report.cpu / CPU_STEP)


@contextmanager
def details_to(path: Path, of: Sequence[str] = ("beamline", "callbacks")) -> Iterator[None]:
    """Write what these loggers log meanwhile, at length, to a file: what the user has to know is among the problems."""
    handler = _Details(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in of]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate


class _Details(logging.Handler):
    """Appends to a file; where that is not possible, as on a full disk, the details are lost."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self.format(record)}\n")
