"""Hand documents to a consumer on a thread of its own, where it can neither slow nor stop the scan."""

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
# s; how long the thread, woken from its rest, lets documents gather. To change threads for each of them costs a fast
# scan (700 events/s) a tenth of its speed; nobody sees 10 ms.
GATHERING = 0.01


@dataclass(frozen=True)
class FeedStatus:
    """How a consumer is keeping up.

    Attributes
    ----------
    depth : int
        How many documents the queue holds at most.
    lag : int
        Documents that the consumer has not taken yet, in the queue or beyond it.
    errors : int
        Documents on which the consumer failed.
    last_error : str
        The newest failure, "" when there was none.
    caught_up : int
        Documents that did not fit into the queue and were read from the log instead.
    lost : int
        Documents that neither the queue nor the log could give; none, unless the log is gone.
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
    """How far one run has come: documents that the engine emitted, and that the consumer has taken."""

    emitted: int = 0
    taken: int = 0
    over: bool = False  # its stop document was emitted
    reader: LogReader | None = None  # kept for the next time that documents do not fit


class LiveFeed:
    """Copy documents into a bounded queue and return at once; a thread of its own hands them to the consumer.

    When the queue is full, the document is left to the recorder's log, from which the thread fetches it in its order:
    the consumer gets every document of a run, once, whatever its speed. A consumer that raises is counted, and gets
    the next document.

    Subscribe it after the recorder. Callable with (name, document); never raises.

    Parameters
    ----------
    consumer : callable
        Called with (name, document). The document is its own to change.
    depth : int
        How many documents the queue holds.
    log : callable
        Opens the log of a run, given its uid: `Recorder.read`.
    name : str
        Who is fed, for messages.
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
        self._changed = threading.Condition()  # guards the two above and the counts; never held while anyone works
        self._closing = False
        self._errors = 0
        self._last_error = ""
        self._kinds: set[str] = set()
        self._caught_up = 0
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __call__(self, name: str, doc: Doc) -> None:
        """Queue a copy of a document."""
        try:
            run = self._index.run_of(name, doc)
            # Only this thread adds to the queue, so there is room later if there is room now.
            copied = copy.deepcopy(doc) if len(self._queue) < self._depth else None
            with self._changed:
                progress = self._runs.setdefault(run, _Progress())
                if copied is not None:
                    self._queue.append((run, progress.emitted, name, copied))
                progress.emitted += 1
                progress.over = name == "stop"
                self._changed.notify_all()
            if name == "stop":
                self._index.forget(run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the scan goes on
            self._failed(error)

    def status(self) -> FeedStatus:
        """Say how the consumer is keeping up."""
        with self._changed:
            return FeedStatus(
                self._name, self._depth, self._lag(), self._errors, self._last_error, self._caught_up, self._lost
            )

    def drain(self, timeout: float) -> bool:
        """Wait until the consumer has taken every document.

        Parameters
        ----------
        timeout : float
            s.

        Returns
        -------
        bool
            False when it has not, in that time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._lag(), timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Let the consumer take what has come so far, then end its thread.

        Returns
        -------
        bool
            False when the consumer was not done in `timeout` s; the process can end all the same.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _lag(self) -> int:
        return sum(progress.emitted - progress.taken for progress in self._runs.values())

    def _work(self) -> None:
        while True:
            with self._changed:
                rested = not self._lag()
                self._changed.wait_for(lambda: self._lag() or self._closing)
                if not self._lag():
                    break
            if rested:
                time.sleep(GATHERING)
            with self._changed:
                item = self._queue.popleft() if self._queue else None
            if item is None:
                self._catch_up_all()
                continue
            run, number, name, doc = item
            progress = self._runs.get(run)
            if progress is None or number < progress.taken:
                continue  # it was read from the log in the meantime
            self._catch_up(run, progress, number)
            self._take(run, progress, name, doc)
        for progress in self._runs.values():  # closing, in the middle of a run
            if progress.reader is not None:
                progress.reader.close()

    def _catch_up_all(self) -> None:
        with self._changed:
            behind = [(run, progress, progress.emitted) for run, progress in self._runs.items()]
        for run, progress, emitted in behind:
            self._catch_up(run, progress, emitted)

    def _catch_up(self, run: str, progress: _Progress, number: int) -> None:
        """Take the documents of a run before `number` from its log."""
        if progress.taken >= number:
            return
        try:
            if progress.reader is None:
                progress.reader = self._log(run)
            progress.reader.skip_to(progress.taken)
            while progress.taken < number and (document := progress.reader.read()) is not None:
                with self._changed:
                    self._caught_up += 1
                self._take(run, progress, *document)
        except Exception as error:  # noqa: BLE001 - said, and the feed goes on with what comes
            self._failed(error)
        if progress.taken < number:
            with self._changed:
                self._lost += number - progress.taken
                self._advance(run, progress, number)

    def _take(self, run: str, progress: _Progress, name: str, doc: Doc) -> None:
        try:
            self._consumer(name, doc)
        except Exception as error:  # noqa: BLE001 - it costs the consumer this document, nobody else anything
            self._failed(error)
        with self._changed:
            self._advance(run, progress, progress.taken + 1)

    def _advance(self, run: str, progress: _Progress, taken: int) -> None:
        """Count documents as taken, and forget the run after its last. The lock is held."""
        progress.taken = taken
        if progress.over and taken == progress.emitted:
            del self._runs[run]
            if progress.reader is not None:
                progress.reader.close()
        self._changed.notify_all()

    def _failed(self, error: Exception) -> None:
        with self._changed:
            self._errors += 1
            self._last_error = f"{type(error).__name__}: {error}"
            new = type(error).__name__ not in self._kinds
            self._kinds.add(type(error).__name__)
        if new:  # once a kind: a consumer that fails on every document must not fill the disk
            logger.error("%s failed, the scan goes on", self._name, exc_info=error)
