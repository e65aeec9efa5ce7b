"""An absorption spectrum in columns of text, whatever program wrote it, converted to a raw run."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping, Sequence
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import (
    ENERGY,
    MU,
    known_columns,
    name_and_unit,
    named_columns,
    with_named,
)
from beamline.formats.importers.kind import Documents, Kind, head_of
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.importers.text_table import TextTable, read_table
from beamline.formats.importers.xas_columns import LOWEST_EDGE, Column, said_channels, scan_of_columns
from beamline.formats.importers.xas_header import d_spacing_in, start_time
from beamline.formats.importers.xas_run import xas_run
from beamline.formats.text import decode, header_line
from beamline.text import clean

LONG_HEAD = 65_536  # bytes in which the numbers begin, however much is above them
FEWEST_LINES = 3  # of numbers in the beginning of a file, by which it is taken for a table
# Numbers in columns that are a part of something else, and what that is.
HINTS = dict.fromkeys((".xim", ".xsp"), "; it is a part of a STXM scan, which is imported by its header, a .hdr file")
MOST_HEADER_LINES = 1000  # that are kept


def columns_documents(path: Path, *, columns: Mapping[str, str] | None = None) -> Documents:
    """Convert a table of text to the documents of a raw run.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str, optional
        Name or number of a column by what it is, for what its name does not say.

    Yields
    ------
    name, doc : str, dict
        Start (with the lines above the numbers under ``instrument_header`` and a line for each thing that is wrong, or
        had to be assumed, under ``import_problems``), descriptor, one event for each line, stop.

    Raises
    ------
    BeamlineError
        When there is no table, no energy, or nothing beside it.
    """
    table = read_table(path)
    problems = list(table.problems)
    try:
        names, what = _meaning(table, columns or {}, problems, HINTS.get(path.suffix.lower(), ""))
        given = [
            Column(name, unit, table.numbers[:, place]) for place, (name, unit) in enumerate(map(name_and_unit, names))
        ]
        forms = said_channels(what, _fields(table.header))
        scan = scan_of_columns(given, what, problems, d_spacing=d_spacing_in(table.header), forms=forms)
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    time = start_time(path, "\n".join(table.header), problems)
    metadata = {
        "plan_name": "import_columns",
        "scan_id": scan_id_of(path, problems),
        "instrument_header": [header_line(line) for line in table.header[:MOST_HEADER_LINES]],
        "imported_from": str(path.resolve()),
        "import_problems": [clean(problem) for problem in problems],
    }
    yield from xas_run(scan, sample="", edge="", start_time=time, metadata=metadata, source=path.name)


def _fields(header: Sequence[str]) -> dict[str, str]:
    """Give the lines ``name: value`` of a header, by name in small letters."""
    parts = [line.partition(": ") for line in header]
    return {name.strip().lower(): value.strip() for name, colon, value in parts if colon}


def _meaning(
    table: TextTable, given: Mapping[str, str], problems: list[str], hint: str
) -> tuple[Sequence[str], dict[str, int]]:
    """Give the names of the columns, and which of them is what."""
    width = table.numbers.shape[1]
    best: list[str] = []
    what: dict[str, int] = {}
    for heading in table.headings:  # of several, the one that tells most
        found = known_columns([name_and_unit(name)[0] for name in heading])
        if len(found) > len(what) or not best:
            best, what = heading, found
    named = named_columns(given, best, width)
    if named:
        what = with_named(what, named)
    elif not best and width == 2:
        lowest = table.numbers[:, 0].min()
        if not lowest >= LOWEST_EDGE:
            raise ValueError(
                f"two columns without names, the first from {lowest:g}, which is no photon energy; name them, as by"
                " --columns energy=1,tey=2"
            )
        problems.append("the columns have no names: taken as energy and absorption")
        what = {ENERGY: 0, MU: 1}
    elif not best:
        raise ValueError(f"{width} columns without names; name them, as by --columns energy=1,i0=2,tey=3{hint}")
    return best or [f"column {number}" for number in range(1, width + 1)], what


def _is_table(path: Path) -> bool:
    """Tell whether the beginning of a text has lines of numbers in columns."""
    head = head_of(path, LONG_HEAD)
    if b"\0" in head and not head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return False
    lines = decode(head).split("\n")
    try:
        table = read_table(path, "\n".join(lines if len(head) < LONG_HEAD else lines[:-1]))
    except BeamlineError:
        return False
    return len(table.numbers) >= FEWEST_LINES and table.numbers.shape[1] > 1


COLUMNS = Kind(
    name="columns",
    title="absorption spectrum in columns of text with a header",
    recognises=_is_table,
    documents=lambda request: columns_documents(request.path, columns=request.columns),
    takes=frozenset({"columns"}),
)
