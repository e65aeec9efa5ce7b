"""Care for the queue: keep its worker alive, and mend a manager that does not see how a plan or the worker ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

logger = logging.getLogger(__name__)

STUCK_AFTER = 5.0  # s that the manager says it runs a plan while the engine does nothing
OPENING_DELAYS = (0.0, 2.0, 10.0, 30.0, 60.0)  # s between attempts to open the environment


class QueueCare:
    """What has to be done for a queue that nobody looks after.

    Parameters
    ----------
    client : bluesky_queueserver_api.zmq.REManagerAPI
    control : str
        Path of the socket at which the manager takes orders.
    watchdog : callable
        Gives the process id of the manager's watchdog, None where there is none.
    worker_lives : callable
        Tells whether there is a worker.
    """

    def __init__(
        self, client: Any, control: str, watchdog: Callable[[], int | None], worker_lives: Callable[[], bool]
    ) -> None:
        self._client = client
        self._control = control
        self._watchdog = watchdog
        self._worker_lives = worker_lives
        self._was_dead = False
        self._idle_since: float | None = None
        self._attempts = 0
        self._next_attempt = 0.0
        self.mended = 0
        self.error = ""

    def look(self) -> None:
        """Look once, and do what is needed."""
        status = self._client.status(reload=True)
        self._bury(status)
        self._mend(status)
        self._open(status)

    def _bury(self, status: dict[str, Any]) -> None:
        """Say to the manager that its worker is dead, which it does not see: that of a plan would run for ever.

        The plan's item is then first in the queue again, and the queue stopped.
        """
        dead = status["worker_environment_exists"] and not self._worker_lives()
        if dead and self._was_dead:  # twice: one that is closed in order is gone a moment before the manager says so
            logger.warning("the worker of the queue is dead: it is started anew")
            self._client.environment_destroy()
            self.mended += 1
        self._was_dead = dead and not self._was_dead

    def _mend(self, status: dict[str, Any]) -> None:
        """Kill a manager that runs a plan which the engine does not: its watchdog starts it anew, the worker stays.

        So it is after Redis was gone while a plan ran: the plan ends and is recorded, the manager never notices.
        """
        stuck = status["manager_state"] == "executing_queue" and status["re_state"] == "idle"
        now = time.monotonic()
        if not stuck:
            self._idle_since = None
            return
        self._idle_since = self._idle_since or now
        if now < self._idle_since + STUCK_AFTER:
            return
        self._idle_since = None
        if (pid := self._manager()) is not None:
            logger.warning("the queue says it runs a plan, the engine does nothing: its manager is started anew")
            psutil.Process(pid).kill()
            self.mended += 1

    def _manager(self) -> int | None:
        """Find the process that listens at the control socket: not the watchdog, and not the worker."""
        if (watchdog := self._watchdog()) is None:
            return None
        for process in psutil.Process(watchdog).children(recursive=True):
            with suppress(psutil.Error):
                if any(str(each.laddr) == self._control for each in process.net_connections("unix")):
                    return int(process.pid)
        return None

    def _open(self, status: dict[str, Any]) -> None:
        """Open the environment of the worker where it is not."""
        if status["worker_environment_exists"]:
            self._attempts, self.error = 0, ""
            return
        now = time.monotonic()
        if status["manager_state"] != "idle" or now < self._next_attempt:
            return
        if self._attempts:
            self.error = "the worker cannot be started: see the log of the queue"
        self._next_attempt = now + OPENING_DELAYS[min(self._attempts + 1, len(OPENING_DELAYS) - 1)]
        self._attempts += 1
        self._client.environment_open()
