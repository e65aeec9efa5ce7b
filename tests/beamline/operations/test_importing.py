"""An import says what it made of a scan: that it was imported before, what is missing, and where it is not."""

from contextlib import closing

import h5py
import numpy as np
import pytest
from command_line import answer
from small_scans import write_irixs, write_sdf
from stxm_documents import stxm_documents

from beamline.errors import BeamlineError
from beamline.operations import importing
from beamline.operations.exporting import export
from beamline.storage import Recorder, Runs


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A broken-off stack in NXstxm."""
    folder = tmp_path_factory.mktemp("scan")
    documents = stxm_documents(
        np.full((3, 4, 6), 100.0), [700.0, 701.0, 702.0], np.arange(6.0), np.arange(4.0), lines=9
    )
    with closing(Recorder(folder)) as recorder:
        for document in documents:
            recorder(*document)
    return export(Runs(folder), "-1", "nxstxm", folder / "scan.hdf5")[0]


@pytest.mark.long
def test_an_import_says_what_is_missing_and_every_command_says_it_again(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "")  # the catalogue takes seconds
    imported = answer("import", scan, "--data-dir", tmp_path)
    assert imported.code == 0, imported.stderr
    shown = answer("show", "--data-dir", tmp_path)
    report = answer("report", "-o", tmp_path / "report.html", "--data-dir", tmp_path)
    assert report.code == 0, report.stderr
    page = (tmp_path / "report.html").read_text()
    (listed,) = answer("runs", "--json", "--data-dir", tmp_path).json
    assert "9 of 12 points measured" in listed["problems"]
    for text in (imported.stdout, shown.stdout, page):
        assert "9 of 12 points measured" in text


@pytest.mark.long
def test_a_scan_that_is_imported_again_is_said_to_have_been(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "")
    (first,), (second,) = (answer("import", scan, "--data-dir", tmp_path, "--json").json for _ in range(2))
    assert first["imported_before"] == []
    assert second["imported_before"] == [first["raw_uid"]]
    third = answer("import", scan, "--data-dir", tmp_path).stdout
    assert f"imported before  as run {first['raw_uid']}" in third
    shown = answer("show", str(first["scan_id"]), "--data-dir", tmp_path, "--json")
    assert shown.stderr == (
        f"beamline: warning: run {first['scan_id']}: 2 other runs have this scan id, too; this is the newest, "
        f"{shown.json['raw_uid']}\n"
    )


def test_an_import_that_is_interrupted_says_what_to_do_and_nothing_of_it_is_lost(scan, tmp_path, monkeypatch):
    class Interrupted(Recorder):
        def __call__(self, name, doc):
            super().__call__(name, doc)
            if name == "event" and doc["seq_num"] == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(importing, "Recorder", Interrupted)
    found = answer("import", scan, "--data-dir", tmp_path)
    (run,) = Runs(tmp_path).raw()
    assert (found.code, found.stdout) == (130, "")
    assert f"run {run.uid}: its import was interrupted; `beamline recover` closes and reduces it\n" in found.stderr
    assert len(Runs(tmp_path).load(run).streams["primary"]) == 4


def test_an_import_that_is_not_in_the_catalogue_fails_and_says_why(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "run x is not in the catalogue: made to fail")
    found = answer("import", scan, "--data-dir", tmp_path)
    assert found.code == 1
    assert "raw run" in found.stdout
    assert found.stderr.splitlines()[-1] == "beamline: run x is not in the catalogue: made to fail"


@pytest.mark.parametrize(("kind", "write", "points"), [("irixs", write_irixs, 4), ("sdf", write_sdf, 12)])
def test_a_scan_of_another_instrument_becomes_a_run_that_is_kept(kind, write, points, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "ingest_now", lambda *_: "")
    folder = write(tmp_path / "scan")
    (summary,) = importing.import_file(folder, data_dir=tmp_path / "data")
    (run,) = Runs(tmp_path / "data").raw()
    assert (run.uid, run.start["scan_id"]) == (summary["raw_uid"], 7)
    assert run.start["measurement"]["points"] == points
    assert (summary["kind"], summary["imported_before"]) == (kind, [])
    assert len(list((tmp_path / "data").rglob("irixs_7_*.h5"))) == (kind == "irixs")


def test_settings_that_are_none_are_named_before_anything_is_read_or_written(tmp_path):
    config = tmp_path / "endstation.toml"
    config.write_text('[endstation]\nname = "x"\n[devices]\n[processing.rix]\n[processing.rixs.cosmic_ray]\n')
    with pytest.raises(BeamlineError) as error:
        importing.import_file(tmp_path / "none", config=config, data_dir=tmp_path / "data")
    assert error.value.problems == (
        f"{config}: processing: unknown pipeline 'rix'; did you mean 'rixs'?",
        f"{config}: processing.rixs: unknown key 'cosmic_ray'; did you mean 'cosmic_rays'?",
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.long
def test_what_is_of_no_kind_is_one_line_that_says_what_was_found_and_what_is_read(tmp_path):
    (tmp_path / "empty.dat").touch()
    (tmp_path / "text.txt").write_text("\n  Dear diary,\n1 2\n")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.odt").touch()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    (tmp_path / "broken.h5").write_bytes((tmp_path / "other.h5").read_bytes()[:200])
    said = {
        "empty.dat": "is empty, or not a regular file that can be read",
        "text.txt": "begins with the line 'Dear diary,'",
        "image.png": "begins with the bytes 89 50 4e 47 0d 0a 1a 0a",
        "folder": "a folder with 'notes.odt'",
        "other.h5": "an HDF5 file with 'x'",
        "broken.h5": "an HDF5 file that cannot be read (cannot be read: ",
    }
    for name, words in said.items():
        found = answer("import", tmp_path / name, "--data-dir", tmp_path / "data")
        assert (found.code, found.stdout, found.stderr.count("\n")) == (1, "", 1)
        assert f"{tmp_path / name}: {words}" in found.stderr
        assert "which is of no kind that is imported; these are irixs, sdf, nexus, nxstxm," in found.stderr
    assert not Runs(tmp_path / "data").raw()


def test_a_kind_says_what_it_makes_no_use_of(tmp_path):
    folder = write_sdf(tmp_path / "scan")
    for options, words in (([f"{folder}::3"], "has no part '3'"), ([folder, "--columns", "i0=1"], "has no columns")):
        found = answer("import", *options, "--data-dir", tmp_path / "data")
        assert (found.code, found.stderr.count("\n")) == (1, 1)
        assert words in found.stderr


def test_the_kinds_are_listed():
    assert answer("import", "--list", "--json").json == importing.kinds()
    listed = " ".join(answer("import", "--list").stdout.split())
    assert all(f"{name} {title}" in listed for name, title in importing.kinds().items() if len(title) < 50)
