"""A spectrum in flight: what is swept, what an interruption leaves, and what cannot be flown."""

import threading
import time

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from callbacks.contract import MEASUREMENT, REMARK, Key, Measurement, sweep_key
from plans.checks import estimate
from plans.endstation import Endstation, Light
from plans.errors import PlanError
from plans.xas import xas

SAMPLE = "LRNMC pristine"
REGIONS = "520:526:0.5@0.8, 526:536:0.1@0.4"


@pytest.fixture
def twins(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def fly(endstation, regions=REGIONS, **options):
    return xas(endstation, regions, **{"dwell": 0.2, "mode": "fly", "sample": SAMPLE} | options)


def swept(documents):
    """The first and the last energy that was read in each sweep."""
    return [np.asarray(event["data"][Key.SWEEP_ENERGIES])[[0, -1]] for event in documents.events("primary")]


def test_regions_are_swept_up_and_down_each_at_its_own_velocity(engine, documents, twins):
    engine(fly(twins, sweeps=4))
    measurement = Measurement.model_validate(documents.of("start")[0][MEASUREMENT])
    first, second = measurement.flown.regions
    assert (first.energies[0], first.energies[-1], first.dwell, len(first.energies)) == (520.0, 526.0, 0.8, 13)
    assert (second.energies[0], second.energies[-1], second.dwell, len(second.energies)) == (526.1, 536.0, 0.4, 100)
    assert measurement.points == len(documents.events("primary")) == 8
    ends = [(519.75, 526.25), (526.05, 536.05)]
    ends += [(high, low) for low, high in reversed(ends)]
    for (start, stop), read in zip([*ends, *ends], swept(documents), strict=True):
        assert read == pytest.approx((start, stop), abs=0.7)
    counted = [np.sum(event["data"][Key.SWEEP_BIN_TIMES]) for event in documents.events("primary")]
    assert counted == pytest.approx([2.6, 10.0, 10.0, 2.6] * 2, rel=1e-3)
    assert {len(event["data"][sweep_key("tey")]) for event in documents.events("primary")} == {1000}
    assert twins.shutter.state.get() == "closed"
    assert [channel.name for channel in measurement.channels] == ["i0", "tey", "tfy"]


def test_an_estimate_counts_sweeps_and_their_time(twins):
    planned = estimate(fly(twins, sweeps=4), twins)
    assert planned.points == planned.sweeps == {"primary": 8}
    assert planned.counting_time == pytest.approx(13 * 0.8 + 100 * 0.4)
    assert planned.duration() == pytest.approx(50.4 + 8 * 1.0)
    assert planned.document_bytes > 8 * 6 * 1000 * 8
    left = "mesh, drain, reference, fluorescence_spectrum are not measured in flight"
    assert planned.warnings == (f"mode fly: {left}",)


def interrupt_in_sweep(engine, documents, number, interrupt):
    """Interrupt in the middle of the sweep behind so many."""
    asked = []

    def watch(name, _doc):
        if name == "event" and len(documents.events("primary")) == number and not asked:
            asked.append(True)
            threading.Thread(target=lambda: (time.sleep(0.1), interrupt())).start()

    engine.subscribe(watch)


def test_a_sweep_that_is_paused_is_kept_as_far_as_it_went_and_flown_again(engine, documents, twins):
    interrupt_in_sweep(engine, documents, 1, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(fly(twins, "520:540:0.1", dwell=4.0, sweeps=4))  # 0.2 s on the wall
    twins.energy.set(700.0).wait(60)
    twins.shutter.set("closed").wait(60)
    engine.resume()
    events = documents.events("primary")
    assert [event["seq_num"] for event in events] == [1, 2, 3, 4]
    assert all(np.isfinite(event["data"][sweep_key("i0")]).all() for event in events)
    assert min(np.mean(event["data"][sweep_key("tey")]) for event in events) > 100  # with light
    (part,) = documents.events("interrupted")
    counted = np.isfinite(part["data"][sweep_key("i0")])
    assert 100 < counted.sum() < 1900
    assert counted[: counted.sum()].all()
    read = np.asarray(part["data"][Key.SWEEP_ENERGIES])[counted]
    assert read[10] == pytest.approx(540.0, abs=0.5)
    assert np.nanmean(part["data"][sweep_key("i0")]) > 1000


def test_a_sweep_that_loses_the_beam_is_kept_and_flown_again_once_it_is_back(engine, documents, twins):
    lit = Endstation(twins.devices, light=Light(400.0, 450.0), channels=twins.channels)
    world = twins.energy.world

    def watch(name, _doc):
        now = world.clock.now()
        if name == "event" and not documents.events("interrupted"):
            world.ring.dumps[:] = [(now + 60.0, np.inf)]  # amid the second sweep
        elif name == "event" and world.ring.dumps[0][1] == np.inf:
            world.ring.dumps[:] = [(world.ring.dumps[0][0], now)]

    engine.subscribe(watch)
    engine(fly(lit, "520:540:0.1", dwell=1.0, sweeps=2))
    assert [event["seq_num"] for event in documents.events("primary")] == [1, 2]
    (part,) = (event["data"] for event in documents.events("interrupted"))
    assert part[Key.RING_CURRENT] == 0
    counts = np.asarray(part[sweep_key("i0")])
    assert np.mean(counts[:400]) > 1000
    assert np.mean(counts[-400:]) < 10
    assert all(np.min(event["data"][sweep_key("i0")]) > 1000 for event in documents.events("primary"))


def test_without_a_device_that_flies_it_is_measured_in_steps_and_says_so(engine, documents, twins):
    without = Endstation(
        {name: device for name, device in twins.devices.items() if name != "energy_sweep"}, channels=twins.channels
    )
    remark = (
        "mode fly: the endstation has no energy_sweep (what moves the energy while it counts); it is measured in steps"
    )
    assert estimate(fly(without, "520:522:1"), without).warnings == (remark,)
    engine(fly(without, "520:522:1"))
    start = documents.of("start")[0]
    assert start[REMARK] == remark
    assert start["plan_args"]["mode"] == "step"
    assert [event["data"][Key.ENERGY_SETPOINT] for event in documents.events("primary")] == [520.0, 521.0, 522.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"regions": "520:522:1, 530"}, "energy region '530': one energy cannot be flown over, expected two or more"),
        ({"dwell": 0.01}, "energy_sweep: velocity: 200 eV/s is outside its limits 0 to 5 eV/s"),
        ({"sweeps": 0}, "sweeps: 0, expected 1 to 1000"),
        ({"mode": "jump"}, "mode: 'jump' is none of step, fly"),
        ({"until_relative_error": 0.01}, "until_relative_error: is for mode step; expected 0 with mode fly"),
        ({"polarisation": "C+,C-"}, r"polarisation: 'C\+,C-', expected one with mode fly; fly each by its own run"),
        ({"regions": "1490:1500:1", "dwell": 4.0}, "1500.5 eV is outside its limits 200 to 1500 eV"),
    ],
)
def test_what_cannot_be_flown_is_refused_before_anything_moves(twins, changed, message):
    options = {"regions": "520:522:1", "sweeps": 2} | changed
    with pytest.raises(PlanError, match=message):
        estimate(fly(twins, **options), twins)


def test_a_flight_has_the_one_polarisation_that_was_asked_for(engine, documents, twins):
    engine(fly(twins, "524:534:0.2", dwell=0.4, polarisation="C+"))
    events = [event["data"] for event in documents.events("primary")]
    assert [event[Key.POLARISATION] for event in events] == ["C+", "C+"]
    world = twins.energy.world
    assert world.light.circular == pytest.approx(world.circular_degree, abs=0.01)
    assert all(np.mean(event[sweep_key("i0")]) > 300 for event in events)  # the gap follows: the flux of 20 ms
