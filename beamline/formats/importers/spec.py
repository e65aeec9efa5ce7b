"""The energy scans of a SPEC file, each converted to a raw run.

The format is that of Certified Scientific Software's manual, "Standard Data File Format": a header ``#F``, ``#E``, and
for each scan ``#S number command``, ``#D date``, ``#T seconds``, ``#N columns``, ``#L labels`` between two blanks or
more, and lines of numbers. Spectra of multichannel analysers, in lines that begin with ``@``, are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import (
    DWELL,
    ENERGY,
    known_columns,
    name_and_unit,
    named_columns,
    with_named,
)
from beamline.formats.importers.kind import Documents, Kind, Request, head_of
from beamline.formats.importers.left_out import shortened
from beamline.formats.importers.quantities import is_time, number_of
from beamline.formats.importers.text_table import read_table, read_text
from beamline.formats.importers.xas_columns import Column, scan_of_columns
from beamline.formats.importers.xas_run import XasScan, xas_run
from beamline.formats.text import decode, header_line, one_line, quoted
from beamline.text import clean

SCAN = re.compile(r"#S[ \t]+(?P<number>\d{1,9})(?!\d)[ \t]*(?P<command>.*)")
PART = re.compile(r"(scan\s*)?(?P<number>\d+)(\.(?P<order>\d+))?", re.IGNORECASE)
PLANNED = re.compile(r"(a|d|l)?scan\s+\S+\s+\S+\s+\S+\s+(?P<intervals>\d{1,7})\b")  # of one motor
SECONDS, EPOCH = ("seconds", "sec"), ("epoch",)  # names of the columns that SPEC itself writes
DATE = "%a %b %d %H:%M:%S %Y"
MOST_HEADER_LINES = 1000  # of a scan, that are kept


@dataclass
class SpecScan:
    """A scan of a file.

    Attributes
    ----------
    number, order : int
        Its number, and which of those with this number it is, from 1.
    command : str
    header : list of str
        Its lines that begin with ``#``.
    data : list of str
        Its lines of numbers.
    """

    number: int
    order: int
    command: str
    header: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How it is called: its number, and which of several it is."""
        return f"{self.number}" if self.order == 1 else f"{self.number}.{self.order}"

    def said(self, mark: str) -> str:
        """Give what stands behind a mark, as ``#D``; the last of several, "" for none."""
        found = [line[len(mark) :].strip() for line in self.header if re.match(rf"{mark}(\s|$)", line)]
        return found[-1] if found else ""


def spec_documents(path: Path, *, part: str = "", columns: Mapping[str, str] | None = None) -> Documents:
    """Convert the energy scans of a file to the documents of raw runs, one for each.

    Parameters
    ----------
    path : Path
    part : str
        Number of a scan: ``12``, ``12.2`` for the second of this number, or ``scan 12``; if empty, all over an energy.
    columns : mapping of str to str, optional
        Label or number of a column by what it is, for what its label does not say.

    Yields
    ------
    name, doc : str, dict
        Of each scan a start (with its lines that begin with ``#`` under ``instrument_header``, and a line for each
        thing that is wrong, or had to be assumed, under ``import_problems``), a descriptor, one event for each point,
        a stop.

    Raises
    ------
    BeamlineError
        When it is no SPEC file, or has no scan over an energy, or no such scan.
    """
    head, scans = read_scans(path)
    chosen = _chosen(path, scans, part)
    found: list[tuple[SpecScan, XasScan, list[str]]] = []
    left_out = []
    for scan in chosen:
        problems: list[str] = []
        try:
            found.append((scan, _spectrum(path, head, scan, columns or {}, problems), problems))
        except (ValueError, BeamlineError) as error:
            why = one_line(error).removeprefix(f"{path}: ")
            left_out.append(f"scan {scan.name} ({quoted(scan.command)}): {why}; left out")
    if not found:
        raise BeamlineError(f"{path}: none of its {len(chosen)} scans is a spectrum; {left_out[0]}")
    for scan, spectrum, problems in found:
        time = _start(path, head, scan, problems)
        planned = PLANNED.match(scan.command)
        metadata = {
            "plan_name": "import_spec",
            "scan_id": scan.number,
            "title": clean(scan.command),
            "instrument_header": [header_line(line) for line in [*head, *scan.header][:MOST_HEADER_LINES]],
            "imported_from": str(path.resolve()),
            "import_problems": [clean(one) for one in (*problems, *shortened(left_out, "scans"))],
        }
        yield from xas_run(
            spectrum,
            sample="",
            edge="",
            start_time=time,
            metadata=metadata,
            source=f"{path.name}: scan {scan.name}",
            planned=int(planned["intervals"]) + 1 if planned else None,
        )


def read_scans(path: Path) -> tuple[list[str], list[SpecScan]]:
    """Read the header of a file, and its scans; BeamlineError if it has none."""
    head: list[str] = []
    scans: list[SpecScan] = []
    orders: dict[int, int] = {}
    spectrum = False  # within the lines of one, of which all but the last end with a backslash
    for line in read_text(path).split("\n"):
        if begun := SCAN.match(line):
            number = int(begun["number"])
            orders[number] = orders.get(number, 0) + 1
            scans.append(SpecScan(number, orders[number], begun["command"].strip(), [line]))
        elif line.startswith("@") or spectrum:
            spectrum = line.rstrip().endswith("\\")
        elif line.startswith("#"):
            if line.startswith("#F ") and scans:  # another header begins, as after a restart
                head = [line]
                continue
            (scans[-1].header if scans else head).append(line)
        elif line.strip() and scans:
            scans[-1].data.append(line)
    if not scans:
        raise BeamlineError(f"{path}: no scan; expected lines like '#S 1 ascan energy 520 560 100 1'")
    return head, scans


def _chosen(path: Path, scans: list[SpecScan], part: str) -> list[SpecScan]:
    """Give the scans that are asked for."""
    if not part:
        return scans
    asked = PART.fullmatch(part.strip())
    if asked is None:
        raise BeamlineError(f"{path}: {quoted(part)} is no scan, expected its number, as 12 or 12.2")
    found = [
        scan for scan in scans if scan.number == int(asked["number"]) and asked["order"] in (None, str(scan.order))
    ]
    if not found:
        numbers = ", ".join(scan.name for scan in scans[:20])
        more = f" and {len(scans) - 20} more" if len(scans) > 20 else ""
        raise BeamlineError(f"{path}: no scan {clean(part)}; it has {numbers}{more}")
    return found


def _spectrum(path: Path, head: list[str], scan: SpecScan, given: Mapping[str, str], problems: list[str]) -> XasScan:
    """Make the spectrum of a scan; ValueError or BeamlineError where it is none."""
    if not scan.data:
        raise ValueError("has no points")
    table = read_table(path, "\n".join(scan.data))
    problems += [problem.replace("is line", "is its line") for problem in table.problems]
    count = table.numbers.shape[1]
    labels = _labels(scan.said("#L"), count)
    if not labels:
        raise ValueError(f"{count} columns, and '#L {quoted(scan.said('#L'))}' does not name as many")
    names, units = zip(*map(name_and_unit, labels), strict=True)
    what = known_columns(names)
    for place, name in enumerate(names):
        if name.lower() in SECONDS:
            what.setdefault(DWELL, place)
    what = with_named(what, named_columns(given, labels, count))
    if ENERGY not in what:
        raise ValueError(
            f"is over {quoted(labels[0])}, expected an energy; its columns are {quoted(', '.join(labels), 200)}"
        )
    # SPEC counts for seconds, and its own columns say so by their names.
    units = tuple(
        unit or ("s" if what.get(DWELL) == place and names[place].lower() in SECONDS else "")
        for place, unit in enumerate(units)
    )
    columns = [
        Column(name, unit, table.numbers[:, place]) for place, (name, unit) in enumerate(zip(names, units, strict=True))
    ]
    times = _times(head, names, table.numbers)
    if times is not None and not np.isfinite(times).all():
        times = None
    return scan_of_columns(columns, what, problems, times=times)


def _labels(text: str, count: int) -> list[str]:
    """Split the labels of a scan; none if there are not as many as columns."""
    for words in (re.split(r"\s{2,}|\t", text), text.split()):
        if len(words) == count:
            return words
    return []


def _times(head: list[str], names: tuple[str, ...], numbers: np.ndarray) -> np.ndarray | None:
    """Give the times of the points, s since 1970, where the file has them: its epoch, and seconds since then."""
    began = next((line[2:].strip() for line in head if line.startswith("#E ")), "")
    place = next((place for place, name in enumerate(names) if name.lower() in EPOCH), None)
    try:
        epoch = number_of(began) if began else math.nan
    except ValueError:
        return None
    if place is None or not is_time(epoch):
        return None
    times = numbers[:, place] + (epoch if np.nanmax(numbers[:, place], initial=0.0) < epoch else 0.0)
    return np.asarray(times, dtype=float)


def _start(path: Path, head: list[str], scan: SpecScan, problems: list[str]) -> float:
    """Give the time at which a scan began, s since 1970."""
    text = scan.said("#D")
    try:
        moment = datetime.strptime(" ".join(text.split()), DATE)
        local = moment.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        local = math.nan
    if not is_time(local):
        problems.append(f"#D is {quoted(text)}, expected a date; the time of the file stands for it")
        return path.stat().st_mtime
    offset = _zone(head)
    if offset is None:
        problems.append(f"#D {text} has no time zone: taken as UTC")
        return local
    return local + offset


def _zone(head: list[str]) -> float | None:
    """Give what is added to a local time, s: the header has the same moment as seconds since 1970 and as a date."""
    said = {line[:2]: " ".join(line[2:].split()) for line in reversed(head) if line[:2] in ("#E", "#D")}
    try:
        local = datetime.strptime(said.get("#D", ""), DATE).replace(tzinfo=UTC).timestamp()
        offset = number_of(said.get("#E", "")) - local
    except (ValueError, OverflowError):
        return None
    whole = 900.0 * round(offset / 900.0)  # zones differ by quarters of an hour
    return whole if abs(offset - whole) <= 60 and abs(whole) <= 15 * 3600 else None


def _is_spec(path: Path) -> bool:
    """Tell by the first line of a text whether it is a file of SPEC."""
    lines = decode(head_of(path)).split("\n")
    first = next((line for line in lines if line.strip()), "")
    return first.startswith("#F ") or SCAN.match(first) is not None


def _documents(request: Request) -> Documents:
    return spec_documents(request.path, part=request.part, columns=request.columns)


SPEC = Kind(
    name="spec",
    title="energy scans of a SPEC file: a run for each",
    recognises=_is_spec,
    documents=_documents,
    takes=frozenset({"part", "columns"}),
)
