"""Where to measure: energies and pixels as text that a user types, and as exact numbers."""

from plans.regions.blank import blank_in
from plans.regions.edges import EdgeEnergies
from plans.regions.energy import EnergyRegion, EnergyRegions
from plans.regions.spatial import Axis, SpatialRegion, StxmRegions, single_line

__all__ = [
    "Axis",
    "EdgeEnergies",
    "EnergyRegion",
    "EnergyRegions",
    "SpatialRegion",
    "StxmRegions",
    "blank_in",
    "single_line",
]
