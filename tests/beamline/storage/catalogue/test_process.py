"""The process that fills the catalogue leaves no run behind when it ends, and says at once why it cannot work."""

import os
import subprocess
import sys
import textwrap
import time
from contextlib import closing

import event_model
import pytest

from beamline.child_process import module_command
from beamline.storage.catalogue import supervisor as supervisor_module
from beamline.storage.catalogue.ingest import Ingester, ingest_lock
from beamline.storage.catalogue.process import IngestProcess
from beamline.storage.catalogue.supervisor import IngestSupervisor, ingest_now
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder


def record_run(data_dir):
    with closing(Recorder(data_dir)) as recorder:
        run = event_model.compose_run()
        recorder("start", run.start_doc)
        recorder("stop", run.compose_stop())
    return run.start_doc["uid"]


def test_a_run_recorded_in_the_last_moment_is_ingested_before_the_process_ends(tmp_path, store, monkeypatch):
    record_run(tmp_path)
    process = IngestProcess(tmp_path, follow=False)
    process.parent_needs_it.set()
    ingest_batch, batches = Ingester.ingest_batch, []

    def with_a_late_run(self):
        busy = ingest_batch(self)
        batches.append(busy)
        if len(batches) == 4:
            record_run(tmp_path)
            process.parent_needs_it.clear()
        return busy

    monkeypatch.setattr(Ingester, "ingest_batch", with_a_late_run)
    assert process.run() == ""
    assert Layout(tmp_path).pending_logs() == []
    assert batches[-1] is False  # the last turn met nothing new
    assert len(store.open()) == 2


def test_a_process_that_is_no_longer_needed_waits_for_the_one_that_holds_the_catalogue_until_all_is_ingested(tmp_path):
    uid = record_run(tmp_path)
    process = IngestProcess(tmp_path, follow=False)
    with ingest_lock(tmp_path, keep_waiting=lambda: False) as held:
        assert held
        assert process.keep_waiting()
        log = Layout(tmp_path).log(uid)
        log.rename(log.with_suffix(".elsewhere"))
        assert not process.keep_waiting()


def test_a_child_imports_nothing_from_the_working_directory(tmp_path):
    (tmp_path / "glob.py").write_text("raise RuntimeError('a file of the user')")
    command = module_command("beamline.storage.catalogue.process", "--help")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # as for a user
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--follow" in done.stdout


@pytest.mark.parametrize("how", ["dies_at_once", "cannot_be_started"])
def test_a_child_that_cannot_start_is_noticed_at_once_and_waiting_ends_with_the_reason(tmp_path, monkeypatch, how):
    uid = record_run(tmp_path)
    monkeypatch.setattr(supervisor_module, "INGEST_TIMEOUT", 1e6)
    if how == "dies_at_once":
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
            print("Traceback and so on")
            raise ImportError("no module named tea")
        """)
        )
        monkeypatch.setattr(supervisor_module, "module_command", lambda *_: [sys.executable, str(program)])
        reason = "cannot start: ImportError: no module named tea"
    else:
        monkeypatch.setattr(supervisor_module, "module_command", lambda *_: [str(tmp_path / "python")])
        reason = f"cannot be started: {tmp_path}/python: No such file or directory"
    assert ingest_now(tmp_path, uid) == (
        f"run {uid} is not in the catalogue: the process that fills the catalogue {reason}; "
        "its data are in its log, `beamline recover` takes it in"
    )


def test_a_catalogue_that_has_to_be_made_anew_ends_the_waiting_and_the_process_goes_on_once_it_is(tmp_path, store):
    uid = record_run(tmp_path)
    layout = Layout(tmp_path)
    ingester = IngestSupervisor(tmp_path)
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
