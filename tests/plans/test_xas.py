"""Absorption spectra and live views: what is measured, with which dwell."""

import pytest

from callbacks.contract import MEASUREMENT, Key, Measurement
from plans.errors import PlanError
from plans.live_view import live_view
from plans.xas import xas


def test_each_region_is_measured_with_its_own_steps_and_dwell(engine, documents, endstation):
    engine(xas(endstation, "520:522:1, 522:522.3:0.1@0.2", dwell=2.0, sample="NMC pristine"))
    events = [event["data"] for event in documents.events("primary")]
    assert [event[Key.ENERGY] for event in events] == [520.0, 521.0, 522.0, 522.1, 522.2, 522.3]
    assert [event[Key.DWELL] for event in events] == [2.0, 2.0, 2.0, 0.2, 0.2, 0.2]
    assert {Key.I0, Key.TEY, Key.TFY, "ring"} < events[0].keys()
    assert endstation.sample.value == "NMC pristine"
    assert endstation.shutter.value == "closed"


def test_the_start_document_says_what_was_asked_for(engine, documents, endstation):
    engine(xas(endstation, "520:522:0.5", sample="carbon", edge="O K"))
    assert Measurement.model_validate(documents.of("start")[0][MEASUREMENT]) == Measurement(
        technique="xas", sample="carbon", edge="O K", energy_regions="520:522:0.5", points=5, exposure_time=1.0
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"regions": "100:300:10"}, "energy: 100 eV is outside its limits 200 to 1500 eV"),
        ({"dwell": -1.0}, "dwell: -1.0 is not positive"),
        ({"regions": "520:522:1@2000"}, "dwell: 2000 s is outside its limits 0 to 1000 s"),
        ({"sample": "gold"}, "sample: holds no 'gold', only NMC charged, NMC pristine, carbon"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_moves(simulator, endstation, changed, message):
    with pytest.raises(PlanError, match=message):
        simulator.simulate_plan(xas(endstation, **({"regions": "520:522:1"} | changed)))
    for device in (endstation.energy, endstation.shutter, endstation.sample):
        assert device.history == []


@pytest.mark.parametrize(("detector", "key"), [("scaler", Key.I0), ("ccd", Key.CCD_IMAGE)])
def test_a_live_view_reads_its_detector_and_moves_nothing(engine, documents, endstation, detector, key):
    engine(live_view(endstation, detector, exposure_time=0.5, frames=4))
    events = documents.events("primary")
    assert len(events) == 4
    assert key in events[0]["data"]
    assert MEASUREMENT not in documents.of("start")[0]
    assert endstation.energy.history == endstation.sample.history == []
    assert endstation.shutter.value == "closed"


def test_a_live_view_of_an_unknown_detector_is_refused(simulator, endstation):
    with pytest.raises(PlanError, match="detector: 'eye' is none of scaler, ccd"):
        simulator.simulate_plan(live_view(endstation, "eye"))
