"""What all soft twins share: signals with keys, units and limits, and work that takes simulated time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ophyd import Signal

from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import Stop, StoppedError, TaskDevice, TaskStatus
from simulated_devices.world import SimulatedEndstation


class SoftSignal(Signal):
    """A signal with units and, for a number that is set, limits; its data key is its name.

    Parameters
    ----------
    key : str
        Data key; the attribute's name with the device's in front where not given.
    units : str
    limits : (float, float), optional
    """

    def __init__(
        self, *, key: str | None = None, units: str = "", limits: tuple[float, float] | None = None, **kwargs: Any
    ) -> None:
        if key is not None:
            kwargs["name"] = key
        super().__init__(**kwargs)
        self._units = units
        self._limits = limits

    @property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value."""
        return self._limits

    def check_value(self, value: Any, **_kwargs: Any) -> None:
        """Raise LimitError where `value` is out of the limits."""
        if self._limits is not None:
            check_limits(self.name, value, self._limits, self._units)

    def describe(self) -> dict[str, Any]:
        """Describe the signal, with its units and limits."""
        described: dict[str, Any] = super().describe()
        extra: dict[str, Any] = {"source": f"SIM:{self.name}"}
        if self._units:
            extra["units"] = self._units
        if self._limits is not None:
            extra["lower_ctrl_limit"], extra["upper_ctrl_limit"] = self._limits
        for description in described.values():
            description.update(extra)
        return described


class Twin(TaskDevice):
    """A device of the simulated endstation.

    Parameters
    ----------
    prefix : str
        Not used; real devices have one.
    name : str
    shared : SimulatedEndstation
    """

    def __init__(self, prefix: str = "", *, name: str, shared: SimulatedEndstation, **kwargs: Any) -> None:
        self.world = shared
        self._stop_of_task = Stop()  # of the task that is running
        super().__init__(prefix, name=name, **kwargs)

    def in_background(self, work: Callable[[], None]) -> TaskStatus:
        """Do work on a thread; the status is done with it, and fails with what it raises."""

        def task(stop: Stop) -> None:
            self._stop_of_task = stop
            work()

        return self.work(task)

    def wait_until(self, moment: float) -> None:
        """Let simulated time pass; raise `StoppedError` where the device is stopped before."""
        if not self.world.clock.wait_until(moment, self._stop_of_task):
            raise StoppedError(f"{self.name}: stopped")

    def put(self, signal: Signal, value: Any) -> None:
        """Put a value into a signal, stamped with the simulated time."""
        signal.put(value, timestamp=self.world.clock.now(), force=True)
