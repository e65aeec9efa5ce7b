"""Settings that do not change from line to line: sent when they change, and again after a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bluesky.protocols import Movable, Status

from plans.measuring.interruptions import Interruptions

Setting = tuple[Movable[Any], Any]  # a device and its setpoint


class HeldSettings:
    """The last setpoints of devices, so that a line sets only those that change, and is still right after a pause.

    A line of a STXM image is measured in some ten milliseconds; setting eight devices each time of which seven do not
    change takes longer, and makes a monochromator settle for nothing. But during a pause anybody may move anything,
    and the engine replays only the messages since the last checkpoint, which is the beginning of the line.

    So each line has one message to this object, with the settings that did not change. After an interruption the next
    line, or the interrupted one when it is measured again, sends these settings as well; for any other line the
    message does nothing.

    Parameters
    ----------
    interruptions : Interruptions
        Of the run.
    """

    name = "held_settings"
    parent = None

    def __init__(self, interruptions: Interruptions) -> None:
        self._setpoints: dict[Movable[Any], Any] = {}
        self._interruptions = interruptions
        self._sent_at = interruptions.count

    def positions(self, settings: Sequence[Setting]) -> list[Any]:
        """Give the moves of a line, as `bluesky.plan_stubs.mv` takes them.

        Parameters
        ----------
        settings : sequence of (Movable, value)
            All that the line needs, in any order.

        Returns
        -------
        list
            This object and the settings that did not change, then device, value, ... of those that did.
        """
        held = tuple((device, value) for device, value in settings if self._setpoints.get(device) == value)
        changed = [(device, value) for device, value in settings if self._setpoints.get(device) != value]
        self._setpoints = dict(settings)
        return [self, held, *(item for setting in changed for item in setting)]

    def set(self, held: Iterable[Setting]) -> Status:
        """Send the held settings where there was an interruption since they were sent."""
        if self._sent_at == self._interruptions.count:
            return AllDone([])
        self._sent_at = self._interruptions.count
        return AllDone([device.set(value) for device, value in held])


class AllDone(Status):
    """Status that is done when all others are; it has failed when one of them has.

    Parameters
    ----------
    statuses : sequence of Status
        The others.
    """

    def __init__(self, statuses: Sequence[Status]) -> None:
        self._lock = threading.Lock()
        self._statuses = statuses
        self._waiting = len(statuses)
        self._callbacks: list[Callable[[Status], None]] = []
        for status in statuses:
            status.add_callback(self._one_is_done)

    def __str__(self) -> str:
        """Give the error of the first that failed: the engine writes it into the stop document."""
        return str(self.exception() or "held settings")

    def add_callback(self, callback: Callable[[Status], None]) -> None:
        """Call `callback` with this status when all are done; at once where they are."""
        with self._lock:
            if self._waiting:
                self._callbacks.append(callback)
                return
        callback(self)

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """Give the error of the first that failed; None where none has (yet)."""
        failed = (status.exception(timeout) for status in self._statuses if status.done and not status.success)
        return next(failed, None)

    @property
    def done(self) -> bool:
        """Whether all are done."""
        return self._waiting == 0

    @property
    def success(self) -> bool:
        """Whether all are done, and none has failed."""
        return self.done and all(status.success for status in self._statuses)

    def _one_is_done(self, _status: Status) -> None:
        with self._lock:
            self._waiting -= 1
            callbacks = [] if self._waiting else self._callbacks
        for callback in callbacks:
            callback(self)
