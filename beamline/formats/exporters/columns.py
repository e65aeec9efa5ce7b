"""Spectra as plain columns of text, for a spreadsheet or any plotting program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.storage import Run


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
    """Write tables to a folder, which is created if necessary; each begins with technique, sample and runs.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    BeamlineError
        When there is no table.
    """
    about = [
        f"{raw.measurement.technique.upper()} of {raw.measurement.sample}",
        f"raw run {raw.uid}, derived run {derived.uid}",
    ]
    written = []
    for table in tables:
        path = folder / f"{table.name}.txt"
        folder.mkdir(parents=True, exist_ok=True)
        titles, values = zip(*table.columns, strict=True)
        header = "\n".join([*about, *table.remarks, "  ".join(titles)])
        np.savetxt(path, np.column_stack(values), fmt="%.10g", header=header)
        written.append(path)
    if not written:
        raise BeamlineError(f"run {raw.uid}: its reduction found nothing that could be written as columns")
    return written
