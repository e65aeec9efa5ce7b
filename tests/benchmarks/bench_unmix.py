"""Unmixing a stack of 74,700 pixels and 50 energies, against a loop of scipy's nnls, in one run.

Run as ``python tests/benchmarks/bench_unmix.py``.
"""

import numpy as np
from harness import Result, in_turn, run
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


def loop(spectra, references):
    """Solve pixel by pixel."""
    return np.array([nnls(references.T, spectrum)[0] for spectrum in spectra])


def measure():
    """Unmix with equal weights and with a weight for each value."""
    weightings = {"equal weights": None, "weights per pixel": np.full((PIXELS, ENERGIES), NOISE**2)}
    for count in (3, 5):
        spectra, references = stack(count)
        contestants = {"nnls": lambda data=(spectra, references): loop(*data)}
        for weighting, variance in weightings.items():
            contestants[weighting] = lambda data=(spectra, references, variance): unmix(*data)
        times, answers = in_turn(ROUNDS, contestants)
        for weighting in weightings:
            ratio = times["nnls"] / times[weighting]
            difference = np.abs(answers[weighting].fractions - answers["nnls"]).max()
            note = f"largest difference {difference:.1e}"
            yield Result(f"unmix {count}, {weighting}", times[weighting], "s", "scipy nnls, looped", ratio, note)


if __name__ == "__main__":
    run(measure)
