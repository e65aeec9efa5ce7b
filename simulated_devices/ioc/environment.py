"""The process variables of what surrounds a sample: the potentiostat of an operando cell."""

from __future__ import annotations

import asyncio
from typing import Any

from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.channels import Integer, Pvs, number
from simulated_devices.physics.cell import CAPACITY

PERIOD = 0.05  # s of wall-clock time between readings


class Potentiostat:
    """The potentiostat: charge, voltage, current; a put of `Goal` completes when the cell is there."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench, self._cell = bench, bench.world.cell
        self._stop = asyncio.Event()
        now = bench.now()
        self._charge = number(bench, self._cell.at(now), units="mAh/g")
        self._voltage = number(bench, self._cell.voltage(now), units="V")
        self._current = number(bench, self._cell.current(now), units="mA/g")
        goal = number(bench, self._cell.at(now), units="mAh/g", limits=(0.0, CAPACITY), on_put=self._go)
        self.pvdb: Pvs = {
            f"{prefix}Cell:Charge": self._charge,
            f"{prefix}Cell:Voltage": self._voltage,
            f"{prefix}Cell:Current": self._current,
            f"{prefix}Cell:Goal": goal,
            f"{prefix}Cell:Rate": number(bench, self._cell.rate, units="mA/g"),
            f"{prefix}Cell:Stop": Integer(bench, value=0, on_put=self._hold),
        }

    async def run(self) -> None:
        """Publish what it reads, again and again."""
        while True:
            await self._show()
            await asyncio.sleep(PERIOD)

    async def _show(self) -> None:
        now = self._bench.now()
        await self._charge.write(self._cell.at(now))
        await self._voltage.write(self._cell.voltage(now))
        await self._current.write(self._cell.current(now))

    async def _go(self, goal: Any) -> None:
        self._stop.set()  # of what it did before
        stop = self._stop = asyncio.Event()
        if not await self._bench.until(self._cell.go(self._bench.now(), float(goal)), stop):
            self._cell.hold(self._bench.now())
        await self._show()

    async def _hold(self, _value: Any) -> None:
        self._stop.set()
