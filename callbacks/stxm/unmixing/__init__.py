"""What the pixels of a stack are made of: end members or references, their fractions, and the chemical map."""

from callbacks.stxm.unmixing.analysis import Analysis, AnalysisSettings, Phases, analyse, average_spectrum, windows
from callbacks.stxm.unmixing.chemical_map import colour_scale, colours, edge_area
from callbacks.stxm.unmixing.end_members import EndMembers, EndMemberSettings
from callbacks.stxm.unmixing.pooling import Stack, energy_offset, pool
from callbacks.stxm.unmixing.references import ChemistrySettings, Reference, ReferenceFit, fit_references, references_at
from callbacks.stxm.unmixing.results import analysis_result

__all__ = [
    "Analysis",
    "AnalysisSettings",
    "ChemistrySettings",
    "EndMemberSettings",
    "EndMembers",
    "Phases",
    "Reference",
    "ReferenceFit",
    "Stack",
    "analyse",
    "analysis_result",
    "average_spectrum",
    "colour_scale",
    "colours",
    "edge_area",
    "energy_offset",
    "fit_references",
    "pool",
    "references_at",
    "windows",
]
