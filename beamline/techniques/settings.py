"""Check the settings of the reductions that a configuration gives, and show those that were kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from beamline.endstation.config import ReductionConfig, explain, not_finite, unknown
from beamline.techniques import pipelines


def processing_problems(config: ReductionConfig) -> list[str]:
    """Check the tables `processing.*` against the settings of the pipelines.

    Returns
    -------
    list of str
        One line for each thing that is wrong; empty when nothing is.
    """
    return [f"{config.path}: {problem}" for problem in settings_problems(config.processing)]


def settings_problems(processing: Mapping[str, Any]) -> list[str]:
    """Check settings, by pipeline and step; one line for each thing that is wrong."""
    models = {pipeline.name: pipeline.settings_model for pipeline in pipelines().values()}
    problems = []
    for name, settings in processing.items():
        if name not in models:
            problems.append(f"processing: {unknown('pipeline', name, models)}")
            continue
        if infinite := list(not_finite(f"processing.{name}", settings)):
            problems += [f"{where}: {number} is not a finite number" for where, number in infinite]
            continue
        try:
            models[name].model_validate(settings)
        except ValidationError as error:
            problems += explain(error, models[name], "processing", name)
    return problems


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings to be shown: of each spectrum in them its source, energies and number of points, not the arrays.

    Parameters
    ----------
    settings : mapping
        As a derived run keeps them; a table with a list ``energy`` (eV) and others of its length is a spectrum.

    Returns
    -------
    dict
        For JSON.
    """
    return {name: _shown(value) for name, value in settings.items()}


def _shown(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    energy = value.get("energy")
    if not isinstance(energy, list | tuple) or not energy:
        return shown_settings(value)
    short = {"energy": f"{energy[0]:g} to {energy[-1]:g} eV", "points": len(energy)}
    others = {
        name: one
        for name, one in value.items()
        if not (isinstance(one, list | tuple) and len(one) == len(energy)) and name != "energy"
    }
    return short | others
