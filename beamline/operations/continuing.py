"""Continue: find what a run, or the series it is of, still lacks, with the parameters it was begun with.

What it has can be taken again: the points that the reduction marks, or any that are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from beamline.acquire.safety import IMPORTED
from beamline.errors import BeamlineError
from beamline.operations.problems import planned_points, precision_of
from beamline.operations.runs import sample_of
from beamline.storage.log import is_being_written
from beamline.storage.runs import Entry, Runs
from callbacks.contract import SERIES, Stream, ends_of_parts, parts_before
from plans import PlanError, find_plan
from plans.continued import Done


@dataclass(frozen=True)
class Missing:
    """What is still to be measured, and by which plan.

    Attributes
    ----------
    plan : str
        Its name.
    parameters : dict
        Its arguments by name.
    done : tuple of Done
        Of its runs, in order.
    """

    plan: str
    parameters: dict[str, Any]
    done: tuple[Done, ...]


MARKED = "marked"


def what_is_missing(runs: Runs, name: str, *, again: str = "") -> Missing:
    """Find what a run still lacks; of a series that one plan measures, also the runs behind it.

    Parameters
    ----------
    runs : Runs
    name : str
        The run, or one that it was continued by.
    again : str
        Which of its points to take again as well: those that its reduction marks (``marked``), or by their numbers, as
        in ``3, 7-9``.

    Raises
    ------
    BeamlineError
        When nothing is missing, or it cannot be told what is.
    """
    entry = _newest_part(runs, runs.find(name))
    start = entry.start
    series = start.get(SERIES) or {}
    try:
        plan = find_plan(str(series.get("plan") or start.get("plan_name", "")))
    except PlanError as error:
        raise BeamlineError(f"run {entry.uid} cannot be continued: {error}") from error
    asked = series["arguments"] if series.get("plan") else start.get("plan_args", {})
    arguments = {key: value for key, value in asked.items() if key in plan.parameters and value not in (None, "")}
    if why := _why_not(start, arguments):
        raise BeamlineError(f"run {entry.uid} cannot be continued: {why}")
    if "sample" in plan.parameters and (sample := sample_of(start)):  # also where it was the one that was there
        arguments["sample"] = sample
    try:
        parameters = plan.convert([(key, str(value)) for key, value in arguments.items()])
    except PlanError as error:
        raise BeamlineError(f"run {entry.uid} cannot be continued: {error}") from error
    of_plan = _of_plan(runs, entry)
    done = [_done(runs, each) for each in of_plan]
    if again:
        index = [each.uid for each in of_plan].index(entry.uid)
        numbers = _again(runs, entry, again, done[index].points, flies=arguments.get("mode") == "fly")
        done[index] = replace(done[index], complete=False, again=numbers)
    if all(each.complete for each in done) and len(done) == _number_of_runs(start):
        raise BeamlineError(f"run {entry.uid} lacks nothing: all its points were measured")
    return Missing(plan.name, parameters, tuple(done))


def _again(runs: Runs, entry: Entry, again: str, points: int, *, flies: bool) -> tuple[int, ...]:
    """Give the numbers of the points that are to be taken again, ascending."""
    if flies:
        raise BeamlineError(f"run {entry.uid} was flown: what of it is to be measured again needs a run of its own")
    if again.strip() == MARKED:
        _, derived = runs.load_with_derived(entry.uid)
        if derived is None or derived.stop is None:
            raise BeamlineError(
                f"run {entry.uid} is not reduced: `beamline replay {entry.uid[:8]} --keep` marks its points"
            )
        numbers = {int(number) for number in derived.result.get("marked_frames", ())}
        if not numbers:
            raise BeamlineError(f"run {entry.uid}: its reduction marks no point; name those to take again, as in 3,7-9")
    else:
        numbers = set()
        for part in again.split(","):
            first, dash, last = part.partition("-")
            try:
                low, high = int(first), int(last if dash else first)
            except ValueError:
                low, high = 1, 0
            if low > high:
                raise BeamlineError(f"again: {again!r} is neither {MARKED!r} nor numbers of points, as in 3,7-9")
            if low < 1 or high > points:
                raise BeamlineError(f"again: the run has no point {low if low < 1 else high}, expected 1 to {points}")
            numbers |= set(range(low, high + 1))
    return tuple(sorted(numbers))


def _why_not(start: dict[str, Any], arguments: Mapping[str, Any]) -> str:
    """Say why nobody can tell what a run lacks; empty where it can be told."""
    if IMPORTED in start:
        return "it was imported"
    if precision_of(start):
        return "it is measured until a precision is reached; measure what it lacks by a run of its own"
    if arguments.get("retake", "no") != "no":
        return "frames are taken again in it (retake); measure the energies that it lacks by a run of its own"
    return ""


def _newest_part(runs: Runs, entry: Entry) -> Entry:
    """Find the run that goes on with a run last; the run itself where none does."""
    for other in reversed(runs.raw()):
        if entry.uid in parts_before(other.start):
            return other
    return entry


def _of_plan(runs: Runs, entry: Entry) -> list[Entry]:
    """List the runs of the plan that a run is of, in order, of those that were continued the newest part."""
    block = entry.start.get(SERIES)
    if not block or not _is_of_a_plan(block):
        return [entry]
    newest: dict[int, Entry] = {}
    for other in runs.raw():
        if (other.start.get(SERIES) or {}).get("uid") == block["uid"]:
            newest[int(other.start[SERIES]["index"])] = _newest_part(runs, other)
    return [newest[index] for index in sorted(newest)]


def _number_of_runs(start: Mapping[str, Any]) -> int:
    block = start.get(SERIES)
    return int(block["runs"]) if block and _is_of_a_plan(block) else 1


def _is_of_a_plan(block: Mapping[str, Any]) -> bool:
    """Tell whether one plan measures all runs of a series."""
    return bool(block.get("axis") or block.get("plan"))


def _done(runs: Runs, entry: Entry) -> Done:
    run = runs.load(entry)
    if run.stop is None:
        if is_being_written(entry.path):
            raise BeamlineError(f"run {entry.uid} is being measured: it can be continued once it has ended")
        raise BeamlineError(f"run {entry.uid} is not closed, as its process died: `beamline recover` closes it")
    points = len(run.streams[Stream.PRIMARY]) if Stream.PRIMARY in run.streams else 0
    planned = planned_points(run.start)
    if planned is None:
        raise BeamlineError(f"run {entry.uid} cannot be continued: it does not say how many points it was to have")
    uids = (*parts_before(run.start), entry.uid)
    ends = (*ends_of_parts(run.start), points)
    return Done(uids, points, complete=points >= planned, series=run.start.get(SERIES), ends=ends)
