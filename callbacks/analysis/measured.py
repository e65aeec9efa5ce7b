"""What a measure reads off spectra, and the form it is given in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from callbacks.fitting.reference_noise import variance_between
from callbacks.xas.background import gaps
from callbacks.xas.normalised import Shared

FloatArray = NDArray[np.floating]

ROUNDING = 1e-9  # of variances


@dataclass(frozen=True)
class Causes:
    """What the points of one spectrum have in common: independent causes that move many of them at once.

    Attributes
    ----------
    alone : numpy.ndarray, shape (n_energies,)
        Variance of the points, as if independent, to which the causes are added.
    added : numpy.ndarray, shape (k, n_energies)
        What one standard uncertainty of each cause does to the points.
    counted_twice : numpy.ndarray, shape (m, n_energies)
        The same of causes that are in `alone` and `added` both.
    """

    alone: FloatArray
    added: FloatArray
    counted_twice: FloatArray

    @classmethod
    def all_of(cls, causes: FloatArray) -> Causes:
        """Give those (k, n_energies) of a spectrum whose own noise is among them."""
        total = np.sum(np.square(causes), axis=0)
        return cls(total, causes, np.diag(np.sqrt(total)))

    def each(self) -> FloatArray:
        """Give all of them, the noise of each point among them where that is not counted twice, (k, n_energies)."""
        own = self.alone - np.sum(np.square(self.counted_twice), axis=0)
        of_its_own = own > ROUNDING * self.alone
        return np.vstack([self.added, np.diag(np.sqrt(np.where(of_its_own, own, 0.0)))[of_its_own]])


@dataclass(frozen=True)
class Spectra:
    """One spectrum or many on one scale of energies.

    Attributes
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    values, variance : numpy.ndarray, shape (..., n_energies)
        NaN where not measured.
    shared : Shared or Causes, optional
        What the points have in common where they are normalised, corrected, or cut out of a map.
    background : numpy.ndarray, shape (functions, n_energies), optional
        Functions of which the noise, too, makes a sum in the spectra, as a background of them was taken off.
    alike : bool
        Whether they are pixels, or of one kind as these are, of which those that are too thin are left out by what is
        expected of them; see `callbacks.xas.expected`.
    """

    energy: FloatArray
    values: FloatArray
    variance: FloatArray
    shared: Shared | Causes | None = None
    background: FloatArray | None = None
    alike: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is before the energies."""
        return self.values.shape[:-1]

    def within(self, window: tuple[float, float] | None) -> Spectra:
        """Give the part whose energies lie in a window.

        Raises
        ------
        ValueError
            When there are fewer than two.
        """
        if window is None:
            return self
        inside = (self.energy >= window[0]) & (self.energy <= window[1])
        if inside.sum() < 2:
            raise ValueError(
                f"the window {window[0]:g} to {window[1]:g} eV holds {int(inside.sum())} of the energies,"
                f" {self.energy[0]:g} to {self.energy[-1]:g} eV, expected 2 or more"
            )
        background = None if self.background is None else self.background[:, inside]
        return Spectra(
            self.energy[inside], self.values[..., inside], self.variance[..., inside],
            background=background, alike=self.alike,
        )  # fmt: skip


def gaps_of(energy: FloatArray, known: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Give between which energies (eV) a spectrum was not measured, though others were set."""
    return [(float(energy[places.start - 1]), float(energy[places.stop])) for places, _ in gaps(energy, known)]


@dataclass(frozen=True)
class Reference:
    """A reference spectrum.

    Attributes
    ----------
    energy, values, variance : numpy.ndarray, shape (n_energies,)
        eV, ascending; variance 0 where it is not known.
    gaps : sequence of (float, float)
        eV, from one of its energies to the next, between which it was not measured though others were set.
    """

    energy: FloatArray
    values: FloatArray
    variance: FloatArray
    gaps: Sequence[tuple[float, float]] = ()

    @classmethod
    def of(cls, spectrum: Spectra) -> Reference:
        """Make one of a spectrum, of shape (): of the points that were measured."""
        known = np.isfinite(spectrum.values)
        variance = np.nan_to_num(spectrum.variance[known])
        return cls(spectrum.energy[known], spectrum.values[known], variance, gaps_of(spectrum.energy, known))

    def is_missing(self, energy: FloatArray, margin: float = 0.0) -> NDArray[np.bool_]:
        """Tell which energies are in its gaps, or less than a margin (eV) beside them."""
        slack, found = margin - 1e-6, np.zeros(len(energy), dtype=bool)
        for low, high in self.gaps:
            found |= (energy > low - slack) & (energy < high + slack)
        return found

    def variance_at(self, energy: FloatArray) -> FloatArray:
        """Give its variance at other energies."""
        return variance_between(self.energy, self.variance, energy)

    def at(self, energy: FloatArray, name: str) -> FloatArray:
        """Give it at other energies, by a cubic spline, which says nothing of those that are missing.

        Raises
        ------
        ValueError
            When it does not reach as far.
        """
        if energy[0] < self.energy[0] - 1e-6 or energy[-1] > self.energy[-1] + 1e-6:
            apart = energy[0] > self.energy[-1] or energy[-1] < self.energy[0]
            raise ValueError(
                f"reference {name} reaches from {self.energy[0]:g} to {self.energy[-1]:g} eV, expected"
                f" {energy[0]:g} to {energy[-1]:g} eV"
                + ("" if apart else ": a window of the fit within both can be given")
            )
        return np.asarray(CubicSpline(self.energy, self.values)(energy))


@dataclass(frozen=True)
class Value:
    """One quantity of each spectrum, with its standard uncertainty; shape (...).

    Where it is `scaled`, it grows with the spectrum, whose unit stands before its own.
    """

    values: FloatArray
    sigma: FloatArray | None
    meaning: str
    units: str = ""
    scaled: bool = False

    def units_of(self, spectrum: str) -> str:
        """Give its unit, of a spectrum with a unit."""
        return f"{spectrum} {self.units}".strip() if self.scaled else self.units


@dataclass(frozen=True)
class Measured:
    """What a measure read off spectra.

    Attributes
    ----------
    values : mapping of str to Value
    status : numpy.ndarray of str, shape (...)
        "ok", or why there is no answer.
    curves : mapping of str to Value, shape (..., n_energies)
        What goes with each spectrum, at its energies.
    table : mapping of str to numpy.ndarray, shape (..., entries)
        Further answers for each spectrum, such as fits by other combinations.
    note : str
        What is to be known of the answers for a single spectrum; empty where nothing is.
    """

    values: Mapping[str, Value]
    status: NDArray[np.str_]
    curves: Mapping[str, Value] = field(default_factory=dict)
    table: Mapping[str, Value] = field(default_factory=dict)
    note: str = ""
