"""Look into an HDF5 file for what tells of which kind it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.hdf5 import Group, open_hdf5
from beamline.formats.importers.kind import head_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
PLACES = (0, 512, 1024, 2048)  # where the signature may stand; what is before it is the user's


def is_hdf5(path: Path) -> bool:
    """Tell by the signature whether a file is of HDF5."""
    head = head_of(path)
    return any(head[place:].startswith(SIGNATURE) for place in PLACES)


def holds(path: Path, test: Callable[[Group], bool]) -> bool:
    """Tell whether a file is of HDF5 and passes a test; not if it cannot be read.

    Parameters
    ----------
    path : Path
    test : callable
        Is given the root of the file; a ValueError or a BeamlineError of it is a no.
    """
    if not is_hdf5(path):
        return False

    def passes() -> bool:
        try:
            with open_hdf5(path, []) as file:
                return test(file)
        except ValueError:
            return False

    try:
        return read_apart(path, passes)
    except BeamlineError:
        return False


def seen_in(path: Path) -> str:
    """Say what is in the root of an HDF5 file, or why it cannot be read."""

    def names() -> list[str]:
        with open_hdf5(path, []) as file:
            return file.names()

    try:
        found = read_apart(path, names)
    except BeamlineError as error:
        return f"an HDF5 file that cannot be read ({str(error).removeprefix(f'{path}: ')})"
    return f"an HDF5 file with {', '.join(map(repr, found[:5])) or 'nothing in it'}"
