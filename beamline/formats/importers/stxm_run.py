"""Convert STXM images, whatever file they come from, to the documents of a raw run with one event per line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import event_model
import numpy as np
from numpy.typing import ArrayLike, NDArray

from callbacks.contract import MEASUREMENT, SCANNER, UNITS, Key, Measurement, ScannerConfig, Stream, StxmGrid

Documents = Iterator[tuple[str, Any]]
FloatArray = NDArray[np.floating]
Ended = tuple[Literal["success", "abort", "fail"], str]  # exit status of a run and its reason

ARRAYS = (Key.STXM_COUNTS, Key.STXM_DWELL, Key.STXM_X, Key.STXM_Y)
SCALARS = (Key.ENERGY, Key.ENERGY_SETPOINT, Key.RING_CURRENT)
NUMBER = {"dtype": "number", "dtype_numpy": "<f8"}
NOT_RECORDED = "not recorded"
LARGEST_ID = 2**63  # of a scan: whole numbers of the documents have 64 bits


@dataclass(frozen=True)
class Reading:
    """What a device without a role of its own here read at each line.

    Attributes
    ----------
    values : numpy.ndarray, shape (rows,)
        Floats, whole numbers, or texts as objects.
    unit : str
    """

    values: NDArray[Any]
    unit: str

    @property
    def is_text(self) -> bool:
        """Whether it is text."""
        return self.values.dtype == object

    def data_key(self, source: str) -> dict[str, Any]:
        """Describe it, as a data key of a descriptor."""
        if self.is_text:
            return {"dtype": "string", "shape": [], "source": source}
        dtype = {"dtype": "integer", "dtype_numpy": "<i8"} if self.values.dtype.kind == "i" else NUMBER
        return {**dtype, "shape": [], "source": source, "units": self.unit}

    def at(self, line: int) -> str | float:
        """Return what was read at a line."""
        value: str | float = self.values[line] if self.is_text else self.values[line].item()
        return value


@dataclass(frozen=True)
class StxmImage:
    """The lines of one region at one energy; a value that is the same for all of them may be given once.

    Attributes
    ----------
    energy, region : int
        Indices of the energy and of the region in the grid.
    counts : numpy.ndarray, shape (rows, columns)
        Counts of the transmission detector.
    dwell, x, y : float or array, broadcast to the shape of `counts`
        s, um, um.
    energy_readback, ring_current, time : float or array, broadcast to (rows,)
        eV, mA, s since 1970.
    zone_plate : float or array, broadcast to (rows,), or None
        Position of the zone plate, um.
    measured : numpy.ndarray of bool, shape (rows,), or None
        The lines that were measured; None for all.
    others : mapping of str to Reading
        What else was read at each line, by data key; the same keys for all images.
    time_stamps : mapping of str to numpy.ndarray, shape (rows,)
        When each was read, by data key, s since 1970, of what was not read at `time`.
    """

    energy: int
    region: int
    counts: FloatArray
    dwell: ArrayLike
    x: ArrayLike
    y: ArrayLike
    energy_readback: ArrayLike
    ring_current: ArrayLike
    time: ArrayLike
    zone_plate: ArrayLike | None = None
    measured: NDArray[np.bool_] | None = None
    others: Mapping[str, Reading] = field(default_factory=dict)
    time_stamps: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class DarkLine:
    """A line that was measured without light.

    Attributes
    ----------
    time : float
        s since 1970.
    data : dict
        Its values by data key.
    time_stamps : mapping of str to float
        When each was read, by data key, s since 1970, of what was not read at `time`.
    """

    time: float
    data: dict[str, Any]
    time_stamps: Mapping[str, float] = field(default_factory=dict)


def stxm_run(
    measurement: Measurement,
    images: Sequence[StxmImage],
    *,
    metadata: Mapping[str, Any],
    source: str,
    start_time: float,
    configuration: Mapping[str, float] | None = None,
    dark: Sequence[DarkLine] = (),
    ended: Ended | None = None,
) -> Documents:
    """Convert images to the documents of a raw run.

    Parameters
    ----------
    measurement : Measurement
        The measurement as requested; it must have a grid.
    images : sequence of StxmImage
        In any order; at most one for each region and energy.
    metadata : dict
        Metadata of the start document, to which `measurement` is added.
    source : str
        Source of the values, for the data keys.
    start_time : float
        s since 1970.
    configuration : mapping of str to float, optional
        What is known of the detector; see `ScannerConfig`.
    dark : sequence of DarkLine
        Lines that were measured without light, before the images.
    ended : (str, str), optional
        Exit status and reason of the run. Where it is not known, a run with all of its lines has ended with success,
        and one that lacks some was aborted.

    Yields
    ------
    name, doc : str, dict
        Start, descriptor, one event for each measured line with the seq_num that `StxmGrid.place` understands (lines
        that were not measured leave gaps), stop (``num_events`` counts the events that exist). With dark lines, the
        stream `dark` comes first.

    Raises
    ------
    ValueError
        When the measurement has no grid.
    """
    grid = measurement.grid
    if grid is None:
        raise ValueError("the measurement has no grid; that of a STXM run has one")
    run = event_model.compose_run(time=start_time, metadata={**metadata, MEASUREMENT: measurement.model_dump()})
    yield "start", run.start_doc
    with_zone_plate = any(image.zone_plate is not None for image in images)
    data_keys = _data_keys(grid, with_zone_plate, source) | _keys_of_others(images, source)
    known = _configuration(start_time, configuration or {})
    numbers: dict[str, int] = {}
    if dark:
        dark_keys = _dark_keys(data_keys, dark)
        descriptor = _descriptor(run, Stream.DARK, dark_keys, known, start_time)
        yield "descriptor", descriptor.descriptor_doc
        for line in dark:
            data = {key: value for key, value in line.data.items() if key in dark_keys}
            yield "event", _event(descriptor, data, line.time, line.time_stamps)
        numbers[str(Stream.DARK)] = len(dark)
    descriptor = _descriptor(run, Stream.PRIMARY, data_keys, known, start_time)
    yield "descriptor", descriptor.descriptor_doc
    count, end_time = 0, start_time
    for image in sorted(images, key=lambda image: (image.energy, image.region)):
        for row, time, data in _lines(image, grid, with_zone_plate):
            stamps = {key: float(values[row]) for key, values in image.time_stamps.items()}
            number = seq_num(grid, image.energy, image.region, row)
            yield "event", _event(descriptor, data, time, stamps, seq_num=number)
            count, end_time = count + 1, max(end_time, time)
    exit_status, reason = ended or _end(count, len(grid.energies) * grid.lines)
    stop = run.compose_stop(time=end_time, exit_status=exit_status, reason=reason)
    stop["num_events"] = numbers | {str(Stream.PRIMARY): count}
    yield "stop", stop


def negative_counts(images: Sequence[StxmImage]) -> list[str]:
    """Say, in a line if there are any, how many counts are negative: no counter has such."""
    number = sum(int((image.counts < 0).sum()) for image in images)
    if not number:
        return []
    size, least = sum(image.counts.size for image in images), min(np.nanmin(image.counts) for image in images)
    return [f"{number} of {size} counts are negative, down to {least:g}; kept as they are"]


def missing_dwell(measurement: Measurement, images: Sequence[StxmImage]) -> list[str]:
    """Say, in a line if it is so, that pixels have no dwell, and what cannot be done without."""
    if measurement.dwell_known:
        lines = np.concatenate([np.isfinite(image.counts).any(axis=1) for image in images])  # with counts
        timed = [np.broadcast_to(np.asarray(image.dwell, float), image.counts.shape) > 0 for image in images]
        without = int((lines & ~np.concatenate([one.any(axis=1) for one in timed])).sum())
        return [f"{without} of {lines.sum()} lines have no dwell, and so no count rate: not used"] if without else []
    return [
        "no dwell: taken for the same for all pixels, I0 is in counts and not counts/s; optical density does not need"
        " it, dead time, dark counts and an I0 given in counts/s do"
    ]


def _end(count: int, planned: int) -> Ended:
    """Return exit status and reason of a run by the number of its lines."""
    return ("success", "") if count == planned else ("abort", f"{planned - count} of {planned} lines are missing")


def _descriptor(run: Any, stream: Stream, data_keys: dict[str, Any], configuration: dict[str, Any], time: float) -> Any:
    return run.compose_descriptor(
        name=str(stream),
        time=time,
        data_keys=data_keys,
        object_keys={SCANNER: list(data_keys)},
        configuration={SCANNER: configuration},
    )


def _event(
    descriptor: Any, data: dict[str, Any], time: float, stamps: Mapping[str, float], **number: int
) -> dict[str, Any]:
    event: dict[str, Any] = descriptor.compose_event(
        data=data,
        timestamps={key: stamps.get(key, time) for key in data},
        time=time,
        validate=False,  # composed from the keys of the descriptor; the schema takes a ms an event
        **number,
    )
    return event


def _dark_keys(data_keys: Mapping[str, Any], dark: Sequence[DarkLine]) -> dict[str, Any]:
    """Return the data keys of dark lines, which may be of another width than those of the regions."""
    columns = len(dark[0].data[Key.STXM_COUNTS])
    return {
        key: {**data_keys[key], "shape": [columns] if key in ARRAYS else []} for key in dark[0].data if key in data_keys
    }


def seq_num(grid: StxmGrid, energy: int, region: int, row: int) -> int:
    """Return the number of a line, counted from 1: the inverse of `StxmGrid.place`."""
    return energy * grid.lines + sum(one.rows for one in grid.regions[:region]) + row + 1


def scan_id_of(path: Path, problems: list[str]) -> int:
    """Return the number at the end of a file's name; 0 if there is none, or it is too large for one."""
    digits = re.search(r"[0-9]+$", path.stem)
    if digits is not None and int(digits[0]) >= LARGEST_ID:
        problems.append(f"{path.name}: its number is larger than that of a scan can be; 0 stands for it")
        return 0
    return int(digits[0]) if digits else 0


def middle(line: FloatArray) -> float:
    """Return the y of a line, or of its centre if it is inclined."""
    return float((line.min() + line.max()) / 2)


def _lines(image: StxmImage, grid: StxmGrid, with_zone_plate: bool) -> Iterator[tuple[int, float, dict[str, Any]]]:
    shape = image.counts.shape
    arrays = [np.broadcast_to(np.asarray(one, float), shape) for one in (image.counts, image.dwell, image.x, image.y)]
    rows = shape[:1]
    readback, current, times = (
        np.broadcast_to(np.asarray(one, float), rows) for one in (image.energy_readback, image.ring_current, image.time)
    )
    zone_plate = np.broadcast_to(np.asarray(math.nan if image.zone_plate is None else image.zone_plate, float), rows)
    measured = np.ones(rows, bool) if image.measured is None else image.measured
    for row in np.flatnonzero(measured).tolist():
        data: dict[str, Any] = {
            str(Key.ENERGY): float(readback[row]),
            str(Key.ENERGY_SETPOINT): grid.energies[image.energy],
            str(Key.RING_CURRENT): float(current[row]),
            **{str(key): array[row].copy() for key, array in zip(ARRAYS, arrays, strict=True)},
        }
        if with_zone_plate:
            data[str(Key.ZONE_PLATE)] = float(zone_plate[row])
        for key, reading in image.others.items():
            data[key] = reading.at(row)
        yield row, float(times[row]), data


def _data_keys(grid: StxmGrid, with_zone_plate: bool, source: str) -> dict[str, Any]:
    columns = {region.columns for region in grid.regions}
    shape = [columns.pop()] if len(columns) == 1 else [None]  # regions of different widths: the lines differ
    scalars = (*SCALARS, *((Key.ZONE_PLATE,) if with_zone_plate else ()))
    return {
        **{str(key): {**NUMBER, "shape": [], "source": source, "units": UNITS[key]} for key in scalars},
        **{
            str(key): {"dtype": "array", "dtype_numpy": "<f8", "shape": shape, "source": source, "units": UNITS[key]}
            for key in ARRAYS
        },
    }


def _keys_of_others(images: Sequence[StxmImage], source: str) -> dict[str, Any]:
    """Return the data keys of what else was read at each line."""
    return {key: reading.data_key(source) for key, reading in (images[0].others.items() if images else ())}


def _configuration(time: float, known: Mapping[str, float]) -> dict[str, Any]:
    """Return what is known of the detector; NaN for what is not, which is one photon for each count."""
    data = {str(key): math.nan for key in ScannerConfig} | {str(ScannerConfig.COUNTER_DIVIDER): 1.0} | dict(known)
    data_keys = {key: {"dtype": "number", "shape": [], "source": "import", "units": UNITS[key]} for key in data}
    return {"data": data, "timestamps": dict.fromkeys(data, time), "data_keys": data_keys}
