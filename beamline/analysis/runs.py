"""The runs of a data folder, each with its datasets: what was measured, what was reduced, and reducing it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from beamline.analysis.datasets import dataset_of, stream_dataset
from beamline.analysis.frames import Frames
from beamline.errors import BeamlineError
from beamline.operations.analyses import result_of
from beamline.operations.exporting import Format, export
from beamline.operations.problems import problems_of
from beamline.operations.replay import reduce_again
from beamline.operations.runs import block_of, interruptions, sample_of, shown_name, summary_of, technique_of
from beamline.operations.runs import open_runs as find_runs
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.techniques.settings import settings_problems, shown_settings
from beamline.techniques.technique import not_reduced
from callbacks.contract import ENERGY_CALIBRATION, EnergyCalibration, Stream

SHOWN = 20  # runs of a data folder that are printed


def open_runs(data_dir: str | Path | None = None) -> DataFolder:
    """Open the runs of a data folder.

    Parameters
    ----------
    data_dir : str or Path, optional
        The folder; the configuration's where not given.

    Raises
    ------
    BeamlineError
        When it cannot be one.
    """
    return DataFolder(find_runs(None if data_dir is None else Path(data_dir).expanduser()))


@dataclass(frozen=True)
class DataFolder:
    """The measured runs of a data folder, oldest first, and what was analysed of several of them.

    ``folder["-1"]`` is the newest run; others are found by uid, the beginning of one, or scan id.

    Attributes
    ----------
    runs : Runs
        As the operations take them.
    """

    runs: Runs

    def __getitem__(self, name: str | int) -> MeasuredRun:
        return MeasuredRun(self.runs, self.runs.find(str(name)))

    def __iter__(self) -> Iterator[MeasuredRun]:
        return (MeasuredRun(self.runs, entry) for entry in self.runs.raw())

    def __len__(self) -> int:
        return len(self.runs.raw())

    def analyses(self) -> list[Analysis]:
        """List what was analysed of several runs, oldest first."""
        return [Analysis(self.runs, entry) for entry in self.runs.entries() if entry.is_pooled]

    def analysis(self, uid: str) -> Analysis:
        """Find what was analysed of several runs by its uid, or the unique beginning of one.

        Raises
        ------
        BeamlineError
            When there is none, or several.
        """
        found = self.runs.find_pooled(uid)
        if found is None:
            raise BeamlineError(f"{uid}: no analysis has this uid in {self.runs.data_dir}")
        return Analysis(self.runs, found)

    def table(self) -> pd.DataFrame:
        """Give a line for each run: ``scan_id``, ``time`` (UTC), ``technique``, ``sample``, ``edge``, by ``uid``."""
        rows = [
            (run.uid, run.scan_id, run.time.replace(microsecond=0, tzinfo=None), run.technique, run.sample, run.edge)
            for run in self
        ]
        titles = ["uid", "scan_id", "time", "technique", "sample", "edge"]
        return pd.DataFrame(rows, columns=titles).set_index("uid")

    def __repr__(self) -> str:
        table = self.table()
        shown = table.tail(SHOWN)
        shown.index = shown.index.str[:8]
        more = f"the newest {SHOWN} of " if len(table) > SHOWN else ""
        return f"{more}{len(table)} runs in {self.runs.data_dir}\n{shown.to_string() if len(table) else ''}".strip()


@dataclass(frozen=True)
class MeasuredRun:
    """A run that was measured or imported, with its newest reduction.

    Attributes
    ----------
    runs : Runs
    entry : Entry
        Where it is, and its start document.
    """

    runs: Runs
    entry: Entry

    @property
    def uid(self) -> str:
        """The run's uid."""
        return self.entry.uid

    @property
    def start(self) -> dict[str, Any]:
        """The start document: what was asked for, and how."""
        return self.entry.start

    @property
    def scan_id(self) -> int | None:
        """The number of the scan; None where it has none."""
        return self.start.get("scan_id")

    @property
    def time(self) -> datetime:
        """When it was begun, UTC."""
        return datetime.fromtimestamp(self.start["time"], UTC)

    @property
    def technique(self) -> str:
        """The technique, or else the plan."""
        return str(block_of(self.start).get("technique", self.start.get("plan_name", "")))

    @property
    def sample(self) -> str:
        """The sample's name."""
        return sample_of(self.start)

    @property
    def edge(self) -> str:
        """The absorption edge, as "O K"; empty where none was named."""
        return str(block_of(self.start).get("edge", ""))

    def __repr__(self) -> str:
        return f"{shown_name(self.entry)}: {self.technique} of {self.sample}, {self.time:%Y-%m-%d %H:%M} UTC"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the newest reduction, by step, or of those that the run began with where there is none."""
        raw, derived = self.runs.load_with_derived(self.uid)
        if derived is not None and derived.derivation is not None:
            return dict(derived.derivation.settings)
        pipeline = technique_of(raw).pipeline
        begun = self.start.get("processing", {}).get(pipeline.name, {})
        return pipeline.settings_model.model_validate(begun).model_dump(mode="json")

    def streams(self) -> dict[str, list[str]]:
        """Name the streams of ``raw`` and of ``reduced``."""
        raw, derived = self.runs.load_with_derived(self.uid)
        return {"raw": list(raw.streams), "reduced": list(derived.streams) if derived else []}

    def raw(self, stream: str = Stream.PRIMARY) -> xr.Dataset:
        """Give what was measured.

        Parameters
        ----------
        stream : str
            "primary": the points, frames or lines; others are the baseline, the dark frames and what was monitored.

        Returns
        -------
        xarray.Dataset
            See `stream_dataset`. Frames are read as they are computed; one that cannot be is an error then.

        Raises
        ------
        BeamlineError
            When the run cannot be read, or has no such stream.
        """
        run = self.runs.load(self.entry)
        table = _stream(run, stream)
        external = [key for key, one in table.data_keys.items() if one.get("external")]
        documents = self.runs.documents(self.entry) if external else []
        frames = {key: Frames(documents, stream, key) for key in external}
        return stream_dataset(table, _measured(run) | {"uid": run.uid, "stream": str(stream)}, frames)

    def reduced(self, stream: str = Stream.RESULT) -> xr.Dataset:
        """Give what the newest reduction found.

        Parameters
        ----------
        stream : str
            "result": what is known of the whole run; "frames", "images" or "points": of each in turn.

        Returns
        -------
        xarray.Dataset
            See `dataset_of`.

        Raises
        ------
        BeamlineError
            When the run cannot be read, is not reduced, or its reduction has no such stream.
        """
        raw, derived = self.runs.load_with_derived(self.uid)
        if derived is None:
            technique_of(raw)
            raise not_reduced(raw)
        return _reduced(raw, derived, stream)

    def reduce(self, settings: Mapping[str, Any] | None = None, *, keep: bool = False) -> xr.Dataset:
        """Reduce the run again, with settings changed.

        Parameters
        ----------
        settings : mapping, optional
            What is to be other than in `settings`, by step: ``{"cosmic_rays": {"threshold": 6.0}}``.
        keep : bool
            Keep the outcome as a new derived run, which is then the newest reduction.

        Returns
        -------
        xarray.Dataset
            As of `reduced`.

        Raises
        ------
        BeamlineError
            When there is no such setting, or it cannot have that value; when frames cannot be read; when what is kept
            does not come into the catalogue.
        """
        if settings is not None and not isinstance(settings, Mapping):
            raise BeamlineError(f"settings: are {type(settings).__name__}, expected a mapping by step")
        raw = self.runs.load(self.entry)
        pipeline = technique_of(raw).pipeline.name
        processing = {pipeline: _merged(self.settings, settings or {})}
        if problems := settings_problems(processing):
            raise BeamlineError(*problems)
        derived, late = reduce_again(self.runs, self.entry, self.runs.documents(self.entry), processing, keep=keep)
        if late:
            raise BeamlineError(late)
        return _reduced(raw, derived, Stream.RESULT)

    def summary(self) -> dict[str, Any]:
        """Say what was measured and found, as `beamline show --json`."""
        return summary_of(self.runs, self.uid)

    def export(
        self, output: str | Path | None = None, file_format: Format = "columns", *, overwrite: bool = False
    ) -> list[Path]:
        """Write the run and its reduction for other programs, as `beamline export`.

        Parameters
        ----------
        output : str or Path, optional
            File, or folder of the format "columns"; named after the run where not given.
        file_format : str
            "columns": tables as text; "nexus": one HDF5 file; others as `beamline export` names them.
        overwrite : bool
            Whether files that are there are replaced.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        BeamlineError
            When the run is not written in this format, or not there, or a file is there already.
        """
        path = None if output is None else Path(output)
        return export(self.runs, self.uid, file_format, path, overwrite=overwrite)


@dataclass(frozen=True)
class Analysis:
    """What was analysed of several runs together, and kept.

    Attributes
    ----------
    runs : Runs
    entry : Entry
    """

    runs: Runs
    entry: Entry

    @property
    def uid(self) -> str:
        """Its uid."""
        return self.entry.uid

    @property
    def raw_uids(self) -> list[str]:
        """Uids of the runs that were analysed."""
        return self.entry.raw_uids

    def __repr__(self) -> str:
        block = self.entry.start["derivation"]
        return f"analysis {self.uid[:8]}: {block['pipeline']} of {len(self.raw_uids)} runs"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings or the recipe that it was made by, with all points of the references."""
        return dict(self.entry.start["derivation"]["settings"])

    def result(self) -> xr.Dataset:
        """Give what was found; see `dataset_of`.

        Raises
        ------
        BeamlineError
            When it cannot be read, or is of an analysis that this version does not know.
        """
        run = self.runs.load(self.entry)
        return dataset_of(run.read(result_of(self.entry)), _derived(run))

    def export(self, output: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write tables and maps for other programs, as `beamline export`.

        Parameters
        ----------
        output : str or Path, optional
            A folder; named after the analysis where not given.
        overwrite : bool
            Whether files that are there are replaced.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        BeamlineError
            When it cannot be read, or the files not be written or are there already.
        """
        return export(self.runs, self.uid, None, None if output is None else Path(output), overwrite=overwrite)


def _stream(run: Run, name: str) -> Any:
    if name not in run.streams:
        raise BeamlineError(f"run {run.uid}: has no stream {str(name)!r}; expected {', '.join(run.streams) or 'none'}")
    return run.streams[name]


def _reduced(raw: Run, derived: Run, stream: str) -> xr.Dataset:
    attributes = _measured(raw) | _derived(derived)
    table = _stream(derived, stream)
    if stream == Stream.RESULT:
        return dataset_of(derived.read(technique_of(raw).pipeline.result), attributes)
    return stream_dataset(table, attributes | {"stream": str(stream)})


def _measured(raw: Run) -> dict[str, Any]:
    """Give what a reader must know of a measured run, as attributes that NetCDF can hold."""
    block = block_of(raw.start)
    calibration = raw.start.get(ENERGY_CALIBRATION)
    return {
        "raw_uids": raw.uid,
        "scan_id": raw.start.get("scan_id", -1),
        "technique": str(block.get("technique", "")),
        "sample": sample_of(raw.start),
        "edge": str(block.get("edge", "")),
        "time": datetime.fromtimestamp(raw.start["time"], UTC).isoformat(),
        "exit_status": str(raw.stop.get("exit_status", "")) if raw.stop else "open",
        "problems": "; ".join(problems_of(raw, interruptions(raw))),
        "measurement": json.dumps(block),
        "calibration": str(EnergyCalibration.model_validate(calibration)) if calibration else "",
    }


def _derived(run: Run) -> dict[str, Any]:
    """Give by what a derived run was made."""
    assert run.derivation is not None
    return {
        "uid": run.uid,
        "raw_uids": " ".join(run.derivation.raw_uids),
        "pipeline": run.derivation.pipeline,
        "settings": json.dumps(shown_settings(run.derivation.settings)),
        "software": json.dumps(run.derivation.software),
    }


def _merged(settings: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Put what is changed in the place of what was; tables of settings are changed within."""
    merged = dict(settings)
    for name, value in changed.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged
