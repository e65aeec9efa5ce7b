"""The sample under the microscope: maps of thickness, drawn at random with the sample's name as the seed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulated_devices.physics.materials import MATERIALS, Material, optical_density_per_um
from simulated_devices.physics.samples import Sample, sample_called
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]
Window = tuple[float, float]

OXIDES: tuple[Material, ...] = ("reduced", "pristine", "charged", "oxidised")
OF_PARTICLES: tuple[Material, ...] = (*OXIDES, "binder")
# The states of the oxide in which an element is reduced; it is oxidised in the others.
REDUCED: dict[str, tuple[Material, ...]] = {
    "O": ("reduced", "pristine", "charged"),
    "Mn": ("reduced",),
    "Co": ("reduced", "pristine"),
    "Ni": ("reduced", "pristine"),
}
HALF_FIELD, STEP = 3.0, 0.01  # um: the maps reach from -3 to 3 both ways
EMPTY_BELOW = -0.9  # um: no sample at smaller x
PARTICLES, AGGLOMERATES = 90, 12
SLAB, SLAB_BEGINS = 0.22, -0.6  # um thick, of binder 2.5 times as much, and where it begins along x
FILM = 0.03  # um of iron: thin enough that some light gets through at its white line


@dataclass(frozen=True)
class Phantom:
    """Thickness of each material.

    Attributes
    ----------
    thickness : dict of str to numpy.ndarray, shape (rows, columns)
        um, by material; rows along y, columns along x, `STEP` apart, from -`HALF_FIELD`.
    """

    thickness: dict[str, FloatArray]

    @cached_property
    def _materials(self) -> list[Material]:
        """Those of which there is any."""
        return [name for name in MATERIALS if name in self.thickness and self.thickness[name].any()]

    def transmission(self, energy: float, blur: float, light: Stokes = HORIZONTAL) -> FloatArray:
        """Give the transmission as a probe sees it.

        Parameters
        ----------
        energy : float
            eV.
        blur : float
            Sigma of the probe, um.
        light : Stokes
            How it is polarised.

        Returns
        -------
        numpy.ndarray, shape (rows, columns)
        """
        density = sum(
            (optical_density_per_um(name, energy, light) * self.thickness[name] for name in self._materials),
            self._nothing(),
        )
        result: FloatArray = ndimage.gaussian_filter(np.exp(-density), blur / STEP, truncate=4.0)
        return result

    def edge_areas(
        self, blur: float, energies: FloatArray, background: Window, area: Window, element: str = "O", *,
        energy_offset: float = 0.0,
    ) -> dict[str, FloatArray]:  # fmt: skip
        """Give the edge area of the oxide under a probe, where an element of it is reduced and where it is oxidised.

        Parameters
        ----------
        blur : float
            Sigma of the probe, um.
        energies : numpy.ndarray, shape (energies,)
            eV, ascending, as they are read.
        background, area : (float, float)
            eV, as they are read: the mean optical density in the first is subtracted, the second is integrated over by
            trapezoids.
        element : str
            One of `REDUCED`.
        energy_offset : float
            By how many eV the energies are higher than they are read.

        Returns
        -------
        dict of str to numpy.ndarray, shape (rows, columns)
            eV, by "reduced" and "oxidised".
        """
        below, inside = ((energies >= low) & (energies <= high) for low, high in (background, area))
        found = {"reduced": self._nothing(), "oxidised": self._nothing()}
        for name in set(OXIDES) & set(self._materials):
            density = optical_density_per_um(name, energies + energy_offset)
            above = float(np.trapezoid(density[inside] - density[below].mean(), energies[inside]))
            phase = "reduced" if name in REDUCED[element] else "oxidised"
            found[phase] += above * ndimage.gaussian_filter(self.thickness[name], blur / STEP)
        return found

    def reduced_fraction(self, blur: float, element: str = "O") -> FloatArray:
        """Give the share of the oxide under a probe in which an element is reduced; NaN where there is none."""
        thickness = {name: ndimage.gaussian_filter(self.thickness[name], blur / STEP) for name in OXIDES}
        reduced, total = (
            sum((thickness[name] for name in names), self._nothing()) for names in (REDUCED[element], OXIDES)
        )
        result: FloatArray = np.divide(reduced, total, out=np.full(total.shape, np.nan), where=total > 1e-6)
        return result

    def _nothing(self) -> FloatArray:
        return np.zeros(self.thickness["reduced"].shape)


@lru_cache(maxsize=16)
def phantom_of(sample: str) -> Phantom:
    """Give the phantom of a sample, the same each time.

    Parameters
    ----------
    sample : str
        A name that `sample_called` takes.
    """
    made_of = sample_called(sample)
    side = round(2 * HALF_FIELD / STEP) + 1
    axis = np.linspace(-HALF_FIELD, HALF_FIELD, side)
    x, y = np.meshgrid(axis, axis)
    if made_of.form == "slab":
        return _slab(made_of, x)
    return _particles(made_of, x, y, np.random.default_rng(zlib.crc32(sample.encode())))


def _slab(made_of: Sample, x: FloatArray) -> Phantom:
    """Give a flat piece of one material beside nothing."""
    rim = 0.5 * (1 + np.tanh((x - SLAB_BEGINS) / 0.05))
    oxide = SLAB * rim if made_of.oxide > 0.5 else np.zeros_like(x)
    binder = 2.5 * SLAB * rim if made_of.oxide <= 0.5 else np.zeros_like(x)
    if made_of.iron:
        return Phantom({**dict.fromkeys(OF_PARTICLES, np.zeros_like(x)), "iron": FILM * rim})
    return Phantom({"reduced": np.zeros_like(x), **_in_bulk(made_of, oxide), "binder": binder})


def _in_bulk(made_of: Sample, thickness: FloatArray) -> dict[str, FloatArray]:
    """Divide oxide among its states: oxygen is oxidised where the metals are."""
    return {
        "pristine": (1 - made_of.metals) * thickness,
        "charged": (made_of.metals - made_of.oxidised) * thickness,
        "oxidised": made_of.oxidised * thickness,
    }


def _particles(made_of: Sample, x: FloatArray, y: FloatArray, rng: np.random.Generator) -> Phantom:
    """Draw agglomerates of particles, each with a core in a reduced shell, and binder around them."""
    maps: dict[str, FloatArray] = {name: np.zeros(x.shape) for name in OF_PARTICLES}
    centres = rng.uniform((-0.5, -2.4), (2.4, 2.4), (AGGLOMERATES, 2))
    for number in range(PARTICLES):
        centre = centres[number % AGGLOMERATES] + rng.normal(0.0, 0.42, 2)
        lateral, height = rng.uniform(0.14, 0.36, 2), rng.uniform(0.06, 0.20)
        if rng.random() < 0.05:
            height *= 3.0  # some are thick enough to saturate
        centre[0] = max(centre[0], EMPTY_BELOW + lateral.max())
        angle = rng.uniform(0, np.pi)
        along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        across = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
        whole, core = _shell_and_core(along, across, lateral, height, made_of.shell)
        maps["reduced"] += whole - core
        for state, thickness in _in_bulk(made_of, core).items():
            maps[state] += thickness
    for centre in centres:
        spot = centre + rng.normal(0.0, 0.4, 2)
        size = rng.uniform(0.25, 0.6, 2)
        blob = np.exp(-0.5 * (((x - spot[0]) / size[0]) ** 2 + ((y - spot[1]) / size[1]) ** 2))
        maps["binder"] += made_of.carbon * rng.uniform(0.4, 1.6) * np.clip(blob - 0.1, 0.0, None)
    maps["binder"] *= 0.5 * (1 + np.tanh((x - EMPTY_BELOW - 0.6) / 0.2))  # thins out towards the empty side
    maps["binder"][x < EMPTY_BELOW] = 0.0
    return Phantom(maps)


def _shell_and_core(
    along: FloatArray, across: FloatArray, lateral: FloatArray, height: float, shell: float
) -> tuple[FloatArray, FloatArray]:
    """Give the thickness of a flattened ellipsoid, and that of its core inside a shell."""
    whole = _chord(along, across, lateral, height)
    if min(*lateral, height / 2) <= shell:
        return whole, np.zeros_like(whole)
    return whole, np.minimum(_chord(along, across, lateral - shell, height - 2 * shell), whole)


def _chord(along: FloatArray, across: FloatArray, lateral: FloatArray, height: float) -> FloatArray:
    """Give the thickness of an ellipsoid: its semi-axes in the plane and its full height, um."""
    result: FloatArray = height * np.sqrt(
        np.clip(1 - (along / lateral[0]) ** 2 - (across / lateral[1]) ** 2, 0.0, None)
    )
    return result
