"""Absorption spectra of others through import, reduction, report and export, and back."""

import numpy as np
import pytest
from command_line import answer, beamline
from xas_files import ENERGY, MU, counted

from beamline.operations import importing
from beamline.operations.exporting import export
from beamline.storage import Runs
from callbacks.contract import XasResult

I0, TEY, IT = counted()


@pytest.fixture(autouse=True)
def no_catalogue(monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "")  # the catalogue takes seconds


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "s7.dat"
    np.savetxt(path, np.column_stack([ENERGY, I0, TEY, IT]), header="energy_eV I0 TEY It", fmt="%.8g")
    return path


def test_what_is_imported_is_shown_and_reported_as_any_spectrum(counts, tmp_path):
    imported = beamline("import", counts, "--data-dir", tmp_path / "d")
    assert "xas of not recorded" in imported
    (summary,) = answer("import", counts, "--data-dir", tmp_path / "d", "--json").json
    assert (summary["kind"], summary["scan_id"], len(summary["imported_before"])) == ("columns", 7, 1)
    assert summary["spectra"]["tey"]["status"] == "ok"
    beamline("report", "-1", "-o", tmp_path / "report.html", "--data-dir", tmp_path / "d")
    page = (tmp_path / "report.html").read_text()
    assert "whole numbers, taken as counts" in page
    assert "transmission" in page


def test_what_is_exported_as_columns_comes_back_with_its_uncertainties(counts, tmp_path):
    beamline("import", counts, "--data-dir", tmp_path / "d")
    (path,) = export(Runs(tmp_path / "d"), "-1", "columns", tmp_path / "out")
    beamline("import", path, "--data-dir", tmp_path / "again")
    first, second = (Runs(tmp_path / name).load_with_derived("-1")[1].read(XasResult) for name in ("d", "again"))
    np.testing.assert_allclose(second.xas_energy, first.xas_energy, rtol=1e-9)
    np.testing.assert_array_equal(second.i0_counts, I0)
    ours, theirs = first.spectra["tey"], second.spectra["tey"]
    np.testing.assert_allclose(theirs.over_i0_spectrum, ours.over_i0_spectrum, rtol=1e-9)
    np.testing.assert_allclose(theirs.over_i0_spectrum_sigma, ours.over_i0_spectrum_sigma, rtol=1e-9)
    np.testing.assert_allclose(theirs.normalised, ours.normalised, atol=1e-7)
    np.testing.assert_allclose(theirs.sigma, ours.sigma, rtol=1e-6)
    through = second.spectra["transmission"]  # its logarithm, as it cannot be counted again
    np.testing.assert_allclose(through.normalised, first.spectra["transmission"].normalised, atol=1e-6)
    np.testing.assert_allclose(through.over_i0_spectrum, -np.log(first.spectra["transmission"].over_i0_spectrum))
    assert np.abs(through.over_i0_spectrum - MU - np.log(2)).max() < 0.02
