"""The spectra of runs that a recipe is of: channels of absorption spectra, regions and pixels, cuts of maps."""

from __future__ import annotations

from collections.abc import Sequence

from beamline.errors import BeamlineError
from beamline.operations.analysed_absorption import gather_spectra
from beamline.operations.analysed_maps import gather_maps
from beamline.operations.gathered import Gathered
from beamline.operations.runs import shown_name, technique_of
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.technique import not_reduced
from callbacks.analysis import Pixels, Recipe, Row
from callbacks.analysis.recipe import Region
from callbacks.analysis.regions import mean_picture, mean_spectrum, pixels_of, positions, spectra_of_pixels
from callbacks.contract import StxmResult

AS_READ = "energies are as they were read: what their scale is off by is in no uncertainty"
SAMPLE = "sample"  # the region of all pixels that hold it


def technique_of_all(runs: Runs, names: Sequence[str]) -> str:
    """Give the technique that all runs are of.

    Raises
    ------
    BeamlineError
        When they are of several.
    """
    raws = [Run(runs.find(name).start) for name in names]
    found = {technique_of(raw).name: raw for raw in raws}
    if len(found) > 1:
        said = ", ".join(f"{name} ({raw.uid[:8]})" for name, raw in found.items())
        raise BeamlineError(f"the runs are of different techniques: {said}; expected one")
    (technique,) = found
    return "stxm" if technique.startswith("stxm") and technique != "stxm_focus" else technique


def gather(runs: Runs, names: Sequence[str], recipe: Recipe) -> Gathered:
    """Read the spectra of runs.

    Parameters
    ----------
    runs : Runs
    names : sequence of str
        The runs.
    recipe : Recipe

    Raises
    ------
    BeamlineError
        For a run that is not reduced, or lacks what the recipe asks for in every run.
    """
    found = Gathered()
    pairs: list[tuple[Run, Run]] = []
    for name in names:
        raw, derived = runs.load_with_derived(name)
        if derived is None:
            raise not_reduced(raw)
        pairs.append((raw, derived))
    found.raws = [raw for raw, _ in pairs]
    match recipe.technique:
        case "xas":
            gather_spectra(found, runs, pairs, recipe)
        case "stxm":
            _stacks(found, pairs, recipe)
        case "rixs":
            gather_maps(found, runs, pairs, recipe)
    if not found.rows:
        raise BeamlineError(*(found.notes or ["there is no spectrum to analyse"]))
    return found


def _stacks(found: Gathered, pairs: list[tuple[Run, Run]], recipe: Recipe) -> None:
    if any(measure.is_energy for measure in recipe.measures.values()):
        found.notes.append(AS_READ)
    regions = recipe.regions or {SAMPLE: Region()}
    for raw, derived in pairs:
        result = derived.read(StxmResult)
        if not result.has_images or result.i0_status != "ok":
            found.notes.append(f"{shown_name(raw)}: no optical density: {result.i0_status or 'it has no image'}")
            continue
        for name, region in regions.items():
            try:
                inside = pixels_of(region, result)
            except ValueError as error:
                found.notes.append(f"{shown_name(raw)}: region {name}: {error}")
                continue
            mean = mean_spectrum(result, spectra_of_pixels(result, inside))
            found.rows.append(Row(raw.uid, raw.measurement.sample, name, mean, edge=raw.measurement.edge))
        if recipe.maps:
            everywhere = pixels_of(Region(), result)
            x, y = positions(result)
            of_pixels = spectra_of_pixels(result, everywhere)
            own = raw.uid, raw.measurement.sample
            found.pixels.append(Pixels(*own, of_pixels, everywhere, x, y, mean_picture(result), raw.measurement.edge))
