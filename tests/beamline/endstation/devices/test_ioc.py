"""The IOC as others see it: it answers `beamline check`, moves like hardware, is stopped, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import time

import epics
import pytest
from command_line import answer, as_json
from ioc_faults import switch
from ophyd._pyepics_shim import PyepicsShimPV

from beamline.endstation import connect as connecting
from beamline.endstation.build import build_devices
from beamline.endstation.config import EPICS, load_config
from beamline.endstation.devices.task import ConnectionLostError, DeviceError, StoppedError
from beamline.endstation.devices.waits import put_and_wait, put_without_waiting
from beamline.operations.simulated_ioc import running_ioc

pytestmark = pytest.mark.long

PORT = int(os.environ["EPICS_CA_SERVER_PORT"])
PATIENCE = 60.0  # s for all devices to answer on a computer that has much else to do


@pytest.fixture
def file(ioc, tmp_path):
    """The shipped configuration, on the port of the tests."""
    path = tmp_path / "epics.toml"
    text = EPICS.read_text().replace("port = 5064", f"port = {PORT}")
    path.write_text(text.replace("timeout = 5.0", f"timeout = {PATIENCE}"))
    return path


def test_check_says_what_answered_and_how_fast(file):
    found = as_json("check", "--config", file)
    assert found["ok"] is True
    devices = {device["device"]: device for device in found["devices"]}
    assert devices.keys() == load_config(EPICS).devices.keys()
    assert devices["energy"]["pvs"] == 16
    assert all(
        0 < device["connect_seconds"] < PATIENCE and 0 < device["read_seconds"] < PATIENCE
        for device in devices.values()
    )


def test_check_names_the_pvs_that_do_not_answer(file):
    text = file.read_text().replace(f"timeout = {PATIENCE}", "timeout = 1.0")
    file.write_text(text.replace('"SIM:ExitSlit"', '"SIM:ExitSlot"'))
    found = answer("check", "--config", file)
    assert found.code == 1
    assert "0 of 8" in found.stdout
    assert "no answer" in found.stdout
    line = (
        "beamline: exit_slit: no answer within 1 s from SIM:ExitSlot.RBV, SIM:ExitSlot.VAL, SIM:ExitSlot.VELO"
        f" and 5 more: no IOC serves it at 127.0.0.1, port {PORT}"
    )
    assert line in found.stderr.splitlines()  # on a busy computer others may be late, too


def test_check_names_a_device_whose_state_is_not_known(file):
    switch("Alarm", "FE:Sts INVALID")
    try:
        found = answer("check", "--config", file)
    finally:
        switch("Alarm", "")
    assert found.code == 1
    assert found.stderr.strip().splitlines()[-1] == (
        "beamline: front_end_shutter: not ready: SIM:FE:Sts is INVALID (READ)"
    )


def test_a_process_variable_whose_first_answer_is_lost_is_asked_again(config, monkeypatch):
    lost = []

    def lose_the_first(pv, callback, *, timeout):
        if lost or not pv.pvname.endswith("ExitSlit.RBV"):
            original(pv, callback, timeout=timeout)
        else:
            lost.append(pv.pvname)

    original = PyepicsShimPV.get_all_metadata_callback
    monkeypatch.setattr(PyepicsShimPV, "get_all_metadata_callback", lose_the_first)
    monkeypatch.setattr(connecting, "ASK_AGAIN", 0.1)
    devices = build_devices(config)
    try:
        answers = {found.device: found for found in connecting.connect(devices, config.channel_access)}
    finally:
        connecting.disconnect(devices.values())
    assert lost == ["SIM:ExitSlit.RBV"]
    assert answers["exit_slit"].problem == ""


def test_a_channel_is_not_cleared_while_something_is_asked_of_it(config, monkeypatch):
    asked, asking, cleared = [], set(), []

    def slow(pv, timeout):
        asked.append(pv.pvname)
        asking.add(pv.pvname)
        try:
            time.sleep(0.02)
            return ask(pv, timeout)
        finally:
            asking.remove(pv.pvname)

    def noted(chid):
        cleared.append(set(asking))
        return clear(chid)

    ask, clear = PyepicsShimPV.get_all_metadata_blocking, epics.ca.clear_channel
    monkeypatch.setattr(PyepicsShimPV, "get_all_metadata_blocking", slow)
    monkeypatch.setattr(epics.ca, "clear_channel", noted)
    devices = build_devices(config)
    while len(asked) < 20:
        time.sleep(0.001)
    connecting.disconnect(devices.values())
    assert len(cleared) > 20
    assert not any(cleared)


def test_a_signal_made_while_its_process_variable_connects_for_another_is_told_all_the_same(config, monkeypatch):
    """The second of two devices that share a process variable asks in the moment before it is marked connected."""
    monkeypatch.setattr(connecting, "ASK_AGAIN", 0.1)
    first = build_devices(config)
    try:
        connecting.require(connecting.connect(first, config.channel_access))
        variables = [epics.get_pv(f"SIM:ExitSlit.{field}") for field in ("VELO", "RBV")]  # those of `first`
        for pv in variables:
            pv.connected = False
        second = build_devices(config)
        for pv in variables:
            pv.connected = True
        try:
            assert not second["exit_slit"].velocity.connected
            connecting.require(connecting.connect(second, config.channel_access))
            assert second["exit_slit"].velocity.get() == first["exit_slit"].velocity.get()
        finally:
            connecting.disconnect(second.values())
    finally:
        connecting.disconnect(first.values())


def test_an_endstation_on_epics_offers_no_truth(session):
    assert session.endstation.truth is None


def test_a_motor_that_is_stopped_is_not_done(session):
    motor = session.endstation.coarse_x
    motor.set(0.0).wait(60)
    epics.caput("SIM:STXM:CoarseX.VELO", 1.0, wait=True)
    time.sleep(0.2)  # the speed is monitored
    try:
        status = motor.set(2000.0)  # 2 s on the wall
        deadline = time.monotonic() + 1.0
        while not motor.position > 200:  # on a busy computer it begins late
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not status.done
        assert epics.caget("SIM:STXM:CoarseX.DMOV") == 0
        motor.stop()
        with pytest.raises(StoppedError, match="coarse_x: stopped"):
            status.wait(60)
        time.sleep(0.2)
        assert epics.caget("SIM:STXM:CoarseX.DMOV") == 1
        assert 100 < motor.position < 1500
        status = motor.set(2000.0)
        time.sleep(0.3)
        motor.stop(success=True)  # as the engine does for a pause
        status.wait(60)
    finally:
        epics.caput("SIM:STXM:CoarseX.VELO", 500.0, wait=True)
        time.sleep(0.2)
    motor.set(0.0).wait(60)


def test_energy_moves_the_gap_by_its_table(session):
    energy = session.endstation.energy
    for wanted in (400.0, 533.3, 780.0):
        energy.set(wanted).wait(60)
        reading = {key: each["value"] for key, each in energy.read().items()}
        assert reading["energy"] == pytest.approx(wanted, abs=0.02)
        assert reading["energy_setpoint"] == wanted
        assert reading["undulator_gap"] == pytest.approx(energy.gap_for(wanted), abs=1e-3)


@pytest.mark.parametrize("end", ["stdin", "SIGTERM", "SIGINT"])
def test_an_ioc_that_is_stopped_leaves_neither_process_nor_port(end):
    with running_ioc(EPICS) as running:
        if end != "stdin":
            running.process.send_signal(getattr(signal, end))
            assert running.process.wait(60) == 0
    assert running.process.returncode == 0
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", running.port))


def test_a_port_that_is_taken_is_named(ioc):
    command = ["beamline", "ioc", "--port", str(PORT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"beamline: the IOC cannot serve: port {PORT} of 127.0.0.1 is in use: choose another, or 0 for any"
    )


def test_a_put_that_the_server_refuses_is_a_failure_that_names_it(session):
    scanner = session.endstation.scanner
    with pytest.raises(DeviceError, match=r"scanner: SIM:STXM:MCS:Channels refused 5000, expected it to be accepted: "):
        put_and_wait(scanner.columns, 5000, timeout=5.0, wanted="5000")  # the IOC takes up to 4,000
    motor = session.endstation.coarse_y
    with pytest.raises(
        DeviceError, match=r"coarse_y: SIM:STXM:CoarseY\.VAL refused 9000\.0, expected it to be accepted: "
    ):
        put_and_wait(motor.setpoint, 9000.0, timeout=5.0, wanted="9000")


def test_a_detector_that_is_triggered_again_ends_what_it_did_and_counts_anew(session):
    scaler = session.endstation.scaler
    scaler.dwell.set(3000.0).wait(60)  # 3 s on the wall
    first = scaler.trigger()
    time.sleep(0.2)
    scaler.dwell.set(10.0).wait(60)
    scaler.trigger().wait(60)
    assert first.done
    assert scaler.read()["i0"]["value"] == pytest.approx(10 * 86000, rel=0.2)


def test_a_detector_that_did_not_finish_is_told_to_end(session):
    scaler = session.endstation.scaler
    scaler.margin = -2998.5  # of 3000 s: it waits for 1.5 s
    scaler.dwell.set(3000.0).wait(60)
    with pytest.raises(DeviceError, match=r"scaler: SIM:Scaler\.CNT is 1, expected 0 \(counted\) within 1\.5 s"):
        scaler.trigger().wait(60)
    time.sleep(0.3)
    assert epics.caget("SIM:Scaler.CNT") == 0


def test_a_write_to_a_channel_that_is_lost_at_this_moment_is_a_lost_connection(session, monkeypatch):
    motor = session.endstation.coarse_x

    def without_elements(*_, **__):
        len(1)  # as pyepics does

    monkeypatch.setattr(motor.stop_field, "put", without_elements)
    put_without_waiting(motor.stop_field, 1)  # a wait for it will say so
    with pytest.raises(ConnectionLostError, match="was disconnected, what it did is not known"):
        put_and_wait(motor.stop_field, 1, timeout=1.0, wanted="stopped")
