"""Absorption of the materials under the microscope: reduced and oxidised oxide, binder with carbon, and iron.

The continuum is Elam's, from xraydb (W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121). Each
tabulated edge, a sharp jump, is replaced by an arctan with the near-edge structure of the material, so that the area
under the continuum remains the tabulated one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import xraydb
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics.lineshapes import peak, step
from simulated_devices.physics.samples import IRON_STEPS, binder_o_k, iron_l, oxide_o_k
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]
Shape = Callable[[FloatArray, Stokes], FloatArray]
Material = Literal["reduced", "oxidised", "binder", "iron"]

MATERIALS: tuple[Material, ...] = get_args(Material)
ENERGIES = (280.0, 900.0)  # eV
OXIDE_DENSITY, BINDER_DENSITY, IRON_DENSITY = 4.3, 1.7, 7.87  # g/cm3
OXIDE = {"Li": 1.2, "Mn": 0.54, "Co": 0.13, "Ni": 0.13, "O": 2.0}  # atoms
BINDER = {"C": 0.70, "O": 0.23, "Na": 0.05, "H": 0.02}  # by mass: carbon black and as much carboxymethyl cellulose


@dataclass(frozen=True)
class _NearEdge:
    """A tabulated edge, and the absorption measured there relative to its step, as a function of energy."""

    element: str
    edge: str
    shape: Shape


def _alike(shape: Callable[[FloatArray], FloatArray]) -> Shape:
    """Give a shape that is the same for all light."""
    return lambda energy, _light: shape(energy)


def _white_lines(onset: float, width: float, *lines: tuple[float, float, float]) -> Shape:
    """Give an arctan onset with peaks, each of (centre in eV, FWHM in eV, height in steps)."""

    def shape(energy: FloatArray) -> FloatArray:
        return sum((height * peak(energy, at, fwhm) for at, fwhm, height in lines), step(energy, onset, width))

    return _alike(shape)


_L_EDGES_REDUCED = (
    # Mn4+ with a little Mn3+, as in the pristine oxide; L2 lies about 11 eV above L3
    _NearEdge("Mn", "L3", _white_lines(643.5, 1.0, (640.8, 1.2, 1.6), (641.8, 1.2, 1.4), (643.0, 1.8, 4.0))),
    _NearEdge("Mn", "L2", _white_lines(655.0, 1.4, (653.6, 2.6, 3.4))),
    _NearEdge("Co", "L3", _white_lines(781.5, 1.2, (780.5, 1.8, 4.6))),  # Co3+
    _NearEdge("Co", "L2", _white_lines(796.3, 1.5, (795.3, 2.2, 2.8))),
    _NearEdge("Ni", "L3", _white_lines(854.5, 1.2, (853.0, 1.2, 4.2), (854.9, 1.6, 1.4))),  # Ni2+
    _NearEdge("Ni", "L2", _white_lines(872.0, 1.5, (870.4, 2.2, 2.4))),
)
_L_EDGES_OXIDISED = (
    _NearEdge("Mn", "L3", _white_lines(643.9, 1.0, (640.8, 1.2, 1.9), (643.2, 1.8, 4.8))),  # Mn4+ only
    _NearEdge("Mn", "L2", _white_lines(655.4, 1.4, (654.0, 2.6, 3.6))),
    _NearEdge("Co", "L3", _white_lines(782.3, 1.2, (781.3, 2.4, 3.9))),  # towards Co4+: broader, 0.8 eV higher
    _NearEdge("Co", "L2", _white_lines(797.1, 1.5, (796.1, 2.7, 2.4))),
    _NearEdge("Ni", "L3", _white_lines(856.0, 1.2, (853.2, 1.3, 1.5), (855.3, 1.6, 3.9))),  # Ni4+
    _NearEdge("Ni", "L2", _white_lines(873.0, 1.5, (870.6, 2.0, 1.0), (872.4, 2.2, 2.2))),
)
_NEAR_EDGES: dict[Material, tuple[_NearEdge, ...]] = {
    "reduced": (
        _NearEdge("O", "K", _alike(lambda e: oxide_o_k(e, oxidised=0.0, hybridised=1.0))),
        *_L_EDGES_REDUCED,
    ),
    "oxidised": (
        _NearEdge("O", "K", _alike(lambda e: oxide_o_k(e, oxidised=1.0, hybridised=1.25))),
        *_L_EDGES_OXIDISED,
    ),
    "binder": (
        _NearEdge("C", "K", _white_lines(289.0, 1.5, (285.3, 1.0, 0.8), (291.8, 1.4, 0.9), (297.0, 8.0, 0.4))),
        _NearEdge("O", "K", _alike(lambda e: 2.0 * binder_o_k(e))),  # of which the step is a half
    ),
    "iron": (  # magnetised; each edge relative to its own step
        _NearEdge("Fe", "L3", lambda e, light: iron_l(e, light)[0] / IRON_STEPS[0]),
        _NearEdge("Fe", "L2", lambda e, light: iron_l(e, light)[1] / IRON_STEPS[1]),
    ),
}


def optical_density_per_um(material: Material, energy: ArrayLike, light: Stokes = HORIZONTAL) -> FloatArray:
    """Give the optical density, -ln(transmission), of 1 um of a material.

    Parameters
    ----------
    material : {"reduced", "oxidised", "binder", "iron"}
        Li1.2Mn0.54Co0.13Ni0.13O2 as it is made, the same with oxidised oxygen and metals, binder with carbon, or iron
        that is magnetised along the beam.
    energy : array_like
        Photon energy, eV.
    light : Stokes
        How it is polarised.

    Returns
    -------
    numpy.ndarray
        1/um, of the shape of `energy`.

    Raises
    ------
    ValueError
        For another material, or an energy outside 280 to 900 eV.
    """
    if material not in MATERIALS:
        raise ValueError(f"material is {material!r}, expected one of {', '.join(MATERIALS)}")
    e = np.asarray(energy, dtype=float)
    low, high = ENERGIES
    if e.size and not (low <= e.min() and e.max() <= high):
        raise ValueError(
            f"energy is {e.min():g} to {e.max():g} eV, the materials are known from {low:g} to {high:g} eV"
        )
    values = _optical_density(material, e.tobytes(), light if material == "iron" else HORIZONTAL)
    return values.reshape(e.shape).copy()


def step_per_um(material: Material, element: str, edge: str) -> float:
    """Give the height of an edge as tabulated, in optical density per um.

    Raises
    ------
    ValueError
        Where the material has no such element.
    """
    density, share = _mass_shares(material)
    if element not in share:
        raise ValueError(f"{material} has no {element}, only {', '.join(share)}")
    _, height = _edge_of(element, edge)
    return height * share[element] * density * 1e-4


@lru_cache(maxsize=256)
def _optical_density(material: Material, energies: bytes, light: Stokes) -> FloatArray:
    e = np.frombuffer(energies)
    density, shares = _mass_shares(material)
    total = np.zeros_like(e)
    for element, share in shares.items():
        total += share * _mass_absorption(element, energies)
    for near in _NEAR_EDGES[material]:
        at, height = _edge_of(near.element, near.edge)
        # the sharp jump is replaced by the measured shape; both decay above the edge like the continuum
        total += shares[near.element] * height * (at / e) ** 2.5 * (near.shape(e, light) - (e >= at))
    return total * density * 1e-4  # cm2/g times g/cm3, per um


@lru_cache(maxsize=2048)
def _mass_absorption(element: str, energies: bytes) -> FloatArray:
    """Give the photoelectric mass absorption, cm2/g."""
    return np.asarray(xraydb.mu_elam(element, np.frombuffer(energies), kind="photo"), dtype=float)


@lru_cache(maxsize=64)
def _edge_of(element: str, edge: str) -> tuple[float, float]:
    """Give energy, eV, and height, cm2/g, of a tabulated edge."""
    at = float(xraydb.xray_edges(element)[edge].energy)
    below, above = xraydb.mu_elam(element, np.array([at - 0.01, at + 0.01]), kind="photo")
    return at, float(above - below)


@lru_cache(maxsize=8)
def _mass_shares(material: Material) -> tuple[float, dict[str, float]]:
    """Give density, g/cm3, and the share of each element by mass."""
    if material == "binder":
        return BINDER_DENSITY, BINDER
    if material == "iron":
        return IRON_DENSITY, {"Fe": 1.0}
    masses = {element: atoms * xraydb.atomic_mass(element) for element, atoms in OXIDE.items()}
    return OXIDE_DENSITY, {element: mass / sum(masses.values()) for element, mass in masses.items()}
