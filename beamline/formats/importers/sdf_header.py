"""The header of a STXM scan in the self-defining format (SDF) of the ALS, the CLS and PolLux, as nested values.

The text is a list of ``Name = Value;`` where a value is a number, a quoted string, a word, a structure of the same kind
in braces, or an array in parentheses. Arrays usually begin with the number of entries that follow.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import LARGEST_TEXT, read_bytes
from beamline.formats.text import decode

Structure = dict[str, Any]

_TOKEN = re.compile(r'\s*(?:"(?P<string>[^"]*)"|(?P<mark>[={}();,])|(?P<word>[^\s"={}();,]+)|(?P<bad>"))')
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")  # longer ones are floats
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf)", re.IGNORECASE)


def read_header(path: Path) -> tuple[Structure, str]:
    """Read a header file.

    Parameters
    ----------
    path : Path
        The ``.hdr`` file.

    Returns
    -------
    header : dict
        See `parse_header`.
    text : str
        The text of the file, decoded; see `beamline.formats.text.decode`.

    Raises
    ------
    BeamlineError
        When it cannot be read or parsed.
    """
    try:
        text = decode(read_bytes(path, LARGEST_TEXT))
    except (ValueError, FileNotFoundError) as error:
        raise BeamlineError(f"{path}: cannot be read: {error}") from error
    try:
        return parse_header(text), text
    except ValueError as error:
        raise BeamlineError(f"{path}: not a header of the self-defining format: {error}") from error


def parse_header(text: str) -> Structure:
    """Parse the text of a header.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict
        Structures as dict, arrays as list (beginning with the count if the file has it, see `entries`), numbers as int
        or float, ``true`` and ``false`` as bool, everything else as str.

    Raises
    ------
    ValueError
        When the text is not as expected; names the line.
    """
    try:
        return _Parser(text).header()
    except RecursionError:
        raise ValueError("braces or parentheses are nested too deep") from None


def entries(value: Any) -> list[Any]:
    """Return the entries of an array without the count that precedes them.

    Raises
    ------
    ValueError
        When `value` is not an array, or the count is wrong.
    """
    if not isinstance(value, list) or not value:
        raise ValueError(f"{short(value)} where an array was expected")
    count, *rest = value
    if isinstance(count, bool) or not isinstance(count, int):
        raise ValueError(f"{short(count)} in front of an array, expected the number of its entries")
    if count != len(rest):
        raise ValueError(f"an array of {count} entries holds {len(rest)}")
    return rest


class _Parser:
    """Recursive descent over the tokens of a header."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.kind, self.token = "", ""
        self._next()

    def header(self) -> Structure:
        fields = self._fields()
        if self.kind:
            raise self._unexpected("a name")
        return fields

    def _next(self) -> None:
        match = _TOKEN.match(self.text, self.position)
        if match is None:  # only white space is left
            self.position, self.kind, self.token = len(self.text), "", "the end of the file"
            return
        self.position = match.end()
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]
        if self.kind == "bad":
            raise self._unexpected("the end of a string")

    def _is(self, mark: str) -> bool:
        return self.kind == "mark" and self.token == mark

    def _unexpected(self, expected: str) -> ValueError:
        line = self.text.count("\n", 0, self.position) + 1
        return ValueError(f"line {line}: {short(self.token)}, expected {expected}")

    def _fields(self) -> Structure:
        """Read ``Name = Value;`` until something else comes."""
        fields: Structure = {}
        while True:
            while self._is(";"):
                self._next()
            words = []
            while self.kind in ("word", "string"):
                words.append(self.token)
                self._next()
            if not words:
                return fields
            if not self._is("="):
                raise self._unexpected(f"'=' after {short(' '.join(words))}")
            self._next()
            fields[" ".join(words)] = self._value()
            if self.kind and not (self._is(";") or self._is("}")):
                raise self._unexpected(f"';' after the value of {short(' '.join(words))}")

    def _value(self) -> Any:
        if self._is("{"):
            self._next()
            fields = self._fields()
            if not self._is("}"):
                raise self._unexpected("'}'")
            self._next()
            return fields
        if self._is("("):
            self._next()
            return self._array()
        if self.kind == "string":
            text = self.token
            self._next()
            return text
        words = []
        while self.kind == "word":
            words.append(self.token)
            self._next()
        return _scalar(" ".join(words))

    def _array(self) -> list[Any]:
        values: list[Any] = []
        while not self._is(")"):
            if not self.kind or self._is(";") or self._is("="):
                raise self._unexpected("')'")
            if self._is(",") or self._is("}"):  # the converter of PolLux leaves a brace before the parenthesis
                self._next()
            else:
                values.append(self._value())
        self._next()
        return values


def _scalar(word: str) -> Any:
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    return {"true": True, "false": False}.get(word.lower(), word)


def short(value: Any) -> str:
    """Return a value as it is shown in a message."""
    text = repr(value[:40] if isinstance(value, str | list) else value)
    return text if len(text) < 40 else f"{text[:36]}..."
