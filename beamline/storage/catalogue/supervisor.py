"""Supervise the process that fills the catalogue of a data folder: start and restart it, wait for runs, report."""

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

INGEST_TIMEOUT = 60.0  # s to wait for a run to be in the catalogue
RESTART_DELAYS = (1.0, 5.0, 30.0)  # s; a process that dies again after the last is not restarted
STOP_TIMEOUT = 5.0  # s; then the process is killed, which neither the logs nor the catalogue mind
SILENCE = 10.0  # s without a report from the process, which reports every second
POLL_INTERVAL = 0.1  # s


@dataclass(frozen=True)
class IngestStatus:
    """How the catalogue is keeping up with the measurement.

    Attributes
    ----------
    state : str
        "off", "starting", "working", "idle", "silent" (running, but not reporting), "ended" or "failed".
    waiting : int
        Number of runs that are not yet completely in the catalogue, including those being measured.
    errors : dict of str to str
        Reason of the latest failure, by uid of the run; the key "" stands for the catalogue itself.
    restarts : int
        How often the process had to be restarted.
    """

    state: str
    waiting: int
    errors: dict[str, str] = field(default_factory=dict)
    restarts: int = 0


class IngestSupervisor:
    """Runs `beamline.storage.catalogue.process`, which ingests the runs of a data folder into its catalogue.

    The process shares nothing with this one but the folder: whatever happens to it, the scan goes on, and the measured
    runs wait in the recorder's logs. It is restarted when it dies, up to three times. After `finish`, or when this
    process ends, it ingests what is left and exits.

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
        self._launching = threading.Lock()  # keeps the watcher from restarting the process while `stop` ends it
        self._restarts = 0
        self._failed = ""

    @property
    def pid(self) -> int | None:
        """Process id of the process that was started last; None before the first."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, and return immediately."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        self._stopping.clear()
        self._restarts, self._failed = 0, ""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._launch()
        self._watcher = threading.Thread(target=self._watch, name="catalogue process", daemon=True)
        self._watcher.start()

    def finish(self) -> None:
        """Let the process exit once everything is in the catalogue, and return immediately."""
        with self._launching:
            self._stopping.set()
            self._close_input()

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End the process now; runs that are not yet in the catalogue are ingested by the next one."""
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
            Uid of a run that was recorded in this data folder.
        timeout : float
            Longest time to wait, s.

        Returns
        -------
        bool
            False when the run is not there in time, or the process has failed or given it up; `status` says why.

        Raises
        ------
        LogError
            When the folder has no log of this run.
        """
        deadline = time.monotonic() + timeout
        while not self._is_ingested(uid):
            if time.monotonic() > deadline or self._failed or self._given_up(uid):
                return False
            time.sleep(POLL_INTERVAL)
        return True

    def status(self) -> IngestStatus:
        """Report how the catalogue is keeping up."""
        waiting = len(self._layout.pending_logs())
        if self._failed:
            return IngestStatus("failed", waiting, {"": self._failed}, self._restarts)
        if self._process is None or self._process.poll() is not None:
            return IngestStatus("off", waiting, {}, self._restarts)
        report = self._last_report()
        state = report.get("state", "starting")
        if report and time.time() - report["time"] > SILENCE:
            state = "silent"
        errors = {run["uid"]: run["error"] for run in report.get("runs", ()) if run["error"]}
        if report.get("error"):
            errors[""] = report["error"]
        return IngestStatus(state, waiting, errors, self._restarts)

    def _last_report(self) -> dict[str, Any]:
        """Read the last status, possibly of a process that another session started; empty if there is none alive."""
        with suppress(FileNotFoundError, ProcessLookupError):
            report: dict[str, Any] = json.loads(self._layout.ingest_status.read_text())
            os.kill(report["pid"], 0)  # raises if the process has died, which makes its report obsolete
            return report
        return {}

    def _given_up(self, uid: str) -> bool:
        return any(run["uid"] == uid and run["given_up"] for run in self._last_report().get("runs", ()))

    def _is_ingested(self, uid: str) -> bool:
        return is_ingested(find_log(self._data_dir, uid))

    def _launch(self) -> None:
        self._close_input()
        command = [sys.executable, "-m", "beamline.storage.catalogue.process", str(self._data_dir), "--follow"]
        with self._layout.ingest_log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # open as long as this process lives and has not called `finish`
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the prompt, which pauses a scan, must not reach this process
            )

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _watch(self) -> None:
        """Restart the process when it ends without being told to; waiting for it also avoids a zombie."""
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
            logger.warning("the process that fills the catalogue ended by %s; it is restarted", how)
            self._stopping.wait(RESTART_DELAYS[self._restarts])
            with self._launching:
                if self._stopping.is_set():
                    return
                self._restarts += 1
                self._launch()


def ingest_now(data_dir: Path, *uids: str) -> None:
    """Ingest runs into the catalogue, and return when they are there.

    If that takes longer than `INGEST_TIMEOUT`, an error is logged and nothing is raised: the runs are safe in their
    logs.
    """
    ingester = IngestSupervisor(data_dir)
    ingester.start()
    late = [uid for uid in uids if not ingester.wait_for(uid, INGEST_TIMEOUT)]
    ingester.finish()
    if late:
        reason = "; ".join(filter(None, ingester.status().errors.values())) or "it does not answer"
        logger.error("not yet in the catalogue: %s: %s. `beamline recover` ingests it later", ", ".join(late), reason)
