"""Hand the documents of this session's runs to consumers on a thread, where they can neither slow nor stop the scan."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from beamline.storage.log import Doc, LogError, LogReader, open_log

logger = logging.getLogger(__name__)

# s between looks at the logs: a message or a progress bar need not be faster, and a thread that wakes for each document
# would take time from the engine, which it shares an interpreter with.
INTERVAL = 0.1
CLOSE_TIMEOUT = 10.0  # s


@dataclass
class _Consumer:
    """Takes documents; its failures are counted, and the first of each kind is logged."""

    name: str
    take: Callable[[str, Doc], None]
    errors: int = 0
    kinds: set[str] = field(default_factory=set)

    def __call__(self, name: str, doc: Doc) -> None:
        try:
            self.take(name, doc)
        except Exception as error:
            self.errors += 1
            kind = type(error).__name__
            if kind not in self.kinds:  # one that fails on every document must not fill the disk with messages
                logger.error("%s failed, the scan goes on", self.name, exc_info=error)
            self.kinds.add(kind)


class Watcher:
    """Read the documents of runs back from their logs, each once and in order, for consumers that need no hurry.

    Subscribe it to start documents, after the recorder. What computes does not belong here but into a process of its
    own (`beamline.processes`): a consumer shares the interpreter with the engine.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._readers: list[LogReader] = []  # of runs that are not complete
        self._consumers: list[_Consumer] = []
        self._changed = threading.Condition()  # guards all but the consumers, which work without it
        self._passes = 0
        self._asked = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def __call__(self, _name: str, start: Doc) -> None:
        """Follow a run from its start document on."""
        try:
            reader = open_log(self._data_dir, start["uid"])
        except LogError as error:  # the scan goes on
            logger.error("%s", error)
            return
        with self._changed:
            self._readers.append(reader)

    def add(self, name: str, consumer: Callable[[str, Doc], None]) -> None:
        """Hand the documents from now on to a consumer, too; `name` is for messages."""
        with self._changed:
            self._consumers.append(_Consumer(name, consumer))

    def errors(self) -> dict[str, int]:
        """Count the documents that each consumer failed on."""
        return {consumer.name: consumer.errors for consumer in self._consumers}

    def drain(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Wait until what has been recorded so far has been handed on; False when the time (s) was not enough."""
        with self._changed:
            wanted = self._passes + 2  # the one under way may have read some logs already
            while self._passes < wanted:
                self._asked.set()
                if not self._changed.wait(timeout):
                    return False
        return True

    def close(self) -> None:
        """Hand on what has been recorded so far, and end the thread; a consumer that hangs is left behind."""
        with self._changed:
            self._closing = True
        self._asked.set()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                closing = self._closing  # asked first: what was recorded before is read below
                readers, consumers = list(self._readers), list(self._consumers)
            for reader in readers:
                self._hand_on(reader, consumers)
            with self._changed:
                self._passes += 1
                self._changed.notify_all()
            if closing:
                break
            self._asked.wait(INTERVAL)
            self._asked.clear()
        for reader in self._readers:
            reader.close()

    def _hand_on(self, reader: LogReader, consumers: list[_Consumer]) -> None:
        try:
            for name, doc in reader:
                for consumer in consumers:
                    consumer(name, doc)
                if name == "stop":
                    self._forget(reader)
                    return
        except LogError as error:
            logger.error("%s", error)
            self._forget(reader)

    def _forget(self, reader: LogReader) -> None:
        reader.close()
        with self._changed:
            self._readers.remove(reader)
