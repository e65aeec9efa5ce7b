"""From elastic lines to the emission energy of every column: a robust fit that refuses where the lines do not suffice.

The scans of the constants are in docs/decisions/constants-elastic-line.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

FEWEST_LINES = 4
# Of lines that may give the consensus: as many as 64 lines have. Where three lines in ten are right, the least that a
# calibration is made of, the probability that no pair is of two such is 0.91^2016.
MOST_PAIRS = 2016
CONSENSUS_SIGMAS = 4.0  # a line farther than this from the others' common calibration is an outlier
LEAST_TOLERANCE = 1.0  # pixels; lines nearer than this are never called outliers while a consensus is looked for
FEWEST_FOR_QUADRATIC = 7
QUADRATIC_P_VALUE = 0.01
# A grating that disperses wavelengths evenly has the second power dispersion**2 / energy; a bend this many times
# stronger comes from biased lines, and would turn back on itself within the detector.
LARGEST_BEND = 6.0
SCATTER_P_VALUE = 0.1  # a chi square less likely than this is scatter that the uncertainties do not explain
LARGEST_RELATIVE_SIGMA = 0.1  # of the dispersion
DISPERSION_RANGE = (0.005, 2.0)  # eV/pixel: what soft X-ray spectrographs have
SMALLEST_SHARE = 0.3  # of the lines must agree
LEAST_SPAN_SIGMAS = 3.0  # median uncertainties of a line that the lines must span
_LARGEST_ROUNDS = 10  # of fitting and accepting; they end as soon as the same lines are accepted


@dataclass(frozen=True)
class Calibration:
    """Emission energy against pixel: ``sum(c[k] * (pixel - pivot)**k)``.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (2,) or (3,)
        Ascending powers: eV, eV/pixel, eV/pixel². NaN where refused.
    pivot : float
        Pixel about which the powers are taken.
    covariance : numpy.ndarray, shape (k, k)
        Of the coefficients.
    accepted : numpy.ndarray of bool, shape (n,)
        Which of the lines the fit rests on.
    status : str
        "ok", or the reason why there is no calibration.
    rms : float
        Of the residuals of the accepted lines, eV.
    """

    coefficients: FloatArray
    pivot: float
    covariance: FloatArray
    accepted: NDArray[np.bool_]
    status: str
    rms: float

    @property
    def dispersion(self) -> float:
        """Dispersion at the pivot, eV/pixel."""
        return float(self.coefficients[1])

    @property
    def dispersion_sigma(self) -> float:
        """Standard uncertainty of `dispersion`, eV/pixel."""
        return float(np.sqrt(self.covariance[1, 1]))

    def energy(self, pixel: ArrayLike) -> FloatArray:
        """Emission energy at a pixel, eV."""
        offset = np.asarray(pixel, float) - self.pivot
        energy: FloatArray = np.polynomial.polynomial.polyval(offset, self.coefficients)
        return energy

    def sigma(self, pixel: ArrayLike) -> FloatArray:
        """Give the standard uncertainty of `energy`, eV."""
        powers = _powers(np.asarray(pixel, float) - self.pivot, len(self.coefficients))
        sigma: FloatArray = np.sqrt(np.einsum("...i,ij,...j->...", powers, self.covariance, powers))
        return sigma

    def pixel(self, energy: ArrayLike) -> FloatArray:
        """Pixel at which an emission energy is seen: the inverse of `energy`."""
        energy = np.asarray(energy, float)
        offset = (energy - self.coefficients[0]) / self.coefficients[1]
        if len(self.coefficients) == 3:  # Newton's method from the linear answer; the square term is small
            for _ in range(5):
                slope = self.coefficients[1] + 2 * self.coefficients[2] * offset
                offset = offset - (self.energy(self.pivot + offset) - energy) / slope
        pixel: FloatArray = self.pivot + offset
        return pixel


def fit_calibration(pixels: ArrayLike, energies: ArrayLike, sigmas: ArrayLike) -> Calibration:
    """Fit emission energy against the pixel of elastic lines, leaving out lines that disagree with most others.

    Parameters
    ----------
    pixels : array_like, shape (n,)
        Positions of elastic lines; NaN where none was found.
    energies : array_like, shape (n,)
        Their energies, eV: those of excitation.
    sigmas : array_like, shape (n,)
        Standard uncertainties of the positions, pixels.

    Returns
    -------
    Calibration
        Its `status` is "ok", or says why the lines do not suffice for a calibration.

    Raises
    ------
    ValueError
        When the three differ in length.

    Notes
    -----
    The consensus is the straight line through two of the points that most others agree with: every pair is tried (of
    more than 64 lines as many pairs as those have), and the sum of squares capped at the tolerance decides (MSAC: Torr
    and Zisserman, Comput. Vis. Image Underst. 78 (2000) 138). The lines near it are fitted by weighted least squares,
    a second power is added where an F test calls for it, and both are repeated until the accepted lines stay the same.
    Where the lines scatter more than their uncertainties explain, the uncertainties are scaled up by the root of the
    reduced chi square.
    """
    pixels, energies, sigmas = (np.asarray(each, dtype=float) for each in (pixels, energies, sigmas))
    if not pixels.shape == energies.shape == sigmas.shape or pixels.ndim != 1:
        raise ValueError(
            f"pixels, energies and sigmas have the shapes {pixels.shape}, {energies.shape} and {sigmas.shape},"
            " expected one length"
        )
    usable = np.isfinite(pixels) & np.isfinite(energies) & np.isfinite(sigmas) & (sigmas > 0)
    if usable.sum() < FEWEST_LINES:
        return _refuse(len(pixels), f"{usable.sum()} elastic lines, at least {FEWEST_LINES} are needed")
    indices = np.flatnonzero(usable)
    x, y, s = pixels[indices], energies[indices], sigmas[indices]
    inside = _consensus(x, y, s)
    if inside.sum() < FEWEST_LINES:
        return _refuse(len(pixels), f"only {inside.sum()} of {len(x)} elastic lines agree, {FEWEST_LINES} are needed")

    pivot = float(np.round(x[inside].mean()))
    inside, degree = _accepted_lines(x - pivot, y, s, inside)
    coefficients, covariance = _fit(x[inside] - pivot, y[inside], s[inside], degree)
    accepted = np.zeros(len(pixels), dtype=bool)
    accepted[indices[inside]] = True
    residual = y[inside] - np.polynomial.polynomial.polyval(x[inside] - pivot, coefficients)
    fitted = Calibration(coefficients, pivot, covariance, accepted, "ok", float(np.sqrt(np.mean(residual**2))))
    reason = _reason_to_refuse(fitted, x[inside], s[inside], len(x))
    return _refuse(len(pixels), reason) if reason else fitted


def _reason_to_refuse(fitted: Calibration, x: FloatArray, s: FloatArray, n_lines: int) -> str:
    """Say why a calibration by the accepted lines is of no use; "" where it is."""
    low, high = DISPERSION_RANGE
    if len(x) < SMALLEST_SHARE * n_lines:
        return f"only {len(x)} of {n_lines} elastic lines agree with one another"
    if not low <= fitted.dispersion <= high:
        return f"the lines give {fitted.dispersion:.4g} eV/pixel, expected {low} to {high}"
    if np.ptp(x) < LEAST_SPAN_SIGMAS * np.median(s):
        return f"the lines span {np.ptp(x):.2g} pixels, no more than their uncertainty"
    if not fitted.dispersion_sigma <= LARGEST_RELATIVE_SIGMA * fitted.dispersion:
        share = fitted.dispersion_sigma / fitted.dispersion
        return f"the dispersion is uncertain by {share:.0%}, at most {LARGEST_RELATIVE_SIGMA:.0%} is of use"
    return ""


def _refuse(n: int, reason: str) -> Calibration:
    nothing = np.full((2, 2), np.nan)
    return Calibration(np.full(2, np.nan), float("nan"), nothing, np.zeros(n, dtype=bool), reason, float("nan"))


def _consensus(x: FloatArray, y: FloatArray, s: FloatArray) -> BoolArray:
    """Find the lines near the straight line through two of them that most others are near."""
    first, second = np.triu_indices(len(x), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[second] - x[first]) / (y[second] - y[first])  # pixels/eV
    low, high = DISPERSION_RANGE
    credible = np.isfinite(slope) & (slope >= 1 / high) & (slope <= 1 / low)
    if not credible.any():
        return np.zeros(len(x), dtype=bool)
    first, slope = first[credible], slope[credible]
    if len(first) > MOST_PAIRS:
        some = np.random.default_rng(len(x)).choice(len(first), MOST_PAIRS, replace=False)  # live and replay alike
        first, slope = first[some], slope[some]
    expected = x[first, None] + slope[:, None] * (y[None, :] - y[first, None])
    tolerance = np.maximum(CONSENSUS_SIGMAS * s, LEAST_TOLERANCE)
    misfit = np.minimum(((x - expected) / tolerance) ** 2, 1.0)
    near: BoolArray = misfit[misfit.sum(axis=1).argmin()] < 1.0
    return near


def _near(x: FloatArray, y: FloatArray, s: FloatArray, coefficients: FloatArray) -> BoolArray:
    """Tell which lines are within their tolerance of a calibration."""
    residual = (y - np.polynomial.polynomial.polyval(x, coefficients)) / coefficients[1]
    near: BoolArray = np.abs(residual) < np.maximum(CONSENSUS_SIGMAS * s, LEAST_TOLERANCE)
    return near


def _accepted_lines(x: FloatArray, y: FloatArray, s: FloatArray, consensus: BoolArray) -> tuple[BoolArray, int]:
    """Find the lines that agree with a fit to them, and the degree of the polynomial that they call for."""
    linear, quadratic = (_consistent_with(x, y, s, consensus, degree) for degree in (1, 2))
    n = int(quadratic.sum())
    if n < FEWEST_FOR_QUADRATIC:
        return linear, 1
    straight, bent = (_chi_square(x[quadratic], y[quadratic], s[quadratic], degree) for degree in (1, 2))
    scale = max(1.0, bent / (n - 3))
    coefficients, _ = _fit(x[quadratic], y[quadratic], s[quadratic], 2)
    credible = abs(coefficients[2]) < LARGEST_BEND * coefficients[1] ** 2 / abs(coefficients[0])
    bends = fdtrc(1, n - 3, (straight - bent) / scale) < QUADRATIC_P_VALUE
    return (quadratic, 2) if bends and credible else (linear, 1)


def _consistent_with(x: FloatArray, y: FloatArray, s: FloatArray, inside: BoolArray, degree: int) -> BoolArray:
    """Fit and accept lines in turn until the accepted ones stay the same."""
    for _ in range(_LARGEST_ROUNDS):
        coefficients, _ = _fit(x[inside], y[inside], s[inside], degree)
        again = _near(x, y, s, coefficients)
        if again.sum() < FEWEST_LINES or np.array_equal(again, inside):
            break
        inside = again
    return inside


def _chi_square(x: FloatArray, y: FloatArray, s: FloatArray, degree: int) -> float:
    coefficients, _ = _fit(x, y, s, degree)
    residual = (y - np.polynomial.polynomial.polyval(x, coefficients)) / (coefficients[1] * s)
    return float(residual @ residual)


def _fit(x: FloatArray, y: FloatArray, s: FloatArray, degree: int) -> tuple[FloatArray, FloatArray]:
    """Fit a polynomial by weighted least squares; uncertainties in x become ones in y through the slope."""
    powers = _powers(x, degree + 1)
    slope = abs(np.polyfit(x, y, 1)[0]) or 1.0
    weight = 1.0 / (s * slope)
    scale = np.abs(powers * weight[:, None]).max(axis=0)
    design = powers * weight[:, None] / scale
    solution, *_ = np.linalg.lstsq(design, y * weight, rcond=None)
    freedom = len(x) - degree - 1
    residual = y * weight - design @ solution
    chi_square = float(residual @ residual)
    beyond = freedom > 0 and chdtrc(freedom, chi_square) < SCATTER_P_VALUE
    covariance = np.linalg.inv(design.T @ design) * (chi_square / freedom if beyond else 1.0)
    return solution / scale, covariance / np.outer(scale, scale)


def _powers(x: FloatArray, number: int) -> FloatArray:
    return np.stack([x**power for power in range(number)], axis=-1)
