"""Energies of several absorption edges: the text "O K=520:560:0.5; Co L3=770:800:0.2", and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from plans.errors import PlanError
from plans.regions.energy import EnergyRegions

EDGES_EXPECTED = "expected name=energies, as in O K=520:526:0.5, 526:535:0.1; Co L3=770:800:0.2"


@dataclass(frozen=True)
class EdgeEnergies:
    """Energies of each absorption edge. `str` gives the text that parses to the same edges and energies."""

    edges: tuple[tuple[str, EnergyRegions], ...]  # name and energies, in the order of measurement

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read edges separated by semicolons, as in ``"O K=520:526:0.5, 526:535:0.1; Co L3=770:800:0.2"``.

        One edge needs no name.

        Raises
        ------
        PlanError
            Naming the edge and what was expected.
        """
        parts = text.split(";")
        edges = []
        for part in parts:
            name, equals, energies = (field.strip() for field in part.rpartition("="))
            if len(parts) > 1 and not name:
                raise PlanError(f"edge {part.strip()!r}: has no name; {EDGES_EXPECTED}")
            if equals and not name:
                raise PlanError(f"edge {part.strip()!r}: {EDGES_EXPECTED}")
            edges.append((name, EnergyRegions.parse(energies)))
        if twice := first_repeated(name for name, _ in edges):
            raise PlanError(f"edge {twice!r}: is given twice")
        return cls(tuple(edges))

    @classmethod
    def of(cls, edges: Self | EnergyRegions | str) -> Self:
        """Give `edges` as they are, or parsed where they are text."""
        if isinstance(edges, EnergyRegions):
            return cls((("", edges),))
        return cls.parse(edges) if isinstance(edges, str) else edges

    def __str__(self) -> str:
        """Give the text that parses to these edges."""
        return "; ".join(f"{name}={energies}" if name else str(energies) for name, energies in self.edges)


def first_repeated(names: Iterable[str]) -> str:
    """Give the first name that occurs more than once; empty where none does."""
    return next((name for name, count in Counter(names).items() if count > 1), "")
