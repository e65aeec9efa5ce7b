"""The queue over HTTP, by bluesky-httpserver, for clients of bluesky-queueserver-api: ``python -m ...queue_api``.

Whoever has a key logs in with its name and the key as password. What is queued is checked first, as the page does it.
"""

from __future__ import annotations

import hmac
import json
import os
from pathlib import Path
from typing import Any

import httpx
from bluesky_httpserver.app import build_app
from bluesky_httpserver.authenticators import DictionaryAuthenticator
from bluesky_httpserver.authorization import DictionaryAPIAccessControl
from bluesky_httpserver.config import construct_build_app_kwargs

from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.serve.access import (
    CLOSED,
    App,
    Message,
    Receive,
    Scope,
    Send,
    Throttle,
    address_of,
    answer,
    answer_json,
    refuse,
    run_server,
    why_too_large,
)
from beamline.serve.checking import PlanChecks
from beamline.serve.keys import Keys, Role, load_keys
from beamline.serve.parts import Places

_READ = ["status", "queue", "history", "resources", "config", "monitor", "console", "lock"]
READ = [f"read:{each}" for each in _READ] + ["user:apikeys"]
USE = [*READ, "write:queue:edit", "write:queue:control", "write:plan:control"]
# Neither scripts nor functions: what runs is what the plans do.
SCOPES: dict[Role, list[str]] = {
    "viewer": READ,
    "user": USE,
    "operator": [*USE, "write:manager:control", "write:history:edit", "write:lock"],
}
CHECKED = ("/api/queue/item/add", "/api/queue/item/add/batch", "/api/queue/item/update")
UNCHECKED = ("/api/queue/upload/spreadsheet",)  # nothing here reads what is in one
EDIT = "write:queue:edit"
LOGIN = "/api/auth/provider/"
WITHOUT_KEY = (LOGIN, "/api/auth/session/refresh")
UNGUARDED = {"/api/plans/existing": "read:resources"}  # bluesky-httpserver answers it to everybody


class KeyAuthenticator(DictionaryAuthenticator):
    """Take name and key as user and password."""

    async def authenticate(self, username: str, password: str) -> Any:
        """Let in who has the key of that name."""
        key = self._users_to_passwords.get(username, "")
        if key and hmac.compare_digest(key.encode(), password.encode(errors="replace")):
            return username
        return None


def queue_app(places: Places, keys: Keys, checks: PlanChecks) -> App:
    """Build the application."""
    settings = {
        "authentication": {
            "providers": [
                {
                    "provider": "keys",
                    "authenticator": KeyAuthenticator,
                    "args": {"users_to_passwords": {user.name: user.key for user in keys.users}},
                }
            ],
            "secret_keys": [keys.internal["queue"]],
        },
        "database": {"uri": f"sqlite:///{places.folder / 'queue-api.sqlite'}"},
        "api_access": {
            "policy": DictionaryAPIAccessControl,
            "args": {
                "roles": {role: {"scopes_set": scopes} for role, scopes in SCOPES.items()},
                "users": {user.name: {"roles": user.role} for user in keys.users},
            },
        },
        "qserver_zmq_configuration": {"control_address": places.control, "info_address": places.info},
    }
    return Checked(build_app(**construct_build_app_kwargs(settings)), checks)


class Checked:
    """Limit what is sent, refuse plans that cannot be measured, and close what tells of the interface."""

    def __init__(self, app: App, checks: PlanChecks) -> None:
        self.app, self._checks = app, checks
        self._throttle = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path == "/healthz":
            await answer(send, 200, "ok")
        elif path.startswith(CLOSED) or path in UNCHECKED:
            await refuse(scope, receive, send, 404, "not here")
        elif b"api_key=" in scope.get("query_string", b""):
            await refuse(scope, receive, send, 400, "a key does not belong into an address, where it gets into logs")
        elif not path.startswith(WITHOUT_KEY) and not _authorization(scope):
            await refuse(scope, receive, send, 401, "a key is needed: log in first")
        elif path in UNGUARDED and not await self._may(scope, UNGUARDED[path]):
            await refuse(scope, receive, send, 401, "not known, or not allowed")
        elif self._throttle.exceeded(address_of(scope)):
            await refuse(scope, receive, send, 429, "too many wrong keys from this address; wait a minute")
        elif scope["type"] == "http" and (refusal := why_too_large(scope)) is not None:
            await refuse(scope, receive, send, *refusal)
        else:
            await self._pass_on(scope, receive, self._counted(scope, send))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in CHECKED or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = await read_body(receive)
        if await self._may(scope, EDIT):  # who may not is told so by the application, and costs no checks
            try:
                asked = json.loads(body)
                for item in asked["items"] if scope["path"].endswith("/batch") else [asked["item"]]:
                    await self._checks.check_item(item)
            except (ValueError, KeyError, TypeError, AttributeError):
                pass  # the application says what is wrong with the request itself
            except BeamlineError as error:
                await answer_json(send, 200, {"success": False, "msg": str(error), "qsize": None, "item": item})
                return
        await self.app(scope, again(body, receive), send)

    async def _may(self, scope: Scope, what: str) -> bool:
        """Ask the application whether whoever sends a request may do something."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=_authorization(scope)
        ) as client:
            told = await client.get("/api/auth/scopes")
        return told.status_code == 200 and what in told.json().get("scopes", ())

    def _counted(self, scope: Scope, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._throttle.note(address_of(scope))
            await send(message)

        return counted if scope["path"].startswith(LOGIN) else send


def _authorization(scope: Scope) -> dict[str, str]:
    """Give the header that says who sends a request; empty where there is none."""
    keys = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    return {"authorization": keys[0]} if keys and keys[0] else {}


async def read_body(receive: Receive) -> bytes:
    """Read the whole body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def first_the_body() -> Message:
        return messages.pop() if messages else await receive()

    return first_the_body


def main() -> None:
    """Serve until ended."""
    os.umask(0o077)
    config, data_dir = load_config(Path(os.environ["BEAMLINE_CONFIG"])), Path(os.environ["BEAMLINE_DATA_DIR"])
    places = Places.of(data_dir)
    app = queue_app(places, load_keys(places.keys), PlanChecks(config, data_dir))
    run_server(app, config.service.host, config.service.queue_port)


if __name__ == "__main__":
    main()
