"""Following logs: each one is found once, read while it grows and moves, and a change ends the waiting."""

import os
import threading
import time
from contextlib import closing

import event_model
import pytest

from beamline.storage import follow as follow_module
from beamline.storage.follow import LogChanges, LogFollower, NewLogs
from beamline.storage.layout import Layout
from beamline.storage.log import LogReader
from beamline.storage.recorder import Recorder


def compose(points=3):
    """Compose the documents of a run."""
    run = event_model.compose_run()
    stream = run.compose_descriptor(name="primary", data_keys={"x": {"dtype": "number", "shape": [], "source": ""}})
    events = [stream.compose_event(data={"x": n}, timestamps={"x": 0.0}) for n in range(points)]
    documents = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    return [*documents, *(("event", event) for event in events), ("stop", run.compose_stop())]


def record(recorder, documents):
    for name, doc in documents:
        recorder(name, doc)


def move(data_dir, uid, year="2026"):
    """Move a log as the ingester does."""
    folder = Layout(data_dir).logs / "ingested" / year
    folder.mkdir(parents=True, exist_ok=True)
    Layout(data_dir).log(uid).rename(folder / f"{uid}.log")


def uids(new):
    return [start["uid"] for _, start in new]


def names(documents):
    return [(name, doc["uid"]) for name, doc in documents]


@pytest.fixture
def recorder(tmp_path):
    with closing(Recorder(tmp_path)) as recorder:
        yield recorder


def test_each_log_is_found_once_wherever_it_lies_by_then(tmp_path, recorder):
    runs = [compose() for _ in range(4)]
    all_logs, pending = NewLogs(tmp_path, ingested=True), NewLogs(tmp_path, ingested=False)
    record(recorder, runs[0])
    move(tmp_path, runs[0][0][1]["uid"])
    record(recorder, runs[1])
    assert sorted(uids(all_logs)) == sorted(run[0][1]["uid"] for run in runs[:2])
    assert uids(pending) == [runs[1][0][1]["uid"]]
    move(tmp_path, runs[1][0][1]["uid"])
    assert uids(all_logs) == uids(pending) == []
    # One that came and moved between two looks, in the very moment of the look before.
    record(recorder, runs[2])
    move(tmp_path, runs[2][0][1]["uid"])
    assert uids(all_logs) == [runs[2][0][1]["uid"]]
    record(recorder, runs[3])
    move(tmp_path, runs[3][0][1]["uid"], year="2027")
    assert uids(all_logs) == [runs[3][0][1]["uid"]]


def test_a_folder_of_ingested_logs_that_has_not_changed_is_not_read_again(tmp_path, recorder, monkeypatch):
    run = compose()
    record(recorder, run)
    move(tmp_path, run[0][1]["uid"])
    folder = Layout(tmp_path).logs / "ingested" / "2026"
    os.utime(folder, (1.0, 1.0))
    new, listed, listing = NewLogs(tmp_path, ingested=True), [], follow_module.logs_in
    monkeypatch.setattr(follow_module, "logs_in", lambda where, known: listed.append(where) or listing(where, known))
    assert len(uids(new)) == 1
    assert uids(new) == []
    assert listed.count(folder) == 1


def test_a_file_that_is_no_log_or_is_named_for_another_run_is_said_once_and_left_out(tmp_path, recorder, caplog):
    first, second = compose(), compose()
    record(recorder, first)
    record(recorder, second)
    layout = Layout(tmp_path)
    (layout.logs / "tea.log").write_bytes(b"tea")
    layout.log(first[0][1]["uid"]).rename(layout.log("other"))
    new = NewLogs(tmp_path, ingested=False)
    assert uids(new) == [second[0][1]["uid"]]
    assert uids(new) == []
    assert sorted(message.partition(": ")[2][:30] for message in caplog.messages) == [
        "is named for another run than ",
        "not a log of documents",
    ]


def test_a_run_is_read_while_it_is_written_and_moved_and_each_document_once(tmp_path, recorder):
    documents, unwanted = compose(), compose()
    with closing(LogFollower(tmp_path, wanted=lambda start: start["uid"] == documents[0][1]["uid"])) as follower:
        read = []
        record(recorder, unwanted)
        for number, document in enumerate(documents):
            recorder(*document)
            if number == 3:
                move(tmp_path, documents[0][1]["uid"])
                # The recorder notices that its log is not where it was, and a move is what only the catalogue does.
                (Layout(tmp_path).logs / "ingested" / "2026" / f"{documents[0][1]['uid']}.log").rename(
                    Layout(tmp_path).log(documents[0][1]["uid"])
                )
            new = list(follower)
            assert names(new) == names([document])
            read += new
        move(tmp_path, documents[0][1]["uid"])
        assert list(follower) == []
    assert [doc["data"]["x"] for name, doc in read if name == "event"] == [0, 1, 2]


def test_a_change_ends_the_waiting_at_once_and_without_one_it_ends_after_the_poll(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(follow_module, "POLL_INTERVAL", 20.0)
    documents = compose()
    with LogChanges(tmp_path) as changes:
        timer = threading.Timer(0.1, recorder, documents[0])
        timer.start()
        began = time.monotonic()
        changes.wait()
        assert time.monotonic() - began < 10.0
        timer.join()
        monkeypatch.setattr(follow_module, "POLL_INTERVAL", 0.05)
        for _ in range(5):  # what has come since is taken together, and then there is nothing
            changes.wait(gather=0.01)
        began = time.monotonic()
        changes.wait()
        assert time.monotonic() - began >= 0.04


def test_a_folder_that_is_replaced_is_watched_anew_and_one_that_cannot_be_watched_is_polled(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(follow_module, "POLL_INTERVAL", 0.05)
    logs = Layout(tmp_path).logs
    with LogChanges(tmp_path) as changes:
        logs.rename(tmp_path / "before")
        changes.wait()
        changes.wait()  # there is none
        logs.mkdir()
        changes.wait()
        monkeypatch.setattr(follow_module, "POLL_INTERVAL", 20.0)
        threading.Timer(0.1, (logs / "new.log").touch).start()
        began = time.monotonic()
        changes.wait()
        assert time.monotonic() - began < 10.0

    def refused():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(follow_module, "INotify", refused)
    monkeypatch.setattr(follow_module, "POLL_INTERVAL", 0.05)
    with LogChanges(tmp_path) as changes:
        changes.wait()
    assert caplog.messages == [f"{logs}: changes are looked for every 0.05 s: Too many open files"]


def test_a_document_that_is_completed_while_it_is_looked_at_is_read_and_is_no_damage(tmp_path, recorder, monkeypatch):
    documents = compose(5)
    record(recorder, documents)
    recorder.close()
    whole = Layout(tmp_path).log(documents[0][1]["uid"]).read_bytes()
    path = tmp_path / "growing.log"
    with LogReader(Layout(tmp_path).log(documents[0][1]["uid"])) as reader:
        ends = [reader.end for _ in reader]
    path.write_bytes(whole[: ends[3] - 5])  # its second event lacks its last bytes
    looked = vars(LogReader)["_possible_documents"]

    def completed_meanwhile(reader):
        path.write_bytes(whole)
        return looked(reader)

    monkeypatch.setattr(LogReader, "_possible_documents", completed_meanwhile)
    with LogReader(path) as reader:
        assert [name for name, _ in reader] == [name for name, _ in documents]
        assert reader.damage == []
