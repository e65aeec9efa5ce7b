"""The live reduction: follows the logs of raw runs, and stores a derived run of each.

The reduction of a run has uids that follow from the run's. How far it has got is what is in its log: a process that
takes over from one that died reduces the run once more from its beginning, passes over what is stored, and goes on.
Whoever writes that log holds its lock, so that a run is never reduced twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.storage.derived import DerivedRuns
from beamline.storage.follow import BATCH_DOCUMENTS, NewLogs
from beamline.storage.joined import Joining
from beamline.storage.layout import Layout
from beamline.storage.log import Doc, Document, LogError, LogReader, find_log, is_being_written, read_start
from beamline.storage.recorder import OtherRunError
from beamline.storage.reductions import is_complete, is_measurement, live_uid
from beamline.storage.relocation import relocate
from beamline.techniques import pipelines
from callbacks.contract import MEASUREMENT, PROCESSING, Measurement, parts_before, reduction_of
from callbacks.pipelines import Pipeline
from callbacks.reduction import RunReduction, pipeline_of

logger = logging.getLogger(__name__)

RETRY_DELAYS = (1, 2, 4, 8, 16, 32, 60, 60, 60)  # s; the last again and again, but nobody waits any more
PATIENCE = 60.0  # s
TAKEN_INTERVAL = 0.1  # s between looks at a run that another process reduces
MOST_AT_ONCE = 8  # runs that are reduced side by side, of those that were missed
MOST_FAILED = 20  # runs with errors that are done and still told of


@dataclass
class _Run:
    """A raw run, and how far it has been reduced."""

    path: Path
    start: Doc
    reader: LogReader | None = None  # of the current attempt, as the next two; None between attempts
    reduction: RunReduction | None = None
    store: DerivedRuns | None = None
    joining: Joining | None = None  # of the runs that it goes on with
    at_end: bool = False  # the end of the log was reached; it may still grow
    errors: int = 0  # documents that could not be reduced
    error: str = ""  # the latest
    kinds: set[str] = field(default_factory=set)  # of errors that were logged
    failures: int = 0  # attempts that could not be stored
    retry_at: float = 0.0  # monotonic, s
    given_up: bool = False
    left_at: int | None = None  # size of a log whose writer died, and of which all is reduced, bytes
    anew: bool = False  # what is stored of its reduction is not what comes of it now

    def close(self) -> None:
        """Close the log, and that of the derived run, which can be gone on with."""
        if self.reader is not None:
            self.reader.close()
        if self.store is not None:
            self.store.close()
        self.reader = self.reduction = self.store = None

    def status(self) -> dict[str, Any]:
        return {
            "uid": self.path.stem,
            "documents": 0 if self.reader is None else self.reader.number,
            "behind": 0 if self.reader is None else self.reader.behind,
            "errors": self.errors,
            "given_up": self.given_up,
            "error": self.error,
        }


class Reduction:
    """Reduces the raw runs of a data folder as they are measured, and those that were measured while it was not there.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    only : set of str, optional
        Uids of the runs to reduce, to which more may be added; all that are not reduced where not given.
    retry_delays : sequence of float
        Delay (s) before each new attempt at a run whose reduction could not be stored; then it is given up.

    Attributes
    ----------
    reduced : list of str
        Uids of the raw runs that it has reduced.
    """

    def __init__(
        self, data_dir: Path, only: set[str] | None = None, retry_delays: Sequence[float] = RETRY_DELAYS
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._only = only
        self._retry_delays = retry_delays
        self._pipelines: dict[str, Pipeline] = pipelines()
        self._new = NewLogs(self._data_dir, ingested=True)
        self._runs: dict[str, _Run] = {}
        self._seen: set[str] = set()  # raw runs that are, or were, among `_runs`
        self._failed: deque[dict[str, Any]] = deque(maxlen=MOST_FAILED)
        self.reduced: list[str] = []

    def done(self) -> int:
        """Count the runs that it has reduced."""
        return len(self.reduced)

    def advance(self) -> bool:
        """Reduce the next documents of every run; False when there was nothing to do."""
        self._find_runs()
        # What is being measured comes before what was missed.
        runs = sorted(self._runs.values(), key=lambda run: run.start["time"], reverse=True)
        worked = [self._advance(run) for run in runs]
        return any(worked)

    def complete(self, patience: float = PATIENCE) -> None:
        """Go on until nothing remains to be reduced, or `patience` (s) passes without progress of who else reduces."""
        seen, deadline = -1, math.inf
        while (busy := self.advance()) or self.unfinished():
            if busy:
                deadline = math.inf
                continue
            sizes = sum(_size(Layout(self._data_dir).log(live_uid(uid))) for uid in self._runs)
            if sizes != seen or deadline == math.inf:
                seen, deadline = sizes, time.monotonic() + patience
            if time.monotonic() > deadline:
                for run in self._runs.values():
                    run.given_up, run.error = True, run.error or "another process reduces it, and does not go on"
            time.sleep(TAKEN_INTERVAL)

    def check(self) -> None:
        """Nothing ends it but the disk, which it waits for."""

    def unfinished(self) -> bool:
        """Tell whether a run remains to be reduced: still being measured, or closed and not given up."""
        return any(not run.given_up and run.left_at is None for run in self._runs.values())

    def status(self) -> list[dict[str, Any]]:
        """Report of each run under way, and of those that had errors, how far it is and its latest error."""
        return [*self._failed, *(run.status() for run in self._runs.values())]

    def close(self) -> None:
        """Close the logs; a run that is not finished is gone on with next time."""
        for run in self._runs.values():
            run.close()

    def _find_runs(self) -> None:
        """Take up the raw runs that have appeared and have not been reduced."""
        if self._only is not None:
            for uid in self._only - self._seen:
                path = find_log(self._data_dir, uid)
                self._runs[uid] = _Run(path, read_start(path))
                self._seen.add(uid)
            return
        found = list(self._new)
        reduced = {
            raw for path, start in found if (raw := reduction_of(start)) and raw not in self._seen and is_complete(path)
        }
        for path, start in found:
            uid = path.stem
            if is_measurement(start) and uid not in reduced:
                self._runs[uid] = _Run(path, start)
                self._seen.add(uid)

    def _advance(self, run: _Run) -> bool:
        """Reduce the next documents of a run, and handle what goes wrong; False when there was nothing to do."""
        if time.monotonic() < run.retry_at or (run.reduction is None and not self._has_room()):
            return False
        if run.left_at is not None and run.left_at == _size(run.path):
            return False
        try:
            if run.reduction is None and not self._begin(run):
                return False
            return self._reduce_batch(run)
        except OtherRunError as error:  # frames can be read now that could not, or the software is another
            run.close()
            run.anew = True
            logger.warning("run %s: %s; it is reduced anew", run.path.stem, error)
        except (BeamlineError, OSError) as error:  # of the disk; what is stored stays, and is gone on with
            run.close()
            run.failures += 1
            given_up, run.given_up = run.given_up, run.failures > len(self._retry_delays)
            run.error = _in_a_line(error)
            if run.given_up and not given_up:
                logger.error("run %s is not reduced, given up for now: %s", run.path.stem, run.error)
            elif not run.given_up:
                logger.error("run %s: %s", run.path.stem, run.error)
            # One that is given up is waited for no more, but tried as long as this process lives.
            delays = self._retry_delays or (math.inf,)
            run.retry_at = time.monotonic() + delays[min(run.failures, len(delays)) - 1]
        except Exception as error:  # noqa: BLE001 - of a start document that does not say how to reduce the run
            run.close()
            run.given_up, run.error, run.retry_at = True, _in_a_line(error), math.inf
            logger.error("run %s cannot be reduced: %s", run.path.stem, run.error)
        return True

    def _has_room(self) -> bool:
        return sum(run.reduction is not None and not run.at_end for run in self._runs.values()) < MOST_AT_ONCE

    def _begin(self, run: _Run) -> bool:
        """Begin the derived run, or go on with one that a process was storing when it died.

        Returns
        -------
        bool
            False where another process stores it, or it is complete.
        """
        run.path = Layout(self._data_dir).find_log(run.path.stem) or run.path
        run.reader = LogReader(run.path)
        measurement = Measurement.model_validate(run.start[MEASUREMENT])
        pipeline = pipeline_of(measurement, self._pipelines)
        settings = run.start.get(PROCESSING, {}).get(pipeline.name, {})
        uid = live_uid(run.path.stem)
        path = Layout(self._data_dir).find_log(uid)
        if path is not None and is_being_written(path):
            run.retry_at = time.monotonic() + TAKEN_INTERVAL
            run.close()
            return False
        if path is not None and is_complete(path):
            self._finish(run)
            return False
        run.left_at = None
        run.reduction = RunReduction(pipeline, measurement, settings, _to(run), uid=uid)
        run.store = DerivedRuns(self._data_dir)
        run.joining = Joining(self._earlier) if parts_before(run.start) else None
        if run.anew:
            run.store.drop(uid)
        elif path is not None:
            run.store.resume(uid)
        run.anew = False
        return True

    def _reduce_batch(self, run: _Run) -> bool:
        assert run.reader is not None
        first = run.reader.number
        run.at_end = False
        while run.reader.number - first < BATCH_DOCUMENTS:
            document = run.reader.read()
            if document is None and not (written := self._is_written(run)):
                document = run.reader.read()  # asked before: what was written last is read now
            if document is None:
                run.at_end = True
                break
            for each in [document] if run.joining is None else run.joining.take(*document):
                self._reduce(run, *each)
            if document[0] == "stop":
                self._finish(run)
                return True
        number = run.reader.number
        if run.at_end and run.reader.is_replaced:  # it was deleted, and is written again
            run.close()
        elif run.at_end and not written:  # its writer died; it is gone on with when the log is
            run.left_at = _size(run.path)
            run.close()
        return number > first

    def _earlier(self, uid: str) -> Iterator[Document]:
        """Read the documents of a run that another goes on with."""
        with LogReader(find_log(self._data_dir, uid)) as reader:
            yield from reader

    def _is_written(self, run: _Run) -> bool:
        """Tell whether the log of a run is being written, wherever it lies now."""
        run.path = Layout(self._data_dir).find_log(run.path.stem) or run.path
        try:
            return is_being_written(run.path)
        except LogError:  # it moves at this moment, and is complete
            return False

    def _reduce(self, run: _Run, name: str, doc: Doc) -> None:
        assert run.reduction is not None
        try:
            run.reduction(name, relocate(name, doc, self._data_dir))
        except (BeamlineError, OSError):
            raise
        except Exception as error:
            run.errors += 1
            run.error = f"{type(error).__name__}: {_in_a_line(error)}"
            if type(error).__name__ not in run.kinds:  # one that fails on every document must not fill the disk
                logger.error("run %s: a document %r could not be reduced", run.path.stem, name, exc_info=error)
            run.kinds.add(type(error).__name__)

    def _finish(self, run: _Run) -> None:
        uid = run.path.stem
        if run.errors:
            self._failed.append(run.status())
        run.close()
        del self._runs[uid]
        self.reduced.append(uid)


def _to(run: _Run) -> Callable[[str, Doc], None]:
    """Give what stores the documents of the reduction of a run."""

    def emit(name: str, doc: Doc) -> None:
        assert run.store is not None
        try:
            run.store(name, doc)
        except (BeamlineError, OSError):
            raise
        except Exception as error:  # of HDF5, which has others where the disk is full
            raise BeamlineError(f"what was reduced cannot be stored: {_in_a_line(error)}") from error

    return emit


def _size(path: Path) -> int:
    """Give the size of a log, 0 where it has moved."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
