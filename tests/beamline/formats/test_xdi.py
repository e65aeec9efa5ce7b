"""Absorption spectra in XDI, to the letter of its specification 1.0, and what breaks it."""

import numpy as np
import pytest
from xas_files import ENERGY, MU, counted, events_of, imported, reduced

from beamline.errors import BeamlineError
from beamline.formats.importers.kinds import kind_of

I0, TFY, IT = counted()
HEADER = (
    "# XDI/1.0 Ours/2.1",
    "# Column.1: energy eV",
    "# Column.2: i0",
    "# Column.3: ifluor",
    "# Column.4: itrans",
    "# Element.symbol: O",
    "# Element.edge: K",
    "# Mono.d_spacing: 3.13553",
    "# Scan.start_time: 2024-07-05T14:30:10Z",
    "# Scan.edge_energy: 543.1 eV",
    "# Sample.name: Li\u2082MnO\u2083, 50 %",
    "# Ours.cryostat: 20 K: stable",
    "# ///",
    "# Column.2: of the comment",
    "#   as measured",
    "#----",
    "# energy i0 ifluor itrans",
)


def write(path, header=HEADER, columns=(ENERGY, I0, TFY, IT), end="\n", **changes):
    lines = [line for line in header if not any(line.startswith(f"# {name}:") for name in changes.get("without", ()))]
    lines = [changes.get("replace", {}).get(line, line) for line in lines]
    rows = ["  ".join(f"{value:.8g}" for value in row) for row in np.column_stack(columns)]
    rows = changes.get("rows", lambda rows: rows)(rows)
    path.write_text(end.join([*lines, *rows]) + end, encoding="utf-8", newline="")
    return path


def said(run):
    return " | ".join(run[0][1]["import_problems"])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_to_the_letter_is_read_with_nothing_to_say_but_that_counts_are_counts(end, tmp_path):
    path = write(tmp_path / "o_k.007", end=end)
    assert kind_of(path).name == "xdi"
    (run,) = imported(path)
    start, events = run[0][1], events_of(run)
    for key, values in (("energy", ENERGY), ("i0", I0), ("tfy", TFY), ("transmission", IT)):
        np.testing.assert_array_equal(events[key], values)
    assert (start["measurement"]["edge"], start["sample"]["name"]) == ("O K", "Li\u2082MnO\u2083, 50 %")
    assert start["time"] == 1720189810.0
    assert "# Ours.cryostat: 20 K: stable" in start["instrument_header"]
    assert "#   as measured" in start["instrument_header"]
    assert start["import_problems"] == [
        f"{name}: whole numbers, taken as counts, whose variance is their number" for name in ("i0", "ifluor", "itrans")
    ]
    spectrum = reduced(run).spectra["tfy"]
    assert spectrum.status == "ok"
    assert np.mean(np.abs(spectrum.over_i0_spectrum - 0.2 * MU) < spectrum.over_i0_spectrum_sigma) > 0.6


def test_the_specification_counts_fields_in_any_case_and_the_last_of_several(tmp_path):
    header = [line.replace("# Sample.name", "# sAMPLE.NAME") for line in HEADER]
    header.insert(2, "# element.SYMBOL: Cu")
    (run,) = imported(write(tmp_path / "a.xdi", header))
    assert run[0][1]["sample"]["name"].startswith("Li")
    assert run[0][1]["measurement"]["edge"] == "O K"


def test_kev_and_angles_become_ev(tmp_path):
    kev = write(tmp_path / "a.xdi", columns=(ENERGY / 1e3, I0, TFY, IT), replace={HEADER[1]: "# Column.1: energy keV"})
    np.testing.assert_allclose(events_of(imported(kev)[0])["energy"], ENERGY, rtol=1e-7)
    energy = np.linspace(8900.0, 9100.0, len(ENERGY))
    header = [line.replace("O", "Cu") if "symbol" in line else line for line in HEADER]
    header = [line.replace("543.1 eV", "8.979 keV") for line in header]
    for unit, scale in (("degrees", np.degrees(1.0)), ("radians", 1.0)):
        angle = np.arcsin(12398.41984 / energy / 2 / 3.13553) * scale
        replaced = [line.replace("energy eV", f"angle {unit}").replace("# energy", "# angle") for line in header]
        path = write(tmp_path / f"{unit}.xdi", replaced, columns=(angle, I0, TFY, IT))
        (run,) = imported(path)
        np.testing.assert_allclose(events_of(run)["energy"], energy, rtol=2e-7)
        assert run[0][1]["measurement"]["edge"] == "Cu K"
        assert "with the d-spacing 3.13553 angstrom" in said(run)
    replaced = [line for line in replaced if "d_spacing" not in line]
    with pytest.raises(BeamlineError, match="angle: an angle, and no d-spacing of the monochromator"):
        imported(write(tmp_path / "b.xdi", replaced, columns=(angle, I0, TFY, IT)))


def test_absorptions_are_taken_as_they_are_and_the_raw_columns_before_them(tmp_path):
    header = [
        *HEADER[:2],
        "# Column.2: mutrans",
        "# Column.3: murefer",
        "# Column.4: normfluor",
        *HEADER[5:-1],
        "# energy mutrans murefer normfluor",
    ]
    rng = np.random.default_rng(1)
    noisy = [MU + 2e-3 * rng.standard_normal(len(MU)) for _ in range(3)]
    (run,) = imported(write(tmp_path / "a.xdi", header, columns=(ENERGY, *noisy)))
    result = reduced(run, {"xas": {"monitor_noise": 0.0}})
    for name, values in zip(("mutrans", "reference", "normfluor"), noisy, strict=True):
        spectrum = result.spectra[name]
        np.testing.assert_allclose(spectrum.over_i0_spectrum, values, rtol=1e-6)
        np.testing.assert_allclose(spectrum.over_i0_spectrum_sigma, 2e-3, rtol=0.25)
        assert spectrum.status == "ok"
    header = [*HEADER[:3], "# Column.3: itrans", "# Column.4: mutrans", *HEADER[5:-1], "# energy i0 itrans mutrans"]
    (run,) = imported(write(tmp_path / "b.xdi", header, columns=(ENERGY, I0, IT, np.log(I0 / IT))))
    assert "mutrans: is ln(i0/itrans); these stand for it" in said(run)
    assert reduced(run).spectra.keys() == {"transmission"}


BROKEN = {
    "no element": ({"without": ("Element.symbol",)}, "the edge is not known: no element is named"),
    "no edge": ({"without": ("Element.edge",)}, "the edge is not known: no shell is named"),
    "an edge that is none": ({"replace": {"# Element.edge: K": "# Element.edge: J"}}, "the file names the edge 'O J'"),
    "an element that is none": (
        {"replace": {"# Element.symbol: O": "# Element.symbol: Xq"}},
        "there is no element 'Xq'",
    ),
    "an edge elsewhere": (
        {"replace": {"# Element.symbol: O": "# Element.symbol: Fe"}},
        "the file names the edge Fe K, which is at 7112.0 eV, and its energies are 520.0 to 565.5 eV",
    ),
    "no end of the header": ({"replace": {"#----": "#"}}, "no line '#---' ends the header"),
    "no labels": ({"replace": {HEADER[-1]: "#"}}, "no labels of the columns are above the numbers"),
    "too few labels": ({"replace": {HEADER[-1]: "# energy i0"}}, "2 labels for 4 columns"),
    "too many labels": ({"replace": {HEADER[-1]: "# energy i0 ifluor itrans x"}}, "5 labels for 4 columns"),
    "other labels": (
        {"replace": {HEADER[-1]: "# energy i0 itrans ifluor"}},
        "2 columns have other labels in the fields",
    ),
    "a column too far": ({"replace": {HEADER[4]: "# Column.7: itrans"}}, "Column.7 is named, and there are 4 columns"),
    "a field without a colon": ({"replace": {HEADER[7]: "# Mono.d_spacing 3"}}, "1 lines of the header are no fields"),
    "a field without a family": ({"replace": {HEADER[7]: "# spacing: 3"}}, "1 lines of the header are no fields"),
    "a family of digits": ({"replace": {HEADER[7]: "# 7Mono.d: 3"}}, "1 lines of the header are no fields"),
    "a time that is none": (
        {"replace": {HEADER[8]: "# Scan.start_time: yesterday"}},
        "no time of the measurement is in Scan.start_time; that of the file stands for it",
    ),
    "an edge energy that is none": ({"replace": {HEADER[9]: "# Scan.edge_energy: x"}}, "Scan.edge_energy is 'x'"),
    "an edge energy elsewhere": (
        {"replace": {HEADER[9]: "# Scan.edge_energy: 7112.0"}},
        "Scan.edge_energy is 7112 eV, and the energies are 520 to 565.5 eV",
    ),
    "a d-spacing that is none": (
        {"replace": {HEADER[7]: "# Mono.d_spacing: three"}},
        "Mono.d_spacing is 'three', expected a number",
    ),
    "a later version": ({"replace": {HEADER[0]: "# XDI/2.0"}}, "of version 2 of XDI, read as version 1"),
    "a shorter row": (
        {"rows": lambda rows: [*rows[:5], "523 1", *rows[6:]]},
        "1 of 204 lines of numbers have another number of columns than 4, the first is line 23; left out",
    ),
    "a longer row": (
        {"rows": lambda rows: [*rows[:5], "523 1 2 3 4", *rows[6:]]},
        "1 of 204 lines of numbers have another number of columns than 4",
    ),
    "a word among the numbers": (
        {"rows": lambda rows: [*rows[:5], "523 1 two 3", *rows[6:]]},
        "1 lines among the numbers are none, as '523 1 two 3'; left out",
    ),
    "a number that is none": (
        {"rows": lambda rows: [*rows[:5], "523 1 1.2.3 3", *rows[6:]]},
        "1 lines among the numbers are none, as '523 1 1.2.3 3'; left out",
    ),
    "NaN": (
        {"rows": lambda rows: [*rows[:5], "522.5 1 NaN 3", *rows[6:]]},
        "ifluor: 1 of 204 values are no numbers: not measured",
    ),
    "broken off": (
        {"rows": lambda rows: [*rows[:100], rows[100][:7]]},
        "1 of 101 lines of numbers have another number of columns than 4",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_as_the_specification_has_it_is_said_and_the_rest_is_read(what, tmp_path):
    changes, words = BROKEN[what]
    (run,) = imported(write(tmp_path / "a.xdi", **changes))
    assert words in said(run)
    events = events_of(run)
    assert len(events["energy"]) >= 100
    np.testing.assert_array_equal(events["energy"][:5], ENERGY[:5])
    np.testing.assert_array_equal(events["i0"][:5], I0[:5])


REFUSED = {
    "no XDI": ({"replace": {HEADER[0]: "# XDI"}}, "begins with '# XDI', expected '# XDI/1.0'"),
    "pixels": ({"replace": {HEADER[1]: "# Column.1: energy pixel"}}, "Column.1 is 'energy pixel', expected an energy"),
    "chi(k)": ({"replace": {HEADER[1]: "# Column.1: k"}}, "Column.1 is 'k', expected an energy"),
    "an unknown unit": ({"replace": {HEADER[1]: "# Column.1: energy erg"}}, "unit 'erg', expected one of ev, kev"),
    "no numbers": ({"rows": lambda _: []}, "no table of numbers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_a_spectrum_is_one_line(what, tmp_path):
    from beamline.formats.importers.xdi import xdi_documents

    changes, words = REFUSED[what]
    with pytest.raises(BeamlineError) as error:
        list(xdi_documents(write(tmp_path / "a.xdi", **changes)))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("over", ["nowhere", "tfy", "energy"])
def test_a_channel_that_is_said_to_be_over_none_is_taken_by_its_name(over, tmp_path):
    header = [*HEADER[:-5], f"# Channel.tfy: yield over {over}", *HEADER[-5:]]
    (run,) = imported(write(tmp_path / "a.xdi", header))
    assert f"tfy: over '{over}', says the header, which is no channel; it is not used" in said(run)
    (plain,) = imported(write(tmp_path / "b.xdi"))
    np.testing.assert_array_equal(reduced(run).spectra["tfy"].normalised, reduced(plain).spectra["tfy"].normalised)


def test_channels_that_the_header_describes_are_channels_whatever_they_are_called(tmp_path):
    labels = ("energy", "i0", "drain", "drain_sigma", "behind")
    fields = ["# Channel.drain: yield", "# Channel.behind: transmission", "# Channel.energy: yield"]
    header = [
        HEADER[0],
        *(f"# Column.{number}: {label}" for number, label in enumerate(labels, 1)),
        *fields,
        *HEADER[5:-1],
        "# " + " ".join(labels),
    ]
    sigma = 2 * np.sqrt(TFY)
    (run,) = imported(write(tmp_path / "a.xdi", header, columns=(ENERGY, I0, TFY, sigma, IT)))
    channels = {each["name"]: each["form"] for each in run[0][1]["measurement"]["channels"]}
    assert channels == {"i0": "monitor", "drain": "yield", "behind": "transmission"}
    np.testing.assert_allclose(events_of(run)["drain_sigma"], sigma, rtol=1e-7)
    (plain,) = imported(write(tmp_path / "b.xdi"))
    ours, theirs = reduced(run).spectra, reduced(plain).spectra
    np.testing.assert_array_equal(ours["behind"].normalised, theirs["transmission"].normalised)
    np.testing.assert_allclose(ours["drain"].normalised, theirs["tfy"].normalised, atol=0.05)
