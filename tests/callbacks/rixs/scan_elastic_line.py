"""Scan the constants of the search for elastic lines; prints the tables of docs/decisions/constants-elastic-line.md.

Run as ``PYTHONPATH=tests/helpers python tests/callbacks/rixs/scan_elastic_line.py [NAME ...]``; some minutes for all.
"""

import sys
from functools import cache, partial

import numpy as np
import scan_tables
from irixs import COUNTS_PER_EV, read_scan
from scan_tables import MEASURED_DATA, print_tables
from simulated_lines import LIT, WITHOUT_ELASTIC_LINE, calibrate, simulated_map, true_energy

from callbacks.rixs import calibration, elastic_line, elastic_peak
from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.elastic_line import ElasticLineSettings
from callbacks.rixs.integration import spectrum_of

HEADER = (
    "value",
    "calibrated, %",
    "dispersion held, %",
    "offset held, %",
    "lines",
    "dispersion rms, %",
    "weak: calibrated, %",
    "lines",
    "false of 100",
    "17174",
    "17175",
)
WEAK = 36.0  # photons in an elastic line: what is just enough
SCANS = {
    "FIT_LEFT": (1.2, 1.6, 2.1, 2.8, 4.0),
    "FIT_RIGHT": (1.5, 2.5, 3.8, 5.0, 8.0),
    "FIT_FWHM": ((0.5, 1.7), (0.3, 3.0), (0.2, 5.0)),
    "FILTER_REACH": (1.2, 1.8, 2.5, 4.0, 6.0),
    "NEIGHBOUR_FWHM": ((1.0, 1.6), (1.4, 2.0), (1.4, 2.8), (1.4, 4.0), (2.0, 4.0)),
    "NEIGHBOUR_BIAS": (0.0, 0.25, 0.5, 1.0),
    "FEATURES": (1, 2, 4, 8),
    "SEARCH": (0.2, 0.4, 0.6, 1.0, 2.0),
    "fwhm_range": ((0.75, 1.3), (0.65, 1.45), (0.55, 1.6), (0.45, 1.8), (0.35, 2.5)),
    "significance": (3.0, 4.0, 5.0, 6.0, 8.0),
    "expected_significance": (2.0, 3.0, 4.0, 5.0, 6.0),
    "largest_neighbour": (0.05, 0.1, 0.15, 0.25, 0.5),
    "FEWEST_LINES": (3, 4, 5, 6),
    "CONSENSUS_SIGMAS": (2.0, 3.0, 4.0, 6.0, 10.0),
    "LEAST_TOLERANCE": (0.3, 0.6, 1.0, 2.0, 4.0),
    "BEND_SIGMA": (0.2e-4, 0.4e-4, 0.8e-4, 1.6e-4, 4e-4),
    "FEWEST_FOR_FREE_BEND": (5, 7, 9, 12),
    "FREE_BEND_P_VALUE": (0.001, 0.01, 0.05, 0.2),
    "MOST_RESONANT": (2.0, 3.0, 5.0, 8.0, 1e9),
    "COMMON_PULL": (0.0, 0.05, 0.15, 0.3),
    "OWN_PULL": (0.0, 0.02, 0.05, 0.1),
    "UNSEEN_BIAS": (0.0, 0.1, 0.25, 0.5),
    "SCATTER_P_VALUE": (0.0, 0.01, 0.1, 0.5, 1.0),
    "LARGEST_RELATIVE_SIGMA": (0.02, 0.05, 0.1, 0.2, 0.5),
    "SMALLEST_SHARE": (0.1, 0.2, 0.3, 0.5, 0.7),
}
constant = partial(
    scan_tables.constant, modules=(elastic_peak, calibration, elastic_line), settings=ElasticLineSettings
)


def simulated_scores(seeds, settings=None, *, elastic=LIT["elastic"]):
    """Share of calibrated maps, coverage of dispersion and offset, accepted lines, rms error of the dispersion in %."""
    accepted, errors, inside = [], [], []
    for seed in seeds:
        found = simulated_map(seed, settings=settings, **LIT | {"elastic": elastic}).calibration
        if found.status != "ok":
            continue
        below, truth, above = true_energy(found.pivot + np.array([-0.5, 0.0, 0.5]))
        errors.append(found.dispersion / (above - below) - 1)
        inside.append(
            (
                abs(found.dispersion - (above - below)) <= found.dispersion_sigma,
                abs(found.energy(found.pivot) - truth) <= found.sigma(found.pivot),
            )
        )
        accepted.append(found.accepted.sum())
    if not errors:
        return 0.0, np.array([np.nan, np.nan]), np.nan, np.nan
    rms = 100 * float(np.sqrt(np.mean(np.square(errors))))
    return len(errors) / len(seeds), np.mean(inside, axis=0), float(np.mean(accepted)), rms


def false_calibrations(seeds, settings=None):
    """How many maps without an elastic line are calibrated."""
    return sum(
        simulated_map(seed, settings=settings, **light).calibration.status == "ok"
        for light in WITHOUT_ELASTIC_LINE
        for seed in seeds
    )


@cache
def measured_spectra(scan):
    """Give energies and spectra of a measured scan."""
    energies, frames = read_scan(MEASURED_DATA, scan)
    spectra = []
    for energy, frame in zip(energies, frames, strict=True):
        noise = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": 8.0}
        cleaned = remove_cosmic_rays(frame - 1.4, **noise)
        spectra.append(spectrum_of(cleaned.frame, np.zeros(64), unmeasured=cleaned.mask, **noise))
    return energies, spectra


def measured_score(scan, settings=None):
    """Say what the calibration of a measured scan is: lines, dispersion, rms."""
    found = calibrate(*measured_spectra(scan), settings).calibration
    if found.status != "ok":
        return "refused"
    energies = measured_spectra(scan)[0][found.accepted]
    return (
        f"{found.accepted.sum()} to {energies.max():.1f} eV, {found.dispersion:.3f}({1e3 * found.dispersion_sigma:.0f})"
    )


def row(name, value):
    """Score a value on simulated maps, bright and weak, on maps without a line, and on two measured ones."""
    with constant(name, value) as settings:
        share, (dispersion, offset), lines, rms = simulated_scores(range(1000, 1100), settings)
        weak, _, seen, _ = simulated_scores(range(1000, 1100), settings, elastic=WEAK)
        false = false_calibrations(range(25), settings)
        measured = (measured_score(scan, settings) for scan in (17174, 17175))
        shares = (f"{100 * each:.0f}" for each in (share, dispersion, offset))
        return *shares, f"{lines:.1f}", f"{rms:.2f}", f"{100 * weak:.0f}", f"{seen:.1f}", str(false), *measured


if __name__ == "__main__":
    print_tables(sys.argv[1:], SCANS, HEADER, row)
