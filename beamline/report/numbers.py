"""The numbers behind a figure, taken from what is drawn: curves with their uncertainties, images, histograms, dots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import FillBetweenPolyCollection, PathCollection, QuadMesh
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.dates import ConciseDateFormatter, num2date
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray

from beamline.report.figures import FloatArray

COLOUR_BAR = "<colorbar>"  # matplotlib's label of its axes
UNIT = re.compile(r" \([^()]*\)$")  # behind a quantity, in the label of an axis
SAME = 1e-9  # of the height of what is drawn: a band whose middle is nearer to a curve is the curve's

_drawn_as: WeakKeyDictionary[Artist, tuple[str, float]] = WeakKeyDictionary()


def drawn_as(artist: Artist, name: str, offset: float = 0.0) -> None:
    """Say what a curve is called that has no label, and by how much it is drawn above its values."""
    _drawn_as[artist] = name, offset


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title : str
        With the unit.
    values : numpy.ndarray, shape (n,)
        Numbers, or texts.
    """

    title: str
    values: NDArray[Any]


@dataclass(frozen=True)
class Numbers:
    """The numbers behind one panel of a figure.

    Attributes
    ----------
    name : str
        The panel's title or axis; may be empty.
    columns : list of Column
        Of its own length each.
    corner : str
        Where the columns are those of an image: what its rows and its columns are by. The first column has the
        positions of the rows, the title of each other that of the column.
    """

    name: str
    columns: list[Column]
    corner: str = ""

    def lines(self) -> Iterator[list[str]]:
        """Give the cells of the header and of each row; empty where a column has ended, or a number is not known."""
        yield (
            [self.corner, *(column.title for column in self.columns[1:])]
            if self.corner
            else [column.title for column in self.columns]
        )
        for row in zip_longest(*(_cells(column.values) for column in self.columns), fillvalue=""):
            yield list(row)


def numbers_of(figure: Figure) -> list[Numbers]:
    """Give the numbers behind each panel of a figure: one table of all curves, and one of each image.

    Parameters
    ----------
    figure : Figure

    Notes
    -----
    Lines that only guide the eye are left out: those drawn across the panel, and what is not in its coordinates.
    """
    found: list[Numbers] = []
    for axes in figure.axes:
        if axes.get_visible() and axes.get_label() != COLOUR_BAR:
            name = axes.get_title().split("\n")[0] or _label(axes.yaxis)
            found += [image for artist in _images(axes) for image in _matrix(artist, axes, name)]
            if columns := _Curves(axes).columns():
                found.append(Numbers(name, columns))
    return found


def _images(axes: Axes) -> list[AxesImage | QuadMesh]:
    return [*axes.get_images(), *(one for one in axes.collections if isinstance(one, QuadMesh))]


def _cells(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind in "fc":
        return ["" if not np.isfinite(value) else f"{value:.10g}" for value in values]
    return [str(value) for value in values]


def _label(axis: Axis) -> str:
    """Give the label of an axis; of one that shares with another panel, or stands beside one, the label there."""
    axes = axis.axes
    shared = axes.get_shared_x_axes() if axis is axes.xaxis else axes.get_shared_y_axes()
    others = [other.xaxis if axis is axes.xaxis else other.yaxis for other in shared.get_siblings(axes)]
    others += [other.xaxis if axis is axes.xaxis else other.yaxis for other in _beside(axes, below=axis is axes.xaxis)]
    found = next((each.get_label_text() for each in (axis, *others) if each.get_label_text()), "")
    return " ".join(found.split())


def _beside(axes: Axes, *, below: bool) -> list[Axes]:
    """Give the panels below one in its column, or to its left in its row, from the nearest on."""
    spec, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    if spec is None or figure is None:
        return []
    found = []
    for other in figure.axes:
        place = other.get_subplotspec()
        if place is None or place.get_gridspec() is not spec.get_gridspec():
            continue
        rows, columns = place.rowspan.start - spec.rowspan.start, spec.colspan.start - place.colspan.start
        distance, aside = (rows, columns) if below else (columns, rows)
        if distance > 0 and aside == 0:
            found.append((distance, other))
    return [other for _, other in sorted(found, key=lambda each: each[0])]


def _title_of_curve(name: str, axis: str) -> str:
    """Give the title of a curve's values: its name and what the axis says, each word of quantity or unit once."""
    quantity, unit = UNIT.sub("", axis), UNIT.search(axis)
    if not name or axis.startswith(name):
        return axis
    if re.search(rf"\b{re.escape(quantity)}", name):
        return f"{name}{unit[0] if unit else ''}"
    return f"{name}: {axis}"


def _title_of_values(artist: AxesImage | QuadMesh, axes: Axes) -> str:
    """Give the label of the colours of an image: its own, or the only one of the figure."""
    if artist.colorbar is not None:
        return " ".join((artist.colorbar.ax.get_ylabel() or artist.colorbar.ax.get_xlabel()).split())
    figure = axes.get_figure(root=True)
    assert figure is not None
    bars = [each for each in figure.axes if each.get_label() == COLOUR_BAR]
    label = str(artist.get_label())
    return " ".join(bars[0].get_ylabel().split()) if len(bars) == 1 else "" if label.startswith("_") else label


def _matrix(artist: AxesImage | QuadMesh, axes: Axes, name: str) -> Iterator[Numbers]:
    values = artist.get_array()
    if values is None:
        return
    image = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if isinstance(artist, AxesImage):
        left, right, bottom, top = artist.get_extent()
        x, y = _centres(left, right, image.shape[1]), _centres(bottom, top, image.shape[0])
        if artist.origin == "upper":
            y = y[::-1]
    else:
        corners = np.asarray(artist.get_coordinates())
        x, y = _between(corners[0, :, 0]), _between(corners[:, 0, 1])
    across, up = _label(axes.xaxis) or "x", _label(axes.yaxis).replace("\n", " ") or "y"
    if image.ndim == 3:  # colours
        places = np.meshgrid(x, y)
        channels = [Column(each, image[..., at].ravel()) for at, each in enumerate(("red", "green", "blue"))]
        yield Numbers(name, [Column(across, places[0].ravel()), Column(up, places[1].ravel()), *channels])
        return
    what = _title_of_values(artist, axes)
    titles = [f"{value:.10g}" for value in x]
    yield Numbers(
        name,
        [Column(up, y), *(Column(title, column) for title, column in zip(titles, image.T, strict=True))],
        corner=f"{what}: {up} down and {across} across" if what else f"{up} down and {across} across",
    )


def _centres(first: float, last: float, number: int) -> FloatArray:
    half = 0.5 * (last - first) / number
    return np.linspace(first + half, last - half, number)


def _between(edges: FloatArray) -> FloatArray:
    """Give the positions between which matplotlib put the edges, in the middle, of shading "nearest"."""
    found = np.empty(len(edges) - 1)
    found[0] = 0.5 * (edges[0] + edges[1])
    for place in range(1, len(found)):
        found[place] = 2 * edges[place] - found[place - 1]
    ordered = np.sort(edges)
    inside = (np.sort(found) >= ordered[:-1]) & (np.sort(found) <= ordered[1:])
    return found if inside.all() else 0.5 * (edges[:-1] + edges[1:])


@dataclass
class _Curve:
    """A curve, or the dots of one, with what is known of its uncertainty, and by how much it is drawn above."""

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    offset: float = 0.0
    x_sigma: FloatArray | None = None
    y_sigma: FloatArray | None = None


@dataclass
class _Curves:
    """All curves of a panel, as columns: those over the same positions share them."""

    axes: Axes
    curves: list[_Curve] = field(default_factory=list)

    def columns(self) -> list[Column]:
        """Give the columns."""
        bars = [one for one in self.axes.containers if isinstance(one, ErrorbarContainer)]
        errors = {id(one[0]): one for one in bars if one[0] is not None}
        for line in self.axes.get_lines():
            self._add_line(line, errors.get(id(line)))
        for dots in (one for one in self.axes.collections if isinstance(one, PathCollection)):
            offsets = np.ma.filled(np.ma.asarray(dots.get_offsets()).astype(float), np.nan)
            if dots.get_offset_transform() == self.axes.transData and len(offsets):
                self.curves.append(_Curve(self._name(dots), *offsets.T))
        extra: list[Column] = []
        for band in (one for one in self.axes.collections if isinstance(one, FillBetweenPolyCollection)):
            extra += self._add_band(band)
        for bar in (one for one in self.axes.containers if isinstance(one, BarContainer)):
            extra += self._of_bars(bar)
        return [*self._of_curves(), *extra]

    def _add_line(self, line: Line2D, error: ErrorbarContainer | None) -> None:
        x, y = (np.ma.filled(np.ma.asarray(each).astype(float), np.nan) for each in line.get_data(orig=False))
        if line.get_transform() != self.axes.transData or not len(x):
            return
        name, offset = _drawn_as.get(line, ("", 0.0))
        if error is not None and str(error.get_label())[:1] not in ("", "_"):
            name = str(error.get_label())
        curve = _Curve(name or self._name(line), x, y - offset, offset)
        for collection in error[2] if error is not None else ():
            ends = [np.asarray(segment) for segment in collection.get_segments()]
            half = np.array([0.5 * (end[-1] - end[0]) if len(end) else (np.nan, np.nan) for end in ends]).reshape(-1, 2)
            if len(half) == len(x) and error is not None:
                if error.has_xerr and np.nanmax(half[:, 0], initial=0.0) > 0:
                    curve.x_sigma = half[:, 0]
                if error.has_yerr and np.nanmax(half[:, 1], initial=0.0) > 0:
                    curve.y_sigma = half[:, 1]
        self.curves.append(curve)

    def _add_band(self, band: FillBetweenPolyCollection) -> list[Column]:
        """Take a band for the uncertainty of the curve in its middle; give its ends where there is none."""
        parts = [path.vertices for path in band.get_paths()]
        if not parts:
            return []
        ends = [_ends(np.asarray(part)) for part in parts]
        x, low, high = (np.concatenate(each) for each in zip(*ends, strict=True))
        order = np.argsort(x, kind="stable")
        x, low, high = x[order], low[order], high[order]
        middle, half = 0.5 * (low + high), 0.5 * np.abs(high - low)
        near = SAME * max(float(np.ptp([low, high])), float(np.abs(middle).max()))
        for curve in self.curves:
            sigma = _sigma_of(curve, (x, middle, half), near)
            if curve.y_sigma is None and sigma is not None:
                curve.y_sigma = sigma
                return []
        name = self._name(band) or "band"
        return [
            Column(_title_of_curve(name, _label(self.axes.xaxis) or "x"), x),
            Column(f"{name}, lower end", low),
            Column(f"{name}, upper end", high),
        ]

    def _of_bars(self, bars: BarContainer) -> list[Column]:
        boxes = [(one.get_x(), one.get_x() + one.get_width(), one.get_height()) for one in bars.patches]
        if not boxes:
            return []
        begin, end, height = np.array(boxes).T
        x = _label(self.axes.xaxis) or "x"
        return [Column(f"{x}, from", begin), Column(f"{x}, to", end), Column(_label(self.axes.yaxis) or "y", height)]

    def _of_curves(self) -> list[Column]:
        across, up = _label(self.axes.xaxis) or "x", _label(self.axes.yaxis) or "y"
        found: list[Column] = []
        before: _Curve | None = None
        for curve in self.curves:
            shared = before is not None and np.array_equal(before.x, curve.x, equal_nan=True)
            shared = shared and before is not None and _same(before.x_sigma, curve.x_sigma)
            if not shared:
                of = across if before is None else _title_of_curve(curve.name, across)
                found.append(Column(of, self._places(curve.x)))
                if curve.x_sigma is not None:
                    found.append(Column(f"{of}, standard uncertainty", curve.x_sigma))
            title = _title_of_curve(curve.name, up)
            found.append(Column(title, curve.y))
            if curve.y_sigma is not None:
                found.append(Column(f"{title}, standard uncertainty", curve.y_sigma))
            before = curve
        return found

    def _places(self, x: FloatArray) -> NDArray[Any]:
        """Give positions as the axis says them: times, the names of places, or numbers."""
        formatter, locator = self.axes.xaxis.get_major_formatter(), self.axes.xaxis.get_major_locator()
        if isinstance(formatter, ConciseDateFormatter):
            return np.array([num2date(value).isoformat() for value in x])
        named = isinstance(locator, FixedLocator) and isinstance(formatter, FuncFormatter)  # ticks have texts
        if named and np.isin(x, locator()).all():
            return np.array([formatter(value) for value in x], dtype=str)
        return x

    def _name(self, artist: Artist) -> str:
        name = str(artist.get_label())
        return "" if name.startswith("_") else name


def _ends(vertices: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give positions, first and second end of a polygon that `fill_between` made."""
    number = (len(vertices) - 3) // 2  # it begins and turns on the second end, and is closed
    first, second = vertices[1 : number + 1], vertices[number + 2 : 2 * number + 2][::-1]
    return first[:, 0], first[:, 1], second[:, 1]


def _sigma_of(curve: _Curve, band: tuple[FloatArray, FloatArray, FloatArray], near: float) -> FloatArray | None:
    """Give the half height of a band whose middle is a curve, where it is one; NaN where the band has gaps."""
    x, middle, half = band
    order = np.argsort(curve.x, kind="stable")
    at = np.searchsorted(x, curve.x[order])
    held = (at < len(x)) & (x[np.minimum(at, len(x) - 1)] == curve.x[order])
    found = np.full(len(curve.x), np.nan)
    if held.sum() < len(x):
        return None
    drawn = curve.y[order][held] + curve.offset
    if not np.all(np.abs(drawn - middle[at[held]]) <= near):
        return None
    found[order[held]] = half[at[held]]
    return found


def _same(one: FloatArray | None, other: FloatArray | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, other, equal_nan=True))


__all__ = ["Column", "Numbers", "drawn_as", "numbers_of"]
