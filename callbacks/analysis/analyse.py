"""Analyse spectra and pixels by a recipe: every measure of every row, and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.correlation import correlate, nothing
from callbacks.analysis.measured import Measured, Reference, Value
from callbacks.analysis.measures import Measure, References
from callbacks.analysis.recipe import MapPair, Recipe
from callbacks.analysis.rows import Pixels, Row, at_ends, difference, normalised, normalised_row, reference_like
from callbacks.analysis.shared_noise import beside_its_own, is_itself, take
from callbacks.contract import NOT_TAKEN, AnalysedResult, Quantity

FloatArray = NDArray[np.floating]

OF_ONE_RUN = (
    "both maps are read off the same spectra and share their noise, by which alone they go together or apart; what it"
    " would be without is not known"
)
MANY = 0.1  # of the pixels of a map: so many without a value for one reason are told of


def analyse(
    rows: Sequence[Row], pixels: Sequence[Pixels], recipe: Recipe, notes: Sequence[str] = (), *,
    corrected: Sequence[str] = (), more: Mapping[str, Quantity] | None = None,
    references: Mapping[str, Row] | None = None,
) -> AnalysedResult:  # fmt: skip
    """Read off rows and pixels what a recipe asks for.

    Parameters
    ----------
    rows : sequence of Row
        Their energies brought together, not yet normalised.
    pixels : sequence of Pixels
        Of each stack that maps are wanted of.
    recipe : Recipe
    notes : sequence of str
        What was assumed or left out before.
    corrected : sequence of str
        What was taken off before, and how well it is known.
    more : mapping of str to Quantity, optional
        What is kept beside: what was added to the energies of the rows, maps on common axes.
    references : mapping of str to Row, optional
        References of the recipe with all that was done to the rows.

    Returns
    -------
    AnalysedResult
        A measure that cannot be taken of a row has NaN there and says why in its status.
    """
    of_recipe, unlike = references_of(recipe, references or {})
    ends = [at_ends(row, recipe.normalise) for row in rows]
    if recipe.normalise is not None:
        rows = [normalised_row(row, recipe.normalise) for row in rows]
    quantities = _spectra_of(rows) | dict(more or {}) | _differences(rows, recipe.difference_from)
    said = [*notes, *unlike]
    if not recipe.measures:  # whose statuses tell it
        said += [
            f"{', '.join(filter(None, (row.sample, row.part, row.edge)))}: as measured: {row.status}"
            for row in rows
            if row.status != "ok"
        ]
    own = [[name for name, each in recipe.references.items() if each.run == row.run] for row in rows]
    for name, measure in recipe.measures.items():
        found = [_of_row(measure, row, of_recipe, names) for row, names in zip(rows, own, strict=True)]
        table = _tabulated(name, found, rows)
        said += [
            f"{name} of {row.sample}{f', {row.part}' if row.part else ''}: {each.note}"
            for row, each in zip(rows, found, strict=True)
            if isinstance(each, Measured) and each.note
        ]
        moved = [
            # What is a reference itself moves with that.
            [each] * len(both) if is_itself(each, names) else [_of_row(measure, end, of_recipe) for end in both]
            for each, names, both in zip(found, own, ends, strict=True)
        ]
        quantities |= table | _by_scale(name, table, rows, moved)
    if pixels:
        quantities["map_runs"] = Quantity(_texts(one.run for one in pixels), "run of each map", "", ("maps",))
    for number, one in enumerate(pixels, 1):
        images, told = _maps(number, one, recipe, of_recipe)
        quantities |= images
        said += told
    for name, pair in recipe.correlations.items():
        quantities |= _correlated(f"correlation_{name}", pair, pixels, quantities)
        if len({each.partition("_")[0] for each in pair.names()}) == 1:
            said.append(f"correlation {name}: {OF_ONE_RUN}")
    return AnalysedResult(
        runs=np.array(list(dict.fromkeys([*(row.run for row in rows), *(one.run for one in pixels)])), dtype=str),
        row_run=_texts(row.run for row in rows),
        row_sample=_texts(row.sample for row in rows),
        row_part=_texts(row.part for row in rows),
        row_edge=_texts(row.edge for row in rows),
        row_axis=_texts(row.axis for row in rows),
        row_units=_texts(row.units for row in rows),
        assumed=_texts(said),
        corrected=_texts(corrected),
        quantities=quantities,
    )


def references_of(recipe: Recipe, brought: Mapping[str, Row]) -> tuple[dict[str, Reference], list[str]]:
    """Give the references as the spectra are that they are fitted to, and a note for each that is not."""
    found, notes = {}, []
    for name, each in recipe.references.items():
        found[name], status = reference_like(each.spectrum(), brought.get(name), recipe.normalise)
        if status != "ok":
            notes.append(f"reference {name} is as it was, without what is done to the spectra: {status}")
    return found, notes


def _texts(texts: Any) -> NDArray[np.str_]:
    return np.array(list(texts), dtype=str)


def _spectra_of(rows: Sequence[Row]) -> dict[str, Quantity]:
    points = "rows", "points"
    before = {}
    if any(row.measured is not None for row in rows):
        nothing = [np.full(len(row.spectra.energy), np.nan) for row in rows]
        values = [
            each if row.measured is None else row.measured.values for row, each in zip(rows, nothing, strict=True)
        ]
        before["measured"] = Quantity(_padded(values), "spectrum with its self-absorption", "", points)
    return before | {
        "energy": Quantity(_padded([row.spectra.energy for row in rows]), "energy of each point", "eV", points),
        "spectrum": Quantity(_padded([row.spectra.values for row in rows]), "spectrum", "", points),
        "spectrum_sigma": Quantity(
            _padded([np.sqrt(row.spectra.variance) for row in rows]), "its standard uncertainty", "", points
        ),
        "spectrum_status": Quantity(_texts(row.status for row in rows), "ok, or why there is none", "", ("rows",)),
    }


def _padded(lines: Sequence[FloatArray]) -> FloatArray:
    """Put lines below one another, NaN behind the shorter ones."""
    whole = np.full((len(lines), max((len(line) for line in lines), default=0)), np.nan)
    for row, line in zip(whole, lines, strict=True):
        row[: len(line)] = line
    return whole


def _differences(rows: Sequence[Row], start: str) -> dict[str, Quantity]:
    """Give each row less the first, or the one asked for, of the same part and edge; nothing where each is alone."""
    values, sigmas, of = [], [], []
    of_run = next((row.run for row in rows if start and row.run.startswith(start)), "")
    for row in rows:
        others = [other for other in rows if _are_alike(other, row)]
        named = [other for other in others if (other.run == of_run if of_run else start and other.sample == start)]
        other = (named or others)[0]
        nothing = np.full(len(row.spectra.energy), np.nan)
        value, variance = (nothing, nothing) if other is row else difference(row.spectra, other.spectra)
        values.append(value)
        sigmas.append(np.sqrt(variance))
        of.append("" if other is row else other.run)
    if not any(of):
        return {}
    points = "rows", "points"
    return {
        "difference": Quantity(_padded(values), "spectrum less the one compared with", "", points),
        "difference_sigma": Quantity(_padded(sigmas), "its standard uncertainty", "", points),
        "difference_from": Quantity(_texts(of), "run compared with", "", ("rows",)),
    }


def _are_alike(row: Row, other: Row) -> bool:
    """Tell whether one row can be compared with another."""
    return all(getattr(row, name) == getattr(other, name) for name in ("part", "edge", "axis", "status"))


def _tabulated(name: str, found: Sequence[Measured | str], rows: Sequence[Row]) -> dict[str, Quantity]:
    """Give what a measure found in all rows."""
    taken = [each for each in found if isinstance(each, Measured)]
    table: dict[str, Quantity] = {}
    for field, axis in (("values", ()), ("curves", ("points",)), ("table", (f"{name}_entries",))):
        known = {key: value for each in taken for key, value in getattr(each, field).items()}
        for key, value in known.items():
            of_rows = [getattr(each, field).get(key) if isinstance(each, Measured) else None for each in found]
            axes = ("rows", *axis)
            units = value.units_of(_unit_of(found, rows))
            table[f"{name}_{key}"] = Quantity(
                _stacked([None if one is None else one.values for one in of_rows], rows, axis),
                value.meaning, units, axes,
            )  # fmt: skip
            if value.sigma is not None:
                table[f"{name}_{key}_sigma"] = Quantity(
                    _stacked([None if one is None else one.sigma for one in of_rows], rows, axis),
                    "its standard uncertainty", units, axes,
                )  # fmt: skip
    status = [str(each.status) if isinstance(each, Measured) else each for each in found]
    return table | {f"{name}_status": Quantity(_texts(status), "ok, or why there is none", "", ("rows",))}


def _by_scale(
    name: str, table: Mapping[str, Quantity], rows: Sequence[Row], ends: Sequence[Sequence[Measured | str]]
) -> dict[str, Quantity]:
    """Give what the uncertainty of the energy scale of each row adds to what a measure found; nothing if none is known.

    Notes
    -----
    It is half of what the measure differs by between energies a standard uncertainty higher and lower: a centroid in a
    window that stays where it is moves less than the spectrum, and fractions of references move, too.
    """
    if not any(np.isfinite(row.energy_sigma) for row in rows):
        return {}
    found = {}
    for key, quantity in table.items():
        if f"{key}_sigma" not in table or quantity.axes != ("rows",):
            continue
        own = key.removeprefix(f"{name}_")
        sigmas = [
            _half_apart(own, both) if both else 0.0 * row.energy_sigma for row, both in zip(rows, ends, strict=True)
        ]
        found[f"{key}_scale_sigma"] = Quantity(
            np.where(np.isfinite(quantity.values), sigmas, np.nan),
            "standard uncertainty that the energy scale of the run adds; NaN: not known", quantity.units, ("rows",),
        )  # fmt: skip
    return found


def _half_apart(key: str, ends: Sequence[Measured | str]) -> float:
    """Give half of what a value differs by between two; NaN where one of them does not have it."""
    values = [float(end.values[key].values) for end in ends if isinstance(end, Measured) and str(end.status) == "ok"]
    return abs(values[0] - values[1]) / 2 if len(values) == 2 else np.nan


def _unit_of(found: Sequence[Measured | str], rows: Sequence[Row]) -> str:
    """Give the unit of the spectra that a measure was taken of; "" where they have several."""
    units = {row.units for row, each in zip(rows, found, strict=True) if isinstance(each, Measured)}
    return units.pop() if len(units) == 1 else ""


def _of_row(measure: Measure, row: Row, references: References, own: Sequence[str] = ()) -> Measured | str:
    """Take a measure of a row, of whose run some of the references are; give why not where that cannot be done."""
    if (measure.of and row.part not in measure.of) or (measure.edge and row.edge != measure.edge):
        return NOT_TAKEN
    if row.status != "ok":
        return row.status
    try:
        return beside_its_own(take(measure, row.spectra, references), own)
    except ValueError as error:
        return str(error)


def _stacked(values: Sequence[Any], rows: Sequence[Row], axis: tuple[str, ...]) -> NDArray[Any]:
    known = [np.asarray(value) for value in values if value is not None]
    blank: Any = "" if known[0].dtype.kind == "U" else np.nan
    if axis == ():
        return np.array([blank if value is None else np.asarray(value).item() for value in values])
    if axis == ("points",):
        return _padded(
            [
                np.full(len(row.spectra.energy), np.nan) if value is None else np.asarray(value)
                for value, row in zip(values, rows, strict=True)
            ]
        )
    return np.array([np.full(known[0].shape, blank) if value is None else value for value in values])


def _maps(number: int, pixels: Pixels, recipe: Recipe, references: References) -> tuple[dict[str, Quantity], list[str]]:
    """Take the measures of every pixel of a stack."""
    axes = f"lines_{number}", f"columns_{number}"
    found: dict[str, Quantity] = {}
    notes: list[str] = []
    if pixels.x is not None and pixels.y is not None:
        found |= {
            f"map{number}_x": Quantity(pixels.x, "position of each column", "um", axes[1:]),
            f"map{number}_y": Quantity(pixels.y, "position of each line", "um", axes[:1]),
        }
    spectra, status = replace(pixels.spectra, alike=True), np.full(pixels.spectra.shape, "ok")
    try:
        if recipe.normalise is not None:
            spectra, status = normalised(spectra, recipe.normalise.at(pixels.edge, spectra.energy))
    except ValueError as error:
        return found, [f"run {pixels.run[:8]}: no maps: {error}"]
    if not (status == "ok").any():
        why = " or ".join(np.unique(status).tolist()) or "no pixel holds sample"
        return found, [f"run {pixels.run[:8]}: no maps: of all pixels: {why}"]
    for name, measure in recipe.measures.items():
        if measure.edge and measure.edge != pixels.edge:
            continue
        try:
            measured = take(measure, spectra, references)
        except ValueError as error:
            notes.append(f"run {pixels.run[:8]}: no map of {name}: {error}")
            continue
        if measured.note:
            notes.append(f"run {pixels.run[:8]}: map of {name}: {measured.note}")
        said = np.where(status == "ok", measured.status, status)
        for key, value in measured.values.items():
            found |= _images(f"map{number}_{name}_{key}", value, pixels, axes)
        different, places, times = np.unique(said, return_inverse=True, return_counts=True)
        most = times[different != "ok"].max(initial=0)
        if most > said.size * MANY:
            why = different[(different != "ok") & (times == most)][0]
            notes.append(f"run {pixels.run[:8]}: {name} has no value in {most} of {said.size} pixels of sample: {why}")
        reasons = ["no sample", *different.tolist()]
        found[f"map{number}_{name}_status"] = Quantity(
            pixels.image(1 + places.reshape(said.shape), 0), "why there is no value: place among the reasons", "", axes
        )
        found[f"map{number}_{name}_reasons"] = Quantity(_texts(reasons), "reasons", "", (f"reasons_{number}_{name}",))
    return found, notes


def _correlated(
    name: str, pair: MapPair, pixels: Sequence[Pixels], quantities: Mapping[str, Quantity]
) -> dict[str, Quantity]:
    """Compare two maps pixel by pixel."""
    names = pair.names()
    maps = {f"map{number}_": one for number, one in enumerate(pixels, 1)}
    missing = [each for each, own in zip(names, (pair.first, pair.second), strict=True) if each not in quantities]
    if missing:
        known = ", ".join(
            key.removeprefix("map").replace("_", ".", 1) for key, each in quantities.items() if is_map(key, each)
        )
        found = nothing(
            f"there is no map {missing[0].removeprefix('map').replace('_', '.', 1)}; there are {known or 'none'}"
        )
    else:
        values = [np.asarray(quantities[each].values) for each in names]
        sigmas = [
            np.asarray(
                quantities[f"{each}_sigma"].values if f"{each}_sigma" in quantities else np.full(own.shape, np.nan)
            )
            for each, own in zip(names, values, strict=True)
        ]
        first, second = (maps[f"{each.partition('_')[0]}_"] for each in names)
        found = correlate((values[0], sigmas[0]), (values[1], sigmas[1]), (first, second))
    pixel, single = (f"pixels_{name}",), ()
    return {
        f"{name}_first": Quantity(found.first, pair.first, _unit(quantities, names[0]), pixel),
        f"{name}_second": Quantity(found.second, pair.second, _unit(quantities, names[1]), pixel),
        f"{name}_pearson": Quantity(np.array(found.pearson), "Pearson's coefficient", "", single),
        f"{name}_pearson_sigma": Quantity(np.array(found.pearson_sigma), "its standard uncertainty", "", single),
        f"{name}_spearman": Quantity(np.array(found.spearman), "that of the ranks", "", single),
        f"{name}_without_noise": Quantity(
            np.array(found.without_noise), "Pearson's coefficient, had the values no noise", "", single
        ),
        f"{name}_shift": Quantity(
            np.array(found.shift), "added to positions in the second run, x and y", "um", ("xy",)
        ),
        f"{name}_status": Quantity(np.array(found.status), "ok, or why nothing is told", "", single),
    }


def _unit(quantities: Mapping[str, Quantity], name: str) -> str:
    return quantities[name].units if name in quantities else ""


def is_map(name: str, quantity: Quantity) -> bool:
    """Tell whether a quantity is a map of values: one for each pixel of a stack."""
    of_pixels = len(quantity.axes) == 2 and quantity.axes[0].startswith("lines_")
    return of_pixels and not name.endswith(("_sigma", "_status"))


def _images(name: str, value: Value, pixels: Pixels, axes: tuple[str, str]) -> dict[str, Quantity]:
    images = {name: Quantity(pixels.image(value.values), value.meaning, value.units, axes)}
    if value.sigma is not None:
        sigma = pixels.image(value.sigma)
        images[f"{name}_sigma"] = Quantity(sigma, "its standard uncertainty", value.units, axes)
    return images
