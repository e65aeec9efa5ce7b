"""The techniques: for each one object with its pipeline, summary, figures and exporters, and the registry of them."""

from beamline.techniques.rixs import ELASTIC, RIXS
from beamline.techniques.stxm import FOCUS, LINE_SPECTRUM, STXM
from beamline.techniques.technique import Technique
from beamline.techniques.xas import XAS
from callbacks.pipelines import Pipeline

TECHNIQUES: dict[str, Technique] = {one.name: one for one in (XAS, RIXS, ELASTIC, STXM, LINE_SPECTRUM, FOCUS)}


def pipelines() -> dict[str, Pipeline]:
    """Give the pipeline of each technique, for a `callbacks.reduction.Reducer`."""
    return {name: technique.pipeline for name, technique in TECHNIQUES.items()}


__all__ = ["TECHNIQUES", "Technique", "pipelines"]
