"""An absorption spectrum in the XAS Data Interchange format (XDI), converted to a raw run.

XDI Working Group, "XAS Data Interchange Format Draft Specification, version 1.0" and "Dictionary of XAS Data
Interchange Metadata", of the International X-ray Absorption Society: a version line, fields ``Family.tag: value``, user
comments behind a line of slashes, a line of dashes, labels of the columns, and columns of numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import (
    ANGLE,
    ENERGY,
    I0,
    REFERENCE,
    TFY,
    TRANSMISSION,
    known_columns,
    named_columns,
    with_named,
)
from beamline.formats.importers.kind import Documents, Kind, Request, head_of
from beamline.formats.importers.quantities import number_of
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.importers.text_table import TextTable, read_table, read_text
from beamline.formats.importers.xas_columns import Column, said_channels, said_columns, scan_of_columns
from beamline.formats.importers.xas_header import edge_named, start_time
from beamline.formats.importers.xas_run import XasScan, xas_run
from beamline.formats.text import header_line, quoted
from beamline.text import clean
from callbacks.contract import Channel

VERSION = re.compile(r"#\s*XDI/(?P<version>\d+)(\.\d+)*(\s|$)")
FIELD = re.compile(r"#\s*(?P<family>[A-Za-z][A-Za-z0-9_-]*)\.(?P<tag>[A-Za-z0-9_-]+):[ \t]*(?P<value>.*)$")
FIELD_END = re.compile(r"#\s*/{3,}")
HEADER_END = re.compile(r"#\s*-{3,}")
# The labels that the dictionary defines, and what they are here.
LABELS = {
    **{"energy": ENERGY, "angle": ANGLE, "i0": I0, "itrans": TRANSMISSION, "ifluor": TFY, "irefer": REFERENCE},
    **{name: name for name in ("mutrans", "mufluor", "murefer", "normtrans", "normfluor", "normrefer")},
}
ABSORPTIONS = {
    "mutrans": "absorption, by transmission",
    "mufluor": "absorption, by fluorescence",
    "murefer": "absorption of the reference",
    "normtrans": "normalised absorption, by transmission",
    "normfluor": "normalised absorption, by fluorescence",
    "normrefer": "normalised absorption of the reference",
}
NO_SPECTRUM = ("k", "r", "pixel")  # abscissas of what is no spectrum over energy


@dataclass(frozen=True)
class XdiHeader:
    """The header of a file.

    Attributes
    ----------
    lines : list of str
        As they stand in the file, the version line first.
    fields : dict of str to str
        Values by ``family.tag`` in small letters; of several, the last.
    labels : list of str
        Of the line above the numbers; empty where there is none.
    problems : list of str
        What is not as the specification has it.
    """

    lines: list[str]
    fields: dict[str, str]
    labels: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def xdi_documents(path: Path, *, columns: Mapping[str, str] | None = None) -> Documents:
    """Convert a file to the documents of a raw run.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str, optional
        Label or number of a column by what it is, for what its label does not say.

    Yields
    ------
    name, doc : str, dict
        Start (with the header under ``instrument_header`` and a line for each thing that is wrong, or had to be
        assumed, under ``import_problems``), descriptor, one event for each point, stop.

    Raises
    ------
    BeamlineError
        When it is no XDI, or has no table, no energy, or nothing beside it.
    """
    text = read_text(path)
    header = read_header(path, text)
    table = read_table(path, text)
    problems = [*header.problems, *table.problems]
    fields = header.fields
    try:
        scan = _scan(header, table, columns or {}, problems)
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    edge = edge_named(fields.get("element.symbol", ""), fields.get("element.edge", ""), scan.energy, problems)
    problems += _edge_energy(fields.get("scan.edge_energy", ""), scan)
    time = start_time(path, fields.get("scan.start_time", ""), problems, what="Scan.start_time")
    metadata = {
        "plan_name": "import_xdi",
        "scan_id": scan_id_of(path, problems),
        "instrument_header": [header_line(line) for line in header.lines],
        "imported_from": str(path.resolve()),
        "import_problems": [clean(problem) for problem in problems],
    }
    sample = clean(fields.get("sample.name", ""))
    yield from xas_run(scan, sample=sample, edge=edge, start_time=time, metadata=metadata, source=path.name)


def read_header(path: Path, text: str) -> XdiHeader:
    """Read the header of a file; BeamlineError if its first line is not that of XDI."""
    lines = text.split("\n")
    version = VERSION.match(lines[0])
    if version is None:
        raise BeamlineError(f"{path}: begins with {quoted(lines[0])}, expected '# XDI/1.0'")
    end = next((place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    header = XdiHeader([line for line in lines[:end] if line.strip()], {})
    if int(version["version"]) != 1:
        header.problems.append(f"of version {version['version']} of XDI, read as version 1")
    section = "fields"
    wrong = []
    for line in header.lines[1:]:
        if HEADER_END.match(line):
            section = "labels"
        elif section == "fields" and FIELD_END.match(line):
            section = "comments"
        elif section == "labels":
            header.labels[:] = line.lstrip("#").split()
        elif section == "fields":
            found = FIELD.match(line.rstrip())
            if found is None:
                wrong.append(line)
            else:
                header.fields[f"{found['family']}.{found['tag']}".lower()] = found["value"].strip()
    if wrong:
        header.problems.append(
            f"{len(wrong)} lines of the header are no fields 'Family.tag: value', the first {quoted(wrong[0])}; ignored"
        )
    if section != "labels":
        header.problems.append("no line '#---' ends the header, as XDI has it")
    return header


def _scan(header: XdiHeader, table: TextTable, given: Mapping[str, str], problems: list[str]) -> XasScan:
    """Make the spectrum of the columns."""
    names, units = _columns(header, table.numbers.shape[1])
    problems += _differing_labels(header, names)
    if names[0].lower() in NO_SPECTRUM or units[0].lower() in ("pixel", "pixels", "steps"):
        seen = f"{names[0]} {units[0]}".strip()
        raise ValueError(
            f"Column.1 is {quoted(seen)}, expected an energy in eV or keV, or an angle in degrees or radians"
        )
    known = {index: LABELS[name.lower()] for index, name in enumerate(names) if name.lower() in LABELS}
    what = {name: place for name, place in known_columns(names).items() if place not in known}
    what |= {name: place for place, name in known.items()}
    what = with_named(what, said_columns(names, header.fields))
    what = with_named(what, named_columns(given, names, len(names)))
    if "murefer" in what and REFERENCE not in what:
        what[REFERENCE] = what.pop("murefer")
        forms = {REFERENCE: Channel(name=REFERENCE, title=ABSORPTIONS["murefer"], form="absorption")}
    else:
        forms = {}
    forms |= {
        name: Channel(name=name, title=title, form="absorption") for name, title in ABSORPTIONS.items() if name in what
    }
    forms |= said_channels(what, header.fields)
    columns = [
        Column(name, unit, table.numbers[:, place]) for place, (name, unit) in enumerate(zip(names, units, strict=True))
    ]
    spacing = header.fields.get("mono.d_spacing", "").split()
    try:
        d_spacing = number_of(spacing[0]) if spacing else math.nan
    except ValueError:
        problems.append(f"Mono.d_spacing is {quoted(spacing[0])}, expected a number; it is not known")
        d_spacing = math.nan
    return scan_of_columns(columns, what, problems, d_spacing=d_spacing, forms=forms)


def _columns(header: XdiHeader, count: int) -> tuple[list[str], list[str]]:
    """Give label and unit of each column: of the fields ``Column.N``, or else of the line above the numbers."""
    names, units = [], []
    labels = header.labels if len(header.labels) == count else [""] * count
    for number, label in enumerate(labels, start=1):
        name, _, unit = header.fields.get(f"column.{number}", "").partition(" ")
        names.append(name or label or f"column{number}")
        # What stands behind || is the record that a value comes from, as the beamline 13-ID of the APS writes it.
        units.append(unit.partition("||")[0].strip() if name else "")
    return names, units


def _differing_labels(header: XdiHeader, names: list[str]) -> list[str]:
    """Say where the labels above the numbers are not those of the fields."""
    found = []
    numbers = [tag for name in header.fields if (tag := name.removeprefix("column.")) != name]
    if beyond := [tag for tag in numbers if not tag.isdecimal() or not 1 <= int(tag) <= len(names)]:
        found.append(f"Column.{beyond[0]} is named, and there are {len(names)} columns; ignored")
    if not header.labels:
        found.append("no labels of the columns are above the numbers; the fields Column.N name them")
    elif len(header.labels) != len(names):
        found.append(f"{len(header.labels)} labels for {len(names)} columns; the fields Column.N name them")
    elif different := [
        (name, label)
        for number, (name, label) in enumerate(zip(names, header.labels, strict=True), start=1)
        if header.fields.get(f"column.{number}") and name.lower() != label.lower()
    ]:
        name, label = different[0]
        found.append(
            f"{len(different)} columns have other labels in the fields Column.N than above the numbers, the first is"
            f" {quoted(name)}, {quoted(label)}; the fields are taken"
        )
    return found


def _edge_energy(text: str, scan: XasScan) -> list[str]:
    """Say where the energy of the edge is not among those that were measured."""
    words = text.split()
    try:
        energy = number_of(words[0]) * (1e3 if words[1:2] == ["keV"] else 1.0) if words else 0.0
    except ValueError:
        return [f"Scan.edge_energy is {quoted(text)}, expected a number; ignored"]
    low, high = float(np.min(scan.energy)), float(np.max(scan.energy))
    if not energy or low <= energy <= high:
        return []
    return [f"Scan.edge_energy is {energy:g} eV, and the energies are {low:g} to {high:g} eV"]


def _documents(request: Request) -> Documents:
    return xdi_documents(request.path, columns=request.columns)


XDI = Kind(
    name="xdi",
    title="absorption spectrum in XDI",
    recognises=lambda path: VERSION.match(head_of(path).decode("latin-1").lstrip("\xef\xbb\xbf")) is not None,
    documents=_documents,
    takes=frozenset({"columns"}),
)
