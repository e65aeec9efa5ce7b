"""One NeXus/HDF5 file of a run and its reduction, with default plots for silx, h5web and NeXpy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamline.results import Documents, Run, collect
from callbacks.contract import Stream
from callbacks.external import ExternalFrames


def write_nexus(path: Path, raw_documents: Documents, derived: Run | None) -> None:
    """Write a run to one NeXus file.

    Parameters
    ----------
    path : Path
        The file; its folder is made. An existing file is replaced once the new one is whole.
    raw_documents : iterable of (name, document)
        The raw run.
    derived : Run or None
        What was made of it.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    documents = list(raw_documents)
    raw = collect(documents)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with h5py.File(part, "w") as file:
        file.attrs["default"] = "entry"
        entry = _group(file, "entry", "NXentry")
        entry["title"] = f"{raw.measurement.technique.upper()} of {raw.measurement.sample}"
        entry["entry_identifier_uuid"] = raw.uid
        entry["start_time"] = _iso(raw.start["time"])
        if raw.stop:
            entry["end_time"] = _iso(raw.stop["time"])
        _group(entry, "sample", "NXsample")["name"] = raw.measurement.sample
        _instrument(entry, raw, documents)
        if derived is not None:
            _process(entry, derived)
            _results(entry, raw.measurement.technique, derived.result)
            _table(entry, "frames", derived.frames.columns, derived.frames.units)
        for stream, table in raw.streams.items():
            _table(entry, f"raw_{stream}", table.columns, table.units)
        note = _group(entry, "start_document", "NXnote")
        note["type"] = "application/json"
        note["data"] = json.dumps(raw.start, default=_plain)
    part.replace(path)


def _results(entry: h5py.Group, technique: str, result: Mapping[str, Any]) -> None:
    if technique == "xas":
        entry.attrs["default"] = "tey"
        for name in ("tey", "tfy"):
            data = _group(entry, name, "NXdata")
            _signal(data, name, result[name], sigma=result[f"{name}_sigma"], axes=["energy"], units="")
            _dataset(data, "energy", result["xas_energy"], "eV", "excitation energy")
        return
    entry.attrs["default"] = "rixs_map"
    calibrated = result["calibration_status"] == "ok"
    across = (
        ("emission_energy", "eV", "emission energy") if calibrated else ("column", "pixel", "column of the detector")
    )
    horizontal = result["emission_energy"] if calibrated else np.arange(result["map"].shape[1])
    for name, signal, variance, (axis, units, label), values in (
        ("rixs_map", "map", "map_variance", across, horizontal),
        (
            "energy_loss_map",
            "map_loss",
            "map_loss_variance",
            ("energy_loss", "eV", "energy loss"),
            result["energy_loss"],
        ),
    ):
        data = _group(entry, name, "NXdata")
        _signal(
            data,
            "intensity",
            result[signal],
            sigma=np.sqrt(result[variance]),
            axes=["excitation_energy", axis],
            units="counts per 1e6 counts of I0",
        )
        _dataset(data, "excitation_energy", result["excitation_energy"], "eV", "excitation energy")
        _dataset(data, axis, values, units, label)


def _instrument(entry: h5py.Group, raw: Run, documents: Documents) -> None:
    instrument = _group(entry, "instrument", "NXinstrument")
    primary = raw.streams.get(Stream.PRIMARY)
    if primary is None:
        return
    detector = _group(instrument, "ccd", "NXdetector")
    for key, value in primary.configuration.items():
        detector.attrs[key] = value if isinstance(value, str | int | float) else json.dumps(value, default=_plain)
    files, stream, dataset = ExternalFrames(), {}, None
    for name, doc in documents:
        match name:
            case "descriptor":
                stream[doc["uid"]] = doc
            case "resource" | "datum" | "stream_resource" | "stream_datum":
                getattr(files, name)(doc)
            case "event" if stream[doc["descriptor"]]["name"] == Stream.PRIMARY:
                for key, described in stream[doc["descriptor"]]["data_keys"].items():
                    if described.get("external"):
                        frame = files.read(doc, key)
                        if dataset is None:
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
                        dataset.resize(len(dataset) + 1, axis=0)
                        dataset[-1] = frame
    files.close()


def _process(entry: h5py.Group, derived: Run) -> None:
    derivation = derived.derivation
    assert derivation is not None
    process = _group(entry, "reduction", "NXprocess")
    process["program"] = "stxm-rixs-beamline"
    process["version"] = derivation.software["stxm-rixs-beamline"]
    process["date"] = _iso(derived.start["time"])
    process["derived_run"] = derived.uid
    process["pipeline"] = derivation.pipeline
    process["settings"] = json.dumps(derivation.settings)
    process["software"] = json.dumps(derivation.software)
    found = _group(process, "found", "NXcollection")
    for key, value in derived.result.items():
        if np.ndim(value) <= 1:
            found[key] = _hdf5(value)


def _table(entry: h5py.Group, name: str, columns: Mapping[str, np.ndarray], units: Mapping[str, str]) -> None:
    group = _group(entry, name, "NXcollection")
    for key, values in columns.items():
        _dataset(group, key, values, units.get(key, ""), key)


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _signal(
    data: h5py.Group, name: str, values: np.ndarray, *, sigma: np.ndarray, axes: Sequence[str], units: str
) -> None:
    data.attrs["signal"] = name
    data.attrs["axes"] = list(axes)
    _dataset(data, name, values, units, units or name)
    _dataset(data, f"{name}_errors", sigma, units, "standard uncertainty (68 %)")


def _dataset(group: h5py.Group, name: str, values: Any, units: str, label: str) -> None:
    group[name] = _hdf5(values)
    group[name].attrs["long_name"] = f"{label} ({units})" if units else label
    if units:
        group[name].attrs["units"] = units


def _hdf5(values: Any) -> Any:
    array = np.asarray(values)
    return array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat()


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
