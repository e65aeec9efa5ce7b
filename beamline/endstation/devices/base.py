"""What all EPICS devices share: signals with keys and units, and waits that say what they waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any

import epics
from ophyd import EpicsSignal, EpicsSignalRO, Signal
from ophyd.signal import EpicsSignalBase
from ophyd.utils.errors import DisconnectedError, LimitError

from beamline.endstation.devices.completion import ECA_DISCONN, ECA_NORMAL, Completion
from beamline.endstation.devices.task import (
    ConnectionLostError,
    DeviceError,
    Stop,
    StoppedError,
    TaskStatus,
    in_background,
)

# What ophyd and pyepics raise, each in its place, where a server does not answer.
NO_ANSWER = (
    DisconnectedError,
    TimeoutError,
    epics.ca.ChannelAccessException,
    epics.ca.ChannelAccessGetFailure,
    epics.ca.CASeverityException,
)
RECONNECT_TIMEOUT = 5.0  # s; connections that were lost together come back one after the other
TELL_TIMEOUT = 1.0  # s
ANSWER_TIMEOUT = 5.0  # s; a connected PV that does not answer within this will not


class _Keyed:
    """A signal under a data key of its own, with the units of the contract whatever its record says.

    Parameters
    ----------
    key : str
        Data key; the attribute's name with the device's in front where not given.
    units : str
    """

    def __init__(self, *args: Any, key: str | None = None, units: str = "", **kwargs: Any) -> None:
        if key is not None:
            kwargs["name"] = key
        super().__init__(*args, **kwargs)
        self._declared_units = units

    def describe(self) -> dict[str, Any]:
        """Describe the signal with its declared units."""
        described = super().describe()  # type: ignore[misc]
        for description in described.values():
            description.pop("units", None)
            if self._declared_units:
                description["units"] = self._declared_units
        return described


class Reading(_Keyed, EpicsSignalRO):
    """A PV that is read: asked for each time, so that what it says is as new as the question."""

    def get(self, **kwargs: Any) -> Any:
        """Get the value from the server.

        Raises
        ------
        ConnectionLostError
            Naming the PV where it does not answer.
        """
        kwargs.setdefault("use_monitor", False)
        with _named(self):
            return super().get(**kwargs)

    def read(self) -> dict[str, dict[str, Any]]:
        """Read it as `get` does, with the time it is of; wait a little where the connection is just coming back."""
        with _named(self):
            if not self.connected:
                self.wait_for_connection(timeout=RECONNECT_TIMEOUT)
            return super().read()


class Field(EpicsSignalRO):
    """A number of a record that seldom changes: monitored, so that it costs nothing to know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_monitor=True, **kwargs)

    @property
    def last(self) -> float:
        """Give its value; the one before where the record does not answer, which whoever waits for it will say."""
        try:
            return float(self.get())
        except NO_ANSWER:
            return float(self._readback)


class Setting(_Keyed, EpicsSignal):
    """A PV that is written and read back; done when the server has processed it.

    Parameters
    ----------
    limits : (float, float), optional
        Lowest and highest value; without, those of the record hold.
    """

    def __init__(self, *args: Any, limits: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, limits=limits is None, put_complete=True, **kwargs)
        self._declared_limits = limits
        self._told: Any = None
        self._stop = Stop()

    @property
    def told(self) -> Any:
        """What it was set to last by this process; what the server says where it was not."""
        return self.get() if self._told is None else self._told

    def check_value(self, value: Any, **kwargs: Any) -> None:
        """Raise LimitError naming signal, value and limits where `value` is out of them."""
        low, high = self._declared_limits or (self.limits if self.connected else (None, None))
        if low is not None and high is not None and low < high and isinstance(value, Real):
            check_limits(self.name, float(value), (low, high), self._declared_units)

    def set(self, value: Any, **_kwargs: Any) -> TaskStatus:
        """Write a value; done when the server has processed it, failed naming the PV where it does not."""
        self.check_value(value)
        stop = self._stop = Stop()

        def write() -> None:
            put_and_wait(self, value, timeout=ANSWER_TIMEOUT, wanted=f"{value}", stopped=stop)
            self._told = value

        return in_background(self, write, stop)

    def stop(self, *, success: bool = False) -> None:
        """Wait no longer for what was written last."""
        self._stop.success = success
        self._stop.set()


class SoftSetting(_Keyed, Signal):
    """A value that the configuration gives, kept with the data under its own key."""

    def describe(self) -> dict[str, Any]:
        """Describe it; its source is the configuration."""
        described = super().describe()
        for description in described.values():
            description["source"] = f"CONFIG:{self.name}"
        return described


def put_and_wait(
    signal: EpicsSignal,
    value: Any,
    *,
    timeout: float,
    wanted: str,
    seen: EpicsSignalBase | None = None,
    stopped: threading.Event | None = None,
) -> None:
    """Write to a record and wait until it has processed: a motor is there then, a counter has counted.

    Parameters
    ----------
    signal : EpicsSignal
        What is written to, with completion.
    value : Any
    timeout : float
        s
    wanted : str
        What is waited for, in words of the error.
    seen : EpicsSignalBase, optional
        The PV whose value says how far it came; `signal` where not given.
    stopped : threading.Event, optional

    Raises
    ------
    DeviceError
        When it did not complete in time or the connection was lost: names the PV, the value seen, the value wanted.
    StoppedError
    """
    deadline = time.monotonic() + timeout
    with _News(signal, stopped) as news:
        news.wait(lambda: True, deadline, lambda: _late(signal, wanted, timeout))  # until it is connected
        _raise_if_stopped(signal, stopped)
        completion = Completion(news.wake)
        try:
            signal.put(value, force=True, use_complete=True, callback=completion, timeout=timeout)
        except NO_ANSWER as error:
            raise ConnectionLostError(f"{_owner(signal)}: {signal.setpoint_pvname} does not answer: {error}") from error
        except Exception as error:
            raise DeviceError(f"{_owner(signal)}: {signal.setpoint_pvname} cannot be written: {error}") from error
        news.wait(lambda: completion.status is not None, deadline, lambda: _late(seen or signal, wanted, timeout))
    if completion.status == ECA_DISCONN:
        raise _lost(signal)
    if completion.status != ECA_NORMAL:
        raise DeviceError(
            f"{_owner(signal)}: {signal.setpoint_pvname} refused {value}, expected it to take it: {completion.message}"
        )


def tell(signal: EpicsSignal, value: Any) -> None:
    """Write without waiting for anything; nothing where the server does not answer, which others will say."""
    if signal.connected:
        with suppress(*NO_ANSWER):
            # Without a time pyepics waits for years for a connection that is lost just now.
            signal.put(value, force=True, use_complete=False, timeout=TELL_TIMEOUT)


def wait_for(
    signal: EpicsSignalBase,
    reached: Callable[[Any], bool],
    *,
    timeout: float,
    wanted: str,
    stopped: threading.Event | None = None,
) -> Any:
    """Wait until the value of a PV is as wanted, and give it.

    Parameters
    ----------
    signal : EpicsSignalBase
    reached : callable
        Whether a value will do.
    timeout : float
        s
    wanted : str
        The value wanted, in words of the error.
    stopped : threading.Event, optional

    Raises
    ------
    DeviceError
        When it was not reached in time or the connection was lost: names the PV, the value seen, the value wanted.
    StoppedError
    """
    deadline = time.monotonic() + timeout
    found: list[Any] = []

    def look() -> bool:
        # The monitor only wakes: its value may be older than what the device was told last.
        try:
            value = signal.get(use_monitor=False)
        except (ConnectionLostError, *NO_ANSWER):  # it may answer later, in the time there is
            return False
        found[:] = [value]
        return value is not None and bool(reached(value))

    _raise_if_stopped(signal, stopped)
    if not signal.connected or not look():
        with _News(signal, stopped, values=True) as news:
            news.wait(look, deadline, lambda: _late(signal, wanted, timeout))
    return found[0]


def together(*tasks: Callable[[], None]) -> None:
    """Do tasks at the same time, and wait for all; raise what the first of them that failed has raised."""
    failures: list[BaseException | None] = [None] * len(tasks)

    def run(number: int) -> None:
        epics.ca.use_initial_context()
        try:
            tasks[number]()
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that waits
            failures[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(1, len(tasks))]
    for thread in threads:
        thread.start()
    run(0)
    for thread in threads:
        thread.join()
    for failure in failures:
        if failure is not None:
            raise failure


class _News:
    """Wakes a waiting thread when a PV changes, is disconnected, completes a put, or its device is stopped."""

    POLL = 0.1  # s; what no monitor tells is noticed within this
    GRACE = 2.0  # s that a connection may be lost: a suspender that sees it too stops the device before it fails

    def __init__(self, signal: EpicsSignalBase, stopped: threading.Event | None, *, values: bool = False) -> None:
        self._signal = signal
        self._values = values
        self._subscriptions: list[int] = []
        self._stopped = stopped
        self._condition = threading.Condition()
        self._changed = True

    def __enter__(self) -> _News:
        kinds = [self._signal.SUB_META, *([self._signal.SUB_VALUE] if self._values else [])]
        self._subscriptions = [self._signal.subscribe(self.wake, event_type=kind, run=False) for kind in kinds]
        return self

    def __exit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            self._signal.unsubscribe(subscription)

    def wake(self, *_args: Any, **_kwargs: Any) -> None:
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def wait(self, done: Callable[[], bool], deadline: float, late: Callable[[], DeviceError]) -> None:
        name = _owner(self._signal)
        lost_at: float | None = None
        while True:
            self._changed = False
            if self._signal.connected:
                if done():
                    return
                if lost_at is not None and not self._values:
                    raise _lost(self._signal)
                lost_at = None
            elif lost_at is None:
                lost_at = time.monotonic()
            elif time.monotonic() - lost_at > self.GRACE:
                raise ConnectionLostError(f"{name}: {self._signal.pvname} is disconnected, expected it to answer")
            _raise_if_stopped(self._signal, self._stopped)
            left = deadline - time.monotonic()
            if left <= 0:
                raise late()
            with self._condition:
                if not self._changed:
                    self._condition.wait(min(left, self.POLL))


def _raise_if_stopped(signal: EpicsSignalBase, stopped: threading.Event | None) -> None:
    if stopped is not None and stopped.is_set():
        raise StoppedError(f"{_owner(signal)}: stopped")


def _lost(signal: EpicsSignalBase) -> ConnectionLostError:
    return ConnectionLostError(
        f"{_owner(signal)}: {signal.pvname} was disconnected, and nobody knows what it did, expected it to answer"
    )


def _late(signal: EpicsSignalBase, wanted: str, timeout: float) -> DeviceError:
    """Give the error of a wait that took too long."""
    try:
        value = signal.get(use_monitor=False)
    except Exception as error:  # noqa: BLE001 - what the PV says when asked is part of the report
        value = f"not readable ({error})"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return DeviceError(f"{_owner(signal)}: {signal.pvname} is {shown}, expected {wanted} within {timeout:.3g} s")


@contextmanager
def _named(signal: EpicsSignalBase) -> Iterator[None]:
    """Name the PV that does not answer."""
    try:
        yield
    except NO_ANSWER as error:
        raise ConnectionLostError(f"{_owner(signal)}: {signal.pvname} does not answer, expected a value") from error


def _owner(signal: EpicsSignalBase) -> str:
    """Give the name of the device that a signal is part of, as the configuration has it."""
    root = signal.root
    return root.name if root is not None else signal.name


def check_limits(name: str, value: float, limits: tuple[float, float], units: str) -> None:
    """Raise LimitError naming device, value and limits where a value is out of them."""
    low, high = limits
    if not low <= value <= high:
        unit = f" {units}" if units else ""
        raise LimitError(f"{name}: {value:g}{unit} is outside its limits {low:g} to {high:g}{unit}")
