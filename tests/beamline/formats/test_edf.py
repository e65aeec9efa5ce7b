"""RIXS frames in EDF: in one file or many, with energies in their headers or in a SPEC file."""

import numpy as np
import pytest
from test_import_irixs import frames_of
from test_mapped import column, said
from xas_files import imported

from beamline.errors import BeamlineError
from beamline.formats.importers.edf import edf_documents
from beamline.formats.importers.kinds import kind_of

FRAMES = np.arange(3 * 12 * 20, dtype=np.uint16).reshape(3, 12, 20)
ENERGIES = (931.0, 931.5, 932.0)
NAMES = {"u2": "UnsignedShort", "i4": "SignedInteger", "f4": "FloatValue"}


def block(frame, *, order="<", padded=0, **header):
    rows, columns = frame.shape
    data = frame.astype(frame.dtype.newbyteorder(order)).tobytes() + bytes(padded)
    fields = {
        "HeaderID": "EH:000001:000000:000000",
        "ByteOrder": {"<": "LowByteFirst", ">": "HighByteFirst"}[order],
        "DataType": NAMES[frame.dtype.str[1:]],
        "Dim_1": columns,
        "Dim_2": rows,
        "Size": len(data),
        **header,
    }
    text = "{\n" + "".join(f"{name} = {value} ;\n" for name, value in fields.items())
    return (text.ljust((len(text) + 2 + 511) // 512 * 512 - 2) + "}\n").encode("latin-1") + data


def header(energy, mir=5e6):
    return {
        "motor_mne": "th energy tth",
        "motor_pos": f"20 {energy} 150",
        "counter_mne": "sec i0_mir",
        "counter_pos": f"300 {mir:g}",
        "time_of_day": 1720182610 + 300 * (energy - 931),
    }


def write(folder, frames=FRAMES, **options):
    folder.mkdir()
    for number, (frame, energy) in enumerate(zip(frames, ENERGIES, strict=False)):
        (folder / f"andor1_{number:04d}.edf").write_bytes(block(frame, **header(energy), **options))
    return folder


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
def test_a_folder_of_frames_with_their_energies_in_the_headers(order, dtype, tmp_path):
    folder = write(tmp_path / "scan12", FRAMES.astype(dtype), order=order, padded=100)
    assert kind_of(folder).name == "edf"
    (run,) = imported(folder)
    np.testing.assert_array_equal(frames_of(run), FRAMES)
    np.testing.assert_array_equal(column(run, "energy"), ENERGIES)
    assert set(column(run, "i0")) == {5e6}
    assert set(column(run, "ccd_exposure_time")) == {300.0}
    assert run[0][1]["scan_id"] == 12
    np.testing.assert_allclose(
        [doc["time"] for name, doc in run if name == "event"], [1720182610, 1720182760, 1720182910]
    )


def test_a_file_of_several_frames_in_kev(tmp_path):
    path = tmp_path / "a.edf"
    pairs = zip(FRAMES, ENERGIES, strict=True)
    path.write_bytes(b"".join(block(frame, energy=energy / 1000) for frame, energy in pairs))
    (run,) = imported(path)
    np.testing.assert_array_equal(frames_of(run), FRAMES)
    np.testing.assert_allclose(column(run, "energy"), ENERGIES)
    assert "energies have no unit and are at most 0.932: taken as keV" in said(run)
    assert "no I0: 1e+06 counts stand for it" in said(run)
    assert "not all headers have a time; that of the file stands for them" in said(run)


SPEC = (
    "#F s\n#S 3 ascan energy 931 932 2 300\n#N 3\n#L Energy  Seconds  I0\n"
    "931 300 1000\n931.5 300 1001\n932 300 1002\n\n#S 4 ascan th 0 1 1 1\n#N 2\n#L th  I0\n0 1\n1 2\n"
)


def test_the_energies_of_a_spec_file_beside_the_frames(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    for number, frame in enumerate(FRAMES):
        (folder / f"{number}.edf").write_bytes(block(frame))
    (folder / "s.spec").write_text(SPEC)
    for part in ("", "3"):
        (run,) = imported(folder, part=part)
        np.testing.assert_array_equal(column(run, "energy"), ENERGIES)
        np.testing.assert_array_equal(column(run, "i0"), [1000, 1001, 1002])
        assert set(column(run, "ccd_exposure_time")) == {300.0}
    with pytest.raises(BeamlineError, match="0 scans have 3 points, as many as frames, expected scan 4 alone"):
        imported(folder, part="4")
    (folder / "s.spec").write_text(SPEC + SPEC.replace("#S 3", "#S 7"))
    with pytest.raises(BeamlineError, match="2 scans have 3 points, as many as frames, expected one; name it"):
        imported(folder)
    (folder / "s.spec").unlink()
    with pytest.raises(BeamlineError, match="no energy of its frames; there are 'HeaderID, ByteOrder"):
        imported(folder)


def test_values_are_named_where_their_names_do_not_say_what_they_are(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "0.edf").write_bytes(block(FRAMES[0], pgm=931.0, diode=7))
    (run,) = imported(folder, columns={"energy": "pgm", "i0": "diode"})
    assert (column(run, "energy")[0], column(run, "i0")[0]) == (931.0, 7.0)


def test_a_damaged_frame_is_marked_and_the_others_are_read(tmp_path):
    folder = write(tmp_path / "scan")
    path = folder / "andor1_0001.edf"
    path.write_bytes(path.read_bytes()[:-100])
    (folder / "andor1_0003.edf").write_bytes(b"no header\n" * 100)
    (folder / "andor1_0004.edf").write_bytes(block(FRAMES[0][:, :10], **header(933.0)))
    (folder / "andor1_0005.edf").write_bytes(block(FRAMES[0], **header(float("nan"))))
    (run,) = imported(folder)
    assert list(column(run, "frame_problem")) == [
        "",
        "andor1_0001.edf: broken off: 380 of 480 bytes",
        "",
        "andor1_0004.edf: 12 x 10 pixels of uint16, expected 12 x 20 of uint16",
        "no energy",
    ]
    assert "andor1_0003.edf: byte 0 begins no header in braces; left out" in said(run)
    assert run[-1][1]["reason"] == "3 of 5 frames cannot be used"
    np.testing.assert_array_equal(frames_of(run)[2], FRAMES[2])


def test_numbers_that_are_none_mark_their_frame(tmp_path):
    frames = FRAMES.astype("f4")
    frames[1, 2, 3] = np.nan
    (run,) = imported(write(tmp_path / "scan", frames))
    assert column(run, "frame_problem")[1] == "andor1_0001.edf: 1 of its pixels are no numbers"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no frame"),
        (b"{ HeaderID = 1;\n", "byte 0 begins no header in braces"),
        (b"{\nDim_1 = 5 ;\n}\n", "DataType is '', expected one as UnsignedShort"),
        (b"{\nDataType = UnsignedShort ;\n}\n", "no size of its frame"),
        (
            b"{\nDataType = UnsignedShort ;\nDim_1 = 99999999 ;\nDim_2 = 99 ;\nSize = 5;\n}\n",
            "expected at most 64,000,000",
        ),
        (b"{\nDataType = UnsignedShort ;\nDim_1 = 9 ;\nDim_2 = 9 ;\nSize = 5;\n}\n", "5 bytes, and its 9 x 9 pixels"),
        (b"{\nDataType = UnsignedShort ;\nDim_1 = -9 ;\nDim_2 = 9 ;\nSize = 5;\n}\n", "claims 9 x -9 pixels"),
        (block(FRAMES[0], Compression="GZIP", energy=900), "is compressed ('GZIP'), expected plain pixels"),
        (block(FRAMES[0], energy="high"), "no energy of its frames is a number"),
        (block(FRAMES[0], energy=-900), "energy: -"),
    ],
)
def test_what_is_no_frame_is_one_line(data, words, tmp_path):
    (tmp_path / "a.edf").write_bytes(data)
    with pytest.raises(BeamlineError) as error:
        list(edf_documents(tmp_path / "a.edf", frames_dir=tmp_path / "frames"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
