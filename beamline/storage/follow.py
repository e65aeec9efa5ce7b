"""Follow the logs of a data folder: find each one that appears, read it while it is written, wait for what comes next.

A log is where documents are handed from the process that measures to all others: to the reduction, to the catalogue, to
pictures. What a process missed while it was not there is still in the logs when it comes back.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from inotify_simple import INotify, flags

from beamline.storage.layout import Layout, logs_in
from beamline.storage.log import Doc, Document, LogError, LogReader, read_start

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.2  # s; the kernel says nothing of what another computer writes to a network file system
BATCH_DOCUMENTS = 500  # of one run, before the other runs get their turn
# s: a folder that was changed this short a time ago may be changed again without a new time: file systems count in
# ticks of some milliseconds.
UNSETTLED = 1.0
_CHANGES = flags.MODIFY | flags.MOVED_TO | flags.MOVED_FROM | flags.CREATE | flags.DELETE_SELF | flags.MOVE_SELF


class LogChanges:
    """Wait until something changes among the logs of a data folder that are not yet completely in the catalogue.

    The kernel tells of it (inotify). As it cannot everywhere, waiting ends after `POLL_INTERVAL` in any case.

    Parameters
    ----------
    data_dir : Path
        The data folder; a folder of logs is made in it if there is none.

    Raises
    ------
    OSError
        When the folder of the logs cannot be made.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = Layout(data_dir).logs
        self._folder.mkdir(parents=True, exist_ok=True)
        self._inotify: INotify | None = None
        self._watched = False
        try:
            self._inotify = INotify()
        except OSError as error:  # the kernel gives each user so many
            logger.warning("%s: changes are looked for every %g s: %s", self._folder, POLL_INTERVAL, error.strerror)
        self._watch()  # before the caller looks for the first time, so that it misses nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, timeout: float = POLL_INTERVAL, *, gather: float = 0.0) -> None:
        """Return after a change since the last call, or without one after a time.

        Parameters
        ----------
        timeout : float
            s; at most `POLL_INTERVAL`.
        gather : float
            s that more changes are waited for after the first: to wake up for each of many documents costs more than to
            read them.
        """
        self._watch()
        if self._inotify is None or not self._watched:
            time.sleep(timeout)
            return
        events = self._inotify.read(timeout=math.ceil(1e3 * timeout))
        if events and gather:
            time.sleep(gather)
            events += self._inotify.read(timeout=0)
        if any(event.mask & (flags.IGNORED | flags.MOVE_SELF) for event in events):
            self._watched = False  # the folder is gone; the next call watches the one that has its name

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _watch(self) -> None:
        if self._inotify is not None and not self._watched:
            with suppress(OSError):  # the folder is not there, or there are too many watches: it is polled meanwhile
                self._inotify.add_watch(self._folder, _CHANGES)
                self._watched = True


class NewLogs:
    """Find each log that appears in a data folder, once, whether or not its run is in the catalogue by then.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    ingested : bool
        Whether to find also logs of runs that are completely in the catalogue.
    """

    def __init__(self, data_dir: Path, *, ingested: bool) -> None:
        self._layout = Layout(data_dir)
        self._ingested = ingested
        self._known: set[str] = set()  # names of logs
        self._unreadable: set[Path] = set()
        self._looked_at: dict[Path, float] = {}  # folders of ingested logs -> the time of their change, if settled

    def __iter__(self) -> Iterator[tuple[Path, Doc]]:
        """Yield path and start document of each log that has appeared since; one that cannot be read is logged."""
        for path in self._paths():
            if path not in self._unreadable and (start := self._start(path)) is not None:
                self._known.add(path.stem)
                yield path, start

    def forget(self, uid: str) -> None:
        """Find the log of a run again, should it appear once more, as a run does that is to be ingested anew."""
        self._known.discard(uid)

    def _paths(self) -> Iterator[Path]:
        yield from logs_in(self._layout.logs, self._known)
        if not self._ingested:
            return
        for folder in self._layout.folders_of_ingested_logs():
            changed = folder.stat().st_mtime
            if self._looked_at.get(folder) == changed:
                continue
            if time.time() - changed > UNSETTLED:
                self._looked_at[folder] = changed
            yield from logs_in(folder, self._known)

    def _start(self, path: Path) -> Doc | None:
        try:
            start = read_start(path)
            if start["uid"] != path.stem:
                raise LogError(f"{path}: is named for another run than it holds, which is {start['uid']!r:.80}")
        except LogError as error:
            if path.exists():  # otherwise it moved just now, and is met again
                self._unreadable.add(path)
                logger.error("%s", error)
            return None
        return start


class LogFollower:
    """Read the documents of the runs of a data folder as they are written, each once and each run in order.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    wanted : callable
        Called with the start document of each run that is not yet completely in the catalogue; tells whether to follow
        it.
    """

    def __init__(self, data_dir: Path, wanted: Callable[[Doc], bool]) -> None:
        self._new = NewLogs(data_dir, ingested=False)
        self._wanted = wanted
        self._readers: dict[str, LogReader] = {}

    def __iter__(self) -> Iterator[Document]:
        """Yield what has been written since."""
        for path, start in self._new:
            if self._wanted(start):
                with suppress(LogError):  # it moved just now: the run is complete
                    self._readers[path.stem] = LogReader(path)
        for uid, reader in list(self._readers.items()):
            for name, doc in reader:
                yield name, doc
                if name == "stop":
                    self._readers.pop(uid).close()
                    break

    def close(self) -> None:
        """Close the logs."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
