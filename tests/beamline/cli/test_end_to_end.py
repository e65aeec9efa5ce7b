"""From a scan to its report: the command line, the simulated endstation and the measured scan, through one code."""

import re
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import as_json, beamline
from here import reducing_session

from beamline.acquire.session import check_free_space, measure
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.demonstrate import techniques as demo
from beamline.operations.runs import summarise_run
from beamline.storage.runs import Runs
from plans import rixs_map, xas


@pytest.fixture(scope="module")
def imported(measured_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    scan = measured_data / "als-irixs" / "CCD Scan 17174"
    return folder, as_json("import", scan, "--data-dir", folder)[0]


@pytest.mark.measured
def test_scan_17174_is_imported_cleaned_and_calibrated(imported):
    _, summary = imported
    assert summary["frames"] == 48
    assert [mark["frame"] for mark in summary["marked_frames"]] == [1]
    assert "I0 partial" in summary["marked_frames"][0]["reason"]
    calibration = summary["calibration"]
    assert calibration["status"] == "ok"
    assert calibration["accepted"] >= 6
    assert 0.21 <= calibration["dispersion_ev_per_pixel"] <= 0.28
    assert 0 < calibration["dispersion_sigma"] < 0.02
    assert calibration["rms_ev"] <= 0.15
    assert summary["cosmic_rays"]["hits"] > 20


@pytest.mark.long
@pytest.mark.measured
def test_scan_17174_replayed_from_the_catalogue_gives_the_same_arrays(imported):
    folder, summary = imported
    outcome = as_json("replay", "17174", "--data-dir", folder)
    assert outcome["equal"] is True
    assert outcome["source"] == "catalogue"
    assert outcome["arrays_compared"] > 50
    assert outcome["compared_with"] == summary["derived_uid"]


@pytest.mark.measured
def test_the_measured_map_has_no_emission_above_the_excitation_energy(imported):
    folder, _ = imported
    _, derived = Runs(folder).load_with_derived("-1")
    result = derived.result
    emission, excitation = result["emission_energy"], result["excitation_energy"]
    for row, energy in enumerate(excitation):
        light = result["map"][row]
        near = np.abs(emission - energy) < 8
        above = (emission > energy + 1.5) & near
        if 775 < energy < 777.6:
            line = abs(emission - energy) < 1.5
            ridge = np.average(emission[line], weights=np.clip(light[line], 0, None))
            assert ridge == pytest.approx(energy, abs=0.25)
        assert light[above].mean() < 0.03 * light[near].max()


@pytest.mark.measured
def test_show_names_runs_by_uid_scan_id_and_place(imported):
    folder, summary = imported
    assert as_json("show", "-1", "--data-dir", folder)["derived_uid"] == summary["derived_uid"]
    for name in ("17174", summary["raw_uid"], summary["raw_uid"][:8]):
        shown = as_json("show", name, "--data-dir", folder)
        assert shown["derived_uid"] == summary["derived_uid"]
    message = beamline("show", "99999", "--data-dir", folder, expect=1)
    assert message.count("\n") == 1
    assert "99999" in message


@pytest.mark.measured
def test_exports_open_with_their_default_plot(imported, tmp_path):
    folder, _ = imported
    beamline("export", "-1", "--data-dir", folder, "-o", tmp_path / "scan.nxs")
    with h5py.File(tmp_path / "scan.nxs") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        assert signal.shape == (48, 2048)
        assert [len(data[axis]) for axis in data.attrs["axes"]] == [48, 2048]
        known = np.isfinite(data["intensity_errors"][:])
        assert known[:, 16:-16].all()  # at the ends, drift has moved columns off the chip
        assert known[0].all()
        assert entry["instrument/ccd/data"].shape == (48, 64, 2048)
        assert data.attrs["NX_class"] == "NXdata"
    beamline("export", "-1", "--format", "columns", "--data-dir", folder, "-o", tmp_path / "text")
    table = np.loadtxt(tmp_path / "text" / "map.txt")
    assert table.shape == (2048, 49)


@pytest.mark.long
@pytest.mark.measured
def test_the_report_is_one_page_without_outside_references(imported, tmp_path):
    folder, summary = imported
    beamline("report", "-1", "--data-dir", folder, "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 7
    assert not re.search("https?:", page.replace("http://www.w3.org", ""))  # images may spell http by chance
    assert summary["raw_uid"] in page
    assert "frame 1: I0 partial" in page


def finds_the_truth_and_replays_to_the_same_arrays(outcome):
    assert outcome["live_equals_replay"] is True
    assert outcome["exit_status"] == "success"
    differences = [float(row["difference_sigmas"].split()[0]) for row in outcome["found"] if row["difference_sigmas"]]
    assert len(differences) >= 2
    assert max(map(abs, differences)) < 4


@pytest.mark.long
def test_the_demonstration_of_xas_finds_the_truth_and_replays_to_the_same_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "XAS_REGIONS", "520:526:1, 526:535:0.2, 535:560:1")  # as it is shipped twice as many
    outcome = as_json("demo", "xas", "--data-dir", tmp_path)
    finds_the_truth_and_replays_to_the_same_arrays(outcome)


@pytest.mark.long
def test_the_demonstration_of_rixs_finds_the_truth_and_replays_to_the_same_arrays(tmp_path, monkeypatch):
    faster = 10_000.0  # than the clock on the wall; as it is shipped 1000, with 28 s of exposures
    monkeypatch.setattr(demo, "simulated", partial(demo.simulated, speed_up=faster))
    monkeypatch.setattr(demo, "RIXS_REGIONS", "526:533:0.5, 534:542:1")  # as it is shipped three times as many
    outcome = as_json("demo", "rixs", "--data-dir", tmp_path)
    finds_the_truth_and_replays_to_the_same_arrays(outcome)


def test_help_does_not_wait_for_heavy_imports():
    heavy = ("numpy", "bluesky", "ophyd", "tiled", "matplotlib")
    code = f"import sys, beamline.cli; print([module for module in {heavy} if module in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "rixs_mop"], 1, "did you mean rixs_map"),
        (["run", "xas", "--regions", "5:6:0.1"], 1, "energy: 5 eV is outside its limits 200 to 1500 eV"),
        (["run", "xas", "--regions", "520:530:1", "--sample", "gold"], 1, "holds no 'gold'"),
        (["show", "-1"], 1, "no runs in"),
        (["import", "/nowhere"], 1, "/nowhere"),
        (["export", "--format", "pdf"], 2, "pdf"),
    ],
)
def test_errors_are_one_line_that_names_what_was_wrong(tmp_path, arguments, code, words):
    message = beamline(*arguments, "--data-dir", tmp_path, expect=code)
    assert words in message
    assert "Traceback" not in message
    if code == 1:
        assert message.strip().count("\n") == 0


def test_a_wrong_setting_of_the_processing_is_named_before_anything_moves(tmp_path):
    text = (Path(load_config().path)).read_text() + "\n[processing.rixs.cosmic_rays]\ntreshold = 5.0\n"
    (tmp_path / "endstation.toml").write_text(text)
    message = beamline("run", "xas", "--regions", "520:530:1", "--config", tmp_path / "endstation.toml", expect=1)
    assert "unknown key 'treshold'; did you mean 'threshold'?" in message
    assert "\n" not in message.strip()


def test_runs_of_a_relative_folder_are_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config()
    config.endstation.shared.options["speed_up"] = 1e6
    session = reducing_session(config, Path("here"))
    measure(session, rixs_map(session.endstation, "530:532:1", 300.0))
    session.close()
    monkeypatch.chdir("/")
    raw, derived = Runs(tmp_path / "here").load_with_derived("-1")
    assert len(raw.streams["primary"]) == len(derived.frames) == 3
    replayed = as_json("replay", "-1", "--source", "log", "--data-dir", tmp_path / "here")
    assert replayed["equal"] is True


def test_check_answers_for_the_shipped_configuration():
    answer = as_json("check")
    assert answer["config"].endswith("simulated.toml")
    assert answer["ok"] is True
    assert answer["problems"] == []


def test_check_names_references_that_cannot_be_read(tmp_path):
    (tmp_path / "good.txt").write_text("530 0.1\n531 0.2\n532 0.4\n")
    (tmp_path / "bad.txt").write_text("no numbers\n")
    file = tmp_path / "endstation.toml"
    table = '\n[references]\ngood = "good.txt"\nbad = "bad.txt"\nlost = "lost.txt"\n[storage]\ndata_dir = "data"\n'
    file.write_text(load_config().path.read_text().partition("[storage]")[0] + table)
    lines = beamline("check", "--config", file, expect=1).splitlines()
    assert [line.partition(": references.")[2].partition(":")[0] for line in lines] == ["bad", "lost"]


@pytest.fixture
def session(tmp_path):
    config = load_config()
    config.endstation.shared.options["speed_up"] = 30_000.0
    opened = reducing_session(config, tmp_path)
    yield opened
    opened.close()


def reduced(session, uid):
    session.drain()
    raw, derived = Runs(session.data_dir).load_with_derived(uid)
    return summarise_run(raw, derived), derived


@pytest.mark.long
def test_a_step_that_fails_costs_its_frame_only(session, monkeypatch):
    from callbacks.rixs import cosmic_rays

    whole, calls = cosmic_rays.remove_cosmic_rays, []

    def fails_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("made to fail")
        return whole(*arguments, **options)

    monkeypatch.setattr(cosmic_rays, "remove_cosmic_rays", fails_once)
    uid = measure(session, rixs_map(session.endstation, "530:536:1", 300.0))
    summary, derived = reduced(session, uid)
    assert summary["exit_status"] == "success"
    assert summary["marked_frames"] == [{"frame": 3, "reason": "cosmic_rays: RuntimeError: made to fail"}]
    assert np.isnan(derived.frames["spectrum"][2]).all()
    assert np.isfinite(derived.frames["spectrum"][[0, 1, 3, 4, 5, 6]]).all()


def test_a_callback_that_raises_does_not_stop_the_scan(session):
    def broken(_name, _doc):
        raise ValueError("made to fail")

    session.watch(broken, "broken")
    uid = measure(session, xas(session.endstation, "525:535:1", 1.0))
    summary, _ = reduced(session, uid)
    assert summary["exit_status"] == "success"
    assert summary["frames"] == 11
    assert session.watcher.errors()["broken"] > 11


def test_a_disk_that_is_full_under_the_frames_ends_the_scan_with_one_line_and_keeps_what_was_measured(
    session, monkeypatch
):
    import shutil

    usage, calls = shutil.disk_usage, []

    def fills_up(path):
        calls.append(1)
        found = usage(path)
        return found if len(calls) < 9 else found._replace(free=1000)

    monkeypatch.setattr(shutil, "disk_usage", fills_up)
    with pytest.raises(BeamlineError, match=r"frame \d+ cannot be written to .*: the disk is full"):
        measure(session, rixs_map(session.endstation, "530:545:1", 300.0))
    uid = Runs(session.data_dir).raw()[-1].uid
    summary, derived = reduced(session, uid)
    assert summary["exit_status"] == "fail"
    assert summary["frames"] == len(derived.frames) == 4  # after three dark frames
    assert np.isfinite(derived.frames["spectrum"]).all()


def test_a_run_is_refused_where_the_disk_is_nearly_full(tmp_path):
    with pytest.raises(BeamlineError, match=r"GB free, expected at least 1e\+09 GB"):
        check_free_space(tmp_path, 1e9)


@pytest.mark.long
def test_a_beam_dump_is_marked_and_never_divided_by(tmp_path):
    config = load_config()
    config.endstation.shared.options.update(speed_up=30_000.0, dump_after=3000.0)
    session = reducing_session(config, tmp_path)
    uid = measure(session, rixs_map(session.endstation, "530:542:1", 300.0))
    summary, derived = reduced(session, uid)
    session.close()
    reasons = " ".join(mark["reason"] for mark in summary["marked_frames"])
    assert "I0 lost" in reasons
    dumped = [mark["frame"] - 1 for mark in summary["marked_frames"] if "lost" in mark["reason"]]
    assert 3 <= len(dumped) <= 6
    assert np.isnan(derived.result["map"][dumped]).all()
    kept = np.delete(derived.result["map"], [mark["frame"] - 1 for mark in summary["marked_frames"]], 0)
    assert np.isfinite(kept[:, 16:-16]).all()  # at the ends, drift may have moved columns off the chip


@pytest.mark.long
def test_random_order_with_repeats_gives_the_rows_of_the_ordered_map(session):
    uid = measure(session, rixs_map(session.endstation, "530:536:2", 300.0, frames_per_energy=3, order="random"))
    _, derived = reduced(session, uid)
    np.testing.assert_allclose(derived.result["excitation_energy"], [530, 532, 534, 536], atol=0.01)
    assert derived.result["row_frames"].tolist() == [3, 3, 3, 3]


def test_the_version_is_that_of_the_package():
    assert beamline("--version").strip() == version("stxm-rixs-beamline")
