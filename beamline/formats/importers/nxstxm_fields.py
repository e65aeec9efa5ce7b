"""Read the fields of a NXstxm file: strings in any of their forms, numbers converted to the units of the contract."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

LENGTH = {"um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}
ENERGY = {"ev": 1.0, "kev": 1e3}
TIME = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
CURRENT = {"ma": 1.0, "a": 1e3}


def is_class(item: Any, nexus_class: str) -> bool:
    """Tell whether an item of a file is a group of a NeXus class."""
    return isinstance(item, h5py.Group) and text_of(item.attrs.get("NX_class", "")) == nexus_class


def children(group: h5py.Group, nexus_class: str) -> list[str]:
    """List the names of the groups of a NeXus class in a group."""
    return [name for name, item in group.items() if is_class(item, nexus_class)]


def text_of(value: Any) -> str:
    """Return a string, however HDF5 stores it."""
    flat = np.ravel(np.asarray(value, dtype=object))
    one = flat[0] if flat.size else ""
    return (one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)).strip()


def texts_of(value: Any) -> list[str]:
    """Return a list of strings, stored as an array or as one string separated by colons or commas."""
    flat = np.ravel(np.asarray(value, dtype=object)).tolist()
    words = [text_of(one) for one in flat]
    return [part for word in words for part in re.split(r"[:,]", word)]


@dataclass(frozen=True)
class FieldReader:
    """Reads fields of numbers and converts them to the units of the contract.

    Attributes
    ----------
    problems : list of str
        Receives what had to be assumed.
    """

    problems: list[str]

    def field(self, group: h5py.Group, name: str, units: dict[str, float], assumed: str) -> FloatArray:
        """Return a field of a group as a one-dimensional array; see `array`."""
        return np.ravel(self.array(group[name], units, assumed))

    def array(self, dataset: h5py.Dataset, units: dict[str, float], assumed: str) -> FloatArray:
        """Return a field in its own shape.

        Parameters
        ----------
        dataset : h5py.Dataset
        units : dict of str to float
            Factor of each unit that may be given, in lower case.
        assumed : str
            The unit if none is given.

        Raises
        ------
        ValueError
            When the unit is another one.
        """
        values = np.asarray(dataset[()], dtype=float)
        unit = text_of(dataset.attrs.get("units", ""))
        if not unit:
            self.problems.append(f"{dataset.name}: no unit, taken for {assumed}")
            return values
        if unit.lower() not in units:
            raise ValueError(f"{dataset.name}: unit {unit!r}, expected one of {', '.join(units)}")
        factor = units[unit.lower()]
        return values if factor == 1.0 else values * factor
