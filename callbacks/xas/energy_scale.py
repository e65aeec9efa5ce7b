"""The scale of the monochromator: how far it is off, by a reference that is measured and known from elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import curve_fit

from callbacks.fitting.linear_combination import fit_linear_combination
from callbacks.fitting.reference_noise import variance_between
from callbacks.xas.background import gaps
from callbacks.xas.edge_position import edge_position

FloatArray = NDArray[np.floating]

# Parameters of a peak on a line: width and height, centre, and two of the line; so many points more leave a freedom.
PEAK_PARAMETERS = 5
# Beyond this share of the variance, what is measured is no image of the reference, whatever its noise: spectra of one
# compound by two beamlines differ by less (resolution, saturation), those of two compounds by more.
LARGEST_MISFIT = 0.1
# Where more than noise is left, the line itself is not known better than by a tenth of its width.
SHAPE_SHARE = 0.1
MOST_PULL = 2.8  # of the uncertainty of an offset, by which noise may draw it: intervals hold 72 % at 2.3, 34 % at 3


@dataclass(frozen=True)
class EnergyOffset:
    """By how much the energy is more than what the monochromator says.

    Attributes
    ----------
    offset, sigma : float
        eV; NaN where `status` is not "ok".
    at : float
        eV, by the monochromator, where it was found.
    misfit : float
        Reduced chi square; the sigma allows for what is above one.
    status : str
        "ok", or why there is none.
    """

    offset: float
    sigma: float
    at: float
    misfit: float
    status: str


def _refused(reason: str) -> EnergyOffset:
    return EnergyOffset(math.nan, math.nan, math.nan, math.nan, reason)


def by_spectrum(
    energy: FloatArray,
    measured: FloatArray,
    variance: FloatArray,
    known_energy: FloatArray,
    known: FloatArray,
    *,
    known_variance: FloatArray | None = None,
    largest: float = 2.0,
) -> EnergyOffset:
    """Find the offset at which a measured spectrum is that of a library, but for scale and a line beneath.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV, ascending, by the monochromator.
    measured, variance : numpy.ndarray, shape (n,)
        NaN: left out.
    known_energy, known : numpy.ndarray, shape (m,)
        The library's spectrum: eV, ascending, and absorption in any unit; NaN where not measured, which is left out
        with all energies less than `largest` beside.
    known_variance : numpy.ndarray, shape (m,), optional
        Of its points, independent; known exactly where not given.
    largest : float
        eV to either side that is searched.

    Returns
    -------
    EnergyOffset
        Its sigma is scaled by the square root of a reduced chi square above one: spectra of two instruments differ in
        resolution and saturation by more than their noise. The noise of the library's spectrum is in it, and what it
        draws the offset by to where that is interpolated: a swing, of which the root of the mean square is counted.

    See Also
    --------
    callbacks.fitting.linear_combination.fit_linear_combination : the method
    """
    there = np.isfinite(known)
    missing = [(known_energy[gap.start - 1], known_energy[gap.stop]) for gap, _ in gaps(known_energy, there)]
    noise = np.zeros(len(known)) if known_variance is None else known_variance
    known_energy, known, noise = known_energy[there], known[there], noise[there]
    good = np.isfinite(measured) & np.isfinite(variance) & (variance > 0)
    for low, high in missing:
        good &= (energy <= low - largest) | (energy >= high + largest)
    good &= (energy >= known_energy[0]) & (energy <= known_energy[-1])
    if good.sum() < PEAK_PARAMETERS + 1:
        return _refused(
            f"{good.sum()} energies are within those of the reference, {known_energy[0]:g} to {known_energy[-1]:g} eV"
        )
    # Energies between are kept, so that the reference is known there, too.
    span = slice(np.flatnonzero(good)[0], np.flatnonzero(good)[-1] + 1)
    energy, variance, good = energy[span], variance[span], good[span]
    measured = np.where(good, measured[span], np.nan)
    if np.ptp(energy) < 3 * largest:
        return _refused(f"{energy[0]:g} to {energy[-1]:g} eV are too few to look for an offset of ±{largest:g} eV in")
    reference = CubicSpline(known_energy, known)(energy)
    line = (energy - energy.mean()) / np.ptp(energy)
    of_reference = variance_between(known_energy, noise, energy)
    fit = fit_linear_combination(
        energy,
        measured,
        np.vstack([reference, np.ones(len(energy)), line]),
        np.where(good, variance, np.nan),
        non_negative=False,
        shift=True,
        max_shift=largest,
        reference_variance=np.vstack([of_reference, np.zeros((2, len(energy)))]),
        most_pull=MOST_PULL,
    )
    if str(fit.status) != "ok":
        return _refused(str(fit.status))
    used = good & (energy >= energy[0] + largest) & (energy <= energy[-1] - largest)
    spread = float(np.var(measured[used]) * used.sum())
    if not fit.fractions[0] > 0 or float(fit.residual) ** 2 > LARGEST_MISFIT * spread:
        return _refused("what was measured does not look like the reference")
    moved = CubicSpline(known_energy, known)(np.clip(energy - float(fit.shift), known_energy[0], known_energy[-1]))
    model = fit.fractions[0] * moved + fit.fractions[1] + fit.fractions[2] * (line - float(fit.shift) / np.ptp(energy))
    freedom = int(used.sum()) - 4
    expected = variance + fit.fractions[0] ** 2 * of_reference
    chi_square = float(np.sum((measured - model)[used] ** 2 / expected[used])) / freedom if freedom > 0 else math.nan
    sigma = float(fit.shift_sigma) * math.sqrt(max(1.0, chi_square) + float(fit.pull) ** 2 / 2)
    return EnergyOffset(-float(fit.shift), sigma, float(energy[used].mean()), chi_square, "ok")


def by_peak(
    energy: FloatArray,
    measured: FloatArray,
    variance: FloatArray,
    expected: float,
    *,
    expected_sigma: float = 0.0,
    largest: float = 2.0,
    half_width: float = 1.0,
) -> EnergyOffset:
    """Find the offset by the maximum of a line whose energy is tabulated.

    Parameters
    ----------
    energy, measured, variance
        As of `by_spectrum`.
    expected, expected_sigma : float
        eV, of the line.
    largest : float
        eV to either side in which its maximum is looked for.
    half_width : float
        eV on either side of the maximum that a Gaussian on a line is fitted to.

    Returns
    -------
    EnergyOffset
    """
    good = np.isfinite(measured) & np.isfinite(variance) & (variance > 0)
    energy, measured, variance = energy[good], measured[good], variance[good]
    near = np.abs(energy - expected) <= largest
    if near.sum() < 3:
        return _refused(f"{near.sum()} energies are within {largest:g} eV of the line at {expected:g} eV")
    top = float(energy[near][np.argmax(measured[near])])
    used = np.abs(energy - top) <= half_width
    if used.sum() <= PEAK_PARAMETERS:
        return _refused(
            f"{used.sum()} energies are within {half_width:g} eV of the maximum at {top:g} eV, expected more than"
            f" {PEAK_PARAMETERS}"
        )
    x, y, sigma = energy[used], measured[used], np.sqrt(variance[used])

    def line(at: FloatArray, *parameters: float) -> FloatArray:
        height, centre, width, level, slope = parameters
        shape: FloatArray = height * np.exp(-0.5 * ((at - centre) / width) ** 2) + level + slope * (at - top)
        return shape

    try:
        found, covariance = curve_fit(
            line, x, y, (np.ptp(y), top, half_width / 2, float(y.min()), 0.0), sigma, absolute_sigma=True, maxfev=5000
        )
    except RuntimeError:  # no convergence
        return _refused(f"no line can be fitted to the maximum at {top:g} eV")
    height, centre, width = float(found[0]), float(found[1]), abs(float(found[2]))
    if not (height > 3 * math.sqrt(covariance[0, 0]) and x[0] < centre < x[-1] and np.isfinite(covariance).all()):
        return _refused(f"no line stands out at {top:g} eV")
    chi_square = float(np.sum(((y - line(x, *found)) / sigma) ** 2)) / (len(x) - PEAK_PARAMETERS)
    own = math.sqrt(covariance[1, 1] * max(1.0, chi_square))
    if chi_square > 2.0:  # no Gaussian: its centre is not that of the line
        own = math.hypot(own, SHAPE_SHARE * width)
    return EnergyOffset(expected - centre, math.hypot(own, expected_sigma), centre, chi_square, "ok")


def by_edge(
    energy: FloatArray,
    measured: FloatArray,
    variance: FloatArray,
    expected: float,
    *,
    expected_sigma: float = 0.0,
    largest: float = 2.0,
) -> EnergyOffset:
    """Find the offset by where the spectrum passes half its edge jump, which is tabulated.

    Parameters
    ----------
    energy, measured, variance, expected, expected_sigma
        As of `by_peak`.
    largest : float
        eV to either side in which it is looked for.

    Returns
    -------
    EnergyOffset
    """
    try:
        found = edge_position(energy, measured, variance, search=(expected - largest, expected + largest))
    except ValueError as error:
        return _refused(str(error))
    if str(found.status) != "ok":
        return _refused(str(found.status))
    sigma = math.hypot(float(found.sigma), expected_sigma)
    return EnergyOffset(expected - float(found.position), sigma, float(found.position), math.nan, "ok")
