"""HDF5 files of frames, readable while they are written, as the cameras of the simulation make them."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py

from callbacks.external import HDF5_DATASET

FREE_FOR_HDF5 = 1 << 20  # bytes that a frame's file needs beside the frame


def create_frames(file: h5py.File, shape: tuple[int, int]) -> None:
    """Make the dataset of frames of a shape (rows, columns); none is in it yet."""
    file.create_dataset(HDF5_DATASET, (0, *shape), maxshape=(None, *shape), chunks=(1, *shape), dtype="uint16")


def is_disk_full(file: h5py.File, frame_bytes: int) -> bool:
    """Tell whether a frame does not fit on the disk any more.

    It is asked before writing: when HDF5 fails to extend a file, closing that file aborts the process.
    """
    return bool(shutil.disk_usage(Path(file.filename).parent).free < frame_bytes + FREE_FOR_HDF5)
