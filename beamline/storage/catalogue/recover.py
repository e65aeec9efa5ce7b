"""Put a data folder in order after a process died: close its runs and its frames, and take everything in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from beamline.storage.catalogue.ingest import POLL_INTERVAL, Ingester, ingesting
from beamline.storage.frames import FramesError, make_plain
from beamline.storage.layout import Layout
from beamline.storage.log import Document, LogError, LogState, inspect_log, read_log
from beamline.storage.recorder import close_interrupted

RETRY_DELAYS = (1, 3)  # s; somebody waits for the answer
OTHERS_TIMEOUT = 120.0  # s
REASON = "the process that measured ended before the run was closed"


@dataclass(frozen=True)
class RecoveredRun:
    """A run that was closed in the place of the process that measured it.

    Attributes
    ----------
    documents : int
        Recorded documents, without the stop document that was written now.
    events : dict of str to int
        By stream.
    frames : dict of str to int
        By file: how many frames it holds, also those that no document refers to.
    """

    uid: str
    scan_id: int | None
    documents: int
    events: dict[str, int]
    frames: dict[str, int]


@dataclass
class Recovery:
    """What `recover` did.

    Attributes
    ----------
    closed : list of RecoveredRun
    ingested : int
        Runs that were taken into the catalogue.
    still_open : list of str
        Uids of runs that a living process is measuring.
    problems : list of str
        One line for each thing that could not be put in order.
    """

    closed: list[RecoveredRun] = field(default_factory=list)
    ingested: int = 0
    still_open: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def recover(data_dir: Path) -> Recovery:
    """Close the runs that dead processes left open, make their frames plain files, and take all runs in.

    Runs of living processes are left alone. Nothing is lost by doing it twice, or by being killed in the middle.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """
    recovery = Recovery()
    finished = set()
    for path in Layout(data_dir).spooled_logs():
        try:
            log = inspect_log(path)
        except LogError as error:
            recovery.problems.append(str(error))
            continue
        if log.state is LogState.OPEN:
            recovery.still_open.append(log.uid)
            continue
        if log.state is LogState.INTERRUPTED:
            recovery.closed.append(_close(path, recovery.problems))
        finished.add(log.uid)
    if finished:
        _ingest(data_dir, finished, recovery)
    return recovery


def _close(path: Path, problems: list[str]) -> RecoveredRun:
    recorded = list(read_log(path))
    # Frames first: once the run is closed, nobody looks at them again.
    frames = {}
    for file in _frame_files(recorded):
        try:
            frames[str(file)] = make_plain(file)
        except FramesError as error:
            problems.append(str(error))
    stop = close_interrupted(path, reason=REASON)
    start = recorded[0][1]
    return RecoveredRun(
        uid=start["uid"],
        scan_id=start.get("scan_id"),
        documents=len(recorded),
        events=stop["num_events"] if stop else {},
        frames=frames,
    )


def _frame_files(documents: list[Document]) -> Iterator[Path]:
    for name, doc in documents:
        if name == "resource" and doc["spec"].startswith("AD_HDF5"):
            yield Path(doc["root"]) / doc["resource_path"]


def _ingest(data_dir: Path, uids: set[str], recovery: Recovery) -> None:
    deadline = time.monotonic() + OTHERS_TIMEOUT

    # Where a process is measuring, its own ingester takes in these runs too.
    def left_to_others() -> bool:
        return bool(_left(data_dir, uids)) and time.monotonic() < deadline

    with ingesting(data_dir, keep_waiting=left_to_others) as held:
        if held:
            _ingest_all(data_dir, uids, recovery)
    left = _left(data_dir, uids)
    recovery.ingested = len(uids) - len(left)
    if left and not held:
        recovery.problems.append(
            f"{Layout(data_dir).catalogue_lock}: another process holds the catalogue and does not get on"
        )


def _ingest_all(data_dir: Path, uids: set[str], recovery: Recovery) -> None:
    with closing(Ingester(data_dir, RETRY_DELAYS)) as ingester:
        while left := _left(data_dir, uids):
            busy = ingester.turn()
            failed = {run["uid"]: run["error"] for run in ingester.status() if run["given_up"]}
            if left <= failed.keys():
                recovery.problems += [f"run {uid} is not in the catalogue: {failed[uid]}" for uid in sorted(left)]
                return
            if not busy:
                time.sleep(POLL_INTERVAL)


def _left(data_dir: Path, uids: set[str]) -> set[str]:
    """Give those of the runs that are not in the catalogue yet."""
    return uids & {path.stem for path in Layout(data_dir).spooled_logs()}
