"""Status: what is being measured in a data folder, how the processes that follow its logs keep up, and the disk."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from beamline.endstation.config import load_config
from beamline.operations.runs import data_folder
from beamline.processes.followers import FollowingProcess
from beamline.processes.kinds import KINDS
from beamline.storage.catalogue.place import read_place
from beamline.storage.layout import Layout
from beamline.storage.log import LogError, LogReader, LogState, inspect_log
from callbacks.contract import DERIVATION, MEASUREMENT, Stream


def status(data_dir: Path | None) -> dict[str, Any]:
    """Tell how a data folder is: what is measured, what follows, what is left to do.

    Parameters
    ----------
    data_dir : Path or None
        The data folder; the configuration's where not given.

    Returns
    -------
    dict
        For JSON: ``data_dir``; ``catalogue``, where it is kept; ``free_gb`` of the folder's disk, None if there is no
        such folder; ``processes``, by name the state, process id, since when (s since 1970), runs waiting, bytes behind
        and errors of each; ``measuring``, the runs that living processes write; ``interrupted``, uids of raw runs whose
        process died.
    """
    folder = data_folder(data_dir, load_config(None))
    measuring, interrupted = _open_runs(folder)
    return {
        "data_dir": str(folder),
        "catalogue": str(read_place(Layout(folder))),
        "free_gb": shutil.disk_usage(folder).free / 1e9 if folder.is_dir() else None,
        "processes": {
            name: {"does": kind.does, **asdict(FollowingProcess(name, folder).status())} for name, kind in KINDS.items()
        },
        "measuring": measuring,
        "interrupted": interrupted,
    }


def _open_runs(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Find the raw runs without a stop document: those that are written, and those whose process died."""
    measuring, interrupted = [], []
    for path in Layout(folder).pending_logs():
        try:
            log = inspect_log(path)
            if DERIVATION in log.start or log.state is LogState.CLOSED:
                continue
            if log.state is LogState.INTERRUPTED:
                interrupted.append(log.uid)
            else:
                measuring.append(_progress(path))
        except LogError:  # it moved just now, or cannot be read, which `recover` names
            continue
    return measuring, interrupted


def _progress(path: Path) -> dict[str, Any]:
    """Tell how far a run is."""
    primary, done, start = "", 0, {}
    with LogReader(path) as reader:
        for name, doc in reader:
            match name:
                case "start":
                    start = doc
                case "descriptor" if doc["name"] == Stream.PRIMARY:
                    primary = doc["uid"]
                case "event" if doc["descriptor"] == primary:
                    done = max(done, doc["seq_num"])
    block = start.get(MEASUREMENT) or {}
    return {
        "uid": start["uid"],
        "scan_id": start.get("scan_id"),
        "technique": block.get("technique") or start.get("plan_name"),
        "sample": block.get("sample"),
        "since": start["time"],
        "points": done,
        "planned": block.get("points"),
    }
