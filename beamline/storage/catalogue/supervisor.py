"""Supervise the process that fills the catalogue of a data folder: start and restart it, wait for runs, report."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamline.child_process import module_command
from beamline.storage.catalogue.condition import REMEDY
from beamline.storage.layout import Layout, is_ingested
from beamline.storage.log import LogError, find_log

logger = logging.getLogger(__name__)

INGEST_TIMEOUT = 60.0  # s to wait for a run to be in the catalogue
RESTART_DELAYS = (1.0, 5.0, 30.0)  # s; a process that dies again after the last is not restarted
STOP_TIMEOUT = 5.0  # s; then the process is killed, which neither the logs nor the catalogue mind
SILENCE = 10.0  # s without a report from the process, which reports every second
POLL_INTERVAL = 0.1  # s
SIGNALS = {one.value: one.name for one in signal.Signals}  # most of the real-time signals have no name


@dataclass(frozen=True)
class IngestStatus:
    """How the catalogue is keeping up with the measurement.

    Attributes
    ----------
    state : str
        "off", "starting", "working", "idle", "blocked" (by a catalogue that has to be made anew), "silent" (running,
        but not reporting), "ended" or "failed".
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
    runs wait in the recorder's logs. It is restarted when it dies, up to three times, but not when it cannot start in
    the first place. After `finish`, or when this process ends, it ingests what is left and exits.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    log_failures : bool
        Whether to log that the process cannot be started; otherwise only `status` and `why_missing` tell.
    """

    def __init__(self, data_dir: Path, *, log_failures: bool = True) -> None:
        self._data_dir = data_dir
        self._log_failures = log_failures
        self._layout = Layout(data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._launching = threading.Lock()  # keeps the watcher from restarting the process while `stop` ends it
        self._restarts = 0
        self._failed = ""
        self._log_begin = 0  # size of the log file when the process was started last

    @property
    def pid(self) -> int | None:
        """Process id of the process that was started last; None before the first."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, and return immediately; `status` says so if it cannot be started."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        self._stopping.clear()
        self._restarts, self._failed = 0, ""
        if not self._launch():
            return
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
            Longest time to wait without anything being taken in, s.

        Returns
        -------
        bool
            False when the run is not there in time, or the process has failed or given it up; `status` says why.

        Raises
        ------
        LogError
            When the folder has no log of this run.
        """
        done, deadline = 0, time.monotonic() + timeout
        while not self._is_ingested(uid):
            if self._has_ended():
                return self._is_ingested(uid)  # asked again, as it was just before it ended
            if (more := self._documents()) != done:
                done, deadline = more, time.monotonic() + timeout
            if time.monotonic() > deadline or self._failed or self._given_up(uid):
                return False
            time.sleep(POLL_INTERVAL)
        return True

    def why_missing(self, *uids: str, timeout: float = INGEST_TIMEOUT) -> str:
        """Wait until runs are in the catalogue, and say why if they are not.

        Parameters
        ----------
        *uids : str
            Uids of runs that were recorded in this data folder.
        timeout : float
            Longest time to wait without anything being taken in, s.

        Returns
        -------
        str
            One line, or empty if all are there.
        """
        late: list[str] = []
        reasons: list[str] = []
        patience = timeout
        for uid in uids:
            try:
                if self.wait_for(uid, patience):
                    continue
                errors = self.status().errors
                if not (reason := errors.get("") or errors.get(uid)):
                    reason, patience = f"nothing came of it in {timeout:g} s", 0.0
                reasons.append(reason)
            except LogError as error:
                reasons.append(str(error))
            late.append(uid)
        if not late:
            return ""
        reason = "; ".join(dict.fromkeys(reasons))
        remedy = "" if REMEDY in reason else "; its data are in its log, `beamline recover` takes it in"
        return f"run {', '.join(late)} is not in the catalogue: {reason}{remedy}"

    def status(self) -> IngestStatus:
        """Report how the catalogue is keeping up."""
        waiting = len(self._layout.pending_logs())
        if self._failed:
            return IngestStatus("failed", waiting, {"": self._failed}, self._restarts)
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process is not None else 0
            errors = {"": self._why_ended() or f"its process ended by {_how(code)}"} if code else {}
            return IngestStatus("off", waiting, errors, self._restarts)
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
        # No file, no process, or not what the process writes.
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            report: dict[str, Any] = json.loads(self._layout.ingest_status.read_text())
            runs = [(run["uid"], run["error"], run["given_up"], run["documents"] + 0) for run in report["runs"]]
            _ = report["time"] + 0.0, runs
            os.kill(report["pid"], 0)  # raises if the process has died, which makes its report obsolete
            return report
        return {}

    def _documents(self) -> int:
        """Count the documents that have been taken in of the runs that are not complete yet."""
        return sum(run["documents"] for run in self._last_report().get("runs", ()))

    def _given_up(self, uid: str) -> bool:
        report = self._last_report()
        given_up = any(run["uid"] == uid and run["given_up"] for run in report.get("runs", ()))
        return given_up or report.get("state") == "blocked"

    def _is_ingested(self, uid: str) -> bool:
        return is_ingested(find_log(self._data_dir, uid))

    def _has_ended(self) -> bool:
        """Tell whether the process has ended as it was told to, so that nothing more will come of it."""
        return self._process is None or (self._stopping.is_set() and self._process.poll() is not None)

    def _launch(self) -> bool:
        """Start the process; False if that is not possible."""
        self._close_input()
        command = module_command("beamline.storage.catalogue.process", str(self._data_dir), "--follow")
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            with self._layout.ingest_log.open("ab") as log:
                self._log_begin = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # open as long as this process lives and has not called `finish`
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C at the prompt, which pauses a scan, must not reach this process
                )
        except OSError as error:
            self._fail(f"the process that fills the catalogue cannot be started: {error.filename}: {error.strerror}")
            return False
        return True

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
            how = _how(code)
            if not self._has_worked() and code not in (-signal.SIGKILL, -signal.SIGTERM):
                self._fail(f"the process that fills the catalogue cannot start: {self._why_ended() or how}")
                return
            if self._restarts == len(RESTART_DELAYS):
                self._fail(f"the process that fills the catalogue ended {self._restarts + 1} times, last by {how}")
                return
            logger.warning("the process that fills the catalogue ended by %s; it is restarted", how)
            self._stopping.wait(RESTART_DELAYS[self._restarts])
            with self._launching:
                if self._stopping.is_set():
                    return
                self._restarts += 1
                if not self._launch():
                    return

    def _fail(self, reason: str) -> None:
        self._failed = reason
        if self._log_failures:
            logger.error("%s; see %s", reason, self._layout.ingest_log)

    def _has_worked(self) -> bool:
        """Tell whether the process, which has ended, had got so far as to ingest."""
        assert self._process is not None
        with suppress(OSError, ValueError, KeyError, TypeError):
            report = json.loads(self._layout.ingest_status.read_text())
            return bool(report["pid"] == self._process.pid and report["state"] != "starting")
        return False

    def _why_ended(self) -> str:
        """Return the last line that the process has written, which is the error that ended it."""
        try:
            with self._layout.ingest_log.open("rb") as log:
                log.seek(self._log_begin)
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")


def _how(code: int) -> str:
    return f"signal {SIGNALS.get(-code, -code)}" if code < 0 else f"exit code {code}"


def ingest_now(data_dir: Path, *uids: str) -> str:
    """Ingest runs into the catalogue, and return when they are there.

    Returns
    -------
    str
        One line that says why runs are not in the catalogue after `INGEST_TIMEOUT`, or earlier if they will not be;
        empty if all are there. The runs are safe in their logs.
    """
    ingester = IngestSupervisor(data_dir, log_failures=False)
    ingester.start()
    reason = ingester.why_missing(*uids)
    ingester.finish()
    return reason
