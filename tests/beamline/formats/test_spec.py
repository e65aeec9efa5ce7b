"""SPEC files: a run for each energy scan, by the names of its counters."""

import numpy as np
import pytest
from xas_files import ENERGY, counted, events_of, imported, reduced

from beamline.errors import BeamlineError
from beamline.formats.importers.kinds import kind_of
from beamline.formats.importers.spec import read_scans, spec_documents

I0, TEY, TFY = counted()
# 14:30:10 in Berlin, which is two hours before UTC in July
HEAD = "#F s.spec\n#E 1720182610\n#D Fri Jul 05 14:30:10 2024\n#C test  User = bl\n#O0  Sample X  Cryo\n\n"


def scan(number, command, labels, *columns, date="Fri Jul  5 14:32:10 2024"):
    rows = "\n".join(" ".join(f"{value:.8g}" for value in row) for row in np.column_stack(columns)) if columns else ""
    head = (
        f"#S {number}  {command}\n#D {date}\n#T 1  (Seconds)\n#P0 1.5 20\n#N {len(columns)}\n#L {'  '.join(labels)}\n"
    )
    return f"{head}{rows}\n\n"


LABELS = ["Energy", "Epoch", "Seconds", "I0", "Sample current", "ring current(mA)"]
COUNT = len(ENERGY)
COLUMNS = (ENERGY, 120 + 2.0 * np.arange(COUNT), np.full(COUNT, 1.5), I0, TEY, np.full(COUNT, 300))
FIRST = scan(3, f"ascan  energy 520 566 {COUNT - 1} 1.5", LABELS, *COLUMNS)
ALIGNMENT = scan(4, "dscan  sx -1 1 2 1", ["Sample X", "Epoch", "I0"], [0, 1, 2], [1, 2, 3], [5, 6, 7])
KEV = scan(5, "escan", ["mono energy(keV)", "i0", "tfy"], ENERGY / 1000, I0, TFY)


def write(path, *scans, head=HEAD, end="\n"):
    path.write_bytes((head + "".join(scans)).replace("\n", end).encode())
    return path


def problems(run):
    return run[0][1]["import_problems"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_energy_scan_becomes_a_run_and_the_others_are_said(end, tmp_path):
    path = write(tmp_path / "s.spec", FIRST, ALIGNMENT, KEV, end=end)
    assert kind_of(path).name == "spec"
    first, second = imported(path)
    start, events = first[0][1], events_of(first)
    assert (start["scan_id"], start["title"]) == (3, f"ascan  energy 520 566 {COUNT - 1} 1.5")
    assert start["time"] == 1720182730.0
    assert "#P0 1.5 20" in start["instrument_header"]
    for key, values in (("energy", ENERGY), ("i0", I0), ("tey", TEY), ("dwell", COLUMNS[2])):
        np.testing.assert_array_equal(events[key], values)
    assert set(events["ring_current"]) == {300.0}
    times = np.array([doc["time"] for name, doc in first if name == "event"])
    np.testing.assert_array_equal(times, 1720182610 + COLUMNS[1])
    assert reduced(first).spectra["tey"].status == "ok"
    np.testing.assert_allclose(events_of(second)["energy"], ENERGY, rtol=1e-7)
    left = (
        "scan 4 ('dscan  sx -1 1 2 1'): is over 'Sample X', expected an energy; its columns are 'Sample X, Epoch, I0'"
    )
    assert f"{left}; left out" in problems(first)


def test_a_scan_is_chosen_by_its_number_and_the_second_of_a_number_by_its_order(tmp_path):
    path = write(tmp_path / "s.spec", FIRST, KEV, scan(3, "ascan", LABELS, *COLUMNS[:3], TFY, *COLUMNS[4:]))
    assert [one.name for one in read_scans(path)[1]] == ["3", "5", "3.2"]
    for part in ("5", "scan 5", "5.1"):
        (run,) = imported(path, part=part)
        assert run[0][1]["scan_id"] == 5
    assert len(imported(path, part="3")) == 2
    (run,) = imported(path, part="3.2")
    np.testing.assert_array_equal(events_of(run)["i0"], TFY)
    with pytest.raises(BeamlineError, match=r"no scan 7; it has 3, 5, 3.2"):
        imported(path, part="7")
    with pytest.raises(BeamlineError, match=r"'x' is no scan, expected its number, as 12 or 12.2"):
        imported(path, part="x")


def test_a_scan_that_was_aborted_ends_so(tmp_path):
    text = scan(3, f"ascan  energy 520 600 {COUNT + 9} 1.5", LABELS, *COLUMNS)
    (run,) = imported(write(tmp_path / "s.spec", text))
    stop = run[-1][1]
    assert (stop["exit_status"], stop["reason"]) == ("abort", f"10 of {COUNT + 10} points are missing")


def test_columns_are_named_where_their_labels_do_not_say_what_they_are(tmp_path):
    path = write(tmp_path / "s.spec", scan(1, "ascan", ["pgm", "ca1", "ca2"], ENERGY, I0, TEY))
    with pytest.raises(BeamlineError, match=r"none of its 1 scans is a spectrum; scan 1 \('ascan'\): is over 'pgm'"):
        imported(path)
    (run,) = imported(path, columns={"energy": "pgm", "i0": "ca1", "tey": "3"})
    np.testing.assert_array_equal(events_of(run)["tey"], TEY)


def test_spectra_of_analysers_comments_and_a_new_header_are_passed_over(tmp_path):
    rows = FIRST.rstrip().split("\n")
    rows.insert(8, "@A 1 2 3\\\n 4 5 6\\\n 7 8 9")
    rows.insert(12, "#C Fri Jul 05 14:33:00 2024. something")
    (first, *rest) = imported(write(tmp_path / "s.spec", "\n".join(rows) + "\n\n", HEAD, KEV))
    np.testing.assert_array_equal(events_of(first)["energy"], ENERGY)
    assert len(rest) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FIRST.replace("Fri Jul  5", "Someday"), "#D is 'Someday 14:32:10 2024', expected a date"),
        (FIRST[: len(FIRST) - 60], "lines of numbers have another number of columns than 6"),
        (FIRST.replace("#L Energy", "#L Energy "), "whole numbers, taken as counts"),
        (FIRST + FIRST.replace("  I0  ", "  "), "6 columns, and '#L 'Energy Epoch"),
        (FIRST + scan(9, "ascan", LABELS), "has no points; left out"),
    ],
)
def test_what_is_damaged_is_said_and_the_rest_is_read(text, words, tmp_path):
    run = imported(write(tmp_path / "s.spec", text))[0]
    assert words in " | ".join(problems(run))
    np.testing.assert_array_equal(events_of(run)["energy"][:100], ENERGY[:100])


def test_without_an_epoch_the_time_is_said_to_be_utc(tmp_path):
    (run,) = imported(write(tmp_path / "s.spec", FIRST, head="#F x\n"))
    assert "#D Fri Jul  5 14:32:10 2024 has no time zone: taken as UTC" in problems(run)
    assert run[0][1]["time"] == 1720189930.0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#F x\n", "no scan; expected lines like '#S 1 ascan"),
        (b"#S 1 ascan\n#L energy  i0\n", "scan 1 ('ascan'): has no points"),
        (b"#S 1 ascan\n#L energy  i0\nx y\n", "no table of numbers"),
        (b"#S 99999999999999999999 x\n#L energy  i0\n1 2\n", "no scan"),
        (b"#S 1 \x1b[2J\n#L a  b\n1 2\n", "is over 'a', expected an energy"),
    ],
)
def test_what_has_no_spectrum_is_one_line(data, words, tmp_path):
    (tmp_path / "s.spec").write_bytes(data)
    with pytest.raises(BeamlineError) as error:
        list(spec_documents(tmp_path / "s.spec"))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
