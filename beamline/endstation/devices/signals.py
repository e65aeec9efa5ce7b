"""Signals of EPICS devices: with data keys and units of their own, and errors that name the PV."""

from __future__ import annotations

from numbers import Real
from typing import Any

from ophyd import EpicsSignal, EpicsSignalRO, Signal
from ophyd.utils.errors import LimitError

from beamline.endstation.devices.task import Stop, TaskStatus, in_background
from beamline.endstation.devices.waits import ANSWER_TIMEOUT, NO_ANSWER, naming_the_pv, put_and_wait

RECONNECT_TIMEOUT = 5.0  # s; connections that were lost together are restored one after the other


class _Keyed:
    """A signal under a data key of its own, in the units of the contract whatever its record says.

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
        self.declared_units = units

    def describe(self) -> dict[str, Any]:
        """Describe the signal with its declared units."""
        described: dict[str, Any] = super().describe()  # type: ignore[misc]
        for description in described.values():
            description.pop("units", None)
            if self.declared_units:
                description["units"] = self.declared_units
        return described


class Reading(_Keyed, EpicsSignalRO):
    """A PV that is read from the server each time, so that its value is never older than the request."""

    def get(self, **kwargs: Any) -> Any:
        """Get the value from the server.

        Raises
        ------
        ConnectionLostError
            Naming the PV where it does not answer.
        """
        kwargs.setdefault("use_monitor", False)
        with naming_the_pv(self):
            return super().get(**kwargs)

    def read(self) -> dict[str, dict[str, Any]]:
        """Read value and timestamp; wait a little where the connection is just being restored."""
        with naming_the_pv(self):
            if not self.connected:
                self.wait_for_connection(timeout=RECONNECT_TIMEOUT)
            result: dict[str, dict[str, Any]] = super().read()
            return result


class Field(EpicsSignalRO):
    """A number of a record that seldom changes: monitored, so that its value is cached."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_monitor=True, **kwargs)

    @property
    def last(self) -> float:
        """Its value; the last one known where the record does not answer: a wait for the record will say so."""
        try:
            return float(self.get())
        except NO_ANSWER:
            return float(self._readback)


class Setting(_Keyed, EpicsSignal):
    """A PV that is written and read back; done when the server has processed it.

    Parameters
    ----------
    limits : (float, float), optional
        Lowest and highest value; those of the record where not given.
    """

    def __init__(self, *args: Any, limits: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, limits=limits is None, put_complete=True, **kwargs)
        self._declared_limits = limits
        self._last_setpoint: Any = None
        self._stop = Stop()

    @property
    def last_setpoint(self) -> Any:
        """Last setpoint of this process; the value of the record before the first."""
        return self.get() if self._last_setpoint is None else self._last_setpoint

    def check_value(self, value: Any, **kwargs: Any) -> None:
        """Raise LimitError naming signal, value and limits where `value` is out of them."""
        low, high = self._declared_limits or (self.limits if self.connected else (None, None))
        if low is not None and high is not None and low < high and isinstance(value, Real):
            check_limits(self.name, float(value), (low, high), self.declared_units)

    def set(self, value: Any, **_kwargs: Any) -> TaskStatus:
        """Write a value; done when the server has processed it, failed naming the PV where it does not."""
        self.check_value(value)
        stop = self._stop = Stop()

        def write() -> None:
            put_and_wait(self, value, timeout=ANSWER_TIMEOUT, wanted=f"{value}", stopped=stop)
            self._last_setpoint = value

        return in_background(self, write, stop)

    def stop(self, *, success: bool = False) -> None:
        """Cancel the pending wait."""
        self._stop.success = success
        self._stop.set()


class SoftSetting(_Keyed, Signal):
    """A value from the configuration, kept with the data under its own key."""

    def describe(self) -> dict[str, Any]:
        """Describe it; its source is the configuration."""
        described = super().describe()
        for description in described.values():
            description["source"] = f"CONFIG:{self.name}"
        return described


def check_limits(name: str, value: float, limits: tuple[float, float], units: str) -> None:
    """Raise LimitError naming device, value and limits where a value is out of them."""
    low, high = limits
    if not low <= value <= high:
        unit = f" {units}" if units else ""
        raise LimitError(f"{name}: {value:g}{unit} is outside its limits {low:g} to {high:g}{unit}")
