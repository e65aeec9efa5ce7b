"""The process that fills the catalogue: ``python -m beamline.storage.catalogue.process DATA_DIR``.

`beamline.storage.catalogue.supervisor` starts it and keeps it running. With ``--follow`` it runs until its standard
input is closed, which happens at the latest when the process that started it ends; then it ingests what is left, and
exits.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from beamline.storage.catalogue.condition import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.ingest import FLUSH_INTERVAL, POLL_INTERVAL, Ingester, ingest_lock
from beamline.storage.layout import Layout

logger = logging.getLogger("beamline.storage.catalogue.process")

NICENESS = 10  # the scan takes precedence
BLOCKED_INTERVAL = 5.0  # s between attempts to open a catalogue that cannot be opened


class IngestProcess:
    """Ingests until it is told to stop, and reports its progress in the data folder's status file.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    follow : bool
        Whether to keep running as long as standard input is open.

    Attributes
    ----------
    parent_needs_it : threading.Event
        Set as long as the process that started this one may measure more.
    """

    def __init__(self, data_dir: Path, *, follow: bool) -> None:
        self._data_dir = data_dir
        self._stop_requested = threading.Event()
        self.parent_needs_it = threading.Event()
        self._reported_at = 0.0  # s since 1970
        signal.signal(signal.SIGTERM, lambda *_: self._stop_requested.set())
        if follow:
            self.parent_needs_it.set()
            threading.Thread(target=self._watch_parent, daemon=True).start()

    def _watch_parent(self) -> None:
        """Wait for the end of standard input: the parent process has ended, or has finished measuring."""
        while os.read(0, 1):
            pass
        self.parent_needs_it.clear()

    def _keep_running(self) -> bool:
        return self.parent_needs_it.is_set() and not self._stop_requested.is_set()

    def keep_waiting(self) -> bool:
        """Tell whether to wait for another process that ingests: it may end just before it sees the last run."""
        pending = bool(Layout(self._data_dir).pending_logs())
        return self._keep_running() or (pending and not self._stop_requested.is_set())

    def run(self) -> str:
        """Ingest until told to stop, or until no parent needs it and everything is in the catalogue.

        Returns
        -------
        str
            Why the catalogue could not be opened, when the process ends because of that; else empty.
        """
        while True:
            with ingest_lock(self._data_dir, keep_waiting=self.keep_waiting) as held:
                if not held:
                    return ""
                try:
                    self._ingest()
                    return ""
                except CatalogueError as error:
                    reason, damaged = str(error), isinstance(error, DamagedCatalogueError)
            logger.error("%s", reason)
            # The lock is free meanwhile, so that `beamline recover` can make the catalogue anew.
            self._report("blocked" if damaged else "starting", [], error=reason, at_once=True)
            if not self._wait_while_blocked():
                return reason

    def _ingest(self) -> None:
        self._report("starting", [])
        with closing(Ingester(self._data_dir)) as ingester:
            while not self._stop_requested.is_set():
                last = not self._keep_running()  # asked first: what was recorded before is met by the next batch
                busy = ingester.ingest_batch()
                self._report("working" if busy else "idle", ingester.status())
                if last and not busy and not ingester.unfinished():
                    break
                ingester.check()
                if not busy:
                    self._stop_requested.wait(POLL_INTERVAL)
            self._report("ended", ingester.status(), at_once=True)

    def _wait_while_blocked(self) -> bool:
        """Wait before the catalogue is tried again; False when nobody needs it any more."""
        deadline = time.monotonic() + BLOCKED_INTERVAL
        while self._keep_running() and time.monotonic() < deadline:
            self._stop_requested.wait(POLL_INTERVAL)
        return self._keep_running()

    def _report(self, state: str, runs: list[dict[str, Any]], *, error: str = "", at_once: bool = False) -> None:
        """Write the status file, at most once every `FLUSH_INTERVAL` unless `at_once`."""
        now = time.time()
        if now - self._reported_at < FLUSH_INTERVAL and not at_once:
            return
        self._reported_at = now
        status = {"pid": os.getpid(), "time": now, "state": state, "error": error, "runs": runs}
        path = Layout(self._data_dir).ingest_status
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(json.dumps(status))
            new.replace(path)
        except OSError as reason:  # on a full disk the status gets old, and the supervisor reports that it is silent
            logger.error("%s: %s", new, reason.strerror)


def main(arguments: list[str] | None = None) -> None:
    """Run the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="keep running as long as standard input is open")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("beamline.storage.catalogue").setLevel(logging.INFO)
    os.nice(NICENESS)
    try:
        reason = IngestProcess(options.data_dir, follow=options.follow).run()
    except CatalogueError as error:
        reason = str(error)
    if reason:
        raise SystemExit(reason)  # printed on standard error, which is the log file; the exit code is 1


if __name__ == "__main__":
    main()
