"""The documents that are replayed, from the catalogue or from the log, are those that were measured."""

import math
import shutil

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import event_model
import numpy as np
import pytest
from soft import Camera, Kept, Motor, Values, as_logged

from beamline.storage.catalogue.documents import ReplayError, documents, logged_documents
from beamline.storage.catalogue.find import derived_runs
from beamline.storage.frames import link_frames, linked_frames
from beamline.storage.large_arrays import externalise, internalise
from beamline.storage.layout import Layout
from beamline.storage.log import FORMAT, find_log, pack, read_log
from callbacks.external import ExternalFrames, FrameReadError

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:The data type \\(FixedLengthUTF32"),
]  # of arrays of strings, by Zarr

NUMBERS = [math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2.0**53 + 2, 1e20, -1.0]
TIFF = "multipart/related;type=image/tiff"
KEYS = {
    "number": {"dtype": "number", "units": "counts"},
    "whole": {"dtype": "integer"},
    "truth": {"dtype": "boolean"},
    "text": {"dtype": "string"},
    "line": {"dtype": "array", "shape": [9], "dtype_numpy": "<f8"},
    "few": {"dtype": "array", "shape": [2], "dtype_numpy": "<f4"},
    "pixels": {"dtype": "array", "shape": [2, 3], "dtype_numpy": "<u2"},
    "mask": {"dtype": "array", "shape": [2], "dtype_numpy": "|b1"},
    "names": {"dtype": "array", "shape": [2], "dtype_numpy": "<U8"},
    "nothing": {"dtype": "array", "shape": [0], "dtype_numpy": "<i8"},
    "no_names": {"dtype": "array", "shape": [0], "dtype_numpy": "<U1"},
}


def readings():
    for n, value in enumerate(NUMBERS):
        yield {
            "number": value,
            "whole": [0, 1, -5, 2**62, 7][n % 5],
            "truth": bool(n % 2),
            "text": ["", "é", "nan", "a; b", "None"][n % 5],
            "line": np.roll(NUMBERS, n),
            "few": np.array([value, 1.0], dtype="<f4") if abs(value) < 1e30 else np.zeros(2, "<f4"),
            "pixels": np.full((2, 3), n, "<u2"),
            "mask": np.array([True, bool(n % 2)]),
            "names": np.array(["", f"frame é{n}"]),
            "nothing": np.empty(0, "<i8"),
            "no_names": np.empty(0, "<U1"),
        }


def events_of(docs):
    """The events with the names of their streams, and without what differs between live and replay."""
    streams = {doc["uid"]: doc["name"] for name, doc in docs if name == "descriptor"}
    for name, doc in docs:
        if name == "event":
            yield streams[doc["descriptor"]], doc["descriptor"], doc["seq_num"], doc["time"], doc["data"]


def assert_same_events(live, replayed, external=()):
    live, replayed = list(events_of(live)), list(events_of(replayed))
    assert [event[:4] for event in live] == [event[:4] for event in replayed]
    for (*_, one), (*_, other) in zip(live, replayed, strict=True):
        assert one.keys() - set(external) == other.keys()
        for key, value in other.items():
            assert type(value) is type(one[key]), key
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape) == (one[key].dtype, one[key].shape), key
                assert value.tobytes() == one[key].tobytes(), key
            else:
                assert value == one[key] or (math.isnan(value) and math.isnan(one[key])), key


@pytest.fixture
def measured(store):
    """A run with every kind of value, and its documents as they were emitted."""
    kept = Kept()
    store.engine.subscribe(kept)
    configuration = {"gain": math.nan, "limit": math.inf, "flux": 1e20, "offset": 0.1}
    detector = Values("det", KEYS, readings(), configuration)
    settings = {"window": [-math.inf, math.inf], "noise": math.nan, "count": 2**60, "none": None, "name": "x"}
    settings |= {"gains": np.array([1.5, math.nan]), "largest": np.int64(2**62)}

    @bpp.run_decorator(md={"settings": settings, "scan_id": 7})
    def plan():
        for n in range(len(NUMBERS)):
            if n == 4:
                yield from bps.configure(detector, {"gain": 2.5})
            yield from bps.trigger_and_read([detector])

    uid = store.measure(plan())
    store.ingest()
    return store, uid, kept.documents


def test_every_value_comes_back_from_the_catalogue_bit_for_bit(measured):
    store, uid, live = measured
    replayed = list(documents(store.open()[uid]))
    assert_same_events(live, replayed)


def test_start_stop_and_configuration_come_back_with_what_json_cannot_say(measured):
    store, uid, live = measured
    replayed = list(documents(store.open()[uid]))
    np.testing.assert_equal(replayed[0], as_logged(live[0]))
    np.testing.assert_equal(replayed[-1], as_logged(live[-1]))
    one = [doc["configuration"]["det"]["data"] for name, doc in live if name == "descriptor"]
    other = [doc["configuration"]["det"]["data"] for name, doc in replayed if name == "descriptor"]
    assert len(one) == 2  # the gain was changed between
    np.testing.assert_equal(one, other)


def test_the_log_gives_back_the_very_documents(measured):
    store, uid, live = measured
    np.testing.assert_equal(list(logged_documents(find_log(store.data_dir, uid))), as_logged(live))


def frames_of(docs, keys):
    """The frames that the events of documents refer to, in the order of the events."""
    files, streams, found = ExternalFrames(), {}, []
    for name, doc in docs:
        if name == "descriptor":
            streams[doc["uid"]] = [key for key in keys if key in doc["data_keys"]]
        elif name == "event":
            found += [(doc["seq_num"], files.read(doc, key)[0, 0]) for key in streams[doc["descriptor"]]]
        elif name not in ("start", "stop"):
            getattr(files, name)(doc)
    files.close()
    return found


def test_frames_of_two_cameras_and_streams_come_back_with_their_events_in_the_order_of_time(store):
    kept = Kept()
    store.engine.subscribe(kept)
    ccd, dark = Camera("ccd", store.data_dir / "frames"), Camera("dark_ccd", store.data_dir / "frames")
    energy = Motor("energy")

    @bpp.stage_decorator([ccd, dark])
    @bpp.run_decorator()
    def plan():
        for n in range(6):
            if n in (0, 3):
                yield from bps.trigger_and_read([dark], name="dark")
            yield from bps.mv(energy, float(n))
            if n == 4:
                yield from bps.trigger(ccd, wait=True)  # an exposure thrown away
            yield from bps.trigger_and_read([ccd, energy])

    uid = store.measure(plan())
    store.ingest()
    replayed = list(documents(store.open()[uid]))
    assert_same_events(kept.documents, replayed, external=("ccd", "dark_ccd"))
    expected = frames_of(kept.documents, ("ccd", "dark_ccd"))
    assert expected == [(1, 0), (1, 0), (2, 1), (3, 2), (2, 1), (4, 3), (5, 5), (6, 6)]
    assert frames_of(replayed, ("ccd", "dark_ccd")) == expected
    for name, doc in replayed:
        if name in ("stream_resource", "stream_datum", "event"):
            event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)


def test_what_cannot_be_read_from_the_catalogue_is_said_with_the_run_and_what_does_without_it(store):
    layout = Layout(store.data_dir)
    line = Values("det", {"line": {"dtype": "array", "shape": [3]}}, [{"line": np.ones(3)}])
    uid = store.measure(bp.count([line]))
    run = event_model.compose_run()
    keys = {"x": {"dtype": "array", "shape": [1, 4, 5], "dtype_numpy": "<u2", "source": "", "external": "STREAM:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    images = {
        "uid": "images", "run_start": run.start_doc["uid"], "data_key": "x", "mimetype": TIFF,
        "uri": f"file://localhost{layout.frames}/", "parameters": {"template": "{}.tif", "chunk_shape": [1, 4, 5]},
    }  # fmt: skip
    taken = {
        "uid": "images/0", "stream_resource": "images", "descriptor": stream.descriptor_doc["uid"],
        "indices": {"start": 0, "stop": 2}, "seq_nums": {"start": 1, "stop": 3},
    }  # fmt: skip
    for name, doc in [
        ("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("stream_resource", images),
        ("stream_datum", taken), ("stop", run.compose_stop()),
    ]:  # fmt: skip
        store.recorder(name, doc)
    assert store.ingest() == {}
    catalogue = store.open()
    with pytest.raises(ReplayError) as caught:
        list(documents(catalogue[run.start_doc["uid"]]))
    assert str(caught.value) == (
        f"run {run.start_doc['uid']}, stream primary: x is in 2 files of type {TIFF}, expected one HDF5 file"
    )
    (array,) = layout.catalogue_arrays.glob(f"*/{uid}/primary/line")
    shutil.rmtree(array)
    with pytest.raises(ReplayError) as caught:
        list(documents(catalogue[uid]))
    assert str(caught.value).startswith(f"run {uid} cannot be read from the catalogue: ")
    assert str(caught.value).endswith("; `beamline recover` checks the catalogue, `--source log` does without it")
    assert "\n" not in str(caught.value)


def test_events_whose_frames_are_not_linked_yet_come_without_them(store, tmp_path_factory):
    camera = Camera("ccd", tmp_path_factory.mktemp("elsewhere"))  # frames may be outside the data folder

    def discarding(detectors):
        yield from bps.trigger(camera, wait=True)
        yield from bps.trigger_and_read(detectors)

    uid = store.measure(bp.count([camera], num=3, per_shot=discarding))
    assert store.ingest() == {}
    run = store.open()[uid]
    assert frames_of(documents(run), ("ccd",)) == [(1, 1), (2, 3), (3, 5)]
    (link,) = Layout(store.data_dir).frame_links.iterdir()
    link_frames(link, linked_frames(link)[:2], shape=(4, 16), dtype=np.dtype("<u2"))  # as while it is being measured
    names = [name for name, _ in documents(run)]
    assert (names.count("event"), names.count("stream_datum")) == (3, 2)


@pytest.mark.parametrize(("lost", "left"), [("datum", [1, 3]), ("resource", [])])
def test_a_log_that_lost_where_a_frame_is_costs_the_catalogue_that_frame_only(store, lost, left):
    uid = store.measure(bp.count([Camera("ccd", store.data_dir / "frames")], num=3))
    log = Layout(store.data_dir).log(uid)
    measured = list(read_log(log))
    places = [place for place, (name, _) in enumerate(measured) if name == lost]
    del measured[places[len(places) // 2]]
    log.write_bytes(FORMAT + b"".join(pack(*document) for document in measured))
    assert store.ingest() == {}
    run = store.open()[uid]
    kept, files = {}, ExternalFrames()
    for name, doc in documents(run):
        if name in ("stream_resource", "stream_datum"):
            getattr(files, name)(doc)
        elif name == "event":
            try:
                kept[doc["seq_num"]] = files.read(doc, "ccd")[0, 0]
            except FrameReadError:
                kept[doc["seq_num"]] = None
    files.close()
    shown = run["primary"]["ccd"].read()[:, 0, 0].tolist()
    assert [number for number, value in kept.items() if value is not None] == left
    assert shown == [number - 1 if number in left else 65_535 for number in (1, 2, 3)]


def test_a_dark_frame_comes_before_a_frame_of_the_same_time_and_a_clock_set_back_reorders_nothing(store):
    run = event_model.compose_run()
    key = {"x": {"dtype": "number", "shape": [], "source": ""}}
    streams = {name: run.compose_descriptor(name=name, data_keys=key) for name in ("primary", "dark")}
    emitted = [
        ("dark", 10.0),
        ("primary", 10.0),
        ("primary", 11.0),
        ("primary", 9.0),
        ("dark", 12.0),
        ("primary", 13.0),
    ]
    store.recorder("start", run.start_doc)
    for stream in streams.values():
        store.recorder("descriptor", stream.descriptor_doc)
    for stream, time in emitted:
        doc = streams[stream].compose_event(data={"x": time}, timestamps={"x": time}, time=time)
        store.recorder("event", doc)
    store.recorder("stop", run.compose_stop())
    store.ingest()
    replayed = list(documents(store.open()[run.start_doc["uid"]]))
    assert [event[0] for event in events_of(replayed)] == [stream for stream, _ in emitted]
    assert [event[3] for event in events_of(replayed)] == [time for _, time in emitted]


def test_replay_is_the_same_every_time(measured):
    store, uid, _ = measured
    one, other = (list(documents(store.open()[uid])) for _ in range(2))
    np.testing.assert_equal(one, other)


def test_large_arrays_of_a_derived_run_come_back_from_the_catalogue_bit_for_bit(store):
    run = event_model.compose_run(metadata={"derivation": {"raw_uids": ["x"], "settings": {"threshold": math.nan}}})
    data = {"map": np.resize(NUMBERS, (50, 400)), "axis": np.array(NUMBERS)}
    keys = {
        key: {"dtype": "array", "shape": list(value.shape), "dtype_numpy": "<f8", "source": "reduction", "units": "eV"}
        for key, value in data.items()
    }
    stream = run.compose_descriptor(name="result", data_keys=keys)
    event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 5.0), time=5.0)
    head = [("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    live = [*head, ("stop", run.compose_stop())]
    for name, doc in externalise(live, store.data_dir):
        store.recorder(name, doc)
    store.ingest()
    node = derived_runs(store.open())[-1]
    assert np.array_equal(node["result"]["map"].read()[0], data["map"], equal_nan=True)
    replayed = list(internalise(documents(node)))
    assert [name for name, _ in replayed] == ["start", "descriptor", "event", "stop"]
    assert_same_events(live, replayed)
    assert math.isnan(replayed[0][1]["derivation"]["settings"]["threshold"])
