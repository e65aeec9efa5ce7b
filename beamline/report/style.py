"""Figures for print: of a given width, font, colours and format, each with the numbers behind it as tables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.collections import Collection
from matplotlib.colors import Colormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from beamline.errors import BeamlineError
from beamline.report.figures import Drawn, literal
from beamline.report.layout import DRAWN_SIZE, arrange, fit_texts
from beamline.report.numbers import Numbers, numbers_of
from beamline.text import file_name_of, write_csv

Format = Literal["pdf", "svg", "png"]
Colours = Literal["standard", "colour-blind", "grey"]
FORMATS: tuple[str, ...] = get_args(Format)

MILLIMETRES = 25.4  # in an inch
TICK, SPINE = 3.5, 0.8  # pt: length of the ticks and width of lines around a panel, as figures are drawn
FALLBACK = "DejaVu Sans"  # comes with matplotlib: for characters that a font does not have
LEAST_WIDTH, MOST_WIDTH = 40.0, 400.0  # mm: narrower leaves no room beside labels; wider is a poster
LEAST_FONT, MOST_FONT = 4.0, 24.0  # pt
PRINT_DPI = 600  # of images in PDF and SVG, and of PNG: what journals ask for of line art
# Of Okabe and Ito, told apart with any vision: Wong, Nature Methods 8 (2011) 441; yellow, too pale for a line, is last.
COLOUR_BLIND = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
GREYS = ("#000000", "#7a7a7a", "#4a4a4a", "#a8a8a8", "#262626", "#909090")
# Sequential maps of which the brightness rises from dark to light alone, as a print in grey shows them.
IMAGE_COLOURS = {"colour-blind": "cividis", "grey": "gray"}
SEQUENTIAL = ("viridis", "inferno", "magma", "plasma")
NO_VALUE = "//////"  # hatch of what an image in grey leaves out, which would look like one of its values
LEAST_CHROMA = 0.12  # between the strongest and the weakest of red, green and blue: less is a grey, which stays


@dataclass(frozen=True)
class FigureStyle:
    """How figures are written for print.

    Attributes
    ----------
    format : str
        "pdf", "svg" or "png".
    width : float
        mm: 85 is a column of most journals, 180 a page.
    font : str
        Name of a font of this computer; empty for that of matplotlib.
    font_size : float
        pt, of axis labels; what is smaller in the report is smaller in proportion.
    colours : str
        "standard": as in the report; "colour-blind": told apart with any vision; "grey".

    Raises
    ------
    BeamlineError
        When a value cannot be used.
    """

    format: Format = "pdf"
    width: float = 180.0
    font: str = ""
    font_size: float = 8.0
    colours: Colours = "standard"

    def __post_init__(self) -> None:
        problems = []
        if self.format not in FORMATS:
            problems.append(f"figure format {self.format!r}: expected {', '.join(FORMATS)}")
        if self.colours not in get_args(Colours):
            problems.append(f"colours {self.colours!r}: expected {', '.join(get_args(Colours))}")
        if not LEAST_WIDTH <= self.width <= MOST_WIDTH:
            problems.append(f"figure width {self.width:g} mm: expected {LEAST_WIDTH:g} to {MOST_WIDTH:g} mm")
        if not LEAST_FONT <= self.font_size <= MOST_FONT:
            problems.append(f"font size {self.font_size:g} pt: expected {LEAST_FONT:g} to {MOST_FONT:g} pt")
        if self.font and (problem := _font_problem(self.font)):
            problems.append(problem)
        if problems:
            raise BeamlineError(*problems)

    @property
    def families(self) -> list[str]:
        """The fonts that a character is looked for in."""
        return list(dict.fromkeys(filter(None, (self.font, FALLBACK))))


class Print(NamedTuple):
    """Where the figures of a page are written for print as well.

    Attributes
    ----------
    folder : Path
        There already.
    style : FigureStyle
    """

    folder: Path
    style: FigureStyle


def _font_problem(font: str) -> str:
    try:
        font_manager.findfont(font_manager.FontProperties(family=font), fallback_to_default=False)
    except ValueError:
        known = sorted(font_manager.get_font_names())
        near = difflib.get_close_matches(font, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known[:10])}"
        return f"font {font!r}: is not on this computer; {hint}"
    return ""


def write_figures(drawn: Iterable[Drawn], folder: Path, style: FigureStyle) -> list[Path]:
    """Write figures for print, and beside each the numbers behind it.

    Parameters
    ----------
    drawn : iterable of (heading, caption, figure)
        The figures are changed.
    folder : Path
        There already. Files are named after number and heading; the same figures give the same files, byte for byte.
    style : FigureStyle

    Returns
    -------
    list of Path
        The files: of each figure first the picture, then its tables (CSV). A table has the curves of one panel, in
        columns with their units; an image is a matrix with the positions of its rows and columns.
    """
    written: list[Path] = []
    for number, (heading, caption, figure) in enumerate(drawn, start=1):
        name = file_name_of(f"{number:02d}", *re.findall(r"[a-z0-9]+", heading.lower()))
        tables = numbers_of(figure)
        with mpl.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "beamline", "pdf.fonttype": 42, "font.family": style.families}
        ):
            restyle(figure, style)
            path = folder / f"{name}.{style.format}"
            figure.savefig(path, format=style.format, dpi=PRINT_DPI, metadata=_METADATA[style.format])
        written.append(path)
        for table, place in zip(tables, _places(tables), strict=True):
            path = folder / f"{file_name_of(name, place) if place else name}.csv"
            write_csv(path, filter(None, (heading, caption, table.name)), table.lines())
            written.append(path)
    return written


# What would be another one each time.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def _places(tables: list[Numbers]) -> list[str]:
    """Give what the names of a figure's tables end in: nothing where there is one."""
    if len(tables) < 2:
        return [""] * len(tables)
    return [chr(ord("a") + place % 26) * (1 + place // 26) for place in range(len(tables))]


def restyle(figure: Figure, style: FigureStyle) -> None:
    """Change a figure to a style: size, arrangement of its panels, fonts, lines and colours."""
    factor = style.font_size / DRAWN_SIZE
    _scale_texts(figure, style, factor)
    _scale_lines(figure, factor)
    if style.colours != "standard":
        _recolour(figure, style.colours)
    literal(figure)
    arrange(figure, style.width / MILLIMETRES, style.font_size)
    fit_texts(figure)


def _scale_texts(figure: Figure, style: FigureStyle, factor: float) -> None:
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            labels = axis.get_ticklabels()
            size = float(labels[0].get_fontsize()) if labels else DRAWN_SIZE
            axis.set_tick_params(
                labelsize=size * factor, labelfontfamily=style.families, length=TICK * factor, width=SPINE * factor
            )
    ticks = {label for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_fontsize(float(text.get_fontsize()) * factor)
            text.set_fontfamily(style.families)


def _scale_lines(figure: Figure, factor: float) -> None:
    for one in figure.findobj():
        if isinstance(one, Line2D):
            one.set_linewidth(one.get_linewidth() * factor)
            one.set_markersize(one.get_markersize() * factor)
            one.set_markeredgewidth(one.get_markeredgewidth() * factor)
        elif isinstance(one, Patch):
            one.set_linewidth(one.get_linewidth() * factor)
        elif isinstance(one, Collection):
            one.set_linewidth([width * factor for width in np.atleast_1d(one.get_linewidth())])
            if hasattr(one, "set_sizes") and hasattr(one, "get_sizes"):
                one.set_sizes(np.asarray(one.get_sizes()) * factor**2)


def _explains_an_image(line: Line2D) -> bool:
    """Tell whether a line is in a panel with an image whose colours are its own, as of a mask, and says what they mean.

    Those keep their colours, as the image does.
    """
    images = [] if line.axes is None else line.axes.get_images()
    return any(image.get_cmap().name not in mpl.colormaps for image in images)


def _recolour(figure: Figure, colours: Colours) -> None:
    """Give each colour of lines, bands and dots another one of the palette, and images one map of colours."""
    palette = COLOUR_BLIND if colours == "colour-blind" else GREYS
    new: dict[str, str] = {}

    def other(colour: Any) -> Any:
        red, green, blue = to_rgb(colour)
        if max(red, green, blue) - min(red, green, blue) < LEAST_CHROMA:
            return None
        return new.setdefault(to_hex((red, green, blue)), palette[len(new) % len(palette)])

    def every(colour_array: Any) -> Any:
        return [other(each) if len(each) and other(each) else each for each in np.asarray(colour_array)]

    for one in sorted(figure.findobj(), key=lambda one: not isinstance(one, Line2D)):  # lines have the first colours
        if isinstance(one, Line2D) and not _explains_an_image(one):
            before = one.get_color(), one.get_markerfacecolor(), one.get_markeredgecolor()  # the first sets the others
            for colour, put in zip(
                before, (one.set_color, one.set_markerfacecolor, one.set_markeredgecolor), strict=True
            ):
                if str(colour) not in ("none", "auto") and (changed := other(colour)):
                    put(changed)
        elif isinstance(one, Collection) and one.get_array() is None:
            alpha = one.get_alpha()
            one.set_facecolor(every(one.get_facecolor()))
            one.set_edgecolor(every(one.get_edgecolor()))
            one.set_alpha(alpha)
        elif isinstance(one, Patch) and (changed := other(one.get_facecolor())):
            alpha = one.get_alpha()
            one.set_facecolor(changed)
            one.set_alpha(alpha)
        mapped = getattr(one, "get_cmap", None)
        if mapped is not None and isinstance(mapped(), Colormap) and mapped().name in SEQUENTIAL:
            one.set_cmap(IMAGE_COLOURS[colours])  # type: ignore[attr-defined]
            if colours == "grey" and isinstance(one, AxesImage) and one.axes is not None:
                one.axes.patch.set(hatch=NO_VALUE, edgecolor="white")  # seen where there is no value


__all__ = ["FORMATS", "FigureStyle", "Print", "restyle", "write_figures"]
