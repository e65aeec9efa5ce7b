"""RIXS: from CCD frames to a map of emission against excitation energy, one module a step."""

from callbacks.rixs.calibration import FEWEST_LINES, Calibration, fit_calibration
from callbacks.rixs.cosmic_rays import CleanedFrame, CosmicRayRemoval, CosmicRaySettings, remove_cosmic_rays
from callbacks.rixs.curvature import Curvature, fit_curvature, straighten
from callbacks.rixs.dark import DarkSettings, DarkSubtraction, estimate_pedestal, estimate_photon_counts
from callbacks.rixs.elastic_line import ElasticLine, ElasticLineSettings
from callbacks.rixs.elastic_peak import Peak, find_elastic_line
from callbacks.rixs.integration import Integration, IntegrationSettings, spectrum_of, spectrum_variance
from callbacks.rixs.normalisation import Normalisation, NormalisationSettings
from callbacks.rixs.photon_counting import Photons, find_photons, photon_spectrum
from callbacks.rixs.repeats import RepeatedFrames, RepeatedFramesSettings, measure_drift
from callbacks.rixs.rixs_map import (
    RixsMap,
    RixsMapSettings,
    emission_cut,
    inverse_partial_yield,
    map_on_energy_loss,
    partial_yield,
)

__all__ = [
    "FEWEST_LINES",
    "Calibration",
    "CleanedFrame",
    "CosmicRayRemoval",
    "CosmicRaySettings",
    "Curvature",
    "DarkSettings",
    "DarkSubtraction",
    "ElasticLine",
    "ElasticLineSettings",
    "Integration",
    "IntegrationSettings",
    "Normalisation",
    "NormalisationSettings",
    "Peak",
    "Photons",
    "RepeatedFrames",
    "RepeatedFramesSettings",
    "RixsMap",
    "RixsMapSettings",
    "emission_cut",
    "estimate_pedestal",
    "estimate_photon_counts",
    "find_elastic_line",
    "find_photons",
    "fit_calibration",
    "fit_curvature",
    "inverse_partial_yield",
    "map_on_energy_loss",
    "measure_drift",
    "partial_yield",
    "photon_spectrum",
    "remove_cosmic_rays",
    "spectrum_of",
    "spectrum_variance",
    "straighten",
]
