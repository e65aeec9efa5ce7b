"""Many runs are reduced again on a cluster: equal to the local reduction, whatever happens to a worker."""

import json
import os
import signal
import threading
import time
from contextlib import closing

import pytest
from command_line import beamline
from distributed import LocalCluster
from frame_documents import raw_run, write_frames

from beamline.errors import BeamlineError
from beamline.operations import reprocessing
from beamline.operations.replay import reduce_documents
from beamline.operations.reprocessing import reprocess
from beamline.operations.selecting import select_runs
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from beamline.storage.results import collect, differences
from beamline.storage.runs import Runs

OTHER = "[processing.rixs.cosmic_rays]\nthreshold = 9.0\n"

# Of distributed, whose workers and sockets end a moment after they are told to.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
    ) as cluster:
        yield cluster


@pytest.fixture
def without_catalogue(monkeypatch):
    monkeypatch.setattr(reprocessing, "ingest_now", lambda *_: "")  # the catalogue takes seconds


def record(data_dir, number, **start):
    """Record small RIXS runs, numbered from 1."""
    frames = write_frames(data_dir / "frames.h5")
    for scan_id in range(1, number + 1):
        with closing(Recorder(data_dir)) as recorder:
            for name, doc in raw_run(frames, "stream"):
                more = {"scan_id": scan_id, "time": 1.7e9 + scan_id, **start} if name == "start" else {}
                recorder(name, {**doc, **more})
    return Runs(data_dir)


def the_reduction(runs, row):
    """Give the derived run of a row of the outcome."""
    return runs.load(next(entry for entry in runs.entries() if entry.uid == row["derived_uid"]))


def local(runs, row, settings=None):
    """Reduce the run of a row here."""
    return collect(reduce_documents(runs.documents(runs.find(row["raw_uid"])), settings))


def test_twelve_runs_on_two_workers_equal_the_local_reduction_with_the_settings_that_are_given(
    tmp_path, cluster, without_catalogue
):
    runs = record(tmp_path, 12)
    told = []
    outcome = reprocess(
        runs,
        ["technique=rixs"],
        settings=None,
        scheduler=cluster.scheduler_address,
        progress=lambda *given: told.append(given),
    )
    assert [row["scan_id"] for row in outcome["runs"]] == list(range(1, 13))
    assert [row["error"] for row in outcome["runs"]] == [""] * 12
    assert told == [("reducing 12 runs", done, 12) for done in range(13)]
    for row in outcome["runs"]:
        assert differences(the_reduction(runs, row), local(runs, row)) == []
    file = tmp_path / "other.toml"
    file.write_text(simulated_toml() + OTHER)
    outcome = reprocess(runs, ["3:4"], settings=file, scheduler=cluster.scheduler_address)
    for row in outcome["runs"]:
        again = the_reduction(runs, row)
        assert again.settings["rixs"]["cosmic_rays"]["threshold"] == 9.0
        assert differences(again, local(runs, row, {"rixs": {"cosmic_rays": {"threshold": 9.0}}})) == []
    assert len([entry for entry in runs.entries() if entry.reduction_of]) == 14


def simulated_toml():
    from beamline.endstation.config import load_config

    return load_config().path.read_text().partition("[processing")[0]


def test_a_run_that_fails_costs_itself_only_and_is_named(tmp_path, cluster, without_catalogue):
    runs = record(tmp_path, 3)
    second = runs.find("2")
    with closing(Recorder(tmp_path)) as recorder:  # a fourth, of a technique that nothing reduces
        for name, doc in raw_run(tmp_path / "frames.h5", "stream", technique="tea"):
            recorder(name, {**doc, "scan_id": 4} if name == "start" else doc)
    Layout(tmp_path).derived.mkdir()
    outcome = reprocess(runs, ["all"], settings=None, scheduler=cluster.scheduler_address)
    errors = {row["scan_id"]: row["error"] for row in outcome["runs"]}
    assert errors.pop(4).startswith("measurement: technique is 'tea', expected one of")
    assert set(errors.values()) == {""}
    assert next(row for row in outcome["runs"] if row["scan_id"] == 4)["derived_uid"] is None
    assert runs.derived(second) is not None


def test_a_worker_that_is_killed_in_mid_work_costs_nothing_but_time(tmp_path, cluster, without_catalogue):
    runs = record(tmp_path, 8)
    killed = []

    def kill():
        for _ in range(3):
            deadline = time.monotonic() + 60
            while not any(Layout(tmp_path).logs.glob("*.log")) and time.monotonic() < deadline:
                time.sleep(0.001)
            workers = [worker.pid for worker in cluster.workers.values() if worker.pid]
            os.kill(workers[len(killed) % len(workers)], signal.SIGKILL)
            killed.append(1)
            time.sleep(0.15)

    killing = threading.Timer(0.1, kill)
    killing.start()
    outcome = reprocess(runs, ["all"], settings=None, scheduler=cluster.scheduler_address)
    killing.join()
    assert len(killed) == 3
    assert [row["error"] for row in outcome["runs"]] == [""] * 8
    for row in outcome["runs"]:
        assert differences(the_reduction(runs, row), local(runs, row)) == []
    assert len([entry for entry in runs.entries() if entry.reduction_of]) == 8


def test_what_was_stored_when_a_worker_died_is_gone_on_with(tmp_path):
    runs = record(tmp_path, 1)
    raw, derived = runs.find("1").uid, "7e6f1b0a-0000-4000-8000-000000000000"
    reprocessing.reduce_run(str(tmp_path), raw, derived, None)
    log = Layout(tmp_path).log(derived)
    whole = runs.load(next(entry for entry in runs.entries() if entry.uid == derived))
    assert reprocessing.reduce_run(str(tmp_path), raw, derived, None) >= 0  # it is there already
    log.write_bytes(log.read_bytes()[:-3000])
    reprocessing.reduce_run(str(tmp_path), raw, derived, None)
    again = runs.load(next(entry for entry in runs.entries() if entry.uid == derived))
    assert again.stop is not None
    assert differences(whole, again) == []


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        (["all"], [1, 2, 3, 4]),
        (["2", "-1"], [2, 4]),
        (["2:3"], [2, 3]),
        (["technique=rixs", "1"], [1]),
        (["sample=test"], [1, 2, 3, 4]),
        (["since=2023-11-14T22:13:22+00:00"], [2, 3, 4]),
        (["until=2023-11-14T22:13:22+00:00"], [1]),
    ],
)
def test_runs_are_selected_by_name_number_and_what_they_say(tmp_path, query, selected):
    runs = record(tmp_path, 4)
    assert [entry.start["scan_id"] for entry in select_runs(runs, query)] == selected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (["colour=red"], "colour=: no run is asked for that; expected"),
        (["since=tea"], "'tea' is no time; expected one as 2026-11-26"),
        (["sample=tea"], "sample=tea: no run of"),
        (["7"], "run 7: no run has this uid or scan id"),
        (["8:9"], "8:9: no run of"),
    ],
)
def test_a_query_that_selects_nothing_or_cannot_be_understood_is_refused_in_one_line(tmp_path, query, said):
    runs = record(tmp_path, 1)
    with pytest.raises(BeamlineError, match="^" + said.replace("(", r"\(")):
        select_runs(runs, query)


def test_a_scan_id_that_no_run_has_is_not_taken_for_the_beginning_of_a_uid(tmp_path):
    uid = "7f0c4a51-5a0e-4a53-9d2a-5b3f2f0b6a11"
    documents = list(raw_run(write_frames(tmp_path / "frames.h5"), "stream"))
    with closing(Recorder(tmp_path)) as recorder:
        for name, doc in documents:
            recorder(name, json.loads(json.dumps(doc).replace(documents[0][1]["uid"], uid)))
    runs = Runs(tmp_path)
    assert runs.find("7f").uid == uid
    with pytest.raises(BeamlineError, match="run 7: no run has this uid or scan id"):
        runs.find("7")


def test_runs_that_are_no_measurements_and_a_scheduler_that_is_not_there_are_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(reprocessing, "CONNECTING_TIME", 0.5)
    with closing(Recorder(tmp_path)) as recorder:
        recorder("start", {"uid": "watched", "time": 1.0})
    runs = Runs(tmp_path)
    with pytest.raises(BeamlineError, match=r"^all: none of the runs is a measurement, which alone is reduced"):
        reprocess(runs, ["all"], settings=None)
    record(tmp_path, 1)
    with pytest.raises(BeamlineError, match=r"^scheduler nowhere:1: "):
        reprocess(runs, ["all"], settings=None, scheduler="nowhere:1")


def test_a_run_that_is_not_closed_is_left_out_and_said_to_be(tmp_path, cluster, without_catalogue):
    runs = record(tmp_path, 1)
    with closing(Recorder(tmp_path)) as recorder:
        for name, doc in list(raw_run(tmp_path / "frames.h5", "stream"))[:-1]:
            recorder(name, {**doc, "scan_id": 2} if name == "start" else doc)
        outcome = reprocess(runs, ["all"], settings=None, scheduler=cluster.scheduler_address)
    errors = {row["scan_id"]: (row["error"], row["derived_uid"] is None) for row in outcome["runs"]}
    said = "is being measured, or was interrupted, which `beamline recover` closes"
    assert errors == {1: ("", False), 2: (said, True)}


def test_the_command_starts_workers_of_its_own_prints_a_table_and_fills_the_catalogue(tmp_path):
    record(tmp_path, 2)
    text = beamline("reprocess", "all", "--workers", "2", "--data-dir", tmp_path)
    assert "2 runs reduced, 0 failed" in text
    assert len(text.splitlines()) == 4
    assert len(list(Layout(tmp_path).ingested_logs())) == 4
