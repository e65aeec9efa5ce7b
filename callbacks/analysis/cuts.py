"""Spectra taken out of a RIXS map: at excitation energies, and over windows of emission energy or energy loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.measured import Spectra
from callbacks.analysis.recipe import Cut
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]


def cut_of_map(
    excitation: FloatArray, emission: FloatArray, intensity: FloatArray, variance: FloatArray, cut: Cut
) -> tuple[Spectra, str, str]:
    """Take a cut out of a map.

    Parameters
    ----------
    excitation : numpy.ndarray, shape (rows,)
        eV, ascending.
    emission : numpy.ndarray, shape (columns,)
        eV, in order of columns.
    intensity, variance : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    cut : Cut

    Returns
    -------
    spectra : Spectra
    axis : str
        What its energies are.
    units : str

    Raises
    ------
    ValueError
        When nothing of the map is in the window.

    Notes
    -----
    A partial yield is the sum over the window, that of the columns at its ends in part, so that the same light is added
    up in every row also where the window moves with the excitation energy. A row of which a column is missing is not
    known. The inverse partial yield (A. J. Achkar et al., Phys. Rev. B 83 (2011) 081106) has the relative uncertainty
    of the yield.
    """
    order = np.argsort(emission)
    emission, intensity, variance = emission[order], intensity[:, order], variance[:, order]
    if cut.excitation is not None:
        return _at_excitation(excitation, emission, intensity, variance, cut)
    window = cut.emission or cut.loss
    assert window is not None  # a cut is checked
    low, high = np.broadcast_to(window, (len(excitation), 2)).T
    if cut.loss is not None:
        low, high = excitation - high, excitation - low
    share = _shares(emission, low, high)
    if not (share > 0).any():
        said = f"{'loss' if cut.loss else 'emission'} {window[0]:g} to {window[1]:g} eV"
        raise ValueError(f"{said}: the map has emission from {emission[0]:g} to {emission[-1]:g} eV")
    complete = (low >= emission[0]) & (high <= emission[-1]) & ~((share > 0) & ~np.isfinite(intensity)).any(axis=1)
    total = np.where(complete, np.sum(np.where(share > 0, intensity, 0.0) * share, axis=1), np.nan)
    noise = np.where(complete, np.sum(np.where(share > 0, variance, 0.0) * share**2, axis=1), np.nan)
    if cut.inverse:
        positive = total > 0
        inverse = np.divide(1.0, total, out=np.full(len(total), np.nan), where=positive)
        return Spectra(excitation, inverse, np.where(positive, noise * inverse**4, np.nan)), "excitation energy", ""
    return Spectra(excitation, total, noise), "excitation energy", "counts"


def _at_excitation(
    excitation: FloatArray, emission: FloatArray, intensity: FloatArray, variance: FloatArray, cut: Cut
) -> tuple[Spectra, str, str]:
    assert cut.excitation is not None
    low, high = cut.excitation
    inside = (excitation >= low) & (excitation <= high)
    if not inside.any():
        raise ValueError(
            f"excitation {low:g} to {high:g} eV: the map has"
            f" {number_of(len(excitation), 'row')} from {excitation[0]:g} to {excitation[-1]:g} eV"
        )
    if cut.against == "emission":
        known = np.isfinite(intensity[inside])
        number = known.sum(axis=0)
        mean = _over(np.where(known, intensity[inside], 0.0).sum(axis=0), number)
        noise = _over(np.where(known, variance[inside], 0.0).sum(axis=0), number**2)
        return Spectra(emission, mean, noise), "emission energy", "counts"
    loss = excitation[inside].mean() - emission[::-1]
    rows, noises = [], []
    for energy, row, noise in zip(excitation[inside], intensity[inside], variance[inside], strict=True):
        at = (energy - emission)[::-1]
        rows.append(np.interp(loss, at, row[::-1], left=np.nan, right=np.nan))
        noises.append(np.interp(loss, at, noise[::-1], left=np.nan, right=np.nan))
    known = np.isfinite(rows)
    number = known.sum(axis=0)
    mean = _over(np.where(known, rows, 0.0).sum(axis=0), number)
    return Spectra(loss, mean, _over(np.where(known, noises, 0.0).sum(axis=0), number**2)), "energy loss", "counts"


def _over(total: FloatArray, number: NDArray[np.integer]) -> FloatArray:
    mean: FloatArray = np.full(total.shape, np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


def _shares(emission: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Give the share of each column that lies in the window of each row, (rows, columns)."""
    middles = 0.5 * (emission[1:] + emission[:-1])
    first, last = 1.5 * emission[0] - 0.5 * emission[1], 1.5 * emission[-1] - 0.5 * emission[-2]
    edges = np.concatenate([[first], middles, [last]])
    overlap = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    return np.asarray(np.clip(overlap / np.diff(edges), 0.0, 1.0))
