"""Frames are linked in the order of the events, and files that a killed process left open become readable."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from beamline.storage.frames import FramesError, link_frames, linked_frames, repair_frames

PROGRAMS = Path(__file__).with_name("programs")


def test_linked_frames_are_read_in_the_order_of_the_events_and_never_as_zeros(tmp_path):
    files = [tmp_path / "frames" / name for name in ("a.h5", "b.h5")]
    files[0].parent.mkdir()
    for file, offset in zip(files, (0, 100), strict=True):
        with h5py.File(file, "w") as target:
            target["entry/data/data"] = np.arange(offset, offset + 5, dtype="u2")[:, None, None] * np.ones((2, 3), "u2")
    places = [(files[0], 0), (files[0], 2), (files[1], 1), (files[0], 2)]
    link = tmp_path / "catalog" / "links" / "x.h5"
    link_frames(link, places, shape=(2, 3), dtype=np.dtype("u2"))
    assert linked_frames(link) == places
    with h5py.File(link) as file:
        assert file["entry/data/data"][:, 0, 0].tolist() == [0, 2, 101, 2]
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))  # the links are relative
    with h5py.File(moved / "catalog" / "links" / "x.h5") as file:
        assert file["entry/data/data"][:, 1, 2].tolist() == [0, 2, 101, 2]
    (moved / "frames" / "b.h5").unlink()
    with h5py.File(moved / "catalog" / "links" / "x.h5") as file:
        assert file["entry/data/data"][:, 1, 2].tolist() == [0, 2, 65535, 2]


def test_a_file_that_a_killed_writer_left_open_becomes_a_closed_file_with_all_its_frames(tmp_path):
    path = tmp_path / "killed.h5"
    subprocess.run([sys.executable, PROGRAMS / "write_frames_until_killed.py", path], check=False)
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r")
    assert repair_frames(path) == 7
    with h5py.File(path, "r") as file:
        data = file["entry/data/data"]
        assert data[:, 3, 5].tolist() == list(range(7))
        assert (data.chunks, data.compression, data.attrs["units"]) == ((1, 8, 16), "gzip", "counts")
        assert file.attrs["detector"] == "ccd"
    assert [entry.name for entry in tmp_path.iterdir()] == ["killed.h5"]
    written = path.stat().st_mtime_ns
    assert repair_frames(path) == 7
    assert path.stat().st_mtime_ns == written  # a plain file is left alone


def test_a_file_that_is_not_hdf5_is_named_and_left_as_it_is(tmp_path):
    path = tmp_path / "broken.h5"
    path.write_bytes(b"not a frame")
    with pytest.raises(FramesError, match=r"broken\.h5"):
        repair_frames(path)
    assert path.read_bytes() == b"not a frame"
    with pytest.raises(FramesError, match=r"gone\.h5"):
        repair_frames(tmp_path / "gone.h5")
