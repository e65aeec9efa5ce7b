"""Reduce a run again with other settings, in a process of its own, and show two runs or reductions side by side."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.serve.page.beside import Turn, answer_of
from beamline.serve.page.panels import Panel
from beamline.storage.results import Run
from beamline.storage.runs import Runs

OTHER = "other-"  # begins the name of an image that is shown beside the one it is compared with


def settings_of(derived: Run) -> list[dict[str, str]]:
    """List the settings of a reduction: the name of each, and its value as JSON; those that are tables part by part."""
    (settings,) = derived.settings.values()
    return [{"name": name, "value": json.dumps(value)} for name, value in _leaves("", settings)]


def _leaves(at: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        here = f"{at}.{name}" if at else name
        if isinstance(value, dict) and value:
            yield from _leaves(here, value)
        else:
            yield here, value


def changed(derived: Run, changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the settings of a reduction, some of them changed.

    Parameters
    ----------
    derived : Run
    changes : mapping of str to str
        Values as JSON by the names that `settings_of` gives; null for the default.

    Returns
    -------
    dict
        By pipeline.

    Raises
    ------
    BeamlineError
        When there is no such setting, or a value is no JSON.
    """
    (pipeline,) = derived.settings
    settings = json.loads(json.dumps(derived.settings[pipeline]))
    known = {name for name, _ in _leaves("", settings)}
    for name, text in changes.items():
        if name not in known:
            raise BeamlineError(f"{name[:80]!r} is no setting of this reduction")
        try:
            value = json.loads(str(text))
        except ValueError:
            value = str(text)
        *tables, last = name.split(".")
        table = settings
        for each in tables:
            table = table[each]
        table[last] = value
    return {pipeline: settings}


def written(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Write settings as the file of a configuration that has nothing but them; what is null is left out."""
    return "".join(
        f"[processing.{pipeline}]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in _given(steps))
        for pipeline, steps in settings.items()
    )


def _given(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((json.dumps(name), value) for name, value in table.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in _given(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value)  # of text, numbers and true or false, TOML is as JSON


class Again:
    """Reduces runs again, one at a time.

    Parameters
    ----------
    data_dir : Path
    turn : Turn
        What else computes beside the scan.
    """

    def __init__(self, data_dir: Path, turn: Turn) -> None:
        self._data_dir, self._turn = data_dir, turn

    async def __call__(self, uid: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Reduce a run as its newest reduction was made, but for some changes, and keep the outcome.

        Returns
        -------
        dict
            As `beamline replay --keep --json` says.

        Raises
        ------
        BeamlineError
            When something else is being computed, the run was not reduced before, or a setting is wrong.
        """
        with self._turn.take("a run is being reduced again"):
            _raw, derived = await asyncio.to_thread(Runs(self._data_dir).load_with_derived, uid)
            if derived is None:
                raise BeamlineError("this run was not reduced before")
            with tempfile.TemporaryDirectory(prefix="beamline-") as folder:
                file = Path(folder) / "settings.toml"
                file.write_text(written(changed(derived, changes)))
                options = (
                    "--source",
                    "log",
                    "--keep",
                    "--config",
                    str(file),
                    "--data-dir",
                    str(self._data_dir),
                )
                try:
                    return await answer_of("replay", uid, *options)
                except BeamlineError as error:
                    raise BeamlineError(str(error).removeprefix(f"{file}: ")) from error


def side_by_side(shown: Sequence[Panel], others: Sequence[Panel], names: tuple[str, str]) -> list[Panel]:
    """Show the figures of two runs: first images, one beside the other, then curves, in one figure.

    Parameters
    ----------
    shown, others : sequence of Panel
    names : (str, str)
        What the two are called.
    """
    left = {panel.name: panel for panel in others}
    made = []
    for panel in shown:
        other = left.pop(panel.name, None)
        if other is None:
            made.append(panel)
        elif panel.kind == "lines" and _alike(panel, other):
            made.append(_joined(panel, other, names))
        else:
            made += [replace(panel, title=f"{panel.title} · {names[0]}"), _beside(other, names[1])]
    made += [_beside(panel, names[1]) for panel in left.values()]
    return sorted(made, key=lambda panel: panel.kind == "lines")


def _beside(panel: Panel, name: str) -> Panel:
    return replace(panel, name=f"{OTHER}{panel.name}", title=f"{panel.title} · {name}")


def _alike(one: Panel, other: Panel) -> bool:
    return all(one.about[axis] == other.about[axis] for axis in ("x", "y"))


def _joined(one: Panel, other: Panel, names: tuple[str, str]) -> Panel:
    first = one.about["curves"]
    curves = [
        curve | {"name": f"{curve['name']}, {name}"}
        for panel, name in zip((one, other), names, strict=True)
        for curve in panel.about["curves"]
    ]
    moved = {f"{key[0]}{int(key[1:]) + len(first)}": values for key, values in other.arrays.items()}
    notes = [f"{name}: {panel.note}" for panel, name in zip((one, other), names, strict=True) if panel.note]
    note = one.note if one.note == other.note else " · ".join(notes)
    return replace(one, about=one.about | {"curves": curves}, arrays=one.arrays | moved, note=note)
