"""What all parts of the IOC share: the simulated world, its faults, and its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulated_devices.world import SimulatedEndstation


@dataclass
class Faults:
    """What is broken at present, as the IOC's fault switches are set.

    Attributes
    ----------
    frozen_motor : str
        Motor that accepts setpoints and does not move, by its name without the IOC's prefix; "" for none.
    hung_camera : bool
        Exposures do not end.
    stalled_writer : bool
        The file writer takes frames and writes none.
    nan_i0 : bool
        The I0 channel of the scaler gives NaN.
    clock_offset : float
        s by which the clock of the IOC, with which it stamps values, is ahead.
    """

    frozen_motor: str = ""
    hung_camera: bool = False
    stalled_writer: bool = False
    nan_i0: bool = False
    clock_offset: float = 0.0


@dataclass
class Bench:
    """The world, its faults and its time, for the groups of process variables."""

    world: SimulatedEndstation
    faults: Faults = field(default_factory=Faults)

    def now(self) -> float:
        """Give the simulated time, s since 1970."""
        return self.world.clock.now()

    def stamp(self) -> float:
        """Give the time that values are stamped with, s since 1970."""
        return self.now() + self.faults.clock_offset

    async def until(self, moment: float, stopped: asyncio.Event | None = None) -> bool:
        """Let simulated time pass until a moment.

        Parameters
        ----------
        moment : float
            s since 1970.
        stopped : asyncio.Event, optional

        Returns
        -------
        bool
            False when `stopped` was set before.
        """
        clock = self.world.clock
        begin, began, seconds = clock.now(), time.monotonic(), clock.seconds_to(moment)
        if stopped is None:
            await asyncio.sleep(seconds)
        else:
            try:
                await asyncio.wait_for(stopped.wait(), seconds)
            except TimeoutError:
                pass
            else:
                clock.reach(min(moment, begin + (time.monotonic() - began) * clock.speed_up))
                return False
        self.world.clock.reach(moment)
        return True

    async def compute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on a thread, while other process variables are served."""
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
