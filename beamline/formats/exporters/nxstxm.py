"""Write a STXM run to a file of the NeXus application definition NXstxm, with one entry for each region.

In version 1.1 of the definition (https://manual.nexusformat.org/classes/applications/NXstxm.html) the detectors of the
instrument hold what was measured, one value per scan point in the order of measurement, and the data group holds the
same counts as a regular array. MANTiS, which is widely used to evaluate stacks, requires more than the definition: the
scalars `definition` and `stxm_scan_type` as arrays of length one, the attribute `axes` as bytes, `count_time` in the
data group, and the name `line_position` for the axis of a line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.formats.exporters.nexus import (
    iso_time,
    make_group,
    new_file,
    write_dataset,
    write_document,
    write_process,
    write_text,
)
from beamline.formats.text import safe_name
from beamline.storage import Documents, Run
from beamline.storage.log import unpack_pages
from callbacks.contract import MEASUREMENT, UNITS, Key, Measurement, ScannerConfig, Stream, StxmGrid

FloatArray = NDArray[np.floating]

DETECTOR = "counter0"
VERSION = "1.1"
SCAN_TYPES = (  # the enumeration of `stxm_scan_type`
    "sample point spectrum",
    "sample line spectrum",
    "sample image",
    "sample image stack",
    "sample focus",
    "osa image",
    "osa focus",
    "detector image",
    "generic scan",
)
LINE_KEYS = (
    *(Key.STXM_COUNTS, Key.STXM_DWELL, Key.STXM_X, Key.STXM_Y),
    *(Key.ENERGY, Key.ENERGY_SETPOINT, Key.RING_CURRENT, Key.ZONE_PLATE),
)
LABELS = {"optical_density": "optical density", "optical_density_sigma": "standard uncertainty (68 %)"}


def write_nxstxm(path: Path, raw_documents: Documents, derived: Run | None) -> None:
    """Write a STXM run to one file.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if necessary. An existing file is replaced once the new one is complete.
    raw_documents : iterable of (name, document)
        The raw run, which may have been stopped early.
    derived : Run or None
        The run derived from it: its stack `optical_density` (energies, rows, columns) and `optical_density_sigma` are
        written to the entry of the region that has their shape, under ``reduction``.

    Raises
    ------
    ValueError
        When the run is not of STXM, an event does not fit its grid, or no line was measured.
    OSError
        When the file cannot be written.

    Notes
    -----
    The axes of the data group are the energies as read back (mean over the lines of an image; as requested if none is
    known) and the positions as requested. Lines that were not measured are NaN. The detector's counts are written as
    integers if all of them are; those of the data group are floats, because of the NaN.
    """
    run = _read(raw_documents)
    with new_file(path) as file:
        file.attrs["default"] = "entry1"
        for region in range(len(run.grid.regions)):
            entry = make_group(file, f"entry{region + 1}", "NXentry")
            _write_entry(entry, run, region)
            if derived is not None:
                _write_reduction(entry, derived, run, region)


@dataclass
class _StxmRun:
    start: dict[str, Any]
    measurement: Measurement
    stop: dict[str, Any] | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)  # by data key
    events: list[dict[str, Any]] = field(default_factory=list)
    dark: list[dict[str, Any]] = field(default_factory=list)

    @property
    def grid(self) -> StxmGrid:
        assert self.measurement.grid is not None
        return self.measurement.grid


@dataclass(frozen=True)
class _Readings:
    """What the definition has no place for, of some lines, by data key; each of shape (lines,)."""

    others: dict[str, NDArray[Any]]  # what devices without a place in the definition read
    time_stamps: dict[str, FloatArray]  # s since 1970, of what was not read at the time of the event


@dataclass(frozen=True)
class _Lines:
    """The measured lines of one region, in the order of measurement."""

    seq_nums: NDArray[np.int_]
    times: FloatArray
    energy: NDArray[np.int_]  # index in the grid
    row: NDArray[np.int_]  # index in the region
    values: dict[str, FloatArray]  # (lines,) or (lines, columns)
    readings: _Readings


def _read(documents: Documents) -> _StxmRun:
    """Collect a run, event by event, as regions may differ in width and the numbers of the events matter."""
    run: _StxmRun | None = None
    streams: dict[str, str] = {}  # by uid of the descriptor
    events: dict[int, dict[str, Any]] = {}  # by number: a line that was taken again replaces the one before
    for name, doc in unpack_pages(iter(documents)):
        match name:
            case "start":
                measurement = Measurement.model_validate(doc[MEASUREMENT])
                if measurement.grid is None:
                    raise ValueError(f"run {doc['uid']} is of {measurement.technique}, expected STXM")
                run = _StxmRun(doc, measurement)
            case "descriptor" if run:
                streams[doc["uid"]] = doc["name"]
                units = {key: data_key.get("units") for key, data_key in doc["data_keys"].items()}
                run.units |= {key: str(unit) for key, unit in units.items() if unit and doc["name"] == Stream.PRIMARY}
                for device in doc.get("configuration", {}).values() if doc["name"] == Stream.PRIMARY else ():
                    run.configuration.update(device["data"])
            case "event" if run and streams.get(doc["descriptor"]) == Stream.PRIMARY:
                events[doc["seq_num"]] = doc
            case "event" if run and streams.get(doc["descriptor"]) == Stream.DARK:
                run.dark.append(doc)
            case "stop" if run:
                run.stop = doc
    if run is None:
        raise ValueError("no start document among the documents of a run")
    if not events:
        raise ValueError(f"run {run.start['uid']} has no line")
    run.events = [events[number] for number in sorted(events)]
    return run


def _lines(run: _StxmRun, region: int) -> _Lines:
    chosen, energies, rows = [], [], []
    for event in run.events:
        energy, of_region, row = run.grid.place(event["seq_num"])
        if of_region == region:
            chosen.append(event)
            energies.append(energy)
            rows.append(row)
    columns = run.grid.regions[region].columns
    values: dict[str, FloatArray] = {}
    for key in (Key.STXM_COUNTS, Key.STXM_DWELL, Key.STXM_X, Key.STXM_Y):
        values[key] = np.array([event["data"][key] for event in chosen], dtype=float).reshape(-1, columns)
    for key in (Key.ENERGY, Key.ENERGY_SETPOINT, Key.RING_CURRENT, Key.ZONE_PLATE):
        if all(key in event["data"] for event in chosen):
            values[key] = np.array([event["data"][key] for event in chosen], dtype=float)
    return _Lines(
        seq_nums=np.array([event["seq_num"] for event in chosen], dtype=int),
        times=np.array([event["time"] for event in chosen], dtype=float),
        energy=np.array(energies, dtype=int),
        row=np.array(rows, dtype=int),
        values=values,
        readings=_readings(chosen),
    )


def _readings(events: list[dict[str, Any]]) -> _Readings:
    keys = events[0]["data"] if events else ()
    stamps = {key: [event["timestamps"].get(key, event["time"]) for event in events] for key in keys}
    times = [event["time"] for event in events]
    return _Readings(
        others=_others([event["data"] for event in events]),
        time_stamps={key: np.array(column, dtype=float) for key, column in stamps.items() if column != times},
    )


def _others(data: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return what else all lines have one value of, as a polarisation or an alarm: numbers, or texts."""
    found: dict[str, NDArray[Any]] = {}
    for key in data[0] if data else ():
        column = [one.get(key) for one in data]
        if key in LINE_KEYS:
            continue
        if all(isinstance(one, str) for one in column):
            found[key] = np.array(column, dtype=object)
        elif all(isinstance(one, int | float) and not isinstance(one, bool) for one in column):
            values = np.array(column)
            found[key] = values if values.dtype.kind == "i" else values.astype(float)
    return found


def _write_entry(entry: h5py.Group, run: _StxmRun, region: int) -> None:
    measurement = run.measurement
    lines = _lines(run, region)
    entry.attrs["default"] = DETECTOR
    part = f", region {region + 1}" if len(run.grid.regions) > 1 else ""
    write_text(entry, "title", f"STXM of {measurement.sample}{part}")
    write_text(entry, "entry_identifier_uuid", run.start["uid"])
    entry["start_time"] = iso_time(run.start["time"])
    entry["end_time"] = iso_time(run.stop["time"] if run.stop else run.events[-1]["time"])
    entry["definition"] = _one("NXstxm")
    entry["definition"].attrs["version"] = VERSION
    sample = make_group(entry, "sample", "NXsample")
    write_text(sample, "name", measurement.sample)
    write_dataset(sample, "rotation_angle", np.nan, "deg", "not known")
    _write_instrument(entry, run, lines)
    _write_data(entry, run, region, lines)
    _write_lines(entry, lines, run.units)
    if run.dark and region == 0:
        _write_dark_lines(entry, run.dark, run.units)
    write_document(entry, "start_document", run.start)
    if run.stop:
        write_document(entry, "stop_document", run.stop)


def _write_lines(entry: h5py.Group, lines: _Lines, units: dict[str, str]) -> None:
    """Write one value for each line, for which the definition has no place."""
    table = make_group(entry, "lines", "NXcollection")
    write_dataset(table, "seq_num", lines.seq_nums, "", "number of the event")
    write_dataset(table, "energy_index", lines.energy, "", "index of the energy, from 0")
    write_dataset(table, "row", lines.row, "", "row of the image, from 0")
    write_dataset(table, "time", lines.times, "s", "time of the event, since 1970")
    for key in (Key.ENERGY_SETPOINT, Key.ZONE_PLATE):
        if key in lines.values:
            write_dataset(table, str(key), lines.values[key], UNITS[key], str(key))
    _write_readings(table, lines.readings, units)


def _write_readings(table: h5py.Group, readings: _Readings, units: dict[str, str]) -> None:
    if readings.others:
        others = make_group(table, "others", "NXcollection")
        for name, values in readings.others.items():
            write_dataset(others, safe_name(name), values, units.get(name, ""), name)
    if readings.time_stamps:  # as the drift of an image is that of the moments at which its lines were counted
        time_stamps = make_group(table, "time_stamps", "NXcollection")
        for name, values in readings.time_stamps.items():
            write_dataset(time_stamps, safe_name(name), values, "s", f"time of {name}, since 1970")


def _write_dark_lines(entry: h5py.Group, events: list[dict[str, Any]], units: dict[str, str]) -> None:
    """Write the lines that were measured without light: one row for each, as wide as the first of them."""
    table = make_group(entry, "dark_lines", "NXcollection")
    width = np.shape(events[0]["data"][Key.STXM_COUNTS])
    kept = [event for event in events if np.shape(event["data"][Key.STXM_COUNTS]) == width]
    write_dataset(table, "time", np.array([event["time"] for event in kept], dtype=float), "s", "time of the event")
    for key in LINE_KEYS:
        if all(key in event["data"] for event in kept):
            values = np.array([event["data"][key] for event in kept], dtype=float)
            write_dataset(table, str(key), values, UNITS[key], str(key))
    _write_readings(table, _readings(kept), units)
    if len(kept) < len(events):
        table.attrs["left_out"] = f"{len(events) - len(kept)} of {len(events)} dark lines, of another width"


def _write_instrument(entry: h5py.Group, run: _StxmRun, lines: _Lines) -> None:
    """Write what was measured, one value per scan point."""
    instrument = make_group(entry, "instrument", "NXinstrument")
    source = make_group(instrument, "source", "NXsource")
    source["type"] = "Synchrotron X-ray Source"
    write_text(source, "name", str(run.start.get("endstation", "not recorded")))
    source["probe"] = "x-ray"
    counts = lines.values[Key.STXM_COUNTS]
    columns = counts.shape[1]
    monochromator = make_group(instrument, "monochromator", "NXmonochromator")
    write_dataset(monochromator, "energy", np.repeat(lines.values[Key.ENERGY], columns), "eV", "photon energy")
    detector = make_group(instrument, DETECTOR, "NXdetector")
    whole = np.isfinite(counts).all() and (counts == np.rint(counts)).all()
    write_dataset(detector, "data", (counts.astype(np.int64) if whole else counts).ravel(), "counts", "counts")
    write_dataset(detector, "count_time", lines.values[Key.STXM_DWELL].ravel(), "s", "dwell")
    for setting in ScannerConfig:
        if setting in run.configuration:
            name = setting.removeprefix("stxm_")
            write_dataset(detector, name, float(run.configuration[setting]), UNITS[setting], name.replace("_", " "))
    for key, name in ((Key.STXM_X, "sample_x"), (Key.STXM_Y, "sample_y")):
        encoder = make_group(instrument, name, "NXdetector")
        write_dataset(encoder, "data", lines.values[key].ravel(), "um", f"{name}, read back")
    if Key.ZONE_PLATE in lines.values:
        zone_plate = make_group(instrument, "zone_plate", "NXdetector")
        write_dataset(zone_plate, "data", np.repeat(lines.values[Key.ZONE_PLATE], columns), "um", "zone plate")


def _write_data(entry: h5py.Group, run: _StxmRun, region: int, lines: _Lines) -> None:
    """Write the counts as a regular array with its axes, and the ring current in the same shape."""
    grid, place = run.grid, run.grid.regions[region]
    scan_type, axes = _scan_type(run.measurement, region)
    shape = (len(grid.energies), place.rows, place.columns)
    plot_shape = tuple(length for length, axis in zip(shape, _STACK_AXES[scan_type], strict=True) if axis)
    stack = np.full(shape, np.nan)
    stack[lines.energy, lines.row] = lines.values[Key.STXM_COUNTS]
    current = np.full(shape, np.nan)
    if Key.RING_CURRENT in lines.values:
        current[lines.energy, lines.row] = lines.values[Key.RING_CURRENT][:, np.newaxis]

    data = make_group(entry, DETECTOR, "NXdata")
    data.attrs["signal"] = "data"
    data.attrs["axes"] = np.array(axes, dtype="S")
    write_dataset(data, "data", stack.reshape(plot_shape), "counts", "transmitted")
    data["data"].attrs["signal"] = 1
    divider = float(run.configuration.get(ScannerConfig.COUNTER_DIVIDER, 1.0))  # photons for each count
    sigma = np.sqrt(np.maximum(stack * divider, 1.0)) / divider
    write_dataset(data, "data_errors", sigma.reshape(plot_shape), "counts", "of counts: the root of the photons (68 %)")
    data["stxm_scan_type"] = _one(scan_type)
    _write_energies(data, run, lines)
    _write_positions(data, run, region, lines, axes)
    for name, possible in _AXIS_OF.items():
        for axis in set(possible) & set(axes) if name in data else ():
            data.attrs[f"{name}_indices"] = axes.index(axis)
            data[name].attrs["axis"] = axes.index(axis) + 1  # for older readers; counted from 1
    control = make_group(entry, "control", "NXmonitor")
    write_dataset(control, "data", current.reshape(plot_shape), "mA", "ring current")


def _write_energies(data: h5py.Group, run: _StxmRun, lines: _Lines) -> None:
    """Write the energies as read back and as requested, and the dwell at each."""
    requested = np.array(run.grid.energies)
    energies = requested.copy()
    count_time = np.full(len(energies), run.measurement.exposure_time)
    for index in np.unique(lines.energy):
        of_image = lines.energy == index
        read_back = lines.values[Key.ENERGY][of_image]
        if (known := np.isfinite(read_back)).any():
            energies[index] = read_back[known].mean()
        count_time[index] = np.median(lines.values[Key.STXM_DWELL][of_image])
    write_dataset(data, "energy", energies, "eV", "photon energy")
    write_dataset(data, "energy_setpoint", requested, "eV", "photon energy, as requested")
    write_dataset(data, "count_time", count_time, "s", "dwell")


def _write_positions(data: h5py.Group, run: _StxmRun, region: int, lines: _Lines, axes: list[str]) -> None:
    """Write the positions of a region's columns and rows, or of each pixel of a line."""
    place = run.grid.regions[region]
    x: FloatArray = np.linspace(*place.x, place.columns)
    y: FloatArray = np.linspace(*place.y, place.rows)
    if "line_position" in axes:  # both positions of each pixel of the line
        x, y = _along_line(x, y, lines)
        distance = np.hypot(x - x[0], y - y[0])
        write_dataset(data, "line_position", distance, "um", "position along the line")
    if "zoneplate_z" in axes:
        write_dataset(data, "zoneplate_z", np.array(run.grid.zone_plate), "um", "zone plate")
    write_dataset(data, "sample_y", y, "um", "sample y")
    write_dataset(data, "sample_x", x, "um", "sample x")


_AXIS_OF = {  # field of the data group -> axes that it can lie along
    "energy": ["energy"],
    "energy_setpoint": ["energy"],
    "count_time": ["energy"],
    "sample_y": ["sample_y", "line_position"],
    "sample_x": ["sample_x", "line_position"],
    "line_position": ["line_position"],
    "zoneplate_z": ["zoneplate_z"],
}
_STACK_AXES: dict[str, tuple[str, str, str]] = {  # the axes of (energies, rows, columns); "" for one of a single value
    "sample image stack": ("energy", "sample_y", "sample_x"),
    "generic scan": ("energy", "sample_y", "sample_x"),
    "sample image": ("", "sample_y", "sample_x"),
    "sample line spectrum": ("energy", "", "line_position"),
    "sample focus": ("", "zoneplate_z", "line_position"),
}


def _scan_type(measurement: Measurement, region: int) -> tuple[str, list[str]]:
    """Return `stxm_scan_type` and the axes of the data, slowest first."""
    grid = measurement.grid
    assert grid is not None
    single = len(grid.energies) == 1
    match measurement.technique:
        case "stxm_line_spectrum" if grid.regions[region].rows == 1:
            scan_type = "sample line spectrum"
        case "stxm_focus" if single and len(grid.zone_plate) == grid.regions[region].rows:
            scan_type = "sample focus"
        case "stxm":
            scan_type = "sample image" if single else "sample image stack"
        case _:
            scan_type = "generic scan"
    return scan_type, [axis for axis in _STACK_AXES[scan_type] if axis]


def _along_line(x: FloatArray, y: FloatArray, lines: _Lines) -> tuple[FloatArray, FloatArray]:
    """Return both positions of each pixel of a line: as requested if it runs along x, as read back if it is inclined.

    Readers recognise a line along x by its constant y, which the positions read back do not have.
    """
    y = np.full_like(x, y[0])
    if not len(lines.seq_nums):
        return x, y
    seen_x, seen_y = lines.values[Key.STXM_X].mean(axis=0), lines.values[Key.STXM_Y].mean(axis=0)
    pixel = np.hypot(np.ptp(seen_x), np.ptp(seen_y)) / max(1, len(x) - 1)
    slants = np.abs(seen_x - x).max() > pixel / 2 or np.ptp(seen_y) > pixel / 2
    return (seen_x, seen_y) if slants else (x, y)


def _write_reduction(entry: h5py.Group, derived: Run, run: _StxmRun, region: int) -> None:
    """Write the stack of optical density into the entry of its region, with the energies of the data group."""
    place = run.grid.regions[region]
    shape = (len(run.grid.energies), place.rows, place.columns)
    stacks = {
        name: values
        for name in LABELS
        if name in derived.result and (values := np.asarray(derived.result[name], dtype=float)).shape == shape
    }
    if "optical_density" not in stacks:
        return
    process = write_process(entry, derived)
    data = make_group(process, "optical_density", "NXdata")
    process.attrs["default"] = "optical_density"
    data.attrs["signal"] = "optical_density"
    data.attrs["axes"] = ["energy", "sample_y", "sample_x"]
    for name, values in stacks.items():
        target = "optical_density_errors" if name.endswith("_sigma") else name
        write_dataset(data, target, values, "", LABELS[name])
    write_dataset(data, "energy", entry[DETECTOR]["energy"][()], "eV", "photon energy")
    write_dataset(data, "sample_y", np.linspace(*place.y, place.rows), "um", "sample y")
    write_dataset(data, "sample_x", np.linspace(*place.x, place.columns), "um", "sample x")


def _one(text: str) -> NDArray[np.bytes_]:
    return np.array([text.encode()])
