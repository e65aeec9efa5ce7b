"""Measured scans of the iRIXS endstation as arrays, for tests of single steps."""

import numpy as np
import tifffile

from callbacks.contract import CcdConfig, Key
from callbacks.pipelines import RixsSettings, rixs_map

COUNTS_PER_EV = 0.2085  # about 162 counts a photon at 777 eV
READ_NOISE = 8.0  # what dark columns say


def read_scan(measured_data, number=17174):
    """Give excitation energies (n,) in eV and frames (n, 64, 2048) in counts."""
    folder = measured_data / "als-irixs" / f"CCD Scan {number}"
    lines = next(folder.glob("*-AI.txt")).read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("Time\t"))
    column = lines[first].split("\t").index("BL 8 Energy")
    energies = np.array([float(line.split("\t")[column]) for line in lines[first + 1 :] if line.strip()])
    frames = np.stack([tifffile.imread(path) for path in sorted((folder / "Andor").glob("*.tif"))])
    return energies, frames.astype(float)


def measured_map(measured_data, number, settings=None):
    """Reduce a measured scan by all steps; give the steps."""
    folder = measured_data / "als-irixs" / f"CCD Scan {number}"
    lines = next(folder.glob("*-AI.txt")).read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("Time\t"))
    column = lines[first].split("\t").index("Izero")
    table = [line.split("\t") for line in lines[first + 1 :] if line.strip()]
    energies, frames = read_scan(measured_data, number)
    chain = rixs_map(RixsSettings.model_validate(settings or {}), None)
    clock = 0.0
    for index, (row, energy, frame) in enumerate(zip(table, energies, frames, strict=True)):
        hours, minutes, seconds = map(int, row[0].split(":"))
        now = 3600.0 * hours + 60 * minutes + seconds
        clock = now if now >= clock % 86400 else now + 86400.0
        _, problem = chain.push(
            {
                "seq_num": index + 1,
                "time": clock,
                Key.CCD_IMAGE: frame.astype(np.uint16),
                Key.ENERGY: energy,
                Key.I0: float(row[column]),
                Key.EXPOSURE_TIME: 300.0,
                CcdConfig.PEDESTAL_SUBTRACTED: True,
            }
        )
        assert not problem, problem
    return chain.steps
