"""Fit a line: a Gaussian on a background that steps from one level to another under it.

Emission lies below the elastic line and none above: the step stands for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from callbacks.compilation import compiled

FloatArray = NDArray[np.floating]

FWHM_PER_SIGMA = 2.3548  # of a Gaussian: 2 sqrt(2 ln 2), to the digits that stored widths were computed with
FIT_FWHM = (0.3, 3.0)  # of the instrument's FWHM: the widths a fit may try, wider than any that is accepted
_ITERATIONS, _CONVERGED = 40, 1e-6  # of the fit; change of chi square, relative to 1 + chi square


def fit_line(
    columns: FloatArray, counts: FloatArray, noise: FloatArray, start: FloatArray, *, fwhm: float
) -> tuple[FloatArray, FloatArray, float]:
    """Fit a Gaussian on a step in the background by weighted least squares.

    Parameters
    ----------
    columns, counts, noise : numpy.ndarray, shape (n,)
        Pixels, counts, and their standard uncertainty.
    start : numpy.ndarray, shape (5,)
        Centre and sigma (columns), height, and level below and above (counts).
    fwhm : float
        Of the instrument, columns; the width is kept within `FIT_FWHM` of it.

    Returns
    -------
    parameters : numpy.ndarray, shape (5,)
        As in `start`.
    covariance : numpy.ndarray, shape (5, 5)
    reduced : float
        Chi square for each degree of freedom.

    Notes
    -----
    Levenberg and Marquardt's method, compiled: the lines of many rows are fitted again whenever a frame changes drift
    or calibration. `scipy.optimize.least_squares` finds the same line, to two thousandths of its sigma (see the tests;
    the times are in tests/benchmarks/bench_elastic_line.py).
    """
    narrowest, widest = (share * fwhm / FWHM_PER_SIGMA for share in FIT_FWHM)
    parameters = np.array(start, dtype=float)
    normal = np.zeros((5, 5))
    cost = compiled(_fit_line)(
        *(np.ascontiguousarray(each, dtype=float) for each in (columns, counts, noise)),
        parameters,
        normal,
        narrowest,
        widest,
    )
    covariance = np.linalg.pinv(normal, hermitian=True)
    return parameters, covariance, cost / max(1, len(columns) - len(parameters))


def line_and_slopes(columns: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the line, shape (n,), and its derivatives by the parameters, shape (n, 5)."""
    centre, sigma, amplitude, below, above = parameters
    u = (columns - centre) / sigma
    shape, step = np.exp(-0.5 * u**2), ndtr(u)
    edge = (above - below) * shape / math.sqrt(2 * math.pi)
    model = amplitude * shape + below + (above - below) * step
    slope = (amplitude * shape * u - edge) / sigma
    return model, np.stack([slope, slope * u, shape, 1 - step, step], axis=1)


def _fit_line(  # noqa: PLR0917 - as Numba takes them  # pragma: no cover
    columns: FloatArray,
    counts: FloatArray,
    noise: FloatArray,
    parameters: FloatArray,
    normal: FloatArray,
    narrowest: float,
    widest: float,
) -> float:
    trial, towards, trial_towards = parameters.copy(), np.empty(5), np.empty(5)
    trial_normal, slopes, damped = np.empty((5, 5)), np.empty(5), np.empty((5, 5))
    damping, cost = 1e-2, np.inf
    for _ in range(_ITERATIONS + 1):
        trial_cost = 0.0
        trial_normal[:] = 0.0
        trial_towards[:] = 0.0
        centre, sigma, amplitude, below, above = trial
        for k in range(len(columns)):
            u = (columns[k] - centre) / sigma
            shape, step = math.exp(-0.5 * u * u), 0.5 * math.erfc(-u / math.sqrt(2.0))
            residual = (counts[k] - amplitude * shape - below - (above - below) * step) / noise[k]
            slope = (amplitude * shape * u - (above - below) * shape / math.sqrt(2 * math.pi)) / sigma
            slopes[0], slopes[1], slopes[2], slopes[3], slopes[4] = slope, slope * u, shape, 1 - step, step
            trial_cost += residual * residual
            for i in range(5):
                slopes[i] /= noise[k]
                trial_towards[i] += slopes[i] * residual
                for j in range(i + 1):
                    trial_normal[i, j] += slopes[i] * slopes[j]
        if trial_cost > cost or np.isnan(trial_cost):
            damping *= 5
            if damping > 1e8:
                break
        else:
            converged = cost - trial_cost < _CONVERGED * (1 + cost)
            damping = damping / 5 if cost < np.inf else damping
            cost = trial_cost
            parameters[:], towards[:] = trial, trial_towards
            for i in range(5):
                for j in range(i + 1):
                    normal[i, j] = normal[j, i] = trial_normal[i, j]
            if converged:
                break
        damped[:] = normal
        for i in range(5):
            damped[i, i] += damping * (normal[i, i] + np.finfo(np.float64).eps)
        trial[:] = parameters + np.linalg.solve(damped, towards)
        trial[1] = min(max(trial[1], narrowest), widest)
    return cost
