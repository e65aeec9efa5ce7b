"""Analyse runs together: by a recipe, or pooled: maps by `analyse_rixs`, the pixels of stacks as one cloud."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.acquire.references import processing_with_references
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.operations import analyse_across, analyse_recipe, analyse_rixs
from beamline.operations.analyse_rixs import keep_pooled
from beamline.operations.analysed_spectra import technique_of_all
from beamline.operations.outputs import new_page, printed
from beamline.operations.problems import problems_of
from beamline.operations.recipes import is_pooled, pooled_processing, read_recipe, refuse_files, runs_of
from beamline.operations.runs import data_folder, interruptions, of_one_scan, technique_of
from beamline.processes.followers import ingest_now
from beamline.report.page import PageContents, write_page
from beamline.report.stxm import pooled_figures
from beamline.report.style import FigureStyle
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.techniques.settings import processing_problems, shown_settings
from beamline.techniques.technique import not_reduced
from beamline.text import shortened
from callbacks.contract import (
    ANALYSED,
    ANALYSED_ACROSS,
    RIXS_POOLED,
    SERIES,
    STXM_POOLED,
    PooledResult,
    RixsPooledResult,
    Series,
    StxmResult,
    parts_before,
)
from callbacks.pipelines import RIXS, STXM, XAS, RixsSettings, StxmSettings
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.edges import edge_of, gap_in
from callbacks.stxm.unmixing.analysis import analyse, average_spectrum, windows
from callbacks.stxm.unmixing.pooling import Stack, energy_offset, pool
from callbacks.stxm.unmixing.results import analysis_result, totals_result
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
Made = tuple[str, dict[str, Any], Callable[[], PageContents]]  # uid, summary, and what gives the report
Make = Callable[[], Made]
POOLED = {STXM_POOLED: STXM.name, RIXS_POOLED: RIXS.name}  # pipelines whose settings a pooled analysis has
NO_RUN = "no run is named: expected runs, or a recipe whose `runs` names them"


def analyse_runs(
    names: list[str],
    *,
    config: Path | None = None,
    data_dir: Path | None = None,
    output: Path | None = None,
    recipe: Path | None = None,
    does: Sequence[str] = (),
    sets: Sequence[str] = (),
    figures: Path | None = None,
    style: FigureStyle | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Analyse runs together, keep the outcome as a derived run, and write its report.

    Stacks and RIXS maps are pooled where there is no recipe; absorption spectra are always analysed by one.

    Parameters
    ----------
    names : list of str
        The runs, as runs are named; an analysis that was kept, which is made again; none where a recipe names them.
    config : Path or None
        For `[processing.stxm]` or `[processing.rixs]` of what is pooled.
    data_dir, output : Path or None
        Where runs are kept; the report's file.
    recipe : Path or None
        What is done; see `callbacks.analysis.recipe`.
    does, sets : sequence of str
        Measures to take, and settings, in addition; see `beamline.operations.recipes.read_recipe`.
    figures, style : Path, FigureStyle, optional
        A folder, for the figures in a style for print as well; see `beamline.report.style.write_figures`.
    overwrite : bool
        Whether files that are named here are replaced where they are there.

    Returns
    -------
    dict
        For JSON: `technique`, `derived_uid`, `report`; of stacks energies, offsets, components, for each run its
        fractions; of maps the calibration and its chi square, for each run offset, drift and pull; for each run
        `problems`, what it leaves out; `not_in_catalogue`, why the derived run did not come into the catalogue, empty
        where it did. By a recipe: `recipe`, `spectra` with what each measure found, `maps`, `assumed`.

    Raises
    ------
    BeamlineError
        For runs that are neither reduced stacks nor reduced maps, or both; stacks of different edges, maps of
        different settings of the spectrograph; nothing to analyse; or a report that cannot be written, or is there.
    """
    loaded = load_reduction_config(config)
    if problems := processing_problems(loaded):
        raise BeamlineError(*problems)
    data_dir = data_folder(data_dir, loaded)
    processing = processing_with_references(loaded, data_dir)
    runs = Runs(data_dir)
    if config is None and len(names) == 1 and (before := runs.find_pooled(names[0])) is not None:
        processing = processing | _kept_settings(runs, before)
    make = _chosen(names, processing, data_dir, recipe, (does, sets))
    if output is None:
        with printed(figures, style, data_dir, overwrite=overwrite) as to_print:
            uid, summary, contents = make()
            output = _report_of(uid, summary)
            with new_page(output, data_dir, overwrite=True) as part:
                write_page(part, contents(), to_print)
    else:  # where it cannot be, that is said before the work is done
        with (
            new_page(output, data_dir, overwrite=overwrite) as part,
            printed(figures, style, data_dir, overwrite=overwrite) as to_print,
        ):
            uid, summary, contents = make()
            write_page(part, contents(), to_print)
    late = ingest_now(data_dir, uid)
    printed_to = {} if figures is None else {"figures": str(figures)}
    return summary | {"report": str(output), "not_in_catalogue": late} | printed_to


def _chosen(
    names: list[str],
    processing: dict[str, dict[str, Any]],
    data_dir: Path,
    recipe: Path | None,
    options: tuple[Sequence[str], Sequence[str]],
) -> Make:
    """Choose the analysis: that of an analysis that was kept, one of analyses, one by a recipe, or a pooled one."""
    runs, (does, sets) = Runs(data_dir), options
    before = runs.find_pooled(names[0]) if len(names) == 1 else None
    is_pool = is_pooled(recipe)
    by_recipe = (recipe is not None and not is_pool) or does or sets
    if before is not None and by_recipe:
        raise BeamlineError(f"{names[0]}: is an analysis, which is made again by its own recipe; name runs instead")
    if before is not None and before.pipeline == ANALYSED_ACROSS:
        kept = analyse_across.show_across(runs, before)
        return partial(_across, partial(analyse_across.compare, runs, kept.recipe))
    if before is not None and before.pipeline == ANALYSED:
        return partial(_by_recipe, partial(analyse_recipe.analyse_again, runs, before))
    if recipe is not None and analyse_across.is_across(recipe):
        if names or does or sets:
            raise BeamlineError(f"{recipe}: compares analyses, which it names itself; expected no runs and no options")
        return partial(
            _across, partial(analyse_across.analyse_across, runs, recipe, partial(_kept_uid, processing, data_dir))
        )
    names = before.raw_uids if before is not None else names or (runs_of(recipe, runs) if recipe else [])
    if not names:
        raise BeamlineError(NO_RUN)
    names, pipeline = _runs_of_one_pipeline(names, data_dir)
    if recipe is not None and is_pool:
        if pipeline == XAS.name:
            raise BeamlineError(f"{recipe}: pool: is of STXM stacks or RIXS maps, but the runs are absorption spectra")
        processing = pooled_processing(recipe, processing, data_dir)
    if by_recipe or pipeline == XAS.name:
        make = partial(analyse_recipe.analyse_by_recipe, runs, names, file=recipe, does=does, sets=sets)
        return partial(_by_recipe, make)
    if pipeline == RIXS.name:
        return partial(_pool_maps, names, RixsSettings.model_validate(processing.get("rixs", {})), data_dir)
    return partial(_pool_stacks, names, StxmSettings.model_validate(processing.get("stxm", {})), data_dir)


def _kept_settings(runs: Runs, entry: Entry) -> dict[str, dict[str, Any]]:
    """Give the settings, by pipeline, of a pooled analysis that was kept; none of one by a recipe, which is kept."""
    derivation = runs.load(entry).derivation
    if derivation is None or entry.pipeline not in POOLED:
        return {}
    return {POOLED[entry.pipeline]: derivation.settings}


def check_analysis(names: list[str], recipe: Path | None, data_dir: Path) -> list[str]:
    """Check what is asked of an analysis by somebody who may not read files here, before it is begun.

    Parameters
    ----------
    names : list of str
        The runs; none where the recipe names them.
    recipe : Path or None
        None to lay spectra over one another, or to pool stacks or maps.
    data_dir : Path

    Returns
    -------
    list of str
        Uids of the runs; none of an analysis across techniques, whose recipe names them.

    Raises
    ------
    BeamlineError
        As of `analyse_runs`, as far as it can be told without reading off; for a recipe that names files.
    """
    runs = Runs(data_dir)
    if recipe is not None:
        refuse_files(recipe, runs)
        if analyse_across.is_across(recipe):
            if names:
                raise BeamlineError(f"{recipe}: compares analyses, which it names itself; expected no runs")
            analyse_across.analyses_of(runs, analyse_across.read_across(recipe))
            return []
        names = names or runs_of(recipe, runs)
    if not names:
        raise BeamlineError(NO_RUN)
    uids, _ = _runs_of_one_pipeline(names, data_dir)
    if recipe is not None and is_pooled(recipe):
        pooled_processing(recipe, {}, data_dir)
    elif recipe is not None:
        read_recipe(recipe, (), (), technique_of_all(runs, uids), data_dir)
    return uids


def _kept_uid(processing: dict[str, dict[str, Any]], data_dir: Path, recipe: Path) -> str:
    """Analyse by a recipe's file; give the uid of what is kept."""
    uid, _, _ = _chosen([], processing, data_dir, recipe, ((), ()))()
    return uid


def show_pooled(runs: Runs, entry: Entry) -> dict[str, Any]:
    """Summarise a pooled analysis that was kept, as `analyse_runs` does it.

    Raises
    ------
    BeamlineError
        When it, or one of the runs that it was made of, cannot be read.
    """
    return _kept(runs, entry)[1]


def report_pooled(
    runs: Runs,
    entry: Entry,
    output: Path | None,
    *,
    figures: Path | None = None,
    style: FigureStyle | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the report of an analysis that was kept, as `analyse_runs` does it.

    Parameters
    ----------
    runs : Runs
    entry : Entry
    output : Path or None
        The HTML file; named after the analysis where not given.
    figures, style : Path, FigureStyle, optional
        A folder, for the figures in a style for print as well.
    overwrite : bool
        Whether files that are named here are replaced where they are there.

    Raises
    ------
    BeamlineError
        When it, or one of the runs that it was made of, cannot be read, or the file cannot be written.
    """
    uid, summary, contents = _kept(runs, entry)
    path = output or _report_of(uid, summary)
    with (
        new_page(path, runs.data_dir, overwrite=overwrite or output is None) as part,
        printed(figures, style, runs.data_dir, overwrite=overwrite) as to_print,
    ):
        write_page(part, contents(), to_print)
    return path


def contents_pooled(runs: Runs, entry: Entry) -> PageContents:
    """Give what the report of an analysis that was kept holds.

    Raises
    ------
    BeamlineError
        When it, or one of the runs that it was made of, cannot be read.
    """
    return _kept(runs, entry)[2]()


def _report_of(uid: str, summary: Mapping[str, Any]) -> Path:
    """Give the file of a report that is not named."""
    return Path(f"{'analysis' if 'recipe' in summary else 'pooled'}-{uid[:8]}.html")


def _kept(runs: Runs, entry: Entry) -> Made:
    """Read an analysis that was kept."""
    if entry.pipeline == ANALYSED_ACROSS:
        return _across(partial(analyse_across.show_across, runs, entry))
    if entry.pipeline == ANALYSED:
        return _by_recipe(partial(analyse_recipe.show_analysed, runs, entry))
    derived = runs.load(entry)
    raws = [runs.load(runs.find(uid)) for uid in entry.raw_uids]
    problems = [problems_of(raw, interruptions(raw)) for raw in raws]
    assert derived.derivation is not None
    if derived.derivation.pipeline == RIXS_POOLED:
        maps = analyse_rixs.PooledMaps(entry.uid, derived.read(RixsPooledResult), raws, problems)
        of_maps = RixsSettings.model_validate(derived.derivation.settings)
        return entry.uid, analyse_rixs.summary_of(maps), partial(analyse_rixs.contents_of, maps, of_maps)
    result = derived.read(PooledResult)
    stacks = Pooled(entry.uid, str(result.chemical_status), result, problems)
    of_stacks = StxmSettings.model_validate(derived.derivation.settings)
    return entry.uid, _summary(stacks), partial(_contents_of, stacks, of_stacks)


def _runs_of_one_pipeline(names: list[str], data_dir: Path) -> tuple[list[str], str]:
    """Give the uids of runs, each of which is named once, and the pipeline that reduces all of them."""
    runs = Runs(data_dir)
    raws = [Run(runs.find(name).start) for name in names]
    if twice := [uid for uid, number in Counter(raw.uid for raw in raws).items() if number > 1]:
        raise BeamlineError(f"run {twice[0]}: is named twice; what it holds would count twice")
    for place, raw in enumerate(raws):
        for other in raws[:place]:
            if of_one_scan(raw.start, other.start):
                told = f"runs {other.uid[:8]} and {raw.uid[:8]} were imported from the same scan"
                raise BeamlineError(f"{told}; what it holds would count twice")
    for raw in raws:
        for part in {other.uid for other in raws} & set(parts_before(raw.start)):
            raise BeamlineError(f"run {raw.uid[:8]} goes on with {part[:8]}, and holds it: name the first alone")
    pipelines = {technique_of(raw).pipeline.name: raw for raw in raws}
    if len(pipelines) > 1:
        told = ", ".join(f"{technique_of(raw).title} ({raw.uid[:8]})" for raw in pipelines.values())
        raise BeamlineError(f"the runs are of different techniques: {told}; expected one")
    return [raw.uid for raw in raws], next(iter(pipelines))


def _by_recipe(
    make: Callable[[], analyse_recipe.Analysed],
) -> Made:
    analysed = make()
    return analysed.uid, analyse_recipe.summary_of(analysed), partial(analyse_recipe.contents_of, analysed)


def _across(make: Callable[[], analyse_across.Across]) -> Made:
    across = make()
    return across.uid, analyse_across.summary_of(across), partial(analyse_across.contents_of, across)


def _pool_maps(names: list[str], settings: RixsSettings, data_dir: Path) -> Made:
    pooled = analyse_rixs.pool_maps(names, settings, data_dir)
    return pooled.uid, analyse_rixs.summary_of(pooled), partial(analyse_rixs.contents_of, pooled, settings)


def _pool_stacks(names: list[str], settings: StxmSettings, data_dir: Path) -> Made:
    pooled = pool_runs(names, settings, data_dir)
    return pooled.uid, _summary(pooled), partial(_contents_of, pooled, settings)


@dataclass(frozen=True)
class Pooled:
    """A pooled analysis that is kept.

    Attributes
    ----------
    uid : str
        Of the derived run.
    status : str
        "ok", or why there are no end members.
    result : PooledResult
    problems : list of list of str
        What each of the runs leaves out; see `problems_of`.
    """

    uid: str
    status: str
    result: PooledResult
    problems: list[list[str]]


def _contents_of(pooled: Pooled, settings: StxmSettings) -> PageContents:
    result = pooled.result
    left_out = zip(result.runs, pooled.problems, strict=True)
    samples = [str(sample) for sample in result.samples]
    return PageContents(
        title=f"{len(samples)} STXM stacks, pooled: {', '.join(map(shortened, samples))}",
        subtitle=f"derived run {pooled.uid}",
        verdict=f"{int(result.pixels_used)} of {int(np.sum(result.run_pixels))} pixels at"
        f" {len(result.pca_energy)} energies; {number_of(int(result.pca_significant), 'component')} above the noise,"
        f" {int(result.pca_scree)} before the gap of the scree.",
        warnings=[
            *([] if pooled.status == "ok" else [pooled.status]),
            *(f"run {run[:8]} is left out: {why}" for run, why in result.why_left_out.items()),
            *([result.reference_note] if result.reference_note else []),
            *([result.end_member_note] if result.end_member_note else []),
            *(f"run {run[:8]}: {problem}" for run, problems in left_out for problem in problems),
        ],
        drawn=pooled_figures(result),
        provenance=[
            ("runs", ", ".join(map(str, result.runs))),
            ("settings", json.dumps(shown_settings(settings.model_dump(mode="json")))),
        ],
    )


def pool_runs(names: list[str], settings: StxmSettings, data_dir: Path) -> Pooled:
    """Analyse stacks together and keep the outcome as a derived run."""
    runs = Runs(data_dir)
    pairs = [_reduced_stack(runs, name) for name in names]
    edges = {raw.measurement.edge for raw, _ in pairs}
    if len(edges) > 1:
        raise BeamlineError(f"the runs are of different edges: {', '.join(sorted(edges))}")
    pairs, stacks, left_out = _on_one_scale(runs, pairs, settings)
    if not pairs:
        raise BeamlineError(*(f"run {uid[:8]}: {why}" for uid, why in left_out.items()))
    try:
        energies, densities, variances = pool(stacks)
    except ValueError as error:
        raise BeamlineError(str(error)) from error
    edge = edge_of(edges.pop(), energies)
    found = analyse(energies, densities, variances, edge, settings.analysis, references=settings.chemistry.corners)
    background, area, bright = windows(settings.analysis, edge, energies)
    averages = [
        average_spectrum(
            energies, density.T, variance.T, background=background, area=area, at=edge.sample,
            threshold=settings.analysis.sample_above, common=stack.common_at(energies),
        )
        for stack, density, variance in zip(stacks, densities, variances, strict=True)
    ]  # fmt: skip
    regions = [derived.read(StxmResult) for _, derived in pairs]
    result = PooledResult(
        **analysis_result(found, (len(found.scale), 1)).as_dict(),
        **(totals_result([found.phases.total(one) for one in averages]) if found.status == "ok" else {}),
        runs=np.array([raw.uid for raw, _ in pairs]),
        left_out=np.array(list(left_out), dtype=str),
        left_out_reasons=np.array(list(left_out.values()), dtype=str),
        samples=np.array([raw.measurement.sample for raw, _ in pairs]),
        run_pixels=np.array([len(block) for block in densities]),
        run_lines=np.array([stack.density.shape[1] for stack in stacks]),
        run_width_um=np.array([float(np.ptp(region.region_x[0])) for region in regions]),
        run_height_um=np.array([float(np.ptp(region.region_y[0])) for region in regions]),
        energy_offset=np.array([stack.offset for stack in stacks]),
        energy_offset_sigma=np.array([stack.offset_sigma for stack in stacks]),
        average_spectra=np.array([one.spectrum for one in averages]),
        average_spectra_sigma=np.array([one.sigma for one in averages]),
        brightness_window=np.array(bright),
        background_window=np.array(background),
    )
    raws = [raw for raw, _ in pairs]
    uid = keep_pooled(raws, STXM_POOLED, settings, result, data_dir)
    return Pooled(uid, found.status, result, [problems_of(raw, interruptions(raw)) for raw in raws])


def _summary(pooled: Pooled) -> dict[str, Any]:
    result = pooled.result
    eigenvalues = result.pca_eigenvalues
    runs = []
    for place, run in enumerate(result.runs):
        one = {
            "run": str(run),
            "sample": str(result.samples[place]),
            "problems": pooled.problems[place],
            "pixels": int(result.run_pixels[place]),
            "energy_offset_ev": float(result.energy_offset[place]),
            "energy_offset_sigma_ev": float(result.energy_offset_sigma[place]),
        }
        if result.total_fractions.size:
            names = [str(name) for name in result.end_member_names]
            one["fractions"] = dict(zip(names, result.total_fractions[place].tolist(), strict=True))
            one["reduced"] = float(result.total_reduced[place])
            one["reduced_sigma"] = float(result.total_reduced_sigma[place])
        runs.append(one)
    return {
        "technique": "stxm",
        "derived_uid": pooled.uid,
        "status": pooled.status,
        "left_out": [{"run": run, "reason": why} for run, why in result.why_left_out.items()],
        "references": str(result.reference_note),
        "end_members": str(result.end_member_note),
        "pixels": int(np.sum(result.run_pixels)),
        "pixels_used": int(result.pixels_used),
        "noise_cut": result.noise_cut,
        "energies_ev": [float(result.pca_energy[0]), float(result.pca_energy[-1])],
        "pca": {
            "status": str(result.pca_status),
            "explained_variance_ratio": (eigenvalues / eigenvalues.sum())[:5].tolist(),
            "significant": int(result.pca_significant),
            "before_gap": int(result.pca_scree),
        },
        "runs": runs,
    }


def _reduced_stack(runs: Runs, name: str) -> tuple[Run, Run]:
    raw, derived = runs.load_with_derived(name)
    if (technique := technique_of(raw).name) != "stxm":
        raise BeamlineError(f"run {name}: is {technique}, expected a STXM stack, or RIXS maps")
    if derived is None:
        raise not_reduced(raw)
    if not derived.read(StxmResult).has_images:
        raise BeamlineError(f"run {raw.uid} has no image, expected a STXM stack")
    return raw, derived


def _why_not(result: StxmResult, edge: str, settings: StxmSettings) -> str:
    """Say why a stack cannot be pooled with others; "" where it can."""
    if result.i0_status != "ok":
        return f"no optical density: {result.i0_status}"
    if not (np.asarray(result.mask) == GOOD).any():
        return "no pixel holds sample"
    energies = np.asarray(result.stack_energy)[np.array([status == "ok" for status in result.image_status])]
    _, area, _ = windows(settings.analysis, edge_of(edge, np.asarray(result.stack_energy)), energies)
    return gap_in(energies, area) if settings.analysis.normalise else ""


def _on_one_scale(
    runs: Runs, pairs: list[tuple[Run, Run]], settings: StxmSettings
) -> tuple[list[tuple[Run, Run]], list[Stack], dict[str, str]]:
    """Give the stacks with the energy offset of their series, and which ones cannot be pooled and why.

    The offset is found by the reference sample of the series; that of the first is 0, as is that of runs which belong
    to no series or to one without a reference, but how far these are off is not known.
    """
    references = _references_of_series(runs)
    offsets: dict[str, tuple[float, float, str]] = {}
    first: StxmResult | None = None
    usable, stacks, left_out = [], [], {}
    for raw, derived in pairs:
        series = Series.model_validate(raw.start[SERIES]).uid if SERIES in raw.start else ""
        if series not in offsets:
            offsets[series] = (0.0, 0.0 if series in references else math.nan, "ok")
            if series in references:
                own = references[series].read(StxmResult)
                if first is None:
                    first = own
                else:
                    offsets[series] = energy_offset(
                        own.stack_energy, own.spectrum, own.spectrum_sigma,
                        first.stack_energy, first.spectrum,
                    )  # fmt: skip
        offset, sigma, status = offsets[series]
        why = _why_not(derived.read(StxmResult), raw.measurement.edge, settings)
        if status != "ok":
            why = why or f"the energy scale of series {series[:8]} cannot be determined: {status}"
        if why:
            left_out[raw.uid] = f"{raw.measurement.sample}: {why}"
            continue
        usable.append((raw, derived))
        stacks.append(_stack(raw, derived, offset, sigma))
    return usable, stacks, left_out


def _references_of_series(runs: Runs) -> dict[str, Run]:
    """Give what was derived from the reference sample of each series."""
    references: dict[str, Run] = {}
    for entry in runs.raw():
        if SERIES in entry.start and (block := Series.model_validate(entry.start[SERIES])).role == "reference":
            _, derived = runs.load_with_derived(entry.uid)
            if derived is not None and derived.read(StxmResult).spectrum.size:
                references[block.uid] = derived
    return references


def _stack(raw: Run, derived: Run, offset: float, sigma: float) -> Stack:
    result = derived.read(StxmResult)
    used = np.array([status == "ok" for status in result.image_status])
    good = np.asarray(result.mask) == GOOD
    density, sigma_of_density = (
        np.where(good, kept[used].astype(np.float64), np.nan)
        for kept in (result.optical_density, result.optical_density_sigma)
    )
    common = np.square(np.asarray(result.incident_sigma)[used] / np.asarray(result.incident_rate)[used])
    energies = np.asarray(result.stack_energy)[used]
    return Stack(raw.measurement.sample, energies, density, sigma_of_density**2, offset, sigma, common)
