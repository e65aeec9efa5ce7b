"""Exports are NeXus by a validator, lead a viewer to a plot with axes and errors, and are read again as they were."""

import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import silx.io.nxdata
from exported import reduced, rixs_documents, xas_documents
from frame_documents import COLUMNS, FRAMES, ROWS
from nexusformat.nexus.validate import validate_application, validate_file
from stxm_documents import stxm_documents
from test_round_trip import SCANS as STXM_SCANS

from beamline.errors import BeamlineError
from beamline.formats.exporters.nexus import write_nexus
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.exporters.nxxas import write_nxxas
from beamline.formats.importers.nexus import nexus_documents
from beamline.storage.results import collect, differences
from beamline.techniques import TECHNIQUES
from callbacks.contract import MEASUREMENT, Measurement

TECHNIQUE_SCANS = {
    "xas": lambda folder: xas_documents(),
    "rixs": lambda folder: rixs_documents(folder / "frames.h5"),
    "elastic": lambda folder: rixs_documents(folder / "frames.h5", technique="elastic"),
    "stxm": lambda folder: STXM_SCANS["dark lines"](),
    "stxm_line_spectrum": lambda folder: STXM_SCANS["line spectrum"](),
    "stxm_focus": lambda folder: STXM_SCANS["focus"](),
}
# What the base classes of v2026.01 have no place for, and is written all the same: how a run was reduced (the classes
# allow more, with a warning), the settings of a device, and attributes of before NeXus 3.3, which MANTiS, aXis2000 and
# others still need.
TOLERATED = (
    r"(derived_run|not_found|pipeline|settings|software): This field is not defined in NXprocess",
    r"(counter_divider|dark_rate): This field is not defined in NXdetector",
    r'ccd: "@ccd_\w+" is not defined as an attribute in NXdetector',
    r'data: Using "signal" as a field attribute is no longer valid. Use the group attribute "signal"',
    r'\w+: Using "axis" as a field attribute is no longer valid. Use the group attribute "axes"',
)


@pytest.fixture
def said():
    """What the validator says: (level, text) of each line."""
    lines = []

    class Kept(logging.Handler):
        def emit(self, record):
            lines.append((record.levelno, record.getMessage().strip()))

    logger = logging.getLogger("NXValidate")
    handler = Kept()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def violations(path, said):
    """Validate a file, and each entry with a definition; give errors, and warnings that are not tolerated."""
    said.clear()
    results = [validate_file(str(path))]
    with h5py.File(path) as file:
        entries = [name for name in file if "definition" in file[name]]
    results += [validate_application(str(path), path=f"/{name}") for name in entries]
    assert all(result is not None for result in results)
    found, place = [], ""
    for level, text in said:
        if text.startswith(("Field: ", "Link: ", "NX")):
            place = text.rsplit("/", 1)[-1]
        tolerated = level == logging.WARNING and any(re.fullmatch(one, f"{place}: {text}") for one in TOLERATED)
        if level in (logging.WARNING, logging.ERROR) and not tolerated:
            found.append(f"{place}: {text}")
    errors, warnings = (sum(result[n] for result in results) for n in (1, 0))
    assert sum(level == logging.ERROR for level, _ in said) == errors  # nothing is missed
    assert sum(level == logging.WARNING for level, _ in said) == warnings
    return found


def export(technique, file_format, folder):
    """Write a run of a technique with its reduction as `beamline export` does; give file, documents and reduction."""
    documents = TECHNIQUE_SCANS[technique](folder)
    raw, derived = collect(documents), reduced(documents)
    path = folder / f"{technique}.{file_format}"
    TECHNIQUES[technique].exporters[file_format](path, documents, raw, derived)
    return path, documents, derived


FORMATS = [
    (technique, file_format)
    for technique in TECHNIQUE_SCANS
    for file_format in TECHNIQUES[technique].exporters
    if file_format in ("nexus", "nxstxm", "nxxas")
]


def test_every_technique_is_exported_to_nexus():
    assert set(TECHNIQUE_SCANS) == set(TECHNIQUES)
    assert len(FORMATS) == 10


@pytest.mark.long
@pytest.mark.parametrize(("technique", "file_format"), FORMATS)
def test_an_export_is_valid_nexus(technique, file_format, tmp_path, said):
    path, _, _ = export(technique, file_format, tmp_path)
    assert violations(path, said) == []


@pytest.mark.long
@pytest.mark.parametrize("scan", STXM_SCANS)
def test_every_kind_of_scan_is_a_valid_nxstxm(scan, tmp_path, said):
    documents = STXM_SCANS[scan]()
    write_nxstxm(tmp_path / "scan.hdf5", documents, reduced(documents))
    assert violations(tmp_path / "scan.hdf5", said) == []


def test_the_validator_finds_what_is_wrong(tmp_path, said):
    path, _, _ = export("xas", "nxxas", tmp_path)
    with h5py.File(path, "a") as file:
        del file["tey/instrument/incoming_beam"], file["tey/start_time"]
        file["tey/start_time"] = "yesterday"
    found = violations(path, said)
    assert [one for one in found if "incoming_beam" in one or "required" in one]
    assert len(found) >= 2


def default_plot(path):
    """Follow the attributes `default` from the root, as viewers do; give the NXdata as silx reads it."""
    with h5py.File(path) as file:
        group = file
        while group.attrs.get("NX_class") != "NXdata":
            group = group[group.attrs["default"]]
        name = group.name
        data = silx.io.nxdata.get_default(file)
        assert data is not None
        assert data.is_valid, data.issues
        assert data.group.name == name  # silx leads to the same
        return {
            "name": name,
            "signal": data.signal[()],
            "axes": [None if axis is None else axis[()] for axis in data.axes],
            "axes_names": data.axes_names,
            "errors": None if data.errors is None else data.errors[()],
            "is_curve": data.is_curve,
            "is_image": data.is_image,
            "units": {key: dataset.attrs.get("units") for key, dataset in data.group.items()},
        }


@pytest.mark.long
@pytest.mark.parametrize(("technique", "file_format"), FORMATS)
def test_the_default_of_an_export_leads_to_a_plot_with_axes_and_errors(technique, file_format, tmp_path):
    path, _, _ = export(technique, file_format, tmp_path)
    plot = default_plot(path)
    assert np.isfinite(plot["signal"]).any()
    assert [len(axis) for axis in plot["axes"]] == list(plot["signal"].shape)
    assert plot["errors"] is not None
    assert plot["errors"].shape == plot["signal"].shape
    assert (plot["errors"][np.isfinite(plot["errors"])] >= 0).all()


def test_the_plot_of_a_map_is_its_intensity_over_both_energies(tmp_path):
    path, _, derived = export("rixs", "nexus", tmp_path)
    plot = default_plot(path)
    assert plot["is_image"]
    assert plot["axes_names"][0] == "excitation energy (eV)"
    np.testing.assert_array_equal(plot["signal"], derived.result["map"])
    np.testing.assert_array_equal(plot["errors"], np.sqrt(derived.result["map_variance"]))


def test_the_plot_of_a_spectrum_is_normalised_and_ascends(tmp_path):
    documents = xas_documents(order=np.random.default_rng(1).permutation(81))
    derived = reduced(documents)
    write_nxxas(tmp_path / "xas.nxs", documents, derived)
    plot = default_plot(tmp_path / "xas.nxs")
    assert plot["is_curve"]
    assert (plot["name"], plot["units"]["energy"]) == ("/tey/reduction/normalised", "eV")
    assert (np.diff(plot["axes"][0]) > 0).all()
    np.testing.assert_array_equal(plot["signal"], derived.result["tey"])


# NXxas


def test_each_channel_is_an_entry_with_its_counts_and_the_incident_flux(tmp_path):
    documents = xas_documents()
    write_nxxas(tmp_path / "xas.nxs", documents, None)
    columns = collect(documents).streams["primary"].columns
    with h5py.File(tmp_path / "xas.nxs") as file:
        assert sorted(file) == ["pmt", "tey"]
        for name, mode in (("tey", "Total Electron Yield"), ("pmt", "Transmission")):
            entry = file[name]
            assert entry["definition"].asstr()[()] == "NXxas"
            assert entry["data/mode"].asstr()[()] == mode
            np.testing.assert_array_equal(entry["instrument/incoming_beam/data"], columns["i0"])
            np.testing.assert_array_equal(entry["data/absorbed_beam"], columns[name])
            np.testing.assert_array_equal(entry["data/absorbed_beam_errors"], np.sqrt(columns[name]))
            np.testing.assert_array_equal(entry["data/energy"], columns["energy"])
            assert entry["monitor/preset"][()] == 0.5
            assert entry["monitor/data"] == entry["instrument/incoming_beam/data"]  # one dataset


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tey",), "no incident flux 'i0', which NXxas asks for; expected nexus or columns"),
        (("i0",), "no channel of a kind that NXxas knows"),
    ],
)
def test_a_spectrum_that_nxxas_cannot_hold_is_refused_in_one_line(names, message, tmp_path):
    with pytest.raises(BeamlineError, match=message):
        write_nxxas(tmp_path / "xas.nxs", xas_documents(names=names), None)
    assert not list(tmp_path.iterdir())


# Round trips


@pytest.mark.long
@pytest.mark.parametrize(("technique", "file_format"), [one for one in FORMATS if not one[0].startswith("stxm")])
def test_what_is_exported_and_imported_again_is_reduced_to_equal_arrays(technique, file_format, tmp_path):
    path, documents, derived = export(technique, file_format, tmp_path)
    (tmp_path / "frames.h5").unlink(missing_ok=True)  # what is read again is of the file alone
    again = list(nexus_documents(path, frames_dir=tmp_path / "new"))
    assert differences(derived, reduced(again)) == []
    start, original = again[0][1], documents[0][1]
    assert start["imported_uid"] == original["uid"] != start["uid"]
    assert Measurement.model_validate(start[MEASUREMENT]) == Measurement.model_validate(original[MEASUREMENT])
    assert start["import_problems"] == original.get("import_problems", [])
    for key in ("exit_status", "reason", "time"):
        assert again[-1][1].get(key) == documents[-1][1].get(key)
    path.unlink()
    assert differences(derived, reduced(again)) == []  # nor is it of the file any more


@pytest.mark.long
@pytest.mark.parametrize("form", ["stream", "datum"])
def test_frames_are_those_of_their_events_whatever_the_form_and_the_numbers(form, tmp_path):
    """Of five frames the third is left out and the last is taken again, under its number."""
    documents = rixs_documents(tmp_path / "frames.h5", form, numbers=[1, 2, 4, 5, 5])
    derived = reduced(documents)
    write_nexus(tmp_path / "map.nxs", documents, derived, [])
    (tmp_path / "frames.h5").unlink()
    again = list(nexus_documents(tmp_path / "map.nxs", frames_dir=tmp_path / "new"))
    assert [doc["seq_num"] for name, doc in again if name == "event"] == [1, 2, 4, 5, 5]
    assert differences(derived, reduced(again)) == []


@pytest.mark.long
def test_dark_frames_are_read_again_beside_those_of_the_scan(tmp_path):
    """As many dark frames as others, and of the same camera: each stay those of their stream."""
    documents = rixs_documents(tmp_path / "frames.h5")
    expected = np.zeros((FRAMES, ROWS, COLUMNS))
    dark = [one for one in rixs_documents(tmp_path / "dark.h5", expected=expected) if one[0] not in ("start", "stop")]
    start = documents[0][1]["uid"]
    for name, doc in dark:
        if name == "descriptor":
            doc |= {"name": "dark", "run_start": start}
            doc["data_keys"]["ccd_dark_image"] = doc["data_keys"].pop("ccd_image")
        if name == "stream_resource":
            doc |= {"data_key": "ccd_dark_image", "run_start": start}
    documents[1:1] = dark
    derived = reduced(documents)
    write_nexus(tmp_path / "map.nxs", documents, derived, [])
    for name in ("frames.h5", "dark.h5"):
        (tmp_path / name).unlink()
    again = list(nexus_documents(tmp_path / "map.nxs", frames_dir=tmp_path / "new"))
    assert differences(derived, reduced(again)) == []
    assert differences(derived, reduced(rixs_documents(tmp_path / "frames.h5")))  # the dark frames matter
    with h5py.File(tmp_path / "map.nxs") as file:
        assert sorted(file["entry/instrument"]) == ["ccd", "dark_ccd_dark_image"]


def test_a_run_that_was_not_closed_is_read_as_aborted(tmp_path):
    write_nexus(tmp_path / "run.nxs", xas_documents()[:-1], None, [])
    again = list(nexus_documents(tmp_path / "run.nxs", frames_dir=tmp_path))
    assert (again[-1][1]["exit_status"], again[-1][1]["reason"]) == ("abort", "the file has no stop document")
    assert again[-1][1]["num_events"] == {"primary": 81}


def test_a_run_of_a_series_is_read_without_it_and_says_so(tmp_path):
    documents = xas_documents()
    documents[0][1]["series"] = {"uid": "a", "index": 0, "runs": 2, "role": "sample"}
    write_nexus(tmp_path / "run.nxs", documents, None, [])
    _, start = next(nexus_documents(tmp_path / "run.nxs", frames_dir=tmp_path))
    assert "series" not in start
    assert start["import_problems"][-1] == "series: names runs that the file does not have; left out"


def rewritten(path, edit):
    """Change the documents of a file, as text."""
    with h5py.File(path, "a") as file:
        note = file["entry/documents"]
        text = bytes(note["data"][()]).decode()
        del note["data"]
        note["data"] = np.frombuffer(edit(text).encode(), np.uint8)
    return path


@pytest.mark.long
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace('"technique": "xas"', '"technique": 5'), r"line 1: measurement: technique: "),
        (
            lambda text: text.replace('"scan_id": 3', f'"scan_id": {2**70}'),
            "line 1: a whole number of more than 64 bits",
        ),
        (lambda text: "\n".join(text.split("\n")[1:]), "line 1: expected the start document first"),
        (lambda text: text.replace('["event"', '["resource"', 1), "line 3: no document of a run: 'resource'"),
        (lambda text: text.replace('"tey":', '"tea":', 1), "line 2: |line 3: "),
        (lambda text: text.replace('"ring_current": 400.0', '"ring_current": "high"', 1), "line 3: ring_current is no"),
        (lambda text: text[: len(text) // 2], "line [0-9]+: Unterminated string|line [0-9]+: Expecting"),
        (lambda text: "[" * 100_000, "line 1: "),
        (lambda text: "", "line 1: |expected at least one value|shape"),
    ],
)
def test_documents_that_are_not_whole_are_refused_with_their_line(edit, message, tmp_path):
    write_nexus(tmp_path / "run.nxs", xas_documents(), None, [])
    path = rewritten(tmp_path / "run.nxs", edit)
    with pytest.raises(BeamlineError, match=message) as error:
        list(nexus_documents(path, frames_dir=tmp_path / "new"))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_frames_that_are_not_those_of_the_events_are_refused_and_leave_nothing(tmp_path):
    path, _, _ = export("rixs", "nexus", tmp_path)
    with h5py.File(path, "a") as file:
        file["entry/instrument/ccd/data"].resize(4, axis=0)
    with pytest.raises(BeamlineError, match=r"frames of ccd_image: \(4, 16, 128\), expected 5 of them"):
        list(nexus_documents(path, frames_dir=tmp_path / "new"))
    assert not list((tmp_path / "new").glob("*"))


def test_a_file_of_another_program_is_named(tmp_path):
    write_nxstxm(
        tmp_path / "scan.hdf5", stxm_documents(np.ones((1, 2, 3)), [700.0], np.arange(3.0), np.arange(2.0)), None
    )
    for path, message in (
        (tmp_path / "scan.hdf5", "no NXentry with the documents of a run"),
        (tmp_path / "none.nxs", "no such file"),
        (Path(__file__), "cannot be read"),
    ):
        with pytest.raises(BeamlineError, match=message):
            list(nexus_documents(path, frames_dir=tmp_path))
