"""What to measure: Bluesky plans of the endstation."""

from plans.endstation import Endstation
from plans.energy_regions import EnergyRegions
from plans.errors import PlanError
from plans.live_view import live_view
from plans.registry import PLANS, find_plan
from plans.rixs import elastic_scan, rixs_map
from plans.xas import xas

__all__ = [
    "PLANS",
    "Endstation",
    "EnergyRegions",
    "PlanError",
    "elastic_scan",
    "find_plan",
    "live_view",
    "rixs_map",
    "xas",
]
