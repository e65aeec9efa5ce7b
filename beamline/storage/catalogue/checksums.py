"""Checksums of what a run has in the catalogue: nothing else tells that a value was damaged on the disk."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from beamline.storage.catalogue.condition import opened_database, rows_of_tables, run_containers
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.layout import Layout, is_regular

BLOCK = 1 << 20  # bytes that are read at a time

Checksums = dict[str, dict[str, int | None]]
DatasetId = tuple[str, str]  # name of a table, and which of its rows: a table is shared by runs of the same columns

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
    SELECT DISTINCT json_extract(source.parameters, '$.table_name'), json_extract(source.parameters, '$.dataset_id')
    FROM nodes_closure JOIN data_sources AS source ON source.node_id = nodes_closure.descendant
    WHERE nodes_closure.ancestor = ? AND json_extract(source.parameters, '$.table_name') NOT NULL
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
        raise CatalogueError(f"{layout.catalogue_database}: does not have run {uid}")
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
    with opened_database(layout.catalogue_database) as database:
        for uid, (_, node) in nodes.items():
            datasets[uid] = [(str(name), str(number)) for name, number in database.execute(DATASETS, (node,))]
        database.text_factory = bytes  # a text that is damaged may be none
        for uid, (_, node) in nodes.items():
            descriptions[uid] = _crc(database.execute(DESCRIPTION, (node,)))
    rows = _crc_of_rows(layout, datasets)
    return {
        uid: {
            "description": {"": descriptions[uid]},
            "rows": {f"{name}/{number}": rows.get((name, number)) for name, number in datasets[uid]},
            "arrays": _crc_of_files(layout.arrays_of(container, uid)),
        }
        for uid, (container, _) in nodes.items()
    }


def _crc_of_rows(layout: Layout, datasets: Mapping[str, Iterable[DatasetId]]) -> dict[DatasetId, int]:
    """Compute the checksum of each dataset's rows, in one pass through each table."""
    wanted: dict[str, list[str]] = {}
    for name, number in {dataset for own in datasets.values() for dataset in own}:
        wanted.setdefault(name, []).append(number)
    found: dict[DatasetId, int] = {}
    for name, numbers in wanted.items():
        table = _quoted(name)
        columns = rows_of_tables(layout.catalogue_tables, f"SELECT name FROM pragma_table_info({table})")
        values = ", ".join(f"CAST(quote({_quoted(column)}) AS BLOB)" for (column,) in columns)
        only = f"WHERE _dataset_id = {numbers[0]}" if len(numbers) == 1 and numbers[0].isdecimal() else ""
        rows = rows_of_tables(layout.catalogue_tables, f"SELECT quote(_dataset_id), {values} FROM {table} {only}")
        for row in rows:
            key = name, row[0]
            found[key] = zlib.crc32(repr([*map(_value, row[1:])]).encode(), found.get(key, 0))
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(quoted: bytes) -> bytes | float:
    """Return the number that a quoted value is, as versions of SQLite write it with different digits."""
    return quoted if quoted[:1] in b"'NX" or quoted.lstrip(b"-").isdigit() else float(quoted)


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
