"""Units and values in files of other programs: conversion to the units of the contract, and what they can be."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from beamline.formats.text import quoted

FloatArray = NDArray[np.floating]

# Factor of each unit, as `normalised` spells it. The prefixes m and M are told apart by case, which is kept for them.
LENGTH = {
    **dict.fromkeys(("um", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e3),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e6),
}
ENERGY = {"ev": 1.0, "kev": 1e3}
TIME = {**dict.fromkeys(("s", "sec", "second", "seconds"), 1.0), "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
CURRENT = {"ma": 1.0, "a": 1e3}
RATE = {**dict.fromkeys(("counts/s", "count/s", "1/s", "hz", "cps"), 1.0), "khz": 1e3}
PLAIN = {"": 1.0, "1": 1.0, "counts": 1.0}
MEGA = ("MeV", "MA", "Ms", "Mm")  # what would be taken for milli, or for nothing known, without its case

ENERGIES = (0.0, 1e6)  # eV, of photons
ENERGY_TOLERANCE = 1.0  # eV between an energy as requested and that of the image, before it is named
POSITIONS = (-1e7, 1e7)  # um: 10 m
MOST_COUNTS = 2.0**53  # of which a float tells one more or less
TIMES = (0.0, 4_102_444_800.0)  # s since 1970: to the year 2100


def normalised(unit: str) -> str:
    """Return a unit in the one spelling that the tables here have.

    Compatible characters are one (the micro sign U+00B5 and the Greek letter U+03BC, NFKC), ``µ`` is ``u``, spaces
    around it are left out, and case does not matter but for the prefix mega.
    """
    text = unicodedata.normalize("NFKC", unit).replace("\u03bc", "u").strip().strip("\0").strip()
    return text if text in MEGA else text.lower()


def factor(unit: str, known: Mapping[str, float]) -> float:
    """Return the factor that converts a unit to that of the contract.

    Raises
    ------
    ValueError
        When it is none of the known ones; names it, with its code points where they are not of ASCII.
    """
    found = known.get(normalised(unit))
    if found is None:
        points = "" if unit.isascii() else f" ({' '.join(f'U+{ord(one):04X}' for one in unit[:20])})"
        names: dict[float, str] = {}  # one of each
        for name, one in known.items():
            names.setdefault(one, name)
        raise ValueError(f"unit {quoted(unit)}{points}, expected one of {', '.join(filter(None, names.values()))}")
    return found


def check_range(name: str, values: FloatArray, limits: tuple[float, float], unit: str) -> None:
    """Refuse values that are not numbers, or outside of what they can be (the lower limit itself is outside)."""
    low, high = limits
    wrong = ~((values > low) & (values <= high))  # NaN is wrong, too
    if wrong.any():
        seen = np.ravel(values)[np.flatnonzero(wrong)[0]]
        raise ValueError(
            f"{name}: {seen:g} {unit} among {values.size} values, expected numbers from {low:g} to {high:g} {unit}"
        )


def number_of(text: str) -> float:
    """Return the number that a text is; unlike `float`, refuse ``1_0``."""
    if "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def is_time(seconds: float) -> bool:
    """Tell whether a time (s since 1970) is one at which something can have been measured."""
    return math.isfinite(seconds) and TIMES[0] < seconds < TIMES[1]
