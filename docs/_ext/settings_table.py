"""Directive ``settings``: the settings of a step, read from its pydantic model, so that no page can go stale.

``{settings} rixs cosmic_rays`` gives the table ``[processing.rixs.cosmic_rays]`` of a configuration: every key with its
default, its limits and, from the comment beside the field, what it means. ``{settings} xas`` is for a pipeline whose
settings have no steps.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from typing import Any, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LIMITS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}
LENGTHS = {"min_length": "{} or more of them", "max_length": "at most {} of them"}


def settings_of(pipeline: str, *path: str) -> type[BaseModel]:
    """Give the model of the settings of a pipeline, or of one of its steps.

    Raises
    ------
    ValueError
        When there is no such pipeline, or no such step.
    """
    from callbacks.pipelines import PIPELINES  # noqa: PLC0415 - it brings in all the numerics

    models = {each.name: each.settings_model for each in PIPELINES.values()}
    if pipeline not in models:
        raise ValueError(f"no pipeline {pipeline!r}, there are {', '.join(models)}")
    model = models[pipeline]
    for step in path:
        if step not in model.model_fields:
            raise ValueError(f"{model.__name__} has no {step!r}, only {', '.join(model.model_fields)}")
        model = next(each for each in _alternatives(model.model_fields[step].annotation) if _is_model(each))
    return model


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Give what each field means: its description, else the comment beside it, else the comment above it."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if _is_model(owner) and owner is not BaseModel:
            found |= _comments(owner)
    described = {name: field.description for name, field in model.model_fields.items() if field.description}
    return found | described


def _comments(owner: type) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(owner))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = source.splitlines()
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for statement in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        beside = [
            comments[line] for line in range(statement.lineno, (statement.end_lineno or 0) + 1) if line in comments
        ]
        above, line = list[str](), statement.lineno - 1
        while not beside and line in comments and lines[line - 1].lstrip().startswith("#"):
            above.insert(0, comments[line])
            line -= 1
        if text := " ".join(beside or above):
            found[statement.target.id] = text
    return found


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


def _is_model(each: Any) -> bool:
    return isinstance(each, type) and issubclass(each, BaseModel)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "empty" if field.default_factory else "to be given"
    value = field.default
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, BaseModel):
        return "a table of its own"
    return f'`"{value}"`' if isinstance(value, str) else f"`{list(value) if isinstance(value, tuple) else value}`"


def _limits(field: FieldInfo) -> str:
    texts = []
    for limit in field.metadata:
        values = {text: getattr(limit, name, None) for name, text in (LIMITS | LENGTHS).items()}
        texts += [text.format(f"{value:g}") for text, value in values.items() if value is not None]
        if pattern := getattr(limit, "pattern", None):
            texts.append(f"`{pattern}`")
    for each in (field.annotation, *_alternatives(field.annotation)):
        if getattr(get_origin(each), "__name__", str(get_origin(each))).endswith("Literal"):
            texts.append(" or ".join(f'`"{choice}"`' for choice in get_args(each)))
    return ", ".join(dict.fromkeys(texts))


class SettingsTable(SphinxDirective):
    """The settings of a step as a table."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        path = self.arguments[0].split()
        try:
            model = settings_of(*path)
        except ValueError as error:
            raise self.error(str(error)) from error
        self.env.note_dependency(inspect.getfile(model))
        meaning = meanings(model)
        rows = []
        for name, field in model.model_fields.items():
            if name not in meaning and any(_is_model(each) for each in _alternatives(field.annotation)):
                continue  # the settings of a step, which have a table of their own
            rows.append([f"`{name}`", _default(field), _limits(field), meaning.get(name, "")])
        title = f"Settings: `[processing.{'.'.join(path)}]`"
        if not rows:
            return [nodes.paragraph("", "", *_text(f"{title} takes no keys."))]
        return [_table(title, ["key", "default", "limits", "meaning"], rows)]


def _table(title: str, header: list[str], rows: list[list[str]]) -> nodes.table:
    group = nodes.tgroup("", cols=len(header))
    group += [nodes.colspec(colwidth=width) for width in (20, 15, 20, 45)]
    group += nodes.thead("", _row(header))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", nodes.title("", "", *_text(title)), group, classes=["settings"])


def _row(cells: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *_text(cell))) for cell in cells))


def _text(text: str) -> list[nodes.Node]:
    """Give text with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    return [nodes.literal("", part) if number % 2 else nodes.Text(part) for number, part in enumerate(parts) if part]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
