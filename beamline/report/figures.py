"""What the figures of all techniques share: colours, the choice of examples, and the incident flux."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from beamline.storage import Run
from beamline.text import shortened, shortened_within
from callbacks.contract import Key, Stream

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]

Drawn = tuple[str, str, Figure]  # heading, caption, figure


@dataclass(frozen=True)
class Member:
    """A run of a series: where what was moved is, and its reduction."""

    position: float
    derived: Run


MOST_LINES = 3  # of a text in a figure
MOST_OF_A_TICK, MOST_OF_A_LEGEND = 40, 64  # characters: what is longer leaves no room for the panel
CHARACTER_WIDTH = 0.6  # of the size of a font, on average and a little more
ACCEPTED, REJECTED, MARKED = "#1b6ca8", "#b0b0b0", "#d1495b"


def spread_over(count: int, most: int) -> IntArray:
    """Choose at most `most` of `count` indices, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def literal(figure: Figure) -> Figure:
    """Let a figure show its texts as they are: no mathematics between dollars, no control characters, a few lines.

    The labels of ticks are left to matplotlib, which writes those of numbers itself; of names the dollars are escaped.
    """
    axes = [axis for one in figure.findobj(Axes) for axis in (one.xaxis, one.yaxis)]
    for axis in axes:
        named = axis.get_major_formatter()
        if isinstance(named, FuncFormatter) and isinstance(axis.get_major_locator(), FixedLocator):
            # As `set_ticks` was given them: an axis that shares them with one below shows none of its own.
            names = [str(named(at)) for at in axis.get_ticklocs()]
            axis.set_ticklabels(
                [re.sub(r"(?<!\\)\$", r"\\$", shortened_within(name, MOST_OF_A_TICK)) for name in names]
            )
    ticks = {label for axis in axes for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)
            text.set_text("\n".join(map(shortened, text.get_text().split("\n")[:MOST_LINES])))
    for text in (text for legend in figure.findobj(Legend) for text in legend.get_texts()):
        text.set_text(legend_text(text.get_text()))
    for one in figure.axes:
        one.title.set_text(
            "\n".join(fill(line, _title_width(one, figure)) for line in one.title.get_text().split("\n"))
        )
    return figure


def legend_text(text: str) -> str:
    """Give a text as a legend shows it, beside which the curves need their room."""
    return shortened_within(text, MOST_OF_A_LEGEND)


def _title_width(axes: Axes, figure: Figure) -> int:
    """Give how many characters a title may have, so that the figure holds it: a reason may be a long one.

    Matplotlib's own wrapping takes what is between dollars for mathematics, whatever it was told.
    """
    share = 1.0
    if (place := axes.get_subplotspec()) is not None:
        ratios = np.asarray(place.get_gridspec().get_width_ratios(), dtype=float)
        share = float(ratios[place.colspan.start : place.colspan.stop].sum() / ratios.sum())
    points = float(axes.title.get_fontsize())
    return max(10, int(share * figure.get_figwidth() * 72 / (CHARACTER_WIDTH * points)))


def incident_flux(raw: Run, marked_frames: IntArray) -> Iterator[Drawn]:
    """Draw the incident flux of a run, with heading and caption; nothing where none was recorded.

    Parameters
    ----------
    raw : Run
    marked_frames : numpy.ndarray of int
        Numbers of the frames or points that are marked, from 1.
    """
    primary = raw.streams.get(Stream.PRIMARY)
    if primary and Key.I0 in primary:
        ring = primary.columns.get(Key.RING_CURRENT)
        marked = np.isin(np.arange(1, len(primary) + 1), marked_frames)
        yield (
            "Incident flux",
            "I0 of every frame or point, with the ring current if it was recorded. Red: marked.",
            flux(primary.timestamps[Key.I0], primary[Key.I0], ring, marked),
        )


def flux(
    time: FloatArray, i0: FloatArray, ring_current: FloatArray | None, marked: Sequence[bool] | BoolArray
) -> Figure:
    """Draw I0, and the ring current if it was recorded, against time, with the marked frames in red.

    Parameters
    ----------
    time : numpy.ndarray, shape (n,)
        s since 1970.
    i0 : numpy.ndarray, shape (n,)
        Counts during each frame or point.
    ring_current : numpy.ndarray, shape (n,), optional
        mA.
    marked : sequence of bool, length n
    """
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots()
    when = date2num([datetime.fromtimestamp(moment, UTC) for moment in time])
    bad = np.asarray(marked, dtype=bool)
    axes.plot(when, i0, ".-", color=ACCEPTED, lw=0.8, ms=4, label="I0")
    axes.plot(when[bad], i0[bad], "o", color=MARKED, ms=7, mfc="none", mew=1.5, label=f"marked ({bad.sum()})")
    axes.set(
        ylabel="I0 (counts)",
        title="incident flux" + ("" if ring_current is None else " and ring current"),
        xlabel="time (UTC)",
    )
    _from_zero(axes, i0)
    _time_axis(axes)
    lines = axes.get_lines()
    if ring_current is not None:
        right = axes.twinx()
        lines += right.plot(when, ring_current, color="#5a9367", lw=1.0, label="ring current")
        right.set_ylabel("ring current (mA)")
        _from_zero(right, ring_current)
    axes.legend(handles=lines, loc="lower left", fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _from_zero(axes: Axes, values: FloatArray) -> None:
    """Let an axis begin at zero and end above the data: a steady ring current must not lie on the frame."""
    top = float(np.nanmax(values, initial=0.0))
    axes.set_ylim(0.0, 1.1 * top if top > 0 else 1.0)


def _time_axis(axes: Axes) -> None:
    axes.xaxis_date()
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
