"""Keep the process that fills the catalogue of a data folder: start it, start it again, wait for it, ask it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamline.storage.layout import Layout, is_ingested
from beamline.storage.log import find_log

logger = logging.getLogger(__name__)

INGEST_TIMEOUT = 60.0  # s that somebody waits for a run to be in the catalogue
RESTART_DELAYS = (1.0, 5.0, 30.0)  # s; a process that still ends after that is left alone
STOP_TIMEOUT = 5.0  # s; then the process is killed, which its logs and the catalogue survive
SILENCE = 10.0  # s without a word from the process; it speaks every second
POLL_INTERVAL = 0.1  # s


@dataclass(frozen=True)
class IngestStatus:
    """How the catalogue is keeping up with what is measured.

    Attributes
    ----------
    state : str
        "off", "starting", "working", "idle", "silent" (it is there, and says nothing), "ended" or "failed".
    waiting : int
        Runs that are not wholly in the catalogue, those that are being measured among them.
    errors : dict of str to str
        For each run that could not be taken in at the last attempt, why; "" stands for the catalogue itself.
    restarts : int
        How often the process had to be started again.
    """

    state: str
    waiting: int
    errors: dict[str, str] = field(default_factory=dict)
    restarts: int = 0


class CatalogIngester:
    """Keeps a process (`beamline.storage.catalogue.ingest`) that takes the runs of a data folder into its catalogue.

    The process shares nothing with this one but the folder: whatever happens to it, the scan goes on, and what was
    measured waits in the recorder's logs. It is started again when it dies, three times. When this process is gone, or
    said to `finish`, it takes in what is left, and ends.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._layout = Layout(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._launching = threading.Lock()  # no launch behind the back of `stop`
        self._restarts = 0
        self._failed = ""

    def start(self) -> None:
        """Start the process, and return at once."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        self._stopping.clear()
        self._restarts, self._failed = 0, ""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._launch()
        self._watcher = threading.Thread(target=self._watch, name="catalogue process", daemon=True)
        self._watcher.start()

    def finish(self) -> None:
        """Let the process end as soon as everything is in the catalogue, and return at once."""
        with self._launching:
            self._stopping.set()
            self._let_go()

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End the process, wherever it is; what is not in the catalogue yet is taken in by the next one."""
        self.finish()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._watcher is not None:
            self._watcher.join()

    def wait_for(self, uid: str, timeout: float) -> bool:
        """Wait until a run is in the catalogue, stop document included.

        Parameters
        ----------
        uid : str
            Of a run that was recorded in this data folder.
        timeout : float
            s.

        Returns
        -------
        bool
            False when it is not there by then, or nobody is taking it in any more; `status` knows why.

        Raises
        ------
        LogError
            When no such run was recorded.
        """
        deadline = time.monotonic() + timeout
        while not self._is_ingested(uid):
            if time.monotonic() > deadline or self._failed or self._given_up(uid):
                return False
            time.sleep(POLL_INTERVAL)
        return True

    def status(self) -> IngestStatus:
        """Say how the catalogue is keeping up."""
        waiting = len(self._layout.spooled_logs())
        if self._failed:
            return IngestStatus("failed", waiting, {"": self._failed}, self._restarts)
        if self._process is None or self._process.poll() is not None:
            return IngestStatus("off", waiting, {}, self._restarts)
        told = self._told()
        state = told.get("state", "starting")
        if told and time.time() - told["time"] > SILENCE:
            state = "silent"
        errors = {run["uid"]: run["error"] for run in told.get("runs", ()) if run["error"]}
        if told.get("error"):
            errors[""] = told["error"]
        return IngestStatus(state, waiting, errors, self._restarts)

    def _told(self) -> dict[str, Any]:
        """Read what the process that holds the catalogue told last; it need not be ours."""
        with suppress(FileNotFoundError, ProcessLookupError):
            told = json.loads(self._layout.ingest_status.read_text())
            os.kill(told["pid"], 0)  # what a dead one told holds no more
            return told
        return {}

    def _given_up(self, uid: str) -> bool:
        return any(run["uid"] == uid and run["given_up"] for run in self._told().get("runs", ()))

    def _is_ingested(self, uid: str) -> bool:
        return is_ingested(find_log(self._data_dir, uid))

    def _launch(self) -> None:
        self._let_go()
        command = [sys.executable, "-m", "beamline.storage.catalogue.ingest", str(self._data_dir), "--follow"]
        with self._layout.ingest_log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # open as long as this process lives and wants it
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the prompt pauses a scan; it is not meant for this process
            )

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _watch(self) -> None:
        """Start the process again when it ends without being told to; wait for it, so that it leaves no zombie."""
        while True:
            assert self._process is not None
            code = self._process.wait()
            if self._stopping.is_set():
                return
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if self._restarts == len(RESTART_DELAYS):
                self._failed = f"the process that fills the catalogue ended {self._restarts + 1} times, last by {how}"
                logger.error("%s; see %s", self._failed, self._layout.ingest_log)
                return
            logger.warning("the process that fills the catalogue ended by %s; it is started again", how)
            self._stopping.wait(RESTART_DELAYS[self._restarts])
            with self._launching:
                if self._stopping.is_set():
                    return
                self._restarts += 1
                self._launch()


def ingest_now(data_dir: Path, *uids: str) -> None:
    """Take runs into the catalogue, and return when they are there.

    Where that takes longer than `INGEST_TIMEOUT`, it is said in the log of the program: the run is safe in its own log.
    """
    ingester = CatalogIngester(data_dir)
    ingester.start()
    late = [uid for uid in uids if not ingester.wait_for(uid, INGEST_TIMEOUT)]
    ingester.finish()
    if late:
        why = "; ".join(filter(None, ingester.status().errors.values())) or "it does not answer"
        logger.error("the catalogue has not taken in %s: %s. `beamline recover` does it later", ", ".join(late), why)
