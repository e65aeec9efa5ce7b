"""Who has signed in at the page: a session is a signed cookie, and ends when its user signs out."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamline.serve.keys import User, write_private

WEEK = 7 * 24 * 3600  # s that a session lasts


class Sessions:
    """Tells whose a session is; those that were ended are remembered as long as their cookies would be taken.

    Parameters
    ----------
    users : iterable of User
    path : Path
        File (JSON) of the sessions that were ended: when, s since 1970, by what names them.
    """

    def __init__(self, users: Iterable[User], path: Path) -> None:
        self._users = {user.name: user for user in users}
        self._path = path
        self._ended: dict[str, float] = {}
        with suppress(FileNotFoundError):
            self._ended = json.loads(path.read_text())

    def begin(self, session: MutableMapping[str, Any], user: User) -> None:
        """Sign a user in."""
        session.clear()
        session.update({"user": user.name, "key": _mark(user), "id": secrets.token_urlsafe(16)})

    def user_of(self, session: MutableMapping[str, Any]) -> User | None:
        """Give whose it is; None where it was ended, or the key with which it was begun holds no longer."""
        user = self._users.get(session.get("user", ""))
        if user is None or session.get("key") != _mark(user) or session.get("id", "") in {"", *self._ended}:
            return None
        return user

    def end(self, session: MutableMapping[str, Any]) -> None:
        """Sign its user out: a copy of the cookie opens nothing any more."""
        if self.user_of(session) is not None:
            now = time.time()
            self._ended = {name: when for name, when in self._ended.items() if when > now - WEEK}
            self._ended[session["id"]] = now
            write_private(self._path, json.dumps(self._ended))
        session.clear()


def _mark(user: User) -> str:
    """Give what a session remembers of a key, which it does not tell."""
    return hashlib.sha256(user.key.encode()).hexdigest()[:16]
