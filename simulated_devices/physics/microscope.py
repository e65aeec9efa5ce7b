"""The scanning transmission X-ray microscope: zone plate, drift, and the counts of a line."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from simulated_devices.physics.lineshapes import FWHM_PER_SIGMA
from simulated_devices.physics.phantom import HALF_FIELD, STEP, Phantom, phantom_of
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]

DIAMETER, OUTER_ZONE = 160.0, 0.045  # um, of the zone plate
PHOTON = 1.23984  # eV um
FOCUSED_FWHM = 0.055  # um
FOCUS_OFFSET = 0.6  # um that the focus is off its nominal position, as it is after a sample change
RUN_OUT = (0.035e-2, -0.018e-2)  # um along y and x for each um of zone-plate travel
RUN_OUT_FROM = 3000.0  # um
APERTURE = 20.0  # um: an order-sorting aperture farther off the axis than this blocks the beam
FLUX, DARK_RATE, DEAD_TIME = 8e6, 250.0, 12e-9  # counts/s without sample, counts/s, s
STRAY = 0.003  # of the flux: light of other orders, which the sample hardly absorbs
FLUX_NOISE = 0.001  # relative, from line to line
ENCODER_NOISE = 0.003  # um rms between the position asked for and that of the pixel
TURNAROUND, POINT_OVERHEAD = 0.06, 0.008  # s a line; s a pixel in point mode
KEPT_VIEWS = 4


def focal_length(energy: float) -> float:
    """Give the focal length, um, at an energy, eV."""
    return DIAMETER * OUTER_ZONE * energy / PHOTON


def probe_sigma(defocus: float, energy: float) -> float:
    """Give the sigma of the probe, um: the focus, and the cone that opens on either side of it."""
    return float(np.hypot(FOCUSED_FWHM / FWHM_PER_SIGMA, DIAMETER * defocus / focal_length(energy) / 4))


@dataclass
class Drift:
    """Thermal drift of the sample relative to the optics: it settles, and wanders slowly.

    Attributes
    ----------
    start : float
        s since 1970.
    settling, wander : numpy.ndarray, shape (2,)
        um, along y and x.
    """

    start: float
    settling: FloatArray
    wander: FloatArray
    phase: FloatArray
    settling_time: float = 1500.0  # s
    period: float = 5200.0  # s

    @classmethod
    def by_chance(cls, start: float, rng: np.random.Generator, scale: float) -> Drift:
        """Draw a drift at random."""
        sign = rng.choice((-1.0, 1.0), 2)
        return cls(
            start, scale * sign * rng.uniform(0.22, 0.36, 2), scale * rng.normal(0, 0.03, 2), rng.uniform(0, 6, 2)
        )

    def at(self, moment: FloatArray) -> FloatArray:
        """Give the drift at moments in s since 1970, shape (2, n): um along y and x."""
        after = np.asarray(moment, dtype=float) - self.start
        settled = 1 - np.exp(-np.maximum(after, 0.0) / self.settling_time)
        waves = np.sin(2 * np.pi * after / self.period + self.phase[:, None]) - np.sin(self.phase)[:, None]
        result: FloatArray = self.settling[:, None] * settled + self.wander[:, None] * waves
        return result


@dataclass
class Microscope:
    """The positions of the microscope's parts, and what it would count.

    Attributes
    ----------
    zone_plate : float
        um along the beam.
    aperture : (float, float)
        um off the axis, x and y.
    coarse : dict of str to float
        um, by axis.
    """

    drift: Drift
    zone_plate: float = field(default_factory=lambda: focal_length(530.0))
    aperture: tuple[float, float] = (0.0, 0.0)
    coarse: dict[str, float] = field(default_factory=lambda: {"x": 0.0, "y": 0.0})
    _views: OrderedDict[tuple[str, float, float, Stokes], FloatArray] = field(default_factory=OrderedDict)

    def displacement(self, moment: FloatArray) -> FloatArray:
        """Give the displacement of the image from the stage's coordinates, shape (2, n): um along y and x."""
        return self.drift.at(moment) + np.array(RUN_OUT)[:, None] * (self.zone_plate - RUN_OUT_FROM)

    def transmission(
        self,
        sample: str,
        energy: float,
        x: FloatArray,
        y: FloatArray,
        moment: FloatArray,
        *,
        light: Stokes = HORIZONTAL,
    ) -> FloatArray:
        """Give the transmission at positions of the fine stage, stray light included.

        Parameters
        ----------
        sample : str
        energy : float
            True photon energy, eV.
        x, y : numpy.ndarray, shape (n,)
            um, of the fine stage.
        moment : numpy.ndarray, shape (n,)
            s since 1970.
        light : Stokes
            How it is polarised.
        """
        if np.hypot(*self.aperture) > APERTURE:
            return np.zeros(len(x))
        blur = probe_sigma(self.zone_plate - focal_length(energy) - FOCUS_OFFSET, energy)
        moved_y, moved_x = self.displacement(moment)
        places = np.array([y + self.coarse["y"] - moved_y, x + self.coarse["x"] - moved_x])
        view = self._view(sample, energy, blur, light)
        through = ndimage.map_coordinates(view, (places + HALF_FIELD) / STEP, order=3, prefilter=False, mode="nearest")
        result: FloatArray = (1 - STRAY) * through + STRAY
        return result

    def count(self, rate: FloatArray, dwell: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Count photons that come at a rate, counts/s, with a detector that has a dead time and dark counts."""
        seen = rate + DARK_RATE
        mean = seen * dwell / (1 + seen * DEAD_TIME)
        sigma = np.sqrt(seen * dwell / (1 + seen * DEAD_TIME) ** 3)
        counts = np.where(mean > 100, np.rint(mean + sigma * rng.standard_normal(len(mean))), rng.poisson(mean))
        return np.maximum(counts, 0.0)

    def _view(self, sample: str, energy: float, blur: float, light: Stokes) -> FloatArray:
        """Give the spline coefficients of the sample as the probe sees it."""
        key = (sample, round(energy, 5), round(blur, 5), light)
        if key not in self._views:
            self._views[key] = ndimage.spline_filter(phantom_of(sample).transmission(energy, blur, light))
            while len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
        return self._views[key]


@dataclass(frozen=True)
class MicroscopeTruth:
    """What the simulated microscope knows: only for tests and demonstrations to compare with."""

    microscope: Microscope

    @property
    def probe(self) -> float:
        """Sigma of the probe when the plan follows the focus, um."""
        return probe_sigma(FOCUS_OFFSET, 530.0)

    def phantom(self, sample: str) -> Phantom:
        """Give the thickness maps of a sample."""
        return phantom_of(sample)

    def drift(self, moments: ArrayLike, zone_plates: ArrayLike) -> FloatArray:
        """Give the displacement of the image at moments and zone-plate positions, shape (n, 2): um along y and x."""
        run_out = np.array(RUN_OUT)[:, None] * (np.asarray(zone_plates) - RUN_OUT_FROM)
        return (self.microscope.drift.at(np.asarray(moments)) + run_out).T

    def sampled(self, image: FloatArray, x: FloatArray, y: FloatArray, displacement: FloatArray) -> FloatArray:
        """Give a map of the phantom at positions of the stage, shape (rows, columns).

        Parameters
        ----------
        image : numpy.ndarray
            A map of the phantom.
        x, y : numpy.ndarray, shape (columns,) and (rows,)
            um.
        displacement : numpy.ndarray, shape (rows, 2)
            um along y and x, of each line.
        """
        rows = np.broadcast_to((y - displacement[:, 0])[:, None], (len(y), len(x)))
        columns = x[None] - displacement[:, 1:]
        places = (np.array([rows, columns]) + HALF_FIELD) / STEP
        result: FloatArray = ndimage.map_coordinates(image, places, order=1, mode="nearest")
        return result
