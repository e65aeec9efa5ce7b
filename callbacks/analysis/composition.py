"""What a sample is made of, and what it absorbs by tabulated cross sections, with and without one of its edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

# Relative standard uncertainty of the tabulated step over the rest: of solids within 10 % of a K edge and 15 % of L2
# and L3, the middle of what is estimated (C. T. Chantler, J. Phys. Chem. Ref. Data 29 (2000) 597, table 2).
STEP_SIGMA = {"K": 0.15, "L": 0.3, "M": 0.3}
SHELLS = {"K": ("K",), "L": ("L3", "L2"), "M": ("M5", "M4")}  # edges that a spectrum goes over, the lowest first
TABULATED = (100.0, 8e5)  # eV, of Elam's tables


@dataclass(frozen=True)
class Composition:
    """What a sample is made of, and the edge whose fine structure is measured.

    Attributes
    ----------
    formula : str
    edge : str
        Element and edge or shell, as "O K" or "Mn L3"; L3 and L2 belong together.

    Notes
    -----
    Cross sections for photoelectric absorption are those of W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys.
    Chem. 63 (2002) 121, as xraydb has them. What the element absorbs without this edge is drawn on from below it, and
    with it from above, as powers of the energy.
    """

    formula: str
    edge: str

    def __post_init__(self) -> None:
        """Check both.

        Raises
        ------
        ValueError
            For what is no formula or no edge, and an element that the sample does not have.
        """
        if self.element not in self.shares:
            raise ValueError(f"formula {self.formula}: has no {self.element}, whose edge is {self.edge!r}")

    @property
    def element(self) -> str:
        """Symbol of the element whose edge it is."""
        return _edges(self.edge)[0]

    @property
    def shell(self) -> str:
        """K, L or M."""
        return _edges(self.edge)[1]

    def is_of(self, edge: str) -> bool:
        """Tell whether another edge is of the same element and shell, as L2 and L3 are; ValueError for no edge."""
        return _edges(edge) == (self.element, self.shell)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each element by mass."""
        return _shares(self.formula)

    @property
    def onset(self) -> float:
        """Energy of the lowest of the edges as tabulated, eV."""
        return self._at()[0]

    @property
    def line(self) -> float:
        """Energy of the strongest emission line into this shell as tabulated, eV."""
        import xraydb  # noqa: PLC0415 - 1.3 s, and few recipes need it

        lines = xraydb.xray_lines(self.element, SHELLS[self.shell][0]).values()
        if not lines:
            raise ValueError(f"{self.element} {self.shell}: no emission line is tabulated; expected `emission`, eV")
        return float(max(lines, key=lambda line: line.intensity).energy)

    def rest(self, energy: FloatArray) -> FloatArray:
        """Give the absorption without the edge, cm2/g."""
        energy = np.asarray(energy, dtype=float)
        others = [s * _tabulated(e, energy) for e, s in self.shares.items() if e != self.element]
        return np.asarray(sum(others, self.shares[self.element] * self._below(energy)))

    def step(self, energy: FloatArray) -> FloatArray:
        """Give what the edge adds where it has no fine structure, cm2/g; drawn on to below the edge as well."""
        energy = np.asarray(energy, dtype=float)
        last, following = self._at()[1:]
        above = _power(self.element, (1.001 * last, min(1.1 * last, 0.999 * following)), energy)
        return np.asarray(self.shares[self.element] * (above - self._below(energy)))

    def _below(self, energy: FloatArray) -> FloatArray:
        return _power(self.element, (0.9 * self.onset, 0.999 * self.onset), energy)

    def _at(self) -> tuple[float, float, float]:
        """Give the energies of the first and last of the edges, and of the next one of the element."""
        known = _edges_of(self.element)
        own = [known[name] for name in SHELLS[self.shell] if name in known]
        if not own:
            raise ValueError(f"edge {self.edge!r}: {self.element} has no {' and '.join(SHELLS[self.shell])}")
        return own[0], own[-1], min((at for at in known.values() if at > own[-1]), default=math.inf)


def _edges(edge: str) -> tuple[str, str]:
    element, _, shell = edge.strip().partition(" ")
    if not element.isalpha() or shell[:1] not in SHELLS:
        raise ValueError(f"edge {edge!r}: expected an element and its edge, such as O K or Mn L3")
    return element, shell[0]


@cache
def _shares(formula: str) -> dict[str, float]:
    import xraydb  # noqa: PLC0415

    try:
        atoms = xraydb.chemparse(formula)
    except ValueError as error:
        raise ValueError(f"formula {formula!r}: {str(error).splitlines()[0].rstrip(':')}") from error
    masses = {element: number * xraydb.atomic_mass(element) for element, number in atoms.items()}
    if not masses:
        raise ValueError(f"formula {formula!r}: names no element")
    return {element: mass / sum(masses.values()) for element, mass in masses.items()}


def _tabulated(element: str, energy: FloatArray) -> FloatArray:
    if energy.size and not (energy.min() >= TABULATED[0] and energy.max() <= TABULATED[1]):
        raise ValueError(
            f"energies of {energy.min():g} to {energy.max():g} eV: absorption is tabulated from"
            f" {TABULATED[0]:g} to {TABULATED[1]:g} eV"
        )
    return _mass_absorption(element, energy.tobytes())


@lru_cache(maxsize=256)
def _mass_absorption(element: str, energies: bytes) -> FloatArray:
    """Give the photoelectric mass absorption, cm2/g."""
    import xraydb  # noqa: PLC0415

    return np.asarray(xraydb.mu_elam(element, np.frombuffer(energies), kind="photo"), dtype=float)


@cache
def _edges_of(element: str) -> dict[str, float]:
    """Give the energies of all edges of an element, eV."""
    import xraydb  # noqa: PLC0415

    return {name: float(each.energy) for name, each in xraydb.xray_edges(element).items()}


def _power(element: str, through: tuple[float, float], energy: FloatArray) -> FloatArray:
    """Draw the tabulated absorption on as a power of the energy, through two energies (eV)."""
    first, second = _tabulated(element, np.array(through))
    exponent = math.log(second / first) / math.log(through[1] / through[0])
    return np.asarray(first * (energy / through[0]) ** exponent)
