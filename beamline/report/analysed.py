"""The figures and the tables of an analysis by a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from beamline.report.figures import Drawn
from beamline.report.numbers import drawn_as
from beamline.report.page import PageTable
from beamline.report.stxm.pooled import capacities
from beamline.text import MOST_CHARACTERS, shortened, shortened_within, with_sigma
from callbacks.analysis.analyse import is_map
from callbacks.contract import NOT_TAKEN, AnalysedResult, Quantity

FloatArray = NDArray[np.floating]

COLOURS = ("#1b6ca8", "#d1495b", "#5a9367", "#8a5fa8", "#c98a1b", "#3d3d3d", "#4fb0ae", "#a0522d")
MOST_OF_A_SAMPLE = 32  # characters of its name in a label, which tells edge, part and run behind it
MOST_FITS = 12  # spectra whose fits are drawn
DARK = 0.02  # of the maximum: what is below is not shown of a spectrum of emission
ROUNDING = 1e-12  # of a spectrum: a residual below is rounding, and drawn as the line that it is
FLAT = 0.01  # of the height of a spectrum that the axis of such a residual spans, up and down
BAND = 0.1  # height over width, or the reverse, of maps: one with less is drawn as a band
CHARACTERS_OF_A_BAR = 24  # in a line of the label of a scale of colours, which may be low
MOST_MAPS = 4  # of runs side by side
MAPS = "Grey: no value. The colours end at the first and the last percent."
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
            yield f"Fits: {name}", "Points: the spectrum; line: the fit. Below: the residual.", fits(result, name)
        if f"{name}_slope" in result.quantities:
            yield f"Derivative: {name}", "With its 68 % band; the line is where it is largest.", slopes(result, name)
    for name in measures:
        if numbers := _numbers(result, name):
            yield (
                name.replace("_", " "),
                _said_of_numbers(result, numbers),
                against_rows(result, name, numbers),
            )
    for names in _alike(result):
        if len(names) == 1:
            yield _title_of(result, names[0]), f"{_said_of_map(result, names[0])}. {MAPS}", image(result, names[0])
        else:
            told = "; ".join(f"{_sample_of_map(result, name)}: {_said_of_map(result, name)}" for name in names)
            yield _common_title(result, names[0]), f"{told}. {MAPS}", images(result, names)
    yield from _correlations(result)


def _said_of_numbers(result: AnalysedResult, numbers: dict[str, Quantity]) -> str:
    scale = any(_with_scale(result, key) is not None for key in numbers)
    wide = " Pale: with what is not known of the energy scale." if scale else ""
    return f"Of each spectrum, with 68 % intervals; what is not known is left out, the table says why.{wide}"


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
        label(_with_unit(each.meaning.replace("_", " "), each.units))
    return figure


def tables(result: AnalysedResult, measures: Sequence[str]) -> Iterator[PageTable]:
    """Give a table of each measure: a line for each spectrum, with uncertainties, or why there is none."""
    for name in measures:
        if f"{name}_status" not in result.quantities:
            continue
        numbers = _numbers(result, name)
        header = ["spectrum", *(head for key, one in numbers.items() for head in _headings(result, key, name, one))]
        status = result.quantities[f"{name}_status"].values
        rows = [
            [label, *(cell for key in numbers for cell in _cells(result, key, row)), str(status[row])]
            for row, label in enumerate(labels(result, MOST_CHARACTERS))
            if str(status[row]) != NOT_TAKEN
        ]
        yield PageTable(name.replace("_", " "), [*header, "status"], rows)
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


def labels(result: AnalysedResult, most: int = MOST_OF_A_SAMPLE) -> list[str]:
    """Name the rows for a reader: by sample, of `most` characters, edge, part and run, as far as these differ."""
    edges, parts = _edges(result), list(map(str, result.row_part))
    told = []
    for row, (state, edge, part) in enumerate(zip(_states(result), edges, parts, strict=True)):
        words = [shortened_within(state[0], most)]
        words += [edge] if len(set(edges)) > 1 else []
        words += [part] if len(set(parts)) > 1 else []
        words += [str(result.row_run[row])[:8]] if _has_several(result, state) else []
        told.append(" ".join(words))
    return told


def _edges(result: AnalysedResult) -> list[str]:
    """Give the edge of each row; "" of all in an analysis that was kept before edges were."""
    return list(map(str, result.row_edge)) if len(result.row_edge) else [""] * len(result.row_run)


State = tuple[str, int]  # a sample, and which of its runs at an edge


def _states(result: AnalysedResult) -> list[State]:
    """Give each row its state: the same at all edges."""
    runs: dict[tuple[str, str], list[str]] = {}
    states = []
    for sample, edge, run in zip(map(str, result.row_sample), _edges(result), map(str, result.row_run), strict=True):
        own = runs.setdefault((sample, edge), [])
        if run not in own:
            own.append(run)
        states.append((sample, own.index(run)))
    return states


def _has_several(result: AnalysedResult, state: State) -> bool:
    """Tell whether the sample of a state was measured several times at an edge."""
    return any(sample == state[0] and number > 0 for sample, number in _states(result))


def spectra(result: AnalysedResult, rows: NDArray[np.intp]) -> Figure:
    """Draw spectra over one another with their bands, and below each less the first: a panel for each edge."""
    of_edges = _by_edge(result, rows)
    compared = [row for row in rows if _is_compared(result, row)]
    heights = (2, 1) if compared else (1,)
    figure = Figure(figsize=(max(9.0, 3.6 * len(of_edges)), 6.6 if compared else 4.4), layout="constrained")
    grid = figure.subplots(len(heights), len(of_edges), sharex="col", height_ratios=heights, squeeze=False)
    unit = str(result.row_units[rows[0]])
    names = _in_one_panel(result, rows)
    for place, ((edge, own), column) in enumerate(zip(of_edges.items(), grid.T, strict=True)):
        above, lowest = column[0], column[0]
        for row in own:
            _curve(above, result, "spectrum", row, names[row])
        if _is_corrected(result, own):
            _as_measured(above, result, own)
        for axes in column[1:]:
            lowest = _differences_below(above, axes, result, {row: names[row] for row in own})
        if place == 0:
            above.set_ylabel(_said_of_spectrum(unit))
        if len(of_edges) > 1:
            above.set_title(edge)
        lowest.set_xlabel(f"{result.row_axis[rows[0]]} (eV)")
        if result.row_axis[rows[0]] == "emission energy":  # of a whole chip, most of which is dark
            above.set_xlim(*_where_light_is(result, own))
        for each in column:
            each.grid(alpha=0.3)
    most = max(map(len, of_edges.values()))
    fullest = max(place for place, own in enumerate(of_edges.values()) if len(own) == most)
    if len(set(names.values())) <= 2 * len(COLOURS):
        grid[0][fullest].legend(fontsize=8)
    return figure


def _differences_below(above: Axes, axes: Axes, result: AnalysedResult, names: Mapping[int, str]) -> Axes:
    """Draw differences below spectra; give the axes whose energies are written at: those above where there are none."""
    compared = [row for row in names if _is_compared(result, row)]
    if not compared:
        axes.set_visible(False)
        above.tick_params(labelbottom=True)
        return above
    for row in compared:
        _curve(axes, result, "difference", row, names[row])
    axes.axhline(0.0, color="black", lw=0.6)
    axes.set_ylabel(_with_unit("difference", str(result.row_units[compared[0]])))
    return axes


def _said_of_spectrum(unit: str) -> str:
    return _with_unit("spectrum", unit) if unit else "absorption"


def _by_edge(result: AnalysedResult, rows: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    """Give the rows of each edge, by energy."""
    edges = np.array(_edges(result))
    lowest = {edge: np.nanmin(result.quantities["energy"].values[rows[edges[rows] == edge]]) for edge in edges[rows]}
    return {edge: rows[edges[rows] == edge] for edge in sorted(lowest, key=lambda edge: float(lowest[edge]))}


def _in_one_panel(result: AnalysedResult, rows: NDArray[np.intp]) -> dict[int, str]:
    """Name the rows of a figure, where the edge stands above their panel, and a part that is common in the heading."""
    states, parts = _states(result), [str(part) for part in result.row_part]
    several, told = len({parts[row] for row in rows}) > 1, {}
    for row in map(int, rows):
        words = [shortened_within(states[row][0], MOST_OF_A_SAMPLE)]
        words += [parts[row]] if several else []
        words += [str(result.row_run[row])[:8]] if _has_several(result, states[row]) else []
        told[row] = " ".join(words)
    return told


def _where_light_is(result: AnalysedResult, rows: NDArray[np.intp]) -> tuple[float, float]:
    """Give the energies between which spectra are above a share of their maximum, and a little beside."""
    energy, values = (result.quantities[key].values[rows] for key in ("energy", "spectrum"))
    bright = np.isfinite(values) & (values > DARK * np.nanmax(values))
    low, high = float(energy[bright].min()), float(energy[bright].max())
    beside = 0.2 * max(high - low, 1.0)
    return low - beside, high + beside


def _colour(result: AnalysedResult, row: int) -> str:
    """Give the colour of a row: that of its state, at all edges, or of its part where there is one state only."""
    states, parts = _states(result), list(map(str, result.row_part))
    of: Sequence[object] = states if len(set(states)) > 1 else parts
    return COLOURS[list(dict.fromkeys(of)).index(of[row]) % len(COLOURS)]


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
    known = np.isfinite(energy)  # not behind the end of a shorter spectrum; where nothing was measured is a gap
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
    grid = figure.subplots(2 * lines, columns, squeeze=False, sharex="col", height_ratios=(2, 1) * lines)
    names = labels(result)
    for axes in grid.ravel():
        axes.set_visible(False)
    for place, row in enumerate(fitted):
        line, column = divmod(place, columns)
        above, below = grid[2 * line][column], grid[2 * line + 1][column]
        energy, values = (result.quantities[key].values[row] for key in ("energy", "spectrum"))
        inside = np.isfinite(curve[row])
        residual, unit = values - curve[row], str(result.row_units[row])
        (data,) = above.plot(energy[inside], values[inside], ".", ms=2.5, color="#808080")
        (fit,) = above.plot(energy, curve[row], color=COLOURS[1], lw=1.0)
        (rest,) = below.plot(energy, residual, color=COLOURS[0], lw=0.8)
        for drawn, said in ((data, "data"), (fit, "fit"), (rest, "residual")):
            drawn_as(drawn, said)
        below.axhline(0.0, color="black", lw=0.6)
        height = float(np.ptp(values[inside]))
        if np.nanmax(np.abs(residual[inside])) <= ROUNDING * np.abs(values[inside]).max():
            below.set_ylim(-FLAT * height, FLAT * height)
        above.set_title(names[row], fontsize=9)
        for axes in (above, below):
            axes.set_visible(True)
            axes.grid(alpha=0.3)
        below.set_xlabel(f"{result.row_axis[row]} (eV)")
        if column == 0 or unit != result.row_units[fitted[place - column]]:
            above.set_ylabel(_said_of_spectrum(unit))
            below.set_ylabel(_with_unit("residual", unit))
    return figure


def slopes(result: AnalysedResult, name: str) -> Figure:
    """Draw derivatives with their bands."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    names = labels(result)
    values, sigma = (result.quantities[f"{name}_{key}"].values for key in ("slope", "slope_sigma"))
    where = result.quantities[f"{name}_energy"].values
    for row, energy in enumerate(result.quantities["energy"].values):
        known = np.isfinite(energy)
        if not np.isfinite(values[row]).any():
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


def against_rows(result: AnalysedResult, name: str, numbers: dict[str, Quantity]) -> Figure:
    """Draw what was read off against the capacity in the names of the samples or, where that is not there, the rows.

    Fractions are drawn together; anything else has a panel for each edge.
    """
    taken = np.flatnonzero(np.any([np.isfinite(each.values) for each in numbers.values()], axis=0))
    of_edges = _by_edge(result, taken if len(taken) else np.arange(len(result.row_run)))
    several = len(of_edges) > 1
    panels: dict[str, list[tuple[str, str]]] = {}
    for key, quantity in numbers.items():
        is_fraction = "_of_" in key or key.endswith("_sum")
        for edge in of_edges:
            kind = f"fraction{quantity.units}" if is_fraction else f"{key} {edge}"
            panels.setdefault(kind, []).append((key, edge))
    at, axis, names = _places(result, np.concatenate([*of_edges.values()]))
    figure = Figure(figsize=(9.0, 1.0 + 2.4 * len(panels)), layout="constrained")
    grid = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axes, curves in zip(grid, panels.values(), strict=True):
        for number, (key, edge) in enumerate(curves):
            sigma, rows = result.quantities.get(f"{key}_sigma"), of_edges[edge]
            if (whole := _with_scale(result, key)) is not None:
                axes.errorbar(
                    [at[row] for row in rows], numbers[key].values[rows], yerr=whole[rows], fmt="none",
                    elinewidth=3.0, alpha=0.3, color=COLOURS[number % len(COLOURS)],
                )  # fmt: skip
            axes.errorbar(
                [at[row] for row in rows], numbers[key].values[rows],
                yerr=None if sigma is None else sigma.values[rows],
                fmt="o" if axis == "run" else "o-", ms=4, lw=0.8, color=COLOURS[number % len(COLOURS)],
                label=f"{edge}: {numbers[key].meaning}" if several else numbers[key].meaning,
            )  # fmt: skip
        axes.set_ylabel(_said_of_panel(name, {key: numbers[key] for key, _ in curves}))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    if axis == "run":
        grid[-1].set_xticks([*names], [*names.values()], rotation=20, ha="right", fontsize=8)
    grid[-1].set_xlabel(axis)
    return figure


def _said_of_panel(name: str, numbers: dict[str, Quantity]) -> str:
    """Label the axis of a panel: by the one value in it, or by what all of its fractions are."""
    key, first = next(iter(numbers.items()))
    own = key.removeprefix(f"{name}_")
    if own.startswith("of_"):
        fraction = first.meaning.partition(";")[0]
        alone = sum("_of_" in each for each in numbers) == 1
        return fraction if alone else fraction.removesuffix(f" {own.replace('_', ' ', 1)}")
    return _with_unit(own.replace("_", " "), first.units)


def _with_unit(what: str, unit: str) -> str:
    return f"{what} ({unit})" if unit else what


def _with_scale(result: AnalysedResult, key: str) -> FloatArray | None:
    """Give the uncertainties of a value with what the energy scale adds; None where that is nothing, or not known."""
    by_scale = result.quantities.get(f"{key}_scale_sigma")
    if by_scale is None or not (by_scale.values > 0).any():
        return None
    whole: FloatArray = np.hypot(result.quantities[f"{key}_sigma"].values, by_scale.values)
    return whole


def _places(result: AnalysedResult, rows: NDArray[np.intp]) -> tuple[dict[int, float], str, dict[float, str]]:
    """Give where each row stands along an axis, the label of that, and the names of places that are no capacities.

    A state stands in one place at all edges.
    """
    states, ordered = _states(result), sorted(map(int, rows))
    if len(set(_edges(result))) > 1:
        known = list(dict.fromkeys(states[row] for row in ordered))
        found, axis = capacities([sample for sample, _ in known])
        at = {row: float(found[known.index(states[row])]) for row in ordered}
        return at, axis, {at[row]: shortened(states[row][0]) for row in ordered}
    found, axis = capacities([states[row][0] for row in ordered])
    at, names = dict(zip(ordered, found.tolist(), strict=True)), labels(result)
    return at, axis, {at[row]: names[row] for row in ordered}


def image(result: AnalysedResult, name: str) -> Figure:
    """Draw a map, and beside it its standard uncertainty."""
    quantity, sigma = result.quantities[name], result.quantities.get(f"{name}_sigma")
    shown = [quantity] if sigma is None else [quantity, sigma]
    extent, unit = _extent(result, name)
    figure = Figure(figsize=(9.0, min(9.0, max(2.4, 3.3 * _ratio(extent) + 0.8))), layout="constrained")
    for axes, each, title in zip(
        np.atleast_1d(figure.subplots(1, len(shown))), shown, (quantity.meaning, "standard uncertainty"), strict=False
    ):
        drawn = _image(axes, each, (extent, unit), _limits([each]))
        axes.set_title(title, fontsize=9)
        bar = figure.colorbar(drawn, ax=axes, label=quantity.units, extend="both", fraction=0.046, pad=0.03)
        _without_offset(bar)
    return figure


def images(result: AnalysedResult, names: Sequence[str]) -> Figure:
    """Draw maps of several runs side by side, below each its standard uncertainty, on one colour scale each."""
    values = [result.quantities[name] for name in names]
    sigmas = [result.quantities[f"{name}_sigma"] for name in names if f"{name}_sigma" in result.quantities]
    shown = [each for each in (values, sigmas) if len(each) == len(names)]
    extents = [_extent(result, name) for name in names]
    ratio = max(_ratio(extent) for extent, _ in extents)
    size = (max(9.0, 2.6 * len(names)), len(shown) * max(2.4, 2.6 * min(ratio, 1.6) + 0.6))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(shown), len(names), squeeze=False)
    for line, quantities, title in zip(grid, shown, (values[0].meaning, "standard uncertainty"), strict=False):
        limits = _limits(quantities)
        for axes, each, extent, name in zip(line, quantities, extents, names, strict=True):
            drawn = _image(axes, each, extent, limits)
            axes.set_title(_sample_of_map(result, name), fontsize=9)
        label = fill(_with_unit(title, values[0].units), CHARACTERS_OF_A_BAR)
        _without_offset(figure.colorbar(drawn, ax=list(line), label=label, extend="both", fraction=0.046, pad=0.01))
    return figure


Extent = tuple[float, float, float, float]


def _image(axes: Axes, each: Quantity, place: tuple[Extent, str], limits: tuple[float, float]) -> AxesImage:
    extent, unit = place
    drawn = axes.imshow(
        each.values, origin="lower", extent=extent, vmin=limits[0], vmax=limits[1], cmap="viridis",
        interpolation="nearest",
    )  # fmt: skip
    axes.set_facecolor("#d9d9d9")
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal" if _is_area(extent) else "auto")
    if 1 in each.values.shape:  # a line of pixels, of which one axis tells nothing
        axes.set(**({"yticks": [], "ylabel": ""} if each.values.shape[0] == 1 else {"xticks": [], "xlabel": ""}))
    return drawn


def _ratio(extent: Extent) -> float:
    """Give height over width of a map as it is drawn: one of a line of pixels is a band."""
    ratio = abs((extent[3] - extent[2]) / (extent[1] - extent[0]))
    return min(max(ratio, BAND), 1 / BAND)


def _is_area(extent: Extent) -> bool:
    return BAND <= abs((extent[3] - extent[2]) / (extent[1] - extent[0])) <= 1 / BAND


def _without_offset(bar: Colorbar) -> None:
    """Let the numbers beside a scale of colours be the values themselves, of energies, too."""
    bar.ax.ticklabel_format(axis="y", useOffset=False)


def _extent(result: AnalysedResult, name: str) -> tuple[Extent, str]:
    """Give the outer edges of a map: left, right, bottom, top, and their unit."""
    height, width = result.quantities[name].values.shape
    number = name.partition("_")[0]
    x, y = (result.quantities.get(f"{number}_{axis}") for axis in ("x", "y"))
    if x is None or y is None or width * height < 2:
        return (-0.5, width - 0.5, -0.5, height - 0.5), "pixel"
    steps = [each.values[1] - each.values[0] for each in (x, y) if len(each.values) > 1]
    half_x, half_y = 0.5 * steps[0], 0.5 * steps[-1]
    return (x.values[0] - half_x, x.values[-1] + half_x, y.values[0] - half_y, y.values[-1] + half_y), "um"


def _limits(quantities: Sequence[Quantity]) -> tuple[float, float]:
    """Give what the colours of maps end at."""
    finite = np.concatenate([each.values[np.isfinite(each.values)] for each in quantities])
    low, high = np.percentile(finite, PERCENTILES) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-12))


def _alike(result: AnalysedResult) -> Iterator[list[str]]:
    """Give the names of maps that are drawn together: of the same measure at the same edge, `MOST_MAPS` at most."""
    edges = dict(zip(map(str, result.row_run), _edges(result), strict=True))
    groups: dict[tuple[str, str], list[str]] = {}
    for name, _ in _maps(result):
        groups.setdefault((name.partition("_")[2], edges.get(_run_of_map(result, name), "")), []).append(name)
    for names in groups.values():
        yield from (names[begin : begin + MOST_MAPS] for begin in range(0, len(names), MOST_MAPS))


def _maps(result: AnalysedResult) -> Iterator[tuple[str, Quantity]]:
    for name, quantity in result.quantities.items():
        if is_map(name, quantity) and np.isfinite(quantity.values).any():
            yield name, quantity


def _run_of_map(result: AnalysedResult, name: str) -> str:
    """Give the uid of the run that a map is of."""
    return str(result.quantities["map_runs"].values[int(name.partition("_")[0].removeprefix("map")) - 1])


def _sample_of_map(result: AnalysedResult, name: str) -> str:
    """Name the sample of a map."""
    run = _run_of_map(result, name)
    samples = (str(sample) for sample, uid in zip(result.row_sample, result.row_run, strict=True) if uid == run)
    return shortened(next(samples, "")) or name.partition("_")[0]


def _title_of(result: AnalysedResult, name: str) -> str:
    said = name.partition("_")[2].replace("_", " ")
    return f"Map: {said}: {_sample_of_map(result, name)} ({_run_of_map(result, name)[:8]})"


def _common_title(result: AnalysedResult, name: str) -> str:
    edges = dict(zip(map(str, result.row_run), _edges(result), strict=True))
    edge, said = edges.get(_run_of_map(result, name), ""), name.partition("_")[2].replace("_", " ")
    return f"Maps: {said}: {edge}" if edge and len(set(edges.values())) > 1 else f"Maps: {said}"


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
    return f"{known} of {with_sample} pixels with sample{why}"


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


def _headings(result: AnalysedResult, key: str, name: str, quantity: Quantity) -> list[str]:
    """Name a value and, where it is known, what the energy scale adds to its uncertainty."""
    own = key.removeprefix(f"{name}_").removeprefix("of_").replace("_", " ")
    added = ["± by energy scale"] if _with_scale(result, key) is not None else []
    return [_with_unit(each, quantity.units) for each in (own, *added)]


def _cells(result: AnalysedResult, key: str, row: int) -> list[str]:
    """Show a value with its standard uncertainty and, where it is known, what the energy scale adds to that."""
    if _with_scale(result, key) is None:
        return [_cell(result, key, row)]
    sigma = float(result.quantities[f"{key}_scale_sigma"].values[row])
    return [_cell(result, key, row), f"{sigma:.2g}" if np.isfinite(sigma) else ""]


def _cell(result: AnalysedResult, key: str, row: int) -> str:
    value = float(result.quantities[key].values[row])
    if not np.isfinite(value):
        return ""
    sigma = result.quantities.get(f"{key}_sigma")
    if sigma is None or not np.isfinite(sigma.values[row]):
        return f"{value:.4g}"
    return with_sigma(value, float(sigma.values[row]))
