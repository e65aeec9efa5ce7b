"""The scale of the monochromator and the response of the I0 monitor, measured and applied to what follows."""

import json
import re

import numpy as np
import pytest
from command_line import answer

from beamline.acquire.session import Session, measure
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.analysed_spectra import gather
from beamline.operations.calibrating import calibrate
from beamline.operations.replay import replay
from beamline.operations.runs import summary_of
from beamline.storage.layout import REDUCTION, Layout
from beamline.storage.runs import Runs
from beamline.techniques.xas import XAS
from callbacks.analysis import Recipe
from callbacks.contract import ENERGY_CALIBRATION, XasResult
from plans import xas
from simulated_devices.physics.samples import OPEN_BEAM, RUTILE, rutile_o_k, sample_called

pytestmark = pytest.mark.long

SAMPLE = "LRNMC 311 mAh/g"
REGIONS = "520:527:1, 527:536:0.2, 536:552:0.5"
OFFSET = 0.18  # eV, of the simulated monochromator


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """Gives a configuration of the simulated endstation, with further lines."""
    folder = tmp_path_factory.mktemp("endstation")

    def write(*lines, seed=1):
        text = load_config().path.read_text().replace("seed = 1", f"seed = {seed}")
        text = text.replace('"drain", "reference"]', '"drain", "reference", "diode"]')
        text = text.replace("[processing.xas]", "[processing.xas]\npost_edge = [546.0, 552.0]")
        path = folder / "endstation.toml"
        path.write_text("\n".join([text, *lines]))
        return load_config(path)

    return write


def measured(config, data, **options):
    """Measure a spectrum."""
    with Session(config, data, in_process=True, followers=[REDUCTION]) as session:
        uid = measure(session, xas(session.endstation, REGIONS, 1.0, **{"sample": SAMPLE, "edge": "O K", **options}))
        assert session.drain() == ""
    return uid


@pytest.fixture(scope="module")
def first(configured, tmp_path_factory):
    """A data folder with a spectrum that is not calibrated, and its uid."""
    data = tmp_path_factory.mktemp("data")
    return data, measured(configured(), data)


@pytest.fixture
def uncalibrated(first):
    """The same; what is kept of calibrations is forgotten behind the test."""
    yield first
    Layout(first[0]).energy_calibrations.unlink(missing_ok=True)


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "rutile.txt"
    energy = np.arange(512.0, 562.0, 0.1)
    np.savetxt(path, np.column_stack([energy, rutile_o_k(energy)]))
    return path


def test_the_offset_is_found_kept_stamped_into_runs_and_applied_where_asked_for(configured, library, uncalibrated):
    data, first = uncalibrated
    runs = Runs(data)
    assert ENERGY_CALIBRATION not in runs.find(first).start
    found = calibrate(runs, first, reference=str(library))
    assert found["channel"] == "reference"
    assert abs(found["offset"] - OFFSET) < 3 * found["sigma"]
    assert found["sigma"] < 0.005
    by_line = calibrate(runs, first, peak=RUTILE[0], keep=False)
    assert abs(by_line["offset"] - OFFSET) < 3 * by_line["sigma"]
    second = measured(configured(), data)
    third = measured(configured("[calibration]", "energy = true"), data)
    assert runs.find(second).start[ENERGY_CALIBRATION]["run"] == first
    assert runs.find(third).start[ENERGY_CALIBRATION]["offset"] == found["offset"]
    as_read, calibrated = (runs.load_with_derived(uid)[1].read(XasResult) for uid in (second, third))
    assert np.isnan(as_read.energy_offset)
    np.testing.assert_allclose(calibrated.xas_energy - as_read.xas_energy, found["offset"], atol=0.02)
    assert calibrated.energy_calibration.startswith(f"{found['offset']:+.4f} ± {found['sigma']:.4f} eV of ")
    rows = gather(runs, [second, third], Recipe(technique="xas")).rows
    assert [row.energy_sigma for row in rows] == pytest.approx([np.nan, found["sigma"]], nan_ok=True)
    again = calibrate(runs, third, reference=str(library), keep=False)
    assert again["before"] == found["offset"]
    assert abs(again["offset"] - OFFSET) < 3 * again["sigma"]
    assert replay(runs, third, config=None, source="log", keep=False)["equal"]


def test_a_calibration_of_long_ago_is_named(configured, library, uncalibrated):
    data, first = uncalibrated
    calibrate(Runs(data), first, reference=str(library))
    path = Layout(data).energy_calibrations
    old = json.loads(path.read_text())
    path.write_text(json.dumps(old | {"time": old["time"] - 20 * 86400}) + "\n")
    uid = measured(configured("[calibration]", "energy = true"), data)
    shown = answer("show", uid, "--data-dir", data)
    said = re.sub(r"\s+", " ", shown.stdout + shown.stderr)
    assert "20 days old: +0.1" in said
    (warned,) = XAS.warnings(summary_of(Runs(data), uid))
    assert warned.startswith("the energy scale is calibrated by what is 20 days old: +0.1")


def test_what_is_no_reference_is_refused_in_one_line_and_nothing_is_kept(configured, library, uncalibrated, tmp_path):
    data, uid = uncalibrated
    for arguments, said in (
        (("--channel", "tey", "--reference", library), "tey does not give the offset: what was measured does not look"),
        (("--peak", "600"), "reference does not give the offset: 0 energies are within 2 eV of the line at 600 eV"),
        (("--channel", "drian", "--peak", "530"), "unknown channel 'drian'; did you mean 'drain'?"),
        ((), "calibrate: expected one of a reference, a peak and an edge"),
        (("--reference", tmp_path / "none.txt"), "none.txt"),
    ):
        found = answer("calibrate", uid, "--data-dir", data, *map(str, arguments))
        assert found.code == 1
        assert said in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1
    assert not Layout(data).energy_calibrations.exists()
    Layout(data).energy_calibrations.write_text("{\n")
    with pytest.raises(BeamlineError, match=r"energy_calibrations\.jsonl: its last line is no calibration"):
        measured(configured(), data)


def test_the_structure_of_the_monitor_is_taken_out_by_a_run_in_the_open_beam(configured, uncalibrated):
    data, bare = uncalibrated
    open_beam = measured(configured(seed=2), data, sample=OPEN_BEAM)  # of other noise
    twice = measured(configured("[calibration]", f'open_beam = "{open_beam}"'), data)
    runs = Runs(data)
    misfits = []
    for uid in (bare, twice):
        result = runs.load_with_derived(uid)[1].read(XasResult)
        drain = result.spectra["drain"]
        true = sample_called(SAMPLE).absorption(result.xas_energy + OFFSET)
        scale = np.sum(true * drain.over_i0_spectrum) / np.sum(true**2)
        left = drain.over_i0_spectrum / scale - true
        misfits.append(float(np.mean((left / (drain.over_i0_spectrum_sigma / scale)) ** 2)))
    assert misfits[0] > 2.5  # the mesh's own edge: 2 %
    assert 0.6 < misfits[1] < 1.6
    with pytest.raises(BeamlineError, match="it was itself divided by one; replay it without"):
        measured(configured("[calibration]", f'open_beam = "{twice}"'), data)
