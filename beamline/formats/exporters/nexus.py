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

from beamline.storage import Documents, Run, collect
from callbacks.contract import Stream
from callbacks.external import ExternalFrames

COMPRESSED = 50_000  # values; smaller arrays are not compressed


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
    sigma: np.ndarray
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
        file.attrs["default"] = "entry"
        entry = make_group(file, "entry", "NXentry")
        entry["title"] = f"{raw.measurement.technique.upper()} of {raw.measurement.sample}"
        entry["entry_identifier_uuid"] = raw.uid
        entry["start_time"] = iso_time(raw.start["time"])
        if raw.stop:
            entry["end_time"] = iso_time(raw.stop["time"])
        make_group(entry, "sample", "NXsample")["name"] = raw.measurement.sample
        _instrument(entry, raw, documents)
        if derived is not None:
            write_process(entry, derived)
            if plots:
                entry.attrs["default"] = plots[0].name
            for plot in plots:
                _write_plot(entry, plot)
            _table(entry, "frames", derived.frames.columns, derived.frames.units)
        for stream, table in raw.streams.items():
            _table(entry, f"raw_{stream}", table.columns, table.units)
        write_start_document(entry, raw.start)


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


def write_start_document(entry: h5py.Group, start: Mapping[str, Any]) -> None:
    """Write a start document as an NXnote."""
    note = make_group(entry, "start_document", "NXnote")
    note["type"] = "application/json"
    note["data"] = json.dumps(start, default=plain)


def _write_plot(entry: h5py.Group, plot: Plot) -> None:
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


def _instrument(entry: h5py.Group, raw: Run, documents: Documents) -> None:
    instrument = make_group(entry, "instrument", "NXinstrument")
    primary = raw.streams.get(Stream.PRIMARY)
    if primary is None:
        return
    detector = make_group(instrument, "ccd", "NXdetector")
    for key, value in primary.configuration.items():
        detector.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value, default=plain)
    dataset: h5py.Dataset | None = None
    for frame in _frames(documents):
        if dataset is None:
            dataset = _frames_dataset(detector, frame)
        dataset.resize(len(dataset) + 1, axis=0)
        dataset[-1] = frame


def _frames(documents: Documents) -> Iterator[NDArray[Any]]:
    """Yield the frames that the events of the stream `primary` refer to, in their order."""
    files = ExternalFrames()
    descriptors: dict[str, dict[str, Any]] = {}
    for name, doc in documents:
        match name:
            case "descriptor":
                descriptors[doc["uid"]] = doc
            case "resource" | "datum" | "stream_resource" | "stream_datum":
                getattr(files, name)(doc)
            case "event" if descriptors[doc["descriptor"]]["name"] == Stream.PRIMARY:
                for key, data_key in descriptors[doc["descriptor"]]["data_keys"].items():
                    if data_key.get("external"):
                        yield files.read(doc, key)
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
    process["version"] = derivation.software["stxm-rixs-beamline"]
    process["date"] = iso_time(derived.start["time"])
    process["derived_run"] = derived.uid
    process["pipeline"] = derivation.pipeline
    process["settings"] = json.dumps(derivation.settings)
    process["software"] = json.dumps(derivation.software)
    found = make_group(process, "found", "NXcollection")
    for key, value in derived.result.items():
        if np.ndim(value) <= 1:
            found[key] = _hdf5(value)
    return process


def _table(entry: h5py.Group, name: str, columns: Mapping[str, np.ndarray], units: Mapping[str, str]) -> None:
    group = make_group(entry, name, "NXcollection")
    for key, values in columns.items():
        write_dataset(group, key, values, units.get(key, ""), key)


def make_group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    """Create a group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def write_signal(
    data: h5py.Group, name: str, values: np.ndarray, *, sigma: np.ndarray, axes: Sequence[str], units: str
) -> None:
    """Write the signal of an NXdata group with its uncertainty, and name its axes."""
    data.attrs["signal"] = name
    data.attrs["axes"] = list(axes)
    write_dataset(data, name, values, units, units or name)
    write_dataset(data, f"{name}_errors", sigma, units, "standard uncertainty (68 %)")


def write_dataset(group: h5py.Group, name: str, values: Any, units: str, label: str) -> None:
    """Write a dataset with its units and its label in plots."""
    array = np.asarray(_hdf5(values))
    smaller = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if array.size > COMPRESSED else {}
    group.create_dataset(name, data=array, **smaller)
    group[name].attrs["long_name"] = f"{label} ({units})" if units else label
    if units:
        group[name].attrs["units"] = units


def _hdf5(values: Any) -> Any:
    array = np.asarray(values)
    return array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array


def iso_time(time: float) -> str:
    """Format a time in s since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat()


def plain(value: Any) -> Any:
    """Convert an array to lists and anything else to text, for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
