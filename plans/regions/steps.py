"""Evenly spaced values, exact in decimals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from plans.errors import PlanError
from plans.regions.text import plain


@dataclass(frozen=True)
class Steps:
    """Evenly spaced values, both ends included; a single value has ``start == stop`` and no step.

    Decimal numbers, so that steps of 0.1 land on the values as typed.
    """

    start: Decimal
    stop: Decimal
    step: Decimal  # 0 for a single value

    @property
    def count(self) -> int:
        """How many values there are, also where they are more than a list can hold."""
        return int((self.stop - self.start) / self.step) + 1 if self.step else 1

    def __len__(self) -> int:
        """Count the values."""
        return self.count

    def __iter__(self) -> Iterator[Decimal]:
        """Give the values, ascending."""
        return (self.start + index * self.step for index in range(len(self)))

    def __str__(self) -> str:
        """Give the text that parses to these values."""
        return ":".join(plain(field) for field in ([self.start, self.stop, self.step] if self.step else [self.start]))


def check_ascending(start: Decimal, stop: Decimal, *, where: str, unit: str) -> None:
    """Raise `PlanError` where `stop` is not above `start`."""
    if stop <= start:
        raise PlanError(f"{where}: stop {plain(stop)} {unit} is not above start {plain(start)} {unit}")


def check_whole_steps(start: Decimal, stop: Decimal, step: Decimal, *, where: str, unit: str) -> None:
    """Raise `PlanError` where `stop` is not a whole number of steps from `start`."""
    try:
        last = (stop - start) % step
    except InvalidOperation:
        raise PlanError(f"{where}: step {plain(step)} is too fine to count") from None
    if last:
        raise PlanError(
            f"{where}: stop is not a whole number of steps from start; "
            f"the last step within it ends at {plain(stop - last)} {unit}"
        )
