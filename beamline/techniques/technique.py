"""What a technique is: one object with all that is special to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.errors import BeamlineError
from beamline.formats.exporters.columns import Table, write_tables
from beamline.formats.exporters.nexus import Plot, write_nexus
from beamline.storage.results import Documents, Run
from callbacks.pipelines import Pipeline

if TYPE_CHECKING:  # it imports matplotlib, which takes time
    from beamline.report.figures import Drawn, Member

Summary = Mapping[str, Any]
NOT_KNOWN = "not known: nothing was measured, or the step has no result"  # where a result has no status
Exporter = Callable[[Path, Documents, Run, Run | None], list[Path]]


@dataclass(frozen=True)
class Technique:
    """A way to measure: how its runs are reduced, summed up, drawn and written for other programs.

    Attributes
    ----------
    name : str
        As start documents have it.
    title : str
        As headings have it.
    counted : str
        What an event of the stream `primary` is, in the plural.
    pipeline : Pipeline
        Steps, settings and result of its reduction.
    summarise : callable
        Called with the derived run; gives the entries of the summary that only this technique has, for JSON.
    lines : callable
        Called with a summary; gives one (label, text) for each printed line.
    warnings : callable
        Called with a summary; gives what a reader must know first.
    figures : callable
        Called with raw run, derived run, documents of the raw run and title; gives (heading, caption, figure).
    exporters : mapping of str to callable
        By the name of the format. Called with the file or folder, the documents of the raw run, the raw run and the
        derived run or None; gives the files written.
    series_figures : callable
        Called with the runs of a series, by the position of what was moved, and what that is with its unit; gives what
        compares them, as `figures`.
    """

    name: str
    title: str
    counted: str
    pipeline: Pipeline
    summarise: Callable[[Run], dict[str, Any]]
    lines: Callable[[Summary], Iterable[tuple[str, str]]]
    warnings: Callable[[Summary], Iterable[str]]
    figures: Callable[[Run, Run, Documents, str], Iterable[Drawn]]
    exporters: Mapping[str, Exporter]
    series_figures: Callable[[Sequence[Member], str], Iterable[Drawn]] = lambda _members, _axis: ()


def not_reduced(raw: Run) -> BeamlineError:
    """Give the error of a run that has no reduction to work with, which says how to get one."""
    if raw.stop is None:
        return BeamlineError(
            f"run {raw.uid} is not closed, and has no result before it is; "
            "`beamline recover` closes a run whose process died"
        )
    why = f": {'; '.join(raw.problems)}" if raw.problems else ""
    return BeamlineError(f"run {raw.uid} has no reduction; `beamline replay --keep {raw.uid[:8]}` makes one{why}")


def nexus_exporter(plots: Callable[[Run], Iterable[Plot]]) -> Exporter:
    """Give the exporter to NeXus of a technique.

    Parameters
    ----------
    plots : callable
        Called with the derived run; gives what a viewer shows, the most important first.
    """

    def write(path: Path, documents: Documents, _raw: Run, derived: Run | None) -> list[Path]:
        write_nexus(path, documents, derived, [] if derived is None else list(plots(derived)))
        return [path]

    return write


def columns_exporter(tables: Callable[[Run], Iterable[Table]]) -> Exporter:
    """Give the exporter to columns of text of a technique.

    Parameters
    ----------
    tables : callable
        Called with the derived run; gives the tables.
    """

    def write(folder: Path, _documents: Documents, raw: Run, derived: Run | None) -> list[Path]:
        if derived is None:
            raise not_reduced(raw)
        return write_tables(folder, tables(derived), raw, derived)

    return write
