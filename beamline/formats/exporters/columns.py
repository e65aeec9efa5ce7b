"""Spectra as plain columns of text, for a spreadsheet or any plotting program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beamline.errors import BeamlineError
from beamline.storage.results import Run


def header_of(raw: Run, derived: Run | None) -> list[str]:
    """Give the lines that every table begins with: technique, sample, runs.

    Raises
    ------
    BeamlineError
        When the run has not been reduced: there is nothing to write.
    """
    if derived is None:
        raise BeamlineError(f"run {raw.uid} has not been reduced; `beamline replay --keep {raw.uid[:8]}` does it")
    return [
        f"{raw.measurement.technique.upper()} of {raw.measurement.sample}",
        f"raw run {raw.uid}, derived run {derived.uid}",
    ]


def write_table(path: Path, columns: Sequence[np.ndarray], titles: Sequence[str], header: Sequence[str]) -> Path:
    """Write columns of one length as text; the folder is made.

    Parameters
    ----------
    path : Path
    columns : sequence of numpy.ndarray, each shape (n,)
    titles : sequence of str
        Of the columns, with their units.
    header : sequence of str
        Lines before the titles.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack(columns), fmt="%.10g", header="\n".join([*header, "  ".join(titles)]))
    return path
