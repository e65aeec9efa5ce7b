"""Alarms that the fault switch gives to process variables, or what one that is not processed looks like."""

from __future__ import annotations

from typing import Any

from caproto import AlarmSeverity, AlarmStatus, ChannelAlarm, ChannelData, SubscriptionType, TimeStamp

from simulated_devices.ioc.channels import Pvs

UNPROCESSED, FROZEN = "UNPROCESSED", "FROZEN"  # FROZEN: no alarm, and it is not processed any more
ALARMS = {
    FROZEN: (AlarmSeverity.NO_ALARM, AlarmStatus.NO_ALARM),
    "MINOR": (AlarmSeverity.MINOR_ALARM, AlarmStatus.HIGH),
    "MAJOR": (AlarmSeverity.MAJOR_ALARM, AlarmStatus.HIHI),
    "INVALID": (AlarmSeverity.INVALID_ALARM, AlarmStatus.READ),
    UNPROCESSED: (AlarmSeverity.INVALID_ALARM, AlarmStatus.UDF),
}


class HeldAlarm(ChannelAlarm):
    """An alarm that stays when the channel is given a value; caproto clears it then."""

    async def write(self, **_kwargs: Any) -> None:
        """Do nothing."""


class AlarmSwitch:
    """Gives alarms to process variables by name, and takes them away again.

    Parameters
    ----------
    prefix : str
        In front of every process variable.
    pvdb : dict
        All of them.
    """

    def __init__(self, prefix: str, pvdb: Pvs) -> None:
        self._prefix, self._pvdb = prefix, pvdb
        self._own: list[tuple[ChannelData, ChannelAlarm]] = []  # channels that were given an alarm, with their own

    async def put(self, text: str) -> None:
        """Give an alarm, as in "Scaler.S2 INVALID"; take all away where the text is empty.

        Raises
        ------
        ValueError
            When there is no such process variable or alarm.
        """
        if not text:
            for channel, alarm in reversed(self._own):
                await _give(channel, alarm)
            self._own.clear()
            return
        name, _, wanted = text.partition(" ")
        channel = self._channel(name)
        if wanted not in ALARMS:
            raise ValueError(f"no alarm {wanted!r}; there are {', '.join(ALARMS)}")
        self._own.append((channel, channel.alarm))
        severity, status = ALARMS[wanted]
        if wanted == UNPROCESSED:
            channel._data["value"] = channel.preprocess_value(0)  # noqa: SLF001 - past what stamps and publishes values
            await channel.write_metadata(timestamp=TimeStamp(0, 0), publish=False)
        await _give(channel, HeldAlarm(severity=severity, status=status), processes=wanted not in (UNPROCESSED, FROZEN))

    def _channel(self, name: str) -> ChannelData:
        whole = f"{self._prefix}{name}"
        if whole in self._pvdb:
            return self._pvdb[whole]
        record, _, field = whole.rpartition(".")
        if record not in self._pvdb:
            raise ValueError(f"no process variable {whole!r}")
        return self._pvdb[record].get_field(field)


async def _give(channel: ChannelData, alarm: ChannelAlarm, *, processes: bool = True) -> None:
    channel.alarm = alarm
    if hasattr(channel, "processes"):
        channel.processes = processes
    await channel.publish(SubscriptionType.DBE_ALARM | SubscriptionType.DBE_VALUE)
