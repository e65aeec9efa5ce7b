"""The curved and tilted image of the slit: by how much a line is displaced at each row, and how to straighten it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.rixs.smoothing import TRIANGLE, smooth_signal

FloatArray = NDArray[np.floating]

FEWEST_GROUPS = 4  # of rows: the position of a line, its tilt and its curvature, and one to see their scatter
LARGEST_GROUP_SIGMA = 5.0  # columns; a group less certain than the width of a line does not show it
LEAST_TOLD = 0.2  # of what the slope of a line seems to tell that must not be its noise
_REFINEMENTS, _CONVERGED = 12, 0.005  # of the reference and the shifts; columns
_LARGEST_SHIFT = 60  # columns; lines of unbinned chips bend by up to about 40
_LARGEST_STEP = 2.0  # columns of one refinement: beyond, its linear approximation does not hold


@dataclass(frozen=True)
class Curvature:
    """Displacement of a line at each row, as a polynomial.

    Attributes
    ----------
    coefficients : numpy.ndarray, shape (2,)
        Tilt and curvature: columns of displacement, ``c[0] y + c[1] y**2`` with y from -1 at the lower edge of the
        first row to 1 at the upper edge of the last; no displacement in the middle.
    covariance : numpy.ndarray, shape (2, 2)
        columns²; zero where the coefficients were given.
    status : str
        "ok" or why there is none.
    """

    coefficients: FloatArray
    covariance: FloatArray
    status: str

    def displacement(self, rows: int) -> FloatArray:
        """Columns by which a line is displaced, shape (rows,)."""
        return _basis(rows) @ self.coefficients

    @property
    def edge_sigma(self) -> float:
        """Uncertainty of the displacement at the first or last row, whichever is larger; columns."""
        edges = np.array([[-1.0, 1.0], [1.0, 1.0]])
        return float(np.sqrt(np.einsum("ij,jk,ik->i", edges, self.covariance, edges).max()))


def _basis(rows: int) -> FloatArray:
    y = (np.arange(rows) + 0.5) * 2.0 / rows - 1.0
    return np.stack([y, y**2], axis=1)


def straighten(image: FloatArray, displacement: FloatArray) -> FloatArray:
    """Move each row back by its displacement, splitting counts between the two columns they fall on.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, or a variance of counts.
    displacement : numpy.ndarray, shape (rows,)
        Columns by which the row's lines lie too far right.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        The sum over columns of a row is kept, but for what leaves the chip.

    Notes
    -----
    A variance is split as counts are. Neighbouring columns then share a little noise: a single column scatters less (at
    worst half as much) than its variance says, a sum over a line as much. No quoted uncertainty is too small.
    """
    if not np.any(displacement):
        return image.copy()
    rows, columns = image.shape
    whole = np.floor(-displacement).astype(int)
    fraction = -displacement - whole
    margin = int(np.abs(whole).max()) + 1
    padded = np.zeros((rows, columns + 2 * margin))
    padded[:, margin:-margin] = image
    flat, row_start = padded.ravel(), np.arange(rows) * padded.shape[1] + margin
    source = row_start[:, None] + np.arange(columns)[None, :] - whole[:, None]
    moved: FloatArray = (1 - fraction)[:, None] * flat[source] + fraction[:, None] * flat[source - 1]
    return moved


def fit_curvature(groups: FloatArray, variance: FloatArray, *, largest_sigma: float) -> Curvature:
    """Find the curvature from the spectra of groups of rows.

    The displacement of each group is the shift that fits it best to the sum of the others, straightened with the
    curvature found so far; a polynomial is fitted through the displacements, weighted by their uncertainties.

    Parameters
    ----------
    groups : numpy.ndarray, shape (n_groups, columns)
        Counts of equally many neighbouring rows, in the order of the rows.
    variance : numpy.ndarray, shape (n_groups, columns)
        counts².
    largest_sigma : float
        Refuse when the displacement at the edge is less certain than this, columns.

    Returns
    -------
    Curvature
        With zero coefficients and the reason in `status` where the data do not suffice.
    """
    n_groups = len(groups)
    if n_groups < FEWEST_GROUPS:
        return _refused(f"{n_groups} groups of rows are too few to see a curvature")
    background = np.median(groups, axis=1, keepdims=True)
    signal = groups - background
    basis = _basis(n_groups)
    coefficients = _start(signal, basis)
    covariance = np.full((2, 2), np.inf)
    for _ in range(_REFINEMENTS):
        modelled = basis @ coefficients
        aligned, aligned_variance = straighten(signal, modelled), straighten(variance, modelled)
        shifts, sigma = _shifts(aligned, aligned_variance)
        seen = np.isfinite(shifts) & (sigma < LARGEST_GROUP_SIGMA)
        if seen.sum() < FEWEST_GROUPS:
            return _refused("too few photons to follow a line over the rows")
        change, covariance = _fit_displacements(shifts[seen], sigma[seen], basis[seen])
        coefficients = coefficients + change
        if np.abs(change).max() < _CONVERGED:
            break
    curvature = Curvature(coefficients, covariance, "ok")
    if not curvature.edge_sigma <= largest_sigma:
        return _refused(f"too few photons: the bend is uncertain by {curvature.edge_sigma:.2f} columns at the edge")
    return curvature


def _fit_displacements(shifts: FloatArray, sigma: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit tilt and curvature to the shifts of groups; give them and their covariance.

    A shift common to all groups is the line's position, not its shape. Where the shifts scatter more than their
    uncertainties explain, the covariance is scaled up.
    """
    design = np.column_stack([np.ones(len(shifts)), basis]) / sigma[:, None]
    solution, *_ = np.linalg.lstsq(design, shifts / sigma, rcond=None)
    residual = shifts / sigma - design @ solution
    scale = max(1.0, float(residual @ residual) / max(1, len(shifts) - 3))
    return solution[1:], scale * np.linalg.inv(design.T @ design)[1:, 1:]


def _refused(reason: str) -> Curvature:
    return Curvature(np.zeros(2), np.zeros((2, 2)), reason)


def _start(signal: FloatArray, basis: FloatArray) -> FloatArray:
    """Give coefficients to start from: none, or those that follow the groups, whichever makes the sum sharper."""
    followed = _whole_columns(signal)
    candidates = [
        np.zeros(2),
        np.linalg.lstsq(np.column_stack([np.ones(len(basis)), basis]), followed, rcond=None)[0][1:],
    ]
    sharpness = [float((straighten(signal, basis @ each).sum(axis=0) ** 2).sum()) for each in candidates]
    return candidates[int(np.argmax(sharpness))]


def _whole_columns(signal: FloatArray) -> FloatArray:
    """Displacement of each group against the one before, to whole columns, added up over the groups."""
    spectrum = np.fft.rfft(_smooth(signal), 2 * signal.shape[1], axis=1)
    correlation = np.fft.irfft(spectrum[1:] * spectrum[:-1].conj(), axis=1)
    lags = np.r_[0 : _LARGEST_SHIFT + 1, -_LARGEST_SHIFT:0]
    return np.concatenate([[0], np.cumsum(lags[correlation[:, lags].argmax(axis=1)])]).astype(float)


def _smooth(groups: FloatArray) -> FloatArray:
    return np.apply_along_axis(smooth_signal, 1, groups)


def _shifts(aligned: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shift of each group against the sum of the others, and its uncertainty, by one Gauss-Newton step.

    The noise of the others' slope would pass for structure that tells the shift: what it adds on average is taken off.
    """
    total = _smooth(aligned).sum(axis=0)
    others = total[None, :] - _smooth(aligned)
    smooth = _smooth(variance)
    weight = np.where(smooth > 0, 1.0, 0.0) / np.where(smooth > 0, smooth, 1.0)  # beside the chip there is nothing
    scale = (weight * aligned * others).sum(axis=1) / (weight * others**2).sum(axis=1)
    slope = -np.gradient(others, axis=1) * scale[:, None]  # change of the group where it moves right by one column
    information = (weight * slope**2).sum(axis=1)
    noise = np.convolve(TRIANGLE, (0.5, 0.0, -0.5)) @ np.convolve(TRIANGLE, (0.5, 0.0, -0.5))
    told = information - noise * scale**2 * (weight * (variance.sum(axis=0) - variance)).sum(axis=1)
    told = np.where(told > LEAST_TOLD * information, told, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = (weight * slope * (aligned - scale[:, None] * others)).sum(axis=1) / told
        sigma = np.sqrt(information) / told
    return np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), sigma
