"""What an alarm leaves of an event: a value that is not known is NaN in what is made of it, with the reason."""

import numpy as np
import pytest
from frame_documents import raw_run, write_frames
from stxm_documents import stxm_documents

from beamline.storage.results import collect, differences
from beamline.techniques import pipelines
from callbacks.alarms import AlarmMarks
from callbacks.contract import Key, LineOutput, Measurement, alarm_key, severity_key
from callbacks.pipelines import XAS
from callbacks.reduction import Reducer
from callbacks.stxm.steps.lines import LineCorrection, LineSettings

NAN = float("nan")
I0_INVALID = "SIM:I0 is INVALID (READ)"


def with_alarms(documents, device, alarms):
    """Add the alarms of a device to the events of all streams; `alarms` has severity, text and values by number."""
    for name, before in documents:
        doc = dict(before)
        if name == "descriptor":
            keys = {severity_key(device): "integer", alarm_key(device): "string"}
            added = {key: {"dtype": dtype, "shape": [], "source": "test"} for key, dtype in keys.items()}
            doc["data_keys"] = doc["data_keys"] | added
        if name == "event":
            severity, text, values = alarms.get(doc["seq_num"], (0, "", {}))
            added = {severity_key(device): severity, alarm_key(device): text} | values
            doc["data"] = doc["data"] | added
            doc["timestamps"] = doc["timestamps"] | dict.fromkeys(added, 0.0)
        yield name, doc


def reduce(documents):
    derived = []
    reducer = Reducer(lambda name, doc: derived.append((name, doc)), pipelines(), {})
    for name, doc in documents:
        reducer(name, doc)
    return collect(derived)


def marks(result):
    return dict(zip(result["marked_frames"].tolist(), result["marks"].tolist(), strict=True))


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return list(raw_run(write_frames(tmp_path_factory.mktemp("frames") / "frames.h5"), "datum"))


def lines(rows=6):
    counts = np.full((2, rows, 8), 1000.0)
    return stxm_documents(counts, [705.0, 710.0], np.linspace(-1, 1, 8), np.linspace(0, 1, rows))


def test_a_frame_whose_i0_is_not_known_is_marked_and_nan_in_the_map(frames):
    alarmed = reduce(with_alarms(frames, "scaler", {3: (3, I0_INVALID, {str(Key.I0): NAN})}))
    assert marks(alarmed.result) == {3: f"I0 lost: not recorded; {I0_INVALID}"}
    assert np.isnan(alarmed.result["map"]).all(axis=1).tolist() == [False, False, True, False, False]
    assert np.isfinite(alarmed.frames["spectrum"][2]).all()  # the frame itself is there


def test_a_run_without_alarms_is_reduced_as_one_of_before_they_were_recorded(frames):
    assert differences(reduce(frames), reduce(with_alarms(frames, "scaler", {}))) == []


def test_a_minor_alarm_marks_nothing_and_a_major_one_changes_no_number(frames):
    before = reduce(frames)
    minor = reduce(with_alarms(frames, "scaler", {2: (1, "SIM:I0 is MINOR (HIGH)", {})}))
    assert differences(before, minor) == []
    alarms = dict.fromkeys((2, 3, 5), (2, "SIM:I0 is MAJOR (HIHI)", {}))
    major = reduce(with_alarms(frames, "scaler", alarms))
    assert marks(major.result) == {2: "SIM:I0 is MAJOR (HIHI) (to 3)", 5: "SIM:I0 is MAJOR (HIHI)"}
    assert set(differences(before, major)) == {"result.marked_frames", "result.marks"}


@pytest.mark.parametrize(
    ("device", "key"), [("energy", Key.ENERGY), ("ccd", Key.EXPOSURE_TIME)], ids=["energy", "exposure"]
)
def test_a_frame_whose_energy_or_exposure_is_not_known_is_in_no_row(frames, device, key):
    found = reduce(with_alarms(frames, device, {2: (3, "SIM:X is INVALID (COMM)", {str(key): NAN})}))
    assert found.result["problems"].tolist() == [f"{key}: not known"]
    assert marks(found.result) == {2: "SIM:X is INVALID (COMM)"}
    assert found.result["excitation_energy"].tolist() == [531.0, 533.0, 534.0, 535.0]
    assert np.isnan(found.frames["spectrum"][1]).all()


def test_a_detector_that_is_not_there_is_named_once_and_i0_that_is_lost_each_time(frames):
    alarms = {
        number: (3, "SIM:TFY is INVALID (LINK)", {str(Key.I0): NAN} if number == 3 else {}) for number in range(1, 6)
    }
    found = reduce(with_alarms(frames, "scaler", alarms))
    assert marks(found.result) == {
        1: "SIM:TFY is INVALID (LINK) (to 5)",
        3: "I0 lost: not recorded; SIM:TFY is INVALID (LINK)",
    }


def test_an_alarm_of_the_gap_leaves_the_energy(frames):
    found = reduce(with_alarms(frames, "energy", {2: (3, "SIM:Gap is INVALID (COMM)", {"undulator_gap": NAN})}))
    assert len(found.result["excitation_energy"]) == 5
    assert marks(found.result) == {2: "SIM:Gap is INVALID (COMM)"}


@pytest.mark.parametrize(
    ("device", "values", "why"),
    [
        ("ring", {str(Key.RING_CURRENT): NAN}, "I0 lost: ring current not known"),
        ("scanner", {str(Key.STXM_COUNTS): np.full(8, NAN)}, "line not known"),
        ("scanner", {str(Key.STXM_X): np.full(8, NAN)}, "line not known"),
    ],
    ids=["ring", "counts", "positions"],
)
def test_a_line_whose_current_counts_or_places_are_not_known_is_nan(device, values, why):
    run = list(with_alarms(lines(), device, {4: (3, "SIM:X is INVALID (LINK)", values)}))
    found = reduce(run)
    assert marks(found.result) == {4: f"{why}; SIM:X is INVALID (LINK)"}
    assert found.frames["line_mark"].tolist() == ["", "", "", why, *8 * [""]]
    correction = LineCorrection(LineSettings())
    rates = [correction.push(doc["data"])[LineOutput.RATE] for name, doc in run if name == "event"]
    assert [bool(np.isnan(rate).all()) for rate in rates] == [number == 4 for number in range(1, 13)]


def test_a_dark_line_that_is_not_known_is_left_out():
    run = lines()
    descriptor = next(doc for name, doc in run if name == "descriptor")
    events = [doc for name, doc in run if name == "event"]
    dark = {**descriptor, "uid": "dark", "name": "dark"}
    darks = [{**event, "uid": f"dark {n}", "descriptor": "dark", "seq_num": n} for n, event in enumerate(events[:2], 1)]
    darks[0]["data"] = darks[0]["data"] | {str(Key.STXM_COUNTS): np.zeros(8)}
    darks[1]["data"] = darks[1]["data"] | {str(Key.STXM_COUNTS): np.full(8, NAN)}
    (start, *rest) = run
    plain = [start, ("descriptor", dark), ("event", darks[0]), *rest]
    lost = [start, ("descriptor", dark), *(("event", each) for each in darks), *rest]
    alarmed = reduce(with_alarms_of_dark(lost, 2))
    assert alarmed.result["problems"].tolist() == ["dark frame 2: SIM:MCS is INVALID (READ)"]
    assert alarmed.result["dark_rate"] == reduce(plain).result["dark_rate"] == 0.0


def with_alarms_of_dark(documents, number):
    """Give a dark line the alarm of a scanner that is not known."""
    for name, doc in documents:
        bad = name == "event" and doc["descriptor"] == "dark" and doc["seq_num"] == number
        added = {"scanner_severity": 3, "scanner_alarm": "SIM:MCS is INVALID (READ)"} if bad else {}
        yield name, {**doc, "data": doc["data"] | added} if bad else doc


def test_a_point_whose_yield_is_not_known_is_nan_with_the_reason():
    chain = XAS.build(XAS.settings_model(), Measurement(technique="xas", sample="", points=4, exposure_time=1.0))
    alarms = AlarmMarks()
    for number in range(1, 5):
        event = {Key.ENERGY: 530.0 + number, Key.I0: 1e6, Key.TEY: 100.0, Key.TFY: 50.0, Key.DWELL: 1.0}
        event |= {"seq_num": number, "scaler_severity": 0, "scaler_alarm": ""}
        if number == 3:
            event |= {Key.TEY: NAN, "scaler_severity": 3, "scaler_alarm": "SIM:TEY is INVALID (READ)"}
        alarms.take(event)
        chain.push(event)
    result = alarms.add_to(chain.result)
    assert np.isnan(result["tey_over_i0_spectrum"]).tolist() == [False, False, True, False]
    assert np.isfinite(result["tfy_over_i0_spectrum"]).all()
    assert marks(result) == {3: "SIM:TEY is INVALID (READ)"}


def test_a_wrong_clock_is_named_once_in_a_run():
    alarms = AlarmMarks()
    for number in range(1, 5):
        text = "SIM:X is dated 730 days ago by this computer's clock"
        alarms.take({"seq_num": number, "scaler_severity": 0, "scaler_alarm": text if number != 2 else ""})
    assert marks(alarms.add_to({})) == {1: text}
