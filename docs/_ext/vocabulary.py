"""Directive ``vocabulary``: the data keys of an enumeration of the contract, with unit and meaning.

The meaning is the comment beside the key, the unit that of ``callbacks.contract.UNITS``.
"""

from __future__ import annotations

import importlib

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from tables import comments, table


class Vocabulary(SphinxDirective):
    """An enumeration as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        module_name, _, name = self.arguments[0].rpartition(".")
        module = importlib.import_module(module_name)
        enumeration = getattr(module, name)
        meaning, units = comments(enumeration), module.UNITS
        if any(each in units for each in enumeration):
            columns = {"key": 30, "unit": 12, "meaning": 58}
            rows = [[f"`{each.value}`", units.get(each, ""), meaning.get(each.name, "")] for each in enumeration]
        else:
            columns = {"name": 30, "meaning": 70}
            rows = [[f"`{each.value}`", meaning.get(each.name, "")] for each in enumeration]
        return [table(f"`{name}`", columns, rows, name="vocabulary")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("vocabulary", Vocabulary)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
