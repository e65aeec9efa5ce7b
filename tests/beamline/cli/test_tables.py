"""Tables lose no character where a terminal is narrow, and break no word but those of a sample's name."""

import io

import pytest

from beamline.cli import printing


@pytest.fixture
def shown(monkeypatch):
    console = printing.PlainConsole()
    console.file, console.width = io.StringIO(), 80
    monkeypatch.setattr(printing, "console", console)
    return console.file.getvalue


def test_the_list_of_runs_fits_into_80_columns_with_whole_words(shown):
    entry = {
        "uid": "66140c9f-2135", "scan_id": 17174, "time": "2026-11-26 23:12:31+00:00", "technique": "rixs",
        "sample": "LiNiO2 charged to 4.4 V", "measured": 121, "points": 500, "problems": ["one"],
    }  # fmt: skip
    printing.print_runs([entry], "here")
    text = shown()
    assert all(len(line) <= 80 for line in text.splitlines())
    words = {"technique", "problems", "2026-11-26", "23:12", "LiNiO2", "charged", "121 of 500"}
    assert all(word in text for word in words)
    assert "…" not in text


@pytest.mark.parametrize("scan_id", [17174, "a scan of a very long name of another instrument"])
def test_the_table_of_maps_is_whole(shown, scan_id):
    run = {
        "run": "66140c9f-2135", "scan_id": scan_id, "lines_used": 11, "dispersion_ev_per_pixel": 0.2230,
        "dispersion_sigma": 0.0054, "pull": -1.3, "offset_pixels": -6.14, "offset_sigma": 0.19, "drift_pixels": -7.31,
        "drift_sigma": 0.44, "intensity_over_first": 1.0, "intensity_over_first_sigma": 0.0, "problems": [],
    }  # fmt: skip
    outcome = {
        "technique": "rixs", "runs": [run, run], "dispersion_ev_per_pixel": 0.2278, "dispersion_sigma": 0.0069,
        "at_ev": 777.0, "lines": {"used": 19}, "chi_square": 1.77, "degrees_of_freedom": 1, "p_value": 0.18,
        "rows_in_all": 48, "rows": 48, "alarm": "", "left_out": [], "derived_uid": "3ad12d21",
    }  # fmt: skip
    printing.print_analysis(outcome)
    rows = [line for line in shown().splitlines() if line.startswith("66140c9f  ")]
    assert len(rows) == 2
    for row in rows:
        assert str(scan_id) in row
        assert row.rstrip().endswith("0.2230 ± 0.0054        -1.3  -6.14 ± 0.19  -7.31 ± 0.44")
