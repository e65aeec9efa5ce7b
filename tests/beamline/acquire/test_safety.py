"""Before a plan starts it is assessed: refused if it cannot finish, and timed by what past runs took."""

import io
import json
from datetime import datetime

import event_model
import numpy as np
import pytest
from command_line import answer, as_json, beamline
from rich.console import Console

from beamline.acquire.safety import DOCUMENT_COPIES, MOST_RUNS, REDUCED_FRAMES, assess
from beamline.cli import printing
from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from callbacks.contract import MEASUREMENT, Key
from plans import rixs_map, stxm_image, xas

MAP = "526:537.9:0.1"  # 120 energies
FRAME = 64 * 2048 * 2  # bytes


@pytest.fixture
def endstation(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def assess_map(endstation, data_dir, minimum_free_gb=1.0, exposure_time=300.0):
    plan = rixs_map(endstation, MAP, exposure_time, dark_ttl=1e6)
    return assess(plan, endstation, data_dir, minimum_free_gb)


def record(data_dir, seconds, data, *, technique="rixs", begin=1_700_000_000.0, points=6, **metadata):
    """Record a run with an event of `data` every `seconds` of the wall clock."""
    recorder = Recorder(data_dir)
    start = {"plan_name": "test", MEASUREMENT: {"technique": technique}, **metadata}
    run = event_model.compose_run(time=begin, metadata=start)
    recorder("start", run.start_doc)
    data_keys = {key: {"dtype": "number", "shape": list(np.shape(value)), "source": ""} for key, value in data.items()}
    stream = run.compose_descriptor(name="primary", data_keys=data_keys)
    recorder("descriptor", stream.descriptor_doc)
    for point in range(points):
        now = begin + seconds * (point + 1) + (1000.0 if point > 4 else 0.0)  # a pause at the end
        recorder("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, now), time=now))
    recorder("stop", run.compose_stop())
    recorder.close()
    return run.start_doc["uid"]


def test_a_map_is_summarised_in_one_line_with_its_time_its_end_and_its_bytes(endstation, tmp_path, monkeypatch):
    assessment = assess_map(endstation, tmp_path)
    text = assessment.text(datetime(2026, 11, 21, 16, 50))
    assert text.startswith(
        "120 frames and 3 dark frames, 10.2 h of exposure, about 10.3 h in all (ends Sun 03:07), 49.9 MB to write, "
    )
    assert text.endswith(" free")
    assert assessment.estimate.frame_bytes == 123 * FRAME
    assert assessment.duration == pytest.approx(123 * 301.0)
    console = Console(record=True, file=io.StringIO(), width=40)
    monkeypatch.setattr(printing, "console", console)
    printing.print_assessment(assessment)
    said, warning = console.export_text().splitlines()
    assert said == assessment.text()
    assert warning.startswith("warning: order up: over 10.2 h a drift")


def test_lines_points_and_several_runs_are_called_by_their_names(endstation, tmp_path):
    image = assess(stxm_image(endstation, 530.0, "x=-1:1:0.1 y=0:1:0.1", dark_lines=1), endstation, tmp_path, 1.0)
    assert image.text().startswith("11 lines and 1 dark line, 0.3 s of exposure, about 1.5 s in all (ends ")

    def two_spectra():
        yield from xas(endstation, "520:524:1", 60.0)
        yield from xas(endstation, "520:524:1", 60.0)

    assert assess(two_spectra(), endstation, tmp_path, 1.0).text().startswith("10 points in 2 runs, 10.0 min")


def test_a_plan_whose_data_do_not_fit_is_refused_with_what_is_free_needed_and_kept(endstation, small_disk):
    assessment = assess_map(endstation, small_disk / "data", minimum_free_gb=0.0005)
    words = (
        rf"^data folder {small_disk}/data: 3\.\d+ MB free, this plan writes about 49\.9 MB and 500 kB must remain "
        r"\(storage\.minimum_free_gb\)$"
    )
    with pytest.raises(BeamlineError, match=words):
        assessment.refuse()
    assert list(small_disk.iterdir()) == []
    small = assess(xas(endstation, "520:524:1"), endstation, small_disk, 0.0005)
    small.refuse()
    with pytest.raises(BeamlineError, match="1 GB must remain"):
        assess(xas(endstation, "520:524:1"), endstation, small_disk, 1.0).refuse()


def test_what_is_written_is_frames_documents_and_what_the_reduction_makes_of_them(endstation, tmp_path):
    assessment = assess_map(endstation, tmp_path)
    planned = assessment.estimate
    expected = planned.frame_bytes * (1 + REDUCED_FRAMES) + planned.document_bytes * DOCUMENT_COPIES
    assert assessment.bytes == pytest.approx(expected, abs=1)
    answer = assessment.as_dict()
    assert answer["points"] == answer["frames"] == {"primary": 120, "dark": 3}
    assert answer["bytes"] == assessment.bytes
    assert json.loads(json.dumps(answer)) == answer


def test_limits_are_one_line_and_the_plans_own_refusals_too(endstation, tmp_path):
    with pytest.raises(BeamlineError, match=r"^energy: 5 eV is outside its limits 200 to 1500 eV$"):
        assess(xas(endstation, "5:6:0.5"), endstation, tmp_path, 1.0)
    with pytest.raises(BeamlineError, match="holds no 'gold'"):
        assess(xas(endstation, "520:524:1", sample="gold"), endstation, tmp_path, 1.0)


def test_a_device_that_does_not_answer_is_one_line(endstation, tmp_path, monkeypatch):
    def read():
        raise TimeoutError("front_end_shutter: not connected\n within 1 s")

    monkeypatch.setattr(endstation.front_end_shutter, "read", read)
    with pytest.raises(BeamlineError, match=r"^the plan cannot be checked: .* not connected within 1 s$"):
        assess(xas(endstation, "520:524:1"), endstation, tmp_path, 1.0)


def test_the_time_of_a_point_is_learnt_from_runs_of_the_same_technique(endstation, tmp_path):
    uid = record(tmp_path, 304.0, {Key.EXPOSURE_TIME: 300.0, Key.DWELL: 300.0})
    record(tmp_path, 9.0, {Key.DWELL: 1.0}, technique="xas")
    record(tmp_path, 400.0, {Key.EXPOSURE_TIME: 300.0}, imported_from="/other")
    record(tmp_path, 400.0, {Key.EXPOSURE_TIME: 300.0}, points=2)  # too short to tell
    assessment = assess_map(endstation, tmp_path, exposure_time=60.0)
    assert assessment.pace.learnt_from == (uid,)
    assert assessment.pace.overhead == pytest.approx(4.0)  # the pause does not count
    assert assessment.duration == pytest.approx(123 * 64.0)
    assert assess(xas(endstation, "520:524:1", 2.0), endstation, tmp_path, 1.0).duration == pytest.approx(5 * 10.0)


def test_only_the_newest_runs_are_learnt_from(endstation, tmp_path):
    begin = 1_700_000_000.0
    uids = [
        record(tmp_path, seconds, {Key.EXPOSURE_TIME: 300.0}, begin=begin + 1e5 * place)
        for place, seconds in enumerate((350.0, 303.0, 303.0, 303.0))
    ]
    pace = assess_map(endstation, tmp_path).pace
    assert pace.learnt_from == tuple(reversed(uids[1:]))
    assert len(pace.learnt_from) == MOST_RUNS
    assert pace.overhead == pytest.approx(3.0)


def test_lines_count_for_all_their_pixels(endstation, tmp_path):
    record(tmp_path, 0.5, {Key.STXM_DWELL: np.full(100, 0.004)}, technique="stxm")
    plan = stxm_image(endstation, 530.0, "x=-1:1:0.02 y=0:0.9:0.1", 0.01, dark_lines=0)
    assessment = assess(plan, endstation, tmp_path, 1.0)
    assert assessment.pace.overhead == pytest.approx(0.1)
    assert assessment.duration == pytest.approx(10 * (101 * 0.01 + 0.1))


def test_an_accelerated_clock_is_taken_as_it_runs(endstation, tmp_path):
    record(tmp_path, 0.4, {Key.EXPOSURE_TIME: 300.0})
    assessment = assess_map(endstation, tmp_path)
    assert assessment.pace.interval == pytest.approx(0.4)
    assert assessment.duration == pytest.approx(123 * 0.4)
    assert "10.2 h of exposure, about 49.2 s in all" in assessment.text()


def test_a_dry_run_prints_and_starts_nothing(tmp_path):
    plan = ["run", "rixs_map", "--regions", MAP, "--exposure-time", "300", "--dry-run", "--data-dir", tmp_path]
    text = answer(*plan)
    assert text.stdout.startswith("120 frames and ")
    assert text.stdout.count("\n") == 2  # and a warning: its order is up
    assert text.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    refused = beamline("run", "xas", "--regions", "5:6:0.1", "--dry-run", "--data-dir", tmp_path, expect=1)
    assert refused == "beamline: energy: 5 eV is outside its limits 200 to 1500 eV\n"
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(load_config().path.read_text() + "\n[processing.rixs.cosmic_rays]\ntreshold = 5.0\n")
    assert "did you mean 'threshold'?" in beamline(*plan, "--config", wrong, expect=1)  # as the run would say


@pytest.mark.long
def test_a_run_is_assessed_before_it_starts_and_the_next_one_learns_from_it(tmp_path):
    plan = ["run", "xas", "--regions", "525:534:1", "--data-dir", tmp_path]
    summary = as_json(*plan)
    assert summary["exit_status"] == "success"
    assert summary["estimate"]["points"] == {"primary": summary["frames"]} == {"primary": 10}
    assert summary["estimate"]["learnt_from"] == []
    assert len(Layout(tmp_path).all_logs()) == 2  # raw and derived
    again = as_json(*plan, "--dry-run")["estimate"]
    assert again["learnt_from"] == [summary["raw_uid"]]
    assert 0 < again["duration"] < summary["estimate"]["duration"]
