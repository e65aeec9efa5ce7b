"""How much light a point needs to be kept: the limits of the configuration, and messages that name what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callbacks.contract import RING, Key, Severity, alarm_key, severity_key


@dataclass(frozen=True)
class Light:
    """When there is light, and when it is back.

    Attributes
    ----------
    ring_current_low : float, optional
        mA; below, there is no light. Not checked where it is None.
    ring_current_resume : float, optional
        mA; once lost, the light is back above this. `ring_current_low` where it is None.
    front_end_shutter : bool
        Whether the front-end shutter has to be open again, too.
    give_up_after : float, optional
        s without light after which a run is ended; it waits without end where it is None.
    """

    ring_current_low: float | None = None
    ring_current_resume: float | None = None
    front_end_shutter: bool = True
    give_up_after: float | None = None

    def missing(self, values: Mapping[str, Any]) -> str:
        """Say what light is missing in a point.

        Parameters
        ----------
        values : mapping of str to value
            Readings of the point by data key.

        Returns
        -------
        str
            As "ring_current: 0 mA is below 400 mA"; empty where nothing is missing, or where the point has no reading
            of the ring current.
        """
        return self._ring(values, self.ring_current_low)

    def awaited(self, values: Mapping[str, Any]) -> str:
        """Say what has still to recover after the light was lost, as `missing` does."""
        return self._ring(
            values, self.ring_current_low if self.ring_current_resume is None else self.ring_current_resume
        )

    def _ring(self, values: Mapping[str, Any], limit: float | None) -> str:
        if limit is None or Key.RING_CURRENT not in values:
            return ""
        alarm = values.get(alarm_key(RING), "") if values.get(severity_key(RING)) == Severity.INVALID else ""
        return below(Key.RING_CURRENT, values[Key.RING_CURRENT], limit, alarm=alarm)


def below(name: str, current: float, limit: float, *, alarm: str = "") -> str:
    """Say that a ring current is below a limit, mA, or not known, and for which alarm; empty otherwise."""
    if current >= limit:
        return ""
    if current < limit:
        return f"{name}: {current:g} mA is below {limit:g} mA"
    return f"{name}: not known: {alarm}" if alarm else f"{name}: not known ({current:g} mA)"
