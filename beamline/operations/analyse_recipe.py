"""Analysis by a recipe: read the runs, read off what is asked for, keep it as a derived run, and report it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beamline.errors import BeamlineError
from beamline.operations.analyse_rixs import PooledMaps, calibration_line, keep_pooled
from beamline.operations.analyse_rixs import summary_of as summary_of_maps
from beamline.operations.analysed_absorption import SCALE_NOT_KNOWN
from beamline.operations.analysed_maps import pooled_of
from beamline.operations.analysed_spectra import AS_READ, gather, technique_of_all
from beamline.operations.gathered import NOT_TAKEN_OFF, Gathered
from beamline.operations.problems import problems_of, said_on_import
from beamline.operations.recipes import read_recipe
from beamline.operations.runs import interruptions, shown_name
from beamline.report.analysed import analysed_figures, labels, tables
from beamline.report.figures import Drawn
from beamline.report.page import PageContents
from beamline.report.rixs_pooled import pooled_figures
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.techniques.settings import shown_settings
from beamline.text import shortened
from callbacks.analysis import Recipe, analyse
from callbacks.analysis.analyse import OF_ONE_RUN, is_map
from callbacks.contract import ANALYSED, NOT_TAKEN, AnalysedResult
from callbacks.wording import number_of

# Of a recipe what it keeps of files and runs, which is long.
KEPT_WHOLE: Any = {"references": True, "regions": {"__all__": {"masked"}}}
TITLES = {"xas": "absorption spectra", "stxm": "STXM stacks", "rixs": "RIXS maps"}


@dataclass(frozen=True)
class Analysed:
    """An analysis that is kept.

    Attributes
    ----------
    uid : str
        Of the derived run.
    recipe : Recipe
    result : AnalysedResult
    runs : list of Run
        The raw runs.
    problems : list of list of str
        What each of them leaves out; see `problems_of`.
    """

    uid: str
    recipe: Recipe
    result: AnalysedResult
    runs: list[Run]
    problems: list[list[str]]


def analyse_by_recipe(
    runs: Runs, names: Sequence[str], *, file: Path | None, does: Sequence[str], sets: Sequence[str]
) -> Analysed:
    """Analyse runs by a recipe, and keep the outcome as a derived run.

    Parameters
    ----------
    runs : Runs
    names : sequence of str
        The runs.
    file : Path or None
        The recipe.
    does, sets : sequence of str
        Measures and settings in addition; see `beamline.operations.recipes.read_recipe`.

    Raises
    ------
    BeamlineError
        For runs of several techniques or that are not reduced, and mistakes in the recipe.
    """
    recipe = read_recipe(file, does, sets, technique_of_all(runs, names), runs.data_dir)
    return _analysed(runs, names, recipe)


def analyse_again(runs: Runs, entry: Entry) -> Analysed:
    """Analyse the runs of an analysis again, by its recipe, as they are reduced now.

    Raises
    ------
    BeamlineError
        As of `analyse_by_recipe`.
    """
    kept = show_analysed(runs, entry)
    return _analysed(runs, entry.raw_uids, kept.recipe)


def show_analysed(runs: Runs, entry: Entry) -> Analysed:
    """Read an analysis that was kept.

    Raises
    ------
    BeamlineError
        When it, or one of the runs that it was made of, cannot be read.
    """
    derived = runs.load(entry)
    assert derived.derivation is not None
    raws = [runs.load(runs.find(uid)) for uid in entry.raw_uids]
    problems = [problems_of(raw, interruptions(raw)) for raw in raws]
    recipe = Recipe.model_validate(derived.derivation.settings)
    return Analysed(entry.uid, recipe, derived.read(AnalysedResult), raws, problems)


def _analysed(runs: Runs, names: Sequence[str], recipe: Recipe) -> Analysed:
    found = gather(runs, names, recipe)
    if missing := _not_there(found, recipe):
        raise BeamlineError(*missing)
    result = analyse(
        found.rows, found.pixels, recipe, found.notes,
        corrected=found.corrected, more=found.more, references=found.references,
    )  # fmt: skip
    uid = keep_pooled(found.raws, ANALYSED, recipe, result, runs.data_dir)
    problems = [problems_of(raw, interruptions(raw)) for raw in found.raws]
    return Analysed(uid, recipe, result, found.raws, problems)


def _not_there(found: Gathered, recipe: Recipe) -> list[str]:
    """Say what a recipe names that no run has: channels, regions or cuts, edges, what the others are compared with."""
    parts = {row.part for row in found.rows} | set(recipe.regions) | set(recipe.cuts)
    edges = {run.measurement.edge for run in found.raws}
    problems = []
    for name, measure in recipe.measures.items():
        for key, wanted, known in (("of", measure.of, parts), ("edge", (measure.edge,), edges | {""})):
            if missing := [one for one in wanted if one not in known]:
                there = ", ".join(sorted(known - {""})) or "none"
                problems.append(f"recipe: measures.{name}.{key}: {missing[0]!r} is not there, expected of {there}")
    start = recipe.difference_from
    if start and not any(run.measurement.sample == start or run.uid.startswith(start) for run in found.raws):
        samples = ", ".join(dict.fromkeys(run.measurement.sample for run in found.raws))
        problems.append(f"recipe: difference_from: {start!r} is none of the runs, expected one of {samples}")
    return problems


def contents_of(analysed: Analysed) -> PageContents:
    """Give what the report of an analysis holds."""
    result, measures = analysed.result, list(analysed.recipe.measures)
    maps, assumed = _maps_of(analysed), list(map(str, result.assumed))
    samples = ", ".join(dict.fromkeys(shortened(sample) for sample in map(str, result.row_sample)))
    settings = shown_settings(
        analysed.recipe.model_dump(mode="json", exclude_defaults=True, exclude={"regions": KEPT_WHOLE["regions"]})
    )
    return PageContents(
        title=f"{number_of(len(analysed.runs), 'run')} of {TITLES[analysed.recipe.technique]}: {samples}",
        subtitle=f"derived run {analysed.uid}",
        verdict=f"{number_of(len(result.row_run), 'spectrum')}; {_counted(analysed)}.",
        warnings=[*(note for note in assumed if not _stands(note)), *_problems(analysed, imported=False)],
        remarks=[*_refused(analysed), *_problems(analysed, imported=True)],
        notes=[note for note in assumed if _stands(note)],
        drawn=[*analysed_figures(result, measures), *_figures_of_maps(maps)],
        tables=tables(result, measures),
        provenance=[
            ("runs", ", ".join(map(str, result.runs))),
            *([("calibration of all maps", calibration_line(summary_of_maps(maps)))] if maps else []),
            *(("corrected", str(note)) for note in result.corrected),
            *((f"reference {name}", each.source) for name, each in analysed.recipe.references.items()),
            ("recipe", json.dumps(settings)),
        ],
    )


def _maps_of(analysed: Analysed) -> PooledMaps | None:
    """Give the maps of an analysis on common axes, where it brought them there."""
    result = pooled_of(analysed.result.quantities)
    if result is None:
        return None
    places = {run.uid: place for place, run in enumerate(analysed.runs)}
    own = [places[str(uid)] for uid in result.runs]
    raws, problems = [analysed.runs[place] for place in own], [analysed.problems[place] for place in own]
    return PooledMaps(analysed.uid, result, raws, problems)


def _figures_of_maps(maps: PooledMaps | None) -> Iterator[Drawn]:
    if maps is not None:
        yield from pooled_figures(maps.result, [shown_name(raw) for raw in maps.runs])


def _counted(analysed: Analysed) -> str:
    """Say of how many spectra each measure was taken."""
    told = []
    for name in analysed.recipe.measures:
        status = analysed.result.quantities[f"{name}_status"].values
        told.append(f"{name.replace('_', ' ')} of {int((status == 'ok').sum())}")
    return "; ".join(told) or "no measure is taken of them"


def _refused(analysed: Analysed) -> list[str]:
    """Say what could not be read off which spectrum."""
    found = []
    names = labels(analysed.result)
    for measure in analysed.recipe.measures:
        status = analysed.result.quantities[f"{measure}_status"].values
        found += [
            f"{measure.replace('_', ' ')} of {name}: {said}"
            for name, said in zip(names, map(str, status), strict=True)
            if said not in ("ok", NOT_TAKEN)
        ]
    for name in analysed.recipe.correlations:
        why = str(analysed.result.quantities[f"correlation_{name}_status"].values)
        found += [] if why == "ok" else [f"correlation {name}: {why}"]
    return found


def _stands(note: str) -> bool:
    """Tell whether a note says what holds of any such analysis, and is no finding of this one."""
    return note.endswith((SCALE_NOT_KNOWN, AS_READ, OF_ONE_RUN, NOT_TAKEN_OFF))


def _problems(analysed: Analysed, *, imported: bool | None = None) -> list[str]:
    """Say what the runs leave out: all of it, what their import said, or what it did not."""
    return [
        f"{shown_name(raw)}: {problem}"
        for raw, problems in zip(analysed.runs, analysed.problems, strict=True)
        for problem in problems
        if imported is None or imported == (problem in said_on_import(raw))
    ]


def summary_of(analysed: Analysed) -> dict[str, Any]:
    """Summarise an analysis, for JSON."""
    result = analysed.result
    spectra = []
    for row, (run, sample, part) in enumerate(zip(result.row_run, result.row_sample, result.row_part, strict=True)):
        one: dict[str, Any] = {"run": str(run), "sample": str(sample), "part": str(part), "measures": {}}
        for measure in analysed.recipe.measures:
            one["measures"][measure] = _of_row(result, measure, row)
        spectra.append(one)
    return {
        "technique": analysed.recipe.technique,
        "derived_uid": analysed.uid,
        "recipe": analysed.recipe.model_dump(mode="json", exclude=KEPT_WHOLE, exclude_defaults=True),
        "references": {name: each.source for name, each in analysed.recipe.references.items()},
        "spectra": spectra,
        "calibration": None if (maps := _maps_of(analysed)) is None else summary_of_maps(maps),
        "maps": [name for name, quantity in result.quantities.items() if is_map(name, quantity)],
        "correlations": {
            name: {
                key: result.quantities[f"correlation_{name}_{key}"].values.item()
                for key in ("pearson", "pearson_sigma", "spearman", "without_noise", "status")
            }
            for name in analysed.recipe.correlations
        },
        "corrected": [str(note) for note in result.corrected],
        "assumed": [str(note) for note in result.assumed],
        "problems": _problems(analysed),
    }


def _of_row(result: AnalysedResult, measure: str, row: int) -> dict[str, Any]:
    """Give what a measure found in a row: each value with its sigma, what the energy scale adds to that, the status."""
    found: dict[str, Any] = {"status": str(result.quantities[f"{measure}_status"].values[row])}
    for key, quantity in result.quantities.items():
        if not key.startswith(f"{measure}_") or quantity.axes != ("rows",) or key.endswith(("_sigma", "_status")):
            continue
        sigma = result.quantities.get(f"{key}_sigma")
        found[key.removeprefix(f"{measure}_")] = {
            "value": float(quantity.values[row]),
            "sigma": float("nan") if sigma is None else float(sigma.values[row]),
            "units": quantity.units,
        }
        if (by_scale := result.quantities.get(f"{key}_scale_sigma")) is not None:
            found[key.removeprefix(f"{measure}_")]["scale_sigma"] = float(by_scale.values[row])
    listed = result.quantities.get(f"{measure}_combination")
    if listed is not None:
        found["combinations"] = [text for text in map(str, np.asarray(listed.values[row])) if text]
    return found
