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
from beamline.serve.page.queue import PATIENCE, Orders, refuse_another

NO_QUEUE = "there is no queue in a service for one user: without --single there is one"


class Single(Orders):
    """One plan at a time.

    Parameters
    ----------
    path : str
        Of the engine's socket.
    checks : PlanChecks
    """

    def __init__(self, path: str, checks: PlanChecks) -> None:
        super().__init__(checks)
        self._path = path

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

    async def do(self, user: User, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Measure a plan at once, or pause, resume or abort what is measured."""
        match asked.get("do"):
            case "add":
                plan, parameters, estimates = await self._checked(asked)
                if len(parameters) > 1:
                    raise BeamlineError(NO_QUEUE)
                item = {"item_uid": str(uuid.uuid4()), "name": plan, "kwargs": parameters[0], "user": user.name}
                await self._ask({"do": "run", **item})
                return estimates
            case "start":
                await self._ask({"do": "resume"})
            case "pause":
                await self._ask({"do": "pause", "now": bool(asked.get("now"))})
            case "abort" if not asked.get("keep"):
                await self.refresh()
                if running := self.state["running"]:
                    refuse_another(running, str(asked.get("uid", "")))
                await self._abort()
            case _:
                raise BeamlineError(NO_QUEUE)
        return {}

    async def _abort(self) -> None:
        if self.state["status"].get("re_state") != "paused":
            await self._ask({"do": "pause", "now": True})
        async with asyncio.timeout(PATIENCE):
            while (await self._ask({"do": "status"}))["re_state"] != "paused":
                await asyncio.sleep(0.1)
        await self._ask({"do": "abort"})

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
