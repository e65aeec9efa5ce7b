"""Import: turn a scan of another instrument into a raw run, reduce it, and sum it up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

from beamline.acquire.references import processing_with_references
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.formats.importers.irixs import irixs_documents
from beamline.formats.importers.ncb import ncb_documents
from beamline.formats.importers.nexus import nexus_documents
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.sdf import sdf_documents
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.runs import calibrated_by_itself, data_folder, of_one_scan, summary_of
from beamline.processes.followers import ingest_now
from beamline.processes.reduction import Reduction
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.settings import processing_problems
from callbacks.contract import PROCESSING

logger = logging.getLogger(__name__)

Kind = Literal["irixs", "sdf", "nxstxm", "ncb", "nexus"]


def import_scan(
    kind: Kind, path: Path, *, config: Path | None, data_dir: Path | None, progress: Progress = no_progress
) -> dict[str, Any]:
    """Import a scan of another instrument, reduce it, and sum it up.

    Parameters
    ----------
    kind : str
        "irixs", "sdf", "nxstxm", "ncb" or "nexus".
    path : Path
        The scan's folder or file.
    config, data_dir : Path or None
        For settings of the reduction; where runs are kept.
    progress : callable
        See `beamline.operations.progress`.

    Returns
    -------
    dict
        The summary, with ``imported_before``, the uids of runs that were made of the same scan, and
        ``not_in_catalogue``, why a run did not come into the catalogue, empty where all did.

    Raises
    ------
    BeamlineError
        When it cannot be read.
    """
    loaded = load_reduction_config(config)
    if problems := processing_problems(loaded):
        raise BeamlineError(*problems)
    data_dir = data_folder(data_dir, loaded)
    uid = ""
    settings = processing_with_references(loaded, data_dir)
    count = EventCounter(progress)
    new: set[str] = set()
    with closing(Recorder(data_dir)) as recorder, closing(Reduction(data_dir, new, retry_delays=())) as reduction:
        try:
            for name, doc in _documents(kind, path, data_dir):
                if name == "start":
                    uid = doc["uid"]
                    if twice := calibrated_by_itself(Run(doc), settings, Runs(data_dir).raw()):
                        raise BeamlineError(twice)
                    recorder(name, {**doc, PROCESSING: settings})
                    new.add(uid)
                else:
                    recorder(name, doc)
                reduction.advance()
                count(name, doc)
            reduction.complete()
        except KeyboardInterrupt:
            if uid:
                logger.warning("run %s: its import was interrupted; `beamline recover` closes and reduces it", uid)
            raise
        for run in reduction.status():
            logger.error("the reduction of run %s: %s", run["uid"], run["error"])
    runs = Runs(data_dir)
    summary = summary_of(runs, uid)
    late = ingest_now(data_dir, uid, *filter(None, [summary["derived_uid"]]))
    return summary | {"imported_before": _imported_before(runs, uid), "not_in_catalogue": late}


def _imported_before(runs: Runs, uid: str) -> list[str]:
    """List the runs that were imported from the same scan, wherever it lay then."""
    new = runs.find(uid).start
    return [entry.uid for entry in runs.raw() if entry.uid != uid and of_one_scan(entry.start, new)]


def _documents(kind: Kind, path: Path, data_dir: Path) -> Iterator[tuple[str, Any]]:
    """Give what a file or folder holds as the documents of a raw run."""
    readers: dict[Kind, Callable[[Path], Iterator[tuple[str, Any]]]] = {
        "irixs": partial(irixs_documents, frames_dir=Layout(data_dir).frames),
        "sdf": sdf_documents,
        "nxstxm": nxstxm_documents,
        "ncb": ncb_documents,
        "nexus": partial(nexus_documents, frames_dir=Layout(data_dir).frames),
    }
    return readers[kind](path)
