"""Ingest the logs of a data folder into its databroker catalogue.

Only one process at a time, the one that holds ``<data_dir>/catalog.lock``, ingests the logs of a data folder, including
those of runs that are still being measured. The log of a run that is completely in the catalogue, stop document
included, is moved to the subfolder of ingested logs. An attempt that fails leaves no partial run behind: what it wrote
is deleted, and the run is ingested again from the beginning of its log.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.storage.catalogue.checksums import write_checksums
from beamline.storage.catalogue.condition import DERIVED, RAW, REFUSED, check_catalogue, database_of
from beamline.storage.catalogue.errors import CatalogueError, CatalogueServerError, DamagedCatalogueError
from beamline.storage.follow import BATCH_DOCUMENTS, NewLogs
from beamline.storage.layout import Layout
from beamline.storage.locks import LockError, locked
from beamline.storage.log import Doc, LogError, LogReader, inspect_log, is_being_written, unpack_pages
from callbacks.contract import DERIVATION

if TYPE_CHECKING:
    from beamline.storage.catalogue.writer import Redescription, RunWriter

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 1.0  # s; the most that readers lag behind a run that is being measured
CHECK_INTERVAL = 5.0  # s between looks at the condition of the catalogue
RETRY_DELAYS = (1, 2, 4, 8, 16, 32, 60, 60, 60)  # s; afterwards the run waits for the next process


@dataclass
class _PendingRun:
    """A run that is not yet completely in the catalogue, and how far it has been ingested."""

    path: Path
    reader: LogReader
    start: Doc
    writer: RunWriter | None = None  # of the current attempt; None between attempts
    redescription: Redescription = field(default_factory=dict)
    flushed_at: float = 0.0  # monotonic, s
    unflushed: bool = False  # some documents wait for the next flush
    at_end: bool = False  # the end of the log was reached; it may still grow
    failures: int = 0  # consecutive ones that got no further than the last
    furthest: int = 0  # documents ingested at the latest failure
    error: str = ""
    retry_at: float = 0.0  # monotonic, s
    given_up: bool = False


class Ingester:
    """Ingests the logs of a data folder into its catalogue, in batches from each log in turn.

    Parameters
    ----------
    data_dir : Path
        The data folder. The caller holds its lock; see `ingest_lock`.
    retry_delays : sequence of float
        Delay (s) before each new attempt at a run that could not be ingested; then it is given up.
    only : collection of str, optional
        Uids of the runs to ingest; all that are not ingested where not given.

    Raises
    ------
    CatalogueError
        When the catalogue cannot be opened, or another process fills it; `advance` raises it when the catalogue is
        damaged meanwhile, or its server does not answer.

    Attributes
    ----------
    ingested : int
        Number of runs that have been completely ingested.
    """

    def __init__(
        self, data_dir: Path, retry_delays: Sequence[float] = RETRY_DELAYS, only: Collection[str] | None = None
    ) -> None:
        check_catalogue(data_dir)  # before the imports, which take seconds, and only the process that ingests needs
        from beamline.storage.catalogue.embedded import open_derived, open_embedded  # noqa: PLC0415
        from beamline.storage.catalogue.writer import REFUSALS, Redescribe, RunWriter  # noqa: PLC0415

        self._data_dir = data_dir.resolve()
        self._raw = open_embedded(data_dir)
        self._derived = open_derived(self._raw)
        self._claim = database_of(Layout(self._data_dir)).claim()
        self._redescribe, self._refusals, self._run_writer = Redescribe, REFUSALS, RunWriter
        self._retry_delays = retry_delays
        self._only = only
        self._runs: dict[str, _PendingRun] = {}  # by uid
        self._new = NewLogs(self._data_dir, ingested=False)
        self._checked_at = time.monotonic()
        self.ingested = 0

    def done(self) -> int:
        """Count the runs that it has taken into the catalogue."""
        return self.ingested

    def advance(self) -> bool:
        """Ingest the next documents of every log, and of those that appear meanwhile: they are what somebody waits for.

        Returns
        -------
        bool
            False when there was nothing to do.
        """
        self._find()
        worked = False
        meanwhile: list[_PendingRun] = []
        for run in sorted(self._runs.values(), key=lambda run: run.start["time"]):
            worked |= self._advance(run)
            meanwhile = [each for each in meanwhile + self._find() if self._runs.get(each.path.stem) is each]
            for each in meanwhile:
                worked |= self._advance(each)
        return worked

    def check(self) -> None:
        """Check from time to time that the catalogue is still there.

        Raises
        ------
        CatalogueError
            When it is damaged or gone, its server does not answer, or another process fills it.
        """
        if time.monotonic() - self._checked_at >= CHECK_INTERVAL:
            self._refuse_damage()
            self._claim.check()
            self._checked_at = time.monotonic()

    def unfinished(self) -> bool:
        """Tell whether a run remains to be ingested: still being measured, or closed and not given up."""
        return any(
            not run.given_up
            and (
                run.writer is None
                or run.unflushed
                or not run.at_end
                or run.reader.is_replaced
                or is_being_written(run.path)
            )
            for run in self._runs.values()
        )

    def status(self) -> list[dict[str, Any]]:
        """Report for each pending run how many documents have been ingested, and its latest error."""
        return [
            {
                "uid": uid,
                "documents": run.reader.number,
                "failures": run.failures,
                "given_up": run.given_up,
                "error": run.error,
            }
            for uid, run in self._runs.items()
        ]

    def close(self) -> None:
        """Close the logs; a run that is not finished will be ingested from its beginning next time."""
        self._claim.close()
        for run in self._runs.values():
            run.reader.close()

    def _find(self) -> list[_PendingRun]:
        """Give the runs whose logs have appeared since it was asked last."""
        found = []
        for path, start in self._new:
            if self._only is not None and path.stem not in self._only:
                continue
            try:
                self._runs[path.stem] = _PendingRun(path, LogReader(path), start)
            except LogError as error:  # it was there a moment ago
                logger.error("%s", error)
            else:
                found.append(self._runs[path.stem])
        return found

    def _advance(self, run: _PendingRun) -> bool:
        """Ingest the next documents of a run, and handle what goes wrong; False when there was nothing to do."""
        if run.given_up or time.monotonic() < run.retry_at:
            return False
        try:
            if run.writer is None or (run.at_end and run.reader.is_replaced):
                self._begin_attempt(run)
            return self._write_batch(run)
        except self._redescribe as change:
            logger.info("run %s is ingested again from its beginning: %s", run.path.stem, change)
            for key, data_key in change.redescription.items():
                run.redescription[key] = run.redescription.get(key, {}) | data_key
            run.writer = None
        except Exception as error:  # noqa: BLE001 - of the catalogue, the disk or a document; the log is safe
            self._end_attempt(run, error)
            self._refuse_damage()
        return True

    def _refuse_damage(self) -> None:
        """End when the catalogue is damaged or gone, or its server does not answer: no attempt will succeed now."""
        try:
            if check_catalogue(self._data_dir) is None:
                raise DamagedCatalogueError(f"{Layout(self._data_dir).catalogue}: missing")
        except (CatalogueServerError, DamagedCatalogueError):
            raise
        except CatalogueError as error:  # it is locked, or the disk is full: this passes
            logger.warning("%s", error)

    def _begin_attempt(self, run: _PendingRun) -> None:
        uid = run.start["uid"]
        container = self._derived if DERIVATION in run.start else self._raw
        if uid in container:  # the rest of a failed attempt, or complete, and killed before its log was moved
            if container[uid].metadata.get("stop") and inspect_log(run.path).damage:
                raise LogError(f"{run.path}: is damaged; the catalogue's copy of the run is kept")
            container[uid].delete(recursive=True, external_only=False)
        # And what the catalogue does not know of: an array is written before it is listed there.
        shutil.rmtree(self._arrays(run), ignore_errors=True)
        run.reader.close()
        run.reader = LogReader(run.path)
        run.writer = self._run_writer(container, self._data_dir, run.redescription)
        run.unflushed = False

    def _end_attempt(self, run: _PendingRun, error: Exception) -> None:
        """Schedule the next attempt at a run after a failure, or give it up."""
        run.failures = 1 if run.reader.number > run.furthest else run.failures + 1
        run.furthest = max(run.furthest, run.reader.number)
        refused = isinstance(error, self._refusals)  # by what is in its documents, which no further attempt changes
        run.error = (f"{REFUSED}: " if refused else "") + f"{type(error).__name__}: {error}".splitlines()[0]
        run.writer = None
        run.given_up = refused or run.failures > len(self._retry_delays)
        if run.given_up:
            until = "" if refused else " for now"
            logger.error("run %s is not in the catalogue, given up%s", run.path.stem, until, exc_info=error)
        else:
            delay = self._retry_delays[run.failures - 1]
            run.retry_at = time.monotonic() + delay
            logger.error("run %s could not be ingested; next attempt in %g s", run.path.stem, delay, exc_info=error)

    def _write_batch(self, run: _PendingRun) -> bool:
        assert run.writer is not None
        first = run.reader.number
        run.at_end = True
        for document in iter(run.reader.read, None):
            for name, doc in unpack_pages(iter([document])):
                run.writer(name, doc)
            if document[0] == "stop":
                self._finish(run)
                return True
            run.unflushed = True
            if run.reader.number - first >= BATCH_DOCUMENTS:
                run.at_end = False
                break
        if run.unflushed and time.monotonic() - run.flushed_at >= FLUSH_INTERVAL:
            run.writer.flush()
            run.flushed_at, run.unflushed = time.monotonic(), False
        return run.reader.number > first

    def _arrays(self, run: _PendingRun) -> Path:
        name = DERIVED if DERIVATION in run.start else RAW
        return Layout(self._data_dir).arrays_of(name, run.path.stem)

    def _finish(self, run: _PendingRun) -> None:
        write_checksums(Layout(self._data_dir), run.path.stem)
        run.reader.close()
        for damage in run.reader.damage:
            logger.warning("%s: %s; the catalogue lacks what was there", run.path, damage)
        ingested = Layout(self._data_dir).ingested_log(run.path.stem, run.start["time"])
        ingested.parent.mkdir(parents=True, exist_ok=True)
        keep_aside(ingested)
        run.path.rename(ingested)
        del self._runs[run.path.stem]
        self._new.forget(run.path.stem)
        self.ingested += 1


def keep_aside(path: Path) -> None:
    """Give another name to a file that is about to be replaced: two logs of one run may differ, and both are kept."""
    if path.exists():
        aside = (path.with_name(f"{path.name}.{number}") for number in count(1))
        path.rename(next(each for each in aside if not each.exists()))


@contextmanager
def ingest_lock(data_dir: Path, *, keep_waiting: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock that lets only one process ingest the logs of a data folder; see `beamline.storage.locks`."""
    try:
        with locked(Layout(data_dir).catalogue_lock, keep_waiting=keep_waiting) as held:
            yield held
    except LockError as error:
        raise CatalogueError(str(error)) from error
