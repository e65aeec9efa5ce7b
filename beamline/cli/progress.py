"""A progress bar on standard error."""

from __future__ import annotations

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
from beamline.operations.progress import Progress as Report
from beamline.text import shortened

MOST = 60  # characters of what is under way


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report]:
    """Show progress with the time left; what is given is to be called with it, see `beamline.operations.progress`."""
    tasks: dict[str, TaskID] = {}
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=PlainConsole(stderr=True),
        disable=quiet,
    )

    def report(what: str, done: int, total: int | None) -> None:
        if not tasks:
            bar.start()  # only now, as a bar that shows nothing leaves an empty line above an error
        if done == 0 or what not in tasks:
            tasks[what] = bar.add_task(shortened(what, MOST), total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bar.stop()
