"""Scan the constants that tell cosmic rays from photons; prints the tables of docs/decisions/constants-cosmic-rays.md.

Run as ``PYTHONPATH=tests/helpers python tests/callbacks/rixs/scan_cosmic_rays.py [NAME ...]``; some minutes for all.
The tests beside it hold the same scores over fewer frames.
"""

import itertools
import sys
from functools import cache, partial

import numpy as np
import scan_tables
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan
from scan_tables import MEASURED_DATA, print_tables

from callbacks.rixs import cosmic_rays, photon_charge, photon_model
from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from simulated_devices.physics.samples import SAMPLES
from simulated_devices.physics.spectrograph import SpectrographModel

HEADER = (
    "value",
    "photons lost, ‰ (worst)",
    "hits left, %",
    "17174: removed, %",
    "taken, ‰",
    "17175: removed, %",
    "taken, ‰",
)

# Excitation (eV) and brightness of the simulated frames: below, at and above the O K resonance.
CASES = ((526.0, 1.0), (529.0, 1.0), (531.4, 1.0), (540.0, 1.0), (540.0, 3.0))
SCANS = {
    "LEAST_CREDIBLE": (1.25, 2.0, 2.25, 2.5, 3.0, 4.0),
    "SHARING_PHOTONS": (0.05, 0.1, 0.15, 0.25, 0.4),
    "SHARING_PIXELS": (100, 300, 600, 2000, 10_000),
    "SHARING_CAP": (3.0, 4.0, 5.0, 7.0, 10.0),
    "MEAN_PARTS": (2, 3, 4, 6, 8),
    "CAP_SIGMAS": (3.0, 4.5, 6.0, 8.0, 12.0),
    "CAP_PHOTONS": (1.0, 2.0, 3.0, 5.0, 8.0),
    "NEAR_COLUMNS": (1, 3, 5, 7, 11),
    "DIM_COLUMNS": (5, 9, 15, 25, 41),
    "FAR_COLUMNS": (15, 25, 41, 61, 101),
    "MEDIAN_COLUMNS": (21, 41, 61, 81, 121),
    "LINE_SIGMAS": (1.0, 2.0, 3.0, 4.0, 6.0),
    "UNSEEN_PHOTONS": (0.5, 1.5, 3.0, 6.0, 12.0),
    "SIDE_GAP": (2, 3, 5, 8),
    "SIDE_COLUMNS": (5, 10, 20, 30, 50),
    "SIDE_CAP": (1.0, 2.0, 3.0, 5.0, 10.0),
    "NEAR_ROWS": (3, 5, 8),
    "NEAR_PHOTONS": (0.02, 0.05, 0.1, 0.2, 0.4),
    "GROWS_ALONG": (0.0, 0.3, 0.5, 0.7, 1.0),
    "GROWS_ACROSS": (0.3, 0.5, 1.0, 1.5, 2.0),
    "PASSES": (1, 2, 3),
    "WING_READ_NOISE": (1.0, 1.5, 2.0, 3.0, 4.0),
    "WING_PHOTON_NOISE": (1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    "CROWDED": (0.05, 0.1, 0.15, 0.25, 0.4),
    "PHOTON_SEEN": (0.15, 0.2, 0.3, 0.45, 0.7),
}
constant = partial(scan_tables.constant, modules=(photon_model, photon_charge, cosmic_rays))


def expose(model, excitation, rng, *, elastic=320.0, scale=1.0):
    """Give a simulated frame without its pedestal, and its truth."""
    sample, width = SAMPLES["LRNMC 311 mAh/g"], 0.05

    def photons_per_ev(emission):
        line = np.exp(-0.5 * ((emission - excitation) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return scale * (elastic * line + 14_000.0 * sample.emission(excitation, emission) + 0.8)

    frame, truth = model.render(photons_per_ev, exposure_time=300.0, rng=rng)
    return frame.astype(float) - model.pedestal_image, truth


@cache
def simulated(excitation, scale, seed, cosmic_rate=0.225):
    """Give the frame and the truth of one case."""
    return expose(SpectrographModel(cosmic_rate=cosmic_rate), excitation, np.random.default_rng(seed), scale=scale)


def photons_lost(seeds):
    """Share of the photons' charge that is taken for hits in simulated frames: the mean, and the worst case's."""
    shares = []
    for excitation, scale in CASES:
        lost = light = 0.0
        for seed in seeds:
            image, truth = simulated(excitation, scale, seed)
            cleaned = remove_cosmic_rays(image, photon_counts=0.21 * excitation, read_noise=4.0)
            lost += float(truth.photon_charge[cleaned.mask].sum() - cleaned.frame[cleaned.mask].sum())
            light += float(truth.photon_charge.sum())
        shares.append(lost / light)
    return float(np.mean(shares)), max(shares)


def hits_left(seeds):
    """Share of the hits' charge that is left in simulated frames with five times the usual hits."""
    left = charge = 0.0
    for excitation, seed in itertools.product((529.0, 540.0), seeds):
        image, truth = simulated(excitation, 1.0, seed, 1.0)
        cleaned = remove_cosmic_rays(image, photon_counts=0.21 * excitation, read_noise=4.0)
        left += float(truth.cosmic_charge[~cleaned.mask].sum())
        charge += float(truth.cosmic_charge.sum())
    return left / charge


@cache
def measured(scan):
    """Give energies and frames of a measured scan, and the hits cut out of 17174."""
    with np.load(MEASURED_DATA / "als-irixs" / "cosmic_stamps_17174.npz") as file:
        stamps = [file[name].astype(float) for name in file.files]
    return *read_scan(MEASURED_DATA, scan), stamps


def injected(frame, stamps, rng, number=15):
    """Give a frame with measured hits at random places, and their charge."""
    hit, charge = frame.copy(), 0.0
    for _ in range(number):
        stamp = stamps[rng.integers(len(stamps))]
        row, column = (rng.integers(size - length + 1) for size, length in zip(frame.shape, stamp.shape, strict=True))
        hit[row : row + stamp.shape[0], column : column + stamp.shape[1]] += stamp
        charge += stamp.sum()
    return hit, charge


def measured_scores(scan, seeds):
    """Share of injected charge that is removed, and the median share of a frame's counts taken without injection.

    The first column by column, so that a hit that is left does not make up for photons that are taken.
    """
    energies, frames, stamps = measured(scan)
    left = charge = 0.0
    taken = []
    for energy, frame in zip(energies, frames, strict=True):
        known = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE}
        without = remove_cosmic_rays(frame, **known)
        taken.append(without.removed_counts / frame.sum())
        for seed in seeds:
            hit, more = injected(frame, stamps, np.random.default_rng([seed, round(100 * energy)]))
            left += np.abs((remove_cosmic_rays(hit, **known).frame - without.frame).sum(axis=0)).sum()
            charge += more
    return 1 - left / charge, float(np.median(taken))


def row(name, value):
    """Score a value on simulated frames and on two measured scans."""
    with constant(name, value):
        mean, worst = photons_lost(range(6))
        left = hits_left(range(100, 108))
        tuned = measured_scores(17174, range(1))
        unseen = measured_scores(17175, range(1))
    measured = (text for one in (tuned, unseen) for text in (f"{100 * one[0]:.1f}", f"{1e3 * one[1]:.2f}"))
    return f"{1e3 * mean:.2f} ({1e3 * worst:.2f})", f"{100 * left:.1f}", *measured


if __name__ == "__main__":
    print_tables(sys.argv[1:], SCANS, HEADER, row)
