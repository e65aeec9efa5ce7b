"""Reprocess: reduce many runs again, with other settings or new software, side by side on a Dask cluster.

A task is a data folder and two uids: of the raw run, and of the derived run that comes of it. What a worker has stored
when it dies is gone on with by the next one; see `beamline.storage.derived`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamline.acquire.references import processing_with_references
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.operations.progress import Progress, no_progress
from beamline.operations.runs import block_of, calibrated_by_itself, sample_of
from beamline.operations.selecting import select_runs
from beamline.processes.followers import ingest_now
from beamline.storage.derived import DerivedRuns
from beamline.storage.layout import Layout
from beamline.storage.log import LogState, find_log, inspect_log, is_being_written, read_start
from beamline.storage.recorder import OtherRunError
from beamline.storage.reductions import is_complete, is_measurement
from beamline.storage.runs import Entry, Runs
from beamline.techniques import pipelines
from beamline.techniques.settings import processing_problems
from callbacks.contract import MEASUREMENT, PROCESSING, Measurement
from callbacks.reduction import RunReduction, pipeline_of
from callbacks.wording import number_of

if TYPE_CHECKING:
    from distributed import Client

CONNECTING_TIME = 10.0  # s
SAFE_PATH = "PYTHONSAFEPATH"  # of the environment: Python does not look into the working directory for modules


def reprocess(
    runs: Runs,
    query: Sequence[str],
    *,
    settings: Path | None,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Reduce runs again, and keep what comes of each as a new derived run beside those that there are.

    Parameters
    ----------
    runs : Runs
        Their data folder, which all workers must see under the same path.
    query : sequence of str
        Which runs; see `beamline.operations.selecting.select_runs`.
    settings : Path or None
        A configuration, for its settings of the processing; each run keeps those that it began with where not given.
    scheduler : str, optional
        Address of the scheduler of a cluster; workers of this computer where not given.
    workers : int, optional
        How many of this computer; as many as it has processors where not given.
    progress : callable
        See `beamline.operations.progress`.

    Returns
    -------
    dict
        For JSON: ``runs``, for each in the order of measurement ``raw_uid``, ``scan_id``, ``technique``, ``sample``,
        ``derived_uid`` (None where it failed), ``seconds`` and ``error``; ``seconds`` in all; ``not_in_catalogue``.

    Raises
    ------
    BeamlineError
        When no run is selected, the settings are wrong, or there is no cluster. A run that fails costs itself only.
    """
    began = time.monotonic()
    processing = None if settings is None else _processing(settings, runs.data_dir)
    found = [entry for entry in select_runs(runs, query) if is_measurement(entry.start)]
    if not found:
        raise BeamlineError(f"{' '.join(query)}: none of the runs is a measurement, which alone is reduced")
    recorded = runs.raw() if processing else []
    all_rows = [_row(entry, processing or {}, recorded) for entry in found]
    rows = [row for row in all_rows if not row["error"]]
    if not rows:  # no workers are needed
        return {"runs": all_rows, "seconds": time.monotonic() - began, "not_in_catalogue": ""}
    what = f"reducing {number_of(len(rows), 'run')}"
    progress(what, 0, len(rows))
    with _client(scheduler, workers) as client:
        from distributed import as_completed  # noqa: PLC0415 - of the extra

        tasks = {
            client.submit(
                reduce_run, str(runs.data_dir), row["raw_uid"], row["derived_uid"], processing, pure=False
            ): row
            for row in rows
        }
        for done, task in enumerate(as_completed(list(tasks)), start=1):
            row = tasks[task]
            try:
                row["seconds"] = task.result()
            except Exception as error:  # noqa: BLE001 - of the run, or the cluster is gone: it costs this run
                row["derived_uid"], row["error"] = None, " ".join(str(error).split()) or type(error).__name__
            progress(what, done, len(rows))
    kept = {row["raw_uid"]: row["derived_uid"] for row in rows if row["derived_uid"] and row["seconds"] is not None}
    ended = [uid for uid in kept if not is_being_written(find_log(runs.data_dir, uid))]
    late = ingest_now(runs.data_dir, *ended, *kept.values())  # what was derived is found beside what it came of
    return {"runs": all_rows, "seconds": time.monotonic() - began, "not_in_catalogue": late}


def reduce_run(data_dir: str, raw_uid: str, derived_uid: str, processing: Mapping[str, Any] | None) -> float:
    """Reduce one run into a derived run of a given uid, or go on with it where a process died that did.

    Parameters
    ----------
    data_dir : str
        The data folder.
    raw_uid, derived_uid : str
    processing : mapping or None
        Settings by pipeline; those that the run began with where None.

    Returns
    -------
    float
        s that it took.

    Raises
    ------
    BeamlineError
        When the run cannot be read, or what comes of it not be stored.
    """
    began, folder = time.monotonic(), Path(data_dir)
    path = find_log(folder, raw_uid)
    entry = Entry(path, read_start(path))
    measurement = Measurement.model_validate(entry.start[MEASUREMENT])
    pipeline = pipeline_of(measurement, pipelines())
    settings = (entry.start.get(PROCESSING, {}) if processing is None else processing).get(pipeline.name, {})
    before = Layout(folder).find_log(derived_uid)
    if before is not None and is_complete(before):  # by a worker that died before it could tell
        return time.monotonic() - began
    for go_on in (True, False) if before is not None else (False,):
        with closing(DerivedRuns(folder)) as store, suppress(OtherRunError):
            if go_on:
                store.resume(derived_uid)
            elif before is not None:
                store.drop(derived_uid)
            reduction = RunReduction(pipeline, measurement, settings, store, uid=derived_uid)
            for name, doc in Runs(folder).documents(entry):
                reduction(name, doc)
            break
    return time.monotonic() - began


def _processing(path: Path, data_dir: Path) -> dict[str, dict[str, Any]]:
    loaded = load_reduction_config(path)
    if problems := processing_problems(loaded):
        raise BeamlineError(*problems)
    return processing_with_references(loaded, data_dir)


def _row(entry: Entry, processing: Mapping[str, Any], recorded: Sequence[Entry]) -> dict[str, Any]:
    error = calibrated_by_itself(entry, processing, recorded)
    if inspect_log(entry.path).state is not LogState.CLOSED:
        error = "is being measured, or was interrupted, which `beamline recover` closes"
    return {
        "raw_uid": entry.uid,
        "scan_id": entry.start.get("scan_id"),
        "technique": block_of(entry.start).get("technique"),
        "sample": sample_of(entry.start),
        "derived_uid": None if error else str(uuid.uuid4()),
        "seconds": None,
        "error": error,
    }


@contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Connect to a cluster, or start workers on this computer that listen to nobody else."""
    try:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - of the extra
        from distributed.security import Security  # noqa: PLC0415
    except ImportError as error:
        raise BeamlineError(
            "many runs are reduced on a Dask cluster; `pip install 'stxm-rixs-beamline[dask]'` brings it"
        ) from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECTING_TIME)
            client.wait_for_workers(1, timeout=CONNECTING_TIME)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BeamlineError(f"scheduler {scheduler}: {reason}") from error
        with client:
            yield client
        return
    # What they send one another is pickled: they take it from those alone who have the key, made for this cluster.
    security = Security.temporary()
    number = workers or os.cpu_count() or 1
    with _deaf_to_the_terminal(), _without_the_working_directory():
        try:
            cluster = LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                security=security,
                silence_logs="CRITICAL",
            )
        except RuntimeError as error:
            raise BeamlineError(f"workers cannot be started: {' '.join(str(error).split())}") from error
    with cluster, Client(cluster, security=security) as client:
        yield client


@contextmanager
def _without_the_working_directory() -> Iterator[None]:
    """Let processes that are started meanwhile import nothing from the folder we were started in."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Let processes that are started meanwhile take no notice of Ctrl-C: we end them when we are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
