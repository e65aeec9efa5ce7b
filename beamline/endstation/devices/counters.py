"""The scaler of I0 and the yields."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import EpicsSignal, FormattedComponent, Kind

from beamline.endstation.devices.signals import Reading, Setting
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from callbacks.contract import UNITS, Key

MARGIN = 10.0  # s that counting may take beyond its preset time


def _channel(number: str, key: Key) -> FormattedComponent:
    suffix = f"{{prefix}}.S{{{number}}}"
    return FormattedComponent(
        Reading, suffix, key=str(key), units=UNITS[key], counts=True, is_new=True, kind=Kind.hinted
    )


class Scaler(TaskDevice):
    """A scaler record: counts I0, TEY and TFY for `dwell` s.

    Parameters
    ----------
    prefix : str
        The record, without a field.
    name : str
    i0, tey, tfy : int
        Channels (fields .S1 to .S64).
    margin : float
        s that counting may take beyond its preset time.
    """

    i0 = _channel("_i0", Key.I0)
    tey = _channel("_tey", Key.TEY)
    tfy = _channel("_tfy", Key.TFY)
    dwell = FormattedComponent(
        Setting, "{prefix}.TP", key=str(Key.DWELL), units=UNITS[Key.DWELL], limits=(0.001, 36000.0), kind=Kind.normal
    )
    count = FormattedComponent(EpicsSignal, "{prefix}.CNT", kind=Kind.omitted)

    def __init__(
        self, prefix: str = "", *, name: str, i0: int, tey: int, tfy: int, margin: float = MARGIN, **kwargs: Any
    ) -> None:
        self._i0, self._tey, self._tfy, self.margin = i0, tey, tfy, margin
        super().__init__(prefix, name=name, **kwargs)

    def trigger(self) -> TaskStatus:
        """Count; done when the record has counted."""
        for channel in (self.i0, self.tey, self.tfy):
            channel.expect_renewal()

        def count(stopped: threading.Event) -> None:
            timeout = float(self.dwell.last_setpoint) + self.margin
            put_and_wait(self.count, 1, timeout=timeout, wanted="0 (counted)", stopped=stopped)

        return self.work(count)

    def halt(self) -> None:
        """Stop counting."""
        put_without_waiting(self.count, 0)
