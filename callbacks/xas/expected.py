"""Which spectra of one kind hold enough of it to be divided by a jump or an area: by what their mean predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.normal_equations import normal_equations, solve_normal_equations
from callbacks.fitting.rows import Rows

FloatArray = NDArray[np.floating]

# Sigmas that a divisor has to be expected to have. To first order, the interval of a quotient by a number of k sigma
# holds the truth where |z| (k + z) < k for a standard normal z: in 72 % at 5, 80 % at 4; its mean is 1/k sigma too high
# at most.
ENOUGH = 5.0
FEWEST_ALIKE = 20  # spectra: of fewer the mean holds more than a twentieth of the noise of each
SURELY = 2 * ENOUGH  # found in a spectrum itself: noise makes as much of five once in three million


def holds_enough(
    spectra: Rows, background: FloatArray, functional: FloatArray, found: FloatArray, sigma: FloatArray
) -> NDArray[np.bool_]:
    """Tell which spectra have a jump, or area, of 5 sigma: by how much of their mean each holds, not by its noise.

    Parameters
    ----------
    spectra : Rows
    background : numpy.ndarray, shape (n_energies, rank)
        What a background is made of, which may lie beneath; rank 0 where there is none.
    functional : numpy.ndarray, shape (n_energies,) or (n, n_energies)
        Weights whose sum over a spectrum is its jump, or area; the same for all, or for each its own.
    found, sigma : numpy.ndarray, shape (n,)
        That sum, and its standard uncertainty.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        Also those unlike the mean are told to have it where they have twice as much themselves. Of fewer than 20
        spectra, which are no map, each is judged by the caller alone: all are told to.

    Notes
    -----
    Pixels that are chosen by a noisy number, and divided by it, are those whose noise made it larger: what is read off
    them is off to one side. Each is fitted by the mean spectrum and a background, weighted by its own noise. Where that
    is what it holds, its amount is the estimate of least variance, whose noise is then uncorrelated with that of
    anything that does not depend on the amount and the background (E. L. Lehmann and G. Casella, Theory of Point
    Estimation, 2nd ed., Springer 1998, theorem 1.7 of chapter 2), as of quotients of what is linear, to first order.
    """
    if len(spectra) < FEWEST_ALIKE:
        return np.ones(len(spectra), dtype=bool)
    # By the weights of all, so that a point with as much noise as it is out of place does not make it.
    total = spectra.weights.sum(axis=0)
    mean = np.divide((spectra.weights * spectra.values).sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    gram, offered = normal_equations(spectra.values, spectra.weights, np.vstack([mean, background.T]))
    amounts, _, _ = solve_normal_equations(gram, offered, non_negative=False)
    expected = amounts[:, 0] * (functional @ mean)
    return np.asarray((expected > ENOUGH * sigma) | (found > SURELY * sigma))


def too_thin(what: str) -> str:
    """Say that of a spectrum too little is expected."""
    return f"too thin: the {what} expected is below {ENOUGH:g} sigma"
