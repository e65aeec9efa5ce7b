"""A self-contained HTML page: figures with captions, what the reader must know first, provenance."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from beamline.report.figures import Drawn, literal
from beamline.report.style import Print, write_figures
from beamline.text import clean

DPI = 110


class PageTable(NamedTuple):
    """A table of a page: the first column is of words."""

    heading: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class PageContents(NamedTuple):
    """What stands on a page, in the order in which it is read.

    Attributes
    ----------
    title, subtitle, verdict : str
    warnings : sequence of str
        What the reader must know first, of the run as a whole: shown in red.
    drawn : iterable of (heading, caption, figure)
    provenance : sequence of (name, value)
    remarks : sequence of str
        What concerns some of its frames or points, or the import of its file: shown in yellow. The verdict is green
        where there is neither.
    notes : sequence of str
        What holds of any such result and asks for nothing: shown in grey.
    tables : iterable of PageTable
    """

    title: str
    subtitle: str
    verdict: str
    warnings: Sequence[str]
    drawn: Iterable[Drawn]
    provenance: Sequence[tuple[str, str]]
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    tables: Iterable[PageTable] = ()


def write_page(path: Path, contents: PageContents, to_print: Print | None = None) -> None:
    """Write a self-contained page.

    Parameters
    ----------
    path : Path
        The HTML file.
    contents : PageContents
    to_print : Print, optional
        For the figures in a style for print, too, each with the numbers behind it.
    """
    drawn = list(contents.drawn) if to_print is not None else contents.drawn
    environment = jinja2.Environment(loader=jinja2.PackageLoader("beamline.report"), autoescape=True, finalize=_shown)
    template = environment.get_template("report.html")
    page = template.render(
        title=contents.title,
        subtitle=contents.subtitle,
        verdict=contents.verdict,
        warnings=contents.warnings,
        remarks=contents.remarks,
        notes=contents.notes,
        figures=[{"heading": heading, "caption": caption, "png": as_png(figure)} for heading, caption, figure in drawn],
        tables=list(contents.tables),
        provenance=contents.provenance,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    if to_print is not None:
        write_figures(drawn, to_print.folder, to_print.style)


def _shown(value: Any) -> Any:
    """Make a text safe to show; that it is no HTML either is the template's part."""
    return clean(value) if isinstance(value, str) else value


def as_png(figure: Figure) -> str:
    """Draw a figure as it stands on a page: a PNG image in the letters of base 64."""
    literal(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
