"""The databroker catalogue of a data folder as an embedded Tiled application: no server, no network.

Importing this module takes seconds (dask, pandas, xarray); `beamline.storage.catalogue.find.open_catalog`
does so when it is called.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# Tiled reads these when it is imported: frames are read while the detector writes, and without a network in between a
# failed request need not be repeated ten times.
os.environ.setdefault("TILED_HDF5_SWMR_DEFAULT", "1")
os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using `httpx` with `starlette.testclient`")  # the transport Tiled embeds with
    from starlette import testclient  # noqa: F401

from bluesky_tiled_plugins.exporters import json_seq_exporter
from tiled.catalog import from_uri
from tiled.client import from_context
from tiled.client.container import DEFAULT_STRUCTURE_CLIENT_DISPATCH, Container
from tiled.client.context import Context
from tiled.media_type_registration import default_serialization_registry
from tiled.server.app import build_app
from tiled.utils import OneShotCachedMap

from beamline.storage.layout import Layout

SPEC = {"name": "CatalogOfBlueskyRuns", "version": "3.0"}  # makes a Tiled container answer as databroker does

# Zarr 3 does not yet specify numpy's arrays of text. They are few and short here, and the log holds them too.
warnings.filterwarnings("ignore", "The data type .* does not have a Zarr V3 specification")
logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # at INFO it announces its version at every start
default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)  # for run.documents()


def open_embedded(data_dir: Path) -> Any:
    """Open the catalogue of a data folder; create it if there is none.

    Returns
    -------
    bluesky_tiled_plugins.CatalogOfBlueskyRuns
        The client, with the runs in the order of their start times.
    """
    folder = Layout(data_dir.absolute()).catalogue
    folder.mkdir(parents=True, exist_ok=True)
    database, tables = folder / "catalog.db", folder / "tables.db"
    storage = {
        "specs": [SPEC],
        "writable_storage": [str(folder / "arrays"), f"sqlite:///{tables}"],
        "readable_storage": [str(data_dir.absolute())],
    }
    if not database.exists():
        with _creating(folder):
            if not database.exists():
                _create(database, tables)
    app = build_app(from_uri(str(database), **storage), serialization_registry=default_serialization_registry)
    Container.discover_clients_from_entrypoints()  # those of bluesky-tiled-plugins
    clients = _Clients(DEFAULT_STRUCTURE_CLIENT_DISPATCH["numpy"])
    return from_context(Context.from_app(app), structure_clients=clients).sort(("start.time", 1))


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


@contextmanager
def _creating(folder: Path) -> Iterator[None]:
    """Hold a lock, so that only one process creates the catalogue."""
    with (folder / ".creating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _create(database: Path, tables: Path) -> None:
    with closing(sqlite3.connect(tables)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # a second process reads while one writes
    new = database.with_name("new.db")
    new.unlink(missing_ok=True)
    from_uri(str(new), init_if_not_exists=True)
    new.rename(database)  # only now, so that no process opens an incomplete one
