"""Documents become tables as far as they can, and those that do not fit together are refused by name."""

from contextlib import closing

import event_model
import numpy as np
import pytest

from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from beamline.storage.log import FORMAT, pack
from beamline.storage.recorder import Recorder
from beamline.storage.results import DocumentsError, Run, Table, collect, differences
from beamline.storage.runs import Runs

KEY = {"dtype": "number", "shape": [], "source": ""}


def compose(values, **metadata):
    """The documents of a run with one event a value."""
    run = event_model.compose_run(time=1.0, metadata=metadata)
    stream = run.compose_descriptor(name="primary", data_keys={"x": KEY})
    events = [
        ("event", {**stream.compose_event(data={"x": 0}, timestamps={"x": 0.0}, time=1.0), "data": {"x": value}})
        for value in values
    ]
    return [("start", run.start_doc), ("descriptor", stream.descriptor_doc), *events, ("stop", run.compose_stop())]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([[1, 2], [3]], [[1, 2], [3, np.nan]]),
        ([[1.5], [], [2, 3]], [[1.5, np.nan], [np.nan, np.nan], [2, 3]]),
        ([["a", "bc"], ["def"]], [["a", "bc"], ["def", ""]]),
        ([["a"], [1, 2]], [["a", ""], ["1", "2"]]),
    ],
)
def test_shorter_lines_are_padded_with_what_is_no_value(values, column):
    found = collect(compose(values)).streams["primary"]["x"]
    np.testing.assert_array_equal(found, np.array(column))


@pytest.mark.parametrize(
    "values", [[np.ones((2, 3)), np.zeros((2, 4))], [np.ones((2, 3)), np.ones((3, 2))], [1.0, [1.0, 2.0]]]
)
def test_values_that_differ_in_more_than_their_length_stay_as_they_are(values):
    found = collect(compose(values)).streams["primary"]["x"]
    assert (found.dtype, len(found)) == (object, len(values))
    for one, other in zip(found, values, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_runs_differ_where_one_has_what_the_other_has_not():
    def run(**streams):
        tables = {name: Table(columns, {}, np.zeros(1), {}, {}) for name, columns in streams.items()}
        return Run({"uid": "a"}, streams=tables)

    one = run(result={"a": np.array([1.0, np.nan]), "b": np.array(["x"])}, frames={})
    assert differences(one, one) == []
    other = run(result={"a": np.array([1.0, 2.0]), "c": np.array(["x"])}, quality={})
    assert differences(one, other) == [
        "frames: only in one of the two",
        "quality: only in one of the two",
        "result.a",
        "result.b: only in one of the two",
        "result.c: only in one of the two",
    ]


def test_documents_without_a_start_are_no_run():
    with pytest.raises(DocumentsError, match=r"^there is no start document$"):
        collect(compose([1])[1:])


DERIVATION = {"raw_uids": ["raw"], "pipeline": "xas", "settings": {}, "software": {}}
FOREIGN = {  # document, fields that another program left out or wrote otherwise; what is said
    "no descriptor": ("event", {"descriptor": None}, "descriptor of a document 'event' is None, expected str"),
    "no time": ("event", {"time": "noon"}, "time of a document 'event' is 'noon', expected real"),
    "no number": ("event", {"seq_num": None}, "seq_num of a document 'event' is None, expected real"),
    "no data": ("event", {"data": [1]}, "data of a document 'event' is [1], expected dict"),
    "no value": ("event", {"data": {}}, "event 1 has no 'x', which its descriptor declares"),
    "ragged": ("event", {"data": {"x": [[1], [2, 3]]}}, "'x' of stream 'primary' is no array: "),
    "no name": ("descriptor", {"name": 7}, "name of a document 'descriptor' is 7, expected str"),
    "no data keys": ("descriptor", {"data_keys": []}, "data_keys of a document 'descriptor' is [], expected dict"),
    "no data key": ("descriptor", {"data_keys": {"x": 1}}, "data_keys.x of a document 'descriptor' is 1, expected"),
    "no configuration": (
        "descriptor", {"configuration": []}, "configuration of a document 'descriptor' is [], expected dict"
    ),
    "no device": (
        "descriptor", {"configuration": {"det": {}}},
        "configuration.det.data of a document 'descriptor' is None, expected dict",
    ),
    "no derivation": ("start", {"derivation": {"raw_uids": ["raw"]}}, "validation error"),
    "no uids": ("start", {"derivation": "tea"}, "validation error"),
    "page": ("event_page", {"descriptor": "a"}, "a document 'event_page' cannot be unpacked: KeyError"),
    "resource": (
        "stream_resource", {"uid": "a", "data_key": "x", "parameters": {}},
        "uri of a document 'stream_resource' is None, expected str",
    ),
    "datum": (
        "stream_datum", {"stream_resource": "a", "descriptor": "b", "seq_nums": {}, "indices": {}},
        "seq_nums.start of a document 'stream_datum' is None, expected real",
    ),
}  # fmt: skip


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_run_that_does_not_fit_together_is_refused_by_name_and_costs_no_other(tmp_path, foreign):
    name, change, message = FOREIGN[foreign]
    documents = compose([1], **({"derivation": DERIVATION} if name in ("stream_resource", "stream_datum") else {}))
    if name in dict(documents):
        documents = [(kind, {**doc, **change} if kind == name else doc) for kind, doc in documents]
    else:
        documents.insert(2, (name, change))
    good = compose([1])
    write(tmp_path, documents, good)
    runs = Runs(tmp_path)
    loaded = {entry.uid: entry for entry in runs.entries()}
    assert runs.load(loaded[good[0][1]["uid"]]).streams["primary"]["x"].tolist() == [1]
    uid = documents[0][1]["uid"]
    with pytest.raises(BeamlineError) as caught:
        runs.load(loaded[uid])
    assert str(caught.value).startswith(f"run {uid}: its documents do not fit together: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    newest, found = runs.find("-1"), [entry.uid for entry in runs.raw()]
    assert newest.uid == found[-1]
    with pytest.raises(BeamlineError, match=f"^run -3: there are only {len(found)} runs in {tmp_path}$"):
        runs.find("-3")


def write(data_dir, *runs):
    """Write logs as another program may: whatever the documents are."""
    Layout(data_dir).logs.mkdir(exist_ok=True)
    for documents in runs:
        log = Layout(data_dir).log(documents[0][1]["uid"])
        log.write_bytes(FORMAT + b"".join(pack(*document) for document in documents))


def test_a_mistake_of_ours_is_not_taken_for_a_damaged_run(tmp_path, monkeypatch):
    write(tmp_path, compose([1]))
    (entry,) = Runs(tmp_path).entries()

    def mistaken(_):
        raise KeyError("a mistake")

    monkeypatch.setattr("beamline.storage.runs.collect", mistaken)
    with pytest.raises(KeyError, match="a mistake"):
        Runs(tmp_path).load(entry)


def test_a_run_that_is_being_written_is_read_as_far_as_it_is(tmp_path):
    documents = compose([1, 2])
    with closing(Recorder(tmp_path)) as recorder:
        for document in documents[:3]:
            recorder(*document)
        path = Layout(tmp_path).log(documents[0][1]["uid"])
        with path.open("ab") as torn:
            torn.write(b"half of an event")
        run = Runs(tmp_path).load(Runs(tmp_path).find("-1"))
        assert (run.streams["primary"]["x"].tolist(), run.stop, run.problems) == ([1], None, [])
    with pytest.raises(BeamlineError, match=f"^run {run.uid} has not been reduced$"):
        Runs(tmp_path).derived_uid(run.uid)
