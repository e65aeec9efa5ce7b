"""A progress bar on standard error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from beamline.cli.printing import PlainConsole
from beamline.text import shortened

MOST = 60  # characters of what is under way


class ProgressBar:
    """A bar that shows what it is called with, see `beamline.operations.progress`.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._hidden = False
        self._drawing = threading.Lock()  # it is called on the thread that watches the logs, and hidden on another
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=PlainConsole(stderr=True),
            disable=quiet,
        )

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show how much is done."""
        with self._drawing:
            if done == 0 or what not in self._tasks:
                self._tasks[what] = self._bar.add_task(shortened(what, MOST), total=total)
            self._bar.update(self._tasks[what], completed=done, total=total)
            if not self._hidden:
                self._bar.start()  # only now, as a bar that shows nothing leaves an empty line above an error

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal to a question, which the bar would draw over ten times a second."""
        with self._drawing:
            self._hidden = True
        self.stop()
        try:
            yield
        finally:
            self._hidden = False

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._bar.live.is_started:
            self._bar.stop()


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[ProgressBar]:
    """Show progress with the time left while the block runs."""
    bar = ProgressBar(quiet=quiet)
    try:
        yield bar
    finally:
        bar.stop()
