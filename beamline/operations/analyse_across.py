"""Features of the same samples by several techniques: each against capacity, and against one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from beamline.endstation.config import explain, read_tables, unknown
from beamline.errors import BeamlineError
from beamline.operations.analyse_rixs import keep_pooled
from beamline.report.across import across_figures
from beamline.report.page import PageContents, PageTable
from beamline.report.stxm.pooled import capacity_of
from beamline.storage.results import Run
from beamline.storage.runs import Entry, Runs
from beamline.text import shortened, with_sigma
from callbacks.contract import (
    ANALYSED_ACROSS,
    RIXS_POOLED,
    STXM_POOLED,
    AnalysedResult,
    PooledResult,
    Quantity,
    RixsPooledResult,
)
from callbacks.wording import number_of

TECHNIQUE = "across"
Found = tuple[dict[str, tuple[float, float]], str, str]  # value and sigma by sample; meaning; units


class Feature(BaseModel):
    """A number of each sample, out of an analysis that is kept, or as it is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The analysis: its uid or the unique beginning of it; or the recipe, a file beside this one, that it is made by.
    of: str = ""
    quantity: str = ""  # as its report or `show` names it: measure and value, such as feature_area; or total_reduced
    part: str = ""  # of its rows: region, channel or cut
    values: tuple[tuple[str, float, float], ...] = ()  # sample, value, standard uncertainty: known from elsewhere
    units: str = ""  # of those

    @field_validator("values", mode="before")
    @classmethod
    def _pairs(cls, values: Any) -> Any:
        """Take a table of value and uncertainty by sample, too."""
        if not isinstance(values, dict):
            return values
        for name, pair in values.items():
            if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_number, pair)) or pair[1] < 0:
                raise ValueError(f"{name}: is {pair!r}, expected value and standard uncertainty, such as [0.03, 0.002]")
        return [(name, *pair) for name, pair in values.items()]

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if bool(self.values) == bool(self.of) or bool(self.of) != bool(self.quantity):
            raise ValueError("expected `of` and `quantity`, or `values`")
        return self


class AcrossRecipe(BaseModel):
    """What is compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    technique: Literal["across"]
    features: dict[str, Feature] = Field(min_length=1)
    capacity: tuple[tuple[str, float], ...] = ()  # mAh/g, by sample; else what its name tells

    @field_validator("features")
    @classmethod
    def _of_what_was_measured(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        if not any(feature.of for feature in features.values()):
            raise ValueError("all are given as `values`: expected one or more out of an analysis, by `of`")
        return features

    @field_validator("capacity", mode="before")
    @classmethod
    def _pairs(cls, capacity: Any) -> Any:
        """Take a table, too: in documents no key of one may hold a slash, as names of samples do."""
        if not isinstance(capacity, dict):
            return capacity
        for name, value in capacity.items():
            if not _is_number(value):
                raise ValueError(f"{name}: is {value!r}, expected a number, mAh/g")
        return list(capacity.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Across:
    """A comparison that is kept.

    Attributes
    ----------
    uid : str
    recipe : AcrossRecipe
    result : AnalysedResult
        Quantities over the samples.
    analyses : mapping of str to Run
        By feature.
    """

    uid: str
    recipe: AcrossRecipe
    result: AnalysedResult
    analyses: Mapping[str, Run]


def is_across(file: Path | None) -> bool:
    """Tell whether a recipe's file is one that compares techniques."""
    return file is not None and read_tables(file).get("technique") == TECHNIQUE


def analyse_across(runs: Runs, file: Path, analyse: Callable[[Path], str]) -> Across:
    """Compare features of the same samples, and keep the outcome as a derived run.

    Parameters
    ----------
    runs : Runs
    file : Path
        The recipe.
    analyse : callable
        Makes an analysis by the recipe's file that a feature is of, and gives its uid. It is called once for each file.

    Raises
    ------
    BeamlineError
        For a mistake in the recipe, an analysis that is not there, or a feature that it does not have.
    """
    recipe = read_across(file)
    return compare(runs, recipe.model_copy(update={"features": _with_analyses(recipe, file, analyse)}))


def read_across(file: Path) -> AcrossRecipe:
    """Read a recipe that compares techniques.

    Raises
    ------
    BeamlineError
        For a mistake in it.
    """
    tables = read_tables(file)
    try:
        return AcrossRecipe.model_validate(tables)
    except ValidationError as error:
        raise BeamlineError(*(f"{file}: {line}" for line in explain(error, AcrossRecipe))) from error


def _with_analyses(recipe: AcrossRecipe, file: Path, analyse: Callable[[Path], str]) -> dict[str, Feature]:
    """Make the analyses that features name by their recipes."""
    named = dict.fromkeys(feature.of for feature in recipe.features.values() if feature.of.endswith(".toml"))
    made: dict[str, str] = {}
    for of in named:
        path = file.parent / of
        if is_across(path):
            raise BeamlineError(f"{file}: {of}: compares analyses itself, expected the recipe of one")
        made[of] = analyse(path)
    return {
        name: feature.model_copy(update={"of": made.get(feature.of, feature.of)})
        for name, feature in recipe.features.items()
    }


def show_across(runs: Runs, entry: Entry) -> Across:
    """Read a comparison that was kept."""
    derived = runs.load(entry)
    assert derived.derivation is not None
    recipe = AcrossRecipe.model_validate(derived.derivation.settings)
    return Across(entry.uid, recipe, derived.read(AnalysedResult), analyses_of(runs, recipe))


def compare(runs: Runs, recipe: AcrossRecipe) -> Across:
    """Compare, and keep the outcome."""
    analyses = analyses_of(runs, recipe)
    found = {name: _by_sample(name, feature, analyses.get(name)) for name, feature in recipe.features.items()}
    samples = list(dict.fromkeys(sample for values, _, _ in found.values() for sample in values))
    capacity = np.array([dict(recipe.capacity).get(sample, capacity_of(sample)) for sample in samples])
    order = np.argsort(capacity, kind="stable")
    samples, capacity = [samples[place] for place in order], capacity[order]
    axes = ("samples",)
    quantities = {
        "sample": Quantity(np.array(samples, dtype=str), "sample", "", axes),
        "capacity": Quantity(capacity, "capacity; NaN where neither the recipe nor the name tells it", "mAh/g", axes),
    }
    for name, (values, meaning, units) in found.items():
        pairs = np.array([values.get(sample, (math.nan, math.nan)) for sample in samples])
        quantities[f"feature_{name}"] = Quantity(pairs[:, 0], meaning, units, axes)
        quantities[f"feature_{name}_sigma"] = Quantity(pairs[:, 1], "its standard uncertainty", units, axes)
    notes = [
        f"{name}: not known of {', '.join(_with_reason(sample, analyses.get(name)) for sample in unknown_of)}"
        for name, (values, _, _) in found.items()
        if (unknown_of := [sample for sample in samples if sample not in values])
    ]
    notes += [f"capacity: {unknown('sample', name, samples)}" for name, _ in recipe.capacity if name not in samples]
    uids = list(dict.fromkeys(uid for run in analyses.values() for uid in _raw_uids(run)))
    result = AnalysedResult(runs=np.array(uids, dtype=str), assumed=np.array(notes, dtype=str), quantities=quantities)
    raws = [Run(runs.find(uid).start) for uid in uids]
    uid = keep_pooled(raws, ANALYSED_ACROSS, recipe, result, runs.data_dir)
    return Across(uid, recipe, result, analyses)


def analyses_of(runs: Runs, recipe: AcrossRecipe) -> dict[str, Run]:
    """Read the analyses that a recipe names, by feature; `BeamlineError` where one is not there."""
    found = {}
    for name, feature in recipe.features.items():
        if not feature.of:
            continue
        entry = runs.find_pooled(feature.of)
        if entry is None:
            raise BeamlineError(f"features.{name}.of: {feature.of}: no analysis has this uid in {runs.data_dir}")
        found[name] = runs.load(entry)
    return found


def _raw_uids(run: Run) -> list[str]:
    assert run.derivation is not None
    return run.derivation.raw_uids


def _with_reason(sample: str, analysis: Run | None) -> str:
    """Name a sample, and say why pooled runs have nothing of it where they do."""
    pooled = analysis is not None and analysis.derivation is not None and analysis.derivation.pipeline == STXM_POOLED
    left_out = analysis.read(PooledResult).why_left_out.values() if analysis is not None and pooled else ()
    why = [one.removeprefix(f"{sample}: ") for one in left_out if one.startswith(f"{sample}: ")]
    return shortened(sample) + (f" ({'; '.join(why)})" if why else "")


def _by_sample(name: str, feature: Feature, run: Run | None) -> Found:
    """Give value and sigma of a feature by sample, what it is, and its unit."""
    if run is None:
        return {sample: (value, sigma) for sample, value, sigma in feature.values}, "as given", feature.units
    assert run.derivation is not None
    if run.derivation.pipeline == STXM_POOLED:
        return _of_pooled(name, feature, run.read(PooledResult))
    if run.derivation.pipeline == RIXS_POOLED:
        return _of_pooled(name, feature, run.read(RixsPooledResult))
    return _of_rows(name, feature, run.read(AnalysedResult))


def _of_pooled(name: str, feature: Feature, result: PooledResult | RixsPooledResult) -> Found:
    described = result.described()
    known = [key for key, each in described.items() if each.shape == ("runs",) and f"{key}_sigma" in described]
    _check_quantity(name, feature, known)
    values, sigmas = (np.asarray(getattr(result, f"{feature.quantity}{end}")).tolist() for end in ("", "_sigma"))
    samples = [str(sample) for sample in result.samples]
    if len(values) != len(samples):
        raise BeamlineError(f"features.{name}.quantity: {feature.quantity}: the analysis does not know it")
    meant = described[feature.quantity]
    found = {
        sample: (value, sigma)
        for sample, value, sigma in zip(samples, values, sigmas, strict=True)
        if math.isfinite(value)
    }
    if not found and isinstance(result, PooledResult):
        raise BeamlineError(f"features.{name}.quantity: {feature.quantity}: {result.chemical_status}")
    return found, meant.meaning, meant.units


def _of_rows(name: str, feature: Feature, result: AnalysedResult) -> Found:
    quantities = result.quantities
    known = [key for key, each in quantities.items() if each.axes == ("rows",) and f"{key}_sigma" in quantities]
    _check_quantity(name, feature, known)
    parts = list(dict.fromkeys(map(str, result.row_part)))
    if feature.part and feature.part not in parts:
        raise BeamlineError(
            f"features.{name}.part: {unknown('part', feature.part, parts)}; there are {', '.join(parts)}"
        )
    values, sigmas = (quantities[f"{feature.quantity}{end}"].values for end in ("", "_sigma"))
    found: dict[str, tuple[float, float]] = {}
    for row, sample in enumerate(map(str, result.row_sample)):
        if (feature.part and str(result.row_part[row]) != feature.part) or not np.isfinite(values[row]):
            continue
        if sample in found:
            raise BeamlineError(
                f"features.{name}: {shortened(sample)} has it several times: expected one run of each sample, and one"
                f" part, of {', '.join(parts)}"
            )
        found[sample] = float(values[row]), float(sigmas[row])
    return found, quantities[feature.quantity].meaning, quantities[feature.quantity].units


def _check_quantity(name: str, feature: Feature, known: list[str]) -> None:
    if feature.quantity not in known:
        said = unknown("quantity", feature.quantity, known)
        raise BeamlineError(f"features.{name}.quantity: {said}; there are {', '.join(known) or 'none'}")


def summary_of(across: Across) -> dict[str, Any]:
    """Summarise a comparison, for JSON."""
    quantities = across.result.quantities
    return {
        "technique": TECHNIQUE,
        "derived_uid": across.uid,
        "recipe": across.recipe.model_dump(mode="json"),
        "samples": [
            {
                "sample": str(sample),
                "capacity_mah_per_g": float(quantities["capacity"].values[row]),
                "features": {
                    name: {
                        "value": float(quantities[f"feature_{name}"].values[row]),
                        "sigma": float(quantities[f"feature_{name}_sigma"].values[row]),
                        "units": quantities[f"feature_{name}"].units,
                    }
                    for name in across.recipe.features
                },
            }
            for row, sample in enumerate(quantities["sample"].values)
        ],
        "assumed": [str(note) for note in across.result.assumed],
    }


def contents_of(across: Across) -> PageContents:
    """Give what the report of a comparison holds."""
    summary = summary_of(across)
    names = list(across.recipe.features)
    rows = [
        [
            shortened(one["sample"]),
            "" if math.isnan(one["capacity_mah_per_g"]) else f"{one['capacity_mah_per_g']:g}",
            *(_cell(one["features"][name]) for name in names),
        ]
        for one in summary["samples"]
    ]
    return PageContents(
        title=f"{' and '.join(names)} of {number_of(len(rows), 'sample')}",
        subtitle=f"derived run {across.uid}",
        verdict=f"{number_of(len(names), 'feature')} of {number_of(len(rows), 'sample')}.",
        warnings=summary["assumed"],
        drawn=across_figures(across.result, names, across.analyses),
        tables=[PageTable("Features", ["sample", "capacity (mAh/g)", *names], rows)],
        provenance=[
            *((f"analysis of {name}", run.uid) for name, run in across.analyses.items()),
            ("runs", ", ".join(map(str, across.result.runs))),
            ("recipe", across.recipe.model_dump_json()),
        ],
    )


def _cell(one: Mapping[str, Any]) -> str:
    return with_sigma(one["value"], one["sigma"]) if math.isfinite(one["value"]) else ""
