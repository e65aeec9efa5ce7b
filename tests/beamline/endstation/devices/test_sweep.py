"""A sweep over Channel Access and its twin: the same counts within noise, what a stopped one keeps, what is refused."""

import threading
import time

import epics
import numpy as np
import pytest
from ioc_faults import switch
from ophyd.utils.errors import LimitError

from beamline.acquire.session import measure
from beamline.endstation.build import build_devices
from beamline.operations.demonstrate.techniques import simulated
from callbacks.contract import Key, sweep_key
from plans import xas

pytestmark = pytest.mark.long

BINS = 400


@pytest.fixture
def twins():
    return build_devices(simulated(2))  # another seed than the IOC's: other noise


@pytest.fixture
def both(twins, session):
    pairs = [(session.endstation.energy_sweep, session.endstation.shutter), (twins["energy_sweep"], twins["shutter"])]
    for endstation in (session.endstation.devices, twins):
        endstation["sample"].set("LRNMC pristine").wait(60)  # the test before left another in the beam of the IOC
    for sweep, shutter in pairs:
        shutter.set("open").wait(60)
        prepare(sweep, 520.0, 540.0, 0.02)
    yield [sweep for sweep, _ in pairs]
    for _, shutter in pairs:
        shutter.set("closed").wait(60)


def prepare(sweep, start, stop, bin_time):
    for setting, value in ((sweep.start, start), (sweep.stop_at, stop), (sweep.bins, BINS), (sweep.bin_time, bin_time)):
        setting.set(value).wait(60)


def flown(sweep):
    sweep.stage()
    sweep.trigger().wait(60)
    sweep.unstage()
    return {key: np.asarray(reading["value"]) for key, reading in sweep.read().items()}


def test_both_count_the_same_within_noise_over_the_same_energies(both):
    real, soft = (flown(sweep) for sweep in both)
    for channel in ("i0", "tey", "tfy"):
        one, other = (each[sweep_key(channel)].reshape(40, 10).sum(axis=1) for each in (real, soft))
        pulls = (one - other) / np.sqrt(one + other + (0.004 * one) ** 2)  # the ring may be topped up
        assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.4
    assert real[Key.SWEEP_BIN_TIMES].sum() == pytest.approx(8.0, rel=1e-4)
    for each in (real, soft):
        times, energies = each[Key.SWEEP_ENERGY_TIMES], each[Key.SWEEP_ENERGIES]
        assert (times[0], times[-1]) == pytest.approx((-0.1, 8.1))
        assert np.interp([0.0, 8.0], times, energies) == pytest.approx([520.0, 540.0], abs=0.12)


def test_the_monochromator_stands_where_the_sweep_has_left_it(both, session):
    flown(both[0])
    assert session.endstation.energy.position == pytest.approx(540.125, abs=0.01)
    assert session.endstation.energy.undulator.position == pytest.approx(
        session.endstation.energy.gap_for(540.125), abs=0.002
    )
    session.endstation.energy.set(530.0).wait(60)
    assert session.endstation.energy.position == pytest.approx(530.0, abs=0.02)


@pytest.mark.parametrize("which", [0, 1])
def test_a_stopped_sweep_keeps_what_was_counted_until_then(both, which):
    sweep = both[which]
    prepare(sweep, 520.0, 540.0, 2.0)  # 0.8 s on the wall
    status = sweep.trigger()
    time.sleep(0.4)
    sweep.stop(success=True)
    status.wait(60)
    counted = np.isfinite(np.asarray(sweep.read()[sweep_key("i0")]["value"]))
    assert 40 < counted.sum() < 360
    assert counted[: counted.sum()].all()


def test_a_sweep_that_is_too_fast_is_refused_with_its_velocity(both):
    for sweep in both:
        with pytest.raises(LimitError, match=r"energy_sweep: velocity: 20 eV/s is outside its limits 0 to 5 eV/s"):
            sweep.check_sweep(520.0, 540.0, 1.0)


def test_a_dump_in_a_sweep_leaves_what_was_counted_and_the_sweep_is_flown_again(session, documents):
    """The ring current suspends the run: the sweep is stopped, kept as far as it went, and taken again."""

    def dump(name, _doc):
        if name == "event" and len(documents.events("primary")) == 1 and not dumped:
            dumped.append(True)
            threading.Thread(target=lose_the_beam).start()

    def lose_the_beam():
        epics.ca.use_initial_context()
        time.sleep(0.5)
        switch("DumpBeam", "On")
        time.sleep(0.5)
        switch("DumpBeam", "Off")

    dumped = []
    session.RE.subscribe(dump)
    plan = xas(session.endstation, "525:545:0.1", 30.0, mode="fly", sample="LRNMC pristine")
    measure(session, plan)  # 3 s on the wall a sweep
    events = documents.events("primary")
    assert [event["seq_num"] for event in events] == [1, 2]
    assert all(np.isfinite(event["data"][sweep_key("tey")]).all() for event in events)
    part = documents.events("interrupted")[0]["data"]
    counted = np.isfinite(part[sweep_key("i0")])
    assert 0 < counted.sum() < BINS * 5
    assert part[Key.SWEEP_ENERGIES][0] == pytest.approx(545.05, abs=0.1)
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success"]
