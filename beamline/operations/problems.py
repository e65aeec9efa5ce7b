"""What a run leaves out: what could not be imported or read, points that were not measured, gaps in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.storage.log import Document
from beamline.storage.relocation import unreadable_files
from beamline.storage.results import Run, Table
from callbacks.contract import MEASUREMENT, Key, Stream, ends_of_parts

MOST_GAPS = 10  # that are named one by one
# A gap is a wait of `POINTS_LOST` median intervals or more beyond the counting time: as much was lost as so many points
# take, and whatever drifts has had the time to. Where points are fast it is a minute: what a plan itself waits for
# between two points (a long move, a monochromator that settles, the flight back of a stage, a new focus) is below that.
POINTS_LOST = 3
SHORTEST_GAP = 60.0  # s


def problems_of(raw: Run, interruptions: list[dict[str, Any]]) -> list[str]:
    """Say what a raw run leaves out, one line each.

    Parameters
    ----------
    raw : Run
    interruptions : list of dict
        When it was held, as `beamline.operations.runs.interruptions` lists it; a gap there is not named again.
    """
    found = said_on_import(raw) + [str(each) for each in getattr(raw, "problems", [])]
    primary = raw.streams.get(Stream.PRIMARY)
    measured, planned = len(primary) if primary else 0, planned_points(raw.start)
    if planned is not None and measured < planned:
        least = "at least " if precision_of(raw.start) else ""
        what = "sweeps" if _block(raw.start).get("flown") else "points"
        found.append(f"{measured} of {least}{planned} {what} measured" + ("" if raw.stop else " so far"))
    return found + _gaps(raw, [held["time"] for held in interruptions])


def said_on_import(raw: Run) -> list[str]:
    """Give those of `problems_of` that an import found: what its file leaves out, and what was assumed of it."""
    imported = raw.start.get("import_problems", [])
    return [str(each) for each in imported] if isinstance(imported, list) else [str(imported)]


def unreadable_frames(documents: Iterable[Document]) -> str:
    """Name the first file that the documents of a run refer to and that cannot be read, and why; empty for none."""
    unreadable = unreadable_files(documents)
    if not unreadable:
        return ""
    more = len(unreadable) - 1
    return unreadable[0] + (f" (and {more} other file{'s' if more > 1 else ''})" if more else "")


def planned_points(start: dict[str, Any]) -> int | None:
    """Give how many events of the stream `primary` were asked for; None where that is not known.

    Of a run that is measured until a precision is reached, it is how many it has at least.
    """
    if precision := precision_of(start):
        return int(precision["least_points"])
    block = _block(start)
    points = block.get("points") if block else start.get("num_points")
    return points if isinstance(points, int) else None


def precision_of(start: dict[str, Any]) -> dict[str, Any]:
    """Give the block `precision` of a measurement: what is to be reached; empty where nothing is."""
    precision = _block(start).get("precision")
    return precision if isinstance(precision, dict) and isinstance(precision.get("least_points"), int) else {}


def _block(start: Mapping[str, Any]) -> dict[str, Any]:
    """Give the block `measurement`; empty where there is none, or one of a foreign run that is no block."""
    block = start.get(MEASUREMENT)
    return block if isinstance(block, dict) else {}


def _gaps(raw: Run, interruptions: list[float]) -> list[str]:
    """Name the times in which a run stood still without having been held."""
    tables = [raw.streams[name] for name in (Stream.PRIMARY, Stream.DARK, Stream.INTERRUPTED) if name in raw.streams]
    if not tables:
        return []
    if any((np.diff(table.time) < 0).any() for table in tables):  # a clock that was set back tells no gaps
        return []
    time, counting = (np.concatenate(parts) for parts in zip(*map(_times, tables), strict=True))
    order = np.argsort(time, kind="stable")
    time, counting = time[order], counting[order][1:]
    intervals = np.diff(time)
    passed = intervals > 0  # the lines of an image may bear the time of the image
    if not passed.any():
        return []
    usual = float(np.median(intervals[passed]))
    # A simulation may run faster than the clock: then its exposures are shorter than they say, all by one factor.
    faster = max(1.0, float(np.median(counting[passed])) / usual)
    idle = intervals - counting / faster
    places = np.flatnonzero(idle > max(POINTS_LOST * usual, SHORTEST_GAP))
    found = [
        f"nothing was measured for {_length(intervals[place])} after point {_points_before(raw, time[place])}"
        for place in places
        if not any(time[place] <= held <= time[place + 1] for held in interruptions)
        and _points_before(raw, time[place]) not in ends_of_parts(raw.start)  # between two runs nothing is measured
    ]
    return found[:MOST_GAPS] + ([f"and {len(found) - MOST_GAPS} more gaps in time"] if len(found) > MOST_GAPS else [])


def _times(table: Table) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Give the time of each event and how long it was counted for, s."""
    counting = np.zeros(len(table))
    for key in (Key.EXPOSURE_TIME, Key.DWELL, Key.STXM_DWELL, Key.SWEEP_BIN_TIMES):
        if key in table and (column := np.asarray(table[key])).dtype.kind in "fiu":
            counting = np.fmax(counting, np.nansum(column.reshape(len(table), -1), axis=1))
    return np.asarray(table.time, dtype=float), counting


def _points_before(raw: Run, time: float) -> int:
    primary = raw.streams.get(Stream.PRIMARY)
    return int(np.sum(primary.time <= time)) if primary else 0


def _length(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
