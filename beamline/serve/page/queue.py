"""What the page asks of the queue: its state, and what is done to it, by whom."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bluesky_queueserver_api import BPlan
from bluesky_queueserver_api.zmq.aio import REManagerAPI

from beamline.errors import BeamlineError
from beamline.serve.checking import PlanChecks
from beamline.serve.keys import User
from plans import PLANS
from plans.regions.energy import MAX_POINTS

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.5  # s
PATIENCE = 15.0  # s that a pause may take before a plan is aborted
MOST_AT_ONCE = 100  # plans
HISTORY = 50  # items that are shown, the newest
# What the manager says of what a user may well meet, and what that means.
IN_WORDS = {
    "is not in the queue": "this plan is no longer in the queue: it has begun, or somebody took it out",
    "is currently running": "this plan is being measured: it can no longer be changed",
    "RE Manager is busy": "the queue is just beginning or ending a plan: ask again in a moment",
    "Queue is empty": "the queue is empty: add a plan first",
    "Queue is not running": "nothing is being measured",
    "Manager state: MState.IDLE": "nothing is being measured",
    "can be paused only in": "what is measured is pausing, or paused, already",
    "RE Manager is not paused": "what is measured is not paused: it goes on, or has ended",
}
USED = ("item_uid", "name", "kwargs", "user", "result")


class Orders(ABC):
    """What the page asks of whatever measures.

    Parameters
    ----------
    checks : PlanChecks

    Attributes
    ----------
    state : dict
        For JSON: ``problem`` ("" where it answers), ``status``, ``running``, ``items``, ``history``.
    """

    def __init__(self, checks: PlanChecks) -> None:
        self._checks = checks
        self.state: dict[str, Any] = {"problem": "starting", "status": {}, "running": {}, "items": [], "history": []}

    async def follow(self) -> None:
        """Ask for the state again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_INTERVAL)

    async def check(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Check what a form asks for; nothing is queued.

        Raises
        ------
        BeamlineError
            When one of it cannot be measured.
        """
        _, _, estimates = await self._checked(asked)
        return estimates

    async def _checked(self, asked: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
        """Check what a form asks for: a plan, once or several times; give name, parameters, and the estimates for JSON.

        The first that cannot be measured is named, by what tells it from the others.
        """
        plan = str(asked.get("plan"))
        forms = forms_of(asked)
        parameters: list[dict[str, Any]] = []
        estimates: list[dict[str, Any]] = []
        points = 0  # of all plans: to go through many long ones would keep others waiting
        for form in forms:
            try:
                found, assessment = await asyncio.to_thread(self._checks.check, plan, list(form.items()))
            except BeamlineError as error:
                which = ", ".join(f"{form[key]}" for key in ("sample", "edge") if form.get(key))
                which = which or f"plan {len(parameters) + 1} of {len(forms)}"
                raise BeamlineError(f"{which}: {error}; none is queued" if len(forms) > 1 else str(error)) from error
            points += assessment.estimate.events
            if points > MAX_POINTS:
                raise BeamlineError(f"the plans have more than {MAX_POINTS} points together; none is queued")
            parameters.append(found)
            estimates.append(assessment.as_dict())
        return plan, parameters, {"estimates": estimates}

    @abstractmethod
    async def refresh(self) -> None:
        """Ask for the state."""

    @abstractmethod
    async def do(self, user: User, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked of a user who may use it; give what is to be said.

        Raises
        ------
        BeamlineError
            When it cannot be done.
        """


def forms_of(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """Give the values of each plan that is asked for, all of them text; `BeamlineError` where they are not."""
    forms = asked.get("values")
    if not isinstance(forms, list) or not 0 < len(forms) <= MOST_AT_ONCE:
        raise BeamlineError(f"values: expected those of 1 to {MOST_AT_ONCE} plans")
    for form in forms:
        if not isinstance(form, dict) or not all(isinstance(value, str) for value in form.values()):
            raise BeamlineError("values: expected those of a plan as text, by name")
    return forms


def refuse_another(running: Mapping[str, Any], uid: str) -> None:
    """Refuse with `BeamlineError` where another item than the one that is meant runs; "" means whichever runs."""
    if uid and running.get("item_uid") != uid:
        raise BeamlineError("what you meant to abort has ended, and another plan is being measured: it goes on")


class Queue(Orders):
    """The queue as the page shows it.

    Parameters
    ----------
    control, info : str
        Addresses of the manager.
    checks : PlanChecks
    """

    def __init__(self, control: str, info: str, checks: PlanChecks) -> None:
        super().__init__(checks)
        self._manager = REManagerAPI(zmq_control_addr=control, zmq_info_addr=info, timeout_recv=2.0, timeout_send=2.0)
        self._uids: tuple[str, str] = ("", "")

    async def refresh(self) -> None:
        """Ask for the state."""
        try:
            status = await self._manager.status(reload=True)
            uids = status["plan_queue_uid"], status["plan_history_uid"]
            if uids != self._uids:
                held, past = await self._manager.queue_get(reload=True), await self._manager.history_get(reload=True)
                self.state |= {
                    "running": _shown(held["running_item"]) if held["running_item"] else {},
                    "items": [_shown(item) for item in held["items"]],
                    "history": [_shown(item) for item in past["items"][-HISTORY:]][::-1],
                }
                self._uids = uids
            self.state |= {"problem": "", "status": status}
        except Exception as error:  # noqa: BLE001 - what a connection raises; it is asked again
            self.state["problem"] = f"the queue does not answer: {' '.join(str(error).split())[:150]}"

    async def do(self, user: User, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Change the queue, or what it measures."""
        uid = str(asked.get("uid", ""))
        match asked.get("do"):
            case "add" | "replace":
                return await self._take_up(user, asked, uid)
            case "move":
                await self.move(uid, str(asked.get("after", "")))
            case "remove":
                await self.remove(uid)
            case "start":
                await self.start()
            case "stop-after" | "go-on":
                await self.stop_after(stop=asked["do"] == "stop-after")
            case "pause":
                await self.pause(now=bool(asked.get("now")))
            case "abort":
                await self.abort(user, uid, keep=bool(asked.get("keep")))
            case "clear-history" if user.may("operator"):
                await self.clear_history()
            case other:
                raise BeamlineError(f"{other!r} is nothing that {user.role} may do to the queue")
        return {}

    async def _take_up(self, user: User, asked: Mapping[str, Any], uid: str) -> dict[str, Any]:
        """Check plans, and queue all of them or none, or put one in the place of an item."""
        if asked["do"] == "replace" and not uid:
            raise BeamlineError("uid: expected that of the item to replace")
        plan, parameters, estimates = await self._checked(asked)
        items = [BPlan(plan, **each) for each in parameters]
        if asked["do"] == "add":
            await self._ask("item_add_batch", items=items, pos="front" if asked.get("front") else "back", user=user)
        elif len(items) == 1:
            items[0].item_uid = uid
            await self._ask("item_update", item=items[0], user=user)
        else:
            raise BeamlineError("one item stays one: expected one sample and one edge; add the others")
        return estimates

    async def move(self, uid: str, after: str) -> None:
        """Move an item behind another, to the front where there is none."""
        where: dict[str, Any] = {"after_uid": after} if after else {"pos_dest": "front"}
        await self._ask("item_move", uid=uid, **where)

    async def remove(self, uid: str) -> None:
        """Take an item out."""
        await self._ask("item_remove", uid=uid)

    async def start(self) -> None:
        """Begin with the first item, or go on with what is paused."""
        await self.refresh()
        await self._ask("re_resume" if self.state["status"].get("manager_state") == "paused" else "queue_start")

    async def stop_after(self, *, stop: bool) -> None:
        """Stop the queue after the plan that runs, or not."""
        await self._ask("queue_stop" if stop else "queue_stop_cancel")

    async def pause(self, *, now: bool) -> None:
        """Pause the plan that runs: now, or after the point under way."""
        await self._ask("re_pause", option="immediate" if now else "deferred")

    async def abort(self, user: User, uid: str = "", *, keep: bool) -> None:
        """Abort the plan that runs: pause it, then end it; its item goes back to the front of the queue, or is dropped.

        Parameters
        ----------
        user : User
        uid : str
            Of the item that is meant; "" for whichever runs.
        keep : bool
            Whether its item goes back to the queue.

        Raises
        ------
        BeamlineError
            When nothing runs, another item than the one that is meant, or somebody else's does, or it does not end.
        """
        await self.refresh()  # what was known may be of the plan before
        running = dict(self.state["running"])
        if not running:
            raise BeamlineError("nothing is being measured")
        refuse_another(running, uid)
        if running.get("user") != user.name and not user.may("operator"):
            raise BeamlineError(f"{running.get('user')} measures this: they or an operator may abort it")
        if self.state["status"].get("manager_state") != "paused":
            await self.pause(now=True)
            await self._until("paused")
        await self._ask("re_abort")
        await self._until("idle")
        if not keep:  # the manager puts it back to the front, under another uid
            held = await self._manager.queue_get(reload=True)
            first = held["items"][0] if held["items"] else {}
            same = all(first.get(key) == running.get(key) for key in ("name", "kwargs"))
            if same:
                await self.remove(first["item_uid"])

    async def clear_history(self) -> None:
        """Forget what was measured; the data stay."""
        await self._ask("history_clear")

    async def _until(self, state: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (await self._manager.status(reload=True))["manager_state"] != state:
                    await asyncio.sleep(0.1)
                return
        raise BeamlineError(
            f"the plan is not {state} after {PATIENCE:g} s; what it waits for is in the log of the queue"
        )

    async def _ask(self, what: str, user: User | None = None, **parameters: Any) -> Any:
        if user is not None:
            parameters |= {"user": user.name, "user_group": "primary"}
        try:
            answer = await getattr(self._manager, what)(**parameters)
        except Exception as error:
            reason = " ".join(str(error).split()).removeprefix("Request failed: ")
            words = next((words for said, words in IN_WORDS.items() if said in reason), reason[:300])
            raise BeamlineError(words) from error
        await self.refresh()
        return answer


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: item[key] for key in USED if key in item}
    if item.get("args") and (plan := PLANS.get(item["name"])):  # of other clients; the page gives all by name
        shown["kwargs"] = dict(zip(plan.parameters, item["args"], strict=False)) | item.get("kwargs", {})
    if isinstance(result := shown.get("result"), dict):
        shown["result"] = {
            key: result.get(key) for key in ("exit_status", "run_uids", "time_start", "time_stop", "msg")
        }
    return shown
