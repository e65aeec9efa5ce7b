"""Which steps run for which measurement, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from callbacks.rixs.cosmic_rays import CosmicRayRemoval, CosmicRaySettings
from callbacks.rixs.dark import DarkSettings, DarkSubtraction
from callbacks.rixs.elastic_line import ElasticLine, ElasticLineSettings
from callbacks.rixs.integration import Integration, IntegrationSettings
from callbacks.rixs.normalisation import Normalisation, NormalisationSettings
from callbacks.rixs.repeats import RepeatedFrames, RepeatedFramesSettings
from callbacks.rixs.rixs_map import RixsMap, RixsMapSettings
from callbacks.step import Chain
from callbacks.xas.spectrum import XasPoint, XasSettings, XasSpectrum


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RixsSettings(_Settings):
    """Settings of the steps of a RIXS map."""

    dark: DarkSettings = DarkSettings()
    cosmic_rays: CosmicRaySettings = CosmicRaySettings()
    integration: IntegrationSettings = IntegrationSettings()
    normalisation: NormalisationSettings = NormalisationSettings()
    repeated_frames: RepeatedFramesSettings = RepeatedFramesSettings()
    elastic_line: ElasticLineSettings = ElasticLineSettings()
    rixs_map: RixsMapSettings = RixsMapSettings()


def rixs_map(settings: RixsSettings) -> Chain:
    """Build the seven steps of a RIXS map, in the order of the reference text."""
    elastic_line = ElasticLine(settings.elastic_line)
    return Chain(
        {
            "dark": DarkSubtraction(settings.dark),
            "cosmic_rays": CosmicRayRemoval(settings.cosmic_rays),
            "integration": Integration(settings.integration),
            "normalisation": Normalisation(settings.normalisation),
            "repeated_frames": RepeatedFrames(settings.repeated_frames),
            "elastic_line": elastic_line,
            "rixs_map": RixsMap(settings.rixs_map, calibration=elastic_line),
        }
    )


def xas_spectrum(settings: XasSettings) -> Chain:
    """Build the steps of an absorption spectrum."""
    return Chain({"xas_point": XasPoint(settings), "xas_spectrum": XasSpectrum(settings)})


@dataclass(frozen=True)
class Pipeline:
    """A named reduction: its settings and what builds its steps."""

    name: str
    settings_model: type[BaseModel]
    build: Callable[[Any], Chain]


_RIXS = Pipeline("rixs", RixsSettings, rixs_map)
_XAS = Pipeline("xas", XasSettings, xas_spectrum)

PIPELINES: dict[str, Pipeline] = {"rixs": _RIXS, "elastic": _RIXS, "xas": _XAS}  # by technique
