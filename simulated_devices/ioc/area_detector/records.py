"""The records of an areaDetector driver or plugin, made from the components of its ophyd class."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from caproto import ChannelChar, ChannelData, ChannelEnum
from ophyd import Device, EpicsSignalRO
from ophyd.areadetector.base import EpicsSignalWithRBV
from ophyd.areadetector.paths import EpicsPathSignal
from ophyd.signal import EpicsSignalBase

from simulated_devices.ioc.area_detector.record_types import CHOICES, FIXED, NAMES, REALS, TEXTS
from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.channels import Characters, Integer, Pvs, Text, choice, number

TEXT_LENGTH = 256


class Records:
    """The records of an areaDetector driver or plugin, made from the components of its ophyd class.

    Parameters
    ----------
    bench : Bench
    prefix : str
    device : type
        An ophyd device.
    """

    def __init__(self, bench: Bench, prefix: str, device: type[Device]) -> None:
        self._records: dict[str, Any] = {}
        for name, is_input in _suffixes(device):
            if name not in self._records:
                self._records[name] = _record(bench, name)
                self._records[name].is_input = is_input
        self.pvdb: Pvs = {f"{prefix}{name}": record for name, record in self._records.items()}
        for name in self._records:
            if f"{name}_RBV" in self._records and name not in FIXED:
                self.on_put(name, partial(self._read_back, name))

    def __getitem__(self, name: str) -> Any:
        """Give a value: a number, the index of a choice, or text."""
        record = self._records[name]
        if isinstance(record, ChannelEnum):
            return record.value if isinstance(record.value, int) else record.enum_strings.index(record.value)
        return record.value.rstrip("\0") if isinstance(record, ChannelChar) else record.value

    async def show(self, **values: Any) -> None:
        """Set records and their readbacks, and publish them to clients."""
        for name, value in values.items():
            for record in self._with_readback(name):
                await record.write(value)

    def preset(self, **values: Any) -> None:
        """Set the initial values of records and their readbacks."""
        for name, value in values.items():
            for record in self._with_readback(name):
                record.preset(value)

    def on_put(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """Act on what clients write; the put completes when that has ended."""

        async def put(_value: Any) -> None:
            await act()

        self._records[name].on_put = put

    def _with_readback(self, name: str) -> Iterator[Any]:
        """Give a record and its readback, as far as they exist."""
        for each in (name, f"{name}_RBV"):
            if each in self._records:
                yield self._records[each]

    async def _read_back(self, name: str) -> None:
        await self.show(**{name: self[name]})


def _suffixes(device: type[Device]) -> Iterator[tuple[str, bool]]:
    """Give the names of the PVs that an ophyd class uses, without prefix, and whether they are read-only."""
    for walk in device.walk_components():
        component = walk.item
        if not (isinstance(component.cls, type) and issubclass(component.cls, EpicsSignalBase)):
            continue
        if issubclass(component.cls, EpicsSignalWithRBV | EpicsPathSignal):
            yield component.suffix, False
            yield f"{component.suffix}_RBV", True
        else:
            yield component.suffix, component.cls is EpicsSignalRO


def _record(bench: Bench, suffix: str) -> ChannelData:
    """Make a record of the type that areaDetector's has."""
    name = suffix.removesuffix("_RBV")
    if name in CHOICES:
        return choice(bench, CHOICES[name][0], CHOICES[name])
    if name in TEXTS:
        return Characters(bench, value="\0", max_length=TEXT_LENGTH)
    if name in NAMES or name.startswith(("ExtraDimName", "PosNameDim")):
        return Text(bench, value="")
    if name in REALS:
        return number(bench, 0.0, precision=3)
    return Integer(bench, value=0)
