"""Measured scans of the iRIXS endstation as arrays, for tests of single steps."""

import numpy as np
import tifffile

COUNTS_PER_EV = 0.2085  # about 162 counts a photon at 777 eV
READ_NOISE = 4.0


def read_scan(measured_data, number=17174):
    """Give excitation energies (48,) in eV and frames (48, 64, 2048) in counts."""
    folder = measured_data / "als-irixs" / f"CCD Scan {number}"
    lines = (folder / f"cox{number}-AI.txt").read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("Time\t"))
    column = lines[first].split("\t").index("BL 8 Energy")
    energies = np.array([float(line.split("\t")[column]) for line in lines[first + 1 :] if line.strip()])
    frames = np.stack([tifffile.imread(path) for path in sorted((folder / "Andor").glob("*.tif"))])
    return energies, frames.astype(float)
