"""Check the settings of the reductions that a configuration gives."""

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
