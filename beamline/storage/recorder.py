"""Append every document to a log of its run before anything else sees it, so that nothing measured is lost.

A log is a file ``<data_dir>/log/<uid of the run>.log``: a line that names the format, then the documents in the order
they were emitted. A document is its length and CRC-32 (two little-endian uint32) and a msgpack array [name, document]
with arrays in the encoding of msgpack-numpy. Each is written with one `write`: what the recorder acknowledged survives
the end of the process; start and stop are also synchronised to the disk. The writer holds an flock on the log, so that
a log without a stop document whose lock is free is known to belong to a process that is gone.

Logs move to ``<data_dir>/log/ingested/<year>/`` when the catalogue has them. They are small, and kept.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import time
import uuid
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import event_model
import msgpack
import msgpack_numpy
import numpy as np

from beamline.errors import BeamlineError

logger = logging.getLogger(__name__)

Doc = dict[str, Any]
Document = tuple[str, Doc]  # (name, document), as the RunEngine emits it

LOG_FOLDER = "log"
INGESTED_FOLDER = "ingested"
FORMAT = b"bluesky documents, msgpack, 1\n"
RESERVE_BYTES = 1 << 20  # held back on the disk; the closing documents of several runs are a few kB
_HEADER = struct.Struct("<II")  # length of the packed document, its CRC-32
_OPENING = ("start", "resource", "stream_resource", "descriptor")  # documents that others refer to


class RecorderError(BeamlineError):
    """A document could not be written; the scan must not go on."""


class LogError(BeamlineError):
    """A log cannot be read."""


class LogState(StrEnum):
    """What has become of a run whose log is here."""

    OPEN = "open"  # its writer is alive
    CLOSED = "closed"  # it has its stop document
    INTERRUPTED = "interrupted"  # its writer is gone, and there is no stop document


def pack(name: str, doc: Doc) -> bytes:
    """Pack a document as it stands in a log, length and checksum in front.

    Raises
    ------
    TypeError
        When the document holds something that is neither a plain value nor an array of numbers or strings.
    """
    payload = msgpack.packb((name, doc), default=_encode)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise TypeError(f"an array of Python objects cannot be recorded: {value!r:.80}")
    encoded = msgpack_numpy.encode(value)
    if encoded is value:
        raise TypeError(f"a {type(value).__name__} cannot be recorded: {value!r:.80}")
    return encoded


def _decode(value: dict[Any, Any]) -> Any:
    if value.get(b"kind") == b"O":  # msgpack-numpy would unpickle it: nothing in a log is run
        raise LogError("an array of Python objects in a log: this recorder writes none")
    decoded = msgpack_numpy.decode(value)
    return decoded.copy() if isinstance(decoded, np.ndarray) else decoded  # writable, as it was when it was emitted


def log_folder(data_dir: Path) -> Path:
    """Give the folder of the logs that are not in the catalogue yet."""
    return data_dir / LOG_FOLDER


def ingested_path(log: Path, start: Doc) -> Path:
    """Give the place of a log once its run is in the catalogue."""
    return log.parent / INGESTED_FOLDER / time.strftime("%Y", time.gmtime(start["time"])) / log.name


def spooled_logs(data_dir: Path) -> list[Path]:
    """List the logs that are not, or not wholly, in the catalogue."""
    return sorted(log_folder(data_dir).glob("[!.]*.log"))


def find_logs(data_dir: Path) -> list[Path]:
    """List the logs of all runs of a data folder."""
    return spooled_logs(data_dir) + sorted((log_folder(data_dir) / INGESTED_FOLDER).glob("*/*.log"))


def find_log(data_dir: Path, uid: str) -> Path:
    """Find the log of a run.

    Raises
    ------
    LogError
        When there is none.
    """
    folder = log_folder(data_dir)
    # In this order: a log moves from the first place to the second only.
    for pattern in (f"{uid}.log", f"{INGESTED_FOLDER}/*/{uid}.log"):
        for path in folder.glob(pattern):
            return path
    raise LogError(f"{folder}: no log of run {uid}")


def read_log(path: Path) -> Iterator[Document]:
    """Read a log up to its last whole document.

    Yields
    ------
    name, document
        In the order they were emitted; pages as pages.
    """
    with LogReader(path) as reader:
        yield from reader


class LogReader:
    """Read the documents of a log, also of one that is being written: iterate again to go on where the log ended.

    Parameters
    ----------
    path : Path
        The log. It may be moved while it is read.

    Attributes
    ----------
    number : int
        How many documents lie before the next one.
    end : int
        Where the next document begins, in bytes.

    Raises
    ------
    LogError
        When the file is not a log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise LogError(f"{path}: {error.strerror}") from error
        if self._file.read(len(FORMAT)) != FORMAT:
            self._file.close()
            raise LogError(f"{path}: not a log of documents")
        self.end = self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Document]:
        while (document := self.read()) is not None:
            yield document

    def read(self) -> Document | None:
        """Read the next document; None where the log ends, for now or for good."""
        payload = self._payload()
        if payload is None:
            return None
        name, doc = msgpack.unpackb(payload, object_hook=_decode, strict_map_key=False)
        self._advance(len(payload))
        return name, doc

    def skip_to(self, number: int) -> None:
        """Pass over documents until `number` lie behind, or the log ends."""
        while self.number < number and (payload := self._payload()) is not None:
            self._advance(len(payload))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _payload(self) -> bytes | None:
        """Read the packed document at `end`; None where it is not there or not whole."""
        self._file.seek(self.end)
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, checksum = _HEADER.unpack(header)
        payload = self._file.read(length)
        # A power failure can leave a tail of zeros: a document of no length is no document.
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            return None
        return payload

    def _advance(self, length: int) -> None:
        self.number += 1
        self.end += _HEADER.size + length


@dataclass(frozen=True)
class Log:
    """A log that is not in the catalogue yet, and what has become of its run."""

    path: Path
    start: Doc
    state: LogState

    @property
    def uid(self) -> str:
        """The run's uid."""
        return self.start["uid"]


def logs(data_dir: Path) -> list[Log]:
    """List the logs that are not, or not wholly, in the catalogue, oldest run first.

    A file that is no log is left out, and said so in a log message.
    """
    found = []
    for path in spooled_logs(data_dir):
        try:
            found.append(inspect_log(path))
        except LogError as error:
            if path.exists():  # else the catalogue took it in since it was listed
                logger.error("%s", error)
    return sorted(found, key=lambda log: log.start["time"])


def inspect_log(path: Path) -> Log:
    """Read what a log says of its run.

    Raises
    ------
    LogError
        When it holds no start document.
    """
    # Asked first: a writer that closes its run in between leaves a closed log, not an interrupted one.
    written = is_being_written(path)
    documents = read_log(path)
    first, start = next(documents, ("", {}))
    if first != "start":
        raise LogError(f"{path}: holds no start document")
    last = deque((name for name, _ in documents), maxlen=1)
    unfinished = LogState.OPEN if written else LogState.INTERRUPTED
    return Log(path, start, LogState.CLOSED if "stop" in last else unfinished)


def is_being_written(path: Path) -> bool:
    """Say whether the process that writes a log is alive."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class RunIndex:
    """Which run a document belongs to: `resource`, `datum` and their like name it only through others."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}  # uid of a descriptor or resource -> uid of its run
        self._newest = ""

    def run_of(self, name: str, doc: Doc) -> str:
        """Give the uid of the run of a document, and remember the document where later ones refer to it.

        Raises
        ------
        KeyError
            When the document refers to one that never came.
        """
        match name:
            case "start":
                run = self._newest = doc["uid"]
            case "stop" | "descriptor":
                run = doc["run_start"]
            case "resource" | "stream_resource":
                run = doc.get("run_start") or self._newest  # optional in the schema
            case "datum" | "datum_page":
                run = self._runs[doc["resource"]]
            case _:
                run = self._runs[doc["descriptor"]]
        if name in _OPENING:
            self._runs[doc["uid"]] = run
        return run

    def forget(self, run: str) -> None:
        """Drop what is known of a run that is over."""
        self._runs = {uid: of for uid, of in self._runs.items() if of != run}


class Recorder:
    """Write each document to the log of its run, and return when it is there.

    Subscribe it to the RunEngine before anything else. Callable with (name, document).

    Parameters
    ----------
    data_dir : Path
        The logs go to its folder ``log``.

    Raises
    ------
    RecorderError
        When called: a document holds what cannot be recorded, or could not be written, or there was room for it only in
        the reserve that is kept for the closing documents. This stops the scan; the RunEngine then closes the run, and
        its stop document lands.

    Notes
    -----
    The locks of open runs pass to a process forked from this one: start processes with `spawn` or as commands.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = log_folder(data_dir)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._reserve = self._folder / ".reserve"
        self._index = RunIndex()
        self._logs: dict[str, _Writer] = {}

    def __call__(self, name: str, doc: Doc) -> None:
        """Write a document."""
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
        except LogError:  # it may have been moved just then
            return LogReader(find_log(self._data_dir, uid))

    def close(self) -> None:
        """Let go of the logs; a run without its stop document counts as interrupted from now on."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def _open(self, run: str, packed: bytes) -> None:
        try:
            self._fill_reserve()
            self._logs[run] = _Writer(self._folder / f"{run}.log", packed)
        except OSError as error:
            raise RecorderError(
                f"{self._folder}: no log can be opened, the scan cannot start: {error.strerror}"
            ) from error

    def _write(self, log: _Writer, packed: bytes, *, sync: bool) -> None:
        try:
            log.write(packed, sync=sync)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            try:
                log.write(packed, sync=sync)
            except OSError:
                raise RecorderError(f"{log.path}: {error.strerror}; a document is lost, the scan must stop") from error
            if not sync:  # a closing document that landed in the reserve is what the reserve is for
                raise RecorderError(
                    f"{log.path}: {error.strerror}; the scan must stop, all documents so far are kept"
                ) from error

    def _fill_reserve(self) -> None:
        if not self._reserve.exists():
            with self._reserve.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
                except OSError:
                    self._reserve.unlink()
                    raise


class _Writer:
    """The log of one open run."""

    def __init__(self, path: Path, packed_start: bytes) -> None:
        self.path = path
        # Under another name until it is locked and holds its start document: nobody meets it half made.
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
        """Append `data`, all of it or, where the disk refuses, nothing."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # the disk took a part; the next attempt gives the reason
                written += os.write(self._fd, data[written:])
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)

    def close(self) -> None:
        """Close the file, and with it give up the lock."""
        os.close(self._fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_interrupted(path: Path, *, reason: str) -> Doc | None:
    """Write the stop document that a dead process left out.

    What lies behind the last whole document, never acknowledged, is set aside in ``<log>.torn``.

    Parameters
    ----------
    path : Path
        A log.
    reason : str
        Goes into the stop document; its time is that of the last write to the log.

    Returns
    -------
    dict or None
        The stop document; None where the writer is alive or the run is closed.
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


def count_events(documents: list[Document]) -> dict[str, int]:
    """Count the events of each stream, as a stop document does: a repeated event counts once."""
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    counts = dict.fromkeys(streams.values(), 0)
    for name, doc in documents:
        if name in ("event", "event_page"):
            stream = streams[doc["descriptor"]]
            counts[stream] = max(counts[stream], int(np.max(doc["seq_num"], initial=0)))
    return counts


def unpack_pages(documents: Iterator[tuple[str, Any]]) -> Iterator[Document]:
    """Give the events and datums of pages one by one, all other documents as they are."""
    for name, doc in documents:
        match name:
            case "event_page":
                yield from (("event", dict(event)) for event in event_model.unpack_event_page(doc))
            case "datum_page":
                yield from (("datum", dict(datum)) for datum in event_model.unpack_datum_page(doc))
            case _:
                yield name, doc
