"""Recipes of analyses: read from a file and options, with the references that they name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beamline.acquire.references import find_reference, processing_with_references
from beamline.endstation.config import ReductionConfig, explain, not_finite, read_model, read_tables
from beamline.errors import BeamlineError
from beamline.operations.selecting import select_runs
from beamline.storage.runs import Runs
from beamline.techniques.settings import processing_problems
from callbacks.analysis import Recipe
from callbacks.analysis.recipe import MaskedPixels
from callbacks.wording import number_of

# Keys of a recipe's file that say of what it is: names of runs, where none are given beside it, or which are selected;
# and that stacks or maps are pooled.
RUNS, SELECT, POOL = "runs", "select", "pool"
REFERENCES, REGIONS = "references", "regions"
LARGEST_MASK = 100_000_000  # bytes of a file of one number a pixel


class Selection(BaseModel):
    """Runs of samples: of each at each edge the newest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    technique: str
    samples: tuple[str, ...] = Field(min_length=1)
    edges: tuple[str, ...] = ("",)  # any where not given


class SelectedReference(BaseModel):
    """A reference by its sample: the newest run of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: str
    edge: str = ""  # any where not given
    technique: str = ""  # likewise


class PooledRecipe(BaseModel):
    """What a recipe says of stacks or maps that are pooled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: Literal[True]
    technique: str = ""
    runs: tuple[str | int, ...] = ()
    select: Selection | None = None
    references: dict[str, str | int | SelectedReference] = {}  # as of a configuration
    processing: dict[str, dict[str, Any]] = {}  # likewise, beside what that says


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
    if isinstance(references := tables.get(REFERENCES), dict):
        folder, channel = file.parent if file else Path(), str(tables.get("channel") or "")
        tables[REFERENCES] = {
            name: _reference(_selected(where, name, named, Runs(data_dir)), channel, folder, data_dir)
            for name, named in references.items()
        }
    if isinstance(regions := tables.get(REGIONS), dict):
        folder = file.parent if file else Path()
        tables[REGIONS] = {name: _with_mask(region, folder) for name, region in regions.items()}
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
    return _newest_of(f"{file}: {SELECT}", runs, technique=wanted.technique, sample=sample, edge=edge)


def _newest_of(where: str, runs: Runs, **conditions: str) -> str:
    """Give the uid of the newest run that meets the conditions which are not empty."""
    try:
        return select_runs(runs, [f"{name}={value}" for name, value in conditions.items() if value])[-1].uid
    except BeamlineError as error:
        raise BeamlineError(f"{where}: {error}") from error


def _selected(where: str, name: str, named: Any, runs: Runs) -> str:
    """Give the name of a file or run of a reference, which may be selected by its sample."""
    if not isinstance(named, dict):
        return str(named)
    where = f"{where}: {REFERENCES}.{name}"
    try:
        wanted = SelectedReference.model_validate(named)
    except ValidationError as error:
        raise BeamlineError(*(f"{where}: {line}" for line in explain(error, SelectedReference))) from error
    return _newest_of(where, runs, **wanted.model_dump())


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
    if others := sorted(set(tables) - PooledRecipe.model_fields.keys()):
        raise BeamlineError(f"{file}: {', '.join(others)}: runs that are pooled are analysed as [processing] says")
    return True


def pooled_processing(
    file: Path, processing: Mapping[str, dict[str, Any]], data_dir: Path
) -> dict[str, dict[str, Any]]:
    """Give the settings of the pipelines by which a recipe has stacks or maps pooled, with its references.

    Parameters
    ----------
    file : Path
        TOML.
    processing : mapping of str to dict
        Settings by pipeline, which hold where the recipe says nothing else.
    data_dir : Path
        For references that are runs.

    Raises
    ------
    BeamlineError
        When it asks for anything else, a setting cannot be understood, or a reference is not there.
    """
    recipe, runs = read_model(file, PooledRecipe), Runs(data_dir)
    references = {
        name: _selected(str(file), name, dict(named) if isinstance(named, SelectedReference) else named, runs)
        for name, named in recipe.references.items()
    }
    tables = {REFERENCES: references, "processing": _merged(processing, recipe.processing)}
    own = ReductionConfig.model_validate(tables, context={"file": file})
    if problems := processing_problems(own):
        raise BeamlineError(*problems)
    return processing_with_references(own, data_dir)


def _merged(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings with more of them: what both have is that of `more`, table by table."""
    return dict(settings) | {
        key: _merged(settings.get(key) or {}, value) if isinstance(value, Mapping) else value
        for key, value in more.items()
    }


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
    references, regions = (tables.get(key, {}) for key in (REFERENCES, REGIONS))
    for name, named in references.items() if isinstance(references, dict) else ():
        if isinstance(named, dict):  # a sample
            continue
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
        "gaps": found.get("gaps", []),
    }


def _with_mask(region: Any, folder: Path) -> Any:
    """Give a region with the pixels of its mask file; one without stays as it is."""
    if not isinstance(region, dict) or not isinstance(name := region.get("mask"), str) or not name:
        return region
    return region | {"masked": MaskedPixels.of(_mask(folder / Path(name).expanduser()))}


def _mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask: pixels of an image, or numbers of a .npy file, that are not zero."""
    try:
        if path.stat().st_size > LARGEST_MASK:
            raise BeamlineError(f"mask {path}: is larger than {LARGEST_MASK} bytes; is it a mask?")
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            from skimage.io import imread  # noqa: PLC0415 - takes time, and is rarely needed

            values = imread(path)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "it is no image, and no .npy file of numbers"
        raise BeamlineError(f"mask {path}: cannot be read: {why}") from error
    values = values.any(axis=2) if values.ndim == 3 else values
    if values.ndim != 2 or not values.size:
        raise BeamlineError(f"mask {path}: {values.shape}, expected one number for each line and column")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise BeamlineError(f"mask {path}: holds what is no number, expected 0 or another for each pixel")
    return np.asarray(values != 0)
