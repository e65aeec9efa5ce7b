"""Energy-loss spectra of HyperSpy, of DigitalMicrograph and of EMSA."""

import struct

import h5py
import numpy as np
import pytest
from xas_files import events_of, imported, reduced

from beamline.analysis import spectrum_image
from beamline.errors import BeamlineError
from beamline.formats.importers.kinds import kind_of

LOSS = 500.0 + 0.25 * np.arange(300)
TRUTH = 2e5 * (500 / LOSS) ** 3 + 6e4 * (0.5 + np.arctan((LOSS - 532) / 0.7) / np.pi)
WINDOWS = {"xas": {"monitor_noise": 0.0, "pre_edge": (500.0, 525.0), "post_edge": (550.0, 574.0)}}
CUBE = np.random.default_rng(0).poisson(TRUTH / 6, (2, 3, 300)).astype(np.uint32)


def hspy(path, *signals, **attributes):
    """A file to the letter of HyperSpy's description of its format, version 3.1."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.1"} | attributes)
        for number, (data, axes, kind) in enumerate(signals):
            group = file.create_group(f"Experiments/spectrum {number}")
            group["data"] = data
            for place, axis in enumerate(axes):
                group.create_group(f"axis-{place}").attrs.update(axis)
            group.create_group("metadata/Signal").attrs["signal_type"] = kind
            group.create_group("metadata/General").attrs.update({"date": "2024-07-05", "time": "14:30:10"})
            group.create_group("metadata/Acquisition_instrument/TEM").attrs["beam_energy"] = 200.0
    return path


def along(size=300, offset=500.0, scale=0.25, units="eV", **more):
    return {"navigate": False, "offset": offset, "scale": scale, "size": size, "units": units, "name": "Energy", **more}


def place(size):
    return {"navigate": True, "offset": 0.0, "scale": 1.0, "size": size, "units": "nm"}


def problems(run):
    return " | ".join(run[0][1]["import_problems"])


@pytest.mark.long
def test_a_spectrum_of_counts_becomes_an_absorption_spectrum_over_the_loss(tmp_path):
    held = []
    for seed in range(8):
        counts = np.random.default_rng(seed).poisson(TRUTH)
        path = hspy(tmp_path / f"{seed}.hspy", (counts, [along()], "EELS"))
        assert kind_of(path).name == "hspy"
        (run,) = imported(path)
        np.testing.assert_allclose(events_of(run)["energy"], LOSS)
        spectrum = reduced(run, WINDOWS).spectra["eels"]
        assert spectrum.status == "ok"
        held.append(np.mean(np.abs(spectrum.over_i0_spectrum - TRUTH) < spectrum.over_i0_spectrum_sigma))
    assert 0.62 < np.mean(held) < 0.74
    assert run[0][1]["time"] == 1720189810.0
    assert run[0][1]["microscope"]["beam_energy"] == 200.0
    assert "energies are energy losses of electrons" in problems(run)


@pytest.mark.long
def test_a_spectrum_image_is_its_sum_one_position_or_each(tmp_path):
    path = hspy(tmp_path / "a.hspy", (CUBE, [place(2), place(3), along()], "EELS"))
    (run,) = imported(path)
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE.sum(axis=(0, 1)))
    assert "a spectrum image: the sum of 6 positions is taken; name one as FILE::3,5, or FILE::each" in problems(run)
    (run,) = imported(path, part="1,2")
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE[1, 2])
    assert run[0][1]["imported_from"].endswith("a.hspy::1,2")
    runs = imported(path, part="each")
    assert len(runs) == 6
    np.testing.assert_array_equal(events_of(runs[4])["eels"], CUBE[1, 1])
    for part in ("2,0", "1", "x", "1,2,3"):
        with pytest.raises(BeamlineError, match=f"'{part}' is none of its 2 x 3 positions, expected one, sum or each"):
            imported(path, part=part)
    large = np.ones((40, 30, 20), np.uint16)
    path = hspy(tmp_path / "b.hspy", (large, [place(40), place(30), along(20)], "EELS"))
    with pytest.raises(BeamlineError, match="1,200 positions, expected at most 1,000 runs; name one, or sum"):
        imported(path, part="each")


@pytest.mark.long
def test_the_energy_may_be_any_axis_in_kev_uneven_and_below_zero(tmp_path):
    moved = np.moveaxis(CUBE, -1, 0)
    path = hspy(
        tmp_path / "a.hspy", (moved, [along(offset=0.5, scale=0.00025, units="keV"), place(2), place(3)], "EELS")
    )
    (run,) = imported(path)
    np.testing.assert_allclose(events_of(run)["energy"], LOSS)
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE.sum(axis=(0, 1)))
    path = hspy(tmp_path / "b.hspy", (CUBE[0, 0], [along(offset=-10.0, units="")], "EELS"))
    (run,) = imported(path)
    assert len(events_of(run)["energy"]) == 259
    assert "41 of 300 losses are not above 0; left out" in problems(run)
    path = hspy(tmp_path / "c.hspy", (CUBE[0, 0], [along()], "EELS"))
    with h5py.File(path, "a") as file:
        file["Experiments/spectrum 0/axis-0/axis"] = LOSS**1.001
    (run,) = imported(path)
    np.testing.assert_allclose(events_of(run)["energy"], LOSS**1.001)


def test_what_is_no_eels_is_left_out_and_said(tmp_path):
    good = (CUBE[0, 0], [along()], "EELS")
    path = hspy(tmp_path / "a.hspy", good, (CUBE[0, 0], [along()], "EDS_TEM"))
    (run,) = imported(path)
    assert "'spectrum 1' is 'EDS_TEM', no EELS; left out" in problems(run)
    image = (np.ones((4, 5)), [along(4), along(5)], "")
    with pytest.raises(BeamlineError, match="'spectrum 0' is 'image', no EELS; left out"):
        imported(hspy(tmp_path / "b.hspy", image))


def test_a_pile_of_images_one_at_each_loss_is_a_spectrum_image(tmp_path):
    """As DigitalMicrograph keeps it: the loss is what one goes through, and the positions are the signal."""
    axes = [along() | {"navigate": True}, place(2) | {"navigate": False}, place(3) | {"navigate": False}]
    path = hspy(tmp_path / "a.hspy", (np.moveaxis(CUBE, -1, 0), axes, "EELS"))
    (run,) = imported(path)
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE.sum(axis=(0, 1)))
    image = spectrum_image(path)
    np.testing.assert_array_equal(image, CUBE)
    np.testing.assert_allclose(image.energy, LOSS)
    assert image.position_1.attrs["units"] == "nm"


@pytest.mark.long
@pytest.mark.parametrize(
    ("data", "axes", "words"),
    [
        (CUBE[0, 0] * 1j, [along()], "values of the type complex128, expected numbers"),
        (CUBE[0, 0], [along(units="")], "'spectrum 0' is 'curve over no unit', no EELS; left out"),
        (CUBE[0, 0], [along(units="nm")], "'spectrum 0' is 'curve over nm', no EELS; left out"),
    ],
)
def test_what_may_be_anything_is_not_taken_for_a_spectrum_of_losses(data, axes, words, tmp_path):
    path = hspy(tmp_path / "a.hspy", (data, axes, ""))
    for read in (imported, spectrum_image):
        with pytest.raises(BeamlineError, match=words):
            read(path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ((CUBE[0, 0], [], "EELS"), "no axis-0 for data of shape (300,)"),
        ((CUBE[0, 0], [{"navigate": False}], "EELS"), "no scale, which the energies are made of"),
        ((CUBE[0, 0], [along(scale="x")], "EELS"), "no scale, which the energies are made of"),
        ((CUBE[0, 0], [along(units="furlong")], "EELS"), "unit 'furlong', expected one of"),
        ((np.array(["a"] * 300, "S3"), [along()], "EELS"), "expected numbers"),
        ((CUBE[0, 0], [along(offset=-900.0)], "EELS"), "no energy is a number"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_one_line(signal, words, tmp_path):
    with pytest.raises(BeamlineError) as error:
        imported(hspy(tmp_path / "a.hspy", signal))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def tag(name, value):
    """A tag of DigitalMicrograph, version 3, to the letter of its published description."""
    head = struct.pack(">H", len(name)) + name.encode("latin-1")
    if isinstance(value, dict):
        body = b"\1\1" + struct.pack(">I", len(value))
        return (
            b"\x14" + head + body + b"".join(tag("" if key.startswith("_") else key, one) for key, one in value.items())
        )
    if isinstance(value, np.ndarray):
        types = {"u2": 4, "i4": 3, "f4": 6}
        info, data = (20, types[value.dtype.str[1:]], value.size), value.astype(value.dtype.newbyteorder("<")).tobytes()
    elif isinstance(value, float):
        info, data = (6,), struct.pack("<f", value)
    else:
        info, data = (5,), struct.pack("<I", value)
    return b"\x15" + head + b"%%%%" + struct.pack(f">I{len(info)}I", len(info), *info) + data


def text(words):
    return np.frombuffer(words.encode("utf-16-le"), "<u2")


def dm3(path, counts):
    calibration = {"Origin": -2000.0, "Scale": 0.25, "Units": text("eV")}
    image = {
        "Calibrations": {
            "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": text("e-")},
            "Dimension": {"_0": calibration},
        },
        "Data": counts.astype("<i4"),
        "DataType": 7,
        "Dimensions": {"_0": len(counts)},
        "PixelDepth": 4,
    }
    tags = {"Meta Data": {"Format": text("Spectrum"), "Signal": text("EELS")}}
    root = {"ImageList": {"_0": {"ImageData": image, "ImageTags": tags, "Name": text("O K")}}}
    body = b"\1\1" + struct.pack(">I", len(root)) + b"".join(tag(key, value) for key, value in root.items())
    path.write_bytes(struct.pack(">III", 3, len(body), 1) + body + bytes(8))
    return path


def test_a_spectrum_of_digital_micrograph(tmp_path):
    path = dm3(tmp_path / "a.dm3", CUBE[0, 0])
    assert kind_of(path).name == "eels"
    (run,) = imported(path)
    np.testing.assert_allclose(events_of(run)["energy"], LOSS)
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE[0, 0])


def test_a_spectrum_of_emsa(tmp_path):
    head = {
        "FORMAT": "EMSA/MAS Spectral Data File",
        "VERSION": "1.0",
        "TITLE": "O K",
        "NPOINTS": "300.",
        "NCOLUMNS": "1.",
        "XUNITS": "eV",
        "YUNITS": "Counts",
        "DATATYPE": "Y",
        "XPERCHAN": "0.25",
        "OFFSET": "500.0",
        "SIGNALTYPE": "ELS",
    }
    lines = [f"#{name:<12}: {value}" for name, value in head.items()]
    rows = [f"{count}.0," for count in CUBE[0, 0]]
    (tmp_path / "a.msa").write_text(
        "\n".join([*lines, "#SPECTRUM    : Spectral Data Starts Here", *rows, "#ENDOFDATA  :"])
    )
    (run,) = imported(tmp_path / "a.msa")
    np.testing.assert_allclose(events_of(run)["energy"], LOSS)
    np.testing.assert_array_equal(events_of(run)["eels"], CUBE[0, 0])


def test_a_damaged_file_of_either_is_one_line(tmp_path):
    whole = dm3(tmp_path / "a.dm3", CUBE[0, 0]).read_bytes()
    for name, data in (("cut.dm3", whole[: len(whole) // 2]), ("b.msa", b"#FORMAT      : EMSA/MAS\n#NPOINTS : x\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BeamlineError) as error:
            imported(tmp_path / name)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
