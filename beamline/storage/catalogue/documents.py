"""Replay the documents of a recorded run as they were emitted, from the databroker catalogue or from its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from httpx import HTTPError

from beamline.errors import BeamlineError
from beamline.storage.catalogue.exact import EXACT, from_json
from beamline.storage.frames import HDF5_MIMETYPE, FrameLocation, linked_frames
from beamline.storage.layout import is_frame_link
from beamline.storage.log import Doc, Document, unpack_pages
from beamline.storage.relocation import read_run
from callbacks.contract import Stream
from callbacks.external import file_uri

READ_ATTEMPTS = 4
STREAM_ORDER = (Stream.BASELINE, Stream.DARK)  # events of these come first among those of the same time


class ReplayError(BeamlineError):
    """A run cannot be replayed."""


def logged_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a run from its log.

    Yields
    ------
    name, document
        As they were emitted and in that order, but with the files they refer to where they are now; pages are unpacked
        into single events.
    """
    return unpack_pages(read_run(path))


def documents(run: Any) -> Iterator[Document]:
    """Yield the documents of a run from the catalogue.

    Numbers, strings and arrays equal those that were emitted, NaN included, in the types that the descriptors declare;
    only the sign of a zero is lost. Unlike the emitted documents, events have new uids, frames are referred to by
    stream_resource and stream_datum (one for each event, before it), and all descriptors come first.

    Parameters
    ----------
    run : bluesky_tiled_plugins.BlueskyRun
        From `beamline.storage.catalogue.find.resolve_run`.

    Yields
    ------
    name, document
        The start document, descriptors, events by time (a dark frame before a frame of the same time), and the stop
        document, if the run has one.

    Raises
    ------
    ReplayError
        When the catalogue's copy cannot be read, or the frames of the run are stored in a way that cannot be, such as
        several files.
    """
    try:
        yield from _documents(run)
    except BeamlineError:
        raise
    except Exception as error:  # of the databases, of Tiled, of the files: there is no list of what these raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ReplayError(
            f"run {run.metadata['start']['uid']} cannot be read from the catalogue: {reason}; "
            "`beamline recover` checks the catalogue, `--source log` does without it"
        ) from error


def lost_events(documents: list[Document]) -> list[str]:
    """Say which events the stop document counted that are not there: the catalogue was filled from a damaged log."""
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    counted: dict[str, int] = next((doc.get("num_events") or {} for name, doc in documents if name == "stop"), {})
    there = {(streams[doc["descriptor"]], doc["seq_num"]) for name, doc in documents if name == "event"}
    lost = {stream: count - sum(name == stream for name, _ in there) for stream, count in counted.items()}
    return [f"{number} of {counted[stream]} events of stream {stream}" for stream, number in lost.items() if number > 0]


def _documents(run: Any) -> Iterator[Document]:
    metadata = run.metadata
    exact = metadata.get(EXACT, {})
    yield "start", from_json(_plain_copy(metadata["start"]), exact.get("start", []))
    streams = [_Stream(name, run[name], exact) for name in sorted(run)]
    for stream in streams:
        yield from (("descriptor", descriptor) for descriptor in stream.descriptors)
    rows = [(*key, row, stream) for stream in streams for row, key in enumerate(stream.order())]
    for _, _, row, stream in sorted(rows, key=lambda item: item[:3]):
        yield from stream.event(row)
    if stop := metadata.get("stop"):
        yield "stop", from_json(_plain_copy(stop), exact.get("stop", []))


class _Stream:
    """One stream of a run, read from the catalogue."""

    def __init__(self, name: str, node: Any, exact: dict[str, list[Any]]) -> None:
        self.name = name
        self.descriptors = [from_json(_plain_copy(doc), exact.get(doc["uid"], [])) for doc in node.descriptors]
        self._data_keys: Doc = self.descriptors[0]["data_keys"]
        parts = node.base
        names = sorted(parts)
        # Tables first: arrays are written before the rows they belong to, also while the run is being ingested.
        tables = [_read(parts, part) for part in names if re.fullmatch(r"internal(_\d+)?", part)]
        self._columns = {column: table[column].to_numpy() for table in tables for column in table.columns}
        self._times = self._columns.get("time", np.empty(0)).astype(float)
        self._arrays = {key: _read(parts, key) for key in self._keys(external=False) if key in names}
        self._frames = {key: _Frames(self, key, parts[key]) for key in self._keys(external=True) if key in names}

    def _keys(self, *, external: bool) -> list[str]:
        return [key for key, data_key in self._data_keys.items() if bool(data_key.get("external")) is external]

    def order(self) -> Iterator[tuple[float, int]]:
        """Yield the sort key of each event; within a stream the order is kept even if a clock was set back."""
        rank = STREAM_ORDER.index(self.name) if self.name in STREAM_ORDER else len(STREAM_ORDER)
        return ((time, rank) for time in np.maximum.accumulate(self._times))

    def event(self, row: int) -> Iterator[Document]:
        """Yield an event, preceded by the documents that refer to its frames."""
        document = self._descriptor(self._times[row])
        descriptor, seq_num = document["uid"], int(self._columns["seq_num"][row])
        for frames in self._frames.values():
            yield from frames.documents(row, document, seq_num)
        keys = self._keys(external=False)
        yield (
            "event",
            {
                "uid": f"{descriptor}/{row + 1}",
                "descriptor": descriptor,
                "seq_num": seq_num,
                "time": float(self._times[row]),
                "data": {key: self._value(key, row) for key in keys},
                "timestamps": {key: self._timestamp(key, row) for key in keys},
                "filled": {},
            },
        )

    def _descriptor(self, time: float) -> Doc:
        """Return the descriptor that was in force at a time."""
        return next((doc for doc in reversed(self.descriptors) if doc["time"] <= time), self.descriptors[0])

    def _value(self, key: str, row: int) -> Any:
        data_key = self._data_keys[key]
        if 0 in data_key["shape"]:
            return np.empty(data_key["shape"], data_key.get("dtype_numpy", "<f8"))
        if key in self._arrays:
            return self._arrays[key][row]
        return _scalar(self._columns[key][row], data_key["dtype"])

    def _timestamp(self, key: str, row: int) -> float:
        column = self._columns.get(f"ts_{key}", self._times)
        return float(column[row])


class _Frames:
    """The frames of one external data key, and the documents that refer to them."""

    def __init__(self, stream: _Stream, key: str, node: Any) -> None:
        source = node.data_sources()[0]
        paths = [_path_of(asset.data_uri) for asset in source.assets]
        if source.mimetype != HDF5_MIMETYPE or len(paths) != 1:
            raise ReplayError(
                f"run {stream.descriptors[0]['run_start']}, stream {stream.name}: {key} is in {len(paths)} files of "
                f"type {source.mimetype}, expected one HDF5 file"
            )
        self._stream = stream
        self._key = key
        self._parameters = {name: source.parameters[name] for name in ("dataset", "swmr") if name in source.parameters}
        self._locations: list[FrameLocation | None] = (
            linked_frames(paths[0])
            if is_frame_link(paths[0])
            else [(paths[0], index) for index in range(node.shape[0])]
        )
        self._resources: set[str] = set()  # uids of the stream_resources that were emitted

    def documents(self, row: int, document: Doc, seq_num: int) -> Iterator[Document]:
        """Yield the documents that refer to the frame of an event."""
        # Of a run that is being measured, frames are ingested after the events.
        location = self._locations[row] if row < len(self._locations) else None
        if location is None:
            return
        descriptor, run = document["uid"], document["run_start"]
        path, index = location
        resource = f"{descriptor}/{self._key}/{path.name}"
        if resource not in self._resources:
            self._resources.add(resource)
            yield (
                "stream_resource",
                {
                    "uid": resource,
                    "run_start": run,
                    "data_key": self._key,
                    "mimetype": HDF5_MIMETYPE,
                    "uri": file_uri(path),
                    "parameters": self._parameters,
                },
            )
        yield (
            "stream_datum",
            {
                "uid": f"{resource}/{row + 1}",
                "stream_resource": resource,
                "descriptor": descriptor,
                "indices": {"start": index, "stop": index + 1},
                "seq_nums": {"start": seq_num, "stop": seq_num + 1},
            },
        )


def _path_of(uri: str) -> Path:
    from beamline.storage.catalogue.embedded import path_of  # noqa: PLC0415 - whoever has a run has imported it

    return path_of(uri)


def _read(parts: Any, part: str) -> Any:
    """Read a table or an array; repeat if it grew between the requests for its shape and for its content."""
    for _ in range(READ_ATTEMPTS - 1):
        with suppress(HTTPError):
            return parts[part].read()
    return parts[part].read()


def _plain_copy(doc: Any) -> Any:
    """Copy a document of the client, which is read-only, into plain dicts and lists."""
    if isinstance(doc, dict) or hasattr(doc, "items"):
        return {key: _plain_copy(value) for key, value in doc.items()}
    if isinstance(doc, list | tuple):
        return [_plain_copy(value) for value in doc]
    return doc


def _scalar(value: Any, dtype: str) -> Any:
    """Convert a value of a column back to the type that was emitted; a missing string is None."""
    match dtype:
        case "number":
            return float(value)
        case "integer":
            return int(value)
        case "boolean":
            return bool(value)
        case _:
            return value if isinstance(value, str) else None
