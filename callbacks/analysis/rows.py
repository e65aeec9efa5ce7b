"""The spectra that an analysis is of: rows, which stand in tables, and pixels, which make maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.measured import Causes, Reference, Spectra
from callbacks.analysis.recipe import Alignment, Normalisation
from callbacks.xas.energy_scale import EnergyOffset, by_edge, by_peak, by_spectrum
from callbacks.xas.normalised import normalise_spectra

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

TINY = 1e-12  # of the square of what a reference spans: the variance of one whose uncertainty nobody wrote down


@dataclass(frozen=True)
class Row:
    """A spectrum of a run.

    Attributes
    ----------
    run, sample, part : str
        Uid, sample, and which of the run's spectra it is: channel, region or cut.
    spectra : Spectra
        Of shape ().
    axis : str
        What its energies are.
    units : str
        Of the spectrum.
    status : str
        "ok", or why nothing is read off it.
    edge : str
        Of the run, as "O K".
    measured : Spectra, optional
        The same as it was measured, where self-absorption has been taken off.
    energy_sigma : float
        eV, standard uncertainty that all its energies share; NaN where it is not known.
    """

    run: str
    sample: str
    part: str
    spectra: Spectra
    axis: str = "photon energy"
    units: str = ""
    status: str = "ok"
    edge: str = ""
    measured: Spectra | None = None
    energy_sigma: float = math.nan


@dataclass(frozen=True)
class Pixels:
    """The pixels of a stack that hold sample.

    Attributes
    ----------
    run, sample : str
    spectra : Spectra
        Of shape (pixels,).
    chosen : numpy.ndarray of bool, shape (lines, columns)
        Where they are, in order.
    x, y : numpy.ndarray, shape (columns,) and (lines,), or None
        um; None where an image has several regions.
    picture : numpy.ndarray, shape (lines, columns)
        Mean optical density, of all pixels.
    edge : str
        Of the run, as "O K".
    """

    run: str
    sample: str
    spectra: Spectra
    chosen: BoolArray
    x: FloatArray | None
    y: FloatArray | None
    picture: FloatArray
    edge: str = ""

    def image(self, values: NDArray[np.generic], otherwise: object = np.nan) -> NDArray[np.generic]:
        """Put one value for each pixel in its place in the image."""
        whole = np.full(self.chosen.shape, otherwise, dtype=values.dtype)
        whole[self.chosen] = values
        return whole


def normalised(spectra: Spectra, how: Normalisation) -> tuple[Spectra, NDArray[np.str_]]:
    """Normalise spectra; give also "ok" for each, or why it could not be.

    Raises
    ------
    ValueError
        When a window holds too few energies.
    """
    found = normalise_spectra(
        spectra.energy, spectra.values, spectra.variance,
        pre_edge=how.pre_edge, post_edge=how.post_edge, form=how.background, by=how.by, alike=spectra.alike,
    )  # fmt: skip
    if not isinstance(spectra.shared, Causes):
        done = Spectra(spectra.energy, found.values, found.variance, found.shared, alike=spectra.alike)
        return done, found.status
    moved, _ = normalised(Spectra(spectra.energy, spectra.values + spectra.shared.each(), spectra.shared.alone), how)
    causes = Causes.all_of(moved.values - found.values)
    return Spectra(spectra.energy, found.values, causes.alone, causes), found.status


def normalised_row(row: Row, how: Normalisation) -> Row:
    """Normalise the spectrum of a row; where that cannot be done it stays as it is, and its status says why."""
    try:
        spectra, status = normalised(row.spectra, how.at(row.edge, row.spectra.energy))
    except ValueError as error:
        return replace(row, status=str(error))
    return (
        replace(row, spectra=spectra, units="", measured=None)
        if str(status) == "ok"
        else replace(row, status=str(status))
    )


def reference_like(reference: Reference, row: Row | None, how: Normalisation | None) -> tuple[Reference, str]:
    """Give a reference as the spectra are that it is fitted to; give also "ok", or why it stays as it is.

    Parameters
    ----------
    reference : Reference
        As the recipe keeps it.
    row : Row or None
        The same with all that is done to the spectra before they are normalised; None where that is nothing.
    how : Normalisation or None
        What the spectra are normalised by; None where they are not.
    """
    if row is not None and row.status != "ok":
        return reference, row.status
    if how is None:
        return (reference if row is None else Reference.of(row.spectra)), "ok"
    if row is None:
        # One without an uncertainty is normalised as if it were small and the same everywhere.
        least = TINY * float(np.ptp(reference.values)) ** 2
        spectrum = Spectra(reference.energy, reference.values, np.maximum(reference.variance, least))
        row = Row("", "", "", spectrum)
    done = normalised_row(row, how)
    if done.status != "ok":
        return reference, done.status
    found = Reference.of(done.spectra)
    variance = found.variance if reference.variance.any() else np.zeros(len(found.variance))
    return replace(found, variance=variance, gaps=[*found.gaps, *reference.gaps] if row.run == "" else found.gaps), "ok"


def offset_of(spectra: Spectra, how: Alignment, first: Spectra | None) -> EnergyOffset:
    """Find what is to be added to the energies of a run, by its reference channel.

    Parameters
    ----------
    spectra : Spectra
        Of the channel, of shape ().
    how : Alignment
    first : Spectra or None
        The same of the first run, which is not moved; not used where the energy is tabulated.
    """
    measured = spectra.energy, spectra.values, spectra.variance
    if how.by == "spectrum":
        if first is None:
            return EnergyOffset(0.0, 0.0, float(spectra.energy.mean()), 1.0, "ok")
        return by_spectrum(*measured, first.energy, first.values, known_variance=first.variance, largest=how.largest)
    assert how.expected is not None  # the recipe is checked
    find = by_peak if how.by == "peak" else by_edge
    return find(*measured, how.expected, expected_sigma=how.expected_sigma, largest=how.largest)


def moved(spectra: Spectra, offset: float) -> Spectra:
    """Add an offset to the energies."""
    return replace(spectra, energy=spectra.energy + offset)


def at_ends(row: Row, how: Normalisation | None) -> tuple[Row, ...]:
    """Give a row with all its energies a standard uncertainty higher, and lower, normalised as it is itself.

    Returns
    -------
    tuple of Row
        Two; none where the uncertainty of its energies is zero, or not known.
    """
    if not row.energy_sigma > 0:
        return ()
    ends = (replace(row, spectra=moved(row.spectra, step)) for step in (row.energy_sigma, -row.energy_sigma))
    return tuple(end if how is None else normalised_row(end, how) for end in ends)


def difference(spectra: Spectra, other: Spectra) -> tuple[FloatArray, FloatArray]:
    """Give spectrum less another one, at the energies of the first, and its variance; NaN where there is no other.

    Notes
    -----
    The other one is interpolated between its two neighbouring points, whose variances are propagated; neighbouring
    points of the difference then share some of their noise. Where one of the two was not measured there is no other.
    """
    energy, values = other.energy, other.values
    variance = np.where(np.isfinite(values), other.variance, np.nan)
    if len(energy) < 2:
        nothing = np.full(spectra.values.shape, np.nan)
        return nothing, nothing.copy()
    at = spectra.energy
    place = np.searchsorted(energy, at).clip(1, len(energy) - 1)
    high = (at - energy[place - 1]) / (energy[place] - energy[place - 1])
    high = np.where((at >= energy[0] - 1e-9) & (at <= energy[-1] + 1e-9), high.clip(0.0, 1.0), np.nan)

    def mixed(each: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
        """Weigh the points on both sides; one that weighs nothing need not be known."""
        return np.where(low == 0, 0.0, low * each[place - 1]) + np.where(high == 0, 0.0, high * each[place])

    between, noise = mixed(values, 1 - high, high), mixed(variance, (1 - high) ** 2, high**2)
    return spectra.values - between, spectra.variance + noise
