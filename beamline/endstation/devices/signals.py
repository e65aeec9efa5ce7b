"""Signals of EPICS devices: with data keys and units of their own, and errors that name the PV."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
from epics import ca
from ophyd import EpicsSignal, EpicsSignalRO, Signal
from ophyd.signal import EpicsSignalBase
from ophyd.utils.errors import LimitError

from beamline.endstation.devices.alarms import CLOCK_TOLERANCE, Alarm, Sample, alarm_of
from beamline.endstation.devices.task import DeviceError, Stop, TaskStatus, in_background
from beamline.endstation.devices.waits import ANSWER_TIMEOUT, NO_ANSWER, device_name, naming_the_pv, put_and_wait
from callbacks.contract import Severity

log = logging.getLogger(__name__)

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


class _Sampled(_Keyed, EpicsSignalBase):
    """A PV that is read with its alarm: where its value is not known, it reads NaN.

    A number is always a float, whatever the record has, so that NaN fits among its values.

    Parameters
    ----------
    counts : bool
        Whether it counts, so that a value below zero is none.
    is_new : bool
        Whether its record is processed again and again, or just before it is read: then its time is not long ago.
    """

    def __init__(self, *args: Any, counts: bool = False, is_new: bool = False, **kwargs: Any) -> None:
        self._counts, self._is_new = counts, is_new
        self.last_alarm = Alarm(Severity.NO_ALARM, "", 0.0)  # of the last value that came, read or monitored
        self._stamp: Any = None  # time of the last value, as its record gave it
        self._old_stamp: Any = None  # that a value must not have any more
        self._asked: int | None = None  # the type that the server was asked for; None where it was not
        super().__init__(*args, **kwargs)

    @property
    def unknown(self) -> Any:
        """What it reads where its value is not known."""
        return "" if self._string else math.nan

    def ask(self) -> None:
        """Ask the server for the value without waiting: the next `sample` waits for this answer.

        So the answers for many signals come together. What does not answer, `sample` says.
        """
        if self.connected and not self._string:  # pyepics makes text of an answer only where it waits for it
            with suppress(*NO_ANSWER):
                asked = ca.promote_type(self._read_pv.chid, use_time=True)
                ca.get_with_metadata(self._read_pv.chid, ftype=asked, wait=False)
                self._asked = asked

    def forget(self) -> None:
        """Ask anew at the next `sample`."""
        self._asked = None

    def sample(self) -> Sample:
        """Read value and alarm from the server, both of one answer.

        Raises
        ------
        ConnectionLostError
            Naming the PV where it does not answer.
        DeviceError
            Where it is no number.
        """
        with naming_the_pv(self):
            # Not ophyd's `get`: with a monitor, its alarm and time are those of the monitor, not those of the value.
            answer = self._answer() or self._get_with_timeout(
                self._read_pv, self.timeout, self.connection_timeout, None, self._string, "time", False
            )
        return self._take(answer)

    def _answer(self) -> Mapping[str, Any] | None:
        """Wait for what was asked; None where nothing was, or the connection was lost meanwhile: ask again then."""
        asked, self._asked = self._asked, None
        if asked is None or not self.connected:
            return None
        with suppress(*NO_ANSWER):
            answer: Mapping[str, Any] | None = ca.get_complete_with_metadata(
                self._read_pv.chid, ftype=asked, timeout=self.timeout
            )
            return answer
        return None

    def expect_renewal(self) -> None:
        """Take a value with the time of the last one as not renewed, from now on: it is about to be measured."""
        self._old_stamp = self._stamp

    def known(self, expected: str) -> Any:
        """Read the value; raise `DeviceError`, naming the PV and its alarm, where it is not known."""
        sample = self.sample()
        if not sample.known:
            raise DeviceError(f"{device_name(self)}: {sample.alarm.message}, expected {expected}")
        return sample.value

    def read(self) -> dict[str, dict[str, Any]]:
        """Read value, time and alarm; wait a little where the connection is just being restored."""
        with naming_the_pv(self):
            if not self.connected:
                self.wait_for_connection(timeout=RECONNECT_TIMEOUT)
        return {self.name: self.sample().reading()}

    def describe(self) -> dict[str, Any]:
        """Describe it as a number."""
        described = super().describe()
        if not self._string:
            described[self.name] |= {"dtype": "number", "shape": []}
        return described

    def _take(self, answer: Mapping[str, Any]) -> Sample:
        """Give value and alarm of an answer of the server."""
        pv, tolerance = self.pvname, getattr(self.root, "clock_tolerance", CLOCK_TOLERANCE)
        alarm = alarm_of(pv, answer, tolerance=tolerance, is_new=self._is_new)
        value = self.unknown
        if alarm.severity < Severity.INVALID:
            value, severity, doubt = self._convert(answer["value"])
            if doubt:
                alarm = alarm.with_doubt(pv, severity, doubt)
        self._stamp = answer.get("timestamp")
        if self._stamp is not None and self._stamp == self._old_stamp:
            alarm = alarm.with_doubt(pv, Severity.MAJOR, "was not renewed since the point before")
        self.last_alarm = alarm
        return Sample(value, alarm)

    def _convert(self, value: Any) -> tuple[Any, Severity, str]:
        """Give the value in its own type, and what is wrong with it; `DeviceError` where it has another type."""
        if self._string:
            return str(value), Severity.NO_ALARM, ""
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, Real):
            raise DeviceError(f"{device_name(self)}: {self.pvname} is {_shown(value)}, expected a number")
        if not math.isfinite(value):
            return math.nan, Severity.INVALID, f"is {value}"
        if self._counts and value < 0:
            return math.nan, Severity.INVALID, f"is {value:g}, below zero"
        return float(value), Severity.NO_ALARM, ""


class Reading(_Sampled, EpicsSignalRO):
    """A PV that is read from the server each time, so that its value is never older than the request."""

    def get(self, **_kwargs: Any) -> Any:
        """Get the value from the server; errors as `sample`."""
        return self.sample().value

    def _take(self, answer: Mapping[str, Any]) -> Sample:
        sample = super()._take(answer)
        if not self._monitors[self.pvname]:
            self._readback = sample.value
        return sample

    def _read_changed(self, value: Any = None, **kwargs: Any) -> None:
        """Take a value of the monitor; subscribers are given it as it would be read."""
        answer = kwargs | {"value": kwargs.get("char_value") if self._string else value}
        try:
            taken = self._take(answer).value
        except DeviceError as error:
            log.error("%s", error)
            taken = self.unknown
        super()._read_changed(value=taken, **kwargs | {"char_value": taken})


class Numbers(Reading):
    """An array of so many numbers as its device expects: what is no number, or of counts below zero, is NaN and named.

    All of it is NaN where the array is not known; `DeviceError` where there are fewer numbers.
    """

    each = "value"  # what a number stands for

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, is_new=True, **kwargs)

    @property
    def expected(self) -> int:
        """How many numbers there are; others behind them are of no concern."""
        return int(self.parent.expected)

    @property
    def unknown(self) -> Any:
        """What it reads where it is not known."""
        return np.full(self.expected, np.nan)

    def describe(self) -> dict[str, Any]:
        """Describe it as an array."""
        described = super().describe()
        described[self.name] |= {"dtype": "array", "dtype_numpy": "<f8", "shape": [self.expected]}
        return described

    def _convert(self, value: Any) -> tuple[Any, Severity, str]:
        wanted, whose = self.expected, self.parent.name
        try:
            values = np.atleast_1d(np.array(value, dtype=float))
        except (TypeError, ValueError):
            raise DeviceError(f"{whose}: {self.pvname} is no array of numbers, expected {wanted}") from None
        if len(values) < wanted:
            raise DeviceError(f"{whose}: {self.pvname} has {len(values)} values, expected {wanted}, one a {self.each}")
        values = values[:wanted]
        with np.errstate(invalid="ignore"):
            bad = ~np.isfinite(values) | (self._counts & (values < 0))
        values[bad] = np.nan
        if not bad.any():
            return values, Severity.NO_ALARM, ""
        severity = Severity.INVALID if bad.all() else Severity.MAJOR
        what = "counts" if self._counts else "number"
        return values, severity, f"has no {what} for {bad.sum()} of {wanted} {self.each}s"


class Whole(Reading):
    """A PV that is read as a whole number; -1 where it is not known."""

    @property
    def unknown(self) -> Any:
        """What it reads where its value is not known."""
        return -1

    def describe(self) -> dict[str, Any]:
        """Describe it as a whole number."""
        described = super().describe()
        described[self.name] |= {"dtype": "integer"}
        return described

    def _convert(self, value: Any) -> tuple[int, Severity, str]:
        number, severity, doubt = super()._convert(value)
        return (self.unknown if doubt else int(number)), severity, doubt


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


class Setting(_Sampled, EpicsSignal):
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
        """Last setpoint of this process; before the first, what the record is set to (see `present`)."""
        return self.present() if self._last_setpoint is None else self._last_setpoint

    def present(self) -> Any:
        """Give what the record is set to, whatever its alarm; `DeviceError` where that is no finite number."""
        value = self.get(use_monitor=False)
        _, _, doubt = self._convert(value)
        if doubt:
            raise DeviceError(f"{device_name(self)}: {self.pvname} {doubt}, expected a number")
        return value

    def check_value(self, value: Any, **kwargs: Any) -> None:
        """Raise LimitError naming signal, value and limits where `value` is out of them."""
        low, high = self._declared_limits or (self.limits if self.connected else (None, None))
        if isinstance(value, Real):
            check_finite(self.name, float(value))
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


def _shown(value: Any) -> str:
    """Show a value of another type than expected, on one line and without control characters."""
    return f"an array of {value.size} values" if isinstance(value, np.ndarray) else ascii(value)[:80]


def check_finite(name: str, value: float) -> None:
    """Raise LimitError naming a device where it cannot be set to a value: NaN or infinite."""
    if not math.isfinite(value):
        raise LimitError(f"{name}: {value:g} is no value to set, expected a finite number")


def check_limits(name: str, value: float, limits: tuple[float, float], units: str) -> None:
    """Raise LimitError naming device, value and limits where a value is out of them."""
    low, high = limits
    if not low <= value <= high:
        unit = f" {units}" if units else ""
        raise LimitError(f"{name}: {value:g}{unit} is outside its limits {low:g} to {high:g}{unit}")
