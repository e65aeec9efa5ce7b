"""Import of an iRIXS scan: the measured one unchanged, and each fault on a copy of its first frames."""

import resource
import shutil
from datetime import datetime
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
from small_scans import write_irixs

from beamline.errors import BeamlineError
from beamline.formats.importers.irixs import irixs_documents
from beamline.formats.importers.irixs_log import LOG_ZONE, MOST_LINES, read_log
from callbacks.contract import CCD, MEASUREMENT, CcdConfig, Key, Measurement
from callbacks.external import ExternalFrames

FRAMES = 5  # of the copy


@pytest.fixture
def measured_scan(measured_data):
    return measured_data / "als-irixs" / "CCD Scan 17174"


@pytest.fixture
def scan(measured_scan, tmp_path):
    """A copy of the first frames, to be damaged."""
    copy = tmp_path / "CCD Scan 17174"
    (copy / "Andor").mkdir(parents=True)
    log = (measured_scan / "cox17174-AI.txt").read_bytes().splitlines(keepends=True)
    (copy / "cox17174-AI.txt").write_bytes(b"".join(log[: 13 + FRAMES]))
    for number in range(1, FRAMES + 1):
        name = f"Andor/cox17174-{number:05d}.tif"
        shutil.copyfile(measured_scan / name, copy / name)
    return copy


def frame_file(scan, number):
    return scan / "Andor" / f"cox17174-{number:05d}.tif"


def edit_log(scan, old, new, count=1):
    path = scan / "cox17174-AI.txt"
    text = path.read_bytes().decode("latin-1")
    assert old in text
    path.write_bytes(text.replace(old, new, count).encode("latin-1"))


class Imported:
    """The documents of an import, and the frames they refer to."""

    def __init__(self, folder, frames_dir):
        self.documents = list(irixs_documents(folder, frames_dir=frames_dir))
        self.events = self.of("event")
        self.start = self.of("start")[0]
        self.stop = self.of("stop")[0]
        self.problems = self.start["import_problems"]
        self.marked = {
            event["seq_num"]: event["data"][Key.FRAME_PROBLEM]
            for event in self.events
            if event["data"][Key.FRAME_PROBLEM]
        }

    def of(self, kind):
        return [doc for name, doc in self.documents if name == kind]

    def frames(self):
        files = ExternalFrames()
        for name, doc in self.documents:
            if name in ("stream_resource", "stream_datum"):
                getattr(files, name)(doc)
        frames = np.array([files.read(event, Key.CCD_IMAGE) for event in self.events])
        files.close()
        return frames


@pytest.mark.measured
def test_the_measured_scan_is_imported_whole(measured_scan, tmp_path):
    imported = Imported(measured_scan, tmp_path)
    assert len(imported.events) == 48
    assert imported.problems == []
    assert imported.marked == {}
    first = imported.events[0]["data"]
    assert first[Key.ENERGY] == 774.98950142
    assert first[Key.I0] == 15663398.0
    assert (first[Key.TFY], first[Key.TEY], first[Key.CCD_BACKGROUND]) == (4643716.0, 149761.0, 336.0)
    assert {"izero_2", "sample_current", "beam_current", "total_flux", "counts"} <= first.keys()
    assert imported.start["scan_id"] == 17174
    assert len(imported.start["instrument_log"]) == 12
    assert "X Motor: BL 8 Energy" in imported.start["instrument_log"]
    measurement = Measurement.model_validate(imported.start[MEASUREMENT])
    assert (measurement.technique, measurement.points, measurement.exposure_time) == ("rixs", 48, 307.0)
    configuration = imported.of("descriptor")[0]["configuration"][CCD]["data"]
    assert configuration[CcdConfig.PEDESTAL_SUBTRACTED] == 1
    assert configuration[CcdConfig.FULL_SCALE] == 65535 - 337
    assert configuration[CcdConfig.COUNTS_PER_EV] * 777 == pytest.approx(162, abs=0.5)
    assert np.isnan(configuration[CcdConfig.READ_NOISE])
    assert imported.stop["num_events"] == {"primary": 48}
    assert imported.stop["exit_status"] == "success"


@pytest.mark.measured
def test_column_sums_of_the_converted_frame_are_the_instruments_own(measured_scan, tmp_path):
    table = (measured_scan / "Andor" / "cox17174-00001-1D.txt").read_text().split("X\tCounts\n")[1]
    instrument = np.array([line.split("\t")[1] for line in table.splitlines()], dtype=float)
    frame = Imported(measured_scan, tmp_path).frames()[0]
    np.testing.assert_array_equal(frame.sum(axis=0, dtype=np.int64), instrument)


@pytest.mark.measured
def test_every_pixel_and_the_total_of_every_frame_survive(measured_scan, tmp_path):
    imported = Imported(measured_scan, tmp_path)
    frames = imported.frames()
    assert frames.dtype == np.uint16
    for number, (frame, event) in enumerate(zip(frames, imported.events, strict=True), start=1):
        np.testing.assert_array_equal(frame, tifffile.imread(frame_file(measured_scan, number)))
        assert frame.sum(dtype=np.int64) == event["data"]["counts"]


@pytest.mark.measured
def test_frames_are_stored_one_a_chunk_at_the_place_the_documents_name(measured_scan, tmp_path):
    imported = Imported(measured_scan, tmp_path / "with space")
    resource = imported.of("stream_resource")[0]
    assert resource["mimetype"] == "application/x-hdf5"
    assert resource["uri"].startswith("file://localhost/")
    assert resource["parameters"] == {"dataset": "/entry/data/data", "chunk_shape": [1, 64, 2048]}
    with h5py.File(next((tmp_path / "with space").glob("irixs_17174_*.h5"))) as file:
        assert file["/entry/data/data"].chunks == (1, 64, 2048)
        assert file["/entry/data/data"].shape == (48, 64, 2048)
    assert imported.frames().shape == (48, 64, 2048)


@pytest.mark.measured
def test_times_are_those_of_the_log_in_california(measured_scan, tmp_path):
    events = Imported(measured_scan, tmp_path).events
    assert datetime.fromtimestamp(events[0]["time"], LOG_ZONE).isoformat() == "2024-07-05T15:18:24-07:00"
    assert datetime.fromtimestamp(events[-1]["time"], LOG_ZONE).isoformat() == "2024-07-05T19:18:47-07:00"


@pytest.mark.measured
def test_a_scan_over_midnight_goes_on_the_next_day(scan, tmp_path):
    for number, time in enumerate(("15:18:24", "15:23:30", "15:28:38", "15:33:46", "15:38:52")):
        edit_log(scan, time, ("23:50:00", "23:55:07", "00:00:14", "00:05:21", "00:10:28")[number])
    times = [event["time"] for event in Imported(scan, tmp_path / "frames").events]
    np.testing.assert_array_equal(np.diff(times), 307.0)
    assert datetime.fromtimestamp(times[-1], LOG_ZONE).date().isoformat() == "2024-07-06"


@pytest.mark.measured
@pytest.mark.parametrize("size", [0, 6, 100_000, 262_160, 262_300])
def test_a_truncated_frame_is_marked_and_the_others_are_imported(scan, tmp_path, size):
    with frame_file(scan, 3).open("r+b") as file:
        file.truncate(size)
    imported = Imported(scan, tmp_path / "frames")
    reason = f"cox17174-00003.tif: not a whole TIFF file ({size} bytes)"
    assert imported.marked == {3: reason}
    assert imported.problems == ["1 of 5 frames cannot be used", f"frame 3: {reason}"]
    assert (imported.stop["exit_status"], imported.stop["reason"]) == ("abort", "1 of 5 frames cannot be used")
    frames = imported.frames()
    assert frames[2].max() == 0
    np.testing.assert_array_equal(frames[3], tifffile.imread(frame_file(scan, 4)))


@pytest.mark.measured
def test_a_frame_whose_header_comes_first_is_found_truncated_too(scan, tmp_path):
    frame = tifffile.imread(frame_file(scan, 3))
    tifffile.imwrite(frame_file(scan, 3), frame)
    assert Imported(scan, tmp_path / "whole").marked == {}
    with frame_file(scan, 3).open("r+b") as file:
        file.truncate(200_000)
    assert Imported(scan, tmp_path / "cut").marked == {3: "cox17174-00003.tif: not a whole TIFF file (200000 bytes)"}


@pytest.mark.measured
def test_a_missing_frame_is_marked_and_keeps_its_energy_and_i0(scan, tmp_path):
    frame_file(scan, 2).unlink()
    imported = Imported(scan, tmp_path / "frames")
    assert imported.marked == {2: "cox17174-00002.tif: missing"}
    assert imported.problems == ["1 of 5 frames cannot be used", "frame 2: cox17174-00002.tif: missing"]
    assert imported.events[1]["data"][Key.ENERGY] == 775.50606725


@pytest.mark.measured
def test_a_frame_of_another_size_is_marked_even_when_it_is_the_first(scan, tmp_path):
    tifffile.imwrite(frame_file(scan, 1), np.ones((64, 1024), np.uint16))
    imported = Imported(scan, tmp_path / "frames")
    reason = "cox17174-00001.tif: 64 x 1024 pixels of uint16, expected 64 x 2048 of uint16"
    assert imported.marked == {1: reason}
    assert imported.frames().shape == (FRAMES, 64, 2048)


@pytest.mark.measured
def test_a_frame_of_another_type_is_marked(scan, tmp_path):
    tifffile.imwrite(frame_file(scan, 1), np.ones((64, 2048), np.float32))
    assert Imported(scan, tmp_path / "frames").marked == {
        1: "cox17174-00001.tif: 64 x 2048 pixels of float32, expected 64 x 2048 of uint16"
    }


@pytest.mark.measured
def test_a_frame_that_the_log_does_not_know_is_named_and_left_out(scan, tmp_path):
    shutil.copyfile(frame_file(scan, 5), frame_file(scan, 6))
    imported = Imported(scan, tmp_path / "frames")
    assert imported.problems == ["Andor/cox17174-00006.tif: not in cox17174-AI.txt, left out"]
    assert len(imported.events) == FRAMES
    assert imported.marked == {}


@pytest.mark.measured
def test_a_frame_that_is_not_the_one_the_log_summed_is_marked(scan, tmp_path):
    shutil.copyfile(frame_file(scan, 5), frame_file(scan, 2))
    assert Imported(scan, tmp_path / "frames").marked == {
        2: "cox17174-00002.tif: holds 487254 counts, the log says 463679"
    }


@pytest.mark.measured
def test_sums_of_something_else_mark_no_frame(scan, tmp_path):
    for sum_of_frame in ("421237.0", "463679.0", "462697.0"):
        edit_log(scan, sum_of_frame, "17.0")
    assert Imported(scan, tmp_path / "frames").marked == {}


@pytest.mark.measured
def test_a_cut_line_of_the_log_is_named_and_its_frame_left_out(scan, tmp_path):
    path = scan / "cox17174-AI.txt"
    path.write_bytes(path.read_bytes()[:-60])
    imported = Imported(scan, tmp_path / "frames")
    assert imported.problems == [
        "1 of 5 lines of the log left out",
        "cox17174-AI.txt line 18: 9 columns, expected 13; left out",
        "Andor/cox17174-00005.tif: not in cox17174-AI.txt, left out",
    ]
    assert len(imported.events) == FRAMES - 1


@pytest.mark.measured
@pytest.mark.parametrize(
    ("energy", "reason"), [("77?", "could not convert string to float: '77?'"), ("NaN", "energy is nan")]
)
def test_a_log_line_without_an_energy_is_named(scan, tmp_path, energy, reason):
    edit_log(scan, "775.50606725", energy)
    imported = Imported(scan, tmp_path / "frames")
    assert imported.problems[1] == f"cox17174-AI.txt line 15: {reason}; left out"
    assert len(imported.events) == FRAMES - 1


@pytest.mark.measured
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Time\tFrame", "Tome\tFrame", "no table; expected a line that starts with 'Time' and a tab"),
        ("\tIzero\t", "\tI0\t", "the table has no column 'Izero'"),
        ("\tBL 8 Energy\t", "\tMono\t", "the table has no column 'BL 8 Energy'"),
        ("X Motor: BL 8 Energy", "X Motor: Sample X", "'X Motor' is 'Sample X', expected an energy"),
        ("\\240705\\", "\\july\\", "no date; expected one like 240705 in 'Data File Path:"),
        ("\\240705\\", "\\241399\\", "no date; expected one like 240705 in 'Data File Path:"),
    ],
)
def test_a_log_that_cannot_be_read_is_one_line_and_nothing_is_imported(scan, tmp_path, old, new, message):
    edit_log(scan, old, new)
    with pytest.raises(BeamlineError) as error:
        list(irixs_documents(scan, frames_dir=tmp_path / "frames"))
    assert message in str(error.value)
    assert "cox17174-AI.txt" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "frames").exists()


@pytest.mark.measured
def test_a_log_that_is_not_text_is_one_line(scan):
    (scan / "cox17174-AI.txt").write_bytes(bytes(range(256)))
    with pytest.raises(BeamlineError, match="no table"):
        read_log(scan)


@pytest.mark.measured
def test_a_table_without_a_readable_line_is_one_line(scan):
    path = scan / "cox17174-AI.txt"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:13]))
    with pytest.raises(BeamlineError, match="the table holds no line that can be read"):
        read_log(scan)


@pytest.mark.measured
def test_no_log_two_logs_and_no_folder_are_one_line_each(scan, tmp_path):
    shutil.copyfile(scan / "cox17174-AI.txt", scan / "cox17175-AI.txt")
    with pytest.raises(BeamlineError, match=r"expected one log .*, found cox17174-AI.txt, cox17175-AI.txt"):
        read_log(scan)
    for log in scan.glob("*-AI.txt"):
        log.unlink()
    with pytest.raises(BeamlineError, match="found none"):
        read_log(scan)
    with pytest.raises(BeamlineError, match="no such folder"):
        read_log(tmp_path / "elsewhere")


@pytest.mark.measured
def test_a_scan_without_any_readable_frame_is_one_line(scan, tmp_path):
    shutil.rmtree(scan / "Andor")
    with pytest.raises(BeamlineError, match=r"none of the 5 frames can be read; cox17174-00001.tif: missing"):
        list(irixs_documents(scan, frames_dir=tmp_path / "frames"))
    assert not (tmp_path / "frames").exists()


@pytest.mark.measured
def test_frames_that_cannot_be_written_are_one_line(scan, tmp_path):
    (tmp_path / "frames").write_text("a file where the folder should be")
    with pytest.raises(BeamlineError, match="frames cannot be written"):
        list(irixs_documents(scan, frames_dir=tmp_path / "frames"))


@pytest.mark.measured
def test_a_disk_too_small_for_the_frames_is_one_line_and_nothing_is_written(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=5_000_000))
    with pytest.raises(BeamlineError, match="frames: 5 MB free, the frames need 11 MB"):
        list(irixs_documents(scan, frames_dir=tmp_path / "frames"))
    assert list((tmp_path / "frames").iterdir()) == []


# Faults of a small scan, which is written and not measured: 4 frames of 3 x 5 pixels


@pytest.fixture
def small(tmp_path):
    return write_irixs(tmp_path / "scan")


def edit_small(scan, *edits):
    log = scan / "cox7-AI.txt"
    text = log.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    log.write_text(text)


def test_frames_that_the_log_does_not_know_are_named_up_to_three(small, tmp_path):
    for number in range(5, 10):
        shutil.copyfile(small / "Andor" / "cox7-00001.tif", small / "Andor" / f"cox7-{number:05d}.tif")
    assert Imported(small, tmp_path / "frames").problems == [
        "Andor/cox7-00005.tif, cox7-00006.tif, cox7-00007.tif and 2 more: not in cox7-AI.txt, left out"
    ]


def test_a_frame_that_the_log_names_twice_is_marked_the_second_time(small, tmp_path):
    edit_small(small, ("cox7-00003", "cox7-00002"), ("\t45.0\t", "\t30.0\t"))
    imported = Imported(small, tmp_path / "frames")
    assert imported.marked == {3: "cox7-00002.tif: is frame 2 already"}
    assert imported.stop["exit_status"] == "abort"


def test_frames_of_a_log_without_their_sums_are_not_compared(small, tmp_path):
    edit_small(small, ("Counts", "Gas"), ("\t45.0\t", "\t46.0\t"))
    imported = Imported(small, tmp_path / "frames")
    assert (imported.problems, imported.marked) == ([], {})
    assert [event["data"]["gas"] for event in imported.events] == [15.0, 30.0, 46.0, 60.0]


def test_a_line_of_the_log_whose_clock_went_back_is_kept_and_named(small, tmp_path):
    edit_small(small, ("15:13:24", "15:10:00"))
    imported = Imported(small, tmp_path / "frames")
    assert imported.problems == ["cox7-AI.txt line 7: its time is 144 s before that of the line before"]
    assert len(imported.events) == 4
    assert imported.stop["exit_status"] == "success"


def test_a_line_of_the_log_with_an_infinite_value_is_left_out_and_named(small, tmp_path):
    edit_small(small, ("\t45.0\t", "\tinf\t"))
    imported = Imported(small, tmp_path / "frames")
    assert imported.problems[:2] == [
        "1 of 4 lines of the log left out",
        "cox7-AI.txt line 7: counts is infinite; left out",
    ]
    assert [event["data"][Key.ENERGY] for event in imported.events] == [775.5, 776.5, 778.5]


def test_a_log_of_more_lines_than_a_scan_can_have_is_refused(small):
    with (small / "cox7-AI.txt").open("a") as log:
        log.write("x\n" * MOST_LINES)
    with pytest.raises(BeamlineError, match=r"cox7-AI.txt: 100,004 lines, expected at most 100,000$"):
        read_log(small)


def test_frames_of_which_writing_fails_leave_no_file(small, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    frame = np.ones((2000, 2000), np.uint16)
    for path in (small / "Andor").iterdir():
        tifffile.imwrite(path, frame)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(BeamlineError, match=r"irixs_7_.*\.h5: frames cannot be written: .*File too large"):
            list(irixs_documents(small, frames_dir=tmp_path / "frames"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "frames").iterdir()) == []


def as_text(folder):
    """Write each frame of a scan as the text that stands beside it, and take the TIFF away."""
    for path in sorted((folder / "Andor").glob("*.tif")):
        frame = tifffile.imread(path)
        rows, columns = frame.shape
        head = f"Instrument: Andor\nX Size: {columns}\nY Size: {rows}\nTotal Flux: 0.000\nTotal Counts: {frame.sum()}\n"
        pixels = "".join(f"{x}\t{y}\t{frame[y, x]}\n" for y in range(rows) for x in range(columns))
        path.with_name(f"{path.stem}-2D.txt").write_text(f"{head}Background: 337.0\nX\tY\tCounts\n{pixels}")
        path.unlink()


def frames_of(documents):
    frames, events = ExternalFrames(), []
    for name, doc in documents:
        if name in ("stream_resource", "stream_datum"):
            getattr(frames, name)(doc)
        elif name == "event":
            events.append(frames.read(doc, str(Key.CCD_IMAGE)))
    frames.close()
    return np.array(events)


def test_frames_that_are_there_as_text_only_are_the_same(tmp_path):
    folder = write_irixs(tmp_path / "scan")
    rng = np.random.default_rng(0)
    for path in (folder / "Andor").glob("*.tif"):
        tifffile.imwrite(path, rng.integers(0, 60000, (3, 5), dtype=np.uint16))
    expected = frames_of(irixs_documents(folder, frames_dir=tmp_path / "a"))
    as_text(folder)
    documents = list(irixs_documents(folder, frames_dir=tmp_path / "b"))
    np.testing.assert_array_equal(frames_of(documents), expected)
    said = documents[0][1]["import_problems"]
    assert said == ["there are no TIFF files; the frames are read from their -2D.txt, whose Y are taken as the rows"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-20], "11 pixels, expected 3 x 5"),
        (lambda text: text.replace("X Size: 5", "X Size: 50000000"), "'X Size 50000000, Y Size 3', expected a frame"),
        (lambda text: text.replace("X Size", "Size"), "'X Size None, Y Size 3', expected a frame"),
        (lambda text: text.replace("X\tY\tCounts", "Z"), "no line 'X Y Counts'"),
        (lambda text: text.replace("4\t2\t", "3\t2\t"), "not each of its 3 x 5 pixels once"),
        (lambda text: text.replace("4\t2\t", "9\t2\t"), "not each of its 3 x 5 pixels once"),
        (lambda text: text.replace("0\t0\t2\n", "0\t0\t70000\n"), "counts from 2 to 70000, expected 0 to 65535"),
        (lambda text: text.replace("0\t0\t2\n", "0\t0\t7\n"), "holds 35 counts, its header says 30"),
        (lambda text: text.replace("0\t0\t2\n", "0\t0\tx\n"), "invalid literal for int() with base 10: 'x'"),
        (lambda _: "", "'X Size None, Y Size None', expected a frame"),
    ],
)
def test_a_text_of_a_frame_that_is_damaged_costs_only_itself(damage, words, tmp_path):
    folder = write_irixs(tmp_path / "scan")
    as_text(folder)
    path = folder / "Andor" / "cox7-00002-2D.txt"
    path.write_text(damage(path.read_text()))
    documents = list(irixs_documents(folder, frames_dir=tmp_path / "frames"))
    assert documents[-1][1]["reason"] == "1 of 4 frames cannot be used"
    assert f"frame 2: cox7-00002-2D.txt: {words}" in " ".join(documents[0][1]["import_problems"])
    np.testing.assert_array_equal(frames_of(documents)[2], np.full((3, 5), 3))
