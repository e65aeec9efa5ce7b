"""Unmixing a stack of 74,700 pixels and 50 energies, against a loop of scipy's nnls, in one run.

Run as ``python tests/benchmarks/bench_unmix.py``. Rounds of both alternate, so that both meet the same machine.
"""

import statistics
import time

import numpy as np
from scipy.optimize import nnls

from callbacks.fitting.nonnegative import unmix

ROUNDS = 5
PIXELS, ENERGIES = 74_700, 50
NOISE = 0.05


def stack(count):
    """Give spectra in which each component is absent from a quarter of the pixels, and the references."""
    rng = np.random.default_rng(0)
    energy = np.linspace(520.0, 535.0, ENERGIES)
    references = np.stack([np.exp(-0.5 * ((energy - peak) / 2.0) ** 2) + 0.2 for peak in np.linspace(525, 532, count)])
    fractions = rng.normal(0.3, 0.45, (PIXELS, count)).clip(0.0)
    return fractions @ references + rng.normal(0.0, NOISE, (PIXELS, ENERGIES)), references


def seconds(function, *arguments):
    """Time one call."""
    begun = time.perf_counter()
    answer = function(*arguments)
    return time.perf_counter() - begun, answer


def loop(spectra, references):
    """Solve pixel by pixel."""
    return np.array([nnls(references.T, spectrum)[0] for spectrum in spectra])


def main():
    """Print the table."""
    print(f"{'k':>3} {'weights':>9} {'ours, s':>9} {'scipy nnls, s':>14} {'ratio':>7} {'largest difference':>19}")
    for count in (3, 5):
        spectra, references = stack(count)
        weightings = {"alike": None, "a pixel": np.full((PIXELS, ENERGIES), NOISE**2)}
        ours, theirs, difference = {name: [] for name in weightings}, [], {}
        for _ in range(ROUNDS):
            spent, expected = seconds(loop, spectra, references)
            theirs.append(spent)
            for name, variance in weightings.items():
                spent, unmixed = seconds(unmix, spectra, references, variance)
                ours[name].append(spent)
                difference[name] = np.abs(unmixed.fractions - expected).max()
        other = statistics.median(theirs)
        for name, times in ours.items():
            mine = statistics.median(times)
            print(f"{count:>3} {name:>9} {mine:>9.4f} {other:>14.3f} {other / mine:>7.1f} {difference[name]:>19.1e}")


if __name__ == "__main__":
    main()
