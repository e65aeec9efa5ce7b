"""From elastic lines to the emission energy of every column: a robust fit that refuses where the lines do not suffice.

The scans of the constants are in docs/decisions/constants-elastic-line.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, fdtrc

from callbacks.contract import CalibrationResult
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

FEWEST_LINES = 4
# Of lines that may give the consensus: as many as 64 lines have. Where three lines in ten are right, the least that a
# calibration is made of, the probability that no pair is of two such is 0.91^2016.
MOST_PAIRS = 2016
CONSENSUS_SIGMAS = 4.0  # a line farther than this from the others' common calibration is an outlier
DISPLACED_SIGMAS = 2.0  # the same for what lines have in common, while nothing has told it
LEAST_TOLERANCE = 1.0  # pixels; lines nearer than this are never called outliers while a consensus is looked for
# What is known of the bend where nobody has said: chips of 5 to 15 um pixels, 1 to 5 m behind a grating that light
# leaves at 3 to 9 degrees, see the exit angle change by 0.2e-4 to 2.6e-4 of itself from pixel to pixel. It shrinks
# towards higher energies in the inside order, which spectrographs work in; the interval holds an even dispersion, too.
BEND, BEND_SIGMA = -1e-4, 0.8e-4  # 1/pixel
FREE_BEND_P_VALUE = 0.01  # a bend less likely than this by what is known is one that the lines alone must give
FEWEST_FOR_FREE_BEND = 7
LARGEST_BEND = 2e-3  # 1/pixel: a stronger one turns back on itself within the detector
SCATTER_P_VALUE = 0.1  # a chi square less likely than this is scatter that the uncertainties do not explain
LARGEST_SCATTER = 3.0  # of elastic lines, over what their uncertainties explain: wider intervals would hide what it is
FEWEST_RUNS_SIGMAS = 3.0  # by which runs of residuals of one sign are too few (Wald and Wolfowitz's test)
LARGEST_RELATIVE_SIGMA = 0.1  # of the dispersion
DISPERSION_RANGE = (0.005, 2.0)  # eV/pixel: what soft X-ray spectrographs have
SMALLEST_SHARE = 0.3  # of the lines must agree
LEAST_SPAN_SIGMAS = 3.0  # median uncertainties of a line that the lines must span
_LARGEST_ROUNDS = 10  # of fitting and accepting; they end as soon as the same lines are accepted
_STEPS, _CONVERGED = 20, 1e-10  # of the fit; change of the parameters, in their sigmas


@dataclass(frozen=True)
class Displacements:
    """How far lines may lie from where the spectrograph, as it was at the reference time, would show them.

    The displacement of a line is ``mean + factor @ z`` with independent z of a standard normal distribution: few of
    them stand for what is common to many lines, as a drift is.

    Attributes
    ----------
    mean : numpy.ndarray, shape (n,)
        Columns.
    factor : numpy.ndarray, shape (n, k)
        Columns.
    """

    mean: FloatArray
    factor: FloatArray

    @classmethod
    def none(cls, n: int) -> Displacements:
        """Give those of lines that lie where they should."""
        return cls(np.zeros(n), np.zeros((n, 0)))

    @property
    def sigma(self) -> FloatArray:
        """Standard uncertainty of each, columns."""
        return np.asarray(np.sqrt((self.factor**2).sum(axis=1)))

    def of(self, chosen: NDArray[np.generic]) -> Displacements:
        """Give those of some lines."""
        return Displacements(self.mean[chosen], self.factor[chosen])


@dataclass(frozen=True)
class KnownLine:
    """A fluorescence line of known energy.

    Attributes
    ----------
    name : str
    energy, energy_sigma : float
        eV.
    pixel, pixel_sigma : float
        Where it is seen at the reference time, columns.
    factor : numpy.ndarray, shape (k,)
        How far it may be displaced by what displaces the elastic lines, as a row of `Displacements.factor`; empty for
        not at all.
    """

    name: str
    energy: float
    energy_sigma: float
    pixel: float
    pixel_sigma: float
    factor: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Calibration:
    """Emission energy against pixel, as a grating disperses it.

    With u the distance from the pivot, ``E = E0 / (1 - D/E0 (u + bend u²/2))``: the wavelength is a polynomial of the
    second degree in u.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (3,)
        E0 (eV), the dispersion D (eV/pixel) at the pivot, and by which share of itself the dispersion in wavelength
        grows from pixel to pixel (bend, 1/pixel). NaN where refused.
    pivot : float
        Pixel.
    covariance : numpy.ndarray, shape (3, 3)
        Of the coefficients.
    accepted : numpy.ndarray of bool, shape (n,)
        Which of the lines the fit rests on.
    status : str
        "ok", or the reason why there is no calibration.
    rms : float
        Of the residuals of the accepted lines, eV.
    common : numpy.ndarray, shape (k,)
        What the lines say of the z of their `Displacements`; zeros where refused.
    """

    coefficients: FloatArray
    pivot: float
    covariance: FloatArray
    accepted: NDArray[np.bool_]
    status: str
    rms: float
    common: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def dispersion(self) -> float:
        """Dispersion at the pivot, eV/pixel."""
        return float(self.coefficients[1])

    @property
    def dispersion_sigma(self) -> float:
        """Standard uncertainty of `dispersion`, eV/pixel."""
        return math.sqrt(self.covariance[1, 1])

    def energy(self, pixel: ArrayLike) -> FloatArray:
        """Emission energy at a pixel, eV; NaN beyond the end of the spectrum."""
        return energy_at(np.asarray(pixel, float) - self.pivot, self.coefficients)

    def sigma(self, pixel: ArrayLike) -> FloatArray:
        """Give the standard uncertainty of `energy`, eV."""
        slopes = _slopes(np.asarray(pixel, float) - self.pivot, self.coefficients)
        sigma: FloatArray = np.sqrt(np.einsum("...i,ij,...j->...", slopes, self.covariance, slopes))
        return sigma

    def dispersion_at(self, energy: float) -> tuple[float, float]:
        """Give the dispersion where an energy is seen, and its standard uncertainty, eV/pixel."""
        u = float(self.pixel(energy)) - self.pivot
        step = np.array([-0.5, 0.5])
        slopes = np.diff(_slopes(u + step, self.coefficients), axis=0)[0]
        return float(np.diff(self.energy(self.pivot + u + step))[0]), math.sqrt(slopes @ self.covariance @ slopes)

    def pixel(self, energy: ArrayLike) -> FloatArray:
        """Pixel at which an emission energy is seen: the inverse of `energy`; NaN where it is seen nowhere."""
        return np.asarray(self.pivot + _distance(np.asarray(energy, float), self.coefficients))

    def prior_at(self, energy: float) -> Prior:
        """Give what it says of dispersion and bend where an energy is seen, wherever on the chip that is by now."""

        def at(coefficients: FloatArray) -> FloatArray:
            u = _distance(np.asarray(energy), coefficients)
            return np.array([_slope_along(u, coefficients), coefficients[2] / (1 + coefficients[2] * u)])

        steps = np.diag(np.sqrt(np.diag(self.covariance)))
        moved = [(at(self.coefficients + step) - at(self.coefficients - step)) / 2 for step in steps]
        slopes = np.transpose(moved) / np.diag(steps)
        return Prior(at(self.coefficients), np.linalg.inv(np.linalg.cholesky(slopes @ self.covariance @ slopes.T)))


@dataclass(frozen=True)
class Prior:
    """What is known of dispersion and bend at the pivot before lines are fitted.

    Attributes
    ----------
    mean : numpy.ndarray, shape (2,)
        eV/pixel and 1/pixel.
    root : numpy.ndarray, shape (2, 2)
        Root of their inverse covariance: ``root @ (values - mean)`` has the unit matrix as covariance.
    """

    mean: FloatArray
    root: FloatArray

    @classmethod
    def of_bend(cls, value: float, sigma: float) -> Prior:
        """Give that of a bend alone."""
        return cls(np.array([0.0, value]), np.diag([0.0, 1 / sigma]))

    @property
    def tells_dispersion(self) -> bool:
        """Whether the dispersion is known."""
        return bool(self.root[:, 0].any())


def calibration_of(result: CalibrationResult) -> Calibration:
    """Give the calibration that a result tells of."""
    return Calibration(
        result.calibration_parameters,
        result.calibration_pivot,
        result.calibration_covariance,
        result.elastic_accepted.astype(bool),
        result.calibration_status,
        result.calibration_rms_ev,
    )


def energy_at(u: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Give the emission energy (eV) at a distance from the pivot (pixels); NaN beyond the end of the spectrum."""
    centre, dispersion, bend = coefficients
    shortened = 1 - dispersion / centre * (u + 0.5 * bend * u**2)
    energy: FloatArray = centre / np.where(shortened > 0, shortened, np.nan)
    return energy


def _slopes(u: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Give the derivatives of the energy by the coefficients, shape (..., 3)."""
    centre, dispersion, bend = coefficients
    way = u + 0.5 * bend * u**2
    shortened = 1 - dispersion / centre * way
    slopes: FloatArray = np.stack([2 * shortened - 1, way, 0.5 * dispersion * u**2], axis=-1)
    return np.asarray(slopes / shortened[..., None] ** 2)


def _slope_along(u: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Give the dispersion, eV/pixel."""
    centre, dispersion, bend = coefficients
    shortened = 1 - dispersion / centre * (u + 0.5 * bend * u**2)
    return np.asarray(dispersion * (1 + bend * u) / shortened**2)


def _distance(energy: FloatArray, coefficients: FloatArray) -> FloatArray:
    centre, dispersion, bend = coefficients
    way = centre / dispersion * (1 - centre / energy)
    with np.errstate(invalid="ignore"):
        distance: FloatArray = 2 * way / (1 + np.sqrt(1 + 2 * bend * way))
    return distance


def fit_calibration(
    pixels: ArrayLike,
    energies: ArrayLike,
    sigmas: ArrayLike,
    *,
    displacements: Displacements | None = None,
    known: Sequence[KnownLine] = (),
    bend: tuple[float, float] = (BEND, BEND_SIGMA),
    loaded: Calibration | None = None,
) -> Calibration:
    """Fit emission energy against the pixel of elastic lines, leaving out lines that disagree with most others.

    Parameters
    ----------
    pixels : array_like, shape (n,)
        Positions of elastic lines; NaN where none was found.
    energies : array_like, shape (n,)
        Their energies, eV: those of excitation.
    sigmas : array_like, shape (n,)
        Standard uncertainties of the positions, each its own, pixels.
    displacements : Displacements, optional
        What the positions have in common beside: drift of the spectrograph, emission that pulls.
    known : sequence of KnownLine
        Fluorescence lines that join the fit once the elastic lines agree.
    bend : (float, float)
        What is known of the bend, and its standard uncertainty, 1/pixel.
    loaded : Calibration, optional
        Of the same spectrograph, from before: dispersion and bend are known from it within its covariance, in place of
        `bend`; where the lines lie on the chip is not.

    Returns
    -------
    Calibration
        Its `status` is "ok", or says why the lines do not suffice for a calibration.

    Raises
    ------
    ValueError
        When pixels, energies, sigmas or displacements differ in length.

    Notes
    -----
    The consensus is the straight line through two of the points that most others agree with: every pair is tried (of
    more than 64 lines as many pairs as those have), and the sum of squares capped at the tolerance decides (MSAC: Torr
    and Zisserman, Comput. Vis. Image Underst. 78 (2000) 138). The lines near it are fitted by weighted least squares
    together with what is known of the bend and of the displacements, in turn with accepting lines, until the accepted
    lines stay the same. Where the lines scatter more than their uncertainties explain, their own uncertainties are
    scaled up by the root of the reduced chi square; where they scatter by three times as much, or lie on one side of
    the calibration in runs (A. Wald and J. Wolfowitz, Ann. Math. Stat. 11 (1940) 147), there is none.

    A grating sends the wavelength l to the exit angle b with ``m N l = sin a + sin b``: the dispersion in wavelength
    goes with cos b, which at grazing exit changes along the chip. Where lines span too little to show this, the
    uncertainty of what is known of it is that of the energies far from them.
    """
    pixels, energies, sigmas = (np.asarray(each, dtype=float) for each in (pixels, energies, sigmas))
    if not pixels.shape == energies.shape == sigmas.shape or pixels.ndim != 1:
        raise ValueError(
            f"pixels, energies and sigmas have the shapes {pixels.shape}, {energies.shape} and {sigmas.shape},"
            " expected one length"
        )
    displacements = displacements or Displacements.none(len(pixels))
    if len(displacements.mean) != len(pixels):
        raise ValueError(f"{len(displacements.mean)} displacements of {len(pixels)} lines, expected one each")
    usable = np.isfinite(pixels) & np.isfinite(energies) & np.isfinite(sigmas) & (sigmas > 0)
    fewest = FEWEST_LINES - (loaded is not None)
    if usable.sum() < fewest:
        return refused(len(pixels), f"{number_of(int(usable.sum()), 'elastic line')}, at least {fewest} are needed")
    indices = np.flatnonzero(usable)
    moved = displacements.of(indices)
    lines = Lines(pixels[indices] - moved.mean, energies[indices], sigmas[indices], moved.factor)
    inside = _consensus(lines, loaded)
    if inside.sum() < fewest:
        return refused(len(pixels), f"only {inside.sum()} of {len(indices)} elastic lines agree, {fewest} are needed")
    pivot = float(np.round(lines.x[inside].mean()))
    prior = loaded.prior_at(float(lines.y[inside].mean())) if loaded else Prior.of_bend(*bend)
    fit, inside = accepted_lines(lines, inside, pivot, known, prior, fewest=fewest)
    accepted = np.zeros(len(pixels), dtype=bool)
    accepted[indices[inside]] = True
    common = fit.common[: lines.factor.shape[1]]
    left = lines.y[inside] - energy_at(lines.x[inside] - lines.factor[inside] @ common - pivot, fit.coefficients)
    rms = float(np.sqrt(np.mean(left**2)))
    fitted = Calibration(fit.coefficients, pivot, fit.covariance[:3, :3], accepted, "ok", rms, common)
    reason = _reason_to_refuse(fitted, lines.of(inside), len(indices), known, prior)
    reason = reason or _structure(left[np.argsort(lines.y[inside])], math.sqrt(fit.chi_square / max(fit.freedom, 1)))
    return refused(len(pixels), reason) if reason else fitted


@dataclass(frozen=True)
class Lines:
    """Elastic lines to be fitted.

    Attributes
    ----------
    x, s : numpy.ndarray, shape (n,)
        Positions at the reference time, and standard uncertainties of their own, pixels.
    y : numpy.ndarray, shape (n,)
        eV.
    factor : numpy.ndarray, shape (n, k)
        How far they may be displaced, as in `Displacements`, pixels.
    free : int
        The first so many columns of `factor` stand for what nothing is known of before.
    """

    x: FloatArray
    y: FloatArray
    s: FloatArray
    factor: FloatArray
    free: int = 0

    def of(self, chosen: BoolArray) -> Lines:
        """Give some of them."""
        return Lines(self.x[chosen], self.y[chosen], self.s[chosen], self.factor[chosen], self.free)


@dataclass(frozen=True)
class Fit:
    """What lines tell.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (3,)
        As those of `Calibration`.
    common : numpy.ndarray, shape (k + names,)
        The z of the displacements, and by how many sigmas the energy of each known line is off, by name in the order of
        first mention.
    covariance : numpy.ndarray
        Of both.
    chi_square : float
        Of elastic and known lines, without what is known beforehand of the other numbers.
    freedom : int
        Degrees of freedom of this.
    """

    coefficients: FloatArray
    common: FloatArray
    covariance: FloatArray
    chi_square: float
    freedom: int


def _reason_to_refuse(fitted: Calibration, lines: Lines, n_lines: int, known: Sequence[KnownLine], prior: Prior) -> str:
    """Say why a calibration by the accepted lines is of no use; "" where it is."""
    low, high = DISPERSION_RANGE
    if len(lines.x) < SMALLEST_SHARE * n_lines:
        return f"only {len(lines.x)} of {n_lines} elastic lines agree with one another"
    if not low <= fitted.dispersion <= high:
        return f"the lines give {fitted.dispersion:.4g} eV/pixel, expected {low} to {high}"
    if not prior.tells_dispersion and np.ptp(lines.x) < LEAST_SPAN_SIGMAS * np.median(lines.s):
        return f"the lines span {np.ptp(lines.x):.2g} pixels, no more than their uncertainty"
    share = fitted.dispersion_sigma / fitted.dispersion
    if not share <= LARGEST_RELATIVE_SIGMA:
        still = replace(lines, factor=np.zeros((len(lines.x), 0)))
        alone = _fit(still, fitted.pivot, known, prior)
        why = ""
        if math.sqrt(alone.covariance[1, 1]) <= LARGEST_RELATIVE_SIGMA * fitted.dispersion:
            why = ": a drift of the spectrograph would look alike, and nothing tells how far it drifted"
        return f"the dispersion is uncertain by {share:.0%}, at most {LARGEST_RELATIVE_SIGMA:.0%} is of use{why}"
    return ""


def _structure(residuals: FloatArray, scatter: float) -> str:
    """Say what residuals in the order of energy have that noise has not; "" where they are noise."""
    if scatter > LARGEST_SCATTER:
        return f"the elastic lines scatter {scatter:.1f} times as much as their uncertainties explain"
    above = residuals > 0
    n, high = len(above), int(above.sum())
    expected = 1 + 2 * high * (n - high) / n
    variance = (expected - 1) * (expected - 2) / (n - 1)
    runs = 1 + int((above[1:] != above[:-1]).sum())
    if variance > 0 and (runs + 0.5 - expected) / math.sqrt(variance) < -FEWEST_RUNS_SIGMAS:
        return f"{n} elastic lines lie above and below the calibration in {runs} runs of energy, not at random"
    return ""


def refused(n: int, reason: str) -> Calibration:
    """Give what there is without a calibration of n lines: NaN, and the reason."""
    nothing = np.full((3, 3), np.nan)
    return Calibration(np.full(3, np.nan), float("nan"), nothing, np.zeros(n, dtype=bool), reason, float("nan"))


def _consensus(lines: Lines, loaded: Calibration | None) -> BoolArray:
    """Find the lines near the straight line through two of them, or the loaded one through one, that most are near."""
    x = lines.x
    expected, unknown = _through_pairs(x, lines.y) if loaded is None else _through_each(x, lines.y, loaded)
    if not len(expected):
        return np.zeros(len(x), dtype=bool)
    common = DISPLACED_SIGMAS * np.hypot(np.sqrt((lines.factor**2).sum(axis=1)), unknown)
    tolerance = np.hypot(np.maximum(CONSENSUS_SIGMAS * lines.s, LEAST_TOLERANCE), common)
    misfit = np.minimum(((x - expected) / tolerance) ** 2, 1.0)
    near: BoolArray = misfit[misfit.sum(axis=1).argmin()] < 1.0
    return near


def _through_pairs(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give where straight lines through two points expect all of them, shape (pairs, n); with no uncertainty."""
    first, second = np.triu_indices(len(x), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[second] - x[first]) / (y[second] - y[first])  # pixels/eV
    low, high = DISPERSION_RANGE
    credible = np.isfinite(slope) & (slope >= 1 / high) & (slope <= 1 / low)
    first, slope = first[credible], slope[credible]
    if len(first) > MOST_PAIRS:
        some = np.random.default_rng(len(x)).choice(len(first), MOST_PAIRS, replace=False)  # live and replay alike
        first, slope = first[some], slope[some]
    return x[first, None] + slope[:, None] * (y[None, :] - y[first, None]), np.zeros(1)


def _through_each(x: FloatArray, y: FloatArray, loaded: Calibration) -> tuple[FloatArray, FloatArray]:
    """Give where a calibration through each point expects all of them, shape (n, n), and how uncertain that is."""
    distance = loaded.pixel(y)[None, :] - loaded.pixel(y)[:, None]
    return x[:, None] + distance, np.abs(distance) * loaded.dispersion_sigma / loaded.dispersion


def accepted_lines(
    lines: Lines,
    inside: BoolArray,
    pivot: float,
    known: Sequence[KnownLine],
    prior: Prior,
    *,
    fewest: int = FEWEST_LINES,
) -> tuple[Fit, BoolArray]:
    """Fit and accept lines in turn until the accepted ones stay the same.

    Parameters
    ----------
    lines : Lines
    inside : numpy.ndarray of bool, shape (n,)
        Lines to begin with.
    pivot : float
        Pixel.
    known : sequence of KnownLine
        Accepted, all of them.
    prior : Prior
    fewest : int
        With fewer lines it ends.
    """
    for _ in range(_LARGEST_ROUNDS):
        fit = _fit(lines.of(inside), pivot, known, prior)
        common = fit.common[: lines.factor.shape[1]]
        residual = lines.x - lines.factor @ common - pivot - _distance(lines.y, fit.coefficients)
        again = np.abs(residual) < np.maximum(CONSENSUS_SIGMAS * lines.s, LEAST_TOLERANCE)
        if again.sum() < fewest or np.array_equal(again, inside):
            return fit, inside
        inside = again
    return _fit(lines.of(inside), pivot, known, prior), inside


def _fit(lines: Lines, pivot: float, known: Sequence[KnownLine], prior: Prior) -> Fit:
    """Fit some lines; where what is known of the bend alone contradicts them, by themselves."""
    fit = scaled_fit(lines, pivot, known, prior)
    if prior.tells_dispersion or len(lines.x) + len(known) - lines.free < FEWEST_FOR_FREE_BEND:
        return fit
    bend, sigma = float(prior.mean[1]), 1 / float(prior.root[1, 1])
    free = scaled_fit(lines, pivot, known, Prior.of_bend(bend, LARGEST_BEND))
    freedom = free.freedom - 1
    off = (fit.coefficients[2] - bend) ** 2 / sigma**2
    gain = (fit.chi_square + off - free.chi_square) / max(1.0, free.chi_square / freedom)
    credible = abs(free.coefficients[2]) < LARGEST_BEND
    return free if credible and gain > 0 and fdtrc(1, freedom, gain) < FREE_BEND_P_VALUE else fit


def scaled_fit(lines: Lines, pivot: float, known: Sequence[KnownLine], prior: Prior) -> Fit:
    """Fit, and once more with wider uncertainties of the lines where they scatter more than these explain."""
    fit = _least_squares(lines, pivot, known, prior)
    if fit.freedom > 0 and chdtrc(fit.freedom, fit.chi_square) < SCATTER_P_VALUE:
        wider = replace(lines, s=lines.s * math.sqrt(fit.chi_square / fit.freedom))
        return replace(_least_squares(wider, pivot, known, prior), chi_square=fit.chi_square)
    return fit


def _least_squares(lines: Lines, pivot: float, known: Sequence[KnownLine], prior: Prior) -> Fit:
    """Minimise the residuals in pixels over coefficients and common displacements, by Gauss and Newton's method.

    Known lines are further points; by how much the energy of each is off, is one number for all that are of one name.
    What is known of it, of dispersion and bend and of the displacements, are measurements of these.
    """
    names = list(dict.fromkeys(line.name for line in known))
    x = np.concatenate([lines.x, [line.pixel for line in known]]) - pivot
    y = np.concatenate([lines.y, [line.energy for line in known]])
    weight = 1 / np.concatenate([lines.s, [line.pixel_sigma for line in known]])
    shared = lines.factor.shape[1]
    factor = np.zeros((len(x), shared))
    factor[: len(lines.x)] = lines.factor
    energy_factor = np.zeros((len(x), len(names)))  # eV
    for row, line in enumerate(known, start=len(lines.x)):
        factor[row, : len(line.factor)] = line.factor
        energy_factor[row, names.index(line.name)] = line.energy_sigma
    slope, level = np.polyfit(lines.x - pivot, lines.y, 1)
    dispersion, bend = prior.mean
    if not prior.tells_dispersion:
        dispersion = max(abs(slope), DISPERSION_RANGE[0])
    coefficients, z = np.array([level, dispersion, bend]), np.zeros(shared + len(names))
    unit = np.eye(len(z))[lines.free :]
    told = np.zeros((2 + len(unit), 3 + len(z)))
    told[:2, 1:3], told[2:, 3:] = prior.root, unit
    for _ in range(_STEPS):
        expected = _distance(y + energy_factor @ z[shared:], coefficients)
        along = _slope_along(expected, coefficients)[:, None]
        design = np.concatenate([-_slopes(expected, coefficients) / along, factor, energy_factor / along], axis=1)
        residual = (x - expected - factor @ z[:shared]) * weight
        left = np.concatenate([residual, prior.root @ (prior.mean - coefficients[1:]), -z[lines.free :]])
        rows = np.concatenate([design * weight[:, None], told])
        scale = np.abs(rows).max(axis=0)
        rows = rows / scale
        covariance = np.linalg.inv(rows.T @ rows)
        step, covariance = covariance @ (rows.T @ left) / scale, covariance / np.outer(scale, scale)
        trial = coefficients + step[:3]
        if not (np.isfinite(step).all() and trial[1] > 0 and np.isfinite(_distance(y, trial)).all()):
            step = step * 0.0
        coefficients, z = coefficients + step[:3], z + step[3:]
        if (step**2 / np.diag(covariance)).sum() < _CONVERGED:
            break
    chi_square = float(residual @ residual + z[shared:] @ z[shared:])
    return Fit(coefficients, z, covariance, chi_square, len(x) - 2 + prior.tells_dispersion - lines.free)
