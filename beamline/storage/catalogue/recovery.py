"""Recover a data folder: close the runs of dead processes, check the catalogue, make it anew, ingest everything."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.storage.catalogue.checksums import unsound_runs
from beamline.storage.catalogue.condition import check_thoroughly, referred_files, runs_in
from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.ingest import Ingester, ingest_lock
from beamline.storage.catalogue.restoring import Restorer
from beamline.storage.frames import HDF5_MIMETYPE, FramesError, is_open_for_writing, linked_frames, repair_frames
from beamline.storage.layout import INGEST, Layout, data_folder_of, is_frame_link, is_ingested
from beamline.storage.locks import POLL_INTERVAL, locked
from beamline.storage.log import Doc, Log, LogError, LogState, inspect_log, is_being_written, read_start
from beamline.storage.recorder import RecorderError, close_interrupted
from beamline.storage.reductions import is_live_reduction
from beamline.storage.relocation import file_of, read_run, why_unreadable
from beamline.storage.reports import details_to, progress_of
from callbacks.contract import reduction_of

RETRY_DELAYS = (1, 3)  # s; shorter than in the background, as the user is waiting
CLOSING_TIME = 5.0  # s that a camera may take to close its file after the end of a run
LOCK_TIMEOUT = 30.0  # s without progress of another process that fills the catalogue or recovers
STOP_REASON = "the process that measured ended before the run was closed"
LOST_END = "the end of its log is lost"  # of a run that was closed and ingested
ROOM = 1 << 20  # bytes that must be free to go on with the catalogue
MOST_FILES = 20  # missing files that are named one by one

Reduce = Callable[[Sequence[str], "Recovery"], None]  # given the uids of runs that were interrupted, raw and derived


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
    reduced : list of str
        Uids of raw runs that were reduced, because they or their reduction had been interrupted.
    restored : list of str
        Uids of runs whose damaged logs were written again from the catalogue.
    catalogue : str
        Why the catalogue was made anew, and where the one before is kept; empty if it was not.
    remade : list of str
        Uids of runs that were taken into the catalogue anew, because what it had of them was damaged.
    ingested : int
        Number of runs that were brought into the catalogue.
    still_open : list of str
        Uids of runs that a living process is measuring.
    problems : list of str
        One line for each problem that remains.
    """

    closed: list[RecoveredRun] = field(default_factory=list)
    reduced: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    catalogue: str = ""
    remade: list[str] = field(default_factory=list)
    ingested: int = 0
    still_open: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def recover(data_dir: Path, *, rebuild: bool = False, reduce: Reduce | None = None) -> Recovery:
    """Close the runs that dead processes left open, repair their files of frames, and ingest all runs.

    A catalogue that is missing or damaged is made anew from the logs; the one before is moved aside. Runs of living
    processes are left alone. It is safe to repeat, and to be killed at any point.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    rebuild : bool
        Make the catalogue anew in any case.
    reduce : callable, optional
        Called before runs are ingested; reduces those that were interrupted.

    Raises
    ------
    BeamlineError
        When there is no such folder, it cannot be written to, or it is being recovered by another process.
    """
    if not data_dir.is_dir():
        raise BeamlineError(f"{data_dir}: there is no such data folder")
    layout = Layout(data_dir)
    recovery = Recovery()
    if not layout.logs.exists() and not layout.catalogue.exists():
        return recovery
    with _recovering(layout), details_to(layout.process_log(INGEST)):
        restore = Restorer(data_dir)
        damaged_logs = _close_runs(layout, recovery, restore)
        unfinished = _unfinished_reductions(layout)
        if (full := _no_room(layout)) is not None:
            recovery.problems.append(f"{full}; runs are not reduced, the catalogue is left as it is")
            return recovery
        if reduce is not None:
            reduce([*_interrupted(layout), *(path.stem for path in unfinished)], recovery)
        for path in unfinished:  # those that could not be gone on with
            if path.exists() and not _goes_on(layout, path) and (run := _close(path, recovery.problems)) is not None:
                recovery.closed.append(run)
        try:
            _mend_catalogue(data_dir, recovery, restore, damaged_logs, rebuild=rebuild)
            _check_files(data_dir, recovery)
        except CatalogueError as error:
            recovery.problems.append(str(error))
        except OSError as error:
            recovery.problems.append(f"{error.filename or data_dir}: {error.strerror or error}")
    return recovery


@contextmanager
def _recovering(layout: Layout) -> Iterator[None]:
    """Let only one process recover a data folder."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    with locked(layout.recovery_lock, keep_waiting=lambda: time.monotonic() < deadline) as held:
        if not held:
            raise BeamlineError(f"{layout.data_dir}: another process is recovering this data folder")
        yield


def close_dead_runs(data_dir: Path) -> Recovery:
    """Close the runs that dead processes left open, and no more: what follows their logs reduces and ingests them.

    Parameters
    ----------
    data_dir : Path
        The data folder.

    Returns
    -------
    Recovery
        With the runs that were closed, and what is wrong with logs and files of frames.

    Raises
    ------
    BeamlineError
        When it is being recovered by another process, or cannot be written to.
    """
    layout, recovery = Layout(data_dir), Recovery()
    if layout.logs.exists():
        with _recovering(layout):
            for path in layout.pending_logs():
                log = _inspected(path, recovery, lambda _path: False)
                if log is not None and log.state is LogState.INTERRUPTED:
                    _close_one(log, path, recovery)
    return recovery


def _no_room(layout: Layout) -> str | None:
    """Say why there is no room for the catalogue to grow; None if there is."""
    try:
        with tempfile.TemporaryFile(dir=layout.data_dir) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        return f"{layout.data_dir}: {error.strerror}"
    return None


def _close_runs(layout: Layout, recovery: Recovery, restore: Restorer) -> set[str]:
    """Restore damaged logs, close the runs of dead processes, and name what is wrong with the logs.

    Returns
    -------
    set of str
        Uids of the runs whose logs are damaged, and could not be restored.
    """
    damaged = set()
    for path in layout.logs.glob("[!.]*.log"):
        if not path.is_file():
            recovery.problems.append(f"{path}: not a log, which is a file")
    for path in layout.pending_logs():
        if (log := _inspected(path, recovery, restore)) is None or log.damage:
            damaged.add(path.stem)
        if log is None:
            continue
        if log.state is LogState.OPEN:
            recovery.still_open.append(log.uid)
        elif log.state is LogState.CLOSED:
            named = (_frame_file(name, doc) for name, doc in read_run(path))
            _release(filter(None, named), layout, recovery.problems)
        else:
            _close_one(log, path, recovery)
    for path in sorted(layout.ingested_logs()):
        if (log := _inspected(path, recovery, restore)) is None or log.damage:
            damaged.add(path.stem)
        if log is not None and log.state is not LogState.CLOSED and not log.damage:
            recovery.problems.append(f"{path}: its end, with the stop document, is lost")
    recovery.restored = restore.restored
    return damaged


def _close_one(log: Log, path: Path, recovery: Recovery) -> None:
    """Close an interrupted run, unless it is a reduction, which is gone on with."""
    if not is_live_reduction(log.start) and (run := _close(path, recovery.problems)) is not None:
        recovery.closed.append(run)


def _inspected(path: Path, recovery: Recovery, restore: Callable[[Path], bool]) -> Log | None:
    """Inspect a log, restored where that is possible; note its damage, and None if it cannot be read at all."""
    try:
        log = inspect_log(path)
        lacking = log.damage or (is_ingested(path) and log.state is not LogState.CLOSED)
        if lacking and restore(path):
            log = inspect_log(path)
    except (LogError, OSError) as error:
        if path.exists():  # otherwise it was ingested meanwhile
            if restore(path):
                return inspect_log(path)
            recovery.problems.append(str(error))
        return None
    recovery.problems += [f"{path}: {damage}" for damage in log.damage]
    if log.uid != path.stem:
        recovery.problems.append(f"{path}: is named for another run than it holds, which is {log.uid!r:.80}")
        return None
    return log


def _close(path: Path, problems: list[str], reason: str = STOP_REASON) -> RecoveredRun | None:
    start: Doc = {}
    files, number = [], 0
    for number, (name, doc) in enumerate(read_run(path), start=1):  # noqa: B007 - the last is used
        start = start or doc
        if (file := _frame_file(name, doc)) is not None:
            files.append(file)
    # Frames first: a closed run would not be looked at again if this process were killed in between.
    frames = _repair_all(files, Layout(data_folder_of(path.absolute())), problems)
    try:
        stop = close_interrupted(path, reason=reason)
    except RecorderError as error:
        problems.append(str(error))
        return None
    if stop is None:  # another process was faster
        return None
    return RecoveredRun(start["uid"], start.get("scan_id"), number, stop["num_events"], frames)


def _repair_all(files: Iterable[Path], layout: Layout, problems: list[str]) -> dict[str, int]:
    """Repair files of frames; give the number of frames of each."""
    frames = {}
    for file in files:
        if not _is_ours(file, layout):
            continue  # a log cannot make us write elsewhere
        try:
            frames[str(file)] = repair_frames(file)
        except FramesError as error:
            problems.append(str(error))
    return frames


def _release(files: Iterable[Path], layout: Layout, problems: list[str]) -> None:
    """Repair files of frames of closed runs that their process did not live to close.

    The stop document comes a moment before a camera closes its file: one that was written just now is given the time,
    and one that is written on is left alone.
    """
    for file in files:
        deadline = time.monotonic() + 2 * CLOSING_TIME
        while is_open_for_writing(file) and time.monotonic() < deadline:
            with suppress(FileNotFoundError):  # it is deleted just now
                if time.time() - file.stat().st_mtime > CLOSING_TIME:
                    _repair_all([file], layout, problems)
                    break
            time.sleep(POLL_INTERVAL)


def _is_ours(file: Path, layout: Layout) -> bool:
    """Tell whether a file lies in the folders of frames or derived runs of a data folder."""
    return any(file.resolve().is_relative_to(folder.resolve()) for folder in (layout.frames, layout.derived))


def _frame_file(name: str, doc: Doc) -> Path | None:
    match doc:
        case {"spec": str(spec)} if spec.startswith("AD_HDF5"):
            return file_of(name, doc)
        case {"mimetype": mimetype} if mimetype == HDF5_MIMETYPE:
            return file_of(name, doc)
        case _:
            return None


def _interrupted(layout: Layout) -> list[str]:
    """Return the uids of the runs not yet in the catalogue that a recovery has closed, this one or one before."""
    found = []
    for path in layout.pending_logs():
        try:
            (name, last), *_ = deque(read_run(path), maxlen=1)
        except (LogError, ValueError):  # named already
            continue
        if name == "stop" and last.get("reason", "").startswith(STOP_REASON):
            found.append(path.stem)
    return found


def _goes_on(layout: Layout, path: Path) -> bool:
    """Tell whether a log is that of the live reduction of a run that is being measured."""
    start = read_start(path)
    raw = layout.find_log(reduction_of(start)) if is_live_reduction(start) else None
    return raw is not None and is_being_written(raw)


def _unfinished_reductions(layout: Layout) -> list[Path]:
    """List the logs of live reductions whose process died, which can be gone on with."""
    found = []
    for path in layout.pending_logs():
        with suppress(LogError):  # named already
            log = inspect_log(path)
            if log.state is LogState.INTERRUPTED and is_live_reduction(log.start):
                found.append(path)
    return found


def _mend_catalogue(
    data_dir: Path, recovery: Recovery, restore: Restorer, damaged_logs: set[str], *, rebuild: bool
) -> None:
    """Make the catalogue anew if that is asked for or needed, and ingest all runs that are not in it."""
    layout = Layout(data_dir)
    reason, damaged, without_log = _why_anew(data_dir), set[str](), set[str]()
    if layout.catalogue.exists():
        try:  # also what is about to be kept aside may have what nothing else has
            without_log = _restore_missing(layout, recovery, restore, anew=bool(reason))
            damaged = set() if reason else unsound_runs(layout) - without_log
        except DamagedCatalogueError as error:
            reason = reason or error.what
    if not reason and layout.catalogue.exists():
        both = "its log and its copy in the catalogue are damaged; what can be read is left as it is"
        recovery.problems += [f"run {uid}: {both}" for uid in sorted(damaged & damaged_logs)]
        damaged -= damaged_logs | {path.stem for path in layout.pending_logs()}
        if not rebuild:
            _return_logs(layout, ({path.stem for path in layout.ingested_logs()} - runs_in(data_dir)) | damaged)
        elif without_log:
            recovery.problems.append(f"{layout.catalogue}: is not made anew, as it alone has these runs")
        else:
            reason = "as it was asked for"
    pending = _closed_runs(layout, recovery)
    if not reason and not pending:
        return
    with ingest_lock(data_dir, keep_waiting=_Patience(layout, pending, for_lock=bool(reason))) as held:
        if held and reason:
            recovery.catalogue = _move_aside(layout, reason)
            pending = _closed_runs(layout, recovery)
        if held:
            _ingest_all(data_dir, pending, recovery)
    left = _pending(layout, pending)
    recovery.ingested = len(pending) - len(left)
    recovery.remade = [] if reason else sorted(damaged & pending - left)
    if recovery.catalogue:
        more = "its log is damaged; the catalogue before may have more of it: keep that"
        recovery.problems += [f"run {uid}: {more}" for uid in sorted(damaged_logs)]
    if not held and (left or reason):
        why = f"; {reason}" if reason else ""
        recovery.problems.append(
            f"{layout.catalogue_lock}: another process holds the catalogue and makes no progress; "
            f"end it and repeat{why}"
        )


def _restore_missing(layout: Layout, recovery: Recovery, restore: Restorer, *, anew: bool) -> set[str]:
    """Write the logs of runs that only the catalogue has, and name those of which that is not possible."""
    logs = {path.stem for path in layout.all_logs()}
    missing = {uid for uid in runs_in(layout.data_dir) - logs if layout.find_log(uid) is None}
    lost = {uid for uid in missing if not restore(layout.log(uid))}
    recovery.restored = restore.restored
    gone = f"its log is gone, and cannot be made of the catalogue{'; keep the one before' if anew else ''}"
    recovery.problems += [f"run {uid}: {gone}" for uid in sorted(lost)]
    return lost


def _closed_runs(layout: Layout, recovery: Recovery) -> set[str]:
    """Return the uids of the runs that can be ingested; close those that had been, but whose end is lost since."""
    found = set()
    for path in layout.pending_logs():
        try:
            log = inspect_log(path)
        except LogError:  # named already
            continue
        if log.uid != path.stem:  # named already
            continue
        state = log.state
        if state is LogState.INTERRUPTED and _goes_on(layout, path):
            continue
        if state is LogState.INTERRUPTED and (run := _close(path, recovery.problems, LOST_END)) is not None:
            recovery.closed.append(run)
            state = LogState.CLOSED
        if state is LogState.CLOSED:
            found.add(path.stem)
    return found


def _why_anew(data_dir: Path) -> str:
    """Say why the catalogue has to be made anew; empty if it is in order, or there is none and need not be."""
    try:
        check_thoroughly(data_dir)
        _check_links(data_dir)
    except DamagedCatalogueError as error:
        return error.what
    return ""


def _check_links(data_dir: Path) -> None:
    """Check that the links to frames, which belong to the catalogue, can be read."""
    if not Layout(data_dir).catalogue.exists():
        return
    for path in sorted(filter(is_frame_link, referred_files(data_dir))):
        try:
            linked_frames(path)
        except (OSError, KeyError, RuntimeError) as error:
            raise DamagedCatalogueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


class _Patience:
    """Tells whether to wait for another process that fills the catalogue: as long as it makes progress."""

    def __init__(self, layout: Layout, uids: set[str], *, for_lock: bool) -> None:
        self._layout = layout
        self._uids = uids
        self._for_lock = for_lock
        self._progress = self._seen()
        self._deadline = time.monotonic() + LOCK_TIMEOUT

    def __call__(self) -> bool:
        if (seen := self._seen()) != self._progress:
            self._progress, self._deadline = seen, time.monotonic() + LOCK_TIMEOUT
        return bool(seen[0] or self._for_lock) and time.monotonic() < self._deadline

    def _seen(self) -> tuple[int, tuple[int, int]]:
        """Give the number of runs that are left, and how far the other process says that it is with them."""
        return len(_pending(self._layout, self._uids)), progress_of(self._layout, INGEST)


def _move_aside(layout: Layout, reason: str) -> str:
    """Move the catalogue aside and all logs back, so that it is made anew by whoever ingests next; say so.

    In this order, a process that is killed in between leaves a folder in which the next one goes on.
    """
    kept = ""
    if layout.catalogue.exists() or layout.catalogue.is_symlink():
        aside = layout.damaged_catalogue(time.time())
        layout.catalogue.rename(aside)
        kept = f"; the one before is kept as {aside.name}"
    _return_logs(layout, {path.stem for path in layout.ingested_logs()})
    return f"{reason}{kept}"


def _return_logs(layout: Layout, uids: Iterable[str]) -> None:
    """Let runs count as not in the catalogue."""
    wanted = set(uids)
    for path in sorted(layout.ingested_logs()):
        if path.stem in wanted and not layout.log(path.stem).exists():
            path.rename(layout.log(path.stem))


def _ingest_all(data_dir: Path, uids: set[str], recovery: Recovery) -> None:
    layout = Layout(data_dir)
    with closing(Ingester(data_dir, RETRY_DELAYS)) as ingester:
        while _pending(layout, uids):
            busy = ingester.advance()
            state = {run["uid"]: run for run in ingester.status()}
            pending = _pending(layout, uids)
            if all(uid not in state or state[uid]["given_up"] for uid in pending):
                reasons = {uid: state[uid]["error"] if uid in state else "its log cannot be read" for uid in pending}
                recovery.problems += [f"run {uid} is not in the catalogue: {reasons[uid]}" for uid in sorted(reasons)]
                return
            if not busy:
                time.sleep(POLL_INTERVAL)


def _pending(layout: Layout, uids: set[str]) -> set[str]:
    """Return those of the runs that are not yet completely in the catalogue."""
    return uids & {path.stem for path in layout.pending_logs()}


def _check_files(data_dir: Path, recovery: Recovery) -> None:
    """Name the files of frames and of derived runs that the catalogue refers to and that cannot be read."""
    layout = Layout(data_dir.resolve())
    if not layout.catalogue.exists():
        return
    files = set()
    for path in referred_files(data_dir):
        if is_frame_link(path):
            files |= {file for file, _ in filter(None, linked_frames(path))}
        elif not path.is_relative_to(layout.catalogue):
            files.add(path)
    _release(files, layout, recovery.problems)
    wrong = [f"{path}: {reason}" for path in sorted(files) if (reason := why_unreadable(path))]
    known = {problem.partition(": ")[0] for problem in recovery.problems}
    wrong = [problem for problem in wrong if problem.partition(": ")[0] not in known]
    recovery.problems += wrong[:MOST_FILES]
    if len(wrong) > MOST_FILES:
        recovery.problems.append(f"{len(wrong) - MOST_FILES} other files are missing or cannot be read")
