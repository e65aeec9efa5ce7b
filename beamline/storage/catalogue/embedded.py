"""The databroker catalogue of a data folder as an embedded Tiled application: no server, no network.

Importing this module takes seconds (dask, pandas, xarray); `beamline.storage.catalogue.find.open_catalog`
does so when it is called.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import logging
import os
import shutil
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# Tiled reads these: frames are read while the detector writes; without a network in between a failed request need not
# be repeated ten times; and the address of a table holds nothing of who reached it, and how.
os.environ.setdefault("TILED_HDF5_SWMR_DEFAULT", "1")
os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")
os.environ.setdefault("TILED_STRIP_STORAGE_URI_QUERY_ON_WRITE", "1")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using `httpx` with `starlette.testclient`")  # the transport Tiled embeds with
    from starlette import testclient  # noqa: F401

from bluesky_tiled_plugins.exporters import json_seq_exporter
from sqlalchemy import event, text
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
from tiled.server.connection_pool import open_database_connection_pool
from tiled.storage import parse_storage
from tiled.utils import OneShotCachedMap

from beamline.storage.catalogue.condition import (
    DERIVED,
    FORMAT,
    ON_SERVER,
    RAW,
    REBUILD,
    CatalogueFormat,
    check_catalogue,
    database_of,
)
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.catalogue.locations import asset_uri, quoted_folder, unquoted
from beamline.storage.catalogue.place import read_place
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
    runs, tables = database_of(layout).uris(catalogue_id)
    if _opened.get(data_dir) not in (None, catalogue_id):
        parse_storage(tables).dispose()
    _opened[data_dir] = catalogue_id
    tree = from_uri(
        runs,
        writable_storage=[asset_uri(layout.catalogue_arrays, data_dir), tables],
        readable_storage=[f"file://localhost{quoted_folder(data_dir)}"],
    )
    if tree.context.engine.dialect.name == "postgresql":
        # Tiled has one pool of connections for all applications of one address, though a connection belongs to the
        # event loop of the application that made it. In a pool of its own, they are tried first as well: the server may
        # have been started anew.
        tree.context.database_settings = dataclasses.replace(tree.context.database_settings, pool_pre_ping=True)
        tree.context.engine = open_database_connection_pool(tree.context.database_settings)
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
    """Make an empty catalogue."""
    (folder / "arrays").mkdir(parents=True)
    layout = Layout(data_dir)
    kind = "" if read_place(layout).address is None else ON_SERVER
    made = CatalogueFormat(FORMAT, str(data_dir), str(uuid.uuid4()), kind)
    database_of(layout, new=True).create(folder, data_dir, made.id, _initialise)
    made.write(folder / layout.catalogue_format.name)
    return made


def _initialise(uri: str) -> None:
    """Make the tables of a database with the two containers and no runs."""
    with ThreadPoolExecutor(
        1
    ) as thread:  # it needs an event loop of its own, and where this is called one may be running
        thread.submit(asyncio.run, _create_tables(uri)).result()


async def _create_tables(uri: str) -> None:
    engine = create_async_engine(uri)
    event.listen(engine.sync_engine, "before_cursor_execute", _if_not_there, retval=True)
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


def _if_not_there(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """Let Tiled's extension be there already: of a catalogue before, or made by whoever administers the server."""
    return statement.replace("create extension btree_gin", "create extension if not exists btree_gin"), parameters
