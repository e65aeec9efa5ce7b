"""Recipes of analyses: read from a file and options, with the references that they name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beamline.acquire.references import YIELD, find_reference
from beamline.endstation.config import explain, not_finite, read_tables
from beamline.errors import BeamlineError
from beamline.operations.selecting import select_runs
from beamline.storage.runs import Runs
from callbacks.analysis import Recipe
from callbacks.wording import number_of

# Keys of a recipe's file that say of what it is: names of runs, where none are given beside it, or which are selected;
# and that stacks or maps are pooled.
RUNS, SELECT, POOL = "runs", "select", "pool"


class Selection(BaseModel):
    """Runs of samples: of each at each edge the newest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    technique: str
    samples: tuple[str, ...] = Field(min_length=1)
    edges: tuple[str, ...] = ("",)  # any where not given


def read_recipe(file: Path | None, does: Sequence[str], sets: Sequence[str], technique: str, data_dir: Path) -> Recipe:
    """Make a recipe of a file and options.

    Parameters
    ----------
    file : Path or None
        TOML.
    does : sequence of str
        Measures to take with their default settings, such as "edge_position".
    sets : sequence of str
        Further settings, "key=value": the key with its tables, the value as TOML has it.
    technique : str
        Of the runs; a file that names another one is refused.
    data_dir : Path
        For references that are runs.

    Raises
    ------
    BeamlineError
        That names file, key, what was found and what was expected.
    """
    tables: dict[str, Any] = {"technique": technique} | (read_tables(file) if file else {})
    for key in (RUNS, SELECT):
        tables.pop(key, None)
    where = str(file) if file else "recipe"
    measures = tables.setdefault("measures", {})
    if not isinstance(measures, dict):
        raise BeamlineError(f"{where}: measures: expected a table, not {measures!r}")
    for name in does:
        measures.setdefault(name, {}).setdefault("by", name)
    for setting in sets:
        _put(tables, setting)
    for name, table in measures.items():
        if isinstance(table, dict):
            table.setdefault("by", name)
    if infinite := [f"{where}: {key}: {number} is not a finite number" for key, number in not_finite("", tables)]:
        raise BeamlineError(*infinite)
    if isinstance(references := tables.get("references"), dict):
        folder, channel = file.parent if file else Path(), str(tables.get("channel") or YIELD)
        tables["references"] = {
            name: _reference(str(named), channel, folder, data_dir) for name, named in references.items()
        }
    if isinstance(how := tables.get("self_absorption"), dict) and "absorption" in how:
        tables["self_absorption"] = how | {"absorption": _uids(how["absorption"], tables.get("cuts"), data_dir)}
    if tables["technique"] != technique:
        raise BeamlineError(f"{where}: technique: is {tables['technique']}, but the runs are {technique}")
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise BeamlineError(*(f"{where}: {line}" for line in explain(error, Recipe))) from error


def runs_of(file: Path, runs: Runs) -> list[str]:
    """Give the runs that a recipe's file names or selects; none where it does not.

    Raises
    ------
    BeamlineError
        When they are no list of names, it selects in a way that cannot be understood, or one of those is not there.
    """
    tables = read_tables(file)
    if SELECT in tables and RUNS in tables:
        raise BeamlineError(f"{file}: {RUNS} and {SELECT}: expected one of them")
    if SELECT in tables:
        try:
            wanted = Selection.model_validate(tables[SELECT])
        except ValidationError as error:
            raise BeamlineError(*(f"{file}: {SELECT}: {line}" for line in explain(error, Selection))) from error
        return [_newest(file, runs, wanted, sample, edge) for edge in wanted.edges for sample in wanted.samples]
    named = tables.get(RUNS, [])
    if not isinstance(named, list) or not all(isinstance(name, str | int) for name in named):
        raise BeamlineError(f'{file}: {RUNS}: expected names of runs, such as ["12", "53a788d7"]')
    return [str(name) for name in named]


def _newest(file: Path, runs: Runs, wanted: Selection, sample: str, edge: str) -> str:
    terms = [f"technique={wanted.technique}", f"sample={sample}", *([f"edge={edge}"] if edge else [])]
    try:
        return select_runs(runs, terms)[-1].uid
    except BeamlineError as error:
        raise BeamlineError(f"{file}: {SELECT}: {error}") from error


def is_pooled(file: Path | None) -> bool:
    """Tell whether a recipe's file asks for stacks or maps to be pooled.

    Raises
    ------
    BeamlineError
        When it asks for anything else beside that.
    """
    tables = read_tables(file) if file else {}
    if POOL not in tables:
        return False
    if tables[POOL] is not True:
        raise BeamlineError(f"{file}: {POOL}: is {tables[POOL]!r}, expected true, or nothing")
    if others := sorted(set(tables) - {POOL, RUNS, SELECT, "technique"}):
        raise BeamlineError(f"{file}: {', '.join(others)}: runs that are pooled are analysed as [processing] says")
    return True


def refuse_files(file: Path, runs: Runs) -> None:
    """Refuse a recipe that names files, which would be read here though it was written elsewhere.

    Parameters
    ----------
    file : Path
        The recipe.
    runs : Runs
        That its references may name.

    Raises
    ------
    BeamlineError
        That names the key.
    """
    tables = read_tables(file)
    references, regions = (tables.get(key, {}) for key in ("references", "regions"))
    for name, named in references.items() if isinstance(references, dict) else ():
        try:
            runs.find(str(named))
        except BeamlineError as error:
            raise BeamlineError(f"{file}: references.{name}: {error}; expected a run") from error
    for name, region in regions.items() if isinstance(regions, dict) else ():
        if isinstance(region, dict) and region.get("mask"):
            raise BeamlineError(f"{file}: regions.{name}.mask: is a file, which is read by `beamline analyse` alone")


def _uids(named: Any, cuts: Any, data_dir: Path) -> Any:
    """Give the uids of runs, by which they are found later as well; what is a cut or no name stays."""
    if isinstance(named, list):
        return [_uids(name, None, data_dir) for name in named]
    if not isinstance(named, str | int) or (isinstance(cuts, dict) and named in cuts) or named == "":
        return named
    return Runs(data_dir).find(str(named)).uid


def _put(tables: dict[str, Any], setting: str) -> None:
    """Put a setting "table.key=value" in its table."""
    key, sign, value = setting.partition("=")
    path = key.strip().split(".")
    if not sign or not all(path):
        raise BeamlineError(f"--set {setting}: expected KEY=VALUE, such as measures.edge_position.points=6")
    for name in path[:-1]:
        tables = tables.setdefault(name, {})
        if not isinstance(tables, dict):
            raise BeamlineError(f"--set {setting}: {name} is no table")
    tables[path[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    """Read a value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _reference(named: str, channel: str, folder: Path, data_dir: Path) -> dict[str, Any]:
    found = find_reference(named, folder, data_dir, channel)
    energy, values = np.asarray(found["energy"]), np.asarray(found["optical_density"])
    order = np.argsort(energy, kind="stable")
    energy, values = energy[order], values[order]
    sigma = np.asarray(found["sigma"])[order] if found.get("sigma") else np.empty(0)
    if repeated := int((np.diff(energy) == 0).sum()):
        raise BeamlineError(f"reference {named}: {number_of(repeated, 'energy')} stand there twice, expected each once")
    return {
        "energy": energy.tolist(),
        "values": values.tolist(),
        "sigma": sigma.tolist(),
        "source": str(found["source"]),
    }
