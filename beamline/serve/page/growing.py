"""A run as far as its documents have come: its values by stream and key, for figures that are drawn while it grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from callbacks.contract import MEASUREMENT, Stream
from callbacks.external import ExternalFrames


class GrowingRun:
    """Takes the documents of a run in order, and gives what they hold so far.

    Parameters
    ----------
    start : dict
        The start document.

    Attributes
    ----------
    start, stop : dict
        `stop` is None until the run has ended.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        self.start = start
        self.stop: dict[str, Any] | None = None
        self.configuration: dict[str, Any] = {}
        self.cache: dict[str, Any] = {}  # of views, for what takes long and stays the same
        self._files = ExternalFrames()
        self._resources: set[str] = set()
        self._streams: dict[str, str] = {}  # uid of a descriptor -> name
        self._external: dict[str, set[str]] = {}  # stream -> keys
        self._events: dict[str, dict[int, dict[str, Any]]] = {}  # stream -> seq_num -> event

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.start["uid"])

    @property
    def measurement(self) -> dict[str, Any]:
        """The block `measurement` of its start document; empty where it has none."""
        block = self.start.get(MEASUREMENT)
        return block if isinstance(block, dict) else {}

    def owns(self, name: str, doc: dict[str, Any]) -> bool:
        """Tell whether a document is one of this run."""
        match name:
            case "event" | "stream_datum":
                return doc["descriptor"] in self._streams
            case "datum":
                return doc["resource"] in self._resources
        return bool(doc.get("run_start") == self.uid)

    def take(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "descriptor":
                self._streams[doc["uid"]] = doc["name"]
                external = self._external.setdefault(doc["name"], set())
                external |= {key for key, one in doc["data_keys"].items() if one.get("external")}
                for device in doc.get("configuration", {}).values():
                    self.configuration |= device["data"]
            case "event" if (stream := self._streams.get(doc["descriptor"])) is not None:
                self._events.setdefault(stream, {})[doc["seq_num"]] = doc
            case "resource" | "datum" | "stream_resource" | "stream_datum":
                getattr(self._files, name)(doc)
                self._resources |= {doc["uid"]} if name == "resource" else set()
            case "stop":
                self.stop = doc

    def count(self, stream: str) -> int:
        """Count the events of a stream."""
        return len(self._events.get(stream, ()))

    def column(self, stream: str, key: str) -> np.ndarray:
        """Give the values of a key, in the order of events; empty where there are none."""
        return np.array([event["data"][key] for event in self._events.get(stream, {}).values() if key in event["data"]])

    def last(self, stream: str) -> dict[str, Any]:
        """Give the data of the last event of a stream; empty where there is none."""
        events = self._events.get(stream)
        return dict(events[next(reversed(events))]["data"]) if events else {}

    def last_time(self, *streams: str) -> float:
        """Give when the last event of some streams was, s since 1970; 0 where there is none."""
        events = [self._events[stream] for stream in streams if self._events.get(stream)]
        return max((float(each[next(reversed(each))]["time"]) for each in events), default=0.0)

    def read(self, stream: str, key: str, number: int = -1) -> np.ndarray:
        """Read what an event holds, in an external file or in itself; `number` counts as in a list.

        Raises
        ------
        FrameReadError
            When it cannot be read.
        KeyError, IndexError
            When there is no such event or key.
        """
        events = self._events.get(stream, {})
        event = events[list(events)[number]]
        if key in self._external.get(stream, ()):
            return self._files.read(event, key)
        return np.asarray(event["data"][key])

    def number(self, stream: str, key: str, number: int) -> float:
        """Give a number that an event holds; NaN where it does not."""
        events = list(self._events.get(stream, {}).values())
        return float(events[number]["data"].get(key, np.nan))

    def all_of(self, stream: str, key: str) -> list[np.ndarray]:
        """Read what every event of a stream holds."""
        return [self.read(stream, key, number) for number in range(self.count(stream))]

    def result(self, key: str) -> np.ndarray | None:
        """Read a result of the reduction; None where there is none."""
        if not self.count(Stream.RESULT):
            return None
        try:
            return self.read(Stream.RESULT, key)
        except (KeyError, IndexError):
            return None

    def has_result(self, *keys: str) -> bool:
        """Tell whether the reduction has ended, and holds these."""
        return bool(self.count(Stream.RESULT)) and all(self.result(key) is not None for key in keys)

    def close(self) -> None:
        """Close its files; they are opened again when they are needed."""
        self._files.close()
