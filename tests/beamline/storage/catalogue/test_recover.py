"""Recovery closes the runs of dead processes, leaves those of living ones alone, and reports what it could not do."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import event_model
import h5py
import numpy as np
import pytest
from follower_reports import report
from refusals import no_file_beyond
from soft import Camera, Values, number, run_program

from beamline.storage.catalogue import recovery as recovery_module
from beamline.storage.catalogue.checksums import unsound_runs, write_checksums
from beamline.storage.catalogue.condition import REFUSED
from beamline.storage.catalogue.embedded import create_catalogue
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.catalogue.ingest import ingest_lock
from beamline.storage.catalogue.recovery import Recovery, recover
from beamline.storage.catalogue.restoring import Restorer
from beamline.storage.layout import INGEST, Layout
from beamline.storage.log import LogReader, LogState, pending_logs, read_log
from beamline.storage.recorder import Recorder, close_interrupted

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).with_name("programs")


def test_a_run_whose_process_died_is_closed_its_frames_repaired_and_all_is_reported(tmp_path, store):
    run_program(PROGRAMS / "die_in_mid_run.py", tmp_path)
    recovery = recover(tmp_path)
    (run,) = recovery.closed
    (path,) = (tmp_path / "frames").iterdir()
    assert (run.scan_id, run.documents, run.events) == (12, 9, {"primary": 3})
    assert run.frames == {str(path): 4}  # one more than the documents know of
    assert (recovery.ingested, recovery.still_open, recovery.problems) == (1, [], [])
    with h5py.File(path, "r") as file:
        assert file["entry/data/data"][:, 0, 0].tolist() == [0, 1, 2, 3]
    stop = store.open()[12].stop
    assert (stop["exit_status"], stop["num_events"]) == ("abort", {"primary": 3})
    assert stop["reason"] == "the process that measured ended before the run was closed"


@pytest.mark.parametrize(("ingested", "just_now"), [(False, False), (True, False), (False, True)])
def test_frames_of_a_closed_run_whose_file_was_left_open_are_repaired(tmp_path, store, monkeypatch, ingested, just_now):
    path = tmp_path / "frames" / "killed.h5"
    path.parent.mkdir()
    run_program(PROGRAMS.parents[1] / PROGRAMS.name / "write_frames_until_killed.py", path, check=False)
    monkeypatch.setattr(recovery_module, "CLOSING_TIME", 0.3)  # s that a camera has, as it may just be closing the file
    if not just_now:
        os.utime(path, (0, 0))
    run = event_model.compose_run()
    keys = {"ccd": {"dtype": "array", "shape": [1, 8, 16], "source": "", "external": "FILESTORE:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    resource = run.compose_resource(spec="AD_HDF5", root="/", resource_path=str(path)[1:], resource_kwargs={})
    datum = resource.compose_datum(datum_kwargs={"point_number": 0})
    event = stream.compose_event(data={"ccd": datum["datum_id"]}, timestamps={"ccd": 0.0}, filled={"ccd": False})
    for name, doc in [
        ("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("resource", resource.resource_doc),
        ("datum", datum), ("event", event), ("stop", run.compose_stop()),
    ]:  # fmt: skip
        store.recorder(name, doc)
    if ingested:
        assert store.ingest() == {}
    recovery = recover(tmp_path)
    assert (recovery.closed, recovery.problems) == ([], [])
    with h5py.File(path, "r") as file:
        assert len(file["entry/data/data"]) == 7


def test_a_run_that_is_being_measured_is_left_alone(tmp_path, store):
    run = event_model.compose_run()
    store.recorder("start", run.start_doc)
    uid = store.measure(bp.count([number(range(3))], num=3))
    recovery = recover(tmp_path)
    assert (recovery.still_open, recovery.ingested, recovery.closed) == ([run.start_doc["uid"]], 1, [])
    assert [(log.uid, log.state) for log in pending_logs(tmp_path)] == [(run.start_doc["uid"], LogState.OPEN)]
    store.recorder("stop", run.compose_stop())
    assert recover(tmp_path).ingested == 1
    assert len(store.open()) == 2
    assert store.open()[uid].stop["exit_status"] == "success"


def test_what_cannot_be_recovered_is_named_and_the_rest_is_done(tmp_path, store, monkeypatch):
    monkeypatch.setattr(recovery_module, "RETRY_DELAYS", (0.1,))
    store.measure(bp.count([number(range(3))], num=3))
    (tmp_path / "log" / "notes.log").write_text("tea at four")
    ragged = Values("det", {"x": {"dtype": "array", "shape": [1]}}, ({"x": [0] * size} for size in (1, 2, 3)))
    bad = store.measure(bp.count([ragged], num=3))
    recorder = Recorder(tmp_path)  # dies with its frames gone
    camera = Camera("ccd", tmp_path / "frames")
    camera.stage()
    lost = event_model.compose_run()
    recorder("start", lost.start_doc)
    resource = next(iter(camera.collect_asset_docs()))[1]
    recorder("resource", {**resource, "run_start": lost.start_doc["uid"]})
    recorder.close()
    camera.unstage()
    camera.path.unlink()
    recovery = recover(tmp_path)
    assert len(recovery.problems) == 3
    assert "notes.log: not a log of documents" in "\n".join(recovery.problems)
    assert f"{camera.path}: " in "\n".join(recovery.problems)
    assert (
        f"run {bad} is not in the catalogue: {REFUSED}: IngestError: x of stream primary changes its shape"
        in "\n".join(recovery.problems)
    )
    assert recovery.ingested == 2
    assert len(store.open()) == 3  # the half of the bad one stays, without a stop document, until it can be ingested


def test_an_empty_folder_needs_no_recovery_and_one_without_a_run_gets_no_catalogue(tmp_path):
    assert recover(tmp_path) == Recovery()
    assert list(tmp_path.iterdir()) == []
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    layout.log("notes").write_text("tea at four")
    assert recover(tmp_path) == Recovery(problems=[f"{layout.log('notes')}: not a log of documents"])
    assert not layout.catalogue.exists()


def interrupted(data_dir, *documents):
    """Record a run that came to no stop document; give its log."""
    run = event_model.compose_run(time=1_700_000_000.0)
    with closing(Recorder(data_dir)) as recorder:
        for name, doc in [("start", run.start_doc), *documents]:
            recorder(name, {"run_start": run.start_doc["uid"], **doc} if name != "start" else doc)
    return Layout(data_dir).log(run.start_doc["uid"])


def test_a_run_that_the_disk_does_not_let_be_closed_is_named_and_its_log_is_as_it_was(tmp_path):
    log = interrupted(tmp_path)
    content = log.read_bytes()
    with no_file_beyond(len(content)):
        recovery = recover(tmp_path)
    full = f"{tmp_path}: File too large; runs are not reduced, the catalogue is left as it is"
    assert recovery == Recovery(problems=[f"{log}: cannot be closed: File too large", full])
    assert log.read_bytes() == content


def test_a_run_that_another_process_closes_meanwhile_is_not_counted_and_nothing_is_said(tmp_path, monkeypatch):
    log = interrupted(tmp_path)

    def after_another(path, *, reason):
        assert close_interrupted(path, reason="the other was faster")
        return close_interrupted(path, reason=reason)

    monkeypatch.setattr(recovery_module, "close_interrupted", after_another)
    recovery = Recovery()
    recovery_module._close_runs(Layout(tmp_path), recovery, Restorer(tmp_path))  # noqa: SLF001
    assert recovery == Recovery()
    assert list(read_log(log))[-1][1]["reason"] == "the other was faster"


FOREIGN = [
    ("resource", {"uid": "a", "resource_path": "a.h5"}),
    ("resource", {"uid": "a", "spec": "AD_HDF5"}),
    ("resource", {"uid": "a", "spec": 3, "root": "/", "resource_path": 3}),
    ("stream_resource", {"uid": "a", "mimetype": "application/x-hdf5"}),
    ("stream_resource", {"uid": "a", "uri": "file://[", "mimetype": "application/x-hdf5"}),
]


def test_a_log_lets_nobody_write_elsewhere_and_one_of_another_program_costs_no_other_run(tmp_path):
    elsewhere, data_dir = tmp_path / "elsewhere.h5", tmp_path / "data"
    elsewhere.write_bytes(b"tea")
    path = {"root": str(tmp_path), "resource_path": elsewhere.name}
    logs = [interrupted(data_dir, ("resource", {"uid": "a", "spec": "AD_HDF5", "resource_kwargs": {}, **path}))]
    logs += [interrupted(data_dir, document) for document in FOREIGN]
    recovery = Recovery()
    recovery_module._close_runs(Layout(data_dir), recovery, Restorer(tmp_path))  # noqa: SLF001
    assert sorted(run.uid for run in recovery.closed) == sorted(log.stem for log in logs)
    assert (recovery.problems, [run.frames for run in recovery.closed]) == ([], [{}] * len(logs))
    assert elsewhere.read_bytes() == b"tea"
    closed = Recovery()
    recovery_module._close_runs(Layout(data_dir), closed, Restorer(tmp_path))  # noqa: SLF001
    assert closed == Recovery()


def test_an_ingested_run_whose_log_lost_its_end_is_named_and_closed_when_there_is_no_copy_of_it(tmp_path, store):
    uid = store.measure(bp.count([number(range(3))], num=3))
    layout = Layout(tmp_path)
    assert store.ingest() == {}
    log = layout.find_log(uid)
    *documents, _ = read_log(log)
    with LogReader(log) as reader:
        reader.skip_to(len(documents))
        os.truncate(log, reader.end)
    shutil.rmtree(layout.catalogue)
    recovery = recover(tmp_path)
    assert (recovery.ingested, recovery.problems) == (1, [f"{log}: its end, with the stop document, is lost"])
    assert recovery.catalogue == f"{layout.catalogue}: missing, though 1 runs have been in it"
    assert [(run.uid, run.events) for run in recovery.closed] == [(uid, {"primary": 3})]
    assert store.open()[uid].stop["reason"] == "the end of its log is lost"
    assert list(read_log(layout.find_log(uid)))[:-1] == documents


@pytest.mark.parametrize(
    ("document", "ingested", "rebuild"),
    [(0, True, True), (3, False, False), (None, True, False)],  # None: the log ends before the last
)
def test_a_damaged_log_is_written_again_from_the_catalogue_before_anything_is_made_of_it(
    tmp_path, store, document, ingested, rebuild
):
    uid = store.measure(bp.count([number(range(3))], num=3))
    assert store.ingest() == {}
    layout = Layout(tmp_path)
    log = layout.find_log(uid)
    before = list(read_log(log))
    data = bytearray(log.read_bytes())
    with LogReader(log) as reader:
        reader.skip_to(len(before) - 1 if document is None else document)
        place = reader.end
    if document is None:
        del data[place:]
    else:
        data[place + 40] ^= 1
    log.write_bytes(data)
    if not ingested:  # as a process does that is killed just before it moves the log
        log = log.rename(layout.log(uid))
        ((_, why),) = store.ingest().items()
        assert why == f"LogError: {log}: is damaged; the catalogue's copy of the run is kept"

    recovery = recover(tmp_path, rebuild=rebuild)

    assert (recovery.restored, recovery.closed, recovery.problems) == ([uid], [], [])
    assert log.with_name(f"{log.name}.damaged").read_bytes() == data
    after = list(read_log(layout.find_log(uid)))
    assert [name for name, _ in after] == [name for name, _ in before]
    assert [doc["data"] for name, doc in after if name == "event"] == [{"signal": n} for n in range(3)]
    assert (after[0], after[-1]) == (before[0], before[-1])
    run = store.open()[uid]
    assert run.stop["exit_status"] == "success"
    assert run["primary"]["signal"].read().tolist() == [0, 1, 2]
    assert recover(tmp_path) == Recovery()


def zeroed_chunk(layout, uid, _place):
    (chunk,) = layout.arrays_of("raw", uid).rglob("c/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")


def lost_chunk(layout, uid, _place):
    (chunk,) = layout.arrays_of("raw", uid).rglob("c/0/0")
    chunk.unlink()  # a part that is missing reads as zeros


def changed_row(layout, _uid, place):
    change_rows(layout, "time = time + 1e-6", f"place = {place} AND seq_num = 2")


def change_rows(layout, change, where):
    """Change the one table of a catalogue in another process: in this one, two copies of SQLite must not open it."""
    program = "import sqlite3, sys; tables = sqlite3.connect(sys.argv[1]); "
    program += """((table,),) = tables.execute("SELECT name FROM sqlite_master WHERE name LIKE 'table_%'"); """
    program += f"""print(tables.execute(f"UPDATE '{{table}}' SET {change} WHERE {where}").rowcount); tables.commit()"""
    command = [sys.executable, "-c", program, layout.catalogue_tables]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


def changed_description(layout, uid, _place):
    with closing(sqlite3.connect(layout.catalogue_database)) as database, database:
        change = "UPDATE nodes SET metadata = replace(metadata, 'detector', 'detectar') WHERE key = 'primary'"
        run = "parent = (SELECT id FROM nodes WHERE key = ?)"
        assert database.execute(f"{change} AND {run}", (uid,)).rowcount == 1


def lost_checksums(layout, uid, _place):
    zeroed_chunk(layout, uid, _place)
    layout.checksums(uid).unlink()


def cut_checksums(layout, uid, _place):
    layout.checksums(uid).write_text('{"arrays": {')


def nested_checksums(layout, uid, _place):
    layout.checksums(uid).write_text("[" * 200_000)


def blocked_checksums(layout, uid, _place):
    layout.checksums(uid).unlink()
    layout.checksums(uid).mkdir()


def row_that_is_no_text(layout, _uid, place):
    change_rows(layout, "time = CAST(x'ff80' AS TEXT)", f"place = {place} AND seq_num = 2")


def moved_stream(layout, uid, _place):
    with closing(sqlite3.connect(layout.catalogue_database)) as database, database:
        run = "parent = (SELECT id FROM nodes WHERE key = ?)"
        change = "UPDATE nodes SET parent = (SELECT id FROM nodes WHERE key = 'derived' AND parent = 0)"
        assert database.execute(f"{change} WHERE key = 'primary' AND {run}", (uid,)).rowcount == 1


DAMAGE = [
    *(zeroed_chunk, lost_chunk, changed_row, row_that_is_no_text, changed_description, moved_stream),
    *(lost_checksums, cut_checksums, nested_checksums, blocked_checksums),
]


@pytest.mark.parametrize("readable", [True, False])
def test_a_run_without_a_log_is_restored_or_named_before_its_catalogue_is_made_anew(store, readable):
    keys = {"line": {"dtype": "array", "shape": [5], "dtype_numpy": "<f8"}}
    good, other = (store.measure(bp.count([Values("detector", keys, [{"line": np.arange(5.0)}])])) for _ in range(2))
    assert store.ingest() == {}
    layout = Layout(store.data_dir)
    layout.find_log(good).unlink()
    if readable:
        shutil.rmtree(layout.arrays_of("raw", other) / "primary" / "line")
    else:
        layout.catalogue_format.write_text("{")
    recovery = recover(store.data_dir)
    assert recovery.catalogue
    assert recovery.restored == ([good] if readable else [])
    assert recovery.problems == (
        [] if readable else [f"run {good}: its log is gone, and cannot be made of the catalogue; keep the one before"]
    )
    assert sorted(store.open()) == sorted([good, other] if readable else [other])


@pytest.mark.parametrize("key", [b"\0\xff", "x" * 400])
def test_a_catalogue_with_a_run_whose_name_is_no_uid_is_made_anew(store, key):
    uid = store.measure(bp.count([number([1.0])]))
    assert store.ingest() == {}
    layout = Layout(store.data_dir)
    with closing(sqlite3.connect(layout.catalogue_database)) as database, database:
        database.execute("UPDATE nodes SET key = ? WHERE key = ?", (key, uid))
    recovery = recover(store.data_dir)
    assert "which is no uid" in recovery.catalogue
    assert recovery.problems == []
    assert list(store.open()) == [uid]


def test_a_run_that_the_catalogue_does_not_have_gets_no_checksums(store):
    assert store.ingest() == {}
    layout = Layout(store.data_dir)
    with pytest.raises(CatalogueError, match="does not have run abc"):
        write_checksums(layout, "abc")
    assert not layout.checksums("abc").exists()


def test_a_catalogue_whose_description_of_its_tables_is_no_json_is_made_anew(store):
    uids = [store.measure(bp.count([number([n])])) for n in range(2)]
    assert store.ingest() == {}
    layout = Layout(store.data_dir)
    with closing(sqlite3.connect(layout.catalogue_database)) as database, database:
        database.execute("UPDATE data_sources SET parameters = '{x'")
    log = layout.find_log(uids[0])
    data = bytearray(log.read_bytes())
    data[-60] ^= 1  # a log that has to be restored, too, which this catalogue cannot
    log.write_bytes(data)
    recovery = recover(store.data_dir)
    assert layout.catalogue_database.name in recovery.catalogue
    assert recovery.restored == []
    assert any(str(log) in problem for problem in recovery.problems)
    assert sorted(store.open()) == sorted(uids)


def test_a_log_that_cannot_be_written_again_for_lack_of_space_stays_as_it_is(store, monkeypatch):
    uid = store.measure(bp.count([number([0.0, 1.0])], num=2))
    assert store.ingest() == {}
    log = Layout(store.data_dir).find_log(uid)
    data = bytearray(log.read_bytes())
    data[-60] ^= 1
    log.write_bytes(data)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert Restorer(store.data_dir)(log) is False
    assert log.read_bytes() == data
    assert sorted(path.name for path in log.parent.iterdir()) == [log.name]


def test_a_run_that_was_changed_in_the_catalogue_is_found_and_made_anew(store):
    lines = np.arange(20.0).reshape(4, 5)
    keys = {"line": {"dtype": "array", "shape": [5], "dtype_numpy": "<f8"}, "place": {"dtype": "integer"}}
    uids = []
    for place in range(len(DAMAGE) + 1):
        values = [{"line": line, "place": place} for line in lines]
        uids.append(store.measure(bp.count([Values("detector", keys, values)], 4)))
    assert store.ingest() == {}
    layout = Layout(store.data_dir)
    assert unsound_runs(layout) == set()
    for place, (damage, uid) in enumerate(zip(DAMAGE, uids, strict=False)):
        damage(layout, uid, place)
        assert uid in unsound_runs(layout)

    recovery = recover(store.data_dir)

    assert recovery.remade == sorted(uids[: len(DAMAGE)])
    assert (recovery.ingested, recovery.problems, recovery.catalogue) == (len(DAMAGE), [], "")
    catalogue = store.open()
    for uid in uids:
        np.testing.assert_array_equal(catalogue[uid]["primary"]["line"].read(), lines)
    assert recover(store.data_dir).remade == []


def test_a_log_is_not_written_again_from_a_copy_that_differs_from_what_it_still_has(tmp_path, store):
    uid = store.measure(bp.count([number([0.0, 1.0, 2.0])], num=3))
    assert store.ingest() == {}
    layout = Layout(tmp_path)
    log = layout.find_log(uid)
    data = bytearray(log.read_bytes())
    with LogReader(log) as reader:
        reader.skip_to(3)  # the second event
        data[reader.end + 40] ^= 1
    log.write_bytes(data)
    change_rows(layout, "signal = 99.0", "signal = 2.0")
    write_checksums(layout, uid)  # as if it had been written so
    recovery = recover(tmp_path)
    assert recovery.restored == []
    (problem,) = recovery.problems
    assert problem.startswith(f"{log}: ")
    assert log.read_bytes() == data


def test_a_log_that_is_gone_is_written_again_from_the_catalogue_or_named_and_the_catalogue_is_kept(tmp_path, store):
    keys = {"line": {"dtype": "array", "shape": [5], "dtype_numpy": "<f8"}}
    layout = Layout(tmp_path)
    good, bad = (store.measure(bp.count([Values("detector", keys, [{"line": np.arange(5.0)}])])) for _ in range(2))
    assert store.ingest() == {}
    before = list(read_log(layout.find_log(good)))
    for uid in (good, bad):
        layout.find_log(uid).unlink()
    (chunk,) = (layout.catalogue_arrays / "raw" / bad).rglob("c/0/0")
    chunk.unlink()
    gone = f"run {bad}: its log is gone, and cannot be made of the catalogue"
    recovery = recover(tmp_path)
    assert (recovery.restored, recovery.problems) == ([good], [gone])
    after = list(read_log(layout.find_log(good)))
    assert [name for name, _ in after] == [name for name, _ in before]
    np.testing.assert_array_equal(store.open()[good]["primary"]["line"].read(), [np.arange(5.0)])
    recovery = recover(tmp_path, rebuild=True)
    assert recovery.problems == [gone, f"{layout.catalogue}: is not made anew, as it alone has these runs"]
    assert recovery.catalogue == ""
    assert bad in store.open()


def test_a_document_that_is_lost_is_not_said_to_be_restored_from_a_catalogue_that_never_had_it(tmp_path):
    with closing(Recorder(tmp_path)) as recorder:
        run = event_model.compose_run()
        recorder("start", run.start_doc)
        stream = run.compose_descriptor(
            name="primary", data_keys={"signal": {"dtype": "number", "shape": [], "source": "soft"}}
        )
        recorder("descriptor", stream.descriptor_doc)
        for n in range(3):
            recorder("event", stream.compose_event(data={"signal": float(n)}, timestamps={"signal": 0.0}))
    log = Layout(tmp_path).log(run.start_doc["uid"])
    data = bytearray(log.read_bytes())
    with LogReader(log) as reader:
        reader.skip_to(3)  # the second event
        data[reader.end + 40] ^= 1
    log.write_bytes(data)
    assert len(recover(tmp_path).problems) == 1
    again = recover(tmp_path)
    assert (again.restored, len(again.problems)) == ([], 1)


def test_a_catalogue_whose_links_to_frames_are_damaged_is_made_anew_and_frames_that_are_gone_are_named(tmp_path, store):
    camera, layout = Camera("ccd", tmp_path / "frames"), Layout(tmp_path)

    def discarding(detectors):
        yield from bps.trigger(camera, wait=True)  # an exposure that no event refers to
        yield from bps.trigger_and_read(detectors)

    store.measure(bp.count([camera], num=2, per_shot=discarding))
    assert store.ingest() == {}
    assert recover(tmp_path) == Recovery()
    (link,) = layout.frame_links.iterdir()
    for damage, said in [
        (lambda: link.write_bytes(b"tea"), f"{link}: cannot be read: "),
        (link.unlink, f"{link}: missing, though the catalogue refers to it; the one before is kept as"),
    ]:
        damage()
        recovery = recover(tmp_path)
        assert (recovery.ingested, recovery.problems) == (1, [])
        assert recovery.catalogue.startswith(said)
        assert store.open()[-1]["primary"]["ccd"].read()[:, 0, 0].tolist() == [1, 3]
    camera.path.unlink()
    assert recover(tmp_path) == Recovery(problems=[f"{camera.path}: missing, though runs refer to it"])


@pytest.mark.parametrize("change", ["'{' || char(4) || '}'", "replace(structure, '3', '2')", "CAST(x'7bff7d' AS TEXT)"])
def test_a_catalogue_whose_structures_are_changed_is_made_anew_since_runs_that_are_written_again_share_them(
    tmp_path, store, change
):
    uid = store.measure(bp.count([number(range(3))], num=3))
    assert store.ingest() == {}
    database = Layout(tmp_path).catalogue_database
    with closing(sqlite3.connect(database)) as changed, changed:
        changed.execute(f"UPDATE structures SET structure = {change} WHERE structure LIKE '%3%'")
    recovery = recover(tmp_path)
    assert (recovery.ingested, recovery.problems) == (1, [])
    assert recovery.catalogue.startswith(f"{database}: ")
    assert store.open()[uid]["primary"]["signal"].read().tolist() == [0, 1, 2]


def test_a_catalogue_that_is_locked_or_cannot_be_moved_is_named_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("beamline.storage.catalogue.sqlite.LOCK_TIMEOUT", 0.1)
    layout = Layout(tmp_path)
    create_catalogue(tmp_path)
    with closing(sqlite3.connect(layout.catalogue_database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert recover(tmp_path) == Recovery(problems=[f"{layout.catalogue_database}: database is locked"])

    def busy(path, _target):  # as a folder is on which another one is mounted, which only root can do
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    monkeypatch.setattr(Path, "rename", busy)
    assert recover(tmp_path, rebuild=True) == Recovery(problems=[f"{layout.catalogue}: Device or resource busy"])


def test_another_process_that_fills_the_catalogue_slowly_is_waited_for_as_long_as_it_makes_progress(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(recovery_module, "time", clock)
    layout, uids = Layout(tmp_path), set()
    layout.logs.mkdir()
    for uid in ("a", "b"):
        layout.log(uid).write_text("")
        uids.add(uid)
    patience = recovery_module._Patience(layout, uids, for_lock=False)  # noqa: SLF001 - it takes half a minute
    clock.now = 29.0
    assert patience()
    layout.log("a").unlink()  # it has been ingested
    assert patience()
    clock.now = 58.0
    assert patience()
    report(tmp_path, INGEST, cpu=5.0)  # it has begun with the other, of which nothing is seen yet
    clock.now = 60.0
    assert patience()
    clock.now = 89.0
    assert patience()
    clock.now = 91.0
    assert not patience()


@pytest.mark.parametrize("other_does", ["end", "ingest and end", "nothing"])
def test_where_another_process_fills_the_catalogue_it_is_waited_for_or_named(tmp_path, store, monkeypatch, other_does):
    monkeypatch.setattr(recovery_module, "LOCK_TIMEOUT", 1.0)
    layout, uid = Layout(tmp_path), store.measure(bp.count([number(range(3))], num=3))
    done, held = threading.Event(), threading.Event()

    def other():
        with ingest_lock(tmp_path, keep_waiting=lambda: False) as got_it:
            assert got_it
            held.set()
            done.wait()
            if other_does == "ingest and end":
                layout.log(uid).rename(tmp_path / "ingested")

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    if other_does != "nothing":
        threading.Timer(0.3, done.set).start()
    recovery = recover(tmp_path)
    done.set()
    thread.join()
    if other_does != "nothing":
        assert (recovery.ingested, recovery.problems) == (1, [])
    else:
        assert recovery.ingested == 0
        assert recovery.problems == [
            f"{tmp_path}/ingest.lock: another process holds the catalogue and makes no progress; end it and repeat"
        ]
