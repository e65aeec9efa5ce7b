"""What a value read over EPICS is worth, by the alarm and the time that its process variable gives with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ophyd.utils.epics_pvs import AlarmStatus

from callbacks.contract import Severity, alarm_key, severity_key

NEVER_PROCESSED = 631152001.0  # s since 1970; a record that was never processed has the time 0 of EPICS, 1990-01-01
FIRST_TIME = 662688000.0  # s since 1970, 1991-01-01: an IOC that does not know the time counts from 1990
CLOCK_TOLERANCE = 3600.0  # s that the clock of an IOC may be off
HOUR, DAY = 3600.0, 86400.0  # s


@dataclass(frozen=True)
class Alarm:
    """What a process variable says of its value.

    Attributes
    ----------
    severity : Severity
        INVALID where the value is not known.
    message : str
        As "SIM:Scaler.S2 is INVALID (UDF), never processed"; empty where there is nothing to say.
    timestamp : float
        s since 1970: of the process variable, or of this computer where that cannot be meant.
    """

    severity: Severity
    message: str
    timestamp: float

    def with_doubt(self, pv: str, severity: Severity, doubt: str) -> Alarm:
        """Add what is wrong with the value itself."""
        message = f"{self.message}, {doubt}" if self.message else f"{pv} {doubt}"
        return Alarm(max(self.severity, severity), message, self.timestamp)


@dataclass(frozen=True)
class Sample:
    """A value, and the alarm that came with it."""

    value: Any
    alarm: Alarm

    @property
    def known(self) -> bool:
        """Whether the value can be used."""
        return self.alarm.severity < Severity.INVALID

    def reading(self) -> dict[str, Any]:
        """Give it as `bluesky.protocols.Reading`."""
        alarm = self.alarm
        return {
            "value": self.value,
            "timestamp": alarm.timestamp,
            "alarm_severity": int(alarm.severity),
            "message": alarm.message,
        }


def alarm_of(
    pv: str,
    metadata: Mapping[str, Any],
    *,
    tolerance: float = CLOCK_TOLERANCE,
    is_new: bool = False,
    now: float | None = None,
) -> Alarm:
    """Judge the alarm and the time that came with a value.

    Parameters
    ----------
    pv : str
    metadata : mapping
        Its `severity`, `status` and `timestamp`, of the same answer as the value.
    tolerance : float
        s that its clock may be off this computer's.
    is_new : bool
        Whether the value was made just now: then its time may not be long ago either.
    now : float, optional
        s since 1970; the present where not given.

    Returns
    -------
    Alarm
        INVALID where the severity is, or the record was never processed (status UDF, or the time 0 of EPICS).
    """
    now = time.time() if now is None else now
    severity, status = (int(metadata.get(key) or 0) for key in ("severity", "status"))
    timestamp = float(metadata.get("timestamp") or now)
    said = [f"is {_name(Severity, severity)} ({_name(AlarmStatus, status)})"] if severity else []
    if status == AlarmStatus.UDF or timestamp < NEVER_PROCESSED:
        said.append("never processed" if said else "was never processed")
        severity, timestamp = Severity.INVALID, now
    elif wrong := _wrong_clock(timestamp, now, tolerance, is_new=is_new):
        said.append(wrong)
        timestamp = now
    if severity not in (Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR):
        severity = Severity.INVALID
    return Alarm(Severity(severity), f"{pv} {', '.join(said)}" if said else "", timestamp)


def _wrong_clock(timestamp: float, now: float, tolerance: float, *, is_new: bool) -> str:
    """Say what is wrong with the time of a value; empty where nothing is."""
    ahead = timestamp - now
    if timestamp >= FIRST_TIME and ahead <= tolerance and (ahead >= -tolerance or not is_new):
        return ""
    length, unit = (abs(ahead) / DAY, "days") if abs(ahead) >= DAY else (abs(ahead) / HOUR, "hours")
    return f"is dated {length:.0f} {unit} {'ahead' if ahead > 0 else 'ago'} by this computer's clock"


def _name(names: type[IntEnum], value: int) -> str:
    """Give the name that EPICS has for a severity or a status; the number where it has none."""
    return {member.value: member.name for member in names}.get(value, str(value))


def alarms_of_device(device: str, readings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give the readings that keep the alarms of a device with its data: the highest severity, and all messages.

    Parameters
    ----------
    device : str
        Its name.
    readings : mapping of str to mapping
        What it read, by data key, as `bluesky.protocols.Reading`.
    """
    severity = max((int(reading.get("alarm_severity", 0)) for reading in readings.values()), default=0)
    messages = dict.fromkeys(filter(None, (reading.get("message", "") for reading in readings.values())))
    timestamp = max((float(reading["timestamp"]) for reading in readings.values()), default=time.time())
    return {
        severity_key(device): {"value": severity, "timestamp": timestamp},
        alarm_key(device): {"value": "; ".join(messages), "timestamp": timestamp},
    }


def describe_alarms(device: str) -> dict[str, dict[str, Any]]:
    """Describe what `alarms_of_device` gives."""
    described = {severity_key(device): "integer", alarm_key(device): "string"}
    return {key: {"source": f"ALARM:{device}", "dtype": dtype, "shape": []} for key, dtype in described.items()}
