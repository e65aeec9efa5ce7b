"""The process that fills the catalogue leaves no run behind when it ends, and says at once why it cannot work."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, closing

import event_model
import pytest

from beamline.child_process import module_command
from beamline.processes import followers as followers_module
from beamline.processes.followers import FollowerStatus, FollowingProcess, ingest_now
from beamline.processes.kinds import KINDS
from beamline.processes.process import Follower, _watch_parent
from beamline.storage.catalogue.ingest import Ingester, ingest_lock
from beamline.storage.layout import INGEST, Layout
from beamline.storage.locks import locked
from beamline.storage.recorder import Recorder


def record_run(data_dir):
    with closing(Recorder(data_dir)) as recorder:
        run = event_model.compose_run()
        recorder("start", run.start_doc)
        recorder("stop", run.compose_stop())
    return run.start_doc["uid"]


@pytest.mark.long
def test_a_run_recorded_in_the_last_moment_is_ingested_before_the_process_ends(tmp_path, store, monkeypatch):
    record_run(tmp_path)
    process = Follower(KINDS[INGEST], tmp_path)
    process.needed.set()
    advance, batches = Ingester.advance, []

    def with_a_late_run(self):
        busy = advance(self)
        batches.append(busy)
        if len(batches) == 4:
            record_run(tmp_path)
            process.needed.clear()
        return busy

    monkeypatch.setattr(Ingester, "advance", with_a_late_run)
    assert process.run() == ""
    assert Layout(tmp_path).pending_logs() == []
    assert batches[-1] is False  # the last turn met nothing new
    assert len(store.open()) == 2


def test_a_process_that_is_no_longer_needed_waits_for_the_one_that_holds_the_catalogue_until_all_is_ingested(tmp_path):
    uid = record_run(tmp_path)
    process = Follower(KINDS[INGEST], tmp_path)
    with ingest_lock(tmp_path, keep_waiting=lambda: False) as held:
        assert held
        assert process.keep_waiting()
        log = Layout(tmp_path).log(uid)
        log.rename(log.with_suffix(".elsewhere"))
        assert not process.keep_waiting()
        assert process.run() == ""  # the other has done it all


def test_the_process_is_needed_until_its_input_ends_whatever_comes_from_there(tmp_path):
    reading, writing = os.pipe()
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        process = Follower(KINDS[INGEST], tmp_path)
        process.needed.set()
        watching = threading.Thread(target=_watch_parent, args=(process.needed,), daemon=True)
        watching.start()
        os.write(writing, b"tea")
        assert process.keep_waiting()
        os.close(writing)
        watching.join(10)
        assert not process.keep_waiting()
    finally:
        os.dup2(before, 0)
        os.close(reading)
        os.close(before)


@pytest.mark.long
def test_where_no_status_can_be_written_all_is_ingested_and_where_there_is_no_lock_the_process_says_so(
    tmp_path, store, caplog
):
    record_run(tmp_path)
    layout = Layout(tmp_path)
    (tmp_path / ".ingest.json.new").mkdir()
    assert Follower(KINDS[INGEST], tmp_path).run() == ""
    assert layout.pending_logs() == []
    assert f"{tmp_path}/.ingest.json.new: Is a directory" in caplog.messages
    layout.catalogue_lock.unlink()
    layout.catalogue_lock.mkdir()
    command = module_command("beamline.processes.process", INGEST, str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"{layout.catalogue_lock}: Is a directory\n")


def a_program(monkeypatch, commands):
    """Let a supervisor start these commands of the shell instead of the process that fills the catalogue."""
    monkeypatch.setattr(followers_module, "module_command", lambda _, __, folder, *___: ["sh", "-c", commands, folder])


WORKING = 'echo "{\\"pid\\": $$, \\"time\\": 1, \\"state\\": \\"idle\\", \\"runs\\": []}" > "$0/ingest.json"; '


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_process_that_has_brought_something_to_an_end_each_time_is_restarted_however_often_it_is_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(followers_module, "RESTART_DELAYS", (0.0,))
    count = 'echo >> "$0/starts"; '
    a_program(monkeypatch, count + WORKING.replace("runs", 'done\\": 1, \\"runs') + "kill -9 $$")
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    wait_until(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) > 5)
    ingester.stop()


@pytest.mark.parametrize(
    ("end", "how"), [("exit 3", "exit code 3"), ("kill -9 $$", "signal SIGKILL"), ("kill -40 $$", "signal 40")]
)
def test_a_process_that_ends_again_and_again_is_given_up_with_how_it_ended(tmp_path, monkeypatch, caplog, end, how):
    monkeypatch.setattr(followers_module, "RESTART_DELAYS", (0.0, 0.0))
    a_program(monkeypatch, WORKING + end)
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    wait_until(lambda: ingester.status().state == "failed")
    reason = f"the process that fills the catalogue ended 3 times, last by {how}"
    assert ingester.status() == FollowerStatus("failed", 0, 0, {"": reason}, restarts=2)
    assert caplog.messages[-1] == f"{reason}; see {tmp_path}/ingest.log"
    ingester.stop()


def test_a_process_that_cannot_be_restarted_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(followers_module, "RESTART_DELAYS", (0.0,))
    a_program(monkeypatch, f'{WORKING} rm "$0/ingest.log"; mkdir "$0/ingest.log"; exit 3')
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    wait_until(lambda: ingester.status().state == "failed")
    reason = f"the process that fills the catalogue cannot be started: {tmp_path}/ingest.log: Is a directory"
    assert ingester.status().errors == {"": reason}
    ingester.stop()


def test_stopped_while_it_waits_to_restart_the_process_stays_away_and_starts_again_when_asked(tmp_path, monkeypatch):
    a_program(monkeypatch, WORKING + "exit 3")
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.stop()  # which was never started
    assert ingester.status() == FollowerStatus("off", 0)
    ingester.start()
    wait_until(lambda: ingester.status().state == "off")
    ingester.start()  # the watcher is there, and will see to it
    time.sleep(0.1)  # it waits now
    ingester.stop()
    assert ingester.status() == FollowerStatus("off", 0, 0, {"": "its process ended by exit code 3"})
    a_program(monkeypatch, f"{WORKING} read line")
    ingester.start()
    wait_until(lambda: ingester.status().state == "silent")  # its report is of 1970
    pid = ingester.pid
    ingester.start()
    assert ingester.pid == pid
    ingester.finish()
    wait_until(lambda: ingester.status().state == "off")
    ingester.stop()


def test_why_a_process_ended_is_not_known_where_its_log_is_gone(tmp_path, monkeypatch):
    a_program(monkeypatch, 'rm "$0/ingest.log"; exit 3')
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    wait_until(lambda: ingester.status().state == "failed")
    assert ingester.status().errors == {"": "the process that fills the catalogue cannot start: exit code 3"}
    ingester.stop()


@pytest.mark.parametrize(
    "report",
    [
        *("", "[]", "5", "[" * 100_000, '{"pid": %d}', '{"pid": 1e999}'),
        '{"pid": %d, "time": 1, "state": [], "runs": []}',
        '{"pid": %d, "time": 1, "state": "idle", "runs": [5]}',
    ],
)
def test_a_report_that_the_process_did_not_write_is_none(tmp_path, monkeypatch, report):
    a_program(monkeypatch, "read line")
    Layout(tmp_path).process_status(INGEST).write_text(report.replace("%d", str(os.getpid())))
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    assert ingester.status() == FollowerStatus("starting", 0)
    ingester.stop()


def test_a_child_imports_nothing_from_the_working_directory(tmp_path):
    (tmp_path / "glob.py").write_text("raise RuntimeError('a file of the user')")
    command = module_command("beamline.processes.process", "--help")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # as for a user
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--follow" in done.stdout


@pytest.mark.parametrize("how", ["dies_at_once", "cannot_be_started"])
def test_a_child_that_cannot_start_is_noticed_at_once_and_waiting_ends_with_the_reason(tmp_path, monkeypatch, how):
    uid = record_run(tmp_path)
    monkeypatch.setattr(followers_module, "PATIENCE", 1e6)
    if how == "dies_at_once":
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
            print("Traceback and so on")
            raise ImportError("no module named tea")
        """)
        )
        monkeypatch.setattr(followers_module, "module_command", lambda *_: [sys.executable, str(program)])
        reason = "cannot start: ImportError: no module named tea"
    else:
        monkeypatch.setattr(followers_module, "module_command", lambda *_: [str(tmp_path / "python")])
        reason = f"cannot be started: {tmp_path}/python: No such file or directory"
    ingester = FollowingProcess(INGEST, tmp_path, log_failures=False)
    ingester.start()
    assert ingester.why_missing(uid) == (
        f"run {uid} is not in the catalogue: the process that fills the catalogue {reason}; "
        "its data are in its log, `beamline recover` takes it in"
    )
    ingester.finish()


@pytest.mark.long
def test_who_waits_for_the_catalogue_is_told_so(tmp_path, store, monkeypatch, caplog):
    monkeypatch.setattr(followers_module, "SAID_AFTER", 0.1)
    with ExitStack() as another:
        another.enter_context(locked(Layout(tmp_path).process_lock(INGEST), keep_waiting=lambda: False))
        threading.Timer(1.0, another.pop_all().close).start()
        assert ingest_now(tmp_path, record_run(tmp_path)) == ""
    assert followers_module.WAITED_FOR in caplog.messages
    caplog.clear()
    monkeypatch.setattr(followers_module, "SAID_AFTER", 60.0)
    assert ingest_now(tmp_path, record_run(tmp_path)) == ""
    assert followers_module.WAITED_FOR not in caplog.messages


@pytest.mark.long
def test_a_long_run_is_waited_for_as_long_as_documents_of_it_are_taken_in(tmp_path, monkeypatch):
    uid = record_run(tmp_path)
    layout = Layout(tmp_path)
    program = tmp_path / "slow.py"
    program.write_text(f"""
import json, os, pathlib, time
for documents in range(8):
    report = {{"pid": os.getpid(), "time": time.time(), "state": "working", "error": "",
              "runs": [{{"uid": {uid!r}, "documents": documents, "given_up": False, "error": ""}}]}}
    pathlib.Path({str(layout.process_status(INGEST))!r}).write_text(json.dumps(report))
    time.sleep(0.5)
time.sleep(60)
""")
    monkeypatch.setattr(followers_module, "module_command", lambda *_: [sys.executable, str(program)])
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    began = time.monotonic()
    try:
        assert ingester.why_missing(uid, timeout=2.0).startswith(
            f"run {uid} is not in the catalogue: nothing came of it in 2 s"
        )
    finally:
        ingester.stop()
    assert time.monotonic() - began > 7 * 0.5 + 2.0


@pytest.mark.long
def test_a_catalogue_that_has_to_be_made_anew_ends_the_waiting_and_the_process_goes_on_once_it_is(tmp_path, store):
    uid = record_run(tmp_path)
    layout = Layout(tmp_path)
    ingester = FollowingProcess(INGEST, tmp_path)
    layout.catalogue.rename(tmp_path / "good")
    layout.catalogue.mkdir()
    layout.catalogue_database.write_bytes(b"tea")
    ingester.start()
    reason = ingester.why_missing(uid, timeout=1e6)
    assert reason == (
        f"run {uid} is not in the catalogue: {layout.catalogue}: of the format of an earlier version, expected 2; "
        "`beamline recover` makes it anew from the logs"
    )
    assert ingester.status().state == "blocked"
    layout.catalogue.rename(tmp_path / "bad")
    (tmp_path / "good").rename(layout.catalogue)
    deadline = time.monotonic() + 60
    while ingester.status().state == "blocked" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ingester.why_missing(uid) == ""
    assert ingester.status().restarts == 0
    ingester.finish()
    missing = ingest_now(tmp_path, "not-there")
    assert missing.startswith(f"run not-there is not in the catalogue: {layout.logs}: no log of run not-there")


@pytest.mark.long
def test_what_is_asked_for_is_ingested_at_once_and_the_rest_is_left_to_the_next(tmp_path):
    left, asked = record_run(tmp_path), record_run(tmp_path)
    assert ingest_now(tmp_path, asked) == ""
    assert [path.stem for path in Layout(tmp_path).pending_logs()] == [left]
    ingester = FollowingProcess(INGEST, tmp_path)
    ingester.start()
    assert ingester.why_missing(left) == ""
    ingester.finish()
