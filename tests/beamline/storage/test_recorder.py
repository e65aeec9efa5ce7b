"""What the recorder acknowledged is on disk, whatever happens afterwards."""

import copy
import fcntl
import os
import pickle
import resource
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from soft import Camera, Kept, Motor, Values, number, run_program

from beamline.storage.layout import Layout
from beamline.storage.log import (
    LogError,
    LogReader,
    LogState,
    find_log,
    inspect_log,
    is_being_written,
    open_log,
    pending_logs,
    read_log,
    unpack_pages,
)
from beamline.storage.recorder import Recorder, RecorderError, close_interrupted
from callbacks.external import ExternalFrames

PROGRAMS = Path(__file__).with_name("programs")


@pytest.fixture
def engine():
    return RunEngine()


def same(one, other):
    """Whether documents are equal, arrays and NaN included."""
    np.testing.assert_equal([tuple(item) for item in one], [tuple(item) for item in other])
    return True


def test_a_log_gives_every_document_back_as_it_was_emitted(tmp_path, engine):
    recorder, kept = Recorder(tmp_path), Kept()
    engine.subscribe(recorder)
    engine.subscribe(kept)
    keys = {
        "i0": {"dtype": "number"},
        "line": {"dtype": "array", "shape": [500], "dtype_numpy": "<f8"},
        "label": {"dtype": "string"},
        "names": {"dtype": "array", "shape": [2], "dtype_numpy": "<U3"},
    }
    line = np.linspace(0, 1, 500)
    line[7] = np.nan
    readings = [
        {"i0": np.float32(0.1), "line": line * n, "label": "é", "names": np.array(["a", "bcd"])} for n in range(3)
    ]
    detector = Values("det", keys, readings, configuration={"gain": float("nan")})
    camera = Camera("ccd", tmp_path / "frames")
    uid = engine(bp.scan([detector, camera], Motor("energy"), 520.0, 530.0, 3))[0]
    path = find_log(tmp_path, uid)
    assert same(read_log(path), kept.documents)
    names = [name for name, _ in kept.documents]
    assert names == ["start", "descriptor", "resource", *["datum", "event"] * 3, "stop"]
    event = next(doc for name, doc in read_log(path) if name == "event")
    assert event["data"]["i0"].dtype == np.float32
    assert event["data"]["line"].flags.writeable


def test_a_log_is_begun_where_a_process_died_that_made_one_of_the_same_name_and_not_where_it_lives(tmp_path):
    start = event_model.compose_run().start_doc
    left = Layout(tmp_path).logs / f".{start['uid']}.log.new"
    recorder = Recorder(tmp_path)
    left.write_bytes(b"beg")
    with left.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RecorderError, match="no log can be opened"):
            recorder("start", start)
        assert left.exists()
    recorder("start", start)
    recorder.close()
    assert not left.exists()
    assert [name for name, _ in read_log(Layout(tmp_path).log(start["uid"]))] == ["start"]


def test_documents_of_two_open_runs_go_to_their_own_logs(tmp_path):
    recorder = Recorder(tmp_path)
    one, two = event_model.compose_run(), event_model.compose_run()
    for run in (one, two):
        recorder("start", run.start_doc)
    for run in (two, one):
        stream = run.compose_descriptor(name="primary", data_keys={"a": {"dtype": "number", "shape": [], "source": ""}})
        recorder("descriptor", stream.descriptor_doc)
        file = run.compose_resource(spec="AD_HDF5", root="/", resource_path="a", resource_kwargs={})
        recorder("resource", file.resource_doc)
        recorder("datum", file.compose_datum({"point_number": 0}))
        recorder("event", stream.compose_event(data={"a": 1.0}, timestamps={"a": 0.0}))
    recorder("stop", one.compose_stop())
    expected = ["start", "descriptor", "resource", "datum", "event"]
    assert [name for name, _ in read_log(find_log(tmp_path, one.start_doc["uid"]))] == [*expected, "stop"]
    assert [name for name, _ in read_log(find_log(tmp_path, two.start_doc["uid"]))] == expected


def test_a_run_is_open_while_its_writer_lives_then_closed_or_interrupted(tmp_path):
    recorder = Recorder(tmp_path)
    one, two = event_model.compose_run(), event_model.compose_run()
    recorder("start", one.start_doc)
    recorder("start", two.start_doc)
    assert [log.state for log in pending_logs(tmp_path)] == [LogState.OPEN, LogState.OPEN]
    assert is_being_written(find_log(tmp_path, one.start_doc["uid"]))
    recorder("stop", one.compose_stop())
    recorder.close()
    assert [log.state for log in pending_logs(tmp_path)] == [LogState.CLOSED, LogState.INTERRUPTED]


def test_a_torn_tail_is_read_up_to_the_last_whole_document_at_every_byte(tmp_path, engine):
    engine.subscribe(Recorder(tmp_path))
    uid = engine(bp.count([number(range(3))], num=3))[0]
    path = find_log(tmp_path, uid)
    whole = list(read_log(path))
    data = path.read_bytes()
    with LogReader(path) as reader:
        ends = [reader.end for _ in reader]
    for size in range(ends[2], len(data)):
        path.write_bytes(data[:size])
        assert same(read_log(path), whole[: sum(end <= size for end in ends)])
    path.write_bytes(data[: ends[3]] + bytes(100))  # what a power failure can leave: zeros
    assert same(read_log(path), whole[:4])


def test_a_reader_goes_on_where_a_growing_log_ended(tmp_path):
    recorder = Recorder(tmp_path)
    run = event_model.compose_run()
    recorder("start", run.start_doc)
    with open_log(tmp_path, run.start_doc["uid"]) as reader:
        assert [name for name, _ in reader] == ["start"]
        assert list(reader) == []
        recorder("stop", run.compose_stop())
        assert [name for name, _ in reader] == ["stop"]
        assert reader.number == 2


def test_an_interrupted_run_is_closed_once_with_its_events_counted_and_its_torn_tail_set_aside(tmp_path):
    recorder = Recorder(tmp_path)
    run = event_model.compose_run()
    recorder("start", run.start_doc)
    stream = run.compose_descriptor(name="primary", data_keys={"a": {"dtype": "number", "shape": [], "source": ""}})
    recorder("descriptor", stream.descriptor_doc)
    for value in range(3):
        recorder("event", stream.compose_event(data={"a": value}, timestamps={"a": 0.0}))
    path = find_log(tmp_path, run.start_doc["uid"])
    assert close_interrupted(path, reason="gone") is None  # the writer lives
    recorder.close()
    with path.open("ab") as file:
        file.write(b"torn")
    stop = close_interrupted(path, reason="gone")
    assert (stop["exit_status"], stop["reason"], stop["num_events"]) == ("abort", "gone", {"primary": 3})
    event_model.schema_validators[event_model.DocumentNames.stop].validate(stop)
    assert list(read_log(path))[-1] == ("stop", stop)
    assert path.with_name(f"{path.name}.torn").read_bytes() == b"torn"
    assert close_interrupted(path, reason="gone") is None
    assert inspect_log(path).state is LogState.CLOSED


def test_a_frame_taken_twice_is_counted_once(tmp_path):
    recorder = Recorder(tmp_path)
    run = event_model.compose_run()
    recorder("start", run.start_doc)
    stream = run.compose_descriptor(name="primary", data_keys={"a": {"dtype": "number", "shape": [], "source": ""}})
    recorder("descriptor", stream.descriptor_doc)
    for seq_num in (1, 2, 2, 3):  # as after a pause between two checkpoints
        recorder("event", stream.compose_event(data={"a": 0}, timestamps={"a": 0.0}, seq_num=seq_num))
    recorder.close()
    stop = close_interrupted(find_log(tmp_path, run.start_doc["uid"]), reason="gone")
    assert stop["num_events"] == {"primary": 3}


def test_pages_are_recorded_as_they_come_and_unpacked_on_request(tmp_path):
    recorder = Recorder(tmp_path)
    run = event_model.compose_run()
    stream = run.compose_descriptor(name="primary", data_keys={"a": {"dtype": "number", "shape": [], "source": ""}})
    page = stream.compose_event_page(data={"a": [1.0, 2.0]}, timestamps={"a": [0.0, 0.0]}, seq_num=[1, 2])
    file = run.compose_resource(spec="AD_HDF5", root="/", resource_path="a", resource_kwargs={})
    datums = file.compose_datum_page({"point_number": [0, 1]})
    documents = [
        ("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("resource", file.resource_doc),
        ("datum_page", datums), ("event_page", page), ("stop", run.compose_stop()),
    ]  # fmt: skip
    for name, doc in documents:
        recorder(name, doc)
    path = find_log(tmp_path, run.start_doc["uid"])
    assert [name for name, _ in read_log(path)] == [name for name, _ in documents]
    assert [doc["datum_kwargs"] for name, doc in unpack_pages(read_log(path)) if name == "datum"] == [
        {"point_number": 0}, {"point_number": 1}
    ]  # fmt: skip
    events = [doc for name, doc in unpack_pages(read_log(path)) if name == "event"]
    assert [event["data"]["a"] for event in events] == [1.0, 2.0]


def test_a_document_that_cannot_be_recorded_stops_the_scan_in_one_line_that_says_what(tmp_path, engine):
    engine.subscribe(Recorder(tmp_path))
    with pytest.raises(RecorderError, match="a document 'start' cannot be recorded: a object cannot") as caught:
        engine(bp.count([number(range(3))], num=3), operator=object())
    assert "\n" not in str(caught.value)
    assert Layout(tmp_path).all_logs() == []


def test_a_file_that_is_not_a_log_is_reported_and_the_others_are_still_found(tmp_path, engine):
    engine.subscribe(Recorder(tmp_path))
    uid = engine(bp.count([number(range(1))]))[0]
    stranger = tmp_path / "log" / "notes.log"
    stranger.write_text("tea at four")
    with pytest.raises(LogError, match="not a log of documents"):
        list(read_log(stranger))
    with pytest.raises(LogError, match="no log of run abc"):
        find_log(tmp_path, "abc")
    assert [log.uid for log in pending_logs(tmp_path)] == [uid]


def test_a_pickle_in_a_log_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/exploded",)

    recorder = Recorder(tmp_path)
    packed = {b"nd": True, b"kind": b"O", b"data": pickle.dumps(Bomb())}
    recorder("start", {"uid": "bomb", "time": 0.0, "bomb": packed})
    with pytest.raises(LogError, match="Python objects"):
        list(read_log(find_log(tmp_path, "bomb")))
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(RecorderError, match="array of Python objects"):
        recorder("start", {"uid": "objects", "time": 0.0, "a": np.array([object()])})


@pytest.mark.long
def test_a_full_disk_stops_the_scan_in_one_line_and_the_run_is_closed_in_the_reserve(small_disk):
    answer = run_program(PROGRAMS / "fill_the_disk_with_a_log.py", small_disk).stdout.splitlines()
    kind, message = answer[0].split("|")
    assert kind == "RecorderError"
    assert "No space left on device; the scan must stop, all documents so far are kept" in message
    documents = list(read_log(Layout(small_disk).all_logs()[0]))
    assert documents[-1][0] == "stop"
    assert documents[-1][1]["exit_status"] == "fail"
    # The event for which there was no room is kept as well: the others, "start", "descriptor" and "stop" were seen.
    assert len(documents) == int(answer[1]) + 1
    events = [doc["data"]["line"][0] for name, doc in documents if name == "event"]
    assert events == list(range(len(events)))
    assert len(events) > 100


def test_a_full_disk_under_the_frames_closes_the_run_and_loses_no_frame_that_was_acknowledged(tmp_path, small_disk):
    answer = run_program(
        PROGRAMS / "fill_the_disk_with_frames.py", tmp_path / "data", small_disk / "frames"
    ).stdout.splitlines()
    assert answer[0] == "True"
    (log,) = pending_logs(tmp_path / "data")
    documents = list(read_log(log.path))
    assert (log.state, documents[-1][1]["exit_status"]) == (LogState.CLOSED, "fail")
    assert "No space left on device" in documents[-1][1]["reason"]
    n_events = int(answer[1])
    assert n_events > 10  # of 128 kB each
    files, frames = ExternalFrames(), []
    for name, doc in documents:
        if name in ("resource", "datum"):
            getattr(files, name)(doc)
        elif name == "event":
            frames.append(int(files.read(doc, "ccd").mean()))
    files.close()
    assert frames == list(range(n_events))


@pytest.mark.long
def test_a_disk_that_refuses_the_log_for_good_stops_the_scan_and_the_log_is_whole_up_to_there(tmp_path):
    limit = 200_000  # bytes a file: no reserve helps

    answer = run_program(
        PROGRAMS / "fill_the_disk_with_a_log.py",
        tmp_path,
        1000,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ).stdout.splitlines()
    kind, message = answer[0].split("|")
    assert kind == "RecorderError"
    assert "File too large; a document is lost, the scan must stop" in message
    path = Layout(tmp_path).all_logs()[0]
    documents = list(read_log(path))
    assert path.stat().st_size <= limit
    assert sum(name == "event" for name, _ in documents) == 12  # 16 kB each
    # The stop document is small enough to land all the same.
    assert documents[-1][0] == "stop"


def test_recording_changes_no_document(tmp_path, engine):
    recorder, kept = Recorder(tmp_path), Kept()
    before = []
    engine.subscribe(lambda name, doc: before.append(copy.deepcopy((name, doc))))
    engine.subscribe(recorder)
    engine.subscribe(kept)
    engine(bp.count([Camera("ccd", tmp_path / "frames"), number(range(2))], num=2))
    assert same(before, kept.documents)


def test_the_log_is_complete_when_a_plan_is_aborted(tmp_path, engine):
    engine.subscribe(Recorder(tmp_path))

    def plan():
        yield from bps.open_run()
        raise ValueError("no beam")

    with pytest.raises(ValueError, match="no beam"):
        engine(plan())
    (log,) = pending_logs(tmp_path)
    assert log.state is LogState.CLOSED
    assert list(read_log(log.path))[-1][1]["reason"] == "no beam"
