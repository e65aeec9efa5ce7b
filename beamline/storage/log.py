"""The log of a run: its format, reading it, and what has become of the run.

A log is a line that names the format, then the documents in the order they were emitted. A document is its length and
CRC-32 (two little-endian uint32) and a msgpack array [name, document] with arrays in the encoding of msgpack-numpy. The
writer holds an flock on the log, so that a log without a stop document whose lock is free is known to belong to a
process that is gone.
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
_OPENING = ("start", "resource", "stream_resource", "descriptor")  # documents that others refer to


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
    for path in Layout(data_dir).spooled_logs():
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
