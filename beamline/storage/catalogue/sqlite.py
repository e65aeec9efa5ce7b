"""A catalogue's databases as files of SQLite in the data folder."""

from __future__ import annotations

import os
import sqlite3
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from beamline.storage.catalogue.database import LOCK_TIMEOUT, Database, DatasetId, Initialise, Rows
from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.locations import quoted_folder
from beamline.storage.layout import Layout

LIST_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
CHECK_PAGES = "PRAGMA quick_check(1)"
TABLES_LIBRARY = "adbc_driver_sqlite"  # that Tiled reads and writes tables with

NUMBER = b"real"  # in place of the text of a double; no quoted value is written so

_empty: list[bytes] = []  # a database without runs, once it has been made


class NoClaim:
    """Nothing, where the lock in the data folder is enough."""

    def check(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class SqliteDatabase(Database):
    """The databases of a catalogue as files in its folder.

    Parameters
    ----------
    layout : Layout
        Of the data folder.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.runs = self._runs = layout.catalogue_database
        self.tables = self._tables = layout.catalogue_tables

    def check(self, catalogue_id: str) -> None:
        """See `Database`."""
        for path in (self._runs, self._tables):
            if path.exists() and not os.access(path, os.W_OK):
                raise CatalogueError(f"{path}: cannot be written to, as the catalogue needs it")

    @contextmanager
    def opened(self, text: type = str) -> Iterator[Rows]:
        """See `Database`."""
        with opened_database(self._runs) as database:
            database.text_factory = text
            yield lambda statement, *values: database.execute(statement, values)

    def text_of(self, column: str, *keys: str) -> str:
        """See `Database`."""
        return f"json_extract({column}, '$.{'.'.join(keys)}')"

    def names(self) -> set[str]:
        """See `Database`."""
        with self.opened() as rows:
            return {name for (name,) in rows(LIST_TABLES)}

    def names_of_tables(self) -> set[str]:
        """See `Database`."""
        return {name for (name,) in rows_of_tables(self._tables, LIST_TABLES)}

    def check_pages(self, tables: Iterable[str]) -> None:
        """See `Database`."""
        with self.opened() as rows:
            found = {self._runs: list(rows(CHECK_PAGES))}
            for table in tables:  # a text that is none is met when it is read
                deque(rows(f"SELECT * FROM {table}"), maxlen=0)
        found[self._tables] = list(rows_of_tables(self._tables, CHECK_PAGES))
        for path, answer in found.items():
            if answer != [("ok",)]:
                raise DamagedCatalogueError(f"{path}: damaged: {' '.join(str(answer[0][0]).split())}")

    def crc_of_rows(self, datasets: Mapping[str, Iterable[DatasetId]]) -> dict[DatasetId, int]:
        """See `Database`."""
        wanted: dict[str, list[str]] = {}
        for name, number in {dataset for own in datasets.values() for dataset in own}:
            wanted.setdefault(name, []).append(number)
        found: dict[DatasetId, int] = {}
        for name, numbers in wanted.items():
            table = _quoted(name)
            columns = rows_of_tables(self._tables, f"SELECT name FROM pragma_table_info({table})")
            values = ", ".join(_bytes_and_number(_quoted(column)) for (column,) in columns)
            only = f"WHERE _dataset_id = {numbers[0]}" if len(numbers) == 1 and numbers[0].isdecimal() else ""
            rows = rows_of_tables(self._tables, f"SELECT quote(_dataset_id), {values} FROM {table} {only}")
            for row in rows:
                key = name, row[0]
                exact = [number if text == NUMBER else text for text, number in zip(row[1::2], row[2::2], strict=True)]
                found[key] = zlib.crc32(repr(exact).encode(), found.get(key, 0))
        return found

    def create(self, folder: Path, data_dir: Path, catalogue_id: str, initialise: Initialise) -> None:
        """See `Database`."""
        path = folder / self._runs.name
        if not _empty:
            initialise(f"sqlite+aiosqlite:///file:{quote(str(path))}?uri=true")
            _empty.append(path.read_bytes())
        path.write_bytes(_empty[0])
        with closing(sqlite3.connect(folder / self._tables.name)) as tables:
            tables.execute("PRAGMA journal_mode=WAL")  # a second process reads while one writes

    def uris(self, catalogue_id: str) -> tuple[str, str]:
        """See `Database`."""
        # SQLite's own form of a URI takes a path with any characters. It ignores what it does not know: the id keeps
        # Tiled from going on with connections to a catalogue that lay here before.
        runs = f"sqlite+aiosqlite:///file:{quote(str(self._runs))}?uri=true&id={catalogue_id}"
        data_dir = self._layout.data_dir
        return runs, f"sqlite:///{quoted_folder(data_dir)}/{self._tables.relative_to(data_dir)}"

    def claim(self) -> NoClaim:
        """See `Database`."""
        return NoClaim()


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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bytes_and_number(column: str) -> str:
    """Ask for a column as two, each of one type: what is no double as text in bytes, and what is one as it is.

    Of a double, versions of SQLite write different digits, and some too few to tell which it is.
    """
    is_number = f"typeof({column}) = 'real'"
    return (
        f"CASE WHEN {is_number} THEN x'{NUMBER.hex()}' ELSE CAST(quote({column}) AS BLOB) END, "
        f"CASE WHEN {is_number} THEN {column} ELSE 0.0 END"
    )
