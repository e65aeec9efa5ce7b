"""Channels that are stamped with the simulated time and act on what a client puts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from caproto import (
    AccessRights,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
)

from simulated_devices.ioc.bench import Bench

Pvs = dict[str, ChannelData]  # channels by the names of their process variables
OnPut = Callable[[Any], Awaitable[None]]


class _Stamped:
    """A channel whose values are stamped with the simulated time, and which may act on what a client puts.

    The value is stored and published at once; the put completes when what it started has ended.

    Attributes
    ----------
    on_put : callable or None
        Is given the value that a client has put.
    is_input : bool
        Whether it is an input record, which clients cannot write to.
    processes : bool
        Whether it takes values; one that is never processed does not.
    """

    def __init__(self, bench: Bench, *, on_put: OnPut | None = None, is_input: bool = False, **kwargs: Any) -> None:
        self._bench = bench
        self.on_put = on_put
        self.is_input = is_input
        self.processes = True
        super().__init__(**kwargs)

    def check_access(self, hostname: str, username: str) -> AccessRights:
        return AccessRights.READ if self.is_input else AccessRights.READ | AccessRights.WRITE

    def preset(self, value: Any) -> None:
        """Set its initial value, without publishing it."""
        self._data["value"] = self.preprocess_value(value)  # type: ignore[attr-defined]

    async def write(self, value: Any, **kwargs: Any) -> Any:
        if not self.processes:
            return None
        kwargs["timestamp"] = self._bench.stamp()
        return await super().write(value, **kwargs)  # type: ignore[misc]

    async def write_from_dbr(self, *args: Any, **kwargs: Any) -> Any:
        outcome = await super().write_from_dbr(*args, **kwargs)  # type: ignore[misc]
        if self.on_put is not None:
            await self.on_put(self.value)  # type: ignore[attr-defined]
        return outcome


class Double(_Stamped, ChannelDouble):
    """A number."""


class Integer(_Stamped, ChannelInteger):
    """A whole number."""


class Text(_Stamped, ChannelString):
    """Text of up to 40 characters."""


class Characters(_Stamped, ChannelChar):
    """Longer text, as an array of characters; an empty one is sent as a NUL, since clients see no value otherwise."""

    def preprocess_value(self, value: Any) -> str:
        """Give what is stored for a value."""
        return super().preprocess_value(value) or "\0"


class Enum(_Stamped, ChannelEnum):
    """One of several words."""


def number(
    bench: Bench,
    value: float,
    *,
    units: str = "",
    precision: int = 4,
    limits: tuple[float, float] = (0.0, 0.0),
    on_put: OnPut | None = None,
) -> Double:
    """Make a number; limits that are equal are none."""
    low, high = limits
    return Double(
        bench,
        value=float(value),
        units=units,
        precision=precision,
        lower_ctrl_limit=low,
        upper_ctrl_limit=high,
        on_put=on_put,
    )


def array(bench: Bench, length: int, *, units: str = "") -> Double:
    """Make an array of up to `length` numbers."""
    return Double(bench, value=np.zeros(1), max_length=length, units=units)


def choice(bench: Bench, value: str, words: Sequence[str], *, on_put: OnPut | None = None) -> Enum:
    """Make a choice among words."""
    return Enum(bench, value=value, enum_strings=list(words), on_put=on_put)
