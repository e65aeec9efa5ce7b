"""Checksums of what a run has in the catalogue: nothing else tells that a value was damaged on the disk."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from beamline.storage.catalogue.condition import database_of, run_containers
from beamline.storage.catalogue.database import DatasetId
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.layout import Layout, is_regular

BLOCK = 1 << 20  # bytes that are read at a time

Checksums = dict[str, dict[str, int | None]]

DESCRIPTION = """
    SELECT node.id, node.parent, node.key, node.structure_family, node.metadata, node.specs, source.structure_family,
        source.mimetype, source.parameters, source.management, structures.structure, associated.parameter,
        assets.data_uri, assets.is_directory
    FROM nodes_closure JOIN nodes AS node ON node.id = nodes_closure.descendant
        LEFT JOIN data_sources AS source ON source.node_id = node.id
        LEFT JOIN structures ON structures.id = source.structure_id
        LEFT JOIN data_source_asset_association AS associated ON associated.data_source_id = source.id
        LEFT JOIN assets ON assets.id = associated.asset_id
    WHERE nodes_closure.ancestor = ? ORDER BY node.id, source.id, associated.num
"""
DATASETS = """
    SELECT DISTINCT {table_name}, {dataset_id}
    FROM nodes_closure JOIN data_sources AS source ON source.node_id = nodes_closure.descendant
    WHERE nodes_closure.ancestor = ? AND {table_name} IS NOT NULL
"""


def write_checksums(layout: Layout, uid: str) -> None:
    """Write the checksums of a run that is complete in the catalogue.

    Raises
    ------
    CatalogueError
        When it cannot be read, or does not have the run.
    """
    found = _checksums(layout, uid)
    if not found:
        raise CatalogueError(f"{database_of(layout).runs}: does not have run {uid}")
    path = layout.checksums(uid)
    new = path.with_name(f".{path.name}.new")
    if not path.parent.is_dir():
        path.parent.unlink(missing_ok=True)
        path.parent.mkdir()
    for one in (path, new):  # whatever else is in the way: checksums can always be made anew
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif not is_regular(one):
            one.unlink(missing_ok=True)
    new.write_text(json.dumps(found[uid]))
    new.replace(path)


def unsound_runs(layout: Layout) -> set[str]:
    """Find the runs that are not what was written into the catalogue, or of which that cannot be told.

    Returns
    -------
    set of str
        Uids of runs whose description, rows of tables or arrays have not the checksums they had, or that have none:
        those are written last.

    Raises
    ------
    CatalogueError
        When a database of the catalogue cannot be read.
    """
    return {uid for uid, found in _checksums(layout, None).items() if _written(layout.checksums(uid)) != found}


def _written(path: Path) -> Any:
    """Read the checksums of a run; None if it has none that can be read."""
    try:
        return json.loads(path.read_bytes()) if is_regular(path) else None
    except (OSError, ValueError, RecursionError):
        return None


def _checksums(layout: Layout, only: str | None) -> dict[str, Checksums]:
    """Compute the checksums of the runs that are completely in the catalogue, or of one of them, by their uids."""
    nodes = run_containers(layout, only)
    descriptions: dict[str, int] = {}
    datasets: dict[str, list[DatasetId]] = {}
    database = database_of(layout)
    keys = ("table_name", "dataset_id")
    query = DATASETS.format(**{key: database.text_of("source.parameters", key) for key in keys})
    with database.opened() as ask:
        for uid, (_, node) in nodes.items():
            datasets[uid] = [(str(name), str(number)) for name, number in ask(query, node)]
    with database.opened(bytes) as ask:  # a text that is damaged may be none
        for uid, (_, node) in nodes.items():
            descriptions[uid] = _crc(ask(DESCRIPTION, node))
    rows = database.crc_of_rows(datasets)
    return {
        uid: {
            "description": {"": descriptions[uid]},
            "rows": {f"{name}/{number}": rows.get((name, number)) for name, number in datasets[uid]},
            "arrays": _crc_of_files(layout.arrays_of(container, uid)),
        }
        for uid, (container, _) in nodes.items()
    }


def _crc(rows: Iterable[tuple[Any, ...]]) -> int:
    found = 0
    for row in rows:
        found = zlib.crc32(repr(row).encode(), found)
    return found


def _crc_of_files(folder: Path) -> dict[str, int | None]:
    """Compute the checksum of each file in a folder, by its path there; None if it cannot be read."""
    return {str(path.relative_to(folder)): _crc_of_file(path) for path in sorted(folder.rglob("*")) if is_regular(path)}


def _crc_of_file(path: Path) -> int | None:
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found = zlib.crc32(block, found)
    except OSError:
        return None
    return found
