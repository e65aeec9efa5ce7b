"""Write the documents of one run into the databroker catalogue so that they can be read back as they were.

The work is done by the run writer of bluesky-tiled-plugins (its TiledWriter keeps one for each run); around it, what a
catalogue in SQLite and JSON would lose or refuse is seen to:

- it writes by count only: `RunWriter.flush` writes what has come so far;
- a column takes its type from its first values: values are brought to the type their descriptor declares, and a
  descriptor that turns out to be wrong raises `Redescribe`, for the run to be written again with a better one;
- SQLite has no columns of arrays: all arrays but empty ones, which are not written, become Zarr arrays;
- it counts frames where it should number them: when a frame was taken twice (pause, suspender), the frames of the
  events are linked in their order, see `beamline.storage.frames.link_frames`;
- it leaves out the resource and datum documents that no event refers to (a process died, an exposure was thrown away):
  they are kept in the run's metadata (`UNREFERENCED`);
- JSON has no NaN and no large integers: what it cannot say is kept beside it, see `beamline.storage.catalogue.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, _RunWriter
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import Asset, DataSource, Management

from beamline.errors import BeamlineError
from beamline.storage.catalogue.exact import EXACT, to_json
from beamline.storage.frames import HDF5, link_frames
from beamline.storage.layout import Layout
from beamline.storage.log import Doc
from callbacks.external import HDF5_DATASET

UNREFERENCED = "unreferenced"  # key of a run's metadata: [[name, document], ...]
AD_HDF5 = "AD_HDF5"
BATCH = 10_000  # events; the run writer's own limit, flushes come earlier

Redescription = dict[tuple[str, str], Doc]  # (stream, data key) -> what to change in its data key


class IngestError(BeamlineError):
    """Documents that the catalogue cannot hold."""


class Redescribe(Exception):  # noqa: N818 - a request, not an error
    """A descriptor does not describe its events: write the run again with this change."""

    def __init__(self, stream: str, key: str, change: Doc) -> None:
        super().__init__(f"{key} of stream {stream} is to be described by {change}")
        self.redescription: Redescription = {(stream, key): change}


class _FlushingRunWriter(_RunWriter):
    """The run writer of bluesky-tiled-plugins, and a way to write by time."""

    def flush(self) -> None:
        """Write all that has come so far."""
        for stream, rows in self._internal_data_cache.items():
            if rows:
                self._write_internal_data(rows, desc_node=self._desc_nodes[stream])
                rows.clear()
        for doc in self._external_data_cache.values():
            self._write_external_data(doc)
        self._external_data_cache.clear()


@dataclass
class _Frames:
    """The frames of the events of one stream under one external data key."""

    shape: tuple[int, ...]
    dtype: np.dtype
    places: list[tuple[Path, int]] = field(default_factory=list)  # file and number of each event's frame
    in_order: bool = True  # event n has frame n of the one file
    linked: int = 0  # how many are linked, once they are not in order


class RunWriter:
    """Write one run. Callable with (name, document), pages unpacked.

    Parameters
    ----------
    catalogue : CatalogOfBlueskyRuns
        Where to. It does not hold the run yet.
    data_dir : Path
        The data folder.
    redescription : dict
        Changes to the descriptors that earlier attempts asked for.

    Raises
    ------
    Redescribe
        When called: see there.
    IngestError
        When called: the catalogue cannot hold the document.
    """

    def __init__(self, catalogue: Any, data_dir: Path, redescription: Redescription) -> None:
        self._data_dir = data_dir
        self._redescription = redescription
        self._writer = _FlushingRunWriter(catalogue.include_data_sources(), batch_size=BATCH, max_array_size=0)
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self._writer)
        self._descriptors: dict[str, Doc] = {}
        self._files: dict[str, Path] = {}  # uid of a resource -> file; of frames that can be put in order
        self._datums: dict[str, tuple[str, int]] = {}  # datum id -> uid of the resource, number of the frame
        self._frames: dict[tuple[str, str], _Frames] = {}  # by stream and data key
        self._unreferenced: dict[str, tuple[str, Doc]] = {}  # by uid of a resource or datum
        self._exact: dict[str, list[Any]] = {}

    def __call__(self, name: str, doc: Doc) -> None:
        """Write a document, or keep it for the next flush."""
        match name:
            case "start":
                self._normalizer("start", self._json(doc, "start"))
            case "descriptor":
                self._descriptor(doc)
            case "resource":
                self._resource(doc)
            case "datum":
                self._datums[doc["datum_id"]] = doc["resource"], doc["datum_kwargs"].get("point_number", 0)
                self._unreferenced[doc["datum_id"]] = name, doc
                self._normalizer("datum", doc)
            case "event":
                self._event(doc)
            case "stop":
                self._stop(doc)
            case _:
                self._normalizer(name, doc)

    def flush(self) -> None:
        """Let readers see all that has come so far."""
        self._writer.flush()
        for (stream, key), frames in self._frames.items():
            if not frames.in_order and frames.linked < len(frames.places):
                self._link(stream, key, frames)

    def _json(self, doc: Doc, name: str) -> Doc:
        """Give a document as JSON has it, and note what JSON cannot say."""
        lost: list[Any] = []
        plain = to_json(doc, lost)
        if lost:
            self._exact[name] = lost
        return plain

    def _descriptor(self, doc: Doc) -> None:
        stream = doc["name"]
        data_keys = {
            key: _described(data_key) | self._redescription.get((stream, key), {})
            for key, data_key in doc["data_keys"].items()
        }
        doc = {**doc, "data_keys": data_keys}
        self._descriptors[doc["uid"]] = doc
        self._normalizer("descriptor", self._json(doc, doc["uid"]))

    def _resource(self, doc: Doc) -> None:
        self._unreferenced[doc["uid"]] = "resource", doc
        kwargs = doc["resource_kwargs"]
        if doc["spec"] == AD_HDF5 and kwargs.get("frame_per_point", 1) == 1:
            self._files[doc["uid"]] = Path(doc["root"]) / doc["resource_path"]
            # "frame_per_point": 1 would give the array in the catalogue an axis that the file has not.
            kwargs = {key: value for key, value in kwargs.items() if key != "frame_per_point"} | {"chunk_shape": [1]}
        self._normalizer("resource", {**doc, "resource_kwargs": kwargs})

    def _event(self, doc: Doc) -> None:
        descriptor = self._descriptors[doc["descriptor"]]
        stream = descriptor["name"]
        data = {}
        for key, value in doc["data"].items():
            data_key = descriptor["data_keys"][key]
            if data_key.get("external"):
                if self._in_order(stream, key, data_key, value):
                    data[key] = value
            elif 0 not in data_key["shape"]:
                try:
                    data[key] = to_column(value, data_key)
                except _Misdescribed as wrong:
                    if "shape" in wrong.change and "shape" in self._redescription.get((stream, key), {}):
                        raise IngestError(f"{key} of stream {stream} has not one shape: {wrong}") from wrong
                    raise Redescribe(stream, key, wrong.change) from wrong
        times = {key: float(doc["timestamps"][key]) for key in data}
        self._normalizer("event", {**doc, "data": data, "timestamps": times})

    def _in_order(self, stream: str, key: str, data_key: Doc, datum_id: str) -> bool:
        """Note which frame an event refers to; say whether the run writer can be left to count it."""
        resource, index = self._datums.get(datum_id, ("", 0))
        self._unreferenced.pop(datum_id, None)
        self._unreferenced.pop(resource, None)
        if resource not in self._files:
            return True  # frames of another kind
        frames = self._frames.setdefault(
            (stream, key), _Frames(tuple(data_key["shape"]), np.dtype(data_key.get("dtype_numpy", "<f8")))
        )
        place = self._files[resource], index
        expected = (frames.places[0][0] if frames.places else place[0]), len(frames.places)
        frames.places.append(place)
        frames.in_order = frames.in_order and place == expected
        return frames.in_order

    def _stop(self, doc: Doc) -> None:
        self.flush()
        self._normalizer("stop", self._json(doc, "stop"))
        unreferenced = self._json(dict(self._unreferenced), UNREFERENCED)
        beside = {EXACT: self._exact, UNREFERENCED: list(unreferenced.values())}
        if any(beside.values()):
            found = {key: value for key, value in beside.items() if value}
            self._writer.root_node.update_metadata(metadata=found, drop_revision=True)

    def _link(self, stream: str, key: str, frames: _Frames) -> None:
        """Let the array in the catalogue be that of links to the frames, in the order of the events."""
        root: Any = self._writer.root_node
        path = Layout(self._data_dir.absolute()).frame_links / f"{root.item['id']}-{stream}-{key}.h5"
        link_frames(path, frames.places, shape=frames.shape, dtype=frames.dtype)
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(frames.dtype),
            shape=(len(frames.places), *frames.shape),
            chunks=((1,) * len(frames.places), *((size,) for size in frames.shape)),
        )
        source = DataSource(
            structure_family=StructureFamily.array,
            structure=structure,
            mimetype=HDF5,
            parameters={"dataset": HDF5_DATASET, "swmr": True},
            assets=[Asset(data_uri=f"file://localhost{path}", is_directory=False, parameter="data_uris", num=0)],
            management=Management.external,
        )
        node = root[stream].base
        if frames.linked:
            self._writer._update_data_source_for_node(node[key], source)
        else:
            if key in node:
                node.delete_contents(key)
            node.new(StructureFamily.array, [source], key=key)
        frames.linked = len(frames.places)


def _described(data_key: Doc) -> Doc:
    """Describe the frames of an area detector without the axis of its one frame an event."""
    shape = list(data_key["shape"] or ())
    if data_key.get("external") and not data_key["external"].startswith("STREAM") and len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    return {**data_key, "shape": shape}


class _Misdescribed(Exception):  # noqa: N818 - turned into Redescribe, which knows the stream
    """A value is not what its data key declares."""

    def __init__(self, message: str, change: Doc) -> None:
        super().__init__(message)
        self.change = change


def to_column(value: Any, data_key: Mapping[str, Any]) -> Any:
    """Bring a value of an event to the type that its data key declares, without changing what it says.

    Parameters
    ----------
    value : object
        As the device gave it.
    data_key : mapping
        From the descriptor.

    Returns
    -------
    float, int, bool, str, None or numpy.ndarray
        For a number, None becomes NaN.

    Raises
    ------
    _Misdescribed
        When the declared type cannot hold the value; carries what to declare.
    """
    match data_key["dtype"]:
        case "array":
            return _to_array(np.asarray(value), data_key)
        case "number":
            return math.nan if value is None else float(value)
        case "integer":
            if value is None or not math.isfinite(value) or int(value) != value:
                raise _Misdescribed(f"{value!r} is no integer", {"dtype": "number", "dtype_numpy": "<f8"})
            return int(value)
        case "boolean":
            if value is None:
                raise _Misdescribed("it holds None", {"dtype": "number", "dtype_numpy": "<f8"})
            return bool(value)
        case _:
            return None if value is None else str(value)


def _to_array(array: np.ndarray, data_key: Mapping[str, Any]) -> np.ndarray:
    if list(array.shape) != list(data_key["shape"]):
        raise _Misdescribed(f"its shape {array.shape} is not {tuple(data_key['shape'])}", {"shape": list(array.shape)})
    declared = np.dtype(data_key.get("dtype_numpy", array.dtype))
    if array.dtype.kind in "US" and (declared.kind != array.dtype.kind or declared.itemsize < array.dtype.itemsize):
        longer = array.dtype.kind + str(2 * np.char.str_len(array).max(initial=1))  # with room, as this starts over
        raise _Misdescribed(f"its strings are {array.dtype}, not {declared}", {"dtype_numpy": np.dtype(longer).str})
    with np.errstate(invalid="ignore"):  # a cast that changes a value is found by what follows
        converted = array.astype(declared)
    if not np.array_equal(converted, array, equal_nan=array.dtype.kind in "fc" and declared.kind in "fc"):
        wider = np.result_type(array, declared)
        raise _Misdescribed(f"it holds {array.dtype}, not {declared}", {"dtype_numpy": wider.str})
    return converted
