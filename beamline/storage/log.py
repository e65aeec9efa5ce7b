"""The log of a run: its format, how to read it, and how to tell whether the run is open, closed or interrupted.

A log is a line that names the format, followed by the documents in the order they were emitted. Each document is stored
as its length and CRC-32 (two little-endian uint32), then a msgpack array [name, document] with numpy arrays encoded by
msgpack-numpy. The writer holds an flock on the log: a log that has no stop document and is not locked belongs to a
process that died.

Bytes that cannot be read are an unfinished tail, which a process leaves that dies while it writes, or damage, when a
valid document follows or when the last document is there in full but changed. A tail was never acknowledged; damage is
named, and costs only the documents it lies in.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import struct
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
from beamline.storage.layout import Layout

logger = logging.getLogger(__name__)

Doc = dict[str, Any]
Document = tuple[str, Doc]  # (name, document), as the RunEngine emits it

FORMAT = b"bluesky documents, msgpack, 1\n"
SCANNED = 1 << 20  # bytes that are searched at once for a document behind damage
_HEADER = struct.Struct("<II")  # length of the packed document, its CRC-32
_REFERENCED = ("start", "resource", "stream_resource", "descriptor")  # documents that later ones refer to by uid
# How the packed documents begin: an array of two, of which the first is a short text.
_PAYLOAD = re.compile(
    rb"\x92(?:"
    + b"|".join(
        msgpack.packb(name)
        for name in (
            "start",
            "stop",
            "descriptor",
            "event",
            "event_page",
            "resource",
            "datum",
            "datum_page",
            "stream_resource",
            "stream_datum",
        )
    )
    + rb")"
)
_STOP = b"\x92" + msgpack.packb("stop")
_LONGEST_NAME = 32  # bytes, more than `_PAYLOAD` matches


class LogError(BeamlineError):
    """A log cannot be read."""


class LogState(StrEnum):
    """State of a run, as its log shows it."""

    OPEN = "open"  # no stop document yet, and its writer is alive
    CLOSED = "closed"  # has its stop document
    INTERRUPTED = "interrupted"  # no stop document, and its writer died


def pack(name: str, doc: Doc) -> bytes:
    """Encode a document as it is written to a log, preceded by its length and checksum.

    Raises
    ------
    TypeError
        When the document holds something that is neither a plain value nor an array of numbers or strings.
    """
    payload: bytes = msgpack.packb((name, doc), default=_encode)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise TypeError(f"an array of Python objects cannot be recorded: {value!r:.80}")
    encoded = msgpack_numpy.encode(value)
    if encoded is value:
        raise TypeError(f"a {type(value).__name__} cannot be recorded: {value!r:.80}")
    return encoded


def _decode(value: dict[Any, Any]) -> Any:
    if value.get(b"kind") == b"O":  # msgpack-numpy would unpickle it, which can run code; the recorder writes none
        raise LogError("an array of Python objects in a log: this recorder writes none")
    decoded = msgpack_numpy.decode(value)
    return decoded.copy() if isinstance(decoded, np.ndarray) else decoded  # decoded arrays are read-only


def find_log(data_dir: Path, uid: str) -> Path:
    """Find the log of a run.

    Raises
    ------
    LogError
        When there is none.
    """
    layout = Layout(data_dir)
    if (path := layout.find_log(uid)) is None:
        raise LogError(f"{layout.logs}: no log of run {uid}")
    return path


def open_log(data_dir: Path, uid: str) -> LogReader:
    """Open the log of a run for reading.

    Raises
    ------
    LogError
        When there is none, or it cannot be read.
    """
    try:
        return LogReader(find_log(data_dir, uid))
    except LogError:  # it may have been moved between being found and being opened
        return LogReader(find_log(data_dir, uid))


@dataclass(frozen=True)
class Damage:
    """Bytes of a log that cannot be read.

    Attributes
    ----------
    offset, length : int
        Bytes.
    """

    offset: int
    length: int

    def __str__(self) -> str:
        return f"damaged at byte {self.offset} ({self.length} bytes cannot be read)"


def read_log(path: Path) -> Iterator[Document]:
    """Read a log up to its last complete document, and past damage.

    Yields
    ------
    name, document
        In the order they were emitted; event and datum pages are not unpacked.
    """
    with LogReader(path) as reader:
        yield from reader


class LogReader:
    """Read the documents of a log, which may still be written: iterate again to continue where the log ended.

    Parameters
    ----------
    path : Path
        The log. It may be moved while it is being read.

    Attributes
    ----------
    number : int
        Number of documents read so far.
    end : int
        Byte offset of the next document.
    damage : list of Damage
        Bytes that could not be read, before `end`.

    Raises
    ------
    LogError
        When the file cannot be opened or is not a log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.damage: list[Damage] = []
        try:
            # Opening a pipe, which is no log either, would wait for its writer.
            self._file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        except OSError as error:
            raise LogError(f"{path}: {error.strerror}") from error
        try:
            self._begin()
        except LogError:
            self._file.close()
            raise

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
        """Read the next document, past damage; None at the end of the log, which may still grow."""
        payload = self._next_payload()
        if payload is None:
            return None
        try:
            name, doc = msgpack.unpackb(payload, object_hook=_decode, strict_map_key=False)
            if not isinstance(name, str) or not isinstance(doc, dict):
                raise TypeError(f"not a name and a document: {name!r:.40}, {doc!r:.40}")
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
            raise LogError(f"{self.path}: the document at byte {self.end} cannot be decoded: {error}") from error
        self._advance(len(payload))
        return name, doc

    def skip_to(self, number: int) -> None:
        """Skip documents until `number` have been passed or the log ends."""
        while self.number < number and (payload := self._next_payload()) is not None:
            self._advance(len(payload))

    def torn(self) -> int:
        """Return the length of an unfinished document at the end of a log that was read and that nobody writes.

        A last document that is there in full but was changed is no such: it is added to `damage`.
        """
        tail = self._read_bytes(self.end)
        if tail and _is_whole(tail):
            self.damage.append(Damage(self.end, len(tail)))
            self.end += len(tail)
            return 0
        return len(tail)

    @property
    def behind(self) -> int:
        """Bytes of the log that have not been read."""
        return max(0, os.fstat(self._file.fileno()).st_size - self.end)

    @property
    def is_replaced(self) -> bool:
        """Whether another file has the name of the log that is read, as where a reduction is made anew."""
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin(self) -> None:
        """Read the line that names the format; without it, but with documents, the log is damaged there."""
        self.end = len(FORMAT)
        if self._read_bytes(0, len(FORMAT)) != FORMAT:
            self.end = 0
            if (offset := self._valid_document()) is None:
                raise LogError(f"{self.path}: not a log of documents")
            self._pass_over(offset)

    def _next_payload(self) -> bytes | None:
        """Read the packed document at `end`, or behind the damage that begins there; None if there is none (yet)."""
        payload = self._read_payload(self.end)
        if payload is None and (offset := self._valid_document()) is not None:
            # What was half written when it was read is whole by now, as a later document is: it is no damage then.
            payload = self._read_payload(self.end)
            if payload is None:
                self._pass_over(offset)
                payload = self._read_payload(self.end)
        return payload

    def _read_payload(self, offset: int) -> bytes | None:
        """Read the packed document at `offset`; None if it is missing, incomplete or damaged."""
        header = self._read_bytes(offset, _HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, checksum = _HEADER.unpack(header)
        if length > os.fstat(self._file.fileno()).st_size - offset:  # damaged: up to 4 GB would be asked for
            return None
        payload = self._read_bytes(offset + _HEADER.size, length)
        # A power failure can leave zeros at the end of a file, which would pass for empty documents.
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            return None
        return payload

    def _valid_document(self) -> int | None:
        """Find the next valid document behind `end`; None where there is none."""
        if os.fstat(self._file.fileno()).st_size - self.end <= _HEADER.size:
            return None
        return next((offset for offset in self._possible_documents() if self._read_payload(offset) is not None), None)

    def _pass_over(self, offset: int) -> None:
        self.damage.append(Damage(self.end, offset - self.end))
        self.end = offset

    def _possible_documents(self) -> Iterator[int]:
        """Yield the offsets behind `end` at which a document may begin.

        The log is read piece by piece: if it were mapped, a part that cannot be read, or is cut off meanwhile, would
        end this process.
        """
        begin = self.end + _HEADER.size + 1
        while piece := self._read_bytes(begin, SCANNED + _LONGEST_NAME):
            for match in _PAYLOAD.finditer(piece):
                if match.start() < SCANNED:  # else it is met in the next piece
                    yield begin + match.start() - _HEADER.size
            begin += SCANNED

    def _read_bytes(self, offset: int, length: int = -1) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(length) or b""  # None where it is a pipe
        except OSError as error:
            raise LogError(f"{self.path}: cannot be read at byte {offset}: {error.strerror}") from error

    def _advance(self, length: int) -> None:
        self.number += 1
        self.end += _HEADER.size + length


@dataclass(frozen=True)
class Log:
    """A log, with the start document and the state of its run.

    Attributes
    ----------
    damage : tuple of Damage
        Bytes that cannot be read and lie between documents, or were the last document.
    torn : int
        Bytes of an unfinished document at the end of a log that nobody writes.
    """

    path: Path
    start: Doc
    state: LogState
    damage: tuple[Damage, ...] = ()
    torn: int = 0

    @property
    def uid(self) -> str:
        """The run's uid."""
        return str(self.start["uid"])


def pending_logs(data_dir: Path) -> list[Log]:
    """Inspect the logs of runs that are not yet completely in the catalogue, oldest run first.

    A file that is not a log is skipped, and reported by a log message.
    """
    found = []
    for path in Layout(data_dir).pending_logs():
        try:
            found.append(inspect_log(path))
        except LogError as error:
            if path.exists():  # otherwise its run was completely ingested since the folder was listed
                logger.warning("%s; skipped", error)
    return sorted(found, key=lambda log: log.start["time"])


def read_start(path: Path) -> Doc:
    """Read the start document of a log.

    Raises
    ------
    LogError
        When the file cannot be read, is not a log, or its start document is damaged or missing.
    """
    with LogReader(path) as reader:
        name, start = reader.read() or ("", {})
        return _checked_start(reader, name, start)


def read_stop(path: Path) -> Doc | None:
    """Read the stop document of a log from its end, without what is before it; None if it does not end with one.

    Raises
    ------
    LogError
        When the file cannot be read.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - SCANNED))
            tail = file.read()
    except OSError as error:
        raise LogError(f"{path}: {error.strerror}") from error
    begin = tail.rfind(_STOP) - _HEADER.size
    while begin >= 0:
        length, checksum = _HEADER.unpack_from(tail, begin)
        payload = tail[begin + _HEADER.size :]
        if length == len(payload) and zlib.crc32(payload) == checksum:
            _, doc = msgpack.unpackb(payload, object_hook=_decode, strict_map_key=False)
            return dict(doc)
        begin = tail.rfind(_STOP, 0, begin + _HEADER.size) - _HEADER.size
    return None


def inspect_log(path: Path) -> Log:
    """Determine the state of the run of a log, and look for damage.

    Raises
    ------
    LogError
        When the log holds no start document.
    """
    # Checked first, so that a writer that closes its run in between leaves a closed log, not an interrupted one.
    written = is_being_written(path)
    with LogReader(path) as reader:
        name, start = reader.read() or ("", {})
        start = _checked_start(reader, name, start)
        last = deque((name for name, _ in reader), maxlen=1)
        torn = 0 if written else reader.torn()
    unfinished = LogState.OPEN if written else LogState.INTERRUPTED
    return Log(path, start, LogState.CLOSED if "stop" in last else unfinished, tuple(reader.damage), torn)


def _checked_start(reader: LogReader, name: str, start: Doc) -> Doc:
    if name != "start":
        where = f"; {reader.damage[0]}" if reader.damage else ""
        raise LogError(f"{reader.path}: holds no start document{where}")
    if not isinstance(start.get("uid"), str) or not isinstance(start.get("time"), int | float):
        raise LogError(f"{reader.path}: the start document has no uid or no time")
    return start


def _is_whole(tail: bytes) -> bool:
    """Tell whether the end of a log is a whole document of which something has changed, and not one that was cut off.

    A power failure can leave zeros where the end of a document was to be.
    """
    if len(tail) <= _HEADER.size:
        return False
    length, checksum = _HEADER.unpack_from(tail)
    payload = tail[_HEADER.size :]
    return (length == len(payload) and payload[-1] != 0) or zlib.crc32(payload) == checksum


def is_being_written(path: Path) -> bool:
    """Tell whether the process that writes a log is alive, that is, whether the log is locked."""
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
    """Find the run of a document: events, datums and their like name it only through the documents they refer to."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}  # uid of a start document, descriptor or resource -> uid of its run
        self._newest = ""

    def run_of(self, name: str, doc: Doc) -> str:
        """Return the uid of the run of a document, and remember the documents that later ones refer to.

        Raises
        ------
        KeyError
            When the document refers to one that was never emitted.
        """
        run: str
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
        if name in _REFERENCED:
            self._runs[doc["uid"]] = run
        return run

    def forget(self, run: str) -> None:
        """Forget the documents of a run that has ended."""
        self._runs = {uid: of for uid, of in self._runs.items() if of != run}


def count_events(documents: list[Document]) -> dict[str, int]:
    """Count the events of each stream as a stop document does: a repeated event counts once.

    Events whose descriptor is not there, because it was damaged, belong to no stream.
    """
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    counts = dict.fromkeys(streams.values(), 0)
    for name, doc in documents:
        if name in ("event", "event_page") and doc["descriptor"] in streams:
            stream = streams[doc["descriptor"]]
            counts[stream] = max(counts[stream], int(np.max(doc["seq_num"], initial=0)))
    return counts


def unpack_pages(documents: Iterator[tuple[str, Any]]) -> Iterator[Document]:
    """Yield the events and datums of pages one by one, and all other documents unchanged."""
    for name, doc in documents:
        match name:
            case "event_page":
                yield from (("event", dict(event)) for event in event_model.unpack_event_page(doc))
            case "datum_page":
                yield from (("datum", dict(datum)) for datum in event_model.unpack_datum_page(doc))
            case _:
                yield name, doc
