"""What an import may read: regular files inside the folder of the scan, no larger than they can sensibly be.

A log, a header or an HDF5 file can name other files. A name that leads out of the folder of the scan, in whatever way
(an absolute path, ``..``, a symbolic link), is refused: a file from elsewhere cannot make an import read what it was
not given.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.formats.text import quoted
from beamline.text import clean

LARGEST_SCAN = 100_000_000  # points: 14 hours of STXM at 0.5 ms each
MOST_LINES = 1_000_000  # of a scan: each is an event
LARGEST_TEXT = 10_000_000  # bytes of a header or a log; those of long scans have some 100 kB


def inside(folder: Path, name: str, *, named_by: str) -> Path:
    """Return the path of a file that another one names.

    Parameters
    ----------
    folder : Path
        The scan's folder.
    name : str
        As it is given: relative to the folder; a backslash separates folders, too.
    named_by : str
        Who names it, for the message.

    Raises
    ------
    BeamlineError
        When it is not inside the folder, after all links have been followed.
    """
    if "\0" not in name:
        path = folder / name.replace("\\", "/")
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            return path
    raise BeamlineError(
        f"{named_by}: names {quoted(name)}, which leads out of {folder}; expected a file inside that folder"
    )


def size_of(path: Path) -> int:
    """Return the size of a file in bytes.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        When it is not a regular file (a folder, a pipe, a device), or cannot be looked at.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path.name}: missing") from None
    except OSError as error:
        raise ValueError(f"{clean(path.name)}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path.name}: not a regular file")
    return found.st_size


def unreadable(path: Path, error: Exception) -> str:
    """Say of a file that it cannot be read and why, its name and this once, whatever the error says of them."""
    what = str(error).removeprefix(f"{path.name}: ").removeprefix(f"{clean(path.name)}: ")
    return f"{path}: cannot be read: {what.removeprefix('cannot be read: ')}"


def read_bytes(path: Path, largest: int, why: str = "") -> bytes:
    """Read a file that has at most `largest` bytes.

    Parameters
    ----------
    path : Path
    largest : int
    why : str
        What the limit is for, added to the message.

    Raises
    ------
    FileNotFoundError
        When there is none.
    ValueError
        When it is larger, is not a regular file, or cannot be read.
    """
    size = size_of(path)
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1) if size <= largest else b""
    except OSError as error:
        raise ValueError(f"{path.name}: cannot be read: {error.strerror}") from error
    size = max(size, len(data))  # some files do not say
    if size > largest:
        raise ValueError(f"{path.name}: {size:,} bytes, expected at most {largest:,}{why}")
    return data


def check_lines(name: str, count: int) -> None:
    """Refuse a scan of more lines, or images, than any can have; ValueError."""
    if count > MOST_LINES:
        raise ValueError(f"{name}: {count:,} lines, expected at most {MOST_LINES:,}")


def check_points(name: str, count: int) -> None:
    """Refuse a scan of more points than any can have; ValueError."""
    if count > LARGEST_SCAN:
        raise ValueError(f"{name}: {count:,} points, expected at most {LARGEST_SCAN:,}")
