"""Export: write a run and its reduction, or an analysis of several runs, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from beamline.errors import BeamlineError
from beamline.formats.exporters import write_analysis
from beamline.operations.analyses import result_of
from beamline.operations.outputs import new_file, new_files
from beamline.operations.problems import unreadable_frames
from beamline.operations.runs import file_name, technique_of
from beamline.storage.runs import Entry, Runs
from beamline.text import file_name_of
from callbacks.external import FrameReadError

Format = Literal["nexus", "columns", "nxstxm", "nxxas", "xdi", "tables"]
# "": a folder
ENDINGS: dict[str, str] = {
    "nexus": ".nxs",
    "columns": "",
    "nxstxm": ".hdf5",
    "nxxas": ".nxs",
    "xdi": ".xdi",
    "tables": "",
}
OF_RUNS, OF_ANALYSES = "nexus", "tables"  # where no format is named; an analysis has no other


def export(
    runs: Runs, name: str, file_format: Format | None, output: Path | None, *, overwrite: bool = False
) -> list[Path]:
    """Write a run, or an analysis, for other programs.

    Parameters
    ----------
    runs : Runs
    name : str
        The run, or the uid of an analysis.
    file_format : str or None
        "nexus" of a run, and "tables" of an analysis, where not given.
    output : Path or None
        File, or folder of the formats "columns" and "tables"; named after the run or the analysis where not given, and
        then replaced where it is there.
    overwrite : bool
        Whether a file that is named here, or is in a folder that is, is replaced where it is there.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    BeamlineError
        When the technique of the run, or an analysis, is not written in this format, naming those that are; when
        nothing can be written there, or a file is there.
    """
    if (pooled := runs.find_pooled(name)) is not None:
        return _export_analysis(runs, pooled, file_format or OF_ANALYSES, output, overwrite=overwrite)
    entry, form = runs.find(name), file_format or OF_RUNS
    raw, derived = runs.load_with_derived(name)
    exporters = technique_of(raw).exporters
    if form not in exporters:
        raise BeamlineError(
            f"run {entry.uid} is of {raw.measurement.technique}, which is not written as {form};"
            f" expected {' or '.join(exporters)}"
        )
    path = output or Path(file_name(entry) + ENDINGS[form])
    write, documents, replaced = exporters[form], runs.documents(entry), overwrite or output is None
    try:
        if ENDINGS[form]:
            with new_file(path, runs.data_dir, overwrite=replaced) as part:
                write(part, documents, raw, derived)
            return [path]
        with new_files(path, runs.data_dir, overwrite=replaced) as folder:
            written = write(folder, documents, raw, derived)
        return [path / each.name for each in written]
    except FrameReadError as error:  # of a camera's file that is gone or damaged
        what = unreadable_frames(documents) or str(error)
        raise BeamlineError(f"run {entry.uid} cannot be exported with its frames: {what}") from error


def _export_analysis(runs: Runs, entry: Entry, file_format: str, output: Path | None, *, overwrite: bool) -> list[Path]:
    if file_format != OF_ANALYSES:
        raise BeamlineError(f"{entry.uid[:8]}: is an analysis, which is not written as {file_format}; expected tables")
    derived = runs.load(entry)
    result = derived.read(result_of(entry))
    path = output or Path(file_name_of("analysis", entry.uid[:8]))
    with new_files(path, runs.data_dir, overwrite=overwrite or output is None) as folder:
        written = write_analysis(folder, derived, result)
    return [path / each.name for each in written]
