"""Absorption spectra: normalised with their uncertainties, and what is read off them: edges, white lines, phases."""

from callbacks.fitting.linear_combination import LinearCombination, fit_linear_combination
from callbacks.xas.edge_position import EdgePosition, edge_position
from callbacks.xas.mlls import Mlls, fit_mlls
from callbacks.xas.spectrum import (
    CHANNELS,
    OpenBeam,
    Spectrum,
    XasPoint,
    XasSettings,
    XasSpectrum,
    channels_of,
    normalise_spectrum,
)
from callbacks.xas.white_lines import WhiteLines, white_line_ratio

__all__ = [
    "CHANNELS",
    "EdgePosition",
    "LinearCombination",
    "Mlls",
    "OpenBeam",
    "Spectrum",
    "WhiteLines",
    "XasPoint",
    "XasSettings",
    "XasSpectrum",
    "channels_of",
    "edge_position",
    "fit_linear_combination",
    "fit_mlls",
    "normalise_spectrum",
    "white_line_ratio",
]
