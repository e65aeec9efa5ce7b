"""Import of SDF scans: the measured stack unchanged, and small scans of every kind with each fault."""

import os
import re
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import event_model
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stxm_documents import events, stack

from beamline.errors import BeamlineError
from beamline.formats.importers.columns import columns_documents
from beamline.formats.importers.sdf import ALS_ZONE, sdf_documents
from beamline.formats.importers.sdf_header import entries, parse_header, read_header
from callbacks.contract import MEASUREMENT, SCANNER, Key, Measurement, ScannerConfig

E, Y, X = 3, 4, 5
XS, YS = [0.0, 0.5, 1.0, 1.5, 2.0], [10.0, 10.25, 10.5, 10.75]
ENERGIES = [700.0, 705.5, 720.0]


def points(values):
    return f"Points = ({len(values)}, {', '.join(map(str, values))});"


def axis(role, name, unit, values):
    ends = f"Min = {min(values)}; Max = {max(values)}"
    return f'{role} = {{ Name = "{name}"; Unit = "{unit}"; {ends}; Dir = 1;\n\t{points(values)}\n}};\n'


def header(kind="NEXAFS Image Scan", *, regions=None, stack_axis=ENERGIES, channels=("counter1",), extra=""):
    """Write a header as the instrument does; `regions` are pairs of P and Q axes."""
    regions = regions or [axis("PAxis", "Sample X", "um", XS) + axis("QAxis", "Sample Y", "um", YS)]
    blocks = ",\n".join(f"{{\n{one}}}" for one in regions)
    names = ", ".join(f'{{ Name = "{name}"; Unit = "counts";}}' for name in channels)
    energies = axis("StackAxis", "Energy", "eV", stack_axis) if stack_axis else ""
    return (
        f'ScanDefinition = {{ Label = "scan.hdr"; Type = "{kind}"; Flags = "Image Stack"; Dwell = 2;\n'
        f"\tRegions = ({len(regions)},\n{blocks});\n{energies}"
        f"\tChannels = ({len(channels)},\n{names});\n}};\n"
        f' Time = "2007 December 14 18:52:00"; BeamFeedback = true;\n StorageRingCurrent = 333.4; EPUPhase = 0;\n'
        f"{extra}"
    )


def write_xim(path, values):
    path.write_text("".join("\t".join(f"{value:f}" for value in row) + "\n" for row in values))


@pytest.fixture
def counts():
    return np.arange(E * Y * X).reshape(E, Y, X) + 0.25


@pytest.fixture
def scan(tmp_path, counts):
    """A stack of three energies, to be damaged."""
    blocks = "".join(
        f'Image{n}= {{StorageRingCurrent = {333 - n}; Time = "2007 December 14 18:5{n}:30";}};\n' for n in (2, 3)
    )
    (tmp_path / "s071214078.hdr").write_text(header(extra=blocks))
    for index, image in enumerate(counts):
        write_xim(tmp_path / f"s071214078_a{index:03d}.xim", image)
    return tmp_path


def imported(folder, **options):
    documents = list(sdf_documents(folder, **options))
    *problems, zone = documents[0][1]["import_problems"]
    assert zone == f"times have no time zone: taken as those of {options.get('zone', 'America/Los_Angeles')}"
    return documents, problems


def edit_header(folder, old, new):
    (path,) = folder.glob("*.hdr")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# The header


def test_a_header_is_read_into_nested_values():
    text = """
    Label = "a; {b} = (c)"; Empty = ""; Flag = true; Off = False; Scan Type = Line; Path = C:\\data;
    Outer = { Inner = { A = -1; B = 1.5e-3; }; List = (2, { N = 1;}, { N = 2; }); };
    Points = (3, 1, 2.50, -3.);"""
    assert parse_header(text) == {
        "Label": "a; {b} = (c)",
        "Empty": "",
        "Flag": True,
        "Off": False,
        "Scan Type": "Line",
        "Path": "C:\\data",
        "Outer": {"Inner": {"A": -1, "B": 1.5e-3}, "List": [2, {"N": 1}, {"N": 2}]},
        "Points": [3, 1, 2.5, -3.0],
    }


def test_the_brace_too_many_of_a_converted_header_is_skipped():
    assert parse_header("A = { P = (2, 1.5, 2.5}); };") == {"A": {"P": [2, 1.5, 2.5]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A = 1;\nB = { C = 1;", "line 2: 'the end of the file', expected '}'"),
        ("A = (1, 2", r"expected '\)'"),
        ("A = 1;\n\nB 2;", "line 3: ';', expected '=' after 'B 2'"),
        ('A = "no end;', "expected the end of a string"),
        ("A = 1; }", "'}', expected a name"),
        ('A = 1 "two";', "expected ';' after the value of 'A'"),
    ],
)
def test_a_damaged_header_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_header(text)


@given(st.lists(st.sampled_from(['"', "{", "}", "(", ")", ";", ",", "=", "A", "1.5", " ", "\n"])).map("".join))
def test_any_text_is_read_or_refused(text):
    with suppress(ValueError):
        assert isinstance(parse_header(text), dict)


def test_a_header_that_is_nested_without_end_is_refused():
    with pytest.raises(ValueError, match="nested too deep"):
        parse_header("A = " + "(" * 100_000)


def test_the_count_in_front_of_an_array_is_checked():
    assert entries([2, 1.5, 2.5]) == [1.5, 2.5]
    assert entries([0]) == []
    for wrong, message in (([3, 1.5], "3 entries holds 1"), ([1.5, 2], "1.5 in front"), ("x", "expected")):
        with pytest.raises(ValueError, match=message):
            entries(wrong)


# The measured stack


@pytest.mark.measured
def test_the_measured_header_is_read_whole(measured_data):
    found, text = read_header(measured_data / "als-stxm-fe2p" / "71214078.hdr")
    definition = found["ScanDefinition"]
    assert (definition["Type"], definition["Dwell"]) == ("NEXAFS Image Scan", 0.433)
    (region,) = entries(definition["Regions"])
    assert [len(entries(region[name]["Points"])) for name in ("PAxis", "QAxis")] == [125, 125]
    assert entries(definition["StackAxis"]["Points"])[-1] == 730.353
    assert [one["DwellTime"] for one in entries(found["ImageScan"]["EnergyRegions"])] == [0.433] * 3
    assert found["SampleFineX"]["LastPosition"] == -4725.8639
    assert found["Image123"] == {"StorageRingCurrent": 306.38, "Time": "2007 December 14 19:39:09"}
    assert set(found) == {line.split("=")[0].strip() for line in text.splitlines() if line[:1].isalpha()} | {
        "Time", "BeamFeedback", "ShutterAutomatic",
        "StorageRingCurrent", "EPUPhase", "Polarization", "PMT_CounterDivider",
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.measured
def test_the_measured_stack_is_imported_whole(measured_data):
    folder = measured_data / "als-stxm-fe2p"
    documents, problems = imported(folder)
    assert problems == []
    expected = np.array([np.loadtxt(folder / f"71214078_a{index:03d}.xim") for index in range(123)])
    np.testing.assert_array_equal(stack(documents), expected)
    assert (expected != np.rint(expected)).mean() > 0.9  # floats, which a reader of integers refuses or cuts
    found = events(documents)
    assert list(found) == list(range(1, 123 * 125 + 1))
    assert documents[0][1]["scan_id"] == 71214078
    assert documents[1][1]["configuration"][SCANNER]["data"][ScannerConfig.COUNTER_DIVIDER] == 10
    measurement = Measurement.model_validate(documents[0][1][MEASUREMENT])
    assert (measurement.technique, measurement.points, measurement.exposure_time) == ("stxm", 15375, 0.433e-3)
    assert (measurement.grid.regions[0].x, measurement.grid.regions[0].y) == (
        (-4736.602, -4726.682),
        (-638.153, -628.233),
    )
    assert found[50 * 125 + 3]["data"][Key.ENERGY] == measurement.grid.energies[50]
    last = found[15375]
    assert last["data"][Key.ENERGY] == 730.353
    assert last["data"][Key.RING_CURRENT] == 306.38
    assert found[1]["data"][Key.RING_CURRENT] == 333.4
    np.testing.assert_array_equal(last["data"][Key.STXM_Y], -628.233)
    np.testing.assert_array_equal(last["data"][Key.STXM_DWELL], 0.433e-3)
    assert datetime.fromtimestamp(last["time"], ALS_ZONE).isoformat() == "2007-12-14T19:39:09-08:00"
    assert datetime.fromtimestamp(found[1]["time"], ALS_ZONE).isoformat() == "2007-12-14T18:52:00-08:00"


# Stacks


def test_the_first_row_of_the_text_is_the_first_point_of_the_q_axis(scan, counts):
    documents, problems = imported(scan)
    assert problems == []
    np.testing.assert_array_equal(stack(documents), counts)
    for number, event in events(documents).items():
        np.testing.assert_array_equal(event["data"][Key.STXM_Y], YS[(number - 1) % Y])
        np.testing.assert_array_equal(event["data"][Key.STXM_X], XS)


def test_the_documents_are_of_the_event_model(scan):
    for name, doc in imported(scan)[0]:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)


def test_every_line_has_the_time_and_ring_current_of_its_image(scan):
    documents, _ = imported(scan / "s071214078.hdr", zone=ZoneInfo("UTC"))
    found = events(documents)
    assert [found[n]["data"][Key.RING_CURRENT] for n in (1, Y, Y + 1, 2 * Y + 1)] == [333.4, 333.4, 331, 330]
    assert [found[n]["time"] - found[1]["time"] for n in (Y, Y + 1, 2 * Y + 1)] == [0, 30, 90]
    assert documents[0][1]["scan_id"] == 71214078


def test_blocks_of_newer_headers_are_counted_from_0_and_repeat_the_energy(scan):
    edit_header(scan, "Image3=", "Image002_0 =")
    edit_header(scan, "{StorageRingCurrent = 330;", "{StorageRingCurrent = 330; Energy = 720.04;")
    found = events(imported(scan)[0])
    assert found[2 * Y + 1]["data"][Key.RING_CURRENT] == 330
    assert found[2 * Y + 1]["data"][Key.ENERGY] == 720.04
    assert found[2 * Y + 1]["data"][Key.ENERGY_SETPOINT] == 720.0


def test_what_the_header_does_not_say_is_nan(scan):
    edit_header(scan, "StorageRingCurrent = 331;", "")
    documents, _ = imported(scan)
    assert np.isnan(events(documents)[Y + 1]["data"][Key.RING_CURRENT])
    configuration = documents[1][1]["configuration"][SCANNER]["data"]
    assert np.isnan([configuration[key] for key in (ScannerConfig.DEAD_TIME, ScannerConfig.DARK_RATE)]).all()


def test_energy_regions_may_differ_in_dwell(scan):
    region = "{{ Points = {}; DwellTime = {};}}"
    edit_header(
        scan,
        "EPUPhase",
        f"ImageScan = {{ EnergyRegions = (2, {region.format(1, 3)}, {region.format(2, 5)});}}; EPUPhase",
    )
    found = events(imported(scan)[0])
    assert [found[n]["data"][Key.STXM_DWELL][0] for n in (1, Y + 1, 2 * Y + 1)] == [0.003, 0.005, 0.005]


@pytest.mark.parametrize(
    ("regions", "seen"),
    [
        ([(1, 3)], "ImageScan: 1 points of 3 ms, expected 3 points"),
        ([(1, 3), (2, 0)], "ImageScan: 1 points of 3 ms, 2 points of 0 ms, expected 3 points"),
        ([(1, 2)], None),  # ms, which is the Dwell
    ],
)
def test_energy_regions_that_do_not_fit_give_way_to_the_dwell_and_are_named(regions, seen, scan):
    written = ", ".join(f"{{ Points = {count}; DwellTime = {dwell};}}" for count, dwell in regions)
    edit_header(scan, "EPUPhase", f"ImageScan = {{ EnergyRegions = ({len(regions)}, {written});}}; EPUPhase")
    documents, problems = imported(scan)
    assert problems == ([] if seen is None else [f"EnergyRegions of {seen}; Dwell is taken, 2 ms"])
    for event in events(documents).values():
        np.testing.assert_array_equal(event["data"][Key.STXM_DWELL], 0.002)


def test_the_time_of_the_file_stands_for_one_that_the_header_does_not_have(scan):
    edit_header(scan, '"2007 December 14 18:52:00"', '"yesterday"')
    os.utime(scan / "s071214078.hdr", (1e9, 1e9))
    documents, problems = imported(scan)
    assert problems == ["s071214078.hdr: Time is 'yesterday', expected one of the scan; that of the file stands for it"]
    assert documents[0][1]["time"] == 1e9
    assert events(documents)[1]["time"] == 1e9


@pytest.mark.parametrize(("divider", "seen"), [("0", "0"), ("-2.5", "-2.5"), ("many", "'many'"), ("1e999", "inf")])
def test_a_counter_divider_that_is_none_is_not_known_and_named(divider, seen, scan):
    edit_header(scan, "EPUPhase = 0;", f"EPUPhase = 0; PMT_CounterDivider = {divider};")
    documents, problems = imported(scan)
    assert problems == [f"s071214078.hdr: PMT_CounterDivider is {seen}, expected a number above 0; it is not known"]
    assert np.isnan(documents[1][1]["configuration"][SCANNER]["data"][ScannerConfig.COUNTER_DIVIDER])


@pytest.mark.parametrize(
    ("energy", "seen"), [("0", "0"), ("-705.5", "-705.5"), ("high", "'high'"), ("1e7", "10000000.0")]
)
def test_an_energy_of_an_image_that_is_none_gives_way_to_the_one_requested(energy, seen, scan):
    edit_header(scan, "{StorageRingCurrent = 331;", f"{{StorageRingCurrent = 331; Energy = {energy};")
    documents, problems = imported(scan)
    assert problems == [f"image 1: energy {seen} is none; the requested one stands for it"]
    assert events(documents)[Y + 1]["data"][Key.ENERGY] == 705.5


def test_an_image_alone_is_told_from_a_table(scan):
    with pytest.raises(
        BeamlineError, match=r"a000.xim: 5 columns without names; .*; it is a part of a STXM scan, which"
    ):
        list(columns_documents(scan / "s071214078_a000.xim"))


def test_a_number_that_is_too_large_for_a_scan_is_named(scan):
    number = "9" * 19
    (scan / "s071214078.hdr").rename(scan / f"s{number}.hdr")
    for path in scan.glob("*.xim"):
        path.rename(scan / path.name.replace("071214078", number))
    documents, problems = imported(scan)
    assert problems == [f"s{number}.hdr: its number is larger than that of a scan can be; 0 stands for it"]
    assert documents[0][1]["scan_id"] == 0


def test_a_missing_image_leaves_a_gap_in_the_numbers(scan, counts):
    (scan / "s071214078_a001.xim").unlink()
    documents, problems = imported(scan)
    assert problems == [
        "1 of 3 images: 1 missing; 4 of 12 lines left out",
        "s071214078_a001.xim: missing; 4 lines left out",
    ]
    assert list(events(documents)) == [1, 2, 3, 4, 9, 10, 11, 12]
    np.testing.assert_array_equal(stack(documents)[[0, 2]], counts[[0, 2]])
    stop = documents[-1][1]
    assert stop["num_events"] == {"primary": 8}
    assert (stop["exit_status"], stop["reason"]) == ("abort", problems[0])


@pytest.mark.parametrize(
    ("damage", "kept", "problem"),
    [
        (lambda text: text[: text.index("\n", 60) - 3], 1, "row 2 breaks off; 3 lines left out"),
        (lambda text: text[:-3], 3, "row 4 breaks off; 1 lines left out"),
        (
            lambda text: "\n".join(text.split("\n")[:3]) + "\n",
            3,
            "3 rows of 5 pixels, expected 4 of 5; 1 lines left out",
        ),
        (lambda _: "", 0, "empty; 4 lines left out"),
        (lambda text: text.replace("20.250000", "abc"), 4, "row 1 holds 'abc', expected a number of counts$"),
        (lambda text: text.replace("20.250000", "nan"), 4, "row 1 holds 'nan', expected a number of counts$"),
        (
            lambda text: text.replace("25.250000", "1_0").replace("20.250000", "inf"),
            4,
            r"row 1 \(and 1 more rows\) holds 'inf', expected a number of counts$",
        ),
        (lambda text: text.replace("\t24.25", ""), 0, "row 2 has 5 columns, not 4; 4 lines left out"),
        (lambda text: text + text, 0, "8 rows of 5 pixels, expected 4 of 5; 4 lines left out"),
    ],
)
def test_the_whole_rows_of_a_damaged_image_are_kept_and_the_rest_is_named(damage, kept, problem, scan, counts):
    path = scan / "s071214078_a001.xim"
    path.write_text(damage(path.read_text()))
    documents, problems = imported(scan)
    summary, text = problems
    assert summary.startswith("1 of 3 images: 1 ")
    assert text.startswith("s071214078_a001.xim: ")
    assert len(events(documents)) == 2 * Y + kept
    found, expected = stack(documents)[1, :kept], counts[1, :kept]
    np.testing.assert_array_equal(found[np.isfinite(found)], expected[np.isfinite(found)])
    assert np.isnan(found).sum() == (kept == Y) * (1 + ("more rows" in problem))
    assert re.search(problem, text)
    assert documents[-1][1]["exit_status"] == ("success" if kept == Y else "abort")


def test_a_last_row_without_a_line_break_is_taken_where_it_is_whole(scan, counts):
    path = scan / "s071214078_a001.xim"
    path.write_text(path.read_text().rstrip("\n"))
    documents, problems = imported(scan)
    assert problems == []
    np.testing.assert_array_equal(stack(documents), counts)


def test_images_that_the_header_does_not_know_are_named(scan):
    write_xim(scan / "s071214078_a003.xim", [[1.0]])
    assert imported(scan)[1] == ["s071214078_a003.xim: not in s071214078.hdr, left out"]


def test_an_image_with_lines_along_y_is_turned(scan, counts):
    edit_header(scan, "Sample X", "Sample ?")
    edit_header(scan, "Sample Y", "Sample X")
    edit_header(scan, "Sample ?", "Sample Y")
    found, _ = imported(scan)
    np.testing.assert_array_equal(stack(found), counts.transpose(0, 2, 1))
    np.testing.assert_array_equal(events(found)[2]["data"][Key.STXM_Y], XS[1])


def test_channels_are_chosen_by_name_or_letter(tmp_path, counts):
    (tmp_path / "scan.hdr").write_text(header(channels=("PMT", "photodiode")))
    for index, image in enumerate(counts):
        write_xim(tmp_path / f"scan_a{index:03d}.xim", image)
        write_xim(tmp_path / f"scan_b{index:03d}.xim", -image)
    for channel, sign in (("", 1), ("PMT", 1), ("b", -1), ("photodiode", -1)):
        documents, _ = imported(tmp_path, channel=channel)
        np.testing.assert_array_equal(stack(documents), sign * counts)
    with pytest.raises(BeamlineError, match="no channel 'TEY'; it has PMT, photodiode"):
        imported(tmp_path, channel="TEY")


@pytest.mark.parametrize(
    ("channels", "left_out"),
    [('{ Name = "PMT";}, { Name = "PMT";}', "PMT; left out: PMT"), ('5, { Name = "PMT";}', "5; left out: PMT")],
)
def test_channels_of_one_name_or_of_none_keep_their_letters_and_are_named(channels, left_out, scan, counts):
    edit_header(scan, 'Channels = (1,\n{ Name = "counter1"; Unit = "counts";}', f"Channels = (2,\n{channels}")
    for index, image in enumerate(counts):
        write_xim(scan / f"s071214078_b{index:03d}.xim", -image)
    documents, problems = imported(scan)
    assert problems == [f"1 of 2 channels is imported, {left_out}"]
    np.testing.assert_array_equal(stack(documents), counts)
    np.testing.assert_array_equal(stack(imported(scan, channel="b")[0]), -counts)


def test_regions_follow_one_another_at_each_energy(tmp_path, counts):
    second = axis("PAxis", "Sample X", "nm", [5000, 6000]) + axis("QAxis", "Sample Y", "nm", [1000, 2000, 3000])
    first = axis("PAxis", "Sample X", "um", XS) + axis("QAxis", "Sample Y", "um", YS)
    (tmp_path / "scan.hdr").write_text(header(regions=[first, second]))
    other = np.arange(E * 3 * 2).reshape(E, 3, 2) + 0.5
    for index in range(E):
        write_xim(tmp_path / f"scan_a{index:03d}0.xim", counts[index])
        write_xim(tmp_path / f"scan_a{index:03d}1.xim", other[index])
    documents, problems = imported(tmp_path)
    assert problems == []
    np.testing.assert_array_equal(stack(documents, region=0), counts)
    np.testing.assert_array_equal(stack(documents, region=1), other)
    np.testing.assert_allclose(events(documents)[Y + 2]["data"][Key.STXM_X], [5.0, 6.0])
    assert documents[1][1]["data_keys"][Key.STXM_COUNTS]["shape"] == [None]


# Other scans


@pytest.mark.parametrize("name", ["scan_a.xim", "scan_a000.xim"])
def test_a_single_image_takes_the_energy_of_the_monochromator_where_no_axis_has_it(name, tmp_path, counts):
    text = header("Image Scan", stack_axis=None, extra='Monochromator = { Name = "Energy"; LastPosition = 708.25;};')
    (tmp_path / "scan.hdr").write_text(text)
    write_xim(tmp_path / name, counts[0])
    documents, problems = imported(tmp_path)
    assert problems == []
    np.testing.assert_array_equal(stack(documents), counts[:1])
    assert events(documents)[1]["data"][Key.ENERGY] == 708.25


LINE = axis("PAxis", "Energy", "eV", ENERGIES) + axis("QAxis", "Sample", "um", [0, 1, 2, 3, 4])
SLANTED = "ImageScan = { SpatialRegions = (1, { CentreXPos = 100; CentreYPos = 50; Length = 4; Theta = 30;});};"


def test_a_line_spectrum_is_one_line_an_energy(tmp_path):
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[LINE], stack_axis=[700.0], extra=SLANTED))
    values = np.arange(X * E).reshape(X, E) + 0.5  # positions along the rows, energies along the columns
    write_xim(tmp_path / "scan_a.xim", values)
    documents, problems = imported(tmp_path)
    assert problems == []
    measurement = Measurement.model_validate(documents[0][1][MEASUREMENT])
    assert (measurement.technique, measurement.grid.energies, measurement.grid.lines) == (
        "stxm_line_spectrum",
        ENERGIES,
        1,
    )
    np.testing.assert_array_equal(stack(documents)[:, 0], values.T)
    line = events(documents)[2]["data"]
    assert line[Key.ENERGY] == 705.5
    np.testing.assert_allclose(line[Key.STXM_X], 100 + np.arange(-2, 3) * np.cos(np.radians(30)))
    np.testing.assert_allclose(line[Key.STXM_Y], 50 + np.arange(-2, 3) * 0.5)


def test_a_line_spectrum_that_was_stopped_keeps_the_energies_it_reached(tmp_path):
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[LINE], stack_axis=[700.0], extra=SLANTED))
    write_xim(tmp_path / "scan_a.xim", np.ones((X, 2)))
    documents, problems = imported(tmp_path)
    assert list(events(documents)) == [1, 2]
    assert problems == [
        "1 of 1 images: 1 broken off; 1 of 3 lines left out",
        "scan_a.xim: 2 of 3 energies; 1 lines left out",
    ]
    assert documents[-1][1]["exit_status"] == "abort"


def test_a_line_spectrum_with_the_energy_along_q_is_turned(tmp_path):
    turned = axis("PAxis", "Sample X", "um", XS) + axis("QAxis", "Energy", "eV", ENERGIES)
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[turned], stack_axis=None, extra=SLANTED))
    values = np.arange(E * X).reshape(E, X) * 1.0
    write_xim(tmp_path / "scan_a.xim", values)
    documents, _ = imported(tmp_path)
    np.testing.assert_array_equal(stack(documents)[:, 0], values)
    np.testing.assert_array_equal(events(documents)[1]["data"][Key.STXM_X], XS)
    np.testing.assert_array_equal(events(documents)[1]["data"][Key.STXM_Y], 50.0)


def test_a_line_along_y_has_the_x_of_its_centre(tmp_path):
    region = axis("PAxis", "Energy", "eV", ENERGIES) + axis("QAxis", "Sample Y", "um", XS)
    extra = "LineScan = { SpatialRegions = (0); CentreXPos = 7; CentreYPos = 8;};"
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[region], stack_axis=None, extra=extra))
    write_xim(tmp_path / "scan_a.xim", np.ones((X, E)))
    line = events(imported(tmp_path)[0])[2]["data"]
    np.testing.assert_array_equal(line[Key.STXM_X], 7.0)
    np.testing.assert_array_equal(line[Key.STXM_Y], XS)


def test_an_energy_of_a_line_spectrum_without_a_number_is_left_out_and_named(tmp_path):
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[LINE], stack_axis=[700.0], extra=SLANTED))
    values = np.arange(X * E).reshape(X, E) + 0.5
    values[:, 1] = np.nan
    write_xim(tmp_path / "scan_a.xim", values)
    documents, problems = imported(tmp_path)
    assert problems == [
        "1 of 1 images: 1 damaged; 1 of 3 lines left out",
        "scan_a.xim: row 1 (and 4 more rows) holds 'nan', expected a number of counts; 1 lines left out",
    ]
    assert list(events(documents)) == [1, 3]
    np.testing.assert_array_equal(events(documents)[3]["data"][Key.STXM_COUNTS], values[:, 2])
    assert (documents[-1][1]["exit_status"], documents[-1][1]["reason"]) == ("abort", problems[0])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "scan_a.xim: missing; 3 lines left out"),
        ("", "scan_a.xim: empty; 3 lines left out"),
        ("1 2 3\n" * 4, "scan_a.xim: 3 energies of 4 pixels, expected 3 of 5; 3 lines left out"),
        ("1 2 3 4\n" * 5, "scan_a.xim: 4 energies of 5 pixels, expected 3 of 5; 3 lines left out"),
        (
            "nan nan nan\n" * 5,
            "scan_a.xim: row 1 (and 4 more rows) holds 'nan', expected a number of counts; 3 lines left out",
        ),
    ],
)
def test_a_line_spectrum_of_which_nothing_can_be_used_is_refused_with_what_was_seen(text, problem, tmp_path):
    (tmp_path / "scan.hdr").write_text(header("NEXAFS Line Scan", regions=[LINE], stack_axis=[700.0], extra=SLANTED))
    if text is not None:
        (tmp_path / "scan_a.xim").write_text(text)
    with pytest.raises(BeamlineError) as error:
        imported(tmp_path)
    assert str(error.value) == f"{tmp_path / 'scan.hdr'}: none of its images can be read; {problem}"


def test_a_focus_scan_has_the_zone_plate_of_each_line(tmp_path):
    region = axis("PAxis", "Length", "um", [0, 1, 2]) + axis("QAxis", "Zone Plate", "um", [-10, 0, 10, 20])
    extra = "FocusScan = { CentreXPos = 7; CentreYPos = 8; Length = 2; Theta = 0;};"
    (tmp_path / "scan.hdr").write_text(header("Focus Scan", regions=[region], stack_axis=[708.0], extra=extra))
    values = np.arange(12.0).reshape(4, 3)
    write_xim(tmp_path / "scan_a.xim", values)
    documents, problems = imported(tmp_path)
    assert problems == []
    measurement = Measurement.model_validate(documents[0][1][MEASUREMENT])
    assert (measurement.technique, measurement.grid.zone_plate) == ("stxm_focus", [-10, 0, 10, 20])
    found = events(documents)
    assert [event["data"][Key.ZONE_PLATE] for event in found.values()] == [-10, 0, 10, 20]
    np.testing.assert_array_equal([event["data"][Key.STXM_COUNTS] for event in found.values()], values)
    np.testing.assert_allclose(found[4]["data"][Key.STXM_X], [6, 7, 8])


# Refusals


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('Type = "NEXAFS Image Scan"', 'Type = "OSA Scan"', "a scan of Type 'OSA Scan', expected one of Image Scan"),
        ("Points = (5, 0.0,", "Points = (6, 0.0,", "Points of the PAxis 'Sample X': an array of 6 entries holds 5"),
        ("Points = (5, 0.0,", "Points = (5, x,", "Points of the PAxis 'Sample X': 'x', expected numbers"),
        ("Points = (5, 0.0,", "Points = (5, 1_0,", "Points of the PAxis 'Sample X': '1_0', expected numbers"),
        ("Points = (5, 0.0,", "Points = (5, true,", "Points of the PAxis 'Sample X': True, expected numbers"),
        ("Points = (5, 0.0,", "Points = (0); Old = (5, 0.0,", "Points of the PAxis 'Sample X': none, expected numbers"),
        (
            "Points = (3,",
            "Points = 700; Old = (3,",
            "Points of the StackAxis 'Energy': 700 where an array was expected",
        ),
        ('"Energy"; Unit = "eV"', '"Time"; Unit = "um"', "a stack along 'Time', expected Energy"),
        ("StackAxis", "Stack", "no energy: neither a StackAxis with Points nor a Monochromator with LastPosition"),
        ("Regions = (1,", "Areas = (1,", "Regions: None where an array was expected"),
        ("Regions = (1,", "Regions = (0); Areas = (1,", "no Regions"),
        ("Regions = (1,", "Regions = (1, 5); Areas = (1,", "a region that is no structure: 5"),
        ("Channels = (1,", "Channels = (2,", "Channels: an array of 2 entries holds 1"),
        ("Sample Y", "OSA Y", "an image of 'Sample X' and 'OSA Y', expected Sample X and Sample Y"),
        ('Unit = "um"', 'Unit = "steps"', "axis 'Sample X': unit 'steps', expected one of um, nm, mm, m"),
        ("Dwell = 2", "Dwell = 0", "Dwell is 0, expected ms"),
        ("QAxis", "RAxis", "no structure QAxis"),
        ("ScanDefinition", "Scan", "no structure ScanDefinition"),
        ("BeamFeedback = true;", "BeamFeedback = {", "not a header of the self-defining format: line"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_in_one_line(old, new, message, scan):
    edit_header(scan, old, new)
    with pytest.raises(BeamlineError, match=message) as error:
        imported(scan)
    assert "\n" not in str(error.value)
    assert str(scan / "s071214078.hdr") in str(error.value)


POSITIONS = axis("PAxis", "Sample X", "um", XS) + axis("QAxis", "Sample Y", "um", YS)
CENTRE = "LineScan = { CentreXPos = 7; CentreYPos = 8;};"
NO_CENTRE = "FocusScan = { Theta = 0;}; LineScan = { SpatialRegions = (1, 5);};"


@pytest.mark.parametrize(
    ("kind", "regions", "extra", "message"),
    [
        (
            *("NEXAFS Line Scan", [POSITIONS], SLANTED),
            "a line spectrum of 'Sample X' and 'Sample Y', expected Energy and a position",
        ),
        ("NEXAFS Line Scan", [LINE, LINE.replace("705.5", "706")], CENTRE, "regions of different energies"),
        (
            *("NEXAFS Line Scan", [LINE], NO_CENTRE),
            "where the line along 'Sample' lies: no CentreXPos, CentreYPos of a region",
        ),
        (
            *("NEXAFS Line Scan", [LINE], SLANTED.replace("(1,", "(2,")),
            "SpatialRegions: an array of 2 entries holds 1",
        ),
        ("Focus Scan", [POSITIONS, POSITIONS], "", "a focus scan of 2 regions, expected one"),
        ("Focus Scan", [POSITIONS], "", "a focus scan along 'Sample Y', expected Zone Plate"),
        ("Image Scan", [POSITIONS], "Monochromator = { LastPosition = true;};", "no energy: neither a StackAxis"),
    ],
)
def test_a_header_of_another_scan_than_it_says_is_refused_in_one_line(kind, regions, extra, message, tmp_path):
    energies = None if kind == "Image Scan" else [700.0]
    (tmp_path / "scan.hdr").write_text(header(kind, regions=regions, stack_axis=energies, extra=extra))
    with pytest.raises(BeamlineError) as error:
        imported(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'scan.hdr'}: {message}")


def test_a_scan_without_an_image_is_refused(scan):
    for path in scan.glob("*.xim"):
        path.unlink()
    with pytest.raises(BeamlineError, match=r"none of its images can be read; s071214078_a000.xim, .*: missing"):
        imported(scan)


def test_a_folder_with_no_header_or_two_is_refused(scan, tmp_path_factory):
    with pytest.raises(BeamlineError, match=r"expected one header like 71214078.hdr, found none"):
        imported(tmp_path_factory.mktemp("empty"))
    (scan / "b.hdr").write_text("")
    with pytest.raises(BeamlineError, match=r"found b.hdr, s071214078.hdr"):
        imported(scan)
    with pytest.raises(BeamlineError, match="no such file or folder"):
        imported(scan / "nothing")
