"""Before a plan starts: can it finish, how long will it take, and is there room for what it writes."""

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
from beamline.storage.log import LogError, read_log
from beamline.storage.runs import Runs
from callbacks.contract import MEASUREMENT, Key, Stream
from plans.checks import Estimate, estimate
from plans.endstation import Endstation
from plans.errors import PlanError

MOST_RUNS = 3  # newest of the same technique that the time of a point is learnt from
MOST_EVENTS = 200  # of each of them, from the first on
FEWEST_INTERVALS = 3  # fewer say nothing
IMPORTED = "imported_from"  # key of the start documents of other instruments' runs
# What is written besides the raw frames, as measured on the simulated endstation: 19.0 MB of a RIXS map with 12.6 MB of
# frames (64 rows; of taller frames, less), 8.0 MB of a stack with 3.2 MB of documents.
DOCUMENT_COPIES = 3.0  # in the log, in the catalogue, and what the reduction makes of their arrays
REDUCED_FRAMES = 0.5  # what the reduction makes of a frame, in bytes of the frame


@dataclass(frozen=True)
class Pace:
    """Time that a point takes on the wall clock, s: as a rule, or as runs of the same technique took.

    Attributes
    ----------
    overhead : float or None
        s an event beside its counting time; None for the rule of `plans.checks.estimate`.
    interval : float or None
        s from event to event; where it is shorter than the counting time, as on an endstation that is simulated with
        its clock sped up, it is what counts.
    learnt_from : tuple of str
        Uids of the runs; empty for the rule.
    """

    overhead: float | None = None
    interval: float | None = None
    learnt_from: tuple[str, ...] = ()

    def duration(self, plan: Estimate) -> float:
        """Give the time that a plan takes from begin to end, s."""
        if self.interval is not None:
            return plan.events * self.interval + plan.sleeping
        return plan.duration(self.overhead)


@dataclass(frozen=True)
class Assessment:
    """What a plan will do, how long it takes, and the room there is for it.

    Attributes
    ----------
    estimate : Estimate
    pace : Pace
    data_dir : Path
    free : int
        Bytes free where the data go.
    minimum_free_gb : float
        Of them, what must remain.
    """

    estimate: Estimate
    pace: Pace
    data_dir: Path
    free: int
    minimum_free_gb: float

    @property
    def duration(self) -> float:
        """Time from begin to end, s."""
        return self.pace.duration(self.estimate)

    @property
    def bytes(self) -> int:
        """What is written in all: frames, documents to the log and to the catalogue, and the reduction."""
        plan = self.estimate
        return round(plan.frame_bytes * (1 + REDUCED_FRAMES) + plan.document_bytes * DOCUMENT_COPIES)

    def refuse(self) -> None:
        """Refuse a plan whose data do not fit.

        Raises
        ------
        BeamlineError
            Naming the folder, what is free there, what the plan writes and what must remain.
        """
        if self.free < self.bytes + self.minimum_free_gb * 1e9:
            raise BeamlineError(
                f"data folder {self.data_dir}: {_size(self.free)} free, this plan writes about {_size(self.bytes)} and "
                f"{_size(self.minimum_free_gb * 1e9)} must remain (storage.minimum_free_gb)"
            )

    def text(self, now: datetime | None = None) -> str:
        """Say it in one line.

        Parameters
        ----------
        now : datetime, optional
            When the plan begins; this moment where not given.
        """
        plan = self.estimate
        end = (now or datetime.now()) + timedelta(seconds=self.duration)
        when = f"{end:%a %H:%M}" if self.duration < 6 * 86400 else f"{end:%a %d %b %H:%M}"
        parts = [
            _counts(plan) + (f" in {plan.runs} runs" if plan.runs > 1 else ""),
            f"{_time(plan.counting_time)} of exposure",
            f"about {_time(self.duration)} in all (ends {when})",
            f"{_size(self.bytes)} to write"
            + (f" without {' and '.join(plan.undescribed)}" if plan.undescribed else ""),
            f"{_size(self.free)} free",
        ]
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON: times in s, sizes in bytes."""
        plan = self.estimate
        return {
            "runs": plan.runs,
            "techniques": list(plan.techniques),
            "points": plan.points,
            "frames": plan.frames,
            "lines": plan.lines,
            "moves": plan.moves,
            "counting_time": plan.counting_time,
            "duration": self.duration,
            "ends": (datetime.now().astimezone() + timedelta(seconds=self.duration)).isoformat(timespec="seconds"),
            "learnt_from": list(self.pace.learnt_from),
            "frame_bytes": plan.frame_bytes,
            "document_bytes": plan.document_bytes,
            "bytes": self.bytes,
            "bytes_not_known": list(plan.undescribed),
            "free_bytes": self.free,
            "minimum_free_gb": self.minimum_free_gb,
        }


def assess(plan: Iterable[Msg], endstation: Endstation, data_dir: Path, minimum_free_gb: float) -> Assessment:
    """Find out what a plan will do, before it starts; nothing moves.

    Parameters
    ----------
    plan : iterable of Msg
        It is consumed: make it anew to run it.
    endstation : Endstation
        The devices of the plan.
    data_dir : Path
        Where the data go; it may not exist yet.
    minimum_free_gb : float
        What must remain free, GB.

    Raises
    ------
    BeamlineError
        One line: what the plan refuses by itself, a value out of a device's limits, a device that cannot be read.
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
    """Learn from the newest runs of a folder how long a point takes, where there are any of the plan's technique.

    Parameters
    ----------
    data_dir : Path
    planned : Estimate
        Of a plan; where its runs are of several techniques, or of none, the rule holds.
    """
    if len(planned.techniques) != 1:
        return Pace()
    waits: list[tuple[float, float]] = []
    learnt = []
    for entry in reversed(Runs(data_dir).raw()):
        of = entry.start.get(MEASUREMENT, {}).get("technique", entry.start.get("plan_name"))
        if of != planned.techniques[0] or IMPORTED in entry.start:
            continue
        try:
            found = _intervals(entry.path)
        except LogError:  # the catalogue moved it to another place since it was listed; others tell as much
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
    """Give wall-clock time since the event before, and counting time, of the first events of `primary`, s."""
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
    """Give the time that an event counted for, s, by the detectors that say so."""
    line = float(sum(data.get(Key.STXM_DWELL, ())))
    return max(line, *(float(data.get(key, 0.0)) for key in (Key.EXPOSURE_TIME, Key.DWELL)))


def _existing(folder: Path) -> Path:
    """Give the folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _counts(plan: Estimate) -> str:
    """Say how many events there are, the measured ones first: ``120 frames and 3 dark frames``."""
    parts = []
    for stream in sorted(plan.points, key=lambda stream: stream != Stream.PRIMARY):
        number = plan.points[stream]
        unit = "frame" if stream in plan.frames else "line" if stream in plan.lines else "point"
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
