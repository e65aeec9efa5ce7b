"""Select runs of a data folder by what their start documents say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from beamline.errors import BeamlineError
from beamline.operations.runs import block_of, sample_of
from beamline.storage.runs import Entry, Runs


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError as error:
        raise BeamlineError(f"{text!r} is no time; expected one as 2026-11-26 or 2026-11-26T14:30") from error


# What a run is asked for: its name -> called with the entry and what is wanted; tells whether it is so.
TERMS: dict[str, Callable[[Entry, str], bool]] = {
    "technique": lambda entry, wanted: str(block_of(entry.start).get("technique")) == wanted,
    "sample": lambda entry, wanted: sample_of(entry.start) == wanted,
    "edge": lambda entry, wanted: str(block_of(entry.start).get("edge")) == wanted,
    "plan": lambda entry, wanted: entry.start.get("plan_name") == wanted,
    "since": lambda entry, wanted: bool(entry.start["time"] >= _time(wanted)),
    "until": lambda entry, wanted: bool(entry.start["time"] < _time(wanted)),
}
ALL = "all"
HELP = f"runs as they are named, scan ids FROM:TO, {', '.join(f'{name}=...' for name in TERMS)}, or {ALL}"


def select_runs(runs: Runs, terms: Sequence[str]) -> list[Entry]:
    """Select raw runs.

    Parameters
    ----------
    runs : Runs
    terms : sequence of str
        Names of runs and ranges of scan ids, of which a run must be one of those that are given; and conditions
        ``name=value``, all of which must hold.

    Returns
    -------
    list of Entry
        Oldest first, each once.

    Raises
    ------
    BeamlineError
        For a term that cannot be understood, a name of no run, or where nothing is selected.
    """
    conditions = [term.partition("=")[::2] for term in terms if "=" in term]
    for name, _ in conditions:
        if name not in TERMS:
            raise BeamlineError(f"{name}=: no run is asked for that; expected {HELP}")
    names = [term for term in terms if "=" not in term and term != ALL]
    raw = runs.raw()
    found = [entry for entry in raw if all(TERMS[name](entry, wanted) for name, wanted in conditions)]
    if names:
        named = {uid for name in names for uid in _named(runs, raw, name)}
        found = [entry for entry in found if entry.uid in named]
    if not found:
        raise BeamlineError(f"{' '.join(terms)}: no run of {runs.data_dir} is selected")
    return found


def _named(runs: Runs, raw: list[Entry], name: str) -> list[str]:
    if match := re.fullmatch(r"([0-9]+):([0-9]+)", name):
        first, last = int(match[1]), int(match[2])
        return [entry.uid for entry in raw if _is_between(entry.start.get("scan_id"), first, last)]
    return [runs.find(name).uid]


def _is_between(scan_id: Any, first: int, last: int) -> bool:
    return isinstance(scan_id, int) and first <= scan_id <= last
