"""Take the recorder's logs into the databroker catalogue, in a process of its own.

It is ``python -m beamline.storage.catalogue.ingest``, which `beamline.storage.catalogue.find` starts.

The logs of a data folder are a spool. One process at a time (it holds ``<data_dir>/catalog.lock``) takes in those of
every run of every process, also the runs that are being measured. A log whose run is in the catalogue, stop document
included, is moved aside. An attempt that fails half-way leaves no half of a run: what it wrote is removed, and the run
is taken in again from the beginning of its log.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.storage.layout import Layout
from beamline.storage.log import Doc, LogError, LogReader, is_being_written, unpack_pages

if TYPE_CHECKING:
    from beamline.storage.catalogue.writer import Redescription, RunWriter

logger = logging.getLogger("beamline.storage.catalogue.ingest")

FLUSH_INTERVAL = 1.0  # s; readers see a run that is being measured this late
POLL_INTERVAL = 0.2  # s
DOCUMENTS_A_TURN = 500  # of one run, before the others have theirs and the process listens to what it is told
RETRY_DELAYS = (1, 2, 4, 8, 16, 32, 60, 60, 60)  # s; then the run waits for the next process
NICENESS = 10  # the scan comes first


@dataclass
class _Job:
    """One log, and how far it is taken in."""

    path: Path
    reader: LogReader
    start: Doc
    writer: RunWriter | None = None
    redescription: Redescription = field(default_factory=dict)
    flushed: float = 0.0  # when (monotonic)
    pending: bool = False  # documents wait for the next flush
    at_end: bool = False  # of the log, for now
    failures: int = 0  # without getting any further
    reached: int = 0  # documents, at the newest failure
    error: str = ""
    retry_at: float = 0.0
    given_up: bool = False


class Ingester:
    """Takes the logs of a data folder into its catalogue, a step of each at a time.

    Parameters
    ----------
    data_dir : Path
        The data folder. The caller holds its lock, see `ingesting`.
    retry_delays : sequence of float
        How long (s) a run that could not be taken in waits before each new attempt; then it is given up.
    """

    def __init__(self, data_dir: Path, retry_delays: Sequence[float] = RETRY_DELAYS) -> None:
        # Seconds of imports, made only by the process that does the work.
        from beamline.storage.catalogue.embedded import open_embedded  # noqa: PLC0415
        from beamline.storage.catalogue.writer import Redescribe, RunWriter  # noqa: PLC0415

        self._data_dir = data_dir
        self._catalogue = open_embedded(data_dir)
        self._redescribe, self._run_writer = Redescribe, RunWriter
        self._retry_delays = retry_delays
        self._jobs: dict[str, _Job] = {}
        self._unreadable: set[Path] = set()
        self.ingested = 0  # runs

    def turn(self) -> bool:
        """Take every log a step further.

        Returns
        -------
        bool
            False when there was nothing to do.
        """
        for path in Layout(self._data_dir).spooled_logs():
            if path.stem not in self._jobs and path not in self._unreadable:
                self._meet(path)
        jobs = sorted(self._jobs.values(), key=lambda job: job.start["time"])
        steps = [self._step(job) for job in jobs]
        return any(steps)

    def unfinished(self) -> bool:
        """Say whether a run is yet to be taken in: closed and not given up, or still being measured."""
        return any(
            not job.given_up and (job.writer is None or job.pending or not job.at_end or is_being_written(job.path))
            for job in self._jobs.values()
        )

    def status(self) -> list[dict[str, Any]]:
        """Say, for each run in the spool, how many documents are taken in, and what went wrong last."""
        return [
            {
                "uid": uid,
                "documents": job.reader.number,
                "failures": job.failures,
                "given_up": job.given_up,
                "error": job.error,
            }
            for uid, job in self._jobs.items()
        ]

    def close(self) -> None:
        """Let go of the logs; a run that is not finished is taken in from its beginning next time."""
        for job in self._jobs.values():
            job.reader.close()

    def _meet(self, path: Path) -> None:
        try:
            reader = LogReader(path)
            _, start = reader.read() or ("", None)
            if start is None:
                raise LogError(f"{path}: holds no start document")
        except LogError as error:  # it must not keep the others out of the catalogue
            self._unreadable.add(path)
            logger.error("%s", error)
        else:
            self._jobs[path.stem] = _Job(path, reader, start)

    def _step(self, job: _Job) -> bool:
        if job.given_up or time.monotonic() < job.retry_at:
            return False
        try:
            if job.writer is None:
                self._begin(job)
            return self._advance(job)
        except self._redescribe as change:
            logger.info("run %s is taken in again: %s", job.path.stem, change)
            for key, data_key in change.redescription.items():
                job.redescription[key] = job.redescription.get(key, {}) | data_key
            job.writer = None
        except Exception as error:  # the catalogue, the disk, a document: the log is safe, and it is tried again
            job.failures = 1 if job.reader.number > job.reached else job.failures + 1
            job.reached = max(job.reached, job.reader.number)
            job.error = f"{type(error).__name__}: {error}".splitlines()[0]
            job.writer = None
            job.given_up = job.failures > len(self._retry_delays)
            if job.given_up:
                logger.exception("run %s is not in the catalogue, given up for now", job.path.stem)
            else:
                delay = self._retry_delays[job.failures - 1]
                job.retry_at = time.monotonic() + delay
                logger.exception("run %s could not be taken in; again in %g s", job.path.stem, delay)
        return True

    def _begin(self, job: _Job) -> None:
        uid = job.start["uid"]
        if uid in self._catalogue:
            self._catalogue[uid].delete(recursive=True, external_only=False)
        job.reader.close()
        job.reader = LogReader(job.path)
        job.writer = self._run_writer(self._catalogue, self._data_dir, job.redescription)
        job.pending = False

    def _advance(self, job: _Job) -> bool:
        assert job.writer is not None
        first = job.reader.number
        job.at_end = True
        for document in iter(job.reader.read, None):
            for name, doc in unpack_pages(iter([document])):
                job.writer(name, doc)
            if document[0] == "stop":
                self._finish(job)
                return True
            job.pending = True
            if job.reader.number - first >= DOCUMENTS_A_TURN:
                job.at_end = False
                break
        if job.pending and time.monotonic() - job.flushed >= FLUSH_INTERVAL:
            job.writer.flush()
            job.flushed, job.pending = time.monotonic(), False
        return job.reader.number > first

    def _finish(self, job: _Job) -> None:
        job.reader.close()
        kept = Layout(self._data_dir).ingested_log(job.path.stem, job.start["time"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        job.path.rename(kept)
        del self._jobs[job.path.stem]
        self.ingested += 1


@contextmanager
def ingesting(data_dir: Path, *, keep_waiting: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock of the one process that takes logs into the catalogue.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    keep_waiting : callable
        Asked while another process holds the lock.

    Yields
    ------
    bool
        Whether it is held: False when there was no more reason to wait.
    """
    with Layout(data_dir).catalogue_lock.open("w") as lock:
        held = _try_lock(lock.fileno())
        while not held and keep_waiting():
            time.sleep(POLL_INTERVAL)
            held = _try_lock(lock.fileno())
        yield held


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Process:
    """The process: what it is told, and what it tells."""

    def __init__(self, data_dir: Path, *, follow: bool) -> None:
        self._data_dir = data_dir
        self._stopped = threading.Event()
        self._followed = threading.Event()
        self._told = 0.0
        signal.signal(signal.SIGTERM, lambda *_: self._stopped.set())
        if follow:
            self._followed.set()
            threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        """Wait for the end of standard input: who started this process is gone, or has said that it is done."""
        while os.read(0, 1):
            pass
        self._followed.clear()

    def run(self) -> None:
        """Take in logs until told to stop, or until nobody is followed and all is taken in."""
        with ingesting(self._data_dir, keep_waiting=self._wanted) as held:
            if not held:
                return
            self._tell("starting", [])
            ingester = self._open()
            if ingester is None:
                return
            while not self._stopped.is_set():
                busy = ingester.turn()
                self._tell("working" if busy else "idle", ingester.status())
                if not self._wanted() and not ingester.unfinished():
                    break
                if not busy:
                    self._stopped.wait(POLL_INTERVAL)
            self._told = 0.0
            self._tell("ended", ingester.status())
            ingester.close()

    def _open(self) -> Ingester | None:
        for delay in (*RETRY_DELAYS, None):
            try:
                return Ingester(self._data_dir)
            except Exception as error:  # locked, no room, damaged: said, and tried again
                logger.exception("the catalogue cannot be opened")
                self._told = 0.0
                self._tell("starting", [], error=f"the catalogue cannot be opened: {error}".splitlines()[0])
                if delay is None:
                    raise
                if self._stopped.wait(delay):
                    return None
        return None

    def _wanted(self) -> bool:
        return self._followed.is_set() and not self._stopped.is_set()

    def _tell(self, state: str, runs: list[dict[str, Any]], *, error: str = "") -> None:
        now = time.time()
        if now - self._told < FLUSH_INTERVAL:
            return
        self._told = now
        status = {"pid": os.getpid(), "time": now, "state": state, "error": error, "runs": runs}
        told = Layout(self._data_dir).ingest_status
        new = told.with_name(f".{told.name}.new")
        try:
            new.write_text(json.dumps(status))
            new.replace(told)
        except OSError as reason:  # a full disk: those who ask see that it is silent
            logger.error("%s: %s", new, reason.strerror)


def main(arguments: list[str] | None = None) -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="stay as long as standard input is open")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logger.setLevel(logging.INFO)
    os.nice(NICENESS)
    _Process(options.data_dir, follow=options.follow).run()


if __name__ == "__main__":
    main()
