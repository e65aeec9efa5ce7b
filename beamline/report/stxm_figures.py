"""Figures of STXM stacks, one function a figure, as matplotlib figures with a scale on every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, REJECTED
from callbacks.contract import RegionsResult
from callbacks.stxm.unmixing.chemical_map import colour_scale, colours

SERIES = ("#1b6ca8", "#d1495b", "#5a9367", "#b8860b", "#7a4fa3", "#444444")
DENSITY, DIVERGING, FRACTION = "viridis", "RdBu_r", ListedColormap(colour_scale())
WORST_FRACTION = 0.3  # uncertainty beyond which a fraction is not shown
RESIDUAL_WHITE = 0.25  # of Gent et al. (2017): white is this residual or more
SHOWN_PIXELS = 20_000  # of a scatter plot
MASK_COLOURS = ("#e8e8e8", "#000000", "#6b6b6b", "#7a1f2b", "#d1495b", "#a9c8e0")  # by the number of the reason


@dataclass(frozen=True)
class Field:
    """Where the pixels of a region are: x and y of the first and last pixel's centre, um."""

    rows: slice
    columns: slice
    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def width(self) -> float:
        """Width in um, from centre to centre."""
        return abs(self.x[1] - self.x[0])


def fields(result: RegionsResult) -> list[Field]:
    """Give the regions of a stack's result."""
    edges = np.cumsum([0, *np.atleast_1d(result.region_rows)]).tolist()
    return [
        Field(
            slice(edges[i], edges[i + 1]),
            slice(0, int(result.region_columns[i])),
            tuple(result.region_x[i]),
            tuple(result.region_y[i]),
        )
        for i in range(len(edges) - 1)
    ]


def images(
    panels: Sequence[tuple[str, np.ndarray]],
    places: Sequence[Field],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
    colours_of: Any = DENSITY,
) -> Figure:
    """Draw images of one stack beside one another on one colour scale.

    Parameters
    ----------
    panels : sequence of (title, image)
        Images of shape (lines, columns).
    places : sequence of Field
        The regions that the lines make; each panel is drawn once for each.
    label : str
        Of the colour scale, with the unit.
    limits : (float, float), optional
        Of the colour scale; the 1st and 99th percentile of all panels where not given.
    colours_of : colour map
    """
    drawn = [
        (title if len(places) == 1 else f"{title}, region {number}", image[place.rows, place.columns], place)
        for title, image in panels
        for number, place in enumerate(places, start=1)
    ]
    return gallery(
        [(title, image) for title, image, _ in drawn],
        [place for *_, place in drawn],
        label=label,
        limits=limits,
        colours_of=colours_of,
    )


def gallery(
    panels: Sequence[tuple[str, np.ndarray]],
    places: Sequence[Field],
    *,
    label: str = "",
    limits: tuple[float, float] | None = None,
    colours_of: Any = DENSITY,
) -> Figure:
    """Draw images, each with its own field, beside one another on one colour scale.

    Parameters
    ----------
    panels : sequence of (title, image)
        Images of shape (rows, columns), or (rows, columns, 3) for colours.
    places : sequence of Field, of the same length
    label, limits, colours_of
        As of `images`.
    """
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    tallest = max((_aspect(image) for _, image in panels), default=1.0)
    figure = Figure(figsize=(3.4 * columns + 0.9, max(1.6, 3.3 * tallest * rows + 0.3)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    plain = [image for _, image in panels if image.ndim == 2]
    low, high = limits or _limits(plain)
    shown = None
    for axes, (title, image), place in zip(grid, panels, places, strict=False):
        shown = axes.imshow(
            image, origin="lower", extent=_extent(place, image), cmap=colours_of, vmin=low, vmax=high,
            interpolation="nearest", aspect="equal" if _aspect(image) > 0.1 else "auto",
        )  # fmt: skip
        axes.set_facecolor("#d8d8d8")
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="x (um)", ylabel="y (um)")
        axes.tick_params(labelsize=8)
        _scale_bar(axes, place)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if plain and shown is not None:
        figure.colorbar(shown, ax=list(grid[: len(panels)]), label=label, shrink=0.85, pad=0.02)
    return figure


def chemical_maps(panels: Sequence[tuple[str, np.ndarray]], places: Sequence[Field]) -> Figure:
    """Draw the chemical maps of several runs, with one colour scale.

    Parameters
    ----------
    panels : sequence of (title, colours)
        Shape (rows, columns, 3).
    places : sequence of Field, of the same length
    """
    figure = gallery(panels, places)
    shown = ScalarMappable(Normalize(0, 1), FRACTION)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    figure.colorbar(shown, ax=visible, label="reduced fraction", shrink=0.85, pad=0.02)
    return figure


def chemical_map(
    reduced: np.ndarray, sigma: np.ndarray, area: np.ndarray, place: Field, *, names: tuple[str, str]
) -> Figure:
    """Draw the chemical map with its colour scale, the reduced fraction and its uncertainty.

    Parameters
    ----------
    reduced, sigma, area : numpy.ndarray, shape (rows, columns)
        Reduced fraction, its standard uncertainty, integrated edge area.
    place : Field
    names : (str, str)
        Of the reduced and the oxidised phase.
    """
    with np.errstate(invalid="ignore"):
        known = sigma <= WORST_FRACTION
    reduced, sigma = np.where(known, reduced, np.nan), np.where(known, sigma, np.nan)
    figure = Figure(figsize=(12.6, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.imshow(colours(reduced, area), origin="lower", extent=_extent(place, reduced), interpolation="nearest")
    left.set_title("chemical map", fontsize=10)
    scale = left.inset_axes((0.0, -0.30, 1.0, 0.07))
    steps = colour_scale()
    scale.imshow(np.linspace(0, 1, 24)[:, None, None] * steps[None], origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    scale.set(xlabel=f"fraction of {names[0]} in {names[0]} + {names[1]}", yticks=[0, 1])
    scale.set_yticklabels(["0", "full"], fontsize=7)
    scale.set_ylabel("edge\narea", fontsize=7, rotation=0, ha="right", va="center")
    shown = middle.imshow(
        reduced, origin="lower", extent=_extent(place, reduced), cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
    )
    figure.colorbar(shown, ax=middle, label="reduced fraction", shrink=0.8)
    middle.set_title("reduced fraction", fontsize=10)
    high = float(np.nanpercentile(sigma, 95)) if np.isfinite(sigma).any() else 1.0
    shown = right.imshow(
        sigma, origin="lower", extent=_extent(place, sigma), cmap="magma", vmin=0, vmax=high, interpolation="nearest"
    )
    figure.colorbar(shown, ax=right, label="standard uncertainty", shrink=0.8)
    right.set_title("its uncertainty", fontsize=10)
    for axes in (left, middle, right):
        axes.set(xlabel="x (um)", ylabel="y (um)")
        axes.set_facecolor("#d8d8d8")
        _scale_bar(axes, place)
    return figure


def drift(energy: np.ndarray, shift: np.ndarray, sigma: np.ndarray, status: Sequence[str]) -> Figure:
    """Draw the shift of every image with its uncertainty.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    shift, sigma : numpy.ndarray, shape (n, regions, 2)
        Rows and columns, pixel.
    status : sequence of str
        "ok", or why an image has no shift.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes, path = figure.subplots(1, 2, width_ratios=(2, 1))
    for region in range(shift.shape[1]):
        for axis, name in enumerate(("rows", "columns")):
            label = name if shift.shape[1] == 1 else f"{name}, region {region + 1}"
            axes.errorbar(
                energy,
                shift[:, region, axis],
                yerr=sigma[:, region, axis],
                fmt=".-",
                ms=4,
                lw=0.8,
                color=SERIES[(2 * region + axis) % len(SERIES)],
                label=label,
            )
        path.plot(shift[:, region, 1], shift[:, region, 0], ".-", lw=0.6, ms=3, color=SERIES[region % len(SERIES)])
    lost = [place for place, reason in enumerate(status) if reason != "ok"]
    for place in lost:
        axes.axvline(energy[place], color=MARKED, lw=0.8, ls=":")
    axes.set(xlabel="energy (eV)", ylabel="shift (pixel)", title=f"shift of each image ({len(lost)} not used)")
    path.set(xlabel="columns (pixel)", ylabel="rows (pixel)", title="path")
    path.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8)
    for each in (axes, path):
        each.grid(alpha=0.3)
    return figure


def incident(energy: np.ndarray, rate: np.ndarray, sigma: np.ndarray, status: str) -> Figure:
    """Draw the incident flux found in the sample-free pixels against energy."""
    figure = Figure(figsize=(9.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(energy, (rate - sigma) / 1e6, (rate + sigma) / 1e6, color=ACCEPTED, alpha=0.3, lw=0)
    axes.plot(energy, rate / 1e6, ".-", color=ACCEPTED, lw=1.0, ms=3)
    axes.set(
        xlabel="energy (eV)", ylabel="I0 (10⁶ counts/s)", title=f"incident flux of the sample-free pixels: {status}"
    )
    axes.grid(alpha=0.3)
    return figure


def pixel_masks(mean: np.ndarray, blank: np.ndarray, mask: np.ndarray, reasons: Sequence[str], place: Field) -> Figure:
    """Draw which pixels are sample-free, and which are left out of the analysis and why."""
    figure = Figure(figsize=(10.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    extent = _extent(place, mean)
    shown = left.imshow(mean, origin="lower", extent=extent, cmap=DENSITY, interpolation="nearest")
    figure.colorbar(shown, ax=left, label="mean optical density", shrink=0.8)
    if blank.any():
        left.contourf(
            np.linspace(*place.x, mean.shape[1]),
            np.linspace(*place.y, mean.shape[0]),
            blank.astype(float),
            levels=[0.5, 1.5],
            colors=[MARKED],
            alpha=0.45,
        )
    left.set_title(f"sample-free pixels ({int(blank.sum())}, red)", fontsize=10)
    right.imshow(
        mask,
        origin="lower",
        extent=extent,
        cmap=ListedColormap(list(MASK_COLOURS)),
        vmin=-0.5,
        vmax=len(MASK_COLOURS) - 0.5,
        interpolation="nearest",
    )
    for number, reason in enumerate(reasons):
        count = int((mask == number).sum())
        if count:
            right.plot([], [], "s", color=MASK_COLOURS[number], mec="black", mew=0.4, label=f"{reason} ({count})")
    right.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8, frameon=False)
    right.set_title("pixels of the analysis", fontsize=10)
    for axes in (left, right):
        axes.set(xlabel="x (um)", ylabel="y (um)")
        _scale_bar(axes, place)
    return figure


def noise_histogram(noise: np.ndarray, cut: float) -> Figure:
    """Draw the histogram of the background's standard deviation over the pixels, with the cut."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    values = noise[np.isfinite(noise)]
    if values.size:
        top = float(np.percentile(values, 99.5))
        axes.hist(np.clip(values, None, top), bins=120, color=REJECTED)
        share = float(np.mean(values > cut)) if np.isfinite(cut) else 0.0
        axes.axvline(cut, color=MARKED, lw=1.5, label=f"cut at {cut:.3g} per eV: {share:.1%} of the pixels left out")
        axes.legend(fontsize=8)
    axes.set(
        xlabel="standard deviation of the background, normalised (1/eV)", ylabel="pixels", title="noise of the pixels"
    )
    return figure


def components(energy: np.ndarray, eigenvalues: np.ndarray, loadings: np.ndarray, significant: int) -> Figure:
    """Draw the explained variance, its cumulative sum, and the components.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    eigenvalues : numpy.ndarray, shape (n,)
        All of them.
    loadings : numpy.ndarray, shape (k, n)
    significant : int
        Components above the noise.
    """
    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    scree, curves = figure.subplots(1, 2, width_ratios=(1, 1.6))
    ratio = eigenvalues / eigenvalues.sum()
    first = np.arange(1, min(20, len(ratio)) + 1)
    scree.semilogy(first, ratio[: len(first)], "o-", ms=4, lw=0.8, color=ACCEPTED, label="each")
    scree.set(xlabel="component", ylabel="share of the variance", title=f"{significant} above the noise")
    scree.axvline(significant + 0.5, color=MARKED, lw=1.0, ls="--")
    cumulative = scree.twinx()
    cumulative.plot(first, np.cumsum(ratio)[: len(first)], "s-", ms=3, lw=0.8, color=SERIES[2], label="cumulative")
    cumulative.set_ylabel("cumulative share")
    cumulative.set_ylim(0, 1.02)
    scree.legend(handles=[*scree.get_lines()[:1], *cumulative.get_lines()], fontsize=8, loc="center right")
    step = 1.25 * float(np.abs(loadings).max())
    for number, loading in enumerate(loadings):
        curves.axhline(-number * step, color="#bbbbbb", lw=0.5)
        curves.plot(energy, loading - number * step, lw=1.1, color=SERIES[number % len(SERIES)])
        curves.annotate(
            f"{number + 1}: {ratio[number]:.1%}", (energy[-1], -number * step), fontsize=9, ha="right", va="bottom"
        )
    curves.set(xlabel="energy (eV)", ylabel="component, each one lower", title="components", yticks=[])
    curves.grid(alpha=0.3, axis="x")
    return figure


def spaces(scores: np.ndarray, weights: np.ndarray | None, clusters: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the pixels in PCA space and in NMF space, with the clusters that the end members are the means of.

    Parameters
    ----------
    scores : numpy.ndarray, shape (pixels, k)
    weights : numpy.ndarray, shape (pixels, number), or None
        Of the NMF.
    clusters : numpy.ndarray of int, shape (pixels,)
        Number of the cluster, from 1; 0 for none.
    names : sequence of str
        Of the end members.
    """
    panels: list[tuple[str, np.ndarray, tuple[int, int], str]] = []
    axes_of = ((0, 1), (0, 2)) if scores.shape[1] > 2 else ((0, 1),)
    panels += [("PCA space", scores, pair, "score") for pair in axes_of]
    if weights is not None:
        axes_of = ((0, 1), (0, 2)) if weights.shape[1] > 2 else ((0, 1),)
        panels += [("NMF space", weights, pair, "weight") for pair in axes_of]
    figure = Figure(figsize=(3.3 * len(panels), 3.5), layout="constrained")
    grid = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, points, (across, up), label) in zip(grid, panels, strict=True):
        known = np.flatnonzero(np.isfinite(points).all(axis=1))
        shown = known[:: max(1, len(known) // SHOWN_PIXELS)]
        axes.plot(points[shown, across], points[shown, up], ".", ms=1.2, color="#9aa7b1", alpha=0.5, rasterized=True)
        for number, name in enumerate(names, start=1):
            inside = clusters == number
            axes.plot(
                points[inside, across],
                points[inside, up],
                "o",
                ms=3.0,
                mfc="none",
                mew=0.8,
                color=SERIES[number - 1],
                label=f"{number} {name}",
            )
        lows, highs = np.percentile(points[known], (0.05, 99.95), axis=0)
        chosen = points[clusters > 0]
        if len(chosen):
            lows, highs = np.minimum(lows, chosen.min(axis=0)), np.maximum(highs, chosen.max(axis=0))
        margin = 0.06 * (highs - lows)
        axes.set_xlim(lows[across] - margin[across], highs[across] + margin[across])
        axes.set_ylim(lows[up] - margin[up], highs[up] + margin[up])
        axes.set(xlabel=f"{label} {across + 1}", ylabel=f"{label} {up + 1}", title=title)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    grid[0].legend(fontsize=7, loc="best")
    return figure


def spectra(
    energy: np.ndarray,
    curves: Sequence[tuple[str, np.ndarray, np.ndarray | None]],
    *,
    label: str,
    title: str,
    dashed: Sequence[tuple[str, np.ndarray]] = (),
    difference: bool = False,
) -> Figure:
    """Draw spectra with their 68 % bands, and below, if asked for, each less the first.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    curves : sequence of (name, values, sigma or None)
    label, title : str
    dashed : sequence of (name, values)
        More, dashed, in the colours of the curves of the same place.
    difference : bool
    """
    figure = Figure(figsize=(9.0, 5.6 if difference else 3.8), layout="constrained")
    panels = figure.subplots(2 if difference else 1, 1, sharex=True, squeeze=False)[:, 0]
    for number, (name, values, sigma) in enumerate(curves):
        colour = SERIES[number % len(SERIES)]
        panels[0].plot(energy, values, lw=1.2, color=colour, label=name)
        if sigma is not None:
            panels[0].fill_between(energy, values - sigma, values + sigma, color=colour, alpha=0.25, lw=0)
        if difference and number:
            left = values - curves[0][1]
            panels[1].plot(energy, left, lw=1.0, color=colour)
            if sigma is not None and curves[0][2] is not None:
                band = np.hypot(sigma, curves[0][2])
                panels[1].fill_between(energy, left - band, left + band, color=colour, alpha=0.25, lw=0)
    for number, (name, values) in enumerate(dashed):
        panels[0].plot(energy, values, lw=1.0, ls="--", color=SERIES[number % len(SERIES)], label=name)
    panels[0].set(ylabel=label, title=title)
    panels[0].legend(fontsize=8)
    if difference:
        panels[1].axhline(0, color="black", lw=0.6)
        panels[1].set_ylabel("less the first")
    panels[-1].set_xlabel("energy (eV)")
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure


def residual_against_brightness(brightness: np.ndarray, residual: np.ndarray) -> Figure:
    """Draw the residual of every pixel's fit against its brightness.

    Parameters
    ----------
    brightness, residual : numpy.ndarray, shape (pixels,)
        Brightness from 0 to 1, linear in the edge area; 2-norm of what the fit leaves.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    known = np.flatnonzero(np.isfinite(brightness) & np.isfinite(residual))
    shown = known[:: max(1, len(known) // SHOWN_PIXELS)]
    axes.plot(brightness[shown], residual[shown], ".", ms=1.5, alpha=0.4, color=ACCEPTED, rasterized=True)
    if len(known):
        edges = np.quantile(brightness[known], np.linspace(0, 1, 16))
        middle = [
            (float(np.median(brightness[known][inside])), float(np.median(residual[known][inside])))
            for low, high in pairwise(edges)
            if (inside := (brightness[known] >= low) & (brightness[known] <= high)).any()
        ]
        axes.plot(*np.array(middle).T, "o-", color=MARKED, ms=4, lw=1.0, label="median")
        axes.set_ylim(0, float(np.percentile(residual[known], 99.7)) * 1.15)
        axes.legend(fontsize=8)
    axes.set(xlabel="brightness (edge area, 1 = full)", ylabel="residual (2-norm)", title="residual against brightness")
    axes.grid(alpha=0.3)
    return figure


def focus(
    position: np.ndarray, sharpness: np.ndarray, sigma: np.ndarray, lines: np.ndarray, *, best: float, status: str
) -> Figure:
    """Draw a focus scan: the lines one above the other, and their sharpness against the zone plate's position."""
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    order = np.argsort(position)
    left.imshow(
        lines[order],
        origin="lower",
        aspect="auto",
        cmap="gray",
        interpolation="nearest",
        extent=(-0.5, lines.shape[1] - 0.5, position.min(), position.max()),
    )
    left.set(xlabel="pixel", ylabel="zone plate (um)", title="lines")
    right.errorbar(position, sharpness, yerr=sigma, fmt=".", color=ACCEPTED)
    if np.isfinite(best):
        for axes, draw in ((left, left.axhline), (right, right.axvline)):
            draw(best, color=MARKED, lw=1.0)
            axes.grid(visible=False)
    right.set(
        xlabel="zone plate (um)", ylabel="sharpness", title=status if status != "ok" else f"focus at {best:.2f} um"
    )
    right.grid(alpha=0.3)
    return figure


def against_capacity(
    capacity: np.ndarray, totals: np.ndarray, sigma: np.ndarray, names: Sequence[str], *, label: str
) -> Figure:
    """Draw total fractions against the capacity of each sample.

    Parameters
    ----------
    capacity : numpy.ndarray, shape (samples,)
    totals, sigma : numpy.ndarray, shape (samples, curves)
    names : sequence of str
        Of the curves.
    label : str
        Of the horizontal axis.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        axes.errorbar(
            capacity, totals[:, number], yerr=sigma[:, number], fmt="o-", ms=5, lw=1.0, color=SERIES[number], label=name
        )
    axes.set(xlabel=label, ylabel="fraction", ylim=(-0.05, 1.05), title="total fractions")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _extent(place: Field, image: np.ndarray) -> tuple[float, float, float, float]:
    """Give the outer borders of the pixels: left, right, bottom, top."""
    borders = []
    for (first, last), count in ((place.x, image.shape[1]), (place.y, image.shape[0])):
        half = 0.5 * (last - first) / (count - 1) if count > 1 else 0.5 * _step(place.x, image.shape[1])
        borders += [first - half, last + half]
    return borders[0], borders[1], borders[2], borders[3]


def _step(ends: tuple[float, float], count: int) -> float:
    return (ends[1] - ends[0]) / (count - 1) if count > 1 else 1.0


def _aspect(image: np.ndarray) -> float:
    return float(np.clip(image.shape[0] / image.shape[1], 0.05, 1.6))


def _limits(panels: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([panel[np.isfinite(panel)] for panel in panels]) if panels else np.zeros(0)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (1, 99))
    return float(low), float(high if high > low else low + 1.0)


def _scale_bar(axes: Axes, place: Field) -> None:
    """Draw a bar of a round length, about a fifth of the width."""
    if not place.width > 0:
        return
    power = 10.0 ** np.floor(np.log10(place.width / 5))
    length = power * max(factor for factor in (1, 2, 5) if factor * power <= place.width / 5 * 1.0001)
    x, y = 0.05, 0.06
    share = length / (place.width * 1.01)
    axes.plot([x, x + share], [y, y], transform=axes.transAxes, color="white", lw=4.5, solid_capstyle="butt")
    axes.plot([x, x + share], [y, y], transform=axes.transAxes, color="black", lw=2.5, solid_capstyle="butt")
    text = f"{length:g} um" if length >= 1 else f"{1000 * length:g} nm"
    axes.text(
        x + share / 2,
        y + 0.025,
        text,
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        fontsize=8,
        color="black",
        bbox={"facecolor": "white", "alpha": 0.6, "lw": 0, "pad": 0.8},
    )
