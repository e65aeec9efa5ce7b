"""Move the large arrays of derived runs out of the documents into HDF5 files, and back."""

from __future__ import annotations

import errno
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.storage.frames import HDF5_MIMETYPE, FramesError
from beamline.storage.layout import Layout
from beamline.storage.log import Doc, Document
from callbacks.arrays import release
from callbacks.external import ExternalFrames, FrameReadError, file_uri

SPARE = 1 << 20  # bytes beside the arrays of an event that a file of them may grow by
LARGE = 64 * 1024  # bytes; larger arrays of derived runs go to HDF5
# The newest form of HDF5 files whose parts have checksums, so that damage is an error and not a crash, but that can
# still be read where a process was killed while it wrote; the values get checksums of their own below.
FORMAT = ("v108", "v108")
EXTERNAL_STREAM = "STREAM:"  # event-model's mark of a data key whose values are referred to by stream_datum documents


@dataclass
class _Stream:
    """Where the large arrays of one descriptor are stored."""

    run: str
    datasets: dict[str, str]  # data key -> dataset
    units: dict[str, str]
    resources: dict[str, str] = field(default_factory=dict)  # data key -> uid of its stream_resource
    events: int = 0


class LargeArrays:
    """Move the large arrays of a derived run's events into one HDF5 file, ``<data_dir>/derived/<uid of the run>.h5``.

    Each such data key becomes a dataset ``<stream>/<data key>`` whose first axis is the events; the documents refer to
    it by stream_resource and stream_datum. Values, NaN included, are stored bit for bit. The file is closed after every
    event, so that a process that dies leaves a readable file.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._layout = Layout(data_dir)
        self._folder = self._layout.derived
        self._streams: dict[str, _Stream] = {}  # by uid of the descriptor
        self._anew: set[str] = set()  # runs whose files are written anew

    def write_anew(self, run: str) -> None:
        """Write the file of a run anew, beside the one that a process left that died, until `settle` is called."""
        self._new_path(run).unlink(missing_ok=True)
        self._anew.add(run)

    def settle(self, run: str) -> None:
        """Put the file that was written anew in the place of the one before."""
        self._anew.discard(run)
        if self._new_path(run).exists():
            self._new_path(run).replace(self._path(run))
        else:  # no event had large arrays
            self._path(run).unlink(missing_ok=True)

    def drop(self, run: str) -> None:
        """Remove the file of a run."""
        for path in (self._path(run), self._new_path(run)):
            path.unlink(missing_ok=True)

    def _refuse_without_space(self, size: int) -> None:
        """Raise before HDF5 meets a full disk, of which it may end the process."""
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < size + SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))

    def _path(self, run: str) -> Path:
        return self._layout.derived_file(run)

    def _new_path(self, run: str) -> Path:
        return self._folder / f".{run}.h5.new"

    def __call__(self, name: str, doc: Doc) -> Iterator[Document]:
        """Yield the documents that replace one document, which is itself left unchanged."""
        match name:
            case "descriptor":
                yield name, self._descriptor(doc)
            case "event" if doc["descriptor"] in self._streams:
                yield from self._event(doc, self._streams[doc["descriptor"]])
            case "stop":
                self._streams = {uid: stream for uid, stream in self._streams.items() if stream.run != doc["run_start"]}
                yield name, doc
            case _:
                yield name, doc

    def _descriptor(self, doc: Doc) -> Doc:
        large = {key: data_key for key, data_key in doc["data_keys"].items() if _is_large(data_key)}
        if not large:
            return doc
        run = doc["run_start"]
        self._streams[doc["uid"]] = _Stream(
            run=run,
            datasets={key: f"/{doc['name']}/{key}" for key in large},
            units={key: data_key.get("units") or "" for key, data_key in large.items()},
        )
        external = {key: {**data_key, "external": EXTERNAL_STREAM} for key, data_key in large.items()}
        return {**doc, "data_keys": doc["data_keys"] | external}

    def _event(self, doc: Doc, stream: _Stream) -> Iterator[Document]:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Not locked, as a reader locks it while it reads: no other process writes the files of this run.
        self._refuse_without_space(sum(np.asarray(doc["data"][key]).nbytes for key in stream.datasets))
        path = self._new_path(stream.run) if stream.run in self._anew else self._path(stream.run)
        with h5py.File(path, "a", libver=FORMAT, locking=False) as file:
            for key, dataset in stream.datasets.items():
                _append(file, dataset, np.asarray(doc["data"][key]), stream.units[key])
        for key, dataset in stream.datasets.items():
            if key not in stream.resources:
                stream.resources[key] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{doc['descriptor']}/{key}"))
                yield "stream_resource", _stream_resource(stream, key, dataset, self._path(stream.run))
            yield "stream_datum", _stream_datum(stream, key, doc)
        stream.events += 1
        small = {
            part: {key: value for key, value in doc[part].items() if key not in stream.datasets}
            for part in ("data", "timestamps")
        }
        yield "event", {**doc, **small}


def externalise(documents: Iterable[Document], data_dir: Path) -> Iterator[Document]:
    """Move the large arrays of derived runs into HDF5 files; see `LargeArrays`.

    Parameters
    ----------
    documents : iterable of (name, document)
        Documents of any number of runs.
    data_dir : Path
        The data folder.

    Yields
    ------
    name, document
    """
    arrays = LargeArrays(data_dir)
    for name, doc in documents:
        yield from arrays(name, doc)


def internalise(documents: Iterable[Document]) -> Iterator[Document]:
    """Undo `externalise`: put the arrays that documents refer to back into the events.

    Yields
    ------
    name, document
        Without stream_resource and stream_datum. Data keys with older references (resource and datum) stay external.

    Raises
    ------
    FramesError
        When a file cannot be read.
    """
    files = ExternalFrames()
    resources: set[str] = set()
    keys: dict[str, list[str]] = {}  # uid of a descriptor -> its external data keys
    for name, doc in documents:
        match name:
            case "stream_resource":
                files.stream_resource(doc)
                resources.add(doc["uid"])
            case "stream_datum":
                if doc["stream_resource"] in resources:  # else it is lost in a damaged log, and the event is refused
                    files.stream_datum(doc)
            case "descriptor":
                external = [
                    key for key, data_key in doc["data_keys"].items() if data_key.get("external") == EXTERNAL_STREAM
                ]
                keys[doc["uid"]] = external
                inline = {key: _inline(doc["data_keys"][key]) for key in external}
                yield name, {**doc, "data_keys": doc["data_keys"] | inline}
            case "event":
                arrays = {key: _read(files, doc, key) for key in keys.get(doc["descriptor"], ())}
                times = dict.fromkeys(arrays, doc["time"])
                yield name, {**doc, "data": doc["data"] | arrays, "timestamps": doc["timestamps"] | times}
            case _:
                yield name, doc
    files.close()


def _read(files: ExternalFrames, event: Doc, key: str) -> NDArray[Any]:
    try:
        return files.read(event, key)
    except FrameReadError as error:
        raise FramesError(
            f"{' '.join(str(error).split())}; `beamline replay --keep` makes the reduction anew"
        ) from error


def _is_large(data_key: Doc) -> bool:
    if data_key["dtype"] != "array" or data_key.get("external"):
        return False
    dtype = np.dtype(data_key.get("dtype_numpy", "<f8"))
    return dtype.kind in "biufc" and math.prod(data_key["shape"]) * dtype.itemsize > LARGE


def _inline(data_key: Doc) -> Doc:
    return {key: value for key, value in data_key.items() if key != "external"}


def _append(file: h5py.File, name: str, value: NDArray[Any], units: str) -> None:
    if name not in file:
        file.create_dataset(
            name,
            (0, *value.shape),
            maxshape=(None, *value.shape),
            chunks=(1, *(1 for _ in value.shape[:-2]), *value.shape[-2:]),  # a stack image by image: HDF5 copies chunks
            dtype=value.dtype,
            fletcher32=True,
        ).attrs["units"] = units
    dataset = file[name]
    if dataset.shape[1:] != value.shape:
        raise FramesError(f"{file.filename}: {name} has the shape {dataset.shape[1:]}, an event brought {value.shape}")
    dataset.resize(len(dataset) + 1, axis=0)
    if value.ndim < 3:
        dataset[-1] = value
        return
    for place, part in enumerate(value):  # which may lie in a file, and be larger than the memory
        dataset[-1, place] = part
        release(value)


def _stream_resource(stream: _Stream, key: str, dataset: str, path: Path) -> Doc:
    return {
        "uid": stream.resources[key],
        "run_start": stream.run,
        "data_key": key,
        "mimetype": HDF5_MIMETYPE,
        "uri": file_uri(path.absolute()),
        "parameters": {"dataset": dataset, "chunk_shape": [1]},
    }


def _stream_datum(stream: _Stream, key: str, event: Doc) -> Doc:
    return {
        "uid": f"{stream.resources[key]}/{stream.events}",
        "stream_resource": stream.resources[key],
        "descriptor": event["descriptor"],
        "indices": {"start": stream.events, "stop": stream.events + 1},
        "seq_nums": {"start": event["seq_num"], "stop": event["seq_num"] + 1},
    }
