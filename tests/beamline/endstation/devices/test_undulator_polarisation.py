"""The polarisation of the undulator over Channel Access, and its twin: both give the same light."""

import pytest
from ioc_faults import switch

from beamline.endstation.build import build_devices
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from callbacks.contract import Key
from plans import xas
from plans.errors import PlanError

pytestmark = pytest.mark.long


def read(device):
    return {key: each["value"] for key, each in device.read().items()}


@pytest.fixture
def twins():
    return build_devices(load_config())


@pytest.fixture
def real(session):
    """The devices on EPICS; they are left as the other tests expect them."""
    devices = session.endstation.devices
    yield devices
    devices["polarisation"].set("LH").wait(60)
    devices["energy"].set(530.0).wait(60)
    devices["sample"].set("LRNMC pristine").wait(60)
    devices["scaler"].dwell.set(1.0).wait(60)


def counted(devices):
    """I0 per second, with the undulator as it is."""
    devices["scaler"].dwell.set(1.0).wait(60)
    devices["scaler"].trigger().wait(60)
    return read(devices["scaler"])[Key.I0]


@pytest.mark.parametrize("polarisation", ["LV", "C+", "C-", "45", "-30", "LH"])
def test_gap_phase_and_flux_are_those_of_the_twin(polarisation, real, twins):
    seen = []
    for devices in (real, twins):
        devices["energy"].set(690.0).wait(60)
        devices["polarisation"].set(polarisation).wait(60)
        changed = counted(devices)
        devices["energy"].set(720.0).wait(60)  # both follow
        followed = counted(devices)
        values = read(devices["polarisation"]) | read(devices["energy"])
        assert values[Key.POLARISATION] == polarisation
        assert devices["polarisation"].position == polarisation
        seen.append((values[Key.UNDULATOR_GAP], values[Key.UNDULATOR_PHASE], changed, followed))
    (gap, phase, *counts), (soft_gap, soft_phase, *soft_counts) = seen
    assert gap == pytest.approx(soft_gap, abs=0.02)
    assert phase == pytest.approx(soft_phase, abs=0.05)
    assert counts == pytest.approx(soft_counts, rel=0.03)  # ring, helicity and noise differ


def test_both_set_at_once_end_where_they_belong_together(real, twins):
    for devices in (real, twins):
        statuses = [devices["polarisation"].set("C-"), devices["energy"].set(700.0)]
        for status in statuses:
            status.wait(60)
        together = read(devices["polarisation"]) | read(devices["energy"])
        assert together[Key.POLARISATION] == "C-"
        assert together[Key.UNDULATOR_GAP] == pytest.approx(17.263, abs=0.01)
        assert together[Key.UNDULATOR_PHASE] == pytest.approx(-16.249, abs=0.02)
    assert counted(real) == pytest.approx(counted(twins), rel=0.03)


def test_from_an_energy_that_the_new_polarisation_cannot_reach_both_go_where_it_can(real, twins):
    for devices in (real, twins):
        for polarisation, energy, gap in (("LH", 250.0, 11.7012), ("LV", 700.0, 15.148), ("LH", 250.0, 11.7012)):
            statuses = [devices["polarisation"].set(polarisation), devices["energy"].set(energy)]
            for status in statuses:
                status.wait(60)
            assert read(devices["polarisation"])[Key.POLARISATION] == polarisation
            assert read(devices["energy"])[Key.UNDULATOR_GAP] == pytest.approx(gap, abs=0.01)
        devices["polarisation"].set("LV").wait(60)  # no gap gives it: nothing moves before the next energy
        assert read(devices["polarisation"])[Key.POLARISATION] == "LH"
        devices["energy"].set(700.0).wait(60)
        assert read(devices["polarisation"])[Key.POLARISATION] == "LV"


def test_a_polarisation_at_an_energy_that_no_gap_gives_is_refused_in_one_line(real, twins):
    with pytest.raises(ValueError, match="energy: gap LV table: 250 eV is outside its limits 290 to 1500 eV"):
        real["polarisation"].check_energy("LV", 250.0)
    with pytest.raises(ValueError, match=r"polarisation: LV at 250 eV: gap: .* mm is outside its limits 9 to inf mm"):
        twins["polarisation"].check_energy("LV", 250.0)
    for devices in (real, twins):
        with pytest.raises(ValueError, match="polarisation: 'round' is no polarisation, expected LH, LV"):
            devices["polarisation"].check_value("round")
        devices["energy"].check_value(250.0)  # with horizontal light
        devices["polarisation"].check_energy("", 250.0)


def test_a_change_that_is_stopped_is_named_and_set_again(real):
    real["energy"].set(700.0).wait(60)
    switch("FreezeMotor", "ID:Phase")
    status = real["polarisation"].set("C+")
    real["polarisation"].stop()
    with pytest.raises(Exception, match="polarisation: stopped"):
        status.wait(60)
    switch("FreezeMotor", "")
    assert read(real["polarisation"])[Key.POLARISATION] != "C+"
    real["polarisation"].set("C+").wait(60)
    assert read(real["polarisation"])[Key.POLARISATION] == "C+"


def test_the_time_of_a_change_is_that_of_the_phase(real, twins):
    for devices in (real, twins):
        devices["energy"].set(700.0).wait(60)
        assert devices["polarisation"].change_time("LH", "LH") == 0.0
        there = devices["polarisation"].change_time("C+", "C-")
        assert there == pytest.approx(2 * 16.249 / 2.0, abs=1.1)  # mm over mm/s, and settling
        assert devices["polarisation"].change_time("", "LV") == pytest.approx(24.5 / 2.0, abs=1.1)


def test_a_polarisation_without_an_energy_is_refused_when_it_is_built(config):
    alone = {name: table for name, table in config.devices.items() if name != "energy"}
    with pytest.raises(BeamlineError, match=r"devices\.polarisation: there is no device energy, which this one moves"):
        build_devices(config.model_copy(update={"devices": alone}))


def test_a_polarisation_without_a_gap_is_refused_when_it_is_built(config):
    energy = config.devices["energy"].model_copy(deep=True)
    del energy.options["gap"]["LV"]
    with pytest.raises(BeamlineError, match="energy: gap: has nothing for LV, only for LH, C"):
        build_devices(config.model_copy(update={"devices": config.devices | {"energy": energy}}))


def test_a_spectrum_alternates_over_channel_access(session, documents, real):
    plan = xas(session.endstation, "706:709:1", 0.2, sample="Fe film", polarisation="C+,C-")
    session.RE(plan)
    events = [event["data"] for event in documents.events("primary")]
    order = [(706.0, "C+"), (706.0, "C-"), (707.0, "C-"), (707.0, "C+"), (708.0, "C+"), (708.0, "C-")]
    order += [(709.0, "C-"), (709.0, "C+")]
    assert [(each[Key.ENERGY_SETPOINT], each[Key.POLARISATION]) for each in events] == order
    for each in events:
        assert each[Key.UNDULATOR_PHASE] == pytest.approx(16.28 if each[Key.POLARISATION] == "C+" else -16.28, abs=0.05)
        assert each[Key.I0] > 0.2 * 7e4
    minus, plus = (each["tey"] / each["i0"] for each in events[5:3:-1])
    assert plus < 0.9 * minus  # at L3
    with pytest.raises(PlanError, match="energy: gap LV table: 250 eV is outside its limits 290 to 1500 eV"):
        session.RE(xas(session.endstation, "250:252:1", 0.2, polarisation="LV"))
