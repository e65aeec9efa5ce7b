"""What the page asks of the engine of a service for one user, in place of the queue."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Any

from beamline.errors import BeamlineError
from beamline.serve.checking import PlanChecks
from beamline.serve.keys import User
from beamline.serve.page.queue import PATIENCE, POLL_INTERVAL

NO_QUEUE = "there is no queue in a service for one user: `beamline serve` without --single has one"


class Single:
    """One plan at a time; the same interface as `beamline.serve.page.queue.Queue`."""

    def __init__(self, path: str, checks: PlanChecks) -> None:
        self._path, self._checks = path, checks
        self.state: dict[str, Any] = {
            "problem": "the engine is starting",
            "status": {},
            "running": {},
            "items": [],
            "history": [],
        }

    async def follow(self) -> None:
        """Ask for the state again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_INTERVAL)

    async def refresh(self) -> None:
        """Ask for the state."""
        try:
            told = await self._ask({"do": "status"})
        except BeamlineError as error:
            self.state["problem"] = str(error)
            return
        paused = told["re_state"] == "paused"
        manager = "paused" if paused else "executing_queue" if told["running"] else "idle"
        self.state |= {
            "problem": "",
            "single": True,
            "running": told["running"],
            "history": told["history"][::-1],
            "status": {"manager_state": manager, "re_state": told["re_state"], "worker_environment_exists": True},
        }

    async def add(
        self, user: User, plan: str, values: Mapping[str, str], _position: str | int = "back"
    ) -> dict[str, Any]:
        """Check a plan, and measure it now."""
        parameters, assessment = await asyncio.to_thread(self._checks.check, plan, list(values.items()))
        order = {"do": "run", "item_uid": str(uuid.uuid4()), "name": plan, "kwargs": parameters, "user": user.name}
        await self._ask(order)
        return {"estimate": assessment.as_dict()}

    async def check(self, plan: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Check a plan; nothing is measured."""
        _, assessment = await asyncio.to_thread(self._checks.check, plan, list(values.items()))
        return {"estimate": assessment.as_dict()}

    async def start(self) -> None:
        """Go on with what is paused."""
        await self._ask({"do": "resume"})

    async def pause(self, *, now: bool) -> None:
        """Pause: now, or after the point under way."""
        await self._ask({"do": "pause", "now": now})

    async def abort(self, _user: User, *, keep: bool) -> None:
        """Abort what is measured."""
        if keep:
            raise BeamlineError(NO_QUEUE)
        if self.state["status"].get("re_state") != "paused":
            await self.pause(now=True)
        async with asyncio.timeout(PATIENCE):
            while (await self._ask({"do": "status"}))["re_state"] != "paused":
                await asyncio.sleep(0.1)
        await self._ask({"do": "abort"})

    async def replace(self, _user: User, _uid: str, _plan: str, _values: Mapping[str, str]) -> dict[str, Any]:
        """Say that there is no queue."""
        raise BeamlineError(NO_QUEUE)

    async def move(self, _uid: str, _after: str) -> None:
        """Say that there is no queue."""
        raise BeamlineError(NO_QUEUE)

    async def remove(self, _uid: str) -> None:
        """Say that there is no queue."""
        raise BeamlineError(NO_QUEUE)

    async def stop_after(self, *, stop: bool) -> None:
        """Say that there is no queue."""
        raise BeamlineError(NO_QUEUE)

    async def clear_history(self) -> None:
        """Say that there is no queue."""
        raise BeamlineError(NO_QUEUE)

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=2**24)
                writer.write(json.dumps(order).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
                writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise BeamlineError(f"the engine does not answer: {' '.join(str(error).split())}") from error
        if answer.get("problem"):
            raise BeamlineError(answer["problem"])
        return answer
