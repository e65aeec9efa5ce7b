"""Directive ``vocabulary``: the names of a class of the contract, with unit and meaning.

An output and a field of a result say themselves what they are; the meaning of a data key is the comment beside it, and
its unit that of ``callbacks.contract.UNITS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from tables import comments, table, with_code

from callbacks import contract


class Entry(NamedTuple):
    """A name of the vocabulary."""

    name: str
    unit: str
    shape: str
    meaning: str


def entries(name: str) -> Iterator[Entry]:
    """Give the names of a class of the contract."""
    found = getattr(contract, name)
    if issubclass(found, contract.Result):
        for field, one in found.describe().items():
            yield Entry(field, one.units, " x ".join(one.shape), one.meaning)
    elif issubclass(found, contract.Output):
        for output in found:
            yield Entry(output.value, output.units, "array" if output.dtype == "array" else "", output.meaning)
    elif issubclass(found, StrEnum):
        meanings = comments(found)
        for key in found:
            yield Entry(key.value, contract.UNITS.get(key, ""), "", meanings.get(key.name, ""))


class Vocabulary(SphinxDirective):
    """A class of the contract as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        name = self.arguments[0]
        found = list(entries(name))
        shown = [column for column in ("unit", "shape", "meaning") if any(getattr(each, column) for each in found)]
        widths = {"name": 28, "unit": 12, "shape": 20, "meaning": 40}
        rows = [[f"`{each.name}`", *(getattr(each, column) for column in shown)] for each in found]
        about = inspect.getdoc(getattr(contract, name)) or ""
        return [
            nodes.paragraph("", "", *with_code(about.partition("\n\n")[0].replace("\n", " "))),
            table(f"`{name}`", {column: widths[column] for column in ("name", *shown)}, rows, name="vocabulary"),
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vocabulary", Vocabulary)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
