"""How points are measured: in one run, each whole or not at all, whatever interrupts it."""

from plans.measuring.held import HeldSettings, Setting
from plans.measuring.interruptions import Interruptions
from plans.measuring.point import Point, take_point
from plans.measuring.precision import ALL_ENERGIES, Aim, Decisions, Teller, take_until
from plans.measuring.run import run_with_light, start_metadata

__all__ = [
    "ALL_ENERGIES",
    "Aim",
    "Decisions",
    "HeldSettings",
    "Interruptions",
    "Point",
    "Setting",
    "Teller",
    "run_with_light",
    "start_metadata",
    "take_point",
    "take_until",
]
