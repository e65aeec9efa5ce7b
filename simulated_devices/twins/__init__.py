"""Soft twins: ophyd devices with the names, data keys and behaviour of the real ones, in this process.

No hardware and no network are needed. Each module is named as the one in `beamline.endstation.devices` that it mirrors.
"""

from simulated_devices.twins.base import SoftSignal, Twin
from simulated_devices.twins.ccd import Ccd, CcdDark
from simulated_devices.twins.counters import Electrometer, FluorescenceDetector, Scaler
from simulated_devices.twins.energy import Energy
from simulated_devices.twins.motors import CoarseStage, ExitSlit, OrderSortingAperture, ZonePlate
from simulated_devices.twins.optics import FrontEndShutter, Ring, Shutter, Spectrograph
from simulated_devices.twins.polarisation import Polarisation
from simulated_devices.twins.potentiostat import Potentiostat
from simulated_devices.twins.sample import Sample
from simulated_devices.twins.scanner import LineScanner
from simulated_devices.twins.sweep import EnergySweep

__all__ = [
    "Ccd",
    "CcdDark",
    "CoarseStage",
    "Electrometer",
    "Energy",
    "EnergySweep",
    "ExitSlit",
    "FluorescenceDetector",
    "FrontEndShutter",
    "LineScanner",
    "OrderSortingAperture",
    "Polarisation",
    "Potentiostat",
    "Ring",
    "Sample",
    "Scaler",
    "Shutter",
    "SoftSignal",
    "Spectrograph",
    "Twin",
    "ZonePlate",
]
