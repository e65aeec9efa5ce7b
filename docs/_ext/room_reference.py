"""Directive ``room``: a package as its readers see it: what each module is for, and what the package exports.

What is listed comes from ``__all__`` of the package, so that a function may move to another module of its room without
a change here. A package that exports nothing shows the public names of its modules.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import GenericAlias, ModuleType

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes


def summary(path: Path) -> str:
    """Give the first sentence of a module's docstring, without importing it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def modules(package: ModuleType, *, recursive: bool = False) -> dict[str, str]:
    """Give what each public module of a package, and with `recursive` of the rooms in it, is for, by name."""
    found: dict[str, str] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        folder = Path(next(iter(package.__path__))) / info.name
        found[info.name] = summary(folder / "__init__.py" if info.ispkg else folder.with_suffix(".py"))
        if info.ispkg and recursive:
            inner = modules(importlib.import_module(f"{package.__name__}.{info.name}"), recursive=True)
            found |= {f"{info.name}.{name}": text for name, text in inner.items()}
    return found


def public_names(module: ModuleType) -> list[str]:
    """Give what a module exports: its ``__all__`` without modules and aliases, else its functions and classes."""
    if names := getattr(module, "__all__", None):
        return [name for name in names if not isinstance(getattr(module, name), ModuleType | GenericAlias)]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


class Room(SphinxDirective):
    """A package: its modules in a table, then what it exports."""

    required_arguments = 1
    option_spec = {"modules-only": directives.flag, "recursive": directives.flag}  # noqa: RUF012 - as docutils asks

    def run(self) -> list[nodes.Node]:
        """Make the tables and the entries."""
        package = importlib.import_module(self.arguments[0])
        lines = self._modules(modules(package, recursive="recursive" in self.options))
        if "modules-only" not in self.options:
            exported = public_names(package)
            inside = [package] if exported else [importlib.import_module(name) for name in self._names(package)]
            for module in inside:
                lines += self._entries(module)
        return nested_parse_to_nodes(self.state, StringList(lines, source=package.__file__ or ""))

    @staticmethod
    def _names(package: ModuleType) -> list[str]:
        packages = {info.name for info in pkgutil.iter_modules(package.__path__) if info.ispkg}
        return [f"{package.__name__}.{name}" for name in modules(package) if name not in packages]

    @staticmethod
    def _modules(found: dict[str, str]) -> list[str]:
        if not found:
            return []
        lines = [".. list-table::", "   :widths: 25 75", "   :class: modules", ""]
        for name, text in found.items():
            lines += [f"   * - ``{name}``", f"     - {text}"]
        return [*lines, ""]

    @staticmethod
    def _entries(module: ModuleType) -> list[str]:
        lines, elsewhere = [f".. currentmodule:: {module.__name__}", ""], []
        for name in public_names(module):
            value = getattr(module, name)
            kind = "class" if inspect.isclass(value) else "function" if inspect.isfunction(value) else "data"
            if kind != "data" and not value.__module__.startswith(module.__name__):
                elsewhere.append(f"``{name}`` of ``{value.__module__}``")
            else:
                lines += [f".. auto{kind}:: {name}", ""]
        return [*lines, f"Also exported: {', '.join(elsewhere)}.", ""] if elsewhere else lines


def without_model_config(_app: Sphinx, _kind: str, name: str, _value: object, skip: bool, _options: object) -> bool:
    """Leave out what pydantic's own documentation tells of every model."""
    return skip or name == "model_config"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("room", Room)
    app.connect("autodoc-skip-member", without_model_config)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
