"""STXM from the plan or the file to its report: drift, I0, maps, pooled runs, formats, through the real engine."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from beamline import demo
from beamline.analyse import analyse_runs
from beamline.commands import export, replay, summary_of, write_report
from beamline.config import load_config
from beamline.engine import Session, measure, measure_all
from beamline.errors import BeamlineError
from beamline.importers.nxstxm import nxstxm_documents
from beamline.references import find_reference
from beamline.runs import Runs
from callbacks.contract import SERIES, Key, Stream
from callbacks.stxm.absorbance import MASK_REASONS
from callbacks.stxm.appearance import Appearance
from callbacks.stxm.registration import RegistrationSettings, shifted
from plans import stack_series, stxm_focus, stxm_line_spectrum, stxm_stack
from simulated_devices.microscope import FOCUS_OFFSET

ENERGIES = "520:526:2, 526:533:0.5, 533:545:2"
FIELD, LINE = "x=-1.6:1.04:0.06 y=-1.2:0.9:0.06", "x=-1.8:1.8:0.03 y=0"
SMALL = "x=-1.6:1.04:0.06 y=-0.72:0.66:0.06"


def beamline(*arguments):
    command = [sys.executable, "-m", "beamline.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


@pytest.fixture(scope="module")
def imported(measured_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fe2p")
    done = beamline("import", "sdf", measured_data / "als-stxm-fe2p", "--data-dir", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture(scope="module")
def i0(measured_data):
    """The published I0, counts of the dwell."""
    return np.loadtxt(measured_data / "als-stxm-fe2p" / "i0.xsp")[:, 1] * 0.433


@pytest.mark.measured
def test_the_measured_stack_has_the_i0_that_was_published(imported, i0):
    folder, summary = imported
    assert summary["shape"] == [123, 125, 125]
    assert summary["i0"]["status"] == "ok"
    raw, derived = Runs(folder).load_with_derived(summary["raw_uid"])
    result = derived.result
    current = raw.streams[Stream.PRIMARY][Key.RING_CURRENT].reshape(123, 125)[:, 0]  # ours is that of the first line's
    ratio = result["incident_rate"] * (current / current[0]) * 0.433e-3 / i0
    assert np.abs(ratio / ratio.mean() - 1).max() < 0.01
    blank = result["blank"] > 0
    density = np.where(blank, result["optical_density"], np.nan)
    assert np.abs(np.nanmean(density, axis=(1, 2))).max() <= 0.005


@pytest.mark.measured
def test_the_measured_stack_is_masked_where_it_saturates_and_analysed_elsewhere(imported):
    folder, summary = imported
    assert summary["masked_pixels"]["saturated"] > 500
    assert summary["drift_pixels"] < 0.3  # it was aligned before it was published
    _, derived = Runs(folder).load_with_derived(summary["raw_uid"])
    result = derived.result
    saturated = result["mask"] == MASK_REASONS.index("saturated")
    assert np.isnan(result["reduced_fraction"][saturated]).all()
    peaks = [result["pca_energy"][spectrum.argmax()] for spectrum in result["end_members"]]
    assert all(707.0 < peak < 711.0 for peak in peaks)
    oxidised = result["end_members"][list(result["end_member_names"]).index("oxidised")]
    assert result["pca_energy"][oxidised.argmax()] == pytest.approx(709.7, abs=0.5)


@pytest.mark.measured
def test_the_measured_stack_is_replayed_bit_for_bit_and_reported(imported, tmp_path):
    folder, _ = imported
    outcome = replay("-1", config=None, source="catalogue", keep=False, data_dir=folder)
    assert outcome["equal"] is True
    text = write_report("-1", tmp_path / "report.html", data_dir=folder).read_text()
    for heading in ("Chemical map", "Residual", "Images", "Drift", "Principal components", "Score maps", "End members"):
        assert f"<h2>{heading}</h2>" in text


@pytest.mark.measured
def test_a_drift_imposed_on_the_measured_stack_is_recovered(measured_data, i0):
    folder = measured_data / "als-stxm-fe2p"
    counts = np.array([np.loadtxt(folder / f"71214078_a{index:03d}.xim") for index in range(0, 123, 4)])
    steps = np.linspace(0, 1, len(counts))
    drift = np.column_stack([4 * np.sin(2.1 * steps), -4 * steps + 0.5 * np.sin(9 * steps)])
    rng = np.random.default_rng(0)
    moved = [
        rng.poisson(np.clip(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), move)).real, 0, None))
        for image, move in zip(counts, drift, strict=True)
    ]
    found, without = (np.array(_registered(stack / i0[::4, None, None])) for stack in (np.array(moved), counts))
    wrong = found - without + drift - drift[0]  # the stack itself is not aligned to better than a few hundredths
    assert np.sqrt(np.mean(wrong**2)) < 0.05


def _registered(images):
    appearance, shifts = Appearance(), [np.zeros(2)]
    for image in images[:1]:
        appearance.add(image)
    for image in images[1:]:
        found = appearance.register(image, RegistrationSettings(), shifts[-1])
        assert found.status == "ok"
        shifts.append(found.shift)
        appearance.add(shifted(image, image, found.shift)[0])
    for _ in range(2):
        appearance = Appearance()
        for image, shift in zip(images, shifts, strict=True):
            appearance.add(shifted(image, image, shift)[0])
        shifts = [
            appearance.register(image, RegistrationSettings(), shift).shift
            for image, shift in zip(images, shifts, strict=True)
        ]
        shifts = [shift - shifts[0] for shift in shifts]
    return shifts


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """References, a stack with live maps, a focus scan and a series, on the simulated endstation."""
    folder = tmp_path_factory.mktemp("stxm")
    with Session(demo.simulated(3), folder) as session:
        endstation = session.endstation
        references = {
            name: measure(session, stxm_line_spectrum(endstation, ENERGIES, LINE, 0.05, sample=sample, edge="O K"))
            for name, sample in demo.REFERENCE_SAMPLES.items()
        }
        session.drain()
        session.use_references(references)
        stack = measure(session, stxm_stack(endstation, ENERGIES, FIELD, 0.002, sample=demo.SAMPLE, edge="O K"))
        focus = measure(session, stxm_focus(endstation, 540.0, LINE, "-24:24:3", 0.005, sample=demo.SAMPLE))
        session.use_references({})
        truth = endstation.energy.world.truth
        plan = stack_series(
            endstation, "LRNMC 230 mAh/g, LRNMC 311 mAh/g", f"O K={ENERGIES}", SMALL, 0.002, reference="LRNMC pristine"
        )
        series = measure_all(session, plan)
        truth.energy_offset += 0.12  # the monochromator was calibrated anew
        plan = stack_series(endstation, "LRNMC 257 mAh/g", f"O K={ENERGIES}", SMALL, 0.002, reference="LRNMC pristine")
        series += measure_all(session, plan)
        session.drain()
        page, drawn = session.picture.page, session.picture
    return {"folder": folder, "stack": stack, "focus": focus, "series": series, "truth": truth, "page": page,
            "drawn": drawn, "references": references}  # fmt: skip


def test_a_stack_is_reduced_live_with_its_maps_before_the_last_energy(measured):
    summary = summary_of(measured["stack"], data_dir=measured["folder"])
    assert summary["i0"]["status"] == "ok"
    assert summary["chemistry"]["status"] == "ok"
    assert set(summary["fractions"]) == {"reduced", "oxidised", "carbon"}
    raw, derived = Runs(measured["folder"]).load_with_derived(measured["stack"])
    images = derived.streams[Stream.IMAGES]
    mapped = [bool(np.isfinite(one).any()) for one in images["reduced_fraction"]]
    assert mapped.index(True) < len(mapped) - 3
    assert np.sqrt(np.mean(demo.drift_error(raw, derived, measured["truth"]) ** 2)) < 0.1
    assert len(raw.streams[Stream.PRIMARY]) == len(images) * 36


def test_a_stack_is_replayed_from_the_catalogue_bit_for_bit(measured):
    outcome = replay(measured["stack"], config=None, source="catalogue", keep=False, data_dir=measured["folder"])
    assert outcome["equal"] is True
    assert outcome["arrays_compared"] > 50


def test_the_live_page_shows_the_newest_picture(measured):
    assert 'src="stxm.png"' in measured["page"].read_text()
    assert (measured["page"].with_name("stxm.png")).read_bytes().startswith(b"\x89PNG")
    assert measured["drawn"].drawn >= 1


def test_a_focus_scan_finds_the_focus(measured):
    raw, derived = Runs(measured["folder"]).load_with_derived(measured["focus"])
    result = derived.result
    assert result["focus_status"] == "ok"
    nominal = np.mean(raw.measurement.grid.zone_plate)
    higher = 160.0 * 0.045 * 0.18 / 1.23984  # um: the photons have 0.18 eV more than the monochromator says
    assert result["focus"] == pytest.approx(nominal + FOCUS_OFFSET + higher, abs=max(3 * result["focus_sigma"], 0.3))
    write_report(measured["focus"], measured["folder"] / "focus.html", data_dir=measured["folder"])


def test_runs_of_two_series_are_pooled_on_one_energy_scale(measured):
    names = [uid for uid in measured["series"] if _role(measured["folder"], uid) == "sample"]
    outcome = analyse_runs(names, config=None, data_dir=measured["folder"], output=measured["folder"] / "pooled.html")
    assert outcome["status"] == "ok"
    offsets = [run["energy_offset_ev"] for run in outcome["runs"]]
    sigma = outcome["runs"][-1]["energy_offset_sigma_ev"]
    assert offsets[:2] == [0.0, 0.0]
    assert offsets[2] == pytest.approx(0.12, abs=max(4 * sigma, 0.02))
    reduced = {run["sample"]: run["reduced"] for run in outcome["runs"]}
    assert reduced["LRNMC 230 mAh/g"] > reduced["LRNMC 311 mAh/g"]
    assert "Chemical maps" in (measured["folder"] / "pooled.html").read_text()
    assert summary_of(names[0], data_dir=measured["folder"])["derived_uid"] != outcome["derived_uid"]


def _role(folder, uid):
    return Runs(folder).find(uid).start[SERIES]["role"]


def test_a_stack_goes_out_as_nxstxm_and_comes_back(measured, tmp_path):
    (path,) = export(measured["stack"], "nxstxm", tmp_path / "stack.hdf5", data_dir=measured["folder"])
    raw, _ = Runs(measured["folder"]).load_with_derived(measured["stack"])
    counts = [doc["data"][Key.STXM_COUNTS] for name, doc in nxstxm_documents(path) if name == "event"]
    np.testing.assert_array_equal(np.array(counts), raw.streams[Stream.PRIMARY][Key.STXM_COUNTS])


def test_a_run_that_is_no_stack_is_not_analysed_and_not_exported(measured):
    with pytest.raises(BeamlineError, match="expected a STXM stack"):
        analyse_runs([measured["focus"]], config=None, data_dir=measured["folder"], output=None)


def test_references_come_from_runs_and_from_files(measured, tmp_path):
    folder = measured["folder"]
    found = find_reference(measured["references"]["reduced"][:12], tmp_path, folder)
    assert found["source"].startswith("run ")
    assert 0.5 < max(found["optical_density"]) < 2.0
    np.savetxt(tmp_path / "ref.txt", np.column_stack([found["energy"], found["optical_density"]]))
    again = find_reference("ref.txt", tmp_path, folder)
    np.testing.assert_allclose(again["optical_density"], found["optical_density"])
    (tmp_path / "bad.txt").write_text("no numbers\n")
    with pytest.raises(BeamlineError, match="expected two columns"):
        find_reference("bad.txt", tmp_path, folder)
    with pytest.raises(BeamlineError, match="has no optical density"):
        find_reference(measured["focus"], tmp_path, folder)


def test_the_table_of_references_is_read_from_the_configuration(tmp_path):
    text = load_config().path.read_text()
    file = tmp_path / "endstation.toml"
    file.write_text(text + '\n[references]\nreduced = "12"\n')
    assert load_config(file).references == {"reduced": "12"}
