"""The live reduction: what a run is reduced to does not depend on how often whoever reduces it died, or was late."""

import os
import shutil
from contextlib import closing

import h5py
import numpy as np
import pytest
from frame_documents import FRAMES, raw_run, write_frames

from beamline.operations.replay import reduce_documents
from beamline.processes import reduction as reduction_module
from beamline.processes.reduction import Reduction
from beamline.storage import large_arrays
from beamline.storage.catalogue.find import resolve_run
from beamline.storage.catalogue.ingest import Ingester
from beamline.storage.derived import DerivedRuns
from beamline.storage.large_arrays import LargeArrays
from beamline.storage.layout import Layout
from beamline.storage.log import LogReader, find_log, read_log
from beamline.storage.recorder import Recorder, close_interrupted
from beamline.storage.reductions import is_reduced, live_uid, unreduced
from beamline.storage.results import collect, differences
from beamline.storage.runs import Runs
from callbacks.contract import PROCESSING
from callbacks.external import ExternalFrames, FrameReadError


@pytest.fixture(autouse=True)
def small_arrays_go_to_files(monkeypatch):
    """Let the spectra of these small frames be large arrays."""
    monkeypatch.setattr(large_arrays, "LARGE", 200)


@pytest.fixture
def documents(tmp_path):
    return list(raw_run(write_frames(tmp_path / "frames.h5"), "stream"))


def record(data_dir, documents):
    with closing(Recorder(data_dir)) as recorder:
        for name, doc in documents:
            recorder(name, doc)
    return documents[0][1]["uid"]


def reduce_all(data_dir, **options):
    """Reduce what there is to reduce; give the reduction."""
    with closing(Reduction(data_dir, **{"retry_delays": (0.01,), **options})) as reduction:
        reduction.complete()
        return reduction


def derived_runs(data_dir, uid):
    return [entry for entry in Runs(data_dir).entries() if entry.reduction_of == uid]


def stored(data_dir, uid):
    """Give the only derived run of a run."""
    (entry,) = derived_runs(data_dir, uid)
    return Runs(data_dir).load(entry)


def without_times(documents):
    return [(name, {key: value for key, value in doc.items() if key != "time"}) for name, doc in documents]


def test_the_live_reduction_equals_the_replay_and_is_made_once(tmp_path, documents):
    uid = record(tmp_path, documents)
    assert unreduced(tmp_path) == [uid]
    assert not is_reduced(tmp_path, uid)
    assert reduce_all(tmp_path).reduced == [uid]
    assert reduce_all(tmp_path).reduced == []
    assert unreduced(tmp_path) == []
    assert is_reduced(tmp_path, uid)
    live = stored(tmp_path, uid)
    assert live.uid == live_uid(uid)
    assert differences(live, collect(reduce_documents(documents, None))) == []
    assert len(live.frames) == FRAMES


@pytest.mark.long
def test_a_reduction_that_died_anywhere_is_gone_on_with_and_the_same_in_the_end(tmp_path, documents):
    whole = tmp_path / "whole"
    uid = record(whole, documents)
    reduce_all(whole)
    derived = live_uid(uid)
    log, file = find_log(whole, derived), Layout(whole).derived / f"{derived}.h5"
    expected, content = list(read_log(log)), log.read_bytes()
    assert any(name == "stream_datum" for name, _ in expected)
    with LogReader(log) as reader:
        reader.read()
        begin = reader.end  # a log gets its name when its start document is in it
    for length in np.linspace(begin, len(content) - 1, 25).astype(int):
        folder = tmp_path / f"cut at {length}"
        record(folder, documents)
        Layout(folder).log(derived).write_bytes(content[:length])
        Layout(folder).derived.mkdir()
        # Its file is torn, too: of what it holds, nothing is taken for granted.
        torn = file.read_bytes()[: int(length / len(content) * file.stat().st_size)]
        (Layout(folder).derived / file.name).write_bytes(torn)
        reduce_all(folder)
        found = list(read_log(find_log(folder, derived)))
        moved = [(name, {**doc, "uri": ""} if name == "stream_resource" else doc) for name, doc in found]
        plain = [(name, {**doc, "uri": ""} if name == "stream_resource" else doc) for name, doc in expected]
        assert repr(without_times(moved)) == repr(without_times(plain))
        assert differences(stored(whole, uid), stored(folder, uid)) == []
        assert [each.name for each in Layout(folder).derived.iterdir()] == [file.name]
        shutil.rmtree(folder)


def test_a_reduction_is_gone_on_with_while_the_run_is_measured(tmp_path, documents):
    with closing(Recorder(tmp_path)) as recorder:
        for number, (name, doc) in enumerate(documents):
            recorder(name, doc)
            with closing(Reduction(tmp_path)) as reduction:  # one that dies after each document
                while reduction.advance():
                    pass
                assert reduction.unfinished() is (number < len(documents) - 1)
    uid = documents[0][1]["uid"]
    assert differences(stored(tmp_path, uid), collect(reduce_documents(documents, None))) == []


@pytest.mark.long
def test_a_reduction_whose_log_is_damaged_is_made_anew_under_the_same_uid(tmp_path, documents):
    for name, spoilt in (("start", lambda content: content[:300]), ("middle", lambda content: flipped(content, 6000))):
        folder = tmp_path / name
        uid = record(folder, documents)
        reduce_all(folder)
        log = find_log(folder, live_uid(uid))
        log.write_bytes(spoilt(log.read_bytes())[:-200])
        reduce_all(folder)
        assert is_reduced(folder, uid)
        assert differences(stored(folder, uid), collect(reduce_documents(documents, None))) == []


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def begun(data_dir, monkeypatch):
    """Begin to reduce a run, and die."""
    with closing(Reduction(data_dir)) as reduction, monkeypatch.context() as patched:
        patched.setattr(reduction_module, "BATCH_DOCUMENTS", 8)
        reduction.advance()


def test_what_was_begun_by_other_software_is_made_anew_under_the_same_uid(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    begun(tmp_path, monkeypatch)
    monkeypatch.setattr("callbacks.reduction.version", lambda _: "another")
    reduce_all(tmp_path)
    derived = stored(tmp_path, uid)
    assert derived.uid == live_uid(uid)
    assert derived.start["derivation"]["software"]["numpy"] == "another"
    assert differences(derived, collect(reduce_documents(documents, None))) == []


def test_a_frame_that_could_not_be_read_when_the_reduction_died_and_now_can_is_in_the_whole_reduction(
    tmp_path, documents, monkeypatch, caplog
):
    uid = record(tmp_path, documents)
    with monkeypatch.context() as patched:
        read, calls = ExternalFrames.read, []

        def fails_once(self, event, key):
            calls.append(1)
            if len(calls) == 2:
                raise FrameReadError("not yet")
            return read(self, event, key)

        patched.setattr(ExternalFrames, "read", fails_once)
        patched.setattr(reduction_module, "BATCH_DOCUMENTS", len(documents) - 2)
        with closing(Reduction(tmp_path)) as reduction:
            reduction.advance()
    reduce_all(tmp_path)
    derived = stored(tmp_path, uid)
    assert list(derived.frames["problem"]) == [""] * FRAMES
    assert differences(derived, collect(reduce_documents(documents, None))) == []
    assert any("is another than the one that is stored" in message for message in caplog.messages)


@pytest.mark.long
def test_the_catalogue_takes_in_a_reduction_that_was_made_anew_while_it_followed(
    tmp_path, store, documents, monkeypatch
):
    uid = record(tmp_path, documents)
    begun(tmp_path, monkeypatch)
    with closing(Ingester(tmp_path)) as ingester:
        while ingester.advance():
            pass
        monkeypatch.setattr("callbacks.reduction.version", lambda _: "another")
        reduce_all(tmp_path)
        while ingester.unfinished():
            ingester.advance()
    assert Layout(tmp_path).pending_logs() == []
    run = resolve_run(store.open(), live_uid(uid))
    assert run.metadata["start"]["derivation"]["software"]["numpy"] == "another"
    assert len(run["frames"].read()["frame"]) == FRAMES


def test_runs_that_were_measured_meanwhile_are_reduced_wherever_their_logs_are_and_those_that_are_reduced_are_not(
    tmp_path, documents
):
    layout = Layout(tmp_path)
    file = tmp_path / "frames.h5"
    by_replay, missed, open_, no_measurement = (list(raw_run(file, "stream")) for _ in range(4))
    del no_measurement[0][1]["measurement"]
    record(tmp_path, by_replay)
    with closing(DerivedRuns(tmp_path)) as store:
        for name, doc in reduce_documents(by_replay, None):
            store(name, doc)
    for run in (missed, no_measurement):
        path = layout.log(record(tmp_path, run))
        moved = layout.ingested_log(path.stem, 1.7e9)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    record(tmp_path, open_[:-3])  # whose process died
    with closing(Reduction(tmp_path)) as reduction:
        while reduction.advance():
            pass
        assert reduction.reduced == [missed[0][1]["uid"]]
        assert not reduction.unfinished()
        (status,) = reduction.status()
        assert (status["uid"], status["behind"], status["error"]) == (open_[0][1]["uid"], 0, "")
    assert len(derived_runs(tmp_path, by_replay[0][1]["uid"])) == 1
    assert is_reduced(tmp_path, no_measurement[0][1]["uid"])


def test_a_run_that_another_process_reduces_is_left_to_it(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    monkeypatch.setattr(reduction_module, "BATCH_DOCUMENTS", 8)
    with closing(Reduction(tmp_path)) as first, closing(Reduction(tmp_path, only={uid})) as second:
        assert first.advance()
        assert not second.advance()
        assert second.unfinished()
        first.complete()
        second.complete()
        assert first.reduced == second.reduced == [uid]
    assert len(derived_runs(tmp_path, uid)) == 1


def test_on_a_full_disk_the_reduction_waits_and_goes_on_when_there_is_space(tmp_path, documents, monkeypatch, caplog):
    uid = record(tmp_path, documents)
    calls = []

    class Faulty(h5py.File):
        """A file that cannot be opened, now and then."""

        def __init__(self, *arguments, **options):
            calls.append(1)
            if len(calls) in (3, 6):
                raise OSError(28, "No space left on device")
            super().__init__(*arguments, **options)

    monkeypatch.setattr(large_arrays.h5py, "File", Faulty)
    assert reduce_all(tmp_path, retry_delays=(0.01, 0.01)).reduced == [uid]
    assert len([message for message in caplog.messages if "No space left" in message]) == 2
    assert differences(stored(tmp_path, uid), collect(reduce_documents(documents, None))) == []


def test_a_reduction_that_cannot_be_stored_again_and_again_is_given_up_and_said_to_be(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LargeArrays, "_event", full)
    reduction = reduce_all(tmp_path, retry_delays=(0.01,))
    (status,) = reduction.status()
    assert (status["uid"], status["given_up"], status["error"]) == (uid, True, "[Errno 28] No space left on device")
    monkeypatch.undo()
    assert reduce_all(tmp_path).reduced == [uid]


def test_a_run_whose_start_says_not_how_to_reduce_it_is_given_up_and_the_next_is_reduced(tmp_path, documents):
    strange = list(raw_run(tmp_path / "frames.h5", "stream", technique="tea"))
    wrong = list(raw_run(tmp_path / "frames.h5", "stream"))
    wrong[0][1][PROCESSING] = {"rixs": {"cosmic_rays": {"threshold": -1}}}
    refused = [record(tmp_path, run) for run in (strange, wrong)]
    uid = record(tmp_path, documents)
    reduction = reduce_all(tmp_path)
    assert reduction.reduced == [uid]
    errors = {status["uid"]: status["error"] for status in reduction.status()}
    assert errors[refused[0]].startswith("measurement: technique is 'tea', expected one of")
    assert "threshold" in errors[refused[1]]


def test_a_document_that_cannot_be_reduced_costs_itself_and_is_told_of(tmp_path, documents, caplog):
    number = next(number for number, (name, _) in enumerate(documents) if name == "event")
    broken = {key: value for key, value in documents[number][1].items() if key != "seq_num"}
    documents[number] = ("event", broken)
    uid = record(tmp_path, documents)
    reduction = reduce_all(tmp_path)
    (status,) = reduction.status()
    assert (status["uid"], status["errors"], status["error"]) == (uid, 1, "KeyError: 'seq_num'")
    assert len(stored(tmp_path, uid).frames) == FRAMES - 1
    assert f"run {uid}: a document 'event' could not be reduced" in caplog.messages


def test_half_a_reduction_that_is_in_the_catalogue_is_not_taken_for_whole(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    begun(tmp_path, monkeypatch)
    log = find_log(tmp_path, live_uid(uid))
    close_interrupted(log, reason="made to end")
    moved = Layout(tmp_path).ingested_log(live_uid(uid), 1.7e9)
    moved.parent.mkdir(parents=True)
    log.rename(moved)
    assert not is_reduced(tmp_path, uid)
    assert reduce_all(tmp_path).reduced == [uid]
    assert is_reduced(tmp_path, uid)
    assert differences(stored(tmp_path, uid), collect(reduce_documents(documents, None))) == []


def test_a_log_that_is_deleted_during_the_run_and_written_again_is_read_anew(tmp_path, documents):
    uid = documents[0][1]["uid"]
    with closing(Recorder(tmp_path)) as recorder, closing(Reduction(tmp_path)) as reduction:
        for name, doc in documents[:-1]:
            recorder(name, doc)
        while reduction.advance():
            pass
        find_log(tmp_path, uid).unlink()
        recorder(*documents[-1])  # writes all of it again
        reduction.complete()
        assert reduction.reduced == [uid]
    assert differences(stored(tmp_path, uid), collect(reduce_documents(documents, None))) == []


def test_an_error_of_hdf5_is_one_of_the_disk_and_not_of_a_step(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    calls = []

    class Faulty(h5py.File):
        """A file that fails as HDF5 does on a full disk."""

        def __init__(self, *arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("Disable slist on flush dest failure failed")
            super().__init__(*arguments, **options)

    monkeypatch.setattr(large_arrays.h5py, "File", Faulty)
    assert reduce_all(tmp_path).reduced == [uid]
    assert differences(stored(tmp_path, uid), collect(reduce_documents(documents, None))) == []


def test_arrays_are_not_written_to_a_disk_without_space_for_them(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    with monkeypatch.context() as patched:
        patched.setattr(large_arrays, "SPARE", 1 << 60)
        (status,) = reduce_all(tmp_path, retry_delays=()).status()
    assert "No space left on device" in status["error"]
    assert list(Layout(tmp_path).derived.iterdir()) == []
    assert reduce_all(tmp_path).reduced == [uid]


def test_another_that_reduces_a_run_and_does_not_go_on_is_not_waited_for_for_ever(tmp_path, documents, monkeypatch):
    uid = record(tmp_path, documents)
    monkeypatch.setattr(reduction_module, "BATCH_DOCUMENTS", 8)
    with closing(Reduction(tmp_path)) as first, closing(Reduction(tmp_path, only={uid})) as second:
        assert first.advance()
        second.complete(patience=0.3)
        (status,) = second.status()
        assert (status["given_up"], status["error"]) == (True, "another process reduces it, and does not go on")


def test_runs_whose_writer_died_hold_no_files_and_are_gone_on_with(tmp_path, documents):
    uid = record(tmp_path, documents[:-3])
    with closing(Reduction(tmp_path)) as reduction:
        while reduction.advance():
            pass
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
        assert not [name for name in held if name.startswith(str(tmp_path / "log"))]
        close_interrupted(find_log(tmp_path, uid), reason="made to end")
        reduction.complete()
        assert reduction.reduced == [uid]


def _is_link(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")
