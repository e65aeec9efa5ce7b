"""Bluesky's engine, in which a device that fails does not take a suspension with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bluesky import RunEngine
from bluesky.utils import Msg

PASSES = 5  # of the engine's loop, in which it begins what it was asked for


class Engine(RunEngine):
    """A `bluesky.RunEngine` that begins each suspension it was asked for.

    Where a status fails while a suspension has not begun, as when a server of many devices is gone, Bluesky raises
    the failure in the suspension, not in the plan: it never begins, and a plan that handles the failure goes on.
    Here it is asked for once more, with the failure in the plan already.
    """

    def __init__(self, **options: Any) -> None:
        self._begun: list[Any] = []  # what suspensions that have begun wait for
        super().__init__(**options)

    def request_suspend(self, fut: Callable[[], Any], **options: Any) -> None:
        """Suspend until `fut` is finished; options as of Bluesky."""
        super().request_suspend(fut, **options)
        self.loop.call_soon_threadsafe(self.loop.create_task, self._see_that_it_begins(fut, options))

    async def _see_that_it_begins(self, fut: Callable[[], Any], options: dict[str, Any]) -> None:
        for _ in range(PASSES):
            await asyncio.sleep(0)
        while self.state == "suspending":
            await asyncio.sleep(0.002)
        for _ in range(PASSES):
            await asyncio.sleep(0)
        if any(each is fut for each in self._begun):
            self._begun = [each for each in self._begun if each is not fut]
        elif self.state == "running":
            self.request_suspend(fut, **options)

    async def _start_suspender(self, msg: Msg) -> None:
        self._begun.append(msg.args[-1])
        await super()._start_suspender(msg)
