"""NXstxm files: written ones follow the definition and are read back unchanged; those of others are read as well."""

import os
from functools import partial

import h5py
import numpy as np
import pytest
from stxm_documents import START, events, stack, stxm_documents

from beamline.errors import BeamlineError
from beamline.formats.exporters.nxstxm import SCAN_TYPES, write_nxstxm
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.stxm_run import stxm_run
from beamline.storage.results import Run, Table
from callbacks.contract import DERIVATION, MEASUREMENT, Key, Measurement

E, Y, X = 4, 3, 5
ENERGIES = [700.0, 705.5, 708.1, 720.0]
XS, YS = np.linspace(-1.0, 1.0, X), np.linspace(10.0, 11.0, Y)

# The application definition, version 1.1: path, class or kind of field, required. {D}: any NXdata or NXdetector group.
DEFINITION = (
    ("", "NXentry", True),
    ("title", "char", True),
    ("start_time", "char", True),
    ("end_time", "char", True),
    ("definition", "char", True),
    ("instrument", "NXinstrument", True),
    ("instrument/source", "NXsource", True),
    ("instrument/source/type", "char", True),
    ("instrument/source/name", "char", True),
    ("instrument/source/probe", "char", True),
    ("instrument/monochromator", "NXmonochromator", True),
    ("instrument/monochromator/energy", "number", True),
    ("instrument/counter0", "NXdetector", True),
    ("instrument/counter0/data", "number", True),
    ("instrument/sample_x", "NXdetector", False),
    ("instrument/sample_x/data", "float", True),
    ("instrument/sample_y", "NXdetector", False),
    ("instrument/sample_y/data", "float", True),
    ("instrument/sample_z", "NXdetector", False),
    ("instrument/sample_z/data", "float", True),
    ("sample", "NXsample", True),
    ("sample/rotation_angle", "float", True),
    ("counter0", "NXdata", True),
    ("counter0/stxm_scan_type", "char", True),
    ("counter0/data", "number", True),
    ("counter0/energy", "float", True),
    ("counter0/sample_y", "float", True),
    ("counter0/sample_x", "float", True),
    ("control", "NXmonitor", False),
    ("control/data", "float", True),
)
KINDS = {"char": "SO", "number": "iuf", "float": "f"}


def violations(entry):
    """List what an entry lacks of the definition."""
    return [*missing_or_of_another_kind(entry), *inconsistent(entry)]


def missing_or_of_another_kind(entry):
    for path, kind, required in DEFINITION:
        parent, _, _ = path.rpartition("/")
        if path and path not in entry:
            if required and (not parent or parent in entry):
                yield f"{path}: missing"
            continue
        item = entry[path] if path else entry
        if kind.startswith("NX"):
            if item.attrs.get("NX_class") != kind:
                yield f"{path}: class {item.attrs.get('NX_class')}"
        elif item.dtype.kind not in KINDS[kind]:
            yield f"{path}: {item.dtype}"


def inconsistent(entry):
    data = entry["counter0"]
    axes = [name.decode() for name in data.attrs["axes"]]
    points = entry["instrument/counter0/data"].shape
    lists = ("instrument/monochromator/energy", "instrument/sample_x/data", "instrument/sample_y/data")
    checks = {
        "one value a scan point": len(points) == 1 and all(entry[path].shape == points for path in lists),
        "definition": entry["definition"][0] == b"NXstxm",
        "stxm_scan_type": data["stxm_scan_type"][0].decode() in SCAN_TYPES,
        "control of the shape of the data": entry["control/data"].shape == data["data"].shape,
        "signal": data.attrs["signal"] == "data" and data["data"].attrs["signal"] == 1,
        "axes": tuple(len(data[name]) for name in axes) == data["data"].shape,
        "attribute axis": [data[name].attrs["axis"] for name in axes] == list(range(1, len(axes) + 1)),
        "units": all(data[name].attrs.get("units") for name in ("energy", "sample_x", "sample_y", "count_time")),
    }
    return [name for name, holds in checks.items() if not holds]


def read_as_mantis_does(path, entry="entry1"):
    """Follow the steps of MANTiS' reader of NXstxm, with its demands on types; return (x, y, energy) and axes."""
    with h5py.File(path) as file:
        group = file[entry]
        assert group.attrs["NX_class"] in (b"NXentry", "NXentry")
        assert group["definition"][0].decode("utf-8") == "NXstxm"
        detector = next(name for name in group if group[name].attrs.get("NX_class") in (b"NXdata", "NXdata"))
        data = group[detector]
        assert data["stxm_scan_type"][0].decode("utf-8")
        axes = [item.decode("UTF-8") for item in data.attrs["axes"]]
        x, y, energy, dwell = (np.array(data[name]) for name in ("sample_x", "sample_y", "energy", "count_time"))
        x, y = (axis[:1] if (axis == axis[0]).all() else axis for axis in (x, y))
        assert len(dwell) == len(energy)
        values = np.array(data["data"])
        if "line_position" in axes:
            cube = np.transpose(values, [axes.index("line_position"), axes.index("energy")])[np.newaxis]
            cube = np.transpose(cube, [1, 0, 2]) if len(y) == 1 else cube
        elif "energy" in axes:
            cube = np.transpose(values, [axes.index(name) for name in ("sample_x", "sample_y", "energy")])
        else:
            cube = np.transpose(values, [axes.index("sample_x"), axes.index("sample_y")])[..., np.newaxis]
        assert cube.shape == (len(x), len(y), len(energy))
        return cube, x, y, energy


def poisson(*shape):
    return np.random.default_rng(1).poisson(400.0, shape).astype(float)


def assert_same_events(found, expected):
    found, expected = events(found), events(expected)
    assert list(found) == list(expected)
    for number, event in expected.items():
        assert found[number]["time"] == event["time"]
        assert found[number]["data"].keys() == event["data"].keys()
        for key, value in event["data"].items():
            np.testing.assert_array_equal(found[number]["data"][key], value, err_msg=f"{number} {key}")


SCANS = {
    "stack": lambda: stxm_documents(poisson(E, Y, X), ENERGIES, XS, YS, read_back=0.0123),
    "image": lambda: stxm_documents(poisson(1, Y, X), [708.1], XS, YS, read_back=0.0123),
    "line spectrum": lambda: stxm_documents(
        poisson(E, 1, X), ENERGIES, XS, YS[:1], technique="stxm_line_spectrum", read_back=0.0123
    ),
    "focus": lambda: stxm_documents(
        poisson(1, Y, X), [708.1], XS, [10.0] * Y, technique="stxm_focus", zone_plate=[-20.0, 0.5, 20.0]
    ),
    "regions of two widths": lambda: stxm_documents(
        [poisson(E, Y, X), poisson(E, 2, 7)], ENERGIES, [XS, np.linspace(5, 6, 7)], [YS, YS[:2]], read_back=0.0123
    ),
    "stack, stopped": lambda: stxm_documents(poisson(E, Y, X), ENERGIES, XS, YS, lines=8),
    "regions, stopped": lambda: stxm_documents(
        [poisson(E, Y, X), poisson(E, 2, X)], ENERGIES, [XS, XS + 5], [YS, YS[:2]], lines=4
    ),
    "counts that are not whole": lambda: stxm_documents(poisson(E, Y, X) / 3, ENERGIES, XS, YS),
}

NOT_MEASURED = {
    "stack, stopped": ["entry1: 4 of 12 lines were not measured"],
    "regions, stopped": ["entry1: 9 of 12 lines were not measured", "entry2: 7 of 8 lines were not measured"],
}


@pytest.mark.parametrize("scan", SCANS)
def test_a_written_file_has_all_that_the_definition_asks_for(scan, tmp_path):
    write_nxstxm(tmp_path / "scan.nxs", SCANS[scan](), None)
    with h5py.File(tmp_path / "scan.nxs") as file:
        assert [violations(file[name]) for name in file] == [[]] * len(file)
        assert file[file.attrs["default"]].attrs["default"] == "counter0"
    assert not list(tmp_path.glob(".*"))


def test_the_check_of_the_definition_finds_what_is_wrong(tmp_path):
    write_nxstxm(tmp_path / "scan.nxs", SCANS["stack"](), None)
    with h5py.File(tmp_path / "scan.nxs", "a") as file:
        entry = file["entry1"]
        del entry["instrument/source/probe"], entry["counter0/sample_x"].attrs["axis"]
        entry["counter0/sample_x"].attrs["axis"] = 1
        entry["control"].attrs["NX_class"] = "NXdata"
        assert violations(entry) == ["instrument/source/probe: missing", "control: class NXdata", "attribute axis"]


@pytest.mark.parametrize("scan", SCANS)
def test_what_is_read_back_equals_what_was_written_bit_for_bit(scan, tmp_path):
    documents = SCANS[scan]()
    write_nxstxm(tmp_path / "scan.nxs", documents, None)
    found = list(nxstxm_documents(tmp_path / "scan.nxs"))
    assert found[0][1]["import_problems"] == NOT_MEASURED.get(scan, [])
    assert found[0][1][MEASUREMENT] == documents[0][1][MEASUREMENT]
    assert found[0][1]["imported_uid"] == documents[0][1]["uid"]
    assert found[-1][1]["num_events"] == {"primary": len(events(documents))}
    assert found[0][1]["time_source"] == "of each line"
    assert found[-1][1]["exit_status"] == ("abort" if scan in NOT_MEASURED else "success")
    assert_same_events(found, documents)


@pytest.mark.parametrize("scan", ["stack", "image", "line spectrum", "regions of two widths"])
def test_mantis_finds_the_stack_and_its_axes(scan, tmp_path):
    documents = SCANS[scan]()
    write_nxstxm(tmp_path / "scan.nxs", documents, None)
    cube, x, y, energy = read_as_mantis_does(tmp_path / "scan.nxs")
    np.testing.assert_array_equal(cube, stack(documents).transpose(2, 1, 0))
    np.testing.assert_allclose(x, XS)
    np.testing.assert_allclose(y, YS if "line" not in scan else YS[:1])
    np.testing.assert_allclose(energy, np.unique([e["data"][Key.ENERGY] for e in events(documents).values()]))


def test_the_axes_are_those_of_the_scan_type(tmp_path):
    expected = {
        "stack": (b"sample image stack", ["energy", "sample_y", "sample_x"]),
        "image": (b"sample image", ["sample_y", "sample_x"]),
        "line spectrum": (b"sample line spectrum", ["energy", "line_position"]),
        "focus": (b"sample focus", ["zoneplate_z", "line_position"]),
    }
    for scan, (scan_type, axes) in expected.items():
        write_nxstxm(tmp_path / f"{scan}.nxs", SCANS[scan](), None)
        with h5py.File(tmp_path / f"{scan}.nxs") as file:
            data = file["entry1/counter0"]
            assert data["stxm_scan_type"][0] == scan_type
            assert [name.decode() for name in data.attrs["axes"]] == axes


def test_lines_never_measured_are_nan_and_the_lists_end_with_the_scan(tmp_path):
    counts = poisson(E, Y, X)
    write_nxstxm(tmp_path / "scan.nxs", stxm_documents(counts, ENERGIES, XS, YS, lines=8), None)
    with h5py.File(tmp_path / "scan.nxs") as file:
        entry = file["entry1"]
        flat = entry["counter0/data"][()].reshape(E * Y, X)
        np.testing.assert_array_equal(flat[:8], counts.reshape(E * Y, X)[:8])
        assert np.isnan(flat[8:]).all()
        assert np.isnan(entry["control/data"][()].reshape(E * Y, X)[8:]).all()
        assert entry["instrument/counter0/data"].shape == (8 * X,)
        np.testing.assert_array_equal(entry["counter0/energy"], ENERGIES)  # as asked for where nothing was read


def test_counts_are_integers_among_the_detectors_where_all_are_whole(tmp_path):
    for name, divisor, kind in (("whole", 1, "i"), ("parts", 3, "f")):
        write_nxstxm(tmp_path / name, stxm_documents(poisson(E, Y, X) / divisor, ENERGIES, XS, YS), None)
        with h5py.File(tmp_path / name) as file:
            assert file["entry1/instrument/counter0/data"].dtype.kind == kind
            np.testing.assert_array_equal(file["entry1/instrument/counter0/data"], (poisson(E, Y, X) / divisor).ravel())


def test_the_ring_current_of_each_line_is_the_monitor(tmp_path):
    documents = SCANS["stack"]()
    write_nxstxm(tmp_path / "scan.nxs", documents, None)
    with h5py.File(tmp_path / "scan.nxs") as file:
        monitor = file["entry1/control/data"]
        assert monitor.attrs["units"] == "mA"
        expected = np.array([event["data"][Key.RING_CURRENT] for event in events(documents).values()]).reshape(E, Y, 1)
        np.testing.assert_array_equal(monitor[()], np.broadcast_to(expected, (E, Y, X)))


def test_the_absorbance_stands_in_the_entry_of_its_region_and_the_counts_stay_the_default(tmp_path):
    density = np.random.default_rng(2).normal(size=(E, 2, 7))
    result = {"optical_density": density, "optical_density_sigma": np.full_like(density, 0.1)}
    derivation = {"raw_uids": ["r"], "pipeline": "stxm", "settings": {}, "software": {"stxm-rixs-beamline": "0.1"}}
    table = Table({key: value[np.newaxis] for key, value in result.items()}, {}, np.array([START]), {}, {})
    derived = Run({"uid": "d", "time": START, DERIVATION: derivation}, streams={"result": table})
    write_nxstxm(tmp_path / "scan.nxs", SCANS["regions of two widths"](), derived)
    with h5py.File(tmp_path / "scan.nxs") as file:
        assert "reduction" not in file["entry1"]
        data = file["entry2/reduction/optical_density"]
        assert data.attrs["signal"] == "optical_density"
        np.testing.assert_array_equal(data["optical_density"], density)
        np.testing.assert_array_equal(data["optical_density_errors"], 0.1)
        assert [len(data[axis]) for axis in data.attrs["axes"]] == [E, 2, 7]
        assert file["entry2"].attrs["default"] == "counter0"
    read_as_mantis_does(tmp_path / "scan.nxs", "entry2")


def test_a_run_without_grid_or_lines_leaves_the_file_as_it_was(tmp_path):
    documents = SCANS["stack"]()
    write_nxstxm(tmp_path / "scan.nxs", documents, None)
    before = (tmp_path / "scan.nxs").read_bytes()
    start = {**documents[0][1], MEASUREMENT: {**documents[0][1][MEASUREMENT], "technique": "xas", "grid": None}}
    with pytest.raises(ValueError, match="is of xas, expected STXM"):
        write_nxstxm(tmp_path / "scan.nxs", [("start", start), *documents[1:]], None)
    with pytest.raises(ValueError, match="the measurement has no grid; that of a STXM run has one"):
        next(stxm_run(Measurement(**start[MEASUREMENT]), [], metadata={}, source="test", start_time=START))
    with pytest.raises(ValueError, match="has no line"):
        write_nxstxm(tmp_path / "scan.nxs", documents[:2], None)
    beyond = [(name, {**doc, "seq_num": E * Y + 1} if name == "event" else doc) for name, doc in documents]
    with pytest.raises(ValueError, match="event 13 of a grid with 12 lines"):
        write_nxstxm(tmp_path / "scan.nxs", beyond, None)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nxs"]
    assert (tmp_path / "scan.nxs").read_bytes() == before


# Files of other beamlines


def foreign_file(path, *, axes=("energy", "sample_y", "sample_x"), data=None, edit=lambda entry: None):
    """Write a file as another beamline does: keV, nm, ms, no time zone, all kinds of strings, an older name."""
    counts = np.arange(E * Y * X, dtype=np.uint32).reshape(E, Y, X) if data is None else data
    with h5py.File(path, "w") as file:
        entry = file.create_group("scan_1")
        entry.attrs["NX_class"] = np.bytes_("NXentry")
        entry["definition"] = "NXstxm"
        entry["start_time"] = np.bytes_("2024-03-01T12:00:00+01:00")
        entry["end_time"] = [b"2024-03-01T13:00:00+01:00"]
        group = entry.create_group("Counter1")
        group.attrs["NX_class"] = "NXdata"
        group.attrs["signal"] = np.bytes_("data")
        if axes:
            group.attrs["axes"] = list(axes)
        group["data"] = counts
        group["stxm_scan_type"] = "sample image stack"
        for name, values, unit in (
            ("energy", np.array(ENERGIES) / 1e3, "keV"),
            ("sample_y", YS * 1e3, "nm"),
            ("sample_x", XS * 1e3, "nm"),
            ("count_time", np.full(E, 2.5), "ms"),
        ):
            group[name] = values
            group[name].attrs["units"] = unit
        entry["sample/name"] = "soot"
        entry["sample"].attrs["NX_class"] = "NXsample"
        edit(entry)
    return np.asarray(counts, float)


def test_a_file_of_another_beamline_is_read_in_the_units_of_the_contract(tmp_path):
    counts = foreign_file(tmp_path / "scan12.hdf5")
    documents = list(nxstxm_documents(tmp_path / "scan12.hdf5"))
    start, found = documents[0][1], events(documents)
    measurement = Measurement.model_validate(start[MEASUREMENT])
    assert (start["scan_id"], start["sample"], start["import_problems"]) == (12, {"name": "soot"}, [])
    assert (measurement.points, measurement.exposure_time) == (E * Y, pytest.approx(2.5e-3))
    np.testing.assert_allclose(measurement.grid.energies, ENERGIES, rtol=1e-12)
    np.testing.assert_array_equal(stack(documents), counts)
    np.testing.assert_allclose(found[5]["data"][Key.STXM_X], XS, rtol=1e-12)
    np.testing.assert_allclose(found[5]["data"][Key.STXM_Y], np.full(X, YS[1]), rtol=1e-12)
    np.testing.assert_allclose(found[5]["data"][Key.STXM_DWELL], 2.5e-3)
    assert np.isnan(found[5]["data"][Key.RING_CURRENT])
    assert found[12]["time"] - found[1]["time"] == pytest.approx(3600)
    assert start["time_source"].startswith("lines spread evenly")


@pytest.mark.parametrize("axes", [("sample_x", "sample_y", "energy"), ("energy", "sample_x", "sample_y"), (), ("e",)])
def test_axes_are_found_by_name_or_by_their_lengths(axes, tmp_path):
    counts = np.arange(E * Y * X, dtype=float).reshape(E, Y, X)
    data = counts.transpose(2, 1, 0) if axes[:1] == ("sample_x",) else counts
    foreign_file(tmp_path / "scan.nxs", axes=axes, data=data)
    np.testing.assert_array_equal(stack(list(nxstxm_documents(tmp_path / "scan.nxs"))), counts)


@pytest.mark.parametrize("axes", [("sample_y", "sample_x"), ("energy", "energy", "sample_x")])
def test_axes_that_cannot_be_those_of_the_data_give_way_to_their_lengths(axes, tmp_path):
    counts = np.arange(E * Y * X, dtype=float).reshape(E, Y, X)
    foreign_file(tmp_path / "scan.nxs", axes=axes, data=counts)
    np.testing.assert_array_equal(stack(list(nxstxm_documents(tmp_path / "scan.nxs"))), counts)


def test_an_axis_that_is_declared_twice_is_not_taken_for_another_of_one_point(tmp_path):
    def one_line(entry):
        for name, unit in (("energy", "keV"), ("sample_y", "nm")):
            edited(name, [0.7])(entry["Counter1"])
            entry["Counter1"][name].attrs["units"] = unit

    foreign_file(
        tmp_path / "7.nxs", axes=("energy", "energy", "sample_x"), data=XS[np.newaxis, np.newaxis], edit=one_line
    )
    np.testing.assert_array_equal(stack(list(nxstxm_documents(tmp_path / "7.nxs")))[0, 0], XS)


def declared(**indices):
    return lambda group: group.attrs.update({f"{name}_indices": index for name, index in indices.items()})


def by_the_older_attribute(group):
    for name, axis in (("energy", 1), ("sample_x", 2), ("sample_y", 3)):
        group[name].attrs["axis"] = axis


@pytest.mark.parametrize(
    ("axes", "declare"),
    [
        ((), by_the_older_attribute),
        ((), declared(energy=0, sample_x=1, sample_y=2)),
        (("energy", "sample_x", "sample_y"), declared()),
        (("energy", "fast", "sample_y"), declared()),  # the one that is left
        (("energy", "fast", "slow"), declared(sample_x=1, sample_y=[2])),
    ],
)
def test_the_axes_of_an_image_that_is_as_wide_as_high_are_those_that_the_file_says(axes, declare, tmp_path):
    counts = np.arange(E * X * X, dtype=float).reshape(E, X, X)
    foreign_file(tmp_path / "scan.nxs", axes=axes, data=counts, edit=partial(as_wide_as_high, declare=declare))
    documents = list(nxstxm_documents(tmp_path / "scan.nxs"))
    np.testing.assert_array_equal(stack(documents), counts.transpose(0, 2, 1))
    assert not [one for one in documents[0][1]["import_problems"] if "which axis" in one]


@pytest.mark.parametrize("axes", [(), ("energy", "fast", "slow"), ("sample_x", "sample_y")])
def test_the_order_of_axes_that_neither_names_nor_lengths_tell_is_assumed_and_said_so(axes, tmp_path):
    counts = np.arange(E * X * X, dtype=float).reshape(E, X, X)
    foreign_file(tmp_path / "7.nxs", axes=axes, data=counts, edit=partial(as_wide_as_high, declare=declared()))
    documents = list(nxstxm_documents(tmp_path / "7.nxs"))
    np.testing.assert_array_equal(stack(documents), counts)
    assert documents[0][1]["import_problems"] == [
        f"/scan_1/Counter1/data: the file does not say which axis is which, and shape ({E}, {X}, {X}) does not tell; "
        "taken for energy, y, x"
    ]


def as_wide_as_high(entry, *, declare):
    group = entry["Counter1"]
    del group["sample_y"]
    group["sample_y"] = XS
    group["sample_y"].attrs["units"] = "um"
    declare(group)


def test_a_meander_of_points_is_not_taken_for_the_order_of_the_array(tmp_path):
    def meander(entry):
        instrument = entry.create_group("instrument")
        instrument.attrs["NX_class"] = "NXinstrument"
        turned = np.arange(E * Y * X, dtype=float).reshape(E, Y, X)
        turned[:, 1::2] = turned[:, 1::2, ::-1]
        for name, values in (("Counter1", turned), ("sample_x", turned)):
            instrument.create_group(name).attrs["NX_class"] = "NXdetector"
            instrument[name]["data"] = values.ravel()

    foreign_file(tmp_path / "scan.nxs", edit=meander)
    documents = list(nxstxm_documents(tmp_path / "scan.nxs"))
    np.testing.assert_allclose(events(documents)[2]["data"][Key.STXM_X], XS)
    assert "not in the order" in documents[0][1]["import_problems"][0]


def test_a_monitor_that_is_not_a_ring_current_is_left_out_and_named(tmp_path):
    def monitor(entry):
        entry.create_group("control").attrs["NX_class"] = "NXmonitor"
        entry["control/data"] = np.full((E, Y, X), 0.4)
        entry["control/data"].attrs["units"] = unit

    for unit, current in (("A", 400.0), ("counts", np.nan)):
        foreign_file(tmp_path / f"{unit}.nxs", edit=monitor)
        documents = list(nxstxm_documents(tmp_path / f"{unit}.nxs"))
        np.testing.assert_allclose(events(documents)[1]["data"][Key.RING_CURRENT], current)
        assert len(documents[0][1]["import_problems"]) == (unit == "counts")


def test_an_inclined_line_spectrum_keeps_both_positions_of_each_pixel(tmp_path):
    def line(entry):
        group = entry["Counter1"]
        for name, values in (("sample_x", XS), ("sample_y", XS / 2)):
            del group[name]
            group[name] = values
            group[name].attrs["units"] = "um"
        group["stxm_scan_type"][()] = "sample line spectrum"

    counts = np.arange(E * X, dtype=float).reshape(E, X)
    foreign_file(tmp_path / "line.nxs", axes=("energy", "line_position"), data=counts, edit=line)
    documents = list(nxstxm_documents(tmp_path / "line.nxs"))
    np.testing.assert_array_equal(stack(documents)[:, 0], counts)
    np.testing.assert_array_equal(events(documents)[3]["data"][Key.STXM_Y], XS / 2)
    write_nxstxm(tmp_path / "again.nxs", documents, None)
    again = list(nxstxm_documents(tmp_path / "again.nxs"))
    assert_same_events(again, documents)
    with h5py.File(tmp_path / "again.nxs") as file:
        np.testing.assert_array_equal(file["entry1/counter0/sample_y"], XS / 2)
        np.testing.assert_allclose(file["entry1/counter0/line_position"], (XS + 1) * np.sqrt(1.25))


def edited(name, value):
    def edit(entry):
        if name in entry:
            del entry[name]
        if value is not None:
            entry[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited("definition", "NXtomo"), "no NXentry with the definition NXstxm"),
        (edited("Counter1/stxm_scan_type", "osa image"), "stxm_scan_type is 'osa image'"),
        (edited("Counter1/energy", None), "/scan_1/Counter1: no energy$"),
        (edited("Counter1/sample_y", None), "/scan_1/Counter1: no sample_y$"),
        (edited("Counter1/data", None), "/scan_1/Counter1: no signal 'data'$"),
        (edited("Counter1/energy_setpoint", [700.0] * 5), "/scan_1/Counter1: 4 of energy, but 5 of energy_setpoint$"),
        (
            edited("Counter1/stxm_scan_type", "sample line spectrum"),
            "/scan_1/Counter1: a line of 5 sample_x and 3 sample_y$",
        ),
        (edited("Counter1/stxm_scan_type", "sample focus"), "/scan_1/Counter1: no zoneplate_z of a focus scan$"),
        (edited("definition", [1.0] * 1001), r"; /scan_1/definition: shape \(1001,\) .* expected a text; left out$"),
        (edited("Counter1/sample_x", np.arange(9.0)), r"shape \(4, 3, 5\) does not fit its axes"),
        (edited("Counter1/data", np.full((E, Y, X), np.nan)), "holds a number"),
        (lambda entry: entry["Counter1/energy"].attrs.modify("units", "K"), "unit 'K', expected one of ev, kev"),
    ],
)
def test_what_cannot_be_imported_is_named_in_one_line(edit, message, tmp_path):
    foreign_file(tmp_path / "scan.nxs", edit=edit)
    with pytest.raises(BeamlineError, match=message) as error:
        list(nxstxm_documents(tmp_path / "scan.nxs"))
    assert "\n" not in str(error.value)
    assert str(tmp_path / "scan.nxs") in str(error.value)


def test_a_focus_scan_of_another_beamline_has_the_zone_plate_of_each_line_and_one_energy(tmp_path):
    def focus(entry):
        group = entry["Counter1"]
        group["stxm_scan_type"][()] = "sample focus"
        for name, values, unit in (
            ("zone_plate", [-0.02, 0.0, 0.02], "mm"),
            ("sample_y", [10.0], "um"),
            ("energy", energies, "eV"),
        ):
            edited(name, values)(group)
            group[name].attrs["units"] = unit

    energies, counts = [708.0], np.arange(15.0).reshape(3, 5)
    foreign_file(tmp_path / "focus.nxs", axes=("energy", "zone_plate", "line_position"), data=counts, edit=focus)
    documents = list(nxstxm_documents(tmp_path / "focus.nxs"))
    found = events(documents)
    np.testing.assert_allclose([event["data"][Key.ZONE_PLATE] for event in found.values()], [-20.0, 0.0, 20.0])
    np.testing.assert_array_equal([event["data"][Key.STXM_COUNTS] for event in found.values()], counts)
    energies = [708.0, 709.0]
    foreign_file(tmp_path / "focus.nxs", axes=(), data=counts, edit=focus)
    with pytest.raises(BeamlineError, match=r"/scan_1/Counter1: a focus scan at 2 energies, expected one$"):
        list(nxstxm_documents(tmp_path / "focus.nxs"))


START_TIME, END_TIME = 1709290800.0, 1709294400.0  # 2024-03-01 11:00 and 12:00 UTC, as in `foreign_file`
UNREADABLE = "cannot be read, expected one like 2024-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("start", "end", "times", "problems"),
    [
        ("2024-03-01T11:00:00", "2024-03-01T12:00:00Z", (START_TIME, END_TIME), ["names no zone, taken for UTC"]),
        ("noon", None, (END_TIME, END_TIME), [UNREADABLE, "no start_time, the end_time stands for it"]),
        (None, "0001-01-01T00:00:00", (START_TIME, START_TIME), [f"end_time '0001-01-01T00:00:00' {UNREADABLE}"]),
        ("", "", (1e9, 1e9), [UNREADABLE, UNREADABLE, "no start_time, the time of the file stands for it"]),
        (
            *("2024-03-01T12:00:10Z", None, (END_TIME + 10, END_TIME + 10)),
            ["/scan_1: end_time is 10 s before start_time, which stands for it"],
        ),
    ],
)
def test_a_time_that_cannot_be_is_named_with_what_stands_for_it(start, end, times, problems, tmp_path):
    def edit(entry):
        for name, text in (("start_time", start), ("end_time", end)):
            if text is not None:
                edited(name, text)(entry)

    foreign_file(tmp_path / "scan.nxs", edit=edit)
    os.utime(tmp_path / "scan.nxs", (1e9, 1e9))
    documents = list(nxstxm_documents(tmp_path / "scan.nxs"))
    found = events(documents)
    assert (found[1]["time"], found[E * Y]["time"]) == times
    for seen, problem in zip(documents[0][1]["import_problems"], problems, strict=True):
        assert seen.startswith("/scan_1: ")
        assert seen.endswith(problem)


def test_a_detector_is_chosen_by_name(tmp_path):
    def another(entry):
        entry.copy("Counter1", "Counter2")
        entry["Counter2/data"][()] += 1

    counts = foreign_file(tmp_path / "scan.nxs", edit=another)
    documents = list(nxstxm_documents(tmp_path / "scan.nxs", detector="Counter2"))
    assert documents[0][1]["import_problems"] == []
    np.testing.assert_array_equal(stack(documents), counts + 1)
    with pytest.raises(BeamlineError, match=r"/scan_1: no NXdata group 'TEY'; it has Counter1, Counter2$"):
        list(nxstxm_documents(tmp_path / "scan.nxs", detector="TEY"))


def test_a_data_group_without_a_dwell_leaves_it_unknown(tmp_path):
    foreign_file(tmp_path / "scan.nxs", edit=edited("Counter1/count_time", None))
    documents = list(nxstxm_documents(tmp_path / "scan.nxs"))
    assert np.isnan(documents[0][1][MEASUREMENT]["exposure_time"])
    assert np.isnan(stack(documents, Key.STXM_DWELL)).all()


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(BeamlineError, match=r"scan.nxs: no such file$"):
        list(nxstxm_documents(tmp_path / "scan.nxs"))


def test_a_file_that_is_not_hdf5_is_named(tmp_path):
    (tmp_path / "scan.nxs").write_text("no")
    with pytest.raises(BeamlineError, match="cannot be read"):
        list(nxstxm_documents(tmp_path / "scan.nxs"))


def test_entries_of_different_scans_are_imported_by_name(tmp_path):
    def another(entry):
        entry.file.copy(entry, "scan_2")
        entry.file["scan_2/Counter1/energy"][()] += 1e-3

    foreign_file(tmp_path / "scan.nxs", edit=another)
    with pytest.raises(BeamlineError, match="scan_1 and scan_2 are of different scans"):
        list(nxstxm_documents(tmp_path / "scan.nxs"))
    documents = list(nxstxm_documents(tmp_path / "scan.nxs", entry="scan_2"))
    assert events(documents)[1]["data"][Key.ENERGY] == pytest.approx(701)
    with h5py.File(tmp_path / "scan.nxs", "a") as file:
        edited("definition", "NXtomo")(file["scan_2"])
    with pytest.raises(BeamlineError, match=r"no entry 'scan_2' of the definition NXstxm; it has scan_1$"):
        list(nxstxm_documents(tmp_path / "scan.nxs", entry="scan_2"))
