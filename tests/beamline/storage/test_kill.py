"""kill -9 at any moment loses no document that the recorder acknowledged."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from beamline.storage.catalogue.documents import documents
from beamline.storage.catalogue.recovery import recover
from beamline.storage.layout import Layout
from beamline.storage.log import LogState, inspect_log, pending_logs
from callbacks.external import ExternalFrames

pytestmark = pytest.mark.long

MOMENTS = 20
SCANNER = Path(__file__).with_name("scan_until_killed.py")


@pytest.fixture
def killed(store):
    """A data folder in which a scan was killed at 20 random moments; what was acknowledged, by scan."""
    rng = random.Random(20)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCANNER.parent), *sys.path])}
    acknowledged = []
    with subprocess.Popen(
        [sys.executable, str(SCANNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as scanner:
        for moment in range(MOMENTS):
            name = f"acknowledged-{moment}"
            scanner.stdin.write(f"{store.data_dir} {name}\n")
            scanner.stdin.flush()
            pid = int(scanner.stdout.readline())
            path = store.data_dir / name
            wanted = rng.randrange(100)  # by documents, not by time: a busy computer acknowledges few in a while
            while not (path.exists() and path.read_bytes().count(b"\n") >= wanted):
                assert scanner.poll() is None
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            acknowledged += [json.loads(line) for line in lines]
        scanner.stdin.close()
    return store, acknowledged


def test_after_20_kills_every_acknowledged_document_is_in_the_catalogue_each_run_closed_and_its_frames_readable(killed):
    store, acknowledged = killed
    states = [log.state for log in pending_logs(store.data_dir)]
    interrupted = states.count(LogState.INTERRUPTED)
    assert interrupted >= MOMENTS // 2  # the others were killed between two runs
    assert LogState.OPEN not in states
    n_events = sum(document[0] == "event" for document in acknowledged)
    assert n_events > 10 * MOMENTS

    recovery = recover(store.data_dir)
    assert recovery.problems == []
    assert (len(recovery.closed), recovery.ingested, recovery.still_open) == (interrupted, len(states), [])
    assert {inspect_log(path).state for path in Layout(store.data_dir).all_logs()} == {LogState.CLOSED}

    catalogue = store.open()
    assert len(catalogue) == len(states)
    found = set()
    for run in catalogue.values():
        found |= documents_of(run)
    for document in acknowledged:
        assert tuple(document) in found
    # The files of the runs that were closed are plain ones again, also those whose frames ran ahead of the events. One
    # whose run had ended when the writer was killed is read as one that is being written; one that no document had
    # named yet may not have begun.
    named = {uid for kind, uid, *_ in found if kind == "resource"}
    repaired = {file for run in recovery.closed for file in run.frames}
    assert len(repaired) >= MOMENTS // 2
    files = [path for path in (store.data_dir / "frames").iterdir() if path.stem in named]
    assert len(files) >= len(repaired)
    for path in files:
        with h5py.File(path, "r", swmr=str(path) not in repaired) as file:
            assert len(file["entry/data/data"]) >= 0
    assert recover(store.data_dir).closed == []


def documents_of(run):
    """Summarise the documents of a run in the catalogue as `scan_until_killed` does, and read its frames."""
    assert run.stop["exit_status"] in ("abort", "success")
    files, found, resource = ExternalFrames(), set(), ""
    for name, doc in documents(run):
        match name:
            case "stream_resource" | "stream_datum":
                getattr(files, name)(doc)
            case "event":
                number = int(files.read(doc, "ccd")[0, 0])
                resource = resource or Path(run["primary"]["ccd"].data_sources()[0].assets[0].data_uri).stem
                found |= {("resource", resource), ("datum", f"{resource}/{number}")}
                found.add(("event", run.start["uid"], doc["seq_num"], doc["data"]["signal"]))
            case _:
                found.add((name, doc["uid"]))
    files.close()
    for name, doc in run.metadata.get("unreferenced", ()):
        found.add((name, doc["uid"] if name == "resource" else doc["datum_id"]))
    return found
