"""Replay: reduce a run again, from the catalogue or from its log, and compare with the reduction that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from beamline.acquire.references import processing_with_references
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.operations.problems import unreadable_frames
from beamline.operations.runs import calibrated_by_itself, technique_of
from beamline.processes.followers import ingest_now
from beamline.storage.catalogue import documents as replays
from beamline.storage.catalogue.find import RunNotFoundError, open_catalog, resolve_run
from beamline.storage.derived import DerivedRuns
from beamline.storage.joined import joined
from beamline.storage.log import Document
from beamline.storage.results import Run, collect, differences
from beamline.storage.runs import Entry, Runs
from beamline.techniques import pipelines
from beamline.techniques.settings import processing_problems
from callbacks.reduction import Reducer

Source = Literal["catalogue", "log"]


def replay(runs: Runs, name: str, *, config: Path | None, source: Source, keep: bool) -> dict[str, Any]:
    """Reduce a run again and compare with the reduction that is kept.

    Parameters
    ----------
    runs : Runs
    name : str
        The run.
    config : Path or None
        For other settings than those that the run was reduced with before, or began with.
    source : str
        "catalogue" or "log".
    keep : bool
        Keep the outcome as a new derived run.

    Returns
    -------
    dict
        For JSON. `equal` is None where the run was not reduced before, or with other settings, or where that reduction
        cannot be read, as `problems` then says.
    """
    entry = runs.find(name)
    raw, before = runs.load_with_derived(name)
    technique_of(raw)  # refuses what nothing reduces
    settings: Mapping[str, Any] | None = before.settings if before else None
    if config:
        loaded = load_reduction_config(config)
        if problems := processing_problems(loaded):
            raise BeamlineError(*problems)
        settings = processing_with_references(loaded, runs.data_dir)
        if twice := calibrated_by_itself(entry, settings, runs.raw()):
            raise BeamlineError(twice)
    after, late = reduce_again(runs, entry, documents_of(runs, entry, source), settings, keep=keep)
    found = differences(before, after) if before and before.settings == after.settings else None
    return {
        "raw_uid": entry.uid,
        "derived_uid": after.uid if keep else None,
        "source": source,
        "compared_with": before.uid if before else None,
        "equal": None if found is None else not found,
        "differences": found or [],
        "arrays_compared": sum(len(table.columns) for table in after.streams.values()),
        "problems": raw.problems,
        "not_in_catalogue": late,
    }


def reduce_again(
    runs: Runs, entry: Entry, documents: Iterable[Document], settings: Mapping[str, Any] | None, *, keep: bool
) -> tuple[Run, str]:
    """Reduce the documents of a run of a data folder.

    Parameters
    ----------
    runs : Runs
    entry : Entry
        The run.
    documents : iterable of (name, document)
        All of them.
    settings : mapping or None
        By pipeline; None for those that the run began with.
    keep : bool
        Keep the outcome as a new derived run.

    Returns
    -------
    Run
        The derived run.
    str
        Why what is kept did not come into the catalogue; empty where it did.

    Raises
    ------
    BeamlineError
        When frames cannot be read, or the documents do not fit together.
    """
    documents = list(documents)
    if unreadable := unreadable_frames(documents):
        raise BeamlineError(f"run {entry.uid} cannot be reduced again: {unreadable}")
    try:
        derived = reduce_documents(documents, settings)
    except BeamlineError:
        raise
    except Exception as error:  # of documents that do not fit together, as those of a foreign log may not
        raise BeamlineError(f"run {entry.uid}: cannot be reduced: {type(error).__name__}: {error}") from error
    after = collect(derived)
    if not keep:
        return after, ""
    with closing(DerivedRuns(runs.data_dir)) as store:
        for name, doc in derived:
            store(name, doc)
    return after, ingest_now(runs.data_dir, after.uid)


def reduce_documents(documents: Iterable[Document], settings: Mapping[str, Any] | None) -> list[Document]:
    """Reduce the documents of one run; give the documents of the derived run.

    Parameters
    ----------
    documents : iterable of (name, document)
    settings : mapping or None
        By pipeline; None for those that the run began with.
    """
    derived: list[Document] = []
    reducer = Reducer(lambda name, doc: derived.append((name, doc)), pipelines(), settings)
    for name, doc in documents:
        reducer(name, doc)
    return derived


def documents_of(runs: Runs, entry: Entry, source: Source) -> Iterator[Document]:
    """Give the documents of a run from the catalogue or from its log.

    Raises
    ------
    BeamlineError
        When the catalogue does not have the run.
    """
    if source == "log":
        return joined(replays.logged_documents(entry.path), lambda uid: replays.logged_documents(runs.find(uid).path))
    catalogue = open_catalog(runs.data_dir)

    def catalogued(uid: str) -> Iterator[Document]:
        try:
            run = resolve_run(catalogue, uid)
        except RunNotFoundError as error:
            raise BeamlineError(f"{error}; `beamline recover` takes it in") from error
        return replays.documents(run)

    return joined(catalogued(entry.uid), catalogued)
