"""What is simulated for the benchmarks that need frames: the spectrograph's CCD, binned to some rows, and a sample."""

from simulated_devices.physics.samples import SAMPLES
from simulated_devices.physics.spectrograph import SpectrographModel

EMISSION_SCALE = 14_000.0  # of the emission in an exposure of 300 s


def spectrograph(rows):
    """Give the model of a CCD with so many rows, and the sample."""
    return SpectrographModel(rows=rows, row_binning=512 // min(rows, 512) or 1), SAMPLES["LRNMC 311 mAh/g"]
