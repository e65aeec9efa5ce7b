"""The command `beamline`: measure, import, look at, replay, export and recover runs."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from beamline.cli.terminal import drop_output, fail, fail_unexpected, readable_output, show_traceback
from beamline.errors import BeamlineError

if TYPE_CHECKING:  # its module takes time to import
    from beamline.acquire.safety import Assessment
    from beamline.report.style import FigureStyle

app = typer.Typer(
    help="Run a soft X-ray STXM/RIXS endstation and reduce its data live.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

WRONG_COMMAND_LINE, INTERRUPTED = 2, 130  # exit codes; 1 is any other error
QUERY = "RUN, scan ids FROM:TO, technique=, sample=, edge=, plan=, since=, until=, or all"
TAKES_RUN = {"ignore_unknown_options": True}  # -1 is a run, not an option


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise typer.BadParameter(f"{text!r} is not the path of a file or folder")
    return Path(text)


def _run_names(context: typer.Context, value: str | list[str] | None) -> str | list[str] | None:
    """Refuse what cannot be the name of a run, as a mistyped option, which would be taken for one."""
    for name in [value] if isinstance(value, str) else value or ():
        if name.startswith("-") and not re.fullmatch(r"-[0-9]+", name):
            options = [option for each in context.command.params for option in each.opts if option.startswith("--")]
            near = difflib.get_close_matches(name.partition("=")[0], options, n=1)
            raise typer.BadParameter(f"no such option: {name}" + (f"; did you mean {near[0]}?" if near else ""))
        if not re.fullmatch(r"[!-~]+", name):
            raise typer.BadParameter(f"{name!r} names no run; expected a uid, a scan id, or -1 for the newest")
        if Path(name).suffix and Path(name).is_file():
            hint = "a recipe is given by --recipe" if context.info_name == "analyse" else "`beamline import` reads it"
            raise typer.BadParameter(f"{name!r} is a file; expected a uid, a scan id, or -1 for the newest ({hint})")
    return value


def _queries(context: typer.Context, value: list[str]) -> list[str]:
    """Refuse terms that cannot select runs: empty ones, mistyped options, and names as `_run_names` does."""
    if empty := [term for term in value if not term.strip()]:
        raise typer.BadParameter(f"{empty[0]!r} selects no run; expected {QUERY}")
    _run_names(context, [term for term in value if "=" not in term or term.startswith("-")])
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=_path,
        metavar="FOLDER",
        envvar="BEAMLINE_DATA_DIR",
        help="Where runs are kept. Default: the configuration's, else the user's data folder.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", parser=_path, metavar="FILE", help="Endstation (TOML). Default: the simulated one."),
]
ReductionFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        parser=_path,
        metavar="FILE",
        help="Endstation (TOML), or [processing], [calibration] and [references] alone. Default: the simulated one.",
    ),
]
FiguresFolder = Annotated[
    Path | None,
    typer.Option(parser=_path, metavar="FOLDER", help="Each figure for print as well, with its numbers (CSV)."),
]
FigureFormat = Annotated[Literal["pdf", "svg", "png"], typer.Option(help="Of the figures for print.")]
FigureWidth = Annotated[float, typer.Option(metavar="MM", help="Their width: 85 a column, 180 a page.")]
Font = Annotated[str, typer.Option(metavar="NAME", help="A font of this computer. Default: matplotlib's.")]
FontSize = Annotated[float, typer.Option(metavar="PT", help="Of the labels of axes.")]
FigureColours = Annotated[Literal["standard", "colour-blind", "grey"], typer.Option(help="standard: as in the report.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of these names that are there.")]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", callback=_run_names, help="A uid, a unique start of one, a scan id, or -1 for the newest."
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("stxm-rixs-beamline"))
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Run a soft X-ray STXM/RIXS endstation and reduce its data live."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(WRONG_COMMAND_LINE)


def main() -> None:
    """Run the command line; an error is one line, with exit code 1, or 2 for a wrong command line."""
    with readable_output():
        try:
            code = app(standalone_mode=False)
            sys.stdout.flush()
        except BeamlineError as error:
            show_traceback()
            fail(*error.problems)
        except BrokenPipeError:  # whoever read our answer has had enough of it
            drop_output()
            raise SystemExit(1) from None
        except typer.Abort:
            fail("interrupted", code=INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user gets one line
            if hasattr(error, "format_message"):  # of the parser of the command line, whose classes typer does not name
                fail(error.format_message(), code=WRONG_COMMAND_LINE)
            fail_unexpected(error)
        raise SystemExit(code or 0)


@app.command()
def demo(
    what: Annotated[
        Literal["rixs", "xas", "stxm", "seed"],
        typer.Argument(help="Which measurement; seed: all STXM figures of Gent et al. (2017), some minutes."),
    ] = "rixs",
    epics: Annotated[
        bool, typer.Option("--epics", help="All three techniques over EPICS, through an IOC that is started for it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 1,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure on the simulated endstation, reduce live, store, replay, and compare with the simulated truth."""
    from beamline.cli import printing
    from beamline.cli.progress import progress_bar

    outcome: Any
    show: Callable[[Any], None]
    with progress_bar(quiet=as_json) as progress:
        if epics:
            from beamline.operations.demonstrate.epics import run_epics_demo

            outcome, show = run_epics_demo(seed=seed, data_dir=data_dir, progress=progress), printing.print_epics_demo
        elif what == "seed":
            from beamline.operations.demonstrate.seed import run_seed_demo

            outcome, show = run_seed_demo(seed=seed, data_dir=data_dir, progress=progress), printing.print_seed_demo
        else:
            from beamline.operations.demonstrate.techniques import run_demo

            outcome, show = run_demo(what, seed=seed, data_dir=data_dir, progress=progress), printing.print_demo
    if as_json:
        printing.print_json(outcome if what == "seed" and not epics else outcome.as_dict())
    else:
        show(outcome)
    if (epics or what != "seed") and not outcome.live_equals_replay:
        raise SystemExit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    plan: Annotated[str | None, typer.Argument(help="Name of a plan; `beamline run --list` names them all.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the plans and their parameters.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the plan, tell points, time and disk space, and start nothing.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run a plan: beamline run rixs_map --regions "526:536:0.2" --exposure-time 300."""
    from functools import partial

    from beamline.cli import printing
    from beamline.operations.measure import assess_plan, list_plans, run_plan

    if show_list or plan is None:
        plans = list_plans()
        printing.print_json(plans) if as_json else printing.print_plans(plans)
        return
    if dry_run:
        _assessed(assess_plan(plan, context.args, config=config, data_dir=data_dir), as_json=as_json)
    else:
        _measured(partial(run_plan, plan, context.args, config=config, data_dir=data_dir), as_json=as_json)


@app.command("continue", context_settings=TAKES_RUN)
def continue_(
    run: RunName = "-1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is missing, and how long it takes, and start nothing.")
    ] = False,
    again: Annotated[
        str,
        typer.Option(
            metavar="POINTS",
            help="Take points again: `marked`, or numbers from 1 in the order measured, as 3,7-9.",
        ),
    ] = "",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure what a run that was interrupted still lacks, and of a series the runs behind it."""
    from functools import partial

    from beamline.operations.measure import assess_missing, continue_run

    if dry_run:
        _assessed(assess_missing(run, again=again, config=config, data_dir=data_dir), as_json=as_json)
    else:
        _measured(partial(continue_run, run, again=again, config=config, data_dir=data_dir), as_json=as_json)


def _assessed(assessment: Assessment, *, as_json: bool) -> None:
    """Print what will be done."""
    from beamline.cli import printing

    printing.print_json({"estimate": assessment.as_dict()}) if as_json else printing.print_assessment(assessment)


def _measured(measure: Callable[..., dict[str, Any]], *, as_json: bool) -> None:
    """Measure with a progress bar, and show what came of it."""
    from beamline.cli import printing
    from beamline.cli.progress import progress_bar

    with progress_bar(quiet=as_json) as progress:
        summary = measure(
            progress=progress,
            on_assessment=lambda one: None if as_json else printing.print_assessment(one, to_stderr=True),
            on_pause=progress.hidden()(printing.ask_to_resume),
        )
    _show(summary, as_json=as_json)
    _check_catalogue(summary)
    if summary["exit_status"] != "success":
        raise SystemExit(1)


@app.command()
def runs(
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="How many, newest first.")] = 20,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the runs."""
    from beamline.cli import printing
    from beamline.operations.runs import list_runs, open_runs

    found = open_runs(data_dir)
    entries = list_runs(found, last=last)
    printing.print_json(entries) if as_json else printing.print_runs(entries, str(found.data_dir))


@app.command(context_settings=TAKES_RUN)
def show(run: RunName = "-1", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what a run measured and what its reduction found, or what a pooled analysis did."""
    from beamline.cli import printing
    from beamline.operations.runs import open_runs, summary_of

    runs = open_runs(data_dir)
    if (pooled := runs.find_pooled(run)) is None:
        _show(summary_of(runs, run), as_json=as_json)
        return
    from beamline.operations.analyse import show_pooled

    summary = show_pooled(runs, pooled)
    printing.print_json(summary) if as_json else printing.print_analysis(summary)


@app.command(context_settings=TAKES_RUN)
def replay(
    run: RunName = "-1",
    config: ReductionFile = None,
    source: Annotated[Literal["catalogue", "log"], typer.Option(help="Where the documents come from.")] = "catalogue",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the outcome as a new derived run.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Reduce a run again from the catalogue and compare with the live reduction, array for array."""
    from beamline.cli import printing
    from beamline.operations import replay as replays
    from beamline.operations.runs import open_runs

    outcome = replays.replay(open_runs(data_dir), run, config=config, source=source, keep=keep)
    printing.print_json(outcome) if as_json else printing.print_replay(outcome)
    _check_catalogue(outcome)
    if outcome["equal"] is False:
        number, of, before = len(outcome["differences"]), outcome["arrays_compared"], outcome["compared_with"]
        fail(f"run {outcome['raw_uid']}: {number} of {of} arrays are other ones than in its reduction {before[:8]}")


@app.command(context_settings=TAKES_RUN)
def reprocess(
    query: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY...",
            callback=_queries,
            help=f"Which runs: {QUERY}.",
        ),
    ],
    settings: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE",
            help="Configuration whose [processing], [calibration] and [references] hold; it needs no other tables."
            " Default: what each run began with.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Dask cluster. Default: workers of this computer.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many of this computer. Default: one for each processor.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Reduce many runs again, side by side, and keep what comes of them as new derived runs."""
    from beamline.cli import printing
    from beamline.cli.progress import progress_bar
    from beamline.operations import reprocessing
    from beamline.operations.runs import open_runs

    with progress_bar(quiet=as_json) as progress:
        outcome = reprocessing.reprocess(
            open_runs(data_dir),
            query,
            settings=settings,
            scheduler=scheduler,
            workers=workers,
            progress=progress,
        )
    printing.print_json(outcome) if as_json else printing.print_reprocessed(outcome)
    _check_catalogue(outcome)
    if failed := [row for row in outcome["runs"] if row["error"]]:
        fail(*(f"run {row['raw_uid']}: is not reduced: {row['error']}" for row in failed))


@app.command(name="import")
def import_(
    file: Annotated[
        Path | None,
        typer.Argument(
            parser=_path, metavar="FILE[::PART]", help="A file or the folder of a scan; of several scans in it, one."
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--as", metavar="KIND", help="What it is; recognised where not given. See --list.")
    ] = "",
    columns: Annotated[
        str,
        typer.Option(
            metavar="WHAT=COLUMN,...",
            help="Which column of a table is what, by name or number, as in energy=1,i0=2,tey=current3.",
        ),
    ] = "",
    mapping: Annotated[
        Path | None,
        typer.Option(parser=_path, metavar="TOML", help="Says which dataset of an HDF5 file is what."),
    ] = None,
    sample: Annotated[
        str, typer.Option(metavar="NAME", help="Of the sample, where the file has none or another.")
    ] = "",
    edge: Annotated[str, typer.Option(metavar="EDGE", help='Absorption edge, as "O K"; likewise.')] = "",
    show_list: Annotated[bool, typer.Option("--list", help="List the kinds of files that are imported.")] = False,
    config: ReductionFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Turn files of other instruments and programs into raw runs of the catalogue, and reduce them."""
    from beamline.cli import printing
    from beamline.cli.progress import progress_bar
    from beamline.operations import importing

    kinds = importing.kinds()
    if show_list or file is None:
        printing.print_json(kinds) if as_json else printing.print_kinds(kinds)
        return
    if kind and kind not in kinds:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(kinds)}", param_hint="'--as'")
    path, part = importing.path_and_part(file)
    with progress_bar(quiet=as_json) as progress:
        summaries = importing.import_file(
            path,
            kind=kind,
            part=part,
            columns=_columns(columns),
            mapping=mapping,
            sample=sample,
            edge=edge,
            config=config,
            data_dir=data_dir,
            progress=progress,
        )
    if as_json:
        printing.print_json(summaries)
    else:
        for summary in summaries:
            printing.print_summary(summary)
    for reason in dict.fromkeys(summary["not_in_catalogue"] for summary in summaries):
        _check_catalogue({"not_in_catalogue": reason})


def _columns(text: str) -> dict[str, str]:
    """Read which column of a table is what: ``energy=1,i0=2``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [what for what, equals, column in pairs if not (what.strip() and equals and column.strip())]:
        raise typer.BadParameter(f"{wrong[0]!r}, expected WHAT=COLUMN as in energy=1", param_hint="'--columns'")
    return {what.strip(): column.strip() for what, _, column in pairs}


@app.command(context_settings=TAKES_RUN)
def export(
    run: RunName = "-1",
    file_format: Annotated[
        Literal["nexus", "columns", "nxstxm", "nxxas", "xdi", "tables"] | None,
        typer.Option(
            "--format",
            help="nexus: one HDF5 file; columns: text tables; nxstxm: for STXM programs; nxxas, xdi: for spectra;"
            " tables: of an analysis, CSV and NeXus. Default: nexus, of an analysis tables.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=_path, metavar="PATH", help="File or folder. Default: named after the run."
        ),
    ] = None,
    overwrite: Overwrite = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a run and its reduction, or an analysis, for other programs (silx, h5web, MANTiS, a spreadsheet)."""
    from beamline.cli import printing
    from beamline.operations import exporting
    from beamline.operations.runs import open_runs

    written = exporting.export(open_runs(data_dir), run, file_format, output, overwrite=overwrite)
    if as_json:
        printing.print_json({"files": [str(path) for path in written]})
    else:
        printing.print_paths(*written)


@app.command(context_settings=TAKES_RUN)
def report(
    run: RunName = "-1",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=_path, metavar="FILE", help="The page (.html). Default: named after the run."
        ),
    ] = None,
    overwrite: Overwrite = False,
    figures: FiguresFolder = None,
    figure_format: FigureFormat = "pdf",
    width: FigureWidth = 180.0,
    font: Font = "",
    font_size: FontSize = 8.0,
    colours: FigureColours = "standard",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page with figures, uncertainties and provenance, and figures for print."""
    from beamline.cli import printing
    from beamline.operations.report import write_report
    from beamline.operations.runs import open_runs

    style = _figure_style(figures, figure_format, width, font, font_size, colours)
    path = write_report(open_runs(data_dir), run, output, figures=figures, style=style, overwrite=overwrite)
    if as_json:
        printing.print_json({"report": str(path)} | ({} if figures is None else {"figures": str(figures)}))
    else:
        printing.print_paths(*(each for each in (path, figures) if each is not None))


@app.command(context_settings=TAKES_RUN)
def analyse(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]",
            callback=_run_names,
            help="Runs of one technique, as runs are named; or an analysis, which is made again. Default: those that"
            " the recipe names.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("-r", "--recipe", parser=_path, metavar="FILE", help="What is done with them, in TOML."),
    ] = None,
    do: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE",
            help="Take a measure: edge_position, derivative, white_lines, integral, centroid, lcf, mlls. Repeatable.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe, as TOML has it. Repeatable."),
    ] = None,
    config: ReductionFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=_path, metavar="FILE", help="Report (.html). Default: named after the analysis."
        ),
    ] = None,
    overwrite: Overwrite = False,
    figures: FiguresFolder = None,
    figure_format: FigureFormat = "pdf",
    width: FigureWidth = 180.0,
    font: Font = "",
    font_size: FontSize = 8.0,
    colours: FigureColours = "standard",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Analyse runs by a recipe: edges, fractions, ratios, maps; or pool STXM stacks or RIXS maps."""
    from beamline.cli import printing
    from beamline.operations.analyse import analyse_runs

    outcome = analyse_runs(
        runs or [],
        config=config,
        data_dir=data_dir,
        output=output,
        recipe=recipe,
        does=do or [],
        sets=settings or [],
        figures=figures,
        style=_figure_style(figures, figure_format, width, font, font_size, colours),
        overwrite=overwrite,
    )
    printing.print_json(outcome) if as_json else printing.print_analysis(outcome)
    _check_catalogue(outcome)


@app.command(context_settings=TAKES_RUN)
def calibrate(
    run: RunName = "-1",
    channel: Annotated[str, typer.Option(metavar="NAME", help="Of the run. Default: reference, else tey.")] = "",
    reference: Annotated[
        str, typer.Option(metavar="FILE", help="Spectrum of the same substance: energy (eV) and absorption.")
    ] = "",
    peak: Annotated[float | None, typer.Option(metavar="EV", help="Tabulated energy of its highest line.")] = None,
    edge: Annotated[float | None, typer.Option(metavar="EV", help="Tabulated energy of half its edge jump.")] = None,
    sigma: Annotated[float, typer.Option(metavar="EV", help="Uncertainty of what is tabulated.", min=0.0)] = 0.0,
    largest: Annotated[float, typer.Option(metavar="EV", help="Offset to either side that is looked for.")] = 2.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find the offset, and do not keep it.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Find by how much the monochromator is off, by a spectrum of a reference, and keep it for the runs that follow."""
    from beamline.cli import printing
    from beamline.operations import calibrating
    from beamline.operations.runs import open_runs

    found = calibrating.calibrate(
        open_runs(data_dir),
        run,
        channel=channel,
        reference=reference,
        peak=peak,
        edge=edge,
        sigma=sigma,
        largest=largest,
        keep=not dry_run,
    )
    printing.print_json(found) if as_json else printing.print_calibration(found)


@app.command()
def campaign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Samples, spectra, and what follows (TOML).")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on with the energies that are proposed, without asking.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Let the queue of the service measure it; repeat when it has.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", parser=_path, metavar="FILE", help="Report (.html). Default: beside the file."),
    ] = None,
    figures: FiguresFolder = None,
    figure_format: FigureFormat = "pdf",
    width: FigureWidth = 180.0,
    font: Font = "",
    font_size: FontSize = 8.0,
    colours: FigureColours = "standard",
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Measure spectra of all samples, propose the energies of their maps, measure these, and report on all."""
    from functools import partial

    from beamline.cli import printing
    from beamline.cli.progress import progress_bar
    from beamline.operations.campaign import run_campaign
    from beamline.operations.runs import open_runs

    style = _figure_style(figures, figure_format, width, font, font_size, colours)
    if queue:
        try:
            from beamline.serve.queued_campaign import queue_campaign
        except ModuleNotFoundError as error:
            raise BeamlineError(_not_installed(error)) from error
        agree = partial(printing.ask_to_go_on, yes=yes, quiet=as_json)
        queued = queue_campaign(
            file, open_runs(data_dir), output=output, on_proposal=agree, figures=figures, style=style
        )
        printing.print_json(queued) if as_json else printing.print_queued_campaign(queued)
        return
    with progress_bar(quiet=as_json) as progress:
        outcome = run_campaign(
            file,
            config=config,
            data_dir=data_dir,
            output=output,
            progress=progress,
            on_estimate=lambda steps: None if as_json else printing.print_campaign_estimate(steps),
            on_assessment=lambda what, one: None if as_json else printing.print_step(what, one),
            on_proposal=partial(progress.hidden()(printing.ask_to_go_on), yes=yes, quiet=as_json),
            on_pause=progress.hidden()(printing.ask_to_resume),
            figures=figures,
            style=style,
        )
    printing.print_json(outcome) if as_json else printing.print_campaign(outcome)
    if outcome["ended"]:
        raise SystemExit(1)


@app.command()
def recover(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the catalogue anew from the logs, also if nothing is wrong with it.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Close and reduce the runs that a dead process left open, check the catalogue, and bring every run into it."""
    from dataclasses import asdict

    from beamline.cli import printing
    from beamline.endstation.config import load_config
    from beamline.operations.recover import recover as recover_runs
    from beamline.operations.runs import data_folder

    recovery = recover_runs(data_folder(data_dir, load_config(config)), rebuild=rebuild)
    printing.print_json(asdict(recovery)) if as_json else printing.print_recovery(recovery)
    if recovery.problems:
        raise SystemExit(1)


@app.command()
def status(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what is being measured, how reduction and catalogue keep up, and what is left to do."""
    from beamline.cli import printing
    from beamline.operations import status as statuses

    found = statuses.status(data_dir)
    if service := _service_status(Path(found["data_dir"])):
        found["service"] = service
    printing.print_json(found) if as_json else printing.print_status(found)


@app.command()
def serve(
    single: Annotated[bool, typer.Option("--single", help="For one user: engine and page, without a queue.")] = False,
    processes: Annotated[
        bool, typer.Option("--processes", help="Only reduction, catalogue and live picture: no page and no queue.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Run the service: queue, reduction, catalogue and page, until Ctrl-C."""
    from functools import partial

    from beamline.cli import printing

    if processes:
        from beamline.operations import serving

        serving.serve(config=config, data_dir=data_dir, on_change=partial(printing.print_process, as_json=as_json))
        return
    try:
        from beamline.serve import running
    except ModuleNotFoundError as error:
        raise BeamlineError(f"{_not_installed(error)}; `beamline serve --processes` needs nothing more") from error
    told = running.Told(partial(printing.print_part, as_json=as_json), partial(printing.print_line, as_json=as_json))
    running.serve(config=config, data_dir=data_dir, told=told, single=single)


def _not_installed(error: ModuleNotFoundError) -> str:
    return f"the service is not installed ({error.name} is missing): `pip install 'stxm-rixs-beamline[service]'`"


@app.command()
def check(config: ConfigFile = None, as_json: Json = False) -> None:
    """Check a configuration, connect to everything, and say what answered, how fast, and what did not and why."""
    from beamline.cli import printing
    from beamline.operations import check as checks

    outcome = checks.check(config)
    printing.print_json(outcome) if as_json else printing.print_check(outcome)
    if outcome["problems"] and not as_json:
        raise BeamlineError(*outcome["problems"])
    if outcome["problems"]:
        raise SystemExit(1)


@app.command()
def ioc(
    config: ConfigFile = None,
    port: Annotated[
        int | None, typer.Option(help="Of Channel Access; 0 for one that is free. Default: the configuration's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the simulation. Default: the configuration's.")] = None,
    speed_up: Annotated[
        float | None, typer.Option(help="Simulated seconds in a second. Default: the configuration's.")
    ] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve the simulated endstation over EPICS Channel Access, on this computer only, until Ctrl-C."""
    from functools import partial

    from beamline.cli import printing
    from beamline.endstation.config import EPICS, load_config
    from beamline.operations.simulated_ioc import serve

    options = {name: value for name, value in {"seed": seed, "speed_up": speed_up}.items() if value is not None}
    serve(
        load_config(config or EPICS),
        port=port,
        ready=partial(printing.print_ioc, as_json=as_json),
        until_stdin_closes=until_stdin_closes,
        **options,
    )


def _figure_style(folder: Path | None, *options: Any) -> FigureStyle | None:
    """Make a style of its options, which are checked before the work is done; None where there are no figures."""
    if folder is None:
        return None
    from beamline.report.style import FigureStyle

    return FigureStyle(*options)


def _check_catalogue(summary: dict[str, Any]) -> None:
    """Fail where a run was not reduced or did not come into the catalogue, which `beamline recover` can make good."""
    if late := [summary[why] for why in ("not_reduced", "not_in_catalogue") if summary.get(why)]:
        fail(*late)


def _service_status(data_dir: Path) -> dict[str, Any] | None:
    """Tell how the service of a data folder is; None where there is none."""
    from beamline.storage.layout import Layout

    if not (Layout(data_dir).service / "service.json").exists():
        return None
    from beamline.serve.reporting import service_status

    return service_status(data_dir)


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    from beamline.cli import printing

    printing.print_json(summary) if as_json else printing.print_summary(summary)
