"""The secrets of a service, made at its first start: keys of its users, and passwords between its processes.

They are in one file of the data folder that only its owner can read, are handed to processes in their environment or in
files of the same kind, and are never part of a command, an address or a log.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from beamline.errors import BeamlineError

Role = Literal["viewer", "user", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
KEY_BYTES = 24
INTERNAL = ("redis", "catalogue", "cookies", "queue")

_HEAD = """\
# Keys of this service. Whoever has one can do what its role may; keep this file to yourself.
# viewer: look. user: queue, start and stop measurements. operator: also abort what others measure.
# Give a person a key by a table of their own, as [users.anna] with a role and a key of 32 letters and digits or more.
# What is changed here holds from the next `beamline serve` on.
"""


@dataclass(frozen=True)
class User:
    """Somebody who has a key.

    Attributes
    ----------
    name : str
    role : str
        One of `ROLES`.
    key : str
    """

    name: str
    role: Role
    key: str

    def may(self, role: Role) -> bool:
        """Tell whether they may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Keys:
    """All secrets of a service.

    Attributes
    ----------
    users : tuple of User
    internal : dict of str to str
        Between processes, by `INTERNAL`.
    """

    users: tuple[User, ...]
    internal: dict[str, str]

    def user_of(self, key: str) -> User | None:
        """Give whose key it is; None for nobody's. It takes as long for a key that is nearly right."""
        found = None
        for user in self.users:
            if hmac.compare_digest(user.key.encode(), key.encode(errors="replace")):
                found = user
        return found


def load_keys(path: Path) -> Keys:
    """Read the keys of a service; make them if there are none.

    Raises
    ------
    BeamlineError
        When others can read the file, or it is not as it should be.
    """
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise BeamlineError(
            f"{path}: others can read it; its keys are no secret: make new ones by removing it, or `chmod 600`"
        )
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
        users = tuple(
            User(name, _role(name, table["role"]), _key(name, table["key"])) for name, table in tables["users"].items()
        )
        internal = {name: str(tables["internal"][name]) for name in INTERNAL}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BeamlineError(f"{path}: not valid TOML: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BeamlineError(
            f"{path}: {error} is missing; expected [users.NAME] with role and key, and [internal]"
        ) from error
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    return Keys(users, internal)


def _role(name: str, role: str) -> Role:
    for each in ROLES:
        if role == each:
            return each
    raise ValueError(f"users.{name}: role {role!r}, expected one of {', '.join(ROLES)}")


def _key(name: str, key: str) -> str:
    if not (isinstance(key, str) and len(key) >= 32 and key.isalnum()):
        raise ValueError(f"users.{name}: its key has to be 32 letters and digits or more")
    return key


def _make(path: Path) -> None:
    lines = [_HEAD]
    for role in ROLES:
        lines += [f"[users.{role}]", f'role = "{role}"', f'key = "{secrets.token_hex(KEY_BYTES)}"', ""]
    lines += [
        "[internal]  # between the processes",
        *(f'{name} = "{secrets.token_hex(KEY_BYTES)}"' for name in INTERNAL),
    ]
    write_private(path, "\n".join(lines) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, never for a moment another."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)
