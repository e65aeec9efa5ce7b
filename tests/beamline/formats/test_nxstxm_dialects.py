"""NXstxm as each program writes it: files to the letter of their writers, read right, and what was assumed."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from stxm_documents import events, stack

from beamline.errors import BeamlineError
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.storage.results import collect
from beamline.techniques import pipelines
from callbacks.contract import MEASUREMENT, Key, Measurement, Stream
from callbacks.reduction import Reducer

E, Y, X = 4, 3, 5
ENERGIES = np.array([700.0, 705.5, 708.1, 720.0])
XS, YS = np.linspace(-1.0, 1.0, X), np.linspace(10.0, 11.0, Y)
COUNTS = np.arange(E * Y * X, dtype=float).reshape(E, Y, X) + 100
TIME = b"2024-03-01T12:00:00+01:00"


def make(parent, name, nexus_class):
    group = parent.create_group(name)
    group.attrs["NX_class"] = np.bytes_(nexus_class)
    return group


def read(path, **options):
    documents = list(nxstxm_documents(path, **options))
    start = documents[0][1]
    return documents, Measurement.model_validate(start[MEASUREMENT]), start["import_problems"]


def assumed(problems, *words):
    """Those of the problems that have all of the words."""
    return [one for one in problems if all(word in one for word in words)]


# Pixelator, before and after the definition


def pixelator(path, counts, axes, *, scan_type, detectors=("Counter0",), x=XS, y=YS, energies=ENERGIES, entries=1):
    """A file as PolLux and MAXYMUS have them: attribute `axis` from 1, texts as arrays, dwell in s, no units."""
    with h5py.File(path, "w") as file:
        for number in range(entries):
            entry = make(file, f"entry{number + 1}", "NXentry")
            entry["definition"] = [b"NXstxm"]
            entry["start_time"], entry["end_time"] = [TIME], [TIME]
            for place, detector in enumerate(detectors):
                data = make(entry, detector, "NXdata")
                data["data"] = counts + 1000 * place + 10_000 * number
                data["stxm_scan_type"] = [scan_type.encode()]
                data["count_time"] = np.full(len(energies), 0.01)
                for name, values in (("energy", energies), ("sample_y", y), ("sample_x", x)):
                    data[name] = values
                    if name in axes:
                        data[name].attrs["axis"] = axes[name]
            monitor = make(entry, "ring_current", "NXmonitor")
            monitor["data"] = np.full(counts.shape, 401.0)
    return path


def test_a_stack_of_pixelator_without_units_is_read_with_its_ring_current(tmp_path):
    path = pixelator(
        tmp_path / "7.hdf5", COUNTS, {"energy": 1, "sample_y": 2, "sample_x": 3}, scan_type="sample image stack"
    )
    documents, measurement, problems = read(path)
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert measurement.exposure_time == 0.01
    assert events(documents)[1]["data"][Key.RING_CURRENT] == 401.0
    assert [one.rsplit("/", 1)[-1] for one in problems] == [
        "energy: no unit, taken for eV",
        "sample_x: no unit, taken for um",
        "sample_y: no unit, taken for um",
        "count_time: no unit, taken for s",
        "data: no unit, taken for mA",
    ]


def test_regions_of_pixelator_are_regions_of_one_run(tmp_path):
    path = pixelator(
        tmp_path / "7.hdf5",
        COUNTS,
        {"energy": 1, "sample_y": 2, "sample_x": 3},
        scan_type="sample image stack",
        entries=2,
    )
    documents, measurement, _ = read(path)
    assert len(measurement.grid.regions) == 2
    np.testing.assert_array_equal(stack(documents, region=1), COUNTS + 10_000)


def test_an_image_of_pixelator_has_no_axis_of_energy(tmp_path):
    path = pixelator(
        tmp_path / "7.hdf5", COUNTS[0], {"sample_y": 1, "sample_x": 2}, scan_type="sample image", energies=[710.0]
    )
    documents, measurement, _ = read(path)
    assert (measurement.technique, measurement.grid.energies) == ("stxm", [710.0])
    np.testing.assert_array_equal(stack(documents)[0], COUNTS[0])


def test_a_line_of_pixelator_has_both_positions_along_one_axis(tmp_path):
    counts = COUNTS[:, 0]
    path = pixelator(
        tmp_path / "7.hdf5",
        counts,
        {"energy": 1, "sample_y": 2, "sample_x": 2},
        scan_type="sample line spectrum",
        y=XS / 2,
    )
    documents, measurement, _ = read(path)
    assert measurement.technique == "stxm_line_spectrum"
    np.testing.assert_array_equal(stack(documents)[:, 0], counts)
    np.testing.assert_array_equal(events(documents)[1]["data"][Key.STXM_Y], XS / 2)


def test_a_point_spectrum_becomes_a_spectrum_with_a_channel_for_each_detector(tmp_path):
    path = pixelator(
        tmp_path / "7.hdf5",
        np.array([5.0, 4.0, 3.0, 2.0]),
        {"energy": 1},
        scan_type="sample point spectrum",
        detectors=("Counter0", "Analog1", "TEY"),
        x=[1.5],
        y=[2.5],
    )
    documents, measurement, problems = read(path)
    start = documents[0][1]
    assert measurement.technique == "xas"
    assert {one.name: one.form for one in measurement.channels} == {
        "counter0": "transmission",
        "analog1": "transmission",
        "tey": "yield",
    }
    found = [doc["data"] for name, doc in documents if name == "event"]
    assert [one["counter0"] for one in found] == [5.0, 4.0, 3.0, 2.0]
    assert [one["tey"] for one in found] == [2005.0, 2004.0, 2003.0, 2002.0]
    assert [one[Key.ENERGY] for one in found] == ENERGIES.tolist()
    assert [one[Key.RING_CURRENT] for one in found] == [401.0] * 4
    assert [one[Key.DWELL] for one in found] == [0.01] * 4
    assert (start["point_x_um"], start["point_y_um"]) == (1.5, 2.5)
    assert assumed(problems, "none of its detectors is I0 (analog1, counter0, tey)")
    assert documents[-1][1]["exit_status"] == "success"


def test_point_spectra_of_several_points_are_runs_of_their_own(tmp_path):
    path = pixelator(
        tmp_path / "7.hdf5",
        np.array([5.0, 4.0, 3.0, 2.0]),
        {"energy": 1},
        scan_type="sample point spectrum",
        detectors=("I0", "PMT"),
        x=[1.5],
        y=[2.5],
        entries=2,
    )
    documents, measurement, problems = read(path)
    assert [name for name, _ in documents].count("start") == 2
    assert [channel.name for channel in measurement.channels] == ["i0", "pmt"]
    assert not assumed(problems, "cannot be normalised")
    assert not assumed(problems, "entry2")
    found = [doc["data"]["pmt"] for name, doc in documents if name == "event"]
    assert found == [1005.0, 1004.0, 1003.0, 1002.0, 11005.0, 11004.0, 11003.0, 11002.0]


def test_a_point_spectrum_is_reduced_with_its_i0(tmp_path):
    """The ratio of the run's channels is what the detectors of the file give."""
    light = np.array([2000.0, 2100.0, 2200.0, 2300.0])
    path = pixelator(
        tmp_path / "7.hdf5",
        light,
        {"energy": 1},
        scan_type="sample point spectrum",
        detectors=("I0", "PMT"),
        x=[1],
        y=[2],
    )
    documents, _, _ = read(path)
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), {})
    for name, doc in documents:
        reducer(name, doc)
    np.testing.assert_allclose(collect(found).result["pmt_over_i0_spectrum"], (light + 1000) / light)


def old_pixelator(path, counts, x, y, *, unit=1.0):
    """A file as Pixelator wrote it before the definition: `scan_type`, axes E, Y and X, always three dimensions."""
    with h5py.File(path, "w") as file:
        entry = make(file, "entry1", "NXentry")
        entry["definition"] = [b"NXstxm"]
        entry["start_time"], entry["end_time"] = [TIME], [TIME]
        data = make(entry, "Counter1", "NXdata")
        data["scan_type"] = [b"Sample"]
        data["count_time"] = np.full(len(counts), 0.01)
        data["data"] = counts
        for name, values in (("E", ENERGIES), ("Y", y), ("X", x)):
            data[name] = np.asarray(values) * (1.0 if name == "E" else unit)
    return path


@pytest.mark.parametrize(
    ("shape", "x", "y", "technique"),
    [
        ((E, Y, X), XS, YS, "stxm"),
        ((E, 1, X), XS, XS / 2, "stxm_line_spectrum"),
        ((E, 1, X), XS, [10.0], "stxm_line_spectrum"),
        ((E, 1, 1), [0.5], [10.0], "xas"),
    ],
)
def test_the_scan_type_sample_of_old_files_is_told_by_their_shape(shape, x, y, technique, tmp_path):
    counts = COUNTS.ravel()[: np.prod(shape)].reshape(shape)
    documents, measurement, problems = read(old_pixelator(tmp_path / "7.hdf5", counts, x, y))
    assert measurement.technique == technique
    assert assumed(problems, "stxm_scan_type is 'Sample', taken for", f"by the shape {shape}")
    if technique == "xas":
        found = [doc["data"]["counter1"] for name, doc in documents if name == "event"]
        assert found == counts.ravel().tolist()
    else:
        np.testing.assert_array_equal(stack(documents), counts)


def test_positions_without_a_unit_that_no_microscope_steps_by_are_mm(tmp_path):
    """Half the wavelength at 720 eV is 0.86 nm: steps of 0.5 um are read as they are, those of 0.5 nm are of mm."""
    x, y = np.arange(X) * 0.5, np.arange(Y) * 0.5
    for unit in (1.0, 1e-3):
        documents, _, problems = read(old_pixelator(tmp_path / f"{unit}.hdf5", COUNTS, x, y, unit=unit))
        np.testing.assert_allclose(events(documents)[1]["data"][Key.STXM_X], x)
        assert len(assumed(problems, "taken for mm, as steps of 0.0005 um would be finer")) == (2 if unit < 1 else 0)


def test_a_scan_of_no_sample_is_refused_in_one_line(tmp_path):
    for scan_type in ("osa image", "Ptychography Image", "detector image"):
        path = pixelator(tmp_path / "7.hdf5", COUNTS, {}, scan_type=scan_type)
        with pytest.raises(BeamlineError, match=f"stxm_scan_type is '{scan_type}', expected one of") as error:
            read(path)
        assert "\n" not in str(error.value)


# HERMES


def hermes(path, counts=COUNTS):
    """A file of HERMES as its reader in public asks for it: no classes and no definition."""
    with h5py.File(path, "w") as file:
        for name, values in (("data", counts), ("energy", ENERGIES), ("sample_x", XS), ("sample_y", YS)):
            file[f"entry1/Counter0/{name}"] = values
        file["entry1/collection/beamline"] = np.array([b"Hermes"])
    return path


def test_a_file_of_hermes_is_known_by_its_counts_over_energy_x_and_y(tmp_path):
    documents, measurement, problems = read(hermes(tmp_path / "7.hdf5"))
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert not measurement.dwell_known
    assert assumed(problems, "no dwell: taken for the same for all pixels, I0 is in counts and not counts/s")
    assert assumed(problems, "/entry1: no definition; taken for NXstxm, as /entry1/Counter0 has counts over energy")
    documents, _, _ = read(hermes(tmp_path / "8.hdf5", COUNTS.transpose(0, 2, 1)))
    np.testing.assert_array_equal(stack(documents), COUNTS)


def test_a_file_without_a_definition_and_without_counts_is_none(tmp_path):
    path = hermes(tmp_path / "7.hdf5")
    with h5py.File(path, "a") as file:
        del file["entry1/Counter0/sample_x"]
    with pytest.raises(BeamlineError, match=r"no NXentry with the definition NXstxm; /entry1: definition is ''"):
        read(path)


# pyStxm


def pystxm(path, counts, *, scan_type, axes, **values):
    """A file as pyStxm (CLS) writes it: `NX_units` in place of `units`, one entry for a region, float32."""
    with h5py.File(path, "w") as file:
        entry = make(file, "entry1", "NXentry")
        entry["definition"], entry["start_time"], entry["end_time"] = np.bytes_("NXstxm"), TIME, TIME
        data = make(entry, "counter0", "NXdata")
        data.attrs["signal"] = np.bytes_("data")
        data.attrs["axes"] = np.bytes_(axes)
        data["stxm_scan_type"] = np.bytes_(scan_type)
        for name, array in {"data": counts, **values}.items():
            data[name] = np.asarray(array, dtype=np.float32)
            data[name].attrs["NX_class"] = np.bytes_("NX_FLOAT")
            data[name].attrs["NX_units"] = np.bytes_("NX_ANY")
    return path


def test_a_stack_of_pystxm_is_read(tmp_path):
    path = pystxm(
        tmp_path / "C160519001.hdf5",
        COUNTS,
        scan_type="sample image stack",
        axes=["energy", "sample_y", "sample_x"],
        energy=ENERGIES,
        sample_x=XS,
        sample_y=YS,
    )
    documents, _, problems = read(path)
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert assumed(problems, "sample_x: no unit, taken for um")
    assert documents[0][1]["scan_id"] == 160519001


def test_a_coarse_image_of_pystxm_is_an_image_over_its_stages(tmp_path):
    path = pystxm(
        tmp_path / "7.hdf5",
        COUNTS[:1],
        scan_type="coarse image",
        axes=["coarse_y", "coarse_x"],
        energy=[705.0],
        coarse_x=XS * 100,
        coarse_y=YS * 100,
    )
    documents, measurement, problems = read(path)
    np.testing.assert_array_equal(stack(documents), COUNTS[:1])
    assert measurement.grid.regions[0].x == (-100.0, 100.0)
    assert assumed(problems, "stxm_scan_type is 'coarse image', taken for an image")


@pytest.mark.parametrize("columns", [X, E])
def test_a_line_spectrum_of_pystxm_is_positions_by_energies_whatever_it_declares(columns, tmp_path):
    counts = np.arange(columns * E, dtype=float).reshape(1, columns, E)
    line = np.linspace(-1, 1, columns)
    path = pystxm(
        tmp_path / "7.hdf5",
        counts,
        scan_type="sample line spectrum",
        axes=["energy", "line_position"],
        energy=ENERGIES,
        line_position=line + 1,
        sample_x=line,
        sample_y=[3.0],
    )
    documents, _, problems = read(path)
    np.testing.assert_array_equal(stack(documents)[:, 0], counts[0].T)
    assert len(assumed(problems, "taken for positions by energies, as pyStxm writes them")) == (columns == E)


# pystxmcontrol


def pystxmcontrol(path, counts=COUNTS, *, scan_type="Image", daqs=("default",), x=XS, y=YS):
    """A file of version 3: an NXdata for each data acquisition, no units, dwell in ms, requested positions."""
    with h5py.File(path, "w", libver="latest") as file:
        entry = make(file, "entry0", "NXentry")
        entry["start_time"], entry["end_time"], entry["title"] = TIME, TIME, b"ALS-1"
        entry["version"], entry["definition"] = 3.0, [b"NXstxm"]
        instrument = make(entry, "instrument", "NXinstrument")
        make(instrument, "monochromator", "NXmonochromator")["energy"] = ENERGIES
        for name in ("sample_x", "sample_y"):
            make(instrument, name, "NXdetector")["data"] = np.zeros((E, 40))
        make(entry, "sample", "NXsample")["description"] = "cathode"
        for place, daq in enumerate(daqs):
            detector = make(instrument, daq, "NXdetector")
            detector.attrs["type"] = np.bytes_("photon")
            detector["data"] = np.zeros((E, 40))
            data = make(entry, daq, "NXdata")
            data.attrs["axes"] = [np.bytes_(one) for one in ("energy", "sample_y", "sample_x")]
            data.attrs["signal"] = "data"
            data["stxm_scan_type"] = [scan_type]
            data["data"], data["count_time"] = counts + place, np.full(E, 2.5)
            for axis, (name, values) in enumerate((("energy", ENERGIES), ("sample_y", y), ("sample_x", x))):
                data[name] = values
                data[name].attrs["axis"] = axis + 1
            data["motor_name_x"] = "SampleX"
    return path


@pytest.mark.parametrize("scan_type", ["Image", "Spiral Image"])
def test_an_image_of_pystxmcontrol_has_its_dwell_in_ms(scan_type, tmp_path):
    documents, measurement, problems = read(pystxmcontrol(tmp_path / "NS_240301001.stxm", scan_type=scan_type))
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert measurement.exposure_time == pytest.approx(2.5e-3)
    assert assumed(problems, "count_time: taken for ms, as pystxmcontrol writes it")
    assert assumed(problems, f"stxm_scan_type is '{scan_type}', taken for an image")
    assert measurement.sample == "cathode"


def test_another_data_acquisition_of_pystxmcontrol_is_chosen_by_name(tmp_path):
    path = pystxmcontrol(tmp_path / "7.stxm", daqs=("default", "sdd"))
    assert assumed(read(path)[2], "1 of 2 NXdata groups is imported, default; left out: sdd")
    np.testing.assert_array_equal(stack(read(path, detector="sdd")[0]), COUNTS + 1)


def test_lines_that_pystxmcontrol_did_not_come_to_are_not_measured(tmp_path):
    counts = COUNTS.copy()
    counts[2, 1:], counts[3:] = 0.0, 0.0
    documents, _, problems = read(pystxmcontrol(tmp_path / "7.stxm", counts))
    assert sorted(events(documents)) == list(range(1, 8))
    assert assumed(problems, "the last 5 of 12 lines are zeros")
    assert documents[-1][1]["exit_status"] == "abort"


def test_a_line_spectrum_of_pystxmcontrol_is_one(tmp_path):
    path = pystxmcontrol(tmp_path / "7.stxm", COUNTS[:, :1], scan_type="Line Spectrum", y=np.full(X, 3.0))
    documents, measurement, _ = read(path)
    assert measurement.technique == "stxm_line_spectrum"
    np.testing.assert_array_equal(stack(documents), COUNTS[:, :1])


def test_a_focus_scan_of_pystxmcontrol_lacks_the_zone_plate_and_is_refused(tmp_path):
    with pytest.raises(BeamlineError, match="no zoneplate_z of a focus scan"):
        read(pystxmcontrol(tmp_path / "7.stxm", COUNTS[:1], scan_type="Focus"))


def binned(path, *, version, binned_name="binned_values"):
    """A file of versions 2: the data group has where the stage was while it moved, at twice as many points."""
    with h5py.File(path, "w") as file:
        entry = make(file, "entry0", "NXentry")
        entry["definition"] = np.bytes_("NXstxm")
        entry["definition"].attrs["version"] = np.bytes_(version)
        entry["start_time"], entry["end_time"], entry["sample_description"] = [TIME], [TIME], [b"cathode"]
        make(entry, "motors", "NXmonitor")
        data = make(entry, "counter0", "NXdata")
        data.attrs["axes"] = np.bytes_(["energy", "sample_y", "sample_x"])
        data.attrs["signal"] = np.bytes_(["data"])
        data["stxm_scan_type"] = [np.bytes_("Image")]
        measured = np.zeros((E, Y, 2 * X))
        for name, values, unit in (
            *(("data", measured, ""), ("sample_x", measured, "um"), ("sample_y", measured, "um")),
            *(("energy", ENERGIES, "eV"), ("count_time", np.full(E, 2.5), "s")),
        ):
            data[name] = values
            data[name].attrs["units"] = np.bytes_(unit)
        control = make(entry, "control", "NXmonitor")
        control["data"] = np.zeros((E, Y, 2 * X))
        control["data"].attrs["units"] = np.bytes_("mA")
        of_grid = make(entry, binned_name, "NXdetector")
        for name, values in (("data", COUNTS), ("sample_x", XS), ("sample_y", YS)):
            if name != "data" or binned_name == "binned_values":
                of_grid[name] = values
                of_grid[name].attrs["units"] = np.bytes_("um")
    return path


def test_binned_counts_of_pystxmcontrol_stand_for_those_of_the_moving_stage(tmp_path):
    documents, measurement, problems = read(binned(tmp_path / "7.hdf5", version="2.1"))
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert measurement.exposure_time == pytest.approx(2.5e-3)  # the unit says s, the program writes ms
    assert assumed(problems, "counts are those of binned_values, as /entry0/counter0/sample_x is no list of positions")
    assert assumed(problems, "control/data: 120 values, expected 60; left out")


def test_counts_of_a_moving_stage_alone_are_refused(tmp_path):
    with pytest.raises(BeamlineError, match=r"where the stage was while it moved, as version 2.0 of pystxmcontrol"):
        read(binned(tmp_path / "7.hdf5", version="2", binned_name="requested_values"))


def test_a_version_in_place_of_the_definition_is_one_of_pystxmcontrol(tmp_path):
    path = pystxmcontrol(tmp_path / "7.stxm")
    with h5py.File(path, "a") as file:
        del file["entry0/definition"], file["entry0/version"]
        file["entry0/definition"] = 1.0
    documents, _, problems = read(path)
    np.testing.assert_array_equal(stack(documents), COUNTS)
    assert assumed(problems, "/entry0: definition is '1.0'; taken for NXstxm")


# What contradicts itself, whoever wrote it


def edited(path, edit):
    with h5py.File(path, "a") as file:
        edit(file["entry1"])
    return path


def stack_of(tmp_path, **options):
    axes = {"energy": 1, "sample_y": 2, "sample_x": 3}
    return pixelator(tmp_path / "7.hdf5", COUNTS, axes, scan_type="sample image stack", **options)


def test_data_that_can_only_be_read_in_another_order_than_the_file_says_are_and_that_is_said(tmp_path):
    turned, axes = COUNTS.transpose(0, 2, 1), {"energy": 1, "sample_y": 2, "sample_x": 3}
    for said, words in (
        (
            axes,
            f"the file says that its axes are {E} of energy, {Y} of y, {X} of x, which shape ({E}, {X}, {Y}) is not; ",
        ),
        ({}, f"the file does not say which axis is which, and shape ({E}, {X}, {Y}) fits no other order; "),
    ):
        path = pixelator(tmp_path / f"{len(said)}.hdf5", turned, said, scan_type="sample image stack")
        documents, _, problems = read(path)
        counts = [doc["data"][Key.STXM_COUNTS] for name, doc in documents if name == "event"]
        np.testing.assert_array_equal(np.reshape(counts, COUNTS.shape), COUNTS)
        assert [one for one in problems if "taken for energy, x, y" in one] == [
            f"/entry1/Counter0/data: {words}taken for energy, x, y"
        ]
    usual = pixelator(tmp_path / "usual.hdf5", COUNTS, {}, scan_type="sample image stack")
    assert not assumed(read(usual)[2], "taken for energy, ")
    with pytest.raises(BeamlineError, match=r"shape .* does not fit its axes: 4 of energy, 3 of y, 5 of x"):
        read(pixelator(tmp_path / "none.hdf5", COUNTS[:, :-1], axes, scan_type="sample image stack"))


def test_energies_of_points_that_are_not_those_of_the_axis_are_said(tmp_path):
    def other(entry):
        instrument = make(entry, "instrument", "NXinstrument")
        make(instrument, "Counter0", "NXdetector")["data"] = COUNTS.ravel()
        energy = np.repeat(ENERGIES, Y * X)
        energy[-Y * X :] = 738.0
        make(instrument, "monochromator", "NXmonochromator")["energy"] = energy

    documents, _, problems = read(edited(stack_of(tmp_path), other))
    assert assumed(problems, "1 of 4 energies were others than on the axis, such as 738 eV for 720 eV")
    assert events(documents)[12]["data"][Key.ENERGY] == 738.0
    assert events(documents)[12]["data"][Key.ENERGY_SETPOINT] == 720.0


@pytest.mark.parametrize(
    ("name", "values", "unit", "said"),
    [
        ("energy", ENERGIES / 1e3, "eV", "energy: up to 0.72 eV, none of X-rays; kept as they are"),
        ("sample_x", XS / 1e4, "um", "steps of 5e-05 um, finer than half the wavelength, 0.00086 um; kept"),
    ],
)
def test_a_unit_that_cannot_be_is_said_and_kept(name, values, unit, said, tmp_path):
    def contradict(entry):
        del entry["Counter0"][name]
        entry["Counter0"][name] = values
        entry["Counter0"][name].attrs.update(units=unit, axis={"energy": 1, "sample_x": 3}[name])

    documents, measurement, problems = read(edited(stack_of(tmp_path), contradict))
    assert assumed(problems, said)
    found = measurement.grid.energies if name == "energy" else events(documents)[1]["data"][Key.STXM_X]
    np.testing.assert_allclose(found, values)


def test_energies_without_a_unit_that_would_be_none_of_x_rays_are_kev(tmp_path):
    _, measurement, problems = read(stack_of(tmp_path, energies=ENERGIES / 1e3))
    np.testing.assert_allclose(measurement.grid.energies, ENERGIES)
    assert assumed(problems, "energy: no unit, taken for keV, as up to 0.72 eV are none of X-rays")


@pytest.mark.parametrize(
    ("size", "said"),
    [(E * Y * X - 1, "59 values, expected 60; left out"), (E * Y * X, "0 mA everywhere, where there was light")],
)
def test_a_ring_current_that_is_not_of_the_scan_is_left_out_and_said(size, said, tmp_path):
    def other(entry):
        del entry["ring_current/data"]
        entry["ring_current/data"] = np.zeros(size)
        entry["ring_current/data"].attrs["units"] = "mA"

    documents, _, problems = read(edited(stack_of(tmp_path), other))
    assert np.isnan(events(documents)[1]["data"][Key.RING_CURRENT])
    assert assumed(problems, "/entry1/ring_current/data", said)


# The measured ones


@pytest.mark.measured
def test_the_measured_file_of_diamond_i08_is_read(measured_data):
    path = Path(measured_data) / "other-beamlines" / "small_diamond_nxs.nxs"
    documents, measurement, problems = read(path)
    with h5py.File(path) as file:
        counts, x = file["entry1/Counter1/data"][()], file["entry1/Counter1/sample_x"][()]
    np.testing.assert_array_equal(stack(documents), counts)
    np.testing.assert_allclose(events(documents)[1]["data"][Key.STXM_X], x * 1e3)  # mm: pixels of 67 nm
    assert (measurement.technique, measurement.exposure_time) == ("stxm", 0.01)
    assert measurement.grid.energies[:2] == [278.0, 278.6]
    assert assumed(problems, "stxm_scan_type is 'Sample', taken for an image by the shape (8, 7, 6)")
    assert len(assumed(problems, "no unit, taken for mm")) == 2


@pytest.mark.measured
def test_the_measured_file_of_hermes_is_read_and_says_what_its_size_leaves_open(measured_data):
    path = Path(measured_data) / "other-beamlines" / "small_OK.hdf5"
    documents, measurement, problems = read(path)
    with h5py.File(path) as file:
        counts = file["entry1/Counter0/data"][()]
    np.testing.assert_array_equal(stack(documents), counts)
    assert measurement.grid.energies == [100.1, 101.1]
    assert assumed(problems, "the file does not say which axis is which, and shape (2, 2, 2) does not tell")


def test_streams_of_a_point_spectrum_are_those_of_a_spectrum(tmp_path):
    path = pixelator(tmp_path / "7.hdf5", ENERGIES, {"energy": 1}, scan_type="sample point spectrum", x=[1], y=[2])
    descriptor = read(path)[0][1][1]
    assert descriptor["name"] == Stream.PRIMARY
    assert set(descriptor["data_keys"]) == {"counter0", "energy", "energy_setpoint", "dwell", "ring_current"}
