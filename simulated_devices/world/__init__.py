"""The simulated world that twins and IOC share: its clock, the positions of everything, and the resulting counts."""

from simulated_devices.world.clock import Clock
from simulated_devices.world.endstation import SimulatedEndstation
from simulated_devices.world.truth import Truth

__all__ = ["Clock", "SimulatedEndstation", "Truth"]
