"""Fitting an elastic line, against scipy's least_squares with the same bound on its width, in one run.

Run as ``python tests/benchmarks/bench_elastic_line.py``. Rounds of both alternate. All lines of a map are fitted again
whenever a frame changes the calibration.
"""

import statistics
import time

import numpy as np
from scipy.optimize import least_squares

from callbacks.rixs.line_fit import FIT_FWHM, FWHM_PER_SIGMA, fit_line, line_and_slopes

ROUNDS, LINES = 9, 100
FWHM, PHOTON, NOISE = 5.0, 110.0, 32.0


def lines():
    """Give columns, counts, noise and start of simulated lines of about 250 photons."""
    columns = np.arange(30.0)
    truth = np.array([10.4, FWHM / FWHM_PER_SIGMA, 47.0, 1.0, 0.15])
    for seed in range(LINES):
        rng = np.random.default_rng(seed)
        counts = PHOTON * rng.poisson(line_and_slopes(columns, truth)[0]) + NOISE * rng.standard_normal(len(columns))
        noise = np.sqrt(PHOTON * np.clip(counts, 0, None) + NOISE**2)
        yield columns, counts, noise, np.array([10.0, FWHM / FWHM_PER_SIGMA, counts[10], 110.0, 16.0])


def by_scipy(columns, counts, noise, start):
    """Fit a line with scipy, its width within the same bounds."""
    low, high = np.full(5, -np.inf), np.full(5, np.inf)
    low[1], high[1] = (share * FWHM / FWHM_PER_SIGMA for share in FIT_FWHM)
    return least_squares(
        lambda parameters: (line_and_slopes(columns, parameters)[0] - counts) / noise,
        start,
        jac=lambda parameters: line_and_slopes(columns, parameters)[1] / noise[:, None],
        bounds=(low, high),
        x_scale="jac",
    ).x


def seconds(function, data):
    """Time the fits of all lines."""
    begun = time.perf_counter()
    for each in data:
        function(*each)
    return time.perf_counter() - begun


def main():
    """Print the table."""
    data = list(lines())
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda *each: fit_line(*each, fwhm=FWHM), data))
        theirs.append(seconds(by_scipy, data))
    mine, other = (statistics.median(each) / LINES for each in (ours, theirs))
    print(f"{'fit_line, ms':>14} {'least_squares, ms':>18} {'ratio':>7}")
    print(f"{1e3 * mine:>14.2f} {1e3 * other:>18.2f} {other / mine:>7.1f}")


if __name__ == "__main__":
    main()
