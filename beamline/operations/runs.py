"""Look at the runs of a data folder: list them, and sum up what one measured and what its reduction found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.techniques import TECHNIQUES, Technique
from callbacks.contract import MEASUREMENT, Account, Marks, Stream

INTERRUPTIONS = "interruptions"  # stream of the engine


def open_runs(data_dir: Path | None) -> Runs:
    """Open the runs of a data folder, the configuration's where none is given."""
    return Runs(data_dir or load_config(None).storage.data_dir)


def list_runs(runs: Runs, *, last: int) -> list[dict[str, Any]]:
    """List the newest runs, newest first.

    Returns
    -------
    list of dict
        For JSON: `uid`, `scan_id`, `time`, `technique`, `sample`, `points` of each.
    """
    return [_listed(entry) for entry in runs.raw()[-last:][::-1]]


def _listed(entry: Entry) -> dict[str, Any]:
    block = entry.start.get(MEASUREMENT, {})
    return {
        "uid": entry.uid,
        "scan_id": entry.start.get("scan_id"),
        "time": datetime.fromtimestamp(entry.start["time"]).astimezone().isoformat(" ", "seconds"),
        "technique": block.get("technique", entry.start.get("plan_name", "")),
        "sample": block.get("sample", ""),
        "points": block.get("points"),
    }


def summary_of(runs: Runs, name: str) -> dict[str, Any]:
    """Summarise a run and its newest reduction; see `summarise_run`.

    Raises
    ------
    BeamlineError
        When no run, or more than one, answers to the name.
    """
    return summarise_run(*runs.load_with_derived(name))


def summarise_run(raw: Run, derived: Run | None) -> dict[str, Any]:
    """Summarise a raw run and what was derived from it.

    Parameters
    ----------
    raw : Run
    derived : Run or None
        None when the run has not been reduced.

    Returns
    -------
    dict
        For JSON; of a reduced run with the entries of its technique. Energies in eV. Every `status` is "ok" or the
        reason why there is no value.
    """
    primary = raw.streams.get(Stream.PRIMARY)
    block = raw.start.get(MEASUREMENT, {})  # a run of a detector that is only watched has none
    technique = TECHNIQUES.get(block.get("technique", ""))
    summary: dict[str, Any] = {
        "raw_uid": raw.uid,
        "derived_uid": derived.uid if derived else None,
        "scan_id": raw.start.get("scan_id"),
        "plan": raw.start.get("plan_name"),
        "technique": block.get("technique", raw.start.get("plan_name")),
        "sample": block.get("sample", raw.start.get("sample", {}).get("name", "")),
        "exit_status": raw.stop["exit_status"] if raw.stop else "open",
        "reason": raw.stop.get("reason", "") if raw.stop else "",
        "frames": len(primary) if primary else 0,
        "interruptions": interruptions(raw),
    }
    if derived is None or technique is None or not derived.result:
        return summary
    return summary | {"marked_frames": marked_frames(derived)} | technique.summarise(derived)


def technique_of(raw: Run) -> Technique:
    """Give the technique of a run.

    Raises
    ------
    BeamlineError
        When the run is no measurement, or of a technique that is not in the registry.
    """
    name = raw.start.get(MEASUREMENT, {}).get("technique", "")
    if name not in TECHNIQUES:
        what = f"of the technique {name!r}" if name else f"of the plan {raw.start.get('plan_name', 'not named')!r}"
        raise BeamlineError(f"run {raw.uid} is {what}, which nothing reduces; expected {', '.join(TECHNIQUES)}")
    return TECHNIQUES[name]


def interruptions(raw: Run) -> list[dict[str, Any]]:
    """List when a run was held and why, and the points that were kept apart because the light had gone."""
    found = []
    if held := raw.streams.get(INTERRUPTIONS):
        for time, text in zip(held.time, held["interruption"], strict=True):
            if str(text) != "resume":
                found.append({"time": float(time), "reason": str(text)})
    if dark := raw.streams.get(Stream.INTERRUPTED):
        reason = "a point was taken without light; it is in the stream `interrupted`, and was taken again"
        found += [{"time": float(time), "reason": reason} for time in dark.time]
    return sorted(found, key=lambda each: each["time"])


def marked_frames(derived: Run) -> list[dict[str, Any]]:
    """List the frames that are not to be trusted as the others are, counted from 1, each with its reason."""
    marked, account = derived.read(Marks), derived.read(Account)
    marks: dict[int, list[str]] = {}
    for frames, reasons in ((marked.marked_frames, marked.marks), (account.problem_frames, account.problems)):
        for frame, reason in zip(frames, reasons, strict=True):
            marks.setdefault(int(frame), []).append(str(reason))
    return [{"frame": frame, "reason": "; ".join(marks[frame])} for frame in sorted(marks)]


def counted(summary: Mapping[str, Any]) -> str:
    """Give what the events of a run are, in the plural: frames, points or lines."""
    technique = TECHNIQUES.get(summary["technique"])
    return technique.counted if technique else "frames"


def summary_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what the reduction found, as (label, text); nothing where there is no reduction."""
    if "marked_frames" not in summary:
        return []
    return list(TECHNIQUES[summary["technique"]].lines(summary))


def summary_warnings(summary: Mapping[str, Any]) -> list[str]:
    """Say what a reader of the summary must know first."""
    if "marked_frames" not in summary:
        return []
    return list(TECHNIQUES[summary["technique"]].warnings(summary))


def file_name(entry: Entry) -> str:
    """Give the name, without an ending, of a file that is made of a run."""
    scan_id = entry.start.get("scan_id")
    return f"run-{entry.uid[:8]}" if scan_id is None else f"scan-{scan_id}-{entry.uid[:8]}"
