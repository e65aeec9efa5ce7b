"""Spectra as plain columns of text, for a spreadsheet or any plotting program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.exporters.reasons import reasons_of
from beamline.formats.text import safe_name
from beamline.storage import Run
from beamline.text import clean

MOST_REASONS = 3  # that are said where nothing is written


@dataclass(frozen=True)
class Table:
    """A table to be written as text.

    Attributes
    ----------
    name : str
        Name of the file, without its suffix.
    columns : sequence of (str, numpy.ndarray), each shape (n,)
        Title with the unit, and values.
    remarks : tuple of str
        Further lines of the header.
    """

    name: str
    columns: Sequence[tuple[str, NDArray[Any]]]
    remarks: tuple[str, ...] = ()


def write_tables(folder: Path, tables: Iterable[Table], raw: Run, derived: Run) -> list[Path]:
    """Write tables to a folder, which is created if necessary.

    Each begins with technique, sample and runs, what the run lacks, and what its reduction did not find and why. The
    line above the numbers has the titles of the columns. What is not known, or not finite, is ``nan``.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    BeamlineError
        When there is no table, or none that holds a number beside its axis; with the reasons.
    OSError
        When a file cannot be written.
    """
    about = [
        f"{raw.measurement.technique.upper()} of {raw.measurement.sample}",
        f"raw run {raw.uid}, derived run {derived.uid}",
        *_incomplete(raw),
        *reasons_of(derived),
    ]
    tables = list(tables)
    if not any(map(_holds_numbers, tables)):
        said = {reason.partition(": ")[2]: reason for reason in reversed(reasons_of(derived))}  # each of them once
        why = "; ".join([*said.values()][::-1][:MOST_REASONS])
        raise BeamlineError(
            f"run {raw.uid}: its reduction found nothing that could be written as columns{why and f': {why}'};"
            " `--format nexus` writes what was measured"
        )
    written = []
    for table in tables:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{safe_name(table.name)}.txt"
        titles, values = zip(*table.columns, strict=True)
        remarks = dict.fromkeys([*about, *table.remarks])  # each of them once
        header = [*remarks, "  ".join("_".join(title.split()) or "_" for title in titles)]
        numbers = np.column_stack(values).astype(float)
        numbers[~np.isfinite(numbers)] = np.nan
        np.savetxt(path, numbers, fmt="%.10g", header="\n".join(map(clean, header)), encoding="utf-8")
        written.append(path)
    return written


def _holds_numbers(table: Table) -> bool:
    """Tell whether any column but the first, which the others are over, has a finite number."""
    columns = table.columns[1:] or table.columns
    return any(np.isfinite(np.asarray(values, dtype=float)).any() for _, values in columns)


def _incomplete(raw: Run) -> list[str]:
    """Say what a run lacks: how it ended, and what an import left out."""
    stop = raw.stop or {"exit_status": "open"}
    ended = [] if stop["exit_status"] == "success" else [f"ended: {stop['exit_status']}: {stop.get('reason', '')}"]
    return [*ended, *map(str, raw.start.get("import_problems", []))]
