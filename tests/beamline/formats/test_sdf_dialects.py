"""SDF as each microscope writes it: headers to the letter of public ones, point spectra, and contradictions."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from stxm_documents import events, stack

from beamline.errors import BeamlineError
from beamline.formats.importers.sdf import sdf_documents
from callbacks.contract import MEASUREMENT, Key, Measurement

ENERGIES = [704.0, 704.25, 704.5, 704.75]


def imported(path, **options):
    documents = list(sdf_documents(path, **options))
    start = documents[0][1]
    problems = [one for one in start["import_problems"] if not one.startswith("times have no time zone")]
    assert len(problems) == len(start["import_problems"]) - 1
    return documents, Measurement.model_validate(start[MEASUREMENT]), problems


def points_of(values):
    return f"Points = ({len(values)}, {', '.join(f'{value:.3f}' for value in values)});"


# MAXYMUS (BESSY II): point spectra, as in a public header of 2021


def maxymus(folder, channels=("APD",), *, regions=1, process=("I",), rows=None):
    region = (
        '{\n\t\t\tPAxis = { Name = "Energy"; Unit = "eV"; Min = 704; Max = 704.75; Dir = 1;\n'
        f"\t\t\t\t{points_of(ENERGIES)}\n}};\n}}"
    )
    listed = ",\n".join(f'{{ Name = "{name}"; Unit = "counts";}}' for name in channels)
    used = ",\n".join(
        f'{{ ID = 2; Type = 0; Name = "{name}"; Controller = 0; DeviceNumber = 1; UnitName = "counts"; '
        f'LinearCoefficient = 1; ConstantCoefficient = 1; ProcessString = "{one}";}}'
        for name, one in zip(channels, process, strict=True)
    )
    places = ",\n".join(f"{{ CentreXPos = {-70.071 + n}; CentreYPos = 2668.95;}}" for n in range(regions))
    flags = "Multi-Region Spectra" if regions > 1 else "Spectra"
    (folder / "MPI_210127006.hdr").write_text(
        f'\nScanDefinition = {{ Label = "MPI_210127006.hdr"; Type = "NEXAFS Point Scan"; Flags = "{flags}"; '
        f'ScanType = "Spectra"; Dwell = 1000;\n\tRegions = ({regions},\n{",".join([region] * regions)});\n\n'
        f"\tChannels = ({len(channels)},\n{listed});\n}};\n"
        ' Time = "2021 January 27 11:52:49"; BeamFeedback = false; ShutterAutomatic = true;\n'
        f"Channels = ({len(channels)},\n{used});\n\n"
        'Monochromator = { Name = "Energy"; LastPosition = 711.84684; Status = 0; Type = 0; ControllerID = 103; '
        "Vel = 0;};\n"
        " StorageRingCurrent = 298; PMT_CounterDivider = 10; Ao = 830.3; Defocus = 500;\n"
        'ImageScan = { ScanType = "Point"; Stage = "Automatic"; Interferometry = "On"; SingleEnergy = false;\n'
        "\tEnergyRegions = (1,\n{ StartEnergy = 704; EndEnergy = 704.75; Range = 0.75; Step = 0.25; Points = 4; "
        "DwellTime = 1000;});\n PointDelay = 1; MultipleRegions = true;\n"
        f"\tSpatialRegions = ({regions},\n{places});\n}};\n"
        'Image0 = {StorageRingCurrent = 298.21; Energy = 711.85; Time = "2021 January 27 11:52:49";};\n'
    )
    for place in range(regions):
        table = [(energy, *(1000 * place + 100 * n + index for n in range(len(channels))))
                 for index, energy in enumerate(ENERGIES)]  # fmt: skip
        text = "".join("\t".join(map(str, row)) + "\t\n" for row in (rows or table))
        (folder / f"MPI_210127006_{place}.xsp").write_text(text)
    return folder


def test_a_point_spectrum_of_maxymus_is_a_spectrum_of_xas(tmp_path):
    rows = [(704, 4409087), (704.25, 4399221), (704.5, 4418219), (704.75, 4421295)]
    documents, measurement, problems = imported(maxymus(tmp_path, rows=rows), zone=ZoneInfo("Europe/Berlin"))
    start = documents[0][1]
    assert (measurement.technique, measurement.points, measurement.exposure_time) == ("xas", 4, 1.0)
    assert (start["scan_id"], start["point_x_um"], start["point_y_um"]) == (210127006, -70.071, 2668.95)
    found = [doc for name, doc in documents if name == "event"]
    assert [one["data"]["apd"] for one in found] == [4409087, 4399221, 4418219, 4421295]
    np.testing.assert_allclose([one["data"]["apd_sigma"] ** 2 * 10 for one in found], [one[1] for one in rows])
    assert [one["data"][Key.ENERGY] for one in found] == ENERGIES
    assert [one["data"][Key.DWELL] for one in found] == [1.0] * 4
    assert [one["data"][Key.RING_CURRENT] for one in found] == [298.0] * 4
    assert [one["time"] - found[0]["time"] for one in found] == [0.0, 1.0, 2.0, 3.0]
    berlin = datetime.fromtimestamp(found[0]["time"], ZoneInfo("Europe/Berlin"))
    assert berlin.isoformat() == "2021-01-27T11:52:49+01:00"
    assert problems == [
        "detector 'APD': taken for transmitted light, as channel apd, in counts of 10 photons",
        "none of its detectors is I0 (apd): the spectrum cannot be normalised by it alone",
    ]
    assert documents[-1][1]["exit_status"] == "success"


def test_detectors_and_points_of_a_scan_are_channels_and_runs(tmp_path):
    folder = maxymus(tmp_path, ("PMT", "TEY", "Ring I0"), regions=2, process=("I", "I", "Io"))
    documents, measurement, problems = imported(folder)
    assert [(one.name, one.form) for one in measurement.channels] == [
        ("pmt", "transmission"),
        ("tey", "yield"),
        ("i0", "monitor"),
    ]
    starts = [doc for name, doc in documents if name == "start"]
    assert [one["imported_point"] for one in starts] == [0, 1]
    assert [one["point_x_um"] for one in starts] == pytest.approx([-70.071, -69.071])
    found = [doc["data"] for name, doc in documents if name == "event"]
    assert [one[Key.I0] for one in found] == [200, 201, 202, 203, 1200, 1201, 1202, 1203]
    assert "detector 'Ring I0': taken for I0, as channel i0" in problems
    assert not any("cannot be normalised" in one for one in problems)


def test_one_detector_alone_is_not_i0_whatever_the_header_uses_it_for(tmp_path):
    _, measurement, _ = imported(maxymus(tmp_path, process=("Io",)))
    assert [(one.name, one.form) for one in measurement.channels] == [("apd", "transmission")]


@pytest.mark.parametrize(
    ("rows", "measured", "said"),
    [
        ([(704, 1), (704.25, 2)], 2, "MPI_210127006_0.xsp: 2 of 4 energies"),
        ([(704, 1), (704.25, "x"), (704.5, 3), (704.75, 4)], 3, "row 2 holds 'x', expected a number of counts"),
        ([(704, 1), (714.25, 2), (704.5, 3), (704.75, 4)], 4, "1 of 4 energies were others than the header asks for"),
        ([(704, 1), (0, 2), (704.5, 3), (704.75, 4)], 3, "MPI_210127006_0.xsp: an energy of 0 eV"),
    ],
)
def test_a_table_that_is_not_as_the_header_says_is_named(rows, measured, said, tmp_path):
    folder = maxymus(tmp_path)
    (folder / "MPI_210127006_0.xsp").write_text("".join(f"{energy}\t{count}\t\n" for energy, count in rows))
    documents, _, problems = imported(folder)
    assert [name for name, _ in documents].count("event") == measured
    assert any(said in one for one in problems)
    assert documents[-1][1]["exit_status"] == ("success" if measured == 4 else "abort")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("704\t1\t2\n" * 4, "4 rows of 3 columns, expected 4 of the energy and 1 channels"),
        ("704\t1\n" * 5, "5 rows of 2 columns, expected 4 of the energy and 1 channels"),
        ("", "MPI_210127006_0.xsp: empty"),
        (None, "MPI_210127006_0.xsp: missing"),
    ],
)
def test_a_scan_of_which_no_point_can_be_read_is_one_line(text, message, tmp_path):
    folder = maxymus(tmp_path)
    table = folder / "MPI_210127006_0.xsp"
    if text is None:
        table.unlink()
    else:
        table.write_text(text)
    with pytest.raises(BeamlineError, match=f"none of its points can be read; .*{message}") as error:
        imported(folder)
    assert "\n" not in str(error.value)


def test_a_point_that_cannot_be_read_costs_only_itself(tmp_path):
    folder = maxymus(tmp_path, regions=2)
    (folder / "MPI_210127006_0.xsp").unlink()
    documents, _, problems = imported(folder)
    assert [doc["imported_point"] for name, doc in documents if name == "start"] == [1]
    assert problems[0] == "MPI_210127006_0.xsp: missing; 1 of 2 points left out"


# Images and lines


def scan(folder, *, kind="Image Scan", stack_axis="", unit="counts", extra="", axes=None, encoding="utf-8"):
    """A header of one region, 3 x 2 pixels of 0.5 um."""
    axes = axes or (
        f'PAxis = {{ Name = "Sample X"; Unit = "µm"; Min = 0; Max = 1; Dir = 1;\n{points_of([0, 0.5, 1])}\n}};\n'
        f'QAxis = {{ Name = "Sample Y"; Unit = "µm"; Min = 10; Max = 10.5; Dir = 1;\n{points_of([10, 10.5])}\n}};\n'
    )
    text = (
        f'ScanDefinition = {{ Label = "s1.hdr"; Type = "{kind}"; Dwell = 2; Dwell2 = -6.2774386e+066;\n'
        f"Regions = (1,\n{{\n{axes}}});\n{stack_axis}"
        f'Channels = (1,\n{{ Name = "PMT"; Unit = "{unit}";}});\n}};\n'
        f'Time = "2020 October 15 11:59:33";\n{extra}'
    )
    (folder / "s1.hdr").write_bytes(text.encode(encoding))


IMAGE = np.array([[1.0, 2, 3], [4, 5, 6]])


def write_image(folder, name="s1_a.xim", image=IMAGE):
    (folder / name).write_text("".join("\t".join(f"{one:g}" for one in row) + "\n" for row in image))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
@pytest.mark.parametrize("name", ["Monochromator", "Energy"])
def test_a_single_image_has_the_energy_of_the_monochromator_as_the_als_and_max_iv_call_it(name, encoding, tmp_path):
    scan(tmp_path, extra=f'{name} = {{ Name = "Energy"; LastPosition = 697.99423; Status = 0;}};', encoding=encoding)
    write_image(tmp_path)
    documents, measurement, problems = imported(tmp_path)
    assert (measurement.technique, measurement.grid.energies) == ("stxm", [697.99423])
    np.testing.assert_array_equal(stack(documents)[0], IMAGE)
    assert problems == []


def test_a_stack_converted_by_pollux_says_once_what_its_placeholders_are(tmp_path):
    """Its converter writes an energy of -5 and a time of May 2000 for every image."""
    energies = [700.0, 701.0, 702.0]
    blocks = "".join(
        f'Image{n} = {{StorageRingCurrent = {400 + n}; Energy = -5.00; Time = "2000 May 01 00:00:00";}};\n'
        for n in range(1, 4)
    )
    axis = f'StackAxis = {{ Name = "Energy"; Unit = "eV"; Min = 700.0; Max = 702.0;\n{points_of(energies)}\n}};\n'
    scan(tmp_path, kind="NEXAFS Image Scan", stack_axis=axis, extra=blocks)
    for index in range(3):
        write_image(tmp_path, f"s1_a{index:03d}.xim", IMAGE + index)
    documents, _, problems = imported(tmp_path)
    assert problems == [
        "image 0 to image 2, 3 of them: time '2000 May 01 00:00:00' is before the scan began; that of the image before "
        "stands for it",
        "image 0 to image 2, 3 of them: energy -5.0 is none; the requested one stands for it",
    ]
    found = events(documents)
    assert [found[n]["data"][Key.ENERGY] for n in (1, 3, 5)] == energies
    assert [found[n]["data"][Key.RING_CURRENT] for n in (1, 3, 5)] == [401, 402, 403]
    assert found[5]["time"] == documents[0][1]["time"]


@pytest.mark.parametrize(
    ("image", "taken", "said"),
    [
        (IMAGE * 500, IMAGE, "and its numbers are whole times the dwell: taken for a rate"),  # 2 ms
        (IMAGE * 123, IMAGE * 123, "but its numbers are not whole times the dwell: taken for counts"),
    ],
)
def test_numbers_in_hz_are_a_rate_where_a_counter_can_have_had_them(image, taken, said, tmp_path):
    scan(tmp_path, unit="Hz", extra="Monochromator = { LastPosition = 700;};")
    write_image(tmp_path, image=image)
    documents, _, problems = imported(tmp_path)
    np.testing.assert_allclose(stack(documents)[0], taken)
    assert problems == [f"channel PMT is in 'Hz', {said}"]


def test_parts_of_a_header_that_do_not_agree_are_said(tmp_path):
    axes = (
        f'PAxis = {{ Name = "Sample X"; Unit = "um"; Min = 0; Max = 5; Dir = 1;\n{points_of([0, 0.5, 1])}\n}};\n'
        f'QAxis = {{ Name = "Sample Y"; Unit = "um"; Min = 10; Max = 10.5; Dir = 1;\n{points_of([10, 10.5])}\n}};\n'
    )
    regions = "ImageScan = { SpatialRegions = (1, { XPoints = 3; YPoints = 20;});};\n"
    scan(tmp_path, axes=axes, extra=f"Monochromator = {{ LastPosition = 700;}};\n{regions}")
    write_image(tmp_path)
    documents, _, problems = imported(tmp_path)
    np.testing.assert_array_equal(stack(documents)[0], IMAGE)
    assert problems == [
        "PAxis: Min to Max is 0 to 5 um, its points 0 to 1 um, which are taken",
        "SpatialRegions have 20 points along Y, the axis 2; the axis is taken",
    ]


def test_a_scan_of_no_sample_is_refused_with_what_is_read(tmp_path):
    scan(tmp_path, kind="OSA Scan")
    with pytest.raises(BeamlineError, match=r"a scan of Type 'OSA Scan', expected one of .*NEXAFS Point Scan"):
        imported(tmp_path)


@pytest.mark.measured
def test_the_measured_stack_of_max_iv_is_read_and_its_contradictions_are_said(measured_data):
    folder = measured_data / "other-beamlines"
    documents, measurement, problems = imported(folder / "max_iv.hdr")
    expected = [np.loadtxt(folder / f"max_iv_a00{index}.xim") for index in range(2)]
    np.testing.assert_array_equal(stack(documents), expected)
    assert measurement.grid.energies == [698.0, 700.0]
    assert events(documents)[11]["data"][Key.ENERGY] == 718.0
    assert problems == [
        "channel PMT is in 'Hz', but its numbers are not whole times the dwell: taken for counts",
        "image 1: at 718 eV, where 700 eV was requested",
    ]
