"""A catalogue works in a folder of any name; what is wrong with one is said in one line, and recover makes it anew."""

import importlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import bluesky.plans as bp
import event_model
import numpy as np
import pytest
from command_line import answer
from refusals import without_privileges
from soft import Camera, Motor, number
from store import Store

from beamline.child_process import module_command
from beamline.storage.catalogue.condition import check_catalogue, check_thoroughly
from beamline.storage.catalogue.documents import documents
from beamline.storage.catalogue.embedded import create_catalogue
from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.find import derived_of, open_catalog
from beamline.storage.catalogue.recovery import recover
from beamline.storage.catalogue.sqlite import SqliteDatabase
from beamline.storage.large_arrays import externalise
from beamline.storage.layout import INGEST, Layout
from beamline.storage.recorder import Recorder, RecorderError
from beamline.storage.runs import Runs
from callbacks.external import ExternalFrames

pytestmark = pytest.mark.long

ODD = "a#b?c %20;&'\"\\é\n[x]*"
MAP = np.arange(20_000.0).reshape(100, 200)
REMEDY = "; `beamline recover` makes it anew from the logs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with an odd name and two runs in its catalogue, one with frames and the reduction of it."""
    data_dir = tmp_path_factory.mktemp("odd") / ODD
    store = Store(data_dir)
    raw = store.measure(bp.scan([number(range(9)), Camera("ccd", data_dir / "frames")], Motor("energy"), 520, 521, 3))
    derivation = {"raw_uids": [raw], "pipeline": "rixs", "settings": {}, "software": {}}
    derived = event_model.compose_run(metadata={"derivation": derivation})
    keys = {"map": {"dtype": "array", "shape": list(MAP.shape), "dtype_numpy": "<f8", "source": "reduction"}}
    stream = derived.compose_descriptor(name="result", data_keys=keys)
    event = stream.compose_event(data={"map": MAP}, timestamps={"map": 5.0}, time=5.0)
    docs = [("start", derived.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    for name, doc in externalise([*docs, ("stop", derived.compose_stop())], data_dir):
        store.recorder(name, doc)
    subprocess.run(module_command("beamline.processes.process", INGEST, str(data_dir)), check=True)
    return data_dir


def frames_in(documents_):
    files, found = ExternalFrames(), []
    for name, doc in documents_:
        if name == "event":
            found.append(int(files.read(doc, "ccd")[0, 0]))
        elif name in ("resource", "datum", "stream_resource", "stream_datum"):
            getattr(files, name)(doc)
    files.close()
    return found


def assert_all_is_read(data_dir):
    catalogue = open_catalog(data_dir)
    assert catalogue[-1]["primary"]["ccd"].read()[:, 0, 0].tolist() == [0, 1, 2]
    assert catalogue.v1[-1].table()["signal"].tolist() == [0, 1, 2]
    assert frames_in(documents(catalogue[-1])) == [0, 1, 2]
    assert np.array_equal(derived_of(catalogue[-1]).result["map"], MAP)
    runs = Runs(data_dir)
    assert frames_in(runs.documents(runs.find("-1"))) == [0, 1, 2]
    assert np.array_equal(runs.load_with_derived("-1")[1].result["map"], MAP)


def test_any_path_will_do_and_nothing_is_written_beside_the_folder(folder):
    assert_all_is_read(folder)
    assert [path.name for path in folder.parent.iterdir()] == [ODD]


def copied(folder, to):
    """Copy a data folder, and let its catalogue take itself for that of the copy."""
    shutil.copytree(folder, to)
    path = Layout(to).catalogue_format
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_folder": str(to)}))
    return Layout(to)


def drop(database, pattern):
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE ?"
        for (name,) in connection.execute(query, [pattern]).fetchall():
            connection.execute(f"DROP TABLE {name}")
        connection.commit()


def execute(database, statement):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()


def replace_by_file(path):
    shutil.rmtree(path)
    path.write_text("not a folder")


WRONG = {
    "removed": (lambda layout: shutil.rmtree(layout.catalogue), "{catalogue}: missing, though 2 runs have been in it"),
    "a_file": (lambda layout: replace_by_file(layout.catalogue), "{catalogue}: not a folder"),
    "earlier": (
        lambda layout: layout.catalogue_format.unlink(),
        "{catalogue}: of the format of an earlier version, exp",
    ),
    "later": (
        lambda layout: layout.catalogue_format.write_text('{"format": 9, "data_folder": "", "id": ""}'),
        "{catalogue}: of format 9, expected 2",
    ),
    "foreign": (
        lambda layout: (layout.catalogue_format.unlink(), layout.catalogue_database.unlink()),
        "{catalogue}: not a catalogue, catalogue.json and its databases are missing",
    ),
    "a_folder": (
        lambda layout: (layout.catalogue_format.unlink(), layout.catalogue_format.mkdir()),
        "{catalogue}/catalogue.json: not what it should be, which is a file",
    ),
    "torn": (
        lambda layout: layout.catalogue_format.write_text("[1,"),
        "{catalogue}/catalogue.json: not what it should be",
    ),
    "no_runs": (lambda layout: layout.catalogue_database.unlink(), "{catalogue}/catalog.db: missing"),
    "garbage": (
        lambda layout: layout.catalogue_database.write_bytes(b"tea" * 999),
        "{catalogue}/catalog.db: file is not a",
    ),
    "cut": (
        lambda layout: os.truncate(layout.catalogue_database, 9000),
        "{catalogue}/catalog.db: database disk image is",
    ),
    "no_nodes": (
        lambda layout: drop(layout.catalogue_database, "nodes"),
        "{catalogue}/catalog.db: its table nodes is miss",
    ),
    "no_container": (
        lambda layout: execute(layout.catalogue_database, "DELETE FROM nodes WHERE key = 'derived' AND parent = 0"),
        "{catalogue}/catalog.db: its container 'derived' is missing",
    ),
    "no_tables": (lambda layout: layout.catalogue_tables.unlink(), "{catalogue}/tables.db: missing"),
    "tea": (lambda layout: layout.catalogue_tables.write_bytes(b"tea" * 999), "{catalogue}/tables.db: "),
    "dropped": (lambda layout: drop(layout.catalogue_tables, "table_%"), "{catalogue}/tables.db: its table table_"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_catalogue_is_said_in_one_line_and_the_logs_stay_usable(tmp_path, folder, wrong):
    layout = copied(folder, tmp_path / "data")
    damage, message = WRONG[wrong]
    damage(layout)
    with pytest.raises(CatalogueError) as caught:
        open_catalog(layout.data_dir)
    assert str(caught.value).startswith(message.format(catalogue=layout.catalogue))
    assert str(caught.value).endswith(REMEDY)
    assert "\n" not in str(caught.value)
    assert len(answer("runs", "--data-dir", layout.data_dir, "--json").json) == 1


@pytest.mark.parametrize("name", ["catalog.db", "tables.db"])
def test_a_locked_catalogue_is_said_to_be_locked_and_not_to_be_damaged(tmp_path, folder, monkeypatch, name):
    monkeypatch.setattr("beamline.storage.catalogue.sqlite.LOCK_TIMEOUT", 0.1)
    importlib.import_module("adbc_driver_sqlite.dbapi")  # with which tables are read once Tiled is there
    layout = copied(folder, tmp_path / "data")
    program = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("PRAGMA locking_mode = EXCLUSIVE")
other.execute("BEGIN EXCLUSIVE")
other.execute("CREATE TABLE tea (time)")
print("locked", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-S", "-c", program, str(layout.catalogue / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(CatalogueError, match=rf"^[^;]*{name}: .*database is locked$"):
            check_catalogue(layout.data_dir)
        other.stdin.close()


def test_rows_have_the_checksum_by_either_copy_of_sqlite(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    layout.catalogue.mkdir()
    rng = np.random.default_rng(3)
    numbers = [497.92151893464097, 0.1 + 0.2, float("inf"), -0.0, 1e300, 5e-324, 3.0, *rng.normal(500, 1, 200).tolist()]
    with closing(sqlite3.connect(layout.catalogue_tables)) as tables:
        tables.execute("CREATE TABLE readings (_dataset_id INTEGER, value REAL, line BLOB, name TEXT, count INTEGER)")
        rows = [(1, each, bytes(range(9)), "it's", 2**60) for each in numbers] + [(1, None, b"", "", None)]
        tables.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", rows)
        tables.commit()
    importlib.import_module("adbc_driver_sqlite.dbapi")

    def checksum():
        return SqliteDatabase(layout).crc_of_rows({"run": [("readings", "1")]})["readings", "1"]

    of_tiled = checksum()
    monkeypatch.setattr("beamline.storage.catalogue.sqlite.TABLES_LIBRARY", "no such library")
    assert checksum() == of_tiled
    with closing(sqlite3.connect(layout.catalogue_tables)) as tables:
        tables.execute("UPDATE readings SET value = ? WHERE rowid = 1", (np.nextafter(numbers[0], 0),))
        tables.commit()
    assert checksum() != of_tiled


def test_damage_that_no_look_at_the_tables_shows_is_found_page_by_page(tmp_path):
    create_catalogue(tmp_path)
    layout = Layout(tmp_path)
    with layout.catalogue_database.open("r+b") as database:
        database.seek(30 * 4096)
        database.write(bytes(4096))
    assert check_catalogue(tmp_path).data_folder == str(tmp_path)
    with pytest.raises(DamagedCatalogueError) as caught:
        check_thoroughly(tmp_path)
    assert str(caught.value).startswith(f"{layout.catalogue_database}: damaged: *** in database main *** Page 31: ")
    assert str(caught.value).endswith(REMEDY)
    assert "\n" not in str(caught.value)


def test_a_catalogue_that_cannot_be_opened_says_why_and_what_makes_it_anew(tmp_path):
    made = create_catalogue(tmp_path)
    assert create_catalogue(tmp_path) == made  # which is there
    layout = Layout(tmp_path)
    execute(layout.catalogue_database, "UPDATE alembic_version SET version_num = 'tea'")
    with pytest.raises(CatalogueError) as caught:
        open_catalog(tmp_path)
    assert str(caught.value).startswith(f"{layout.catalogue}: cannot be opened: ")
    assert str(caught.value).endswith("; `beamline recover --rebuild` makes it anew from the logs")
    assert "\n" not in str(caught.value)


def test_a_catalogue_that_cannot_be_created_says_why(tmp_path):
    (tmp_path / "file").write_text("tea")
    with pytest.raises(CatalogueError, match=f"^{tmp_path}/file/data/catalog: cannot be created: Not a directory$"):
        create_catalogue(tmp_path / "file" / "data")
    (tmp_path / "catalog").write_text("tea")
    with pytest.raises(DamagedCatalogueError, match=f"^{tmp_path}/catalog: not a folder"):
        create_catalogue(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".catalog.creating", "catalog", "file"]


def test_a_folder_that_cannot_be_read_or_written_to_is_not_taken_for_damage(tmp_path, small_disk):
    create_catalogue(tmp_path)
    os.chmod(tmp_path, 0)
    with (
        without_privileges(),
        pytest.raises(CatalogueError, match=f"^{tmp_path}/catalog: Permission denied$") as caught,
    ):
        check_catalogue(tmp_path)
    assert not isinstance(caught.value, DamagedCatalogueError)
    os.chmod(tmp_path, 0o700)
    create_catalogue(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(
        CatalogueError, match=f"^{small_disk}/catalog: cannot be written to, as the catalogue needs it$"
    ):
        check_catalogue(small_disk)
    Layout(tmp_path).logs.mkdir()
    refused = answer("recover", "--data-dir", small_disk)
    assert (refused.code, refused.stderr) == (1, f"beamline: {small_disk}/.recovering: Read-only file system\n")
    with pytest.raises(RecorderError, match="log: cannot be made, nothing can be measured: Read-only file system"):
        Recorder(small_disk)


def test_a_folder_that_was_copied_is_said_to_be_one_and_recover_makes_its_catalogue_anew(tmp_path, folder, monkeypatch):
    data_dir = tmp_path / "copy"
    shutil.copytree(folder, data_dir)
    where = str(folder).replace("\n", " ")
    with pytest.raises(CatalogueError) as caught:
        open_catalog(data_dir)
    reason = f"{data_dir}/catalog: made for the data folder {where}, which was moved or copied"
    assert str(caught.value) == reason + REMEDY
    recovery = recover(data_dir)
    assert (recovery.ingested, recovery.problems) == (2, [])
    (before,) = data_dir.glob("catalog.damaged-*")
    assert recovery.catalogue == f"{reason}; the one before is kept as {before.name}"
    assert_all_is_read(data_dir)
    assert recover(data_dir) == type(recovery)()  # nothing is left to do

    # Damage that no look at the tables shows, in the process that has the catalogue open.
    shutil.rmtree(data_dir / "catalog" / "arrays")
    (data_dir / "catalog" / "arrays").mkdir()
    with closing(sqlite3.connect(Layout(data_dir).catalogue_database)) as connection:
        connection.execute("DELETE FROM nodes WHERE key = ?", [open_catalog(data_dir)[-1].start["uid"]])
        connection.commit()
    assert recover(data_dir).ingested == 1
    recovery = recover(data_dir, rebuild=True)
    assert (recovery.ingested, recovery.problems) == (2, [])
    assert recovery.catalogue.startswith("as it was asked for; the one before is kept as catalog.damaged-")
    assert_all_is_read(data_dir)

    # Files that runs refer to are gone.
    (frames,) = (data_dir / "frames").iterdir()
    (derived,) = (data_dir / "derived").iterdir()
    frames.unlink()
    derived.write_bytes(b"tea" * 999)
    left = answer("recover", "--data-dir", data_dir, "--json")
    assert left.code == 1
    problems = left.json["problems"]
    assert problems[0].startswith(f"{derived}: cannot be read: ")
    assert problems[1:] == [f"{frames}: missing, though runs refer to it"]
    monkeypatch.setattr("beamline.storage.catalogue.recovery.MOST_FILES", 1)
    assert recover(data_dir).problems == [problems[0], "1 other files are missing or cannot be read"]
    raw, derived_run = Runs(data_dir).load_with_derived("-1")
    assert derived_run is None
    assert str(derived) in raw.problems[0]
