"""Start or find the processes that follow the logs of a data folder, keep them running, wait for runs, report."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from beamline.child_process import module_command
from beamline.processes.kinds import KINDS, Kind, Worker, ingester
from beamline.processes.process import Follower
from beamline.storage.catalogue.condition import REFUSED
from beamline.storage.catalogue.errors import REMEDY
from beamline.storage.layout import INGEST, Layout
from beamline.storage.locks import is_locked
from beamline.storage.log import LogError
from beamline.storage.reports import details_to, last_report, progress_of

logger = logging.getLogger(__name__)

SAID_AFTER = 30.0  # s, when somebody who waits for a run is told what for
WAITED_FOR = "waiting for the catalogue to take in what was made, which is kept already"
PATIENCE = 60.0  # s to wait for a run, from the last document of it that was taken in
# s; a process that dies again after the last is not restarted, unless it had worked for a while.
RESTART_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0)
STEADY = 60.0  # s
WATCH_INTERVAL = 0.5  # s between looks at whether another session's process still works
STOP_TIMEOUT = 5.0  # s; then the process is killed, which neither the logs nor the catalogue mind
SILENCE = 10.0  # s without a report from the process, which reports every second
POLL_INTERVAL = 0.05  # s
UNDER_WAY = ("starting", "working", "idle")  # states
SIGNALS = {one.value: one.name for one in signal.Signals}  # most of the real-time signals have no name


@dataclass(frozen=True)
class FollowerStatus:
    """How a process keeps up with the measurement.

    Attributes
    ----------
    state : str
        "off", "starting", "working", "idle", "blocked" (by a catalogue that has to be made anew, or whose server
        does not answer), "silent" (running, but not reporting), "ended" or "failed".
    waiting : int
        Number of runs that it is not done with, including those being measured.
    behind : int
        Bytes of logs that it has not read.
    errors : dict of str to str
        Reason of the latest failure, by uid of the run; the key "" stands for the process itself.
    restarts : int
        How often it had to be restarted.
    pid : int or None
        Process id; None where nothing is reported.
    since : float or None
        When it was started, s since 1970.
    """

    state: str
    waiting: int
    behind: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    restarts: int = 0
    pid: int | None = None
    since: float | None = None


class LogFollowing(ABC):
    """Something that follows the logs of a data folder, of one kind: a process, or a thread of this one.

    Parameters
    ----------
    kind : str
        Its kind, a key of `beamline.processes.kinds.KINDS`.
    data_dir : Path
        The data folder.
    """

    def __init__(self, kind: str, data_dir: Path) -> None:
        self.kind: Kind = KINDS[kind]
        self._data_dir = data_dir
        self._layout = Layout(data_dir)
        self._restarts = 0
        self._failed = ""

    @property
    def is_found(self) -> bool:
        """Whether what works is of another session, which goes on when this one ends."""
        return False

    @abstractmethod
    def start(self) -> None:
        """Start it, unless one of its kind works in this folder, and return immediately; `status` says if it failed."""

    @abstractmethod
    def finish(self) -> None:
        """Let it end once everything is done."""

    @abstractmethod
    def stop(self) -> None:
        """End it now; what is left is done by the next one."""

    @abstractmethod
    def _why_off(self) -> str | None:
        """Say why nothing follows the logs now, empty where that is as it should be; None if something does."""

    @abstractmethod
    def has_ended(self) -> bool:
        """Tell whether nothing more will come of it, as it was not started, or has ended as it was told to."""

    def wait_for(self, uid: str, timeout: float = PATIENCE) -> bool:
        """Wait until it has done its part of a run.

        Parameters
        ----------
        uid : str
            Uid of a run that was recorded in this data folder.
        timeout : float
            Longest time to wait without anything being taken in, s.

        Returns
        -------
        bool
            False when it is not done in time, or will not be; `status` says why.

        Raises
        ------
        LogError
            When the folder has no log of this run.
        """
        done, deadline = progress_of(self._layout, self.kind.name), time.monotonic() + timeout
        while not self.kind.is_done(self._data_dir, uid):
            if self.has_ended():
                return self.kind.is_done(self._data_dir, uid)  # asked again, as it was just before it ended
            if (more := progress_of(self._layout, self.kind.name)) != done:
                done, deadline = more, time.monotonic() + timeout
            if time.monotonic() > deadline or self._failed or self._given_up(uid):
                return False
            time.sleep(POLL_INTERVAL)
        return True

    def why_missing(self, *uids: str, timeout: float = PATIENCE) -> str:
        """Wait until it has done its part of some runs, and say why if it has not.

        Parameters
        ----------
        *uids : str
            Uids of runs that were recorded in this data folder.
        timeout : float
            Longest time to wait without anything being taken in, s.

        Returns
        -------
        str
            One line, or empty if all is done.
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
        if all(each.startswith(REFUSED) for each in reasons):
            remedy = "; its data are in its log"
        else:
            remedy = "" if REMEDY in reason else f"; {self.kind.remedy}"
        return f"run {', '.join(late)} {self.kind.lack}: {reason}{remedy}"

    def why_not_coming(self, *uids: str) -> str:
        """Say why its part of some runs will not be done, by how things are now, without waiting for it.

        Parameters
        ----------
        *uids : str
            Uids of runs that were recorded in this data folder.

        Returns
        -------
        str
            One line; empty if all is done, or under way without an error.
        """
        left = [uid for uid in uids if not self.kind.is_done(self._data_dir, uid)]
        status = self.status()
        known = "" in status.errors or any(uid in status.errors for uid in left)
        return self.why_missing(*left, timeout=0.0) if left and (known or status.state not in UNDER_WAY) else ""

    def status(self) -> FollowerStatus:
        """Report how it keeps up."""
        waiting = self.kind.waiting(self._data_dir)
        if self._failed:
            return FollowerStatus("failed", waiting, 0, {"": self._failed}, self._restarts)
        if (reason := self._why_off()) is not None:
            return FollowerStatus("off", waiting, 0, {"": reason} if reason else {}, self._restarts)
        report = last_report(self._layout, self.kind.name)
        if report is None:
            return FollowerStatus("starting", waiting, restarts=self._restarts)
        state = "silent" if time.time() - report.time > SILENCE else report.state
        errors = {run.uid: run.error for run in report.runs if run.error}
        if report.error:
            errors[""] = report.error
        behind = sum(run.behind for run in report.runs)
        return FollowerStatus(state, waiting, behind, errors, self._restarts, report.pid, report.since)

    def _given_up(self, uid: str) -> bool:
        report = last_report(self._layout, self.kind.name)
        if report is None:
            return False
        return report.state == "blocked" or any(run.uid == uid and run.given_up for run in report.runs)


class FollowingProcess(LogFollowing):
    """A process that follows the logs: the one that works in the data folder already, or one of its own.

    The process shares nothing with this one but the folder: whatever happens to it, the scan goes on, and what was
    measured waits in the logs. It is restarted when it dies, but not again and again, nor when it cannot start in the
    first place. After `finish`, or when this process ends, it does what is left and exits. While another session's
    process works, none is started; one is when that has ended.

    Parameters
    ----------
    kind, data_dir
        As of `LogFollowing`.
    log_failures : bool
        Whether to log that the process cannot be started; otherwise only `status` and `why_missing` tell.
    """

    def __init__(self, kind: str, data_dir: Path, *, log_failures: bool = True) -> None:
        super().__init__(kind, data_dir)
        self._log_failures = log_failures
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._launching = threading.Lock()  # keeps the watcher from restarting the process while `stop` ends it
        self._launched_at = 0.0  # monotonic, s
        self._log_begin = 0  # size of the log file when the process was started last

    @property
    def pid(self) -> int | None:
        """Process id of the process that was started last; None before the first."""
        return None if self._process is None else self._process.pid

    @property
    def is_found(self) -> bool:
        """Whether the process is one that another keeps running, and not of our own."""
        return self._process is None and self._works_elsewhere()

    def start(self) -> None:
        """Start the process if none works yet, and return immediately; `status` says so if it cannot be started."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        self._stopping.clear()
        self._restarts, self._failed, self._process = 0, "", None
        if not self._works_elsewhere() and not self._launch():
            return
        self._watcher = threading.Thread(target=self._watch, name=self.kind.process, daemon=True)
        self._watcher.start()

    def finish(self) -> None:
        """Let the process exit once everything is done, and return immediately."""
        with self._launching:
            if self._watcher is not None and self._process is None and not self._works_elsewhere():
                self._launch()  # the process that was found has ended: what has come since is still to be done
            self._stopping.set()
            self._close_input()

    def stop(self) -> None:
        """End the process now, if it is one of our own; what is left is done by the next one."""
        with self._launching:
            self._stopping.set()
            self._close_input()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._watcher is not None:
            self._watcher.join()

    def _works_elsewhere(self) -> bool:
        """Tell whether another process of this kind works in the data folder."""
        return is_locked(self._layout.process_lock(self.kind.name))

    def _why_off(self) -> str | None:
        if self._works_elsewhere():
            return None
        if self._process is None:
            return None if self._watcher is not None and self._watcher.is_alive() else ""
        if (code := self._process.poll()) is None:
            return None
        return (self._why_ended() or f"its process ended by {_how(code)}") if code else ""

    def has_ended(self) -> bool:
        """Tell whether nothing more will come of it."""
        if self._watcher is None and self._process is None:
            return True
        ended = self._process is None or self._process.poll() is not None
        return self._stopping.is_set() and ended and not self._works_elsewhere()

    def _launch(self) -> bool:
        """Start the process; False if that is not possible."""
        self._close_input()
        self._launched_at = time.monotonic()
        command = module_command("beamline.processes.process", self.kind.name, str(self._data_dir), "--follow")
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            with self._layout.process_log(self.kind.name).open("ab") as log:
                self._log_begin = log.tell()
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # open as long as this process lives and has not called `finish`
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C at the prompt, which pauses a scan, must not reach this process
                )
        except OSError as error:
            self._fail(f"{self.kind.process} cannot be started: {error.filename}: {error.strerror}")
            return False
        return True

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _watch(self) -> None:
        """Start the process when another's ends, and again when it ends without being told to."""
        while not self._stopping.is_set():
            if self._process is None:
                self._stopping.wait(WATCH_INTERVAL)
                if not self._works_elsewhere() and not self._launch_again():
                    break
            else:
                code = self._process.wait()  # which also avoids a zombie
                if self._stopping.is_set() or not self._restart(code):
                    return
        if self._process is not None:  # that `finish` has started
            self._process.wait()

    def _restart(self, code: int) -> bool:
        """Start the process again, which ended with this code; False if it is not to be."""
        how = _how(code)
        if not self._has_worked() and code not in (-signal.SIGKILL, -signal.SIGTERM):
            self._fail(f"{self.kind.process} cannot start: {self._why_ended() or how}")
            return False
        if time.monotonic() - self._launched_at > STEADY or self._own_report().get("done"):
            self._restarts = 0  # what ends it again and again is something else
        if self._restarts == len(RESTART_DELAYS):
            self._fail(f"{self.kind.process} ended {self._restarts + 1} times, last by {how}")
            return False
        logger.warning("%s ended by %s; it is restarted", self.kind.process, how)
        if self._stopping.wait(RESTART_DELAYS[self._restarts]):
            return False
        self._restarts += 1
        return self._launch_again()

    def _launch_again(self) -> bool:
        """Start the process unless it is to end; False if it is not started."""
        with self._launching:
            return not self._stopping.is_set() and self._launch()

    def _fail(self, reason: str) -> None:
        if self._log_failures:
            logger.error("%s; see %s", reason, self._layout.process_log(self.kind.name))
        self._failed = reason  # last: who sees it finds it in the log

    def _has_worked(self) -> bool:
        """Tell whether the process, which has ended, had got so far as to ingest."""
        return bool(self._own_report().get("state", "starting") != "starting")

    def _own_report(self) -> dict[str, Any]:
        """Read what the process that was started last has reported; empty before it has."""
        assert self._process is not None
        with suppress(OSError, ValueError, KeyError, TypeError):
            report: dict[str, Any] = json.loads(self._layout.process_status(self.kind.name).read_text())
            return report if report["pid"] == self._process.pid else {}
        return {}

    def _why_ended(self) -> str:
        """Return the last line that the process has written, which is the error that ended it."""
        try:
            with self._layout.process_log(self.kind.name).open("rb") as log:
                log.seek(self._log_begin)
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")


def _how(code: int) -> str:
    return f"signal {SIGNALS.get(-code, -code)}" if code < 0 else f"exit code {code}"


class FollowingThread(LogFollowing):
    """A thread of this process that follows the logs, by the same code as a process does: for tests and notebooks.

    Parameters
    ----------
    kind, data_dir
        As of `LogFollowing`.
    work : callable, optional
        What does the work in place of that of the kind, as one that does a part of it.
    """

    def __init__(self, kind: str, data_dir: Path, work: Callable[[Path], Worker] | None = None) -> None:
        super().__init__(kind, data_dir)
        if work is not None:
            self.kind = replace(self.kind, work=work)
        self._follower: Follower | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, which waits while a process of its kind works in the data folder."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._failed = ""
        self._follower = Follower(self.kind, self._data_dir)
        self._follower.needed.set()
        self._thread = threading.Thread(target=self._run, args=(self._follower,), name=self.kind.does, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until everything is done, and end the thread."""
        if self._follower is not None and self._thread is not None:
            self._follower.needed.clear()
            self._thread.join()

    def stop(self) -> None:
        """End the thread now; what is left is done by the next one."""
        if self._follower is not None and self._thread is not None:
            self._follower.stop_requested.set()
            self._thread.join()

    def _run(self, follower: Follower) -> None:
        try:
            self._failed = follower.run()
        except Exception as error:  # the scan goes on
            self._failed = f"{self.kind.process} ended: {type(error).__name__}: {error}"
            logger.exception("%s", self._failed)

    def _why_off(self) -> str | None:
        return None if self._thread is not None and self._thread.is_alive() else ""

    def has_ended(self) -> bool:
        """Tell whether nothing more will come of it."""
        return self._thread is None or not self._thread.is_alive()


def ingest_now(data_dir: Path, *uids: str) -> str:
    """Ingest runs into the catalogue, and return when they are there.

    This process does it, unless another fills the catalogue already: it has imported half of what is needed, and need
    not give way to a scan, as it is waited for. What else is to be ingested is left to the next one.

    Returns
    -------
    str
        One line that says why runs are not in the catalogue after `PATIENCE`, or earlier if they will not be; empty if
        all are there. The runs are safe in their logs.
    """
    thread = FollowingThread(INGEST, data_dir, partial(ingester, only=uids))
    waiting = threading.Timer(SAID_AFTER, logger.warning, [WAITED_FOR])
    waiting.daemon = True
    with details_to(Layout(data_dir).process_log(INGEST), of=("beamline.storage", "beamline.processes.process")):
        thread.start()
        waiting.start()
        try:
            return thread.why_missing(*uids)
        finally:
            waiting.cancel()
            thread.stop()
