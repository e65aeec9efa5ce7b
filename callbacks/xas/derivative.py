"""Derivative of a spectrum by local polynomials, and the inflection of its rising edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from callbacks.fitting.rows import CHUNK, Rows, as_rows
from callbacks.xas.background import MISSING, SIGMAS, Window, gaps, points_inside, propagated

FloatArray = NDArray[np.floating]

DEGREE = 3  # of the polynomials
FINE = 8  # places looked at per step of the energy: between them the slope is a parabola
AROUND = np.arange(-2, 3)  # places that a second derivative by differences takes
NO_MAXIMUM = "no inflection: the slope has no maximum above noise within the range searched"
NOT_BENT = "no inflection: noise hides where the slope is largest; a larger half width is needed"


@dataclass(frozen=True)
class Derivative:
    """First derivative of one spectrum or many, and the inflection.

    Attributes
    ----------
    slope, slope_sigma : numpy.ndarray, shape (..., n_energies)
        Per eV; NaN where not all points around are measured.
    inflection, inflection_sigma : numpy.ndarray, shape (...)
        eV, where the slope is largest; NaN where `status` is not "ok".
    status : numpy.ndarray of str, shape (...)
    """

    slope: FloatArray
    slope_sigma: FloatArray
    inflection: FloatArray
    inflection_sigma: FloatArray
    status: NDArray[np.str_]


def derivative(
    energy: FloatArray,
    spectra: FloatArray,
    variance: FloatArray,
    *,
    half_width: float = 0.5,
    search: Window | None = None,
) -> Derivative:
    """Differentiate spectra by a cubic through what is within a half width of each energy.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending; any steps.
    spectra : numpy.ndarray, shape (..., n_energies)
        NaN where not measured. Where no spectrum has an energy there is no slope beside it, and no inflection where
        it may be there.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    half_width : float
        eV on either side; points from further away are taken where steps are so wide that the cubic is not
        overdetermined.
    search : tuple of float, optional
        eV, where the inflection is looked for; default the whole range.

    Returns
    -------
    Derivative

    Raises
    ------
    ValueError
        When shapes do not match, there are too few energies, or the half width is not above zero, or wider than
        all of them.

    Notes
    -----
    This is local regression (W. S. Cleveland, J. Am. Stat. Assoc. 74 (1979) 829), whose weights fall to zero smoothly
    towards the half width: what it finds then does not jump with the points that come in, as it does by the filter of
    Savitzky and Golay. The slope at any place is linear in the spectrum, and so are its derivatives by the place: the
    inflection is where the first of them is zero, and the uncertainty that of the first over the second, to first
    order. Smoothing moves the inflection of an edge that is not symmetric.

    Among 170 energies the largest slope is above three sigma by noise alone in 17 to 44 % of spectra (half widths of 8
    and 2 steps). Slope and bend must therefore be as many sigma from zero as is as rare among all energies searched as
    three sigma are at one (Bonferroni). Just above, those spectra are kept in which noise has sharpened the maximum,
    and quote too little.
    """
    if not half_width > 0:
        raise ValueError(f"half width {half_width:g} eV: expected above zero")
    rows = as_rows(energy, spectra, variance)
    energy = np.asarray(energy, dtype=float)
    span = rows.spanned
    at, part = energy[span], rows.at(span)
    recorded = part.recorded
    if half_width > (span_of := float(at[-1] - at[0])):
        raise ValueError(f"half width {half_width:g} eV: expected less than the energies span, {span_of:g} eV")
    if recorded.sum() < DEGREE + 2:
        raise ValueError(f"{recorded.sum()} energies: expected {DEGREE + 2} or more for a derivative")
    window = search or (float(at[0]), float(at[-1]))
    within = points_inside(at, window, "search", 3, recorded)
    sigmas = -float(ndtri(ndtr(-SIGMAS) / within.sum()))
    of_points = _slopes(at, at, half_width)
    count = FINE * int(np.ptp(np.flatnonzero(within))) + 1
    places = np.linspace(at[within][0], at[within][-1], count)
    of_places = _slopes(at, places, half_width)
    changes = np.gradient(of_places, places, axis=0)
    bends = np.gradient(changes, places, axis=0)
    slope, slope_sigma = np.full((2, len(rows), len(energy)), np.nan)
    found, sigma, status = np.full(len(rows), np.nan), np.full(len(rows), np.nan), np.full(len(rows), "", "<U100")
    for start in range(0, len(rows), CHUNK):
        chosen = slice(start, start + CHUNK)
        values, noise, measured = part.values[chosen], part.variance[chosen], part.measured[chosen]
        known = _all_measured(measured, of_points)
        slope[chosen, span] = np.where(known, values @ of_points.T, np.nan)
        slope_sigma[chosen, span] = np.where(known, np.sqrt(noise @ (of_points**2).T), np.nan)
        known = _all_measured(measured, of_places)
        searched = np.where(known, values @ of_places.T, -np.inf)
        top = searched[:, 1:-1].argmax(axis=1) + 1
        change, bend = (np.einsum("ne,ne->n", values, each[top]) for each in (changes, bends))
        steep = np.take_along_axis(searched, top[:, None], 1)[:, 0] > sigmas * propagated(of_places[top], noise)
        bent = bend < -sigmas * propagated(bends[top], noise)
        offset = np.divide(-change, bend, out=np.full(len(values), np.nan), where=bent)
        at_top = np.abs(offset) <= places[1] - places[0]
        is_maximum = searched[:, [0, -1]].max(axis=1) < searched.max(axis=1)
        said = np.where(steep & is_maximum, np.where(bent & at_top, "ok", NOT_BENT), NO_MAXIMUM)
        around = (top[:, None] + AROUND).clip(0, count - 1)
        status[chosen] = np.where(np.take_along_axis(known, around, 1).all(axis=1), said, MISSING)
        for gap, words in gaps(at, recorded):
            beside = (of_places[:, gap] != 0).any(axis=1)[around].any(axis=1)
            steeper = _rises_more(at, part.of(chosen), gap, searched.max(axis=1))
            status[chosen][beside | (steeper & within[gap.start - 1] & within[gap.stop])] = words
        found[chosen] = places[top] + offset
        sigma[chosen] = propagated(changes[top], noise) / np.abs(bend)
    found[status != "ok"], sigma[status != "ok"] = np.nan, np.nan
    return Derivative(*(rows.restore(each) for each in (slope, slope_sigma, found, sigma, status)))


def _slopes(energy: FloatArray, places: FloatArray, half_width: float) -> FloatArray:
    """Give the matrix (n_places, n_energies) that makes the slope of a spectrum at some places."""
    matrix = np.zeros((len(places), len(energy)))
    for row, place in zip(matrix, places, strict=True):
        distance = np.abs(energy - place)
        # the weight of the furthest is zero: one point more than the cubic has unknowns, and that one
        reach = max(half_width, float(np.partition(distance, DEGREE + 1)[DEGREE + 1]) * (1 + 1e-6))
        inside = np.flatnonzero(distance < reach)
        root = np.sqrt((1 - (distance[inside] / reach) ** 3) ** 3)
        powers = (energy[inside] - place)[:, None] ** np.arange(DEGREE + 1)
        row[inside] = np.linalg.pinv(powers * root[:, None])[1] * root
    return matrix


def _rises_more(energy: FloatArray, part: Rows, gap: slice, slope: FloatArray) -> NDArray[np.bool_]:
    """Tell which spectra rise over a gap by more, in the mean, than a slope (n,): somewhere in it theirs is larger."""
    ends = [gap.start - 1, gap.stop]
    width = float(np.diff(energy[ends])[0])
    rise, sigma = np.diff(part.values[:, ends], axis=1)[:, 0], np.sqrt(part.variance[:, ends].sum(axis=1))
    return np.asarray(part.measured[:, ends].all(axis=1) & (rise - SIGMAS * sigma > slope * width))


def _all_measured(measured: NDArray[np.bool_], matrix: FloatArray) -> NDArray[np.bool_]:
    """Tell of which spectra all points are measured that the rows of a matrix need, (n, n_rows)."""
    if measured.all():
        return np.ones((len(measured), len(matrix)), dtype=bool)
    return np.asarray((~measured).astype(np.float32) @ (matrix != 0).T.astype(np.float32) == 0)
