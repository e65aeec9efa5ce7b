"""Absorption of the materials under the microscope: the oxide in its states, binder with carbon, and iron.

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

from simulated_devices.physics.metal_edges import METAL_EDGES, OXIDE, State, WhiteLines, edge_of
from simulated_devices.physics.samples import IRON_STEPS, binder_o_k, iron_l, oxide_o_k
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]
Shape = Callable[[FloatArray, Stokes], FloatArray]
# The oxide: at the surface of particles, manganese and all else reduced; as it is made; charged up to the plateau, with
# nickel and cobalt oxidised; and at the plateau's end, with its oxygen oxidised as well.
Material = Literal["reduced", "pristine", "charged", "oxidised", "binder", "iron"]

MATERIALS: tuple[Material, ...] = get_args(Material)
ENERGIES = (280.0, 900.0)  # eV
OXIDE_DENSITY, BINDER_DENSITY, IRON_DENSITY = 4.3, 1.7, 7.87  # g/cm3
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


def _lines(edge: WhiteLines) -> _NearEdge:
    """Give an edge by its lines."""
    return _NearEdge(edge.element, edge.edge, _alike(edge.shape))


def _oxide(state: State, *, oxidised: float, hybridised: float) -> tuple[_NearEdge, ...]:
    """Give the edges of the oxide with its metals in one state, and its oxygen as in `oxide_o_k`."""
    return (
        _NearEdge("O", "K", _alike(lambda e: oxide_o_k(e, oxidised=oxidised, hybridised=hybridised))),
        *map(_lines, METAL_EDGES[state]),
    )


_NEAR_EDGES: dict[Material, tuple[_NearEdge, ...]] = {
    "reduced": _oxide("reduced", oxidised=0.0, hybridised=1.0),
    "pristine": _oxide("pristine", oxidised=0.0, hybridised=1.0),
    "charged": _oxide("charged", oxidised=0.0, hybridised=1.0),
    "oxidised": _oxide("charged", oxidised=1.0, hybridised=1.25),
    "binder": (
        _lines(WhiteLines("C", "K", 289.0, 1.5, ((285.3, 1.0, 0.8), (291.8, 1.4, 0.9), (297.0, 8.0, 0.4)))),
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
    material : {"reduced", "pristine", "charged", "oxidised", "binder", "iron"}
        Li1.2Mn0.54Co0.13Ni0.13O2 in one of its states, binder with carbon, or iron that is magnetised along the beam.
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
    _, height = edge_of(element, edge)
    return height * share[element] * density * 1e-4


@lru_cache(maxsize=256)
def _optical_density(material: Material, energies: bytes, light: Stokes) -> FloatArray:
    e = np.frombuffer(energies)
    density, shares = _mass_shares(material)
    total = np.zeros_like(e)
    for element, share in shares.items():
        total += share * _mass_absorption(element, energies)
    for near in _NEAR_EDGES[material]:
        at, height = edge_of(near.element, near.edge)
        # the sharp jump is replaced by the measured shape; both decay above the edge like the continuum
        total += shares[near.element] * height * (at / e) ** 2.5 * (near.shape(e, light) - (e >= at))
    return total * density * 1e-4  # cm2/g times g/cm3, per um


@lru_cache(maxsize=2048)
def _mass_absorption(element: str, energies: bytes) -> FloatArray:
    """Give the photoelectric mass absorption, cm2/g."""
    return np.asarray(xraydb.mu_elam(element, np.frombuffer(energies), kind="photo"), dtype=float)


@lru_cache(maxsize=8)
def _mass_shares(material: Material) -> tuple[float, dict[str, float]]:
    """Give density, g/cm3, and the share of each element by mass."""
    if material == "binder":
        return BINDER_DENSITY, BINDER
    if material == "iron":
        return IRON_DENSITY, {"Fe": 1.0}
    masses = {element: atoms * xraydb.atomic_mass(element) for element, atoms in OXIDE.items()}
    return OXIDE_DENSITY, {element: mass / sum(masses.values()) for element, mass in masses.items()}
