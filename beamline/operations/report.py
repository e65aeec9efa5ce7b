"""Report: one HTML page of a run with its figures, uncertainties, what was marked and why, and provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from beamline.operations.outputs import new_page, printed
from beamline.operations.problems import said_on_import
from beamline.operations.runs import (
    counted,
    file_name,
    local_time,
    marked_ranges,
    summary_lines,
    summary_of,
    summary_warnings,
    technique_of,
)
from beamline.report.figures import Drawn, Member
from beamline.report.page import PageContents, write_page
from beamline.report.style import FigureStyle
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques import Technique
from beamline.techniques.settings import shown_settings
from beamline.techniques.technique import not_reduced
from beamline.text import shortened
from callbacks.contract import SERIES, Series

MOST_WARNINGS = 20  # marked frames that are named one by one


def write_report(
    runs: Runs,
    name: str,
    output: Path | None,
    *,
    figures: Path | None = None,
    style: FigureStyle | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the report of a run, or of an analysis of several.

    Parameters
    ----------
    runs : Runs
    name : str
        The run, or the uid of an analysis.
    output : Path or None
        The HTML file; named after the run or the analysis where not given, and then replaced where it is there.
    figures : Path, optional
        A folder, for each figure in a style for print, with the numbers behind it; see
        `beamline.report.style.write_figures`.
    style : FigureStyle, optional
        Of these.
    overwrite : bool
        Whether files that are named here are replaced where they are there.

    Raises
    ------
    BeamlineError
        When the run has not been reduced, or the file cannot be written or is there.
    """
    if (pooled := runs.find_pooled(name)) is not None:
        from beamline.operations.analyse import report_pooled  # noqa: PLC0415 - what analyses takes time to import

        return report_pooled(runs, pooled, output, figures=figures, style=style, overwrite=overwrite)
    entry = runs.find(name)
    raw, derived = runs.load_with_derived(name)
    technique = technique_of(raw)
    if derived is None:
        raise not_reduced(raw)
    path = output or Path(f"{file_name(entry)}.html")
    summary = summary_of(runs, name)
    title = _title(raw, technique.title)
    with (
        new_page(path, runs.data_dir, overwrite=overwrite or output is None) as part,
        printed(figures, style, runs.data_dir, overwrite=overwrite) as to_print,
    ):
        write_page(
            part,
            PageContents(
                title=title,
                subtitle=_subtitle(raw),
                verdict=_verdict(summary),
                warnings=_warnings(raw, summary),
                remarks=[*said_on_import(raw), *_remarks(summary)],
                drawn=chain(
                    technique.figures(raw, derived, runs.documents(entry), title), _of_series(runs, raw, technique)
                ),
                provenance=_provenance(raw, derived, summary["parts"]),
            ),
            to_print,
        )
    return path


def _of_series(runs: Runs, raw: Run, technique: Technique) -> Iterable[Drawn]:
    """Draw what compares the runs of a series, measured at positions of a device; nothing of another run."""
    if SERIES not in raw.start or not (series := Series.model_validate(raw.start[SERIES])).axis:
        return ()
    members: list[Member] = []
    for entry in runs.raw():
        block = entry.start.get(SERIES) or {}
        if block.get("uid") == series.uid and block.get("position") is not None:
            _, derived = runs.load_with_derived(entry.uid)
            if derived is not None and derived.result:
                members.append(Member(float(block["position"]), derived))
    axis = f"{series.axis} ({series.unit})" if series.unit else series.axis
    return technique.series_figures(sorted(members, key=lambda member: member.position), axis)


def _title(raw: Run, technique: str) -> str:
    block = raw.measurement
    scan = f"scan {shortened(raw.start['scan_id'])}: " if "scan_id" in raw.start else ""
    sample = shortened(block.sample) if block.sample.strip() else "a sample without a name"
    sample = "a sample that is not recorded" if block.sample == "not recorded" else sample
    return f"{scan}{technique} of {sample}" + (f" at the {shortened(block.edge)} edge" if block.edge else "")


def _subtitle(raw: Run) -> str:
    began = local_time(raw.start["time"])
    lasted = f", {(raw.stop['time'] - raw.start['time']) / 60:.1f} min" if raw.stop else ", not closed"
    return f"{raw.start.get('plan_name', '')} begun {began}{lasted}; run {raw.uid}"


def _verdict(summary: Mapping[str, Any]) -> str:
    parts = [f"{summary['frames']} {counted(summary)} measured"]
    return "; ".join([*parts, *(f"{label}: {text}" for label, text in summary_lines(summary))]) + "."


def _warnings(raw: Run, summary: Mapping[str, Any]) -> list[str]:
    found, imported = [], said_on_import(raw)
    if summary["exit_status"] != "success":
        found.append(f"the run ended with {summary['exit_status']}: {summary['reason'] or 'no reason given'}")
    problems = [problem for problem in summary["problems"] if problem not in imported]
    return [*found, *summary_warnings(summary), *problems]


def _remarks(summary: Mapping[str, Any]) -> list[str]:
    """Name the frames or points that are marked: one of them is no reason to distrust the run."""
    marks = [f"{label}: {reason}" for label, reason in marked_ranges(summary)]
    more = len(marks) - MOST_WARNINGS
    return marks[:MOST_WARNINGS] + ([f"and {more} more {counted(summary)}"] if more > 0 else [])


def _provenance(raw: Run, derived: Run, parts: Mapping[str, str]) -> list[tuple[str, str]]:
    derivation = derived.derivation
    assert derivation is not None
    return [
        ("raw run", raw.uid),
        *(("part", f"run {uid}: {points}") for uid, points in parts.items()),
        ("derived run", derived.uid),
        ("pipeline", derivation.pipeline),
        ("software", ", ".join(f"{name} {version}" for name, version in derivation.software.items())),
        ("settings", json.dumps(shown_settings(derivation.settings))),
        ("measurement", raw.measurement.model_dump_json()),
        *(
            (key, json.dumps(raw.start[key], default=str))
            for key in ("plan_args", "versions", "instrument_log")
            if key in raw.start
        ),
    ]
