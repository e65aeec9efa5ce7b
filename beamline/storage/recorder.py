"""Append every document to the log of its run before any other consumer sees it, so that nothing measured is lost.

Each document is appended by a single `write`, so that an acknowledged document survives the death of the process; start
and stop documents are also synchronised to disk. A log moves to another folder once its run is in the catalogue. Logs
are small and are never deleted.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from beamline.storage.log import FORMAT, Doc, LogError, LogReader, RunIndex, count_events, find_log, pack

RESERVE_BYTES = 1 << 20  # disk space reserved for closing documents; those of several runs take a few kB


class RecorderError(BeamlineError):
    """A document could not be written; the scan must stop."""


class Recorder:
    """Write each document to the log of its run, and return once it is written.

    Subscribe it to the RunEngine before anything else. Callable with (name, document).

    Parameters
    ----------
    data_dir : Path
        The data folder; the logs go to its subfolder ``log``.

    Raises
    ------
    RecorderError
        When called with a document that cannot be recorded, that could not be written, or that only fitted into the
        space reserved for closing documents. The error stops the scan; the RunEngine then closes the run, and its stop
        document is written to the reserved space.

    Notes
    -----
    A process forked from this one inherits the locks of open runs: start processes with `spawn` or as commands.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._layout = Layout(data_dir)
        self._folder = self._layout.logs
        self._folder.mkdir(parents=True, exist_ok=True)
        self._reserve = self._layout.reserve
        self._index = RunIndex()
        self._logs: dict[str, _LogWriter] = {}

    def __call__(self, name: str, doc: Doc) -> None:
        """Append a document to the log of its run."""
        try:
            run = self._index.run_of(name, doc)
            packed = pack(name, doc)
        except KeyError as error:
            raise RecorderError(f"a document {name!r} refers to {error}, which was never emitted") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise RecorderError(f"a document {name!r} cannot be recorded: {error}") from error
        if name == "start":
            self._open(run, packed)
        elif run not in self._logs:
            raise RecorderError(f"a document {name!r} came for run {run}, which is not open")
        else:
            self._write(self._logs[run], packed, sync=name == "stop")
        if name == "stop":
            self._logs.pop(run).close()
            self._index.forget(run)

    def read(self, uid: str) -> LogReader:
        """Open the log of a run of this data folder for reading."""
        try:
            return LogReader(find_log(self._data_dir, uid))
        except LogError:  # it may have been moved between being found and being opened
            return LogReader(find_log(self._data_dir, uid))

    def close(self) -> None:
        """Close the logs; a run without a stop document counts as interrupted from now on."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def _open(self, run: str, packed: bytes) -> None:
        try:
            self._reserve_space()
            self._logs[run] = _LogWriter(self._layout.log(run), packed)
        except OSError as error:
            raise RecorderError(
                f"{self._folder}: no log can be opened, the scan cannot start: {error.strerror}"
            ) from error

    def _write(self, log: _LogWriter, packed: bytes, *, sync: bool) -> None:
        try:
            log.write(packed, sync=sync)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            try:
                log.write(packed, sync=sync)
            except OSError:
                raise RecorderError(f"{log.path}: {error.strerror}; a document is lost, the scan must stop") from error
            if not sync:  # a closing document in the reserved space is no error: the space is reserved for it
                raise RecorderError(
                    f"{log.path}: {error.strerror}; the scan must stop, all documents so far are kept"
                ) from error

    def _reserve_space(self) -> None:
        if not self._reserve.exists():
            with self._reserve.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
                except OSError:
                    self._reserve.unlink()
                    raise


class _LogWriter:
    """Writes and locks the log of one open run."""

    def __init__(self, path: Path, packed_start: bytes) -> None:
        self.path = path
        # It gets its name only once it is locked and holds its start document, so that no reader sees it incomplete.
        new = path.with_name(f".{path.name}.new")
        self._fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._end = 0
            self.write(FORMAT + packed_start, sync=True)
            new.rename(path)
            _sync_folder(path.parent)
        except OSError:
            os.close(self._fd)
            new.unlink(missing_ok=True)
            raise

    def write(self, data: bytes, *, sync: bool) -> None:
        """Append `data` completely, or not at all if the disk refuses."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # only part was written; the next attempt raises the reason
                written += os.write(self._fd, data[written:])
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)

    def close(self) -> None:
        """Close the file, which releases the lock."""
        os.close(self._fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_interrupted(path: Path, *, reason: str) -> Doc | None:
    """Write the missing stop document of a run whose process died.

    Bytes after the last complete document, which was never acknowledged, are moved to ``<log>.torn``.

    Parameters
    ----------
    path : Path
        A log.
    reason : str
        Reason given by the stop document; its time is that of the last write to the log.

    Returns
    -------
    dict or None
        The stop document; None if the writer is alive or the run is already closed.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with LogReader(path) as reader:
            documents = list(reader)
            end = reader.end
        if documents[-1][0] == "stop":
            return None
        status = os.fstat(fd)
        if status.st_size > end:
            path.with_name(f"{path.name}.torn").write_bytes(path.read_bytes()[end:])
            os.ftruncate(fd, end)
        stop = {
            "uid": str(uuid.uuid4()),
            "run_start": documents[0][1]["uid"],
            "time": status.st_mtime,
            "exit_status": "abort",
            "reason": reason,
            "num_events": count_events(documents),
        }
        os.write(fd, pack("stop", stop))
        os.fdatasync(fd)
        return stop
    except BlockingIOError:
        return None
    finally:
        os.close(fd)
