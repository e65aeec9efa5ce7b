"""The simplex that a cloud of pixels fills: its corners are the end members, where no pixel is pure as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import log_ndtr

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

STRAY = (
    1e-9  # share of points that no simplex explains: one that lies more than 6 sigma outside costs no more than that
)
LOWEST = 0.1  # density at a facet that is told from the points: below, there are too few of them
LEAST = 0.01  # of that, what it may be where points thin out towards the facet
NEAR, FAR = 2.0, 5.0  # of the noise: where the density at a facet is told, and what it is compared with
ROUNDS = 4  # of simplex and density
REPLICATES = 24  # of the simplex, each with another density and other pixels
BOOTSTRAP_BLOCKS = 100  # of pixels that follow one another, so that whole particles are drawn
BEGIN = 1.2  # times as far from the middle as the largest simplex among the pixels
STEPS = 300
NEGATIVE = 0.05  # of the highest of the mean spectrum: by so much a background that falls makes a spectrum negative
STRONG, MOST_IMPURE = 0.3, 0.9  # of the phases' highest absorption, where it is compared; of them in another corner


@dataclass(frozen=True)
class CornerSpectra:
    """The spectra that points stand for.

    Attributes
    ----------
    mean : numpy.ndarray, shape (energies,)
        At the origin.
    directions : numpy.ndarray, shape (d, energies)
        What a coordinate is multiplied by, to be added to that.
    """

    mean: FloatArray
    directions: FloatArray

    def too_low(self, corners: FloatArray) -> tuple[FloatArray, float]:
        """Give how far the spectra of corners are lower than absorption can be, and what that is counted in."""
        least = NEGATIVE * float(self.mean.max())
        return np.minimum(self.mean + corners @ self.directions + least, 0.0), least


def minimum_volume_simplex(
    points: FloatArray,
    noise: FloatArray,
    start: FloatArray,
    held: BoolArray,
    *,
    density: FloatArray,
    weights: FloatArray | None = None,
    spectra: CornerSpectra | None = None,
) -> FloatArray:
    """Find the smallest simplex that holds points within their noise.

    Parameters
    ----------
    points : numpy.ndarray, shape (n, d)
        In coordinates in which the noise is the same in every direction.
    noise : numpy.ndarray, shape (n,)
        Standard deviation of each point in every direction.
    start : numpy.ndarray, shape (d + 1, d)
        Corners to begin with.
    held : numpy.ndarray of bool, shape (d + 1,)
        Corners that stay where they are.
    density : numpy.ndarray, shape (d + 1,)
        Of the points at the facet opposite to each corner, over that of a simplex that is filled evenly.
    weights : numpy.ndarray, shape (n,), optional
        How often each point counts.
    spectra : CornerSpectra, optional
        What the corners stand for: no absorption is negative.

    Returns
    -------
    numpy.ndarray, shape (d + 1, d)
        Corners.

    Notes
    -----
    With the shares a of the corners in a point, linear in it, and their noise s, what is minimised is

        n * log(volume) - sum over points and corners of log((1 - STRAY) * Phi(a / s) + STRAY) / density .

    For a density of 1 and without stray points this is the likelihood of an even cloud with normal noise. Elsewhere the
    density says how many pixels there are at a facet to hold it against the volume. The volume is that of the cloud: a
    simplex that is thinner than the noise has that of the noise. Minimum volume: M. Craig, IEEE Trans. Geosci.
    Remote Sens. 32 (1994) 542; with facets that are not hard: J. Bioucas-Dias, Proc. 1st WHISPERS (2009), SISAL.
    """
    number, dimensions = start.shape
    count = np.ones(len(points)) if weights is None else weights
    volume_weight = float(count.sum())
    lifted = np.column_stack([np.ones(len(points)), points])
    blur = 2 * np.pi * float(np.median(noise)) ** 2
    corners = start.copy()

    def cost(parameters: FloatArray) -> tuple[float, FloatArray]:
        corners[~held] = parameters.reshape(-1, dimensions)
        frame = np.column_stack([np.ones(number), corners])
        inverse = np.linalg.inv(frame)
        shares, length = lifted @ inverse, np.linalg.norm(inverse[1:], axis=0)
        scaled = shares / (noise[:, None] * length)
        inside = np.logaddexp(log_ndtr(scaled), np.log(STRAY))
        blurred = 1 + blur * float((length**2).sum())
        value = volume_weight * (np.linalg.slogdet(frame)[1] + 0.5 * np.log(blurred)) - float(
            count @ (inside / density).sum(axis=1)
        )
        slope = count[:, None] * np.exp(-0.5 * scaled**2 - inside) / (np.sqrt(2 * np.pi) * density)
        by_inverse = np.zeros_like(inverse)
        by_inverse[1:] = ((slope * scaled).sum(axis=0) / length**2 + volume_weight * blur / blurred) * inverse[1:]
        by_shares = -slope / (noise[:, None] * length)
        gradient = volume_weight * inverse.T - (shares.T @ by_shares + inverse.T @ by_inverse) @ inverse.T
        if spectra is not None:
            below, unit = spectra.too_low(corners)
            value += 0.5 * volume_weight * float(((below[~held] / unit) ** 2).sum())
            gradient[:, 1:] += volume_weight / unit**2 * below @ spectra.directions.T
        return value, gradient[~held, 1:].ravel()

    if not held.all():
        corners[~held] = minimize(
            cost, start[~held].ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
        ).x.reshape(-1, dimensions)
    return corners


def simplices(
    points: FloatArray,
    noise: FloatArray,
    extremes: FloatArray,
    measured: FloatArray,
    measured_covariance: FloatArray,
    *,
    scattered: float = 0.0,
    spectra: CornerSpectra | None = None,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Find the simplex of a cloud, and others that the cloud allows for as well.

    Parameters
    ----------
    points, noise : numpy.ndarray, shape (n, d) and (n,)
        As of `minimum_volume_simplex`.
    extremes : numpy.ndarray, shape (d + 1, d)
        Corners of the largest simplex among the points.
    measured : numpy.ndarray, shape (m, d)
        Corners that are known from a measurement of their own, m of them at most d + 1.
    measured_covariance : numpy.ndarray, shape (m, d, d)
    scattered : float
        Share of the noise that is no noise of counts, but what moves pixels beyond it.
    spectra : CornerSpectra, optional
        As of `minimum_volume_simplex`.
    seed : int

    Returns
    -------
    corners : numpy.ndarray, shape (d + 1, d)
        The measured ones first.
    replicates : numpy.ndarray, shape (r, d + 1, d)
        Simplices of points drawn anew in blocks. Measured corners are drawn from their distribution.

    Notes
    -----
    The density at each facet is that of the points near it. Where they thin out towards a facet, it is less: the cloud
    does not show how far it reaches, and `corners` are those of a tenth, `replicates` of everything from that density
    to a hundredth, evenly in its logarithm. Few pixels near a facet may as well be none that belong there, but some
    that were moved: where they scatter, `replicates` are of densities from an even one on.
    """
    rng = np.random.default_rng(seed)
    held = np.arange(len(extremes)) < len(measured)
    distance = np.linalg.norm(measured[:, None] - extremes[None], axis=2)
    replaced = linear_sum_assignment(distance)[1]
    middle = points.mean(axis=0)
    corners = np.concatenate([measured, middle + BEGIN * (np.delete(extremes, replaced, axis=0) - middle)])
    density: FloatArray = np.ones(len(corners))
    for _ in range(ROUNDS):
        corners = minimum_volume_simplex(points, noise, corners, held, density=density, spectra=spectra)
        density, thinning = facet_density(points, noise, corners)
    least = LEAST**thinning
    corners = minimum_volume_simplex(points, noise, corners, held, density=density * np.sqrt(least), spectra=spectra)
    block = np.arange(len(points)) * BOOTSTRAP_BLOCKS // len(points)
    found = []
    for part in np.linspace(-scattered, 1.0, REPLICATES):
        drawn = density ** (1 + min(part, 0.0)) * least ** max(part, 0.0)
        start = corners.copy()
        for place, covariance in enumerate(measured_covariance):
            start[place] = rng.multivariate_normal(measured[place], covariance)
        weights = rng.poisson(1.0, BOOTSTRAP_BLOCKS)[block].astype(float)
        found.append(
            minimum_volume_simplex(points, noise, start, held, density=drawn, weights=weights, spectra=spectra)
        )
    return corners, np.array(found)


def facet_density(points: FloatArray, noise: FloatArray, corners: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the density of points at each facet, and how much they thin out towards it.

    Returns
    -------
    density : numpy.ndarray, shape (d + 1,)
        At the facet opposite to each corner, within `NEAR` of the noise, over that of an even simplex.
    thinning : numpy.ndarray, shape (d + 1,)
        From 0, where it is that within `FAR` or more, to 1, where it is half of that or less: then the cloud does not
        show where it would end.
    """
    inverse = np.linalg.inv(np.column_stack([np.ones(len(corners)), corners]))
    shares = shares_of(points, corners)
    blur = np.median(noise) * np.linalg.norm(inverse[1:], axis=0)
    near, far = (((shares < width * blur).mean(axis=0) / (width * blur)) for width in (NEAR, FAR))
    ratio = np.divide(near, far, out=np.zeros_like(near), where=far > 0)  # 0 where no point comes near
    return np.clip(near / points.shape[1], LOWEST, 1.0), np.clip(2 * (1 - ratio), 0.0, 1.0)


def shares_of(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Give the shares of the corners of a simplex in points, shape (n, d + 1); they add up to 1."""
    frame = np.column_stack([np.ones(len(corners)), corners])
    return np.asarray(np.column_stack([np.ones(len(points)), points]) @ np.linalg.inv(frame))


def beyond_pixels(
    replicates: FloatArray, corners: FloatArray, purest: FloatArray, held: BoolArray, *, seed: int
) -> FloatArray:
    """Move the corners of replicates towards the purest pixels, or away from them.

    How far beyond the purest pixels a corner lies is not measured: an even chance of everything from those pixels
    themselves to twice as far beyond them.

    Parameters
    ----------
    replicates : numpy.ndarray, shape (r, k, d)
    corners, purest : numpy.ndarray, shape (k, d)
        Those found, and the mean of the pixels nearest to each.
    held : numpy.ndarray of bool, shape (k,)
        Corners that were measured: they stay where they are.
    seed : int
    """
    rng = np.random.default_rng([seed, 1])
    step = (corners - purest) * ~held[:, None]
    return np.asarray(replicates + rng.uniform(-1.0, 1.0, (*replicates.shape[:2], 1)) * step)


def with_scatter(replicates: FloatArray, scatter: float, held: BoolArray, *, seed: int) -> FloatArray:
    """Scatter the corners of replicates by what moves pixels beyond their noise.

    What alignment leaves, or thickness, is in the directions of the simplex as well as in the others, where it is seen:
    the pixels at a corner are there by it as much as by what they are made of.

    Parameters
    ----------
    replicates : numpy.ndarray, shape (r, k, d)
    scatter : float
        Standard deviation of the pixels in the strongest direction that no end member explains, beyond their noise.
    held : numpy.ndarray of bool, shape (k,)
        Corners that were measured: they stay where they are.
    seed : int
    """
    drawn = np.random.default_rng([seed, 2]).standard_normal(replicates.shape)
    return np.asarray(replicates + scatter * drawn * ~held[:, None])


def with_impure_others(
    replicates: FloatArray, end_members: FloatArray, others: Sequence[bool], *, seed: int
) -> FloatArray:
    """Take the two phases out of other corners of replicates, as far as their spectra allow for it.

    The corner at which pixels have least of the phases may still hold some of them. How much is not known, only that
    what is left is no negative absorption: an even chance of everything from none to that, in any ratio of the two.

    Parameters
    ----------
    replicates : numpy.ndarray, shape (r, k, d)
    end_members : numpy.ndarray, shape (k, energies)
        The phases first.
    others : sequence of bool
        Which of the corners are neither a phase nor measured.
    seed : int
    """
    rng, changed = np.random.default_rng(seed), replicates.copy()
    for place in np.flatnonzero(others):
        for replicate, drawn in zip(changed, rng.random((len(changed), 2)), strict=True):
            mixture = np.array([drawn[0], 1 - drawn[0]])
            phases = mixture @ end_members[:2]
            strong = phases > STRONG * phases.max()
            most = float(np.clip((end_members[place][strong] / phases[strong]).min(), 0.0, MOST_IMPURE))
            share = drawn[1] * most
            replicate[place] = (replicate[place] - share * mixture @ replicate[:2]) / (1 - share)
    return changed


def fraction_errors(corners: FloatArray, replicates: FloatArray) -> FloatArray:
    """Give what other corners make of fractions: shape (r, k, k), the matrix that takes a fraction to its change.

    Parameters
    ----------
    corners : numpy.ndarray, shape (k, d)
        That pixels were fitted by.
    replicates : numpy.ndarray, shape (r, k, d)
        That they may be made of as well.
    """
    frame = np.column_stack([np.ones(len(corners)), corners])
    others = np.concatenate([np.ones((*replicates.shape[:2], 1)), replicates], axis=2)
    mixed = others @ np.linalg.pinv(frame)  # of each other corner, the shares of the corners
    return np.asarray(np.linalg.inv(mixed).transpose(0, 2, 1) - np.eye(len(corners)))
