"""Fractions of end members in normalised pixels, with all that makes them uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.nonnegative import Unmixed, misfit, no_fractions, ratio, unmix
from callbacks.stxm.edges import Edge

FloatArray = NDArray[np.floating]

SIGMAS = 3.0  # by which phases stand above noise in a mean spectrum
LARGEST_SHARE_SIGMA = 1.0  # of a share, which is nothing or all at most
FEWEST_LEFT = 8  # energies more than unknowns, to fit the flattening along
UNCERTAIN = 0.5  # share of what flattening does to fractions that is counted as uncertain: it is known to first order


def background_shapes(energies: FloatArray, edge: Edge) -> FloatArray:
    """Give what of a background is left when its mean is subtracted, and is fitted beside end members.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    edge : Edge

    Returns
    -------
    numpy.ndarray, shape (n, energies)
        A constant. Also a slope, where binder has no edge and thus is no end member: what absorbs beside the phases
        does so less the higher the energy, and there is not the same of it everywhere.
    """
    constant = np.ones(len(energies))
    if edge.of_binder:
        return constant[None]
    return np.vstack([constant, (energies - energies.mean()) / (np.ptp(energies) or 1.0)])


def fit_normalised(
    spectra: FloatArray,
    end_members: FloatArray,
    variance: FloatArray,
    area: FloatArray | None,
    beside: FloatArray,
) -> Unmixed:
    """Fit end members to normalised spectra.

    Parameters
    ----------
    spectra : numpy.ndarray, shape (pixels, energies)
        Each less its background, and over its area.
    end_members : numpy.ndarray, shape (k, energies)
        Of area 1 and no background.
    variance : numpy.ndarray, shape (pixels, energies)
        Of the optical density, independent between energies, over the area squared.
    area : numpy.ndarray, shape (energies,) or None
        What a spectrum is multiplied by and summed up, to give its area; None where nothing divides.
    beside : numpy.ndarray, shape (n, energies)
        As `background_shapes` gives it.

    Returns
    -------
    Unmixed
        Uncertainties are widened by the misfit, see `callbacks.fitting.nonnegative.misfit`.

    Notes
    -----
    Background and area of a pixel are as noisy as the pixel, and the noise of its background is in all its energies.
    The fit has a constant beside the end members, which may have either sign: this is the same as to fit the normalised
    spectrum with the covariance that the subtraction gives it. Of a fraction f = a / A both the amount a and the area A
    are noisy; the area is the sum of the amounts, each times the area of what it is an amount of.
    """
    columns, count = np.vstack([end_members, beside]), len(end_members)
    fit = unmix(spectra, columns, variance, free=len(beside))
    factor = misfit(fit, spectra, columns, variance)
    fractions, covariance = fit.fractions[:, :count], fit.covariance[:, :count, :count]
    if area is not None:
        with_area = fit.covariance[:, :count] @ (columns @ area)
        shared = np.where(fractions > 0, with_area, 0.0)[:, :, None] * fractions[:, None]
        of_area = (variance @ area**2)[:, None, None] * fractions[:, :, None] * fractions[:, None]
        covariance = covariance - shared - shared.transpose(0, 2, 1) + of_area
    covariance = covariance * factor[:, None, None]
    return Unmixed(fractions, np.sqrt(np.einsum("pii->pi", covariance)), fit.residual, covariance)


def fit_mean(
    spectrum: FloatArray,
    square: FloatArray,
    references: FloatArray,
    variance: FloatArray,
    beside: FloatArray | None = None,
) -> tuple[Unmixed, float]:
    """Fit references to the mean spectrum of many pixels.

    Parameters
    ----------
    spectrum, square, variance : numpy.ndarray, shape (energies,)
        Mean optical density, mean of its square, and the variance of the mean.
    references : numpy.ndarray, shape (k, energies)
    beside : numpy.ndarray, shape (n, energies), optional
        What is fitted along and may have either sign, as `background_shapes` gives it.

    Returns
    -------
    unmixed : Unmixed
        Of one spectrum; uncertainties are widened by the misfit. NaN where the spectrum is not known.
    flattening : float
        What the optical density lacks, over its square; 0 where there are too few energies to tell.

    Notes
    -----
    Light that the sample does not see (stray, or beside what is thick under the probe) makes up for more of what is
    absorbed the more there is: to first order the optical density D is measured as D less a multiple of its square (the
    thickness effect: E. Stern and K. Kim, Phys. Rev. B 23 (1981) 3781). How large the multiple is, is fitted along;
    half of what that does to the fractions is counted as uncertain. One below zero would add to what is absorbed: it is
    taken as zero, and what it would have done counted as uncertain.
    """
    count = len(references)
    if not np.isfinite(spectrum).all():
        return no_fractions(1, count), 0.0
    further = [] if beside is None else list(beside)
    flattened = len(spectrum) >= count + len(further) + 1 + FEWEST_LEFT
    if flattened:
        further.append(-square)
    columns = np.vstack([references, *further])
    data = spectrum[None], columns, variance[None]
    fit = unmix(*data, free=len(further))
    factor = misfit(fit, *data)
    fractions, covariance = fit.fractions[:, :count], fit.covariance[:, :count, :count] * factor[:, None, None]
    flattening = 0.0
    if flattened:
        without = unmix(spectrum[None], columns[:-1], variance[None], free=len(further) - 1)
        flattening, unflattened = float(fit.fractions[0, -1]), without.fractions[:, :count]
        moved = np.where(fractions > 0, UNCERTAIN * (fractions - unflattened), 0.0)
        if flattening < 0:
            flattening, fractions, fit = 0.0, unflattened, without
        covariance = covariance + moved[:, :, None] * moved[:, None]
    return Unmixed(fractions, np.sqrt(np.einsum("pii->pi", covariance)), fit.residual, covariance), flattening


def fit_flattened(density: FloatArray, references: FloatArray, variance: FloatArray, flattening: float) -> Unmixed:
    """Fit references to the optical density of single pixels, which do not tell how much it is flattened.

    Parameters
    ----------
    density, variance : numpy.ndarray, shape (pixels, energies)
    references : numpy.ndarray, shape (k, energies)
    flattening : float
        As `fit_mean` finds it. It is not the same in all pixels: what the whole of it does to the fractions is counted
        as their uncertainty. That of the noise is widened by the misfit.
    """
    fit = unmix(density, references, variance)
    offered = (flattening * density**2 / variance) @ references.T
    moved = np.where(fit.fractions > 0, np.einsum("pij,pj->pi", fit.covariance, offered), 0.0)
    factor = misfit(fit, density, references, variance)
    covariance = fit.covariance * factor[:, None, None] + moved[:, :, None] * moved[:, None]
    return replace(fit, covariance=covariance, sigma=np.sqrt(np.einsum("pii->pi", covariance)))


def _shared_noise(maps: FloatArray, variance: FloatArray, own: NDArray[np.integer]) -> FloatArray:
    """Give the covariance of fractions, shape (k, k), by the noise of one reference."""
    _, place, count = np.unique(own, return_inverse=True, return_counts=True)
    together = np.zeros((len(maps), len(count)))
    np.add.at(together.T, place, maps.T)
    of_value = np.bincount(place, variance) / count
    return np.asarray(np.einsum("iv,jv,v->ij", together, together, of_value))


def median_sigma(sigma: FloatArray, sample: NDArray[np.bool_]) -> float:
    """Give the median of a standard uncertainty over the pixels that hold sample.

    Parameters
    ----------
    sigma : numpy.ndarray, shape (pixels,)
        NaN where it is not known, which counts as larger than any that is: else pixels that are left out as too
        uncertain would make the median smaller.
    sample : numpy.ndarray of bool, shape (pixels,)

    Returns
    -------
    float
        NaN where there is no sample, or where it is not known of half of the pixels.
    """
    if not sample.any():
        return float("nan")
    median = float(np.median(np.where(np.isfinite(sigma), sigma, np.inf)[sample]))
    return median if np.isfinite(median) else float("nan")


def share(unmixed: Unmixed, part: int, whole: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Give the share of one fraction in the sum of some, and its standard uncertainty.

    Parameters
    ----------
    unmixed : Unmixed
    part : int
    whole : sequence of int
        The part among them.

    Returns
    -------
    value, sigma : numpy.ndarray, shape (pixels,)
        As `callbacks.fitting.nonnegative.ratio` gives them; the value is NaN, too, where `sigma` is larger than all
        that a share may be, from 0 to 1: it is not determined.
    """
    value, sigma = ratio(unmixed, part, whole)
    return np.where(sigma > LARGEST_SHARE_SIGMA, np.nan, value), sigma


def share_in_mean(unmixed: Unmixed, part: int, whole: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Give what `share` does of a mean spectrum; NaN, both, where the sum stands less than three sigma above zero."""
    places = np.array(whole)
    total = unmixed.fractions[:, places].sum(axis=1)
    noise = np.sqrt(unmixed.covariance[:, places[:, None], places].sum(axis=(1, 2)))
    value, sigma = share(unmixed, part, whole)
    return np.where(total > SIGMAS * noise, value, np.nan), np.where(total > SIGMAS * noise, sigma, np.nan)


def with_uncertain_references(unmixed: Unmixed, spread: FloatArray) -> Unmixed:
    """Add what the uncertainty of the references, common to all pixels, does to fractions.

    Parameters
    ----------
    unmixed : Unmixed
    spread : numpy.ndarray, shape (k, k, k, k)
        The fractions f get the covariance ``spread[i, j, m, n] f[m] f[n]``, see `spread_of_errors`.
    """
    covariance = unmixed.covariance + np.einsum(
        "ijmn,pm,pn->pij", spread, unmixed.fractions, unmixed.fractions, optimize=True
    )
    return replace(unmixed, covariance=covariance, sigma=np.sqrt(np.einsum("pii->pi", covariance)))


def spread_of_errors(errors: FloatArray) -> FloatArray:
    """Give the `spread` of matrices, shape (r, k, k), each of which takes fractions to what they may be off by."""
    return np.asarray(np.einsum("rim,rjn->ijmn", errors, errors) / len(errors))


def spread_of_noise(
    references: FloatArray, variance: FloatArray, weights: FloatArray, own: NDArray[np.integer] | None = None
) -> FloatArray:
    """Give the `spread` that the noise of references makes.

    Parameters
    ----------
    references, variance : numpy.ndarray, shape (k, energies)
    weights : numpy.ndarray, shape (energies,)
        Of the energies in the fit.
    own : numpy.ndarray of int, shape (k, energies), optional
        Which measured value of each reference its value at an energy is of: the noise of one value is one error, at
        however many energies of the fit, as where a stack is measured in several passes. Each its own where not given.
    """
    columns = references * weights
    maps = np.linalg.solve(columns @ references.T, columns)  # from a spectrum to fractions
    if own is None or all(len(np.unique(each)) == len(each) for each in own):
        noise = np.einsum("ie,je,me->ijm", maps, maps, variance)
    else:
        noise = np.stack([_shared_noise(maps, *each) for each in zip(variance, own, strict=True)], axis=2)
    spread = np.zeros((len(references),) * 4)
    for place in range(len(references)):
        spread[:, :, place, place] = noise[:, :, place]
    return spread
