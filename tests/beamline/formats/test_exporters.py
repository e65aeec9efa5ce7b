"""What exporters write: names, units, reasons, and text from data that cannot break a format or a path."""

import json

import h5py
import numpy as np
import pytest
from stxm_documents import START, stxm_documents

from beamline.errors import BeamlineError
from beamline.formats.exporters.columns import Table, write_tables
from beamline.formats.exporters.nexus import write_nexus
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.storage.results import Run, collect
from beamline.storage.results import Table as Stream
from beamline.techniques.xas import tables as tables_of_spectrum
from callbacks.contract import DERIVATION, MEASUREMENT

SAMPLE = "LFP\n# 50 %\t[/b]\x1b[31m\0/../x \ud800"
SHOWN = "LFP\\n# 50 %\\t[/b]\\x1b[31m\\x00/../x \\ud800"
DERIVATION_BLOCK = {"raw_uids": ["r"], "pipeline": "stxm", "settings": {}, "software": {}}


def measured(sample=SAMPLE, **options):
    return stxm_documents(
        np.full((2, 3, 4), 400.0), [700.0, 701.0], np.arange(4.0), np.arange(3.0), sample=sample, **options
    )


def derived(units=None, **result):
    table = Stream({key: np.array([value]) for key, value in result.items()}, {}, np.array([START]), units or {}, {})
    start = {"uid": "d", "time": START, DERIVATION: DERIVATION_BLOCK, MEASUREMENT: measured()[0][1][MEASUREMENT]}
    return Run(start, streams={"result": table})


def written(tmp_path, *tables, documents=None, **result):
    return write_tables(tmp_path / "text", tables, collect(documents or measured()), derived(**result))


def test_columns_have_their_titles_and_what_is_not_finite_is_nan(tmp_path):
    columns = [("energy_eV", np.array([1.0, 2.0, 3.0])), ("Fe 2+\tend member", np.array([np.inf, np.nan, -1.5]))]
    (path,) = written(tmp_path, Table("spectrum", columns))
    lines = path.read_text().splitlines()
    assert lines[-4].split() == ["#", "energy_eV", "Fe_2+_end_member"]
    np.testing.assert_array_equal(np.loadtxt(path), [[1, np.nan], [2, np.nan], [3, -1.5]])


def test_text_from_data_is_one_comment_and_a_name_is_no_path(tmp_path):
    table = Table("../map/\0x", [("a\n1 2 3", np.arange(2.0))], remarks=("one\ntwo",))
    (path,) = written(tmp_path, table)
    assert path.parent == tmp_path / "text"
    text = path.read_text()
    assert text.splitlines()[0] == f"# STXM of {SHOWN}"
    assert "# one\\ntwo\n" in text
    assert "\x1b" not in text
    np.testing.assert_array_equal(np.loadtxt(path), [0, 1])
    assert [one.name for one in (tmp_path / "text").iterdir()] == [path.name]


def test_columns_say_why_there_is_nothing_and_what_the_run_lacks(tmp_path):
    documents = measured(lines=4)
    documents[0][1]["import_problems"] = ["2 of 3 images: 2 missing"]
    result = {
        "tey_status": "the jump is smaller than its error",
        "tfy_status": "ok",
        "image_status": np.array(["ok", "not registered: {too small}", "not registered: {too small}"]),
        "problem_frames": np.array([2]),
        "problems": np.array(["lines: ValueError: no\nlight"]),
    }
    (path,) = written(tmp_path, Table("xas", [("energy_eV", np.arange(2.0))]), documents=documents, **result)
    remarks = path.read_text().splitlines()
    assert "# ended: abort: 2 of 6 lines are missing" in remarks
    assert "# 2 of 3 images: 2 missing" in remarks
    assert "# tey: the jump is smaller than its error" in remarks
    assert "# image: 2 of 3: not registered: {too small}" in remarks
    assert "# event 2: lines: ValueError: no light" in remarks
    assert not any("tfy" in line for line in remarks)


def test_columns_without_a_number_beside_their_axis_are_refused_with_each_reason_once(tmp_path):
    nothing = [Table("a", [("energy_eV", np.arange(2.0)), ("tey", np.full(2, np.nan))])]
    reasons = {"tey_status": "no light", "tfy_status": "no light", "calibration_status": "one line"}
    told = r"as columns: tey: no light; calibration: one line; `--format nexus` writes"
    with pytest.raises(BeamlineError, match=told):
        written(tmp_path, *nothing, **reasons)
    assert not (tmp_path / "text").exists()
    something = Table("b", [("energy_eV", np.arange(2.0)), ("tey", np.array([np.nan, 1.0]))])
    assert [path.stem for path in written(tmp_path, *nothing, something, **reasons)] == ["a", "b"]


def test_columns_of_a_spectrum_that_was_reduced_before_i0_was_kept_are_those_there_are():
    run = derived(xas_energy=np.array([529.0, 530.5]), tey=np.array([0.1, 0.2]))
    (table,) = tables_of_spectrum(run)
    assert [title for title, _ in table.columns] == ["energy_eV", "tey"]


def test_nexus_has_units_and_reasons_and_groups_only_of_what_there_is(tmp_path):
    result = {"incident_rate": np.array([1.0, 2.0]), "i0_status": "no sample-free pixels", "frames": 6}
    run = derived(units={"incident_rate": "counts/s"}, **result)
    write_nexus(tmp_path / "scan.nxs", measured(), run, [])
    with h5py.File(tmp_path / "scan.nxs") as file:
        entry = file["entry"]
        assert list(entry["instrument"]) == ["scanner"]
        assert entry["instrument/scanner"].attrs["stxm_counter_divider"] == 1.0
        assert entry["reduction/found/incident_rate"].attrs["units"] == "counts/s"
        assert "units" not in entry["reduction/found/frames"].attrs
        assert entry["reduction/not_found"].asstr()[()].tolist() == ["i0: no sample-free pixels"]
        assert json.loads(entry["stop_document/data"][()])["exit_status"] == "success"


def odd(documents):
    """A run of which every name and value is odd."""
    for name, doc in documents:
        if name == "descriptor":
            key = {"dtype": "array", "shape": [], "source": "x", "units": "a\0\n"}
            doc["data_keys"] |= {"a/b": key, "a_b": key, "n\0": key, ".": key, "x" * 300: key, "mapping": key}
            doc["configuration"]["cam/era"] = {
                "data": {"x/\0": "a\0b", "long": "y" * 10**5, "big": 2**70, "none": None}
            }
        if name == "event":
            doc["data"] |= {
                "a/b": 1.0,
                "a_b": 2.0,
                "n\0": "t\0t",
                ".": None,
                "x" * 300: 3.0,
                "mapping": {"a": [1.0]},
            }
            doc["timestamps"] |= dict.fromkeys(doc["data"], 0.0)
        yield name, doc


def test_no_name_and_no_value_breaks_nexus(tmp_path):
    write_nexus(tmp_path / "scan.nxs", list(odd(measured())), derived(**{"a/b": "t\0t", "c": 1.0}), [])
    with h5py.File(tmp_path / "scan.nxs") as file:
        entry = file["entry"]
        assert entry["title"].asstr()[()] == f"STXM of {SHOWN}"
        assert entry["sample/name"].asstr()[()] == SHOWN
        raw = entry["raw_primary"]
        assert {raw["a_b"][0], raw["a_b_2"][0]} == {1.0, 2.0}
        assert raw["n_"].asstr()[0] == "t\\x00t"
        assert raw["_"].asstr()[0] == "null"
        assert json.loads(raw["mapping"].asstr()[0]) == {"a": [1.0]}
        assert raw["x" * 120][0] == 3.0
        camera = entry["instrument/cam_era"].attrs
        assert (camera["x__"], camera["big"], camera["none"]) == ("a\\x00b", str(2**70), "null")
        assert camera["long"].endswith("(100000 characters)")
        assert entry["reduction/found/a_b"].asstr()[()] == "t\\x00t"
        assert json.loads(entry["start_document/data"][()])["measurement"]["sample"] == SAMPLE


def test_a_sample_of_any_name_goes_through_nxstxm(tmp_path):
    write_nxstxm(tmp_path / "scan.hdf5", measured(), None)
    with h5py.File(tmp_path / "scan.hdf5") as file:
        assert file["entry1/sample/name"].asstr()[()] == SHOWN


@pytest.mark.parametrize("write", [write_nexus, write_nxstxm])
def test_a_file_that_cannot_be_written_leaves_nothing(write, tmp_path):
    arguments = ([],) if write is write_nexus else ()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "folder", tmp_path / "file" / "scan.nxs", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"directory|exists|too long"):
            write(path, measured(), None, *arguments)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_times_that_no_calendar_has_do_not_stop_an_export(tmp_path):
    documents = measured()
    documents[-1][1]["time"] = 1e300
    write_nexus(tmp_path / "scan.nxs", documents, None, [])
    with h5py.File(tmp_path / "scan.nxs") as file:
        assert file["entry/end_time"].asstr()[()] == "1e+300 s since 1970"
