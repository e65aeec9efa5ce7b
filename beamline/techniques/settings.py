"""Check the settings of the reductions that a configuration gives."""

from __future__ import annotations

from pydantic import ValidationError

from beamline.endstation.config import Config, explain, unknown
from beamline.techniques import pipelines


def processing_problems(config: Config) -> list[str]:
    """Check the tables `processing.*` against the settings of the pipelines.

    Returns
    -------
    list of str
        One line for each thing that is wrong; empty when nothing is.
    """
    models = {pipeline.name: pipeline.settings_model for pipeline in pipelines().values()}
    problems = []
    for name, settings in config.processing.items():
        if name not in models:
            problems.append(f"{config.path}: processing: {unknown('pipeline', name, models)}")
            continue
        try:
            models[name].model_validate(settings)
        except ValidationError as error:
            problems += [f"{config.path}: {line}" for line in explain(error, models[name], "processing", name)]
    return problems
