"""Which raw runs of a data folder have been reduced, and which derived run is the reduction that is made live."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from beamline.storage.layout import Layout, is_ingested
from beamline.storage.log import Doc, LogError, find_log, is_being_written, read_log, read_start
from callbacks.contract import DERIVATION, MEASUREMENT, Stream, reduction_of

MOST_ATTEMPTS = 100


def live_uids(raw_uid: str) -> Iterator[str]:
    """Yield the uids that the live reduction of a raw run may have: the first, unless an attempt at it was given up."""
    for attempt in range(MOST_ATTEMPTS):
        yield str(uuid.uuid5(uuid.NAMESPACE_OID, f"{raw_uid}/reduction/{attempt}"))


def is_live_reduction(start: Doc) -> bool:
    """Tell from its start document whether a run is the reduction that is made live, and not a replay that was kept."""
    raw = reduction_of(start)
    return bool(raw) and start["uid"] in live_uids(raw)


def is_measurement(start: Doc) -> bool:
    """Tell from its start document whether a run is one that is reduced: not derived, and with a `measurement`."""
    return MEASUREMENT in start and DERIVATION not in start


def is_complete(path: Path) -> bool:
    """Tell whether the log of a derived run holds its result and its stop document."""
    if is_ingested(path):
        return True
    try:
        if is_being_written(path):
            return False
        documents = [(name, doc.get("name")) for name, doc in read_log(path)]
    except LogError:
        return path.exists() and is_ingested(path)
    return ("descriptor", Stream.RESULT) in documents and documents[-1][0] == "stop"


def is_reduced(data_dir: Path, raw_uid: str) -> bool:
    """Tell whether the live reduction of a run is complete; a run that nothing reduces counts as reduced.

    Raises
    ------
    LogError
        When the folder has no log of this run.
    """
    if not is_measurement(read_start(find_log(data_dir, raw_uid))):
        return True
    for uid in live_uids(raw_uid):
        if (path := Layout(data_dir).find_log(uid)) is None:
            return False
        if is_complete(path):
            return True
    return False


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
