"""Keep the parts of a service running: start each after those it needs, look whether it is well, start it again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 0.5  # s between looks at whether it is well
UNWELL_AFTER = 15.0  # s without an answer, after which a part that has answered before is started again
RESTART_DELAYS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # s; the last again and again: nobody may be there at night
STEADY = 60.0  # s that a part must have run for its next end to count as the first
STOP_TIMEOUT = 8.0  # s to end by itself; then its processes are killed


@dataclass(frozen=True)
class Part:
    """A process of the service.

    Attributes
    ----------
    name : str
        Of its log.
    does : str
        As in "the process that ...".
    command : sequence of str
    environment : mapping
        Added to that of the supervisor; never logged.
    well : callable
        Gives "" where it answers as it should, else why not. It may raise what a connection raises.
    after : sequence of str
        Names of the parts that must be well before it is started.
    start_within : float
        s that it may take to be well.
    before_stop : callable
        Called before it is told to end, to let it end what it does in order.
    """

    name: str
    does: str
    command: Sequence[str]
    environment: Mapping[str, str]
    well: Callable[[], str]
    after: Sequence[str] = ()
    start_within: float = 30.0
    before_stop: Callable[[], None] = lambda: None

    @property
    def identity(self) -> str:
        """What tells it from a part with other settings, without giving them away."""
        return hashlib.sha256(json.dumps([list(self.command), dict(self.environment)]).encode()).hexdigest()


@dataclass
class PartStatus:
    """How a part is: for `beamline status` and the page.

    Attributes
    ----------
    state : str
        "waiting" (for others), "starting", "running", "unwell" (it does not answer), "restarting", "stopping", "ended".
    pid : int or None
    created : float
        When the process was made, s since 1970, by which it is told from another of its pid.
    since : float
        When it was started, s since 1970.
    restarts : int
        How often it was started again.
    error : str
        Why it ended or does not answer, last; "" where nothing was wrong.
    identity : str
        See `Part`.
    """

    does: str
    state: str = "waiting"
    pid: int | None = None
    created: float = 0.0
    since: float = 0.0
    restarts: int = 0
    error: str = ""
    identity: str = ""


class Supervised:
    """One part, which a thread of its own keeps running.

    Its process has a session of its own, so that neither Ctrl-C at the prompt nor the end of the supervisor reaches it:
    a supervisor that was killed finds it again, by what it noted of it.
    """

    def __init__(self, part: Part, log: Path, others: Mapping[str, Supervised], noted: PartStatus | None) -> None:
        self.part = part
        self.status = PartStatus(part.does, identity=part.identity)
        self.is_well = threading.Event()
        self._log = log
        self._others = others
        self._noted = noted
        self._process: psutil.Process | None = None
        self._own: subprocess.Popen[bytes] | None = None
        self.stop_timeout = STOP_TIMEOUT
        self._was_well = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=part.name, daemon=True)

    def start(self) -> None:
        """Begin, and return at once."""
        self._thread.start()

    def stop(self) -> None:
        """End its processes, and wait until they have."""
        self._stopping.set()
        self._thread.join()
        if self._process is not None and self._alive():
            self.status.state = "stopping"
            self.part.before_stop()
            self._end()
        self.status.state = "ended"

    def _run(self) -> None:
        for name in self.part.after:
            while not self._others[name].is_well.wait(LOOK_INTERVAL):
                if self._stopping.is_set():
                    return
        if not self._adopt():
            self._launch()
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            # Longer each time: on an overloaded computer it may just be slow, and to start it anew costs most.
            reason = self._watch(self.part.start_within * (1 + failures))
            if self._stopping.is_set():
                return
            self.is_well.clear()
            failures = 0 if self._was_well and time.monotonic() - began > STEADY else failures
            delay = RESTART_DELAYS[min(failures, len(RESTART_DELAYS) - 1)]
            failures += 1
            self.status.state, self.status.error = "restarting", reason
            logger.warning("%s: %s; it is started again in %g s", self.part.name, reason, delay)
            self._end()
            if self._stopping.wait(delay):
                return
            self.status.restarts += 1
            self._launch()

    def _adopt(self) -> bool:
        """Go on with the process that a supervisor before has left, where it is the same; end it where it is not."""
        noted = self._noted
        if noted is None or noted.pid is None:
            return False
        try:
            process = psutil.Process(noted.pid)
            if abs(process.create_time() - noted.created) > 0.02:
                return False
        except psutil.Error:
            return False
        self._process = process
        if noted.identity != self.part.identity:
            logger.warning("%s: was started with other settings; it is ended, and started with these", self.part.name)
            self._end()
            return False
        self.status = PartStatus(**{**asdict(noted), "state": "starting", "does": self.part.does})
        logger.warning("%s: is running already (process %d); it is kept", self.part.name, noted.pid)
        return True

    def _launch(self) -> None:
        self.status.state = "starting"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._own = subprocess.Popen(
                list(self.part.command),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={**os.environ, **self.part.environment},
                start_new_session=True,
            )
        except OSError as error:
            self._process, self.status.pid = None, None
            self.status.error = f"cannot be started: {error.filename}: {error.strerror}"
            return
        finally:
            os.close(descriptor)
        self._process = psutil.Process(self._own.pid)
        self.status.pid, self.status.since = self._own.pid, time.time()
        self.status.created = self._process.create_time()

    def _watch(self, patience: float) -> str:
        """Watch the process until it has to be started again, or all ends; say why.

        Parameters
        ----------
        patience : float
            s that it may take to be well.
        """
        answered = time.monotonic()
        self._was_well = False
        while not self._stopping.is_set():
            if not self._alive():
                return self._how_ended()
            if reason := self._why_unwell():
                if time.monotonic() > answered + patience:
                    return reason
                if self.is_well.is_set():
                    self.status.state, self.status.error = "unwell", reason
            else:
                answered, patience = time.monotonic(), UNWELL_AFTER
                self.status.state = "running"
                self._was_well = True
                self.is_well.set()
            self._stopping.wait(LOOK_INTERVAL)
        return ""

    def _why_unwell(self) -> str:
        try:
            return self.part.well()
        except Exception as error:  # noqa: BLE001 - whatever a library says of a connection: it does not answer
            return f"does not answer: {type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def _alive(self) -> bool:
        if self._own is not None and self._process is not None and self._own.pid == self._process.pid:
            return self._own.poll() is None
        return self._process is not None and lives(self._process.pid)

    def _how_ended(self) -> str:
        if self._process is None:
            return self.status.error
        code = self._own.poll() if self._own is not None else None
        if code is None:
            return "ended"
        return f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _end(self) -> None:
        """End the process and all that it has started, of its session."""
        if self._process is None:
            return
        group = self._process.pid
        with suppress(psutil.Error):
            children = self._process.children(recursive=True)
            _signal(group, signal.SIGTERM)
            deadline = time.monotonic() + self.stop_timeout
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            _, left = psutil.wait_procs(children, timeout=max(0.0, deadline - time.monotonic()))
            for each in left:
                with suppress(psutil.Error):
                    each.kill()
        _signal(group, signal.SIGKILL)
        if self._own is not None:
            self._own.wait()
        self._process = None


def lives(pid: int) -> bool:
    """Tell whether a process lives; one that nobody has asked how it ended does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@dataclass
class Supervisor:
    """Keeps all parts running, and notes how they are.

    Parameters
    ----------
    parts : sequence of Part
        In the order in which they are started.
    notes : Path
        File (JSON) of how they are.
    logs : Path
        Folder of their logs.
    """

    parts: Sequence[Part]
    notes: Path
    logs: Path
    supervised: dict[str, Supervised] = field(default_factory=dict)

    def __post_init__(self) -> None:
        before = read_notes(self.notes)
        self._since = time.time()
        for part in self.parts:
            log = self.logs / f"{part.name}.log"
            self.supervised[part.name] = Supervised(part, log, self.supervised, before.get(part.name))

    def start(self) -> None:
        """Start all parts, each when those are well that it needs, and return at once."""
        for each in self.supervised.values():
            each.start()

    def stop(self) -> None:
        """End all parts, in the opposite order."""
        for each in reversed(self.supervised.values()):
            each.stop()
            self.note()
        self.notes.unlink(missing_ok=True)

    def note(self) -> None:
        """Write down how all parts are."""
        parts = {name: asdict(each.status) for name, each in self.supervised.items()}
        about = {"pid": os.getpid(), "since": self._since, "time": time.time(), "parts": parts}
        new = self.notes.with_name(f".{self.notes.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(about, file)
        new.replace(self.notes)


def read_notes(path: Path) -> dict[str, PartStatus]:
    """Read how the parts were when it was noted last; empty where nothing is."""
    try:
        noted: dict[str, Any] = json.loads(path.read_text())
        return {name: PartStatus(**status) for name, status in noted["parts"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
