"""Assess a plan before it starts: can it finish, how long will it take, and is there disk space for its data."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bluesky.utils import Msg

from beamline.errors import BeamlineError
from beamline.storage import LogError, Runs, read_log
from callbacks.contract import MEASUREMENT, Key, Stream
from plans.checks import Estimate, estimate
from plans.endstation import Endstation
from plans.errors import PlanError

MOST_RUNS = 3  # newest runs of the same technique that the time per point is learnt from
MOST_EVENTS = 200  # of each of them, counted from its first
FEWEST_INTERVALS = 3  # that a run must have
IMPORTED = "imported_from"  # key of the start documents of other instruments' runs
# Disk space relative to the raw data, as measured on the simulated endstation: 19.0 MB for a RIXS map with 12.6 MB of
# frames (64 rows; less for taller frames), 8.0 MB for a stack with 3.2 MB of documents.
DOCUMENT_COPIES = 3.0  # in the log, in the catalogue, and as arrays of the reduction
REDUCED_FRAMES = 0.5  # size of the reduction of a frame, relative to the frame


@dataclass(frozen=True)
class Pace:
    """Wall-clock time of a point: by the rule of `plans.checks.estimate`, or as in earlier runs of the technique.

    Attributes
    ----------
    overhead : float or None
        Time per event in addition to its counting time, s; None for the rule of `plans.checks.estimate`.
    interval : float or None
        Time from event to event, s. It is given, and used instead of the overhead, if it is shorter than the counting
        time, as on a simulated endstation with an accelerated clock.
    learnt_from : tuple of str
        Uids of the earlier runs; empty for the rule.
    """

    overhead: float | None = None
    interval: float | None = None
    learnt_from: tuple[str, ...] = ()

    def duration(self, plan: Estimate) -> float:
        """Return the time that a plan takes from beginning to end, s."""
        if self.interval is not None:
            return plan.events * self.interval + plan.sleeping
        return plan.duration(self.overhead)


@dataclass(frozen=True)
class Assessment:
    """What a plan will do, how long it takes, and the disk space that there is for it.

    Attributes
    ----------
    estimate : Estimate
    pace : Pace
    data_dir : Path
    free : int
        Free disk space for the data, bytes.
    minimum_free_gb : float
        Disk space that must remain free, GB.
    """

    estimate: Estimate
    pace: Pace
    data_dir: Path
    free: int
    minimum_free_gb: float

    @property
    def duration(self) -> float:
        """Time from beginning to end, s."""
        return self.pace.duration(self.estimate)

    @property
    def least_duration(self) -> float:
        """Time from beginning to end where a precision is reached as soon as it can be, s; else `duration`."""
        return self.pace.duration(self.estimate.least)

    @property
    def bytes(self) -> int:
        """Total size of the data: frames, documents in the log and in the catalogue, and the reduction."""
        plan = self.estimate
        return round(plan.frame_bytes * (1 + REDUCED_FRAMES) + plan.document_bytes * DOCUMENT_COPIES)

    def refuse(self) -> None:
        """Refuse a plan whose data do not fit.

        Raises
        ------
        BeamlineError
            When the free space is not enough; names the folder, what is free, what the plan writes and what must
            remain.
        """
        if self.free < self.bytes + self.minimum_free_gb * 1e9:
            raise BeamlineError(
                f"data folder {self.data_dir}: {_size(self.free)} free, this plan writes about {_size(self.bytes)} and "
                f"{_size(self.minimum_free_gb * 1e9)} must remain (storage.minimum_free_gb)"
            )

    def text(self, now: datetime | None = None) -> str:
        """Summarise it in one line; where a precision is to be reached, from the least to the most.

        Parameters
        ----------
        now : datetime, optional
            Time at which the plan begins; by default the current time.
        """
        plan, least = self.estimate, self.estimate.least
        end = (now or datetime.now()) + timedelta(seconds=self.duration)
        when = f"{end:%a %H:%M}" if self.duration < 6 * 86400 else f"{end:%a %d %b %H:%M}"
        exposure, duration = _time(plan.counting_time), _time(self.duration)
        most = ""
        if plan.spared_points:
            most = "at most "
            exposure = f"{_time(least.counting_time)} to {exposure}"
            duration = f"{_time(self.least_duration)} to {duration}"
        parts = [
            self.counts,
            f"{exposure} of exposure",
            f"about {duration} in all{self._paced} (ends {when}{most and ' at the latest'})",
            f"{most}{_size(self.bytes)} to write"
            + (f" without {' and '.join(plan.undescribed)}" if plan.undescribed else ""),
            f"{_size(self.free)} free",
        ]
        return ", ".join(parts)

    @property
    def counts(self) -> str:
        """Say how much is measured: "120 frames and 3 dark frames in 2 runs", "20 to 60 frames"."""
        plan = self.estimate
        least = f"{plan.least.points[Stream.PRIMARY]} to " if plan.spared_points else ""
        return f"{least}{_counts(plan)}{f' in {plan.runs} runs' if plan.runs > 1 else ''}"

    @property
    def _paced(self) -> str:
        """Say what the time is learnt from; without, one that is shorter than the exposure is a riddle."""
        if not self.pace.learnt_from:
            return ""
        number = len(self.pace.learnt_from)
        runs = "run" if number == 1 else f"{number} runs"
        faster = ", whose clock ran faster than ours" if self.pace.interval is not None else ""
        return f" at the pace of the last {runs}{faster}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as a dict for JSON: times in s, sizes in bytes."""
        plan = self.estimate
        return {
            "counts": self.counts,
            "runs": plan.runs,
            "techniques": list(plan.techniques),
            "points": plan.points,
            "frames": plan.frames,
            "lines": plan.lines,
            "sweeps": plan.sweeps,
            "moves": plan.moves,
            "least_points": plan.least.points,
            "counting_time": plan.counting_time,
            "least_counting_time": plan.least.counting_time,
            "duration": self.duration,
            "least_duration": self.least_duration,
            "ends": (datetime.now().astimezone() + timedelta(seconds=self.duration)).isoformat(timespec="seconds"),
            "learnt_from": list(self.pace.learnt_from),
            "frame_bytes": plan.frame_bytes,
            "document_bytes": plan.document_bytes,
            "bytes": self.bytes,
            "bytes_not_known": list(plan.undescribed),
            "warnings": list(plan.warnings),
            "free_bytes": self.free,
            "minimum_free_gb": self.minimum_free_gb,
        }


def assess(plan: Iterable[Msg], endstation: Endstation, data_dir: Path, minimum_free_gb: float) -> Assessment:
    """Determine what a plan will do before it starts; nothing moves.

    Parameters
    ----------
    plan : iterable of Msg
        It is consumed; create it again to run it.
    endstation : Endstation
        The devices of the plan.
    data_dir : Path
        The data folder; it need not exist yet.
    minimum_free_gb : float
        Disk space that must remain free, GB.

    Raises
    ------
    BeamlineError
        When the plan refuses its arguments, a value is outside a device's limits, or a device cannot be read; one line.
    """
    try:
        planned = estimate(plan, endstation)
    except PlanError as error:
        raise BeamlineError(str(error)) from error
    except Exception as error:  # a device that the plan's checks read
        raise BeamlineError(
            f"the plan cannot be checked: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    data_dir = data_dir.absolute()
    return Assessment(
        estimate=planned,
        pace=learn_pace(data_dir, planned),
        data_dir=data_dir,
        free=shutil.disk_usage(_existing(data_dir)).free,
        minimum_free_gb=minimum_free_gb,
    )


def learn_pace(data_dir: Path, planned: Estimate) -> Pace:
    """Learn how long a point takes from the newest runs of the plan's technique.

    Parameters
    ----------
    data_dir : Path
    planned : Estimate
        Estimate of the plan.

    Returns
    -------
    Pace
        By the rule of `plans.checks.estimate` if there are no such runs, or if the plan has not exactly one technique.
    """
    if len(planned.techniques) != 1:
        return Pace()
    waits: list[tuple[float, float]] = []
    learnt = []
    for entry in reversed(Runs(data_dir).raw()):
        of = entry.start.get(MEASUREMENT, {}).get("technique", entry.start.get("plan_name"))
        if of != planned.techniques[0] or IMPORTED in entry.start:
            continue
        if bool(entry.start.get(MEASUREMENT, {}).get("flown")) != bool(planned.sweeps):
            continue
        try:
            found = _intervals(entry.path)
        except LogError:  # its log was moved since it was listed; another run will do
            continue
        if len(found) >= FEWEST_INTERVALS:
            waits += found
            learnt.append(entry.uid)
        if len(learnt) == MOST_RUNS:
            break
    if not learnt:
        return Pace()
    interval = statistics.median(interval for interval, _ in waits)
    if interval < statistics.median(counting for _, counting in waits):
        return Pace(interval=interval, learnt_from=tuple(learnt))
    overhead = statistics.median(interval - counting for interval, counting in waits)
    return Pace(overhead=max(0.0, overhead), learnt_from=tuple(learnt))


def _intervals(log: Path) -> list[tuple[float, float]]:
    """Return the time since the previous event and the counting time of the first events of `primary`, s."""
    found: list[tuple[float, float]] = []
    primary, before = "", math.nan
    for name, doc in read_log(log):
        if name == "descriptor" and doc["name"] == Stream.PRIMARY:
            primary = doc["uid"]
        elif name == "event" and doc["descriptor"] == primary:
            if not math.isnan(before):
                found.append((doc["time"] - before, _counting_time(doc["data"])))
            before = doc["time"]
            if len(found) == MOST_EVENTS:
                break
    return found


def _counting_time(data: Mapping[str, Any]) -> float:
    """Return the counting time of an event, s, as its detectors report it."""
    line = float(sum(data.get(Key.STXM_DWELL, ())))
    sweep = float(sum(data.get(Key.SWEEP_BIN_TIMES, ())))
    return max(line, sweep, *(float(data.get(key, 0.0)) for key in (Key.EXPOSURE_TIME, Key.DWELL)))


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _counts(plan: Estimate) -> str:
    """Summarise the number of events, the measured ones first: ``120 frames and 3 dark frames``."""
    parts = []
    for stream in sorted(plan.points, key=lambda stream: stream != Stream.PRIMARY):
        number = plan.points[stream]
        kinds = {"frame": plan.frames, "line": plan.lines, "sweep": plan.sweeps}
        unit = next((unit for unit, of in kinds.items() if stream in of), "point")
        kind = "" if stream == Stream.PRIMARY else f"{stream} "
        parts.append(f"{number} {kind}{unit}{'' if number == 1 else 's'}")
    return " and ".join(parts) or "no points"


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(size: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= length:
            return f"{size / length:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
