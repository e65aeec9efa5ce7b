"""The frames of a stream as one array that is read from its files as it is needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.storage.log import Document
from callbacks.external import ExternalFrames


class Frames:
    """The frames of one data key, in the order of events: what dask needs of an array, and no frame in memory.

    Parameters
    ----------
    documents : iterable of (name, document)
        Of the run.
    stream, key : str
        Name of the stream, and a data key in it whose values lie in files.

    Attributes
    ----------
    shape : tuple of int
        (events, rows, columns).
    dtype : numpy.dtype
    """

    ndim = 3

    def __init__(self, documents: Iterable[Document], stream: str, key: str) -> None:
        self._key = key
        self._files = ExternalFrames()
        self._events: list[dict[str, Any]] = []
        described: dict[str, dict[str, Any]] = {}  # entries of the descriptors, by their uids
        for name, doc in documents:
            match name:
                case "descriptor" if doc["name"] == stream and key in doc["data_keys"]:
                    described[doc["uid"]] = doc["data_keys"][key]
                case "event" if doc["descriptor"] in described:
                    self._events.append(doc)
                case "resource" | "datum" | "stream_resource" | "stream_datum":
                    getattr(self._files, name)(doc)
        self._events.sort(key=lambda event: event["seq_num"])
        data_key = next(iter(described.values()))
        self.shape = (len(self._events), *map(int, data_key["shape"][-2:]))
        self.dtype = np.dtype(data_key["dtype_numpy"]) if "dtype_numpy" in data_key else self._read(0).dtype

    def __getitem__(self, where: tuple[int | slice, ...]) -> NDArray[Any]:
        event, *inside = where
        numbers = range(len(self._events))[event] if isinstance(event, slice) else [event]
        frames = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        try:
            for place, number in enumerate(numbers):
                frames[place] = self._read(number)
        finally:
            self._files.close()  # a file that stays open would stand in the way of whoever repairs it
        return frames[(slice(None) if isinstance(event, slice) else 0, *inside)]

    def _read(self, number: int) -> NDArray[Any]:
        return self._files.read(self._events[number], self._key)
