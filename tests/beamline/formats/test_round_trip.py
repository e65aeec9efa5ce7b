"""A STXM run that is exported to NXstxm and imported again is reduced to the same numbers, bit for bit."""

import h5py
import numpy as np
import pytest
from stxm_documents import START, events, stxm_documents

from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.stxm_run import DarkLine
from beamline.storage.results import collect, differences
from beamline.techniques import pipelines
from callbacks.contract import MEASUREMENT, SCANNER, Key, ScannerConfig, Stream
from callbacks.reduction import Reducer

ENERGIES = np.array([700.0, 704.0, 707.0, 708.5, 710.0, 712.0, 720.0, 730.0])
XS, YS = np.linspace(-1.0, 1.0, 24), np.linspace(10.0, 11.0, 20)
CONFIGURATION = {
    ScannerConfig.DEAD_TIME: 1.2e-7,
    ScannerConfig.DARK_RATE: 350.0,
    ScannerConfig.COUNTER_DIVIDER: 10.0,
}


def counts_of(rows, columns, seed=1):
    """Counts of a wedge with an edge, beside an empty strip; divided by ten as the instrument does."""
    rng = np.random.default_rng(seed)
    thickness = np.clip(np.linspace(-0.5, 1.5, columns), 0, None) * np.linspace(0.8, 1.2, rows)[:, np.newaxis]
    absorption = 0.3 + 0.9 / (1 + np.exp(-(ENERGIES - 708.0)))
    return rng.poisson(4000 * np.exp(-absorption[:, np.newaxis, np.newaxis] * thickness)) / 10


def dark_lines(columns):
    rng = np.random.default_rng(2)
    return [
        DarkLine(
            START - 3 + number,
            {
                str(Key.ENERGY): 700.0,
                str(Key.ENERGY_SETPOINT): 700.0,
                str(Key.RING_CURRENT): 500.0,
                str(Key.STXM_COUNTS): rng.poisson(3.0, columns) / 10,
                str(Key.STXM_DWELL): np.full(columns, 1.003e-3),
                str(Key.STXM_X): XS[:columns],
                str(Key.STXM_Y): np.full(columns, 10.0),
            },
        )
        for number in range(3)
    ]


def stack(**options):
    return stxm_documents(counts_of(20, 24), ENERGIES, XS, YS, read_back=0.0123, **options)


SCANS = {
    "divider, dead time and dark rate": lambda: stack(configuration=CONFIGURATION),
    "dark lines": lambda: stack(configuration=CONFIGURATION, dark=dark_lines(24)),
    "nothing known of the detector": stack,
    "dwell of each pixel": lambda: stack(dwell=1e-3 * (1 + 0.01 * np.arange(24)), configuration=CONFIGURATION),
    "stopped": lambda: stack(configuration=CONFIGURATION, lines=130),
    "failed": lambda: stack(configuration=CONFIGURATION, lines=130, ended=("fail", "the shutter stuck")),
    "image": lambda: stxm_documents(counts_of(20, 24)[4:5], [710.0], XS, YS, configuration=CONFIGURATION),
    "two regions, of two widths": lambda: stxm_documents(
        [counts_of(20, 24), counts_of(6, 9, seed=3)], ENERGIES, [XS, XS[:9] + 5], [YS, YS[:6]], dark=dark_lines(24)
    ),
    "line spectrum": lambda: stxm_documents(
        counts_of(1, 24), ENERGIES, XS, YS[:1], technique="stxm_line_spectrum", configuration=CONFIGURATION
    ),
    "focus": lambda: stxm_documents(
        counts_of(20, 24)[4:5],
        [710.0],
        XS,
        [10.0] * 20,
        technique="stxm_focus",
        zone_plate=list(np.linspace(-20, 20, 20)),
        configuration=CONFIGURATION,
    ),
}


def reduced(documents):
    """Reduce a run with the settings that hold by default."""
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), {})
    for name, doc in documents:
        reducer(name, doc)
    return collect(found)


@pytest.mark.long
@pytest.mark.parametrize("scan", SCANS)
def test_what_is_exported_and_imported_again_is_reduced_to_equal_arrays(scan, tmp_path):
    documents = SCANS[scan]()
    write_nxstxm(tmp_path / "scan.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    ours, theirs = reduced(documents), reduced(again)
    assert differences(ours, theirs) == []
    assert len(ours.frames) == sum(documents[-1][1]["num_events"].values()) - 3 * bool(
        settings_of(documents, Stream.DARK)
    )
    for key in ("exit_status", "reason", "num_events"):
        assert again[-1][1][key] == documents[-1][1][key]
    assert again[0][1][MEASUREMENT] == documents[0][1][MEASUREMENT]
    assert again[0][1]["sample"] == documents[0][1]["sample"]
    for name in (Stream.PRIMARY, Stream.DARK):
        assert settings_of(again, name) == settings_of(documents, name)


def settings_of(documents, stream):
    """The settings of the scanner in a stream, as text, in which NaN equals NaN."""
    return [
        str(doc["configuration"][SCANNER]["data"])
        for name, doc in documents
        if name == "descriptor" and doc["name"] == stream
    ]


def test_the_divider_and_the_dark_lines_are_what_the_uncertainty_comes_from():
    """A control of the test above: without them the results differ."""
    plain, divided = reduced(stack()), reduced(stack(configuration=CONFIGURATION, dark=dark_lines(24)))
    assert plain.result["i0_status"] == divided.result["i0_status"] == "ok"
    found = np.nanmedian(plain.result["optical_density_sigma"] / divided.result["optical_density_sigma"])
    assert found > 2.0  # less than the root of ten: dead time, dark counts and flux add to it
    assert differences(plain, divided)
    assert divided.result["dark_rate"] > 0


def test_a_run_that_is_exported_a_second_time_keeps_what_the_first_import_said(tmp_path):
    documents = stack(lines=130)
    documents[0][1]["import_problems"] = ["image 3: broken off"]
    write_nxstxm(tmp_path / "one.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "one.hdf5"))
    write_nxstxm(tmp_path / "two.hdf5", again, None)
    _, start = next(nxstxm_documents(tmp_path / "two.hdf5"))
    assert start["import_problems"] == ["image 3: broken off", "entry1: 30 of 160 lines were not measured"]


def test_a_line_without_a_count_stays_an_event(tmp_path):
    """A line that was measured, and of which no count is known, is not one that was never measured."""
    counts = counts_of(20, 24)
    counts[2, 5] = np.nan
    documents = stxm_documents(counts, ENERGIES, XS, YS)
    write_nxstxm(tmp_path / "scan.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    assert events(again).keys() == events(documents).keys()
    assert again[-1][1]["exit_status"] == "success"
    assert differences(reduced(documents), reduced(again)) == []


def with_others(documents):
    """What devices without a place in the definition read at each line: a text, a number."""
    for name, doc in documents:
        if name == "descriptor":
            doc["data_keys"]["polarisation"] = {"dtype": "string", "shape": [], "source": "x"}
            doc["data_keys"]["cryostat"] = {"dtype": "number", "shape": [], "source": "x", "units": "K"}
        if name == "event":
            doc["data"] |= {"polarisation": "C+" if doc["seq_num"] % 2 else "C-", "cryostat": 80 + doc["seq_num"] / 7}
            doc["timestamps"] |= dict.fromkeys(doc["data"], doc["time"])
    return documents


@pytest.mark.parametrize("lines", [160, 130])
def test_what_other_devices_read_at_a_line_is_kept(lines, tmp_path):
    documents = with_others(stack(lines=lines))
    write_nxstxm(tmp_path / "scan.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    found, expected = events(again), events(documents)
    for key in ("polarisation", "cryostat"):
        assert [one["data"][key] for one in found.values()] == [one["data"][key] for one in expected.values()]
    data_keys = next(doc["data_keys"] for name, doc in again if name == "descriptor")
    assert (data_keys["polarisation"]["dtype"], data_keys["cryostat"]["units"]) == ("string", "K")
    assert differences(reduced(documents), reduced(again)) == []


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("energy", np.zeros(160), "'energy' is no data key of another device"),
        ("a b", np.zeros(160), "'a b' is no data key of another device"),
        ("cryostat", np.zeros(159), "cryostat: 159 values, expected 160"),
        ("cryostat", [b"x"] * 159, "cryostat: 159 values, expected 160"),
        ("cryostat", np.zeros(160, complex), "cryostat: values of the type complex128, expected numbers"),
    ],
)
def test_readings_that_are_not_of_the_lines_are_left_out_and_named(name, values, message, tmp_path):
    write_nxstxm(tmp_path / "scan.hdf5", with_others(stack()), None)
    with h5py.File(tmp_path / "scan.hdf5", "a") as file:
        others = file["entry1/lines/others"]
        if name in others:
            del others[name]
        others[name] = values
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    assert again[0][1]["import_problems"] == [
        f"/entry1/lines/others{'/' if ':' in message else ': '}{message}; left out"
    ]
    assert "polarisation" not in events(again)[1]["data"]


def test_a_line_that_was_taken_again_replaces_the_one_before(tmp_path):
    documents = stack()
    first = next(index for index, (name, _) in enumerate(documents) if name == "event")
    spoilt = {**documents[first][1], "data": {**documents[first][1]["data"], str(Key.STXM_COUNTS): np.zeros(24)}}
    write_nxstxm(tmp_path / "scan.hdf5", [*documents[:first], ("event", spoilt), *documents[first:]], None)
    again = events(nxstxm_documents(tmp_path / "scan.hdf5"))
    np.testing.assert_array_equal(again[1]["data"][Key.STXM_COUNTS], documents[first][1]["data"][Key.STXM_COUNTS])
