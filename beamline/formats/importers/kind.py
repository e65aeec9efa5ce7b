"""A kind of file of another instrument or program: how one is recognised, and read into the documents of raw runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamline.formats.importers.inside import size_of

Documents = Iterator[tuple[str, Any]]

HEAD = 4096  # bytes by which a file is recognised


@dataclass(frozen=True)
class Request:
    """What is to be imported.

    Attributes
    ----------
    path : Path
        The file, or the folder of a scan.
    frames_dir : Path
        Folder for the frames of a run, each run's in a file of its own.
    part : str
        Which scan, group or entry of the file; all of them where empty.
    columns : mapping of str to str
        Which column of a table is what: its name, or its number from 1, by ``energy``, ``i0``, ``tey`` and so on.
    mapping : Path or None
        The mapping file that says which dataset of an HDF5 file is what.
    """

    path: Path
    frames_dir: Path
    part: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    mapping: Path | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name : str
        As it is called by on the command line.
    title : str
        What it is, in a few words.
    recognises : callable
        Tells by a path, and by no more than the beginning of a file or the names in a folder, whether it is of this
        kind; raises nothing.
    documents : callable
        Gives the documents of a raw run, or of several one after the other; BeamlineError where there is none.
    takes : frozenset of str
        Which of ``part``, ``columns`` and ``mapping`` of a `Request` it makes use of.
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    documents: Callable[[Request], Documents]
    takes: frozenset[str] = frozenset()


def head_of(path: Path, size: int = HEAD) -> bytes:
    """Return the first bytes of a file; none of what is no regular file, or cannot be read."""
    try:
        size_of(path)
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""


def names_in(path: Path) -> list[str]:
    """Return the names in a folder; none of what is no folder, or cannot be read."""
    try:
        return sorted(one.name for one in path.iterdir()) if path.is_dir() else []
    except OSError:
        return []
