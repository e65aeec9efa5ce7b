"""Documents in, derived run out: whatever the form of reference, whatever fails, every event has its place."""

import event_model
import h5py
import numpy as np
import pytest

from beamline.storage.results import collect, differences
from callbacks.contract import MEASUREMENT, Key, Measurement, Output
from callbacks.external import HDF5_DATASET, ExternalFrames, FrameReadError
from callbacks.pipelines import RIXS
from callbacks.reduction import Reducer, data_key
from callbacks.step import Chain, Step

FRAMES, ROWS, COLUMNS = 5, 16, 128
CONFIGURATION = {
    "ccd_counts_per_ev": 0.21,
    "ccd_read_noise": 4.0,
    "ccd_full_scale": 65535.0,
    "ccd_pedestal_subtracted": 0,
}


@pytest.fixture
def frames_file(tmp_path):
    rng = np.random.default_rng(0)
    frames = (
        340 + 110 * rng.poisson(0.05, (FRAMES, ROWS, COLUMNS)) + rng.normal(0, 4, (FRAMES, ROWS, COLUMNS))
    ).round()
    path = tmp_path / "frames with a space.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(HDF5_DATASET, data=frames.astype("uint16"), chunks=(1, ROWS, COLUMNS))
    return path


def raw_run(path, form, *, problems=(), technique="rixs", numbers=range(1, FRAMES + 1)):
    """Give the documents of a run; `form` is how it refers to its frames."""
    block = Measurement(technique=technique, sample="test", points=FRAMES, exposure_time=300.0).model_dump(mode="json")
    run = event_model.compose_run(metadata={MEASUREMENT: block})
    yield "start", run.start_doc
    keys = {
        str(key): {"dtype": "number", "shape": [], "source": "test"} for key in (Key.ENERGY, Key.I0, Key.EXPOSURE_TIME)
    }
    keys[str(Key.FRAME_PROBLEM)] = {"dtype": "string", "shape": [], "source": "test"}
    external = "STREAM:" if form == "stream" else "FILESTORE:"
    keys[str(Key.CCD_IMAGE)] = {"dtype": "array", "shape": [ROWS, COLUMNS], "source": "test", "external": external}
    configuration = {
        "data": CONFIGURATION,
        "timestamps": dict.fromkeys(CONFIGURATION, 0.0),
        "data_keys": {key: data_key(value) for key, value in CONFIGURATION.items()},
    }
    stream = run.compose_descriptor(name="primary", data_keys=keys, configuration={"ccd": configuration})
    yield "descriptor", stream.descriptor_doc
    if form == "stream":
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=path.as_uri().replace("file://", "file://localhost"),
            data_key=str(Key.CCD_IMAGE),
            parameters={"dataset": HDF5_DATASET},
        )
        yield "stream_resource", resource.stream_resource_doc
        rows = {"start": 0, "stop": FRAMES}, {"start": 1, "stop": FRAMES + 1}
        yield "stream_datum", resource.compose_stream_datum(*rows, descriptor=stream.descriptor_doc)
    else:
        resource = run.compose_resource(
            spec="AD_HDF5", root=str(path.parent), resource_path=path.name, resource_kwargs={"frame_per_point": 1}
        )
        yield "resource", resource.resource_doc
    for number in numbers:
        values = {str(Key.ENERGY): 530.0 + number, str(Key.I0): 2.8e7, str(Key.EXPOSURE_TIME): 300.0}
        values[str(Key.FRAME_PROBLEM)] = dict(problems).get(number, "")
        if form != "stream":
            datum = resource.compose_datum(datum_kwargs={"point_number": number - 1})
            yield "datum", datum
            values[str(Key.CCD_IMAGE)] = datum["datum_id"]
        event = stream.compose_event(
            data=values, timestamps=dict.fromkeys(values, 0.0), seq_num=number, validate=False, filled={}
        )
        yield "event", event
    yield "stop", run.compose_stop()


def reduce(documents):
    derived = []
    reducer = Reducer(lambda name, doc: derived.append((name, doc)), {"rixs": RIXS}, {})
    for name, doc in documents:
        reducer(name, doc)
    for name, doc in derived:
        if name in ("start", "stop"):
            event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    return collect(derived)


def test_both_forms_of_reference_give_the_same_arrays(frames_file):
    one, other = (reduce(raw_run(frames_file, form)) for form in ("stream", "datum"))
    assert differences(one, other) == []
    assert one.frames["spectrum"].shape == (FRAMES, COLUMNS)


def test_differences_name_what_is_not_equal(frames_file):
    one, other = (reduce(raw_run(frames_file, "stream")) for _ in range(2))
    other.frames.columns["spectrum"][2, 7] += 1e-9
    assert differences(one, other) == ["frames.spectrum"]


@pytest.mark.parametrize("bad", [1, 3])
def test_a_frame_with_a_problem_keeps_its_place_as_not_measured(frames_file, bad):
    derived = reduce(raw_run(frames_file, "stream", problems={bad: "truncated file"}))
    assert derived.frames["frame"].tolist() == [1, 2, 3, 4, 5]
    assert np.isnan(derived.frames["spectrum"][bad - 1]).all()
    assert np.isfinite(np.delete(derived.frames["spectrum"], bad - 1, axis=0)).all()
    assert derived.frames["cosmic_hits"][bad - 1] == -1
    assert derived.result["problem_frames"].tolist() == [bad]
    assert derived.result["problems"].tolist() == ["truncated file"]


def test_a_frame_that_is_not_in_the_file_costs_itself_only(frames_file):
    derived = reduce(raw_run(frames_file, "datum", numbers=[1, 2, 3, 9]))
    assert "frame 8 cannot be read" in derived.result["problems"][0]
    assert np.isfinite(derived.frames["spectrum"][:3]).all()


def test_a_run_in_which_every_frame_fails_still_has_a_result(frames_file):
    every = dict.fromkeys(range(1, FRAMES + 1), "no light")
    derived = reduce(raw_run(frames_file, "stream", problems=every))
    assert derived.result["problem_frames"].tolist() == [1, 2, 3, 4, 5]
    assert derived.result["calibration_status"] != "ok"
    assert derived.stop["exit_status"] == "success"


def test_runs_that_are_not_measurements_pass_by():
    derived = []
    reducer = Reducer(lambda name, doc: derived.append(name), {"rixs": RIXS})
    run = event_model.compose_run()
    reducer("start", run.start_doc)
    reducer("stop", run.compose_stop())
    assert derived == []


def test_a_frame_nobody_told_of_is_named():
    files = ExternalFrames()
    with pytest.raises(FrameReadError, match="event 4: no document says where its ccd_image is"):
        files.read({"data": {}, "descriptor": "d", "seq_num": 4}, "ccd_image")


class Given(Output):
    VALUE = "value", "number", "eV", "what is kept"
    IMAGE = "image", "array", "", "what is not"


class Failing(Step):
    kept = (Given.VALUE,)

    def push(self, event):
        if event["seq_num"] == 2:
            raise ZeroDivisionError("made to fail")
        return {Given.VALUE: float(event["seq_num"]), Given.IMAGE: np.zeros(3)}

    @property
    def result(self):
        raise RuntimeError("no result")


def test_a_chain_keeps_what_is_described_and_survives_what_fails():
    chain = Chain({"failing": Failing()})
    assert chain.push({"seq_num": 1}) == ({"value": 1.0}, "")
    assert chain.push({"seq_num": 2}) == ({}, "failing: ZeroDivisionError: made to fail")
    assert np.isnan(chain.missing()["value"])
    assert chain.result == {"failing_problem": "RuntimeError: no result"}
    assert chain.errors == 2
