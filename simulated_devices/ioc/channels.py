"""Process variables: channels that are stamped with the simulated time, and channels that do something when put."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from caproto import ChannelData, ChannelDouble, ChannelEnum, ChannelInteger, ChannelString

from simulated_devices.ioc.bench import Bench

OnPut = Callable[[Any], Awaitable[None]]


class _Stamped:
    """A channel whose values bear the simulated time, and which may act on what a client puts.

    A put is stored and shown at once; it is complete when what it set off is.
    """

    def __init__(self, bench: Bench, *, on_put: OnPut | None = None, **kwargs: Any) -> None:
        self._bench = bench
        self._on_put = on_put
        super().__init__(**kwargs)

    async def write(self, value: Any, **kwargs: Any) -> Any:
        kwargs["timestamp"] = self._bench.now()
        return await super().write(value, **kwargs)  # type: ignore[misc]

    async def write_from_dbr(self, *args: Any, **kwargs: Any) -> Any:
        outcome = await super().write_from_dbr(*args, **kwargs)  # type: ignore[misc]
        if self._on_put is not None:
            await self._on_put(self.value)  # type: ignore[attr-defined]
        return outcome


class Double(_Stamped, ChannelDouble):
    """A number."""


class Integer(_Stamped, ChannelInteger):
    """A whole number."""


class Text(_Stamped, ChannelString):
    """A short text."""


class Enum(_Stamped, ChannelEnum):
    """One of several words."""


def number(bench: Bench, value: float, *, units: str = "", precision: int = 4, on_put: OnPut | None = None) -> Double:
    """Make a number."""
    return Double(bench, value=float(value), units=units, precision=precision, on_put=on_put)


def array(bench: Bench, length: int, *, units: str = "") -> Double:
    """Make an array of up to `length` numbers."""
    return Double(bench, value=np.zeros(1), max_length=length, units=units)


def choice(bench: Bench, value: str, words: Sequence[str], *, on_put: OnPut | None = None) -> Enum:
    """Make a choice among words."""
    return Enum(bench, value=value, enum_strings=list(words), on_put=on_put)


Pvs = dict[str, ChannelData]
