"""What a simulated endstation knows and a measurement does not: for demonstrations and tests that compare with it.

A real endstation offers none of it. The simulation conforms to these protocols; plans never use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]


class SpectrographTruth(Protocol):
    """The spectrograph: which emission energy lies where on the chip."""

    @property
    def rows(self) -> int:
        """Rows of a frame."""
        ...

    @property
    def tilt(self) -> float:
        """Columns by which a line is displaced at the last row against the middle one: the odd part."""
        ...

    @property
    def curvature(self) -> float:
        """The even part of it, columns."""
        ...

    def energy(self, pixel: ArrayLike) -> FloatArray:
        """Give the emission energy, eV, at positions of the middle row, columns."""
        ...

    def pixel(self, energy: ArrayLike) -> FloatArray:
        """Give the position, columns, of emission energies, eV, on the middle row."""
        ...

    def shift(self, row: ArrayLike) -> FloatArray:
        """Give the columns by which a line lies further at a row than at the middle one."""
        ...


class FrameTruth(Protocol):
    """What is truly in a frame, pixel by pixel, shape (rows, columns)."""

    @property
    def photons(self) -> NDArray[np.integer[Any]]:
        """Photons that landed in each pixel."""
        ...

    @property
    def photon_charge(self) -> FloatArray:
        """Counts that the photons left."""
        ...

    @property
    def cosmic_charge(self) -> FloatArray:
        """Counts that cosmic rays left."""
        ...

    @property
    def expected_photons(self) -> float:
        """Expectation of the number of photons in the whole frame; 0 in the dark."""
        ...

    @property
    def displacement(self) -> float:
        """Columns by which the spectrograph had drifted."""
        ...


class SampleTruth(Protocol):
    """The spectra of a sample."""

    def absorption(self, energy: ArrayLike) -> FloatArray:
        """Give the absorption at photon energies, eV, relative to the step of the oxide at the O K edge."""
        ...


class PhantomTruth(Protocol):
    """What the microscope sees of a sample."""

    @property
    def thickness(self) -> Mapping[str, FloatArray]:
        """Thickness, um, by material, shape (rows, columns)."""
        ...

    def reduced_fraction(self, blur: float, element: str = "O") -> FloatArray:
        """Give the share of oxide in which an element is reduced, under a probe with this sigma, um; NaN without it."""
        ...

    def edge_areas(
        self,
        blur: float,
        energies: FloatArray,
        background: tuple[float, float],
        area: tuple[float, float],
        element: str = "O",
        *,
        energy_offset: float = 0.0,
    ) -> Mapping[str, FloatArray]:
        """Give the edge area, eV, under a probe, of oxide in which an element is "reduced" and of that "oxidised"."""
        ...


class MicroscopeTruth(Protocol):
    """The microscope: its probe, its drift, and what lies under it."""

    @property
    def probe(self) -> float:
        """Sigma of the probe when the plan follows the focus, um."""
        ...

    def phantom(self, sample: str) -> PhantomTruth:
        """Give the thickness maps of a sample."""
        ...

    def drift(self, moments: ArrayLike, zone_plates: ArrayLike) -> FloatArray:
        """Give the displacement of the image, um along y and x, shape (n, 2), at moments and zone-plate positions."""
        ...

    def sampled(self, image: FloatArray, x: FloatArray, y: FloatArray, displacement: FloatArray) -> FloatArray:
        """Give a map of the phantom at positions of the stage, um, of displaced lines; shape (rows, columns)."""
        ...


class Truth(Protocol):
    """All that a simulated endstation knows.

    Attributes
    ----------
    energy_offset : float
        True photon energy minus the monochromator's, eV. It may be set, as when a monochromator is calibrated anew.
    """

    energy_offset: float

    @property
    def spectrograph(self) -> SpectrographTruth:
        """The spectrograph."""
        ...

    @property
    def frames(self) -> Mapping[int, FrameTruth]:
        """What is in the newest frames, by the number of the frame since the start."""
        ...

    @property
    def samples(self) -> Mapping[str, SampleTruth]:
        """The samples by name."""
        ...

    @property
    def stxm(self) -> MicroscopeTruth:
        """The microscope."""
        ...

    def emission_energy(self, pixel: float, *, frame: int | None = None) -> float:
        """Give the energy of a column, eV, in the monochromator's scale: when a frame was taken, or at the start."""
        ...

    def dispersion(self, pixel: float, *, frame: int | None = None) -> float:
        """Give the dispersion at a column, eV/pixel."""
        ...
