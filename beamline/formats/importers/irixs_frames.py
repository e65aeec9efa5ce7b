"""The frames of a CCD scan of the ALS iRIXS endstation: TIFF files, checked and converted to one HDF5 file."""

from __future__ import annotations

import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import inside, size_of
from beamline.formats.importers.irixs_log import ScanLog
from beamline.formats.text import one_line
from callbacks.external import HDF5_DATASET

SUM = "counts"  # data key of the sum of the frame that the instrument logs
LARGEST_FRAME = 64_000_000  # pixels: 8000 x 8000
SPARE = 10_000_000  # bytes that must remain free when the frames are written


def convert_frames(folder: Path, log: ScanLog, path: Path) -> tuple[tuple[int, int], list[str]]:
    """Convert the frames of a scan to one HDF5 file, laid out as by an area detector's plugin, one chunk per frame.

    Parameters
    ----------
    folder : Path
        Folder of the TIFF files.
    log : ScanLog
        The log; its lines name the files and give their order.
    path : Path
        File to write; its dataset has the shape (n_lines, rows, columns), uint16, with zeros where a frame cannot be
        read.

    Returns
    -------
    shape : (int, int)
        Rows and columns of most frames.
    problems : list of str, length n_lines
        Why a frame cannot be trusted; empty if it can.

    Raises
    ------
    BeamlineError
        When no frame can be read, the log names one outside of the scan's folder, or the file cannot be written; an
        incomplete file is removed.
    """
    names = [PureWindowsPath(folder.name, f"{line.frame_name}.tif") for line in log.lines]  # the log is of Windows
    paths = [inside(log.path.parent, name.as_posix(), named_by=str(log.path)) for name in names]
    shape = _usual_shape(paths)
    problems = [""] * len(paths)
    first: dict[Path, int] = {}
    sums: dict[int, int] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_space(path.parent, 2 * len(paths) * math.prod(shape))
        with h5py.File(path, "x", libver="latest") as file:  # the older format cannot be read as SWMR
            frames = file.create_dataset(HDF5_DATASET, (len(paths), *shape), np.uint16, chunks=(1, *shape))
            for index, frame_path in enumerate(paths):
                frame, problems[index] = _read_frame(frame_path, shape)
                if first.setdefault(frame_path, index) != index and not problems[index]:
                    problems[index] = f"{frame_path.name}: is frame {first[frame_path] + 1} already"
                if frame is not None:
                    frames[index] = frame
                    sums[index] = int(frame.sum(dtype=np.int64))
    except (OSError, RuntimeError) as error:  # the latter if HDF5 finds the disk full only when it closes the file
        if path.is_file():
            path.unlink()
        raise BeamlineError(f"{path}: frames cannot be written: {one_line(error)}") from error
    for index, problem in _differing_sums(sums, log).items():
        problems[index] = problem
    return shape, problems


def _usual_shape(paths: Sequence[Path]) -> tuple[int, int]:
    """Find the rows and columns of most frames from the headers of the files."""
    shapes: Counter[tuple[int, ...]] = Counter()
    first_problem = ""
    for path in paths:
        shape, problem = _open_frame(path, lambda page: page.shape)
        if shape is not None and len(shape) == 2:
            shapes[shape] += 1
        first_problem = first_problem or problem
    if not shapes:
        raise BeamlineError(f"{paths[0].parent}: none of the {len(paths)} frames can be read; {first_problem}")
    rows, columns = shapes.most_common(1)[0][0]
    return rows, columns


def check_space(folder: Path, needed: int) -> None:
    """Check free space first: HDF5 does not survive a disk that fills up while a file is open."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise BeamlineError(f"{folder}: {free / 1e6:.0f} MB free, the frames need {(needed + SPARE) / 1e6:.0f} MB")


def _read_frame(path: Path, shape: tuple[int, int]) -> tuple[NDArray[np.uint16] | None, str]:
    frame, problem = _open_frame(path, lambda page: page.asarray())
    if frame is None:
        return None, problem
    if frame.shape != shape or frame.dtype != np.uint16:
        seen, usual = (" x ".join(map(str, numbers)) for numbers in (frame.shape, shape))
        return None, f"{path.name}: {seen} pixels of {frame.dtype}, expected {usual} of uint16"
    return frame, ""


def _open_frame(path: Path, read: Callable[[Any], Any]) -> tuple[Any, str]:
    """Apply `read` to the first page of a TIFF file; return its result, or None and the reason if it cannot be read."""
    try:
        size = size_of(path)
    except (FileNotFoundError, ValueError) as error:
        return None, str(error)
    try:
        with _quiet_tifffile(), tifffile.TiffFile(path) as file:
            page = file.pages[0]
            problem = _wrong_size(path, page.shape, page.nbytes, size if page.compression == 1 else None)
            return (None, problem) if problem else (read(page), "")
    except Exception:  # noqa: BLE001 - tifffile raises all kinds of errors on a damaged file
        return None, f"{path.name}: not a whole TIFF file ({size} bytes)"


def _wrong_size(path: Path, shape: tuple[int, ...], nbytes: int, size: int | None) -> str:
    """Say what is wrong with the size that a header claims, before memory is taken for it."""
    pixels = math.prod(shape)
    if not 0 < pixels <= LARGEST_FRAME:
        claimed = " x ".join(map(str, shape))
        return f"{path.name}: claims {claimed} pixels, expected at most {LARGEST_FRAME:,}"
    if size is not None and nbytes > size:
        return f"{path.name}: not a whole TIFF file ({size} bytes)"
    return ""


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from logging what is reported in one line anyway."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _differing_sums(sums: dict[int, int], log: ScanLog) -> dict[int, str]:
    """Find the frames, by index, whose sum differs from the one that the instrument logged.

    If most of them differ, the instrument summed something else (a region, say), and the comparison means nothing.
    """
    if SUM not in log.sources:
        return {}
    logged = {index: log.lines[index].values[SUM] for index in sums}
    differing = [index for index in sums if sums[index] != logged[index]]
    if len(differing) > len(sums) / 2:
        return {}
    return {
        index: f"{log.lines[index].frame_name}.tif: holds {sums[index]} counts, the log says {logged[index]:.0f}"
        for index in differing
    }
