"""Which steps run for which measurement, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from callbacks.contract import FocusResult, Measurement, Result, RixsResult, Stream, StxmGrid, StxmResult, XasResult
from callbacks.rixs.cosmic_rays import CosmicRayRemoval, CosmicRaySettings
from callbacks.rixs.dark import DarkSettings, DarkSubtraction
from callbacks.rixs.elastic_line import ElasticLine, ElasticLineSettings
from callbacks.rixs.integration import Integration, IntegrationSettings
from callbacks.rixs.normalisation import Normalisation, NormalisationSettings
from callbacks.rixs.repeats import RepeatedFrames, RepeatedFramesSettings
from callbacks.rixs.rixs_map import RixsMap, RixsMapSettings
from callbacks.step import Chain, Step
from callbacks.stxm.alignment.registration import RegistrationSettings
from callbacks.stxm.edges import edge_of
from callbacks.stxm.steps.absorbance import Absorbance, AbsorbanceSettings
from callbacks.stxm.steps.chemistry import Chemistry
from callbacks.stxm.steps.components import StreamingComponents
from callbacks.stxm.steps.focus import Focus
from callbacks.stxm.steps.lines import ImageAssembly, LineCorrection, LineSettings
from callbacks.stxm.steps.registration import Registration
from callbacks.stxm.unmixing.analysis import AnalysisSettings
from callbacks.stxm.unmixing.references import ChemistrySettings
from callbacks.xas.flown import Sweeps
from callbacks.xas.spectrum import XasPoint, XasSettings, XasSpectrum, channels_of
from callbacks.xas.windows import WHOLE, FluorescenceWindows, window_channels


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StxmSettings(_Settings):
    """Settings of the steps of a STXM stack."""

    lines: LineSettings = LineSettings()
    registration: RegistrationSettings = RegistrationSettings()
    absorbance: AbsorbanceSettings = AbsorbanceSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    chemistry: ChemistrySettings = ChemistrySettings()


class FocusSettings(_Settings):
    """Settings of the steps of a focus scan."""

    lines: LineSettings = LineSettings()


class RixsSettings(_Settings):
    """Settings of the steps of a RIXS map."""

    dark: DarkSettings = DarkSettings()
    cosmic_rays: CosmicRaySettings = CosmicRaySettings()
    integration: IntegrationSettings = IntegrationSettings()
    normalisation: NormalisationSettings = NormalisationSettings()
    repeated_frames: RepeatedFramesSettings = RepeatedFramesSettings()
    elastic_line: ElasticLineSettings = ElasticLineSettings()
    rixs_map: RixsMapSettings = RixsMapSettings()


def rixs_map(settings: RixsSettings, _measurement: Measurement) -> Chain:
    """Build the seven steps of a RIXS map, in the order of Gent et al. (2017)."""
    return Chain(
        {
            "dark": DarkSubtraction(settings.dark),
            "cosmic_rays": CosmicRayRemoval(settings.cosmic_rays),
            "integration": Integration(settings.integration),
            "normalisation": Normalisation(settings.normalisation),
            "repeated_frames": RepeatedFrames(settings.repeated_frames),
            "elastic_line": ElasticLine(settings.elastic_line),
            "rixs_map": RixsMap(settings.rixs_map),
        }
    )


def xas_spectrum(settings: XasSettings, measurement: Measurement) -> Chain:
    """Build the steps of an absorption spectrum: of its points, and where it was flown of the sweeps before them."""
    channels = [channel for channel in channels_of(measurement) if channel.form != "spectrum"]
    steps: dict[str, Step] = {}
    if len(channels) < len(channels_of(measurement)):
        windows = settings.windows or WHOLE
        steps["fluorescence"] = FluorescenceWindows(windows)
        channels += window_channels(windows)
    spectrum = XasSpectrum(settings, channels, measurement.polarisations)
    steps |= {"xas_point": XasPoint(settings, channels), "xas_spectrum": spectrum}
    if measurement.flown is None:
        return Chain(steps)
    return Chain({"sweeps": Sweeps(settings, channels, measurement.flown)}, behind=Chain(steps, stream=Stream.POINTS))


def stxm_stack(settings: StxmSettings, measurement: Measurement) -> Chain:
    """Build the steps of a STXM stack: of its lines, and of the images that these make."""
    grid = grid_of(measurement)
    edge = edge_of(measurement.edge, np.sort(grid.energies))
    images = Chain(
        {
            "registration": Registration(grid, settings.registration),
            "absorbance": Absorbance(grid, settings.absorbance),
            "components": StreamingComponents(grid, settings.analysis, edge),
            "chemistry": Chemistry(settings.chemistry, settings.analysis, edge),
        },
        stream=Stream.IMAGES,
    )
    flux_given = settings.absorbance.incident_rate is not None
    lines = LineCorrection(settings.lines, dwell_known=measurement.dwell_known, flux_given=flux_given)
    return Chain({"lines": lines, "assembly": ImageAssembly(grid)}, behind=images)


def stxm_focus(settings: FocusSettings, measurement: Measurement) -> Chain:
    """Build the steps of a focus scan."""
    lines = LineCorrection(settings.lines, dwell_known=measurement.dwell_known)
    return Chain({"lines": lines, "focus": Focus(grid_of(measurement))})


def grid_of(measurement: Measurement) -> StxmGrid:
    """Give the grid of a STXM measurement.

    Raises
    ------
    ValueError
        When it has none.
    """
    if measurement.grid is None:
        raise ValueError(f"measurement: grid is missing, a {measurement.technique} run has one")
    return measurement.grid


@dataclass(frozen=True)
class Pipeline:
    """A named reduction: its settings, what builds its steps, and what these know in the end."""

    name: str
    settings_model: type[BaseModel]
    build: Callable[[Any, Measurement], Chain]
    result: type[Result]


RIXS = Pipeline("rixs", RixsSettings, rixs_map, RixsResult)
XAS = Pipeline("xas", XasSettings, xas_spectrum, XasResult)
STXM = Pipeline("stxm", StxmSettings, stxm_stack, StxmResult)
FOCUS = Pipeline("stxm_focus", FocusSettings, stxm_focus, FocusResult)
