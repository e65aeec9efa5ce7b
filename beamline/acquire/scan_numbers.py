"""Number the scans of a data folder."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.storage import Entry, Layout, Runs

logger = logging.getLogger(__name__)


class ScanNumbers:
    """Number the scans that are measured in a data folder; two processes never get the same number.

    The last number is kept in a file. It is checked once against the runs of the folder, so that a file that was lost,
    damaged or set back gives no number twice. Imported runs keep the numbers that their instrument gave them.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file = Layout(data_dir).scan_id
        self._recorded: int | None = None  # the highest that a run has or was given; None: not looked at

    def next(self) -> int:
        """Return the next number.

        Raises
        ------
        BeamlineError
            When the number cannot be kept.
        """
        if self._recorded is None:
            self._recorded = max(map(_number_of, Runs(self._data_dir).raw()), default=0)
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            with self._file.with_name(f".{self._file.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                number = max(self._last(), self._recorded) + 1
                self._keep(number)
                self._recorded = number  # whatever becomes of the file
        except OSError as error:
            raise BeamlineError(
                f"{self._file}: the number of the scan cannot be kept, it cannot start: {error.strerror}"
            ) from error
        return number

    def _last(self) -> int:
        """Read the last number that was given; that of the runs where the file does not hold one."""
        assert self._recorded is not None
        try:
            text = self._file.read_bytes()[:100].strip()
        except FileNotFoundError:
            return self._recorded
        if not (text.isdigit() and text.isascii() and len(text) < 16):
            logger.warning(
                "%s: holds %r, expected the number of the last scan; scans are numbered on from %d, the last run's",
                self._file,
                text.decode(errors="replace"),
                self._recorded,
            )
            return self._recorded
        if int(text) < self._recorded:
            logger.warning(
                "%s: holds %d, but there is a run of scan %d; scans are numbered on from there",
                self._file,
                int(text),
                self._recorded,
            )
        return int(text)

    def _keep(self, number: int) -> None:
        """Replace the file in one go, so that no process that dies leaves half a number."""
        new = self._file.with_name(f".{self._file.name}.new")
        with new.open("w") as file:
            file.write(str(number))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)


def _number_of(entry: Entry) -> int:
    number = entry.start.get("scan_id")
    measured = not str(entry.start.get("plan_name", "")).startswith("import_")
    return number if measured and isinstance(number, int) else 0
