"""Devices that do one thing at a time, can be stopped, and whose status says what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import epics
from ophyd import Device
from ophyd.status import DeviceStatus

END_TIMEOUT = 10.0  # s that a task may take to end when it is stopped


class DeviceError(RuntimeError):
    """A device did not do what it was told: names the PV, the value seen and the value wanted."""


class StoppedError(DeviceError):
    """A device was told to stop before it was done."""


class ConnectionLostError(DeviceError, ConnectionError):
    """A process variable does not answer any more: names it. A plan may try again when it does."""


class TaskStatus(DeviceStatus):
    """A status that says what it failed with: the engine writes it into the run's stop document as the reason."""

    def __str__(self) -> str:
        """Give what went wrong, or how it stands."""
        error = self.exception(timeout=0) if self.done else None
        return super().__str__() if error is None else str(error)


class Stop(threading.Event):
    """Is set when a task is told to end; `success` says whether that is no failure."""

    success = False


class TaskDevice(Device):
    """A device that does one thing at a time, and can be stopped."""

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._stop = Stop()
        self._task: TaskStatus | None = None
        super().__init__(prefix, name=name, **kwargs)

    def stop(self, *, success: bool = False) -> None:
        """Stop: what is under way ends, as failed unless `success`; the engine stops so for a pause."""
        self._stop.success = success
        self._stop.set()
        self.halt()
        super().stop(success=success)

    def pause(self) -> None:
        """Stop what is under way: after the pause the plan does it again."""
        self.stop(success=True)

    def halt(self) -> None:
        """Tell the hardware to end what it is doing: its parts, where it is made of some."""
        for name, part in self._signals.items():
            if isinstance(part, TaskDevice):
                getattr(self, name).halt()

    def work(self, task: Callable[[Stop], None]) -> TaskStatus:
        """Do a task on a thread; the status is done with it, and fails with what it raises.

        What was under way before is ended first. Where the task does not come to its end, the hardware is told to.

        Parameters
        ----------
        task : callable
            Is given what is set when the device is told to stop, to pass on to what it waits for.
        """
        before = self._task
        if before is not None and not before.done:
            self.stop(success=True)
        stop = self._stop = Stop()

        def work() -> None:
            _wait_for_the_end(before, self.name)
            try:
                task(stop)
            except Exception:
                self.halt()
                raise

        self._task = in_background(self, work, stop)
        return self._task


def in_background(device: Any, task: Callable[[], None], stop: Stop) -> TaskStatus:
    """Do a task on a thread; the status is done with it, and fails with what it raises.

    Parameters
    ----------
    device : ophyd object
    task : callable
    stop : Stop
        Where it is set, and that is no failure, the task may end with a `StoppedError`, or with its connection lost.
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


def _wait_for_the_end(before: TaskStatus | None, name: str) -> None:
    deadline = time.monotonic() + END_TIMEOUT
    while before is not None and not before.done:
        if time.monotonic() > deadline:
            raise DeviceError(f"{name}: what it did before has not ended within {END_TIMEOUT:g} s of being stopped")
        time.sleep(0.005)
