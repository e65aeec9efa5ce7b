"""What is said of a RIXS map in lines: its drift with a sign, and the known lines of its calibration."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from beamline.operations.runs import marked_ranges
from beamline.techniques.rixs import lines, summarise
from callbacks.contract import RixsResult


def described(**result):
    derived = SimpleNamespace(read=lambda _: RixsResult(**result), frames=SimpleNamespace(columns={}))
    summary = summarise(derived)
    return summary, [f"{label}: {text}" for label, text in lines(summary)]


def test_the_drift_is_that_of_the_last_frame_with_its_sign_and_its_own_uncertainty():
    summary, said = described(
        drift_status="by fluorescence near column 79",
        drift_frame_hours=np.array([0.0, 2.0, 4.0]),
        drift_frame_pixels=np.array([0.0, 1.5, -5.7]),
        drift_frame_sigma=np.array([0.0, 0.9, 0.4]),
    )
    assert summary["drift"]["pixels"] == -5.7
    assert (
        "drift: -5.70 ± 0.40 pixels of the last frame, 4.0 h after the first; by fluorescence near column 79"
    ) in said


def test_without_a_frame_nothing_is_said_of_a_drift():
    summary, said = described(drift_status="not tracked: nothing but the elastic line moves with the chip")
    assert math.isnan(summary["drift"]["pixels"])
    assert not [line for line in said if line.startswith("drift")]


def test_each_known_line_is_described_whether_it_joined_or_not_and_of_reductions_from_before():
    names = {
        "known_names": np.array(["O K"]),
        "known_energy": np.array([525.0]),
        "known_energy_sigma": np.array([0.5]),
        "known_pixel": np.array([78.1]),
        "known_pixel_sigma": np.array([0.3]),
    }
    left_out = {"known_left_out": np.array(["C Ka"]), "known_left_out_reasons": np.array(["expected off the chip"])}
    summary, said = described(**names, known_pull=np.array([0.4]), **left_out)
    assert (
        "known line: O K, 525.00 ± 0.50 eV, joins the fit at column 78.1 ± 0.3, +0.4 sigmas off the other lines" in said
    )
    assert "known line: C Ka does not join the fit: expected off the chip" in said
    assert [line["name"] for line in summary["calibration"]["known_lines"]] == ["O K", "C Ka"]
    summary, _ = described(**names)
    assert math.isnan(summary["calibration"]["known_lines"][0]["pull"])


def test_frames_that_are_marked_alike_one_after_the_other_are_named_as_a_range():
    lost = "I0 lost: not recorded"
    reasons = {3: lost, 4: lost, 5: lost, 7: lost, 8: "I0 partial: 0.56 of its trend"}
    marks = [{"frame": frame, "reason": reason} for frame, reason in reasons.items()]
    assert marked_ranges({"technique": "rixs", "marked_frames": marks}) == [
        ("frames 3 to 5", lost),
        ("frame 7", lost),
        ("frame 8", reasons[8]),
    ]
    assert marked_ranges({"technique": "rixs"}) == []


@pytest.mark.parametrize(("used", "said"), [(1, "1 elastic line used, 0 rows"), (2, "2 elastic lines used, 1 row ")])
def test_one_line_is_one_line(used, said):
    _, lines_said = described(
        calibration_status="ok", calibration_accepted=used, calibration_rejected=used - 1,
        calibration_parameters=np.array([530.0, 0.1, 0.0]),
    )  # fmt: skip
    assert any(said in line for line in lines_said)
