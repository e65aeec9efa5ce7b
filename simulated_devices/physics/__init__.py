"""The physics of the simulation: source, samples, spectrograph and microscope as functions of energy, place and time.

Nothing here knows of devices; what varies in time is asked for at a moment.
"""

from simulated_devices.physics.materials import optical_density_per_um
from simulated_devices.physics.microscope import Microscope, MicroscopeTruth
from simulated_devices.physics.phantom import Phantom, phantom_of
from simulated_devices.physics.ring import StorageRing
from simulated_devices.physics.samples import PLACES, SAMPLES, Sample
from simulated_devices.physics.spectrograph import FrameTruth, SpectrographModel
from simulated_devices.physics.undulator import gap_of

__all__ = [
    "PLACES",
    "SAMPLES",
    "FrameTruth",
    "Microscope",
    "MicroscopeTruth",
    "Phantom",
    "Sample",
    "SpectrographModel",
    "StorageRing",
    "gap_of",
    "optical_density_per_um",
    "phantom_of",
]
