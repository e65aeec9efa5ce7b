"""Simulated time."""

from __future__ import annotations

import threading
import time


class Clock:
    """Simulated time, which runs `speed_up` times as fast as wall-clock time while a device is at work.

    It stops between operations, so that a run depends on what is done and not on how fast the computer is.
    """

    def __init__(self, speed_up: float) -> None:
        if not speed_up > 0:
            raise ValueError(f"speed_up is {speed_up}, expected a number above zero")
        self.speed_up = speed_up
        self._now = self.start = time.time()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Give the simulated time, s since 1970."""
        with self._lock:
            return self._now

    def wait_until(self, moment: float, stopped: threading.Event) -> bool:
        """Let time pass until a moment, or until `stopped` is set.

        Returns
        -------
        bool
            False when it was stopped.
        """
        begin, began = self.now(), time.monotonic()
        finished = not stopped.wait(self.seconds_to(moment))
        passed = (time.monotonic() - began) * self.speed_up
        self.reach(moment if finished else min(moment, begin + passed))
        return finished

    def seconds_to(self, moment: float) -> float:
        """Give the wall-clock time until a moment, s; 0 when it has passed."""
        return max(0.0, moment - self.now()) / self.speed_up

    def reach(self, moment: float) -> None:
        """Advance the clock to a moment, unless it is later already."""
        with self._lock:
            self._now = max(self._now, moment)
