"""The kinds of files that are imported, and which of them a file is of."""

from __future__ import annotations

from pathlib import Path

from beamline.errors import BeamlineError
from beamline.formats.importers.athena import ATHENA
from beamline.formats.importers.columns import COLUMNS
from beamline.formats.importers.edf import EDF
from beamline.formats.importers.eels import EELS, HSPY
from beamline.formats.importers.hdf5_kinds import is_hdf5, seen_in
from beamline.formats.importers.irixs import IRIXS
from beamline.formats.importers.kind import Kind, head_of, names_in
from beamline.formats.importers.mapped import RIXS_HDF5
from beamline.formats.importers.ncb import NCB
from beamline.formats.importers.nexus import NEXUS
from beamline.formats.importers.nxstxm import NXSTXM
from beamline.formats.importers.sdf import SDF
from beamline.formats.importers.spec import SPEC
from beamline.formats.importers.xdi import XDI
from beamline.formats.text import decode, quoted

# In the order in which they are asked: what is recognised by fewer bytes comes later.
KINDS: tuple[Kind, ...] = (IRIXS, SDF, NEXUS, NXSTXM, HSPY, EELS, RIXS_HDF5, EDF, XDI, ATHENA, SPEC, NCB, COLUMNS)

SHOWN_NAMES = 3  # of a folder
SHOWN_BYTES = 8  # of a file that is no text


def kind_of(path: Path) -> Kind:
    """Return the kind of a file or folder.

    Raises
    ------
    BeamlineError
        When there is no such file, or it is of no kind that is read; says what was found and what is read.
    """
    for kind in KINDS:
        if kind.recognises(path):
            return kind
    if not path.exists():
        raise BeamlineError(f"{path}: no such file or folder")
    read = ", ".join(kind.name for kind in KINDS)
    raise BeamlineError(
        f"{path}: {_found(path)}, which is of no kind that is imported; these are {read} (`beamline import --list`)"
    )


def kind_called(name: str) -> Kind:
    """Return the kind of a name.

    Raises
    ------
    BeamlineError
        When there is none.
    """
    for kind in KINDS:
        if kind.name == name:
            return kind
    names = ", ".join(kind.name for kind in KINDS)
    raise BeamlineError(f"kind {quoted(name)}: is none that is imported, expected one of {names}")


def _found(path: Path) -> str:
    """Say what a file begins with, or what is in a folder."""
    if path.is_dir():
        names = names_in(path)
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        return f"a folder with {', '.join(map(quoted, names[:SHOWN_NAMES])) or 'nothing'}{more}"
    head = head_of(path)
    if not head:
        return "is empty, or not a regular file that can be read"
    if is_hdf5(path):
        return seen_in(path)
    text = decode(head)
    line = next((line for line in text.split("\n") if line.strip()), "")
    if b"\0" in head[:512] or not line.strip().isprintable():
        return f"begins with the bytes {head[:SHOWN_BYTES].hex(' ')}"
    return f"begins with the line {quoted(line.strip())}"
