"""The scan in one entry of a NXstxm file, as arrays over energies, rows and columns in the units of the contract.

What the definition leaves open is accepted as it is found: the names and order of the axes; any unit of length, energy,
time and current; lists of scan points only if they are in the order of the regular array, as some files store a meander
as it was driven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.inside import check_lines
from beamline.formats.importers.nxstxm_axes import ROLES, find_layout
from beamline.formats.importers.nxstxm_fields import FieldReader
from beamline.formats.importers.nxstxm_points import detector_of, read_points, read_ring_current
from beamline.formats.importers.nxstxm_record import (
    Original,
    read_configuration,
    read_dark_lines,
    read_lines,
    read_original,
)
from beamline.formats.importers.quantities import ENERGIES, ENERGY, LENGTH, MOST_COUNTS, POSITIONS, is_time
from beamline.formats.importers.stxm_run import NOT_RECORDED, DarkLine
from beamline.formats.text import quoted
from beamline.text import clean

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
    configuration: dict[str, float]  # of the scanner, as far as it is known
    dark: list[DarkLine]
    original: Original = field(default_factory=Original)


def entries_of(file: Group, wanted: str, problems: list[str]) -> list[Group]:
    """List the entries of the definition, or check that the wanted one exists; ValueError if there is none."""
    found = []
    for entry in file.children("NXentry"):
        try:
            definition = entry.text("definition")
        except ValueError as error:
            problems.append(f"{error}; left out")
            continue
        if definition == DEFINITION:
            found.append(entry)
        elif not wanted:
            problems.append(f"{entry.label}: definition is {quoted(definition)}, not {DEFINITION}; left out")
    if not found:
        reasons = f"; {problems[0]}" if problems else ""
        raise ValueError(f"no NXentry with the definition {DEFINITION}{reasons}")
    if not wanted:
        return sorted(found, key=lambda entry: _natural(entry.name))
    for entry in found:
        if entry.name.strip("/") == wanted:
            return [entry]
    names = ", ".join(entry.label.strip("/") for entry in found)
    raise ValueError(f"no entry {wanted!r} of the definition {DEFINITION}; it has {names}")


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which entry10 comes after entry9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def read_entry(entry: Group, detector: str, problems: list[str], *, modified: float) -> NxstxmScan:
    """Read an entry.

    Parameters
    ----------
    entry : Group
    detector : str
        Name of the NXdata group; if empty, the default one or else the first.
    problems : list of str
        Receives what is wrong, was left out, or had to be assumed.
    modified : float
        When the file was, s since 1970: stands for the time of the scan if the entry has none.

    Raises
    ------
    ValueError
        When the entry is of another kind of scan, or lacks what is needed.
    """
    read = FieldReader(problems)
    data = _data_group(entry, detector, problems)
    technique = _technique(entry, data)
    axes = _read_axes(data, technique, read)
    layout, signal = find_layout(data, technique, axes.lengths, problems)
    rows = {"stxm": len(axes.y), "stxm_focus": len(axes.zone_plate)}
    check_lines(data.label, len(axes.energies) * rows.get(technique, 1))
    counts = layout(_counts(signal, problems))
    measured, times = read_lines(entry, counts, read)
    start, end = _times(entry, problems, modified)
    instrument = next(iter(entry.children("NXinstrument")), None)
    detector_group = read.optional(lambda: detector_of(instrument, data))
    points = read_points(
        instrument,
        detector_group,
        data,
        layout=layout,
        counts=counts,
        measured=measured,
        energies=axes.readback,
        read=read,
    )
    points["ring_current"] = read_ring_current(entry, layout, measured, counts.shape, read)
    return NxstxmScan(
        name=entry.label.strip("/"),
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
        times=times,
        title=clean(read.optional(partial(entry.text, "title")) or ""),
        sample=_sample(entry, read),
        configuration=read_configuration(detector_group, read),
        dark=read_dark_lines(entry, read),
        original=read_original(entry, read),
    )


def _technique(entry: Group, data: Group) -> str:
    scan_type = next((group.text("stxm_scan_type") for group in (data, entry) if "stxm_scan_type" in group), "")
    if scan_type not in TECHNIQUES:
        raise ValueError(
            f"{entry.label.strip('/')}: stxm_scan_type is {quoted(scan_type)}, expected one of {', '.join(TECHNIQUES)}"
        )
    return TECHNIQUES[scan_type]


def _counts(signal: Field, problems: list[str]) -> FloatArray:
    """Read the counts; one that is infinite, or more than can be counted, was not measured."""
    counts = signal.numbers()
    beyond = np.abs(counts) > MOST_COUNTS  # infinite ones are
    if number := int(beyond.sum()):
        problems.append(
            f"{signal.label}: {number} of {counts.size} counts are beyond {MOST_COUNTS:g}, such as "
            f"{counts[beyond][0]:g}; taken for not measured"
        )
        counts[beyond] = np.nan
    return counts


def _sample(entry: Group, read: FieldReader) -> str:
    for sample in entry.children("NXsample"):
        if name := read.optional(partial(sample.text, "name")):
            return clean(name)
    return NOT_RECORDED


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


def _read_axes(data: Group, technique: str, read: FieldReader) -> _Axes:
    energy_name = next((name for name in ("energy", "photon_energy") if name in data), None)
    if energy_name is None:
        raise ValueError(f"{data.label}: no energy")
    readback = read.axis(data, energy_name, ENERGY, "eV", ENERGIES)
    setpoint = "energy_setpoint"
    energies = read.axis(data, setpoint, ENERGY, "eV", ENERGIES) if setpoint in data else readback
    if len(energies) != len(readback):
        raise ValueError(f"{data.label}: {len(readback)} of {energy_name}, but {len(energies)} of energy_setpoint")
    x, y = (read.axis(data, axis, LENGTH, "um", POSITIONS) for axis in ("sample_x", "sample_y"))
    zone_plate = np.array([])
    if technique == "stxm_focus":
        zone_name = next((name for name, role in ROLES.items() if role == "zone_plate" and name in data), None)
        if zone_name is None:
            raise ValueError(f"{data.label}: no zoneplate_z of a focus scan")
        zone_plate = read.axis(data, zone_name, LENGTH, "um", POSITIONS)
    if technique != "stxm":  # both positions of each pixel of a line
        length = max(len(x), len(y))
        x, y = (np.full(length, axis[0]) if len(axis) == 1 else axis for axis in (x, y))
        if len(x) != len(y):
            raise ValueError(f"{data.label}: a line of {len(x)} sample_x and {len(y)} sample_y")
    if technique == "stxm_focus" and len(energies) != 1:
        raise ValueError(f"{data.label}: a focus scan at {len(energies)} energies, expected one")
    return _Axes(energies, readback, x, y, zone_plate)


def _data_group(entry: Group, wanted: str, problems: list[str]) -> Group:
    groups = {group.name.rsplit("/", 1)[-1]: group for group in entry.children("NXdata")}
    if wanted:
        if wanted not in groups:
            names = ", ".join(map(clean, groups)) or "none"
            raise ValueError(f"{entry.label}: no NXdata group {wanted!r}; it has {names}")
        return groups[wanted]
    if not groups:
        raise ValueError(f"{entry.label}: no NXdata group")
    default = entry.text_attribute("default")
    with_type = [name for name, group in groups.items() if "stxm_scan_type" in group] or list(groups)
    chosen = default if default in with_type else with_type[0]
    others = [clean(name) for name in groups if name != chosen]
    if others:
        problems.append(
            f"{entry.label}: 1 of {len(groups)} NXdata groups is imported, {clean(chosen)};"
            f" left out: {', '.join(others)}"
        )
    return groups[chosen]


def _times(entry: Group, problems: list[str], modified: float) -> tuple[float, float]:
    start, end = (_time(entry, name, problems) for name in ("start_time", "end_time"))
    if start is None:
        start = modified if end is None else end
        stands = "time of the file" if end is None else "end_time"
        problems.append(f"{entry.label}: no start_time, the {stands} stands for it")
    if end is not None and end < start:
        problems.append(f"{entry.label}: end_time is {start - end:g} s before start_time, which stands for it")
    return start, start if end is None else max(start, end)


def _time(entry: Group, name: str, problems: list[str]) -> float | None:
    text = FieldReader(problems).optional(partial(entry.text, name)) or ""
    moment = _moment(text)
    if moment is None:
        problems.append(f"{entry.label}: {name} {quoted(text)} cannot be read, expected one like 2024-03-01T12:00:00Z")
        return None
    if moment.tzinfo is None:
        problems.append(f"{entry.label}: {name} {quoted(text)} names no zone, taken for UTC")
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _moment(text: str) -> datetime | None:
    """Return a time in ISO 8601; None if it is none, or none at which something can have been measured."""
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if is_time(seconds) else None
