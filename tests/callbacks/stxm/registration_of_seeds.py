"""How far the registration of simulated stacks is off, seed by seed.

Run as ``PYTHONPATH=tests/helpers python tests/callbacks/stxm/registration_of_seeds.py``; some ten minutes. Prints the
rms along rows and columns, pixel, from the first image on, about the mean, and of the images at resonance as they were
found live and at the end.
"""

import sys

import numpy as np
from simulated_stack import Field, registered, simulated_stack

from plans.regions.energy import EnergyRegions

CASES = {
    "O K, 60 x 60 of 30 nm, 4 ms": (
        "520:526:1, 526:533:0.25, 533:545:1",
        Field((60, 60), 0.03, -0.9, -0.9, 0.004),
        "LRNMC 311 mAh/g",
        (528.0, 532.5),
    ),
    "Mn L3, 50 x 70 of 40 nm, 2 ms": (
        "635:639:1, 639:646:0.25, 646:655:1",
        Field((50, 70), 0.04, -1.4, -1.0, 0.002),
        "LRNMC 311 mAh/g",
        (639.0, 646.0),
    ),
}


def main(seeds):
    """Print a line for each stack."""
    for name, (regions, field, sample, (low, high)) in CASES.items():
        energies = EnergyRegions.parse(regions).points
        resonant = (energies >= low) & (energies <= high)
        print(f"{name}: {len(energies)} images")
        print("seed  from the first    about the mean    resonance, live   resonance, end    worst  scatter in sigmas")
        rows = []
        for seed in seeds:
            images, truth = simulated_stack(energies, field, sample, seed)
            live, found, sigma = registered(images)
            # A shift brings an image back: the drift with the other sign.
            wrong, early = found + truth, live + truth
            wrong, early = wrong - wrong[0], early - early[0]
            about = wrong - wrong.mean(axis=0)
            off_live = (early - np.median(early[~resonant], axis=0))[resonant]
            off_end = (wrong - np.median(wrong[~resonant], axis=0))[resonant]
            each = [rms(part) for part in (wrong, about, off_live, off_end)]
            rows.append(np.concatenate(each))
            pulls = np.std(about[1:] / sigma[1:], axis=0)
            print(
                f"{seed:4}",
                *(f"{y:.3f} {x:.3f}" for y, x in each),
                f"{np.abs(wrong).max():.3f}",
                pulls.round(2),
                sep="   ",
            )
        print(" all", *(f"{value:.3f}" for value in np.sqrt(np.mean(np.square(rows), axis=0))), sep="   ")


def rms(values):
    """Root of the mean square along the images, for each axis."""
    return np.sqrt(np.mean(np.square(values), axis=0))


if __name__ == "__main__":
    main(range(1, 1 + int(sys.argv[1]) if len(sys.argv) > 1 else 11))
