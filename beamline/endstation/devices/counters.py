"""The scaler: it counts I0, yields, and whatever else is connected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ophyd import Component, Device, EpicsSignal, FormattedComponent, Kind

from beamline.endstation.devices.signals import Reading, Setting
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from callbacks.contract import UNITS, Key

TAKEN = {str(key) for key in Key} - {Key.I0, Key.TEY, Key.TFY}  # data keys that mean something else
MARGIN = 10.0  # s that counting may take beyond its preset time


def with_channels(
    kind: type[Device], channels: Iterable[str], parts: Callable[[str], Mapping[str, Component[Any]]]
) -> Any:
    """Make the object of a class of devices that has signals for each channel, which the configuration names.

    Parameters
    ----------
    kind : type
        The class, from whose ``__new__`` this is called.
    channels : iterable of str
        Data keys.
    parts : callable
        Gives the signals of a channel, by their names; as attributes they have ``channel_`` in front.

    Raises
    ------
    ValueError
        Where a name is none that data can have, or there is none.
    """
    names = list(channels)
    if not names:
        raise ValueError("channels: expected one or more, as { i0 = 2, tey = 3 }")
    for name in names:
        if not name.isidentifier() or name in TAKEN:
            raise ValueError(f"channels: {name!r}: expected a name of letters, digits and _ that nothing else has")
    signals = {f"channel_{part}": made for name in names for part, made in parts(name).items()}
    return object.__new__(type(kind.__name__, (kind,), signals))


class Scaler(TaskDevice):
    """A scaler record: counts I0, TEY, TFY or whatever is connected, for `dwell` s.

    Parameters
    ----------
    prefix : str
        The record, without a field.
    name : str
    channels : mapping of str to int
        Data key of each channel, and its number (field .S1 to .S64).
    margin : float
        s that counting may take beyond its preset time.
    """

    dwell = FormattedComponent(
        Setting, "{prefix}.TP", key=str(Key.DWELL), units=UNITS[Key.DWELL], limits=(0.001, 36000.0), kind=Kind.normal
    )
    count = FormattedComponent(EpicsSignal, "{prefix}.CNT", kind=Kind.omitted)

    def __new__(cls, _prefix: str = "", *, channels: Mapping[str, int], **_kwargs: Any) -> Scaler:
        """Make a scaler with these channels."""

        def parts(name: str) -> dict[str, Component[Any]]:
            suffix, units = f".S{channels[name]}", UNITS[Key.I0]
            return {name: Component(Reading, suffix, key=name, units=units, counts=True, is_new=True, kind=Kind.hinted)}

        made: Scaler = with_channels(cls, channels, parts)
        return made

    def __init__(
        self, prefix: str = "", *, name: str, channels: Mapping[str, int], margin: float = MARGIN, **kwargs: Any
    ) -> None:
        self.channels, self.margin = tuple(channels), margin
        super().__init__(prefix, name=name, **kwargs)

    def trigger(self) -> TaskStatus:
        """Count; done when the record has counted."""
        for channel in self.channels:
            getattr(self, f"channel_{channel}").expect_renewal()

        def count(stopped: threading.Event) -> None:
            timeout = float(self.dwell.last_setpoint) + self.margin
            put_and_wait(self.count, 1, timeout=timeout, wanted="0 (counted)", stopped=stopped)

        return self.work(count)

    def halt(self) -> None:
        """Stop counting."""
        put_without_waiting(self.count, 0)
