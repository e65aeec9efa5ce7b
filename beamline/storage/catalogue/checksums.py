"""Checksums of the arrays that a run has in the catalogue: nothing else tells that one was damaged on the disk."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from beamline.storage.layout import Layout, is_regular

BLOCK = 1 << 20  # bytes that are read at a time


def write_checksums(folder: Path) -> None:
    """Write the checksums of the arrays of a run beside them.

    Parameters
    ----------
    folder : Path
        That of the arrays of a run which is complete; of a run that has none it does not exist, and nothing is written.
    """
    if folder.is_dir():
        path = Layout.checksums(folder)
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(_checksums(folder)))
        new.replace(path)


def damaged_arrays(layout: Layout) -> list[str]:
    """Find the runs whose arrays in the catalogue are not those that were written.

    Returns
    -------
    list of str
        Their uids. A run without checksums, from before there were any, is not among them.
    """
    return sorted(
        folder.name
        for folder in layout.catalogue_arrays.glob("*/*")
        if (written := _written(Layout.checksums(folder))) is not None and written != _checksums(folder)
    )


def _written(path: Path) -> Any:
    """Read the checksums of a run; None if it has none."""
    if path.exists() and not is_regular(path):
        return "not a file"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "cannot be read"


def _checksums(folder: Path) -> dict[str, int | None]:
    """Compute the checksum of each file of a run's arrays, by its path in the folder; None if it cannot be read."""
    own = Layout.checksums(folder).name
    return {
        str(path.relative_to(folder)): _checksum(path)
        for path in sorted(folder.rglob("*"))
        if not path.name.startswith(own) and is_regular(path)
    }


def _checksum(path: Path) -> int | None:
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found = zlib.crc32(block, found)
    except OSError:
        return None
    return found
