"""Print what operations give, for people, and as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.prompt import Confirm
from rich.table import Column
from rich.table import Table as TextTable
from rich.text import Text

from beamline.operations.runs import (
    added_lines,
    counted,
    decision_lines,
    local_time,
    marked_ranges,
    summary_lines,
    summary_warnings,
)
from beamline.storage.runs import OF_REDUCTION
from beamline.text import clean, encodable, shortened, with_sigma
from callbacks.contract import NOT_TAKEN
from callbacks.wording import number_of

if TYPE_CHECKING:  # their modules take time to import, and whoever prints one has it
    from beamline.acquire.safety import Assessment
    from beamline.operations.campaign_proposal import Proposal
    from beamline.operations.demonstrate.epics import EpicsOutcome
    from beamline.operations.demonstrate.techniques import Outcome
    from beamline.processes.followers import FollowerStatus
    from beamline.storage.catalogue.recovery import Recovery

FREE_WIDTH = 12  # characters of a column that may be folded
LARGEST_WIDTH = 10_000  # characters of a line, wherever a terminal wraps it


class PlainConsole(Console):
    """A console that shows every text as it is: no markup, no emoji codes, and no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make of a text, of a line or of a cell of a table, what is shown."""
        return super().render_str(clean(text), **options)


def styled(text: object, style: str) -> Text:
    """Give a text in a style, made safe as `PlainConsole` does it."""
    return Text(clean(text), style)


console = PlainConsole()


def _table(*columns: str | Column, free: Iterable[str] = ()) -> TextTable:
    """Make a table whose columns are as wide as what is in them, but for those named, which a narrow terminal folds."""
    made = [
        Column(column, no_wrap=column not in free, overflow="fold", min_width=FREE_WIDTH if column in free else None)
        if isinstance(column, str)
        else column
        for column in columns
    ]
    return TextTable(*made, box=None, padding=(0, 2, 0, 0), pad_edge=False)


def _print_table(table: TextTable) -> None:
    """Print a table of `_table` with every character of it, even where it is wider than the terminal."""
    unbounded = console.options.update(max_width=LARGEST_WIDTH)
    least = Measurement.get(console, unbounded, table).maximum
    for column in table.columns:
        if not column.no_wrap:
            widest = max(Measurement.get(console, unbounded, cell).maximum for cell in (column.header, *column.cells))
            least -= max(widest - FREE_WIDTH, 0)
    if least <= console.width:
        console.print(table)
        return
    wide = PlainConsole()  # rich prints nothing that is wider than its console
    wide.file, wide.width = console.file, least
    wide.print(table)


def ask_to_resume() -> bool:
    """Ask at the terminal whether to go on after Ctrl-C; without one, or with another Ctrl-C, the answer is no."""
    if not sys.stdin.isatty():
        return False
    question = Text("paused; resume? (no aborts, and keeps what was measured)")
    try:
        return Confirm.ask(question, default=True, console=console)
    except (KeyboardInterrupt, EOFError):
        console.print()
        return False


def print_assessment(assessment: Assessment, *, to_stderr: bool = False) -> None:
    """Print what a plan will do, in one line, and what may spoil its data, a line each."""
    to = PlainConsole(stderr=True) if to_stderr else console
    to.print(assessment.text(), soft_wrap=True)
    for warning in assessment.estimate.warnings:
        to.print(styled(f"warning: {warning}", "yellow"), soft_wrap=True)


def print_step(what: str, assessment: Assessment) -> None:
    """Print which run of a campaign comes next, and what it will do."""
    PlainConsole(stderr=True).print(f"{what}: {assessment.text()}", soft_wrap=True)
    for warning in assessment.estimate.warnings:
        PlainConsole(stderr=True).print(styled(f"warning: {warning}", "yellow"), soft_wrap=True)


def print_campaign_estimate(steps: Sequence[tuple[str, Assessment]]) -> None:
    """Print how much of a campaign is left to measure."""
    hours = sum(assessment.duration for _, assessment in steps) / 3600.0
    text = f"{number_of(len(steps), 'run')} to measure, about {hours:.1f} h in all; maps at the energies of the spectra"
    PlainConsole(stderr=True).print(text if steps else "all of it is measured", soft_wrap=True)


def ask_to_go_on(proposal: Proposal, *, yes: bool, quiet: bool) -> bool:
    """Show the energies of a campaign's maps, and ask at the terminal whether to go on with them.

    Not where the answer is `yes` already, or they stand in a file and were seen; without a terminal it is no.
    """
    from beamline.operations.campaign_proposal import proposal_lines

    to = PlainConsole(stderr=True)
    for name, text in () if quiet else proposal_lines(proposal):
        to.print(f"{shortened(name)}: {text}", soft_wrap=True)
    if yes or proposal.changed:
        return True
    if quiet or not sys.stdin.isatty():
        return False
    try:
        return Confirm.ask(Text("measure at these energies?"), default=True, console=to)
    except (KeyboardInterrupt, EOFError):
        return False


def print_campaign(outcome: Mapping[str, Any]) -> None:
    """Print the runs of a campaign, and its report."""
    table = _table("run", "uid")
    for name, uid in outcome["runs"].items():
        table.add_row(shortened(name), uid)
    _print_table(table)
    console.print(f"report: {clean(outcome['report'])}", soft_wrap=True)
    if outcome["ended"]:
        PlainConsole(stderr=True).print(styled(outcome["ended"], "yellow"), soft_wrap=True)


def print_queued_campaign(outcome: Mapping[str, Any]) -> None:
    """Print what of a campaign was queued."""
    for item in outcome["queued"]:
        console.print(f"queued: {shortened(item)}", soft_wrap=True)
    if outcome["waiting"]:
        console.print(f"{number_of(outcome['waiting'], 'plan')} queued before; repeat when they are measured")
    if outcome["report"]:
        console.print(f"report: {clean(outcome['report'])}", soft_wrap=True)


def print_plans(plans: Iterable[Mapping[str, Any]]) -> None:
    """Print the plans and their parameters."""
    for plan in plans:
        console.print(Text.assemble((plan["name"], "bold"), "  ", plan["summary"]))
        table = TextTable.grid(padding=(0, 2))
        for parameter in plan["parameters"]:
            default = "required" if parameter["required"] else f"default {parameter['default']!r}"
            name = f"  --{parameter['name'].replace('_', '-')}"
            table.add_row(name, parameter["unit"], default, parameter["help"])
        console.print(table)


def print_runs(entries: list[dict[str, Any]], where: str) -> None:
    """Print a list of runs."""
    table = _table("uid", "scan", "when", "technique", "sample", "points", "problems", free=["sample"])
    for entry in entries:
        scan, technique, sample = (
            "" if entry[name] is None else shortened(entry[name]) for name in ("scan_id", "technique", "sample")
        )
        problems = styled(len(entry["problems"]) or "", "yellow")
        if entry.get("continued_by"):  # what it lacks is there
            problems = styled(f"goes on in {entry['continued_by'][:8]}", "default")
        table.add_row(entry["uid"][:8], scan, entry["time"][:16], technique, sample, _points(entry), problems)
    if entries:
        _print_table(table)
    else:
        console.print(f"no runs in {where}", soft_wrap=True)


def _points(entry: Mapping[str, Any]) -> str:
    """Say how many points a run measured, and of how many where these are others."""
    measured, planned = entry["measured"], entry["points"]
    if measured is None or planned is None or measured == planned or entry.get("until_precise"):
        return str(next((number for number in (measured, planned) if number is not None), ""))
    return f"{measured} of {planned}"


def print_status(found: Mapping[str, Any]) -> None:
    """Print how a data folder is."""
    free = "there is no such folder" if found["free_gb"] is None else f"{found['free_gb']:.1f} GB free"
    console.print(f"{found['data_dir']}: {free}; catalogue: {found['catalogue']}", soft_wrap=True)
    for run in found["measuring"]:
        scan = "run" if run["scan_id"] is None else f"scan {shortened(run['scan_id'])}"
        of = "" if run["planned"] is None else f" of {run['planned']}"
        what = f"{shortened(run['technique'])} of {shortened(run['sample'])}"
        since = local_time(run["since"])[11:19]
        console.print(f"measuring: {scan} ({run['uid'][:8]}), {what}: {run['points']}{of} points since {since}")
    if not found["measuring"]:
        console.print("measuring: nothing")
    table = _table("process", "state", "since", "runs waiting", "kB behind", "restarts")
    for name, process in found["processes"].items():
        since = "" if process["since"] is None else local_time(process["since"])[5:16]
        numbers = (process["waiting"], round(process["behind"] / 1000), process["restarts"])
        table.add_row(name, process["state"], since, *map(str, numbers))
    for name, part in found.get("service", {}).get("parts", {}).items():
        since = local_time(part["since"])[5:16] if part["since"] else ""
        table.add_row(name, part["state"], since, "", "", str(part["restarts"]))
    _print_table(table)
    _print_service(found.get("service"))
    for name, process in found["processes"].items():
        for uid, error in process["errors"].items():
            console.print(styled(f"{name}{uid and f', run {uid[:8]}'}: {error}", "yellow"), soft_wrap=True)
    for uid in found["interrupted"]:
        text = f"run {uid}: the process that measured it died; `beamline recover` closes it"
        console.print(styled(text, "yellow"), soft_wrap=True)


def _print_service(service: Mapping[str, Any] | None) -> None:
    """Print what the parts of a service answer, and what is wrong with them."""
    if service is None:
        return
    if not service["supervised"]:
        console.print(
            styled("no supervisor works: `beamline serve` goes on with what it left", "yellow"), soft_wrap=True
        )
    for name, part in service["parts"].items():
        answers = part.get("answers")
        if isinstance(answers, Mapping):
            items = f"{answers['items_in_queue']} queued, {answers['items_in_history']} before"
            console.print(f"{name}: {answers['manager_state']}, engine {answers['re_state']}, {items}", soft_wrap=True)
        elif isinstance(answers, str):
            console.print(styled(f"{name}: {answers}", "yellow"), soft_wrap=True)
        if part["error"] and part["state"] != "running":
            console.print(styled(f"{name}: {part['error']}", "yellow"), soft_wrap=True)


def print_reprocessed(outcome: Mapping[str, Any]) -> None:
    """Print what came of each run that was reduced again."""
    seconds = Column("s", justify="right", no_wrap=True)
    table = _table("uid", "scan", "technique", "sample", "derived run", seconds, free=["sample"])
    for row in outcome["runs"]:
        scan = "" if row["scan_id"] is None else shortened(row["scan_id"])
        derived = styled("failed", "bold red") if row["error"] else row["derived_uid"][:8]
        took = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        what = shortened(row["technique"]), shortened(row["sample"])
        table.add_row(row["raw_uid"][:8], scan, *what, derived, took)
    _print_table(table)
    failed = sum(bool(row["error"]) for row in outcome["runs"])
    console.print(
        f"{number_of(len(outcome['runs']) - failed, 'run')} reduced, {failed} failed, {outcome['seconds']:.0f} s"
    )


def print_process(name: str, status: FollowerStatus, *, as_json: bool) -> None:
    """Print how a process is, as that has changed."""
    if as_json:
        print_json({"process": name, **asdict(status)})
    else:
        errors = "; ".join(status.errors.values())
        console.print(f"{name}: {status.state}{errors and f': {errors}'}", soft_wrap=True)
        sys.stdout.flush()


def print_part(name: str, state: str, error: str, *, as_json: bool) -> None:
    """Print how a process of the service is, as that has changed."""
    if as_json:
        print_json({"process": name, "state": state, "error": error})
    else:
        console.print(f"{name}: {state}{error and f': {error}'}", soft_wrap=True, markup=False)
        sys.stdout.flush()


def print_line(text: str, *, as_json: bool) -> None:
    """Print a line that the user has to know."""
    print_json({"line": text}) if as_json else console.print(text, soft_wrap=True, markup=False)
    sys.stdout.flush()


def print_kinds(kinds: Mapping[str, str]) -> None:
    """Print the kinds of files that are imported."""
    table = TextTable.grid(padding=(0, 2))
    for name, title in kinds.items():
        table.add_row(name, title)
    console.print(table)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the summary of a run."""
    scan = f"scan {shortened(summary['scan_id'])}" if summary["scan_id"] is not None else "run"
    of = f" of {shortened(summary['sample'])}" if summary["sample"] else ""
    what = f"{shortened(summary['technique'])}{of}  ({shortened(summary['plan'])})"
    console.print(Text.assemble((scan, "bold"), "  ", what))
    table = TextTable.grid(padding=(0, 2))
    table.add_row("raw run", summary["raw_uid"])
    told = summary.get("not_reduced") or any(problem.startswith(OF_REDUCTION) for problem in summary["problems"])
    if summary["derived_uid"] or not told:  # why there is none is said once
        table.add_row("derived run", summary["derived_uid"] or "none: the run has not been reduced")
    if runs := summary.get("runs"):
        table.add_row("last of the runs", ", ".join(uid[:8] for uid in runs))
    if (series := summary.get("series")) and series.get("axis"):
        at = f"{shortened(series['axis'])} at {series['position']:g} {series['unit']}".strip()
        table.add_row("series", f"{at}, {series['index'] + 1} of {series['runs']}")
    for uid, points in summary.get("parts", {}).items():
        table.add_row("part", f"run {uid}: {points}")
    for uid in summary.get("imported_before", []):
        table.add_row("imported before", f"as run {uid}")
    table.add_row("ended", f"{summary['exit_status']}" + (f": {summary['reason']}" if summary["reason"] else ""))
    events = counted(summary)
    over = f", of {number_of(summary['regions_flown'], 'region')}" if summary.get("regions_flown") else ""
    table.add_row(events, f"{summary['frames']}{over}")
    for problem in summary["problems"]:
        table.add_row("problem", styled(problem, "yellow"))
    for held in summary.get("interruptions", []):
        table.add_row(f"held {local_time(held['time'])[11:19]}", styled(held["reason"], "yellow"))
    for label, reason in marked_ranges(summary):
        table.add_row(label, styled(reason, "yellow"))
    for label, text in [*added_lines(summary), *decision_lines(summary)]:
        table.add_row(label, text)
    found = summary_lines(summary)
    for label, text in found:
        table.add_row(label, text)
    for warning in summary_warnings(summary):
        if not any(text.removeprefix("none: ") in warning for _, text in found):  # else it has just been said
            table.add_row("", styled(warning, "bold red"))
    console.print(table)


def print_replay(outcome: Mapping[str, Any]) -> None:
    """Print the outcome of a replay."""
    if outcome["equal"] is None:
        console.print("replayed; there is no reduction with the same settings to compare with")
    else:
        answer = "yes" if outcome["equal"] else f"no: {', '.join(outcome['differences'])}"
        console.print(
            f"live equals replay: {answer}  ({outcome['arrays_compared']} arrays, from the {outcome['source']})"
        )
    for problem in outcome["problems"]:
        console.print(styled(problem, "yellow"))


def print_analysis(outcome: Mapping[str, Any]) -> None:
    """Print the outcome of an analysis."""
    if outcome["technique"] == "across":
        _print_across(outcome)
        return
    if "recipe" in outcome:
        _print_recipe(outcome)
        return
    if outcome["technique"] == "rixs":
        _print_maps(outcome)
    else:
        _print_stacks(outcome)
    for run in outcome["left_out"]:
        console.print(styled(f"{run['run'][:8]} is left out: {run['reason']}", "yellow"), soft_wrap=True)
    for run in outcome["runs"]:
        for problem in run["problems"]:
            console.print(styled(f"{run['run'][:8]}: {problem}", "yellow"))
    _print_end(outcome, ())


def _print_across(outcome: Mapping[str, Any]) -> None:
    """Print features of the same samples by several techniques."""
    names = list(outcome["samples"][0]["features"]) if outcome["samples"] else []
    units = {name: outcome["samples"][0]["features"][name]["units"] for name in names}
    heads = [f"{name} ({units[name]})" if units[name] else name for name in names]
    table = _table("sample", "capacity (mAh/g)", *heads, free=["sample"])
    for one in outcome["samples"]:
        capacity = one["capacity_mah_per_g"]
        shown = f"{capacity:g}" if math.isfinite(capacity) else ""
        table.add_row(one["sample"], shown, *(_number(one["features"][name]) for name in names))
    _print_table(table)
    _print_end(outcome, outcome["assumed"])


def _print_end(outcome: Mapping[str, Any], notes: Iterable[str]) -> None:
    """Print what was assumed, by which name the analysis is found again, and where its report is."""
    for note in notes:
        console.print(styled(note, "yellow"), soft_wrap=True)
    console.print(f"analysis: {outcome['derived_uid'][:8]}", soft_wrap=True)
    if "report" in outcome:  # not of one that was kept before
        console.print(f"report: {outcome['report']}", soft_wrap=True)


def _print_recipe(outcome: Mapping[str, Any]) -> None:
    """Print what was read off each spectrum, a table for each measure."""
    several = len({spectrum["part"] for spectrum in outcome["spectra"]}) > 1
    for measure in outcome["spectra"][0]["measures"]:
        found = [
            (spectrum, spectrum["measures"][measure])
            for spectrum in outcome["spectra"]
            if spectrum["measures"][measure]["status"] != NOT_TAKEN
        ]
        values = list(dict.fromkeys(key for _, one in found for key in one if isinstance(one[key], dict)))
        units = {key: one[key]["units"] for _, one in found for key in values if key in one}
        heads = [f"{key} ({units[key]})" if units[key] else key for key in values]
        table = _table(
            "run", "sample", *(["part"] if several else []), *(head.replace("_", " ") for head in heads), "",
            free=["sample", ""],
        )  # fmt: skip
        table.title = measure.replace("_", " ")
        for spectrum, one in found:
            numbers = [_number(one.get(key)) for key in values]
            part = [spectrum["part"]] if several else []
            said = "" if one["status"] == "ok" else styled(one["status"], "yellow")
            table.add_row(spectrum["run"][:8], spectrum["sample"], *part, *numbers, said)
        _print_table(table)
    for name, told in outcome["correlations"].items():
        pearson = f"Pearson {with_sigma(told['pearson'], told['pearson_sigma'])}, of ranks {told['spearman']:.3f}"
        said = pearson if told["status"] == "ok" else told["status"]
        console.print(f"correlation {name}: {said}", soft_wrap=True)
    for note in outcome["corrected"]:
        console.print(note, soft_wrap=True)
    if outcome["maps"]:
        console.print(f"maps: {', '.join(outcome['maps'])}", soft_wrap=True)
    _print_end(outcome, [*outcome["assumed"], *outcome["problems"]])


def _number(one: Mapping[str, Any] | None) -> str:
    if one is None or not math.isfinite(one["value"]):
        return ""
    shown = with_sigma(one["value"], one["sigma"]) if math.isfinite(one["sigma"]) else f"{one['value']:.4g}"
    return f"{shown} ± {one['scale_sigma']:.2g} by scale" if one.get("scale_sigma", 0.0) > 0 else shown


def _print_maps(outcome: Mapping[str, Any]) -> None:
    from beamline.operations.analyse_rixs import calibration_line  # takes time to import, and is by now

    console.print(calibration_line(outcome), soft_wrap=True)
    table = _table("run", "scan", "lines", "eV/pixel, bend of all", "pull", "offset (px)", "drift (px)")
    for run in outcome["runs"]:
        scan = "" if run["scan_id"] is None else shortened(run["scan_id"])
        numbers = (
            f"{run['dispersion_ev_per_pixel']:.4f} ± {run['dispersion_sigma']:.4f}",
            f"{run['pull']:+.1f}",
            *(f"{run[f'{name}_pixels']:+.2f} ± {run[f'{name}_sigma']:.2f}" for name in ("offset", "drift")),
        )
        table.add_row(run["run"][:8], scan, str(run["lines_used"]), *numbers)
    _print_table(table)
    console.print(f"{outcome['rows_in_all']} of {outcome['rows']} excitation energies were measured in all")
    for run in outcome["runs"][1:]:
        ratio = f"{run['intensity_over_first']:.3f} ± {run['intensity_over_first_sigma']:.3f}"
        console.print(f"{run['run'][:8]}: {ratio} times the intensity of {outcome['runs'][0]['run'][:8]}")
    if outcome["alarm"]:
        console.print(styled(outcome["alarm"], "bold red"), soft_wrap=True)
    console.print(f'to load it for the next map: [calibration] rixs = "{outcome["derived_uid"][:8]}"', soft_wrap=True)


def _print_stacks(outcome: Mapping[str, Any]) -> None:
    shares = ", ".join(f"{share:.1%}" for share in outcome["pca"]["explained_variance_ratio"])
    console.print(f"{outcome['pixels_used']} of {outcome['pixels']} pixels; variance {shares}")
    if outcome["status"] != "ok":
        console.print(styled(f"no end members: {outcome['status']}", "yellow"))
    if outcome["references"]:
        console.print(styled(outcome["references"], "yellow"), soft_wrap=True)
    table = _table("run", "sample", "energy offset (eV)", "reduced", free=["sample"])
    for run in outcome["runs"]:
        reduced = ""
        if "reduced" in run:
            known = math.isfinite(run["reduced"])
            reduced = f"{run['reduced']:.3f} ± {run['reduced_sigma']:.3f}" if known else "not determined"
        known = math.isfinite(run["energy_offset_sigma_ev"])
        offset = f"{run['energy_offset_ev']:+.3f} ± {run['energy_offset_sigma_ev']:.3f}" if known else "not determined"
        table.add_row(run["run"][:8], run["sample"], offset, reduced)
    _print_table(table)


def print_recovery(recovery: Recovery) -> None:
    """Print what a recovery did."""
    lines = []
    for run in recovery.closed:
        events = ", ".join(f"{number} {stream}" for stream, number in run.events.items()) or "no events"
        lines.append(f"closed run {run.uid}: {events}; {sum(run.frames.values())} frames on the disk")
    lines += [f"wrote the damaged or missing log of run {uid} again from the catalogue" for uid in recovery.restored]
    lines += [f"reduced run {uid}" for uid in recovery.reduced]
    lines += [f"run {uid} is being measured; left alone" for uid in recovery.still_open]
    lines += [f"made run {uid} anew in the catalogue, where it was damaged" for uid in recovery.remade]
    if recovery.catalogue:
        lines.append(f"made the catalogue anew: {recovery.catalogue}")
    for line in lines:
        console.print(line, soft_wrap=True)
    for problem in recovery.problems:
        console.print(styled(problem, "red"), soft_wrap=True)
    console.print(
        f"{number_of(len(recovery.closed), 'interrupted run')} closed,"
        f" {number_of(recovery.ingested, 'run')} taken into the catalogue"
        + (f"; {len(recovery.problems)} problems are left" if recovery.problems else "")
    )


def print_check(outcome: Mapping[str, Any]) -> None:
    """Print how the devices of a configuration answered."""
    table = _table("device", "PVs", "connect (s)", "read (ms)", "")
    for answer in outcome["devices"]:
        there = answer["pvs"] - len(answer["missing"])
        table.add_row(
            answer["device"],
            f"{there} of {answer['pvs']}" if answer["pvs"] else "soft",
            f"{answer['connect_seconds']:.2f}" if answer["pvs"] and there else "",
            "" if answer["read_seconds"] is None else f"{1000 * answer['read_seconds']:.1f}",
            styled("no answer" if answer["missing"] else "no reading", "red") if answer["problem"] else "ok",
        )
    if outcome["devices"]:
        _print_table(table)
    for name, told in outcome["techniques"].items():
        meant = {role: f" (is {near} that?)" for role, near in told["meant"].items()}
        lacks = " and ".join(f"{role}{meant.get(role, '')}" for role in told["lacks"])
        without = f", without {', '.join(told['without'])}" if told["without"] else ""
        said = f"possible{without}" if told["possible"] else styled(f"not possible: no {lacks}", "yellow")
        console.print(f"{name}: {said}", soft_wrap=True)
    if outcome["ok"]:
        number = len(outcome["devices"])
        console.print(f"{outcome['config']}: ok; {number} devices, data in {outcome['data_dir']}", soft_wrap=True)


def print_ioc(port: int, pvs: int, *, as_json: bool) -> None:
    """Print that an IOC serves."""
    if as_json:
        print(json.dumps({"port": port, "pvs": pvs}), flush=True)
    else:
        console.print(f"{pvs} process variables on 127.0.0.1, port {port}; Ctrl-C stops")


def print_demo(outcome: Outcome) -> None:
    """Print the outcome of a demonstration."""
    print_summary(outcome.summary)
    table = _table("found", "", "simulated truth", "difference", free=["found"])
    for row in outcome.found:
        table.add_row(*row)
    _print_table(table)
    answer = "yes" if outcome.live_equals_replay else f"no: {', '.join(outcome.differences)}"
    console.print(f"live equals replay: {answer}")
    if outcome.live_page is not None:
        console.print(f"live page: {outcome.live_page}", soft_wrap=True)
    console.print(f"report: {outcome.report}", soft_wrap=True)
    console.print(f"data: {outcome.data_dir}  ({outcome.seconds:.0f} s)", soft_wrap=True)


def print_epics_demo(outcome: EpicsOutcome) -> None:
    """Print the outcome of the demonstration over EPICS."""
    for run in outcome.runs:
        print_summary(run.summary)
    table = _table(
        "technique", "events", "measured in (s)", "ms an event", "live equals replay", free=["live equals replay"]
    )
    for run in outcome.runs:
        answer = "yes" if run.live_equals_replay else f"no: {', '.join(run.differences)}"
        each = 1000 * run.seconds / max(1, run.events)
        table.add_row(run.technique, str(run.events), f"{run.seconds:.1f}", f"{each:.1f}", answer)
    _print_table(table)
    for run in outcome.runs:
        console.print(f"report: {run.report}", soft_wrap=True)
    console.print(f"data: {outcome.data_dir}  (IOC on port {outcome.port}, {outcome.seconds:.0f} s)", soft_wrap=True)


def print_seed_demo(outcome: Mapping[str, Any]) -> None:
    """Print what the analysis of the simulated states of charge found."""
    console.print(
        f"{outcome['pixels']} pixels x {outcome['energies']} energies pooled; {outcome['pixels_with_sample']} hold"
        f" sample, {outcome['pixels_used']} are below the noise cut"
    )
    console.print("cumulative variance: " + ", ".join(f"{share:.1%}" for share in outcome["cumulative_variance"]))
    table = _table("capacity (mAh/g)", "reduced", "simulated truth")
    for capacity, one in outcome["reduced"].items():
        table.add_row(capacity, f"{one['found']:.3f} ± {one['sigma']:.3f}", f"{one['truth']:.3f}")
    _print_table(table)
    console.print(f"report: {outcome['report']}  ({outcome['seconds']:.0f} s)", soft_wrap=True)


def print_calibration(found: Mapping[str, Any]) -> None:
    """Print how far the scale of the monochromator is off, and where that is kept."""
    table = _table("what", "value", free=("value",))
    table.show_header = False
    table.add_row("photon energy", f"what the monochromator says {found['said']}")
    table.add_row(
        "centred at", f"{found['at']:.2f} eV, in {found['channel']}; reduced chi square {found['misfit']:.2f}"
    )
    if found["before"]:
        table.add_row("before", f"{found['before']:+.4f} eV was added to the energies of the run; it is replaced")
    if found["own"]:
        table.add_row("", styled("by the sample's own yield, as no channel `reference` was measured", "yellow"))
    table.add_row("kept", found["kept"] or "not")
    _print_table(table)


def print_paths(*paths: object) -> None:
    """Print paths, one a line."""
    for path in paths:
        print(clean(path))


def print_json(value: Any) -> None:
    """Print a value as JSON; what is not a number becomes null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False, default=str))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {encodable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
