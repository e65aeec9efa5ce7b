"""The command `beamline`: measure, import, look at, replay, export and recover runs."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from beamline.errors import BeamlineError

app = typer.Typer(
    help="Run a soft X-ray STXM/RIXS endstation and reduce its data live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where runs are kept. Default: the configuration's, else the user's data folder.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Endstation (TOML). Default: the simulated one.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A uid, a unique start of one, a scan id, or -1 for the newest.")
]


TAKES_RUN = {"ignore_unknown_options": True}  # -1 is a run, not an option


def main() -> None:
    """Run the command line; an error a user can act on is one line and exit code 1."""
    try:
        app()
    except BeamlineError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted")


def fail(message: str) -> NoReturn:
    """Print one line on standard error and exit with code 1."""
    print(f"beamline: {message}", file=sys.stderr)
    raise SystemExit(1)


def print_json(value: Any) -> None:
    """Print a value as JSON; what is not a number becomes null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@app.command()
def demo(
    what: Annotated[
        Literal["rixs", "xas", "stxm", "seed"],
        typer.Argument(help="Which measurement; seed: all STXM figures of the reference text, some minutes."),
    ] = "rixs",
    epics: Annotated[
        bool, typer.Option("--epics", help="All three techniques over EPICS, through an IOC that is started for it.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure on the simulated endstation, reduce live, store, replay, and compare with the simulated truth."""
    if what == "seed":
        from beamline.operations import commands

        outcome_of_seed = commands.seed_demo(seed=seed, data_dir=data_dir, quiet=as_json)
        if as_json:
            print_json(outcome_of_seed)
        else:
            commands.show_seed_demo(outcome_of_seed)
        return
    outcome: Any
    if epics:
        from beamline.operations.demonstrate.epics import run_epics_demo

        outcome = run_epics_demo(seed=seed, data_dir=data_dir, quiet=as_json)
    else:
        from beamline.operations.demonstrate.techniques import run_demo

        outcome = run_demo(what, seed=seed, data_dir=data_dir, quiet=as_json)
    if as_json:
        print_json(outcome.as_dict())
    else:
        outcome.show()
    if not outcome.live_equals_replay:
        raise SystemExit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    plan: Annotated[str, typer.Argument(help="Name of a plan; `beamline run --list` names them all.")] = "",
    list_plans: Annotated[bool, typer.Option("--list", help="List the plans and their parameters.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the plan, tell points, time and disk space, and start nothing.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run a plan: beamline run rixs_map --regions "526:536:0.2" --exposure-time 300."""
    from beamline.operations import commands

    if list_plans or not plan:
        commands.show_plans(as_json=as_json)
        return
    summary = commands.run_plan(plan, context.args, config=config, data_dir=data_dir, quiet=as_json, dry_run=dry_run)
    if dry_run:  # what it found is shown already
        if as_json:
            print_json(summary)
        return
    _show(summary, as_json=as_json)
    if summary["exit_status"] != "success":
        raise SystemExit(1)


@app.command()
def runs(
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="How many, newest first.")] = 20,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the runs."""
    from beamline.operations import commands

    commands.list_runs(data_dir=data_dir, last=last, as_json=as_json)


@app.command(context_settings=TAKES_RUN)
def show(run: RunName = "-1", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what a run measured and what its reduction found."""
    from beamline.operations import commands

    _show(commands.summary_of(run, data_dir=data_dir), as_json=as_json)


@app.command(context_settings=TAKES_RUN)
def replay(
    run: RunName = "-1",
    config: ConfigFile = None,
    source: Annotated[Literal["catalogue", "log"], typer.Option(help="Where the documents come from.")] = "catalogue",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the outcome as a new derived run.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Reduce a run again from the catalogue and compare with the live reduction, array for array."""
    from beamline.operations import commands

    outcome = commands.replay(run, config=config, source=source, keep=keep, data_dir=data_dir)
    if as_json:
        print_json(outcome)
    else:
        commands.show_replay(outcome)
    if outcome["equal"] is False:
        raise SystemExit(1)


@app.command(name="import")
def import_(
    kind: Annotated[
        Literal["irixs", "sdf", "nxstxm"],
        typer.Argument(
            help="irixs (ALS BCS CCD scan: TIFF frames and -AI.txt log), sdf (STXM: .hdr and .xim), nxstxm (HDF5)."
        ),
    ],
    path: Annotated[Path, typer.Argument(help="The scan's folder or file.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Turn data of another instrument into a raw run of the catalogue, and reduce it."""
    from beamline.operations import commands

    _show(commands.import_scan(kind, path, config=config, data_dir=data_dir, quiet=as_json), as_json=as_json)


@app.command(context_settings=TAKES_RUN)
def export(
    run: RunName = "-1",
    file_format: Annotated[
        Literal["nexus", "columns", "nxstxm"],
        typer.Option("--format", help="nexus: one HDF5 file; columns: text tables; nxstxm: for STXM programs."),
    ] = "nexus",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File or folder. Default: named after the run.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a run and its reduction for other programs (silx, h5web, MANTiS, a spreadsheet)."""
    from beamline.operations import commands

    written = commands.export(run, file_format, output, data_dir=data_dir)
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        print(*written, sep="\n")


@app.command(context_settings=TAKES_RUN)
def report(
    run: RunName = "-1",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File. Default: named after the run.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page with figures, uncertainties and provenance."""
    from beamline.operations import commands

    path = commands.write_report(run, output, data_dir=data_dir)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)


@app.command(context_settings=TAKES_RUN)
def analyse(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="STXM stacks, as runs are named.")],
    config: ConfigFile = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Report. Default: pooled-UID.html.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Analyse the pixels of several STXM stacks together: PCA, NMF, end members, chemical maps, total fractions."""
    from beamline.operations import commands
    from beamline.operations.analyse import analyse_runs

    outcome = analyse_runs(runs, config=config, data_dir=data_dir, output=output)
    if as_json:
        print_json(outcome)
    else:
        commands.show_analysis(outcome)


@app.command()
def recover(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Close the runs that a dead process left open, and bring every run into the catalogue."""
    from beamline.operations import commands

    commands.recover(data_dir=data_dir, as_json=as_json)


@app.command()
def check(config: ConfigFile = None, as_json: Json = False) -> None:
    """Check a configuration, connect to everything, and say what answered, how fast, and what did not and why."""
    from beamline.operations import commands

    commands.check(config, as_json=as_json)


@app.command()
def ioc(
    config: ConfigFile = None,
    port: Annotated[
        int | None, typer.Option(help="Of Channel Access; 0 for one that is free. Default: the configuration's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the simulation. Default: the configuration's.")] = None,
    speed_up: Annotated[
        float | None, typer.Option(help="Simulated seconds in a second. Default: the configuration's.")
    ] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve the simulated endstation over EPICS Channel Access, on this computer only, until Ctrl-C."""
    from beamline.operations import commands

    commands.serve_ioc(
        config, port=port, until_stdin_closes=until_stdin_closes, as_json=as_json, seed=seed, speed_up=speed_up
    )


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from beamline.operations.summary import print_summary

    print_summary(summary)
