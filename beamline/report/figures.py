"""What the figures of all techniques share: colours, the choice of examples, and the incident flux."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from beamline.storage import Run
from beamline.text import shortened
from callbacks.contract import Key, Stream

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]

Drawn = tuple[str, str, Figure]  # heading, caption, figure

MOST_LINES = 3  # of a text in a figure
ACCEPTED, REJECTED, MARKED = "#1b6ca8", "#b0b0b0", "#d1495b"


def spread_over(count: int, most: int) -> IntArray:
    """Choose at most `most` of `count` indices, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def literal(figure: Figure) -> Figure:
    """Let a figure show its texts as they are: no mathematics between dollars, no control characters, a few lines.

    The labels of ticks are left alone: matplotlib writes those itself.
    """
    axes = [axis for one in figure.findobj(Axes) for axis in (one.xaxis, one.yaxis)]
    ticks = {label for axis in axes for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)
            text.set_text("\n".join(map(shortened, text.get_text().split("\n")[:MOST_LINES])))
    return figure


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
    axes.set_ylim(bottom=0)
    _time_axis(axes)
    lines = axes.get_lines()
    if ring_current is not None:
        right = axes.twinx()
        lines += right.plot(when, ring_current, color="#5a9367", lw=1.0, label="ring current")
        right.set_ylabel("ring current (mA)")
        right.set_ylim(bottom=0)
    axes.legend(handles=lines, loc="lower left", fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _time_axis(axes: Axes) -> None:
    axes.xaxis_date()
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
