"""Large arrays of derived runs go to HDF5 files and come back bit for bit."""

import math

import event_model
import h5py
import numpy as np
import pytest

from beamline.storage.frames import FramesError
from beamline.storage.large_arrays import LARGE, LargeArrays, externalise, internalise
from callbacks.arrays import array_in_file

SPECIAL = np.array([math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0, 0.1])


def derived_run(n_events=3):
    """Documents of a derived run with a small array, a large one, a large mask and a number."""
    run = event_model.compose_run()
    large = np.resize(SPECIAL, (40, 300))
    values = {"map": large, "mask": large > 0.05, "spectrum": SPECIAL, "status": "ok", "names": np.array(["a", "bc"])}
    assert large.nbytes > LARGE
    keys = {
        "map": {"dtype": "array", "shape": [40, 300], "dtype_numpy": "<f8", "units": "photons"},
        "mask": {"dtype": "array", "shape": [400, 300], "dtype_numpy": "|b1", "units": ""},
        "spectrum": {"dtype": "array", "shape": [7], "dtype_numpy": "<f8", "units": ""},
        "names": {"dtype": "array", "shape": [2], "dtype_numpy": "<U20000", "units": ""},
        "status": {"dtype": "string", "shape": [], "units": ""},
    }
    values["mask"] = np.resize(values["mask"], (400, 300))
    stream = run.compose_descriptor(
        name="result", data_keys={key: {"source": "reduction", **data_key} for key, data_key in keys.items()}
    )
    yield "start", run.start_doc
    yield "descriptor", stream.descriptor_doc
    for n in range(n_events):
        data = {**values, "map": np.roll(values["map"], n)}
        yield "event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, float(n)), time=float(n))
    yield "stop", run.compose_stop()


def test_large_arrays_go_to_hdf5_and_come_back_bit_for_bit(tmp_path):
    before = list(derived_run())
    moved = list(externalise(before, tmp_path))
    for name, doc in moved:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    names = [name for name, _ in moved]
    assert names.count("stream_resource") == 2
    assert names.count("stream_datum") == 6
    events = [doc for name, doc in moved if name == "event"]
    assert set(events[0]["data"]) == {"spectrum", "status", "names"}  # a long string is no large array
    uid = before[0][1]["uid"]
    with h5py.File(tmp_path / "derived" / f"{uid}.h5") as file:
        assert file["result/map"].shape == (3, 40, 300)
        assert file["result/map"].attrs["units"] == "photons"
    after = list(internalise(moved))
    assert [name for name, _ in after] == [name for name, _ in before]
    for (_, one), (_, other) in zip(before, after, strict=True):
        np.testing.assert_equal(one, other)
    assert after[2][1]["data"]["map"].tobytes() == before[2][1]["data"]["map"].tobytes()
    assert after[2][1]["data"]["mask"].dtype == np.bool_


@pytest.mark.long
def test_a_bit_that_is_flipped_in_a_file_changes_no_array_silently_and_crashes_nothing(tmp_path):
    moved = list(externalise(derived_run(1), tmp_path))
    (expected,) = (doc["data"] for name, doc in internalise(moved) if name == "event")
    (file,) = (tmp_path / "derived").iterdir()
    whole = file.read_bytes()
    arrays = len(whole) - expected["map"].nbytes - expected["mask"].nbytes
    assert 0 < arrays < 20_000  # what describes them
    rng = np.random.default_rng(1)
    refused = []
    for place in np.sort(np.r_[rng.choice(len(whole), 200), rng.choice(2_000, 200)]):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        try:
            (found,) = (doc["data"] for name, doc in internalise(moved) if name == "event")
        except FramesError as error:
            refused.append(str(error))
        else:
            np.testing.assert_equal(found, expected)
    assert len(refused) > 200
    assert all(str(file) in reason and "\n" not in reason for reason in refused)


def test_moving_arrays_changes_no_document(tmp_path):
    before = list(derived_run(1))
    keys = {name: sorted(doc) for name, doc in before}
    list(externalise(before, tmp_path))
    assert {name: sorted(doc) for name, doc in before} == keys
    assert "external" not in before[1][1]["data_keys"]["map"]
    assert "map" in before[2][1]["data"]


def test_a_run_without_large_arrays_leaves_no_file(tmp_path):
    run = event_model.compose_run()
    documents = [("start", run.start_doc), ("stop", run.compose_stop())]
    assert list(externalise(documents, tmp_path)) == documents
    assert not (tmp_path / "derived").exists()


def test_an_array_that_changes_its_shape_is_refused_by_name(tmp_path):
    arrays = LargeArrays(tmp_path)
    *documents, event, _ = derived_run(2)
    event[1]["data"]["map"] = np.zeros((41, 300))
    for name, doc in documents:
        list(arrays(name, doc))
    with pytest.raises(FramesError, match=r"/result/map has the shape \(40, 300\), an event brought \(41, 300\)"):
        list(arrays(*event))


@pytest.mark.parametrize("in_file", [False, True])
def test_a_stack_is_stored_image_by_image_in_the_precision_that_it_came_in(tmp_path, in_file):
    run = event_model.compose_run()
    stack = np.random.default_rng(0).random((30, 40, 50), dtype=np.float32)
    if in_file:
        values, stack = stack, array_in_file(stack.shape, np.float32)
        stack[:] = values
    key = {"source": "reduction", "dtype": "array", "shape": list(stack.shape), "dtype_numpy": "<f4", "units": ""}
    stream = run.compose_descriptor(name="result", data_keys={"stack": key})
    event = stream.compose_event(data={"stack": stack}, timestamps={"stack": 0.0}, time=0.0)
    documents = [("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    moved = list(externalise(documents, tmp_path))
    with h5py.File(tmp_path / "derived" / f"{run.start_doc['uid']}.h5") as file:
        assert file["result/stack"].chunks == (1, 1, 40, 50)
        assert file["result/stack"].dtype == np.float32
    (again,) = [doc["data"]["stack"] for name, doc in internalise(moved) if name == "event"]
    np.testing.assert_array_equal(again, stack)
