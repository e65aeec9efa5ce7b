"""Look at the runs of a data folder: list them, and sum up what one measured and what its reduction found."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from beamline.acquire.safety import IMPORTED
from beamline.endstation.config import ReductionConfig, explain, load_config
from beamline.errors import BeamlineError
from beamline.operations.problems import planned_points, precision_of, problems_of
from beamline.storage.catalogue.place import use_catalogue
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.techniques import TECHNIQUES, Technique
from beamline.text import file_name_of, shortened
from callbacks.contract import (
    ADDED,
    ENERGY_CALIBRATION,
    MEASUREMENT,
    SERIES,
    Account,
    DecisionKey,
    EnergyCalibration,
    Marks,
    Measurement,
    Reason,
    Stream,
    parts_before,
    points_before,
    severity_key,
    taken_again,
)
from callbacks.pipelines import RIXS
from callbacks.wording import number_of

INTERRUPTIONS = "interruptions"  # stream of the engine
MEANING = {
    Reason.REACHED: "reached",
    Reason.GO_ON: "the run ended before it was reached",
    Reason.MOST: "not reached with the most that were allowed",
    Reason.TIME: "not reached in the time that was allowed",
    Reason.LATE: "the reduction was late, so that the most were taken without looking,",
}


def open_runs(data_dir: Path | None) -> Runs:
    """Open the runs of a data folder, the configuration's where none is given; raises as `data_folder`."""
    return Runs(data_folder(data_dir, load_config(None)))


def data_folder(data_dir: Path | None, config: ReductionConfig) -> Path:
    """Give the data folder, the configuration's where none is given; it need not exist yet.

    Its catalogue is from now on where the configuration says.

    Raises
    ------
    BeamlineError
        When it cannot be one: a file, or a folder that may not be read.
    """
    folder = (data_dir or config.storage.data_dir).absolute()
    if "\0" in str(folder):
        raise BeamlineError(f"data folder {str(folder)!r}: is not the path of a folder")
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(folder).decode(errors="backslashreplace")
        raise BeamlineError(f"data folder {name}: is not in UTF-8, expected a path that is") from error
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            where = "" if there == folder else f"{there} "
            raise BeamlineError(f"data folder {folder}: {where}is a file, expected a folder")
        if folder.exists():
            next(folder.iterdir(), None)
    except OSError as error:
        raise BeamlineError(f"data folder {folder}: cannot be read: {error.strerror}") from error
    use_catalogue(folder, config.storage.catalogue)
    return folder


def list_runs(
    runs: Runs,
    *,
    last: int,
    wanted: Callable[[dict[str, Any]], bool] = lambda _listed: True,
    known: MutableMapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """List the newest runs, newest first.

    Parameters
    ----------
    runs : Runs
    last : int
        How many.
    wanted : callable
        Called with an entry of the list as far as the start document tells it: which of them to read.
    known : dict, optional
        By uid what was listed before of runs that have ended, which are not read again; it is added to.

    Returns
    -------
    list of dict
        For JSON: `uid`, `scan_id`, `time`, `technique`, `sample`, `edge`, `points` (planned; at least, where
        `until_precise` says that a precision is to be reached), `measured` (None where the run cannot be read),
        `exit_status` (empty until it has ended) and `problems` of each, and `continued_by`, the uid of the run that
        goes on with it last; "" where none does.
    """
    found: list[dict[str, Any]] = []
    last_part: dict[str, str] = {}  # by uid of a part
    before = {} if known is None else known
    for entry in reversed(runs.raw()):
        for uid in parts_before(entry.start):
            last_part.setdefault(uid, entry.uid)
        if len(found) == last:
            break
        listed = before.get(entry.uid) or _of_start(entry)
        if not wanted(listed):
            continue
        if entry.uid not in before:
            listed |= _of_documents(runs, entry)
            if listed["exit_status"]:
                before[entry.uid] = listed
        found.append(listed | {"continued_by": last_part.get(entry.uid, "")})
    return found


def _of_start(entry: Entry) -> dict[str, Any]:
    block = block_of(entry.start)
    return {
        "uid": entry.uid,
        "scan_id": entry.start.get("scan_id"),
        "time": local_time(entry.start["time"]),
        "technique": block.get("technique", entry.start.get("plan_name", "")),
        "sample": sample_of(entry.start),
        "edge": str(block.get("edge", "")),
        "points": planned_points(entry.start),
        "until_precise": bool(precision_of(entry.start)),
    }


def _of_documents(runs: Runs, entry: Entry) -> dict[str, Any]:
    try:
        raw = runs.load(entry)
    except BeamlineError as error:  # one run that cannot be read must not hide the others
        return {"measured": None, "exit_status": "", "problems": list(error.problems)}
    return {
        "measured": len(raw.streams.get(Stream.PRIMARY, ())),
        "exit_status": str((raw.stop or {}).get("exit_status", "")),
        "problems": problems_of(raw, interruptions(raw)),
    }


def block_of(start: Mapping[str, Any]) -> dict[str, Any]:
    """Give the block `measurement` of a start document; empty where it has none, as of a detector that is watched."""
    block = start.get(MEASUREMENT)
    return block if isinstance(block, dict) else {}


def sample_of(start: Mapping[str, Any]) -> str:
    """Give the name of the sample, wherever a start document has it."""
    sample = start.get("sample", "")
    return str(block_of(start).get("sample", sample.get("name", "") if isinstance(sample, dict) else sample))


def local_time(seconds: float) -> str:
    """Write a time in s since 1970 as date and time here."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError, TypeError):  # of a clock that was wrong, or of a foreign run
        return f"at {seconds!r}"


def summary_of(runs: Runs, name: str) -> dict[str, Any]:
    """Summarise a run and its newest reduction; see `summarise_run`.

    Raises
    ------
    BeamlineError
        When no run, or more than one, answers to the name.
    """
    raw, derived = runs.load_with_derived(name)
    return summarise_run(raw, derived) | {"parts": parts_of(runs, raw)}


def parts_of(runs: Runs, raw: Run) -> dict[str, str]:
    """Say which points each run has that a run consists of, by uid; empty of a run that goes on with none."""
    before = parts_before(raw.start)
    starts = [*(runs.find(uid).start for uid in before), raw.start] if before else []
    primary = raw.streams.get(Stream.PRIMARY)
    ends = [*map(points_before, starts[1:]), len(primary) if primary else 0]
    found = {}
    for start, end in zip(starts, ends, strict=True) if starts else ():
        first, again = points_before(start) + 1, taken_again(start)
        said = [f"points {first} to {end}" if first < end else f"point {end}"] if first <= end else []
        said += [f"{', '.join(map(str, again))} again"] if again else []
        found[start["uid"]] = ", and ".join(said) or "no point"
    return found


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
        reason why there is no value. `problems` has a line for each thing that the run leaves out.
    """
    primary = raw.streams.get(Stream.PRIMARY)
    block, held = block_of(raw.start), interruptions(raw)
    technique = TECHNIQUES.get(block.get("technique", ""))
    summary: dict[str, Any] = {
        "raw_uid": raw.uid,
        "derived_uid": derived.uid if derived else None,
        "scan_id": raw.start.get("scan_id"),
        "plan": raw.start.get("plan_name"),
        "technique": block.get("technique", raw.start.get("plan_name")),
        "sample": sample_of(raw.start),
        "exit_status": raw.stop.get("exit_status", "not recorded") if raw.stop else "open",
        "reason": raw.stop.get("reason", "") if raw.stop else "",
        "frames": len(primary) if primary else 0,
        "regions_flown": len(flown["regions"]) if (flown := block.get("flown")) else 0,
        "problems": problems_of(raw, held),
        "interruptions": held,
        "decisions": decisions(raw),
        "added": added_readings(raw),
        "series": raw.start.get(SERIES),
    }
    if derived is None or technique is None or not derived.result:
        return summary
    summary |= {"marked_frames": marked_frames(derived)} | technique.summarise(derived)
    if (offset := raw.start.get(ENERGY_CALIBRATION)) and not summary.get("energy_calibration"):
        summary["energy_as_read"] = str(EnergyCalibration.model_validate(offset))
    return summary


def technique_of(raw: Run) -> Technique:
    """Give the technique of a run.

    Raises
    ------
    BeamlineError
        When the run is no measurement, or of a technique that is not in the registry.
    """
    block = block_of(raw.start)
    name = block.get("technique", "")
    if name not in TECHNIQUES:
        what = f"of the technique {name!r}" if name else f"of the plan {raw.start.get('plan_name', 'not named')!r}"
        raise BeamlineError(f"run {raw.uid} is {what}, which nothing reduces; expected {', '.join(TECHNIQUES)}")
    try:
        Measurement.model_validate(block)
    except ValidationError as error:
        problem = explain(error, Measurement, MEASUREMENT)[0]
        raise BeamlineError(f"run {raw.uid}: its start document cannot be read: {problem}") from error
    return TECHNIQUES[name]


def interruptions(raw: Run) -> list[dict[str, Any]]:
    """List when a run was held and why, and the points that were kept apart because the light had gone."""
    found = []
    held = raw.streams.get(INTERRUPTIONS)
    if held and "interruption" in held:
        for time, text in zip(held.time, held["interruption"], strict=True):
            if str(text) != "resume":
                found.append({"time": float(time), "reason": str(text)})
    if dark := raw.streams.get(Stream.INTERRUPTED):
        reason = "a point was taken without light; it is in the stream `interrupted`, and was taken again"
        found += [{"time": float(time), "reason": reason} for time in dark.time]
    return sorted(found, key=lambda each: each["time"])


def decisions(raw: Run) -> list[dict[str, Any]]:
    """List what was decided in the end at each energy, or of all: how precise it is, and why no more was taken.

    Returns
    -------
    list of dict
        `energy_index` (from 0; -1: all), `count` (frames, points or passes), `reached`, `asked` (NaN: a fixed number
        was taken), `reason` (of `callbacks.contract.Reason`), `late` (whether the reduction was, at any time there),
        and `again`, why frames were taken again. By ascending index.
    """
    found: dict[int, dict[str, Any]] = {}
    columns = raw.streams[Stream.DECISION].columns if Stream.DECISION in raw.streams else {}
    for each in zip(*(columns[key] for key in DecisionKey), strict=True) if columns else ():
        values = dict(zip(DecisionKey, each, strict=True))
        index, reason = int(values[DecisionKey.ENERGY_INDEX]), str(values[DecisionKey.REASON])
        one = found.setdefault(index, {"energy_index": index, "late": False, "again": []})
        one["late"] |= bool(values[DecisionKey.LATE])
        one["again"] += filter(None, [str(values[DecisionKey.AGAIN])])
        if reason != Reason.MARKED or "reason" not in one:
            one |= {
                "count": int(values[DecisionKey.COUNT]),
                "reached": float(values[DecisionKey.REACHED]),
                "asked": float(values[DecisionKey.ASKED]),
                "reason": reason,
            }
    return [found[index] for index in sorted(found)]


def added_readings(raw: Run) -> dict[str, dict[str, Any]]:
    """Sum up what the devices without a role read: lowest and highest of each number, the last of each text.

    Returns
    -------
    dict
        By data key, for JSON: ``unit``, and ``lowest`` and ``highest``, or ``last``.
    """
    found: dict[str, dict[str, Any]] = {}
    added = raw.start.get(ADDED, {})
    keys = [key for name, keys in added.items() for key in keys if key != severity_key(name)]  # an alarm has words
    for table in raw.streams.values():
        for key in (key for key in keys if key in table.columns and np.ndim(table.columns[key]) == 1):
            values = np.asarray(table.columns[key])
            one = found.setdefault(key, {"unit": table.units.get(key, "")})
            if values.dtype.kind not in "fiu":
                one["last"] = str(values[-1])
            elif np.isfinite(values).any():
                one["lowest"] = min(float(np.nanmin(values)), one.get("lowest", math.inf))
                one["highest"] = max(float(np.nanmax(values)), one.get("highest", -math.inf))
    return found


def added_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what the devices without a role read, as (label, text)."""
    lines = []
    for key, one in summary.get("added", {}).items():
        if "lowest" in one:
            ends = dict.fromkeys(f"{one[end]:.6g}" for end in ("lowest", "highest"))
            lines.append((key, f"{' to '.join(ends)} {one['unit']}".strip()))
        elif one.get("last"):
            lines.append((key, one["last"]))
    return lines


def decision_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say how precise a run was to be, where that is reached and where not, as (label, text)."""
    found = summary.get("decisions", [])
    of_energies = [one for one in found if one["reason"] != Reason.MARKED]
    lines = []
    for reason in Reason:
        if those := [one for one in of_energies if one["reason"] == reason]:
            reached = [one["reached"] for one in those if not math.isnan(one["reached"])]
            ends = sorted({f"{min(reached):.2g}", f"{max(reached):.2g}"}) if reached else []
            values = f", {' to '.join(ends)}" if ends else ""
            counts = sorted({one["count"] for one in those})
            taken = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            where = "in all" if those[0]["energy_index"] < 0 else f"at {number_of(len(those), 'energy')}"
            taken = "" if reason is Reason.LATE else f", with {taken} taken"  # it was decided before they were
            lines.append(("precision", f"{MEANING[reason]} {where}{values} for {those[0]['asked']:g}{taken}"))
    again = sum(len(one["again"]) for one in found)
    return lines + ([("taken again", number_of(again, "frame"))] if again else [])


def marked_frames(derived: Run) -> list[dict[str, Any]]:
    """List the frames that are not to be trusted as the others are, counted from 1, each with its reason."""
    marked, account = derived.read(Marks), derived.read(Account)
    marks: dict[int, list[str]] = {}
    for frames, reasons in ((marked.marked_frames, marked.marks), (account.problem_frames, account.problems)):
        for frame, reason in zip(frames, reasons, strict=True):
            marks.setdefault(int(frame), []).append(str(reason))
    return [{"frame": frame, "reason": "; ".join(marks[frame])} for frame in sorted(marks)]


def marked_ranges(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the marked frames, as (label, reason): those of one reason that follow on one another as a range."""
    one = counted(summary).removesuffix("s")
    ranges: list[tuple[int, int, str]] = []
    for mark in summary.get("marked_frames", []):
        frame, reason = mark["frame"], mark["reason"]
        if ranges and ranges[-1][1:] == (frame - 1, reason):
            ranges[-1] = (ranges[-1][0], frame, reason)
        else:
            ranges.append((frame, frame, reason))
    return [
        (f"{one} {first}" if first == last else f"{one}s {first} to {last}", reason) for first, last, reason in ranges
    ]


def counted(summary: Mapping[str, Any]) -> str:
    """Give what the events of a run are, in the plural: frames, points, sweeps or lines."""
    if summary.get("regions_flown"):
        return "sweeps"
    technique = TECHNIQUES.get(summary["technique"])
    return technique.counted if technique else "frames"


def summary_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what the reduction found, as (label, text); nothing where there is no reduction."""
    if "marked_frames" not in summary:
        return []
    found = list(TECHNIQUES[summary["technique"]].lines(summary))
    if offset := summary.get("energy_as_read"):
        found.append(("energy scale", f"as the monochromator says; not added: {offset}"))
    return found


def summary_warnings(summary: Mapping[str, Any]) -> list[str]:
    """Say what a reader of the summary must know first."""
    if "marked_frames" not in summary:
        return []
    return list(TECHNIQUES[summary["technique"]].warnings(summary))


def shown_name(raw: Run | Entry) -> str:
    """Name a raw run for a reader: by its scan id, where it has one, and the beginning of its uid."""
    scan_id = raw.start.get("scan_id")
    return f"run {raw.uid[:8]}" if scan_id is None else f"scan {shortened(scan_id)} (run {raw.uid[:8]})"


def file_name(entry: Entry) -> str:
    """Give the name, without an ending, of a file that is made of a run."""
    scan_id = entry.start.get("scan_id")
    uid = entry.uid[:8]
    return file_name_of("run", uid) if scan_id is None else file_name_of("scan", scan_id, uid)


def of_one_scan(start: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two runs, of which the first was imported, are made of the same scan, wherever it lay then.

    Of two that were imported the files, and what of them was taken, have the same name: those of other instruments may
    have no number, and no other time than that of the file.
    """
    return (
        IMPORTED in start
        and start["time"] == other["time"]
        and start.get("scan_id") == other.get("scan_id")
        and block_of(start).get("technique") == block_of(other).get("technique")
        and (IMPORTED not in other or Path(str(start[IMPORTED])).name == Path(str(other[IMPORTED])).name)
    )


def calibrated_by_itself(raw: Run | Entry, processing: Mapping[str, Any], recorded: Iterable[Entry]) -> str:
    """Say that the calibration that is loaded for a map is made of its own lines, which would count twice; else "".

    Parameters
    ----------
    raw : Run or Entry
        The map.
    processing : mapping
        Settings by pipeline.
    recorded : iterable of Entry
        The raw runs of the data folder, among which another import of the same scan may be.
    """
    loaded = processing.get(RIXS.name, {}).get("elastic_line", {}).get("loaded") or {}
    members = set(loaded.get("runs", ()))
    same = (
        entry.uid
        for entry in recorded
        if entry.uid in members and (of_one_scan(raw.start, entry.start) or of_one_scan(entry.start, raw.start))
    )
    if not members or (raw.uid not in members and next(same, None) is None):
        return ""
    return (
        f"{shown_name(raw)}: is one of the maps that the loaded calibration is made of"
        f" ({loaded.get('source') or 'settings'}): its lines would count twice; expected a calibration by other maps"
    )
