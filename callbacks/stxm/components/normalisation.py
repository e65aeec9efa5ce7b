"""Normalisation of pixel spectra: the mean below the edge is subtracted, the area across it divides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.components.storage import StoredSpectra
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
Window = tuple[float, float]


@dataclass(frozen=True)
class Windows:
    """The energy windows that pixels are normalised by; None where that part is not done.

    Attributes
    ----------
    background : (float, float) or None
        eV, from and to: the mean of each pixel here is subtracted from it.
    area : (float, float) or None
        eV, from and to: each pixel is divided by its area here, by trapezoids between the energies inside.

    Raises
    ------
    ValueError
        For a window that is not two ascending energies.
    """

    background: Window | None = None
    area: Window | None = None

    def __post_init__(self) -> None:
        """Check both windows."""
        for name, window in (("background", self.background), ("area", self.area)):
            if window is not None and not (np.isfinite(window).all() and window[0] < window[1]):
                raise ValueError(f"{name} window {window}, expected two energies in eV, ascending")

    @property
    def normalise(self) -> bool:
        """Whether there is a window at all."""
        return self.background is not None or self.area is not None

    def hold(self, energy: float) -> bool:
        """Tell whether an energy lies in a window: then it changes the normalisation of every pixel."""
        return any(window[0] <= energy <= window[1] for window in (self.background, self.area) if window)

    def why_not(self, energies: FloatArray) -> str:
        """Say why pixels cannot be normalised at these energies; "" where they can."""
        if not len(energies):
            return "no energies yet"
        for name, window, fewest in self._needed():
            if (found := int(_inside(energies, window).sum())) < fewest:
                return (
                    f"the {name} window {window[0]:g} to {window[1]:g} eV holds {number_of(found, 'energy')},"
                    f" expected {fewest}"
                )
        return ""

    def left_out(self, energies: FloatArray, others: FloatArray, reasons: Sequence[str]) -> str:
        """Say which images were measured in a window that holds too few energies, and why they are not used.

        Parameters
        ----------
        energies : numpy.ndarray, shape (energies,)
            eV, of the images that are used.
        others : numpy.ndarray, shape (n,)
            eV, of those that are not.
        reasons : sequence of str, shape (n,)
            Why each of them is not.

        Returns
        -------
        str
            To be put behind what `why_not` says; "" where the energies suffice, or no image was left out there.
        """
        for _, window, fewest in self._needed():
            if _inside(energies, window).sum() < fewest:
                within = [reason for reason, one in zip(reasons, _inside(others, window), strict=True) if one]
                if not within:
                    return ""
                counts = Counter(within).most_common()
                told = "; ".join(reason if len(counts) == 1 else f"{reason} ({count})" for reason, count in counts)
                return f"; {number_of(len(within), 'image')} within cannot be used: {told}"
        return ""

    def _needed(self) -> list[tuple[str, Window, int]]:
        """Give name, range and fewest energies of each window there is."""
        parts = (("background", self.background, 1), ("area", self.area, 2))
        return [(name, window, fewest) for name, window, fewest in parts if window]

    def weights(self, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the weights, shape (E,), whose sums over a spectrum are its background and, less that, its area."""
        mean, area = np.zeros(len(energies)), np.zeros(len(energies))
        if self.background:
            inside = _inside(energies, self.background)
            mean[inside] = 1.0 / inside.sum()
        if self.area:
            order = np.argsort(energies, kind="stable")
            order = order[_inside(energies[order], self.area)]
            steps = np.diff(energies[order])
            area[order[:-1]] += steps / 2
            area[order[1:]] += steps / 2
        return mean, area

    def jacobian(self, energies: FloatArray, mean: FloatArray) -> FloatArray:
        """Give the derivative (E, E) of a normalised spectrum by the spectrum over its area, at the `mean` spectrum."""
        background, area = self.weights(energies)
        jacobian = np.eye(len(energies)) - background
        if self.area:
            jacobian -= np.outer(mean, area @ jacobian)
        return jacobian


@dataclass(frozen=True)
class PixelNormalisation:
    """What the windows make of the pixels of a block: normalised = scale * (stored + offset - level - shift).

    Attributes
    ----------
    shift : numpy.ndarray, shape (n,)
        Background of what is stored.
    level : float
        Background of the offset.
    scale : numpy.ndarray, shape (n,)
        1 over the area, 0 where that is not positive; ones without an area window.
    area : numpy.ndarray, shape (n,)
        Ones without an area window.
    deviation : numpy.ndarray, shape (n,)
        Standard deviation (ddof = 1) of the normalised spectrum in the background window; NaN: not known.
    divided : bool
        Whether there is an area window.
    """

    shift: FloatArray
    level: float
    scale: FloatArray
    area: FloatArray
    deviation: FloatArray
    divided: bool


def normalise_pixels(stored: StoredSpectra, energies: FloatArray, windows: Windows) -> PixelNormalisation:
    """Find background, area and noise of each stored pixel."""
    background, area = windows.weights(energies)
    shift, own = stored.combine(np.stack([background, area]))
    level = float(background @ stored.offset)
    above = stored.offset - level
    scale = np.ones(stored.size)
    if windows.area is not None:
        own += above @ area - area.sum() * shift
        usable = own > np.finfo(np.float64).tiny
        scale = np.divide(1.0, own, out=np.zeros(stored.size), where=usable)
    deviation = np.full(stored.size, np.nan)
    if windows.background is not None:
        inside = _inside(energies, windows.background)
        if (count := int(inside.sum())) > 1:
            squares = _squared_deviations(stored, inside, above, shift)
            deviation = np.where(scale > 0, np.sqrt(squares / (count - 1)) * scale, np.nan)
    divided = windows.area is not None
    return PixelNormalisation(shift, level, scale, own if divided else np.ones(stored.size), deviation, divided)


def _squared_deviations(stored: StoredSpectra, inside: BoolArray, above: FloatArray, shift: FloatArray) -> FloatArray:
    """Sum the squared deviations of each pixel from its background over the energies `inside`, shape (n,)."""
    squares = np.zeros(stored.size)
    for energies, rows in stored.rows():
        for energy in np.flatnonzero(inside[energies]):
            squares += (rows[energy] + above[energies][energy] - shift) ** 2
    return squares


def _inside(energies: FloatArray, window: Window) -> BoolArray:
    return (energies >= window[0]) & (energies <= window[1])
