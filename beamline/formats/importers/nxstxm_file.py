"""The scan in one entry of a NXstxm file, as arrays over energies, rows and columns in the units of the contract.

What the definition leaves open is accepted as it is found: the names and order of the axes; any unit of length, energy,
time and current; lists of scan points only if they are in the order of the regular array, as some files store a meander
as it was driven.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.nxstxm_axes import ROLES, find_layout
from beamline.formats.importers.nxstxm_fields import (
    ENERGY,
    LENGTH,
    FieldReader,
    FloatArray,
    children,
    is_class,
    text_of,
)
from beamline.formats.importers.nxstxm_points import read_points, read_ring_current
from beamline.formats.importers.stxm_run import NOT_RECORDED

DEFINITION = "NXstxm"
TECHNIQUES: dict[str, str] = {
    "sample image": "stxm",
    "sample image stack": "stxm",
    "generic scan": "stxm",
    "sample line spectrum": "stxm_line_spectrum",
    "sample focus": "stxm_focus",
}


@dataclass(frozen=True)
class NxstxmScan:
    """One entry: the scan of one region, as arrays over (energies, rows, columns)."""

    name: str
    technique: str
    energies: FloatArray  # as requested, eV
    x: FloatArray  # (columns,), um
    y: FloatArray  # (rows,) of images, (columns,) of a line
    zone_plate: FloatArray  # (rows,) of a focus scan, else empty
    counts: FloatArray
    measured: NDArray[np.bool_]  # (energies, rows)
    points: dict[str, FloatArray]  # what is known of each point, (energies, rows, columns)
    start: float
    end: float
    times: FloatArray | None  # (energies, rows)
    title: str
    sample: str
    original: dict[str, Any] = field(default_factory=dict)  # the start document, in files written by this package


def entry_names(file: h5py.File, wanted: str) -> list[str]:
    """List the entries of the definition, or check that the wanted one exists; ValueError if there is none."""
    found = [
        name
        for name, group in file.items()
        if is_class(group, "NXentry") and "definition" in group and text_of(group["definition"][()]) == DEFINITION
    ]
    if not found:
        raise ValueError(f"no NXentry with the definition {DEFINITION}")
    if not wanted:
        return sorted(found, key=_natural)
    if wanted not in found:
        raise ValueError(f"no entry {wanted!r} of the definition {DEFINITION}; it has {', '.join(found)}")
    return [wanted]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which entry10 comes after entry9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_entry(entry: h5py.Group, detector: str, problems: list[str]) -> NxstxmScan:
    """Read an entry.

    Parameters
    ----------
    entry : h5py.Group
    detector : str
        Name of the NXdata group; if empty, the default one or else the first.
    problems : list of str
        Receives what is wrong or had to be assumed.

    Raises
    ------
    ValueError
        When the entry is of another kind of scan, or lacks what is needed.
    """
    name = entry.name.strip("/")
    data = _data_group(entry, detector)
    scan_type = text_of(next((group["stxm_scan_type"][()] for group in (data, entry) if "stxm_scan_type" in group), ""))
    if scan_type not in TECHNIQUES:
        raise ValueError(f"{name}: stxm_scan_type is {scan_type!r}, expected one of {', '.join(TECHNIQUES)}")
    technique = TECHNIQUES[scan_type]
    read = FieldReader(problems)

    axes = _read_axes(data, technique, read)
    layout, signal = find_layout(data, technique, axes.lengths)
    counts = layout(np.asarray(signal[()], dtype=float))
    measured: NDArray[np.bool_] = np.any(np.isfinite(counts), axis=2)
    start, end = _times(entry, problems)
    points = read_points(
        entry, data, layout=layout, counts=counts, measured=measured, energies=axes.readback, read=read
    )
    points["ring_current"] = read_ring_current(entry, layout, measured, counts.shape, read)
    sample = next(
        (text_of(entry[each]["name"][()]) for each in children(entry, "NXsample") if "name" in entry[each]), ""
    )
    return NxstxmScan(
        name=name,
        technique=technique,
        energies=axes.energies,
        x=axes.x,
        y=axes.y,
        zone_plate=axes.zone_plate,
        counts=counts,
        measured=measured,
        points=points,
        start=start,
        end=end,
        times=_line_times(entry, measured),
        title=text_of(entry["title"][()]) if "title" in entry else "",
        sample=sample or NOT_RECORDED,
        original=_original(entry),
    )


@dataclass(frozen=True)
class _Axes:
    """The axes of a data group, in eV and um."""

    energies: FloatArray  # as requested
    readback: FloatArray  # as read back
    x: FloatArray
    y: FloatArray
    zone_plate: FloatArray  # of a focus scan, else empty

    @property
    def lengths(self) -> dict[str, int]:
        """The number of points by the role of the axis."""
        return {
            "energy": len(self.energies),
            "y": len(self.y),
            "x": len(self.x),
            "line": len(self.x),
            "zone_plate": len(self.zone_plate),
        }


def _read_axes(data: h5py.Group, technique: str, read: FieldReader) -> _Axes:
    energy_name = next((name for name in ("energy", "photon_energy") if name in data), None)
    if energy_name is None or "sample_x" not in data or "sample_y" not in data:
        raise ValueError(f"{data.name}: no energy, sample_x or sample_y")
    readback = read.field(data, energy_name, ENERGY, "eV")
    energies = read.field(data, "energy_setpoint", ENERGY, "eV") if "energy_setpoint" in data else readback
    x, y = (read.field(data, axis, LENGTH, "um") for axis in ("sample_x", "sample_y"))
    zone_plate = np.array([])
    if technique == "stxm_focus":
        zone_name = next((name for name, role in ROLES.items() if role == "zone_plate" and name in data), None)
        if zone_name is None:
            raise ValueError(f"{data.name}: no zoneplate_z of a focus scan")
        zone_plate = read.field(data, zone_name, LENGTH, "um")
    if technique != "stxm":  # both positions of each pixel of a line
        length = max(len(x), len(y))
        x, y = (np.full(length, axis[0]) if len(axis) == 1 else axis for axis in (x, y))
        if len(x) != len(y):
            raise ValueError(f"{data.name}: a line of {len(x)} sample_x and {len(y)} sample_y")
    return _Axes(energies, readback, x, y, zone_plate)


def _data_group(entry: h5py.Group, wanted: str) -> h5py.Group:
    names = children(entry, "NXdata")
    if wanted:
        if wanted not in names:
            raise ValueError(f"{entry.name}: no NXdata group {wanted!r}; it has {', '.join(names) or 'none'}")
        return entry[wanted]
    default = text_of(entry.attrs.get("default", ""))
    with_type = [name for name in names if "stxm_scan_type" in entry[name]] or names
    if not with_type:
        raise ValueError(f"{entry.name}: no NXdata group")
    return entry[default if default in with_type else with_type[0]]


def _line_times(entry: h5py.Group, measured: NDArray[np.bool_]) -> FloatArray | None:
    """Return when each line was measured, if the file was written by this package; NaN for lines that were not."""
    table = entry.get("lines")
    if not is_class(table, "NXcollection") or "seq_num" not in table or "time" not in table:
        return None
    if len(table["time"]) != measured.sum():
        return None
    times = np.full(measured.shape, np.nan)
    times[measured] = np.asarray(table["time"][()], dtype=float)
    return times


def _times(entry: h5py.Group, problems: list[str]) -> tuple[float, float]:
    found: list[float | None] = []
    for name in ("start_time", "end_time"):
        text = text_of(entry[name][()]) if name in entry else ""
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


def _original(entry: h5py.Group) -> dict[str, Any]:
    """Return the start document that `write_nxstxm` stores in a file; empty in other files."""
    note = entry.get("start_document")
    if not is_class(note, "NXnote") or "data" not in note:
        return {}
    try:
        document = json.loads(text_of(note["data"][()]))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
