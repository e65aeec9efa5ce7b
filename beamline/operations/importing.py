"""Import: turn what another instrument or program wrote into raw runs, reduce them, and sum them up."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from beamline.acquire.references import processing_with_references
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.formats.importers.kind import Kind, Request
from beamline.formats.importers.kinds import KINDS, kind_called, kind_of
from beamline.formats.importers.mapped import RIXS_HDF5
from beamline.formats.importers.xas_run import NOT_RECORDED
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.runs import calibrated_by_itself, data_folder, of_one_scan, summary_of
from beamline.processes.followers import ingest_now
from beamline.processes.reduction import Reduction
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.settings import processing_problems
from callbacks.contract import MEASUREMENT, PROCESSING, Key
from plans.checks.edges import why_elsewhere

logger = logging.getLogger(__name__)


def import_file(
    path: Path,
    *,
    kind: str = "",
    part: str = "",
    columns: Mapping[str, str] | None = None,
    mapping: Path | None = None,
    sample: str = "",
    edge: str = "",
    config: Path | None = None,
    data_dir: Path | None = None,
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """Import a file or folder of another instrument or program, reduce it, and sum it up.

    Parameters
    ----------
    path : Path
        The file, or the scan's folder.
    kind : str
        Name of its kind, as `kinds` lists them; if empty, it is recognised.
    part : str
        Which scan, group or entry of it; all of them if empty.
    columns : mapping of str to str, optional
        Which column of a table is what, by ``energy``, ``i0``, ``tey`` and so on: its name, or its number from 1.
    mapping : Path, optional
        File that says which dataset of an HDF5 file is what.
    sample, edge : str
        Of what was measured; where empty, as the file has them. The edge as "O K".
    config, data_dir : Path or None
        For settings of the reduction; where runs are kept.
    progress : callable
        See `beamline.operations.progress`.

    Returns
    -------
    list of dict
        The summary of each run that it became, with ``kind``, ``imported_before``, the uids of runs that were made of
        the same scan, and ``not_in_catalogue``, why a run did not come into the catalogue, empty where all did.

    Raises
    ------
    BeamlineError
        When it is of no kind that is read, or cannot be read.
    """
    loaded = load_reduction_config(config)
    if problems := processing_problems(loaded):
        raise BeamlineError(*problems)
    data_dir = data_folder(data_dir, loaded)
    settings = processing_with_references(loaded, data_dir)
    found = kind_called(kind) if kind else RIXS_HDF5 if mapping else kind_of(path)
    request = Request(path, Layout(data_dir).frames, part, columns or {}, mapping)
    _check(found, request)
    documents = _as_said(found.documents(request), {"sample": sample.strip(), "edge": edge.strip()})
    uids = _import(documents, settings, data_dir, progress)
    runs = Runs(data_dir)
    summaries = [summary_of(runs, uid) for uid in uids]
    late = ingest_now(data_dir, *uids, *filter(None, [summary["derived_uid"] for summary in summaries]))
    return [
        summary
        | {
            "kind": found.name,
            "imported_before": _imported_before(runs, summary["raw_uid"]),
            "not_in_catalogue": late,
        }
        for summary in summaries
    ]


def path_and_part(given: Path) -> tuple[Path, str]:
    """Split ``FILE::PART`` into the file and the part of it; the latter is empty where none is named."""
    if given.exists():
        return given, ""
    path, mark, part = str(given).rpartition("::")
    return (Path(path), part.strip()) if mark and path else (given, "")


def kinds() -> dict[str, str]:
    """Give the kinds of files that are imported: what each is, by its name."""
    return {kind.name: kind.title for kind in KINDS}


def _check(kind: Kind, request: Request) -> None:
    """Refuse what a kind makes no use of; BeamlineError."""
    given = {"part": request.part, "columns": request.columns, "mapping": request.mapping}
    for name, value in given.items():
        if value and name not in kind.takes:
            said = {"part": f"has no part {request.part!r}", "columns": "has no columns", "mapping": "takes no mapping"}
            raise BeamlineError(f"{request.path}: {kind.name} ({kind.title}) {said[name]}")


def _as_said(documents: Iterable[tuple[str, Any]], said: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Give documents with the sample and edge that are given, and a line for each that the file has otherwise."""
    said, energies = {key: value for key, value in said.items() if value}, [math.inf, -math.inf]
    for name, document in documents:
        doc = document
        if name == "start" and said:
            block = doc[MEASUREMENT]
            different = [
                f"the {key} is {value}, as given; the file has {block[key]}"
                for key, value in said.items()
                if block.get(key, "") not in ("", NOT_RECORDED, value)
            ]
            doc = {**doc, MEASUREMENT: {**block, **said}}
            doc |= {"sample": {"name": said["sample"]}} if "sample" in said else {}
            doc |= {"import_problems": [*doc.get("import_problems", []), *different]} if different else {}
            energies = [math.inf, -math.inf]
        elif name == "event" and isinstance(energy := doc["data"].get(Key.ENERGY), float):
            energies = [min(energies[0], energy), max(energies[1], energy)]
        elif (
            name == "stop"
            and "edge" in said
            and energies[0] <= energies[1]
            and (why := why_elsewhere(said["edge"], *energies))
        ):
            logger.warning("%s", why)
        yield name, doc


def _import(
    documents: Iterable[tuple[str, Any]], settings: Mapping[str, Any], data_dir: Path, progress: Progress
) -> list[str]:
    """Record and reduce the runs that documents are of; give their uids."""
    uids: list[str] = []
    is_open = False
    count = EventCounter(progress)
    new: set[str] = set()
    with closing(Recorder(data_dir)) as recorder, closing(Reduction(data_dir, new, retry_delays=())) as reduction:
        try:
            for name, doc in documents:
                if name == "start":
                    if twice := calibrated_by_itself(Run(doc), settings, Runs(data_dir).raw()):
                        raise BeamlineError(twice)
                    recorder(name, {**doc, PROCESSING: settings})
                    uids.append(doc["uid"])
                    new.add(doc["uid"])
                else:
                    recorder(name, doc)
                is_open = name != "stop"
                reduction.advance()
                count(name, doc)
            reduction.complete()
        except KeyboardInterrupt:
            if is_open:
                logger.warning("run %s: its import was interrupted; `beamline recover` closes and reduces it", uids[-1])
            raise
        for run in reduction.status():
            logger.error("the reduction of run %s: %s", run["uid"], run["error"])
    return uids


def _imported_before(runs: Runs, uid: str) -> list[str]:
    """List the runs that were imported from the same scan, wherever it lay then."""
    new = runs.find(uid).start
    return [entry.uid for entry in runs.raw() if entry.uid != uid and of_one_scan(entry.start, new)]
