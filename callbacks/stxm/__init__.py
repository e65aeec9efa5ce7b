"""Stacks of transmission images: aligned, turned into optical density, decomposed, and unmixed into chemical maps."""

from callbacks.fitting.nonnegative import Unmixed, unmix
from callbacks.stxm.alignment.registration import RegistrationSettings, Shift, register, shifted
from callbacks.stxm.components import Components, StreamingPCA, noise_cut, stream_hdf5
from callbacks.stxm.density.blank import find_blank
from callbacks.stxm.density.masks import GOOD, MASK_REASONS
from callbacks.stxm.density.optical_density import optical_density
from callbacks.stxm.edges import EDGES, Edge, edge_of
from callbacks.stxm.unmixing import Analysis, AnalysisSettings, analyse, average_spectrum

__all__ = [
    "EDGES",
    "GOOD",
    "MASK_REASONS",
    "Analysis",
    "AnalysisSettings",
    "Components",
    "Edge",
    "RegistrationSettings",
    "Shift",
    "StreamingPCA",
    "Unmixed",
    "analyse",
    "average_spectrum",
    "edge_of",
    "find_blank",
    "noise_cut",
    "optical_density",
    "register",
    "shifted",
    "stream_hdf5",
    "unmix",
]
