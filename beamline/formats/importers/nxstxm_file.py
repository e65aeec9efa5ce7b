"""The scan in one entry of a NXstxm file, as arrays over energies, rows and columns in the units of the contract.

What the definition leaves open is accepted as it is found: the names and order of the axes; any unit of length, energy,
time and current; lists of scan points only if they are in the order of the regular array, as some files store a meander
as it was driven.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.inside import MOST_LINES, check_lines
from beamline.formats.importers.nxstxm_axes import ROLES, find_layout
from beamline.formats.importers.nxstxm_dialects import (
    ENERGY_NAMES,
    FOCUS,
    POINTS,
    STXM,
    X_NAMES,
    Y_NAMES,
    data_group,
    first_of,
    is_pystxmcontrol,
    scan_type_of,
    technique_of,
)
from beamline.formats.importers.nxstxm_fields import FieldReader, unit_of
from beamline.formats.importers.nxstxm_points import detector_of, read_points, read_ring_current
from beamline.formats.importers.nxstxm_record import (
    Original,
    read_configuration,
    read_dark_lines,
    read_lines,
    read_original,
)
from beamline.formats.importers.quantities import (
    ENERGIES,
    ENERGY,
    ENERGY_TOLERANCE,
    LENGTH,
    MOST_COUNTS,
    POSITIONS,
    is_time,
)
from beamline.formats.importers.stxm_run import NOT_RECORDED, DarkLine, Reading
from beamline.formats.text import quoted
from beamline.text import clean

HC = 1.239_841_984  # eV um, of a photon: energy times wavelength (CODATA 2018, exact but for its last digit)
LEAST_ENERGY = 10.25  # eV, of 121 nm: where extreme ultraviolet begins (ISO 21348:2007), which X-rays are beyond


@dataclass(frozen=True)
class NxstxmScan:
    """One entry: the scan of one region, as arrays over (energies, rows, columns)."""

    name: str
    detector: str  # name of the data group
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
    others: dict[str, Reading]  # what else was read at each line, (energies, rows)
    time_stamps: dict[str, FloatArray]  # of what was not read at `times`, by data key, (energies, rows)
    title: str
    sample: str
    configuration: dict[str, float]  # of the scanner, as far as it is known
    dark: list[DarkLine]
    original: Original = field(default_factory=Original)


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
    data = data_group(entry, detector, problems)
    technique = technique_of(entry, data, problems)
    in_ms = is_pystxmcontrol(scan_type_of(entry, data))
    axes = _read_axes(data, technique, read)
    layout, signal = find_layout(data, technique, axes.lengths, problems)
    rows = {"stxm": len(axes.y), "stxm_focus": len(axes.zone_plate)}
    check_lines(data.label, len(axes.energies) * rows.get(technique, 1))
    counts = layout(_counts(signal, problems))
    if in_ms:
        _leave_out_zeros(counts, signal, problems)
    lines = read_lines(entry, counts, read)
    measured = lines.measured
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
        in_ms=in_ms,
        with_gaps=lines.times is not None,
        read=read,
    )
    _say_other_energies(data, points["energy"], axes.readback, problems)
    points["ring_current"] = read_ring_current(entry, layout, measured, counts.shape, read)
    return NxstxmScan(
        name=entry.label.strip("/"),
        detector=clean(data.name.rsplit("/", 1)[-1]),
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
        times=lines.times,
        others=lines.others,
        time_stamps=lines.time_stamps,
        title=clean(read.optional(partial(entry.text, "title")) or ""),
        sample=_sample(entry, read),
        configuration=read_configuration(detector_group, read),
        dark=read_dark_lines(entry, read),
        original=read_original(entry, read),
    )


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
    places = [(sample, name) for sample in entry.children("NXsample") for name in ("name", "description")]
    for group, name in [*places, (entry, "sample_description")]:  # the latter two of pystxmcontrol
        if text := read.optional(partial(group.text, name)):
            return clean(text)
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
    energy_name = first_of(data, ENERGY_NAMES)
    readback = _read_energies(data, energy_name, read)
    setpoint = "energy_setpoint"
    energies = _read_energies(data, setpoint, read) if setpoint in data else readback
    if len(energies) != len(readback):
        raise ValueError(f"{data.label}: {len(readback)} of {energy_name}, but {len(energies)} of energy_setpoint")
    x, y = _read_positions(data, readback, read)
    zone_plate = np.array([])
    if technique == FOCUS:
        zone_name = next((name for name, role in ROLES.items() if role == "zone_plate" and name in data), None)
        if zone_name is None:
            raise ValueError(f"{data.label}: no zoneplate_z of a focus scan")
        zone_plate = read.axis(data, zone_name, LENGTH, "um", POSITIONS)
    if technique != STXM:  # both positions of each pixel of a line
        length = max(len(x), len(y))
        x, y = (np.full(length, axis[0]) if len(axis) == 1 else axis for axis in (x, y))
        if len(x) != len(y):
            raise ValueError(f"{data.label}: a line of {len(x)} sample_x and {len(y)} sample_y")
    if technique == FOCUS and len(energies) != 1:
        raise ValueError(f"{data.label}: a focus scan at {len(energies)} energies, expected one")
    if technique == POINTS and len(x) > 1:
        raise ValueError(f"{data.label}: a point spectrum at {len(x)} positions, expected one")
    return _Axes(energies, readback, x, y, zone_plate)


def _read_energies(data: Group, name: str, read: FieldReader) -> FloatArray:
    """Read energies; without a unit they are eV, unless these would be none of X-rays."""
    field = data.field(name)
    if field is None:
        raise ValueError(f"{data.label}: no energy")
    largest = float(np.nanmax(np.abs(field.numbers())))  # NaN and infinite ones are refused below
    if largest >= LEAST_ENERGY:
        return read.axis(data, name, ENERGY, "eV", ENERGIES)
    energies = read.axis(data, name, ENERGY, "keV", ENERGIES, why=f"as up to {largest:g} eV are none of X-rays")
    if float(energies.max()) < LEAST_ENERGY:
        read.problems.append(f"{field.label}: up to {energies.max():g} eV, none of X-rays; kept as they are")
    return energies


def _read_positions(data: Group, energies: FloatArray, read: FieldReader) -> tuple[FloatArray, FloatArray]:
    """Read the positions of columns and rows; without a unit they are um, unless no microscope steps so finely."""
    names = [first_of(data, names) for names in (X_NAMES, Y_NAMES)]
    finest = min((_finest_step(field) for name in names if (field := data.field(name)) is not None), default=math.inf)
    least = HC / float(energies.max()) / 2
    reason = f"as steps of {finest:.2g} um would be finer than half the wavelength, {least:.2g} um"
    assumed = ("mm", reason) if finest < least else ("um", "")
    x, y = (read.axis(data, name, LENGTH, assumed[0], POSITIONS, why=assumed[1]) for name in names)
    steps = np.concatenate([np.abs(np.diff(axis)) for axis in (x, y)])
    if (finest := steps[steps > 0].min(initial=math.inf)) < least:
        read.problems.append(
            f"{data.label}: steps of {finest:.2g} um, finer than half the wavelength, {least:.2g} um; kept as they are"
        )
    return x, y


def _finest_step(field: Field) -> float:
    """Return the finest step of a list without a unit, as it is written; infinite where there is none."""
    if unit_of(field) or field.size > MOST_LINES:
        return math.inf
    steps = np.abs(np.diff(np.ravel(field.numbers())))
    return float(steps[steps > 0].min(initial=math.inf))


def _say_other_energies(data: Group, found: FloatArray, axis: FloatArray, problems: list[str]) -> None:
    """Say where the points were measured at other energies than the axis has."""
    seen = found.mean(axis=(1, 2))
    off = np.abs(seen - axis)
    other = np.flatnonzero(off > ENERGY_TOLERANCE)
    if other.size:
        worst = int(np.nanargmax(off))
        problems.append(
            f"{data.label}: {other.size} of {len(axis)} energies were others than on the axis, such as "
            f"{seen[worst]:g} eV for {axis[worst]:g} eV"
        )


def _leave_out_zeros(counts: FloatArray, signal: Field, problems: list[str]) -> None:
    """Take the lines at the end without a count for not measured: pystxmcontrol begins with zeros."""
    lines = counts.reshape(-1, counts.shape[2])
    with_count = np.flatnonzero((lines != 0).any(axis=1))
    first = int(with_count[-1]) + 1 if with_count.size else 0
    if first < len(lines):
        lines[first:] = np.nan
        problems.append(
            f"{signal.label}: the last {len(lines) - first} of {len(lines)} lines are zeros, as pystxmcontrol leaves "
            "lines that it did not come to; taken for not measured"
        )


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
