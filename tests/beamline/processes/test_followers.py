"""There is one process of each kind for a data folder, whoever starts it; threads follow by the same code."""

import os
import threading
import time

import pytest
from follower_reports import report
from frame_documents import raw_run, write_frames

from beamline.processes import followers as followers_module
from beamline.processes.followers import FollowingProcess, FollowingThread
from beamline.storage.catalogue.condition import REFUSED
from beamline.storage.layout import INGEST, REDUCTION, Layout
from beamline.storage.locks import is_locked, locked
from beamline.storage.log import find_log
from beamline.storage.recorder import Recorder
from beamline.storage.reductions import is_reduced


def wait_until(condition, patience=60):
    deadline = time.monotonic() + patience
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def record(data_dir):
    recorder = Recorder(data_dir)
    documents = list(raw_run(write_frames(data_dir / "frames.h5"), "stream"))
    for name, doc in documents:
        recorder(name, doc)
    recorder.close()
    return documents[0][1]["uid"]


@pytest.mark.long
def test_a_process_that_works_already_is_found_and_one_of_our_own_started_when_it_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(followers_module, "WATCH_INTERVAL", 0.01)
    lock = Layout(tmp_path).process_lock(REDUCTION)
    ours = FollowingProcess(REDUCTION, tmp_path)
    with locked(lock, keep_waiting=lambda: False) as held:
        assert held
        ours.start()
        report(tmp_path, REDUCTION)
        time.sleep(0.1)
        assert ours.is_found
        assert ours.pid is None
        assert (ours.status().state, ours.status().pid) == ("idle", os.getpid())
        uid = record(tmp_path)
        assert ours.why_missing(uid, timeout=0.2).startswith(f"run {uid} is not reduced: nothing came of it in 0.2 s")
    assert ours.why_missing(uid) == ""
    assert not ours.is_found
    assert ours.pid is not None
    ours.stop()
    assert not is_locked(lock)


@pytest.mark.long
def test_what_came_after_the_process_that_was_found_had_ended_is_still_done(tmp_path, monkeypatch):
    monkeypatch.setattr(followers_module, "WATCH_INTERVAL", 60.0)
    ours = FollowingProcess(REDUCTION, tmp_path)
    with locked(Layout(tmp_path).process_lock(REDUCTION), keep_waiting=lambda: False):
        ours.start()
    uid = record(tmp_path)
    ours.finish()  # nobody works any more
    wait_until(lambda: is_reduced(tmp_path, uid))
    wait_until(lambda: ours.status().state == "off")
    ours.stop()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, ""),
        ({"runs": [{"uid": "UID", "documents": 3, "error": "no space", "given_up": False}]}, "no space"),
        ({"state": "blocked", "error": "the catalogue is damaged"}, "the catalogue is damaged"),
        ({"time": 1.0}, "nothing came of it in 0 s"),
    ],
)
def test_of_a_catalogue_that_is_filled_without_us_only_what_is_wrong_is_said(tmp_path, how, said):
    uid = record(tmp_path)
    for run in how.get("runs", ()):
        run["uid"] = uid
    ours = FollowingProcess(INGEST, tmp_path)
    with locked(Layout(tmp_path).process_lock(INGEST), keep_waiting=lambda: False):
        report(tmp_path, INGEST, **how)
        reason = ours.why_not_coming(uid)
    assert bool(reason) is bool(said)
    assert said in reason
    assert ours.why_not_coming() == ""


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("OSError: no space", "`beamline recover` takes it in"),
        (f"{REFUSED}: IngestError: x changes its shape", "its data are in its log"),
    ],
)
def test_the_remedy_is_named_only_where_it_is_one(tmp_path, error, remedy):
    uid = record(tmp_path)
    ours = FollowingProcess(INGEST, tmp_path)
    with locked(Layout(tmp_path).process_lock(INGEST), keep_waiting=lambda: False):
        report(tmp_path, INGEST, runs=[{"uid": uid, "documents": 3, "error": error, "given_up": True}])
        reason = ours.why_missing(uid, timeout=0.0)
    assert error in reason
    assert reason.endswith(remedy)


def test_threads_follow_by_the_same_code_and_end_when_all_is_done(tmp_path):
    thread = FollowingThread(REDUCTION, tmp_path)
    assert thread.status().state == "off"
    assert thread.why_missing() == ""
    thread.start()
    thread.start()
    uid = record(tmp_path)
    assert thread.why_missing(uid) == ""
    assert not thread.is_found
    thread.finish()
    assert thread.status().state == "off"
    later = record(tmp_path)
    assert thread.why_missing(later, timeout=0.1).startswith(f"run {later} is not reduced: nothing came of it")
    thread.start()
    thread.finish()
    assert is_reduced(tmp_path, later)


def test_a_thread_that_fails_says_why(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("beamline.processes.reduction.Reduction.advance", lambda _: 1 / 0)
    thread = FollowingThread(REDUCTION, tmp_path)
    thread.start()
    wait_until(lambda: thread.status().state == "failed")
    assert thread.status().errors == {"": "the process that reduces ended: ZeroDivisionError: division by zero"}
    wait_until(lambda: "the process that reduces ended: ZeroDivisionError: division by zero" in caplog.messages)
    thread.stop()


def test_a_thread_that_is_stopped_leaves_what_is_left(tmp_path):
    uid = record(tmp_path)
    released = threading.Event()
    thread = FollowingThread(REDUCTION, tmp_path)
    with locked(Layout(tmp_path).process_lock(REDUCTION), keep_waiting=lambda: False):
        thread.start()  # it waits for the lock
        thread.stop()
        released.set()
    assert not is_reduced(tmp_path, uid)
    assert find_log(tmp_path, uid).exists()


def test_a_run_is_waited_for_as_long_as_a_step_of_it_computes_and_no_longer(tmp_path, monkeypatch):
    uid = record(tmp_path)
    ours = FollowingProcess(REDUCTION, tmp_path)
    monkeypatch.setattr("beamline.storage.reports.CPU_STEP", 0.1)
    with locked(Layout(tmp_path).process_lock(REDUCTION), keep_waiting=lambda: False):
        ours.start()
        began = time.monotonic()
        computing = threading.Thread(target=lambda: [_compute(tmp_path, 0.2 * n) for n in range(8)])
        computing.start()
        assert "nothing came of it in 0.5 s" in ours.why_missing(uid, timeout=0.5)
        computing.join()
    assert time.monotonic() - began > 1.6
    ours.stop()


def _compute(data_dir, cpu):
    report(data_dir, REDUCTION, cpu=cpu)
    time.sleep(0.2)
