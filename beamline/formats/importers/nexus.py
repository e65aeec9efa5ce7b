"""A run of XAS or RIXS in a NeXus file that this software exported, read again with its frames as it was.

The file has the documents of the raw run in the note ``documents`` of an entry, one in a line, and the frames that they
refer to in the group of the camera.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import event_model
import numpy as np
from jsonschema import ValidationError as SchemaError
from numpy.typing import NDArray
from pydantic import ValidationError

from beamline.errors import BeamlineError
from beamline.formats.exporters.nexus import DOCUMENTS, DOCUMENTS_TYPE, frames_group
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.hdf5 import Field, Group, open_hdf5
from beamline.formats.importers.hdf5_kinds import holds
from beamline.formats.importers.inside import check_lines
from beamline.formats.importers.irixs_frames import LARGEST_FRAME
from beamline.formats.importers.kind import Kind
from beamline.formats.importers.quantities import is_time
from beamline.formats.importers.rixs_run import writing_frames
from beamline.formats.importers.stxm_run import LARGEST_ID, Documents
from beamline.formats.text import one_line, quoted
from callbacks.contract import CAMPAIGN, CONTINUES, MEASUREMENT, SERIES, Measurement
from callbacks.external import HDF5_DATASET, file_uri

LARGEST_DOCUMENTS = 200_000_000  # bytes; a spectrum of 500 points with spectra of 2000 bins has a tenth of it
DEEPEST = 50  # lists and structures within one another
NAMES = ("start", "descriptor", "event", "stop")
OF_OTHERS = (CONTINUES, SERIES, CAMPAIGN)  # blocks that name runs which the file does not have


@dataclass(frozen=True)
class _Frames:
    """The frames of a data key of a stream: where they are now."""

    path: Path
    shape: tuple[int, ...]  # of all


@dataclass(frozen=True)
class _Stored:
    """What a file has: the documents of a run, and its frames by uid of the descriptor and data key."""

    entry: str
    documents: list[tuple[str, dict[str, Any]]]
    frames: dict[tuple[str, str], _Frames]


def has_documents(file: Group) -> bool:
    """Tell whether a file is one that this software exported, with the documents of a run."""
    return _entry_with_documents(file) is not None


def _entry_with_documents(file: Group) -> Group | None:
    for entry in file.children("NXentry"):
        note = entry.get(DOCUMENTS)
        if isinstance(note, Group) and note.is_class("NXnote") and note.text("type") == DOCUMENTS_TYPE:
            return entry
    return None


def nexus_documents(path: Path, *, frames_dir: Path) -> Documents:
    """Convert an exported file to the documents of a raw run: those it was exported from, with names of their own.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    frames_dir : Path
        Folder for the frames, if there are any: they are copied to a file of their own.

    Yields
    ------
    name, doc : str, dict
        Start (``imported_uid`` is the run that was exported), descriptors, references to frames, events, stop.

    Raises
    ------
    BeamlineError
        When the file cannot be read, was not exported with its documents, or they are not whole.
    """
    uid = str(uuid.uuid4())
    stem = frames_dir.resolve() / f"nexus_{uid[:8]}"
    try:
        stored = read_apart(path, lambda: _read(path, stem))
    except BeamlineError:
        for left in stem.parent.glob(f"{stem.name}*.h5"):
            left.unlink()
        raise
    yield from _renamed(path, stored, uid)


def _read(path: Path, stem: Path) -> _Stored:
    """Read the documents, and copy the frames."""
    try:
        with open_hdf5(path, []) as file:
            entry = _entry_with_documents(file)
            note = None if entry is None else entry.field(f"{DOCUMENTS}/data")
            if entry is None or note is None:
                raise ValueError(
                    f"no NXentry with the {DOCUMENTS} of a run, as `beamline export` writes them for XAS and RIXS"
                )
            documents = _parse(note.raw_bytes(LARGEST_DOCUMENTS), note.label)
            return _Stored(entry.label.strip("/"), documents, _copy_frames(entry, documents, stem))
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error


def _parse(data: bytes, label: str) -> list[tuple[str, dict[str, Any]]]:
    """Parse and check documents; ValueError that names the line."""
    lines = data.split(b"\n")
    check_lines(label, len(lines))
    documents: list[tuple[str, dict[str, Any]]] = []
    descriptors: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{label}: line {number}"
        try:
            name, doc = json.loads(line)
            _check_plain(doc)
            _check(name, doc, number, descriptors)
        except SchemaError as error:
            raise ValueError(f"{where}: {one_line(error.message)[:200]}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {MEASUREMENT}: {place}: {one_line(first['msg'])}") from error
        except (ValueError, TypeError, RecursionError, KeyError) as error:
            raise ValueError(f"{where}: {one_line(error)[:200]}") from error
        if name == "descriptor":
            descriptors[doc["uid"]] = doc
        documents.append((name, doc))
    return documents


def _check_plain(value: Any, depth: int = 0) -> None:
    """Refuse what a document cannot hold: whole numbers of more than 64 bits, and what is nested too deep."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(value, int) and abs(value) >= LARGEST_ID:
        raise ValueError("a whole number of more than 64 bits")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if not isinstance(one, str | float):
            _check_plain(one, depth + 1)


def _check(name: Any, doc: Any, number: int, descriptors: dict[str, dict[str, Any]]) -> None:
    """Check a document by its schema, and that it is where it can be."""
    if name not in NAMES or not isinstance(doc, dict):
        raise ValueError(f"no document of a run: {quoted(str(name))}")
    if (name == "start") != (number == 1):
        raise ValueError("expected the start document first, and only there")
    event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    if not is_time(doc["time"]):
        raise ValueError(f"time {doc['time']!r}")
    if name == "start":
        Measurement.model_validate(doc[MEASUREMENT])
    if name == "event":
        descriptor = descriptors.get(doc["descriptor"])
        if descriptor is None:
            raise ValueError("an event without its descriptor")
        expected = {key for key, data_key in descriptor["data_keys"].items() if not data_key.get("external")}
        if set(doc["data"]) != expected or set(doc["timestamps"]) != expected:
            raise ValueError(f"an event of {', '.join(sorted(doc['data']))}, expected {', '.join(sorted(expected))}")
        for key, value in doc["data"].items():
            doc["data"][key] = _value(key, value, descriptor["data_keys"][key])


def _value(key: str, value: Any, data_key: dict[str, Any]) -> Any:
    """Return a value of an event as it was: a list of numbers as an array."""
    match data_key["dtype"]:
        case "string":
            known = isinstance(value, str)
        case "array":
            known = isinstance(value, list)
            if known:
                array = np.array(value)  # ValueError where it is ragged
                if array.dtype.kind in "iuf":
                    return array.astype(_dtype(data_key, array))
        case "boolean":
            known = isinstance(value, bool)
        case _:
            known = isinstance(value, int | float)
    if not known:
        raise ValueError(f"{key} is no {data_key['dtype']}")
    return value


def _dtype(data_key: dict[str, Any], array: NDArray[Any]) -> Any:
    """Return the type of numbers of an array: as its data key says, if it can hold them."""
    name = data_key.get("dtype_numpy")
    try:
        wanted = np.dtype(name) if isinstance(name, str) else array.dtype
    except TypeError:
        return array.dtype
    fits = wanted.kind in "iuf" and np.array_equal(array.astype(wanted), array, equal_nan=array.dtype.kind == "f")
    return wanted if fits else array.dtype


def _copy_frames(
    entry: Group, documents: Sequence[tuple[str, dict[str, Any]]], stem: Path
) -> dict[tuple[str, str], _Frames]:
    """Copy the frames of each stream and data key to a file; give where they are."""
    counts: dict[str, int] = {}
    for name, doc in documents:
        if name == "event":
            counts[doc["descriptor"]] = counts.get(doc["descriptor"], 0) + 1
    instrument = entry.group("instrument")
    places = {
        (doc["uid"], key): frames_group(doc["name"], doc["data_keys"], key)
        for name, doc in documents
        if name == "descriptor"
        for key, data_key in doc["data_keys"].items()
        if data_key.get("external")
    }
    found: dict[tuple[str, str], _Frames] = {}
    for (uid, key), place in places.items():
        if uid not in counts:
            continue
        dataset = _dataset(instrument, place, set(places.values()))
        if dataset is None or len(dataset.shape) != 3 or dataset.shape[0] != counts[uid]:
            shape = "none" if dataset is None else dataset.shape
            raise ValueError(f"{entry.label}: frames of {key}: {shape}, expected {counts[uid]} of them")
        rows, columns = dataset.shape[1:]
        if rows * columns > LARGEST_FRAME:
            raise ValueError(
                f"{dataset.label}: frames of {rows} x {columns}, expected at most {LARGEST_FRAME:,} pixels"
            )
        path = stem.with_name(f"{stem.name}{place and f'_{place}'}.h5")
        with writing_frames(path, counts[uid], (rows, columns), dataset.dtype) as write:
            for index, frame in enumerate(dataset.frames()):
                write(index, frame)
        found[uid, key] = _Frames(path, dataset.shape)
    return found


def _dataset(instrument: Group | None, place: str, places: set[str]) -> Field | None:
    """Find the frames in a group, or in that of the camera, which is none of the others; None if there are none."""
    if instrument is None:
        return None
    if place:
        group = instrument.group(place)
        return None if group is None else group.field("data")
    cameras = [one for one in instrument.children("NXdetector") if one.name.rsplit("/", 1)[-1] not in places]
    return next((field for camera in cameras if (field := camera.field("data")) is not None), None)


def _renamed(path: Path, stored: _Stored, uid: str) -> Documents:
    """Give the documents with new uids, and references to the frames behind their descriptors."""
    _, first = stored.documents[0]
    left_out = [block for block in OF_OTHERS if block in first]
    problems = [f"{block}: names runs that the file does not have; left out" for block in left_out]
    before = [one for one in first.get("import_problems", []) if isinstance(one, str) and one not in problems]
    start = {key: value for key, value in first.items() if key not in left_out} | {
        "uid": uid,
        "plan_name": "import_nexus",
        "imported_uid": first["uid"],
        "imported_from": str(path.resolve()),
        "imported_entries": [stored.entry],
        "import_problems": [*before, *problems],
    }
    yield "start", start
    uids: dict[str, str] = {}
    numbers: dict[str, int] = {}  # events by stream
    names: dict[str, str] = {}
    stop: dict[str, Any] | None = None
    last = first["time"]
    for name, doc in stored.documents[1:]:
        match name:
            case "descriptor":
                uids[doc["uid"]] = new = str(uuid.uuid4())
                names[doc["uid"]] = doc["name"]
                external = {
                    key: {**one, "external": "STREAM:"} for key, one in doc["data_keys"].items() if one.get("external")
                }
                descriptor = {**doc, "uid": new, "run_start": uid, "data_keys": doc["data_keys"] | external}
                yield "descriptor", descriptor
                yield from _references(stored, doc["uid"], start, descriptor)
            case "event":
                numbers[names[doc["descriptor"]]] = numbers.get(names[doc["descriptor"]], 0) + 1
                last = max(last, doc["time"])
                yield "event", {**doc, "uid": str(uuid.uuid4()), "descriptor": uids[doc["descriptor"]]}
            case "stop":
                stop = doc
    closed = {"exit_status": "abort", "reason": "the file has no stop document", "time": last} if stop is None else stop
    yield "stop", {**closed, "uid": str(uuid.uuid4()), "run_start": uid, "num_events": numbers}


def _references(stored: _Stored, old: str, start: Any, descriptor: Any) -> Documents:
    """Say where the frames of a stream are: in the order of its events, whatever numbers these have."""
    seq_nums = [doc["seq_num"] for name, doc in stored.documents if name == "event" and doc["descriptor"] == old]
    for (of, key), frames in stored.frames.items():
        if of != old:
            continue
        resource = event_model.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=file_uri(frames.path),
            data_key=key,
            parameters={"dataset": HDF5_DATASET, "chunk_shape": [1, *frames.shape[1:]]},
            start=start,
        )
        yield "stream_resource", resource.stream_resource_doc
        begin = 0
        for index in range(1, len(seq_nums) + 1):
            if index == len(seq_nums) or seq_nums[index] != seq_nums[index - 1] + 1:
                yield (
                    "stream_datum",
                    resource.compose_stream_datum(
                        indices={"start": begin, "stop": index},
                        seq_nums={"start": seq_nums[begin], "stop": seq_nums[index - 1] + 1},
                        descriptor=descriptor,
                    ),
                )
                begin = index


NEXUS = Kind(
    name="nexus",
    title="run of XAS or RIXS that `beamline export` wrote: one HDF5 file",
    recognises=lambda path: holds(path, has_documents),
    documents=lambda request: nexus_documents(request.path, frames_dir=request.frames_dir),
)
