"""A soft X-ray spectrograph with its CCD, as physics: from an emission spectrum to the frame that the camera reads out.

Photons are drawn one by one at continuous positions on the chip, so that line shape, charge sharing between pixels and
photon statistics arise together, as they do in a real frame. Nothing here knows of devices or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics.cosmic_rays import cosmic_tracks
from simulated_devices.physics.pixels import count_hits, deposit_charges

FloatArray = NDArray[np.floating]
Spectrum = Callable[[FloatArray], FloatArray]  # emission energy (eV) -> expected photons per eV in the frame

PIXEL_CM = 13.5e-4  # edge of an unbinned pixel
HC = 1.239841984e-3  # eV mm
PAIR_ENERGY = 3.65  # eV for each electron-hole pair in silicon
FANO_FACTOR = 0.117  # of silicon
# rms radius of a photon's charge where it is collected, unbinned pixels: the brightest pixel then holds the measured
# 0.60 of it.
CLOUD_SIGMA = 0.47
FWHM_PER_SIGMA = 2.354820045  # of a Gaussian: 2 sqrt(2 ln 2)
_GRID_PER_PIXEL = 4  # fine enough for the narrowest line, a monochromator bandwidth of about one pixel
_PHOTONS_AT_ONCE = 200_000  # bounds the memory of drawing and sharing charge


@dataclass(frozen=True)
class FrameTruth:
    """What is truly in a rendered frame, pixel by pixel.

    Attributes
    ----------
    photons : numpy.ndarray of int32, shape (rows, columns)
        Number of photons that landed in each pixel.
    photon_charge : numpy.ndarray of float32, shape (rows, columns)
        Counts (ADU) that those photons left after charge sharing: no pedestal, no read noise, no cosmic rays.
    cosmic_charge : numpy.ndarray of float32, shape (rows, columns)
        Counts (ADU) that cosmic rays left.
    cosmic_hits : int
        Number of cosmic rays that crossed the chip.
    expected_photons : float
        Expectation of the number of photons in the whole frame.
    displacement : float
        Columns by which the chip had drifted: all lines lie so much further.
    """

    photons: NDArray[np.int32]
    photon_charge: NDArray[np.float32]
    cosmic_charge: NDArray[np.float32]
    cosmic_hits: int
    expected_photons: float
    displacement: float = 0.0


@dataclass(frozen=True)
class ChipDrift:
    """How far all lines have moved along the columns since the start: a rate that changes slowly.

    Of five maps of four hours, one after another at an endstation, the rates were -1.5, -1.9, 0.0, 0.6 and 1.5 columns
    an hour, the same on the whole chip: 1.3 rms, as those of a wave of a day here, whose height and phase are drawn.

    Attributes
    ----------
    start : float
        s since 1970.
    rates : numpy.ndarray, shape (2,)
        Columns an hour, of a slow wave and of one that is faster and smaller.
    phases : numpy.ndarray, shape (2,)
    """

    start: float
    rates: FloatArray
    phases: FloatArray
    periods: tuple[float, float] = (24 * 3600.0, 4 * 3600.0)  # s

    @classmethod
    def by_chance(cls, start: float, rng: np.random.Generator, scale: float) -> ChipDrift:
        """Draw a drift at random."""
        rates = scale * np.array([rng.uniform(1.2, 2.4), 0.3])
        return cls(start, rates, rng.uniform(0.0, 2 * np.pi, 2))

    def at(self, moment: float) -> float:
        """Give the drift at a moment in s since 1970, columns."""
        turns = 2 * np.pi / np.array(self.periods)
        waves = np.sin(turns * (moment - self.start) + self.phases) - np.sin(self.phases)
        return float((self.rates / 3600.0 / turns) @ waves)


@dataclass(frozen=True)
class SpectrographModel:
    """A spectrograph and its CCD; emission energy rises along the columns.

    Column ``c`` covers the positions ``c - 0.5`` to ``c + 0.5``. Which emission energy the middle row sees at a
    position follows from the grating equation in first order, ``grooves * wavelength = cos(incidence) - cos(exit)``
    with glancing angles, and a flat chip that faces the grating. At another row a line lies ``shift(row)`` columns
    further.

    Attributes
    ----------
    rows, columns : int
        Size of a frame.
    row_binning : int
        Unbinned rows in each row of the frame; sets the area that cosmic rays cross and the charge sharing over rows.
    centre_energy : float
        Emission energy in the middle of the chip, eV.
    dispersion : float
        Dispersion there, eV a pixel: it sets the distance of the chip from the grating.
    grooves : float
        Grooves a mm.
    incidence : float
        Glancing angle of incidence on the grating, degrees.
    tilt, curvature : float
        Columns by which a line is displaced at the last row against the middle one: the odd and the even part.
    resolution : float
        FWHM of a monochromatic line, pixels.
    counts_per_ev : float
        Gain, counts (ADU) for each eV of a detected photon.
    read_noise : float
        Counts rms a pixel.
    pedestal : float
        Counts of a pixel without light.
    pedestal_drift : float
        Change of the pedestal from frame to frame, counts rms.
    full_scale : int
        Counts at which a pixel saturates.
    clip : float or None
        What the instrument subtracts before it clips a frame at zero, in read noises above the pedestal; None where it
        hands frames on as they are read.
    cloud_sigma : float
        rms radius of a photon's charge where it is collected, unbinned pixels.
    cosmic_rate : float
        Cosmic rays for each cm² and minute.
    """

    rows: int = 64
    columns: int = 2048
    row_binning: int = 8
    centre_energy: float = 525.0
    dispersion: float = 0.107
    grooves: float = 1200.0
    incidence: float = 2.0
    tilt: float = 1.2
    curvature: float = 2.5
    resolution: float = 5.0
    counts_per_ev: float = 0.21
    read_noise: float = 4.0
    pedestal: float = 340.0
    pedestal_drift: float = 0.3
    full_scale: int = 65535
    clip: float | None = None
    cloud_sigma: float = CLOUD_SIGMA
    cosmic_rate: float = 0.225

    @property
    def centre_column(self) -> float:
        """Position in the middle of the chip."""
        return (self.columns - 1) / 2

    @property
    def quadratic_dispersion(self) -> float:
        """Half the change of the dispersion from pixel to pixel in the middle of the chip, eV a pixel²."""
        low, middle, high = self.energy(self.centre_column + np.array([-1.0, 0.0, 1.0]))
        return float(low - 2 * middle + high) / 2

    def _exit_angle(self, energy: ArrayLike) -> FloatArray:
        """Glancing angle at which an energy leaves the grating; NaN where it does not."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = np.cos(np.radians(self.incidence)) - self.grooves * HC / np.asarray(energy, dtype=float)
            angle: FloatArray = np.arccos(cosine)
        return angle

    @cached_property
    def _arm(self) -> float:
        """Distance from the grating to the chip, pixels."""
        angle = float(self._exit_angle(self.centre_energy))
        return math.sin(angle) * self.centre_energy**2 / (self.grooves * HC * self.dispersion)

    @property
    def area(self) -> float:
        """Area of the chip that is read out, cm²."""
        return self.rows * self.row_binning * self.columns * PIXEL_CM**2

    @cached_property
    def pedestal_image(self) -> NDArray[np.float32]:
        """Pedestal of each pixel, shape (rows, columns), counts: a small fixed structure over columns and rows."""
        pattern = np.random.default_rng(20240705)  # a property of the chip: the same in every frame and every run
        column = np.arange(self.columns) / self.columns
        columns = 0.8 * np.sin(2 * np.pi * 1.5 * column) + pattern.normal(0, 0.6, self.columns)
        rows = pattern.normal(0, 0.4, self.rows)
        return (self.pedestal + columns[None, :] + rows[:, None]).astype(np.float32)

    def energy(self, pixel: ArrayLike) -> FloatArray:
        """Emission energy seen at a position of the middle row.

        Parameters
        ----------
        pixel : array_like
            Positions, columns; fractions allowed.

        Returns
        -------
        numpy.ndarray
            eV, same shape.
        """
        turned = np.arctan((np.asarray(pixel, dtype=float) - self.centre_column) / self._arm)
        angle = float(self._exit_angle(self.centre_energy)) - turned
        energy: FloatArray = self.grooves * HC / (np.cos(np.radians(self.incidence)) - np.cos(angle))
        return energy

    def pixel(self, energy: ArrayLike) -> FloatArray:
        """Position of an emission energy on the middle row: the inverse of `energy`.

        Parameters
        ----------
        energy : array_like
            eV.

        Returns
        -------
        numpy.ndarray
            Columns, same shape; NaN where no position sees that energy.
        """
        turned = self._exit_angle(self.centre_energy) - self._exit_angle(energy)
        pixel: FloatArray = self.centre_column + self._arm * np.tan(turned)
        return pixel

    def shift(self, row: ArrayLike) -> FloatArray:
        """Columns by which a line lies further at `row` than at the chip's middle row."""
        from_middle = (np.asarray(row, dtype=float) - (self.rows - 1) / 2) / (self.rows / 2)
        return from_middle * (self.tilt + from_middle * self.curvature)

    def render(
        self,
        spectrum: Spectrum | ArrayLike,
        *,
        exposure_time: float,
        rng: np.random.Generator,
        second_order: Spectrum | None = None,
        displacement: float = 0.0,
    ) -> tuple[NDArray[np.uint16], FrameTruth]:
        """Expose and read out one frame.

        Parameters
        ----------
        spectrum : callable, or array_like of shape (columns,)
            Callable: emission energy (eV) to the expected photons per eV in this frame, without the spectrograph's
            resolution, which is applied here. Array: the expected photons of each column of the straightened frame,
            summed over rows, resolution included.
        exposure_time : float
            s; sets the number of cosmic rays only, the light of the exposure is in `spectrum`.
        rng : numpy.random.Generator
            Source of all randomness; the same state gives the same frame.
        second_order : callable, optional
            Light that the grating sends there in second order, as `spectrum` against the energy of the first order: its
            photons have twice that energy, and twice the charge.
        displacement : float
            Columns by which the chip has drifted: all lines lie so much further.

        Returns
        -------
        frame : numpy.ndarray of uint16, shape (rows, columns)
            Counts (ADU) as read out: pedestal, photons, cosmic rays, read noise, clipped at the full scale.
        truth : FrameTruth
            What is in it.

        Raises
        ------
        ValueError
            When the expected photons are negative, not finite, or not one for each column.
        """
        photons, photon_charge, total = self._photons(spectrum, rng, displacement)
        if second_order is not None:
            parts = self._photons(second_order, rng, displacement, order=2)
            photons, photon_charge, total = photons + parts[0], photon_charge + parts[1], total + parts[2]
        cosmic_charge, cosmic_hits = self._cosmic_rays(exposure_time, rng)
        counts = photon_charge + cosmic_charge
        counts += self.pedestal_image
        counts += np.float32(self.read_noise) * rng.standard_normal(counts.shape, dtype=np.float32)
        counts += np.float32(self.pedestal_drift * rng.standard_normal())
        if self.clip is not None:
            counts -= np.float32(self.pedestal + self.clip * self.read_noise)
        frame = np.clip(np.rint(counts, out=counts), 0, self.full_scale, out=counts).astype(np.uint16)
        return frame, FrameTruth(photons, photon_charge, cosmic_charge, cosmic_hits, total, displacement)

    def _photons(
        self, spectrum: Spectrum | ArrayLike, rng: np.random.Generator, displacement: float, *, order: int = 1
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], float]:
        """Draw the photons of a frame: their number and their charge in each pixel, and how many were expected."""
        start, width, expected = self._cells(spectrum, abs(displacement))
        total = float(expected.sum())
        n_photons = int(rng.poisson(total))
        photons = np.zeros((self.rows, self.columns), dtype=np.int32)
        photon_charge = np.zeros((self.rows, self.columns), dtype=np.float32)
        cumulative = np.cumsum(expected)
        blur = self.resolution / FWHM_PER_SIGMA if callable(spectrum) else 0.0
        for first in range(0, n_photons, _PHOTONS_AT_ONCE):
            number = min(_PHOTONS_AT_ONCE, n_photons - first)
            row = rng.uniform(-0.5, self.rows - 0.5, number)
            cell = np.searchsorted(cumulative, rng.uniform(0, total, number), side="right")
            # rounding may put the last draw past the last cell that emits
            position = start[np.minimum(cell, start.size - 1)] + width * rng.uniform(size=number)
            charge = self._charge(order * self.energy(position), rng)
            column = position + blur * rng.standard_normal(number) + self.shift(row) + displacement
            count_hits(photons, row, column)
            sigma = np.full(number, self.cloud_sigma)
            deposit_charges(photon_charge, row, column, charge, sigma=sigma, row_binning=self.row_binning)
        return photons, photon_charge, total

    def _cells(self, spectrum: Spectrum | ArrayLike, drifted: float) -> tuple[FloatArray, float, FloatArray]:
        """Give the left edges of cells along the chip, their width (pixels) and the photons expected from each."""
        if callable(spectrum):
            margin = int(3 * self.resolution + drifted)  # light from beyond the chip's edge is blurred onto it
            width = 1 / _GRID_PER_PIXEL
            start = np.arange(-0.5 - margin, self.columns - 0.5 + margin, width)
            expected = spectrum(self.energy(start + width / 2)) * np.diff(
                self.energy(np.append(start, start[-1] + width))
            )
        else:
            width = 1.0
            start = np.arange(self.columns) - 0.5
            expected = np.asarray(spectrum, dtype=float)
        if expected.shape != start.shape:
            raise ValueError(f"expected photons have shape {expected.shape}, the spectrograph needs {start.shape}")
        if not np.all(np.isfinite(expected)) or np.any(expected < 0):
            raise ValueError("expected photons must be finite and not negative")
        return start, width, expected

    def _charge(self, energy: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Charge of photons of these energies in counts, with Fano's fluctuation."""
        fluctuation = np.sqrt(FANO_FACTOR * PAIR_ENERGY * energy) * rng.standard_normal(energy.shape)
        result: FloatArray = self.counts_per_ev * (energy + fluctuation)
        return result

    def _cosmic_rays(self, exposure_time: float, rng: np.random.Generator) -> tuple[NDArray[np.float32], int]:
        """Draw the cosmic rays of an exposure: the counts that they leave, and how many there were."""
        image = np.zeros((self.rows, self.columns), dtype=np.float32)
        hits = int(rng.poisson(self.cosmic_rate * self.area * exposure_time / 60))
        row, column, charge, sigma = cosmic_tracks(hits, self.rows, self.columns, self.row_binning, rng=rng)
        deposit_charges(image, row, column, charge, sigma=sigma, row_binning=self.row_binning)
        return image, hits
