"""Read the numbers of a NXstxm file, converted to the units of the contract and checked for what they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from beamline.formats.importers.hdf5 import Field, FloatArray, Group
from beamline.formats.importers.quantities import check_range, factor

T = TypeVar("T")


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
        self, group: Group, name: str, units: Mapping[str, float], assumed: str, limits: tuple[float, float]
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
        values = np.ravel(self.array(field, units, assumed))
        check_range(field.label, values, limits, assumed)
        return values

    def array(self, field: Field, units: Mapping[str, float], assumed: str) -> FloatArray:
        """Read a field in its own shape.

        Parameters
        ----------
        field : Field
        units : mapping of str to float
            Factor of each unit that may be given; see `quantities.normalised`.
        assumed : str
            The unit if none is given.

        Raises
        ------
        ValueError
            When it cannot be read, or the unit is another one.
        """
        unit = field.text_attribute("units")
        if not unit:
            problem = f"{field.label}: no unit, taken for {assumed}"
            if assumed and problem not in self.problems:
                self.problems.append(problem)
            return field.numbers()
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
