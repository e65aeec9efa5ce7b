"""What `status` says of a data folder, and `serve` keeping its processes running."""

import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from command_line import as_json, beamline
from frame_documents import raw_run, write_frames

from beamline.storage.layout import PROCESSES, Layout
from beamline.storage.locks import is_locked
from beamline.storage.recorder import Recorder


@pytest.fixture
def documents(tmp_path):
    return list(raw_run(write_frames(tmp_path / "frames.h5"), "stream"))


def test_the_status_of_a_folder_that_nobody_uses_says_so(tmp_path):
    found = as_json("status", "--data-dir", tmp_path / "none")
    assert (found["free_gb"], found["measuring"], found["interrupted"]) == (None, [], [])
    assert {name: one["state"] for name, one in found["processes"].items()} == dict.fromkeys(PROCESSES, "off")
    assert "there is no such folder" in beamline("status", "--data-dir", tmp_path / "none")


def test_the_status_tells_what_is_measured_what_is_left_and_what_was_interrupted(tmp_path, documents):
    events = [number for number, (name, _) in enumerate(documents) if name == "event"]
    with closing(Recorder(tmp_path)) as recorder:
        for name, doc in documents[: events[1] + 1]:
            recorder(name, {**doc, "scan_id": 7} if name == "start" else doc)
        (run,) = as_json("status", "--data-dir", tmp_path)["measuring"]
        text = beamline("status", "--data-dir", tmp_path)
    assert (run["scan_id"], run["technique"], run["sample"], run["points"], run["planned"]) == (7, "rixs", "test", 2, 5)
    assert "measuring: scan 7" in text
    assert "rixs of test: 2 of 5 points since" in text
    found = as_json("status", "--data-dir", tmp_path)
    assert found["interrupted"] == [documents[0][1]["uid"]]
    assert [found["processes"][name]["waiting"] for name in ("reduction", "ingest")] == [1, 1]
    assert found["free_gb"] > 0
    assert "`beamline recover` closes it" in " ".join(beamline("status", "--data-dir", tmp_path).split())


@pytest.mark.long
def test_served_processes_are_found_do_their_work_and_end_with_the_server(tmp_path, documents):
    layout = Layout(tmp_path)
    command = [sys.executable, "-m", "beamline.cli", "serve", "--processes", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        up = set()
        while len(up) < len(PROCESSES):
            name, _, state = server.stdout.readline().strip().partition(": ")
            up |= {name} if state == "idle" else set()
        found = as_json("status", "--data-dir", tmp_path)["processes"]
        assert {one["state"] for one in found.values()} == {"idle"}
        with closing(Recorder(tmp_path)) as recorder:
            for name, doc in documents:
                recorder(name, doc)
        deadline = time.monotonic() + 60
        while len(list(layout.ingested_logs())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(layout.ingested_logs())) == 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert server.stderr.read() == ""
    deadline = time.monotonic() + 60
    while any(is_locked(layout.process_lock(name)) for name in PROCESSES) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_locked(layout.process_lock(name)) for name in PROCESSES)


@pytest.mark.long
def test_a_process_that_cannot_be_kept_running_ends_the_server_with_the_reason(tmp_path):
    (tmp_path / "ingest.log").mkdir()
    command = [sys.executable, "-m", "beamline.cli", "serve", "--processes", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        f"beamline: the process that fills the catalogue cannot be started: {tmp_path}/ingest.log: Is a directory\n",
    )
