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

    An alarm is added to the marks that the events which have it got for another reason, such as their lost I0. Of the
    others, events in a row, it marks the first. A time that cannot be meant marks the first event of the run that has
    it. A MINOR alarm is kept with the data only.
    """

    def __init__(self) -> None:
        self._clocks: dict[str, int] = {}  # first event of each
        self._rows: list[tuple[str, list[int]]] = []  # alarms, and the events in a row that have them
        self._present: dict[str, list[int]] = {}  # rows to which the last event belongs

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the values of an event."""
        number = int(event["seq_num"])
        present = {}
        for key, severity in event.items():
            if not key.endswith(SUFFIX) or severity == Severity.MINOR:
                continue
            text = str(event.get(alarm_key(key.removesuffix(SUFFIX))) or "")
            if text and severity == Severity.NO_ALARM:
                self._clocks.setdefault(text, number)
            elif text:
                row = self._present.get(text)
                if row is None:
                    row = []
                    self._rows.append((text, row))
                row.append(number)
                present[text] = row
        self._present = present

    def add_to(self, result: dict[str, Any]) -> dict[str, Any]:
        """Give a result whose marks are those it has and those of the alarms, in the order of events."""
        if not self._rows and not self._clocks:
            return result
        reasons: dict[int, list[str]] = {}
        for number, text in zip(result.get("marked_frames", ()), result.get("marks", ()), strict=True):
            reasons.setdefault(int(number), []).append(str(text))
        marked = set(reasons)
        for text, numbers in self._rows:
            alone = [number for number in numbers if number not in marked]
            for number in marked.intersection(numbers):
                reasons[number].append(text)
            if alone:
                until = f" (to {alone[-1]})" if len(alone) > 1 else ""
                reasons.setdefault(alone[0], []).append(f"{text}{until}")
        for text, number in self._clocks.items():
            reasons.setdefault(number, []).append(text)
        return result | {
            "marked_frames": np.array(sorted(reasons), dtype=int),
            "marks": np.array(["; ".join(reasons[number]) for number in sorted(reasons)], dtype=str),
        }
