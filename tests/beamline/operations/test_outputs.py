"""Files for the user: whole or not at all, and one line where they cannot be written."""

import errno
import os
import stat
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import answer
from stxm_documents import stxm_documents

from beamline.errors import BeamlineError
from beamline.operations.outputs import new_file, new_files, printed
from beamline.operations.replay import reduce_documents
from beamline.storage import DerivedRuns, Layout, Recorder
from callbacks.external import FrameReadError

CAMPAIGN = 'name = "two"\nsamples = ["a"]\nedge = "O K"\n[spectra]\nregions = "520:530:1"\n'
NO_DATA = Path("/nowhere")  # no file is written there


def write(path, text="whole"):
    with new_file(Path(path), NO_DATA, overwrite=True) as part:
        part.write_text(text)


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(tmp_path):
    write(tmp_path / "file", "old")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        refused = pytest.raises(
            BeamlineError, match=rf"{name}: is there already; expected another name, or --overwrite"
        )
        with refused, new_file(tmp_path / name, NO_DATA, overwrite=False):
            pytest.fail("it is said before the work is done")
    folder = tmp_path / "tables"
    with new_files(folder, NO_DATA, overwrite=False) as part:
        (part / "one").write_text("old")
    with (
        pytest.raises(BeamlineError, match="one: is there already"),
        new_files(folder, NO_DATA, overwrite=False) as part,
    ):
        _ = [(part / name).write_text("new") for name in ("one", "two")]
    with new_files(folder, NO_DATA, overwrite=False) as part:
        (part / "two").write_text("new")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"one": "old", "two": "new"}
    (folder / "01-spectra.pdf").touch()
    refused = pytest.raises(BeamlineError, match=r"01-spectra\.pdf: is there already")
    with refused, printed(folder, None, NO_DATA, overwrite=False):
        pytest.fail("it is said before anything is drawn")
    with printed(folder, None, NO_DATA, overwrite=True) as to_print:
        assert to_print is not None


def test_a_file_and_its_folders_are_made_with_the_permissions_of_any_other(tmp_path):
    write(tmp_path / "a" / "b" / "file")
    (tmp_path / "other").touch()
    assert (tmp_path / "a" / "b" / "file").read_text() == "whole"
    assert (tmp_path / "a" / "b" / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_is_replaced_once_the_new_one_is_whole(tmp_path):
    write(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "file", NO_DATA, overwrite=True) as part:
        part.write_text("half" * (1 // 0))
    assert (tmp_path / "file").read_text() == "old"
    write(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "new")]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    write(tmp_path / ("x" * 255))
    assert (tmp_path / ("x" * 255)).read_text() == "whole"


def test_the_file_that_a_link_names_is_replaced_and_the_link_stays(tmp_path):
    write(tmp_path / "file", "old")
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def cannot_be_written(folder, ending=""):
    """Name paths that no file can be written to, and what is said of each; but for a device they end as is asked."""
    special = {name: folder / f"{name}{ending}" for name in ("folder", "dangling", "loop", "pipe")}
    special["folder"].mkdir()
    (folder / "file").touch()
    special["dangling"].symlink_to(folder / "nowhere" / "x")
    special["loop"].symlink_to(special["loop"])
    os.mkfifo(special["pipe"])
    return [
        (special["folder"], "is a folder, expected a file"),
        (folder / f"{'x' * 256}{ending}", "cannot be written: File name too long"),
        (folder / ("x/" * 3000) / f"y{ending}", "cannot be written: File name too long"),
        (folder / "file" / f"x{ending}", "file: is a file, expected a folder"),
        (folder / "file" / "x" / f"y{ending}", "cannot be written: Not a directory"),
        (special["dangling"], f"is a symbolic link to {folder / 'nowhere' / 'x'}, which does not exist"),
        (special["loop"], "is a symbolic link to"),
        (special["pipe"], "is a device or pipe, expected a file"),
        (folder / f"a\0b{ending}", "is not the path of a file or folder"),
        (Path(f"/proc/x{ending}"), "cannot be written: No such file or directory"),
        (Path("/dev/full"), "expected a name ending in .html" if ending else "is a device or pipe, expected a file"),
    ]


def test_what_cannot_be_written_is_said_in_one_line_and_leaves_nothing(tmp_path):
    refused = cannot_be_written(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for path, message in refused:
        with pytest.raises(BeamlineError) as error:
            write(path)
        assert message in str(error.value), path
        assert len(error.value.problems) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_folder_takes_new_files_and_keeps_the_others(tmp_path):
    folder = tmp_path / "tables"
    for text in ("old", "new"):
        with new_files(folder, NO_DATA, overwrite=True) as part:
            (part / "one").write_text(text)
        (folder / "other").write_text("other")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"one": "new", "other": "other"}
    with (
        pytest.raises(BeamlineError, match=r"one: is a file, expected a folder"),
        new_files(folder / "one", NO_DATA, overwrite=True),
    ):
        pass
    (folder / "two").mkdir()
    with (
        pytest.raises(BeamlineError, match=r"two: is a folder, expected a file"),
        new_files(folder, NO_DATA, overwrite=True) as part,
    ):
        _ = [(part / name).write_text("newest") for name in ("one", "two")]
    assert (folder / "one").read_text() == "new"
    assert sorted(path.name for path in folder.iterdir()) == ["one", "other", "two"]


def test_a_disk_that_is_full_is_said_in_one_line_and_leaves_no_part(small_disk):
    for write_all in (lambda part: part.write_bytes(bytes(5_000_000)), _fill_hdf5):
        with pytest.raises(BeamlineError) as error, new_file(small_disk / "file", NO_DATA, overwrite=True) as part:
            write_all(part)
        assert str(error.value) == f"{small_disk / 'file'}: cannot be written: {os.strerror(errno.ENOSPC)}"
        assert not list(small_disk.iterdir())


def test_a_file_that_cannot_be_read_is_not_said_to_be_one_that_cannot_be_written(tmp_path):
    with pytest.raises(FrameReadError, match="frames"), new_file(tmp_path / "file", NO_DATA, overwrite=True):
        raise FrameReadError("frames.h5: cannot be read: error message = 'No such file or directory'")
    assert not list(tmp_path.iterdir())


def _fill_hdf5(part):
    with h5py.File(part, "w") as file:
        for number in range(50):
            file[str(number)] = np.random.default_rng(number).random(20_000)
            file.flush()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The data folder of one reduced image."""
    folder = tmp_path_factory.mktemp("image")
    documents = stxm_documents(np.full((1, 4, 6), 100.0), [700.0], np.arange(6.0), np.arange(4.0))
    with closing(Recorder(folder)) as recorder, closing(DerivedRuns(folder)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, None):
            derived(*document)
    return folder


WRITE = [["report"], ["export"], ["export", "--format", "columns"], ["export", "--format", "nxstxm"], ["analyse"]]


@pytest.mark.long
@pytest.mark.parametrize("command", WRITE[:-1], ids=" ".join)
def test_every_command_that_writes_refuses_what_cannot_be_written_in_one_line(image, tmp_path, command):
    for path, message in cannot_be_written(tmp_path, ".html" if command == ["report"] else ""):
        if "columns" in command and path.name == "folder":
            continue
        found = answer(*command, "-1", "-o", path, "--data-dir", image)
        assert found.code == (2 if "\0" in str(path) else 1), path
        assert found.stderr.startswith("beamline: ")
        assert "report" not in command or message in found.stderr, path
        assert found.stderr.count("\n") == 1
        assert "internal error" not in found.stderr
    assert answer(*command, "-1", "-o", "", "--data-dir", image).code == 2


@pytest.mark.parametrize("command", [["report"], ["export"]], ids=" ".join)
def test_a_file_that_is_named_is_replaced_only_with_overwrite(image, tmp_path, command):
    path = tmp_path / "file.html"
    path.write_text("mine")
    found = answer(*command, "-1", "-o", path, "--data-dir", image)
    assert (found.code, found.stderr) == (
        1, f"beamline: {path}: is there already; expected another name, or --overwrite\n"
    )  # fmt: skip
    assert path.read_text() == "mine"
    assert answer(*command, "-1", "-o", path, "--overwrite", "--data-dir", image).code == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("command", [["report", "-1"], ["analyse", "-1"], ["campaign", "two.toml"]], ids=" ".join)
@pytest.mark.parametrize("name", ["x.pdf", "x", "x.html.gz"])
def test_a_report_under_the_name_of_another_kind_of_file_is_refused_before_the_work(
    image, tmp_path, monkeypatch, command, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(CAMPAIGN)
    found = answer(*command, "-o", name, "--data-dir", image)
    assert (found.code, found.stderr) == (
        1,
        f"beamline: {name}: a report is an HTML page; expected a name ending in .html or .htm"
        " (figures as PDF, SVG or PNG: --figures FOLDER --figure-format FORMAT)\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["two.toml"]


def test_a_report_may_end_as_any_html_page(image, tmp_path):
    for name in ("x.htm", "x.HTML"):
        assert answer("report", "-1", "-o", tmp_path / name, "--data-dir", image).code == 0
        assert (tmp_path / name).read_text().startswith("<!doctype html>")


def holding_data(folder):
    """Name paths where the data folder keeps data, made or not, and the part that is named as the reason."""
    layout = Layout(folder)
    return [
        (layout.all_logs()[0], layout.logs),
        (layout.logs / "new" / "x", layout.logs),
        (layout.frames / "ccd.h5", layout.frames),
        (layout.frames, layout.frames),
        (layout.derived / "x.h5", layout.derived),
        (layout.catalogue_database, layout.catalogue),
        (layout.live / "stxm.html", layout.live),
        (layout.scan_id, layout.scan_id),
        (layout.catalogue_lock, layout.catalogue_lock),
        (layout.process_status("ingest"), layout.process_status("ingest")),
        (layout.session_log, layout.session_log),
        (folder / ".scan_id.lock", folder / ".scan_id.lock"),
        (folder / "catalog.damaged-20260101T000000Z" / "catalog.db", folder / "catalog.damaged-20260101T000000Z"),
        (folder / "reports" / ".." / "frames" / "ccd.h5", layout.frames),
    ]


@pytest.mark.long
@pytest.mark.parametrize("command", WRITE, ids=" ".join)
def test_every_command_that_writes_refuses_to_where_data_are_kept(image, tmp_path, command):
    before = {path: path.read_bytes() for path in image.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(image)
    cases = holding_data(image)
    cases += [(tmp_path / "link" / path.relative_to(image), part) for path, part in cases]
    for path, part in cases:
        found = answer(*command, "-1", "-o", path, "--data-dir", image)
        assert found.code == 1, path
        assert found.stderr.startswith(f"beamline: {path}: ")
        assert f" {part}, where data are kept" in found.stderr
        assert found.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in image.rglob("*") if path.is_file()} == before


def test_frames_on_another_disk_that_the_data_folder_links_to_are_data_as_well(tmp_path):
    disk, folder = tmp_path / "disk", tmp_path / "data"
    disk.mkdir()
    folder.mkdir()
    (folder / "frames").symlink_to(disk)
    with pytest.raises(BeamlineError, match="where data are kept"), new_file(disk / "ccd.h5", folder, overwrite=True):
        pass
    assert not list(disk.iterdir())


def test_reports_and_new_names_in_the_data_folder_may_be_written(tmp_path):
    for name in ("reports/x.html", "new/x", "x.nxs", "catalog.nxs", "frames.html", "log.d/frames/x"):
        with new_file(tmp_path / name, tmp_path, overwrite=True) as part:
            part.write_text(name)
        assert (tmp_path / name).read_text() == name
    with new_files(tmp_path, tmp_path, overwrite=True) as folder:
        (folder / "spectrum.txt").touch()
    assert (tmp_path / "spectrum.txt").exists()


def test_columns_of_a_stack_without_i0_are_refused_with_the_reason(image, tmp_path):
    found = answer("export", "-1", "--format", "columns", "-o", tmp_path / "text", "--data-dir", image)
    assert found.code == 1
    assert "its reduction found nothing that could be written as columns: " in found.stderr
    assert "i0: 24 pixels are known, expected 40 or more" in found.stderr
    assert found.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
