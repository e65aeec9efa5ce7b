"""Shifts of 2,000 spectra fitted at once, against a loop of scipy's least_squares, in one run.

Run as ``python tests/benchmarks/bench_variable_projection.py``. Why `fit_shapes` is not scipy's: `least_squares` solves
one problem a call, and a map is thousands. Both begin at the same shift and give the same minimum. Rounds alternate.
"""

import statistics
import time

import numpy as np
from scipy.optimize import least_squares

from callbacks.fitting.linear_combination import fit_linear_combination, moved_references

ROUNDS = 3
SPECTRA, NOISE, LARGEST_SHIFT = 2_000, 0.02, 1.0
ENERGY = np.r_[np.arange(520.0, 526.0, 0.5), np.arange(526.0, 540.0, 0.2)]


def reference(first, second):
    """Give an edge with two peaks."""
    peaks = [np.exp(-0.5 * ((ENERGY - peak) / 0.7) ** 2) for peak in (first, second)]
    return 0.8 + np.arctan((ENERGY - 534.0) / 0.6) / np.pi + peaks[0] + 0.6 * peaks[1]


def spectra(references):
    """Give spectra of known fractions, each with a shift of its own."""
    rng = np.random.default_rng(0)
    shift = rng.uniform(-0.8, 0.8, SPECTRA)
    moved = moved_references(ENERGY, references, ENERGY)(shift)[0]
    return np.einsum("nk,nke->ne", rng.uniform(0.3, 1.0, (SPECTRA, 2)), moved) + rng.normal(0, NOISE, moved[:, 0].shape)


def together(values, references):
    """Fit all at once."""
    fit = fit_linear_combination(ENERGY, values, references, non_negative=False, shift=True, max_shift=LARGEST_SHIFT)
    return fit.shift


def one_by_one(values, references):
    """Fit spectrum by spectrum, fractions eliminated as in variable projection; begin at the best of the same grid."""
    used = np.abs(ENERGY - (ENERGY[0] + ENERGY[-1]) / 2) <= (ENERGY[-1] - ENERGY[0]) / 2 - LARGEST_SHIFT
    shapes, values = moved_references(ENERGY, references, ENERGY[used]), values[:, used]
    grid = np.linspace(-LARGEST_SHIFT, LARGEST_SHIFT, 11)
    columns = shapes(grid)[0]

    def residual(shift, spectrum):
        moved = shapes(shift)[0][0]
        return spectrum - np.linalg.lstsq(moved.T, spectrum, rcond=None)[0] @ moved

    fits = np.einsum("gek,gkf->gef", columns.transpose(0, 2, 1), np.linalg.pinv(columns.transpose(0, 2, 1)))
    start = grid[(np.linalg.norm(values - np.einsum("gef,nf->gne", fits, values), axis=2)).argmin(axis=0)]
    options = {"bounds": (-LARGEST_SHIFT, LARGEST_SHIFT), "xtol": 1e-9}
    return np.array(
        [least_squares(residual, begin, args=(one,), **options).x[0] for one, begin in zip(values, start, strict=True)]
    )


def main():
    """Print the table."""
    references = np.stack([reference(528.5, 532.0), reference(530.0, 533.5)])
    values = spectra(references)
    times, found = {together: [], one_by_one: []}, {}
    for _ in range(ROUNDS):
        for function, spent in times.items():
            begun = time.perf_counter()
            found[function] = function(values, references)
            spent.append(time.perf_counter() - begun)
    ours, theirs = (statistics.median(spent) for spent in times.values())
    difference = np.abs(found[together] - found[one_by_one])
    print(
        f"{SPECTRA} spectra: together {ours:.3f} s, least_squares one by one {theirs:.2f} s, ratio {theirs / ours:.0f}"
    )
    print(f"largest difference of the shifts {difference.max():.1e} eV, median {np.median(difference):.1e} eV")


if __name__ == "__main__":
    main()
