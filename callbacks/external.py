"""Find and read the frames that documents refer to: area-detector HDF5 files, in either form of reference."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlparse

import h5py
import numpy as np
from numpy.typing import NDArray

HDF5_DATASET = "/entry/data/data"  # where the area detector's HDF5 plugin puts its frames
LONGEST_MESSAGE = 200  # characters


class FrameReadError(RuntimeError):
    """A frame that a document names cannot be read."""


def file_uri(path: Path) -> str:
    """Give the URI of a file as a stream_resource names it: whatever is in an absolute path, it can be read back."""
    return f"file://localhost{quote(os.fsencode(path))}"


def file_of_uri(uri: str) -> Path:
    """Give the path of a file from its URI; undoes `file_uri`."""
    return Path(os.fsdecode(unquote_to_bytes(urlparse(uri).path)))


def said_by_hdf5(error: Exception) -> str:
    """Give the message of an error of h5py on one line; of a long one the first sentence, and the system's reason."""
    text = " ".join(str(error).split())
    if len(text) <= LONGEST_MESSAGE:
        return text
    reason = re.search(r"error message = ('[^']+')", text)
    return text.partition(" (")[0][:LONGEST_MESSAGE] + (f" ({reason[1]})" if reason else "")


class ExternalFrames:
    """Resolve the external data keys of one run's events to arrays.

    Accepts the form an ophyd area detector emits (``resource`` of spec AD_HDF5 and one ``datum`` an event) and the
    form a Tiled catalogue gives back (``stream_resource`` and ``stream_datum``).
    Files are opened for reading beside their writer (SWMR) and stay open until `close`.
    """

    def __init__(self) -> None:
        self._resources: dict[str, tuple[Path, str, int]] = {}  # uid -> file, dataset, frames per point
        self._datums: dict[str, tuple[str, int]] = {}  # datum id -> resource uid, first frame
        # (descriptor, data key) -> [(first seq_num, end seq_num, first frame, resource uid)]
        self._stream_datums: dict[tuple[str, str], list[tuple[int, int, int, str]]] = {}
        self._stream_keys: dict[str, str] = {}  # stream_resource uid -> data key
        self._datasets: dict[tuple[Path, str], h5py.Dataset] = {}

    def resource(self, doc: Mapping[str, Any]) -> None:
        """Remember a file of the older form."""
        if doc["spec"] != "AD_HDF5":
            raise FrameReadError(f"resource {doc['uid']}: spec is {doc['spec']!r}, expected 'AD_HDF5'")
        path = Path(doc["root"]) / doc["resource_path"]
        self._resources[doc["uid"]] = (path, HDF5_DATASET, int(doc["resource_kwargs"].get("frame_per_point", 1)))

    def datum(self, doc: Mapping[str, Any]) -> None:
        """Remember which frame of a file one event refers to."""
        if doc["resource"] not in self._resources:  # of a log that lost it; `read` says so for each of its frames
            return
        _, _, frames_per_point = self._resources[doc["resource"]]
        self._datums[doc["datum_id"]] = (doc["resource"], doc["datum_kwargs"]["point_number"] * frames_per_point)

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        """Remember a file of the newer form."""
        path = file_of_uri(doc["uri"])
        self._resources[doc["uid"]] = (path, doc["parameters"].get("dataset", HDF5_DATASET), 1)
        self._stream_keys[doc["uid"]] = doc["data_key"]

    def stream_datum(self, doc: Mapping[str, Any]) -> None:
        """Remember which frames of a file a range of events refers to."""
        if doc["stream_resource"] not in self._stream_keys:
            return
        key = self._stream_keys[doc["stream_resource"]]
        first, end = doc["seq_nums"]["start"], doc["seq_nums"]["stop"]
        ranges = self._stream_datums.setdefault((doc["descriptor"], key), [])
        ranges.append((first, end, doc["indices"]["start"], doc["stream_resource"]))

    def read(self, event: Mapping[str, Any], key: str) -> np.ndarray:
        """Read the frame of `event` under `key`.

        Parameters
        ----------
        event : mapping
            An event document.
        key : str
            A data key that its descriptor declares external.

        Returns
        -------
        numpy.ndarray, shape (rows, columns)
            The frame as it is in the file.

        Raises
        ------
        FrameReadError
            When no document says where the frame is, or the file does not hold it.
        """
        resource, index = self._locate(event, key)
        path, dataset_name, _ = self._resources[resource]
        try:
            dataset = self._dataset(path, dataset_name)
            frame: NDArray[Any] = dataset[index]
            return frame
        except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
            raise FrameReadError(f"{path}: frame {index} cannot be read: {said_by_hdf5(error)}") from error

    def close(self) -> None:
        """Close every file."""
        for dataset in self._datasets.values():
            dataset.file.close()
        self._datasets.clear()

    def _locate(self, event: Mapping[str, Any], key: str) -> tuple[str, int]:
        value = event["data"].get(key)
        if value is not None:
            if value not in self._datums:
                raise FrameReadError(f"event {event['seq_num']}: no datum {value!r} came for {key}")
            return self._datums[value]
        # Newest first: a point that is taken again after a pause bears the number of the one before.
        for first, end, start, resource in reversed(self._stream_datums.get((event["descriptor"], key), [])):
            if first <= event["seq_num"] < end:
                return resource, start + event["seq_num"] - first
        raise FrameReadError(f"event {event['seq_num']}: no document says where its {key} is")

    def _dataset(self, path: Path, name: str) -> h5py.Dataset:
        if (path, name) not in self._datasets:
            self._datasets[path, name] = open_hdf5(path)[name]
        dataset = self._datasets[path, name]
        if dataset.file.swmr_mode:
            dataset.refresh()  # the writer may have added frames since
        return dataset


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, as one that is being written where it says that it is.

    A file that is not being written must not be opened so: where a part of it is damaged, libhdf5 would wait, without
    end, for its writer to complete it.

    Raises
    ------
    OSError
        When it cannot be opened.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "already open" not in str(error):  # by a writer, now or when it died, or by this process to be read so
            raise
    return h5py.File(path, "r", swmr=True)


def says_it_is_written(error: OSError) -> bool:
    """Tell from the error of opening a file whether the file says that it is being written, which it may be."""
    return "already open for write" in str(error)
