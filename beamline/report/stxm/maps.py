"""Draw the maps of an analysis: chemical maps, residuals against brightness, masks of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, BoolArray, FloatArray, IntArray
from beamline.report.stxm.images import DENSITY, FRACTION, NOT_MEASURED, Field, extent_of, gallery, scale_bar
from callbacks.stxm.unmixing.chemical_map import colour_scale, colours

WORST_FRACTION = 0.3  # a fraction with a larger uncertainty is not shown
RESIDUAL_WHITE = 0.25  # of Gent et al. (2017): white is this residual or more
SHOWN_PIXELS = 20_000  # of a scatter plot
MASK_COLOURS = ("#e8e8e8", "#000000", "#6b6b6b", "#7a1f2b", "#d1495b", "#a9c8e0")  # by the number of the reason


def chemical_maps(panels: Sequence[tuple[str, FloatArray]], regions: Sequence[Field]) -> Figure:
    """Draw the chemical maps of several runs, with one colour scale.

    Parameters
    ----------
    panels : sequence of (title, colours)
        Shape (rows, columns, 3).
    regions : sequence of Field, of the same length
    """
    figure = gallery(panels, regions)
    shown = ScalarMappable(Normalize(0, 1), FRACTION)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    figure.colorbar(shown, ax=visible, label="reduced fraction", shrink=0.85, pad=0.02)
    return figure


def chemical_map(
    reduced: FloatArray, sigma: FloatArray, area: FloatArray, region: Field, *, names: tuple[str, str]
) -> Figure:
    """Draw the chemical map with its colour scale, the reduced fraction and its uncertainty.

    Parameters
    ----------
    reduced, sigma, area : numpy.ndarray, shape (rows, columns)
        Reduced fraction, its standard uncertainty, integrated edge area.
    region : Field
    names : (str, str)
        Names of the reduced and the oxidised phase.
    """
    with np.errstate(invalid="ignore"):
        known = sigma <= WORST_FRACTION
    reduced, sigma = np.where(known, reduced, np.nan), np.where(known, sigma, np.nan)
    figure = Figure(figsize=(12.6, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.imshow(colours(reduced, area), origin="lower", extent=extent_of(region, reduced), interpolation="nearest")
    left.set_title("chemical map", fontsize=10)
    _draw_colour_scale(left, names)
    highest = float(np.nanpercentile(sigma, 95)) if np.isfinite(sigma).any() else 1.0
    for axes, image, colour_map, high, label, title in (
        (middle, reduced, "viridis", 1.0, "reduced fraction", "reduced fraction"),
        (right, sigma, "magma", highest, "standard uncertainty", "its uncertainty"),
    ):
        shown = axes.imshow(
            image,
            origin="lower",
            extent=extent_of(region, image),
            cmap=colour_map,
            vmin=0,
            vmax=high,
            interpolation="nearest",
        )
        figure.colorbar(shown, ax=axes, label=label, shrink=0.8)
        axes.set_title(title, fontsize=10)
    for axes in (left, middle, right):
        axes.set(xlabel="x (um)", ylabel="y (um)")
        axes.set_facecolor(NOT_MEASURED)
        scale_bar(axes, region)
    return figure


def _draw_colour_scale(axes: Axes, names: tuple[str, str]) -> None:
    """Draw the two-dimensional colour scale of a chemical map below it: hue across, brightness up."""
    scale = axes.inset_axes((0.0, -0.30, 1.0, 0.07))
    hues = colour_scale()
    scale.imshow(np.linspace(0, 1, 24)[:, None, None] * hues[None], origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    scale.set(xlabel=f"fraction of {names[0]} in {names[0]} + {names[1]}", yticks=[0, 1])
    scale.set_yticklabels(["0", "full"], fontsize=7)
    scale.set_ylabel("edge\narea", fontsize=7, rotation=0, ha="right", va="center")


def pixel_masks(mean: FloatArray, blank: BoolArray, mask: IntArray, reasons: Sequence[str], region: Field) -> Figure:
    """Draw which pixels are sample-free, and which are excluded from the analysis and why.

    Parameters
    ----------
    mean : numpy.ndarray, shape (rows, columns)
        Mean optical density.
    blank : numpy.ndarray of bool, shape (rows, columns)
        The sample-free pixels.
    mask : numpy.ndarray of int, shape (rows, columns)
        Number of the reason why a pixel is excluded; 0 for those of the analysis.
    reasons : sequence of str
        By their number.
    region : Field
    """
    figure = Figure(figsize=(10.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    extent = extent_of(region, mean)
    shown = left.imshow(mean, origin="lower", extent=extent, cmap=DENSITY, interpolation="nearest")
    figure.colorbar(shown, ax=left, label="mean optical density", shrink=0.8)
    if blank.any():
        left.imshow(
            np.where(blank, 1.0, np.nan),
            origin="lower",
            extent=extent,
            cmap=ListedColormap([MARKED]),
            alpha=0.45,
            interpolation="nearest",
            label="sample-free",
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
        scale_bar(axes, region)
    return figure


def residual_against_brightness(brightness: FloatArray, residual: FloatArray) -> Figure:
    """Draw the residual of every pixel's fit against its brightness.

    Parameters
    ----------
    brightness, residual : numpy.ndarray, shape (pixels,)
        Brightness from 0 to 1, linear in the edge area; 2-norm of the residual of the fit.
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
        axes.axhline(RESIDUAL_WHITE, color="0.5", ls=":", lw=1.0, label=f"{RESIDUAL_WHITE:g}, as in Gent et al.")
        lowest, highest = np.percentile(residual[known], (0.3, 99.7))
        if lowest > 0:  # where edges are low, noise makes residuals of a hundred times the median
            axes.set(yscale="log", ylim=(lowest / 1.15, highest * 1.15))
        axes.legend(fontsize=8)
    axes.set(xlabel="brightness (edge area, 1 = full)", ylabel="residual (2-norm)", title="residual against brightness")
    axes.grid(alpha=0.3)
    return figure
