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


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    verdict: str,
    warnings: list[str],
    drawn: Iterable[Drawn],
    provenance: list[tuple[str, str]],
    remarks: Sequence[str] = (),
    tables: Iterable[PageTable] = (),
    to_print: Print | None = None,
) -> None:
    """Write a self-contained page.

    Parameters
    ----------
    path : Path
        The HTML file.
    title, subtitle, verdict : str
    warnings : list of str
        What the reader must know first, of the run as a whole: shown in red.
    drawn : iterable of (heading, caption, figure)
    provenance : list of (name, value)
    remarks : sequence of str
        What concerns some of its frames or points: shown in yellow. The verdict is green where there is neither.
    tables : iterable of PageTable
    to_print : Print, optional
        For the figures in a style for print, too, each with the numbers behind it.
    """
    if to_print is not None:
        drawn = list(drawn)
    environment = jinja2.Environment(loader=jinja2.PackageLoader("beamline.report"), autoescape=True, finalize=_shown)
    template = environment.get_template("report.html")
    page = template.render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        warnings=warnings,
        remarks=remarks,
        figures=[{"heading": heading, "caption": caption, "png": _png(figure)} for heading, caption, figure in drawn],
        tables=list(tables),
        provenance=provenance,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    if to_print is not None:
        write_figures(drawn, to_print.folder, to_print.style)


def _shown(value: Any) -> Any:
    """Make a text safe to show; that it is no HTML either is the template's part."""
    return clean(value) if isinstance(value, str) else value


def _png(figure: Figure) -> str:
    literal(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
