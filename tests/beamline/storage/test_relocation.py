"""The files that documents name are found, also where there are none, and what is wrong with one is said."""

import fcntl
import os
from pathlib import Path

import h5py
import pytest
from refusals import without_privileges

from beamline.storage.layout import Layout, is_frame_link
from beamline.storage.relocation import current_path, relocated, unreadable_files, why_unreadable


def test_why_a_file_cannot_be_read_is_said_and_nothing_of_one_that_can_be(tmp_path):
    good, writing = tmp_path / "good.h5", tmp_path / "writing.h5"
    for path in (good, writing):
        h5py.File(path, "w").close()
    (tmp_path / "image.tif").write_bytes(b"tea")
    (tmp_path / "tea.h5").write_bytes(b"tea")
    with writing.open() as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 does for one that is written and not for others to see
        assert why_unreadable(writing) == ""
    assert why_unreadable(good) == why_unreadable(tmp_path / "image.tif") == ""
    for gone in (tmp_path / "gone.h5", tmp_path / "image.tif" / "gone.h5"):
        assert why_unreadable(gone) == "missing, though runs refer to it"
    assert why_unreadable(tmp_path / "tea.h5").startswith("cannot be read: Unable to ")
    assert why_unreadable(tmp_path / ("a" * 300)) == "cannot be read: File name too long"
    os.chmod(tmp_path, 0)
    with without_privileges():
        assert why_unreadable(good) == "cannot be read: Permission denied"
    os.chmod(tmp_path, 0o700)


@pytest.mark.parametrize(
    ("name", "doc"),
    [
        ("resource", {}),
        ("resource", {"resource_path": 3}),
        ("resource", {"root": "/", "resource_path": "frames/a\0b"}),
        ("stream_resource", {}),
        ("stream_resource", {"uri": None}),
        ("stream_resource", {"uri": "https://example.org/frames/a.h5"}),
        ("stream_resource", {"uri": "file://[/frames/a.h5"}),
        ("stream_resource", {"uri": "file://localhost/frames/a%00b.h5"}),
    ],
)
def test_a_document_that_names_no_file_stays_as_it_is(tmp_path, name, doc):
    assert list(relocated([(name, doc)], tmp_path)) == [(name, doc)]
    assert unreadable_files([(name, doc)]) == []


def test_a_name_that_no_file_can_have_is_looked_for_nowhere_else(tmp_path):
    long = tmp_path / "frames" / ("a" * 300)
    for folder in (Layout(tmp_path / "other").frames, Layout(tmp_path / "third").logs):
        folder.mkdir(parents=True)
    assert current_path(long, tmp_path / "other") == long
    assert Layout(tmp_path / "third").find_log("a" * 300) is None


@pytest.mark.parametrize("part", ["frames", "derived"])
def test_a_copy_that_lacks_a_file_does_not_take_that_of_the_original(tmp_path, part):
    original, copy = tmp_path / "original", tmp_path / "copy"
    file = original / part / "of" / "a.h5"
    file.parent.mkdir(parents=True)
    file.touch()
    assert current_path(file, copy) == file  # what wrote it is no data folder: it may lie anywhere
    Layout(original).logs.mkdir()
    assert current_path(file, original) == file
    assert current_path(file, copy) == copy / part / "of" / "a.h5"
    assert why_unreadable(current_path(file, copy)) == "missing, though runs refer to it"
    (tmp_path / "link").symlink_to(original)
    assert current_path(file, tmp_path / "link") == tmp_path / "link" / part / "of" / "a.h5"


def test_no_file_at_the_top_of_the_file_system_is_taken_for_a_link():
    assert not is_frame_link(Path("/a.h5"))
    assert not is_frame_link(Path("/frames/a.h5"))


@pytest.mark.parametrize(
    ("time", "year"), [(0.0, "1970"), (1.7e9, "2023"), (1e300, "unknown"), (float("nan"), "unknown")]
)
def test_a_log_is_filed_under_its_year_even_if_the_clock_was_wrong(tmp_path, time, year):
    assert Layout(tmp_path).ingested_log("a", time) == tmp_path / "log" / "ingested" / year / "a.log"


@pytest.mark.parametrize("uid", ["", "a/b", "../a", "a\0b"])
def test_what_is_no_name_of_a_log_finds_none(tmp_path, uid):
    assert Layout(tmp_path).find_log(uid) is None
