"""HDF5 files beside the documents: the large arrays of derived runs, and the frames a killed process left open."""

from __future__ import annotations

import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from beamline.storage.log import Doc, Document
from callbacks.external import HDF5_DATASET, ExternalFrames

LARGE = 64 * 1024  # bytes; a larger array of a derived run goes to HDF5
STREAM = "STREAM:"  # event-model's mark of a key whose values stream_datum documents point to
HDF5 = "application/x-hdf5"


class FramesError(BeamlineError):
    """A file of frames cannot be read or written."""


@dataclass
class _Stream:
    """Where the large arrays of one descriptor go."""

    run: str
    path: Path
    datasets: dict[str, str]  # data key -> dataset
    units: dict[str, str]
    resources: dict[str, str] = field(default_factory=dict)  # data key -> uid of its stream_resource
    events: int = 0


class LargeArrays:
    """Move the large arrays of a derived run's events into one HDF5 file, ``<data_dir>/derived/<uid of the run>.h5``.

    Each such data key becomes a dataset ``<stream>/<data key>`` whose first axis counts the events; the documents refer
    to it by stream_resource and stream_datum. Values, NaN among them, are stored as they are, bit for bit. The file is
    closed after every event: a process that dies leaves a readable file.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = Layout(data_dir).derived
        self._streams: dict[str, _Stream] = {}  # by uid of the descriptor

    def __call__(self, name: str, doc: Doc) -> Iterator[Document]:
        """Give the documents that take the place of one document, which is not changed."""
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
            path=self._folder / f"{run}.h5",
            datasets={key: f"/{doc['name']}/{key}" for key in large},
            units={key: data_key.get("units") or "" for key, data_key in large.items()},
        )
        external = {key: {**data_key, "external": STREAM} for key, data_key in large.items()}
        return {**doc, "data_keys": doc["data_keys"] | external}

    def _event(self, doc: Doc, stream: _Stream) -> Iterator[Document]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(stream.path, "a") as file:
            for key, dataset in stream.datasets.items():
                _append(file, dataset, np.asarray(doc["data"][key]), stream.units[key])
        for key, dataset in stream.datasets.items():
            if key not in stream.resources:
                stream.resources[key] = str(uuid.uuid4())
                yield "stream_resource", _stream_resource(stream, key, dataset)
            yield "stream_datum", _stream_datum(stream, key, doc)
        stream.events += 1
        small = {
            part: {key: value for key, value in doc[part].items() if key not in stream.datasets}
            for part in ("data", "timestamps")
        }
        yield "event", {**doc, **small}


def externalise(documents: Iterable[Document], data_dir: Path) -> Iterator[Document]:
    """Move the large arrays of derived runs into HDF5 files, see `LargeArrays`.

    Parameters
    ----------
    documents : iterable of (name, document)
        Of any number of runs.
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
        No stream_resource and stream_datum, and no key marked as external but those that a `datum` tells of.

    Raises
    ------
    callbacks.external.FrameReadError
        When a file cannot be read.
    """
    files = ExternalFrames()
    keys: dict[str, list[str]] = {}  # uid of a descriptor -> its external keys
    for name, doc in documents:
        match name:
            case "stream_resource":
                files.stream_resource(doc)
            case "stream_datum":
                files.stream_datum(doc)
            case "descriptor":
                external = [key for key, data_key in doc["data_keys"].items() if data_key.get("external") == STREAM]
                keys[doc["uid"]] = external
                inline = {key: _inline(doc["data_keys"][key]) for key in external}
                yield name, {**doc, "data_keys": doc["data_keys"] | inline}
            case "event":
                arrays = {key: files.read(doc, key) for key in keys[doc["descriptor"]]}
                times = dict.fromkeys(arrays, doc["time"])
                yield name, {**doc, "data": doc["data"] | arrays, "timestamps": doc["timestamps"] | times}
            case _:
                yield name, doc
    files.close()


def _is_large(data_key: Doc) -> bool:
    if data_key["dtype"] != "array" or data_key.get("external"):
        return False
    dtype = np.dtype(data_key.get("dtype_numpy", "<f8"))
    return dtype.kind in "biufc" and math.prod(data_key["shape"]) * dtype.itemsize > LARGE


def _inline(data_key: Doc) -> Doc:
    return {key: value for key, value in data_key.items() if key != "external"}


def _append(file: h5py.File, name: str, value: np.ndarray, units: str) -> None:
    if name not in file:
        file.create_dataset(
            name, (0, *value.shape), maxshape=(None, *value.shape), chunks=(1, *value.shape), dtype=value.dtype
        ).attrs["units"] = units
    dataset = file[name]
    if dataset.shape[1:] != value.shape:
        raise FramesError(f"{file.filename}: {name} has the shape {dataset.shape[1:]}, an event brought {value.shape}")
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[-1] = value


def _stream_resource(stream: _Stream, key: str, dataset: str) -> Doc:
    return {
        "uid": stream.resources[key],
        "run_start": stream.run,
        "data_key": key,
        "mimetype": HDF5,
        "uri": f"file://localhost{stream.path.absolute()}",
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


def link_frames(path: Path, frames: Sequence[tuple[Path, int]], *, shape: Sequence[int], dtype: np.dtype) -> None:
    """Write a file in which the frames that events refer to lie in the order of the events.

    It holds links (an HDF5 virtual dataset), no copies. A frame whose file is gone reads as the largest value of its
    type, or as NaN, not as zeros.

    Parameters
    ----------
    path : Path
        Where to; the frames are linked relative to its folder.
    frames : sequence of (Path, int)
        For each event the file of its frame, and the frame's number in it.
    shape : sequence of int
        (rows, columns) of a frame.
    dtype : numpy.dtype
        Of a frame.
    """
    layout = h5py.VirtualLayout((len(frames), *shape), dtype)
    sizes: dict[Path, int] = {}
    for file, index in frames:
        sizes[file] = max(sizes.get(file, 0), index + 1)
    sources = {
        file: h5py.VirtualSource(
            os.path.relpath(file, path.parent), HDF5_DATASET, (size, *shape), dtype, maxshape=(None, *shape)
        )
        for file, size in sizes.items()
    }
    for row, (file, index) in enumerate(frames):
        layout[row] = sources[file][index]
    missing = np.iinfo(dtype).max if dtype.kind in "iu" else np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with h5py.File(new, "w", libver="latest") as file:
        file.create_virtual_dataset(HDF5_DATASET, layout, fillvalue=missing)
    new.replace(path)  # somebody may be reading the old one


def linked_frames(path: Path) -> list[tuple[Path, int]]:
    """Give for each event the file and the number of its frame, from a file that `link_frames` wrote."""
    with h5py.File(path, "r") as file:
        links = file[HDF5_DATASET].virtual_sources()
        frames = [(_first(link.vspace), Path(link.file_name), _first(link.src_space)) for link in links]
    return [((path.parent / name).resolve(), index) for _, name, index in sorted(frames)]


def _first(space: Any) -> int:
    """Give the first index, along the first axis, of what a dataspace selects."""
    return int(space.get_select_bounds()[0][0])


def make_plain(path: Path) -> int:
    """Rewrite a file that a killed process left open for writing as a plain, closed one with the same content.

    A file that was closed is left alone.

    Parameters
    ----------
    path : Path
        An HDF5 file whose writer is gone.

    Returns
    -------
    int
        How many frames the file holds, also those that no document refers to.

    Raises
    ------
    FramesError
        When the file cannot be read, or there is no room for the new one; then the old one is as it was.
    """
    try:
        with h5py.File(path, "r") as file:
            return _count_frames(file)
    except OSError:
        pass  # not closed, or no HDF5 file: told apart below
    plain = path.with_name(f".{path.name}.plain")
    try:
        with h5py.File(path, "r", swmr=True) as file, h5py.File(plain, "w", libver="latest") as copy:
            for name, value in file.attrs.items():
                copy.attrs[name] = value
            for name in file:
                file.copy(name, copy)
            n_frames = _count_frames(copy)
        with plain.open("rb") as written:
            os.fsync(written.fileno())
        shutil.copymode(path, plain)
        plain.replace(path)
    except (OSError, RuntimeError) as error:
        plain.unlink(missing_ok=True)
        raise FramesError(f"{path}: {error}") from error
    return n_frames


def _count_frames(file: h5py.File) -> int:
    return len(file[HDF5_DATASET]) if HDF5_DATASET in file else 0
