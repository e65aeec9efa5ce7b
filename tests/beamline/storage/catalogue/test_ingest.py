"""The process that fills the catalogue: others can read meanwhile, and nothing that happens to it affects the scan."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import bluesky.plans as bp
import pytest
from soft import Camera, number, run_program

from beamline.processes.followers import FollowingProcess
from beamline.storage.layout import Layout

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).with_name("programs")


def test_a_second_process_reads_a_scan_while_it_is_written(tmp_path, store):
    ingester = FollowingProcess("ingest", tmp_path)
    ingester.start()
    first = store.measure(bp.count([number([1.0]), Camera("ccd", tmp_path / "frames")]))
    assert ingester.wait_for(first, 60)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, PROGRAMS / "read_while_it_is_written.py", tmp_path]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as reader:
            assert reader.stdout.readline() == "ready\n"
            plan = bp.count([number(range(40)), Camera("ccd", tmp_path / "frames")], num=40, delay=0.1)
            uid = store.measure(plan)
            seen = json.loads(reader.stdout.readline())
        assert ingester.wait_for(uid, 60)
        assert ingester.status().errors == {}
    finally:
        ingester.stop()
    seen = [look for look in seen if look["scan_id"] == 2]
    lengths = [len(look["values"]) for look in seen if look["open"]]
    assert lengths == sorted(lengths)
    assert len({length for length in lengths if length}) >= 2  # seen at several lengths before it was complete
    for look in seen:
        assert look["values"] == list(range(len(look["values"])))
        assert look["frames"] == list(range(len(look["frames"])))
    assert len(seen[-1]["values"]) == len(seen[-1]["frames"]) == 40


def test_a_scan_goes_on_while_the_catalogue_does_not_answer_and_the_run_is_ingested_afterwards(tmp_path, store):
    ingester = FollowingProcess("ingest", tmp_path)
    ingester.start()
    first = store.measure(bp.count([number([1.0])]))
    assert ingester.wait_for(first, 60)
    # The process stands still; the scan does not.
    os.kill(ingester.pid, signal.SIGSTOP)
    frozen = store.measure(bp.count([number(range(50))], num=50))
    assert not ingester.wait_for(frozen, 0.5)
    assert ingester.status().waiting == 1
    os.kill(ingester.pid, signal.SIGCONT)
    assert ingester.wait_for(frozen, 60)
    # Its database is locked by another program during the scan.
    database = tmp_path / "catalog" / "catalog.db"
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        locked = store.measure(bp.count([number(range(50))], num=50))
        deadline = time.monotonic() + 60
        while not ingester.status().errors and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "locked" in ingester.status().errors[locked]
        other.rollback()
    assert ingester.wait_for(locked, 60)
    # It is killed during the scan, and restarted.
    os.kill(ingester.pid, signal.SIGKILL)
    killed = store.measure(bp.count([number(range(50))], num=50))
    assert ingester.wait_for(killed, 60)
    assert ingester.status().restarts == 1
    catalogue = store.open()
    for uid in (frozen, locked, killed):
        assert catalogue[uid]["primary"]["signal"].read().tolist() == list(range(50))
    # Stopped by a signal, it is nevertheless ended within seconds, and leaves no zombie.
    pid = ingester.pid
    os.kill(pid, signal.SIGSTOP)
    ingester.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_the_process_ends_by_itself_when_its_parent_is_gone_and_all_is_ingested(tmp_path, store):
    store.measure(bp.count([number(range(3))], num=3))
    script = f"""
        from pathlib import Path
        from beamline.processes.followers import FollowingProcess
        ingester = FollowingProcess("ingest", Path({str(tmp_path)!r}))
        ingester.start()
        print(ingester.pid, flush=True)
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=30
    )
    pid = int(answer.stdout)
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(pid)
    assert Layout(tmp_path).pending_logs() == []


def test_asked_to_finish_the_process_ingests_what_is_left_and_ends(tmp_path, store):
    ingester = FollowingProcess("ingest", tmp_path)
    ingester.start()
    uid = store.measure(bp.count([number(range(20))], num=20))
    ingester.finish()
    assert ingester.wait_for(uid, 60)
    deadline = time.monotonic() + 60
    while ingester.status().state != "off" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (ingester.status().state, ingester.status().restarts) == ("off", 0)


def test_the_engine_pays_no_import_of_the_catalogue():
    assert run_program(PROGRAMS / "import_without_the_catalogue.py").stdout == "[]\n"


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
