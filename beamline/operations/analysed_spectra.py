"""The spectra of runs that a recipe is of: channels of absorption spectra, regions and pixels, cuts of maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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

LARGEST_MASK = 100_000_000  # bytes of a file of one number a pixel
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


def gather(runs: Runs, names: Sequence[str], recipe: Recipe, folder: Path) -> Gathered:
    """Read the spectra of runs.

    Parameters
    ----------
    runs : Runs
    names : sequence of str
        The runs.
    recipe : Recipe
    folder : Path
        That mask files are in.

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
            gather_spectra(found, pairs, recipe)
        case "stxm":
            _stacks(found, pairs, recipe, folder)
        case "rixs":
            gather_maps(found, runs, pairs, recipe)
    if not found.rows:
        raise BeamlineError(*(found.notes or ["there is no spectrum to analyse"]))
    return found


def _stacks(found: Gathered, pairs: list[tuple[Run, Run]], recipe: Recipe, folder: Path) -> None:
    regions = recipe.regions or {SAMPLE: Region()}
    masks = {name: _mask(folder, region.mask) for name, region in regions.items() if region.mask}
    for raw, derived in pairs:
        result = derived.read(StxmResult)
        if not result.has_images or result.i0_status != "ok":
            found.notes.append(f"{shown_name(raw)}: no optical density: {result.i0_status or 'it has no image'}")
            continue
        for name, region in regions.items():
            try:
                inside = pixels_of(region, result, masks.get(name))
            except ValueError as error:
                found.notes.append(f"{shown_name(raw)}: region {name}: {error}")
                continue
            mean = mean_spectrum(result, spectra_of_pixels(result, inside))
            found.rows.append(Row(raw.uid, raw.measurement.sample, name, mean, edge=raw.measurement.edge))
        if recipe.maps:
            everywhere = pixels_of(Region(), result, None)
            x, y = positions(result)
            of_pixels = spectra_of_pixels(result, everywhere)
            own = raw.uid, raw.measurement.sample
            found.pixels.append(Pixels(*own, of_pixels, everywhere, x, y, mean_picture(result), raw.measurement.edge))


def _mask(folder: Path, name: str) -> NDArray[np.bool_]:
    """Read a mask: pixels of an image, or numbers of a .npy file, that are not zero."""
    path = folder / Path(name).expanduser()
    try:
        if path.stat().st_size > LARGEST_MASK:
            raise BeamlineError(f"mask {path}: is larger than {LARGEST_MASK} bytes; is it a mask?")
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            from skimage.io import imread  # noqa: PLC0415 - takes time, and is rarely needed

            values = imread(path)
    except (OSError, ValueError) as error:
        raise BeamlineError(f"mask {path}: cannot be read: {error}") from error
    values = values.any(axis=2) if values.ndim == 3 else values
    if values.ndim != 2:
        raise BeamlineError(f"mask {path}: {values.shape}, expected one number for each line and column")
    return np.asarray(values != 0)
