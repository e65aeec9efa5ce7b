"""Fit a figure to another width: fewer panels beside one another, heights that leave room for texts, wrapped labels."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.legend import Legend
from matplotlib.text import Text

from beamline.report.figures import legend_text
from beamline.report.numbers import COLOUR_BAR

# Widths of panels in units of the font's size. A curve with its numbers and label needs some 20 characters of them and
# as much again for the curve; an image has shorter numbers. Found by looking at the reports of all techniques.
CURVE, IMAGE, BAR, TWIN = 18.0, 14.0, 9.0, 6.0
POINTS = 72.0  # in an inch
DRAWN_SIZE = 10.0  # pt: the size of font that figures are drawn with, from which smaller texts are reckoned
NARROWEST = 14.0  # of a panel that is one of very many
PART_OF_HEIGHT = 0.7  # that panels keep where fonts keep their size
DATE = 6.0  # of a time on an axis
TALLEST = 9.4  # inches: a page of a journal, without its caption
LOWEST_PANEL = 15.0  # heights of the font
WIDEST_LEGEND, HIGHEST_LEGEND = 0.7, 0.6  # of a panel; a larger one goes below it
WIDEST_BELOW = 1.3  # of a panel, of a legend in two columns below it
FEWEST_CHARACTERS = 6  # of a line of a label
SETTLES = 3  # times that a legend below a panel is placed: the third moves it by less than a pixel


def arrange(figure: Figure, width: float, font_size: float) -> None:
    """Give a figure another width, with fewer panels beside one another where they would be too narrow.

    Parameters
    ----------
    figure : Figure
    width : float
        Inches.
    font_size : float
        pt.

    Notes
    -----
    Panels that share a vertical axis stay beside one another. Rows whose heights repeat, as a curve above its
    residuals, stay together.
    """
    em = font_size / POINTS
    before, height = (float(each) for each in figure.get_size_inches())
    figure.draw_without_rendering()
    placed = [(axes, spec) for axes in figure.axes if (spec := _place(axes)) is not None]
    if not placed:
        figure.set_size_inches(width, height * width / before)
        return
    grid = placed[0][1].get_gridspec()
    rows, columns = grid.nrows, grid.ncols
    together = _period(grid)
    shown = [(axes, spec) for axes, spec in placed if axes.get_visible()]
    need = max(_need(figure, axes) for axes, _ in shown)
    fits = max(1, min(columns, int(width / em / need)))
    if any(_shares_y(axes, other) for axes, _ in shown for other, _ in shown if axes is not other):
        fits = columns
    seen = sorted({(spec.rowspan.start // together, spec.colspan.start) for _, spec in shown})
    images = all(_is_image(axes) for axes, _ in shown)

    shared_bar = BAR * em if images and need == IMAGE and len(shown) > 1 else 0.0

    def height_of(fits: int) -> tuple[int, float]:
        groups = rows // together if fits == columns else -(-len(seen) // fits)
        high = height / (rows // together)
        scaled = high * ((width - shared_bar) / fits) / ((before - shared_bar) / columns)
        least = max(LOWEST_PANEL * em, PART_OF_HEIGHT * high * em * POINTS / DRAWN_SIZE)
        return groups, scaled + 2 * em if images else max(scaled, least)

    while (
        fits < columns and np.prod(height_of(fits)) > TALLEST and width / em / (fits + 1) > NARROWEST and need <= CURVE
    ):
        fits += 1
    if fits < columns:
        _rearrange(figure, placed, seen, fits, together)
    groups, each = height_of(fits)
    _thin_dates(figure, width / fits, em)
    figure.set_size_inches(width, min(TALLEST, groups * each))


def _rearrange(
    figure: Figure, placed: list[tuple[Axes, SubplotSpec]], seen: list[tuple[int, int]], fits: int, together: int
) -> None:
    """Put panels into fewer columns, in the order in which they are read; labels of a first column stay in one."""
    order = {key: number for number, key in enumerate(seen)}
    grid = placed[0][1].get_gridspec()
    ratios = np.asarray(grid.get_height_ratios(), dtype=float).tolist()[:together] * -(-len(seen) // fits)
    new = GridSpec(len(ratios), fits, figure=figure, height_ratios=ratios)
    labels: dict[int, set[str]] = {}
    for axes, spec in placed:
        labels.setdefault(spec.rowspan.start % together, set()).add(axes.get_ylabel())
    for axes, spec in placed:
        row = spec.rowspan.start % together
        at = order.get((spec.rowspan.start // together, spec.colspan.start))
        if at is None:
            axes.remove()
            continue
        axes.set_subplotspec(new[(at // fits) * together + row, at % fits])
        if len(labels[row]) == 2 and "" in labels[row]:  # the first column alone has one
            axes.set_ylabel(max(labels[row]) if at % fits == 0 else "")


def _thin_dates(figure: Figure, width: float, em: float) -> None:
    """Leave so many times on an axis as there is room for."""
    for axes in figure.axes:
        if isinstance(axes.xaxis.get_major_formatter(), ConciseDateFormatter):
            locator = AutoDateLocator(minticks=2, maxticks=max(3, int(width / em / DATE)))
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _place(axes: Axes) -> SubplotSpec | None:
    spec = axes.get_subplotspec()
    return None if spec is None or axes.get_label() == COLOUR_BAR else spec


def _period(grid: Any) -> int:
    """Give how many rows belong together: the period of their heights; all of them where there is but one column."""
    ratios = np.asarray(grid.get_height_ratios(), dtype=float)
    if grid.ncols == 1:
        return len(ratios)
    return next(
        period
        for period in range(1, len(ratios) + 1)
        if len(ratios) % period == 0 and np.array_equal(np.tile(ratios[:period], len(ratios) // period), ratios)
    )


def _is_image(axes: Axes) -> bool:
    return bool(axes.get_images()) and axes.get_aspect() != "auto"


def _need(figure: Figure, axes: Axes) -> float:
    own = any(image.colorbar is not None for image in axes.get_images())
    bars = [each.get_position() for each in figure.axes if each.get_label() == COLOUR_BAR]
    rightmost = max(each.get_position().x1 for each in figure.axes if each.get_label() != COLOUR_BAR)
    of_all = len(bars) == 1 and bars[0].x0 >= rightmost
    return (
        (IMAGE if _is_image(axes) else CURVE)
        + (BAR if own and not of_all else 0.0)
        + (TWIN if len(_twins(figure, axes)) > 1 else 0.0)
    )


def _twins(figure: Figure, axes: Axes) -> list[Axes]:
    """Give the panels at the place of one, itself among them."""
    place = axes.get_position().bounds
    return [other for other in figure.axes if np.allclose(other.get_position().bounds, place)]


def _shares_y(axes: Axes, other: Axes) -> bool:
    return bool(axes.get_shared_y_axes().joined(axes, other))


def fit_texts(figure: Figure) -> None:
    """Make legends anew in the size of their texts, wrap labels, and put legends that would hide a panel below it."""
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    large = [axes for axes in panels if (legend := axes.get_legend()) is not None and _renew(figure, axes, legend)]
    figure.draw_without_rendering()
    for axes in [one for one in figure.findobj(Axes) if one.get_visible()]:
        box = axes.get_window_extent()
        for label, across, room in (
            (axes.xaxis.label, True, box.width),
            (axes.yaxis.label, False, box.height),
            (axes.title, True, box.width),
        ):
            _wrap(label, across=across, room=room)
    for _ in range(SETTLES if large else 1):  # a legend below a panel makes it lower, and so is farther below
        figure.draw_without_rendering()
        for axes in large:
            _put_below(axes)
    figure.draw_without_rendering()


def _wrap(label: Text, *, across: bool, room: float) -> None:
    if not label.get_text().strip():
        return
    extent = label.get_window_extent()
    length = extent.width if across else extent.height
    if length > room:
        lines = label.get_text().split("\n")
        characters = max(FEWEST_CHARACTERS, int(max(map(len, lines)) * room / length))
        label.set_text("\n".join(fill(line, characters, break_long_words=False) for line in lines))


def _renew(figure: Figure, axes: Axes, legend: Legend) -> bool:
    """Make a legend anew where it hides least; tell whether it would hide too much."""
    panel, box = axes.get_window_extent(), legend.get_window_extent()
    spec = axes.get_subplotspec()
    beside = box.x0 >= panel.x1 - 1
    if beside and spec is not None and spec.get_gridspec().ncols > 1:
        return False
    twins = _twins(figure, axes)
    handles: dict[str, Any] = {}
    for other in twins:
        found, names = other.get_legend_handles_labels()
        handles |= dict(zip(map(legend_text, names), found, strict=True))
    texts = [text.get_text() for text in legend.get_texts()]
    if not texts or any(text not in handles for text in texts):  # made of what is not in the panel
        return False
    first, frame = legend.get_texts()[0], legend.get_frame()
    options: dict[str, Any] = {"prop": {"size": first.get_fontsize(), "family": first.get_fontfamily()}}
    shown = [handles[text] for text in texts]
    new = axes.legend(
        shown,
        texts,
        loc="best",
        facecolor=frame.get_facecolor(),
        framealpha=frame.get_alpha(),
        labelcolor=first.get_color(),
        frameon=legend.get_frame_on(),
        **options,
    )
    _without_mathematics(new)
    new.get_frame().set_linewidth(frame.get_linewidth())
    box = new.get_window_extent()
    inside = not beside and len(twins) == 1  # the curves of a twin would hide it
    if inside and box.width <= WIDEST_LEGEND * panel.width and box.height <= HIGHEST_LEGEND * panel.height:
        return False
    columns = 2 if len(texts) > 1 and 2 * box.width < WIDEST_BELOW * panel.width else 1
    _without_mathematics(axes.legend(shown, texts, loc="upper center", frameon=False, ncols=columns, **options))
    return True


def _without_mathematics(legend: Legend) -> None:
    """Let a new legend show its texts as they are, as that before did (`beamline.report.figures.literal`)."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def _put_below(axes: Axes) -> None:
    """Put the legend of a panel below its horizontal axis."""
    legend, panel, below = axes.get_legend(), axes.get_window_extent(), axes.xaxis.get_tightbbox()
    assert legend is not None
    gap = (panel.y0 - below.y0) / panel.height if below is not None else 0.0
    legend.set_bbox_to_anchor((0.5, -max(gap, 0.0)), transform=axes.transAxes)
