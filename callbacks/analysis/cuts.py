"""Spectra taken out of a RIXS map: at excitation energies, and over windows of emission energy or energy loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.measured import Causes, Spectra
from callbacks.analysis.recipe import Cut
from callbacks.stxm.edges import inside
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class MapOnAxes:
    """A RIXS map, and what makes it uncertain beside the noise of each of its columns.

    Attributes
    ----------
    excitation : numpy.ndarray, shape (rows,)
        eV, ascending.
    emission : numpy.ndarray, shape (columns,)
        eV, in order of columns.
    intensity, variance : numpy.ndarray, shape (rows, columns)
        NaN where not measured; the variance is that of noise, column by column.
    causes : callable
        Gives, shape (rows, columns) each, what one standard uncertainty of each independent cause does to the
        intensity: one error for the whole map.
    emission_sigma : numpy.ndarray, shape (columns,), optional
        Standard uncertainty of `emission`, which one error makes of all columns; not given where it is not known.
    """

    excitation: FloatArray
    emission: FloatArray
    intensity: FloatArray
    variance: FloatArray
    causes: Callable[[], Iterable[FloatArray]] = tuple
    emission_sigma: FloatArray | None = None


def cut_of_map(whole: MapOnAxes, cut: Cut) -> tuple[Spectra, str, str]:
    """Take a cut out of a map.

    Parameters
    ----------
    whole : MapOnAxes
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
        When no row of the map has all of the window.

    Notes
    -----
    A partial yield is the sum over the window, that of the columns at its ends in part, so that the same light is added
    up in every row also where the window moves with the excitation energy. A row of which a column is missing is not
    known. The inverse partial yield (A. J. Achkar et al., Phys. Rev. B 83 (2011) 081106) has the relative uncertainty
    of the yield. What a cause does to a cut is the cut of what it does to the map.
    """
    order = np.argsort(whole.emission)
    emission, intensity = whole.emission[order], whole.intensity[:, order]
    take = _at_excitation if cut.excitation is not None else _over_window
    energy, taken, axis = take(whole.excitation, emission, np.isfinite(intensity), cut)
    values, noise, units = taken(intensity, 1), taken(whole.variance[:, order], 2), "counts"
    causes = np.array([taken(cause[:, order], 1) for cause in whole.causes()]).reshape(-1, len(energy))
    if cut.inverse:
        values = np.divide(1.0, values, out=np.full(len(values), np.nan), where=values > 0)
        noise, causes, units = noise * values**4, -causes * values**2, ""
    shared = Causes(noise, causes, np.empty((0, len(energy)))) if len(causes) else None
    return Spectra(energy, values, noise + np.sum(causes**2, axis=0), shared), axis, units


def scale_sigma(whole: MapOnAxes, cut: Cut, spectra: Spectra) -> float:
    """Give the standard uncertainty that the energies of a cut share, eV: that of the emission where it is bright.

    It is NaN of a partial yield, whose energies are those of excitation, and where that of the map is not known.
    """
    if whole.emission_sigma is None or cut.excitation is None:
        return math.nan
    sigma = whole.emission_sigma[np.argsort(whole.emission)]
    sigma = sigma[::-1] if cut.against == "loss" else sigma
    # Squared, as far off the pivot there are many columns with nothing but noise.
    light = np.nan_to_num(spectra.values) ** 2
    return float(np.average(sigma, weights=light)) if light.any() else math.nan


# Energies of the cut; what takes it of a map, with its weights to a power: 1 of values, 2 of variances; the axis.
Taken = tuple[FloatArray, Callable[[FloatArray, int], FloatArray], str]


def _over_window(excitation: FloatArray, emission: FloatArray, known: BoolArray, cut: Cut) -> Taken:
    window = cut.emission or cut.loss
    assert window is not None  # a cut is checked
    low, high = np.broadcast_to(window, (len(excitation), 2)).T
    if cut.loss is not None:
        low, high = excitation - high, excitation - low
    share = _shares(emission, low, high)
    complete = (low >= emission[0]) & (high <= emission[-1]) & ~((share > 0) & ~known).any(axis=1)
    if not complete.any():
        said = f"{'loss' if cut.loss else 'emission'} {window[0]:g} to {window[1]:g} eV: is not whole at any excitation"
        raise ValueError(f"{said}; the map has emission from {emission[0]:g} to {emission[-1]:g} eV")

    def taken(values: FloatArray, power: int) -> FloatArray:
        return np.where(complete, np.sum(np.where(share > 0, values, 0.0) * share**power, axis=1), np.nan)

    return excitation, taken, "excitation energy"


def _at_excitation(excitation: FloatArray, emission: FloatArray, known: BoolArray, cut: Cut) -> Taken:
    assert cut.excitation is not None
    low, high = cut.excitation
    rows = inside(excitation, cut.excitation)
    if not rows.any():
        raise ValueError(
            f"excitation {low:g} to {high:g} eV: the map has"
            f" {number_of(len(excitation), 'row')} from {excitation[0]:g} to {excitation[-1]:g} eV"
        )
    if cut.against == "emission":

        def averaged(values: FloatArray, power: int) -> FloatArray:
            return _over(np.where(known, values, 0.0)[rows].sum(axis=0), known[rows].sum(axis=0) ** power)

        return emission, averaged, "emission energy"
    loss = excitation[rows].mean() - emission[::-1]

    def on_loss(values: FloatArray, power: int) -> FloatArray:
        moved = [
            np.interp(loss, (energy - emission)[::-1], row[::-1], left=np.nan, right=np.nan)
            for energy, row in zip(excitation[rows], np.where(known, values, np.nan)[rows], strict=True)
        ]
        seen = np.isfinite(moved)
        return _over(np.where(seen, moved, 0.0).sum(axis=0), seen.sum(axis=0) ** power)

    return loss, on_loss, "energy loss"


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
