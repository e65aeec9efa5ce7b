"""Draw images of STXM regions side by side, with positions, a scale bar and one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from beamline.report.figures import FloatArray
from callbacks.contract import RegionsResult
from callbacks.stxm.unmixing.chemical_map import colour_scale

DENSITY, DIVERGING, FRACTION = "viridis", "RdBu_r", ListedColormap(colour_scale())
NOT_MEASURED = "#d8d8d8"  # background of images, which shows where a pixel is NaN


@dataclass(frozen=True)
class Field:
    """A region of a stack: where its pixels are in the arrays of the result, and where on the sample.

    Attributes
    ----------
    rows, columns : slice
        The pixels of the region in an image of the result.
    x, y : (float, float)
        Centres of the first and last pixel, um.
    """

    rows: slice
    columns: slice
    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def width(self) -> float:
        """Width in um, from centre to centre."""
        return abs(self.x[1] - self.x[0])


def fields(result: RegionsResult) -> list[Field]:
    """Return the regions of a stack's result."""
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
    panels: Sequence[tuple[str, FloatArray]],
    regions: Sequence[Field],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
    colours_of: Any = DENSITY,
) -> Figure:
    """Draw images of one stack side by side on one colour scale.

    Parameters
    ----------
    panels : sequence of (title, image)
        Images of shape (lines, columns).
    regions : sequence of Field
        The regions that the lines belong to; each panel is drawn once for each.
    label : str
        Label of the colour scale, with its unit.
    limits : (float, float), optional
        Limits of the colour scale; by default the 1st and 99th percentile of all panels.
    colours_of : colour map
    """
    drawn = [
        (title if len(regions) == 1 else f"{title}, region {number}", image[region.rows, region.columns], region)
        for title, image in panels
        for number, region in enumerate(regions, start=1)
    ]
    return gallery(
        [(title, image) for title, image, _ in drawn],
        [region for *_, region in drawn],
        label=label,
        limits=limits,
        colours_of=colours_of,
    )


def gallery(
    panels: Sequence[tuple[str, FloatArray]],
    regions: Sequence[Field],
    *,
    label: str = "",
    limits: tuple[float, float] | None = None,
    colours_of: Any = DENSITY,
) -> Figure:
    """Draw images, each of its own region, side by side on one colour scale.

    Parameters
    ----------
    panels : sequence of (title, image)
        Images of shape (rows, columns), or (rows, columns, 3) for colours.
    regions : sequence of Field, of the same length
    label, limits, colours_of
        See `images`.
    """
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    tallest = max((_aspect(image) for _, image in panels), default=1.0)
    height = max(1.3, 2.8 * tallest) + 0.9  # in, with the title above and the label below
    figure = Figure(figsize=(3.4 * columns + 0.9, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    plain = [image for _, image in panels if image.ndim == 2]
    low, high = limits or _limits(plain)
    shown = None
    for axes, (title, image), region in zip(grid, panels, regions, strict=False):
        shown = axes.imshow(
            image, origin="lower", extent=extent_of(region, image), cmap=colours_of, vmin=low, vmax=high,
            interpolation="nearest", aspect="equal" if _aspect(image) > 0.1 else "auto",
        )  # fmt: skip
        axes.set_facecolor(NOT_MEASURED)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="x (um)", ylabel="y (um)")
        axes.tick_params(labelsize=8)
        scale_bar(axes, region)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if plain and shown is not None:
        figure.colorbar(shown, ax=list(grid[: len(panels)]), label=label, shrink=0.85, pad=0.02)
    return figure


def extent_of(region: Field, image: FloatArray) -> tuple[float, float, float, float]:
    """Return the outer edges of an image: left, right, bottom, top, um."""
    borders = []
    for (first, last), count in ((region.x, image.shape[1]), (region.y, image.shape[0])):
        half = 0.5 * (last - first) / (count - 1) if count > 1 else 0.5 * _step(region.x, image.shape[1])
        borders += [first - half, last + half]
    return borders[0], borders[1], borders[2], borders[3]


def _step(ends: tuple[float, float], count: int) -> float:
    return (ends[1] - ends[0]) / (count - 1) if count > 1 else 1.0


def _aspect(image: FloatArray) -> float:
    return float(np.clip(image.shape[0] / image.shape[1], 0.05, 1.6))


def _limits(panels: Sequence[FloatArray]) -> tuple[float, float]:
    values = np.concatenate([panel[np.isfinite(panel)] for panel in panels]) if panels else np.zeros(0)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (1, 99))
    return float(low), float(high if high > low else low + 1.0)


def scale_bar(axes: Axes, region: Field) -> None:
    """Draw a bar of a round length, about a fifth of the width."""
    if not region.width > 0:
        return
    power = 10.0 ** np.floor(np.log10(region.width / 5))
    length = power * max(factor for factor in (1, 2, 5) if factor * power <= region.width / 5 * 1.0001)
    x, y = 0.05, 0.06
    share = length / (region.width * 1.01)
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
