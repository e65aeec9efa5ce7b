"""How points are measured: in one run, each whole or not at all, whatever interrupts it."""

from plans.measuring.held import HeldSettings, Setting
from plans.measuring.interruptions import Interruptions
from plans.measuring.point import Point, take_point
from plans.measuring.run import run_with_light, start_metadata

__all__ = ["HeldSettings", "Interruptions", "Point", "Setting", "run_with_light", "start_metadata", "take_point"]
