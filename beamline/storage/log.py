"""The log of a run: its format, how to read it, and how to tell whether the run is open, closed or interrupted.

A log is a line that names the format, followed by the documents in the order they were emitted. Each document is stored
as its length and CRC-32 (two little-endian uint32), then a msgpack array [name, document] with numpy arrays encoded by
msgpack-numpy. The writer holds an flock on the log: a log that has no stop document and is not locked belongs to a
process that died.
"""

from __future__ import annotations

import fcntl
import logging
import os
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
_HEADER = struct.Struct("<II")  # length of the packed document, its CRC-32
_REFERENCED = ("start", "resource", "stream_resource", "descriptor")  # documents that later ones refer to by uid


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


def read_log(path: Path) -> Iterator[Document]:
    """Read a log up to its last complete document.

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

    Raises
    ------
    LogError
        When the file cannot be opened or is not a log.
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
        """Read the next document; None at the end of the log, which may still grow."""
        payload = self._read_payload()
        if payload is None:
            return None
        name, doc = msgpack.unpackb(payload, object_hook=_decode, strict_map_key=False)
        self._advance(len(payload))
        return name, doc

    def skip_to(self, number: int) -> None:
        """Skip documents until `number` have been passed or the log ends."""
        while self.number < number and (payload := self._read_payload()) is not None:
            self._advance(len(payload))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_payload(self) -> bytes | None:
        """Read the packed document at `end`; None if it is missing or incomplete."""
        self._file.seek(self.end)
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        length, checksum = _HEADER.unpack(header)
        payload = self._file.read(length)
        # A power failure can leave zeros at the end of a file, which would pass for empty documents.
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            return None
        return payload

    def _advance(self, length: int) -> None:
        self.number += 1
        self.end += _HEADER.size + length


@dataclass(frozen=True)
class Log:
    """A log, with the start document and the state of its run."""

    path: Path
    start: Doc
    state: LogState

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
                logger.error("%s", error)
    return sorted(found, key=lambda log: log.start["time"])


def inspect_log(path: Path) -> Log:
    """Determine the state of the run of a log.

    Raises
    ------
    LogError
        When the log holds no start document.
    """
    # Checked first, so that a writer that closes its run in between leaves a closed log, not an interrupted one.
    written = is_being_written(path)
    documents = read_log(path)
    first, start = next(documents, ("", {}))
    if first != "start":
        raise LogError(f"{path}: holds no start document")
    last = deque((name for name, _ in documents), maxlen=1)
    unfinished = LogState.OPEN if written else LogState.INTERRUPTED
    return Log(path, start, LogState.CLOSED if "stop" in last else unfinished)


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
    """Count the events of each stream as a stop document does: a repeated event counts once."""
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    counts = dict.fromkeys(streams.values(), 0)
    for name, doc in documents:
        if name in ("event", "event_page"):
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
