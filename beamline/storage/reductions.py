"""Which raw runs of a data folder have been reduced, and which derived run is the reduction that is made live."""

from __future__ import annotations

import uuid
from pathlib import Path

from beamline.storage.layout import Layout
from beamline.storage.log import Doc, LogError, find_log, read_start, read_stop
from callbacks.contract import DERIVATION, MEASUREMENT, Stream, reduction_of


def live_uid(raw_uid: str) -> str:
    """Give the uid of the reduction that is made live of a raw run: one, whoever makes it and however often."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{raw_uid}/reduction"))


def is_live_reduction(start: Doc) -> bool:
    """Tell from its start document whether a run is the reduction that is made live, and not a replay that was kept."""
    raw = reduction_of(start)
    return bool(raw) and start["uid"] == live_uid(raw)


def is_measurement(start: Doc) -> bool:
    """Tell from its start document whether a run is one that is reduced: not derived, and with a `measurement`."""
    return MEASUREMENT in start and DERIVATION not in start


def is_complete(path: Path) -> bool:
    """Tell whether the log of a derived run ends with its stop document, and holds its result."""
    try:
        stop = read_stop(path)
    except LogError:
        return False
    return stop is not None and bool(stop.get("num_events", {}).get(Stream.RESULT))


def is_reduced(data_dir: Path, raw_uid: str) -> bool:
    """Tell whether the live reduction of a run is complete; a run that nothing reduces counts as reduced.

    Raises
    ------
    LogError
        When the folder has no log of this run.
    """
    if not is_measurement(read_start(find_log(data_dir, raw_uid))):
        return True
    path = Layout(data_dir).find_log(live_uid(raw_uid))
    return path is not None and is_complete(path)


def unreduced(data_dir: Path) -> list[str]:
    """List the measurements that are not yet in the catalogue and whose live reduction is not complete."""
    found = []
    for path in Layout(data_dir).pending_logs():
        try:
            if is_measurement(read_start(path)) and not is_reduced(data_dir, path.stem):
                found.append(path.stem)
        except LogError:  # it cannot be read, which others say, or it moved just now
            continue
    return found
