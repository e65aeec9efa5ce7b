"""Ring, shutters and the RIXS spectrograph."""

from __future__ import annotations

import threading
from typing import Any

from ophyd import Component, EpicsSignal, Kind

from beamline.endstation.devices.signals import Reading
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import put_and_wait, wait_for
from callbacks.contract import UNITS, Key, Severity

OPEN, CLOSED, UNKNOWN = "open", "closed", "unknown"
SHUTTER_TIMEOUT = 10.0  # s


class State(Reading):
    """A PV whose states are words, given in lower case; "unknown" where it is not known."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, string=True, **kwargs)

    @property
    def unknown(self) -> str:
        """What it reads where its state is not known."""
        return UNKNOWN

    def _convert(self, value: Any) -> tuple[str, Severity, str]:
        return str(value).lower(), Severity.NO_ALARM, ""


class Ring(TaskDevice):
    """Storage ring: current, mA."""

    current = Component(
        Reading,
        "Current",
        key=str(Key.RING_CURRENT),
        units=UNITS[Key.RING_CURRENT],
        is_new=True,
        kind=Kind.normal,
    )


class FrontEndShutter(TaskDevice):
    """The facility's shutter, which is only read: "open", "closed" or "unknown", as its record `Sts` says."""

    state = Component(State, "Sts", kind=Kind.hinted)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state.name = self.name


class Shutter(FrontEndShutter):
    """Sample shutter: set by the record `Cmd` (1 opens, 0 closes), and done when `Sts` says so.

    Parameters
    ----------
    timeout : float
        s that it may take to open or close.
    """

    command = Component(EpicsSignal, "Cmd", kind=Kind.omitted)

    def __init__(self, *args: Any, timeout: float = SHUTTER_TIMEOUT, **kwargs: Any) -> None:
        self._timeout = timeout
        super().__init__(*args, **kwargs)

    def check_value(self, value: str, **_kwargs: Any) -> None:
        """Raise ValueError for another state."""
        if value not in (OPEN, CLOSED):
            raise ValueError(f"{self.name}: {value!r} is neither {OPEN!r} nor {CLOSED!r}")

    def set(self, value: str) -> TaskStatus:
        """Open or close it; done when it says so."""
        self.check_value(value)

        def move(stopped: threading.Event) -> None:
            put_and_wait(
                self.command, int(value == OPEN), timeout=self._timeout, wanted=value, seen=self.state, stopped=stopped
            )
            wait_for(self.state, lambda seen: seen == value, timeout=self._timeout, wanted=value, stopped=stopped)

        return self.work(move)


class Spectrograph(TaskDevice):
    """RIXS spectrograph: emission energy in the middle of the chip as its motors say, eV."""

    energy = Component(Reading, "Energy.RBV", key="spectrograph_energy", units="eV", kind=Kind.normal)
