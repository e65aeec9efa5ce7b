"""Recover: put a data folder in order after a process died, files were damaged, or the folder was moved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from beamline.processes.reduction import Reduction
from beamline.storage.catalogue import recovery as storage
from beamline.storage.catalogue.recovery import RecoveredRun, Recovery
from beamline.storage.log import LogState, inspect_log
from beamline.storage.reductions import is_complete
from beamline.storage.runs import Entry, Runs
from beamline.techniques import pipelines
from callbacks.contract import MEASUREMENT

__all__ = ["RecoveredRun", "Recovery", "recover"]


def recover(data_dir: Path, *, rebuild: bool = False) -> Recovery:
    """Close the runs that dead processes left open, reduce them, and bring all runs into the catalogue.

    A catalogue that is missing or damaged, of an earlier format or of another folder, is made anew from the logs; the
    one before is moved aside. It is safe to repeat, and to be killed at any point.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    rebuild : bool
        Make the catalogue anew in any case.

    Raises
    ------
    BeamlineError
        When there is no such folder, it cannot be written to, or it is being recovered by another process.
    """
    return storage.recover(data_dir, rebuild=rebuild, reduce=partial(_reduce, data_dir))


def _reduce(data_dir: Path, interrupted: Sequence[str], recovery: Recovery) -> None:
    """Reduce the measurements that were interrupted, or whose reduction was or never began, with their own settings."""
    entries = {entry.uid: entry for entry in Runs(data_dir).entries()}
    reduced = {entry.reduction_of for entry in entries.values() if entry.reduction_of and is_complete(entry.path)}
    affected = {entries[uid].reduction_of or uid for uid in interrupted if uid in entries}
    never = entries.keys() - {entry.reduction_of for entry in entries.values()}
    wanted = {uid for uid in (affected | never) - reduced if uid in entries and _is_measurement(entries[uid])}
    with closing(Reduction(data_dir, wanted, retry_delays=())) as reduction:
        reduction.complete()
        recovery.reduced += reduction.reduced
        recovery.problems += [f"run {run['uid']} could not be reduced: {run['error']}" for run in reduction.status()]


def _is_measurement(entry: Entry) -> bool:
    match entry.start.get(MEASUREMENT):
        case {"technique": str(technique)} if technique in pipelines() and not entry.raw_uids:
            return inspect_log(entry.path).state is LogState.CLOSED
    return False
