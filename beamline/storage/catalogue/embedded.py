"""The databroker catalogue of a data folder as an embedded Tiled application: no server, no network.

Importing this module takes seconds (dask, pandas, xarray); `beamline.storage.catalogue.find.open_catalog`
does so when it is called.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Tiled reads these when it is imported: frames are read while the detector writes, and without a network in between a
# failed request need not be repeated ten times.
os.environ.setdefault("TILED_HDF5_SWMR_DEFAULT", "1")
os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using `httpx` with `starlette.testclient`")  # the transport Tiled embeds with
    from starlette import testclient  # noqa: F401

from bluesky_tiled_plugins.exporters import json_seq_exporter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from tiled import utils as tiled_utils
from tiled.catalog import from_uri
from tiled.catalog.core import REQUIRED_REVISION, initialize_database
from tiled.catalog.orm import Node
from tiled.client import from_context
from tiled.client.container import DEFAULT_STRUCTURE_CLIENT_DISPATCH, Container
from tiled.client.context import Context
from tiled.config import Authentication
from tiled.media_type_registration import default_serialization_registry
from tiled.server.app import build_app
from tiled.storage import parse_storage
from tiled.utils import OneShotCachedMap

from beamline.storage.catalogue.condition import DERIVED, FORMAT, RAW, REBUILD, CatalogueFormat, check_catalogue
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.catalogue.locations import asset_uri, quoted_folder, unquoted
from beamline.storage.layout import Layout

SPEC = {"name": "CatalogOfBlueskyRuns", "version": "3.0"}  # makes a Tiled container answer as databroker does

# Zarr 3 does not yet specify numpy's arrays of text. They are few and short here, and the log holds them too.
warnings.filterwarnings("ignore", "The data type .* does not have a Zarr V3 specification")
logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # at INFO it announces its version at every start
default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)  # for run.documents()
Container.discover_clients_from_entrypoints()  # those of bluesky-tiled-plugins

_opened: dict[Path, str] = {}  # data folder -> id of its catalogue that this process has opened last
_latest: dict[tuple[Path, str, int], Context] = {}  # data folder, id and process -> the one that was opened last
_opening = threading.Lock()


def open_embedded(data_dir: Path) -> Any:
    """Open the catalogue of a data folder; create it if there is none.

    Returns
    -------
    bluesky_tiled_plugins.CatalogOfBlueskyRuns
        The measured and imported runs in the order of their start times.

    Raises
    ------
    CatalogueError
        When it cannot be opened; `DamagedCatalogueError` when it has to be made anew.
    """
    data_dir = data_dir.resolve()
    found = check_catalogue(data_dir) or create_catalogue(data_dir)
    try:
        return open_container(_context(data_dir, found.id), RAW)
    except Exception as error:  # of the databases, of Tiled, of the disk: there is no list of what these raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CatalogueError(f"{Layout(data_dir).catalogue}: cannot be opened: {reason}; {REBUILD}") from error


def open_container(context: Context, name: str) -> Any:
    """Open one of the two containers of a catalogue, with its runs in the order of their start times."""
    clients = _Clients(DEFAULT_STRUCTURE_CLIENT_DISPATCH["numpy"])
    return from_context(context, structure_clients=clients, node_path_parts=[name]).sort(("start.time", 1))


def open_derived(catalogue: Any) -> Any:
    """Open the derived runs that belong to a catalogue of raw runs, or to a run from it."""
    return open_container(catalogue.context, DERIVED)


def _context(data_dir: Path, catalogue_id: str) -> Context:
    """Give the application of a catalogue: the same again, as to build one takes some 0.3 s, most of it FastAPI's."""
    key = data_dir, catalogue_id, os.getpid()  # a process that was forked lacks the threads of an application
    with _opening:
        if key not in _latest:
            made = Context.from_app(_app(data_dir, catalogue_id))
            _latest.clear()
            _latest[key] = made
        return _latest[key]


def served_app(data_dir: Path) -> Any:
    """Build the application of a catalogue that a server runs: whoever reaches it reads, and does nothing else.

    Raises
    ------
    CatalogueError
        As of `open_embedded`.
    """
    data_dir = data_dir.resolve()
    found = check_catalogue(data_dir) or create_catalogue(data_dir)
    return _app(data_dir, found.id, Authentication(allow_anonymous_access=True))


def _app(data_dir: Path, catalogue_id: str, authentication: Authentication | None = None) -> Any:
    layout = Layout(data_dir)
    # SQLite's own form of a URI takes a path with any characters. It ignores what it does not know: the id keeps Tiled
    # from going on with connections to a catalogue that lay here before.
    database = f"sqlite+aiosqlite:///file:{quote(str(layout.catalogue_database))}?uri=true&id={catalogue_id}"
    folder = quoted_folder(data_dir)
    tables = f"sqlite:///{folder}/{layout.catalogue_tables.relative_to(data_dir)}"
    if _opened.get(data_dir) not in (None, catalogue_id):
        parse_storage(tables).dispose()
    _opened[data_dir] = catalogue_id
    tree = from_uri(
        database,
        writable_storage=[asset_uri(layout.catalogue_arrays, data_dir), tables],
        readable_storage=[f"file://localhost{folder}"],
    )
    return build_app(tree, authentication, serialization_registry=default_serialization_registry)


_path_from_uri = tiled_utils.path_from_uri


def path_of(uri: str) -> Path:
    """Give the path of a URI as Tiled does, but in the data folders that are open whatever their path holds."""
    return unquoted(_path_from_uri(uri), _opened)


def _replace_path_from_uri() -> None:
    """Let Tiled use `path_of`: its own function cannot give a path that has # or ? in it.

    `test_any_path_will_do` in test_embedded.py fails when this does not work any more.
    """
    for module in list(sys.modules.values()):
        if getattr(module, "path_from_uri", None) is _path_from_uri:
            module.path_from_uri = path_of  # type: ignore[attr-defined]


_replace_path_from_uri()


class _Clients(OneShotCachedMap):
    """The classes of Tiled clients, as a map whose copies are independent.

    A `OneShotCachedMap` shares its content with its copies, so that opening ``catalog.v1``, which registers an older
    class of runs in a copy, would change the class of runs of every catalogue in the process. Neither the map nor
    `DEFAULT_STRUCTURE_CLIENT_DISPATCH` is documented: when they change,
    `test_the_older_databroker_interface_gives_documents_and_tables` in test_find.py fails.
    """

    def __init__(self, clients: Mapping[str, Any]) -> None:
        super().__init__({name: partial(clients.__getitem__, name) for name in clients})

    def __copy__(self) -> _Clients:
        return _Clients(self)


def create_catalogue(data_dir: Path) -> CatalogueFormat:
    """Create the catalogue of a data folder, unless another process has created it meanwhile.

    Raises
    ------
    CatalogueError
        When it cannot be created.
    """
    data_dir = data_dir.resolve()
    layout = Layout(data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _creating(layout.creation_lock):
            if (found := check_catalogue(data_dir)) is not None:
                return found
            shutil.rmtree(layout.new_catalogue, ignore_errors=True)  # of a process that was killed
            new = _fill_folder(layout.new_catalogue, data_dir)
            layout.new_catalogue.rename(layout.catalogue)  # only now, so that no process opens an incomplete one
            return new
    except CatalogueError:
        raise
    except Exception as error:  # of the disk, of the databases
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise CatalogueError(f"{layout.catalogue}: cannot be created: {reason}") from error


@contextmanager
def _creating(path: Path) -> Iterator[None]:
    """Hold a lock, so that only one process creates the catalogue."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill_folder(folder: Path, data_dir: Path) -> CatalogueFormat:
    """Write the files of an empty catalogue."""
    (folder / "arrays").mkdir(parents=True)
    layout = Layout(data_dir)
    (folder / layout.catalogue_database.name).write_bytes(_empty_database())
    with closing(sqlite3.connect(folder / layout.catalogue_tables.name)) as tables:
        tables.execute("PRAGMA journal_mode=WAL")  # a second process reads while one writes
    made = CatalogueFormat(FORMAT, str(data_dir), str(uuid.uuid4()))
    made.write(folder / layout.catalogue_format.name)
    return made


@cache
def _empty_database() -> bytes:
    """Make a database with the two containers and no runs."""
    # In a thread: it needs an event loop of its own, and where this is called one may be running.
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "empty.db"
        uri = f"sqlite+aiosqlite:///file:{quote(str(path))}?uri=true"
        thread.submit(asyncio.run, _create_tables(uri)).result()
        return path.read_bytes()


async def _create_tables(uri: str) -> None:
    engine = create_async_engine(uri)
    try:
        await initialize_database(engine)
        async with AsyncSession(engine) as session:
            for name in (RAW, DERIVED):
                session.add(Node(parent=0, key=name, structure_family="container", metadata_={}, specs=[SPEC]))
            # The version of the tables, as Tiled's own command writes it by Alembic, which would warn and import more.
            await session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            await session.execute(
                text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REQUIRED_REVISION}
            )
            await session.commit()
    finally:
        await engine.dispose()
