"""Export: write a run and its reduction for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from beamline.errors import BeamlineError
from beamline.operations.outputs import new_file, new_files
from beamline.operations.problems import unreadable_frames
from beamline.operations.runs import file_name, technique_of
from beamline.storage.runs import Runs
from callbacks.external import FrameReadError

Format = Literal["nexus", "columns", "nxstxm", "nxxas", "xdi"]
# "": a folder
ENDINGS: dict[str, str] = {"nexus": ".nxs", "columns": "", "nxstxm": ".hdf5", "nxxas": ".nxs", "xdi": ".xdi"}


def export(runs: Runs, name: str, file_format: Format, output: Path | None) -> list[Path]:
    """Write a run for other programs.

    Parameters
    ----------
    runs : Runs
    name : str
        The run.
    file_format : str
    output : Path or None
        File, or folder of the format "columns"; named after the run where not given.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    BeamlineError
        When the technique of the run is not written in this format, naming those that are; when nothing can be
        written there.
    """
    entry = runs.find(name)
    raw, derived = runs.load_with_derived(name)
    exporters = technique_of(raw).exporters
    if file_format not in exporters:
        raise BeamlineError(
            f"run {entry.uid} is of {raw.measurement.technique}, which is not written as {file_format};"
            f" expected {' or '.join(exporters)}"
        )
    path = output or Path(file_name(entry) + ENDINGS[file_format])
    write, documents = exporters[file_format], runs.documents(entry)
    try:
        if ENDINGS[file_format]:
            with new_file(path, runs.data_dir) as part:
                write(part, documents, raw, derived)
            return [path]
        with new_files(path, runs.data_dir) as folder:
            written = write(folder, documents, raw, derived)
        return [path / each.name for each in written]
    except FrameReadError as error:  # of a camera's file that is gone or damaged
        what = unreadable_frames(documents) or str(error)
        raise BeamlineError(f"run {entry.uid} cannot be exported with its frames: {what}") from error
