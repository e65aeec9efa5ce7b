"""Directive ``settings``: the settings of a step, read from its pydantic model, so that no page can go stale.

``{settings} rixs cosmic_rays`` gives the table ``[processing.rixs.cosmic_rays]`` of a configuration: every key with its
default, its limits and, from the comment beside the field, what it means. ``{settings} xas`` is for a pipeline whose
settings have no steps.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from tables import comments, table, with_code

from beamline.techniques import pipelines

LIMITS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}
LENGTHS = {"min_length": "{} or more of them", "max_length": "at most {} of them"}


def settings_of(pipeline: str, *path: str) -> type[BaseModel]:
    """Give the model of the settings of a pipeline, or of one of its steps.

    Raises
    ------
    ValueError
        When there is no such pipeline, or no such step.
    """
    models = {each.name: each.settings_model for each in pipelines().values()}
    if pipeline not in models:
        raise ValueError(f"no pipeline {pipeline!r}, there are {', '.join(models)}")
    model: type[BaseModel] = models[pipeline]
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
            found |= comments(owner)
    described = {name: field.description for name, field in model.model_fields.items() if field.description}
    return found | described


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
            return [nodes.paragraph("", "", *with_code(f"{title} takes no keys."))]
        return [table(title, {"key": 20, "default": 15, "limits": 20, "meaning": 45}, rows, name="settings")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
