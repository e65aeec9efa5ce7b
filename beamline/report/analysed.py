"""The figures and the tables of an analysis by a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from beamline.report.figures import Drawn
from beamline.report.page import PageTable
from beamline.report.stxm.pooled import capacities
from beamline.text import shortened, with_sigma
from callbacks.analysis.analyse import is_map
from callbacks.contract import NOT_TAKEN, AnalysedResult, Quantity

COLOURS = ("#1b6ca8", "#d1495b", "#5a9367", "#8a5fa8", "#c98a1b", "#3d3d3d", "#4fb0ae", "#a0522d")
MOST_FITS = 12  # spectra whose fits are drawn
DARK = 0.02  # of the maximum: what is below is not shown of a spectrum of emission
PERCENTILES = (1.0, 99.0)  # of what a map shows, where its colours end


def analysed_figures(result: AnalysedResult, measures: Sequence[str]) -> Iterator[Drawn]:
    """Draw the spectra, what was read off them, the fits, and the maps.

    Parameters
    ----------
    result : AnalysedResult
    measures : sequence of str
        Names of the measures of the recipe.
    """
    status = result.quantities["spectrum_status"].values
    panels = _panels(result)
    for panel in dict.fromkeys(panels):
        for said in ("Spectra", "As measured"):
            rows = np.flatnonzero((panels == panel) & ((status == "ok") == (said == "Spectra")))
            if len(rows):
                heading = f"{said}: {panel}" if panel else said
                yield heading, _said_of_spectra(result, rows), spectra(result, rows)
    for name in measures:
        if f"{name}_fit" in result.quantities:
            yield f"Fits: {name}", "Points: the spectrum; line: the fit. Below: what is left over.", fits(result, name)
        if f"{name}_slope" in result.quantities:
            yield f"Derivative: {name}", "With its 68 % band; the line is where it is largest.", slopes(result, name)
    for name in measures:
        if numbers := _numbers(result, name):
            yield (
                name.replace("_", " "),
                "Of each spectrum, with 68 % intervals; what is not known is left out, the table says why.",
                against_rows(result, numbers),
            )
    for name, quantity in _maps(result):
        sigma = result.quantities.get(f"{name}_sigma")
        yield _title_of(result, name), _said_of_map(result, name), image(result, name, quantity, sigma)
    yield from _correlations(result)


def _panels(result: AnalysedResult) -> NDArray[np.str_]:
    """Give each row the name of its figure: cuts each have one, other spectra are drawn together."""
    return np.where(result.row_axis == "photon energy", "", result.row_part)


def _correlations(result: AnalysedResult) -> Iterator[Drawn]:
    for key, quantity in result.quantities.items():
        if not (key.startswith("correlation_") and key.endswith("_status")):
            continue
        name = key.removesuffix("_status")
        heading = f"Correlation: {name.removeprefix('correlation_').replace('_', ' ')}"
        if str(quantity.values) == "ok":
            yield heading, _said_of_correlation(result, name), correlation(result, name)


def _said_of_correlation(result: AnalysedResult, name: str) -> str:
    pearson, sigma, spearman, without_noise = (
        float(result.quantities[f"{name}_{key}"].values)
        for key in ("pearson", "pearson_sigma", "spearman", "without_noise")
    )
    shift = result.quantities[f"{name}_shift"].values
    moved = f" The second run is moved by {shift[0]:.3f}, {shift[1]:.3f} um." if np.any(shift) else ""
    noise = f"; {without_noise:.3f}, had the values no noise" if np.isfinite(without_noise) else ""
    return (
        f"{len(result.quantities[f'{name}_first'].values)} pixels: Pearson {with_sigma(pearson, sigma)}, of ranks"
        f" {spearman:.3f}{noise}.{moved}"
    )


def correlation(result: AnalysedResult, name: str) -> Figure:
    """Draw how many pixels have which two values."""
    first, second = (result.quantities[f"{name}_{key}"] for key in ("first", "second"))
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    limits = [np.percentile(each.values, PERCENTILES) for each in (first, second)]
    *_, drawn = axes.hist2d(first.values, second.values, bins=50, range=limits, cmap="viridis", cmin=1)
    figure.colorbar(drawn, ax=axes, label="pixels")
    for each, label in ((first, axes.set_xlabel), (second, axes.set_ylabel)):
        label(f"{each.meaning.replace('_', ' ')} ({each.units})" if each.units else each.meaning.replace("_", " "))
    return figure


def tables(result: AnalysedResult, measures: Sequence[str]) -> Iterator[PageTable]:
    """Give a table of each measure: a line for each spectrum, with uncertainties, or why there is none."""
    for name in measures:
        if f"{name}_status" not in result.quantities:
            continue
        numbers = _numbers(result, name)
        header = ["spectrum", *(_heading(key, name, quantity) for key, quantity in numbers.items()), "status"]
        status = result.quantities[f"{name}_status"].values
        rows = [
            [label, *(_cell(result, key, row) for key in numbers), str(status[row])]
            for row, label in enumerate(labels(result))
            if str(status[row]) != NOT_TAKEN
        ]
        yield PageTable(name.replace("_", " "), header, rows)
        if f"{name}_combination" in result.quantities:
            yield from _ranked(result, name)


def _ranked(result: AnalysedResult, name: str) -> Iterator[PageTable]:
    """Give the combinations of references of each spectrum, the best first."""
    texts = result.quantities[f"{name}_combination"].values
    chi_squares = result.quantities[f"{name}_combination_reduced_chi_square"].values
    p_values = result.quantities[f"{name}_combination_p_value"].values
    for row, label in enumerate(labels(result)):
        listed = [
            [text, f"{chi_square:.4g}", "" if np.isnan(p_value) else f"{p_value:.2g}"]
            for text, chi_square, p_value in zip(texts[row], chi_squares[row], p_values[row], strict=True)
            if text
        ]
        if listed:
            yield PageTable(f"{name}: combinations for {label}", ["combination", "reduced chi square", "p"], listed)


def labels(result: AnalysedResult) -> list[str]:
    """Name the rows for a reader: by sample, part and run, as far as these differ."""
    samples, parts, runs = (list(map(str, each)) for each in (result.row_sample, result.row_part, result.row_run))
    told = []
    for sample, part, run in zip(samples, parts, runs, strict=True):
        words = [shortened(sample)]
        if len(set(parts)) > 1:
            words.append(part)
        if len({other for other, own in zip(runs, samples, strict=True) if own == sample}) > 1:
            words.append(run[:8])
        told.append(" ".join(words))
    return told


def spectra(result: AnalysedResult, rows: NDArray[np.intp]) -> Figure:
    """Draw spectra over one another with their bands, and below each less the first."""
    names = labels(result)
    if len(set(result.row_part[rows])) == 1:  # the heading has it
        names = [name.replace(f" {result.row_part[rows[0]]}", "", 1) for name in names]
    compared = [row for row in rows if _is_compared(result, row)]
    figure = Figure(figsize=(9.0, 6.6 if compared else 4.4), layout="constrained")
    heights = (2, 1) if compared else (1,)
    above, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for row in rows:
        _curve(above, result, "spectrum", row, names[row])
    if _is_corrected(result, rows):
        _as_measured(above, result, rows)
    unit = str(result.row_units[rows[0]])
    above.set_ylabel(f"spectrum ({unit})" if unit else "absorption")
    if len(rows) <= 2 * len(COLOURS):
        above.legend(fontsize=8)
    for axes in below:
        for row in compared:
            _curve(axes, result, "difference", row, names[row])
        axes.axhline(0.0, color="black", lw=0.6)
        axes.set_ylabel("difference")
    axes = below[0] if compared else above
    axes.set_xlabel(f"{result.row_axis[rows[0]]} (eV)")
    if result.row_axis[rows[0]] == "emission energy":  # of a whole chip, most of which is dark
        above.set_xlim(*_where_light_is(result, rows))
    for each in (above, *below):
        each.grid(alpha=0.3)
    return figure


def _where_light_is(result: AnalysedResult, rows: NDArray[np.intp]) -> tuple[float, float]:
    """Give the energies between which spectra are above a share of their maximum, and a little beside."""
    energy, values = (result.quantities[key].values[rows] for key in ("energy", "spectrum"))
    bright = np.isfinite(values) & (values > DARK * np.nanmax(values))
    low, high = float(energy[bright].min()), float(energy[bright].max())
    beside = 0.2 * max(high - low, 1.0)
    return low - beside, high + beside


def _colour(result: AnalysedResult, row: int) -> str:
    """Give the colour of a row: that of its run, or of its region where there is one run only."""
    several = len(set(result.row_run)) > 1
    kinds = list(dict.fromkeys(map(str, result.row_run if several else result.row_part)))
    own = str((result.row_run if several else result.row_part)[row])
    return COLOURS[kinds.index(own) % len(COLOURS)]


def _is_compared(result: AnalysedResult, row: int) -> bool:
    return "difference_from" in result.quantities and bool(result.quantities["difference_from"].values[row])


def _is_corrected(result: AnalysedResult, rows: NDArray[np.intp]) -> bool:
    return "measured" in result.quantities and bool(np.isfinite(result.quantities["measured"].values[rows]).any())


def _as_measured(axes: Axes, result: AnalysedResult, rows: NDArray[np.intp]) -> None:
    """Draw what spectra are with their self-absorption."""
    for row in rows:
        energy, values = (result.quantities[key].values[row] for key in ("energy", "measured"))
        axes.plot(energy, values, color=_colour(result, row), lw=0.8, ls="--")
    axes.plot([], [], color="black", lw=0.8, ls="--", label="as measured")


def _curve(axes: Axes, result: AnalysedResult, name: str, row: int, label: str) -> None:
    energy = result.quantities["energy"].values[row]
    values, sigma = (result.quantities[key].values[row] for key in (name, f"{name}_sigma"))
    known = np.isfinite(energy) & np.isfinite(values)
    colour = _colour(result, row)
    axes.fill_between(energy[known], (values - sigma)[known], (values + sigma)[known], color=colour, alpha=0.25, lw=0)
    axes.plot(energy[known], values[known], color=colour, lw=1.0, label=label)


def fits(result: AnalysedResult, name: str) -> Figure:
    """Draw fits over their spectra, and what is left over."""
    curve = result.quantities[f"{name}_fit"].values
    fitted = np.flatnonzero(np.isfinite(curve).any(axis=1))[:MOST_FITS]
    columns = min(3, max(1, len(fitted)))
    lines = -(-max(1, len(fitted)) // columns)
    figure = Figure(figsize=(9.0, 3.2 * lines), layout="constrained")
    grid = figure.subplots(2 * lines, columns, squeeze=False, sharex="col", height_ratios=(3, 1) * lines)
    names = labels(result)
    for axes in grid.ravel():
        axes.set_visible(False)
    for place, row in enumerate(fitted):
        line, column = divmod(place, columns)
        above, below = grid[2 * line][column], grid[2 * line + 1][column]
        energy, values = (result.quantities[key].values[row] for key in ("energy", "spectrum"))
        inside = np.isfinite(curve[row])
        above.plot(energy[inside], values[inside], ".", ms=2.5, color="#808080")
        above.plot(energy, curve[row], color=COLOURS[1], lw=1.0)
        below.plot(energy, values - curve[row], color=COLOURS[0], lw=0.8)
        below.axhline(0.0, color="black", lw=0.6)
        above.set_title(names[row], fontsize=9)
        for axes in (above, below):
            axes.set_visible(True)
            axes.grid(alpha=0.3)
        below.set_xlabel(f"{result.row_axis[row]} (eV)")
        if column == 0:
            above.set_ylabel("spectrum")
            below.set_ylabel("left over")
    return figure


def slopes(result: AnalysedResult, name: str) -> Figure:
    """Draw derivatives with their bands."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    names = labels(result)
    values, sigma = (result.quantities[f"{name}_{key}"].values for key in ("slope", "slope_sigma"))
    where = result.quantities[f"{name}_energy"].values
    for row, energy in enumerate(result.quantities["energy"].values):
        known = np.isfinite(values[row])
        if not known.any():
            continue
        colour = _colour(result, row)
        axes.fill_between(
            energy[known], (values - sigma)[row][known], (values + sigma)[row][known], color=colour, alpha=0.25, lw=0
        )
        axes.plot(energy[known], values[row][known], color=colour, lw=1.0, label=names[row])
        if np.isfinite(where[row]):
            axes.axvline(where[row], color=colour, lw=0.8, ls="--")
    axes.set(xlabel=f"{result.row_axis[0]} (eV)", ylabel="derivative (1/eV)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def against_rows(result: AnalysedResult, numbers: dict[str, Quantity]) -> Figure:
    """Draw what was read off against the capacity in the names of the samples or, where that is not there, the rows."""
    by_unit: dict[str, list[str]] = {}
    for key, quantity in numbers.items():
        kind = f"fraction{quantity.units}" if "_of_" in key or key.endswith("_sum") else key
        by_unit.setdefault(kind, []).append(key)
    figure = Figure(figsize=(9.0, 1.0 + 2.4 * len(by_unit)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(by_unit), 1, sharex=True))
    names = labels(result)
    taken = np.flatnonzero(np.any([np.isfinite(each.values) for each in numbers.values()], axis=0))
    if not len(taken):
        taken = np.arange(len(names))
    samples = [str(result.row_sample[row]) for row in taken]
    at, axis = capacities(samples)
    for axes, keys in zip(panels, by_unit.values(), strict=True):
        for number, key in enumerate(keys):
            sigma = result.quantities.get(f"{key}_sigma")
            axes.errorbar(
                at, numbers[key].values[taken], yerr=None if sigma is None else sigma.values[taken],
                fmt="o" if axis == "run" else "o-",
                ms=4, lw=0.8, color=COLOURS[number % len(COLOURS)], label=numbers[key].meaning,
            )  # fmt: skip
        units = numbers[keys[0]].units
        axes.set_ylabel(f"({units})" if units else "")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    if axis == "run":
        panels[-1].set_xticks(at, [names[row] for row in taken], rotation=20, ha="right", fontsize=8)
    else:
        panels[-1].set_xlabel(axis)
    return figure


def image(result: AnalysedResult, name: str, quantity: Quantity, sigma: Quantity | None) -> Figure:
    """Draw a map, and beside it its standard uncertainty."""
    shown = [quantity] if sigma is None else [quantity, sigma]
    number = name.partition("_")[0]
    x, y = (result.quantities.get(f"{number}_{axis}") for axis in ("x", "y"))
    height, width = quantity.values.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    unit = "pixel"
    if x is not None and y is not None and width > 1 and height > 1:
        half_x, half_y = (0.5 * (each.values[1] - each.values[0]) for each in (x, y))
        extent = (
            x.values[0] - half_x, x.values[-1] + half_x, y.values[0] - half_y, y.values[-1] + half_y,
        )  # fmt: skip
        unit = "um"
    ratio = abs((extent[3] - extent[2]) / (extent[1] - extent[0]))
    figure = Figure(figsize=(9.0, min(9.0, max(2.4, 3.3 * ratio + 0.8))), layout="constrained")
    for axes, each, title in zip(
        np.atleast_1d(figure.subplots(1, len(shown))), shown, (quantity.meaning, "standard uncertainty"), strict=False
    ):
        finite = each.values[np.isfinite(each.values)]
        low, high = np.percentile(finite, PERCENTILES) if finite.size else (0.0, 1.0)
        drawn = axes.imshow(
            each.values, origin="lower", extent=extent, vmin=low, vmax=max(high, low + 1e-12), cmap="viridis",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_facecolor("#d9d9d9")
        axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        axes.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=axes, label=quantity.units, extend="both", fraction=0.046, pad=0.03)
    return figure


def _maps(result: AnalysedResult) -> Iterator[tuple[str, Quantity]]:
    for name, quantity in result.quantities.items():
        if is_map(name, quantity) and np.isfinite(quantity.values).any():
            yield name, quantity


def _run_of_map(result: AnalysedResult, name: str) -> str:
    """Give the uid of the run that a map is of."""
    return str(result.quantities["map_runs"].values[int(name.partition("_")[0].removeprefix("map")) - 1])


def _title_of(result: AnalysedResult, name: str) -> str:
    number, _, rest = name.partition("_")
    run = _run_of_map(result, name)
    sample = next(
        (str(sample) for sample, uid in zip(result.row_sample, result.row_run, strict=True) if uid == run), ""
    )
    return f"Map: {rest.replace('_', ' ')}: {shortened(sample) or number} ({run[:8]})"


def _said_of_map(result: AnalysedResult, name: str) -> str:
    """Say of how many pixels there is a value, and why of the others not."""
    measure = next(
        key for key in result.quantities if key.endswith("_status") and name.startswith(key.removesuffix("status"))
    )
    status = result.quantities[measure].values
    reasons = result.quantities[measure.removesuffix("status") + "reasons"].values
    with_sample = int((status > 0).sum())
    known = int(np.isfinite(result.quantities[name].values).sum())
    others = [
        f"{int((status == place).sum())} {reason}"
        for place, reason in enumerate(map(str, reasons))
        if place and reason != "ok" and (status == place).any()
    ]
    why = f"; {'; '.join(others)}" if others else ""
    return (
        f"{known} of {with_sample} pixels with sample{why}. Grey: no value. The colours end at the first and the last"
        " percent."
    )


def _said_of_spectra(result: AnalysedResult, rows: NDArray[np.intp]) -> str:
    status = result.quantities["spectrum_status"].values
    names = labels(result)
    refused = [f"{names[row]}: {status[row]}" for row in rows if str(status[row]) != "ok"]
    compared = " Below: less the one compared with." if any(_is_compared(result, row) for row in rows) else ""
    measured = " Without self-absorption; dashed: as measured." if _is_corrected(result, rows) else ""
    return f"With 68 % bands.{measured}{compared}" + (f" Not normalised: {'; '.join(refused)}." if refused else "")


def _numbers(result: AnalysedResult, name: str) -> dict[str, Quantity]:
    """Give what a measure read off the rows: one number for each."""
    return {
        key: quantity
        for key, quantity in result.quantities.items()
        if key.startswith(f"{name}_") and quantity.axes == ("rows",) and not key.endswith(("_sigma", "_status"))
        and quantity.values.dtype.kind == "f"
    }  # fmt: skip


def _heading(key: str, name: str, quantity: Quantity) -> str:
    own = key.removeprefix(f"{name}_").removeprefix("of_").replace("_", " ")
    return f"{own} ({quantity.units})" if quantity.units else own


def _cell(result: AnalysedResult, key: str, row: int) -> str:
    value = float(result.quantities[key].values[row])
    if not np.isfinite(value):
        return ""
    sigma = result.quantities.get(f"{key}_sigma")
    if sigma is None or not np.isfinite(sigma.values[row]):
        return f"{value:.4g}"
    return with_sigma(value, float(sigma.values[row]))
