"""Text as it is shown: of data never a control sequence, a line break, a path or a formula; a value with its sigma."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MOST_CHARACTERS = 200  # of a text where it stands beside others: in a title, in a cell of a table
MOST_OF_A_NAME = 80  # characters of a file's name, of the 255 bytes that a file system allows


def clean(text: object) -> str:
    r"""Make visible what is not printed as a character: ``"\x1b[2J"`` becomes a backslash, ``x1b[2J``.

    These are control characters, line breaks among them, marks that reverse the direction of a line, other invisible
    characters, and halves of surrogate pairs, which no encoding can write. Any text becomes one line.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # other blanks than the usual one
        return character
    return character.encode("unicode_escape").decode("ascii")


def shortened(text: object, most: int = MOST_CHARACTERS) -> str:
    """Clean a text, and cut it where it is long."""
    text = clean(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shortened_within(text: object, most: int) -> str:
    """Clean a text, and leave out its middle where it is long: names of a series often differ at their ends only."""
    text, half = clean(text), (most - 3) // 2  # the ellipsis has a blank to either side: names end in full stops, too
    return text if len(text) <= most else f"{text[: most - 3 - half].rstrip()} … {text[-half:].lstrip()}"


def encodable(text: str) -> str:
    """Make visible what no encoding can write: halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_csv(path: Path, about: Iterable[str], lines: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV, of which no spreadsheet takes a text for a formula.

    Parameters
    ----------
    path : Path
    about : iterable of str
        Lines before the table, which are marked as comments.
    lines : iterable of iterable
        Cells.

    Raises
    ------
    OSError
        When it cannot be written.

    Notes
    -----
    A text that begins as a formula does gets an apostrophe before it (OWASP, CSV Injection), also in a comment, whose
    commas and semicolons a spreadsheet takes for ends of cells.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {_IN_COMMENT.sub(_APOSTROPHE, clean(line))}\n" for line in about)
        csv.writer(file, lineterminator="\n").writerows([_cell(clean(cell)) for cell in line] for line in lines)


_FORMULA = "-=+@\uff0d\uff1d\uff0b\uff20"  # what it begins with, of usual width and of full
_IN_COMMENT = re.compile(rf"(?<=[,;])\s*(?=[{_FORMULA}])")
_APOSTROPHE = r"\g<0>'"


def _cell(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would compute, which a number is not."""
    if not text.lstrip().startswith(tuple(_FORMULA)):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def file_name_of(*parts: object) -> str:
    """Join parts into the name of a file, whatever they hold: separators and all that is unusual become ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(map(str, parts)))[:MOST_OF_A_NAME]


def with_sigma(value: float, sigma: float) -> str:
    """Show a value with its standard uncertainty, which has two digits."""
    digits = max(0, 1 - math.floor(math.log10(sigma))) if sigma > 0 else 4
    return f"{value:.{digits}f} ± {sigma:.{digits}f}"
