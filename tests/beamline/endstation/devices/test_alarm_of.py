"""What an alarm and a time say of a value, as the process variable gave them."""

import logging

import pytest

from beamline.acquire.alarm_log import AlarmLog
from beamline.endstation.devices.alarms import Alarm, alarm_of
from callbacks.contract import Severity

NOW = 1_800_000_000.0
EPICS_EPOCH = 631_152_000.0
HOUR, DAY = 3600.0, 86400.0


def judged(severity=0, status=0, age=0.0, **options):
    answer = {"severity": severity, "status": status, "timestamp": NOW - age}
    return alarm_of("SIM:X", answer, now=NOW, **options)


@pytest.mark.parametrize(
    ("severity", "status", "judgement", "message"),
    [
        (0, 0, Severity.NO_ALARM, ""),
        (1, 4, Severity.MINOR, "SIM:X is MINOR (HIGH)"),
        (2, 5, Severity.MAJOR, "SIM:X is MAJOR (LOLO)"),
        (3, 14, Severity.INVALID, "SIM:X is INVALID (LINK)"),
        (3, 17, Severity.INVALID, "SIM:X is INVALID (UDF), never processed"),
        (2, 17, Severity.INVALID, "SIM:X is MAJOR (UDF), never processed"),  # as the field UDFS of a record may have it
        (0, 17, Severity.INVALID, "SIM:X was never processed"),
        (7, 99, Severity.INVALID, "SIM:X is 7 (99)"),
        (-1, 0, Severity.INVALID, "SIM:X is -1 (NO_ALARM)"),
    ],
)
def test_only_what_is_invalid_or_undefined_is_not_known(severity, status, judgement, message):
    assert judged(severity, status) == Alarm(judgement, message, NOW)


def test_a_time_of_zero_is_that_of_a_record_never_processed():
    assert judged(age=NOW - EPICS_EPOCH) == Alarm(Severity.INVALID, "SIM:X was never processed", NOW)


@pytest.mark.parametrize(
    ("age", "is_new", "said"),
    [
        (-HOUR + 1, True, ""),
        (-2 * HOUR, True, "is dated 2 hours ahead by this computer's clock"),
        (-2 * HOUR, False, "is dated 2 hours ahead by this computer's clock"),
        (3 * DAY, False, ""),  # of a motor that has not moved since
        (3 * DAY, True, "is dated 3 days ago by this computer's clock"),
        (NOW - EPICS_EPOCH - DAY, False, "is dated 13527 days ago by this computer's clock"),  # an IOC without the time
    ],
)
def test_a_time_that_cannot_be_meant_is_named_and_replaced_and_the_value_is_kept(age, is_new, said):
    found = judged(age=age, is_new=is_new)
    assert found == Alarm(Severity.NO_ALARM, f"SIM:X {said}" if said else "", NOW if said else NOW - age)


def test_the_clock_may_be_off_by_what_is_configured():
    assert judged(age=-2 * DAY, tolerance=3 * DAY).message == ""


def test_an_answer_without_alarm_or_time_has_none():
    assert alarm_of("SIM:X", {}, now=NOW) == Alarm(Severity.NO_ALARM, "", NOW)


def test_each_process_variable_is_logged_once_in_a_run_for_each_severity(caplog):
    log = AlarmLog()
    descriptor = {
        "uid": "d",
        "name": "primary",
        "object_keys": {"scaler": [], "other": []},
        "data_keys": {"scaler_alarm": {}, "scaler_severity": {}},
    }
    texts = [
        (0, ""),
        (3, "SIM:A is nan"),
        (3, "SIM:A is -5, below zero; SIM:B is INVALID (LINK)"),
        (1, "SIM:A is MINOR (LOW)"),
    ]
    with caplog.at_level(logging.WARNING, "beamline.acquire.alarm_log"):
        for _run in range(2):
            log("start", {})
            log("descriptor", descriptor)
            for number, (severity, text) in enumerate(texts, 1):
                data = {"scaler_severity": severity, "scaler_alarm": text}
                log("event", {"descriptor": "d", "seq_num": number, "data": data})
    said = ["scaler: SIM:A is nan (event primary 2)", "scaler: SIM:B is INVALID (LINK) (event primary 3)"]
    assert [record.getMessage() for record in caplog.records] == said * 2
