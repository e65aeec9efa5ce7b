"""The scan of one entry of a NXstxm file, as arrays over energies, rows and columns in the units of the contract.

What the definition leaves open is read as it is found: axes by name, by the older attribute ``axis`` or by their
lengths; any unit of length, energy, time and current; the lists of scan points only where they are in the order of the
regular array, for others store a meander as it was driven.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.stxm_run import NOT_RECORDED

FloatArray = NDArray[np.floating]

DEFINITION = "NXstxm"
TECHNIQUES: dict[str, str] = {
    "sample image": "stxm",
    "sample image stack": "stxm",
    "generic scan": "stxm",
    "sample line spectrum": "stxm_line_spectrum",
    "sample focus": "stxm_focus",
}
LENGTH = {"um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}
ENERGY = {"ev": 1.0, "kev": 1e3}
TIME = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
CURRENT = {"ma": 1.0, "a": 1e3}
ROLES = {  # name of an axis -> what it is
    "energy": "energy",
    "photon_energy": "energy",
    "energy_setpoint": "energy",
    "sample_y": "y",
    "sample_x": "x",
    "line_position": "line",
    "zoneplate_z": "zone_plate",
    "zone_plate": "zone_plate",
}


@dataclass(frozen=True)
class NxstxmScan:
    """One entry: the scan of one region, as arrays over (energies, rows, columns)."""

    name: str
    technique: str
    energies: FloatArray  # as asked for, eV
    x: FloatArray  # (columns,), um
    y: FloatArray  # (rows,) of images, (columns,) of a line
    zone_plate: FloatArray  # (rows,) of a focus scan, else empty
    counts: FloatArray
    measured: NDArray[np.bool_]  # (energies, rows)
    points: dict[str, FloatArray]  # name -> (energies, rows, columns): what is known of each point
    start: float
    end: float
    times: FloatArray | None  # (energies, rows)
    title: str
    sample: str
    original: dict[str, Any] = field(default_factory=dict)  # the start document, in files of our own


def entry_names(file: h5py.File, wanted: str) -> list[str]:
    """Name the entries of the definition, or check that there is the wanted one; ValueError where there is none."""
    found = [
        name
        for name, group in file.items()
        if _is(group, "NXentry") and "definition" in group and _text(group["definition"][()]) == DEFINITION
    ]
    if not found:
        raise ValueError(f"no NXentry with the definition {DEFINITION}")
    if not wanted:
        return sorted(found, key=_natural)
    if wanted not in found:
        raise ValueError(f"no entry {wanted!r} of the definition {DEFINITION}; it has {', '.join(found)}")
    return [wanted]


def _natural(name: str) -> list[tuple[int, str]]:
    """Order names so that entry10 comes after entry9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is(item: Any, nexus_class: str) -> bool:
    return isinstance(item, h5py.Group) and _text(item.attrs.get("NX_class", "")) == nexus_class


def _children(group: h5py.Group, nexus_class: str) -> list[str]:
    return [name for name, item in group.items() if _is(item, nexus_class)]


def _text(value: Any) -> str:
    """Give a string, however HDF5 holds it."""
    flat = np.ravel(np.asarray(value, dtype=object))
    one = flat[0] if flat.size else ""
    return (one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)).strip()


def _texts(value: Any) -> list[str]:
    flat = np.ravel(np.asarray(value, dtype=object)).tolist()
    words = [_text(one) for one in flat]
    return [part for word in words for part in re.split(r"[:,]", word)]


def read_entry(entry: h5py.Group, detector: str, problems: list[str]) -> NxstxmScan:
    """Read an entry.

    Parameters
    ----------
    entry : h5py.Group
    detector : str
        Which NXdata group; the default one, else the first, where it is empty.
    problems : list of str
        What is wrong or had to be assumed is added.

    Raises
    ------
    ValueError
        When the entry is of another kind of scan, or lacks what is needed.
    """
    name = entry.name.strip("/")
    data = _data_group(entry, detector)
    scan_type = _text(next((group["stxm_scan_type"][()] for group in (data, entry) if "stxm_scan_type" in group), ""))
    if scan_type not in TECHNIQUES:
        raise ValueError(f"{name}: stxm_scan_type is {scan_type!r}, expected one of {', '.join(TECHNIQUES)}")
    technique = TECHNIQUES[scan_type]
    read = _Reader(name, problems)

    energy_name = next((one for one in ("energy", "photon_energy") if one in data), None)
    if energy_name is None or "sample_x" not in data or "sample_y" not in data:
        raise ValueError(f"{data.name}: no energy, sample_x or sample_y")
    readback = read.field(data, energy_name, ENERGY, "eV")
    energies = read.field(data, "energy_setpoint", ENERGY, "eV") if "energy_setpoint" in data else readback
    x, y = (read.field(data, axis, LENGTH, "um") for axis in ("sample_x", "sample_y"))
    zone_name = next((one for one, role in ROLES.items() if role == "zone_plate" and one in data), None)
    zone_plate = np.array([])
    if technique == "stxm_focus":
        if zone_name is None:
            raise ValueError(f"{data.name}: no zoneplate_z of a focus scan")
        zone_plate = read.field(data, zone_name, LENGTH, "um")
    if technique != "stxm":
        length = max(len(x), len(y))
        x, y = (np.full(length, axis[0]) if len(axis) == 1 else axis for axis in (x, y))
        if len(x) != len(y):
            raise ValueError(f"{data.name}: a line of {len(x)} sample_x and {len(y)} sample_y")
    lengths = {"energy": len(energies), "y": len(y), "x": len(x), "line": len(x), "zone_plate": len(zone_plate)}
    layout, signal = _layout(data, technique, lengths)
    counts = layout(np.asarray(signal[()], dtype=float))
    shape = counts.shape

    start, end = _times(entry, problems)
    table = entry["lines"] if _is(entry.get("lines"), "NXcollection") else None
    measured: NDArray[np.bool_] = np.any(np.isfinite(counts), axis=2)
    times = None
    if table is not None and "seq_num" in table and "time" in table and len(table["time"]) == measured.sum():
        times = np.full(measured.shape, np.nan)
        times[measured] = np.asarray(table["time"][()], dtype=float)
    points = _points(entry, data, layout=layout, counts=counts, measured=measured, energies=readback, read=read)
    points["ring_current"] = _ring_current(entry, layout, measured, shape, read)
    sample = next((_text(entry[one]["name"][()]) for one in _children(entry, "NXsample") if "name" in entry[one]), "")
    title = _text(entry["title"][()]) if "title" in entry else ""
    return NxstxmScan(
        name, technique, energies, x, y, zone_plate, counts, measured, points, start, end, times,
        title, sample or NOT_RECORDED, _original(entry),
    )  # fmt: skip


@dataclass(frozen=True)
class _Reader:
    """Reads fields in the units of the contract."""

    entry: str
    problems: list[str]

    def field(self, group: h5py.Group, name: str, units: dict[str, float], assumed: str) -> FloatArray:
        """Give a field of one dimension."""
        return np.ravel(self.array(group[name], units, assumed))

    def array(self, dataset: h5py.Dataset, units: dict[str, float], assumed: str) -> FloatArray:
        values = np.asarray(dataset[()], dtype=float)
        unit = _text(dataset.attrs.get("units", ""))
        if not unit:
            self.problems.append(f"{dataset.name}: no unit, taken for {assumed}")
            return values
        if unit.lower() not in units:
            raise ValueError(f"{dataset.name}: unit {unit!r}, expected one of {', '.join(units)}")
        factor = units[unit.lower()]
        return values if factor == 1.0 else values * factor


def _data_group(entry: h5py.Group, wanted: str) -> h5py.Group:
    names = _children(entry, "NXdata")
    if wanted:
        if wanted not in names:
            raise ValueError(f"{entry.name}: no NXdata group {wanted!r}; it has {', '.join(names) or 'none'}")
        return entry[wanted]
    default = _text(entry.attrs.get("default", ""))
    with_type = [name for name in names if "stxm_scan_type" in entry[name]] or names
    if not with_type:
        raise ValueError(f"{entry.name}: no NXdata group")
    return entry[default if default in with_type else with_type[0]]


Layout = Callable[[FloatArray], FloatArray]


def _layout(data: h5py.Group, technique: str, lengths: dict[str, int]) -> tuple[Layout, h5py.Dataset]:
    """Find how to bring the array of a data group to (energies, rows, columns)."""
    name = _text(data.attrs.get("signal", "data")) or "data"
    if name not in data:
        raise ValueError(f"{data.name}: no signal {name!r}")
    signal = data[name]
    usual = {
        "stxm": ["energy", "y", "x"],
        "stxm_line_spectrum": ["energy", "line"],
        "stxm_focus": ["zone_plate", "line"],
    }
    order = usual[technique]
    declared = [_declared_axes(data, technique), _older_axes(data, technique, signal.ndim)]
    guesses: list[Sequence[str]] = [axes for axes in declared if axes is not None]
    guesses += [order, *itertools.permutations(order)]
    squeezed = tuple(length for length in signal.shape if length != 1)
    for axes in guesses:
        if not set(axes) <= set(order) or any(lengths[axis] != 1 for axis in set(order) - set(axes)):
            continue  # of another kind of scan, or without an axis that was scanned
        if squeezed == tuple(lengths[axis] for axis in axes if lengths[axis] != 1):
            return _arrange(axes, order, lengths, technique), signal
    sizes = ", ".join(f"{lengths[axis]} of {axis}" for axis in order)
    raise ValueError(f"{signal.name}: shape {signal.shape} does not fit its axes: {sizes}")


def _arrange(axes: Sequence[str], order: list[str], lengths: dict[str, int], technique: str) -> Layout:
    places = [axes.index(axis) for axis in order if axis in axes]
    final = {
        "stxm": (lengths["energy"], lengths["y"], lengths["x"]),
        "stxm_line_spectrum": (lengths["energy"], 1, lengths["line"]),
        "stxm_focus": (1, lengths["zone_plate"], lengths["line"]),
    }[technique]

    def layout(values: FloatArray) -> FloatArray:
        return values.reshape([lengths[axis] for axis in axes]).transpose(places).reshape(final)

    return layout


def _roles(names: Sequence[str], technique: str) -> list[str] | None:
    roles = [ROLES.get(name, "") for name in names]
    if technique != "stxm":
        roles = ["line" if role in ("x", "y", "line") else role for role in roles]
        roles = [role for index, role in enumerate(roles) if role not in roles[:index]]  # x and y of one line
    return None if "" in roles else roles


def _declared_axes(data: h5py.Group, technique: str) -> list[str] | None:
    if "axes" not in data.attrs:
        return None
    return _roles([name for name in _texts(data.attrs["axes"]) if name and name != "."], technique)


def _older_axes(data: h5py.Group, technique: str, ndim: int) -> list[str] | None:
    """Read the attribute `axis` of the fields, counted from 1."""
    by_axis: dict[int, str] = {}
    for name in ("line_position", "zoneplate_z", "energy", "photon_energy", "sample_y", "sample_x"):
        if name in data and "axis" in data[name].attrs and _text(data[name].attrs["axis"]).isdigit():
            by_axis.setdefault(int(_text(data[name].attrs["axis"])), name)
    if sorted(by_axis) != list(range(1, ndim + 1)):
        return None
    return _roles([by_axis[axis] for axis in sorted(by_axis)], technique)


def _times(entry: h5py.Group, problems: list[str]) -> tuple[float, float]:
    found: list[float | None] = []
    for name in ("start_time", "end_time"):
        text = _text(entry[name][()]) if name in entry else ""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            problems.append(f"{entry.name}: {name} {text!r} cannot be read")
            found.append(None)
            continue
        if moment.tzinfo is None:
            problems.append(f"{entry.name}: {name} {text!r} names no zone, taken for UTC")
            moment = moment.replace(tzinfo=UTC)
        found.append(moment.timestamp())
    start, end = found
    if start is None:
        start = end if end is not None else Path(entry.file.filename).stat().st_mtime
    return start, start if end is None else max(start, end)


def _points(
    entry: h5py.Group,
    data: h5py.Group,
    *,
    layout: Layout,
    counts: FloatArray,
    measured: NDArray[np.bool_],
    energies: FloatArray,
    read: _Reader,
) -> dict[str, FloatArray]:
    """Give energy, positions, dwell and zone plate of each point, where the file has a list of them.

    A list is in the order of measurement, of the measured lines or of all; that this is the order of the array is seen
    from the detector's own list.
    """
    names = _children(entry, "NXinstrument")
    points = {"energy": np.broadcast_to(energies[:, np.newaxis, np.newaxis], counts.shape)}
    if "count_time" in data:
        points |= _dwell(data["count_time"], layout, counts.shape, read)
    if not names:
        return points
    instrument = entry[names[0]]
    key = data.name.rsplit("/", 1)[-1]
    detectors = _children(instrument, "NXdetector")
    name = key if key in detectors else next((one for one in detectors if one not in ROLES), None)
    if name is None or "data" not in instrument[name]:
        return points
    own = np.array([])
    if instrument[name]["data"].size <= counts.size:  # else it is of an area detector
        own = np.ravel(np.asarray(instrument[name]["data"][()], dtype=float))
    for chosen in (measured, np.ones_like(measured)):
        if np.array_equal(own, counts[chosen].ravel(), equal_nan=True):
            break
    else:
        if own.size:
            read.problems.append(
                f"{instrument.name}/{name}: not in the order of {data.name}; positions are those of its axes"
            )
        return points
    lists = {
        "energy": ("monochromator/energy", ENERGY, "eV"),
        "x": ("sample_x/data", LENGTH, "um"),
        "y": ("sample_y/data", LENGTH, "um"),
        "dwell": (f"{name}/count_time", TIME, "s"),
        "zone_plate": ("zone_plate/data", LENGTH, "um"),
    }
    for target, (path, units, unit) in lists.items():
        if path in instrument and instrument[path].size == own.size:
            values = np.full(counts.shape, np.nan)
            values[chosen] = np.ravel(read.array(instrument[path], units, unit)).reshape(-1, counts.shape[2])
            points[target] = values
    return points


def _dwell(count_time: h5py.Dataset, layout: Layout, shape: tuple[int, ...], read: _Reader) -> dict[str, FloatArray]:
    """Give the dwell of the data group: one for each point, for each energy, or for all."""
    dwell = read.array(count_time, TIME, "s")
    if dwell.size == np.prod(shape):
        return {"dwell": layout(dwell)}
    if dwell.size in (1, shape[0]):
        return {"dwell": np.broadcast_to(dwell.reshape(-1, 1, 1), shape)}
    read.problems.append(f"{count_time.name}: {dwell.size} values, expected {shape[0]}; left out")
    return {}


def _ring_current(
    entry: h5py.Group, layout: Layout, measured: NDArray[np.bool_], shape: tuple[int, ...], read: _Reader
) -> FloatArray:
    """Give the monitor `control` as ring current; NaN where it is none."""
    nothing = np.full(shape, np.nan)
    monitor = entry.get("control")
    if not _is(monitor, "NXmonitor") or "data" not in monitor:
        return nothing
    unit = _text(monitor["data"].attrs.get("units", ""))
    if unit and unit.lower() not in CURRENT:
        read.problems.append(f"{monitor.name}/data: in {unit!r}, not a ring current; left out")
        return nothing
    values = read.array(monitor["data"], CURRENT, "mA")
    if values.size == nothing.size:
        return layout(values)
    if values.size == measured.sum() * shape[2]:
        nothing[measured] = values.reshape(-1, shape[2])
        return nothing
    read.problems.append(f"{monitor.name}/data: {values.size} values, expected {nothing.size}; left out")
    return nothing


def _original(entry: h5py.Group) -> dict[str, Any]:
    """Give the start document that `write_nxstxm` leaves in a file; empty in files of others."""
    note = entry.get("start_document")
    if not _is(note, "NXnote") or "data" not in note:
        return {}
    try:
        document = json.loads(_text(note["data"][()]))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
