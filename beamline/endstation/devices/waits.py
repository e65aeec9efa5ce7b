"""Waits for process variables that end in time, with errors that say what was wanted and what was seen."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import epics
from ophyd import EpicsSignal
from ophyd.signal import EpicsSignalBase
from ophyd.utils.errors import DisconnectedError

from beamline.endstation.devices.completion import ECA_DISCONN, ECA_NORMAL, Completion
from beamline.endstation.devices.task import ConnectionLostError, DeviceError, StoppedError
from callbacks.contract import Severity

# What ophyd and pyepics raise, each in its place, where a server does not answer.
NO_ANSWER = (
    DisconnectedError,
    TimeoutError,
    epics.ca.ChannelAccessException,
    epics.ca.ChannelAccessGetFailure,
    epics.ca.CASeverityException,
    KeyError,  # to pyepics a channel that was lost just now is of type -1, which it looks up
)
ANSWER_TIMEOUT = 5.0  # s; a connected PV that has not answered by then will not
NO_WAIT_TIMEOUT = 1.0  # s that a put may take to be sent


def put_and_wait(
    signal: EpicsSignal,
    value: Any,
    *,
    timeout: float,
    wanted: str,
    seen: EpicsSignalBase | None = None,
    stopped: threading.Event | None = None,
) -> None:
    """Write to a record and wait until it has processed: a motor has arrived then, a counter has counted.

    Parameters
    ----------
    signal : EpicsSignal
        What is written to, with completion.
    value : Any
    timeout : float
        s
    wanted : str
        What is waited for, as the error says it.
    seen : EpicsSignalBase, optional
        The PV whose value the error gives as seen; `signal` where not given.
    stopped : threading.Event, optional

    Raises
    ------
    DeviceError
        When it did not complete in time or the connection was lost: names the PV, the value seen, the value wanted.
    StoppedError
    """
    name, deadline = device_name(signal), _deadline(signal, timeout)
    with _Changes(signal, stopped) as changes:
        changes.wait(lambda: True, deadline, lambda: _timeout_error(signal, wanted, timeout))  # until it is connected
        _raise_if_stopped(signal, stopped)
        completion = Completion(changes.wake)
        try:
            signal.put(value, force=True, use_complete=True, callback=completion, timeout=timeout)
        except NO_ANSWER as error:
            raise ConnectionLostError(
                f"{device_name(signal)}: {signal.setpoint_pvname} does not answer: {error}"
            ) from error
        except Exception as error:
            if isinstance(error, TypeError) and isinstance(value, int | float):  # see `put_without_waiting`
                raise _connection_lost(signal) from error
            raise DeviceError(f"{device_name(signal)}: {signal.setpoint_pvname} cannot be written: {error}") from error
        changes.wait(
            lambda: completion.status is not None, deadline, lambda: _timeout_error(seen or signal, wanted, timeout)
        )
    if completion.status == ECA_DISCONN:
        raise _connection_lost(signal)
    if completion.status != ECA_NORMAL:
        raise DeviceError(
            f"{name}: {signal.setpoint_pvname} refused {value}, expected it to be accepted: {completion.message}"
        )


def write(signal: EpicsSignal, value: Any) -> None:
    """Write a setting and wait until the record has processed it; errors as `put_and_wait`."""
    put_and_wait(signal, value, timeout=ANSWER_TIMEOUT, wanted=f"{value} written")


def put_without_waiting(signal: EpicsSignal, value: Any) -> None:
    """Write without waiting; where the server does not answer, nothing is raised: a wait for it will say so."""
    if signal.connected:
        with suppress(*NO_ANSWER, TypeError):
            # Without a timeout pyepics waits for years for a connection that is lost at this moment. To it a channel
            # that was lost just now has no elements, and it asks the number that is written for its length.
            signal.put(value, force=True, use_complete=False, timeout=NO_WAIT_TIMEOUT)


def wait_for(
    signal: EpicsSignalBase,
    reached: Callable[[Any], bool],
    *,
    timeout: float,
    wanted: str,
    stopped: threading.Event | None = None,
) -> Any:
    """Wait until a PV has the value wanted, and give it.

    Parameters
    ----------
    signal : EpicsSignalBase
    reached : callable
        Whether a value is the one wanted.
    timeout : float
        s
    wanted : str
        The value wanted, as the error says it.
    stopped : threading.Event, optional

    Raises
    ------
    DeviceError
        When it was not reached in time or the connection was lost: names the PV, the value seen, the value wanted.
    StoppedError
    """
    deadline = _deadline(signal, timeout)
    found: list[Any] = []

    def is_reached() -> bool:
        # The monitor only wakes: its value may be older than the last setpoint.
        try:
            value = signal.get(use_monitor=False)
        except (ConnectionLostError, *NO_ANSWER):  # it may answer before the deadline
            return False
        found[:] = [value]
        return value is not None and bool(reached(value))

    _raise_if_stopped(signal, stopped)
    if not signal.connected or not is_reached():
        with _Changes(signal, stopped, values=True) as changes:
            changes.wait(is_reached, deadline, lambda: _timeout_error(signal, wanted, timeout))
    return found[0]


def in_parallel(*tasks: Callable[[], None]) -> None:
    """Run tasks at the same time and wait for all; raise the error of the first in the list that failed."""
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


class _Changes:
    """Wakes a thread that waits: when a PV changes or is disconnected, or a put to it completes."""

    POLL = 0.1  # s, in which what no monitor reports is noticed: a stop
    GRACE = 2.0  # s that a connection may be lost: a suspender that notices it stops the device before it fails

    def __init__(self, signal: EpicsSignalBase, stopped: threading.Event | None, *, values: bool = False) -> None:
        self._signal = signal
        self._values = values
        self._subscriptions: list[int] = []
        self._stopped = stopped
        self._condition = threading.Condition()
        self._changed = True

    def __enter__(self) -> _Changes:
        self._subscribe(self._signal.SUB_META)
        if self._values:
            # Where the connection was lost just now it is not monitored; `wait` asks every `POLL` whether it is back.
            with suppress(*NO_ANSWER):
                self._subscribe(self._signal.SUB_VALUE)
        return self

    def _subscribe(self, kind: str) -> None:
        self._subscriptions.append(self._signal.subscribe(self.wake, event_type=kind, run=False))

    def __exit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            self._signal.unsubscribe(subscription)

    def wake(self, *_args: Any, **_kwargs: Any) -> None:
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def wait(self, done: Callable[[], bool], deadline: float, late: Callable[[], DeviceError]) -> None:
        name = device_name(self._signal)
        lost_at: float | None = None
        while True:
            self._changed = False
            if self._signal.connected:
                if done():
                    return
                if lost_at is not None and not self._values:
                    raise _connection_lost(self._signal)
                lost_at = None
            elif lost_at is None:
                lost_at = time.monotonic()
            elif time.monotonic() - lost_at > self.GRACE:
                raise ConnectionLostError(f"{name}: {self._signal.pvname} is disconnected, expected it to answer")
            _raise_if_stopped(self._signal, self._stopped)
            left = deadline - time.monotonic()
            if left <= 0 and lost_at is None:  # else it ends by `GRACE`: what is disconnected is not late
                raise late()
            with self._condition:
                if not self._changed:
                    self._condition.wait(min(left, self.POLL) if left > 0 else self.POLL)


def _deadline(signal: EpicsSignalBase, timeout: float) -> float:
    """Give the monotonic time at which a wait ends, s; `DeviceError` where it never would."""
    if not math.isfinite(timeout):
        raise DeviceError(f"{device_name(signal)}: {signal.pvname} would be waited for {timeout:g} s, expected an end")
    return time.monotonic() + timeout


def _raise_if_stopped(signal: EpicsSignalBase, stopped: threading.Event | None) -> None:
    if stopped is not None and stopped.is_set():
        raise StoppedError(f"{device_name(signal)}: stopped")


def _connection_lost(signal: EpicsSignalBase) -> ConnectionLostError:
    return ConnectionLostError(
        f"{device_name(signal)}: {signal.pvname} was disconnected, what it did is not known, expected it to answer"
    )


def _timeout_error(signal: EpicsSignalBase, wanted: str, timeout: float) -> DeviceError:
    """Give the error of a wait that took too long."""
    try:
        value = signal.get(use_monitor=False)
    except Exception as error:  # noqa: BLE001 - whatever reading it raises is part of the report
        value = f"not readable ({error})"
    shown = f"{signal.pvname} is {f'{value:g}' if isinstance(value, float) else value}"
    alarm = getattr(signal, "last_alarm", None)  # of a `Reading`
    if alarm is not None and alarm.severity == Severity.INVALID:
        shown = alarm.message
    return DeviceError(f"{device_name(signal)}: {shown}, expected {wanted} within {timeout:.3g} s")


@contextmanager
def naming_the_pv(signal: EpicsSignalBase) -> Iterator[None]:
    """Raise an error that names the PV where it does not answer."""
    try:
        yield
    except NO_ANSWER as error:
        raise ConnectionLostError(
            f"{device_name(signal)}: {signal.pvname} does not answer, expected a value"
        ) from error


def present(signal: EpicsSignalBase) -> Any:
    """Read a value from the server, not from a monitor; `ConnectionLostError` names device and PV without an answer."""
    with naming_the_pv(signal):
        return signal.get(use_monitor=False)


def device_name(signal: EpicsSignalBase) -> str:
    """Give the name, as in the configuration, of the device that a signal belongs to."""
    root = signal.root
    result: str = root.name if root is not None else signal.name
    return result
