"""What each subcommand of `beamline` does, once its options are read."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Column
from rich.table import Table as TextTable

from beamline.acquire.references import processing_with_references
from beamline.cli.app import print_json
from beamline.endstation.config import load_config, processing_problems
from beamline.errors import BeamlineError
from beamline.operations.summary import summarise
from beamline.storage.derived import DerivedRuns
from beamline.storage.results import collect, differences
from beamline.storage.runs import Entry, Runs
from callbacks.contract import MEASUREMENT, Stream
from callbacks.reduction import Reducer

logger = logging.getLogger(__name__)
console = Console(highlight=False)
INGEST_TIMEOUT = 60.0  # s
Source = Literal["catalogue", "log"]
ImportKind = Literal["irixs", "sdf", "nxstxm"]
ExportFormat = Literal["nexus", "columns", "nxstxm"]


def open_runs(data_dir: Path | None) -> Runs:
    """Open the runs of a data folder, the configuration's where none is given."""
    return Runs(data_dir or load_config(None).storage.data_dir)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """Show a progress bar on standard error, with the time left."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    ) as progress:
        yield progress


class PointCounter:
    """Move a progress bar on with every event of the stream `primary`. Callable with (name, document)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: Any = None
        self._primary = ""

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "start" if MEASUREMENT in doc:
                block = doc[MEASUREMENT]
                self._task = self._progress.add_task(
                    f"{block['technique']} of {block['sample']}", total=block["points"]
                )
            case "descriptor" if doc["name"] == Stream.PRIMARY:
                self._primary = doc["uid"]
            case "event" if doc["descriptor"] == self._primary and self._task is not None:
                self._progress.advance(self._task)


def reduce_documents(
    documents: Iterable[tuple[str, dict[str, Any]]], settings: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """Reduce the documents of one run; give the documents of the derived run."""
    derived: list[tuple[str, dict[str, Any]]] = []
    reducer = Reducer(lambda name, doc: derived.append((name, doc)), settings)
    for name, doc in documents:
        reducer(name, doc)
    return derived


def show_plans(*, as_json: bool) -> None:
    """List the plans and their parameters."""
    from plans import PLANS

    if as_json:
        print_json(
            [
                {
                    "name": plan.name,
                    "summary": plan.summary,
                    "parameters": [
                        {
                            "name": parameter.name,
                            "type": parameter.type.__name__,
                            "unit": parameter.unit,
                            "required": parameter.required,
                            "default": None if parameter.required else parameter.default,
                            "help": parameter.help,
                        }
                        for parameter in plan.parameters.values()
                    ],
                }
                for plan in PLANS.values()
            ]
        )
        return
    for plan in PLANS.values():
        console.print(f"[bold]{plan.name}[/]  {plan.summary}")
        table = TextTable.grid(padding=(0, 2))
        for parameter in plan.parameters.values():
            default = "required" if parameter.required else f"default {parameter.default!r}"
            table.add_row(f"  --{parameter.name.replace('_', '-')}", parameter.unit, default, parameter.help)
        console.print(table)


def run_plan(
    name: str,
    arguments: Sequence[str],
    *,
    config: Path | None,
    data_dir: Path | None,
    quiet: bool,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Check a plan with its parameters as text, show what it will do, run it, and summarise the run.

    Returns
    -------
    dict
        The summary, with ``estimate``; of a dry run, which starts nothing, the latter alone.
    """
    from beamline.acquire.safety import assess
    from beamline.acquire.session import Session, measure_all
    from beamline.endstation.build import build_endstation
    from plans import PlanError, find_plan

    loaded = load_config(config)
    data_dir = data_dir or loaded.storage.data_dir
    minimum_free_gb = loaded.storage.minimum_free_gb
    try:
        plan = find_plan(name)
        parameters = plan.parse(arguments)
    except PlanError as error:
        raise BeamlineError(str(error)) from error
    if dry_run:
        if problems := processing_problems(loaded):  # as the session says
            raise BeamlineError("\n".join(problems))
        endstation = build_endstation(loaded, frames_dir=data_dir.absolute() / "frames")
        assessment = assess(plan.function(endstation, **parameters), endstation, data_dir, minimum_free_gb)
        assessment.refuse()
        if not quiet:
            assessment.show(console)
        return {"estimate": assessment.as_dict()}
    with redirect_stdout(sys.stderr), Session(loaded, data_dir) as session:  # the engine's suspenders print
        # Made twice: the estimate uses up the first.
        endstation = session.endstation
        assessment = assess(plan.function(endstation, **parameters), endstation, session.data_dir, minimum_free_gb)
        assessment.refuse()
        estimate = assessment.as_dict()
        if not quiet:
            assessment.show()
        with progress_bar(quiet=quiet) as progress:
            session.watch(PointCounter(progress), "progress")
            uids = measure_all(session, plan.function(endstation, **parameters), on_pause=_ask_to_resume)
            session.drain()
        for uid in uids:
            session.ingester.wait_for(uid, INGEST_TIMEOUT)
        status = session.reduction.status()
    if status.errors:
        logger.error("the live reduction failed %d times, last: %s", status.errors, status.last_error)
    summary = summary_of(uids[-1], data_dir=session.data_dir) | {"estimate": estimate}
    return summary if len(uids) == 1 else summary | {"series": list(uids)}


def _ask_to_resume() -> bool:
    """Ask at the terminal whether to go on after Ctrl-C; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    return Confirm.ask("paused; resume? (no aborts, and keeps what was measured)", default=True)


def summary_of(name: str, *, data_dir: Path | None) -> dict[str, Any]:
    """Summarise a run and its newest reduction."""
    raw, derived = open_runs(data_dir).load_with_derived(name)
    return summarise(raw, derived)


def list_runs(*, data_dir: Path | None, last: int, as_json: bool) -> None:
    """Print the newest runs."""
    runs = open_runs(data_dir)
    entries = runs.raw()[-last:][::-1]
    if as_json:
        print_json([{"uid": entry.uid, **_row(entry)} for entry in entries])
        return
    table = TextTable("uid", "scan", "when", "technique", "sample", "points", box=None, padding=(0, 2))
    for entry in entries:
        table.add_row(entry.uid[:8], *("" if value is None else str(value) for value in _row(entry).values()))
    console.print(table if entries else f"no runs in {runs.data_dir}")


def _row(entry: Entry) -> dict[str, Any]:
    block = entry.start.get(MEASUREMENT, {})
    return {
        "scan_id": entry.start.get("scan_id"),
        "time": datetime.fromtimestamp(entry.start["time"]).astimezone().isoformat(" ", "seconds"),
        "technique": block.get("technique", entry.start.get("plan_name", "")),
        "sample": block.get("sample", ""),
        "points": block.get("points"),
    }


def replay(name: str, *, config: Path | None, source: Source, keep: bool, data_dir: Path | None) -> dict[str, Any]:
    """Reduce a run again and compare with the reduction that is kept.

    Returns
    -------
    dict
        `equal` is None where the run was not reduced before, or with other settings.
    """
    runs = open_runs(data_dir)
    entry = runs.find(name)
    _, before = runs.load_with_derived(name)
    settings = processing_with_references(load_config(config), runs.data_dir)
    if before and not config:
        settings = before.settings
    derived = reduce_documents(documents_of(runs, entry, source), settings)
    after = collect(derived)
    if keep:
        with closing(DerivedRuns(runs.data_dir)) as store:
            for name_, doc in derived:
                store(name_, doc)
        bring_in(runs.data_dir, after.uid)
    found = differences(before, after) if before and before.settings == after.settings else None
    return {
        "raw_uid": entry.uid,
        "derived_uid": after.uid if keep else None,
        "source": source,
        "compared_with": before.uid if before else None,
        "equal": None if found is None else not found,
        "differences": found or [],
        "arrays_compared": sum(len(table.columns) for table in after.streams.values()),
    }


def documents_of(runs: Runs, entry: Entry, source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the documents of a run from the catalogue or from its log."""
    from beamline.storage.catalogue import documents as replays

    if source == "log":
        return replays.logged_documents(entry.path)
    from beamline.storage.catalogue.find import RunNotFoundError, open_catalog, resolve_run

    try:
        run = resolve_run(open_catalog(runs.data_dir), entry.uid)
    except RunNotFoundError as error:
        raise BeamlineError(f"{error}; `beamline recover` brings it in") from error
    return replays.documents(run)


def show_replay(outcome: dict[str, Any]) -> None:
    """Print the outcome of a replay."""
    if outcome["equal"] is None:
        console.print("replayed; there is no reduction with the same settings to compare with")
    else:
        answer = "yes" if outcome["equal"] else f"no: {', '.join(outcome['differences'])}"
        console.print(
            f"live equals replay: {answer}  ({outcome['arrays_compared']} arrays, from the {outcome['source']})"
        )


def import_scan(
    kind: ImportKind, path: Path, *, config: Path | None, data_dir: Path | None, quiet: bool
) -> dict[str, Any]:
    """Import a scan of another instrument, reduce it, and summarise it."""
    from beamline.storage.recorder import Recorder

    loaded = load_config(config)
    if problems := processing_problems(loaded):
        raise BeamlineError("\n".join(problems))
    data_dir = (data_dir or loaded.storage.data_dir).absolute()
    uid = ""
    with (
        progress_bar(quiet=quiet) as progress,
        closing(Recorder(data_dir)) as recorder,
        closing(DerivedRuns(data_dir)) as derived,
    ):
        settings = processing_with_references(loaded, data_dir)
        count, reducer = PointCounter(progress), Reducer(derived, settings)
        for name, doc in _imported(kind, path, data_dir):
            recorder(name, doc)
            reducer(name, doc)
            count(name, doc)
            uid = doc["uid"] if name == "start" else uid
    runs = Runs(data_dir)
    summary = summary_of(uid, data_dir=data_dir)
    bring_in(data_dir, uid, *filter(None, [summary["derived_uid"]]))
    problems = runs.find(uid).start.get("import_problems", [])
    return summary | {"problems": list(problems)}


def _imported(kind: ImportKind, path: Path, data_dir: Path) -> Iterator[tuple[str, Any]]:
    """Give what a file or folder holds as the documents of a raw run."""
    match kind:
        case "irixs":
            from beamline.formats.importers.irixs import irixs_documents

            return irixs_documents(path, frames_dir=data_dir / "frames")
        case "sdf":
            from beamline.formats.importers.sdf import sdf_documents

            return sdf_documents(path)
        case "nxstxm":
            from beamline.formats.importers.nxstxm import nxstxm_documents

            return nxstxm_documents(path)


def seed_demo(*, seed: int, data_dir: Path | None, quiet: bool) -> dict[str, Any]:
    """Measure and analyse the simulated samples of the reference text."""
    from beamline.operations.demonstrate.seed import run_seed_demo

    return run_seed_demo(seed=seed, data_dir=data_dir or load_config(None).storage.data_dir, quiet=quiet)


def show_seed_demo(outcome: dict[str, Any]) -> None:
    """Print what the simulated samples of the reference text came to."""
    console.print(
        f"{outcome['pixels']} pixels x {outcome['energies']} energies pooled; {outcome['pixels_with_sample']} hold"
        f" sample, {outcome['pixels_used']} are below the noise cut"
    )
    console.print("cumulative variance: " + ", ".join(f"{share:.1%}" for share in outcome["cumulative_variance"]))
    table = TextTable("capacity (mAh/g)", "reduced", "simulated truth", box=None, padding=(0, 2))
    for capacity, one in outcome["reduced"].items():
        table.add_row(capacity, f"{one['found']:.3f} ± {one['sigma']:.3f}", f"{one['truth']:.3f}")
    console.print(table)
    console.print(f"report: {outcome['report']}  ({outcome['seconds']:.0f} s)", soft_wrap=True)


def show_analysis(outcome: dict[str, Any]) -> None:
    """Print the outcome of a pooled analysis."""
    shares = ", ".join(f"{share:.1%}" for share in outcome["pca"]["explained_variance_ratio"])
    console.print(f"{outcome['pixels_used']} of {outcome['pixels']} pixels; variance {shares}")
    if outcome["status"] != "ok":
        console.print(f"[yellow]no end members: {outcome['status']}[/]")
    table = TextTable("run", "sample", "energy offset (eV)", "reduced", box=None, padding=(0, 2))
    for run in outcome["runs"]:
        reduced = f"{run['reduced']:.3f} ± {run['reduced_sigma']:.3f}" if "reduced" in run else ""
        offset = f"{run['energy_offset_ev']:+.3f} ± {run['energy_offset_sigma_ev']:.3f}"
        table.add_row(run["run"][:8], run["sample"], offset, reduced)
    console.print(table)
    console.print(f"report: {outcome['report']}", soft_wrap=True)


def bring_in(data_dir: Path, *uids: str) -> None:
    """Bring runs into the catalogue, and say so on standard error where that takes too long."""
    from beamline.storage.catalogue.find import CatalogIngester

    ingester = CatalogIngester(data_dir)
    ingester.start()
    late = [uid for uid in uids if not ingester.wait_for(uid, INGEST_TIMEOUT)]
    ingester.finish()
    if late:
        why = "; ".join(filter(None, ingester.status().errors.values())) or "it does not answer"
        logger.error("the catalogue has not taken in %s: %s. `beamline recover` does it later", ", ".join(late), why)


def export(name: str, file_format: ExportFormat, output: Path | None, *, data_dir: Path | None) -> list[Path]:
    """Write a run for other programs."""
    from beamline.formats.exporters.columns import write_columns
    from beamline.formats.exporters.nexus import write_nexus
    from beamline.formats.exporters.nxstxm import write_nxstxm
    from beamline.storage.recorder import read_log

    runs = open_runs(data_dir)
    entry = runs.find(name)
    raw, derived = runs.load_with_derived(name)
    if file_format == "columns":
        return write_columns(output or Path(_file_name(entry)), raw, derived)
    if file_format == "nxstxm":
        path = output or Path(f"{_file_name(entry)}.hdf5")
        try:
            write_nxstxm(path, read_log(entry.path), derived)
        except ValueError as error:
            raise BeamlineError(f"run {entry.uid}: {error}") from error
        return [path]
    path = output or Path(f"{_file_name(entry)}.nxs")
    write_nexus(path, read_log(entry.path), derived)
    return [path]


def write_report(name: str, output: Path | None, *, data_dir: Path | None) -> Path:
    """Write the report of a run."""
    from beamline.report.page import write_report as write
    from beamline.storage.recorder import read_log

    runs = open_runs(data_dir)
    entry = runs.find(name)
    _, derived = runs.load_with_derived(name)
    if derived is None:
        raise BeamlineError(f"run {entry.uid} has not been reduced; `beamline replay --keep {entry.uid[:8]}` does it")
    path = output or Path(f"{_file_name(entry)}.html")
    write(path, read_log(entry.path), derived)
    return path


def _file_name(entry: Entry) -> str:
    scan_id = entry.start.get("scan_id")
    return f"run-{entry.uid[:8]}" if scan_id is None else f"scan-{scan_id}-{entry.uid[:8]}"


def recover(*, data_dir: Path | None, as_json: bool) -> None:
    """Close interrupted runs and bring every run into the catalogue."""
    from beamline.storage.catalogue.recover import recover as recover_runs

    report = recover_runs(open_runs(data_dir).data_dir)
    if as_json:
        print_json(asdict(report))
        return
    for run in report.closed:
        events = ", ".join(f"{number} {stream}" for stream, number in run.events.items()) or "no events"
        console.print(f"closed run {run.uid}: {events}; {sum(run.frames.values())} frames on the disk", soft_wrap=True)
    for uid in report.still_open:
        console.print(f"run {uid} is being measured; left alone")
    for problem in report.problems:
        console.print(f"[red]{problem}[/]", soft_wrap=True)
    console.print(f"{len(report.closed)} interrupted runs closed, {report.ingested} runs taken into the catalogue")


def check(config: Path | None, *, as_json: bool) -> None:
    """Check a configuration, connect to its devices, and fail where something is wrong."""
    from beamline.endstation.build import build_devices, config_problems
    from beamline.endstation.connect import Answer, connect, disconnect, use_channel_access

    loaded = load_config(config)
    use_channel_access(loaded.channel_access)
    problems, answers = config_problems(loaded), list[Answer]()
    if not problems:
        devices = build_devices(loaded)
        answers = connect(devices, loaded.channel_access, read=True)
        if loaded.channel_access is not None:
            disconnect(devices.values())
        problems = [f"{answer.device}: {answer.problem}" for answer in answers if answer.problem]
    if as_json:
        outcome = {"config": str(loaded.path), "ok": not problems, "problems": problems}
        print_json(outcome | {"devices": [asdict(answer) for answer in answers]})
    elif answers:
        show_answers(answers)
    if not problems and not as_json:
        console.print(f"{loaded.path}: ok; {len(loaded.devices)} devices, data in {loaded.storage.data_dir}")
    if problems and not as_json:
        raise BeamlineError("\n".join(problems))
    if problems:
        raise SystemExit(1)


def show_answers(answers: Iterable[Any]) -> None:
    """Print how devices answered."""
    columns = ("device", "PVs", "connect (s)", "read (ms)", "")
    table = TextTable(*(Column(name, no_wrap=True) for name in columns), box=None, padding=(0, 1))
    for answer in answers:
        there = answer.pvs - len(answer.missing)
        table.add_row(
            answer.device,
            f"{there} of {answer.pvs}" if answer.pvs else "soft",
            f"{answer.connect_seconds:.2f}" if answer.pvs and there else "",
            "" if answer.read_seconds is None else f"{1000 * answer.read_seconds:.1f}",
            f"[red]{'no answer' if answer.missing else 'no reading'}[/]" if answer.problem else "ok",
        )
    console.print(table)


def serve_ioc(
    config: Path | None, *, port: int | None, until_stdin_closes: bool, as_json: bool, **options: Any
) -> None:
    """Serve the simulated endstation over Channel Access until told to stop."""
    from beamline.endstation.config import EPICS
    from beamline.operations.simulated_ioc import serve

    def ready(port: int, pvs: int) -> None:
        if as_json:
            print(json.dumps({"port": port, "pvs": pvs}), flush=True)
        else:
            console.print(f"{pvs} process variables on 127.0.0.1, port {port}; Ctrl-C stops")

    chosen = {name: value for name, value in options.items() if value is not None}
    serve(load_config(config or EPICS), port=port, ready=ready, until_stdin_closes=until_stdin_closes, **chosen)
