"""Absorption spectra that a recipe is of: a channel of each run, energies aligned, self-absorption taken off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.acquire.references import channel_of
from beamline.endstation.config import unknown
from beamline.errors import BeamlineError
from beamline.operations.gathered import NOT_TAKEN_OFF, Gathered
from beamline.operations.runs import shown_name, technique_of
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.technique import NOT_KNOWN, not_reduced
from callbacks.analysis import Recipe, Row, Spectra
from callbacks.analysis.composition import STEP_SIGMA, Composition
from callbacks.analysis.recipe import SelfAbsorption
from callbacks.analysis.rows import moved, offset_of
from callbacks.analysis.self_absorption import Escape, corrected_yield
from callbacks.contract import GEOMETRY, ChannelSpectrum, Geometry, Quantity, XasResult
from callbacks.pipelines import XAS
from callbacks.xas import XasSettings, channels_of
from callbacks.xas.energy_scale import EnergyOffset
from callbacks.xas.normalised import normalise_spectra

TFY = "tfy"  # the channel that is a yield of fluorescence wherever it is
CM_PER_UM = 1e-4
SCALE_NOT_KNOWN = (
    "energies are as they were read: by how much the scales of the runs differ is not known, and is in no uncertainty;"
    " [align] finds it by a reference"
)


def gather_spectra(found: Gathered, runs: Runs, pairs: list[tuple[Run, Run]], recipe: Recipe) -> None:
    """Read absorption spectra, and references that are runs with all that is done to the spectra.

    Raises
    ------
    BeamlineError
        For a channel that a run does not have, or a reference whose run is not there any more.
    """
    first: dict[str, Spectra] = {}  # by edge
    offsets = []
    for raw, derived in pairs:
        row, offset, notes = _brought(raw, derived, recipe, first)
        found.notes += [f"{shown_name(raw)}: {note}" for note in notes]
        if row is not None:
            found.rows.append(row)
            offsets += [offset] if offset else []
    if recipe.align or recipe.normalise or recipe.as_measured or recipe.self_absorption:
        _gather_references(found, runs, recipe, first)
    if any(measure.is_energy for measure in recipe.measures.values()) and not any(
        math.isfinite(row.energy_sigma) for row in found.rows
    ):
        found.notes.append(SCALE_NOT_KNOWN)
    if recipe.channel == TFY and recipe.self_absorption is None:
        found.notes.append(f"{TFY} is as measured, with its self-absorption: {NOT_TAKEN_OFF}")
    if offsets:
        rows = ("rows",)
        found.more = {
            "energy_offset": Quantity(np.array([each.offset for each in offsets]), "added to its energies", "eV", rows),
            "energy_offset_sigma": Quantity(
                np.array([each.sigma for each in offsets]), "its standard uncertainty", "eV", rows
            ),
            "energy_offset_status": Quantity(
                np.array([each.status for each in offsets], dtype=str), "ok, or why nothing is added", "", rows
            ),
        }


def _brought(
    raw: Run, derived: Run, recipe: Recipe, first: dict[str, Spectra]
) -> tuple[Row | None, EnergyOffset | None, list[str]]:
    """Give the spectrum of a run on the scale of the first of its edge, what was added to its energies, and notes."""
    result = derived.read(XasResult)
    if not result.xas_energy.size or not result.spectra:
        return None, None, ["no point of it can be used"]
    try:
        row = _row(raw, result, recipe, XasSettings.model_validate(derived.settings.get(XAS.name, {})))
    except ValueError as error:
        return None, None, [f"left out: self-absorption: {error}"]
    if recipe.align is None:
        return row, None, []
    reference = absorption_of(raw, result, recipe.align.channel)
    offset = offset_of(reference, recipe.align, first.get(row.edge))
    first.setdefault(row.edge, reference)
    if offset.status != "ok":
        return row, offset, [f"its energies are as they were read: {offset.status}"]
    return replace(row, spectra=moved(row.spectra, offset.offset), energy_sigma=offset.sigma), offset, []


def _gather_references(found: Gathered, runs: Runs, recipe: Recipe, first: dict[str, Spectra]) -> None:
    for name, each in recipe.references.items():
        if not (uid := each.run):
            if recipe.align is not None:
                found.notes.append(f"reference {name} is no run: [align] leaves its energies as they are")
            continue
        raw, derived = runs.load_with_derived(uid)
        if derived is None:
            raise not_reduced(raw)
        if technique_of(raw).name != XAS.name:
            continue
        row, _, notes = _brought(raw, derived, recipe, first)
        found.notes += [f"reference {name}: {note}" for note in notes]
        if row is not None:
            found.references[name] = row


def _row(raw: Run, result: XasResult, recipe: Recipe, reduced: XasSettings) -> Row:
    """Give the spectrum of a run: normalised as its reduction does it, or as the recipe will."""
    names = [*result.spectra]
    channel = channel_of(result, recipe.channel)
    if channel not in result.spectra:
        raise BeamlineError(f"{shown_name(raw)}: {unknown('channel', channel, names)}")
    spectrum = result.spectra[channel]
    own: dict[str, Any] = {
        "run": raw.uid,
        "sample": raw.measurement.sample,
        "part": channel,
        "edge": raw.measurement.edge,
        "energy_sigma": result.energy_offset_sigma,
    }
    if recipe.self_absorption is not None:
        return _without_self_absorption(raw, absorption_of(raw, result, channel), own, recipe.self_absorption)
    if recipe.as_measured or recipe.normalise is not None:
        return Row(**own, spectra=absorption_of(raw, result, channel))
    if spectrum.status != "ok":
        return Row(**own, spectra=absorption_of(raw, result, channel), status=spectrum.status or NOT_KNOWN)
    return Row(**own, spectra=_as_reduced(raw, result, channel, reduced))


def _as_reduced(raw: Run, result: XasResult, channel: str, reduced: XasSettings) -> Spectra:
    """Give a channel as its reduction normalised it, with what its points have in common by that."""
    spectrum, measured = result.spectra[channel], absorption_of(raw, result, channel)
    found = normalise_spectra(
        measured.energy, measured.values, measured.variance,
        pre_edge=reduced.pre_edge, post_edge=reduced.post_edge, form=reduced.background, by=reduced.normalise,
    )  # fmt: skip
    return replace(_spectra_at(result, spectrum.normalised, spectrum.sigma), shared=found.shared)


def _without_self_absorption(raw: Run, over_i0: Spectra, own: dict[str, Any], how: SelfAbsorption) -> Row:
    escape = escape_of(raw, how)
    emission = how.emission or escape.composition.line
    windows: dict[str, Any] = {
        "pre_edge": how.pre_edge, "post_edge": how.post_edge, "background": how.background,
    }  # fmt: skip
    absorption, measured = corrected_yield(over_i0, escape, emission, **windows)
    return Row(**own, spectra=absorption, measured=measured)


def escape_of(raw: Run, how: SelfAbsorption) -> Escape:
    """Give how light comes into the sample of a run and out of it: by the recipe, or else as the run has it.

    Raises
    ------
    ValueError
        When neither tells the geometry or the edge, or the sample does not have the edge.
    """
    block = raw.start.get(GEOMETRY)
    known = None if block is None else Geometry.model_validate(block)
    incidence = how.incidence or (known.incidence if known else None)
    leaves = how.exit or (known.exit if known else None)
    if incidence is None or leaves is None:
        missing = " and ".join(name for name, angle in (("incidence", incidence), ("exit", leaves)) if angle is None)
        raise ValueError(f"the geometry is not known: neither the recipe nor the run gives {missing} (degrees)")
    edge = how.edge or raw.measurement.edge
    if not edge:
        raise ValueError('the edge is not known: neither the recipe nor the run names it, such as edge = "O K"')
    composition = Composition(how.formula, edge)
    return Escape(
        composition, incidence, leaves, how.angle_sigma,
        math.inf if how.thickness is None or how.density is None else how.thickness * CM_PER_UM * how.density,
        STEP_SIGMA[composition.shell] if how.step_sigma is None else how.step_sigma,
    )  # fmt: skip


def absorption_of(raw: Run, result: XasResult, channel: str) -> Spectra:
    """Give a channel as it is normalised: over I0, of a transmission the negative logarithm of that.

    Raises
    ------
    BeamlineError
        When the run has no such channel.
    """
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
