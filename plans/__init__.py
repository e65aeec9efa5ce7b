"""What to measure: Bluesky plans of the endstation."""

from plans.endstation import Endstation
from plans.errors import PlanError
from plans.live_view import live_view
from plans.regions import EdgeEnergies, EnergyRegions, StxmRegions
from plans.registry import PLANS, find_plan
from plans.rixs import elastic_scan, rixs_map
from plans.stxm import stxm_focus, stxm_image, stxm_line_spectrum, stxm_stack
from plans.stxm_series import stack_series
from plans.xas import xas

__all__ = [
    "PLANS",
    "EdgeEnergies",
    "Endstation",
    "EnergyRegions",
    "PlanError",
    "StxmRegions",
    "elastic_scan",
    "find_plan",
    "live_view",
    "rixs_map",
    "stack_series",
    "stxm_focus",
    "stxm_image",
    "stxm_line_spectrum",
    "stxm_stack",
    "xas",
]
