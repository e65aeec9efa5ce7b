"""Devices that do one task at a time, can be stopped, and whose status says what went wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import epics
from ophyd import Device
from ophyd.status import DeviceStatus

from beamline.endstation.devices.alarms import CLOCK_TOLERANCE, alarms_of_device, describe_alarms
from callbacks.contract import Severity

log = logging.getLogger(__name__)

END_TIMEOUT = 10.0  # s that a task may take to end once it is stopped


class DeviceError(RuntimeError):
    """A device did not do what it was asked to: names the PV, the value seen and the value wanted."""


class StoppedError(DeviceError):
    """A device was stopped before it was done."""


class ConnectionLostError(DeviceError, ConnectionError):
    """A process variable no longer answers: names it. A plan may try again once it does."""


class TaskStatus(DeviceStatus):
    """A status whose text is its error: the engine writes it into the stop document as the reason."""

    def __str__(self) -> str:
        """Give the error, or the state where there is none."""
        error = self.exception(timeout=0) if self.done else None
        return super().__str__() if error is None else str(error)


class Stop(threading.Event):
    """Set when a task is asked to end; with `success`, ending early is no failure."""

    success = False


class TaskDevice(Device):
    """A device that does one task at a time, can be stopped, and reads the alarms of its values with them.

    Attributes
    ----------
    clock_tolerance : float
        s that the clock of its IOC may be off this computer's.
    """

    clock_tolerance = CLOCK_TOLERANCE

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._stop = Stop()
        self._task: TaskStatus | None = None
        super().__init__(prefix, name=name, **kwargs)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read it; of one that is no part of another, also the alarms of all that is read."""
        asked = [] if self.parent is not None else list(_asked_together(self))
        for signal in asked:
            signal.ask()
        try:
            reading: OrderedDict[str, dict[str, Any]] = super().read()
        finally:
            for signal in asked:  # one that did not answer ends the reading
                signal.forget()
        if self.parent is None:
            reading.update(alarms_of_device(self.name, reading))
        return reading

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe what `read` gives."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        if self.parent is None:
            described.update(describe_alarms(self.name))
        return described

    def read_configuration(self) -> OrderedDict[str, dict[str, Any]]:
        """Read its configuration; what has an alarm is logged, and has no value where it is not known."""
        reading: OrderedDict[str, dict[str, Any]] = super().read_configuration()
        for each in reading.values() if self.parent is None else ():
            if each.get("alarm_severity", Severity.NO_ALARM) >= Severity.MAJOR:
                log.warning("%s: %s", self.name, each["message"])
        return reading

    def stop(self, *, success: bool = False) -> None:
        """Stop the task under way; it has failed unless `success`, which the engine sets for a pause."""
        self._stop.success = success
        self._stop.set()
        self.halt()
        super().stop(success=success)

    def pause(self) -> None:
        """Stop the task under way: after the pause the plan repeats it."""
        self.stop(success=True)

    def halt(self) -> None:
        """Tell the hardware to end what it is doing; a device made of others halts these."""
        for name, part in self._signals.items():
            if isinstance(part, TaskDevice):
                getattr(self, name).halt()

    def work(self, task: Callable[[Stop], None]) -> TaskStatus:
        """Do a task on a thread; the status is done when it has ended, and fails with the error that it raises.

        The task before it is ended first. Where the task fails or is stopped, the hardware is told to halt.

        Parameters
        ----------
        task : callable
            Is given the event that is set when the device is stopped, for its waits.
        """
        before = self._task
        if before is not None and not before.done:
            self.stop(success=True)
        stop = self._stop = Stop()

        def work() -> None:
            _wait_for_previous(before, self.name)
            try:
                task(stop)
            except Exception:
                self.halt()
                raise

        self._task = in_background(self, work, stop)
        return self._task


def _asked_together(device: Device) -> Iterator[Any]:
    """Give the signals among those that a device reads which can be asked before they are read."""
    for name in device.read_attrs:
        if hasattr(part := getattr(device, name), "ask"):
            yield part


def in_background(device: Any, task: Callable[[], None], stop: Stop) -> TaskStatus:
    """Do a task on a thread; the status is done when it has ended, and fails with the error that it raises.

    Parameters
    ----------
    device : ophyd object
    task : callable
    stop : Stop
        When it is set with `success`, a `StoppedError` or a lost connection is no failure.
    """
    status = TaskStatus(device)

    def run() -> None:
        epics.ca.use_initial_context()
        try:
            task()
        except Exception as error:  # noqa: BLE001 - the status carries it to the plan
            if stop.is_set() and stop.success and isinstance(error, StoppedError | ConnectionLostError):
                status.set_finished()
            else:
                status.set_exception(error)
        else:
            status.set_finished()

    threading.Thread(target=run, name=f"{device.name} at work", daemon=True).start()
    return status


def _wait_for_previous(before: TaskStatus | None, name: str) -> None:
    deadline = time.monotonic() + END_TIMEOUT
    while before is not None and not before.done:
        if time.monotonic() > deadline:
            raise DeviceError(f"{name}: what it did before has not ended within {END_TIMEOUT:g} s of being stopped")
        time.sleep(0.005)
