"""What `write_nxstxm` keeps of a run beyond the definition: its documents, lines, dark lines and scanner settings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.nxstxm_fields import FieldReader
from beamline.formats.importers.quantities import PLAIN, RATE, TIME, TIMES, check_range
from beamline.formats.importers.stxm_run import ARRAYS, LARGEST_ID, SCALARS, DarkLine, Ended, Reading
from beamline.formats.text import one_line, quoted
from beamline.text import clean
from callbacks.contract import MEASUREMENT, UNITS, Key, Measurement, ScannerConfig

ENDS: tuple[Literal["success", "abort", "fail"], ...] = ("success", "abort", "fail")
# Of the table of lines: what devices without a role here read at each line, and when which key was read.
OTHERS, TIME_STAMPS = "others", "time_stamps"
MOST_COLUMNS = 100  # of each
LARGEST_WHOLE = 2**53  # that a float has, as which all numbers are read
TAKEN = {*map(str, (*SCALARS, *ARRAYS, Key.ZONE_PLATE))}
Places = tuple[NDArray[np.int_], ...]  # indices of the measured lines: of the energy, and the row
CONFIGURATION = {  # setting of the scanner -> units, lower limit (allowed), upper limit (not allowed)
    ScannerConfig.DEAD_TIME: (TIME, 0.0, 1.0),
    ScannerConfig.DARK_RATE: (RATE, 0.0, math.inf),
    ScannerConfig.COUNTER_DIVIDER: (PLAIN, math.ulp(0.0), math.inf),
}


@dataclass(frozen=True)
class Original:
    """What is known of the run that a file was written from; empty for files of other programs."""

    start: dict[str, Any] = field(default_factory=dict)  # `uid`, `scan_id`, `sample`, `import_problems`, if valid
    measurement: Measurement | None = None
    ended: Ended | None = None


def read_original(entry: Group, read: FieldReader) -> Original:
    """Read the start and stop documents; what is not as it should be is left out and named."""
    start = read.optional(lambda: _document(entry, "start_document")) or {}
    stop = read.optional(lambda: _document(entry, "stop_document")) or {}
    valid = {key: start[key] for key, holds in _START.items() if key in start and holds(start[key])}
    for key in _START:
        if key in start and key not in valid:
            read.problems.append(f"{entry.label}/start_document: {key} is {one_line(start[key])[:60]!r}; left out")
    status, reason = stop.get("exit_status"), stop.get("reason", "")
    ended = next(((one, clean(str(reason))) for one in ENDS if one == status), None)
    return Original(valid, _measurement(entry, start, read), ended)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | float) or (isinstance(value, int) and abs(value) < LARGEST_ID)


_START: dict[str, Callable[[Any], bool]] = {
    "uid": lambda value: isinstance(value, str),
    "scan_id": lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_ID,
    "sample": lambda value: (
        isinstance(value, str) or (isinstance(value, dict) and all(_is_plain(one) for one in value.values()))
    ),
    "import_problems": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
}


def _measurement(entry: Group, start: dict[str, Any], read: FieldReader) -> Measurement | None:
    if MEASUREMENT not in start:
        return None
    try:
        return Measurement.model_validate(start[MEASUREMENT])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in (MEASUREMENT, *first["loc"]))
        read.problems.append(
            f"{entry.label}/start_document: {place}: {one_line(first['msg'])}; the axes are taken instead"
        )
        return None


def _document(entry: Group, name: str) -> dict[str, Any] | None:
    note = entry.get(name)
    if not isinstance(note, Group) or not note.is_class("NXnote"):
        return None
    try:
        document = json.loads(note.text("data"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{note.label}: {one_line(error)[:120]}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{note.label}: no document")
    return document


@dataclass(frozen=True)
class Lines:
    """What is known of the lines of an entry, each of shape (energies, rows).

    Attributes
    ----------
    measured : numpy.ndarray of bool
        From the table `lines` of the entry; in files without one, the lines that hold a number.
    times : numpy.ndarray or None
        s since 1970, NaN for lines that were not measured; None if the file does not have them.
    others : dict of str to Reading
        What else was read at each line, by data key.
    time_stamps : dict of str to numpy.ndarray
        When it was, by data key, s since 1970, of what was not read at `times`.
    """

    measured: NDArray[np.bool_]
    times: FloatArray | None = None
    others: dict[str, Reading] = field(default_factory=dict)
    time_stamps: dict[str, FloatArray] = field(default_factory=dict)


def read_lines(entry: Group, counts: FloatArray, read: FieldReader) -> Lines:
    """Find which lines were measured, when, and what else was read at them."""
    with_number: NDArray[np.bool_] = np.any(np.isfinite(counts), axis=2)
    table = read.optional(lambda: _collection(entry, "lines"))
    found = read.optional(lambda: _line_table(table, with_number))
    if found is None:
        return Lines(with_number)
    measured, times, places = found
    others = read.optional(lambda: _others(table, times.shape, places)) or {}
    return Lines(measured, times, others, read.optional(lambda: _time_stamps(table, times.shape, places)) or {})


def _others(table: Group | None, shape: tuple[int, ...], places: Places) -> dict[str, Reading]:
    """Read what other devices read at each line; ValueError where it is not one value for each."""
    count = len(places[0])
    found = {}
    for name, column in _columns(table, OTHERS, count):
        if name in TAKEN:
            raise ValueError(f"{column.label}: no data key of another device")
        if column.is_text:
            values = np.full(shape, "", dtype=object)
            values[places] = [clean(one) for one in column.texts(count)]
        else:
            numbers = column.numbers().ravel()
            whole = column.dtype.kind == "i" and bool((np.abs(numbers) < LARGEST_WHOLE).all())
            values = np.zeros(shape, np.int64) if whole else np.full(shape, np.nan)
            values[places] = numbers
        found[name] = Reading(values, clean(column.text_attribute("units")))
    return found


def _time_stamps(table: Group | None, shape: tuple[int, ...], places: Places) -> dict[str, FloatArray]:
    """Read when each data key was read; ValueError where it is not one time for each line."""
    found = {}
    for name, column in _columns(table, TIME_STAMPS, len(places[0])):
        numbers = column.numbers().ravel()
        check_range(column.label, numbers, TIMES, "s")
        found[name] = np.full(shape, np.nan)
        found[name][places] = numbers
    return found


def _columns(table: Group | None, name: str, count: int) -> list[tuple[str, Field]]:
    """Give the columns of a group of a table of lines, by data key; ValueError where one is not of so many lines."""
    group = None if table is None else table.group(name)
    if group is None:
        return []
    names = group.names()
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{group.label}: {len(names)} columns, expected at most {MOST_COLUMNS}")
    found = []
    for key in names:
        column = group.field(key)
        if column is None or not re.fullmatch(r"[A-Za-z_]\w{0,99}", key, re.ASCII):
            raise ValueError(f"{group.label}: {quoted(key)} is no data key")
        if column.size != count:
            raise ValueError(f"{column.label}: {column.size} values, expected {count}")
        found.append((key, column))
    return found


def _collection(entry: Group, name: str) -> Group | None:
    table = entry.group(name)
    return table if table is not None and table.is_class("NXcollection") else None


def _line_table(
    table: Group | None, with_number: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], FloatArray, Places] | None:
    if table is None or "time" not in table:
        return None
    indexed = "energy_index" in table or "row" in table  # files of before have the times only
    places: Places = (
        tuple(_indices(table, name, end) for name, end in zip(("energy_index", "row"), with_number.shape, strict=True))
        if indexed
        else np.nonzero(with_number)
    )
    values = _numbers(table, "time")
    energy_indices, rows = places
    if not values.size == energy_indices.size == rows.size:
        raise ValueError(
            f"{table.label}: {values.size} of time for {energy_indices.size} energies and {rows.size} rows of lines"
        )
    check_range(f"{table.label}/time", values, TIMES, "s")
    times = np.full(with_number.shape, np.nan)
    times[places] = values
    measured = np.isfinite(times)
    if measured.sum() != values.size or (with_number & ~measured).any():
        raise ValueError(f"{table.label}: not the lines of the data")
    return measured, times, places


def _numbers(table: Group, name: str) -> FloatArray:
    field = table.field(name)
    if field is None:
        raise ValueError(f"{table.label}: no {name}")
    return field.numbers().ravel()


def _indices(table: Group, name: str, end: int) -> NDArray[np.int_]:
    values = _numbers(table, name)
    if not ((values >= 0) & (values < end) & (values == np.rint(values))).all():
        raise ValueError(f"{table.label}/{name}: expected whole numbers from 0 to {end - 1}")
    return values.astype(int)


def read_configuration(detector: Group | None, read: FieldReader) -> dict[str, float]:
    """Read what is known of the detector: dead time (s), dark rate (counts/s), photons per count."""
    found = {}
    for setting in CONFIGURATION if detector is not None else ():
        value = read.optional(partial(_setting, detector, setting, read))
        if value is not None:
            found[str(setting)] = value
    return found


def _setting(detector: Group | None, setting: ScannerConfig, read: FieldReader) -> float | None:
    field = None if detector is None else detector.field(setting.removeprefix("stxm_"))
    if field is None:
        return None
    units, low, high = CONFIGURATION[setting]
    field.number()
    value = float(read.array(field, units, UNITS[setting]).ravel()[0])
    if not (math.isnan(value) or low <= value < high):
        raise ValueError(f"{field.label}: {value:g} {UNITS[setting]}".rstrip())
    return value


def read_dark_lines(entry: Group, read: FieldReader) -> list[DarkLine]:
    """Read the lines that were measured without light, by which the dark rate is known."""
    table = read.optional(lambda: _collection(entry, "dark_lines"))
    lines = read.optional(lambda: _dark_lines(table, read)) or []
    shape, places = (len(lines),), (np.arange(len(lines)),)
    others = read.optional(lambda: _others(table, shape, places)) or {} if lines else {}
    stamps = read.optional(lambda: _time_stamps(table, shape, places)) or {} if lines else {}
    return [
        DarkLine(
            line.time,
            line.data | {key: reading.at(row) for key, reading in others.items()},
            {key: float(values[row]) for key, values in stamps.items()},
        )
        for row, line in enumerate(lines)
    ]


def _dark_lines(table: Group | None, read: FieldReader) -> list[DarkLine]:
    if table is None:
        return []
    columns = {}
    for key in (*SCALARS, Key.ZONE_PLATE, *ARRAYS, "time"):
        if (field := table.field(key)) is not None:
            unit = UNITS.get(key, "s")
            columns[str(key)] = read.array(field, {unit.lower(): 1.0}, unit)
    missing = [str(key) for key in (*ARRAYS, "time") if key not in columns]
    if missing:
        raise ValueError(f"{table.label}: no {', '.join(missing)}")
    shape = columns[Key.STXM_COUNTS].shape
    for key, values in columns.items():
        if len(shape) != 2 or values.shape != (shape if key in ARRAYS else shape[:1]):
            raise ValueError(f"{table.label}/{key}: shape {values.shape}, does not fit counts of the shape {shape}")
    check_range(f"{table.label}/time", columns["time"], TIMES, "s")
    lines = []
    for row, time in enumerate(columns.pop("time").tolist()):
        data = {key: values[row] if key in ARRAYS else float(values[row]) for key, values in columns.items()}
        lines.append(DarkLine(time, data))
    return lines
