"""Where the configuration says that the catalogue is: in the data folder, or in a database of a PostgreSQL server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SQLITE = "sqlite"  # in the data folder
EXPECTED = "expected 'sqlite' or 'postgresql://USER@HOST/DATABASE'"
PORT = 5432  # of PostgreSQL, where none is given
# How far TLS is asked for, as libpq and asyncpg name it, and so that both do the same.
TLS = ("disable", "prefer", "require", "verify-ca", "verify-full")
OPTIONS = ("host", "passfile", "port", "sslmode")
NAME = re.compile(r"[^\s/:@?#%'\"\\]+")  # of a user or a database; others would be taken apart differently on the way


@dataclass(frozen=True)
class CatalogueAddress:
    """A database on a PostgreSQL server; it holds no password, so that it can be shown.

    Attributes
    ----------
    user, host, database : str
        `host` is also the folder of the server's socket on this computer.
    port : int
    sslmode : str
        How far TLS is asked for, one of `TLS`; empty for what PGSSLMODE or the libraries say.
    passfile : str
        Absolute path of a file of passwords in the form of ``~/.pgpass``; empty for that, or the one PGPASSFILE names.
    """

    user: str
    host: str
    database: str
    port: int = PORT
    sslmode: str = ""
    passfile: str = ""

    def __str__(self) -> str:
        """Give the address as in a configuration."""
        options = {"sslmode": self.sslmode, "passfile": self.passfile}
        where = self.host
        if self.host.startswith("/"):
            where, options = "", {"host": self.host} | options
        elif ":" in self.host:
            where = f"[{self.host}]"
        port = "" if self.port == PORT else f":{self.port}"
        if not where and port:
            port, options = "", options | {"port": str(self.port)}
        text = f"postgresql://{quote(self.user)}@{where}{port}/{quote(self.database)}"
        query = urlencode({name: value for name, value in options.items() if value}, safe="/")
        return f"{text}?{query}" if query else text


def parse_address(text: str) -> tuple[CatalogueAddress | None, str]:
    """Read the address of a catalogue.

    Parameters
    ----------
    text : str
        "sqlite", or ``postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=...&passfile=...]``. A socket is
        reached by ``postgresql://USER@/DATABASE?host=/FOLDER``.

    Returns
    -------
    address : CatalogueAddress or None
        None for the catalogue in the data folder.
    password : str
        Empty where the address has none.

    Raises
    ------
    ValueError
        Says what is wrong with it, without its password.
    """
    if text == SQLITE:
        return None, ""
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        raise ValueError(EXPECTED)
    try:
        parts = urlsplit(text)
        port, pairs = parts.port, parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its text may have the password in it
        raise ValueError(f"cannot be taken apart; {EXPECTED}, special characters of a password as %XX") from None
    options = dict(pairs)
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise ValueError(f"unknown option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
    user, host, database = unquote(parts.username or ""), parts.hostname or options.get("host", ""), parts.path[1:]
    for what, name in (("user", user), ("database", unquote(database))):
        if NAME.fullmatch(name) is None:
            raise ValueError(f"has no {what}, or one that is no name; {EXPECTED}")
    if not host or parts.fragment or (parts.hostname and "host" in options):
        raise ValueError(f"expected one host, or ?host= and the folder of a socket; {EXPECTED}")
    if (sslmode := options.get("sslmode", "")) and sslmode not in TLS:
        raise ValueError(f"sslmode is {sslmode!r}, expected one of {', '.join(TLS)}")
    if "port" in options:
        if not options["port"].isdecimal() or not 0 < int(options["port"]) < 65536:
            raise ValueError(f"port is {options['port']!r}, expected a number from 1 to 65535")
        port = int(options["port"])
    passfile = options.get("passfile", "")
    if passfile and not (path := Path(passfile).expanduser()).is_absolute():
        raise ValueError(f"passfile is {passfile!r}, expected an absolute path")
    passfile = str(path) if passfile else ""
    password = unquote(parts.password or "")
    if set(password) & {":", "\\"} or password != password.strip() or not password.isprintable():
        # Both libraries read it from one file, in which asyncpg takes a backslash as it stands, and libpq as an escape.
        raise ValueError("its password has a colon, a backslash or a blank at an end, expected it in PGPASSWORD then")
    return CatalogueAddress(user, host, unquote(database), port or PORT, sslmode, passfile), password
