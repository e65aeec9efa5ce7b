"""Runs get from the recorder's logs into a databroker catalogue."""

import math
import shutil
import sqlite3
import time
from contextlib import closing

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import event_model
import numpy as np
import pytest
from soft import Camera, Motor, Values, number
from store import Store

from beamline.storage.catalogue import condition as condition_module
from beamline.storage.catalogue import ingest as ingest_module
from beamline.storage.catalogue import sqlite as sqlite_module
from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.find import RunNotFoundError, derived_of, derived_runs, resolve_run
from beamline.storage.catalogue.ingest import FLUSH_INTERVAL, Ingester, ingest_lock
from beamline.storage.large_arrays import externalise
from beamline.storage.layout import Layout
from beamline.storage.log import find_log

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:The data type \\(FixedLengthUTF32"),
]  # of arrays of strings, by Zarr


TWINS = ["twins-1", "twins-2"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A catalogue with three raw runs, ingested out of order, and a derived one."""
    data_dir = tmp_path_factory.mktemp("filled")
    store = Store(data_dir)
    detector = Values("det", {"i0": {"dtype": "number"}}, ({"i0": 0.1 * n} for n in range(100)))
    camera = Camera("ccd", store.data_dir / "frames")
    uids = [store.measure(bp.scan([detector, camera], Motor("energy"), 520, 521, 2), sample={"name": "LCO"})]
    uids.append(store.measure(bp.count([detector], num=3)))
    late = find_log(store.data_dir, uids[0])
    late.rename(store.data_dir / "late")
    store.ingest()
    (store.data_dir / "late").rename(late)
    uids.append(store.measure(bp.count([detector], num=4)))
    derived = event_model.compose_run(
        metadata={"derivation": {"raw_uids": [uids[1]], "pipeline": "xas", "settings": {}, "software": {}}}
    )
    data = {"spectrum": np.array([1.0, math.nan]), "status": "ok", "map": np.arange(10_000.0).reshape(100, 100)}
    keys = {
        "spectrum": {"dtype": "array", "shape": [2], "dtype_numpy": "<f8", "source": "reduction"},
        "status": {"dtype": "string", "shape": [], "source": "reduction"},
        "map": {"dtype": "array", "shape": [100, 100], "dtype_numpy": "<f8", "source": "reduction"},
    }
    stream = derived.compose_descriptor(name="result", data_keys=keys)
    event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 5.0), time=5.0)
    docs = [("start", derived.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    for name, doc in externalise([*docs, ("stop", derived.compose_stop())], data_dir):
        store.recorder(name, doc)
    for uid in TWINS:  # reductions of the same run that came to no result
        twin = event_model.compose_run(uid=uid, metadata={"derivation": derived.start_doc["derivation"]})
        store.recorder("start", twin.start_doc)
        store.recorder("stop", twin.compose_stop())
    store.ingest()
    return store.open(), uids, derived.start_doc["uid"]


def test_the_catalogue_of_measured_runs_answers_as_databroker_does(filled):
    catalogue, uids, _ = filled
    assert [run.start["uid"] for run in catalogue.values()] == uids  # by time, not by arrival; no derived run
    assert catalogue[-1].start["uid"] == uids[2]
    assert catalogue[2].start["uid"] == uids[1]  # by scan id
    assert catalogue[uids[0][:8]].start["uid"] == uids[0]
    table = catalogue[uids[0]]["primary"].read()
    assert np.array_equal(table["energy"], [520, 521])
    assert table["ccd"].shape == (2, 4, 16)
    assert np.array_equal(np.asarray(table["ccd"])[:, 0, 0], [0, 1])


def test_the_catalogue_is_searched_as_databroker_is(filled):
    from bluesky_tiled_plugins.queries import TimeRange
    from tiled.queries import Eq

    catalogue, uids, _ = filled
    second = catalogue[uids[1]].start["time"]
    assert [run.start["uid"] for run in catalogue.search(TimeRange(until=second)).values()] == uids[:1]
    assert [run.start["scan_id"] for run in catalogue.search(Eq("plan_name", "count")).values()] == [2, 3]


def test_the_older_databroker_interface_gives_documents_and_tables(filled):
    catalogue, uids, _ = filled
    names = [name for name, _ in catalogue.v1[uids[0]].documents()]
    assert names.count("event") == 2
    assert (names[0], names[-1]) == ("start", "stop")
    table = catalogue.v1[uids[1]].table()
    assert np.allclose(table["i0"], [0.2, 0.3, 0.4], rtol=0, atol=1e-12)
    assert np.allclose(catalogue.v1[-1].table()["i0"], [0.5, 0.6, 0.7, 0.8], rtol=0, atol=1e-12)
    assert next(name for name, _ in catalogue[-1].documents()) == "start"
    assert type(catalogue[-1]).__name__ == "BlueskyRunV3"  # as it was before the older one was asked


def test_a_user_names_a_run_by_uid_prefix_scan_id_or_how_long_ago(filled):
    catalogue, uids, derived = filled
    assert resolve_run(catalogue, "-1").start["uid"] == uids[2]  # the newest raw run, not the derived one
    assert resolve_run(catalogue, "-3").start["uid"] == uids[0]
    assert resolve_run(catalogue, "2").start["uid"] == uids[1]
    assert resolve_run(catalogue, uids[1][:9]).start["uid"] == uids[1]
    assert resolve_run(catalogue, derived).start["uid"] == derived
    assert resolve_run(catalogue, TWINS[0]).start["uid"] == TWINS[0]  # which has no events


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-4", "run -4: the catalogue holds 3 measured runs"),
        ("77", "run 77: no such scan id; the beginning of a uid needs at least 5 characters"),
        ("zzzzz", "run zzzzz: no run of the catalogue has this uid or scan id"),
        ("1234567", "run 1234567: no run of the catalogue has this uid or scan id"),
        ("9" * 400, f"run {'9' * 400}: no run of the catalogue has this uid or scan id"),
        ("twins", "run twins: more than one run has a uid that starts with this"),
        ("%%%%%", "run %%%%%: no run of the catalogue has this uid or scan id"),
        ("../../etc/passwd", "run ../../etc/passwd: no run of the catalogue has this uid or scan id"),
    ],
)
def test_a_name_without_a_run_gets_one_line(filled, name, message):
    with pytest.raises(RunNotFoundError) as caught:
        resolve_run(filled[0], name)
    assert str(caught.value) == message


def test_the_reduction_of_a_run_is_one_call_away_and_ready_to_use(filled):
    catalogue, uids, derived = filled
    reduction = derived_of(catalogue[uids[1]])
    assert reduction.uid == derived
    assert np.array_equal(reduction.result["spectrum"], [1.0, math.nan], equal_nan=True)
    assert reduction.result["status"] == "ok"
    assert np.array_equal(reduction.result["map"], np.arange(10_000.0).reshape(100, 100))
    assert reduction.derivation.raw_uids == [uids[1]]
    with pytest.raises(RunNotFoundError, match=f"^run {uids[0]}: the catalogue has no reduction of it$"):
        derived_of(catalogue[uids[0]])
    assert [run.start["uid"] for run in derived_runs(catalogue).values()] == [derived, *TWINS]
    assert derived_runs(catalogue)[derived]["result"]["map"].read().shape == (1, 100, 100)


def test_the_reduction_is_given_for_a_run_of_the_older_interface_and_refused_for_what_is_no_run(filled):
    catalogue, uids, derived = filled
    assert derived_of(catalogue.v1[uids[1]]).uid == derived
    for other in (3, uids[1], None, catalogue, catalogue.v1):
        with pytest.raises(TypeError, match=r"is no run; expected one of the catalogue, such as cat\[-1\]") as error:
            derived_of(other)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("discarded", "frames"), [((2, 3), [0, 1, 3, 5, 6]), ((0,), [1, 2, 3, 4, 5])])
def test_a_frame_taken_twice_leaves_each_event_with_its_own_frame(tmp_path, store, discarded, frames):
    camera, energy = Camera("ccd", tmp_path / "frames"), Motor("energy")
    detector = number(range(100))

    @bpp.stage_decorator([camera, detector])
    @bpp.run_decorator()
    def plan():
        for step in range(5):
            yield from bps.mv(energy, step)
            if step in discarded:
                yield from bps.trigger(camera, wait=True)  # an exposure that a suspender discarded
            yield from bps.trigger_and_read([camera, detector, energy])

    store.measure(plan())
    store.ingest()
    found = store.open()[-1]["primary"]["ccd"].read()
    assert found.dtype == np.uint16
    assert found[:, 0, 0].tolist() == frames


def test_frames_in_a_second_file_of_one_run_follow_those_in_the_first(tmp_path, store):
    camera = Camera("ccd", tmp_path / "frames")

    @bpp.run_decorator()
    def plan():
        for shots in (2, 3):
            yield from bps.stage(camera)
            for _ in range(shots):
                yield from bps.trigger_and_read([camera])
            yield from bps.unstage(camera)

    store.measure(plan())
    store.ingest()
    assert store.open()[-1]["primary"]["ccd"].read()[:, 0, 0].tolist() == [0, 1, 0, 1, 2]


def test_frames_of_an_area_detector_that_counts_its_one_image_are_read(tmp_path, store):
    store.measure(bp.count([Camera("ccd", tmp_path / "frames", frame_axis=True)], num=3))
    store.ingest()
    frames = store.open()[-1]["primary"]["ccd"].read()
    assert frames.shape == (3, 4, 16)
    assert frames[:, 0, 0].tolist() == [0, 1, 2]


MISDESCRIBED = {
    "a_soft_signal_that_began_with_a_whole_number": ({"dtype": "integer"}, [1, 2, 2.5]),
    "integers_with_a_gap": ({"dtype": "integer"}, [1, None, 3]),
    "numbers_with_a_gap": ({"dtype": "number"}, [1, 2.5, None]),
    "truth_with_a_gap": ({"dtype": "boolean"}, [True, None, False]),
    "whole_numbers_to_begin_with": (
        {"dtype": "array", "shape": [2], "dtype_numpy": "<i8"},
        [np.array([1, 2]), np.array([1.5, np.nan]), np.array([1.0, 1.0])],
    ),
    "longer_and_longer": (
        {"dtype": "array", "shape": [2], "dtype_numpy": "<U1"},
        [np.array(["a", "b"]), np.array(["a", "longer"]), np.array(["", "longest of all"])],
    ),
    "another_shape": ({"dtype": "array", "shape": [1]}, [np.arange(2.0), np.arange(2.0), np.arange(2.0)]),
    "lists_of_no_said_type": ({"dtype": "array", "shape": [3]}, [[1, 2, 3], [4.5, 5, 6], [7, 8, 9]]),
}


def test_a_wrong_descriptor_does_not_change_or_lose_a_value(store):
    keys = {key: data_key for key, (data_key, _) in MISDESCRIBED.items()}
    readings = [{key: values[n] for key, (_, values) in MISDESCRIBED.items()} for n in range(3)]
    store.measure(bp.count([Values("det", keys, readings)], num=3))
    assert store.ingest() == {}
    stream = store.open()[-1]["primary"]
    for key, (_, values) in MISDESCRIBED.items():
        expected = np.array([math.nan if value is None else value for value in values])
        np.testing.assert_array_equal(np.asarray(stream[key].read()), expected, err_msg=key)


def test_a_run_that_the_catalogue_cannot_hold_is_kept_out_with_the_reason_and_the_others_go_in(tmp_path, store):
    keys = {"x": {"dtype": "array", "shape": [2]}}
    ragged = Values("det", keys, ({"x": np.ones(size)} for size in (2, 3, 4)))
    bad = store.measure(bp.count([ragged], num=3))
    good = store.measure(bp.count([number(range(3))], num=3))
    errors = store.ingest(retry_delays=[0.0] * 1000)
    assert list(errors) == [bad]
    assert errors[bad].startswith(f"{condition_module.REFUSED}: IngestError: x of stream primary changes its shape")
    assert [path.stem for path in Layout(tmp_path).pending_logs()] == [bad]
    assert store.open()[good].stop["num_events"] == {"primary": 3}


def test_a_document_that_breaks_the_schema_is_refused_at_once_and_keeps_no_process_waiting(tmp_path, store):
    run = event_model.compose_run()
    wrong = {"x": {"dtype": "number", "shape": [], "source": "here", "external": "lower case"}}
    descriptor = run.compose_descriptor(name="primary", data_keys=wrong, validate=False).descriptor_doc
    for name, doc in (("start", run.start_doc), ("descriptor", descriptor), ("stop", run.compose_stop())):
        store.recorder(name, doc)
    with closing(Ingester(tmp_path)) as ingester:
        while ingester.advance():
            pass
        (status,) = ingester.status()
        assert (status["given_up"], status["failures"]) == (True, 1)
        assert status["error"].startswith(f"{condition_module.REFUSED}: ValidationError: 'lower case'")
        assert not ingester.unfinished()


def test_a_run_being_measured_is_in_the_catalogue_and_grows(tmp_path, store):
    camera = Camera("ccd", tmp_path / "frames")
    seen = []
    ingester = Ingester(tmp_path)

    def look():
        deadline = time.monotonic() + 2 * FLUSH_INTERVAL
        while time.monotonic() < deadline:
            ingester.advance()
        run = store.open()[-1]
        stream = run["primary"]
        seen.append((len(stream.read()["i0"]), stream["ccd"].read()[:, 0, 0].tolist(), "stop" in run.metadata))
        yield from bps.null()

    detector = Values("det", {"i0": {"dtype": "number"}}, ({"i0": n} for n in range(100)))

    @bpp.stage_decorator([camera, detector])
    @bpp.run_decorator()
    def plan():
        for shots in (2, 3, 2):
            for _ in range(shots):
                yield from bps.trigger_and_read([camera, detector])
            yield from bps.trigger(camera, wait=True)  # frames are ahead of events
            yield from look()

    with closing(ingester):
        store.measure(plan())
    assert seen == [
        (2, [0, 1], False),
        (5, [0, 1, 3, 4, 5], False),  # frame 2 was discarded
        (7, [0, 1, 3, 4, 5, 7, 8], False),
    ]


def test_long_runs_take_turns(tmp_path, store, monkeypatch):
    monkeypatch.setattr(ingest_module, "BATCH_DOCUMENTS", 4)
    uids = [store.measure(bp.count([number(range(5))], num=5)) for _ in range(2)]
    with closing(Ingester(tmp_path)) as ingester:
        for documents in (4, 8):  # of those, "start", "descriptor", and events; the last batch has the stop document
            taken_in = {run["uid"]: run["documents"] for run in ingester.status()}
            assert taken_in == {uid: documents - 4 for uid in uids if documents > 4}
            assert ingester.advance()
        assert ingester.ingested == 2
    assert [run["primary"]["signal"].read().tolist() for run in store.open().values()] == [[0, 1, 2, 3, 4]] * 2


def test_what_is_recorded_meanwhile_does_not_wait_for_all_that_is_left(tmp_path, store, monkeypatch):
    monkeypatch.setattr(ingest_module, "BATCH_DOCUMENTS", 4)
    long = [store.measure(bp.count([number(range(5))], num=5)) for _ in range(2)]
    taken, late, take = [], [], ingest_module.LogReader.read

    def recording(reader):
        if reader.number == 2:  # of a batch: to find a log its first document is read
            taken.append(reader.path.stem)
            if not late:
                late.append(store.measure(bp.count([number(range(5))], num=5)))
        return take(reader)

    with closing(Ingester(tmp_path)) as ingester:
        monkeypatch.setattr(ingest_module.LogReader, "read", recording)
        assert ingester.advance()
        assert ingester.ingested == 1
    assert taken == [long[0], *late, long[1]]


def test_a_catalogue_that_goes_away_ends_the_ingestion_and_one_that_is_locked_does_not(
    tmp_path, store, monkeypatch, caplog
):
    monkeypatch.setattr(sqlite_module, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(ingest_module, "CHECK_INTERVAL", 0.0)
    layout = Layout(tmp_path)
    uid = store.measure(bp.count([number([1])]))
    with closing(Ingester(tmp_path)) as ingester:
        with closing(sqlite3.connect(layout.catalogue_database)) as other:
            other.execute("BEGIN EXCLUSIVE")
            ingester.check()
        assert caplog.messages == [f"{layout.catalogue_database}: database is locked"]
        layout.catalogue.rename(tmp_path / "elsewhere")
        for attempt in (ingester.check, ingester.advance):
            with pytest.raises(
                DamagedCatalogueError, match=f"^{layout.catalogue}: missing; `beamline recover` makes it"
            ):
                attempt()
    assert layout.log(uid).exists()


@pytest.mark.parametrize(("made", "reason"), [("mkdir", "Is a directory"), ("symlink", "Too many levels of symbolic")])
def test_a_lock_that_cannot_be_opened_is_named(tmp_path, made, reason):
    lock = Layout(tmp_path).catalogue_lock
    lock.mkdir() if made == "mkdir" else lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CatalogueError, match=f"^{lock}: {reason}"), ingest_lock(tmp_path, keep_waiting=lambda: False):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_an_array_that_a_killed_attempt_left_unlisted_does_not_keep_the_run_out(tmp_path, store):
    layout = Layout(tmp_path)
    uid = store.measure(bp.count([Values("det", {"line": {"dtype": "array", "shape": [3]}}, [{"line": np.ones(3)}])]))
    assert store.ingest() == {}
    (orphan,) = layout.catalogue_arrays.glob(f"*/{uid}")
    kept = shutil.copytree(orphan, tmp_path / "kept")
    store.open()[uid].delete(recursive=True, external_only=False)
    shutil.copytree(kept, orphan, dirs_exist_ok=True)
    layout.find_log(uid).rename(layout.log(uid))
    assert store.ingest() == {}
    assert store.open()[uid]["primary"]["line"].read().tolist() == [[1.0, 1.0, 1.0]]


def test_an_attempt_that_failed_half_way_leaves_no_half_and_the_run_is_ingested_again(tmp_path, store):
    uid = store.measure(bp.count([number(range(50)), Camera("ccd", tmp_path / "frames")], num=50))
    path = find_log(tmp_path, uid)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with closing(Ingester(tmp_path)) as ingester:  # dies in the middle of the run
        while ingester.advance():
            pass
    half = store.open()[uid]
    assert 0 < len(half["primary"]["signal"].read()) < 50
    path.write_bytes(whole)
    assert store.ingest() == {}
    run = store.open()[uid]
    assert run["primary"]["signal"].read().tolist() == list(range(50))
    assert run["primary"]["ccd"].shape == (50, 4, 16)
    assert Layout(tmp_path).all_logs() == [find_log(tmp_path, uid)]
    assert len(store.open()) == 1


def test_a_key_that_two_streams_have_keeps_the_dtype_it_has_in_each(store):
    run = event_model.compose_run()
    documents = [("start", run.start_doc)]
    values = {"images": np.array([0.1, 0.2]), "result": np.array([0.1, 0.2], dtype=np.float32)}
    streams = {}
    for name, value in values.items():
        key = {"dtype": "array", "shape": [2], "dtype_numpy": value.dtype.str, "source": "reduction"}
        streams[name] = run.compose_descriptor(name=name, data_keys={"density": key})
        documents.append(("descriptor", streams[name].descriptor_doc))
        documents.append(("event", streams[name].compose_event(data={"density": value}, timestamps={"density": 5.0})))
    for name, doc in [*documents, ("stop", run.compose_stop())]:
        store.recorder(name, doc)
    assert store.ingest() == {}
    for name, value in values.items():
        found = store.open()[run.start_doc["uid"]][name]["density"].read()
        assert found.dtype == value.dtype
        assert np.array_equal(found[0], value)


@pytest.mark.parametrize("first", ["large", "small"])
def test_a_key_that_two_streams_have_is_external_in_the_one_and_not_in_the_other(store, first):
    run = event_model.compose_run(metadata={"derivation": {"raw_uids": ["x"], "settings": {}}})
    values = {"large": np.arange(120.0 * 120).reshape(120, 120), "small": np.arange(4.0).reshape(1, 4)}
    documents = [("start", run.start_doc)]
    for name in sorted(values, key=lambda each: each != first):
        key = {"dtype": "array", "shape": list(values[name].shape), "dtype_numpy": "<f8", "source": "reduction"}
        stream = run.compose_descriptor(name=name, data_keys={"density": key})
        event = stream.compose_event(data={"density": values[name]}, timestamps={"density": 5.0})
        documents += [("descriptor", stream.descriptor_doc), ("event", event)]
    for name, doc in externalise([*documents, ("stop", run.compose_stop())], store.data_dir):
        store.recorder(name, doc)
    assert store.ingest() == {}
    node = derived_runs(store.open())[-1]
    for name, value in values.items():
        assert np.array_equal(node[name]["density"].read()[0], value)
