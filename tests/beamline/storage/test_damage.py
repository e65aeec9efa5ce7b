"""Damaged logs: said where, kept apart, and costing only what was damaged; nothing that can be read is cut."""

import errno
import itertools
import os
import re
import shutil
from contextlib import closing, suppress

import event_model
import pytest
from command_line import answer
from refusals import no_file_beyond, refuse_to_read

from beamline.errors import BeamlineError
from beamline.storage import log as log_module
from beamline.storage.catalogue import recovery as recovery_module
from beamline.storage.catalogue.recovery import Recovery
from beamline.storage.catalogue.restoring import Restorer
from beamline.storage.layout import Layout
from beamline.storage.log import (
    FORMAT,
    Damage,
    LogError,
    LogReader,
    LogState,
    inspect_log,
    open_log,
    pack,
    pending_logs,
    read_log,
)
from beamline.storage.recorder import EVENT_RESERVE, Recorder, RecorderError, close_interrupted
from beamline.storage.runs import Runs

EVENTS = 5
UNDECODABLE = {b"nd": True, b"type": b"tea", b"shape": [1], b"data": b"1"}  # an array, to msgpack-numpy


def record(data_dir, *, stop=True, values=range(EVENTS)):
    """Record a run of one number an event; give its log and its documents."""
    with closing(Recorder(data_dir)) as recorder:
        documents = []

        def emit(name, doc):
            recorder(name, doc)
            documents.append((name, doc))

        run = event_model.compose_run(time=1_700_000_000.0)
        emit("start", run.start_doc)
        stream = run.compose_descriptor(name="primary", data_keys={"x": {"dtype": "number", "shape": [], "source": ""}})
        emit("descriptor", stream.descriptor_doc)
        for value in values:
            emit("event", stream.compose_event(data={"x": value}, timestamps={"x": 0.0}, time=1_700_000_000.0))
        if stop:
            emit("stop", run.compose_stop())
    return Layout(data_dir).log(run.start_doc["uid"]), documents


def offsets(path):
    """Where each document of a log begins, and where the last ends."""
    with LogReader(path) as reader:
        return [len(FORMAT), *(reader.end for _ in reader)]


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def test_a_bit_that_is_flipped_anywhere_is_found_and_costs_the_document_it_is_in(tmp_path):
    path, documents = record(tmp_path)
    content, places = path.read_bytes(), offsets(path)
    for byte in range(len(content)):
        flip(path, byte, byte % 8)
        hit = next((number for number, end in enumerate(places) if byte < end), len(documents)) - 1
        others = [document for number, document in enumerate(documents) if number != hit]
        assert list(read_log(path)) == others
        if hit == 0:
            with pytest.raises(LogError, match=re.escape(f"no start document; damaged at byte {places[0]} (")):
                inspect_log(path)
        else:
            log = inspect_log(path)
            begin = places[hit] if hit >= 0 else 0
            end = places[hit + 1] if hit >= 0 else len(FORMAT)
            assert log.damage == (Damage(begin, end - begin),)
            assert log.torn == 0
            assert log.state is (LogState.INTERRUPTED if hit == len(documents) - 1 else LogState.CLOSED)
        path.write_bytes(content)


def test_a_log_that_is_cut_anywhere_ends_with_the_last_whole_document_and_is_not_called_damaged(tmp_path):
    path, documents = record(tmp_path)
    content, places = path.read_bytes(), offsets(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in places[1:])
        if not whole:
            with pytest.raises(LogError, match=r"no start document|not a log"):
                inspect_log(path)
            continue
        log = inspect_log(path)
        assert (log.state, log.damage, log.torn) == (LogState.INTERRUPTED, (), length - places[whole])
        assert list(read_log(path)) == documents[:whole]


@pytest.mark.parametrize("junk", [b"\0" * 5000, b"\xff" * 5000, os.urandom(5000)], ids=["zeros", "ones", "noise"])
def test_a_block_that_is_overwritten_costs_the_documents_in_it(tmp_path, junk):
    path, documents = record(tmp_path, values=range(200))
    content, places = path.read_bytes(), offsets(path)
    begin = places[50] + 10
    path.write_bytes(content[:begin] + junk + content[begin + len(junk) :])
    lost = [number for number in range(len(documents)) if places[number] < begin + 5000 and places[number + 1] > begin]
    assert list(read_log(path)) == [one for number, one in enumerate(documents) if number not in lost]
    assert [damage.offset for damage in inspect_log(path).damage] == [places[50]]


def test_to_close_a_damaged_run_cuts_nothing_and_says_so_in_its_reason(tmp_path):
    path, documents = record(tmp_path, stop=False)
    places = offsets(path)
    flip(path, places[3] + 20)
    content = path.read_bytes()
    path.write_bytes(content + b"an unfinished document")
    stop = close_interrupted(path, reason="the process died")
    assert stop["reason"].startswith(f"the process died; its log is damaged at byte {places[3]} ")
    assert stop["num_events"] == {"primary": EVENTS}  # as numbered
    assert path.read_bytes().startswith(content)
    assert list(read_log(path)) == [*documents[:3], *documents[4:], ("stop", stop)]
    assert path.with_name(f"{path.name}.torn").read_bytes() == b"an unfinished document"


def test_a_stop_document_that_is_damaged_is_not_cut_off(tmp_path):
    path, _ = record(tmp_path)
    begin = offsets(path)[-2]
    flip(path, begin + 20)
    content = path.read_bytes()
    assert close_interrupted(path, reason="the process died")["exit_status"] == "abort"
    assert path.read_bytes().startswith(content)
    assert inspect_log(path).damage == (Damage(begin, len(content) - begin),)
    assert inspect_log(path).state is LogState.CLOSED


@pytest.mark.parametrize("before", [1, 120])
def test_what_a_later_recovery_cuts_off_does_not_replace_what_the_ones_before_did(tmp_path, before):
    path, _ = record(tmp_path, stop=False)
    asides = [path.with_name(f"{path.name}.torn{number}") for number in ("", *(f"-{n}" for n in range(2, before + 2)))]
    for aside in asides[:-1]:
        aside.write_bytes(b"of the first")
    path.write_bytes(path.read_bytes() + b"of the last")
    close_interrupted(path, reason="the process died")
    assert [aside.read_bytes() for aside in asides] == [b"of the first"] * before + [b"of the last"]


@pytest.mark.parametrize(
    ("torn", "limit"),
    [(b"", "the log"), (b"", "half of the stop document"), (b"x" * 5000, "the torn end"), (b"x" * 50, "the log")],
)
def test_a_disk_that_refuses_the_stop_document_leaves_the_log_and_its_time_as_they_were(tmp_path, torn, limit):
    path, documents = record(tmp_path, stop=False)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    os.utime(path, (1e9, 1e9))
    size = {"the log": len(whole), "half of the stop document": len(whole) + 50, "the torn end": 1000}[limit]
    with no_file_beyond(size), pytest.raises(RecorderError, match=f"{path}: cannot be closed: File too large"):
        close_interrupted(path, reason="the process died")
    kept = {one.suffix: one.read_bytes() for one in path.parent.iterdir()}
    assert kept in ({".log": whole + torn}, {".log": whole, ".torn": torn})
    assert path.stat().st_mtime == 1e9
    assert close_interrupted(path, reason="the process died")["time"] == 1e9
    assert list(read_log(path))[:-1] == documents


def test_a_log_that_is_gone_cannot_be_closed(tmp_path):
    with pytest.raises(RecorderError, match=f"^{tmp_path}/a.log: cannot be closed: No such file or directory$"):
        close_interrupted(tmp_path / "a.log", reason="the process died")
    with pytest.raises(LogError, match=f"^{tmp_path}/a.log: No such file or directory$"):
        inspect_log(tmp_path / "a.log")


def test_a_damaged_log_of_a_run_that_is_not_in_the_catalogue_is_read_as_far_as_it_can_be(tmp_path):
    path, _ = record(tmp_path)
    begin = offsets(path)[4]
    flip(path, begin + 20)
    (entry,) = Runs(tmp_path).entries()
    run = Runs(tmp_path).load(entry)
    assert run.streams["primary"]["x"].tolist() == [0, 1, 3, 4]
    assert [problem.startswith(f"the log {path} is damaged at byte {begin} ") for problem in run.problems] == [True]


def test_events_whose_descriptor_is_damaged_are_counted(tmp_path):
    path, _ = record(tmp_path)
    flip(path, offsets(path)[1] + 20)
    run = Runs(tmp_path).load(Runs(tmp_path).entries()[0])
    assert run.streams == {}
    assert run.problems[1] == "5 events cannot be read: their descriptor is not there"


@pytest.mark.parametrize(
    "content",
    [b"", FORMAT, FORMAT[:10], b"tea at four", FORMAT + b"\0" * 100, FORMAT + pack("event", {"uid": "a"}),
     FORMAT + pack("start", {"uid": 3}), FORMAT + pack("start", {"uid": "a", "time": "noon"}),
     FORMAT + pack("start", "tea"), FORMAT + pack(4, {"uid": "a"}), FORMAT + pack("start", {"a": UNDECODABLE})],
    ids=["empty", "no documents", "cut", "foreign", "zeros", "no start", "no uid", "no time", "no document", "no name",
         "undecodable"],
)  # fmt: skip
def test_a_file_that_is_no_log_costs_no_other_run(tmp_path, content, caplog):
    path, _ = record(tmp_path)
    stranger = Layout(tmp_path).log("stranger")
    stranger.write_bytes(content)
    assert [entry.uid for entry in Runs(tmp_path).entries()] == [path.stem]
    assert caplog.messages[0].startswith(f"{stranger}: ")
    assert caplog.messages[0].endswith("; skipped")
    assert [log.uid for log in pending_logs(tmp_path)] == [path.stem]
    for command in ("runs", "show"):
        found = answer(command, "--data-dir", tmp_path)
        assert found.code == 0
        assert path.stem[:8] in found.stdout


def test_a_log_that_the_disk_does_not_give_back_is_named_and_costs_no_other_run(tmp_path, caplog):
    path, documents = record(tmp_path, values=range(200))  # more than is read at once
    unreadable = Layout(tmp_path).log("unreadable")
    unreadable.symlink_to("/proc/self/mem")  # a file that is opened, and of which the beginning cannot be read
    assert (
        [log.uid for log in pending_logs(tmp_path)] == [entry.uid for entry in Runs(tmp_path).entries()] == [path.stem]
    )
    assert caplog.messages == [f"{unreadable}: cannot be read at byte 0: Input/output error; skipped"] * 2
    with LogReader(path) as reader:  # of a disk that fails in the middle
        assert reader.read() == documents[0]
        refuse_to_read(path)
        with pytest.raises(LogError, match=rf"{path}: cannot be read at byte \d{{4,}}: Is a directory"):
            list(reader)
    for wrong, reason in [(path.parent, "Is a directory"), (path.with_name("gone"), "No such file or directory")]:
        with pytest.raises(LogError, match=f"^{wrong}: {reason}$"):
            LogReader(wrong)


def test_a_run_that_is_ingested_while_its_log_is_looked_for_is_found_where_it_is_then(tmp_path, monkeypatch, caplog):
    path, _ = record(tmp_path)
    layout = Layout(tmp_path)
    ingested, listed = layout.ingested_log(path.stem, 0.0), Layout.pending_logs

    def then_ingested(self):
        paths = listed(self)
        ingested.parent.mkdir(parents=True)
        path.rename(ingested)
        return paths

    monkeypatch.setattr(Layout, "pending_logs", then_ingested)
    assert pending_logs(tmp_path) == []
    shutil.move(ingested, path)
    ingested.parent.rmdir()
    (entry,) = Runs(tmp_path).entries()
    assert Runs(tmp_path).load(entry).stop["exit_status"] == "success"
    shutil.move(ingested, path)
    ingested.parent.rmdir()
    recovery = Recovery()
    recovery_module._close_runs(layout, recovery, Restorer(tmp_path))  # noqa: SLF001
    assert recovery == Recovery()
    assert caplog.messages == []


def test_a_document_far_behind_damage_is_found_wherever_it_is_searched_for(tmp_path, monkeypatch):
    path, documents = record(tmp_path)
    begin = offsets(path)[3]
    content = path.read_bytes()
    path.write_bytes(content[:begin] + bytes(500) + content[begin:])
    for piece in range(1, 120):
        monkeypatch.setattr(log_module, "SCANNED", piece)
        with LogReader(path) as reader:
            assert list(reader) == documents
            assert reader.damage == [Damage(begin, 500)]


def test_a_pipe_among_the_logs_is_not_waited_for(tmp_path):
    path, _ = record(tmp_path)
    os.mkfifo(Layout(tmp_path).log("pipe"))
    (Layout(tmp_path).logs / "folder.log").mkdir()
    assert [entry.uid for entry in Runs(tmp_path).entries()] == [path.stem]


def test_a_log_that_was_copied_is_one_run(tmp_path):
    path, _ = record(tmp_path)
    shutil.copy(path, path.with_name("copy.log"))
    assert len(Runs(tmp_path).entries()) == 1


@pytest.mark.long
def test_where_the_log_of_a_run_is_damaged_the_copy_in_the_catalogue_is_used(store, tmp_path, caplog):
    path, documents = record(tmp_path)
    assert store.ingest() == {}
    log = Layout(tmp_path).find_log(path.stem)
    content, places = log.read_bytes(), offsets(log)
    runs = Runs(tmp_path)

    def check(entry):
        run = runs.load(entry)
        assert run.start["uid"] == documents[0][1]["uid"]
        assert run.streams["primary"]["x"].tolist() == list(range(EVENTS))
        assert run.stop["exit_status"] == "success"
        return run.problems

    for damaged, where in [
        (content[: places[3] + 20], f"ends at byte {places[3]}, without its stop document"),
        (content[: places[3]] + b"xxxx" + content[places[3] + 4 :], f"is damaged at byte {places[3]} "),
        (content[:40] + b"xxxx" + content[44:], f"is damaged at byte {places[0]} "),
        (b"", ": not a log of documents"),
    ]:
        log.write_bytes(damaged)
        (problem,) = check(runs.entries()[0])
        assert problem.endswith("; the catalogue's copy is used")
        assert str(log) in problem
        assert where in problem
    assert caplog.text.count("not a log of documents; the catalogue's copy is used") == 0  # the run is known by then
    log.write_bytes(content)
    (entry,) = runs.entries()
    assert check(entry) == []
    log.unlink()  # after it was listed
    assert check(entry) == [f"{log}: No such file or directory; the catalogue's copy is used"]


@pytest.mark.long
def test_a_catalogue_that_was_filled_from_a_damaged_log_is_not_taken_for_the_whole_run(store, tmp_path, caplog):
    paths = [record(tmp_path, values=range(5))[0] for _ in range(2)]
    places = [1, 3]  # of the descriptor, and of an event
    for path, place in zip(paths, places, strict=True):
        flip(path, offsets(path)[place] + 20)
    assert store.ingest() == {}
    assert [message.endswith("; the catalogue lacks what was there") for message in caplog.messages] == [True, True]
    runs = Runs(tmp_path)
    for path, lost in zip(paths, (5, 1), strict=True):
        run = runs.load(runs.find(path.stem))
        assert sum(len(table) for table in run.streams.values()) == 5 - lost
        (problem,) = run.problems
        assert problem.endswith(f"the catalogue's copy is used, which lacks {lost} of 5 events of stream primary")


def test_where_neither_the_log_nor_the_catalogue_has_a_run_both_are_named(tmp_path, caplog):
    path, documents = record(tmp_path)
    layout = Layout(tmp_path)
    log = layout.ingested_log(path.stem, documents[0][1]["time"])
    log.parent.mkdir(parents=True)
    path.rename(log)
    begin = offsets(log)[4]
    flip(log, begin + 20)
    runs = Runs(tmp_path)
    (entry,) = runs.entries()
    missing = (
        f"{layout.catalogue}: missing, though 1 runs have been in it; `beamline recover` makes it anew from the logs"
    )
    (problem,) = runs.load(entry).problems
    assert problem.startswith(f"the log {log} is damaged at byte {begin} ")
    assert problem.endswith(f", and the catalogue does not have it: {missing}; what can be read is used")
    log.write_bytes(b"tea")
    with pytest.raises(
        BeamlineError, match=re.escape(f"run {path.stem}: {log}: not a log of documents; nor can it be")
    ):
        runs.load(entry)
    assert Runs(tmp_path).entries() == []
    assert caplog.messages == [f"{log}: not a log of documents; skipped, as the catalogue does not have it: {missing}"]


def test_a_log_that_is_deleted_with_its_folder_is_written_again_and_stops_the_scan(tmp_path):
    recorder = Recorder(tmp_path / "data")
    run = event_model.compose_run()
    recorder("start", run.start_doc)
    stream = run.compose_descriptor(name="primary", data_keys={"x": {"dtype": "number", "shape": [], "source": ""}})
    recorder("descriptor", stream.descriptor_doc)
    shutil.rmtree(tmp_path / "data")
    event = stream.compose_event(data={"x": 1}, timestamps={"x": 0.0})
    with pytest.raises(RecorderError, match="was deleted during the run, and written again; the scan must stop"):
        recorder("event", event)
    stop = run.compose_stop(exit_status="fail")
    recorder("stop", stop)
    recorder.close()
    (path,) = Layout(tmp_path / "data").all_logs()
    assert list(read_log(path)) == [
        ("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("event", event), ("stop", stop)
    ]  # fmt: skip


def test_a_log_that_cannot_be_written_again_is_named(tmp_path):
    recorder = Recorder(tmp_path / "data")
    run = event_model.compose_run()
    recorder("start", run.start_doc)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").write_text("in its place")
    with pytest.raises(RecorderError, match="was deleted during the run, and cannot be written again: Not a directory"):
        recorder("stop", run.compose_stop())
    recorder.close()


def test_a_log_that_the_disk_refused_to_write_again_is_written_again_with_the_next_document(tmp_path):
    path, recorder, documents = begun(tmp_path)
    path.unlink()
    with (
        no_file_beyond(100),
        pytest.raises(RecorderError, match="cannot be written again: File too large; a document"),
    ):
        recorder(*documents[2])
    assert list(path.parent.iterdir()) == []
    recorder(*documents[3])
    recorder.close()
    assert list(read_log(path)) == [*documents[:2], documents[3]]


def test_a_log_that_another_file_has_replaced_is_written_again_and_the_other_is_kept(tmp_path):
    path, recorder, documents = begun(tmp_path)
    before = path.read_bytes()
    path.unlink()
    path.write_bytes(before[:-10])
    with pytest.raises(RecorderError, match="was deleted during the run, and written again; the scan must stop"):
        recorder(*documents[2])
    recorder(*documents[3])
    recorder.close()
    assert list(read_log(path)) == documents
    assert path.with_name(f"{path.name}.replaced").read_bytes() == before[:-10]


def test_part_of_a_document_that_could_not_be_cut_off_at_once_is_cut_off_before_the_next(tmp_path, monkeypatch):
    path, recorder, documents = begun(tmp_path)
    size, cut = path.stat().st_size, os.ftruncate

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", fail)
    with no_file_beyond(size + 50), pytest.raises(RecorderError, match="a document is lost, the scan must stop"):
        recorder(*documents[2])
    assert path.stat().st_size == size + 50
    monkeypatch.setattr(os, "ftruncate", cut)
    recorder(*documents[3])
    recorder.close()
    assert list(read_log(path)) == [*documents[:2], documents[3]]
    assert inspect_log(path).damage == ()


def begun(data_dir):
    """Begin a run of four documents, of which two are recorded; give its log, its recorder, and its documents."""
    recorder, run = Recorder(data_dir), event_model.compose_run()
    stream = run.compose_descriptor(name="primary", data_keys={"x": {"dtype": "number", "shape": [], "source": ""}})
    event = stream.compose_event(data={"x": 1}, timestamps={"x": 0.0})
    documents = [("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    for document in documents[:2]:
        recorder(*document)
    return Layout(data_dir).log(run.start_doc["uid"]), recorder, [*documents, ("stop", run.compose_stop())]


def test_a_run_never_takes_the_place_of_another_of_the_same_uid(tmp_path):
    path, documents = record(tmp_path)
    content = path.read_bytes()
    with closing(Recorder(tmp_path)) as recorder:
        with pytest.raises(
            RecorderError, match=f"^{path}: there already, and not replaced; a run needs a uid of its own$"
        ):
            recorder(*documents[0])
        with pytest.raises(RecorderError, match=f"^a document 'stop' came for run {path.stem}, which is not open$"):
            recorder(*documents[-1])
        recorder("start", {"uid": "open", "time": 0.0})
        Layout(tmp_path).log("open").unlink()
        with pytest.raises(RecorderError, match="there already"):
            recorder("start", {"uid": "open", "time": 0.0})
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "doc", "message"),
    [
        ("event", {"descriptor": "gone"}, "a document 'event' refers to 'gone', which was never emitted"),
        ("datum", {"resource": "gone"}, "a document 'datum' refers to 'gone', which was never emitted"),
        ("start", {"time": 0.0}, "a document 'start' has no 'uid'"),
        ("stop", {"uid": "a"}, "a document 'stop' has no 'run_start'"),
        ("event", {"descriptor": []}, "a document 'event' cannot be recorded: unhashable type: 'list'"),
    ],
)
def test_a_document_without_what_it_refers_to_is_refused_by_name(tmp_path, name, doc, message):
    with closing(Recorder(tmp_path)) as recorder, pytest.raises(RecorderError) as caught:
        recorder(name, doc)
    assert str(caught.value) == message


def test_where_no_log_can_be_opened_the_scan_does_not_start_and_nothing_is_left(tmp_path, small_disk):
    start = {"uid": "a", "time": 0.0}
    with closing(Recorder(small_disk)) as recorder:
        with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - EVENT_RESERVE)  # for one reserve
        with pytest.raises(
            RecorderError, match="log: no log can be opened, the scan cannot start: No space left on dev"
        ):
            recorder("start", start)
        with pytest.raises(LogError, match="no log of run a"):
            open_log(small_disk, "a")
    assert list(Layout(small_disk).logs.iterdir()) == []
    os.truncate(small_disk / "filler", 0)
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > EVENT_RESERVE  # the reserve was freed
    with closing(Recorder(tmp_path)) as recorder:
        Layout(tmp_path).logs.rmdir()
        with pytest.raises(
            RecorderError, match=f"^{tmp_path}/log: no log can be opened, the scan cannot start: No such"
        ):
            recorder("start", start)
        Layout(tmp_path).logs.mkdir()
        with no_file_beyond(EVENT_RESERVE - 1), pytest.raises(RecorderError, match="cannot start: File too large"):
            recorder("start", start)
        (tmp_path / "log" / ".a.log.new").mkdir()
        with pytest.raises(RecorderError, match="cannot start: "):
            recorder("start", start)


@pytest.mark.parametrize("uid", ["../../elsewhere", "a/b", "", ".hidden", "a" * 300, "a\nb", "*", 3])
def test_a_uid_that_names_no_file_is_refused(tmp_path, uid):
    with closing(Recorder(tmp_path)) as recorder, pytest.raises(RecorderError, match="the uid of a run is"):
        recorder("start", {"uid": uid, "time": 0.0})
    assert list(Layout(tmp_path).logs.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecorderError, match=r"file/log: cannot be made, nothing can be measured: Not a directory"):
        Recorder(tmp_path / "file")


def test_the_disk_space_of_one_run_is_not_spent_by_another(small_disk):
    """What two recorders of one folder have, as a session does, when the disk is full."""
    raw, derived = Recorder(small_disk), Recorder(small_disk)
    runs = {recorder: event_model.compose_run() for recorder in (raw, derived)}
    streams = {}
    for recorder, run in runs.items():
        recorder("start", run.start_doc)
        keys = {"x": {"dtype": "array", "shape": [100], "source": ""}}
        streams[recorder] = run.compose_descriptor(name="primary", data_keys=keys)
        recorder("descriptor", streams[recorder].descriptor_doc)

    def write_for_ever(write):
        for number in itertools.count():
            kept.append(number)
            write()

    def fill():
        with (small_disk / "fill").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            write_for_ever(lambda: file.write(b"0" * 4096))

    def until_full(recorder):
        def event():
            recorder("event", streams[recorder].compose_event(data={"x": [1.0] * 100}, timestamps={"x": 0.0}))

        kept.clear()
        with pytest.raises(RecorderError, match="the scan must stop, all documents so far are kept"):
            write_for_ever(event)
        return len(kept)

    kept, events = [], {}
    fill()
    for recorder in (derived, raw):
        events[recorder] = until_full(recorder)
        fill()  # what was freed is taken by others at once
    for recorder in (derived, raw):
        recorder("stop", runs[recorder].compose_stop(exit_status="fail", reason="x" * 20_000))
        recorder.close()
        names = [name for name, _ in read_log(Layout(small_disk).find_log(runs[recorder].start_doc["uid"]))]
        assert names == ["start", "descriptor", *["event"] * events[recorder], "stop"]
