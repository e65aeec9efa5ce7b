"""The world that the twins and the IOC share: its clock, where everything stands, and what is then counted."""

from simulated_devices.world.clock import Clock
from simulated_devices.world.endstation import SimulatedEndstation
from simulated_devices.world.truth import Truth

__all__ = ["Clock", "SimulatedEndstation", "Truth"]
