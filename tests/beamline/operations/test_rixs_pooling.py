"""RIXS maps from their frames to a pooled calibration, its report, and the next map that is calibrated with it."""

import csv
import json
import re
from contextlib import closing
from dataclasses import replace

import h5py
import numpy as np
import pytest
from command_line import answer, as_json, beamline
from frame_documents import ROWS, raw_run, write_frames

from beamline.acquire.references import find_calibration, processing_with_references
from beamline.cli import printing
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.analyse import analyse_runs
from beamline.operations.analyse_rixs import contents_of, pool_maps, summary_of
from beamline.operations.check import check
from beamline.operations.replay import reduce_documents, replay
from beamline.operations.reprocessing import reprocess
from beamline.operations.runs import calibrated_by_itself
from beamline.report.page import write_page
from beamline.report.style import FigureStyle, Print
from beamline.storage.derived import DerivedRuns
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from beamline.storage.runs import Runs
from callbacks.contract import AnalysedResult, RixsPooledResult, RixsResult
from callbacks.pipelines import RixsSettings

COLUMNS, DISPERSION, ENERGY, PIVOT = 420, 0.1, 530.0, 250.0
ENERGIES = np.arange(526.0, 536.0, 1.0)
# Drift is followed in maps of hundreds of photons a column; these few frames hold less, and do not drift.
SETTINGS = {"rixs": {"repeated_frames": {"drift": {"rate": 0.0, "track": False}}}}


def expected_photons(offset, energies, *, elastic=600.0, emission=2000.0):
    """Photons in each pixel: an elastic line, and emission that stays."""
    columns = np.arange(COLUMNS)
    frames = []
    for energy in energies:
        centre = PIVOT + offset + ENERGY / DISPERSION * (1 - ENERGY / energy)
        spectrum = elastic / 5.32 * np.exp(-0.5 * ((columns - centre) / 2.12) ** 2) + 1.0
        spectrum += emission / 25 * np.exp(-0.5 * ((columns - 100 - offset) / 10) ** 2)
        frames.append(np.tile(spectrum / ROWS, (ROWS, 1)))
    return np.array(frames)


def keep(folder, scan, offset, *, energies=ENERGIES, settings=SETTINGS, technique="rixs", start=None, **light):
    """Record and reduce a map, with more keys in its start document where given."""
    frames = Layout(folder).frames
    frames.mkdir(parents=True, exist_ok=True)
    path = write_frames(frames / f"{scan}.h5", expected_photons(offset, energies, **light), seed=scan)
    documents = list(raw_run(path, "stream", energies=energies, columns=COLUMNS, scan_id=scan, technique=technique))
    documents = [(name, doc | (start or {}) if name == "start" else doc) for name, doc in documents]
    with closing(Recorder(folder)) as recorder, closing(DerivedRuns(folder)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, settings):
            derived(*document)


@pytest.fixture
def _no_catalogue(monkeypatch):
    """Leave out the catalogue, which takes seconds for each analysis."""
    monkeypatch.setattr("beamline.operations.analyse.ingest_now", lambda *_: "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for scan, offset in ((1, 0.0), (2, 6.3), (3, -4.0)):
        keep(folder, scan, offset)
    keep(folder, 4, 0.0, elastic=0.0)  # no elastic line
    keep(folder, 5, -120.0)  # the chip was moved
    keep(folder, 6, 0.0, technique="xas")
    return folder


@pytest.fixture(scope="module")
def pooled(folder):
    return pool_maps(["1", "2", "3", "4"], RixsSettings(), folder)


@pytest.mark.long
def test_maps_have_one_dispersion_and_their_offsets_and_one_without_lines_is_left_out_by_name(folder, pooled):
    summary = summary_of(pooled)
    truth = DISPERSION * (summary["at_ev"] / ENERGY) ** 2
    assert abs(summary["dispersion_ev_per_pixel"] - truth) < 3 * summary["dispersion_sigma"]
    assert summary["dispersion_sigma"] < 0.01 * truth
    assert summary["degrees_of_freedom"] == 2
    assert 0.0 < summary["chi_square"] < 14.0
    assert [run["scan_id"] for run in summary["runs"]] == [1, 2, 3]
    for run, offset in zip(summary["runs"], (0.0, 6.3, -4.0), strict=True):
        assert run["offset_pixels"] == pytest.approx(offset, abs=4 * run["offset_sigma"] + 1e-9)
        assert run["offset_sigma"] < 0.2
    (left_out,) = summary["left_out"]
    assert left_out["run"] == Runs(folder).find("4").uid
    assert "elastic lines" in left_out["reason"]


@pytest.mark.long
@pytest.mark.usefixtures("_no_catalogue")
def test_a_recipe_cuts_maps_of_one_setting_on_the_axes_of_the_pooled_calibration(folder, pooled, tmp_path):
    out = tmp_path / "report.html"
    options = ["--set", "cuts.line.emission=[513, 517]", "--set", "cuts.at530.excitation=[529.5, 530.5]"]
    options += ["--overwrite"]
    made = as_json("analyse", "1", "2", "3", *options, "--data-dir", folder, "-o", out)
    assert made["calibration"]["dispersion_ev_per_pixel"] == pytest.approx(
        pooled.result.calibration_dispersion_ev_per_pixel
    )
    runs = Runs(folder)
    found = runs.load(runs.find_pooled(made["derived_uid"])).read(AnalysedResult)
    assert np.array_equal(found.quantities["pooled_maps"].values, pooled.result.maps, equal_nan=True)
    at530 = found.row_part == "at530"
    energies = found.quantities["energy"].values[at530]
    assert np.array_equal(energies[0], energies[1])
    difference, sigma = (found.quantities[f"difference{end}"].values[at530][1:, 30:-30] for end in ("", "_sigma"))
    assert np.std(difference / sigma) == pytest.approx(1.0, abs=0.2)
    report = out.read_text()
    for words in ("Calibration by all maps", " less ", "calibration of all maps"):
        assert words in report, words
    kept = as_json("show", made["derived_uid"], "--data-dir", folder)
    assert kept["calibration"] == made["calibration"]
    own = as_json("analyse", "1", "2", *options, "--set", "calibration=own", "--data-dir", folder, "-o", out)
    assert own["calibration"] is None
    apart = as_json("analyse", "1", "5", *options, "--data-dir", folder, "-o", out)
    assert apart["calibration"] is None
    assert "each map has its own calibration, and differences hold what these are off" in "".join(apart["assumed"])
    asked = answer("analyse", "1", "5", *options, "--set", "calibration=pooled", "--data-dir", folder, "-o", out)
    assert (asked.code, asked.stderr.count("\n")) == (1, 1)
    assert "is of another setting of the spectrograph" in asked.stderr


def test_the_maps_and_their_differences_are_kept_with_what_makes_them_uncertain(folder, pooled):
    with h5py.File(Layout(folder).derived_file(pooled.uid)) as file:
        stored = file["result"]
        difference, variance = stored["difference"][0], stored["difference_variance"][0]
        assert stored["maps"].shape == (1, 3, len(ENERGIES), COLUMNS)
        assert np.array_equal(difference, stored["maps"][0, 1:] - stored["maps"][0, :1], equal_nan=True)
    inside = slice(30, COLUMNS - 30)
    blocks, noise = (
        each[:, :, inside].reshape(2, len(ENERGIES), 36, 10).sum(axis=3) for each in (difference, variance)
    )
    assert np.std(blocks / np.sqrt(noise)) == pytest.approx(1.0, abs=0.2)
    read = next(entry for entry in Runs(folder).entries() if entry.uid == pooled.uid)
    result = Runs(folder).load(read).read(RixsPooledResult)
    assert np.array_equal(result.emission_energy_sigma, pooled.result.emission_energy_sigma)
    assert (np.diff(result.emission_energy) > 0).all()


@pytest.mark.long
def test_the_figures_for_print_hold_the_differences_of_the_result(pooled, tmp_path):
    to_print = Print(tmp_path, FigureStyle("svg", 85.0))
    write_page(tmp_path / "pooled.html", contents_of(pooled, RixsSettings()), to_print)
    lines = next(tmp_path.glob("02-*-a.csv")).read_text(encoding="utf-8").splitlines()
    header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    excitation, *columns = np.array([[float(cell or "nan") for cell in row] for row in rows]).T
    result = pooled.result
    across, down = (
        np.abs(axis[:, None] - np.asarray(found)).argmin(axis=0)
        for axis, found in (
            (result.emission_energy, [float(title) for title in header[1:]]),
            (result.excitation_energy, excitation),
        )
    )
    np.testing.assert_allclose(result.emission_energy[across], [float(title) for title in header[1:]], rtol=1e-9)
    np.testing.assert_allclose(np.array(columns).T, result.difference[0][np.ix_(down, across)], rtol=1e-9)


@pytest.mark.long
def test_the_report_shows_lines_and_differences_and_the_summary_is_printed(pooled, tmp_path, capsys):
    write_page(tmp_path / "pooled.html", contents_of(pooled, RixsSettings()))
    page = (tmp_path / "pooled.html").read_text()
    assert page.count("data:image/png") == 5  # maps, two differences, lines, dispersions
    assert "is left out" in page
    printing.print_analysis(summary_of(pooled) | {"report": "pooled.html"})
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "chi square of their dispersions" in shown
    assert "is left out: " in shown
    assert "by itself" not in shown + page  # its bend is that of all maps
    assert "eV/pixel, bend of all" in shown
    assert f'[calibration] rixs = "{pooled.uid[:8]}"' in shown


def test_show_gives_what_analyse_gave_and_other_commands_say_what_the_uid_is_of(folder, pooled, capsys):
    show = ("show", pooled.uid[:8], "--data-dir", folder)
    shown = as_json(*show)
    printing.print_json(summary_of(pooled))
    assert shown == json.loads(capsys.readouterr().out)
    assert f'[calibration] rixs = "{pooled.uid[:8]}"' in re.sub(r"\s+", " ", beamline(*show))
    runs = Runs(folder)
    with pytest.raises(BeamlineError, match=f"^run {pooled.uid[:8]}: is a pooled analysis of 3 runs"):
        runs.find(pooled.uid[:8])
    with pytest.raises(BeamlineError, match=r"^run 99: no run has this uid or scan id"):
        runs.find("99")  # whatever uids begin with
    reduction = runs.derived_uid("1")
    with pytest.raises(BeamlineError, match=f"^run {reduction}: is a reduction of run {runs.find('1').uid}"):
        runs.find(reduction)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1", "5"], r"scan 5 \(run .*\): is of another setting of the spectrograph than scan 1"),
        (["1", "4"], r"calibrated maps: 1 of 2, expected 2 or more; scan 4 \(run .*\): .* elastic lines"),
        (["1", "1"], "is named twice"),
        (["1", "6"], "the runs are of different techniques: RIXS .*, XAS .*; expected one"),
    ],
)
def test_runs_that_cannot_be_pooled_are_refused_in_one_line(folder, tmp_path, names, words):
    with pytest.raises(BeamlineError, match=words) as refused:
        analyse_runs(names, config=None, data_dir=folder, output=tmp_path / "pooled.html")
    assert len(refused.value.problems) == 1
    assert not (tmp_path / "pooled.html").exists()


def test_two_imports_of_one_scan_do_not_count_twice(tmp_path):
    for place in ("here", "there"):
        keep(tmp_path, 1, 0.0, start={"imported_from": f"/{place}/scan", "time": 1.7e9, "scan_id": 1})
    uids = [entry.uid for entry in Runs(tmp_path).raw()]
    assert len(uids) == 2
    with pytest.raises(BeamlineError, match="were imported from the same scan; what it holds would count twice"):
        analyse_runs(uids, config=None, data_dir=tmp_path, output=None)


def test_the_next_map_is_calibrated_by_what_was_pooled(folder, pooled, tmp_path):
    simulated = load_config().path.read_text()
    path = tmp_path / "endstation.toml"
    path.write_text(f'{simulated}\n[calibration]\nrixs = "{pooled.uid[:8]}"\n')
    settings = processing_with_references(load_config(path), folder)
    line = settings["rixs"]["elastic_line"]
    keep(folder, 7, 2.0, energies=ENERGIES[3:6], settings={"rixs": SETTINGS["rixs"] | {"elastic_line": line}})
    keep(folder, 8, 2.0, energies=ENERGIES[3:6])
    found, alone = (Runs(folder).load_with_derived(scan)[1].read(RixsResult) for scan in ("7", "8"))
    assert alone.calibration_status == "3 elastic lines, at least 4 are needed"
    assert found.calibration_status == "ok"
    assert found.calibration_loaded == f"pooled analysis {pooled.uid}"
    assert found.calibration_loaded_offset == pytest.approx(2.0, abs=4 * found.calibration_loaded_offset_sigma)
    truth = DISPERSION * (found.calibration_parameters[0] / ENERGY) ** 2
    assert abs(found.calibration_dispersion_ev_per_pixel - truth) < 3 * found.calibration_dispersion_sigma


def test_no_map_is_calibrated_by_what_its_own_lines_are_in(folder, pooled, tmp_path):
    path = tmp_path / "endstation.toml"
    path.write_text(f'{load_config().path.read_text()}\n[calibration]\nrixs = "{pooled.uid[:8]}"\n')
    settings = processing_with_references(load_config(path), folder)
    runs, uids = Runs(folder), [raw.uid for raw in pooled.runs]
    assert settings["rixs"]["elastic_line"]["loaded"]["runs"] == uids
    words = rf"^scan 1 \(run {uids[0][:8]}\): is one of the maps .*pooled analysis {pooled.uid}\): .* count twice"
    with pytest.raises(BeamlineError, match=words) as refused:
        replay(runs, "1", config=path, source="log", keep=True)
    assert len(refused.value.problems) == 1
    (row,) = reprocess(runs, ["1"], settings=path)["runs"]
    assert re.match(words, row["error"])
    assert row["derived_uid"] is None
    assert not calibrated_by_itself(runs.find("4"), settings, runs.raw())  # was left out of the pool

    keep(folder, 9, 2.0, energies=ENERGIES[3:6], settings={"rixs": SETTINGS["rixs"] | settings["rixs"]})
    again = find_calibration("9", folder)["runs"]  # its dispersion is that of the pool
    assert again == [runs.find("9").uid, *uids]
    alone = find_calibration("2", folder)["runs"]
    assert alone == [uids[1]]
    copy = replace(runs.find("1"), start=runs.find("1").start | {"uid": "another", "imported_from": "there"})
    assert "count twice" in calibrated_by_itself(copy, settings, runs.raw())


def test_a_number_names_the_scan_and_not_an_analysis_whose_uid_begins_with_it(folder, pooled, monkeypatch):
    kept = Runs.entries

    def numbered(runs):
        return [
            replace(each, start=each.start | {"uid": f"1{each.uid[1:]}"}) if each.uid == pooled.uid else each
            for each in kept(runs)
        ]

    assert find_calibration(pooled.uid[:8], folder)["source"] == f"pooled analysis {pooled.uid}"
    monkeypatch.setattr(Runs, "entries", numbered)
    assert find_calibration("1", folder)["source"].startswith("reduction ")


@pytest.mark.parametrize(("where", "words"), [("4", "the run has none: "), ("99", "no run has this uid or scan id")])
def test_a_calibration_that_is_not_there_is_named(folder, tmp_path, where, words):
    path = tmp_path / "endstation.toml"
    path.write_text(f'{load_config().path.read_text()}\n[calibration]\nrixs = "{where}"\n')
    with pytest.raises(BeamlineError, match=words):
        processing_with_references(load_config(path), folder)
    assert any("calibration.rixs" in problem for problem in check(path)["problems"])
    path.write_text(
        f"{path.read_text()}\n[processing.rixs.elastic_line.loaded]\npivot = 1.0\ncoefficients = [1.0, 1.0, 0.0]\n"
    )
    with pytest.raises(BeamlineError, match="expected one of the two"):
        processing_with_references(load_config(path), folder)
