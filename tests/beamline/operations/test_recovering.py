"""The command `recover`: what was interrupted is closed, reduced and in the catalogue; what is left is named."""

import os
import re
import shutil
from contextlib import closing, suppress

import event_model
import numpy as np
import pytest
from command_line import answer

from beamline.operations.recover import recover
from beamline.processes.reduction import Reduction
from beamline.storage.catalogue.find import derived_of, open_catalog
from beamline.storage.derived import DerivedRuns
from beamline.storage.layout import Layout
from beamline.storage.locks import locked
from beamline.storage.recorder import Recorder
from beamline.storage.reductions import is_reduced
from beamline.storage.runs import Runs
from beamline.techniques import pipelines
from callbacks.reduction import Reducer

pytestmark = pytest.mark.filterwarnings("ignore:The data type \\(FixedLengthUTF32")  # of arrays of strings, by Zarr

SETTINGS = {"xas": {"fewest_points": 4}}


def spectrum():
    """Compose the documents of a XAS scan of 40 points over an edge."""
    energy = np.linspace(520.0, 545.0, 40)
    measurement = {"technique": "xas", "sample": "LCO", "points": 40, "exposure_time": 1.0}
    run = event_model.compose_run(metadata={"measurement": measurement, "processing": SETTINGS})
    counts = {"energy": energy, "i0": np.full(40, 1e6), "tey": 1e5 + 2e5 / (1 + np.exp(532.0 - energy))}
    counts["tfy"] = counts["tey"] / 3
    key = {"dtype": "number", "shape": [], "source": ""}
    stream = run.compose_descriptor(name="primary", data_keys=dict.fromkeys(counts, key))
    events = []
    for n in range(40):
        data = {name: float(values[n]) for name, values in counts.items()}
        events.append(("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 5.0), time=5.0 + n)))
    return [("start", run.start_doc), ("descriptor", stream.descriptor_doc), *events, ("stop", run.compose_stop())]


def record(data_dir, *, stop=True, documents=None):
    """Record a run, or what came of one until its process died; of none where there are no documents."""
    if documents is None:
        run = event_model.compose_run()
        documents = [("start", run.start_doc), ("stop", run.compose_stop())]
    with closing(Recorder(data_dir)) as recorder:
        for name, doc in documents if stop else documents[:-1]:
            recorder(name, doc)
    return documents[0][1]["uid"]


@pytest.mark.long
def test_what_was_interrupted_is_closed_and_reduced_with_its_own_settings_and_can_be_reported_at_once(tmp_path):
    data_dir = tmp_path / "data"
    documents = spectrum()
    raw = record(data_dir, stop=False, documents=documents[:-5])
    with closing(DerivedRuns(data_dir)) as derived:  # which dies as well
        reducer = Reducer(derived, pipelines())
        for name, doc in documents[:-20]:
            reducer(name, doc)
    other = record(data_dir, stop=False)  # no measurement, which nothing reduces
    found = answer("recover", "--data-dir", data_dir, "--json")
    assert (found.code, found.stderr, found.json["problems"]) == (0, "", [])
    assert len(found.json["closed"]) == 3
    assert found.json["reduced"] == [raw]
    assert (found.json["ingested"], found.json["problems"], found.json["catalogue"]) == (4, [], "")
    shown = answer("show", raw, "--data-dir", data_dir, "--json").json
    assert shown["exit_status"] == "abort"
    _, reduction = Runs(data_dir).load_with_derived(raw)
    assert reduction.settings["xas"]["fewest_points"] == 4
    assert answer("report", raw, "--data-dir", data_dir, "-o", tmp_path / "report.html").code == 0
    catalogue = open_catalog(data_dir)
    assert {run.start["uid"] for run in catalogue.values()} == {raw, other}
    result = derived_of(catalogue[raw]).result
    assert result.keys() == reduction.result.keys()
    assert np.array_equal(result["tey"], reduction.result["tey"], equal_nan=True)
    again = answer("recover", "--data-dir", data_dir)
    assert (again.code, again.stdout) == (0, "0 interrupted runs closed, 0 runs taken into the catalogue\n")


@pytest.mark.long
def test_a_run_that_cannot_be_reduced_or_names_no_technique_is_taken_in_all_the_same(tmp_path):
    data_dir = tmp_path / "data"
    documents = spectrum()
    documents[0][1]["processing"] = {"xas": {"fewest_points": "tea"}}
    raw = record(data_dir, stop=False, documents=documents)
    for measurement in ("tea", {"technique": ["xas"]}, {}):  # of another program
        run = event_model.compose_run(metadata={"measurement": measurement, "derivation": "tea"})
        record(data_dir, stop=False, documents=[("start", run.start_doc), ("stop", {})])
    found = answer("recover", "--data-dir", data_dir, "--json")
    assert (found.code, found.stderr, found.json["reduced"], found.json["ingested"]) == (1, "", [], 4)
    (problem,) = found.json["problems"]
    assert problem.startswith(f"run {raw} could not be reduced: ")
    assert "fewest_points" in problem


def test_files_that_are_no_logs_are_named_and_the_other_runs_go_in(tmp_path):
    uid = record(tmp_path)
    logs = Layout(tmp_path).logs
    (logs / "empty.log").touch()
    (logs / "folder.log").mkdir()
    os.mkfifo(logs / "pipe.log")
    (logs / "link.log").symlink_to("/etc/passwd")
    shutil.copy(Layout(tmp_path).log(uid), logs / "copy[1]*.log")
    found = answer("recover", "--data-dir", tmp_path, "--json")
    assert (found.code, found.stderr) == (1, "")
    assert found.json["ingested"] == 1
    assert sorted(found.json["problems"]) == sorted(
        [
            f"{logs}/copy[1]*.log: is named for another run than it holds, which is {uid!r}",
            f"{logs}/empty.log: not a log of documents",
            f"{logs}/folder.log: not a log, which is a file",
            f"{logs}/link.log: not a log of documents",
            f"{logs}/pipe.log: not a log, which is a file",
        ]
    )
    assert Layout(tmp_path).find_log(uid) == next(Layout(tmp_path).ingested_logs())
    # A copy of an ingested log that is put back is ingested again, and both are kept.
    shutil.copy(Layout(tmp_path).find_log(uid), Layout(tmp_path).log(uid))
    assert recover(tmp_path).ingested == 1
    assert len(list((logs / "ingested").glob("*/*"))) == 2


def test_on_a_full_disk_recover_answers_at_once_with_one_line(small_disk):
    data_dir = small_disk / "data"
    record(data_dir)
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    found = answer("recover", "--data-dir", data_dir, "--json")
    assert (found.code, found.stderr) == (1, "")
    assert found.json["problems"] == [
        f"{data_dir}: No space left on device; runs are not reduced, the catalogue is left as it is"
    ]


def test_a_folder_that_is_not_there_or_is_being_recovered_is_refused_in_one_line(tmp_path, monkeypatch):
    missing = answer("recover", "--data-dir", tmp_path / "nowhere")
    assert (missing.code, missing.stdout) == (1, "")
    assert missing.stderr == f"beamline: {tmp_path}/nowhere: there is no such data folder\n"
    assert not (tmp_path / "nowhere").exists()
    record(tmp_path)
    monkeypatch.setattr("beamline.storage.catalogue.recovery.LOCK_TIMEOUT", 0.1)
    with locked(Layout(tmp_path).recovery_lock, keep_waiting=lambda: False) as held:
        assert held
        busy = answer("recover", "--data-dir", tmp_path)
    assert busy.code == 1
    assert re.fullmatch(r"beamline: .*: another process is recovering this data folder\n", busy.stderr)


@pytest.mark.long
def test_a_run_that_was_never_reduced_is_and_the_reduction_of_one_that_is_measured_is_left_alone(tmp_path):
    never = record(tmp_path, documents=spectrum())
    documents = spectrum()
    uid = documents[0][1]["uid"]
    with closing(Recorder(tmp_path)) as recorder:
        for name, doc in documents[:-5]:
            recorder(name, doc)
        with closing(Reduction(tmp_path, only={uid})) as reduction:  # which dies
            reduction.advance()
        recovery = recover(tmp_path)
        assert (recovery.reduced, recovery.still_open, recovery.closed, recovery.problems) == ([never], [uid], [], [])
        for name, doc in documents[-5:]:
            recorder(name, doc)
    with closing(Reduction(tmp_path)) as reduction:
        reduction.complete()
    assert is_reduced(tmp_path, uid)
    assert len([entry for entry in Runs(tmp_path).entries() if entry.reduction_of == uid]) == 1
