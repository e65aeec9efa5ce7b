"""Read the numbers of a NXstxm file, converted to the units of the contract and checked for what they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.quantities import check_range, factor, normalised

T = TypeVar("T")
UNIT_OF = {"mm": "um", "keV": "eV"}  # unit of the contract, of what may be assumed in its place


def unit_of(field: Field) -> str:
    """Return the unit of a field; "" if it has none. pyStxm names it ``NX_units``, and often only what kind it is."""
    unit = field.text_attribute("units")
    if unit:
        return unit
    unit = field.text_attribute("NX_units")
    return "" if unit.startswith("NX_") else unit


@dataclass(frozen=True)
class FieldReader:
    """Reads fields of numbers and converts them to the units of the contract.

    Attributes
    ----------
    problems : list of str
        Receives what had to be assumed, and what was left out.
    """

    problems: list[str]

    def axis(
        self,
        group: Group,
        name: str,
        units: Mapping[str, float],
        assumed: str,
        limits: tuple[float, float],
        *,
        why: str = "",
    ) -> FloatArray:
        """Read a field of a group as a list of numbers that are within limits; see `array`.

        Raises
        ------
        ValueError
            When it is not there, is no list, or holds another value.
        """
        field = group.field(name)
        if field is None:
            raise ValueError(f"{group.label}: no {name}")
        if field.size != max((1, *field.shape)):
            raise ValueError(f"{field.label}: shape {field.shape}, expected a list")
        values = np.ravel(self.array(field, units, assumed, why))
        check_range(field.label, values, limits, UNIT_OF.get(assumed, assumed))
        return values

    def array(self, field: Field, units: Mapping[str, float], assumed: str, why: str = "") -> FloatArray:
        """Read a field in its own shape.

        Parameters
        ----------
        field : Field
        units : mapping of str to float
            Factor of each unit that may be given; see `quantities.normalised`.
        assumed : str
            The unit if none is given; "" for values that need none.
        why : str
            Why that one, for the list of what was assumed.

        Raises
        ------
        ValueError
            When it cannot be read, or the unit is another one.
        """
        unit = unit_of(field)
        if not unit:
            problem = f"{field.label}: no unit, taken for {assumed}{why and f', {why}'}"
            if assumed and problem not in self.problems:
                self.problems.append(problem)
            return field.numbers() * units.get(normalised(assumed), 1.0)
        try:
            scale = factor(unit, units)
        except ValueError as error:
            raise ValueError(f"{field.label}: {error}") from None
        values = field.numbers()
        return values if scale == 1.0 else values * scale

    def optional(self, read: Callable[[], T]) -> T | None:
        """Read what the scan can do without; give None, and name the problem, where it cannot be read."""
        try:
            return read()
        except ValueError as error:
            self.problems.append(f"{error}; left out")
            return None
