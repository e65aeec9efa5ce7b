"""A motor record that moves with its velocity, holds its limits, can be stopped, and can be frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from caproto import SkipWrite
from caproto.server import PVGroup, pvproperty

from simulated_devices.ioc.bench import Bench

TICK = 0.05  # s of wall-clock time between readbacks during a move


class MotorRecord(PVGroup):
    """A motor record.

    Parameters
    ----------
    prefix : str
        The record.
    bench : Bench
    name : str
        Its name for the fault switch.
    place : float
        Initial position.
    velocity : float
        Units a second.
    settle : float
        s after the motion until it is done (field DLY).
    limits : (float, float)
    units : str
    on_place : callable
        Is given the position; gives what the encoder reads there.
    """

    def __init__(
        self,
        prefix: str,
        *,
        bench: Bench,
        name: str,
        place: float,
        velocity: float,
        limits: tuple[float, float],
        units: str,
        settle: float = 0.0,
        resolution: float = 1e-4,
        on_place: Callable[[float], float] = lambda place: place,
    ) -> None:
        super().__init__(prefix)
        self.name_of_motor = name
        self.is_set_up = asyncio.Event()
        self._bench, self._on_place = bench, on_place
        self._stop = asyncio.Event()
        self._place = float(place)
        self._setup = {
            "velocity": velocity,
            "user_low_limit": limits[0],
            "user_high_limit": limits[1],
            "motor_step_size": resolution,
            "retry_deadband": 2 * resolution,
            "readback_settle_time": settle,
            "user_readback_value": self._place,
            "dial_readback_value": self._place,
            "done_moving_to_value": 1,
            "engineering_units": units,
        }

    def stop(self) -> None:
        """End the move under way."""
        self._stop.set()

    async def carried_to(self, place: float) -> None:
        """Show the position to which a controller has moved the motor, past its record."""
        await self._set_position(self.record.field_inst, place)
        await self.record.write(place, verify_value=False, timestamp=self._bench.stamp())

    async def _start(self, instance: Any, _library: Any) -> None:
        """Set the record's fields up."""
        fields = instance.field_inst
        low, high = self._setup["user_low_limit"], self._setup["user_high_limit"]
        await instance.write(self._place, verify_value=False, timestamp=self._bench.stamp())
        await instance.write_metadata(
            units=self._setup["engineering_units"], lower_ctrl_limit=low, upper_ctrl_limit=high
        )
        for name, value in self._setup.items():
            await getattr(fields, name).write(value, timestamp=self._bench.stamp())
        await fields.user_readback_value.write_metadata(units=self._setup["engineering_units"], precision=5)
        self.is_set_up.set()

    async def _put(self, instance: Any, value: float) -> None:
        """Move; the put completes when the motor has arrived, or has been stopped."""
        fields = instance.field_inst
        if not fields.user_low_limit.value <= value <= fields.user_high_limit.value:
            await fields.limit_violation.write(1)
            raise ValueError(f"{value} is outside the soft limits")
        self._stop.set()  # a move that is under way ends here
        self._stop = stop = asyncio.Event()
        await instance.write(value, verify_value=False, timestamp=self._bench.stamp())
        await fields.done_moving_to_value.write(0, timestamp=self._bench.stamp())
        await fields.motor_is_moving.write(1)
        await self._move(fields, value, stop)
        if self._stop is stop:
            await instance.write(
                value if not stop.is_set() else self._place, verify_value=False, timestamp=self._bench.stamp()
            )
            await fields.motor_is_moving.write(0)
            await fields.done_moving_to_value.write(1, timestamp=self._bench.stamp())
        raise SkipWrite

    async def _move(self, fields: Any, value: float, stop: asyncio.Event) -> None:
        while self._bench.faults.frozen_motor == self.name_of_motor and not stop.is_set():
            await asyncio.sleep(TICK)
        origin, begin = self._place, self._bench.now()
        distance = value - origin
        end = begin + abs(distance) / fields.velocity.value
        while not stop.is_set():
            now = self._bench.now()
            if now >= end:
                await self._set_position(fields, value)
                break
            await self._set_position(fields, origin + distance * (now - begin) / (end - begin))
            await self._bench.until(min(end, now + TICK * self._bench.world.clock.speed_up), stop)
        if distance:
            await self._bench.until(self._bench.now() + fields.readback_settle_time.value, stop)

    async def _set_position(self, fields: Any, place: float) -> None:
        self._place = place
        read = self._on_place(place)
        await fields.user_readback_value.write(read, timestamp=self._bench.stamp())
        await fields.dial_readback_value.write(read, timestamp=self._bench.stamp())

    record = pvproperty(value=0.0, name="", record="motor", precision=5, startup=_start, put=_put)

    @record.fields.stop.putter  # type: ignore[no-redef]
    async def record(fields: Any, _instance: Any, value: int) -> int:  # noqa: N805
        """Stop the motor; caproto gives the record's fields in place of self."""
        if value:
            fields.parent.group.stop()
        return 0
