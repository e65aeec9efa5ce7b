"""Read edges, fractions, ratios and areas off spectra in an array of any shape, as a recipe does it of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import ValidationError

from beamline.endstation.config import explain
from beamline.errors import BeamlineError
from beamline.formats.importers.eels import EelsSignal, signals_of
from callbacks.analysis import Measured, Recipe, Spectra, Value
from callbacks.analysis.analyse import references_of
from callbacks.analysis.measured import gaps_of
from callbacks.analysis.rows import normalised
from callbacks.analysis.shared_noise import take

ENERGY_LOSS = "energy loss"  # what the energies of `spectrum_image` are
POWER_LAW = {"background": "power_law"}


def read_off(spectra: xr.DataArray, recipe: Mapping[str, Any], *, sigma: xr.DataArray | None = None) -> xr.Dataset:
    """Take the measures of a recipe of every spectrum in an array.

    Parameters
    ----------
    spectra : xarray.DataArray
        With one dimension that has the energies, eV, as its coordinate, and any others: a spectrum, a map, a series.
        NaN where not measured.
    recipe : mapping
        The tables ``measures``, ``normalise`` and ``references`` of a recipe; references may be arrays with energies.
    sigma : xarray.DataArray, optional
        Standard uncertainties, of the same shape; 0 or NaN where not measured. Without them those of counts are taken:
        the root of each, of one at least; of whole numbers, or what has the units "counts".

    Returns
    -------
    xarray.Dataset
        ``MEASURE_VALUE`` over the other dimensions, ``MEASURE_VALUE_sigma``, and ``MEASURE_status``, "ok" or why there
        is no value; what is to be known beside, such as energies that were left out, is its attribute ``note``.

    Raises
    ------
    BeamlineError
        When there are no energies or several dimensions that could be, anything is not of real numbers, an energy
        stands there twice, or uncertainties are of other spectra; for a mistake in the recipe, and a measure that
        cannot be taken of any spectrum of these energies.
    """
    if not isinstance(spectra, xr.DataArray):
        raise BeamlineError(f"spectra: are {type(spectra).__name__}, expected xarray.DataArray with energies")
    axis = _energy_of(spectra, "spectra")
    ordered = spectra.transpose(..., axis).sortby(axis)
    values = _numbers(ordered, "spectra")
    if sigma is None:
        if spectra.attrs.get("units") != "counts" and (values != np.rint(values))[np.isfinite(values)].any():
            raise BeamlineError("spectra: are no counts, whose uncertainty is known: expected theirs as `sigma`")
        variance = np.where(np.isfinite(values), np.maximum(values, 1.0), np.nan)
    else:
        noise = _numbers(_beside(sigma, spectra, axis).transpose(*ordered.dims).sortby(axis), "sigma")
        if (noise < 0).any():
            raise BeamlineError(f"sigma: is {np.nanmin(noise):g}, expected above zero, or NaN where not measured")
        variance = np.where(noise > 0, noise**2, np.nan)
    checked = _recipe(recipe, of_losses=ordered[axis].attrs.get("long_name") == ENERGY_LOSS)
    given = Spectra(ordered[axis].values.astype(float), values, variance, alike=values.ndim > 1)
    status = np.full(given.shape, "ok", dtype=object)
    references, unlike = references_of(checked, {})
    if unlike:
        raise BeamlineError(*unlike)
    found: dict[str, xr.DataArray] = {}
    try:
        if checked.normalise is not None:
            given, said = normalised(given, checked.normalise)
            status = said.astype(object)
        for name, measure in checked.measures.items():
            if not (status == "ok").any():
                found |= _variables(name, Measured({}, status), status, ordered.isel({axis: 0}, drop=True))
                continue
            found |= _variables(name, take(measure, given, references), status, ordered.isel({axis: 0}, drop=True))
    except ValueError as error:
        raise BeamlineError(str(error)) from error
    return xr.Dataset(found, attrs={"recipe": checked.model_dump_json(exclude={"references"}, exclude_defaults=True)})


def spectrum_image(path: str | Path, name: str = "") -> xr.DataArray:
    """Read energy-loss spectra with all their positions: HyperSpy's .hspy, or what RosettaSciIO reads.

    Parameters
    ----------
    path : str or Path
    name : str
        Of the signal, where the file holds several.

    Returns
    -------
    xarray.DataArray
        Counts over positions, in the unit of the file, and ``energy`` (eV).

    Raises
    ------
    BeamlineError
        When it cannot be read, or holds no such signal.
    """
    signals, problems = signals_of(Path(path))
    chosen = [signal for signal in signals if not name or signal.name == name]
    if len(chosen) != 1:
        known = ", ".join(repr(signal.name) for signal in signals) or "none"
        raise BeamlineError(f"{path}: expected the name of one of its signals, {known}, not {name!r}")
    return _image(chosen[0], str(path), problems)


def _image(signal: EelsSignal, source: str, problems: list[str]) -> xr.DataArray:
    scale = {"keV": 1e3, "eV": 1.0, "": 1.0}.get(signal.loss.unit)
    if scale is None:
        raise BeamlineError(f"{source}: losses are in {signal.loss.unit!r}, expected eV or keV")
    names = [axis.name if axis.name.isidentifier() else "" for axis in signal.positions]
    dims = [
        name if name and name != "energy" and names.count(name) == 1 else f"position_{number}"
        for number, name in enumerate(names)
    ]
    coords = {
        dim: (dim, axis.values, {"units": axis.unit or "1"}) for dim, axis in zip(dims, signal.positions, strict=True)
    }
    loss = ("energy", signal.loss.values * scale, {"units": "eV", "long_name": ENERGY_LOSS})
    return xr.DataArray(
        np.asarray(signal.data, dtype=float),
        dims=(*dims, "energy"),
        coords=coords | {"energy": loss},
        name=signal.name or "spectra",
        attrs={"units": "counts", "source": source, "problems": problems},
    )


def _energy_of(spectra: xr.DataArray, what: str) -> str:
    """Give the dimension that has the energies: the one with a coordinate in eV, or called energy."""
    found = [
        str(name)
        for name in spectra.dims
        if name in spectra.coords
        and (spectra[name].attrs.get("units") == "eV" or str(name) == "energy" or str(name).endswith("_energy"))
    ]
    if len(found) != 1:
        have = ", ".join(map(str, spectra.dims)) or "no dimension"
        raise BeamlineError(
            f"{what}: expected one dimension with energies (eV) as its coordinate, found {found or 'none'} of {have}"
        )
    if (unit := spectra[found[0]].attrs.get("units", "eV")) != "eV":
        raise BeamlineError(f"{found[0]}: is in {unit}, expected eV")
    if spectra[found[0]].dims != (found[0],):
        raise BeamlineError(f"{what}: {found[0]} is over {spectra[found[0]].dims}, expected one dimension, {found[0]}")
    energy = np.sort(_numbers(spectra[found[0]], f"{what}: {found[0]}"))
    if not energy.size:
        raise BeamlineError(f"{what}: there is no energy")
    if not np.isfinite(energy).all():
        raise BeamlineError(f"{what}: an energy is {energy[~np.isfinite(energy)][0]:g}, expected finite ones")
    if (twice := energy[1:][np.diff(energy) == 0]).size:
        raise BeamlineError(f"{what}: the energy {twice[0]:g} eV stands there twice, expected each once")
    return found[0]


def _numbers(array: xr.DataArray, what: str) -> NDArray[np.floating]:
    """Give the values of an array as real numbers."""
    if array.dtype.kind not in "fiu":
        raise BeamlineError(f"{what}: values of type {array.dtype}, expected real numbers")
    return np.asarray(array.values, dtype=float)


def _beside(sigma: xr.DataArray, spectra: xr.DataArray, axis: str) -> xr.DataArray:
    """Give uncertainties at the energies of their spectra, whose places they have to have."""
    if not isinstance(sigma, xr.DataArray) or dict(sigma.sizes) != dict(spectra.sizes):
        found = dict(sigma.sizes) if isinstance(sigma, xr.DataArray) else type(sigma).__name__
        raise BeamlineError(f"sigma: {found}, expected xarray.DataArray with {dict(spectra.sizes)}")
    placed = sigma if axis in sigma.coords else sigma.assign_coords({axis: spectra[axis]})
    try:
        xr.align(spectra, placed, join="exact")
    except ValueError as error:
        raise BeamlineError(f"sigma: its coordinates are not those of the spectra: {error}") from error
    return placed


def _recipe(recipe: Mapping[str, Any], *, of_losses: bool) -> Recipe:
    """Check a recipe; its references may be arrays. Beneath spectra of losses there is a power law, unless it says."""
    if not isinstance(recipe, Mapping):
        raise BeamlineError(f"recipe: is {type(recipe).__name__}, expected a mapping with measures")
    if others := sorted(map(str, set(recipe) - {"technique", "measures", "normalise", "references"})):
        raise BeamlineError(f"recipe: {others[0]}: is of runs; expected measures, normalise, references")
    for name in ("measures", "references"):
        if not isinstance(recipe.get(name, {}), Mapping):
            raise BeamlineError(f"recipe: {name}: is {type(recipe[name]).__name__}, expected a mapping by names")
    tables = {"technique": "stxm", **recipe}
    tables["references"] = {
        name: _reference(name, each) if isinstance(each, xr.DataArray) else each
        for name, each in dict(recipe.get("references", {})).items()
    }
    tables["measures"] = {
        name: {"by": name, **table} if isinstance(table, Mapping) else table
        for name, table in dict(recipe.get("measures", {})).items()
    }
    if of_losses and isinstance(tables.get("normalise"), Mapping):
        tables["normalise"] = {**POWER_LAW, **tables["normalise"]}
    elif of_losses:
        tables["measures"] = {
            name: {**POWER_LAW, **table} if isinstance(table, Mapping) and table["by"] == "white_lines" else table
            for name, table in tables["measures"].items()
        }
    try:
        checked = Recipe.model_validate(tables)
    except ValidationError as error:
        raise BeamlineError(*(f"recipe: {line}" for line in explain(error, Recipe))) from error
    if of_runs := [name for name, measure in checked.measures.items() if measure.of or measure.edge]:
        raise BeamlineError(f"recipe: measures.{of_runs[0]}: `of` and `edge` are of runs; an array has neither")
    return checked


def _reference(name: str, array: xr.DataArray) -> dict[str, Any]:
    axis = _energy_of(array, f"reference {name}")
    if array.ndim != 1:
        raise BeamlineError(f"reference {name}: {array.dims}, expected one spectrum")
    ordered = array.sortby(axis)
    energy, values = ordered[axis].values, _numbers(ordered, f"reference {name}")
    known = np.isfinite(values)
    return {
        "energy": energy[known].tolist(),
        "values": values[known].tolist(),
        "source": str(array.name or "array"),
        "gaps": gaps_of(energy, known),
    }


def _variables(name: str, measured: Measured, status: Any, like: xr.DataArray) -> dict[str, xr.DataArray]:
    """Give what a measure found as variables over the dimensions of an array."""

    def over(values: Any, **attributes: Any) -> xr.DataArray:
        return xr.DataArray(values, dims=like.dims, coords=like.coords, attrs=attributes)

    found: dict[str, xr.DataArray] = {}
    for key, value in measured.values.items():
        found |= _with_sigma(f"{name}_{key}", value, over, str(like.attrs.get("units", "")))
    said = np.where(status == "ok", measured.status, status)
    noted = {"note": measured.note} if measured.note else {}
    found[f"{name}_status"] = over(said.astype(str), long_name="ok, or why there is no value", **noted)
    return found


def _with_sigma(name: str, value: Value, over: Any, units: str) -> dict[str, xr.DataArray]:
    unit = value.units_of(units)
    linked = {} if value.sigma is None else {"ancillary_variables": f"{name}_sigma"}
    found = {name: over(value.values, long_name=value.meaning, units=unit, **linked)}
    if value.sigma is not None:
        found[f"{name}_sigma"] = over(value.sigma, long_name=f"standard uncertainty of {value.meaning}", units=unit)
    return found
