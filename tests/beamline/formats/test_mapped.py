"""RIXS frames in any HDF5 file, by a mapping: values, units, axes, and what is refused or said."""

import h5py
import numpy as np
import pytest
from frame_documents import COLUMNS, FRAMES, ROWS, write_frames
from test_import_irixs import frames_of
from xas_files import imported

from beamline.errors import BeamlineError
from beamline.formats.importers.kinds import kind_of
from beamline.formats.importers.mapping import read_mapping, shipped_mappings
from beamline.storage.results import collect
from beamline.techniques import pipelines
from callbacks.contract import Key, RixsResult, Stream
from callbacks.external import HDF5_DATASET
from callbacks.reduction import Reducer

OURS = """
title = "ours"
[frames]
dataset = "/scan/frames"
[energy]
dataset = "/scan/energy"
[i0]
dataset = "/scan/diode"
[exposure_time]
value = 300
unit = "s"
"""
CAMERA = "[camera]\nread_noise = 4.0\ncounts_per_ev = 0.21\nfull_scale = 60000\n"
ENERGIES = 530.0 + np.arange(FRAMES)


@pytest.fixture
def frames(tmp_path):
    with h5py.File(write_frames(tmp_path / "source.h5")) as file:
        return file[HDF5_DATASET][()]


def write(path, content):
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            file[name] = value[0] if isinstance(value, tuple) else value
            if isinstance(value, tuple):
                file[name].attrs["units"] = value[1]
    return path


def mapping_of(tmp_path, text=OURS):
    path = tmp_path / "ours.toml"
    path.write_text(text)
    return path


def run_of(path, tmp_path, text=OURS, **options):
    from beamline.formats.importers.mapped import mapped_documents

    mapping = read_mapping(mapping_of(tmp_path, text))
    return list(mapped_documents(path, mapping, frames_dir=tmp_path / "frames", **options))


def column(run, key):
    return np.array([doc["data"][key] for name, doc in run if name == "event" and key in doc["data"]])


def said(run):
    return " | ".join(run[0][1]["import_problems"])


def test_frames_energies_i0_and_exposure_come_from_where_the_mapping_says(frames, tmp_path):
    content = {"scan/frames": frames, "scan/energy": (ENERGIES / 1000, "keV"), "scan/diode": np.arange(5) * 1000 + 1e6}
    run = run_of(write(tmp_path / "s9.h5", content), tmp_path)
    np.testing.assert_array_equal(frames_of(run), frames)
    np.testing.assert_allclose(column(run, "energy"), ENERGIES)
    np.testing.assert_array_equal(column(run, "i0"), content["scan/diode"])
    assert set(column(run, "ccd_exposure_time")) == {300.0}
    start = run[0][1]
    assert (start["scan_id"], start["measurement"]["technique"]) == (9, "rixs")
    assert start["mapping"]["frames"]["dataset"] == ["/scan/frames"]
    times = np.array([doc["time"] for name, doc in run if name == "event"])
    np.testing.assert_allclose(np.diff(times), 300.0)
    descriptor = next(doc for name, doc in run if name == "descriptor")
    assert descriptor["data_keys"]["ccd_image"]["dtype_numpy"] == "<u2"
    assert "the full scale of the camera is 65535, of 16 bits" in said(run)


def test_they_reduce_as_those_of_the_endstation_do(frames, tmp_path):
    content = {"scan/frames": frames, "scan/energy": (ENERGIES, "eV"), "scan/diode": np.full(FRAMES, 2.8e7)}
    run = run_of(write(tmp_path / "a.h5", content), tmp_path, OURS + CAMERA)
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), {})
    for name, doc in run:
        reducer(name, doc)
    result = collect(found).read(RixsResult)
    assert result.frames == FRAMES
    assert list(result.problems) == []
    assert len(collect(found).streams[Stream.FRAMES]) == FRAMES


def test_axes_of_scans_are_flattened_and_the_emission_energy_ends_along_the_columns(frames, tmp_path):
    turned = frames[:4].reshape(2, 2, ROWS, COLUMNS).swapaxes(2, 3)[:, :, ::-1]
    text = OURS.replace('"/scan/frames"', '"/scan/frames"\nemission = "rows"\nfalling = true')
    content = {"scan/frames": turned, "scan/energy": ENERGIES[:2], "scan/diode": 5e6}
    run = run_of(write(tmp_path / "a.h5", content), tmp_path, text)
    np.testing.assert_array_equal(frames_of(run), frames[:4])
    np.testing.assert_array_equal(column(run, "energy"), [530, 530, 531, 531])
    assert "no unit, taken as eV" in said(run)


@pytest.mark.parametrize(("dtype", "kept"), [("f4", "<i4"), (">u2", "<u2"), ("u4", "<u4"), ("i8", "<i8")])
def test_whole_numbers_are_written_as_such(dtype, kept, frames, tmp_path):
    content = {"scan/frames": frames.astype(dtype), "scan/energy": ENERGIES}
    run = run_of(write(tmp_path / "a.h5", content), tmp_path)
    descriptor = next(doc for name, doc in run if name == "descriptor")
    assert descriptor["data_keys"]["ccd_image"]["dtype_numpy"] == kept
    np.testing.assert_array_equal(frames_of(run), frames)
    assert "no I0: 1e+06 counts stand for it; spectra are not normalised to the light" in said(run)


def test_what_is_no_number_marks_its_frame(frames, tmp_path):
    damaged = frames.astype(float)
    damaged[2, 3, 4:7] = np.nan
    damaged[0] += 0.5
    run = run_of(write(tmp_path / "a.h5", {"scan/frames": damaged, "scan/energy": ENERGIES}), tmp_path)
    assert list(column(run, "frame_problem")) == ["", "", f"3 of its {ROWS * COLUMNS} pixels are no numbers", "", ""]
    assert run[-1][1]["reason"] == "1 of 5 frames cannot be used"
    assert frames_of(run).dtype == float


def test_a_current_is_scaled_to_counts_and_said(frames, tmp_path):
    current = np.array([1.0, 1.1, 0.9, 1.0, 1.2]) * 3e-9
    content = {"scan/frames": frames, "scan/energy": ENERGIES, "scan/diode": (current, "A")}
    run = run_of(write(tmp_path / "a.h5", content), tmp_path)
    np.testing.assert_allclose(column(run, "i0"), current / 3e-9 * 1e6)
    assert "I0 is no number of counts: its size is scaled to 1e+06 in the middle, from 3e-09" in said(run)


def test_fewer_energies_than_frames_leave_frames_out(frames, tmp_path):
    run = run_of(write(tmp_path / "a.h5", {"scan/frames": frames, "scan/energy": ENERGIES[:3]}), tmp_path)
    assert len(column(run, "energy")) == 3
    assert run[-1][1]["reason"] == "2 of 5 frames have no energy; left out"
    assert "/scan/energy: 3 values for 5 frames, taken in their order" in said(run)


def test_dark_frames_become_the_dark_stream(frames, tmp_path):
    text = (
        OURS + '[dark]\ndataset = "/scan/dark"\n[camera]\nread_noise = 4.0\ncounts_per_ev = 0.21\nfull_scale = 60000\n'
    )
    content = {"scan/frames": frames, "scan/energy": ENERGIES, "scan/dark": np.full((2, ROWS, COLUMNS), 340, np.uint16)}
    run = run_of(write(tmp_path / "a.h5", content), tmp_path, text)
    names = {doc["name"]: doc["uid"] for name, doc in run if name == "descriptor"}
    assert set(names) == {"primary", "dark"}
    assert sum(doc["descriptor"] == names["dark"] for name, doc in run if name == "event") == 2
    assert next(doc for name, doc in run if name == "descriptor")["data_keys"][str(Key.CCD_DARK_IMAGE)]["external"]
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), {})
    for name, doc in run:
        reducer(name, doc)
    assert list(collect(found).read(RixsResult).problems) == []
    content["scan/dark"] = np.zeros((2, ROWS, COLUMNS + 1), np.uint16)
    with pytest.raises(BeamlineError, match="frames without light and with light have 16 x 129 and 16 x 128 pixels"):
        run_of(write(tmp_path / "b.h5", content), tmp_path, text)
    assert len(list((tmp_path / "frames").iterdir())) == 2  # of the first: nothing is left of the second


def test_a_scan_of_several_is_named(frames, tmp_path):
    text = OURS.replace("/scan", "/{part}")
    content = {}
    for name in ("1.1", "2.1"):
        content |= {f"{name}/frames": frames[:2] if name == "1.1" else frames, f"{name}/energy": ENERGIES[:2]}
    path = write(tmp_path / "a.h5", content)
    run = run_of(path, tmp_path, text, part="1.1")
    assert len(column(run, "energy")) == 2
    assert run[0][1]["imported_from"].endswith("a.h5::1.1")
    for part in ("", "7.1"):
        with pytest.raises(BeamlineError, match=r"its scans are '1.1', '2.1'; name one, as FILE::1.1"):
            run_of(path, tmp_path, text, part=part)
    with pytest.raises(BeamlineError, match=r"has no part '1\.1': the mapping asks for none"):
        run_of(path, tmp_path, part="1.1")


def i21(frames):
    return {
        "entry/andor/data": frames.swapaxes(1, 2),
        "entry/diamond_scan/scan_finished": 1,
        "entry/instrument/spectrometer/armtth": 150.0,
        "entry/instrument/andor/count_time": np.full(FRAMES, 300.0),
        "entry/sample/beam/incident_energy": (530.5, "eV"),
        "entry/m4c1/m4c1": np.linspace(0.1, 0.11, FRAMES),
        "entry/start_time": "2024-07-05T14:30:10+01:00",
    }


def id32(frames):
    return {
        "16.1/instrument/positioners/energy": 931.5,
        "16.1/measurement/andor1": frames,
        "16.1/measurement/mir_rixs": np.arange(1, FRAMES + 1) * 1000,
        "16.1/scan_parameters/count_time": 300.0,
        "16.1/start_time": "2025-04-10T18:39:13.331583+02:00",
    }


def area_detector(frames):
    return {
        "entry/data/data": frames,
        "entry/instrument/NDAttributes/Energy": ENERGIES,
        "entry/instrument/NDAttributes/AcquireTime": np.full(FRAMES, 300.0),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("layout", "name", "energy"),
    [
        (i21, "diamond_i21", np.full(FRAMES, 530.5)),
        (id32, "esrf_id32", np.full(FRAMES, 931.5)),
        (area_detector, "area_detector", ENERGIES),
    ],
)
def test_the_layouts_of_shipped_mappings_are_recognised(layout, name, energy, frames, tmp_path):
    path = write(tmp_path / "a.nxs", layout(frames))
    assert kind_of(path).name == "rixs_hdf5"
    (run,) = imported(path)
    assert run[0][1]["mapping"]["name"] == name
    np.testing.assert_array_equal(frames_of(run), frames)
    np.testing.assert_allclose(column(run, "energy"), energy)
    assert set(column(run, "ccd_exposure_time")) == {300.0}
    if layout is i21:
        assert run[0][1]["time"] == 1720186210.0


def test_every_shipped_mapping_says_what_it_is_and_by_what_it_is_recognised():
    shipped = shipped_mappings()
    assert set(shipped) == {"area_detector", "diamond_i21", "esrf_id32"}
    assert all(mapping.title and mapping.holds for mapping in shipped.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"scan/energy": ENERGIES}, "no dataset /scan/frames"),
        ({"scan/frames": np.zeros((2, 16, 16), np.uint16)}, "no dataset /scan/energy: no energy"),
        ({"scan/frames": np.zeros((2, 16, 5), np.uint16), "scan/energy": 530.0}, "frames of 16 x 5 pixels, expected 8"),
        ({"scan/frames": np.zeros(5, np.uint16), "scan/energy": 530.0}, "expected"),
        ({"scan/frames": np.zeros((0, 16, 16), np.uint16), "scan/energy": 530.0}, "expected at least one frame"),
        ({"scan/frames": np.zeros((2, 16, 16), "S3"), "scan/energy": 530.0}, "expected frames of numbers"),
        ({"scan/frames": np.zeros((2, 16, 16), np.uint16), "scan/energy": "high"}, "expected numbers"),
        ({"scan/frames": np.zeros((2, 16, 16), np.uint16), "scan/energy": -5.0}, "-5 eV among 2 values"),
        ({"scan/frames": np.zeros((2, 16, 16), np.uint16), "scan/energy": (5.0, "GeV")}, "unit 'GeV', expected one of"),
    ],
)
def test_a_file_that_does_not_hold_what_the_mapping_says_is_one_line(content, words, tmp_path):
    with pytest.raises(BeamlineError) as error:
        run_of(write(tmp_path / "a.h5", content), tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("frames/*"))


def test_what_is_no_file_of_hdf5_or_fits_no_mapping_is_one_line(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    for path, words in (
        (tmp_path / "a.h5", "cannot be read"),
        (tmp_path / "none", "no such file"),
        (tmp_path, "not a"),
    ):
        with pytest.raises(BeamlineError, match=words):
            run_of(path, tmp_path)
    from beamline.formats.importers.kind import Request
    from beamline.formats.importers.mapped import RIXS_HDF5

    with pytest.raises(BeamlineError, match=r"fits none of the mappings that there are \(frames of EPICS areaDetector"):
        list(RIXS_HDF5.documents(Request(write(tmp_path / "b.h5", {"x": 1}), tmp_path)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "frames: "),
        (OURS.replace("[energy]", "[energie]"), "energie"),
        (OURS.replace('"/scan/energy"', '"/scan/energy"\nvalue = 5'), "expected a dataset, or a value"),
        (OURS.replace('dataset = "/scan/frames"', 'dataset = "/f"\nemission = "up"'), "frames.emission"),
        ("[frames", "not valid TOML"),
    ],
)
def test_a_mapping_that_is_none_names_what_is_wrong(text, words, tmp_path):
    with pytest.raises(BeamlineError) as error:
        read_mapping(mapping_of(tmp_path, text))
    assert words in str(error.value)
    assert all(line.startswith(f"{tmp_path / 'ours.toml'}: ") for line in str(error.value).split("\n"))
