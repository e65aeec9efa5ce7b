"""What of the shifts of a stack is drift, and what follows the contrast.

Where composition differs between the two sides of the grains, images seem to move when the contrast changes, and no
comparison of images alone can tell that from a shift. But drift is smooth in time, and the shift that comes with the
travel of the zone plate is proportional to the energy, while the contrast changes from image to image at an edge.
The constants are derived in docs/decisions/constants-registration.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

NOT_LINEAR = 0.5  # share of a pull that does not go with the contrast as it is taken to
OFF_MIDDLE = 0.1  # of an image's height: how far off its middle the structure lies by which it is registered
PIECES = 32  # of the time, in each of which the drift accelerates evenly
UNBOUNDED = 1e2  # pixels: standard deviation of what is not known beforehand
ENERGY, RUN_OUT = 2, 3.0  # which part goes with the energy; pixels over the stack that it is expected to be, rms
ACCELERATION = 10.0 ** np.arange(-2.0, 2.6, 0.25)  # pixels over the square of the time of the stack, tried
JITTER = np.concatenate([[0.0], 10.0 ** np.arange(-3.0, -0.9, 0.25)])  # pixels, tried


@dataclass(frozen=True)
class Pull:
    """By how much images seem to move with their contrast.

    Attributes
    ----------
    mean, lowest, highest : numpy.ndarray, shape (changes,)
        Contrast at which there is none, and between which it was found.
    slope : numpy.ndarray, shape (axes, changes)
        Pixel for a contrast of one.
    covariance : numpy.ndarray, shape (axes, changes, changes)
    """

    mean: FloatArray
    lowest: FloatArray
    highest: FloatArray
    slope: FloatArray
    covariance: FloatArray

    def of(self, contrast: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the pull on an image of this contrast, shape (changes,), and its standard uncertainty, shape (axes,).

        A contrast beyond those that it was found from counts as the nearest of them: it is not extrapolated.
        """
        beyond = np.clip(contrast, self.lowest, self.highest) - self.mean
        by = self.slope @ beyond
        return by, np.sqrt(np.einsum("i,aij,j->a", beyond, self.covariance, beyond) + (NOT_LINEAR * by) ** 2)


@dataclass(frozen=True)
class Drift:
    """The shifts of a stack, freed of what follows the contrast.

    Attributes
    ----------
    shift, sigma : numpy.ndarray, shape (images, axes)
        Pixel.
    rate : numpy.ndarray, shape (images, axes)
        Pixel/s: how fast the shift changes with time while each image is measured.
    pull : Pull
    """

    shift: FloatArray
    sigma: FloatArray
    rate: FloatArray
    pull: Pull


def drift_of(
    shift: FloatArray,
    sigma: FloatArray,
    *,
    contrast: FloatArray,
    expected: FloatArray,
    moment: FloatArray,
    energy: FloatArray,
) -> Drift:
    """Tell drift from what follows the contrast.

    Parameters
    ----------
    shift, sigma : numpy.ndarray, shape (images, axes)
        As found by comparing images, and their standard uncertainty; pixel.
    contrast : numpy.ndarray, shape (images, changes)
        Amount of each component that changes over that of the first one.
    expected : numpy.ndarray, shape (axes, changes)
        Pixel: what a contrast of one is expected to pull by, rms.
    moment : numpy.ndarray, shape (images,)
        When each image was measured, s.
    energy : numpy.ndarray, shape (images,)
        eV.

    Returns
    -------
    Drift

    Notes
    -----
    A shift is the sum of a position, a velocity, what is proportional to the energy, an acceleration in each piece of
    the time (all of one variance: integrated white noise; G. Wahba, J. R. Stat. Soc. B 40 (1978) 364), a jitter of
    each image, the pull, and the error of the comparison. All are normal, so that the posterior is known in closed
    form; acceleration and jitter are those of the largest marginal likelihood.

    The energy is the same for all lines of an image, so that only what is smooth in time goes on within it. Where
    energies follow one another in even steps, nothing tells the two apart but that run-out is expected to be small.
    """
    sigma = np.where(sigma > 0, sigma, np.median(sigma[sigma > 0]) if (sigma > 0).any() else 0.01)
    mean = contrast.mean(axis=0)
    smooth, change = _smooth(moment, energy)
    pulls = slice(smooth.shape[1], None)
    accelerations = slice(smooth.shape[1] - PIECES, smooth.shape[1])
    design = np.hstack([smooth, contrast - mean])
    spread = np.full(design.shape[1], UNBOUNDED)
    spread[ENERGY] = RUN_OUT
    found, uncertain, rate = np.empty_like(shift), np.empty_like(shift), np.empty_like(shift)
    slope, covariance = [], []
    for axis in range(shift.shape[1]):
        variance = sigma[:, axis] ** 2
        spread[pulls] = expected[axis]
        acceleration, jitter = _most_likely(shift[:, axis], variance, design, spread, accelerations)
        spread[accelerations] = acceleration
        total = variance + jitter**2
        posterior = np.linalg.inv((design.T / total) @ design + np.diag(spread**-2.0))
        parameters = posterior @ ((design.T / total) @ shift[:, axis])
        share = jitter**2 / total  # of what is left that is jitter
        drift = -share[:, None] * design
        drift[:, : pulls.start] += smooth
        found[:, axis] = drift @ parameters + share * shift[:, axis]
        pulled = design[:, pulls] @ parameters[pulls]
        rate[:, axis] = change @ parameters[: pulls.start]
        rate_sigma = np.sqrt(np.einsum("ij,jk,ik->i", change, posterior[: pulls.start, : pulls.start], change))
        within = OFF_MIDDLE * rate_sigma * np.gradient(moment)  # an image drifts about as long as to the next one
        uncertain[:, axis] = np.sqrt(
            np.einsum("ij,jk,ik->i", drift, posterior, drift)
            + share * variance
            + (NOT_LINEAR * pulled) ** 2
            + within**2
        )
        slope.append(parameters[pulls])
        covariance.append(posterior[pulls, pulls])
    pull = Pull(mean, contrast.min(axis=0), contrast.max(axis=0), np.array(slope), np.array(covariance))
    return Drift(found, uncertain, rate, pull)


def _smooth(moment: FloatArray, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give what smooth drift is made of, shape (images, 3 + pieces), and how each part changes with time, 1/s.

    The parts are position, velocity, energy and accelerations. The energy does not change while an image is measured.
    """
    length = float(np.ptp(moment)) or 1.0
    time = (moment - moment.min()) / length
    since = np.maximum(time[:, None] - np.linspace(0, 1, PIECES + 1), 0.0)
    bent, speed = (np.subtract(each[:, :-1], each[:, 1:]) * math.sqrt(PIECES) for each in (since**2 / 2, since))
    along, one, nothing = (energy - energy.mean()) / (np.ptp(energy) or 1.0), np.ones(len(time)), np.zeros(len(time))
    parts = np.column_stack([one, time - time.mean(), along, bent])
    return parts, np.column_stack([nothing, one, nothing, speed]) / length


def _most_likely(
    shift: FloatArray, variance: FloatArray, design: FloatArray, spread: FloatArray, accelerations: slice
) -> tuple[float, float]:
    """Give acceleration and jitter of the largest marginal likelihood."""
    spreads = np.tile(spread, (len(ACCELERATION), 1))
    spreads[:, accelerations] = ACCELERATION[:, None]
    best, chosen = -math.inf, (math.nan, math.nan)
    for jitter in JITTER:
        total = variance + jitter**2
        normal, right = (design.T / total) @ design, (design.T / total) @ shift
        matrices = normal + spreads[:, :, None] ** -2.0 * np.eye(len(right))
        solved = np.linalg.solve(matrices, np.broadcast_to(right, spreads.shape)[..., None])[..., 0]
        likelihood = (solved @ right - np.linalg.slogdet(matrices)[1]) / 2 - np.log(spreads).sum(axis=1)
        likelihood -= (np.log(total).sum() + (shift**2 / total).sum()) / 2
        place = int(likelihood.argmax())
        if likelihood[place] > best:
            best, chosen = float(likelihood[place]), (float(ACCELERATION[place]), float(jitter))
    return chosen
