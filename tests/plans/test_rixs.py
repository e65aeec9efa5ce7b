"""RIXS maps and elastic scans: what is measured, in which order, with which dark frames."""

from collections import Counter

import pytest

from callbacks.contract import MEASUREMENT, Key, Measurement
from plans.errors import PlanError
from plans.rixs import elastic_scan, rixs_map
from plans.rixs_scan import visit_order


def measured(documents):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events("primary")]


def streams(messages):
    """Give the streams of the events in order, "d" for dark and "p" for primary."""
    return "".join(message.kwargs["name"][0] for message in messages if message.command == "create")


def test_a_frame_is_one_event_with_the_dark_frames_in_front(engine, documents, endstation):
    engine(rixs_map(endstation, "520:522:1", 300.0, sample="NMC charged", edge="O K", frames_per_energy=2))
    assert measured(documents) == [520.0, 520.0, 521.0, 521.0, 522.0, 522.0]
    assert len(documents.events("dark")) == 3
    assert {event["data"][Key.EXPOSURE_TIME] for event in documents.of("event")} == {300.0}
    assert {event["data"][Key.DWELL] for event in documents.events("primary")} == {300.0}
    first = documents.events("primary")[0]["data"]
    assert first.keys() == {Key.ENERGY, Key.ENERGY_SETPOINT, Key.I0, Key.TEY, Key.TFY, Key.DWELL, "ring"} | {
        Key.CCD_IMAGE,
        Key.EXPOSURE_TIME,
    }
    assert documents.all[-1][0] == "stop"


def test_the_start_document_says_what_was_asked_for(engine, documents, endstation):
    engine(
        rixs_map(
            endstation, "520:522:1", 300.0, sample="carbon", edge="O K", frames_per_energy=2, order="random", seed=7
        )
    )
    start = documents.of("start")[0]
    assert Measurement.model_validate(start[MEASUREMENT]) == Measurement(
        technique="rixs",
        sample="carbon",
        edge="O K",
        energy_regions="520:522:1",
        points=6,
        exposure_time=300.0,
        frames_per_energy=2,
        order="random",
    )
    assert start["plan_name"] == "rixs_map"
    assert start["plan_args"]["seed"] == 7
    assert start["plan_args"]["dark_ttl"] == 3600.0
    assert start["sample"] == {"name": "carbon"}


def test_scaler_and_camera_are_triggered_together(simulator, endstation):
    messages = simulator.simulate_plan(rixs_map(endstation, "520", 300.0, dark_frames=0))
    groups = {message.obj.name: message.kwargs["group"] for message in messages if message.command == "trigger"}
    assert groups["scaler"] == groups["ccd"]


def test_dark_frames_are_taken_with_the_shutter_closed_and_the_others_with_it_open(engine, endstation):
    seen = {"ccd": [], "ccd_dark": []}
    for camera in (endstation.ccd, endstation.ccd_dark):
        camera.before_trigger = lambda name=camera.name: seen[name].append(endstation.shutter.value)
    engine(rixs_map(endstation, "520:522:1", 300.0))
    assert seen == {"ccd": ["open"] * 3, "ccd_dark": ["closed"] * 3}
    assert endstation.shutter.value == "closed"


def test_dark_frames_are_taken_again_when_the_cameras_clock_says_they_are_too_old(simulator, endstation):
    # frames of 300 s: dark frames at 0.9 ks; the frame that ends at 1.8 ks makes them 900 s old
    messages = simulator.simulate_plan(rixs_map(endstation, "520:526:1", 300.0, dark_frames=3, dark_ttl=900.0))
    assert streams(messages) == "ddd" + "ppp" + "ddd" + "ppp" + "ddd" + "p"


def test_dark_frames_are_taken_again_when_the_exposure_changes(simulator, endstation):
    messages = simulator.simulate_plan(
        rixs_map(endstation, "520:521:1, 530@100, 540:541:1", 300.0, dark_frames=2, dark_ttl=1e6)
    )
    assert streams(messages) == "ddpp" + "ddp" + "ddpp"
    assert [value for value in endstation.ccd.exposure_time.history if value != 300.0] == [100.0]
    assert endstation.ccd_dark.exposure_time.history == [300.0, 300.0, 100.0, 100.0, 300.0, 300.0]


def test_no_dark_frames_when_none_are_wanted(simulator, endstation):
    messages = simulator.simulate_plan(rixs_map(endstation, "520:522:1", 300.0, dark_frames=0))
    assert streams(messages) == "ppp"
    assert "ccd_dark" not in {message.obj.name for message in messages if message.command == "stage"}


def test_each_point_has_its_checkpoint(simulator, endstation):
    messages = simulator.simulate_plan(rixs_map(endstation, "520:524:1", 300.0, frames_per_energy=2))
    commands = [message.command for message in messages if message.command in ("checkpoint", "create")]
    assert commands == ["checkpoint", "create"] * (3 + 10) + ["checkpoint"]


def test_orders():
    assert visit_order(3, 2, "up", seed=0) == [0, 0, 1, 1, 2, 2]
    assert visit_order(3, 3, "up_down", seed=0) == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    shuffled = visit_order(50, 2, "random", seed=1)
    assert shuffled == visit_order(50, 2, "random", seed=1)
    assert shuffled != visit_order(50, 2, "random", seed=2)
    assert Counter(shuffled) == dict.fromkeys(range(50), 2)


def test_an_elastic_scan_is_marked_as_one(engine, documents, endstation):
    engine(elastic_scan(endstation, "512, 515, 518, 521", 60.0, sample="carbon"))
    assert documents.of("start")[0][MEASUREMENT]["technique"] == "elastic"
    assert measured(documents) == [512.0, 515.0, 518.0, 521.0]


def test_the_sample_in_the_beam_is_measured_when_none_is_named(engine, documents, endstation):
    engine(elastic_scan(endstation, "512, 515, 518, 521", 60.0))
    assert documents.of("start")[0]["sample"] == {"name": "carbon"}
    assert endstation.sample.history == []


def test_the_sample_is_in_the_beam_before_the_run_opens(simulator, endstation):
    messages = simulator.simulate_plan(rixs_map(endstation, "520", 1.0, sample="NMC charged"))
    order = [
        message.command
        for message in messages
        if message.command == "open_run" or (message.command == "set" and message.obj is endstation.sample)
    ]
    assert order == ["set", "open_run"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"regions": "520:2000:10"}, "energy: 1510 eV is outside its limits 200 to 1500 eV"),
        ({"regions": "520:526"}, "energy region '520:526': expected start:stop:step"),
        ({"regions": "520:521:1@2000"}, "dwell: 2000 s is outside its limits 0 to 1000 s"),
        ({"exposure_time": 0.0}, "exposure_time: 0.0 is not positive"),
        ({"exposure_time": float("nan")}, "exposure_time: nan is not positive"),
        ({"exposure_time": float("inf")}, "exposure_time: inf is not positive"),
        ({"exposure_time": 2000.0}, "dwell: 2000 s is outside its limits 0 to 1000 s"),
        ({"frames_per_energy": 0}, "frames_per_energy: 0 is not positive"),
        ({"dark_frames": -1}, "dark_frames: -1, expected 0 to 1000"),
        ({"dark_ttl": 0.0}, "dark_ttl: 0.0 is not positive"),
        ({"order": "down"}, "order: 'down' is none of up, up_down, random"),
        ({"order": "up_down"}, "order: 'up_down' needs frames_per_energy of 2 or more, not 1"),
        ({"sample": "NMC chraged"}, "did you mean 'NMC charged'?"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_moves(simulator, endstation, changed, message):
    arguments = {"regions": "520:522:1", "exposure_time": 300.0} | changed
    with pytest.raises(PlanError) as error:
        simulator.simulate_plan(rixs_map(endstation, **arguments))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    for device in (endstation.energy, endstation.shutter, endstation.sample):
        assert device.history == []


def test_no_light_is_found_out_before_anything_moves(simulator, endstation):
    endstation.front_end_shutter.value = "closed"
    with pytest.raises(PlanError, match="front_end_shutter: is 'closed', expected 'open'; there is no light"):
        simulator.simulate_plan(rixs_map(endstation, "520", 1.0))
    assert endstation.shutter.history == []


def test_fewer_energies_than_a_calibration_needs_are_refused(simulator, endstation):
    with pytest.raises(PlanError, match="regions: 3 energies, expected at least 4 to calibrate with"):
        simulator.simulate_plan(elastic_scan(endstation, "515, 518, 521", 60.0))
