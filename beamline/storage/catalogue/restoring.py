"""Write logs that are damaged or gone again from the catalogue, where that holds the whole run."""

from __future__ import annotations

import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from beamline.errors import BeamlineError
from beamline.storage.catalogue.checksums import unsound_runs
from beamline.storage.catalogue.documents import documents, lost_events
from beamline.storage.catalogue.find import open_catalog, resolve_run
from beamline.storage.layout import Layout, unused_name
from beamline.storage.log import FORMAT, Document, is_being_written, pack, read_log, unpack_pages
from beamline.storage.recorder import OF_DAMAGE


class Restorer:
    """Restores the logs of a data folder, as long as its catalogue can be opened.

    Parameters
    ----------
    data_dir : Path
        The data folder.

    Attributes
    ----------
    restored : list of str
        Uids of the runs whose logs have been written again.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.restored: list[str] = []

    def __call__(self, path: Path) -> bool:
        """Write a log that is damaged or gone again; a damaged one is kept beside it as ``<uid>.log.damaged``.

        Only where the catalogue's copy of the run is whole, as far as can be told: it has its checksums, no
        event is missing, and it has every value that the damaged log still has.

        Returns
        -------
        bool
            False where that is not possible; the log is then unchanged.
        """
        uid, there = path.stem, path.exists()
        if self._catalogue is None or self._unsound is None or uid in self._unsound:
            return False
        if there and is_being_written(path):
            return False
        try:
            found = list(documents(resolve_run(self._catalogue, uid)))
            readable = list(read_log(path)) if there else []
        except (BeamlineError, OSError):  # it has no such run, or cannot give it; or nothing can be read of the log
            return False
        if not _is_whole(found, uid) or not _has_all(found, readable):
            return False
        new = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                file.write(FORMAT)
                file.writelines(pack(name, doc) for name, doc in found)
                file.flush()
                os.fsync(file.fileno())
            if there:
                os.link(path, unused_name(path, ".damaged"))
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            return False
        self.restored.append(uid)
        return True

    @cached_property
    def _unsound(self) -> set[str] | None:
        """Find the runs that the catalogue does not have as they were; None where it is damaged as a whole."""
        try:
            return unsound_runs(Layout(self._data_dir))
        except BeamlineError:
            return None

    @cached_property
    def _catalogue(self) -> Any:
        """Open the catalogue; None where there is none that can be opened."""
        if not Layout(self._data_dir).catalogue.exists():
            return None
        try:
            return open_catalog(self._data_dir)
        except BeamlineError:
            return None


def _is_whole(found: list[Document], uid: str) -> bool:
    """Tell whether these are all documents of a run: the catalogue may have been filled from a damaged log."""
    name, last = found[-1]
    if found[0][1]["uid"] != uid or name != "stop" or "num_events" not in last or OF_DAMAGE in last.get("reason", ""):
        return False
    keys = {doc["uid"]: doc["data_key"] for name, doc in found if name == "stream_resource"}
    referred: Counter[tuple[str, str]] = Counter()
    events: Counter[str] = Counter()
    external: dict[str, list[str]] = {}
    for name, doc in found:
        match name:
            case "descriptor":
                external[doc["uid"]] = [key for key, data_key in doc["data_keys"].items() if data_key.get("external")]
            case "stream_datum":
                numbers = doc["seq_nums"]
                referred[doc["descriptor"], keys[doc["stream_resource"]]] += numbers["stop"] - numbers["start"]
            case "event":
                events[doc["descriptor"]] += 1
    lacking = [key for uid_, number in events.items() for key in external[uid_] if referred[uid_, key] < number]
    return not lacking and not lost_events(found)


def _has_all(found: list[Document], readable: list[Document]) -> bool:
    """Tell whether documents have every value of the events, and the end, that can be read in a damaged log."""
    copy, log = _values(found), _values(readable)
    return all(key in copy and _equal(copy[key], value) for key, value in log.items())


def _values(found: list[Document]) -> dict[tuple[Any, ...], Any]:
    """Give the values of events by stream, number and data key, but for references to frames; and of the stop."""
    streams = {doc["uid"]: doc["name"] for name, doc in found if name == "descriptor"}
    external = {
        (doc["name"], key)
        for name, doc in found
        if name == "descriptor"
        for key, data_key in doc["data_keys"].items()
        if data_key.get("external")
    }
    values: dict[tuple[Any, ...], Any] = {}
    for name, doc in unpack_pages(iter(found)):
        if name == "event" and (stream := streams.get(doc["descriptor"])) is not None:
            number = stream, doc["seq_num"]
            values[*number, "time"] = doc["time"]
            values |= {(*number, key): value for key, value in doc["data"].items() if (stream, key) not in external}
        elif name == "stop":
            values["stop",] = doc["exit_status"], doc["time"]
    return values


def _equal(one: Any, other: Any) -> bool:
    try:
        np.testing.assert_array_equal(one, other)
    except AssertionError:
        return False
    return True
