"""Suspend the engine while there is no light, or it is not known, by the storage ring and the front-end shutter."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import bluesky.plan_stubs as bps
from bluesky import RunEngine
from bluesky.suspenders import SuspenderBase
from bluesky.utils import MsgGenerator

from beamline.endstation.config import Suspenders
from beamline.endstation.connect import unanswering
from callbacks.contract import Severity
from plans.endstation import OPEN, Endstation, Light, below
from plans.errors import PlanError

logger = logging.getLogger(__name__)

META = "meta"  # ophyd's subscription to the connection of a signal
_ONE_AT_A_TIME = threading.Lock()
ENGINE_BUSY_TIMEOUT = 10.0  # s that a callback or a slow device may block the engine's event loop
RECONNECTION = 60.0  # s; the least that EPICS allows for the longest time between two searches for a connection


class LightSuspender(SuspenderBase):
    """Suspend while a signal says that there is no light, or is disconnected; log in one line why and for how long.

    Parameters
    ----------
    signal : ophyd.Signal
        The signal to watch.
    sleep : float
        Time to wait once the light is back, s.
    devices : iterable of device
        Those that have to be connected before the plan goes on.
    give_up_after : float, optional
        s without light after which the plan is ended with `PlanError`; without it, it waits.
    """

    def __init__(
        self, signal: Any, *, sleep: float = 0.0, devices: Iterable[Any] = (), give_up_after: float | None = None
    ) -> None:
        self._devices, self._give_up_after = list(devices), give_up_after
        self._given_up = ""  # why there was no light, once it is given up
        self._timer: threading.Timer | None = None
        super().__init__(signal, sleep=sleep, post_plan=self.before_resuming)
        self._signal, self._settle_time = signal, sleep
        self._value: Any = None
        self._alarm = ""  # of the signal, where its value is not known
        self._since = math.nan

    @property
    def settle_time(self) -> float:
        """Time to wait once the light is back, s."""
        return self._settle_time

    def __repr__(self) -> str:
        """Return the name of the signal, which the engine prints."""
        return str(self._signal.name)

    def before_resuming(self) -> MsgGenerator[None]:
        """Wait until all devices are connected, as plan; end it where the light was given up.

        Raises
        ------
        PlanError
        """
        if why := self._given_up:
            self._given_up = ""
            raise PlanError(f"{why}; there was no light for {self._give_up_after:g} s, after which the run is ended")
        yield from _until_connected(self._devices)

    def _give_up(self) -> None:
        """Let the engine go on to `before_resuming`, though there is no light."""
        with self._lock:
            if self._ev is None or self.RE is None or not self.tripped:
                return
            self._given_up = self.missing(self._value) or self._shown()
            logger.info("%s; given up after %g s", self._given_up, self._give_up_after)
            self.RE.loop.call_soon_threadsafe(self._ev.set)

    def get_futures(self) -> tuple[list[Any], str]:
        """Give what the next plan has to wait for, also where the one before gave it up."""
        if self._give_up_after is not None and self.tripped:
            with self._lock:
                if self._ev is not None:
                    self._ev.clear()
            self._begin_to_wait()
        futures: tuple[list[Any], str] = super().get_futures()
        return futures

    def _begin_to_wait(self) -> None:
        """Give up after the time that was asked for, from now on."""
        self._given_up = ""
        if self._timer is not None:
            self._timer.cancel()
        if self._give_up_after is not None:
            self._timer = threading.Timer(self._give_up_after, self._give_up)
            self._timer.daemon = True
            self._timer.start()

    def install(self, RE: RunEngine, *, event_type: str | None = None) -> None:
        """Watch the signal's value and its connection on behalf of `RE`."""
        super().install(RE, event_type=event_type)
        if META in self._signal.subscriptions:
            self._signal.subscribe(self._connection, event_type=META, run=True)
        if not self._signal.connected:
            self(None)

    def remove(self) -> None:
        """Stop watching."""
        super().remove()
        if META in self._signal.subscriptions:
            self._signal.clear_sub(self._connection, event_type=META)

    def __call__(self, value: Any, **kwargs: Any) -> None:
        """Take a new value of the signal."""
        before = self.tripped
        self._value, self._alarm = value, _alarm_of(self._signal)
        if not before and self._should_suspend(value):  # first, as the engine may be slow to answer
            self._begin_to_wait()
        self._trip_or_release(value, **kwargs)
        if self.tripped and not before:
            self._since = time.monotonic()
            logger.info("suspended: %s", self._get_justification())
        elif before and not self.tripped:
            if self._timer is not None:
                self._timer.cancel()
            lasted = time.monotonic() - self._since
            logger.info("%s: back after %.1f s; resumes in %g s", self._shown(), lasted, self.settle_time)

    def missing(self, value: Any) -> str:
        """Say why there is no light, for example "ring_current: 0 mA is below 400 mA"; empty if there is."""
        if value is None:
            return f"{self._signal.name}: disconnected"
        missing = self._missing(value)
        return f"{self._signal.name}: not known: {self._alarm}" if missing and self._alarm else missing

    def awaited(self) -> str:
        """Describe the resume condition."""
        return f"waits until it is {self._awaited()}"

    @abstractmethod
    def _missing(self, value: Any) -> str: ...

    @abstractmethod
    def _is_back(self, value: Any) -> bool: ...

    @abstractmethod
    def _awaited(self) -> str: ...

    def _shown(self) -> str:
        return f"{self._signal.name}: {self._value}"

    def _trip_or_release(self, value: Any, **kwargs: Any) -> None:
        # Bluesky raises when the engine's loop takes more than 0.1 s to create an event, and the loss would be missed.
        deadline = time.monotonic() + ENGINE_BUSY_TIMEOUT
        with _ONE_AT_A_TIME:
            while True:
                try:
                    super().__call__(value, **kwargs)
                    break
                except RuntimeError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            if self.tripped and self.RE is not None:
                _wait_until_suspended(self.RE)

    def _connection(self, *_args: Any, connected: bool = True, **_kwargs: Any) -> None:
        if not connected:
            self(None)

    def _should_suspend(self, value: Any) -> bool:
        return bool(self.missing(value))

    def _should_resume(self, value: Any) -> bool:
        return value is not None and self._is_back(value)

    def _get_justification(self) -> str:
        return f"{self.missing(self._value) or self._shown()}; {self.awaited()}" if self.tripped else ""


class RingCurrentSuspender(LightSuspender):
    """Suspend when the ring current falls below a limit; resume when it has risen to another.

    Parameters
    ----------
    signal : ophyd.Signal
        The ring current, mA.
    low, resume : float
        Limits, mA.
    **options
        As of `LightSuspender`.
    """

    def __init__(self, signal: Any, *, low: float, resume: float, **options: Any) -> None:
        super().__init__(signal, **options)
        self._low, self._resume = low, resume

    def _missing(self, value: Any) -> str:
        return below(self._signal.name, _number(value), self._low)

    def _is_back(self, value: Any) -> bool:
        return bool(_number(value) >= self._resume)

    def _awaited(self) -> str:
        return f"above {self._resume:g} mA"

    def _shown(self) -> str:
        return f"{self._signal.name}: {_number(self._value):g} mA"


class FrontEndShutterSuspender(LightSuspender):
    """Suspend while the front-end shutter is not open.

    Parameters
    ----------
    signal : ophyd.Signal
        Its state, "open" or another.
    **options
        As of `LightSuspender`.
    """

    def _missing(self, value: Any) -> str:
        return "" if value == OPEN else f"{self._signal.name}: is {value!r}, not {OPEN!r}"

    def _is_back(self, value: Any) -> bool:
        return bool(value == OPEN)

    def _awaited(self) -> str:
        return OPEN


def _until_connected(devices: Iterable[Any]) -> MsgGenerator[None]:
    """Wait until devices are connected, as plan: a server that was started anew does not get all back at once."""
    began = time.monotonic()
    while lost := unanswering(devices):
        waited = time.monotonic() - began
        if waited > RECONNECTION:
            logger.info("%s and %d more are not back after %.0f s; resumes", lost[0], len(lost) - 1, waited)
            return
        yield from bps.sleep(0.1)


def _wait_until_suspended(engine: RunEngine) -> None:
    """Wait until an engine has processed a request to suspend; it does not accept a second one before."""

    async def processed() -> None:
        for _ in range(5):  # the request passes through the loop twice before the engine changes its state
            await asyncio.sleep(0)
        while engine.state == "suspending":
            await asyncio.sleep(0.002)

    try:
        inside = asyncio.get_running_loop() is engine.loop
    except RuntimeError:
        inside = False
    if not inside:  # the engine's own thread cannot wait for itself
        asyncio.run_coroutine_threadsafe(processed(), engine.loop).result(ENGINE_BUSY_TIMEOUT)


def light_suspenders(settings: Suspenders, endstation: Endstation) -> list[LightSuspender]:
    """Build the suspenders of a configuration.

    Parameters
    ----------
    settings : Suspenders
    endstation : Endstation
        Its signals `ring.current` and `front_end_shutter.state` are watched.
    """
    options: dict[str, Any] = {
        "sleep": settings.settle_time,
        "devices": list(endstation.devices.values()),
        "give_up_after": settings.give_up_after,
    }
    suspenders: list[LightSuspender] = [
        RingCurrentSuspender(
            endstation.ring.current,
            low=settings.ring_current_low,
            resume=settings.ring_current_resume,
            **options,
        )
    ]
    if settings.front_end_shutter:
        shutter: Any = endstation.front_end_shutter
        suspenders.append(FrontEndShutterSuspender(shutter.state, **options))
    return suspenders


def light_of(settings: Suspenders) -> Light:
    """Return the limits by which plans decide whether a point had light."""
    return Light(
        settings.ring_current_low, settings.ring_current_resume, settings.front_end_shutter, settings.give_up_after
    )


def _alarm_of(signal: Any) -> str:
    """Give the alarm for which the value of a signal on EPICS is not known; empty where it is, or has none."""
    alarm = getattr(signal, "last_alarm", None)
    return str(alarm.message) if alarm is not None and alarm.severity == Severity.INVALID else ""


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
