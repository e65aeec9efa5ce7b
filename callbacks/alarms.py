"""The alarms that devices keep with their data: what they leave of an event, and the marks that name them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from callbacks.contract import CCD, CCD_DARK, ENERGY, SCANNER, Key, Severity, alarm_key, severity_key

# What no step can do without: by device, the quantities of which each must be known, where they are recorded.
REQUIRED = {ENERGY: (Key.ENERGY, Key.ENERGY_SETPOINT), CCD: (Key.EXPOSURE_TIME,)}
SUFFIX = severity_key("")


def is_known(event: Mapping[str, Any], device: str) -> bool:
    """Tell whether all that a device read is known, as far as its alarms say; those of old runs say nothing."""
    return bool(event.get(severity_key(device), Severity.NO_ALARM) < Severity.INVALID)


def unknown_quantity(event: Mapping[str, Any]) -> str:
    """Say which quantity an event cannot be used without and is not known, by the alarm of its device; else ""."""
    for device, keys in REQUIRED.items():
        if not is_known(event, device):
            for key in keys:
                if math.isnan(event.get(key, 0.0)):
                    return f"{key}: not known"
    return ""


def unknown_dark(event: Mapping[str, Any]) -> str:
    """Say for which alarm a dark event cannot be used; "" where it can."""
    return "; ".join(str(event[alarm_key(device)]) for device in (CCD_DARK, SCANNER) if not is_known(event, device))


class AlarmMarks:
    """The alarms of a run as marks of its events.

    A value that is not known marks its event. An alarm whose value is used (MAJOR, or a time that cannot be meant)
    marks the first event of those in a row that have it. A MINOR alarm is kept with the data only.
    """

    def __init__(self) -> None:
        self._lost: list[tuple[int, str]] = []
        self._shown: list[tuple[int, int, str]] = []  # first and last event of a row, and its alarm
        self._current: dict[str, int] = {}  # index of the row that an alarm makes at present

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the values of an event."""
        number, shown = int(event["seq_num"]), {}
        for key, severity in event.items():
            if not key.endswith(SUFFIX) or severity == Severity.MINOR:
                continue
            text = str(event.get(alarm_key(key.removesuffix(SUFFIX))) or "")
            if text and severity >= Severity.INVALID:
                self._lost.append((number, text))
            elif text:
                shown[text] = self._current.get(text, len(self._shown))
                if shown[text] == len(self._shown):
                    self._shown.append((number, number, text))
                first, _, _ = self._shown[shown[text]]
                self._shown[shown[text]] = (first, number, text)
        self._current = shown

    def add_to(self, result: dict[str, Any]) -> dict[str, Any]:
        """Give a result whose marks are those it has and those of the alarms, in the order of events."""
        rows = [(first, text if first == last else f"{text} (to {last})") for first, last, text in self._shown]
        if not rows and not self._lost:
            return result
        reasons: dict[int, list[str]] = {}
        own = zip(result.get("marked_frames", ()), result.get("marks", ()), strict=True)
        for number, text in (*own, *self._lost, *rows):
            reasons.setdefault(int(number), []).append(str(text))
        return result | {
            "marked_frames": np.array(sorted(reasons), dtype=int),
            "marks": np.array(["; ".join(reasons[number]) for number in sorted(reasons)], dtype=str),
        }
