"""The analyses that were kept: list them, and what each was made of and found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from beamline.endstation.config import unknown
from beamline.errors import BeamlineError
from beamline.formats.exporters.reasons import reasons_of
from beamline.operations.runs import local_time, sample_of, shown_name
from beamline.storage.runs import Entry, Runs
from callbacks.contract import (
    ANALYSED,
    ANALYSED_ACROSS,
    DERIVATION,
    RIXS_POOLED,
    STXM_POOLED,
    AnalysedResult,
    PooledResult,
    Result,
    RixsPooledResult,
    Stream,
)

RESULTS: dict[str, type[Result]] = {  # by pipeline
    STXM_POOLED: PooledResult,
    RIXS_POOLED: RixsPooledResult,
    ANALYSED: AnalysedResult,
    ANALYSED_ACROSS: AnalysedResult,
}
POOLED = {STXM_POOLED: "stxm", RIXS_POOLED: "rixs"}  # techniques of those without a recipe


def find_analysis(runs: Runs, name: str) -> Entry:
    """Find an analysis by its uid, or the unique beginning of one.

    Raises
    ------
    BeamlineError
        When there is none, or several.
    """
    found = runs.find_pooled(name)
    if found is None:
        raise BeamlineError(f"{name}: no analysis has this uid in {runs.data_dir}")
    return found


def result_of(entry: Entry) -> type[Result]:
    """Give the class of what an analysis found.

    Raises
    ------
    BeamlineError
        When it is of a kind that this version does not know.
    """
    if entry.pipeline not in RESULTS:
        what = unknown("analysis", entry.pipeline, RESULTS)
        raise BeamlineError(f"analysis {entry.uid}: {what}; expected {', '.join(RESULTS)}")
    return RESULTS[entry.pipeline]


def list_analyses(
    runs: Runs, *, last: int, known: MutableMapping[str, dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """List the newest analyses, newest first.

    Parameters
    ----------
    runs : Runs
    last : int
        How many.
    known : dict, optional
        By uid what was listed before, which is not read again: an analysis that was kept does not change. It is added
        to.

    Returns
    -------
    list of dict
        For JSON: `uid`; `time`; `technique`, "across" of several; `does`, the measures or features of its recipe, or
        that it is pooled; `sample`, those of its runs; `runs`, uid and name of each; and `problems`, why what was not
        found is not there.
    """
    before = {} if known is None else known
    entries = runs.entries()
    raw = _raw(entries)
    newest = [entry for entry in entries if entry.is_pooled][: -last - 1 : -1]
    for entry in newest:
        if entry.uid not in before:
            before[entry.uid] = _of_start(entry, raw) | {"problems": _problems(runs, entry)}
    return [before[entry.uid] for entry in newest]


def analyses_of(runs: Runs, uid: str) -> list[dict[str, Any]]:
    """List the analyses that were made of a run, newest first: as of `list_analyses`, without `problems`."""
    entries = runs.entries()
    raw = _raw(entries)
    return [_of_start(entry, raw) for entry in reversed(entries) if entry.is_pooled and uid in entry.raw_uids]


def runs_analysed(runs: Runs, entry: Entry) -> list[dict[str, str]]:
    """Give uid and name of each run of an analysis; not of one that is no longer there."""
    return _runs(entry, _raw(runs.entries()))


def _raw(entries: Iterable[Entry]) -> dict[str, Entry]:
    return {entry.uid: entry for entry in entries if not entry.raw_uids}


def _runs(entry: Entry, raw: Mapping[str, Entry]) -> list[dict[str, str]]:
    return [{"uid": uid, "name": shown_name(raw[uid])} for uid in entry.raw_uids if uid in raw]


def _of_start(entry: Entry, raw: Mapping[str, Entry]) -> dict[str, Any]:
    settings = entry.start[DERIVATION].get("settings", {})
    does = settings.get("measures", {}) or settings.get("features", {})
    return {
        "uid": entry.uid,
        "time": local_time(entry.start["time"]),
        "technique": POOLED.get(entry.pipeline) or str(settings.get("technique", entry.pipeline)),
        "does": "pooled" if entry.pipeline in POOLED else ", ".join(does) or "compared",
        "sample": ", ".join(dict.fromkeys(sample_of(raw[uid].start) for uid in entry.raw_uids if uid in raw)),
        "runs": _runs(entry, raw),
    }


def _problems(runs: Runs, entry: Entry) -> list[str]:
    try:
        derived = runs.load(entry)
    except BeamlineError as error:  # one that cannot be read must not hide the others
        return list(error.problems)
    if Stream.RESULT not in derived.streams:
        return ["it was not finished"]
    return [*derived.problems, *reasons_of(derived)]
