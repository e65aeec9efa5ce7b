"""Recover a data folder after a process died: close its runs, repair its files of frames, ingest everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from beamline.storage.catalogue.ingest import POLL_INTERVAL, Ingester, ingest_lock
from beamline.storage.frames import FramesError, repair_frames
from beamline.storage.layout import Layout
from beamline.storage.log import Document, LogError, LogState, inspect_log, read_log
from beamline.storage.recorder import close_interrupted

RETRY_DELAYS = (1, 3)  # s; shorter than in the background, as the user is waiting
LOCK_TIMEOUT = 120.0  # s to wait for another process that fills the catalogue
STOP_REASON = "the process that measured ended before the run was closed"


@dataclass(frozen=True)
class RecoveredRun:
    """A run that was closed on behalf of the process that measured it.

    Attributes
    ----------
    uid : str
    scan_id : int or None
    documents : int
        Number of recorded documents, without the stop document that was now added.
    events : dict of str to int
        Number of events by stream.
    frames : dict of str to int
        Number of frames by file, including those that no document refers to.
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
        Number of runs that were brought into the catalogue.
    still_open : list of str
        Uids of runs that a living process is measuring.
    problems : list of str
        One line for each problem that remains.
    """

    closed: list[RecoveredRun] = field(default_factory=list)
    ingested: int = 0
    still_open: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def recover(data_dir: Path) -> Recovery:
    """Close the runs that dead processes left open, repair their files of frames, and ingest all runs.

    Runs of living processes are left alone. It is safe to repeat, and to be killed at any point.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """
    recovery = Recovery()
    finished = set()
    for path in Layout(data_dir).pending_logs():
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
    # Frames first: a closed run would not be looked at again if this process were killed in between.
    frames = {}
    for file in _frame_files(recorded):
        try:
            frames[str(file)] = repair_frames(file)
        except FramesError as error:
            problems.append(str(error))
    stop = close_interrupted(path, reason=STOP_REASON)
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
    deadline = time.monotonic() + LOCK_TIMEOUT

    def wait_for_other() -> bool:  # the process of a running session ingests these runs as well
        return bool(_pending(data_dir, uids)) and time.monotonic() < deadline

    with ingest_lock(data_dir, keep_waiting=wait_for_other) as held:
        if held:
            _ingest_all(data_dir, uids, recovery)
    pending = _pending(data_dir, uids)
    recovery.ingested = len(uids) - len(pending)
    if pending and not held:
        recovery.problems.append(
            f"{Layout(data_dir).catalogue_lock}: another process holds the catalogue and makes no progress"
        )


def _ingest_all(data_dir: Path, uids: set[str], recovery: Recovery) -> None:
    with closing(Ingester(data_dir, RETRY_DELAYS)) as ingester:
        while pending := _pending(data_dir, uids):
            busy = ingester.ingest_batch()
            failed = {run["uid"]: run["error"] for run in ingester.status() if run["given_up"]}
            if pending <= failed.keys():
                recovery.problems += [f"run {uid} is not in the catalogue: {failed[uid]}" for uid in sorted(pending)]
                return
            if not busy:
                time.sleep(POLL_INTERVAL)


def _pending(data_dir: Path, uids: set[str]) -> set[str]:
    """Return those of the runs that are not yet completely in the catalogue."""
    return uids & {path.stem for path in Layout(data_dir).pending_logs()}
