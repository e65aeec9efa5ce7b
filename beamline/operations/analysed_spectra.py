"""The spectra of runs that a recipe is of: channels of absorption spectra, regions and pixels, cuts of maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.acquire.references import YIELD
from beamline.endstation.config import unknown
from beamline.errors import BeamlineError
from beamline.operations.runs import shown_name, technique_of
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.technique import NOT_KNOWN, not_reduced
from callbacks.analysis import Pixels, Recipe, Row, Spectra
from callbacks.analysis.cuts import cut_of_map
from callbacks.analysis.recipe import Region
from callbacks.analysis.regions import mean_picture, mean_spectrum, pixels_of, positions, spectra_of_pixels
from callbacks.analysis.rows import moved, offset_of
from callbacks.contract import ChannelSpectrum, Quantity, RixsResult, StxmResult, XasResult
from callbacks.xas import channels_of

LARGEST_MASK = 100_000_000  # bytes of a file of one number a pixel
SAMPLE = "sample"  # the region of all pixels that hold it


@dataclass
class Gathered:
    """What is analysed, and what was assumed or left out.

    Attributes
    ----------
    raws : list of Run
        The runs.
    """

    raws: list[Run] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    offsets: dict[str, Quantity] = field(default_factory=dict)


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
            _spectra(found, pairs, recipe)
        case "stxm":
            _stacks(found, pairs, recipe, folder)
        case "rixs":
            _maps(found, pairs, recipe)
    if not found.rows:
        raise BeamlineError(*(found.notes or ["there is no spectrum to analyse"]))
    return found


def _spectra(found: Gathered, pairs: list[tuple[Run, Run]], recipe: Recipe) -> None:
    first: Spectra | None = None
    offsets = []
    for raw, derived in pairs:
        result = derived.read(XasResult)
        if not result.xas_energy.size or not result.spectra:
            found.notes.append(f"{shown_name(raw)}: no point of it can be used")
            continue
        row = _row(raw, result, recipe)
        if recipe.align is not None:
            reference = _absorption(raw, result, recipe.align.channel)
            offset = offset_of(reference, recipe.align, first)
            first = first or reference
            if offset.status == "ok":
                row = replace(row, spectra=moved(row.spectra, offset.offset))
            else:
                found.notes.append(f"{shown_name(raw)}: its energies are as they were read: {offset.status}")
            offsets.append(offset)
        found.rows.append(row)
    if offsets:
        rows = ("rows",)
        found.offsets = {
            "energy_offset": Quantity(np.array([each.offset for each in offsets]), "added to its energies", "eV", rows),
            "energy_offset_sigma": Quantity(
                np.array([each.sigma for each in offsets]), "its standard uncertainty", "eV", rows
            ),
            "energy_offset_status": Quantity(
                np.array([each.status for each in offsets], dtype=str), "ok, or why nothing is added", "", rows
            ),
        }


def _row(raw: Run, result: XasResult, recipe: Recipe) -> Row:
    """Give the spectrum of a run: normalised as its reduction does it, or as the recipe will."""
    names = [*result.spectra]
    channel = recipe.channel or (YIELD if YIELD in names else names[0] if names else "")
    if channel not in result.spectra:
        raise BeamlineError(f"{shown_name(raw)}: {unknown('channel', channel, names)}")
    spectrum = result.spectra[channel]
    own = {"run": raw.uid, "sample": raw.measurement.sample, "part": channel, "edge": raw.measurement.edge}
    if recipe.as_measured or recipe.normalise is not None:
        return Row(**own, spectra=_absorption(raw, result, channel))
    if spectrum.status != "ok":
        return Row(**own, spectra=_absorption(raw, result, channel), status=spectrum.status or NOT_KNOWN)
    return Row(**own, spectra=_spectra_at(result, spectrum.normalised, spectrum.sigma))


def _absorption(raw: Run, result: XasResult, channel: str) -> Spectra:
    """Give a channel as it is normalised: over I0, of a transmission the negative logarithm of that."""
    if channel not in result.spectra:
        raise BeamlineError(f"{shown_name(raw)}: {unknown('channel', channel, result.spectra)}")
    spectrum: ChannelSpectrum = result.spectra[channel]
    values, sigma = np.asarray(spectrum.over_i0_spectrum), np.asarray(spectrum.over_i0_spectrum_sigma)
    forms = {each.name: each.form for each in channels_of(raw.measurement)}
    if forms.get(channel) == "transmission":
        with np.errstate(divide="ignore", invalid="ignore"):
            values, sigma = np.where(values > 0, -np.log(values), np.nan), sigma / values
    return _spectra_at(result, values, sigma)


def _spectra_at(result: XasResult, values: NDArray[np.floating], sigma: NDArray[np.floating]) -> Spectra:
    energy = np.asarray(result.xas_energy, dtype=float)
    values, sigma = np.asarray(values, dtype=float), np.asarray(sigma, dtype=float)
    if len(values) != len(energy):
        return Spectra(energy, np.full(len(energy), np.nan), np.full(len(energy), np.nan))
    with np.errstate(invalid="ignore"):
        return Spectra(energy, values, np.where(sigma > 0, sigma**2, np.nan))


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


def _maps(found: Gathered, pairs: list[tuple[Run, Run]], recipe: Recipe) -> None:
    if not recipe.cuts:
        raise BeamlineError("recipe: cuts: expected one or more, such as [cuts.pfy] emission = [520, 528]")
    for raw, derived in pairs:
        result = derived.read(RixsResult)
        if result.calibration_status != "ok":
            found.notes.append(f"{shown_name(raw)}: left out: {result.calibration_status or NOT_KNOWN}")
            continue
        found.rows += _cuts(found, raw, result, recipe)


def _cuts(found: Gathered, raw: Run, result: RixsResult, recipe: Recipe) -> Iterator[Row]:
    for name, cut in recipe.cuts.items():
        try:
            spectra, axis, units = cut_of_map(
                np.asarray(result.excitation_energy), np.asarray(result.emission_energy),
                np.asarray(result.map), np.asarray(result.map_variance), cut,
            )  # fmt: skip
        except ValueError as error:
            found.notes.append(f"{shown_name(raw)}: cut {name}: {error}")
            continue
        yield Row(raw.uid, raw.measurement.sample, name, spectra, axis, units, edge=raw.measurement.edge)
