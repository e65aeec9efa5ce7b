"""Append every document to the log of its run before any other consumer sees it, so that nothing measured is lost.

Each document is appended by a single `write`, so that an acknowledged document survives the death of the process; start
and stop documents are also synchronised to disk. A log moves to another folder once its run is in the catalogue. Logs
are small and are never deleted.

Every open run has disk space of its own reserved: for the document that meets a full disk, which stops the scan, and,
apart from it, for the stop document, since others may fill what the first has freed.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import uuid
import zlib
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Self

from beamline.errors import BeamlineError
from beamline.storage.layout import Layout, unused_name
from beamline.storage.log import FORMAT, Doc, LogError, LogReader, RunIndex, count_events, pack

OF_DAMAGE = "its log is "  # in the reason of a run that was closed with a damaged log
EVENT_RESERVE = 1 << 20  # bytes for one more event: a line of 20,000 pixels takes 640 kB
STOP_RESERVE = 1 << 16  # bytes for the stop document, which takes some hundred
UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")  # a log is named after it


class RecorderError(BeamlineError):
    """A document could not be written; the scan must stop."""


class OtherRunError(RecorderError):
    """A log cannot be gone on with: it is damaged, empty or closed, or not that of the run that is emitted again."""


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
        When the folder cannot be used. When called with a document that cannot be recorded, that could not be written,
        that only fitted into reserved space, or whose log was deleted. The error stops the scan; the RunEngine then
        closes the run, and its stop document is written to space reserved for it.

    Notes
    -----
    A process forked from this one inherits the locks of open runs: start processes with `spawn` or as commands.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._layout = Layout(data_dir)
        self._folder = self._layout.logs
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecorderError(f"{self._folder}: cannot be made, nothing can be measured: {error.strerror}") from error
        self._index = RunIndex()
        self._logs: dict[str, _LogWriter] = {}

    def __call__(self, name: str, doc: Doc) -> None:
        """Append a document to the log of its run; one that a resumed log holds already is passed over."""
        try:
            run = self._index.run_of(name, doc)
            packed = pack(name, doc)
        except KeyError as error:
            referred = error.args[0] in (doc.get("descriptor"), doc.get("resource"))
            what = f"refers to {error}, which was never emitted" if referred else f"has no {error}"
            raise RecorderError(f"a document {name!r} {what}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise RecorderError(f"a document {name!r} cannot be recorded: {error}") from error
        if self.passes_over(run):
            self._logs[run].pass_over(name, doc)
        elif name == "start":
            self._open(run, packed)
        elif run not in self._logs:
            raise RecorderError(f"a document {name!r} came for run {run}, which is not open")
        else:
            self._logs[run].append(packed, closing=name == "stop")
        if name == "stop":
            self._logs.pop(run).close()
            self._index.forget(run)

    def resume(self, uid: str) -> None:
        """Go on with the log of a run whose writer died; the run is emitted again from its beginning.

        Raises
        ------
        RecorderError
            When the log cannot be written, or is written by a living process; an `OtherRunError` when it is damaged,
            empty or closed and, later, when a document that is emitted again is another than the one in the log.
        """
        path = self._layout.log(uid)
        try:
            self._logs[uid] = _LogWriter.reopened(path)
        except BlockingIOError as error:
            raise RecorderError(f"{path}: another process writes it") from error
        except FileNotFoundError as error:  # or it lies where those of complete runs do, and is none
            raise OtherRunError(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise RecorderError(f"{path}: cannot be gone on with: {error.strerror}") from error
        except LogError as error:
            raise OtherRunError(str(error)) from error

    def passes_over(self, uid: str) -> bool:
        """Tell whether a run is resumed, and the next document is in its log already."""
        return uid in self._logs and bool(self._logs[uid].to_pass)

    def close(self) -> None:
        """Close the logs; a run without a stop document counts as interrupted from now on."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def _open(self, run: str, packed: bytes) -> None:
        if not isinstance(run, str) or not UID.fullmatch(run):
            raise RecorderError(
                f"the uid of a run is {run!r:.80}, expected letters, digits and . _ - to name a log after"
            )
        path = self._layout.log(run)
        if run in self._logs or os.path.lexists(path):
            raise RecorderError(f"{path}: there already, and not replaced; a run needs a uid of its own")
        try:
            self._logs[run] = _LogWriter.created(path, packed)
        except OSError as error:
            raise RecorderError(
                f"{self._folder}: no log can be opened, the scan cannot start: {error.strerror}"
            ) from error


class _LogWriter:
    """Writes and locks the log of one open run.

    Attributes
    ----------
    to_pass : deque of int
        Checksums of the documents that are in the log already, and will be emitted again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.to_pass: deque[int] = deque()
        self._fd = -1
        self._end = 0  # of the last whole document
        self._torn = False  # part of a document lies behind it
        self._reserves: list[_Reserve] = []

    @classmethod
    def created(cls, path: Path, packed_start: bytes) -> Self:
        """Begin a log."""
        log = cls(path)
        try:
            log._reserve()
            log._create(FORMAT + packed_start)
        except OSError:
            log.close()
            raise
        return log

    @classmethod
    def reopened(cls, path: Path) -> Self:
        """Go on with a log, behind its last whole document."""
        log = cls(path)
        try:
            log._reserve()
            log._reopen()
        except (OSError, BeamlineError):
            log.close()
            raise
        return log

    def append(self, packed: bytes, *, closing: bool) -> None:
        """Append a document, if need be in the reserved space.

        Raises
        ------
        RecorderError
            When the disk refuses it, or the log has been deleted; says whether the document is lost.
        """
        deleted = self._restore_if_deleted()
        try:
            self._write(packed, sync=closing)
        except OSError as error:
            self._append_in_reserve(packed, error, closing=closing)
            if not closing:  # a stop document in reserved space is no error: the space is reserved for it
                raise RecorderError(
                    f"{self.path}: {error.strerror}; the scan must stop, all documents so far are kept"
                ) from error
        if deleted and not closing:
            raise RecorderError(
                f"{self.path}: was deleted during the run, and written again; the scan must stop, all documents so far"
                " are kept"
            )

    def close(self) -> None:
        """Close the file, which releases the lock, and free the reserved space."""
        if self._fd >= 0:
            os.close(self._fd)
        for reserve in self._reserves:
            reserve.free()

    def _reserve(self) -> None:
        self._reserves += (_Reserve(self.path.parent, size) for size in (EVENT_RESERVE, STOP_RESERVE))

    def _create(self, content: bytes) -> None:
        """Make the file; it gets its name once it is locked and complete, so that no reader sees less."""
        new = self.path.with_name(f".{self.path.name}.new")
        _remove_unfinished(new)
        self._fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._end, self._torn = 0, False
            self._write(content, sync=True)
            new.rename(self.path)
            _sync_folder(self.path.parent)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def _reopen(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with LogReader(self.path) as reader:
            name = ""
            for name, doc in reader:
                self.to_pass.append(_checksum(name, doc))
            torn = reader.torn()
        if reader.damage or not name or name == "stop":
            why = str(reader.damage[0]) if reader.damage else "closed" if name else "empty"
            raise OtherRunError(f"{self.path}: {why}, and cannot be gone on with")
        self._end, self._torn = reader.end, bool(torn)

    def pass_over(self, name: str, doc: Doc) -> None:
        """Take a document that is in the log already.

        Raises
        ------
        OtherRunError
            When it is another one.
        """
        if self.to_pass.popleft() != _checksum(name, doc):
            raise OtherRunError(f"{self.path}: a document {name!r} is another than the one that is stored")

    def _append_in_reserve(self, packed: bytes, error: OSError, *, closing: bool) -> None:
        for reserve in self._reserves if closing else self._reserves[:1]:
            reserve.free()
            with suppress(OSError):
                self._write(packed, sync=closing)
                return
        raise RecorderError(f"{self.path}: {error.strerror}; a document is lost, the scan must stop") from error

    def _write(self, data: bytes, *, sync: bool) -> None:
        """Append `data` completely, or not at all if the disk refuses."""
        if self._torn:
            self._cut()
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # only part was written; the next attempt raises the reason
                written += os.write(self._fd, data[written:])
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            self._torn = True
            with suppress(OSError):  # else it is tried again before the next document
                self._cut()
            raise
        self._end += len(data)

    def _cut(self) -> None:
        os.ftruncate(self._fd, self._end)
        self._torn = False

    def _restore_if_deleted(self) -> bool:
        """Write the log again if its file or folder was deleted or replaced, which the open file does not notice."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
                return False
        old, end, torn = self._fd, self._end, self._torn
        try:
            content = os.pread(old, end, 0)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self.path):  # another file, such as an older copy of it
                self.path.rename(unused_name(self.path, ".replaced"))
            self._create(content)
        except OSError as error:
            if self._fd != old:
                os.close(self._fd)
            self._fd, self._end, self._torn = old, end, torn  # it is tried again before the next document
            raise RecorderError(
                f"{self.path}: was deleted during the run, and cannot be written again: {error.strerror}; a document"
                " is lost, the scan must stop"
            ) from error
        os.close(old)
        return True


def _remove_unfinished(new: Path) -> None:
    """Remove what a process left that died while it made a log of this name: a reduction's is made again."""
    with suppress(FileNotFoundError):
        left = os.open(new, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where it lives, and holds it
            new.unlink()
        finally:
            os.close(left)


class _Reserve:
    """Disk space that is held until it is needed, by a file without a name: no process that dies leaves it behind."""

    def __init__(self, folder: Path, size: int) -> None:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            self._fd = os.dup(file.fileno())

    def free(self) -> None:
        """Give the space back to the disk."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _checksum(name: str, doc: Doc) -> int:
    """Give a checksum of a document, but for the time at which one was made that is no event."""
    return zlib.crc32(pack(name, doc if name == "event" else {**doc, "time": None}))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_interrupted(path: Path, *, reason: str) -> Doc | None:
    """Write the missing stop document of a run whose process died.

    An unfinished document at the end, which was never acknowledged, is moved to ``<log>.torn``. Damage stays where it
    is.

    Parameters
    ----------
    path : Path
        A log.
    reason : str
        Reason given by the stop document, which names damage as well; its time is that of the last write to the log.

    Returns
    -------
    dict or None
        The stop document; None if the writer is alive or the run is already closed.

    Raises
    ------
    RecorderError
        When the log cannot be written; it is then unchanged.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise RecorderError(f"{path}: cannot be closed: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with LogReader(path) as reader:
            documents = list(reader)
            torn = reader.torn()
        if documents[-1][0] == "stop":
            return None
        status = os.fstat(fd)
        stop = {
            "uid": str(uuid.uuid4()),
            "run_start": documents[0][1]["uid"],
            "time": status.st_mtime,
            "exit_status": "abort",
            "reason": "; ".join([reason, *(f"{OF_DAMAGE}{damage}" for damage in reader.damage)]),
            "num_events": count_events(documents),
        }
        if torn:
            _set_aside(path, os.pread(fd, torn, reader.end))
        _append_stop(fd, pack("stop", stop), end=reader.end)
    except BlockingIOError:
        return None
    except OSError as error:
        raise RecorderError(f"{path}: cannot be closed: {error.strerror}") from error
    finally:
        os.close(fd)
    return stop


def _set_aside(path: Path, torn: bytes) -> None:
    """Keep the unfinished end of a log beside it."""
    aside = unused_name(path, ".torn")
    try:
        aside.write_bytes(torn)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _append_stop(fd: int, packed: bytes, *, end: int) -> None:
    """Replace what lies behind `end` by the stop document; if the disk refuses, the log ends at `end`."""
    before = os.fstat(fd)
    os.ftruncate(fd, end)
    try:
        written = os.write(fd, packed)
        while written < len(packed):  # only part was written; the next attempt raises the reason
            written += os.write(fd, packed[written:])
        os.fdatasync(fd)
    except OSError:
        os.ftruncate(fd, end)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))  # the next attempt gives it as the end of the run
        raise
