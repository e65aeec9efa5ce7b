"""Read what a NXstxm file knows of each scan point: energy, positions, dwell, zone plate, ring current."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.nxstxm_axes import ROLES, Layout
from beamline.formats.importers.nxstxm_fields import FieldReader, unit_of
from beamline.formats.importers.quantities import (
    CURRENT,
    ENERGIES,
    ENERGY,
    LENGTH,
    POSITIONS,
    TIME,
    check_range,
    normalised,
)
from beamline.formats.text import quoted

NOT_CHECKED = (-math.inf, math.inf)


def read_points(
    instrument: Group | None,
    detector: Group | None,
    data: Group,
    *,
    layout: Layout,
    counts: FloatArray,
    measured: NDArray[np.bool_],
    energies: FloatArray,
    in_ms: bool,
    with_gaps: bool,
    read: FieldReader,
) -> dict[str, FloatArray]:
    """Read energy, positions, dwell and zone plate of each point, as far as the file has lists of them.

    A list is in the order of measurement, either of the measured lines or of all. Whether that is the order of the
    array is found by comparing the detector's own list with it.

    Parameters
    ----------
    instrument : Group or None
        The entry's NXinstrument.
    detector : Group or None
        Its detector of the data group; see `detector_of`.
    data : Group
        The NXdata group.
    layout : callable
        From `find_layout`.
    counts : numpy.ndarray, shape (energies, rows, columns)
    measured : numpy.ndarray of bool, shape (energies, rows)
        The lines that were measured.
    energies : numpy.ndarray, shape (energies,)
        As read back, eV; used for points without an energy of their own.
    in_ms : bool
        Whether dwells are in ms, whatever the file says.
    with_gaps : bool
        Whether points may be without a value, NaN, which the alarms that the file keeps beside account for; else a list
        with such a point is left out.
    read : FieldReader

    Returns
    -------
    dict of str to numpy.ndarray, shape (energies, rows, columns)
        "energy" (eV) and, if the file has them, "x", "y", "zone_plate" (um) and "dwell" (s).
    """
    points = {"energy": np.broadcast_to(energies[:, np.newaxis, np.newaxis], counts.shape)}
    dwell = read.optional(lambda: _dwell(data.field("count_time"), layout, counts.shape, in_ms, read))
    if dwell is not None:
        points["dwell"] = dwell
    if instrument is None or detector is None:
        return points
    values = read.optional(lambda: detector.field("data"))
    if values is None or values.size > counts.size:  # the latter of an area detector
        return points
    listed = _listed_lines(values, counts, measured, read)
    if listed is None:
        read.problems.append(f"{detector.label}: not in the order of {data.label}; positions are those of its axes")
        return points
    shape = (int(listed.sum()), counts.shape[2])
    lists = {
        "energy": (instrument, "monochromator/energy", ENERGY, "eV", ENERGIES),
        "x": (instrument, "sample_x/data", LENGTH, "um", POSITIONS),
        "y": (instrument, "sample_y/data", LENGTH, "um", POSITIONS),
        "dwell": (detector, "count_time", TIME, "s", NOT_CHECKED),
        "zone_plate": (instrument, "zone_plate/data", LENGTH, "um", NOT_CHECKED),
    }
    for name, where in lists.items():
        found = read.optional(partial(_list, where, shape, len(energies), read, with_gaps=with_gaps))
        if found is not None:
            points[name] = np.full(counts.shape, np.nan)
            points[name][listed] = found
    return points


def detector_of(instrument: Group | None, data: Group) -> Group | None:
    """Find the detector of a data group: that of the same name, else the first that is no encoder."""
    if instrument is None:
        return None
    detectors = {each.name.rsplit("/", 1)[-1]: each for each in instrument.children("NXdetector")}
    same = data.name.rsplit("/", 1)[-1]
    name = same if same in detectors else next((each for each in detectors if each not in ROLES), None)
    return detectors[name] if name is not None and "data" in detectors[name] else None


_Where = tuple[Group, str, dict[str, float], str, tuple[float, float]]  # group, path, units, unit, limits


def _list(
    where: _Where, shape: tuple[int, int], energies: int, read: FieldReader, *, with_gaps: bool
) -> FloatArray | None:
    """Read a list of the value at each point, as one row for each line; None if there is none, or one for an image."""
    group, path, units, unit, limits = where
    field = group.field(path)
    if field is None or (path.endswith("energy") and field.size == energies):
        return None
    if field.size != math.prod(shape):
        raise ValueError(f"{field.label}: {field.size} values, expected {math.prod(shape)}")
    values = read.array(field, units, unit).reshape(shape)
    if limits is not NOT_CHECKED:
        check_range(field.label, values[~np.isnan(values)] if with_gaps else values, limits, unit)
    return values


def _listed_lines(
    values: Field, counts: FloatArray, measured: NDArray[np.bool_], read: FieldReader
) -> NDArray[np.bool_] | None:
    """Find which lines a detector's list consists of; None if it is in another order, or cannot be read."""
    own = read.optional(values.numbers)
    for lines in () if own is None else (measured, np.ones_like(measured)):
        if own is not None and np.array_equal(own.ravel(), counts[lines].ravel(), equal_nan=True):
            return lines
    return None


def _dwell(
    count_time: Field | None, layout: Layout, shape: tuple[int, ...], in_ms: bool, read: FieldReader
) -> FloatArray | None:
    """Read the dwell of the data group, which may be given for each point, for each energy, or for all."""
    if count_time is None:
        return None
    if count_time.size not in (1, shape[0], math.prod(shape)):
        raise ValueError(f"{count_time.label}: {count_time.size} values, expected 1, {shape[0]} or {math.prod(shape)}")
    if in_ms:
        read.problems.append(f"{count_time.label}: taken for ms, as pystxmcontrol writes it")
        dwell = count_time.numbers() * TIME["ms"]
    else:
        dwell = read.array(count_time, TIME, "s")
    if dwell.size == math.prod(shape):
        return layout(dwell)
    return np.broadcast_to(dwell.reshape(-1, 1, 1), shape)


def read_ring_current(
    entry: Group, layout: Layout, measured: NDArray[np.bool_], shape: tuple[int, ...], read: FieldReader
) -> FloatArray:
    """Read the ring current (mA) from a monitor, or else from the source; NaN if absent."""
    current = read.optional(lambda: _ring_current(entry, layout, measured, shape, read))
    return np.full(shape, np.nan) if current is None else current


RING_CURRENT = ("control", "ring_current", "Ring_Current")  # names of the monitor


def _ring_current(
    entry: Group, layout: Layout, measured: NDArray[np.bool_], shape: tuple[int, ...], read: FieldReader
) -> FloatArray | None:
    data = next((field for name in RING_CURRENT if (field := _monitor(entry, name)) is not None), None)
    if data is None:
        return None
    unit = unit_of(data)
    if unit and normalised(unit) not in CURRENT:
        raise ValueError(f"{data.label}: in {quoted(unit)}, not a ring current")
    size = math.prod(shape)
    if data.size not in (size, measured.sum() * shape[2]):
        raise ValueError(f"{data.label}: {data.size} values, expected {size}")
    values = read.array(data, CURRENT, "mA")
    if not values.any():
        raise ValueError(f"{data.label}: 0 mA everywhere, where there was light")
    if values.size == size:
        return layout(values)
    current = np.full(shape, np.nan)
    current[measured] = values.reshape(-1, shape[2])
    return current


def _monitor(entry: Group, name: str) -> Field | None:
    monitor = entry.get(name)
    return monitor.field("data") if isinstance(monitor, Group) and monitor.is_class("NXmonitor") else None
