"""What a command says beside its answer: errors and log lines, each on one line of standard error."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from beamline.text import clean

OWN_LOGGERS = ("beamline", "plans")  # what a step of a reduction met is in the summary of its run
DEBUG = "BEAMLINE_DEBUG"  # environment variable: show where an error was raised


def fail(*problems: str, code: int = 1) -> NoReturn:
    """Print one line for each problem on standard error, and exit."""
    for problem in problems:
        print(f"beamline: {clean(problem)}", file=sys.stderr)
    raise SystemExit(code)


def fail_unexpected(error: Exception) -> NoReturn:
    """Say in one line what nobody foresaw; where it was raised only if BEAMLINE_DEBUG is set."""
    show_traceback()
    if isinstance(error, OSError) and error.filename is not None:
        fail(f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}")
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    fail(f"internal error: {text}; set {DEBUG}=1 for the traceback")


def show_traceback() -> None:
    """Print where the error under way was raised, if BEAMLINE_DEBUG is set."""
    if os.environ.get(DEBUG):
        traceback.print_exc()


def drop_output() -> None:
    """Let nothing more be written to a standard output whose reader is gone."""
    with suppress(OSError, ValueError):  # a stream without a file descriptor has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def readable_output() -> Iterator[None]:
    """Show warnings of our own code as lines, and let no character that the terminal has not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    handler = _OneLine(logging.WARNING)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(not os.environ.get(DEBUG))  # those of Python are for developers
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


class _OneLine(logging.Handler):
    """Print a log record of our own code as one line on standard error, without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in OWN_LOGGERS:
            print(f"beamline: {record.levelname.lower()}: {clean(record.getMessage())}", file=sys.stderr)
