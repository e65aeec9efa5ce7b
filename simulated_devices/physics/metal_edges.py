"""Absorption of the metals of the Li-rich oxide at their L edges: lines of each oxidation state, steps as tabulated.

Where the lines stand and how they change with the state follows spectra of references and electrodes: Mn 3+ and 4+,
Ni 2+ to 4+ as in Q. Li et al., J. Phys. D: Appl. Phys. 49 (2016) 413003, and in R. Qiao et al., J. Phys. Chem. C 119
(2015) 27228; Co 3+ that is oxidised as in T. Mizokawa et al., Phys. Rev. Lett. 111 (2013) 056404. L2 lies the
spin-orbit splitting of the 2p hole above L3 (11, 15 and 17 eV). Their multiplets are drawn by a few Gaussians, the
heights of which are chosen for looks: nothing depends on how well they stand for a measured spectrum. The steps are
Elam's, from xraydb (W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import xraydb
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics.lineshapes import peak, step

FloatArray = NDArray[np.floating]
Line = tuple[float, float, float]  # centre and FWHM, eV, height in steps
State = Literal["reduced", "pristine", "charged"]

OXIDE = {"Li": 1.2, "Mn": 0.54, "Co": 0.13, "Ni": 0.13, "O": 2.0}  # atoms
FIRST = 600.0  # eV: what the arctans of the metals reach below it, less than 0.2 % of their steps, is left out


@dataclass(frozen=True)
class WhiteLines:
    """A metal's edge: an arctan onset, and lines; relative to the step.

    Attributes
    ----------
    element, edge : str
    onset, width : float
        Of the arctan, eV.
    lines : tuple of (float, float, float)
    """

    element: str
    edge: str
    onset: float
    width: float
    lines: tuple[Line, ...]

    def shape(self, energy: FloatArray) -> FloatArray:
        """Give the absorption relative to the step."""
        lines = (height * peak(energy, at, fwhm) for at, fwhm, height in self.lines)
        return sum(lines, step(energy, self.onset, self.width))


_MN_3_4 = (  # 4+ with some 3+, as at surfaces that are reduced
    WhiteLines("Mn", "L3", 643.5, 1.0, ((640.8, 1.2, 1.6), (641.8, 1.2, 1.4), (643.0, 1.8, 4.0))),
    WhiteLines("Mn", "L2", 655.0, 1.4, ((653.6, 2.6, 3.4),)),
)
_MN_4 = (
    WhiteLines("Mn", "L3", 643.9, 1.0, ((640.8, 1.2, 1.9), (643.2, 1.8, 4.8))),
    WhiteLines("Mn", "L2", 655.4, 1.4, ((654.0, 2.6, 3.6),)),
)
_CO_3_NI_2 = (
    WhiteLines("Co", "L3", 781.5, 1.2, ((780.5, 1.8, 4.6),)),
    WhiteLines("Co", "L2", 796.3, 1.5, ((795.3, 2.2, 2.8),)),
    WhiteLines("Ni", "L3", 854.5, 1.2, ((853.0, 1.2, 4.2), (854.9, 1.6, 1.4))),
    WhiteLines("Ni", "L2", 872.0, 1.5, ((870.4, 2.2, 2.4),)),
)
_CO_4_NI_4 = (  # cobalt towards 4+: broader, 0.8 eV higher
    WhiteLines("Co", "L3", 782.3, 1.2, ((781.3, 2.4, 3.9),)),
    WhiteLines("Co", "L2", 797.1, 1.5, ((796.1, 2.7, 2.4),)),
    WhiteLines("Ni", "L3", 856.0, 1.2, ((853.2, 1.3, 1.5), (855.3, 1.6, 3.9))),
    WhiteLines("Ni", "L2", 873.0, 1.5, ((870.6, 2.0, 1.0), (872.4, 2.2, 2.2))),
)
# The oxide at the surface of the particles; as it is made; charged, where nickel and cobalt are oxidised.
METAL_EDGES: dict[State, tuple[WhiteLines, ...]] = {
    "reduced": (*_MN_3_4, *_CO_3_NI_2),
    "pristine": (*_MN_4, *_CO_3_NI_2),
    "charged": (*_MN_4, *_CO_4_NI_4),
}


def metal_l(energy: ArrayLike, *, oxidised: float) -> FloatArray:
    """Give the absorption of the metals in the bulk of the oxide at their L edges, in steps of it at the O K edge.

    Parameters
    ----------
    energy : array_like
        Photon energy, eV.
    oxidised : float
        Share of nickel and cobalt that is oxidised; manganese stays 4+.

    Returns
    -------
    numpy.ndarray
        Of the shape of `energy`; 0 below `FIRST`.
    """
    e = np.asarray(energy, dtype=float)
    if e.size == 0 or e.max() < FIRST:
        return np.zeros(e.shape)
    oxygen = OXIDE["O"] * _atomic_step("O", "K")
    total = np.zeros(e.shape)
    for edges, share in ((METAL_EDGES["pristine"], 1 - oxidised), (METAL_EDGES["charged"], oxidised)):
        for edge in edges:
            at, _ = edge_of(edge.element, edge.edge)
            height = OXIDE[edge.element] * _atomic_step(edge.element, edge.edge) / oxygen
            total += share * height * (at / e) ** 2.5 * edge.shape(e)
    return np.where(e < FIRST, 0.0, total)


@lru_cache(maxsize=64)
def edge_of(element: str, edge: str) -> tuple[float, float]:
    """Give energy, eV, and height, cm2/g, of a tabulated edge."""
    at = float(xraydb.xray_edges(element)[edge].energy)
    below, above = xraydb.mu_elam(element, np.array([at - 0.01, at + 0.01]), kind="photo")
    return at, float(above - below)


def _atomic_step(element: str, edge: str) -> float:
    """Give the height of an edge for each atom, in units in which it can be compared with others."""
    return edge_of(element, edge)[1] * float(xraydb.atomic_mass(element))
