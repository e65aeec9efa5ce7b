"""What every exporter does: write a file whole or not at all, and say why a reduction lacks what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from beamline.errors import BeamlineError
from beamline.formats.text import one_line
from beamline.storage import Run
from callbacks.contract import Account, Marks


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """Give a path beside `path`, creating its folder if necessary, and move what is written there once it is complete.

    Raises
    ------
    BeamlineError
        When it cannot be written there; a file that was there stays as it is.
    """
    part = path.with_name(f".{path.name[:200]}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "is a folder, expected the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # the latter if HDF5 finds the disk full only when it closes the file
        raise BeamlineError(
            f"{path}: cannot be written: {getattr(error, 'strerror', None) or one_line(error)}"
        ) from error


def reasons_of(derived: Run) -> list[str]:
    """Say what a reduction did not find and why, and which events are not to be trusted; a line for each."""
    found = []
    for key, value in derived.result.items():
        if key.endswith("_status"):  # of the whole, or of each image
            statuses = [str(one) for one in np.ravel(value)]
            share = f"{{}} of {len(statuses)}: " if np.ndim(value) else ""
            for status, count in Counter(statuses).items():
                if status not in ("", "ok"):
                    found.append(f"{key.removesuffix('_status')}: {share.format(count)}{one_line(status)}")
    marked, account = derived.read(Marks), derived.read(Account)
    for numbers, reasons in ((marked.marked_frames, marked.marks), (account.problem_frames, account.problems)):
        found += [f"event {number}: {one_line(reason)}" for number, reason in zip(numbers, reasons, strict=True)]
    return found
