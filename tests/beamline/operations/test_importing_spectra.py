"""Absorption spectra of others through import, reduction, report and export, and back."""

import os

import h5py
import numpy as np
import pytest
from command_line import answer, beamline
from xas_files import ENERGY, MU, counted

from beamline.operations import importing
from beamline.operations.exporting import export
from beamline.storage import Runs
from callbacks.contract import XasResult

pytestmark = pytest.mark.long

I0, TEY, IT = counted()


@pytest.fixture(autouse=True)
def no_catalogue(monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "")  # the catalogue takes seconds


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "s7.dat"
    np.savetxt(path, np.column_stack([ENERGY, I0, TEY, IT]), header="energy_eV I0 TEY It", fmt="%.8g")
    return path


def test_sample_and_edge_that_a_file_does_not_have_are_given(counts, tmp_path):
    said = "--sample", "iron [1]", "--edge", "O K", "--data-dir", tmp_path / "d", "--json"
    (first,) = answer("import", counts, *said).json
    assert (first["sample"], Runs(tmp_path / "d").load(Runs(tmp_path / "d").find("-1")).measurement.edge) == (
        "iron [1]",
        "O K",
    )
    file = tmp_path / "s7.xdi"
    beamline("export", "-1", "--format", "xdi", "-o", file, "--data-dir", tmp_path / "d")
    other = answer("import", file, "--sample", "nickel", "--edge", "Fe K", "--data-dir", tmp_path / "e", "--json")
    assert other.json[0]["sample"] == "nickel"
    lines = Runs(tmp_path / "e").find("-1").start["import_problems"]
    assert "the sample is nickel, as given; the file has iron [1]" in lines
    assert "the edge is Fe K, as given; the file has O K" in lines
    assert "edge Fe K: lies at 7112 eV" in other.stderr


def test_a_run_whose_channel_is_called_otherwise_is_a_reference_by_its_uid_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the report
    path = tmp_path / "alone.dat"
    np.savetxt(path, np.column_stack([ENERGY, MU]), header="energy_eV mu", fmt="%.8g")
    folder = "--data-dir", tmp_path / "d"
    beamline("import", path, *folder)
    (tmp_path / "r.toml").write_text('[references]\nwhole = "-1"\n[measures.parts]\nby = "lcf"\n')
    found = answer("analyse", "-1", "-r", tmp_path / "r.toml", *folder, "--json")
    assert found.json["spectra"][0]["measures"]["parts"]["of_whole"]["value"] == pytest.approx(1.0, abs=1e-9)


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


def test_files_of_one_time_are_not_taken_for_one_another(counts, tmp_path):
    other = tmp_path / "t7.dat"
    other.write_bytes(counts.read_bytes())
    for path in (counts, other):
        os.utime(path, (1.7e9, 1.7e9))
    for path in (counts, other):
        (summary,) = answer("import", path, "--data-dir", tmp_path / "d", "--json").json
        assert summary["imported_before"] == []
    (summary,) = answer("import", other, "--data-dir", tmp_path / "d", "--json").json
    assert len(summary["imported_before"]) == 1


def test_each_group_of_a_project_becomes_a_run_and_one_is_chosen_by_its_name(tmp_path):
    groups = "".join(
        f"$old_group = '{name}';\n@args = ('label','{name}');\n@x = ({', '.join(map(str, ENERGY))});\n"
        f"@y = ({', '.join(map(str, TEY / I0))});\n[record]\n"
        for name in ("one", "two")
    )
    path = tmp_path / "a.prj"
    path.write_text(f"# Athena project file -- Demeter version 0.9.26\n{groups}")
    found = answer("import", path, "--data-dir", tmp_path / "d", "--json").json
    assert [(each["kind"], each["sample"], each["imported_before"]) for each in found] == [
        ("athena", "one", []),
        ("athena", "two", []),
    ]
    shown = beamline("import", f"{path}::two", "--data-dir", tmp_path / "d")
    assert "xas of two" in shown
    assert f"imported before  as run {found[1]['raw_uid']}" in " ".join(shown.split("\n"))
    assert "no group 'three'; it has 'one', 'two'" in beamline(
        "import", f"{path}::three", "--data-dir", tmp_path, expect=1
    )


def test_columns_are_named_on_the_command_line(tmp_path):
    path = tmp_path / "a.dat"
    np.savetxt(path, np.column_stack([ENERGY, I0, TEY]), header="x ca1 ca2")
    (summary,) = answer(
        "import", path, "--columns", "energy=x,i0=ca1,drain=3", "--data-dir", tmp_path / "d", "--json"
    ).json
    assert summary["spectra"]["drain"]["status"] == "ok"
    said = beamline("import", path, "--columns", "energy=x,i0=ca9", "--data-dir", tmp_path / "d", expect=1)
    assert said == f"beamline: {path}: column 'ca9' for i0: expected one of its columns: 'x, ca1, ca2'\n"


def test_an_energy_loss_spectrum_is_reported(tmp_path):
    loss = 500.0 + 0.25 * np.arange(200)
    edge = 0.5 + np.arctan(loss - 532) / np.pi
    counted = np.random.default_rng(0).poisson(1e5 * (500 / loss) ** 3 + 4e4 * edge)
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        group = file.create_group("Experiments/O K")
        group["data"] = counted
        group.create_group("axis-0").attrs.update({"navigate": False, "offset": 500.0, "scale": 0.25, "units": "eV"})
    beamline("import", tmp_path / "a.hspy", "--data-dir", tmp_path / "d")
    beamline("report", "-1", "-o", tmp_path / "report.html", "--data-dir", tmp_path / "d")
    assert "energies are energy losses of electrons" in (tmp_path / "report.html").read_text()
