"""Scans are numbered on, whatever happens to the file that holds the last number."""

from contextlib import closing

import pytest

from beamline.acquire.scan_numbers import ScanNumbers
from beamline.errors import BeamlineError
from beamline.storage import Layout, Recorder


def record(data_dir, scan_id, plan_name="xas"):
    with closing(Recorder(data_dir)) as recorder:
        start = {"uid": f"run-{scan_id}", "time": float(scan_id), "scan_id": scan_id, "plan_name": plan_name}
        recorder("start", start)
        recorder("stop", {"uid": "stop", "run_start": start["uid"], "time": 0.0, "exit_status": "success"})


def test_scans_are_numbered_on_from_session_to_session(tmp_path):
    numbers = ScanNumbers(tmp_path)
    assert [numbers.next(), numbers.next(), ScanNumbers(tmp_path).next(), numbers.next()] == [1, 2, 3, 4]
    assert Layout(tmp_path).scan_id.read_text() == "4"


@pytest.mark.parametrize("content", [b"", b"-7", b"twelve", b"\xff\xfe", b"1" * 50, b"3.5", "٣".encode()])
def test_a_file_that_holds_no_number_is_named_and_the_runs_are_counted_on(tmp_path, content, caplog):
    record(tmp_path, 41)
    record(tmp_path, 17174, "import_irixs")  # of another instrument
    Layout(tmp_path).scan_id.write_bytes(content)
    assert ScanNumbers(tmp_path).next() == 42
    assert "expected the number of the last scan; scans are numbered on from 41" in caplog.text


def test_a_file_that_was_lost_or_set_back_gives_no_number_twice(tmp_path, caplog):
    record(tmp_path, 41)
    assert ScanNumbers(tmp_path).next() == 42
    Layout(tmp_path).scan_id.write_text("5")
    assert ScanNumbers(tmp_path).next() == 42  # 42 was given but never recorded
    assert "holds 5, but there is a run of scan 41" in caplog.text


@pytest.mark.parametrize("spoilt", ["", "3", None])
def test_within_a_session_no_number_is_given_twice_whatever_becomes_of_the_file(tmp_path, spoilt):
    record(tmp_path, 6)
    numbers = ScanNumbers(tmp_path)
    assert [numbers.next(), numbers.next()] == [7, 8]
    file = Layout(tmp_path).scan_id
    file.unlink() if spoilt is None else file.write_text(spoilt)
    assert [numbers.next(), numbers.next()] == [9, 10]


def test_a_number_that_cannot_be_kept_starts_no_scan(tmp_path):
    Layout(tmp_path).scan_id.mkdir(parents=True)
    with pytest.raises(BeamlineError, match="the number of the scan cannot be kept, it cannot start: Is a directory"):
        ScanNumbers(tmp_path).next()
