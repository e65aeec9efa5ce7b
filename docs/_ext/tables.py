"""What the directives share: the comments beside the names of a class, and tables."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Mapping
from itertools import count, takewhile

from docutils import nodes


def comments(owner: type) -> dict[str, str]:
    """Give what stands beside each name that a class sets, else in the lines above it."""
    source = textwrap.dedent(inspect.getsource(owner))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    alone = {number for number, line in enumerate(source.splitlines(), start=1) if line.lstrip().startswith("#")}
    texts = {}
    for statement in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        target = getattr(statement, "target", None) or next(iter(getattr(statement, "targets", [])), None)
        if not isinstance(target, ast.Name):
            continue
        lines = [line for line in range(statement.lineno, statement.end_lineno + 1) if line in found]
        if not lines:
            lines = list(takewhile(alone.__contains__, count(statement.lineno - 1, -1)))[::-1]
        if lines:
            texts[target.id] = " ".join(found[line] for line in lines)
    return texts


def table(title: str, columns: Mapping[str, int], rows: Iterable[list[str]], *, name: str) -> nodes.table:
    """Make a table of text, with code between backticks.

    Parameters
    ----------
    title : str
    columns : mapping of str to int
        Headings and their relative widths.
    rows : iterable of list of str
    name : str
        Of its class in the style sheet.
    """
    group = nodes.tgroup("", cols=len(columns))
    group += [nodes.colspec(colwidth=width) for width in columns.values()]
    group += nodes.thead("", _row(columns))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", nodes.title("", "", *with_code(title)), group, classes=[name])


def _row(cells: Iterable[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *with_code(cell))) for cell in cells))


def with_code(text: str) -> list[nodes.Node]:
    """Give text with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    return [nodes.literal("", part) if number % 2 else nodes.Text(part) for number, part in enumerate(parts) if part]
