"""Feed documents to a consumer on a thread of its own, where it can neither slow down nor stop the scan."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from beamline.storage.log import Doc, LogReader, RunIndex

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0  # s
# s that the idle thread waits for more documents after the first. Switching threads for every document would cost a
# fast scan (700 events/s) a tenth of its speed, and 10 ms are not noticed.
GATHERING_TIME = 0.01


@dataclass(frozen=True)
class FeedStatus:
    """How a consumer is keeping up.

    Attributes
    ----------
    name : str
        Name of the consumer.
    depth : int
        Capacity of the queue, documents.
    lag : int
        Number of documents that the consumer has not yet received, in the queue or beyond it.
    errors : int
        Number of documents on which the consumer failed.
    last_error : str
        The latest failure; empty if there was none.
    caught_up : int
        Number of documents that did not fit into the queue and were read from the log instead.
    lost : int
        Number of documents that were neither in the queue nor in the log, which only happens if the log is lost.
    """

    name: str
    depth: int
    lag: int
    errors: int
    last_error: str
    caught_up: int
    lost: int


@dataclass
class _Progress:
    """Progress of one run: how many documents the engine has emitted, and how many the consumer has received."""

    emitted: int = 0
    consumed: int = 0
    stopped: bool = False  # the stop document has been emitted
    reader: LogReader | None = None  # kept open for the next time that documents do not fit into the queue


class _Failures:
    """Counts the failures of a consumer, and logs the first of each kind."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._kinds: set[str] = set()
        self.count = 0
        self.last = ""

    def add(self, error: Exception) -> None:
        kind = type(error).__name__
        with self._lock:
            self.count += 1
            self.last = f"{kind}: {error}"
            first_of_its_kind = kind not in self._kinds
            self._kinds.add(kind)
        if first_of_its_kind:  # a consumer that fails on every document must not fill the disk with messages
            logger.error("%s failed, the scan goes on", self._name, exc_info=error)


class LiveFeed:
    """Copy documents into a bounded queue and return immediately; a thread hands them to the consumer.

    When the queue is full, the thread later reads the documents that did not fit from the recorder's log: the consumer
    receives every document of a run exactly once and in order, however slow it is. When it raises, the failure is
    counted, and it receives the next document.

    Subscribe it after the recorder. Callable with (name, document); never raises.

    Parameters
    ----------
    consumer : callable
        Called with (name, document). It may change the document, which is a copy.
    depth : int
        Capacity of the queue, documents.
    log : callable
        Opens the log of a run, given its uid: `Recorder.read`.
    name : str
        Name of the consumer, for messages.
    """

    def __init__(
        self,
        consumer: Callable[[str, Doc], None],
        *,
        depth: int,
        log: Callable[[str], LogReader],
        name: str = "live feed",
    ) -> None:
        self._consumer = consumer
        self._depth = depth
        self._log = log
        self._name = name
        self._index = RunIndex()
        self._queue: deque[tuple[str, int, str, Doc]] = deque()  # run, number in the run, name, document
        self._runs: dict[str, _Progress] = {}
        self._changed = threading.Condition()  # guards queue, runs and counts; never held while the consumer works
        self._closing = False
        self._failures = _Failures(name)
        self._caught_up = 0
        self._lost = 0
        self._thread = threading.Thread(target=self._feed, name=name, daemon=True)
        self._thread.start()

    def __call__(self, name: str, doc: Doc) -> None:
        """Queue a copy of a document."""
        try:
            run = self._index.run_of(name, doc)
            # Only this thread adds to the queue, so that space found now is still there below.
            copied = copy.deepcopy(doc) if len(self._queue) < self._depth else None
            with self._changed:
                progress = self._runs.setdefault(run, _Progress())
                if copied is not None:
                    self._queue.append((run, progress.emitted, name, copied))
                progress.emitted += 1
                progress.stopped = name == "stop"
                self._changed.notify_all()
            if name == "stop":
                self._index.forget(run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the scan goes on
            self._failures.add(error)

    def status(self) -> FeedStatus:
        """Report how the consumer is keeping up."""
        failures = self._failures
        with self._changed:
            return FeedStatus(
                self._name, self._depth, self._lag(), failures.count, failures.last, self._caught_up, self._lost
            )

    def drain(self, timeout: float) -> bool:
        """Wait until the consumer has received every document.

        Parameters
        ----------
        timeout : float
            Longest time to wait, s.

        Returns
        -------
        bool
            False when the time was not enough.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._lag(), timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Let the consumer receive the documents emitted so far, then end its thread.

        Returns
        -------
        bool
            False when the consumer has not finished within `timeout` s; the process can exit nevertheless.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _lag(self) -> int:
        return sum(progress.emitted - progress.consumed for progress in self._runs.values())

    def _feed(self) -> None:
        while True:
            with self._changed:
                idle = not self._lag()
                self._changed.wait_for(lambda: self._lag() or self._closing)
                if not self._lag():
                    break
            if idle:
                time.sleep(GATHERING_TIME)
            with self._changed:
                item = self._queue.popleft() if self._queue else None
            if item is None:
                self._catch_up_all()
                continue
            run, number, name, doc = item
            progress = self._runs.get(run)
            if progress is None or number < progress.consumed:
                continue  # it was read from the log in the meantime
            self._catch_up(run, progress, number)
            self._consume(run, progress, name, doc)
        for progress in self._runs.values():  # of runs that are still open when the feed is closed
            if progress.reader is not None:
                progress.reader.close()

    def _catch_up_all(self) -> None:
        with self._changed:
            behind = [(run, progress, progress.emitted) for run, progress in self._runs.items()]
        for run, progress, emitted in behind:
            self._catch_up(run, progress, emitted)

    def _catch_up(self, run: str, progress: _Progress, number: int) -> None:
        """Hand the documents of a run before `number` to the consumer, from the log."""
        if progress.consumed >= number:
            return
        try:
            if progress.reader is None:
                progress.reader = self._log(run)
            progress.reader.skip_to(progress.consumed)
            while progress.consumed < number and (document := progress.reader.read()) is not None:
                with self._changed:
                    self._caught_up += 1
                self._consume(run, progress, *document)
        except Exception as error:  # noqa: BLE001 - reported, and the feed continues with the documents that follow
            self._failures.add(error)
        if progress.consumed < number:
            with self._changed:
                self._lost += number - progress.consumed
                self._advance(run, progress, number)

    def _consume(self, run: str, progress: _Progress, name: str, doc: Doc) -> None:
        try:
            self._consumer(name, doc)
        except Exception as error:  # noqa: BLE001 - it costs the consumer this document, and affects nothing else
            self._failures.add(error)
        with self._changed:
            self._advance(run, progress, progress.consumed + 1)

    def _advance(self, run: str, progress: _Progress, consumed: int) -> None:
        """Count documents as consumed, and forget the run after its last one. The caller holds the lock."""
        progress.consumed = consumed
        if progress.stopped and consumed == progress.emitted:
            del self._runs[run]
            if progress.reader is not None:
                progress.reader.close()
        self._changed.notify_all()
