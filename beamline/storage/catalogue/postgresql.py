"""A catalogue's databases as one database of a PostgreSQL server, which belongs to one data folder.

Beside Tiled's tables it has one of our own, which says whose they are. Arrays of events, links to frames, and the
frames themselves stay in the data folder: several machines use the catalogue over HTTP, or share the folder.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import zlib
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import asyncpg

from beamline.endstation.catalogue_address import CatalogueAddress
from beamline.storage.catalogue.database import LOCK_TIMEOUT, Database, DatasetId, Initialise, Rows
from beamline.storage.catalogue.errors import CatalogueError, CatalogueServerError, DamagedCatalogueError
from beamline.storage.catalogue.exact import JsonLimits
from beamline.storage.catalogue.place import Place
from beamline.storage.layout import Layout

OLDEST = 13  # the first in which who owns a database may create the extension btree_gin, which Tiled needs
OWN_TABLE = "beamline_catalogue"
TABLE = (
    f"CREATE TABLE IF NOT EXISTS {OWN_TABLE} (only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), "
    "id text NOT NULL, claim text NOT NULL, data_folder text NOT NULL, host text NOT NULL, "
    "name text NOT NULL DEFAULT current_database())"
)
# Advisory locks: the first number is ours, the second what is locked. They are of one database each.
OURS = zlib.crc32(b"stxm-rixs-beamline") & 0x7FFFFFFF
CREATING, FILLING = 1, 2
WAITING = 60.0  # s for another process that makes the tables, which takes a second
LIST_TABLES = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
# Who fills the catalogue: what the session that holds the lock calls itself.
HOLDER = """
    SELECT activity.application_name FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locktype = 'advisory' AND classid = $1 AND objid = $2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Which does not depend on the order of rows, and is the same on any server: 15 hexadecimal digits, added up.
CRC = "sum(('x' || substr(md5(row(part.*)::text), 1, 15))::bit(60)::bigint::numeric)::text"
DAMAGE = ("XX001", "XX002")  # SQLSTATE: data_corrupted, index_corrupted
MISSING = ("42P01", "42703", "3F000")  # undefined_table, undefined_column, invalid_schema_name
REFUSED = ("28000", "28P01")  # invalid_authorization_specification, invalid_password
NO_DATABASE = "3D000"  # invalid_catalog_name
NOT_ALLOWED = "42501"  # insufficient_privilege
GOING = ("57P01", "57P02", "57P03", "53300")  # shut down, crashed, starting up, too many connections

T = TypeVar("T")

_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process id
_starting = threading.Lock()


class PostgresDatabase(Database):
    """The databases of a catalogue as one on a server.

    Parameters
    ----------
    layout : Layout
        Of the data folder.
    place : Place
        Where it is kept; it has an address.
    """

    # Its JSON writes a large number without an exponent, so that it is read as an integer, of which Tiled passes on 64
    # bits: this is the largest number of both kinds below 2^63. No text of it may have NUL.
    limits = JsonLimits(largest=2.0**63 - 2**10, nul=False)

    def __init__(self, layout: Layout, place: Place) -> None:
        assert place.address is not None
        self._layout, self._address, self._claim = layout, place.address, place.claim
        self.runs = self.tables = self._address

    def check(self, catalogue_id: str) -> None:
        """See `Database`."""
        with self._connected() as connection:
            owner = _run(_owner(connection))
        self._refuse_others(owner)
        if owner is None or owner["id"] != catalogue_id:
            what = "has no catalogue" if owner is None or not owner["id"] else "has another catalogue than that"
            raise DamagedCatalogueError(f"{self._address}: {what} of {self._layout.data_dir}")
        if owner["name"] != self._address.database:  # by which Tiled's tables of events are found
            raise DamagedCatalogueError(f"{self._address}: was made as the database {owner['name']!r}")

    def _refuse_others(self, owner: Mapping[str, str] | None) -> None:
        """Refuse a database that is another data folder's, also one that this was copied from: both would fill it."""
        ours = self._layout.data_dir
        if owner is None or (owner["claim"] == self._claim and owner["data_folder"] == str(ours)):
            return
        moved = f"; if it was moved or copied here, remove {self._layout.catalogue_address} and name an empty one"
        raise CatalogueServerError(
            f"{self._address}: has the catalogue of the data folder {owner['data_folder']} of {owner['host']}, "
            f"expected a database that only {ours} uses{moved if owner['claim'] == self._claim else ''}"
        )

    @contextmanager
    def opened(self, text: type = str) -> Iterator[Rows]:
        """See `Database`."""
        with self._connected() as connection:
            yield lambda statement, *values: map(tuple, _run(connection.fetch(_numbered(statement), *values)))

    def text_of(self, column: str, *keys: str) -> str:
        """See `Database`."""
        return f"{column} #>> '{{{','.join(keys)}}}'"

    def names(self) -> set[str]:
        """See `Database`."""
        with self.opened() as rows:
            return {name for (name,) in rows(LIST_TABLES)}

    def names_of_tables(self) -> set[str]:
        """See `Database`."""
        return self.names()

    def check_pages(self, tables: Iterable[str]) -> None:
        """See `Database`."""
        names = sorted({*tables, *self.names_of_tables()})
        with self.opened() as rows:
            for name in names:  # to write a row as text, the server has to read all of it
                next(rows(f"SELECT count(md5(part::text)) FROM {_quoted(name)} AS part"))

    def crc_of_rows(self, datasets: Mapping[str, Iterable[DatasetId]]) -> dict[DatasetId, int]:
        """See `Database`."""
        wanted: dict[str, set[int]] = {}
        for name, number in {dataset for own in datasets.values() for dataset in own}:
            wanted.setdefault(name, set()).add(int(number))
        found: dict[DatasetId, int] = {}
        with self.opened() as rows:
            for name, numbers in wanted.items():
                statement = (
                    f"SELECT _dataset_id, {CRC} FROM {_quoted(name)} AS part "
                    "WHERE _dataset_id = ANY(?::int[]) GROUP BY _dataset_id"
                )
                for number, total in rows(statement, sorted(numbers)):
                    found[name, str(number)] = zlib.crc32(total.encode())
        return found

    def create(self, folder: Path, data_dir: Path, catalogue_id: str, initialise: Initialise) -> None:
        """See `Database`."""
        with self._connected() as connection:
            if not _run(_lock(connection, CREATING, patient=True)):
                raise CatalogueServerError(
                    f"{self._address}: another process has been making its tables for {WAITING} s"
                )
            owner = _run(_owner(connection))
            self._refuse_others(owner)
            if owner is None and (others := sorted(self.names())):
                raise CatalogueServerError(
                    f"{self._address}: has tables of something else ({others[0]}), expected an empty database"
                )
            if owner is not None:
                _run(_clear(connection, complete=bool(owner["id"])))
            _run(connection.execute(TABLE))
            _run(
                connection.execute(
                    f"INSERT INTO {OWN_TABLE} (id, claim, data_folder, host) VALUES ('', $1, $2, $3)",
                    *(self._claim, str(data_dir), socket.gethostname()),
                )
            )
            initialise(self.uris(catalogue_id)[0])
            _run(connection.execute(f"UPDATE {OWN_TABLE} SET id = $1", catalogue_id))  # only now is it complete

    def uris(self, catalogue_id: str) -> tuple[str, str]:
        """See `Database`."""
        # The password is in neither: both libraries take it from where it is. The user is not in the second's first
        # part, as Tiled would put a password "None" beside it.
        where = self._address
        passfile = self._passfile()
        socket_folder = where.host if where.host.startswith("/") else ""
        host = f"[{where.host}]" if ":" in where.host else where.host
        server = "" if socket_folder else f"{host}:{where.port}"
        both = {"host": socket_folder, "port": str(where.port) if socket_folder else "", "passfile": passfile}
        runs, tables = both | {"ssl": where.sslmode}, both | {"sslmode": where.sslmode, "user": where.user}
        tables["connect_timeout"] = f"{LOCK_TIMEOUT:.0f}"
        database = quote(where.database)
        return (
            f"postgresql+asyncpg://{quote(where.user)}@{server}/{database}{_query(runs)}",
            f"postgresql://{server or 'localhost'}/{database}{_query(tables)}",
        )

    def claim(self) -> FillingClaim:
        """See `Database`."""
        return FillingClaim(self)

    def _passfile(self) -> str:
        """Give the file that the password is in; empty for those that the libraries look for by themselves."""
        own = self._layout.catalogue_password
        if self._address.passfile:
            path = Path(self._address.passfile)
            try:
                if (mode := path.stat().st_mode & 0o777) & 0o077:
                    raise CatalogueServerError(f"{path}: others may read it, as its mode is {mode:04o}: expected 0600")
            except OSError as error:
                raise CatalogueServerError(
                    f"{path}: {error.strerror}, expected the password of {self._address}"
                ) from error
            return str(path)
        return str(own) if os.access(own, os.R_OK) else ""  # it is another user's, who has one of his own

    def connect(self) -> Any:
        """Connect to the database; raises CatalogueServerError where that cannot be, or it is not what is needed."""
        where = self._address
        options: dict[str, Any] = {"passfile": self._passfile() or None, "ssl": where.sslmode or None}
        about = {"application_name": f"beamline, process {os.getpid()} of {socket.gethostname()}"}
        with telling(where):
            connection = _run(
                asyncpg.connect(
                    host=where.host,
                    port=where.port,
                    user=where.user,
                    database=where.database,
                    timeout=LOCK_TIMEOUT,
                    server_settings=about,
                    **options,
                )
            )
        version, encoding = connection.get_server_version().major, connection.get_settings().server_encoding
        if version < OLDEST or encoding != "UTF8":
            connection.terminate()
            raise CatalogueServerError(
                f"{where}: is PostgreSQL {version} in {encoding}, expected {OLDEST} or later, and UTF8"
            )
        return connection

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        connection = self.connect()
        try:
            with telling(self._address):
                yield connection
        finally:
            _close(connection)


class FillingClaim:
    """The right to fill a catalogue: a lock on the server, which goes with the connection that holds it."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._connection: Any = None
        self._take()

    def check(self) -> None:
        """See `beamline.storage.catalogue.database.Claim`."""
        try:
            with telling(self._database.runs):
                _run(self._connection.execute("SELECT 1"))
        except CatalogueError:  # the server was started anew, or the connection broken
            self.close()
            self._take()

    def close(self) -> None:
        """See `beamline.storage.catalogue.database.Claim`."""
        if self._connection is not None:
            _close(self._connection)
            self._connection = None

    def _take(self) -> None:
        self._connection = self._database.connect()
        with telling(self._database.runs):
            if _run(_lock(self._connection, FILLING)):
                return
            holder = _run(self._connection.fetchval(HOLDER, OURS, FILLING)) or "another process"
        self.close()
        raise CatalogueServerError(f"{self._database.runs}: is filled by {holder} already, expected by one at a time")


@contextmanager
def telling(address: object) -> Iterator[None]:
    """Say in one line what a server said, or that it said nothing."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _told(address, error) from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        reason = str(error) or type(error).__name__
        raise CatalogueServerError(f"{address}: does not answer: {reason}; expected PostgreSQL there") from error


def _told(address: object, error: asyncpg.PostgresError) -> CatalogueError:
    state, said = error.sqlstate or "", " ".join(str(error).split())
    if state in REFUSED:
        where = "the configuration, PGPASSWORD, ~/.pgpass or the file that ?passfile= names"
        return CatalogueServerError(f"{address}: refuses: {said}; expected the user's password in {where}")
    if state == NO_DATABASE:
        user, name = (address.user, address.database) if isinstance(address, CatalogueAddress) else ("USER", "DATABASE")
        return CatalogueServerError(f"{address}: {said}; `createdb --owner={user} {name}` on the server makes it")
    if state == NOT_ALLOWED:
        return CatalogueServerError(f"{address}: {said}; expected the user to own the database and its schema")
    if state in GOING or state.startswith("08"):  # connection_exception
        return CatalogueServerError(f"{address}: does not answer: {said}")
    if state in DAMAGE or state in MISSING:
        return DamagedCatalogueError(f"{address}: {said}")
    return CatalogueError(f"{address}: {said}")


async def _owner(connection: Any) -> dict[str, str] | None:
    """Read whose catalogue a database has; None where it has none of ours."""
    if await connection.fetchval("SELECT to_regclass($1)::text", OWN_TABLE) is None:
        return None
    row = await connection.fetchrow(f"SELECT id, claim, data_folder, host, name FROM {OWN_TABLE}")
    return dict(row) if row is not None else None


async def _lock(connection: Any, what: int, *, patient: bool = False) -> bool:
    """Take an advisory lock, which is held until the connection is closed; False where another has it."""
    for turn in count():
        if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", OURS, what):
            return True
        if not patient or turn >= WAITING / 0.1:
            return False
        await asyncio.sleep(0.1)
    raise AssertionError("not reached")


async def _clear(connection: Any, *, complete: bool) -> None:
    """Make room for a catalogue: the one before is kept in a schema beside, but not what was never complete."""
    async with connection.transaction():
        schema = await connection.fetchval("SELECT current_schema()")
        if not complete:
            for row in await connection.fetch(LIST_TABLES):
                await connection.execute(f"DROP TABLE {_quoted(row[0])} CASCADE")
            return
        taken = {row[0] for row in await connection.fetch("SELECT nspname::text FROM pg_namespace")}
        kept = next(name for number in count(1) if (name := f"{schema}_before_{number}") not in taken)
        await connection.execute(f"ALTER SCHEMA {_quoted(schema)} RENAME TO {_quoted(kept)}")
        await connection.execute(f"CREATE SCHEMA {_quoted(schema)}")
        there = "SELECT 1 FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE n.nspname = $1"
        if await connection.fetchval(f"{there} AND extname = 'btree_gin'", kept):  # who drops the old one keeps the new
            await connection.execute(f"ALTER EXTENSION btree_gin SET SCHEMA {_quoted(schema)}")


def _close(connection: Any) -> None:
    """Close a connection, also one that is broken."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        _run(connection.close(timeout=LOCK_TIMEOUT))


def _numbered(statement: str) -> str:
    """Write the question marks of a statement as PostgreSQL does."""
    first, *others = statement.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(options: Mapping[str, str]) -> str:
    query = urlencode({name: value for name, value in options.items() if value}, safe="/")
    return f"?{query}" if query else ""


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from anywhere: where this is called, another event loop may be running."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


def _loop() -> asyncio.AbstractEventLoop:
    """Give the event loop that the connections of this process live in; a process that was forked lacks its thread."""
    with _starting:
        if (loop := _loops.get(os.getpid())) is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="PostgreSQL", daemon=True).start()
        return loop
