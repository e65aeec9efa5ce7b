"""The frames of the benchmarks: simulated ones of the spectrograph's CCD, binned to some rows, and measured ones."""

from pathlib import Path

import numpy as np
import tifffile

from simulated_devices.physics.samples import SAMPLES
from simulated_devices.physics.spectrograph import SpectrographModel

SCAN = Path(__file__).resolve().parents[3] / "shared" / "data" / "als-irixs" / "CCD Scan 17174"
MEASURED_COUNTS_PER_EV = 0.2085  # about 162 counts a photon at 777 eV
EMISSION_SCALE = 14_000.0  # of the emission in an exposure of 300 s


def spectrograph(rows):
    """Give the model of a CCD with so many rows, and the sample."""
    return SpectrographModel(rows=rows, row_binning=512 // min(rows, 512) or 1), SAMPLES["LRNMC 311 mAh/g"]


def bright_measured_frame():
    """Put the 32 brightest frames of a measured scan one below the other; give them and the counts of a photon."""
    log = next(SCAN.glob("*-AI.txt")).read_text().splitlines()
    first = next(index for index, line in enumerate(log) if line.startswith("Time\t"))
    column = log[first].split("\t").index("BL 8 Energy")
    energies = np.array([float(line.split("\t")[column]) for line in log[first + 1 :] if line.strip()])
    frames = np.stack([tifffile.imread(path) for path in sorted((SCAN / "Andor").glob("*.tif"))]).astype(float)
    bright = np.argsort(frames.sum(axis=(1, 2)))[:-33:-1]
    return np.concatenate(frames[bright]), MEASURED_COUNTS_PER_EV * float(np.median(energies[bright]))
