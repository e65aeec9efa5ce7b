"""The shipped endstations of one technique over EPICS, and the potentiostat and its twin."""

import pytest
from shipped import FOLDER, PLANS, measured
from test_twins_agree import describe

from beamline.endstation.build import build_devices
from beamline.endstation.config import load_config
from beamline.endstation.connect import connect, disconnect
from beamline.operations.check import config_problems
from beamline.operations.demonstrate.epics import on_port


@pytest.mark.parametrize("kind", PLANS)
def test_one_measures_what_it_is_for(kind, ioc, tmp_path):
    path = FOLDER / f"epics_{kind}.toml"
    assert config_problems(load_config(path)) == []
    raw, _ = measured(on_port(load_config(path), ioc.port), kind, tmp_path)
    if kind == "operando":
        assert raw.streams["primary"]["potentiostat_charge"] == pytest.approx(2.0, abs=0.5)


@pytest.fixture
def potentiostats(ioc):
    """The device on EPICS, and its twin."""
    config = on_port(load_config(FOLDER / "epics_operando.toml"), ioc.port)
    devices = {"potentiostat": config.devices["potentiostat"]}
    only = config.model_copy(update={"devices": devices, "suspenders": None})
    devices = build_devices(only)
    connect(devices, only.channel_access)
    yield devices["potentiostat"], build_devices(load_config(FOLDER / "simulated_operando.toml"))["potentiostat"]
    disconnect(devices.values())


def test_the_potentiostat_and_its_twin_describe_the_same_and_go_where_they_are_told(potentiostats):
    real, soft = potentiostats
    assert describe(real) == describe(soft)
    assert real.hints == soft.hints
    for device in potentiostats:
        device.set(3.0).wait(20)
        reading = {key: each["value"] for key, each in device.read().items()}
        assert reading["potentiostat_charge"] == pytest.approx(3.0, abs=0.5)
        assert reading["potentiostat_voltage"] == pytest.approx(3.35, abs=0.05)
        with pytest.raises(ValueError, match="potentiostat: 400 mAh/g is outside its limits 0 to 320 mAh/g"):
            device.set(400.0)


def test_a_cell_that_is_stopped_is_held_where_it_is(potentiostats):
    for device in potentiostats:
        device.set(1.0).wait(20)
        status = device.set(300.0)
        device.stop()
        with pytest.raises(Exception, match="stopped"):
            status.wait(20)
        held = [device.read()["potentiostat_charge"]["value"] for _ in range(2)]
        assert held[0] == pytest.approx(held[1], abs=0.5)
        assert held[1] < 290
