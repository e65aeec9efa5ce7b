"""Documents in, derived run out: whatever the form of reference, whatever fails, every event has its place."""

import event_model
import numpy as np
import pytest
from frame_documents import COLUMNS, FRAMES, raw_run, write_frames

from beamline.storage.results import collect, differences
from callbacks.contract import Output, reduction_of
from callbacks.external import ExternalFrames, FrameReadError, said_by_hdf5
from callbacks.pipelines import RIXS
from callbacks.reduction import Reducer
from callbacks.step import Chain, Step


@pytest.fixture
def frames_file(tmp_path):
    return write_frames(tmp_path / "frames with a space.h5")


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "x.h5",
            "Unable to open file (unable to open file: name = 'x.h5', error message = 'No such file or directory')",
        ),
        ("x" * 200, "Unable to open file ('No such file or directory')"),
    ],
)
def test_a_long_message_of_hdf5_is_cut_to_its_first_sentence_and_the_reason(name, said):
    message = (
        f"Unable to open file (unable to open file:\n name = '{name}', error message = 'No such file or directory')"
    )
    assert said_by_hdf5(OSError(message)) == said
    assert said_by_hdf5(OSError(f"Can't read data ({name * 50})")) == "Can't read data"


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


@pytest.mark.parametrize(
    ("derivation", "uid"),
    [
        ({"raw_uids": ["a"], "pipeline": "stxm"}, "a"),
        ({"raw_uids": ["a"], "pipeline": "stxm_pooled"}, ""),  # of one run as if there were several
        ({"raw_uids": ["a", "b"], "pipeline": "stxm_pooled"}, ""),
        ({"raw_uids": "a"}, ""),
        (None, ""),
    ],
)
def test_a_pooled_analysis_is_no_reduction_of_its_run(derivation, uid):
    assert reduction_of({"uid": "c", "derivation": derivation}) == uid
