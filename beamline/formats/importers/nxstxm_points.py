"""Read what a NXstxm file knows of each scan point: energy, positions, dwell, zone plate, ring current."""

from __future__ import annotations

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.nxstxm_axes import ROLES, Layout
from beamline.formats.importers.nxstxm_fields import (
    CURRENT,
    ENERGY,
    LENGTH,
    TIME,
    FieldReader,
    FloatArray,
    children,
    is_class,
    text_of,
)


def read_points(
    entry: h5py.Group,
    data: h5py.Group,
    *,
    layout: Layout,
    counts: FloatArray,
    measured: NDArray[np.bool_],
    energies: FloatArray,
    read: FieldReader,
) -> dict[str, FloatArray]:
    """Read energy, positions, dwell and zone plate of each point, as far as the file has lists of them.

    A list is in the order of measurement, either of the measured lines or of all. Whether that is the order of the
    array is found by comparing the detector's own list with it.

    Parameters
    ----------
    entry, data : h5py.Group
        The entry, and its NXdata group.
    layout : callable
        From `find_layout`.
    counts : numpy.ndarray, shape (energies, rows, columns)
    measured : numpy.ndarray of bool, shape (energies, rows)
        The lines that hold a number.
    energies : numpy.ndarray, shape (energies,)
        As read back, eV; used for points without an energy of their own.
    read : FieldReader

    Returns
    -------
    dict of str to numpy.ndarray, shape (energies, rows, columns)
        "energy" (eV) and, if the file has them, "x", "y", "zone_plate" (um) and "dwell" (s).
    """
    points = {"energy": np.broadcast_to(energies[:, np.newaxis, np.newaxis], counts.shape)}
    if "count_time" in data:
        points |= _dwell(data["count_time"], layout, counts.shape, read)
    instruments = children(entry, "NXinstrument")
    if not instruments:
        return points
    instrument = entry[instruments[0]]
    detector = _detector_name(instrument, data)
    if detector is None:
        return points
    listed, size = _listed_lines(instrument[detector]["data"], counts, measured)
    if listed is None:
        if size:
            read.problems.append(
                f"{instrument.name}/{detector}: not in the order of {data.name}; positions are those of its axes"
            )
        return points
    lists = {
        "energy": ("monochromator/energy", ENERGY, "eV"),
        "x": ("sample_x/data", LENGTH, "um"),
        "y": ("sample_y/data", LENGTH, "um"),
        "dwell": (f"{detector}/count_time", TIME, "s"),
        "zone_plate": ("zone_plate/data", LENGTH, "um"),
    }
    for name, (path, units, unit) in lists.items():
        if path in instrument and instrument[path].size == size:
            values = np.full(counts.shape, np.nan)
            values[listed] = np.ravel(read.array(instrument[path], units, unit)).reshape(-1, counts.shape[2])
            points[name] = values
    return points


def _detector_name(instrument: h5py.Group, data: h5py.Group) -> str | None:
    """Find the detector of a data group: that of the same name, else the first that is no encoder."""
    detectors = children(instrument, "NXdetector")
    same = data.name.rsplit("/", 1)[-1]
    name = same if same in detectors else next((each for each in detectors if each not in ROLES), None)
    return name if name is not None and "data" in instrument[name] else None


def _listed_lines(
    values: h5py.Dataset, counts: FloatArray, measured: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_] | None, int]:
    """Find which lines a detector's list consists of; None if it is in another order. Also return its length."""
    if values.size > counts.size:  # of an area detector
        return None, 0
    own = np.ravel(np.asarray(values[()], dtype=float))
    for lines in (measured, np.ones_like(measured)):
        if np.array_equal(own, counts[lines].ravel(), equal_nan=True):
            return lines, own.size
    return None, own.size


def _dwell(
    count_time: h5py.Dataset, layout: Layout, shape: tuple[int, ...], read: FieldReader
) -> dict[str, FloatArray]:
    """Read the dwell of the data group, which may be given for each point, for each energy, or for all."""
    dwell = read.array(count_time, TIME, "s")
    if dwell.size == np.prod(shape):
        return {"dwell": layout(dwell)}
    if dwell.size in (1, shape[0]):
        return {"dwell": np.broadcast_to(dwell.reshape(-1, 1, 1), shape)}
    read.problems.append(f"{count_time.name}: {dwell.size} values, expected {shape[0]}; left out")
    return {}


def read_ring_current(
    entry: h5py.Group, layout: Layout, measured: NDArray[np.bool_], shape: tuple[int, ...], read: FieldReader
) -> FloatArray:
    """Read the ring current (mA) from the monitor `control`; NaN if absent."""
    current = np.full(shape, np.nan)
    monitor = entry.get("control")
    if not is_class(monitor, "NXmonitor") or "data" not in monitor:
        return current
    unit = text_of(monitor["data"].attrs.get("units", ""))
    if unit and unit.lower() not in CURRENT:
        read.problems.append(f"{monitor.name}/data: in {unit!r}, not a ring current; left out")
        return current
    values = read.array(monitor["data"], CURRENT, "mA")
    if values.size == current.size:
        return layout(values)
    if values.size == measured.sum() * shape[2]:
        current[measured] = values.reshape(-1, shape[2])
        return current
    read.problems.append(f"{monitor.name}/data: {values.size} values, expected {current.size}; left out")
    return current
