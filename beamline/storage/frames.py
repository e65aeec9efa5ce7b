"""HDF5 files of camera frames: link to frames in the order of events, repair files that a dead process left open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamline.errors import BeamlineError
from callbacks.external import HDF5_DATASET, said_by_hdf5, says_it_is_written

HDF5_MIMETYPE = "application/x-hdf5"


class FramesError(BeamlineError):
    """A file of frames cannot be read or written."""


FrameLocation = tuple[Path, int]  # file, and index of the frame in it


def link_frames(path: Path, frames: Sequence[FrameLocation | None], *, shape: Sequence[int], dtype: np.dtype) -> None:
    """Write a file that presents the frames of a stream in the order of its events.

    It holds links (an HDF5 virtual dataset), not copies. A frame whose file is missing, or is not known, reads as the
    largest value of an integer type, or as NaN, and never as zeros.

    Parameters
    ----------
    path : Path
        File to write; frames are linked relative to its folder.
    frames : sequence of ((Path, int) or None)
        For each event, the file of its frame and the frame's index in it; None where that is not known.
    shape : sequence of int
        (rows, columns) of a frame.
    dtype : numpy.dtype
        Type of a frame's pixels.
    """
    layout = h5py.VirtualLayout((len(frames), *shape), dtype)
    sizes: dict[Path, int] = {}
    for file, index in filter(None, frames):
        sizes[file] = max(sizes.get(file, 0), index + 1)
    sources = {
        file: h5py.VirtualSource(
            os.path.relpath(file, path.parent), HDF5_DATASET, (size, *shape), dtype, maxshape=(None, *shape)
        )
        for file, size in sizes.items()
    }
    for row, location in enumerate(frames):
        if location is not None:
            layout[row] = sources[location[0]][location[1]]
    missing = np.iinfo(dtype).max if dtype.kind in "iu" else np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with h5py.File(new, "w", libver="latest") as file:
        file.create_virtual_dataset(HDF5_DATASET, layout, fillvalue=missing)
    new.replace(path)  # a reader may have the old one open


def linked_frames(path: Path) -> list[FrameLocation | None]:
    """Return for each event where its frame is, from a file written by `link_frames`; None where that is not known."""
    with h5py.File(path, "r") as file:
        dataset = file[HDF5_DATASET]
        frames: list[FrameLocation | None] = [None] * dataset.shape[0]
        for link in dataset.virtual_sources() if dataset.is_virtual else ():
            frames[_first(link.vspace)] = (path.parent / link.file_name).resolve(), _first(link.src_space)
    return frames


def _first(space: Any) -> int:
    """Return the first index along the first axis of a dataspace's selection."""
    return int(space.get_select_bounds()[0][0])


def is_open_for_writing(path: Path) -> bool:
    """Tell whether a file says of itself that it is being written: it is, or its writer died before it was closed."""
    try:
        with h5py.File(path, "r"):
            return False
    except OSError as error:
        return says_it_is_written(error)


def repair_frames(path: Path) -> int:
    """Rewrite a file that a killed process left open for writing as a closed one with the same content.

    A file that was closed is left unchanged.

    Parameters
    ----------
    path : Path
        An HDF5 file whose writer has died.

    Returns
    -------
    int
        Number of frames in the file, including those that no document refers to.

    Raises
    ------
    FramesError
        When the file cannot be read, or there is no space for the new one; the old one is then unchanged.
    """
    try:
        with h5py.File(path, "r") as file:
            return _count_frames(file)
    except OSError as error:
        if not says_it_is_written(error):
            raise FramesError(f"{path}: {said_by_hdf5(error)}") from error
    plain = path.with_name(f".{path.name}.plain")
    try:
        with h5py.File(path, "r", swmr=True) as file, h5py.File(plain, "w", libver="latest") as copy:
            for name, value in file.attrs.items():
                copy.attrs[name] = value
            for name in file:
                file.copy(name, copy)
            n_frames = _count_frames(copy)
        with plain.open("rb") as written:
            os.fsync(written.fileno())
        shutil.copymode(path, plain)
        plain.replace(path)
    except (OSError, RuntimeError) as error:
        plain.unlink(missing_ok=True)
        raise FramesError(f"{path}: {said_by_hdf5(error)}") from error
    return n_frames


def _count_frames(file: h5py.File) -> int:
    return len(file[HDF5_DATASET]) if HDF5_DATASET in file else 0
