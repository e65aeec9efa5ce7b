"""Recovery closes the runs of dead processes, leaves those of living ones alone, and reports what it could not do."""

import os
import threading
from pathlib import Path

import bluesky.plans as bp
import event_model
import h5py
import pytest
from soft import Camera, Values, number, run_program

from beamline.storage.catalogue import recovery as recovery_module
from beamline.storage.catalogue.ingest import ingest_lock
from beamline.storage.catalogue.recovery import recover
from beamline.storage.log import LogState, pending_logs
from beamline.storage.recorder import Recorder

PROGRAMS = Path(__file__).with_name("programs")


def test_a_run_whose_process_died_is_closed_its_frames_repaired_and_all_is_reported(tmp_path, store):
    run_program(PROGRAMS / "die_in_mid_run.py", tmp_path)
    recovery = recover(tmp_path)
    (run,) = recovery.closed
    (path,) = (tmp_path / "frames").iterdir()
    assert (run.scan_id, run.documents, run.events) == (12, 9, {"primary": 3})
    assert run.frames == {str(path): 4}  # one more than the documents know of
    assert (recovery.ingested, recovery.still_open, recovery.problems) == (1, [], [])
    with h5py.File(path, "r") as file:
        assert file["entry/data/data"][:, 0, 0].tolist() == [0, 1, 2, 3]
    stop = store.open()[12].stop
    assert (stop["exit_status"], stop["num_events"]) == ("abort", {"primary": 3})
    assert stop["reason"] == "the process that measured ended before the run was closed"


@pytest.mark.parametrize("ingested", [False, True])
def test_frames_of_a_closed_run_whose_file_was_left_open_are_repaired(tmp_path, store, ingested):
    path = tmp_path / "frames" / "killed.h5"
    path.parent.mkdir()
    run_program(PROGRAMS.parents[1] / PROGRAMS.name / "write_frames_until_killed.py", path, check=False)
    os.utime(path, (0, 0))
    run = event_model.compose_run()
    keys = {"ccd": {"dtype": "array", "shape": [1, 8, 16], "source": "", "external": "FILESTORE:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    resource = run.compose_resource(spec="AD_HDF5", root="/", resource_path=str(path)[1:], resource_kwargs={})
    datum = resource.compose_datum(datum_kwargs={"point_number": 0})
    event = stream.compose_event(data={"ccd": datum["datum_id"]}, timestamps={"ccd": 0.0}, filled={"ccd": False})
    for name, doc in [
        ("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("resource", resource.resource_doc),
        ("datum", datum), ("event", event), ("stop", run.compose_stop()),
    ]:  # fmt: skip
        store.recorder(name, doc)
    if ingested:
        assert store.ingest() == {}
    recovery = recover(tmp_path)
    assert (recovery.closed, recovery.problems) == ([], [])
    with h5py.File(path, "r") as file:
        assert len(file["entry/data/data"]) == 7


def test_a_run_that_is_being_measured_is_left_alone(tmp_path, store):
    run = event_model.compose_run()
    store.recorder("start", run.start_doc)
    uid = store.measure(bp.count([number(range(3))], num=3))
    recovery = recover(tmp_path)
    assert (recovery.still_open, recovery.ingested, recovery.closed) == ([run.start_doc["uid"]], 1, [])
    assert [(log.uid, log.state) for log in pending_logs(tmp_path)] == [(run.start_doc["uid"], LogState.OPEN)]
    store.recorder("stop", run.compose_stop())
    assert recover(tmp_path).ingested == 1
    assert len(store.open()) == 2
    assert store.open()[uid].stop["exit_status"] == "success"


def test_what_cannot_be_recovered_is_named_and_the_rest_is_done(tmp_path, store, monkeypatch):
    monkeypatch.setattr(recovery_module, "RETRY_DELAYS", (0.1,))
    store.measure(bp.count([number(range(3))], num=3))
    (tmp_path / "log" / "notes.log").write_text("tea at four")
    ragged = Values("det", {"x": {"dtype": "array", "shape": [1]}}, ({"x": [0] * size} for size in (1, 2, 3)))
    bad = store.measure(bp.count([ragged], num=3))
    recorder = Recorder(tmp_path)  # dies with its frames gone
    camera = Camera("ccd", tmp_path / "frames")
    camera.stage()
    lost = event_model.compose_run()
    recorder("start", lost.start_doc)
    resource = next(iter(camera.collect_asset_docs()))[1]
    recorder("resource", {**resource, "run_start": lost.start_doc["uid"]})
    recorder.close()
    camera.unstage()
    camera.path.unlink()
    recovery = recover(tmp_path)
    assert len(recovery.problems) == 3
    assert "notes.log: not a log of documents" in "\n".join(recovery.problems)
    assert f"{camera.path}: " in "\n".join(recovery.problems)
    assert f"run {bad} is not in the catalogue: IngestError: x of stream primary changes its shape" in "\n".join(
        recovery.problems
    )
    assert recovery.ingested == 2
    assert len(store.open()) == 3  # the half of the bad one stays, without a stop document, until it can be ingested


@pytest.mark.parametrize("makes_progress", [True, False])
def test_where_another_process_fills_the_catalogue_it_is_waited_for_or_named(
    tmp_path, store, monkeypatch, makes_progress
):
    monkeypatch.setattr(recovery_module, "LOCK_TIMEOUT", 1.0)
    store.measure(bp.count([number(range(3))], num=3))
    done, held = threading.Event(), threading.Event()

    def other():
        with ingest_lock(tmp_path, keep_waiting=lambda: False) as got_it:
            assert got_it
            held.set()
            done.wait()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    if makes_progress:
        threading.Timer(0.3, done.set).start()
    recovery = recover(tmp_path)
    done.set()
    thread.join()
    if makes_progress:
        assert (recovery.ingested, recovery.problems) == (1, [])
    else:
        assert recovery.ingested == 0
        assert recovery.problems == [
            f"{tmp_path}/catalog.lock: another process holds the catalogue and makes no progress; end it and repeat"
        ]
