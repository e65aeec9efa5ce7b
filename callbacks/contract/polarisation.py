"""The names of polarisations: how each is written, in plans, devices and documents alike."""

from __future__ import annotations

import math

HORIZONTAL, VERTICAL = "LH", "LV"
PLUS, MINUS = "C+", "C-"  # circular: the phase of the undulator is positive, or negative
NAMED = (HORIZONTAL, VERTICAL, PLUS, MINUS)
CIRCULAR = (PLUS, MINUS)
EXPECTED = "expected LH, LV, C+, C- or an angle from -180 to 180 degrees"
DIGITS = 3  # of an angle, after the point


def polarisation_called(text: str) -> str:
    """Give the one name that a polarisation has in documents.

    Parameters
    ----------
    text : str
        ``LH`` or ``LV`` (linear, horizontal or vertical), ``C+`` or ``C-`` (circular), or the angle in degrees of
        linear light: of its electric field from the horizontal, anticlockwise as the source is looked at.

    Returns
    -------
    str
        One of `NAMED`, or an angle above -90 and below 90 other than 0: 0 is ``LH``, 90 is ``LV``, 135 is ``-45``.

    Raises
    ------
    ValueError
        For anything else.
    """
    stripped = text.strip()
    if stripped.upper() in NAMED:
        return stripped.upper()
    try:
        angle = float(stripped)
    except ValueError:
        raise ValueError(f"{text!r} is no polarisation, {EXPECTED}") from None
    if not abs(angle) <= 180.0:
        raise ValueError(f"{text!r} is no polarisation, {EXPECTED}")
    return polarisation_at(angle)


def polarisation_at(angle: float) -> str:
    """Give the name of linear polarisation at an angle, degrees."""
    within = round(90.0 - (90.0 - angle) % 180.0, DIGITS)  # above -90, up to 90
    if within in (0.0, 90.0, -90.0):
        return VERTICAL if within else HORIZONTAL
    return f"{within:.{DIGITS}f}".rstrip("0").rstrip(".")


def angle_of(polarisation: str) -> float:
    """Give the angle of linear polarisation, degrees, by its name; NaN where it is circular."""
    if polarisation in CIRCULAR:
        return math.nan
    return {HORIZONTAL: 0.0, VERTICAL: 90.0}[polarisation] if polarisation in NAMED else float(polarisation)
