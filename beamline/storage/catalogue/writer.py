"""Write the documents of one run into the databroker catalogue so that they can be read back as they were.

The work is done by the run writer of bluesky-tiled-plugins (its TiledWriter creates one for each run). This module
prevents what a catalogue in SQLite and JSON would otherwise lose or refuse:

- The run writer writes after a number of events, not after a time: `RunWriter.flush` writes what has been received.
- A column gets its type from its first values: values are converted to the type that their descriptor declares. If the
  descriptor is wrong, `Redescribe` is raised, and the run is written again with a corrected descriptor.
- SQLite has no columns of arrays, and both databases are filled alike: all arrays become Zarr arrays, except empty
  ones, which are not written.
- The run writer takes the frames of a file to be those of the events, one after the other. When a frame was taken twice
  (pause, suspender), the frames are linked in the order of the events; see `beamline.storage.frames.link_frames`.
- It drops the resource and datum documents that no event refers to (a process died, an exposure was discarded): they
  are kept in the run's metadata under `UNREFERENCED`.
- JSON has no NaN and no large integers, that of PostgreSQL no NUL: these are kept beside it; see
  `beamline.storage.catalogue.exact`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, _RunWriter
from jsonschema import ValidationError
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import Asset, DataSource, Management

from beamline.errors import BeamlineError
from beamline.storage.catalogue.columns import WrongDescriptionError, to_column
from beamline.storage.catalogue.condition import database_of
from beamline.storage.catalogue.exact import EXACT, to_json
from beamline.storage.catalogue.frame_order import EventFrames, FrameOrder
from beamline.storage.catalogue.locations import asset_uri
from beamline.storage.frames import HDF5_MIMETYPE, link_frames
from beamline.storage.layout import Layout
from beamline.storage.log import Doc
from beamline.storage.relocation import relocate
from callbacks.external import HDF5_DATASET, file_of_uri

UNREFERENCED = "unreferenced"  # key of a run's metadata: [[name, document], ...]
BATCH = 10_000  # events after which the run writer writes by itself; flushes come earlier

Redescription = dict[tuple[str, str], Doc]  # (stream, data key) -> what to change in its data key


class IngestError(BeamlineError):
    """Documents that the catalogue cannot hold."""


# What the documents of a run are refused by, whenever they are written.
REFUSALS = (IngestError, ValidationError)


class Redescribe(Exception):  # noqa: N818 - a request, not an error
    """A descriptor does not describe its events: write the run again with this change."""

    def __init__(self, stream: str, key: str, change: Doc) -> None:
        super().__init__(f"{key} of stream {stream} should be described by {change}")
        self.redescription: Redescription = {(stream, key): change}


class _FlushingRunWriter(_RunWriter):
    """The run writer of bluesky-tiled-plugins, with a way to write at any time.

    It relies on private parts of that package: the class itself, its caches of rows and of stream_datums, and the
    methods that write them. There is no public way to flush; `TiledWriter` with a batch size of 1 would write every
    event on its own. When they change, these tests in test_find.py fail:
    `test_a_run_being_measured_is_in_the_catalogue_and_grows` (flush) and
    `test_a_frame_taken_twice_leaves_each_event_with_its_own_frame` (update_source).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._described: dict[str, dict[str, Any]] = {}  # stream -> its data keys

    def descriptor(self, doc: Any) -> None:
        """Take a descriptor."""
        self._described[doc["name"]] = doc["data_keys"]
        super().descriptor(doc)

    def _write_internal_data(self, data_cache: list[dict[str, Any]], desc_node: Any) -> None:
        """Write rows as the stream's own descriptor says: a key of that name in another may be of another dtype."""
        self.data_keys.update(self._described[desc_node.item["id"]])
        super()._write_internal_data(data_cache, desc_node)

    def flush(self) -> None:
        """Write everything received so far."""
        for stream, rows in self._internal_data_cache.items():
            if rows:
                self._write_internal_data(rows, desc_node=self._desc_nodes[stream])
                rows.clear()
        for doc in self._external_data_cache.values():
            self._write_external_data(doc)
        self._external_data_cache.clear()

    def _close_stream_tree(self) -> None:
        """Tell no subscriber that the run is closed, one request a node: nobody can subscribe to an embedded server."""

    def update_source(self, node: Any, source: DataSource) -> None:
        """Replace the data source of an array in the catalogue."""
        self._update_data_source_for_node(node, source)


class _StreamwiseNormalizer(RunNormalizer):
    """The normalizer of bluesky-tiled-plugins, which takes what is external of a stream from that stream's descriptor.

    By itself it takes a data key that is external in one stream for external in all of them, gives it an empty
    reference that the schema refuses, and a data key that is internal in one for internal in all. It relies on the
    names of its two sets; when they change,
    `test_a_key_that_two_streams_have_is_external_in_the_one_and_not_in_the_other` in test_find.py fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_descriptor: dict[str, tuple[set[str], set[str]]] = {}  # uid -> its internal and external data keys

    def descriptor(self, doc: Any) -> None:
        """Take a descriptor."""
        self._int_keys: set[str] = set()
        self._ext_keys: set[str] = set()
        super().descriptor(doc)
        self._of_descriptor[doc["uid"]] = self._int_keys, self._ext_keys

    def event(self, doc: Any) -> None:
        """Take an event."""
        self._int_keys, self._ext_keys = self._of_descriptor[doc["descriptor"]]
        super().event(doc)


class RunWriter:
    """Write one run. Callable with (name, document), with pages unpacked.

    Parameters
    ----------
    catalogue : CatalogOfBlueskyRuns
        The container to write to. It does not hold the run yet.
    data_dir : Path
        The data folder: resolved, as the catalogue refers to files by their path in it.
    redescription : dict
        Changes to the descriptors that earlier attempts requested.

    Raises
    ------
    Redescribe
        When called with an event that its descriptor does not describe.
    IngestError
        When called with a document that the catalogue cannot hold.
    """

    def __init__(self, catalogue: Any, data_dir: Path, redescription: Redescription) -> None:
        self._data_dir = data_dir
        self._redescription = redescription
        self._writer = _FlushingRunWriter(catalogue.include_data_sources(), batch_size=BATCH, max_array_size=0)
        self._normalizer = _StreamwiseNormalizer()
        self._normalizer.subscribe(self._writer)
        self._descriptors: dict[str, Doc] = {}
        self._frames = FrameOrder()
        self._exact: dict[str, list[Any]] = {}
        self._limits = database_of(Layout(data_dir)).limits

    def __call__(self, name: str, doc: Doc) -> None:
        """Write a document, or keep it for the next flush."""
        doc = relocate(name, doc, self._data_dir)
        match name:
            case "start":
                self._normalizer("start", self._json(doc, "start"))
            case "descriptor":
                self._descriptor(doc)
            case "resource":
                uri = asset_uri(Path(doc["root"]) / doc["resource_path"], self._data_dir)
                self._normalizer("resource", {**self._frames.add_resource(doc), "root": "", "resource_path": uri})
            case "datum":
                if self._frames.add_datum(doc):
                    self._normalizer("datum", doc)
            case "stream_resource":
                uri = (
                    asset_uri(file_of_uri(doc["uri"]), self._data_dir) if doc["uri"].startswith("file:") else doc["uri"]
                )
                self._normalizer("stream_resource", {**doc, "uri": uri})
            case "event":
                self._event(doc)
            case "stop":
                self._stop(doc)
            case _:
                self._normalizer(name, doc)

    def flush(self) -> None:
        """Write everything received so far, so that readers see it."""
        self._writer.flush()
        for (stream, key), frames in self._frames.streams.items():
            if not frames.in_order and frames.linked < len(frames.locations):
                self._link(stream, key, frames)

    def _json(self, doc: Doc, name: str) -> Doc:
        """Convert a document to what JSON can represent, and note the numbers that it cannot."""
        lost: list[Any] = []
        plain: Doc = to_json(doc, lost, limits=self._limits)
        if lost:
            self._exact[name] = lost
        return plain

    def _descriptor(self, doc: Doc) -> None:
        stream = doc["name"]
        data_keys = {
            key: _without_frame_axis(data_key) | self._redescription.get((stream, key), {})
            for key, data_key in doc["data_keys"].items()
        }
        doc = {**doc, "data_keys": data_keys}
        self._descriptors[doc["uid"]] = doc
        self._normalizer("descriptor", self._json(doc, doc["uid"]))

    def _event(self, doc: Doc) -> None:
        descriptor = self._descriptors.get(doc["descriptor"])
        if descriptor is None:  # it is lost in a damaged log, as whoever reads the log is told
            return
        stream = descriptor["name"]
        data = {}
        for key, value in doc["data"].items():
            data_key = descriptor["data_keys"][key]
            if data_key.get("external"):
                if self._frames.add_event(stream, key, data_key, value):
                    data[key] = value
            elif 0 not in data_key["shape"]:
                data[key] = self._to_column(stream, key, value, data_key)
        times = {key: float(doc["timestamps"][key]) for key in data}
        self._normalizer("event", {**doc, "data": data, "timestamps": times})

    def _to_column(self, stream: str, key: str, value: Any, data_key: Doc) -> Any:
        if isinstance(value, str) and "\0" in value and not self._limits.nul:
            raise IngestError(f"{key} of stream {stream} has the character NUL in it, which PostgreSQL does not hold")
        try:
            return to_column(value, data_key)
        except WrongDescriptionError as wrong:
            if "shape" in wrong.change and "shape" in self._redescription.get((stream, key), {}):
                raise IngestError(f"{key} of stream {stream} changes its shape: {wrong}") from wrong
            raise Redescribe(stream, key, wrong.change) from wrong

    def _stop(self, doc: Doc) -> None:
        self.flush()
        self._normalizer("stop", self._json(doc, "stop"))
        unreferenced = self._json(dict(self._frames.unreferenced), UNREFERENCED)
        metadata = {EXACT: self._exact, UNREFERENCED: list(unreferenced.values())}
        if any(metadata.values()):
            present = {key: value for key, value in metadata.items() if value}
            self._writer.root_node.update_metadata(metadata=present, drop_revision=True)

    def _link(self, stream: str, key: str, frames: EventFrames) -> None:
        """Let the catalogue's array of frames be a file of links to the frames, in the order of the events."""
        root: Any = self._writer.root_node
        name = quote(f"{root.item['id']}-{stream}-{key}.h5", safe="")  # no name leads out of the folder
        path = Layout(self._data_dir).frame_links / name
        link_frames(path, frames.locations, shape=frames.shape, dtype=frames.dtype)
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(frames.dtype),
            shape=(len(frames.locations), *frames.shape),
            chunks=((1,) * len(frames.locations), *((size,) for size in frames.shape)),
        )
        source = DataSource(
            structure_family=StructureFamily.array,
            structure=structure,
            mimetype=HDF5_MIMETYPE,
            parameters={"dataset": HDF5_DATASET, "swmr": True},
            assets=[Asset(data_uri=asset_uri(path, self._data_dir), is_directory=False, parameter="data_uris", num=0)],
            management=Management.external,
        )
        node = root[stream].base
        if frames.linked:
            self._writer.update_source(node[key], source)
        else:
            if key in node:
                node.delete_contents(key)
            node.new(StructureFamily.array, [source], key=key)
        frames.linked = len(frames.locations)


def _without_frame_axis(data_key: Doc) -> Doc:
    """Drop the axis of length 1 that an area detector may declare for its one frame per event."""
    shape = list(data_key["shape"] or ())
    if data_key.get("external") and not data_key["external"].startswith("STREAM") and len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    return {**data_key, "shape": shape}
