"""Log the alarms in the data of a run, each process variable once for each severity, as they first come."""

from __future__ import annotations

import logging
from typing import Any

from callbacks.contract import Severity, alarm_key, severity_key

logger = logging.getLogger(__name__)


class AlarmLog:
    """A callback that logs MAJOR and INVALID alarms, and times that cannot be meant, once in a run."""

    def __init__(self) -> None:
        self._devices: dict[str, tuple[str, list[str]]] = {}  # stream and devices, by descriptor
        self._said: set[tuple[str, int]] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "start":
                self._devices.clear()
                self._said.clear()
            case "descriptor":
                devices = [device for device in doc.get("object_keys", {}) if alarm_key(device) in doc["data_keys"]]
                self._devices[doc["uid"]] = doc["name"], devices
            case "event":
                stream, devices = self._devices[doc["descriptor"]]
                for device in devices:
                    if text := doc["data"][alarm_key(device)]:
                        self._log(device, doc["data"][severity_key(device)], text, f"{stream} {doc['seq_num']}")

    def _log(self, device: str, severity: int, text: str, event: str) -> None:
        if severity == Severity.MINOR:
            return
        new = [part for part in text.split("; ") if (part.split(" ", 1)[0], severity) not in self._said]
        self._said |= {(part.split(" ", 1)[0], severity) for part in new}
        if new:
            logger.warning("%s: %s (event %s)", device, "; ".join(new), event)
