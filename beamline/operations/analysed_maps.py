"""RIXS maps that a recipe is of: on common axes where they can be, without their self-absorption, and cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from beamline.acquire.references import channel_of
from beamline.errors import BeamlineError
from beamline.operations.analyse_rixs import pool_reduced, relative_intensity
from beamline.operations.analysed_absorption import absorption_of, escape_of
from beamline.operations.gathered import NOT_TAKEN_OFF, Gathered
from beamline.operations.runs import shown_name, technique_of
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.technique import NOT_KNOWN, not_reduced
from callbacks.analysis import Recipe, Row
from callbacks.analysis.composition import Composition
from callbacks.analysis.cuts import MapOnAxes, cut_of_map, scale_sigma
from callbacks.analysis.self_absorption import Corrected, Escape, NearEdge, correct_map, near_edge
from callbacks.contract import Quantity, RixsPooledResult, RixsResult, XasResult
from callbacks.pipelines import XAS, RixsSettings

POOLED = "pooled_"  # names of what maps on common axes are, and of their axes, begin with this


@dataclass(frozen=True)
class _Map:
    """A calibrated map, and what is known of its self-absorption where that is asked for."""

    raw: Run
    derived: Run
    own: MapOnAxes
    absorption: tuple[NearEdge, Escape] | None = None


def gather_maps(found: Gathered, runs: Runs, pairs: list[tuple[Run, Run]], recipe: Recipe) -> None:
    """Read the cuts of maps.

    Raises
    ------
    BeamlineError
        Where the recipe has no cut, or asks for a common calibration that the maps do not have, or for a
        self-absorption that cannot be told.
    """
    if not recipe.cuts:
        raise BeamlineError("recipe: cuts: expected one or more, such as [cuts.pfy] emission = [520, 528]")
    maps = list(_usable(found, runs, pairs, recipe))
    pooled = _pooled(found, maps, recipe)
    corrected: list[Corrected] = []
    for place, one in enumerate(maps):
        measured = one.own if pooled is None else _on_common_axes(pooled, place)
        if one.absorption is None:
            found.rows += _cuts(found, one.raw, measured, None, recipe)
            continue
        try:
            corrected.append(correct_map(measured, *one.absorption))
        except ValueError as error:
            raise BeamlineError(f"{shown_name(one.raw)}: self-absorption: {error}") from error
        said = found.corrected if corrected[-1].status == "ok" else found.notes
        said.append(f"{shown_name(one.raw)}: {_said(one.absorption[1], corrected[-1])}")
        found.rows += _cuts(found, one.raw, measured, corrected[-1].map, recipe)
    if maps and recipe.self_absorption is None:
        found.notes.append(f"maps are as measured, with their self-absorption: {NOT_TAKEN_OFF}")
    if pooled is not None:
        found.more = _kept(_with(pooled, corrected) if corrected else pooled)


def _usable(found: Gathered, runs: Runs, pairs: list[tuple[Run, Run]], recipe: Recipe) -> Iterator[_Map]:
    for raw, derived in pairs:
        result = derived.read(RixsResult)
        if result.calibration_status != "ok":
            found.notes.append(f"{shown_name(raw)}: left out: {result.calibration_status or NOT_KNOWN}")
            continue
        own = MapOnAxes(
            result.excitation_energy, result.emission_energy, result.map, result.map_variance,
            emission_sigma=result.emission_energy_sigma,
        )  # fmt: skip
        one = _Map(raw, derived, own)
        if recipe.self_absorption is not None:
            try:
                escape = escape_of(raw, recipe.self_absorption)
                fine = _near_edge(found, runs, one, recipe, escape.composition)
                one = replace(one, absorption=(fine, escape))
            except ValueError as error:
                found.notes.append(f"{shown_name(raw)}: left out: self-absorption: {error}")
                continue
        yield one


def _near_edge(found: Gathered, runs: Runs, one: _Map, recipe: Recipe, composition: Composition) -> NearEdge:
    """Give the absorption of the sample of a map near its edge: of another run, or an inverse cut of the map."""
    how = recipe.self_absorption
    assert how is not None  # the caller has it
    if isinstance(how.absorption, str) and how.absorption in recipe.cuts:
        spectra = cut_of_map(one.own, recipe.cuts[how.absorption])[0]
    else:
        names = [how.absorption] if isinstance(how.absorption, str) else how.absorption
        measured = [_absorption_run(runs, name, composition) for name in names]
        sample = one.raw.measurement.sample
        same = [pair for pair in measured if pair[0].measurement.sample == sample]
        if not same and len(measured) > 1:
            raise ValueError(f"none of the {len(measured)} runs with the absorption is of {sample}")
        raw, derived = (same or measured)[0]
        if not same:
            found.notes.append(f"{shown_name(one.raw)}: its absorption is taken to be that of {shown_name(raw)}")
        result = derived.read(XasResult)
        spectra = absorption_of(raw, result, channel_of(result, how.channel))
    return near_edge(spectra, composition, pre_edge=how.pre_edge, post_edge=how.post_edge, background=how.background)


def _absorption_run(runs: Runs, name: str, composition: Composition) -> tuple[Run, Run]:
    """Load a run with the absorption of a sample, and its reduction.

    Raises
    ------
    BeamlineError
        When it is of another technique or edge, or is not reduced.
    """
    raw, derived = runs.load_with_derived(name)
    where = f"self_absorption.absorption: {shown_name(raw)}"
    if (technique := technique_of(raw)).name != XAS.name:
        raise BeamlineError(f"{where}: is of {technique.name}, expected an absorption spectrum")
    if (edge := raw.measurement.edge) and not composition.is_of(edge):
        raise BeamlineError(f"{where}: was measured at {edge}, expected {composition.edge}")
    if derived is None:
        raise not_reduced(raw)
    return raw, derived


def _pooled(found: Gathered, maps: list[_Map], recipe: Recipe) -> RixsPooledResult | None:
    """Calibrate the maps together, where they can be and the recipe does not ask for each by its own."""
    if recipe.calibration == "own" or (len(maps) < 2 and recipe.calibration is None):
        return None
    try:
        settings = RixsSettings.model_validate(maps[0].derived.settings["rixs"]) if maps else RixsSettings()
        _, pooled = pool_reduced([(one.raw, one.derived) for one in maps], settings)
    except BeamlineError as error:
        if recipe.calibration == "pooled":
            raise
        found.notes.append(f"each map has its own calibration, and differences hold what these are off: {error}")
        return None
    if pooled.calibration_alarm:
        found.notes.append(f"calibration of all maps: {pooled.calibration_alarm}")
    return pooled


def _on_common_axes(pooled: RixsPooledResult, place: int) -> MapOnAxes:
    """Give one of the maps, as uncertain by the displacement of the chip against the first map as that is."""
    intensity = pooled.maps[place]
    rows = np.isfinite(intensity).any(axis=1)
    causes = () if place == 0 else (pooled.difference_by_offset[place - 1][rows],)
    return MapOnAxes(
        pooled.excitation_energy[rows], pooled.emission_energy, intensity[rows], pooled.maps_variance[place][rows],
        lambda: causes, pooled.emission_energy_sigma,
    )  # fmt: skip


def _cuts(found: Gathered, raw: Run, measured: MapOnAxes, corrected: MapOnAxes | None, recipe: Recipe) -> Iterator[Row]:
    """Take the cuts of a map; inverse ones of what was measured, since they are what self-absorption makes of it."""
    for name, cut in recipe.cuts.items():
        try:
            spectra, axis, units = cut_of_map(measured, cut)
        except ValueError as error:
            found.notes.append(f"{shown_name(raw)}: cut {name}: {error}")
            continue
        own: dict[str, Any] = {"edge": raw.measurement.edge, "energy_sigma": scale_sigma(measured, cut, spectra)}
        row = Row(raw.uid, raw.measurement.sample, name, spectra, axis, units, **own)
        if corrected is not None and not cut.inverse:
            row = replace(row, spectra=cut_of_map(corrected, cut)[0], measured=spectra)
        yield row


def _said(escape: Escape, corrected: Corrected) -> str:
    """Say what was taken off a map, and how well that is known."""
    known = np.isfinite(corrected.factor)
    told = f"self-absorption at {escape.incidence:g} and {escape.exit:g} degrees is taken off"
    if known.any():
        low, high = corrected.factor[known].min(), corrected.factor[known].max()
        told += f": times {low:.2f} to {high:.2f}, ± {100 * corrected.sigma[known].max():.2g} % at most"
    return told if corrected.status == "ok" else f"{told}; {corrected.status}"


def _with(pooled: RixsPooledResult, corrected: list[Corrected]) -> RixsPooledResult:
    """Put maps without their self-absorption in place of those that were measured."""
    maps, variance = (np.full(pooled.maps.shape, np.nan) for _ in range(2))
    by_offset = np.full(pooled.difference_by_offset.shape, np.nan)
    for place, one in enumerate(corrected):
        rows = np.isfinite(pooled.maps[place]).any(axis=1)
        maps[place][rows], variance[place][rows] = one.map.intensity, one.map.variance
        if place:
            by_offset[place - 1][rows] = one.factor * pooled.difference_by_offset[place - 1][rows]
    intensity, sigma = relative_intensity(maps, variance)
    return pooled.model_copy(
        update={
            "run_intensity": intensity,
            "run_intensity_sigma": sigma,
            "maps": maps,
            "maps_variance": variance,
            "difference": maps[1:] - maps[:1],
            "difference_variance": variance[1:] + variance[:1],
            "difference_by_offset": by_offset,
        }
    )


def _kept(pooled: RixsPooledResult) -> dict[str, Quantity]:
    """Give maps on common axes as quantities of an analysis."""
    described = pooled.described()
    return {
        POOLED + name: Quantity(
            np.asarray(value), described[name].meaning, described[name].units,
            tuple(POOLED + axis for axis in described[name].shape),
        )
        for name, value in pooled.as_dict().items()
    }  # fmt: skip


def pooled_of(quantities: dict[str, Quantity]) -> RixsPooledResult | None:
    """Give the maps on common axes that an analysis has kept; None where it has none."""
    kept = {
        name.removeprefix(POOLED): each.values if each.axes else each.values.item()
        for name, each in quantities.items()
        if name.startswith(POOLED)
    }
    return RixsPooledResult.read(kept) if kept else None
