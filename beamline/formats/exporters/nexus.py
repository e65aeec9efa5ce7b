"""Write a run and its reduction to one NeXus/HDF5 file, with default plots for silx, h5web and NeXpy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.formats.exporters.reasons import reasons_of
from beamline.formats.text import safe_name
from beamline.storage import Documents, Run, collect
from beamline.storage.log import unpack_pages
from beamline.text import clean
from callbacks.contract import CCD, UNITS, Key, Stream
from callbacks.external import ExternalFrames

COMPRESSED = 50_000  # values; smaller arrays are not compressed
LARGEST_INTEGER = 2**63  # of HDF5
DOCUMENTS = "documents"  # name of the note with the documents of the raw run
DOCUMENTS_TYPE = "application/x-ndjson"
LONGEST_ATTRIBUTE = 30_000  # characters: HDF5 takes 64 kB for all attributes of an object


@dataclass(frozen=True)
class Axis:
    """An axis of a plot."""

    name: str
    values: np.ndarray
    units: str
    label: str


@dataclass(frozen=True)
class Plot:
    """A plot of a reduction in a viewer: a signal with its standard uncertainty over its axes."""

    name: str
    signal: str
    values: np.ndarray
    sigma: np.ndarray | None  # None of what has none, as a count of pixels
    units: str
    axes: tuple[Axis, ...]


def write_nexus(path: Path, raw_documents: Documents, derived: Run | None, plots: Sequence[Plot]) -> None:
    """Write a run to one NeXus file.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if necessary. An existing file is replaced once the new one is complete.
    raw_documents : iterable of (name, document)
        The raw run.
    derived : Run or None
        The run derived from it.
    plots : sequence of Plot
        Plots of the reduction, the most important first.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    documents = list(raw_documents)
    raw = collect(documents)
    with new_file(path) as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        entry = make_group(file, "entry", "NXentry")
        write_text(entry, "title", f"{raw.measurement.technique.upper()} of {raw.measurement.sample}")
        write_text(entry, "entry_identifier_uuid", raw.uid)
        entry["start_time"] = iso_time(raw.start["time"])
        if raw.stop:
            entry["end_time"] = iso_time(raw.stop["time"])
        write_text(make_group(entry, "sample", "NXsample"), "name", raw.measurement.sample)
        _write_instrument(entry, documents)
        if derived is not None:
            write_process(entry, derived)
            for plot in plots:
                write_plot(entry, plot)
            if Stream.FRAMES in derived.streams:  # there is none of a run without events
                _table(entry, "frames", derived.frames.columns, derived.frames.units)
        measured = _measured(raw)
        for plot in measured:
            write_plot(entry, plot)
        shown = [plot.name for plot in [*(plots if derived is not None else ()), *measured] if _is_known(plot)]
        if shown:
            entry.attrs["default"] = shown[0]
        for stream, table in raw.streams.items():
            _table(entry, f"raw_{stream}", table.columns, table.units)
        write_document(entry, "start_document", raw.start)
        if raw.stop:
            write_document(entry, "stop_document", raw.stop)
        if raw.measurement.grid is None:  # of STXM, whose lines would make it large, NXstxm is read again
            write_documents(entry, documents)


@contextmanager
def new_file(path: Path) -> Iterator[h5py.File]:
    """Write a file beside `path`, creating its folder if necessary, and move it there once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with h5py.File(part, "w") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_document(entry: h5py.Group, name: str, document: Mapping[str, Any]) -> None:
    """Write a document as an NXnote."""
    note = make_group(entry, name, "NXnote")
    note["type"] = "application/json"
    note["data"] = json.dumps(document, default=plain)


def write_documents(entry: h5py.Group, documents: Documents) -> None:
    """Write the documents of a run, one in a line, so that it can be read again as it was.

    Those that say where frames are, and the names that events have for them, are left out: the frames are in the file.
    """
    external: dict[str, set[str]] = {}  # data keys by uid of the descriptor
    lines = []
    for name, doc in unpack_pages(iter(documents)):
        match name:
            case "descriptor":
                external[doc["uid"]] = {key for key, data_key in doc["data_keys"].items() if data_key.get("external")}
            case "event":
                left_out = external.get(doc["descriptor"], set())
                kept = {
                    part: {key: value for key, value in doc[part].items() if key not in left_out}
                    for part in ("data", "timestamps")
                }
                doc = {**doc, **kept, "filled": {}}  # noqa: PLW2901 - the same document, without them
            case "start" | "stop":
                pass
            case _:
                continue
        lines.append(json.dumps([name, doc], default=plain))
    note = make_group(entry, DOCUMENTS, "NXnote")
    note["type"] = DOCUMENTS_TYPE
    text = np.frombuffer("\n".join(lines).encode(), np.uint8)
    note.create_dataset("data", data=text, compression="gzip", compression_opts=1)


def write_text(group: h5py.Group, name: str, text: str) -> None:
    """Write a text of a user or a file, without characters that HDF5 or its readers have no place for."""
    group[name] = clean(text)


def write_plot(entry: h5py.Group, plot: Plot) -> h5py.Group:
    """Write a plot with its axes; return its NXdata group."""
    data = make_group(entry, plot.name, "NXdata")
    write_signal(
        data,
        plot.signal,
        plot.values,
        sigma=plot.sigma,
        axes=[axis.name for axis in plot.axes],
        units=plot.units,
    )
    for axis in plot.axes:
        write_dataset(data, axis.name, axis.values, axis.units, axis.label)
    return data


def _is_known(plot: Plot) -> bool:
    return bool(np.isfinite(plot.values).any())


def _measured(raw: Run) -> list[Plot]:
    """Give a plot of what was measured, for where there is no reduction or it found nothing: STXM lines, or a channel.

    The uncertainty is as recorded, else that of counts, without what is known of the detector; of a rate it is NaN.
    """
    points = raw.streams.get(Stream.PRIMARY)
    if points is None:
        return []
    channels = [each.name for each in raw.measurement.channels if each.form in ("yield", "transmission")]
    rates = [each.name for each in raw.measurement.channels if each.is_rate]
    key = next((one for one in (str(Key.STXM_COUNTS), *channels, str(Key.TEY)) if one in points), "")
    values = np.asarray(points[key]) if key else np.array([])
    if values.dtype.kind not in "iuf" or not values.size:
        return []  # such as lines of several widths
    counted = np.full(values.shape, np.nan) if key in rates else np.sqrt(np.maximum(values, 1.0))
    sigma = np.asarray(points[f"{key}_sigma"]) if f"{key}_sigma" in points else counted
    if values.ndim == 1 and Key.ENERGY in points:
        axes: tuple[Axis, ...] = (Axis("energy", np.asarray(points[Key.ENERGY]), UNITS[Key.ENERGY], "photon energy"),)
    else:
        labels = ("event", "pixel of a line", "index")
        axes = tuple(Axis(f"axis_{n}", np.arange(size), "", labels[min(n, 2)]) for n, size in enumerate(values.shape))
    return [Plot("counted", "counts", values, sigma, points.units.get(key, ""), axes)]


def _write_instrument(entry: h5py.Group, documents: Documents) -> None:
    """Write the configuration of each device of the stream `primary`, and the frames of the one that took any.

    Those of the stream `primary` are its ``data``, in the order of the events; others have a group of their own, see
    `frames_group`.
    """
    instrument = make_group(entry, "instrument", "NXinstrument")
    cameras: set[str] = set()
    for name, doc in documents:
        if name != "descriptor" or doc["name"] != Stream.PRIMARY:
            continue
        external = {key for key, data_key in doc["data_keys"].items() if data_key.get("external")}
        cameras |= {device for device, keys in doc.get("object_keys", {}).items() if external.intersection(keys)}
        for device, configuration in doc.get("configuration", {}).items():
            if configuration["data"] or device in cameras:
                _write_configuration(_device(instrument, device, camera=device in cameras), configuration["data"])
    datasets: dict[str, h5py.Dataset] = {}
    for name, frame in _frames(documents):
        if name not in datasets:
            detector = _device(instrument, name or min(cameras, default=CCD), camera=True)
            datasets[name] = _frames_dataset(detector, frame)
        dataset = datasets[name]
        dataset.resize(len(dataset) + 1, axis=0)
        dataset[-1] = frame


def frames_group(stream: str, data_keys: Mapping[str, Any], key: str) -> str:
    """Return the name of the group that has the frames of a stream; "" for that of the camera itself.

    Parameters
    ----------
    stream : str
    data_keys : mapping of str to dict
        Of its descriptor.
    key : str
        The data key of the frames.
    """
    first = next(one for one, data_key in data_keys.items() if data_key.get("external"))
    return "" if (stream, key) == (Stream.PRIMARY, first) else safe_name(f"{stream}_{key}")


def _device(instrument: h5py.Group, device: str, *, camera: bool) -> h5py.Group:
    name = safe_name(device)
    group: h5py.Group = instrument[name] if name in instrument else make_group(instrument, name, _DEVICE_CLASS[camera])
    if camera:
        group.attrs["NX_class"] = _DEVICE_CLASS[camera]  # also where its configuration did not tell that it is one
    return group


_DEVICE_CLASS = {True: "NXdetector", False: "NXcollection"}


def _write_configuration(group: h5py.Group, configuration: Mapping[str, Any]) -> None:
    for key, value in configuration.items():
        is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_INTEGER)
        group.attrs[safe_name(key)] = value if is_number else _attribute_text(value)


def _attribute_text(value: Any) -> str:
    text = clean(value) if isinstance(value, str) else json.dumps(value, default=plain)
    return text if len(text) <= LONGEST_ATTRIBUTE else f"{text[:LONGEST_ATTRIBUTE]} ... ({len(text)} characters)"


def _frames(documents: Documents) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the frames that events refer to, in their order, with the name of the group that has them."""
    files = ExternalFrames()
    descriptors: dict[str, dict[str, Any]] = {}
    for name, doc in documents:
        match name:
            case "descriptor":
                descriptors[doc["uid"]] = doc
            case "resource" | "datum" | "stream_resource" | "stream_datum":
                getattr(files, name)(doc)
            case "event" if doc["descriptor"] in descriptors:
                descriptor = descriptors[doc["descriptor"]]
                for key, data_key in descriptor["data_keys"].items():
                    if data_key.get("external"):
                        group = frames_group(descriptor["name"], descriptor["data_keys"], key)
                        yield group, files.read(doc, key)
    files.close()


def _frames_dataset(detector: h5py.Group, frame: NDArray[Any]) -> h5py.Dataset:
    """Create a dataset for frames like this one, without any yet."""
    dataset = detector.create_dataset(
        "data",
        (0, *frame.shape),
        maxshape=(None, *frame.shape),
        chunks=(1, *frame.shape),
        dtype=frame.dtype,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    dataset.attrs["units"] = "counts"
    dataset.attrs["long_name"] = "frames as read"
    return dataset


def write_process(entry: h5py.Group, derived: Run) -> h5py.Group:
    """Write how a derived run was made, and its results of up to one dimension; return the NXprocess group."""
    derivation = derived.derivation
    assert derivation is not None
    process = make_group(entry, "reduction", "NXprocess")
    process["program"] = "stxm-rixs-beamline"
    process["version"] = derivation.software.get("stxm-rixs-beamline", "not recorded")
    process["date"] = iso_time(derived.start["time"])
    process["derived_run"] = derived.uid
    write_text(process, "pipeline", derivation.pipeline)
    process["settings"] = json.dumps(derivation.settings)
    process["software"] = json.dumps(derivation.software)
    if reasons := reasons_of(derived):
        process["not_found"] = _hdf5(reasons)
    found = make_group(process, "found", "NXcollection")
    units = derived.streams[Stream.RESULT].units if Stream.RESULT in derived.streams else {}
    for key, value in derived.result.items():
        if np.ndim(value) <= 1:
            write_dataset(found, _free_name(found, key), value, units.get(key, ""), key)
    return process


def _table(entry: h5py.Group, name: str, columns: Mapping[str, np.ndarray], units: Mapping[str, str]) -> None:
    group = make_group(entry, safe_name(name), "NXcollection")
    for key, values in columns.items():
        write_dataset(group, _free_name(group, key), values, units.get(key, ""), key)


def _free_name(group: h5py.Group, key: str) -> str:
    """Return a name for a data key: the key itself, if HDF5 can have it."""
    name = safe_name(key)
    return name if name not in group else next(f"{name}_{n}" for n in range(2, 10_000) if f"{name}_{n}" not in group)


def make_group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    """Create a group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def write_signal(
    data: h5py.Group, name: str, values: np.ndarray, *, sigma: np.ndarray | None, axes: Sequence[str], units: str
) -> None:
    """Write the signal of an NXdata group with its uncertainty, and name its axes."""
    data.attrs["signal"] = name
    data.attrs["axes"] = list(axes)
    write_dataset(data, name, values, units, name.replace("_", " "))
    if sigma is not None:
        write_dataset(data, f"{name}_errors", sigma, units, "standard uncertainty (68 %)")


def write_dataset(group: h5py.Group, name: str, values: Any, units: str, label: str) -> None:
    """Write a dataset with its units and its label in plots."""
    array = _hdf5(values)
    smaller = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if array.size > COMPRESSED else {}
    dataset = group.create_dataset(name, data=array, **smaller)
    dataset.attrs["long_name"] = clean(f"{label} ({units})" if units else label)
    if units:
        dataset.attrs["units"] = clean(units)


def _hdf5(values: Any) -> NDArray[Any]:
    """Return an array that HDF5 has a type for: text as text, and what is of several kinds as JSON."""
    array = np.asarray(values)
    if array.dtype.kind not in "UO":
        return array
    texts = [clean(one) if isinstance(one, str) else json.dumps(one, default=plain) for one in array.ravel()]
    return np.array(texts, dtype=h5py.string_dtype()).reshape(array.shape)


def iso_time(time: float) -> str:
    """Format a time in s since 1970 as ISO 8601, UTC; one that no calendar has, as it is."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{time} s since 1970"


def plain(value: Any) -> Any:
    """Convert an array to lists and anything else to text, for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
