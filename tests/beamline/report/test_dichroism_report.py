"""A spectrum of two polarisations through plan, live reduction, replay, summary, report, export and page."""

from contextlib import closing

import h5py
import numpy as np
import pytest
from here import reducing_session

from beamline.acquire.session import measure
from beamline.endstation.config import load_config
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.report.xas import spectrum_figures
from beamline.serve.page.live import load, panels_of
from beamline.storage import Runs
from beamline.techniques.xas import lines, summarise
from callbacks.contract import XasResult
from plans import xas
from simulated_devices.physics import SAMPLES
from simulated_devices.physics.undulator import Stokes

REGIONS = "690:704:1, 704:712:0.25, 712:740:1"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dichroism")
    config = load_config()
    config.processing["xas"] = {"background": "constant"}
    with closing(reducing_session(config, folder)) as session:
        plan = xas(session.endstation, REGIONS, 4.0, sample="Fe film", edge="Fe L3", polarisation="C+,C-")
        uid = measure(session, plan)
        assert session.drain() == ""
        truth = session.endstation.truth
    return Runs(folder), uid, truth


@pytest.mark.long
def test_the_difference_holds_the_truth_and_a_replay_is_equal(measured):
    runs, uid, truth = measured
    raw, derived = runs.load_with_derived(uid)
    assert raw.measurement.polarisations == ["C+", "C-"]
    result = derived.read(XasResult)
    tey = result.spectra["tey"]
    assert (tey.status, tey.dichroism_status, len(result.marks)) == ("ok", "ok", 0)
    film, at = SAMPLES["Fe film"], result.xas_energy + truth.energy_offset
    plus, minus = (film.absorption(at, Stokes(0.0, 0.0, sign)) for sign in (1.0, -1.0))
    after, before = result.xas_energy > 733, result.xas_energy < 696
    jump = ((plus + minus)[after].mean() - (plus + minus)[before].mean()) / 2
    pulls = (tey.dichroism_per_degree - (plus - minus) / jump) / tey.dichroism_per_degree_sigma
    assert np.sqrt(np.mean(pulls**2)) < 1.5
    assert replay(runs, uid, config=None, source="log", keep=False)["equal"]


def test_the_summary_says_where_the_difference_is_strongest(measured):
    runs, uid, _ = measured
    _, derived = runs.load_with_derived(uid)
    summary = summarise(derived)
    assert summary["dichroism"]["polarisations"] == ["C+", "C-"]
    found = summary["dichroism"]["channels"]["tey"]
    assert found["energy"] == pytest.approx(707.7, abs=0.5)
    assert found["per_degree"] == pytest.approx(found["difference"] / 0.95)
    shown = dict(lines(summary))
    size = f"{found['difference']:.3f} ± {found['sigma']:.3f}"
    assert shown["C+ less C-, TEY"] == f"{size} of the edge jump at {found['energy']:.2f} eV, where it is clearest"


@pytest.mark.long
def test_the_report_draws_both_spectra_and_their_difference(measured, tmp_path):
    runs, uid, _ = measured
    page = write_report(runs, uid, tmp_path / "report.html").read_text()
    assert "Dichroism: TEY" in page
    assert "Mean of C+ and C-." in page
    drawn = {heading: figure for heading, _, figure in spectrum_figures(*runs.load_with_derived(uid), "film")}
    above, below = drawn["Dichroism: TEY"].axes
    assert [line.get_label() for line in above.get_lines()] == ["C+", "C-"]
    assert above.get_ylabel() == "normalised absorption"
    assert below.get_xlabel() == "excitation energy (eV)"
    assert below.get_ylabel() == "difference (edge jumps)"
    tey = runs.load_with_derived(uid)[1].read(XasResult).spectra["tey"]
    first, second = (line.get_ydata() for line in above.get_lines())
    assert first - second == pytest.approx(tey.dichroism)
    assert (first + second) / 2 == pytest.approx(tey.normalised)
    assert [each.get_label() for each in below.get_lines()[:2]] == ["C+ less C-", "per degree of polarisation"]


def test_it_is_exported_as_columns_and_as_a_plot(measured, tmp_path):
    runs, uid, _ = measured
    tey = runs.load_with_derived(uid)[1].read(XasResult).spectra["tey"]
    (path,) = export(runs, uid, "columns", tmp_path / "columns")
    text = path.read_text().splitlines()
    titles = [line for line in text if line.startswith("#")][-1].lstrip("# ").split("  ")
    values = dict(zip(titles, np.loadtxt(path).T, strict=True))
    assert values["tey_dichroism"] == pytest.approx(tey.dichroism)
    assert values["tey_dichroism_per_degree_sigma"] == pytest.approx(tey.dichroism_per_degree_sigma)
    assert values["tey_over_i0_C-"] == pytest.approx(tey.polarised[1])
    (path,) = export(runs, uid, "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as file:
        found = []
        file.visit(lambda name: found.append(name) if name.endswith("tey_dichroism/tey_dichroism") else None)
        assert len(found) == 1
        assert file[found[0]][()] == pytest.approx(tey.dichroism)


def test_the_page_shows_both_and_their_difference(measured):
    runs, uid, _ = measured
    panels = {panel.name: panel for panel in panels_of(*load(runs, runs.find(uid)))}
    assert [curve["name"] for curve in panels["tey"].about["curves"]] == ["C+", "C-"]
    assert len(panels["tey"].arrays["x0"]) == len(panels["tey"].arrays["x1"]) == 75
    tey = runs.load_with_derived(uid)[1].read(XasResult).spectra["tey"]
    assert panels["tey-dichroism"].arrays["y0"] == pytest.approx(tey.dichroism)
