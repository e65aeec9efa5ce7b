"""Tell in what condition the catalogue of a data folder is, without opening it: this imports nothing of Tiled.

A catalogue consists of two databases, ``catalog.db`` and ``tables.db``, a folder of arrays, and a file that names its
format and the data folder it was made for: the catalogue refers to files by absolute paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from canonicaljson import encode_canonical_json

from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.locations import asset_path
from beamline.storage.layout import Layout

FORMAT = 2  # 1 had no file that says so, and raw and derived runs in one container
RAW, DERIVED = "raw", "derived"  # the containers of runs
TABLES = {"nodes", "structures", "data_sources", "assets", "data_source_asset_association", "alembic_version"}
LIST_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
CHECK_PAGES = "PRAGMA quick_check(1)"
TABLES_LIBRARY = "adbc_driver_sqlite"  # that Tiled reads and writes tables with
LONGEST_UID = 200  # characters; files are named for them
LOCK_TIMEOUT = 5.0  # s to wait for another program that has a database to itself
REFUSED = "the catalogue cannot hold it"  # a run, by what is in its documents: nothing takes it in
REBUILD = "`beamline recover --rebuild` makes it anew from the logs"


@dataclass(frozen=True)
class CatalogueFormat:
    """What the file in a catalogue's folder says about it.

    Attributes
    ----------
    format : int
    data_folder : str
        Absolute path of the data folder it was made for.
    id : str
        Different for each catalogue that is made.
    """

    format: int
    data_folder: str
    id: str

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def check_catalogue(data_dir: Path) -> CatalogueFormat | None:
    """Check that the catalogue of a data folder can be opened: its format, its folder, its databases and their tables.

    Returns
    -------
    CatalogueFormat or None
        None where there is no catalogue and no run that should be in it: it is to be created.

    Raises
    ------
    DamagedCatalogueError
        When it has to be made anew.
    CatalogueError
        When it cannot be read or written to now.
    """
    layout = Layout(data_dir.resolve())
    try:
        if os.path.lexists(layout.catalogue) and not layout.catalogue.is_dir():
            raise DamagedCatalogueError(f"{layout.catalogue}: not a folder")
        if not layout.catalogue.exists() or not any(layout.catalogue.iterdir()):
            if ingested := sum(1 for _ in layout.ingested_logs()):
                raise DamagedCatalogueError(f"{layout.catalogue}: missing, though {ingested} runs have been in it")
            return None
        found = _read_format(layout)
    except OSError as error:
        raise CatalogueError(f"{error.filename or layout.catalogue}: {error.strerror}") from error
    for path in (layout.catalogue, layout.catalogue_database, layout.catalogue_tables):
        if path.exists() and not os.access(path, os.W_OK):
            raise CatalogueError(f"{path}: cannot be written to, as the catalogue needs it")
    _check_tables(layout)
    return found


def _read_format(layout: Layout) -> CatalogueFormat:
    path = layout.catalogue_format
    if not path.is_file():
        if path.exists():
            raise DamagedCatalogueError(f"{path}: not what it should be, which is a file")
        if layout.catalogue_database.exists():
            raise DamagedCatalogueError(f"{layout.catalogue}: of the format of an earlier version, expected {FORMAT}")
        raise DamagedCatalogueError(f"{layout.catalogue}: not a catalogue, {path.name} and its databases are missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = CatalogueFormat(*(content[key] for key in ("format", "data_folder", "id")))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedCatalogueError(f"{path}: not what it should be: {type(error).__name__} {error}") from error
    if found.format != FORMAT:
        raise DamagedCatalogueError(f"{layout.catalogue}: of format {found.format}, expected {FORMAT}")
    if found.data_folder != str(layout.data_dir):
        raise DamagedCatalogueError(
            f"{layout.catalogue}: made for the data folder {found.data_folder}, which was moved or copied"
        )
    return found


def _check_tables(layout: Layout) -> None:
    with opened_database(layout.catalogue_database) as database:
        present = {name for (name,) in database.execute(LIST_TABLES)}
        if missing := sorted(TABLES - present):
            raise DamagedCatalogueError(f"{layout.catalogue_database}: its table {missing[0]} is missing")
        containers = {key for (key,) in database.execute("SELECT key FROM nodes WHERE parent = 0")}
        if missing := sorted({RAW, DERIVED} - containers):
            raise DamagedCatalogueError(f"{layout.catalogue_database}: its container {missing[0]!r} is missing")
        query = "SELECT DISTINCT json_extract(parameters, '$.table_name') FROM data_sources"
        named = {name for (name,) in database.execute(query) if name}
    present = {name for (name,) in rows_of_tables(layout.catalogue_tables, LIST_TABLES)}
    if missing := sorted(named - present):
        raise DamagedCatalogueError(f"{layout.catalogue_tables}: its table {missing[0]} is missing")


def check_thoroughly(data_dir: Path) -> None:
    """Check also every page and text of the databases, and that the catalogue's files of arrays and links are there.

    Raises
    ------
    CatalogueError
        As `check_catalogue` does.
    """
    if check_catalogue(data_dir) is None:
        return
    layout = Layout(data_dir.resolve())
    with opened_database(layout.catalogue_database) as database:
        found = {layout.catalogue_database: database.execute(CHECK_PAGES).fetchall()}
        for table in sorted(TABLES):  # a text that is none is met when it is read
            deque(database.execute(f"SELECT * FROM {table}"), maxlen=0)
        _check_structures(database, layout.catalogue_database)
    found[layout.catalogue_tables] = list(rows_of_tables(layout.catalogue_tables, CHECK_PAGES))
    for path, answer in found.items():
        if answer != [("ok",)]:
            raise DamagedCatalogueError(f"{path}: damaged: {' '.join(str(answer[0][0]).split())}")
    for path in sorted(referred_files(data_dir)):
        if path.is_relative_to(layout.catalogue) and not path.exists():
            raise DamagedCatalogueError(f"{path}: missing, though the catalogue refers to it")


def _check_structures(database: sqlite3.Connection, path: Path) -> None:
    """Check the shapes and types of arrays, which Tiled keeps by their hash: a run that is written anew shares them."""
    for name, text in database.execute("SELECT id, structure FROM structures"):
        try:
            sound = hashlib.md5(encode_canonical_json(json.loads(text))).hexdigest() == name
        except (ValueError, TypeError):
            sound = False
        if not sound:
            raise DamagedCatalogueError(f"{path}: damaged: the structure {name!r:.80} is another than was written")


def runs_in(data_dir: Path) -> set[str]:
    """Return the uids of the runs that are completely in a catalogue, stop document included.

    Raises
    ------
    CatalogueError
        When its database cannot be read.
    """
    return set(run_containers(Layout(data_dir.resolve())))


def run_containers(layout: Layout, only: str | None = None) -> dict[str, tuple[str, int]]:
    """Return the container of each run that is completely in the catalogue, by its uid, and the number of its node."""
    query = """
        SELECT run.key, container.key, run.id FROM nodes AS run JOIN nodes AS container ON run.parent = container.id
        WHERE container.parent = 0 AND container.key IN (?, ?) AND json_extract(run.metadata, '$.stop.uid') NOT NULL
    """
    with opened_database(layout.catalogue_database) as database:
        if only is not None:
            found = database.execute(f"{query} AND run.key = ?", (RAW, DERIVED, only))
        else:
            found = database.execute(query, (RAW, DERIVED))
        runs = {uid: (container, node) for uid, container, node in found}
    for uid in runs:
        if not isinstance(uid, str) or not uid.isprintable() or "/" in uid or len(uid) > LONGEST_UID:
            raise DamagedCatalogueError(f"{layout.catalogue_database}: it has a run {uid!r:.80}, which is no uid")
    return runs


def referred_files(data_dir: Path) -> set[Path]:
    """Return the files that a catalogue refers to: its own arrays and links, camera frames, arrays of derived runs.

    Raises
    ------
    CatalogueError
        When its database cannot be read.
    """
    data_dir = data_dir.resolve()
    with opened_database(Layout(data_dir).catalogue_database) as database:
        uris = [uri for (uri,) in database.execute("SELECT DISTINCT data_uri FROM assets WHERE data_uri LIKE 'file:%'")]
    return {asset_path(uri, data_dir) for uri in uris}


def rows_of_tables(path: Path, statement: str) -> Iterator[tuple[Any, ...]]:
    """Yield what the database of tables answers, row by row.

    A column of the answer has to be of one type: another program may find it by the first of its values.

    Raises
    ------
    CatalogueError
        When it cannot be read; `DamagedCatalogueError` when it is damaged.
    """
    if TABLES_LIBRARY not in sys.modules:
        with opened_database(path) as database:
            yield from database.execute(statement)
        return
    # Once Tiled has this database open, by a copy of SQLite of its own, it must not be opened by Python's: each of two
    # copies in one process undoes the locks of the other.
    import adbc_driver_manager  # noqa: PLC0415
    import adbc_driver_sqlite.dbapi  # noqa: PLC0415

    if not path.is_file():
        raise DamagedCatalogueError(f"{path}: missing")
    try:
        with adbc_driver_sqlite.dbapi.connect(_uri(path)) as connection, connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {round(1000 * LOCK_TIMEOUT)}")  # as where Python opens it
            cursor.fetchall()
            cursor.execute(statement)
            while rows := cursor.fetchmany(1000):
                yield from map(tuple, rows)
    except adbc_driver_manager.Error as error:
        reason = " ".join(str(error).partition("\n")[0].split())
        if any(word in reason for word in ("locked", "readonly", "unable to open", "disk")):
            raise CatalogueError(f"{path}: {reason}") from error
        raise DamagedCatalogueError(f"{path}: {reason}") from error


def _uri(path: Path) -> str:
    return f"file:{quote(os.fsencode(path))}?mode=rw"


@contextmanager
def opened_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database of the catalogue, and say in one line what is wrong with it."""
    if not path.is_file():
        raise DamagedCatalogueError(f"{path}: missing")
    try:
        with closing(sqlite3.connect(_uri(path), uri=True, timeout=LOCK_TIMEOUT)) as database:
            yield database
    except sqlite3.DatabaseError as error:
        if _is_damage(error):
            raise DamagedCatalogueError(f"{path}: {error}") from error
        raise CatalogueError(f"{path}: {error}") from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell damage from a database that is locked, read-only, or cannot be opened, or a disk that is full."""
    passing = {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
    }
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in passing
