"""Text to exact decimal numbers and named fields, and back."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from plans.errors import PlanError

SHOWN = 40  # characters of what was typed, in an error


def read_number(text: str, where: str, expected: str, *, lowest: Decimal, highest: Decimal) -> Decimal:
    """Read a decimal number.

    Parameters
    ----------
    text : str
    where : str
        What the number belongs to, for messages.
    expected : str
        What is expected there, for messages.
    lowest, highest : Decimal
        Beyond them, the number was mistyped.

    Raises
    ------
    PlanError
        Naming where, what was read and what was expected.
    """
    shown = text.strip()[:SHOWN]
    try:
        number = Decimal(text.strip()).normalize()
    except InvalidOperation:
        raise PlanError(f"{where}: {shown!r} is not a number; {expected}") from None
    if not (number.is_finite() and lowest <= number <= highest):
        raise PlanError(f"{where}: {shown} is not between {lowest} and {highest}; {expected}")
    return number + 0  # no -0


def plain(number: Decimal) -> str:
    """Write a number without an exponent."""
    return f"{number.normalize():f}"


def assignments(text: str, where: str, expected: str) -> dict[str, str]:
    """Read ``name=value name=value``; `PlanError` names where, for a field of another form or one that comes twice."""
    fields: dict[str, str] = {}
    for field in text.split():
        name, equals, value = field.partition("=")
        if not equals or name in fields:
            raise PlanError(f"{where}: {field!r} {'is given twice' if equals else 'is not name=value'}; {expected}")
        fields[name] = value
    return fields
