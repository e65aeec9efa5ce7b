"""Follow which frame each event of a run refers to, and which frames no event refers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from beamline.storage.frames import FrameLocation
from beamline.storage.log import Doc

AD_HDF5 = "AD_HDF5"  # spec of the resources of area detectors' HDF5 files


@dataclass
class EventFrames:
    """The frames of the events of one stream under one external data key."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    locations: list[FrameLocation | None] = field(default_factory=list)  # of each event's frame; None if it is lost
    in_order: bool = True  # event n refers to frame n of one and the same file
    linked: int = 0  # number of frames that are linked, once they are out of order


class FrameOrder:
    """Keeps the frames of the events of one run, in the order of the events.

    Attributes
    ----------
    streams : dict of (str, str) to EventFrames
        By stream and data key; only frames of area detectors that write one frame per event.
    unreferenced : dict of str to (str, dict)
        The resource and datum documents that no event has referred to, as (name, document) by their uid.
    """

    def __init__(self) -> None:
        self.streams: dict[tuple[str, str], EventFrames] = {}
        self.unreferenced: dict[str, tuple[str, Doc]] = {}
        self._resources: set[str] = set()  # uids
        self._files: dict[str, Path] = {}  # uid of a resource of the kind that is followed -> file
        self._datums: dict[str, tuple[str, int]] = {}  # datum id -> uid of the resource, index of the frame

    def add_resource(self, doc: Doc) -> Doc:
        """Take note of a resource; return it as the run writer needs it."""
        self.unreferenced[doc["uid"]] = "resource", doc
        self._resources.add(doc["uid"])
        kwargs = doc["resource_kwargs"]
        if doc["spec"] == AD_HDF5 and kwargs.get("frame_per_point", 1) == 1:
            self._files[doc["uid"]] = Path(doc["root"]) / doc["resource_path"]
            # "frame_per_point": 1 would give the array in the catalogue an axis that the file does not have.
            kwargs = {key: value for key, value in kwargs.items() if key != "frame_per_point"} | {"chunk_shape": [1]}
        return {**doc, "resource_kwargs": kwargs}

    def add_datum(self, doc: Doc) -> bool:
        """Take note of a datum.

        Returns
        -------
        bool
            False when the resource that it belongs to is lost.
        """
        self._datums[doc["datum_id"]] = doc["resource"], doc["datum_kwargs"].get("point_number", 0)
        self.unreferenced[doc["datum_id"]] = "datum", doc
        return doc["resource"] in self._resources

    def add_event(self, stream: str, key: str, data_key: Doc, datum_id: str) -> bool:
        """Take note of the frame that an event refers to.

        Returns
        -------
        bool
            Whether the frames are still in the order of the events, or are of a kind that is not followed. They are not
            where the documents that say where a frame is are lost, in a damaged log.
        """
        resource, index = self._datums.get(datum_id, ("", 0))
        self.unreferenced.pop(datum_id, None)
        self.unreferenced.pop(resource, None)
        if resource in self._resources and resource not in self._files:
            return True
        frames = self.streams.setdefault(
            (stream, key), EventFrames(tuple(data_key["shape"]), np.dtype(data_key.get("dtype_numpy", "<f8")))
        )
        location = (self._files[resource], index) if resource in self._files else None
        first = frames.locations[0] if frames.locations else location
        frames.in_order = frames.in_order and first is not None and location == (first[0], len(frames.locations))
        frames.locations.append(location)
        return frames.in_order
