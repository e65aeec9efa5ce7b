"""Tell in what condition the catalogue of a data folder is, without opening it: this imports nothing of Tiled.

A catalogue consists of two databases, a folder of arrays, and a file that names its format and the data folder it was
made for: the catalogue refers to files by absolute paths. The databases are ``catalog.db`` and ``tables.db`` beside
them, or one on a server of PostgreSQL; see `beamline.storage.catalogue.database`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from canonicaljson import encode_canonical_json
from pydantic import SecretStr

from beamline.storage.catalogue.database import Database
from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.locations import asset_path
from beamline.storage.catalogue.place import read_place, use_catalogue
from beamline.storage.catalogue.sqlite import SqliteDatabase
from beamline.storage.layout import Layout

FORMAT = 2  # 1 had no file that says so, and raw and derived runs in one container
RAW, DERIVED = "raw", "derived"  # the containers of runs
TABLES = {"nodes", "structures", "data_sources", "assets", "data_source_asset_association", "alembic_version"}
LONGEST_UID = 200  # characters; files are named for them
REFUSED = "the catalogue cannot hold it"  # a run, by what is in its documents: nothing takes it in
REBUILD = "`beamline recover --rebuild` makes it anew from the logs"
ON_SERVER = "postgresql"


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
    database : str
        "postgresql", or empty for SQLite.
    """

    format: int
    data_folder: str
    id: str
    database: str = ""

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {key: value for key, value in asdict(self).items() if value}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def database_of(layout: Layout, *, new: bool = False) -> Database:
    """Give the databases of the catalogue of a data folder, or those that a new one would have.

    Raises
    ------
    CatalogueError
        When nothing can be read of where they are.
    """
    place = read_place(layout)
    if place.address is None or (not new and _kind(layout) == ""):
        return SqliteDatabase(layout)
    from beamline.storage.catalogue.postgresql import PostgresDatabase  # noqa: PLC0415 - asyncpg takes a tenth of a second

    return PostgresDatabase(layout, place)


def _kind(layout: Layout) -> str | None:
    """Tell of what kind the databases of a catalogue that is there are; None where nothing says so."""
    try:
        return str(json.loads(layout.catalogue_format.read_text(encoding="utf-8")).get("database", ""))
    except (OSError, ValueError, AttributeError):
        return None


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
    if not os.access(layout.catalogue, os.W_OK):
        raise CatalogueError(f"{layout.catalogue}: cannot be written to, as the catalogue needs it")
    database = database_of(layout)
    database.check(found.id)
    _check_tables(database)
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
        found = CatalogueFormat(content["format"], content["data_folder"], content["id"], content.get("database", ""))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedCatalogueError(f"{path}: not what it should be: {type(error).__name__} {error}") from error
    if found.format != FORMAT:
        raise DamagedCatalogueError(f"{layout.catalogue}: of format {found.format}, expected {FORMAT}")
    if found.data_folder != str(layout.data_dir):
        raise DamagedCatalogueError(
            f"{layout.catalogue}: made for the data folder {found.data_folder}, which was moved or copied"
        )
    place = read_place(layout)
    if (found.database == ON_SERVER) != (place.address is not None):
        is_in = "PostgreSQL" if found.database == ON_SERVER else "SQLite"
        raise DamagedCatalogueError(f"{layout.catalogue}: is kept in {is_in}, expected in {place}")
    return found


def _check_tables(database: Database) -> None:
    if missing := sorted(TABLES - database.names()):
        raise DamagedCatalogueError(f"{database.runs}: its table {missing[0]} is missing")
    with database.opened() as rows:
        containers = {key for (key,) in rows("SELECT key FROM nodes WHERE parent = 0")}
        if missing := sorted({RAW, DERIVED} - containers):
            raise DamagedCatalogueError(f"{database.runs}: its container {missing[0]!r} is missing")
        named = rows(f"SELECT DISTINCT {database.text_of('parameters', 'table_name')} FROM data_sources")
        tables = {name for (name,) in named if name}
    if missing := sorted(tables - database.names_of_tables()):
        raise DamagedCatalogueError(f"{database.tables}: its table {missing[0]} is missing")


def check_answer(catalogue: SecretStr) -> None:
    """Check that the server of a catalogue answers, where the configuration has it on one; nothing is left behind.

    Parameters
    ----------
    catalogue : SecretStr
        The configuration's ``storage.catalogue``.

    Raises
    ------
    CatalogueError
        When it does not, or does not let us in.
    """
    with tempfile.TemporaryDirectory() as folder:
        use_catalogue(Path(folder), catalogue)
        layout = Layout(Path(folder))
        if read_place(layout).address is not None:
            with database_of(layout, new=True).opened():
                pass


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
    database = database_of(layout)
    database.check_pages(sorted(TABLES))
    _check_structures(database)
    for path in sorted(referred_files(data_dir)):
        if path.is_relative_to(layout.catalogue) and not path.exists():
            raise DamagedCatalogueError(f"{path}: missing, though the catalogue refers to it")


def _check_structures(database: Database) -> None:
    """Check the shapes and types of arrays, which Tiled keeps by their hash: a run that is written anew shares them."""
    with database.opened() as rows:
        for name, text in rows("SELECT id, structure FROM structures"):
            try:
                sound = hashlib.md5(encode_canonical_json(json.loads(text))).hexdigest() == name
            except (ValueError, TypeError):
                sound = False
            if not sound:
                raise DamagedCatalogueError(
                    f"{database.runs}: damaged: the structure {name!r:.80} is another than was written"
                )


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
    database = database_of(layout)
    query = f"""
        SELECT run.key, container.key, run.id FROM nodes AS run JOIN nodes AS container ON run.parent = container.id
        WHERE container.parent = 0 AND container.key IN (?, ?)
            AND {database.text_of("run.metadata", "stop", "uid")} IS NOT NULL
    """
    with database.opened() as rows:
        found = rows(query, RAW, DERIVED) if only is None else rows(f"{query} AND run.key = ?", RAW, DERIVED, only)
        runs = {uid: (container, node) for uid, container, node in found}
    for uid in runs:
        if not isinstance(uid, str) or not uid.isprintable() or "/" in uid or len(uid) > LONGEST_UID:
            raise DamagedCatalogueError(f"{database.runs}: it has a run {uid!r:.80}, which is no uid")
    return runs


def referred_files(data_dir: Path) -> set[Path]:
    """Return the files that a catalogue refers to: its own arrays and links, camera frames, arrays of derived runs.

    Raises
    ------
    CatalogueError
        When its database cannot be read.
    """
    data_dir = data_dir.resolve()
    with database_of(Layout(data_dir)).opened() as rows:
        uris = [uri for (uri,) in rows("SELECT DISTINCT data_uri FROM assets WHERE data_uri LIKE 'file:%'")]
    return {asset_path(uri, data_dir) for uri in uris}
