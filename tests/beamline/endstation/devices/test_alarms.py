"""Alarms over the wire: what is INVALID or was never processed is not known, what is MAJOR is kept and named."""

import logging
import re
import threading
import time
from contextlib import closing

import epics
import numpy as np
import pytest
from bluesky import RunEngine
from ioc_faults import switch
from ophyd.utils.errors import LimitError

from beamline.acquire.session import measure
from beamline.endstation.devices import Reading, motors
from beamline.endstation.devices.task import DeviceError
from beamline.errors import BeamlineError
from beamline.operations.replay import reduce_documents
from beamline.storage.log import open_log
from beamline.storage.results import collect
from callbacks.contract import Key
from plans import stxm_image, xas
from plans.checks import check_beamline
from plans.errors import PlanError
from plans.measuring import point as point_module

pytestmark = pytest.mark.long

SAMPLE = "LRNMC 311 mAh/g"
YEAR = 365.0 * 86400.0  # s


def before_points(session, faults):
    """Switch the alarms of `faults`, by the number of a point, before that point is measured."""
    points = []

    def hook(message):
        if message.command == "checkpoint":
            points.append(message)
            epics.ca.use_initial_context()
            for alarm in faults.get(len(points), ()):
                switch("Alarm", alarm)

    session.RE.msg_hook = hook


def after(seconds, alarm):
    """Switch an alarm some time from now."""

    def put():
        epics.ca.use_initial_context()
        switch("Alarm", alarm)

    threading.Timer(seconds, put).start()


def reduced(session, documents):
    with closing(open_log(session.data_dir, documents.of("start")[0]["uid"])) as log:
        return collect(reduce_documents(list(log), {})).result


def data(documents, key):
    return [event["data"][key] for event in documents.events()]


def test_a_value_that_is_not_known_reads_nan_with_its_severity_and_status(session):
    scaler = session.endstation.scaler
    scaler.dwell.set(10.0).wait(60)  # 20 dark counts: one second may have none
    for alarm in ("Scaler.S2 INVALID", "Scaler.S3 MAJOR", "Scaler.S4 UNPROCESSED"):
        switch("Alarm", alarm)
    scaler.trigger().wait(60)
    reading = {key: each["value"] for key, each in scaler.read().items()}
    assert np.isnan([reading[Key.I0], reading[Key.TFY]]).all()
    assert reading[Key.TEY] > 0
    assert reading["scaler_severity"] == 3
    assert reading["scaler_alarm"] == (
        "SIM:Scaler.S2 is INVALID (READ); SIM:Scaler.S3 is MAJOR (HIHI); "
        "SIM:Scaler.S4 is INVALID (UDF), never processed"
    )
    switch("Alarm", "")
    switch("Alarm", "Scaler.S2 MINOR")
    scaler.trigger().wait(60)
    reading = {key: each["value"] for key, each in scaler.read().items()}
    assert reading[Key.I0] > 0
    assert (reading["scaler_severity"], reading["scaler_alarm"]) == (1, "SIM:Scaler.S2 is MINOR (HIGH)")


def test_value_and_alarm_are_of_one_answer_also_where_the_pv_is_monitored(session):
    ring = session.endstation.ring  # which the suspender monitors
    for alarm, severity in (("SR:Current INVALID", 3), ("", 0)) * 10:
        switch("Alarm", alarm)
        reading = ring.read()
        assert reading["ring_severity"]["value"] == severity
        assert np.isnan(reading[Key.RING_CURRENT]["value"]) == (severity == 3)


@pytest.mark.parametrize(("offset", "said"), [(-2 * YEAR, "730 days ago"), (2 * YEAR, "730 days ahead")])
def test_a_time_that_cannot_be_meant_is_named_and_not_used(session, offset, said):
    scaler = session.endstation.scaler
    switch("ClockOffset", offset)
    scaler.trigger().wait(60)
    reading = scaler.read()
    assert reading[Key.I0]["value"] > 0
    assert abs(reading[Key.I0]["timestamp"] - time.time()) < 60
    assert reading["scaler_severity"]["value"] == 0
    assert f"SIM:Scaler.S2 is dated {said} by this computer's clock; " in reading["scaler_alarm"]["value"]


def test_points_whose_i0_is_not_known_are_nan_with_the_reason_and_a_major_alarm_is_used(session, documents, caplog):
    before_points(
        session,
        {2: ["Scaler.S2 INVALID"], 4: ["", "Scaler.S2 UNPROCESSED"], 5: ["", "Scaler.S3 MAJOR"], 7: [""]},
    )
    with caplog.at_level(logging.WARNING, "beamline.acquire.alarm_log"):
        measure(session, xas(session.endstation, "530:536:1", 10.0, sample=SAMPLE))
        session.drain()
    lost = [False, True, True, True, False, False, False]
    assert np.isnan(data(documents, Key.I0)).tolist() == lost
    assert data(documents, "scaler_severity") == [0, 3, 3, 3, 2, 2, 0]
    result = reduced(session, documents)
    assert np.isnan(result["tey_over_i0_spectrum"]).tolist() == lost
    marks = dict(zip(result["marked_frames"].tolist(), result["marks"].tolist(), strict=True))
    assert marks == {
        2: "I0 lost: not recorded; SIM:Scaler.S2 is INVALID (READ)",
        3: "I0 lost: not recorded; SIM:Scaler.S2 is INVALID (READ)",
        4: "I0 lost: not recorded; SIM:Scaler.S2 is INVALID (UDF), never processed",
        5: "SIM:Scaler.S3 is MAJOR (HIHI) (to 6)",
    }
    assert [record.getMessage() for record in caplog.records if record.name == "beamline.acquire.alarm_log"] == [
        "scaler: SIM:Scaler.S2 is INVALID (READ) (event primary 2)",
        "scaler: SIM:Scaler.S3 is MAJOR (HIHI) (event primary 5)",
    ]


def test_a_line_whose_counts_are_not_known_is_nan_with_the_reason(session, documents):
    session.endstation.scanner.margin = 60.0  # s; the first line is computed as the sample is
    before_points(session, {2: ["STXM:MCS:Counts INVALID"], 3: [""]})
    measure(session, stxm_image(session.endstation, 530.0, "x=-1:1:0.1 y=0:0.4:0.1", 0.01, sample=SAMPLE, dark_lines=0))
    assert [bool(np.isnan(line).all()) for line in data(documents, Key.STXM_COUNTS)] == [
        False,
        True,
        False,
        False,
        False,
    ]
    result = reduced(session, documents)
    assert result["marked_frames"].tolist() == [2]
    assert result["marks"].tolist() == ["line not known; SIM:STXM:MCS:Counts is INVALID (READ)"]


@pytest.mark.parametrize(
    ("pv", "said"),
    [
        (
            "SR:Current",
            "ring_current: not known: SIM:SR:Current is INVALID (READ); waits until it is above 450 mA",
        ),
        ("FE:Sts", "front_end_shutter: not known: SIM:FE:Sts is INVALID (READ); waits until it is open"),
    ],
)
def test_light_that_is_not_known_suspends_until_it_is(session, documents, pv, said):
    before_points(session, {3: [f"{pv} INVALID"]})
    session.RE.subscribe(lambda _name, doc: after(0.3, "") if "interruption" in doc["data"] else None, "event")
    measure(session, xas(session.endstation, "530:533:1", 10.0, sample=SAMPLE))
    said_at = [event["data"]["interruption"] for event in documents.of("event") if "interruption" in event["data"]]
    assert said_at[0] == said
    assert [event["seq_num"] for event in documents.events()] == [1, 2, 3, 4]
    assert np.isfinite(data(documents, Key.RING_CURRENT)).all()
    assert documents.stop["exit_status"] == "success"


def test_a_motor_whose_readback_is_not_known_does_not_move(session):
    switch("Alarm", "STXM:CoarseX.RBV INVALID")
    coarse = session.endstation.coarse_x
    assert np.isnan(coarse.position)
    with pytest.raises(DeviceError, match=r"^coarse_x: .*CoarseX\.RBV is INVALID \(READ\), expected a position$"):
        coarse.set(coarse.setpoint.get() + 1.0).wait(60)


def test_a_move_does_not_end_on_a_readback_that_is_not_known(session, monkeypatch):
    monkeypatch.setattr(motors, "ARRIVAL", 0.1)
    coarse = session.endstation.coarse_x
    stopped = threading.Event()
    coarse.move(10.0, stopped)
    switch("Alarm", "STXM:CoarseX.RBV INVALID")
    with pytest.raises(DeviceError, match=r"CoarseX\.RBV is INVALID \(READ\), expected 10 ± 0\.02 um within 0\.1 s$"):
        coarse.check_position(10.0, stopped)


def test_a_point_whose_energy_is_not_known_is_kept_apart_and_ends_the_run_where_it_stays_so(
    session, documents, monkeypatch
):
    monkeypatch.setattr(point_module, "RECONNECT", 0.01)
    session.RE.msg_hook = lambda message: _lose_the_energy(message, documents)
    with pytest.raises(BeamlineError) as error:
        measure(session, xas(session.endstation, "530:536:1", 10.0, sample=SAMPLE))
    assert str(error.value) == "the plan failed: energy: SIM:Mono:Energy.RBV is INVALID (READ), expected a position"
    assert data(documents, Key.ENERGY_SETPOINT) == [530.0, 531.0]
    (kept,) = documents.events("interrupted")
    assert np.isnan(kept["data"][Key.ENERGY])
    assert kept["data"][Key.I0] > 0
    assert documents.stop["exit_status"] == "fail"


def _lose_the_energy(message, documents):
    """While the third point is counted."""
    if message.command == "create" and len(documents.events()) == 2 and message.kwargs["name"] == "primary":
        epics.ca.use_initial_context()
        switch("Alarm", "Mono:Energy.RBV INVALID")


def test_counts_that_are_those_of_the_point_before_are_named(session):
    scaler = session.endstation.scaler
    scaler.trigger().wait(60)
    before = scaler.read()
    switch("Alarm", "Scaler.S2 FROZEN")
    scaler.trigger().wait(60)
    reading = scaler.read()
    assert reading[Key.I0]["value"] == before[Key.I0]["value"]
    assert before["scaler_severity"]["value"] == 0
    assert reading["scaler_severity"]["value"] == 2
    assert reading["scaler_alarm"]["value"] == "SIM:Scaler.S2 was not renewed since the point before"


def test_an_instrument_that_counts_no_counts_is_not_believed(session):
    pv = session.endstation.scaler.channel_i0.pvname
    scaler = session.endstation.scaler
    for value, said in ((-5.0, f"{pv} is -5, below zero"), (np.inf, f"{pv} is inf"), (np.nan, f"{pv} is nan")):
        assert epics.caput(pv, value, wait=True, timeout=5) == 1
        reading = scaler.read()
        assert np.isnan(reading[Key.I0]["value"])
        assert (reading["scaler_severity"]["value"], reading["scaler_alarm"]["value"]) == (3, said)


def test_what_is_no_number_is_named_and_not_taken_for_one(session):
    array = session.endstation.scanner.counts.pvname
    epics.caput(array, [1.0, 2.0, 3.0], wait=True, timeout=5)
    model = session.endstation.ccd.model.pvname
    for pv, seen in ((model, f"{model} is 'DO936N', expected"), (array, f"{array} is an array of 3 values, expected")):
        signal = Reading(pv, name="read")
        try:
            with pytest.raises(DeviceError, match=f"^read: {re.escape(seen)} a number$"):
                signal.read()
        finally:
            signal.destroy()


def test_nothing_is_set_to_what_is_no_number_and_no_wait_is_without_end(session):
    for device in (session.endstation.coarse_x, session.endstation.scanner.y, session.endstation.energy):
        for value in (np.nan, np.inf):
            with pytest.raises(LimitError, match=f"^{device.name}: {value:g} "):
                device.set(value)
    scaler = session.endstation.scaler
    scaler.margin = np.nan
    with pytest.raises(DeviceError, match=r"^scaler: SIM:Scaler\.CNT would be waited for nan s, expected an end$"):
        scaler.trigger().wait(60)


def test_a_plan_is_refused_with_the_alarm_of_the_front_end_shutter(session):
    switch("Alarm", "FE:Sts INVALID")
    with pytest.raises(PlanError) as error:
        RunEngine(context_managers=[])(check_beamline(session.endstation, ""))
    assert str(error.value) == (
        "front_end_shutter: is 'unknown' (SIM:FE:Sts is INVALID (READ)), expected 'open'; there is no light"
    )
