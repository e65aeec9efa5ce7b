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
from pathlib import Path
from typing import Any

from beamline.storage.catalogue.ingest import FLUSH_INTERVAL, POLL_INTERVAL, RETRY_DELAYS, Ingester, ingest_lock
from beamline.storage.layout import Layout

logger = logging.getLogger("beamline.storage.catalogue.process")

NICENESS = 10  # the scan takes precedence


class _IngestProcess:
    """Ingests until it is told to stop, and reports its progress in the data folder's status file."""

    def __init__(self, data_dir: Path, *, follow: bool) -> None:
        self._data_dir = data_dir
        self._stop_requested = threading.Event()
        self._parent_needs_it = threading.Event()
        self._reported_at = 0.0  # s since 1970
        signal.signal(signal.SIGTERM, lambda *_: self._stop_requested.set())
        if follow:
            self._parent_needs_it.set()
            threading.Thread(target=self._watch_parent, daemon=True).start()

    def _watch_parent(self) -> None:
        """Wait for the end of standard input: the parent process has ended, or has finished measuring."""
        while os.read(0, 1):
            pass
        self._parent_needs_it.clear()

    def _keep_running(self) -> bool:
        return self._parent_needs_it.is_set() and not self._stop_requested.is_set()

    def run(self) -> None:
        """Ingest until told to stop, or until no parent needs it and everything is in the catalogue."""
        with ingest_lock(self._data_dir, keep_waiting=self._keep_running) as held:
            if not held:
                return
            self._report("starting", [])
            ingester = self._open_catalogue()
            if ingester is None:
                return
            while not self._stop_requested.is_set():
                busy = ingester.ingest_batch()
                self._report("working" if busy else "idle", ingester.status())
                if not self._keep_running() and not ingester.unfinished():
                    break
                if not busy:
                    self._stop_requested.wait(POLL_INTERVAL)
            self._report("ended", ingester.status(), at_once=True)
            ingester.close()

    def _open_catalogue(self) -> Ingester | None:
        """Open the catalogue, with retries; None when told to stop in the meantime."""
        for delay in (*RETRY_DELAYS, None):
            try:
                return Ingester(self._data_dir)
            except Exception as error:  # the database is locked or damaged, or the disk is full
                logger.exception("the catalogue cannot be opened")
                message = f"the catalogue cannot be opened: {error}".splitlines()[0]
                self._report("starting", [], error=message, at_once=True)
                if delay is None:
                    raise
                if self._stop_requested.wait(delay):
                    return None
        return None

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
    _IngestProcess(options.data_dir, follow=options.follow).run()


if __name__ == "__main__":
    main()
