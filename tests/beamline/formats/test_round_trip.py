"""A STXM run that is exported to NXstxm and imported again is reduced to the same numbers, bit for bit."""

import h5py
import numpy as np
import pytest
from scipy import ndimage
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


def reduced(documents, settings=None):
    """Reduce a run, with the settings that hold by default where none are given."""
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), settings or {})
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


def as_measured(documents):
    """A run with what a scan leaves beside: alarms of devices, and the moments at which each of them was read."""
    texts = {"scanner_alarm": "", "ring_alarm": "clock is off", "energy_alarm": ""}
    severities = ("scanner_severity", "ring_severity", "energy_severity")
    for name, doc in documents:
        if name == "descriptor":
            kinds = {key: {"dtype": "string"} for key in texts}
            kinds |= {key: {"dtype": "integer", "dtype_numpy": "<i8"} for key in severities}
            doc["data_keys"] |= {key: {**kind, "shape": [], "source": "x"} for key, kind in kinds.items()}
        if name == "event":
            number, is_dark = doc["seq_num"], doc["time"] < START
            broken = number in ((2,) if is_dark else (31, 32))
            doc["data"] |= {**texts, **dict.fromkeys(severities, 0)}
            if broken:
                doc["data"] |= {"scanner_alarm": "scanner: INVALID", "scanner_severity": 3}
            if number == 52:  # an encoder that was not there
                doc["data"] |= {"energy_alarm": "energy: INVALID", "energy_severity": 3, str(Key.ENERGY): float("nan")}
                doc["data"][str(Key.STXM_X)] = np.full(len(doc["data"][Key.STXM_X]), np.nan)
            late = 3.7 + 0.04 * np.sin(number)
            doc["timestamps"] = dict.fromkeys(doc["data"], doc["time"] + 2.5) | {Key.STXM_COUNTS: doc["time"] + late}
    return documents


OXYGEN = np.array([520.0, 522.0, 524.0, 526.0, 528.0, 529.0, 530.0, 531.0, 533.0, 535.0, 537.0, 540.0, 545.0])
ABSORPTIONS = {  # of two materials at these energies
    "reduced": 0.3 + 0.9 / (1 + np.exp(530 - OXYGEN)),
    "oxidised": 0.3 + 0.9 / (1 + np.exp(530 - OXYGEN)) + 0.8 * np.exp(-((OXYGEN - 529) ** 2)),
}


def drifting_stack(rows=32, columns=36):
    """A stack of a sample that moves by a third of a pixel while an image is measured, beside an empty strip."""
    rng = np.random.default_rng(4)
    fields = np.clip(ndimage.gaussian_filter(rng.normal(size=(2, rows + 20, columns + 20)), (0, 2.5, 2.5)), 0, None)
    fields *= 0.3 / fields.std()
    fields[:, :, :18] = 0.0
    y, x = np.mgrid[:rows, :columns] + 10.0
    moved = np.arange(len(OXYGEN) * rows).reshape(-1, rows, 1) / rows / 3
    counts = []
    for place, along in enumerate(moved):
        density = sum(each[place] * field for each, field in zip(ABSORPTIONS.values(), fields, strict=True))
        seen = ndimage.map_coordinates(np.exp(-density), [y, x - along], order=3)
        counts.append(rng.poisson(4e4 * np.clip(seen, 0, None)) / 10)
    known = CONFIGURATION | {ScannerConfig.DEAD_TIME: 1.2e-8}
    positions = [0.05 * np.arange(count) for count in (columns, rows)]
    documents = stxm_documents(
        np.array(counts), OXYGEN, *positions, edge="O K", configuration=known, dark=dark_lines(24), read_back=0.0123
    )
    return as_measured(documents)


def test_moments_alarms_and_dark_lines_are_kept(tmp_path):
    documents = as_measured(stack(dark=dark_lines(24)))
    write_nxstxm(tmp_path / "scan.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    assert again[0][1]["import_problems"] == []
    for (name, ours), (_, theirs) in zip(documents, again, strict=True):
        if name == "event":
            assert theirs["timestamps"] == ours["timestamps"]
            assert theirs["data"].keys() == ours["data"].keys()
            for key, value in ours["data"].items():
                assert type(theirs["data"][key]) is type(value)
                np.testing.assert_array_equal(theirs["data"][key], value)
        if name == "descriptor":
            assert theirs["data_keys"]["scanner_severity"]["dtype"] == "integer"


@pytest.mark.long
def test_a_stack_that_drifts_is_reduced_to_equal_arrays(tmp_path):
    documents = drifting_stack()
    write_nxstxm(tmp_path / "scan.hdf5", documents, None)
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    references = {
        name: {"energy": OXYGEN.tolist(), "optical_density": each.tolist()} for name, each in ABSORPTIONS.items()
    }
    settings = {"stxm": {"chemistry": {"references": references}}}
    ours, theirs = reduced(documents, settings), reduced(again, settings)
    assert differences(ours, theirs) == []
    for status in ("i0_status", "pca_status", "chemical_status"):
        assert ours.result[status] == "ok"
    assert ours.result["drift"][-1, 0] == pytest.approx([0, -4], abs=0.1)
    for name, doc in again:
        if name == "event":
            doc["timestamps"] = dict.fromkeys(doc["data"], doc["time"])
    without = " ".join(differences(ours, reduced(again, settings)))
    for key in ("optical_density", "reduced_fraction"):
        assert key in without  # a control: the moments are those by which drift is told


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("stxm_counts", np.full(160, 1e12), "stxm_counts: 1e+12 s among 160 values, expected"),
        ("stxm_counts", np.full(159, START), "stxm_counts: 159 values, expected 160"),
        ("stxm_counts", [b"x"] * 160, "stxm_counts: values of the type object, expected numbers"),
        ("a b", np.full(160, START), "'a b' is no data key"),
    ],
)
def test_moments_that_are_none_are_left_out_and_named(name, values, message, tmp_path):
    write_nxstxm(tmp_path / "scan.hdf5", stack(), None)
    with h5py.File(tmp_path / "scan.hdf5", "a") as file:
        file[f"entry1/lines/time_stamps/{name}"] = values
    again = list(nxstxm_documents(tmp_path / "scan.hdf5"))
    (problem,) = again[0][1]["import_problems"]
    assert problem.startswith("/entry1/lines/time_stamps")
    assert message in problem
    assert problem.endswith("; left out")
    first = events(again)[1]
    assert set(first["timestamps"].values()) == {first["time"]}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("energy", np.zeros(160), "energy: no data key of another device"),
        ("a b", np.zeros(160), "'a b' is no data key"),
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
