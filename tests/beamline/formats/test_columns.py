"""Absorption spectra in columns of text: what they are taken for, in which units, how uncertain, what is refused."""

import gzip
import time

import numpy as np
import pytest
from xas_files import ENERGY, MU, SETTINGS, counted, events_of, imported, reduced

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import known_columns, name_and_unit
from beamline.formats.importers.columns import columns_documents
from beamline.formats.importers.kinds import kind_of
from beamline.formats.importers.xas_run import Measured, XasScan, xas_run
from beamline.storage.results import collect
from beamline.techniques import pipelines
from beamline.techniques.technique import columns_exporter
from beamline.techniques.xas import tables
from callbacks.contract import Channel, XasResult
from callbacks.reduction import Reducer

I0, TEY, IT = counted()


def write(path, columns, header="# energy i0 tey it\n", separator=" ", *, end="\n", encoding="utf-8", form="%.8g"):
    rows = [separator.join(form % value for value in row) for row in np.column_stack(columns)]
    path.write_bytes((header.replace("\n", end) + end.join(rows) + end).encode(encoding))
    return path


def problems(run):
    return run[0][1]["import_problems"]


def test_uncertainties_that_are_all_zero_are_taken_as_not_known_and_said_to_be(tmp_path):
    columns = [ENERGY, MU + np.random.default_rng(1).normal(0.0, 0.01, len(MU))]
    zeros = np.zeros(len(MU))
    found = []
    for name, more in (("with", [zeros]), ("nan", [zeros + np.nan]), ("without", [])):
        heading = "energy mu mu_err\n" if more else "energy mu\n"
        (run,) = imported(write(tmp_path / f"{name}.txt", [*columns, *more], heading, form="%.12g"))
        found.append((events_of(run)["mu_sigma"], problems(run)))
    said = "mu_err: no value is above zero; the uncertainty of mu is taken as not known"
    for sigma, told in found[:2]:
        np.testing.assert_array_equal(sigma, found[2][0])
        np.testing.assert_allclose(sigma, 0.01, rtol=0.3)
        assert [line for line in told if line not in found[2][1]] == [said]


def test_uncertainties_that_are_zero_here_and_there_are_those_of_the_other_points(tmp_path):
    sigma = np.full(len(ENERGY), 0.01)
    sigma[[3, 9]] = 0.0
    (run,) = imported(write(tmp_path / "a.txt", [ENERGY, MU, sigma], "energy mu mu_err\n"))
    assert set(events_of(run)["mu_sigma"].tolist()) == {0.01}
    said = f"mu_err: 2 of {len(ENERGY)} uncertainties are 0, the first at {ENERGY[3]:g} eV; the median of the others"
    assert any(line.startswith(said) for line in problems(run))


@pytest.mark.parametrize("header", ["energy mu mu_err\n", "energy tey tey_sigma\n", "energy i0 tey i0_err\n"])
def test_an_uncertainty_below_zero_is_refused_by_column_and_energy(tmp_path, header):
    width = len(header.split())
    sigma = np.full(len(ENERGY), 0.01)
    sigma[[3, 7]] = -0.02
    path = write(tmp_path / "a.txt", [ENERGY, *[MU] * (width - 2), sigma], header)
    with pytest.raises(BeamlineError) as error:
        imported(path)
    assert str(error.value) == (
        f"{path}: {header.split()[-1]}: 2 of {len(ENERGY)} uncertainties are below zero, the first -0.02 at"
        f" {ENERGY[3]:g} eV; expected standard uncertainties"
    )


@pytest.mark.parametrize(
    ("header", "separator", "end", "encoding"),
    [
        ("# energy i0 tey it\n", " ", "\n", "utf-8"),
        ("#energy\ti0\ttey\tit\n", "\t", "\r\n", "utf-8"),
        ("% taken by hand\n%\n% Energy (eV), Izero, Drain current, Itrans\n", ",", "\n", "utf-8"),
        ("Energy [eV];I0;TEY;It\n", ";", "\r", "utf-8"),
        ("* Probe: Li\u2082MnO\u2083\n* e  io  tey  trans\n", "   ", "\n", "utf-8"),
        ("// T = 20 \u00b0C\n// energy_eV mon tey_c3 transmitted_c4\n", "  ", "\r\n", "latin-1"),
        ("\ufeffPhoton Energy (eV), I0, TEY, It\n", ", ", "\n", "utf-8"),
        ("energy\ti0\ttey\tit\n", "\t", "\n", "utf-16"),
    ],
)
def test_a_table_is_read_whatever_heads_separates_and_encodes_it(header, separator, end, encoding, tmp_path):
    path = write(tmp_path / "s12.dat", [ENERGY, I0, TEY, IT], header, separator, end=end, encoding=encoding)
    assert kind_of(path).name == "columns"
    ((start, *_),) = ([doc for _, doc in run] for run in imported(path))
    assert start["scan_id"] == 12
    (run,) = imported(path)
    events = events_of(run)
    for key, values in (("energy", ENERGY), ("i0", I0), ("tey", TEY), ("transmission", IT)):
        np.testing.assert_array_equal(events[key], values)
    assert "tey_sigma" not in events  # counts: their variance is their number
    forms = {one["name"]: one["form"] for one in start["measurement"]["channels"]}
    assert forms == {"i0": "monitor", "tey": "yield", "transmission": "transmission"}


@pytest.mark.long
def test_counts_reduce_to_the_spectrum_with_uncertainties_that_hold(tmp_path):
    away = []
    for seed in range(10):
        i0, tey, it = counted(seed)
        (run,) = imported(write(tmp_path / f"{seed}.dat", [ENERGY, i0, tey, it]))
        result = reduced(run, {"xas": {"monitor_noise": 0.0}})
        spectrum = result.spectra["tey"]
        away.append((spectrum.over_i0_spectrum - 0.2 * MU) / spectrum.over_i0_spectrum_sigma)
        through = result.spectra["transmission"]
        away.append((through.over_i0_spectrum - 0.5 * np.exp(-MU)) / through.over_i0_spectrum_sigma)
        assert (spectrum.status, through.status) == ("ok", "ok")
    assert 0.64 < np.mean(np.abs(away) < 1) < 0.72


@pytest.mark.long
@pytest.mark.parametrize(
    ("given", "form"),
    [
        (lambda rng: (ENERGY, MU + 3e-3 * rng.standard_normal(len(ENERGY))), "energy mu"),
        (lambda rng: (ENERGY, 1e-6 * rng.poisson(1e6, len(ENERGY)), None), "energy i0 tey"),
    ],
)
def test_of_what_is_no_count_the_scatter_is_the_uncertainty(given, form, tmp_path):
    held = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        columns = list(given(rng))
        if columns[-1] is None:
            columns[-1] = columns[1] * (MU + 3e-3 * rng.standard_normal(len(ENERGY)))
        (run,) = imported(write(tmp_path / f"{seed}.txt", columns, f"# {form}\n", form="%.12g"))
        (spectrum,) = reduced(run, {"xas": {"monitor_noise": 0.0}}).spectra.values()
        held.append(np.mean(np.abs(spectrum.over_i0_spectrum - MU) < spectrum.over_i0_spectrum_sigma))
        assert any("no uncertainty is given; the scatter of" in line for line in problems(run))
    assert 0.60 < np.mean(held) < 0.76


def test_a_spectrum_without_i0_is_taken_as_it_is(tmp_path):
    columns = [ENERGY, MU, np.full(len(MU), 0.01)]
    (run,) = imported(write(tmp_path / "a.txt", columns, "energy mu mu_error\n", form="%.12g"))
    events = events_of(run)
    assert set(events["i0"]) == {1.0}
    spectrum = reduced(run).spectra["mu"]
    np.testing.assert_allclose(spectrum.over_i0_spectrum, MU, rtol=1e-11)
    np.testing.assert_allclose(spectrum.over_i0_spectrum_sigma, 0.01, rtol=1e-12)
    assert "no I0: it is 1 in the run, and what the file has is taken to be divided by it already" in problems(run)


def test_energies_in_kev_and_angles_become_ev(tmp_path):
    (run,) = imported(write(tmp_path / "a.dat", [ENERGY / 1000, I0, TEY], "# Energy(keV) I0 TEY\n", form="%.10g"))
    np.testing.assert_allclose(events_of(run)["energy"], ENERGY, rtol=1e-9)
    (run,) = imported(write(tmp_path / "b.dat", [ENERGY / 1000, I0, TEY], "# energy I0 TEY\n", form="%.10g"))
    np.testing.assert_allclose(events_of(run)["energy"], ENERGY, rtol=1e-9)
    assert "energies have no unit and are at most 0.5655: taken as keV, as there is no edge of so few eV" in problems(
        run
    )
    # Cu K at 8979 eV by Si 111: 2 d sin(theta) = hc / E with hc = 12398.42 eV angstrom
    energy = np.linspace(8900, 9100, 41)
    angle = np.degrees(np.arcsin(12398.41984 / energy / 2 / 3.13551))
    table = [angle, np.full(41, 1000), np.full(41, 500)]
    header = " Mono :   Si(111)       D=  3.13551 A\n# angle i0 it\n"
    (run,) = imported(write(tmp_path / "c.dat", table, header, form="%.10f"))
    np.testing.assert_allclose(events_of(run)["energy"], energy, rtol=1e-7)
    with pytest.raises(BeamlineError, match=r"c2.dat: angle: an angle, and no d-spacing"):
        imported(write(tmp_path / "c2.dat", table, "# angle i0 it\n"))


@pytest.mark.long
def test_repeats_and_another_order_are_said_and_reduced_alike(tmp_path):
    order = np.argsort(ENERGY)[::-1]
    (down,) = imported(write(tmp_path / "down.dat", [ENERGY[order], I0[order], TEY[order]], "# energy i0 tey\n"))
    (up,) = imported(write(tmp_path / "up.dat", [ENERGY, I0, TEY], "# energy i0 tey\n"))
    np.testing.assert_array_equal(events_of(down)["energy"], ENERGY[order])
    np.testing.assert_array_equal(reduced(down).spectra["tey"].normalised, reduced(up).spectra["tey"].normalised)
    assert "the energies descend; the run keeps their order, its reduction sorts them" in problems(down)
    twice = [np.concatenate([one, one]) for one in (ENERGY, I0, TEY)]
    (run,) = imported(write(tmp_path / "twice.dat", twice, "# energy i0 tey\n"))
    result = reduced(run)
    np.testing.assert_array_equal(result.i0_counts, 2 * I0)
    assert any(f"{len(ENERGY)} energies occur more than once (520, 520.5, 521, ... eV)" in one for one in problems(run))


def test_what_a_cell_lacks_is_not_measured(tmp_path):
    lines = [f"{energy},{i0},{tey}" for energy, i0, tey in zip(ENERGY, I0, TEY, strict=True)]
    lines[3] = f"{ENERGY[3]},{I0[3]},"
    lines[4] = f"{ENERGY[4]},{I0[4]},NaN"
    lines[5] = f"nan,{I0[5]},{TEY[5]}"
    lines[6] = f"{ENERGY[6]},{I0[6]},inf"
    lines[7] = "beam lost"
    lines[8] = f"{ENERGY[8]},{I0[8]}"
    (tmp_path / "a.csv").write_text("energy,i0,tey\n" + "\n".join(lines))
    (run,) = imported(tmp_path / "a.csv")
    events = events_of(run)
    assert len(events["energy"]) == len(ENERGY) - 3
    assert np.isnan(events["tey"]).sum() == 3
    said = " | ".join(problems(run))
    for words in (
        "1 of 203 lines of numbers have another number of columns than 3, the first is line 10; left out",
        "1 lines among the numbers are none, as 'beam lost'; left out",
        "1 numbers are infinite; they count as not measured",
        "1 of 202 points have no energy; left out",
        "tey: 3 of 201 values are no numbers: not measured",
    ):
        assert words in said


def test_a_separator_at_the_end_of_every_line_makes_no_column(tmp_path):
    lines = [f"{energy},{i0},{tey}," for energy, i0, tey in zip(ENERGY, I0, TEY, strict=True)]
    for name, header in (("a", "energy,i0,tey,"), ("b", "energy,i0,tey")):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]))
        (run,) = imported(tmp_path / f"{name}.csv")
        np.testing.assert_array_equal(events_of(run)["tey"], TEY)


def test_decimal_commas_and_fortran_exponents_are_numbers(tmp_path):
    rows = [f"{energy:.2f};{i0:.6E};{tey}".replace(".", ",") for energy, i0, tey in zip(ENERGY, I0, TEY, strict=True)]
    (tmp_path / "a.csv").write_text("Energy (eV);I0;TEY\n" + "\n".join(rows))
    (run,) = imported(tmp_path / "a.csv")
    np.testing.assert_array_equal(events_of(run)["energy"], ENERGY)
    np.testing.assert_array_equal(events_of(run)["i0"], I0)
    rows = [f"{energy:.8E} {i0:.8E} {tey}".replace("E", "D") for energy, i0, tey in zip(ENERGY, I0, TEY, strict=True)]
    (tmp_path / "b.dat").write_text("energy i0 tey\n" + "\n".join(rows))
    (run,) = imported(tmp_path / "b.dat")
    np.testing.assert_array_equal(events_of(run)["energy"], ENERGY)


def test_columns_are_named_where_their_names_do_not_say_what_they_are(tmp_path):
    path = write(tmp_path / "a.dat", [ENERGY, I0, TEY, IT], "")
    with pytest.raises(BeamlineError, match=r"a.dat: 4 columns without names; name them, as by --columns energy=1"):
        imported(path)
    (run,) = imported(path, columns={"energy": "1", "i0": "2", "tey": "3"})
    np.testing.assert_array_equal(events_of(run)["tey"], TEY)
    assert "columns that are no channel, carried along: 'column 4'" in problems(run)
    path = write(tmp_path / "b.dat", [ENERGY, I0, TEY, IT], "# x CA1 CA2 cryostat\n")
    with pytest.raises(BeamlineError, match=r"b.dat: no column is an energy; they are 'x, CA1, CA2, cryostat'"):
        imported(path)
    (run,) = imported(path, columns={"energy": "x", "i0": "CA1", "sample": "CA2"})
    np.testing.assert_array_equal(events_of(run)["sample"], TEY)
    np.testing.assert_array_equal(events_of(run)["cryostat"], IT)
    with pytest.raises(BeamlineError, match=r"column 'CA9' for tey: expected one of its columns: 'x, CA1, CA2"):
        imported(path, columns={"energy": "x", "tey": "CA9"})
    with pytest.raises(BeamlineError, match=r"column 'ccd_image': expected the name of a channel"):
        imported(path, columns={"energy": "x", "ccd_image": "CA1"})


def test_two_columns_without_names_are_energy_and_absorption_if_the_first_can_be_energies(tmp_path):
    (run,) = imported(write(tmp_path / "a.txt", [ENERGY, MU], ""))
    np.testing.assert_allclose(events_of(run)["mu"], MU, rtol=1e-7)
    assert "the columns have no names: taken as energy and absorption" in problems(run)
    with pytest.raises(BeamlineError, match=r"the first from 1, which is no photon energy"):
        imported(write(tmp_path / "b.txt", [np.arange(1, 60), np.arange(59)], ""))


def test_a_header_of_the_photon_factory_names_no_columns_and_gives_the_d_spacing(tmp_path):
    """Angles by a crystal, and counters by numbers, as its beamlines write them; values between two blanks above."""
    header = (
        "  9809     KEK-PF   BL9A\n Mono :   Si(111)       D=  3.13551 A    Initial angle= 13.93250 deg\n"
        " Block      Init-Eng  Final-Eng      Step/eV     Time/s       Num\n"
        "     1        6606.20   7061.20         6.50       1.00        70\n Ortec(-1)     NDCH = 3\n"
        "  Angle(c)  Angle(o)    time/s         2         3\n      Mode         0         0         1         3\n"
    )
    energy = np.linspace(6600, 8200, 60)
    angle = np.degrees(np.arcsin(12398.41984 / energy / 2 / 3.13551))
    table = [angle, angle + 1e-5, np.ones(60), np.full(60, 1_800_000), np.arange(60) + 14_000]
    path = write(tmp_path / "a.dat", table, header, "  ", form="%.9g")
    (run,) = imported(path, columns={"angle": "1", "dwell": "3", "i0": "4", "tfy": "5"})
    np.testing.assert_allclose(events_of(run)["energy"], energy, rtol=1e-7)
    np.testing.assert_array_equal(events_of(run)["tfy"], table[4])


def test_a_cls_header_is_one(tmp_path):
    """Names between tabs and quotes behind a number, numbers between commas, as the CLS writes them."""
    header = (
        '# CLS Data Acquisition\n#(1)\t"Event-ID"\t"BL:Energy"\t"$(I0)"\t"$(TEY)"\n#(2)\t"gap"\n# Background 0, 0\n'
    )
    columns = [np.ones(len(ENERGY)), ENERGY, I0, TEY]
    (run,) = imported(write(tmp_path / "a.dat", columns, header, ", "))
    np.testing.assert_array_equal(events_of(run)["tey"], TEY)


@pytest.mark.parametrize(
    "header",
    [
        "; P1 = {Energy} --> E.VAL\n; D1 = {I0} --> c2\n; D2 = {Sample current} --> c3\n; E = 1\n;  P1 D1 D2\n",
        "# Scan 3: of 12\n#  1) Mono Energy *        3) TEY, drain\n#  2) I0-32\n#\n#Mono Energy I0 drain c\n",
        "# Column.1: energy eV\n# Column.2: i0\n# Column.3: tey\n# ---\n",
        "#Mono Energy *  Preset * I0         TEY\n",
        "#S Scan 29; exafsscan\n#C region -200 -20 36 1\n#C 1_Energy (eV) 2_sec 3_i0 4_tey\n",
    ],
)
def test_names_of_columns_are_found_where_a_header_lists_them(header, tmp_path):
    """As the scans of EPICS, the control panel of PNC-CAT, XDI, and SPEC write them."""
    beside = [np.ones(len(ENERGY))] if "Preset" in header or "2_sec" in header else []
    (run,) = imported(write(tmp_path / "a.dat", [ENERGY, *beside, I0, TEY], header))
    np.testing.assert_allclose(events_of(run)["energy"], ENERGY, rtol=1e-7)
    np.testing.assert_array_equal(events_of(run)["i0"], I0)
    np.testing.assert_array_equal(events_of(run)["tey"], TEY)


def test_a_dwell_makes_counts_of_a_rate_and_the_ring_current_is_kept(tmp_path):
    header = "# energy_eV I0 TEY_cps dwell(ms) ring_current(mA)\n"
    columns = [ENERGY, I0, TEY / 2.0, np.full(len(TEY), 2000), np.full(len(TEY), 300.5)]
    (run,) = imported(write(tmp_path / "a.dat", columns, header))
    events = events_of(run)
    assert set(events["dwell"]) == {2.0}
    assert set(events["ring_current"]) == {300.5}
    np.testing.assert_allclose(events["tey_sigma"], np.sqrt(TEY) / 2, rtol=1e-7)
    spectrum = reduced(run).spectra["tey"]
    np.testing.assert_allclose(spectrum.over_i0_spectrum, TEY / I0, rtol=1e-6)
    times = np.array([doc["time"] for name, doc in run if name == "event"])
    np.testing.assert_allclose(np.diff(times), 2.0, atol=1e-5)


def test_a_time_in_the_header_is_that_of_the_run(tmp_path):
    header = "# begun 2024-07-05T14:30:10+02:00\n# energy i0 tey\n"
    (run,) = imported(write(tmp_path / "a.dat", [ENERGY, I0, TEY], header))
    assert run[0][1]["time"] == 1720182610.0
    header = "# begun 2024-07-05 12:30\n# energy i0 tey\n"
    (run,) = imported(write(tmp_path / "b.dat", [ENERGY, I0, TEY], header))
    assert run[0][1]["time"] == 1720182600.0
    assert "the time 2024-07-05 12:30 has no time zone: taken as UTC" in problems(run)


def test_an_absorption_that_is_not_what_it_says_is_said(tmp_path):
    header = "# energy i0 it mu\n"
    made = np.log(I0 / IT)
    (run,) = imported(write(tmp_path / "a.dat", [ENERGY, I0, IT, made], header))
    assert "mu: is ln(i0/it); these stand for it" in problems(run)
    assert "mu" not in events_of(run)
    (run,) = imported(write(tmp_path / "b.dat", [ENERGY, I0, IT, 1.1 * made], header))
    away = f"{0.1 * made.max():.3g}"
    assert f"mu: is not ln(i0/it), from which it differs by up to {away}; both are kept" in problems(run)
    assert {"mu", "transmission"} <= events_of(run).keys()


DAMAGED = [
    (b"", "is empty, or not a regular file"),
    (b"\n\n\n", "begins with"),
    (b"# energy i0 tey\n", "begins with the line '# energy i0 tey'"),
    (b"# energy i0 tey\n700 1 2\n", "begins with the line '# energy i0 tey'"),
    (b"energy\n700\n701\n702\n", "begins with the line 'energy'"),
    (b"\x1f\x8b\x08\0" + bytes(100), "begins with the bytes 1f 8b 08 00"),
    (b"energy mu\n" + b"-1 2\n" * 5, "energy: -1 eV among 5 values, expected numbers from 0 to 1e+06 eV"),
    (b"energy mu\n" + b"nan 2\n" * 5, "no energy is a number"),
    (
        b"energy time\n" + b"700 2\n" * 5,
        "no column is a spectrum; they are 'energy, time'; name one by --columns, as tey=3",
    ),
    (b"energy(furlong) mu\n" + b"700 2\n" * 5, "unit 'furlong', expected one of ev, kev"),
    (b"energy \x1b[2J\n" + b"700 2\n" * 5, "no column is a spectrum"),
]


@pytest.mark.parametrize(("data", "words"), DAMAGED, ids=[words for _, words in DAMAGED])
def test_what_is_no_spectrum_is_one_line(data, words, tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(data)
    with pytest.raises(BeamlineError) as error:
        imported(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_scan_of_something_else_at_one_energy_is_no_spectrum(tmp_path):
    """Of an angle, say, with the energy as it was read back meanwhile; and what was not measured is no channel."""
    still = 530.0 + 1e-3 * np.random.default_rng(0).standard_normal(len(I0))
    with pytest.raises(BeamlineError, match=r"the energy stands at 530 eV, within 0\.00\d+ eV: no spectrum is"):
        imported(write(tmp_path / "a.dat", [still, I0, TEY], "# energy i0 tey\n"))
    nothing = np.full(len(I0), np.nan)
    with pytest.raises(BeamlineError, match="no column is a spectrum"):
        imported(write(tmp_path / "b.dat", [ENERGY, I0, nothing], "# energy i0 tey\n"))
    (run,) = imported(write(tmp_path / "c.dat", [ENERGY, I0, TEY, nothing], "# energy i0 tey tfy\n"))
    assert "'tfy': no value is a number; left out" in problems(run)
    assert "tfy" not in events_of(run)


def test_what_is_no_file_or_too_large_is_one_line(tmp_path):
    for path, words in ((tmp_path, "not a regular file"), (tmp_path / "none", "no such file")):
        with pytest.raises(BeamlineError, match=words):
            list(columns_documents(path))
    (tmp_path / "large.dat").write_bytes(b"700 1\n" * 2_000_000)
    with pytest.raises(BeamlineError, match=r"12,000,000 bytes, expected at most 10,000,000"):
        list(columns_documents(tmp_path / "large.dat"))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(BeamlineError, match="begins with the bytes 1f 8b"):
        imported(tmp_path / "bomb.gz")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Energy_c1 MgKa_sum_cps_c2 I0_KEITHLEY1_c4 I1_KEITHLEY2_c6 KEITHLEY4_TEY_c10", "energy i0 transmission tey"),
        ("Energy I0 It Ifch1 Iref IntTime", "energy i0 transmission reference dwell"),
        ("energy xmu xmu_std", "energy mu mu_sigma"),
        ("\u00b5 E", "energy mu"),
        ("energy_requested energy_readback tey mesh", "energy_setpoint energy i0 tey"),
        ("a b c", ""),
    ],
)
def test_columns_are_known_by_their_names(names, expected):
    found = known_columns([name_and_unit(name)[0] for name in names.split()])
    assert sorted(found) == sorted(expected.split())


BLANKS = [
    "# 1) energy{0}2) x",
    "# energy{0}(eV) i0 tey",
    "# energy\ti0{0}x\ttey",
    "energy{0}",
    "{0}#{0}",
    "# energy i0 tey{0}",
]


@pytest.mark.parametrize("line", BLANKS)
def test_a_line_of_a_million_blanks_takes_no_time(line, tmp_path):
    began = time.process_time()
    path = write(tmp_path / "a.dat", [ENERGY, I0, TEY], line.format(" " * 1_000_000) + "\n# energy i0 tey\n")
    run = list(columns_documents(path))
    assert len(events_of(run)["energy"]) == len(ENERGY)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Energy (eV)", ("Energy", "eV")),
        ("TEY [A]", ("TEY", "A")),
        ("time/s", ("time", "s")),
        ("E / keV", ("E", "keV")),
        ("energy_eV", ("energy", "eV")),
        ("i0_counts", ("i0", "counts")),
        ("$(EnergyFeedback)", ("$(EnergyFeedback)", "")),
        ("it/i0", ("it/i0", "")),
        ("(eV)", ("(eV)", "")),
        ("", ("", "")),
    ],
)
def test_a_unit_is_told_from_the_name(heading, expected):
    assert name_and_unit(heading) == expected


def test_a_spectrum_that_is_exported_as_columns_and_imported_again_has_the_channels_that_it_had(tmp_path):
    """A reference that is an electron yield, and light through the sample that is not called so."""
    i0, tey, behind = (values.astype(float) for values in counted())
    channels = {
        "i0": ("monitor", i0),
        "tey": ("yield", tey),
        "reference": ("yield", tey),
        "behind": ("transmission", behind),
    }
    scan = XasScan(
        ENERGY, [Measured(Channel(name=name, form=form), values, None) for name, (form, values) in channels.items()]
    )
    about = {"sample": "LFP", "edge": "O K", "start_time": 1.7e9, "metadata": {}, "source": "test"}
    raw = list(xas_run(scan, **about))
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), SETTINGS)
    for name, doc in raw:
        reducer(name, doc)
    (path,) = columns_exporter(tables)(tmp_path, raw, collect(raw), collect(found))
    header = path.read_text().splitlines()[:10]
    assert {"# Channel.reference: yield", "# Channel.behind: transmission"} <= set(header)
    (again,) = imported(path)
    ours, theirs = collect(found).read(XasResult).spectra, reduced(again).spectra
    assert theirs.keys() == ours.keys() == {"tey", "reference", "behind"}
    for name, spectrum in ours.items():
        assert (spectrum.status, theirs[name].status) == ("ok", "ok")
        np.testing.assert_allclose(theirs[name].normalised, spectrum.normalised, atol=1e-8)  # ten digits are printed
        np.testing.assert_allclose(theirs[name].sigma, spectrum.sigma, rtol=1e-6)
        assert theirs[name].edge_jump == pytest.approx(spectrum.edge_jump, rel=1e-7)
