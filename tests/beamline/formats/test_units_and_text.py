"""Units in any spelling, and text in any encoding."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scans import ENERGIES, write_irixs, write_sdf
from stxm_documents import stack, stxm_documents

from beamline.errors import BeamlineError
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.importers.irixs_log import read_log
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.quantities import CURRENT, ENERGY, LENGTH, TIME, factor
from beamline.formats.importers.sdf import sdf_documents
from beamline.formats.text import decode, header_line, quoted, safe_name
from beamline.text import clean

MICRO = ["um", "\u00b5m", "\u03bcm", " um ", "\u03bcM", "micron", "Microns", "MICROMETER", "micrometre", "um\0"]


@pytest.mark.parametrize("unit", MICRO)
def test_a_micrometre_is_one_in_every_spelling(unit):
    assert factor(unit, LENGTH) == 1.0


@pytest.mark.parametrize(
    ("unit", "known", "expected"),
    [
        *(("keV", ENERGY, 1e3), ("EV", ENERGY, 1.0), ("mA", CURRENT, 1.0), ("A", CURRENT, 1e3)),
        *(("ms", TIME, 1e-3), ("\u00b5s", TIME, 1e-6), ("Seconds", TIME, 1.0)),
        *(("NM", LENGTH, 1e-3), ("mm", LENGTH, 1e3), ("m", LENGTH, 1e6)),
    ],
)
def test_units_are_converted_whatever_their_case(unit, known, expected):
    assert factor(unit, known) == expected


@pytest.mark.parametrize("unit", ["MeV", "Mm", "MA"])
def test_mega_is_not_taken_for_milli(unit):
    with pytest.raises(ValueError, match=f"unit '{unit}', expected one of"):
        factor(unit, LENGTH | ENERGY | CURRENT)


def test_a_unit_that_is_not_known_is_named_with_its_code_points():
    with pytest.raises(
        ValueError, match=r"^unit 'μrad' \(U\+03BC U\+0072 U\+0061 U\+0064\), expected one of um, nm, mm, m$"
    ):
        factor("\u03bcrad", LENGTH)
    with pytest.raises(ValueError, match=r"^unit '\\n\\x1bx', expected one of ev, kev$"):
        factor("\n\x1bx", ENERGY)


@pytest.mark.parametrize("unit", ["\u00b5m", "\u03bcm", b"\xb5m", np.bytes_(b"um"), np.array(["um"], dtype=object)])
def test_a_nxstxm_file_may_spell_its_unit_in_any_way(unit, tmp_path):
    counts = np.arange(24.0).reshape(2, 3, 4)
    write_nxstxm(tmp_path / "7.hdf5", stxm_documents(counts, [700.0, 701.0], np.arange(4.0), np.arange(3.0)), None)
    with h5py.File(tmp_path / "7.hdf5", "a") as file:
        for name in ("counter0/sample_x", "counter0/sample_y", "instrument/sample_x/data"):
            file["entry1"][name].attrs["units"] = unit
    documents = list(nxstxm_documents(tmp_path / "7.hdf5"))
    np.testing.assert_array_equal(stack(documents), counts)
    assert documents[0][1]["import_problems"] == []


@pytest.mark.parametrize(
    ("unit", "encoding", "end"),
    [
        ("\u03bcm", "utf-8", "\n"),
        ("\u00b5m", "utf-8-sig", "\r\n"),
        ("\u03bcm", "utf-16", "\r\n"),
        ("\u00b5m", "latin-1", "\r"),
        ("microns", "latin-1", "\r\n"),
    ],
)
def test_a_sdf_header_may_be_written_in_any_encoding(unit, encoding, end, tmp_path):
    scan = write_sdf(tmp_path, unit)
    text = (
        (scan / "s7.hdr").read_text(encoding="utf-8").replace("\u03bc", "\u00b5" if encoding == "latin-1" else "\u03bc")
    )
    (scan / "s7.hdr").write_bytes(text.replace("\n", end).encode(encoding))
    for path in scan.glob("*.xim"):
        path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    documents = list(sdf_documents(scan))
    assert documents[0][1]["import_problems"][:-1] == []  # the last is of its times
    assert documents[0][1]["instrument_header"] == text.splitlines()
    np.testing.assert_array_equal(stack(documents).ravel(), np.arange(60) + 0.25)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_a_log_may_be_written_in_any_encoding(encoding, end, tmp_path):
    path = write_irixs(tmp_path / "scan") / "cox7-AI.txt"
    text = path.read_text().replace("One Motor", "Motor f\u00fcr \u00b5m")
    path.write_bytes(text.replace("\n", end).encode(encoding))
    log = read_log(tmp_path / "scan")
    assert [line.values["energy"] for line in log.lines] == [775.5, 776.5, 777.5, 778.5]
    assert log.header[0] == "Scan Type: Motor f\u00fcr \u00b5m"


def test_each_line_of_a_text_of_mixed_encodings_is_read_in_its_own():
    assert decode("µ\n".encode() + "µ\r\n".encode("latin-1") + b"x") == "µ\nµ\nx"
    assert decode("µ".encode("utf-32")) == "µ"


@given(st.binary())
def test_any_bytes_are_text(data):
    assert isinstance(decode(data), str)


@pytest.mark.long
@given(st.text())
def test_what_is_printable_and_what_is_a_name_stays_so(text):
    shown = clean(text)
    assert clean(shown) == shown
    assert shown.encode().decode() == shown
    assert not set(shown) & set("\n\r\t\0\x1b\u202e\u2028")
    name = safe_name(text)
    assert name == safe_name(name)
    assert name not in {"", ".", ".."}
    assert not set(name) & set("/\\\0\n")
    assert "\n" not in quoted(text)
    assert len(quoted(text)) <= 62


def test_printable_text_is_kept_as_it_is():
    for text in ("LiFePO₄ 50 %", "naïve µm", "a\xa0b", "[/dry] <b>", "日本"):
        assert clean(text) == text
    assert header_line("a\tb\x1b") == "a\tb\\x1b"


@pytest.mark.parametrize("energy", ["-700.0", "0", "1e9", "nan", "inf", "x"])
def test_an_energy_that_is_none_is_refused(energy, tmp_path):
    scan = write_sdf(tmp_path)
    text = (scan / "s7.hdr").read_text()
    (scan / "s7.hdr").write_text(text.replace(str(ENERGIES[1]), energy))
    with pytest.raises(BeamlineError, match=r"Points of the StackAxis 'Energy': ") as error:
        list(sdf_documents(scan))
    assert "\n" not in str(error.value)
