"""The spectra of a project of Athena (Demeter, Larch), each converted to a raw run.

A project is a text, usually compressed by gzip, in one of two forms: statements of Perl, of which ``@args``, ``@x``,
``@y``, ``@i0``, ``@signal`` and ``@stddev`` before each ``[record]`` make a group, or JSON with an object for each
group. See B. Ravel and M. Newville, J. Synchrotron Rad. 12 (2005) 537, and the readers of Demeter and of Larch.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.column_names import ENERGY, I0, MU, SIGMA, TRANSMISSION
from beamline.formats.importers.inside import LARGEST_TEXT, read_bytes, unreadable
from beamline.formats.importers.kind import Documents, Kind, Request, head_of
from beamline.formats.importers.left_out import shortened
from beamline.formats.importers.quantities import number_of
from beamline.formats.importers.xas_columns import SAME, Column, scan_of_columns
from beamline.formats.importers.xas_header import edge_named, start_time
from beamline.formats.importers.xas_run import XasScan, xas_run
from beamline.formats.text import decode, header_line, one_line, quoted
from beamline.text import clean

FloatArray = NDArray[np.floating]

GZIP = b"\x1f\x8b"
MARK = "Athena project file"
LARGEST_PROJECT = 100_000_000  # bytes of text; a spectrum has some 50 kB
ARRAYS = ("x", "y", "i0", "signal", "stddev")
STATEMENT = re.compile(r"^[ \t]*(?:(?P<record>\[record\])|[@$%](?P<name>\w+)[ \t]*=[ \t]*)", re.MULTILINE)
# A word of a list of Perl: in single quotes, in double ones, or bare; a list or hash in it; or what ends the list.
WORD = re.compile(
    r"""\s*(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,();'"\[\]{}=]+)"""
    r"""|(?P<list>[\[{])|(?P<close>[\]}])|(?P<end>[);]))\s*(?:,|=>)?""",
    re.DOTALL,
)
ARGUMENT, LONGEST = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII), 1000  # of what Athena knows of a group, as it is kept
CODE = re.compile(r"\\x\{([0-9a-fA-F]{1,6})\}")
MARKS = {
    "is_nor": "it is normalised already, says Athena",
    "is_xmudat": "it is calculated, by FEFF, says Athena",
    "is_diff": "it is a difference of spectra, says Athena",
    "is_bkg": "it is a background, says Athena",
}
SIGNAL = "signal"  # a yield, of whatever kind
# What is no spectrum over energy, by the name of its kind or the mark of it.
KINDS = {"chi": "chi(k)", "is_chi": "chi(k)", "is_rsp": "chi(R)", "is_qsp": "chi(q)", "is_pixel": "pixels"}


@dataclass
class Group:
    """A group of a project: its name, what Athena knows of it, and its arrays by name."""

    name: str = ""
    args: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, FloatArray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # why an array is none

    @property
    def label(self) -> str:
        """The name that Athena shows."""
        return clean(self.args.get("label") or self.name)


def athena_documents(path: Path, *, part: str = "") -> Documents:
    """Convert the spectra of a project to the documents of raw runs, one for each.

    Parameters
    ----------
    path : Path
    part : str
        Label or name of a group, or its number from 1; all spectra where empty.

    Yields
    ------
    name, doc : str, dict
        Of each spectrum a start (with a line for each thing that is wrong, or had to be assumed, under
        ``import_problems``), a descriptor, one event for each point, a stop.

    Raises
    ------
    BeamlineError
        When it is no project, or has no spectrum, or no such group.
    """
    text = read_project(path)
    head, groups = (_of_json if text.lstrip().startswith("{") else _of_perl)(path, text)
    scans: list[tuple[int, Group, XasScan, list[str]]] = []
    left_out = []
    for number, group in enumerate(groups, start=1):
        if part and part not in (group.label, group.name, str(number)):
            continue
        problems: list[str] = []
        try:
            scans.append((number, group, _scan(group, problems), problems))
        except ValueError as error:
            left_out.append(f"group {number}, {quoted(group.label)}: {error}; left out")
    if not scans:
        names = ", ".join(quoted(group.label) for group in groups[:20])
        why = left_out[0] if left_out else f"no group {quoted(part)}; it has {names or 'none'}"
        raise BeamlineError(f"{path}: {why}")
    for number, group, scan, problems in scans:
        args = group.args
        edge = edge_named(args.get("bkg_z", "") or args.get("atsym", ""), _shell(args), scan.energy, problems)
        time = start_time(path, next((line for line in head if "created at" in line), ""), problems)
        problems.append("the time is not that of the measurement, which a project does not have")
        metadata = {
            "plan_name": "import_athena",
            "scan_id": number,
            "instrument_header": [header_line(line) for line in head],
            "athena": {name: clean(value)[:LONGEST] for name, value in args.items() if ARGUMENT.fullmatch(name)},
            "imported_from": str(path.resolve()),
            "import_problems": [clean(one) for one in (*shortened(left_out, "groups"), *problems)],
        }
        yield from xas_run(
            scan, sample=group.label, edge=edge, start_time=time, metadata=metadata, source=f"{path.name}: {group.name}"
        )


def read_project(path: Path) -> str:
    """Read the text of a project, of at most `LARGEST_PROJECT` bytes whatever it is compressed to; BeamlineError."""
    try:
        data = read_bytes(path, LARGEST_TEXT)
        if data.startswith(GZIP):
            data = _unpacked(data)
    except FileNotFoundError:
        raise BeamlineError(f"{path}: no such file") from None
    except ValueError as error:
        raise BeamlineError(unreadable(path, error)) from error
    text = decode(data)
    if MARK not in text[:1000]:
        raise BeamlineError(f"{path}: begins with {quoted(text[:60])}, expected '{MARK}'")
    return text


def _unpacked(data: bytes) -> bytes:
    """Decompress a file of gzip, to as many bytes as there may be; ValueError if it is damaged, or of more."""
    found = bytearray()
    while data.startswith(GZIP):
        stream = zlib.decompressobj(wbits=31)
        try:
            found += stream.decompress(data, LARGEST_PROJECT + 1 - len(found))
        except zlib.error as error:
            raise ValueError(f"it is damaged: {error}") from error
        if len(found) > LARGEST_PROJECT:
            raise ValueError(f"more than {LARGEST_PROJECT:,} bytes when decompressed")
        if not stream.eof:
            raise ValueError("it is damaged: its end is missing")
        data = stream.unused_data
    return bytes(found)


def _of_perl(_path: Path, text: str) -> tuple[list[str], list[Group]]:
    """Read statements of Perl; give the lines above them, and the groups."""
    found = []
    group = Group()
    for statement in STATEMENT.finditer(text):
        if statement["record"]:
            found.append(group)
            group = Group()
            continue
        name = statement["name"]
        if name == "old_group":
            group.name = next(_words(text, statement.end()), "")
        elif name == "args":
            words = list(_words(text, statement.end()))
            group.args = dict(zip(words[::2], words[1::2], strict=False))
        elif name in ARRAYS:
            _take(group, name, list(_words(text, statement.end())))
    first = STATEMENT.search(text)
    head = [line for line in text[: first.start() if first else 0].split("\n") if line.startswith("#")]
    return head, found


def _words(text: str, place: int) -> Iterator[str]:
    """Give the words of a list, or a word, that begins at a place of a text; one in it is one word, a line each."""
    if text.startswith("(", place):
        place += 1
    depth, inner = 0, list[str]()
    while (word := WORD.match(text, place)) is not None and not word["end"]:
        place = word.end()
        if word["list"]:
            depth += 1
        elif word["close"]:
            depth -= 1
            if depth == 0:
                yield "\n".join(inner)
                inner = []
        elif depth > 0:
            inner.append(_plain(word))
        else:
            yield _plain(word)


def _plain(word: re.Match[str]) -> str:
    """Undo the quoting of a word."""
    if word["single"] is not None:
        return re.sub(r"\\(['\\])", r"\1", word["single"])
    if word["double"] is not None:
        decoded = CODE.sub(lambda code: _character(int(code[1], 16)), word["double"])
        return re.sub(r"\\(.)", r"\1", decoded, flags=re.DOTALL)
    return "" if word["bare"] in ("undef", "None") else str(word["bare"])


def _character(code: int) -> str:
    return chr(code) if code < 0x110000 else "\ufffd"


def _of_json(path: Path, text: str) -> tuple[list[str], list[Group]]:
    """Read the objects of JSON; give what stands in the header, and the groups."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BeamlineError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    head = [str(value) for name, value in content.items() if "header" in name]
    found = []
    for name, value in content.items():
        if not isinstance(value, dict) or "x" not in value:
            continue
        args = value.get("args")
        group = Group(str(name), {str(key): str(one) for key, one in args.items()} if isinstance(args, dict) else {})
        for array in ARRAYS:
            if isinstance(value.get(array), list) and value[array]:
                _take(group, array, value[array])
        found.append(group)
    return head, found


def _take(group: Group, name: str, words: list[Any]) -> None:
    """Add an array to a group, or why it cannot be read."""
    try:
        group.arrays[name] = np.array([number_of(str(word)) for word in words])
    except ValueError as error:
        group.problems[name] = f"@{name}: {one_line(error)[:200]}"


def _scan(group: Group, problems: list[str]) -> XasScan:
    """Make the spectrum of a group; ValueError where it has none."""
    args, arrays = group.args, dict(group.arrays)
    for name, problem in group.problems.items():
        if name in ("x", "y"):
            raise ValueError(problem)
        problems.append(f"{problem}; left out")
    if kind := next((name for name in KINDS if args.get("datatype") == name or args.get(name) == "1"), ""):
        raise ValueError(f"holds {KINDS[kind]}, expected a spectrum over energy")
    if "x" not in arrays or "y" not in arrays:
        raise ValueError(f"has no @{'y' if 'x' in arrays else 'x'}")
    length = len(arrays["x"])
    if len(arrays["y"]) != length:
        raise ValueError(f"its arrays have different lengths: @x has {length}, @y has {len(arrays['y'])}")
    for name in [name for name, values in arrays.items() if len(values) != length]:
        problems.append(f"@{name} has {len(arrays[name])} values for {length} energies; left out")
        del arrays[name]
    problems += [said for mark, said in MARKS.items() if args.get(mark) == "1"]
    energy = arrays["x"] + _shift(args, problems)
    columns = [Column("x", "eV", energy)]
    what = {ENERGY: 0}
    for name, values in _measured(arrays, problems):
        what[name] = len(columns)
        columns.append(Column(name, "", values))
    if "stddev" in arrays and MU in what:
        problems.append("@stddev is the standard deviation of the scans that were merged, more than that of their mean")
        what[MU + SIGMA] = len(columns)
        columns.append(Column("stddev", "", arrays["stddev"]))
    return scan_of_columns(columns, what, problems)


def _shift(args: dict[str, str], problems: list[str]) -> float:
    """Give by how much Athena shifts the energies, eV."""
    text = args.get("bkg_eshift", "") or "0"
    try:
        shift = number_of(text)
    except ValueError:
        shift = math.nan
    if not math.isfinite(shift):
        problems.append(f"bkg_eshift is {quoted(text)}, expected a number; the energies are not shifted")
        return 0.0
    if shift:
        problems.append(f"energies are shifted by {shift:g} eV, as in Athena (bkg_eshift)")
    return shift


def _measured(arrays: dict[str, FloatArray], problems: list[str]) -> list[tuple[str, FloatArray]]:
    """Give what was measured by what it is: I0 and a signal where the absorption is made of them, else that."""
    mu = arrays["y"]
    i0, signal = arrays.get("i0"), arrays.get("signal")
    if i0 is None or np.ptp(i0) == 0:  # none, or 1 throughout, where none was chosen
        return [(MU, mu)]
    if signal is not None and np.ptp(signal) > 0 and "stddev" not in arrays:
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, made, formula in (
                (TRANSMISSION, np.log(i0 / signal), "ln(@i0/@signal)"),
                (SIGNAL, signal / i0, "@signal/@i0"),
            ):
                if np.nanmax(np.abs(made - mu), initial=0.0) <= SAME * np.ptp(mu) and np.isfinite(made).any():
                    problems.append(f"@y is {formula}; these stand for it")
                    return [(I0, i0), (name, signal)]
        problems.append("@y is neither ln(@i0/@signal) nor @signal/@i0; it is taken, and @signal left out")
    return [(I0, i0), (MU, mu)]


def _shell(args: dict[str, str]) -> str:
    return args.get("fft_edge", "") or args.get("edge", "")


def _is_project(path: Path) -> bool:
    """Tell whether the beginning of a file, decompressed if it has to be, is that of a project."""
    head = head_of(path)
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, len(head))
        except zlib.error:
            return False
    return MARK.encode() in head[:1000]


def _documents(request: Request) -> Documents:
    return athena_documents(request.path, part=request.part)


ATHENA = Kind(
    name="athena",
    title="project of Athena or Larch (.prj): a run for each spectrum",
    recognises=_is_project,
    documents=_documents,
    takes=frozenset({"part"}),
)
