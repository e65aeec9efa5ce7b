"""Who may do what: a shell around an application that lets in whoever has a key, and limits what may be sent."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Container, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from beamline.serve.keys import Keys, Role, User

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_REQUEST = 1_000_000  # bytes
REFUSALS, WITHIN = 20, 60.0  # so many wrong keys in so many seconds from one address, and it waits
HEALTH = "/healthz"
CLOSED = ("/docs", "/redoc", "/openapi.json")  # what tells of an interface, and what lies below


class Throttle:
    """Counts what was refused to an address, so that keys cannot be tried out."""

    def __init__(self) -> None:
        self._refused: dict[str, deque[float]] = {}

    def note(self, address: str) -> None:
        """Note a refusal."""
        times = self._refused.setdefault(address, deque(maxlen=REFUSALS))
        times.append(time.monotonic())
        if len(self._refused) > 10_000:
            self._refused.pop(next(iter(self._refused)))

    def exceeded(self, address: str) -> bool:
        """Tell whether an address has been refused too often."""
        times = self._refused.get(address)
        return times is not None and len(times) == REFUSALS and time.monotonic() - times[0] < WITHIN


def bearer_of(scope: Scope) -> str:
    """Give the key that a request carries in its header; "" where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, key = value.decode("latin-1").partition(" ")
            return str(key) if kind.lower() in ("apikey", "bearer") else ""
    return ""


def address_of(scope: Scope) -> str:
    """Give the address that a request comes from."""
    return str((scope.get("client") or ("",))[0])


class KeyRequired:
    """Let in requests with a key of a role, and take the key out of what the application sees.

    Parameters
    ----------
    app : ASGI application
    keys : Keys
    role : str
    open_to_all : container of str
        Paths that need no key.
    closed : tuple of str
        Beginnings of paths that nobody gets.
    """

    def __init__(
        self, app: App, keys: Keys, *, role: Role, open_to_all: Container[str] = (), closed: tuple[str, ...] = ()
    ) -> None:
        self._app, self._keys, self._role = app, keys, role
        self._open, self._closed = open_to_all, closed
        self._throttle = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http" and scope["path"] == HEALTH:
            await answer(send, 200, "ok")
            return
        if (refusal := self._refusal(scope)) is not None:
            await refuse(scope, receive, send, *refusal)
            return
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"authorization", b"cookie")]
        await self._app({**scope, "headers": headers}, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        address = address_of(scope)
        if self._throttle.exceeded(address):
            return 429, "too many wrong keys from this address; wait a minute"
        if "api_key" in parse_qs(scope.get("query_string", b"").decode("latin-1")):
            return 400, "a key does not belong into an address, where it gets into logs: send it in the header"
        if scope["path"].startswith(self._closed):
            return 404, "not here"
        if scope["path"] in self._open:
            return why_too_large(scope)
        key = bearer_of(scope)
        user = self._keys.user_of(key)
        if user is None and key:
            self._throttle.note(address)
        return self._why_not(user) or why_too_large(scope)

    def _why_not(self, user: User | None) -> tuple[int, str] | None:
        if user is None:
            return 401, "expected a key, in the header `Authorization: Apikey ...`"
        if not user.may(self._role):
            return 403, f"the role {user.role} may not do this, {self._role} may"
        return None


def why_too_large(scope: Scope) -> tuple[int, str] | None:
    """Give status and reason of the refusal of a request whose size is not told, or too much."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return 411, "expected a request whose length is told"
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > LARGEST_REQUEST:
        return 413, f"expected at most {LARGEST_REQUEST} bytes"
    return None


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    """Refuse a request or a websocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        return
    await answer(send, status, reason)


async def answer(send: Send, status: int, text: str) -> None:
    """Answer with a line of text, as JSON."""
    await answer_json(send, status, {"detail": text})


async def answer_json(send: Send, status: int, value: Any) -> None:
    """Answer with JSON."""
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Apikey"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def run_server(app: Any, host: str, port: int) -> None:
    """Run an application until ended; it logs no addresses, and packs nothing: most of it is noise of a camera.

    To pack the 4 MB of a frame of 2048 x 2048 takes 0.5 s for each viewer.
    """
    quiet: dict[str, Any] = {"access_log": False, "log_level": "warning", "server_header": False}
    uvicorn.run(app, host=host, port=port, ws_per_message_deflate=False, **quiet)
