"""A table of numbers in a text file, whatever separates and heads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import LARGEST_TEXT, check_lines, read_bytes, unreadable
from beamline.formats.text import decode, quoted

FloatArray = NDArray[np.floating]

COMMENT = re.compile(r"^\s*(#|%|\*|//|!)+")
MARK = re.compile(r"^\s*(#|%|\*|//|!|;)+")  # of lines of a header; in a table, semicolons may be what separates
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
MISSING = ("", "-", "--", "n/a", "na", "null", "none")  # of what is in a cell where nothing was measured
MOST_COLUMNS = 1000
LONGEST_LINE = 1000  # characters of a line that is looked at for numbers and names of columns
ENOUGH = 2000  # lines of numbers, by which what separates them is found
# Before the names of the columns: the number of a kind of line, as the CLS writes it, or the letter of one, as SPEC.
LINE_MARK = re.compile(r"\([0-9]+\)|[CLN]")
# Lines of a header that name one or more columns each: "2) I0", "Column 2: I0", or "D1 = {I0}", of a column called D1.
NUMBERED = re.compile(
    r"(?<!\S)(?:col(?:umn)?[ .]?)?([0-9]{1,3}) ?[):=]\s*(\S.*?)\s*(?=\s[0-9]{1,3}\)|$)", re.IGNORECASE
)
LEGEND = re.compile(r"^(\w+)\s*=\s*\{([^{}]+)\}")


@dataclass(frozen=True)
class TextTable:
    """A table of numbers.

    Attributes
    ----------
    path : Path
    header : list of str
        The lines above the numbers, without the marks of comments.
    headings : list of list of str
        What may be the names of the columns: the lines of the header that have as many words as there are columns, the
        nearest to the numbers first, and what lists them by their numbers.
    numbers : numpy.ndarray, shape (rows, columns)
        NaN where a cell has none.
    problems : list of str
        What is wrong with the text.
    """

    path: Path
    header: list[str]
    headings: list[list[str]]
    numbers: FloatArray
    problems: list[str] = field(default_factory=list)


def read_text(path: Path) -> str:
    """Read the text of a file; BeamlineError if it cannot be."""
    try:
        return decode(read_bytes(path, LARGEST_TEXT))
    except FileNotFoundError:
        raise BeamlineError(f"{path}: no such file") from None
    except ValueError as error:
        raise BeamlineError(unreadable(path, error)) from error


def read_table(path: Path, text: str | None = None) -> TextTable:
    """Read a table of numbers.

    Parameters
    ----------
    path : Path
    text : str, optional
        The text of the file, if it has been read.

    Raises
    ------
    BeamlineError
        When it cannot be read, or holds no table.

    Notes
    -----
    The table is the longest run of lines of numbers that are not comments, over empty lines and lines of another number
    of columns; these are left out and counted. Columns are separated by tabs, semicolons, commas or blanks, in this
    order; where commas stand in numbers and something else between them, they are decimal marks.
    """
    lines = (read_text(path) if text is None else text).split("\n")
    separator = _separator(lines)
    rows = [(place, cells) for place, line in enumerate(lines) if (cells := _cells(line, separator)) is not None]
    if not rows:
        raise BeamlineError(f"{path}: no table of numbers; expected two columns or more, an energy among them")
    try:
        check_lines(path.name, len(rows))
    except ValueError as error:
        raise BeamlineError(str(error)) from error
    width = _usual([len(cells) for _, cells in rows])
    if width > MOST_COLUMNS:
        raise BeamlineError(f"{path}: {width:,} columns, expected at most {MOST_COLUMNS:,}")
    problems: list[str] = []
    top = next(place for place, cells in rows if len(cells) == width)
    kept = [(place, cells) for place, cells in rows if place >= top]
    if others := [place for place, cells in kept if len(cells) != width]:
        problems.append(
            f"{len(others)} of {len(kept)} lines of numbers have another number of columns than {width}, the first is"
            f" line {others[0] + 1}; left out"
        )
    kept = [(place, cells) for place, cells in kept if len(cells) == width]
    if odd := [line for line in lines[top:] if _is_odd(line, separator)]:
        problems.append(f"{len(odd)} lines among the numbers are none, as {quoted(odd[0].strip())}; left out")
    numbers = np.array([cells for _, cells in kept], dtype=float)
    if infinite := int(np.isinf(numbers).sum()):
        problems.append(f"{infinite} numbers are infinite; they count as not measured")
        numbers[np.isinf(numbers)] = np.nan
    if separator and width > 1 and all(lines[place].rstrip(" ").endswith(separator) for place, _ in rows):
        numbers, width = numbers[:, :-1], width - 1
    header = [MARK.sub("", line).strip() for line in lines[:top]]
    headings = [*_headings(header, width, separator), *_listed(header, width)]
    return TextTable(path, header, headings, numbers, problems)


def _usual(widths: Sequence[int]) -> int:
    """Return the number of columns that most lines have; of two, the larger."""
    found, counts = np.unique(widths, return_counts=True)
    return int(found[::-1][np.argmax(counts[::-1])])


def _separator(lines: Sequence[str]) -> str:
    """Find what separates numbers; "" for blanks."""
    votes: dict[str, int] = {}
    for line in lines:
        if COMMENT.match(line) or not line.strip():
            continue
        for separator in ("\t", ";", ",", ""):
            cells = _cells(line, separator)
            if cells is not None and len(cells) > 1:
                votes[separator] = votes.get(separator, 0) + 1
                break
        if sum(votes.values()) == ENOUGH:
            break
    return max(votes, key=votes.__getitem__) if votes else ""


def _cells(line: str, separator: str) -> list[float] | None:
    """Return the numbers of a line; None where it is no line of numbers."""
    if COMMENT.match(line):
        return None
    words = _words(line, separator)
    cells = [_number(word, decimal_comma=separator != ",") for word in words]
    if None in cells or all(word.lower() in MISSING for word in words):
        return None
    return cells  # type: ignore[return-value]  # no None is among them


def _words(line: str, separator: str) -> list[str]:
    if not separator:
        return line.split()
    return [word.strip().strip('"').strip() for word in line.strip(" ").split(separator)]


def _number(word: str, *, decimal_comma: bool) -> float | None:
    if NUMBER.fullmatch(word):
        try:
            return float(word)
        except ValueError:  # Fortran writes 1.0D+03
            return float(re.sub("[dD]", "e", word))
    if word.lower() in MISSING:
        return np.nan
    if decimal_comma and DECIMAL_COMMA.fullmatch(word):
        return float(word.replace(",", "."))
    return None


def _is_odd(line: str, separator: str) -> bool:
    return bool(line.strip()) and not COMMENT.match(line) and _cells(line, separator) is None


def _headings(lines: Sequence[str], width: int, separator: str) -> list[list[str]]:
    """Return the lines that could name the columns, the nearest to the numbers first."""
    found = []
    legend = {entry[1]: entry[2].strip() for line in lines if (entry := LEGEND.match(line))}
    for text in reversed(lines):
        if not text:
            continue
        for words in _splits(text, separator):
            if len(words) == width + 1 and LINE_MARK.fullmatch(words[0]):
                del words[0]
            if len(words) == width + 1 and not words[-1]:
                del words[-1]
            if len(words) == width and all(map(_is_name, words)) and not all(map(NUMBER.fullmatch, words)):
                found.append([legend.get(word, word) for word in words])
                break
    return found


def _listed(lines: Sequence[str], width: int) -> list[list[str]]:
    """Return the names of the columns where lines list them by their numbers; nothing where one is missing."""
    looked_at = [line for line in lines if len(line) <= LONGEST_LINE]
    names = {int(entry[1]): entry[2] for line in looked_at for entry in NUMBERED.finditer(line)}
    return [[names[number] for number in range(1, width + 1)]] if {*range(1, width + 1)} <= names.keys() else []


def _is_name(word: str) -> bool:
    """Tell whether a word can name a column: it is none of ``Mono :`` or ``D= 3.1``, which say something."""
    return "=" not in word and not word.endswith(":")


def _splits(text: str, separator: str) -> list[list[str]]:
    """Split a line of names: as the numbers are, by what else separates columns, by two blanks or more, by one."""
    marks = dict.fromkeys([*([separator] if separator else []), "\t", ";", ","])
    split = [_words(text, mark) for mark in marks if mark in text]
    blanks = " ".join(text.replace('"', " ").split())
    for bracket in "([":  # a unit in brackets is of the name before it
        blanks = blanks.replace(f" {bracket}", bracket)
    return [*split, re.split(r"\s{2,}", text), re.split(r"\s{2,}|(?<=\*) ", text), blanks.split()]
