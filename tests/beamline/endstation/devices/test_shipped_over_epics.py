"""The shipped endstations of one technique over EPICS, and the potentiostat and its twin."""

import h5py
import pytest
from shipped import FOLDER, PLANS, measured
from test_twins_agree import describe

from beamline.acquire.session import Session, measure_all
from beamline.endstation.build import build_devices
from beamline.endstation.config import load_config
from beamline.endstation.connect import connect, disconnect
from beamline.operations.check import config_problems
from beamline.operations.demonstrate.epics import on_port
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.storage.layout import REDUCTION
from beamline.storage.runs import Runs
from plans import xas

# Nothing else: no undulator, no ring; the cryostat is one of ophyd-async, beside devices of ophyd on EPICS.
XAS_WITH_A_CRYOSTAT = """
[endstation]
name = "XAS with a cryostat"

[channel_access]
clock_tolerance = 2592000.0

[devices.mono]
class = "beamline.endstation.devices.motors.Motor"
prefix = "SIM:Mono:Energy"
role = "energy"
options = { setpoint_key = "energy_setpoint", units = "eV", tolerance = 0.02 }

[devices.scaler]
class = "beamline.endstation.devices.counters.Scaler"
prefix = "SIM:Scaler"
options = { channels = { i0 = 2, tey = 3, tfy = 4 } }
baseline = false

[devices]
shutter = { class = "beamline.endstation.devices.optics.Shutter", prefix = "SIM:Shutter:" }
cryostat = { class = "added_devices.Cryostat", points = true, monitor = true }
"""


@pytest.mark.long
def test_an_absorption_endstation_with_a_cryostat_of_ophyd_async(ioc, tmp_path):
    file = tmp_path / "endstation.toml"
    file.write_text(XAS_WITH_A_CRYOSTAT)
    config = on_port(load_config(file), ioc.port)
    assert config_problems(config) == []
    with Session(config, tmp_path / "data", in_process=True, followers=[REDUCTION]) as session:
        plan = xas(session.endstation, "526:534:1", 100.0, edge="O K", scan="cryostat=20:80:60")
        uids = measure_all(session, plan)
        assert session.drain() == ""
    runs = Runs(tmp_path / "data")
    for uid, temperature in zip(uids, (20.0, 80.0), strict=True):
        raw, derived = runs.load_with_derived(uid)
        assert raw.stop["exit_status"] == "success"
        assert raw.streams["primary"]["energy"] == pytest.approx(raw.streams["primary"]["energy_setpoint"], abs=0.02)
        assert set(derived.frames["cryostat-temperature"]) == {temperature}
        assert raw.streams["cryostat-temperature_monitor"]["cryostat-temperature"][0] == temperature
        assert replay(runs, uid, config=None, source="log", keep=False)["equal"]
    assert write_report(runs, uids[1], tmp_path / "report.html").stat().st_size > 10_000
    (path,) = export(runs, uids[1], "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as exported:
        assert set(exported["entry/raw_primary/cryostat-temperature"][()]) == {80.0}


@pytest.mark.long
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
        device.set(3.0).wait(60)
        reading = {key: each["value"] for key, each in device.read().items()}
        assert reading["potentiostat_charge"] == pytest.approx(3.0, abs=0.5)
        assert reading["potentiostat_voltage"] == pytest.approx(3.35, abs=0.05)
        with pytest.raises(ValueError, match="potentiostat: 400 mAh/g is outside its limits 0 to 320 mAh/g"):
            device.set(400.0)


def test_a_cell_that_is_stopped_is_held_where_it_is(potentiostats):
    for device in potentiostats:
        device.set(1.0).wait(60)
        status = device.set(300.0)
        device.stop()
        with pytest.raises(Exception, match="stopped"):
            status.wait(60)
        held = [device.read()["potentiostat_charge"]["value"] for _ in range(2)]
        assert held[0] == pytest.approx(held[1], abs=0.5)
        assert held[1] < 290
