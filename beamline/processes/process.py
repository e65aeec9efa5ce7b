"""A process that follows the logs of a data folder: ``python -m beamline.processes.process KIND DATA_DIR``.

`beamline.processes.followers` starts it and keeps it running. With ``--follow`` it runs until its standard input is
closed, which happens at the latest when the process that started it ends; then it does what is left, and exits. Only
one of its kind works in a data folder, the one that holds the lock; another waits for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.processes.kinds import KINDS, Kind
from beamline.processes.processors import leave_the_first
from beamline.storage.catalogue.errors import CatalogueServerError, DamagedCatalogueError
from beamline.storage.follow import LogChanges
from beamline.storage.layout import Layout
from beamline.storage.locks import locked

logger = logging.getLogger("beamline.processes.process")

NICENESS = 10  # the scan takes precedence
REPORT_INTERVAL = 1.0  # s
BLOCKED_INTERVAL = 5.0  # s between attempts at what cannot be done now, as to open a catalogue that is damaged
LAST_LOOK = 5.0  # s within which a process that works has looked for new logs, unless it has much to do


class Follower:
    """Follows the logs until it is told to stop, and reports its progress in a file of the data folder.

    Parameters
    ----------
    kind : Kind
        What it does.
    data_dir : Path
        The data folder.

    Attributes
    ----------
    needed : threading.Event
        Set as long as whoever started it may measure more.
    stop_requested : threading.Event
        Set to end it at once; what is left is done by the next one.
    """

    def __init__(self, kind: Kind, data_dir: Path) -> None:
        self._kind = kind
        self._data_dir = data_dir
        self._layout = Layout(data_dir)
        self.needed = threading.Event()
        self.stop_requested = threading.Event()
        self._began = time.time()
        self._reporting = threading.Lock()  # one thread at a time
        self._reported: dict[str, Any] = {}
        self._reported_at = 0.0  # s since 1970
        self._ended = threading.Event()
        self._unneeded_at = 0.0  # monotonic, s
        self._done = 0

    def run(self) -> str:
        """Work until told to stop, or until nobody needs it and everything is done.

        Returns
        -------
        str
            Why nothing could be done, when the process ends because of that; else empty.
        """
        heartbeat = threading.Thread(target=self._tell_that_it_lives, name=f"{self._kind.name} reports", daemon=True)
        heartbeat.start()
        try:
            return self._run()
        finally:
            self._ended.set()
            heartbeat.join()

    def _run(self) -> str:
        while True:
            with locked(self._layout.process_lock(self._kind.name), keep_waiting=self.keep_waiting) as held:
                if not held:
                    return ""
                try:
                    self._work()
                    return ""
                except BeamlineError as error:
                    reason, blocked = str(error), isinstance(error, CatalogueServerError | DamagedCatalogueError)
            logger.error("%s", reason)
            # The lock is free meanwhile, so that `beamline recover` can make the catalogue anew.
            self._report("blocked" if blocked else "starting", [], error=reason, at_once=True)
            if not self._wait_while_blocked():
                return reason

    def keep_waiting(self) -> bool:
        """Tell whether to wait for another process of this kind: it may end just before it sees the last run."""
        if self._keep_running():
            return True
        self._unneeded_at = self._unneeded_at or time.monotonic()
        looked = time.monotonic() > self._unneeded_at + LAST_LOOK
        return bool(self._layout.pending_logs()) and not looked and not self.stop_requested.is_set()

    def _keep_running(self) -> bool:
        return self.needed.is_set() and not self.stop_requested.is_set()

    def _work(self) -> None:
        self._report("starting", [], at_once=True)
        with closing(LogChanges(self._data_dir)) as changes, closing(self._kind.work(self._data_dir)) as worker:
            while not self.stop_requested.is_set():
                last = not self._keep_running()  # asked first: what was recorded before is met by the next turn
                busy = worker.advance()
                self._done = worker.done()
                self._report("working" if busy else "idle", worker.status())
                if last and not busy and not worker.unfinished():
                    break
                worker.check()
                if not busy:
                    changes.wait(gather=self._kind.gather)
            self._report("ended", worker.status(), at_once=True)

    def _wait_while_blocked(self) -> bool:
        """Wait before another attempt; False when nobody needs it any more."""
        deadline = time.monotonic() + BLOCKED_INTERVAL
        while self._keep_running() and time.monotonic() < deadline:
            self.stop_requested.wait(0.1)
        return self._keep_running()

    def _report(self, state: str, runs: list[dict[str, Any]], *, error: str = "", at_once: bool = False) -> None:
        """Write the status file, at most once every `REPORT_INTERVAL` unless `at_once`."""
        with self._reporting:
            self._reported = {"state": state, "error": error, "runs": runs}
            if at_once or time.time() - self._reported_at >= REPORT_INTERVAL:
                self._write_report()

    def _tell_that_it_lives(self) -> None:
        """Report once more what was reported last while a step takes long: it is not silent, and is at work."""
        while not self._ended.wait(REPORT_INTERVAL):
            with self._reporting:
                if self._reported and time.time() - self._reported_at >= 2 * REPORT_INTERVAL:
                    self._write_report()

    def _write_report(self) -> None:
        self._reported_at = time.time()
        about = {"pid": os.getpid(), "since": self._began, "time": self._reported_at, "cpu": time.process_time()}
        about["done"] = self._done
        status = about | self._reported
        path = self._layout.process_status(self._kind.name)
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(json.dumps(status))
            new.replace(path)
        except OSError as reason:  # on a full disk the status gets old, and it is reported to be silent
            logger.error("%s: %s", new, reason.strerror)


def _watch_parent(needed: threading.Event) -> None:
    """Wait for the end of standard input: the parent process has ended, or has finished measuring."""
    while os.read(0, 1):
        pass
    needed.clear()


def _give_way() -> None:
    """Let whoever measures have the processor when he wants it."""
    os.nice(NICENESS)
    leave_the_first()
    with suppress(OSError):  # it has a session of its own, whose share of the processor the kernel counts by itself
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def main(arguments: list[str] | None = None) -> None:
    """Run the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="keep running as long as standard input is open")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for name in ("beamline.storage.catalogue", "beamline.processes"):
        logging.getLogger(name).setLevel(logging.INFO)
    _give_way()
    follower = Follower(KINDS[options.kind], options.data_dir)
    signal.signal(signal.SIGTERM, lambda *_: follower.stop_requested.set())
    if options.follow:
        follower.needed.set()
        threading.Thread(target=_watch_parent, args=(follower.needed,), daemon=True).start()
    try:
        reason = follower.run()
    except BeamlineError as error:
        reason = str(error)
    if reason:
        raise SystemExit(reason)  # printed on standard error, which is the log file; the exit code is 1


if __name__ == "__main__":
    main()
