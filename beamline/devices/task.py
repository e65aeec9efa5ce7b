"""Devices that do one thing at a time, can be stopped, and whose status says what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import epics
from ophyd import Device
from ophyd.status import DeviceStatus


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


class TaskDevice(Device):
    """A device that does one thing at a time, and can be stopped."""

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._stopped = threading.Event()
        self._stop_is_failure = True
        super().__init__(prefix, name=name, **kwargs)

    def stop(self, *, success: bool = False) -> None:
        """Stop: what is under way ends, as failed unless `success`; the engine stops so for a pause."""
        self._stop_is_failure = not success
        self._stopped.set()
        super().stop(success=success)

    def work(self, task: Callable[[threading.Event], None]) -> TaskStatus:
        """Do a task on a thread; the status is done with it, and fails with what it raises.

        Parameters
        ----------
        task : callable
            Is given the event that is set when the device is told to stop, to pass on to what it waits for.
        """
        stopped = self._stopped = threading.Event()
        return in_background(
            self, lambda: task(stopped), was_ended=lambda: stopped.is_set() and not self._stop_is_failure
        )


def in_background(device: Any, task: Callable[[], None], *, was_ended: Callable[[], bool]) -> TaskStatus:
    """Do a task on a thread; the status is done with it, and fails with what it raises.

    Parameters
    ----------
    device : ophyd object
    task : callable
    was_ended : callable
        Whether it was told to end before it was done, and that is no failure: then nothing it raises is.
    """
    status = TaskStatus(device)

    def run() -> None:
        epics.ca.use_initial_context()
        try:
            task()
        except Exception as error:  # noqa: BLE001 - the status carries it to the plan
            if was_ended():
                status.set_finished()
            else:
                status.set_exception(error)
        else:
            status.set_finished()

    threading.Thread(target=run, name=f"{device.name} at work", daemon=True).start()
    return status
