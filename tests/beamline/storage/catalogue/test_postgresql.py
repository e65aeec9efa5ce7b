"""The catalogue in PostgreSQL is the same as in SQLite, belongs to one data folder, and its server may fail."""

import json
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import bluesky.plans as bp
import numpy as np
import pytest
from postgres import PASSWORD, QUOTED
from pydantic import SecretStr
from soft import Camera, Motor, Values, number
from store import Store

from beamline.acquire.session import Session
from beamline.endstation.config import load_config
from beamline.operations.replay import replay
from beamline.operations.status import status
from beamline.processes import process as process_module
from beamline.processes.followers import FollowingThread
from beamline.storage.catalogue import postgresql as postgresql_module
from beamline.storage.catalogue.checksums import unsound_runs
from beamline.storage.catalogue.condition import check_answer, check_catalogue
from beamline.storage.catalogue.documents import documents, logged_documents
from beamline.storage.catalogue.embedded import create_catalogue
from beamline.storage.catalogue.errors import CatalogueServerError, DamagedCatalogueError
from beamline.storage.catalogue.ingest import Ingester
from beamline.storage.catalogue.place import use_catalogue
from beamline.storage.catalogue.recovery import recover
from beamline.storage.layout import INGEST, REDUCTION, Layout
from beamline.storage.log import find_log
from beamline.storage.runs import Runs
from plans import PLANS

pytestmark = pytest.mark.long

RIXS = {"regions": "776:779:1", "exposure_time": "20", "sample": "LRNMC pristine"}


@pytest.fixture
def folder(postgres, tmp_path):
    """A data folder whose catalogue is in a database of its own."""
    postgres.use(tmp_path / "data")
    return tmp_path / "data"


def name_of(folder):
    return json.loads(Layout(folder).catalogue_address.read_text())["catalogue"].partition("@/")[2].partition("?")[0]


def test_a_map_is_replayed_from_postgresql_as_it_was_reduced_live_and_no_file_but_one_has_the_password(
    postgres, tmp_path
):
    config = tmp_path / "endstation.toml"
    simulated = load_config(None).path.read_text()
    config.write_text(f'{simulated}\n[storage]\ncatalogue = "{postgres.address(postgres.database())}"\n')
    config.chmod(0o600)
    loaded, folder = load_config(config), tmp_path / "data"
    with Session(loaded, folder, in_process=True, followers=(REDUCTION, INGEST)) as session:
        plan = PLANS["rixs_map"]
        made = plan.function(session.endstation, **plan.convert(RIXS.items()))
        (uid,) = session.RE(made).run_start_uids
        assert session.drain() == ""
        runs = Runs(folder)
        assert session.ingester.why_missing(uid, runs.derived_uid(uid)) == ""
    outcome = replay(runs, uid, config=None, source="catalogue", keep=False)
    assert outcome["equal"] is True
    assert outcome["arrays_compared"] > 20
    assert status(folder)["catalogue"] == str(loaded.storage.catalogue.get_secret_value()).replace(f":{QUOTED}@", "@")
    secrets = [PASSWORD.encode(), QUOTED.encode(), json.dumps(PASSWORD)[1:-1].encode()]
    having = {
        path for path in folder.rglob("*") if path.is_file() and any(each in path.read_bytes() for each in secrets)
    }
    assert having == {Layout(folder).catalogue_password}
    assert Layout(folder).catalogue_password.stat().st_mode & 0o777 == 0o600
    stored = postgres.ask(name_of(folder), "SELECT DISTINCT data_uri FROM assets WHERE data_uri LIKE 'postgresql:%'")
    assert stored == [(f"postgresql://localhost/{name_of(folder)}?host={postgres.folder}&port=5432",)]


def test_what_postgresql_cannot_hold_comes_back_all_the_same(folder):
    store = Store(folder)
    odd = {"big": 1e27, "infinite": -math.inf, "not": math.nan, "whole": 2**62, "text": "a\0b", "list": ["\0"]}
    uid = store.measure(bp.count([number([1.0])]), odd=odd)
    assert store.ingest() == {}
    (_, start), *_ = documents(store.open()[uid])
    (_, logged), *_ = logged_documents(find_log(folder, uid))
    assert {key: repr(value) for key, value in start["odd"].items()} == {
        key: repr(value) for key, value in logged["odd"].items()
    }
    told = Values("det", {"said": {"dtype": "string"}}, [{"said": "a\0b"}])
    refused = store.measure(bp.count([told]))
    error = "the catalogue cannot hold it: IngestError: said of stream primary has the character NUL in it"
    assert store.ingest()[refused].startswith(error)


def test_a_database_belongs_to_the_data_folder_that_was_first(postgres, tmp_path):
    name = postgres.database()
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        postgres.use(folder, name)

    def made(folder):
        try:
            return create_catalogue(folder)
        except CatalogueServerError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(made, folders * 2))
    assert found[0] == found[2]
    assert found[1] == found[3]
    (lost,) = {text for text in found if isinstance(text, str)}
    winner, loser = folders if isinstance(found[1], str) else folders[::-1]
    owner = f"the data folder {winner} of {os.uname().nodename}"
    assert lost.endswith(f"has the catalogue of {owner}, expected a database that only {loser} uses")
    assert check_catalogue(winner) is not None
    Store(loser).measure(bp.count([number([1.0])]))
    with pytest.raises(CatalogueServerError, match="has the catalogue of the data folder"):
        Store(loser).ingest()
    assert len(Layout(loser).pending_logs()) == 1
    # A copy is another data folder, and does not take the database of the first.
    copy = tmp_path / "copy"
    shutil.copytree(winner, copy)
    Store(copy).measure(bp.count([number([1.0])]))
    (problem,) = recover(copy).problems
    assert f"if it was moved or copied here, remove {copy}/catalogue.address and name an empty one" in problem
    assert check_catalogue(winner) is not None


def test_one_process_fills_a_catalogue(folder):
    with closing(Ingester(folder)), pytest.raises(CatalogueServerError) as caught:
        Ingester(folder)  # as of another machine that shares the folder, where the lock on a file may not work
    assert f"is filled by beamline, process {os.getpid()} of {os.uname().nodename} already" in str(caught.value)
    Ingester(folder).close()


WRONG = {
    "password": ("{user}:wrong@/{name}?host={folder}", 'refuses: password authentication failed for user "beamline"'),
    "none": ("{user}@/{name}?host={folder}&passfile={folder}/none", "{folder}/none: No such file or directory"),
    "open": ("{user}@/{name}?host={folder}&passfile={folder}/password", "others may read it, as its mode is 0644"),
    "database": ("{user}:{quoted}@/nix?host={folder}", "`createdb --owner=beamline nix` on the server makes it"),
    "socket": ("{user}:{quoted}@/{name}?host={folder}/nix", "does not answer: [Errno 2] No such file"),
    "port": ("{user}:{quoted}@127.0.0.1:1/{name}", "does not answer: [Errno 111] Connect call failed"),
    "rights": ("user_without_rights:other@/{name}?host={folder}", "expected the user to own the database"),
    "other": ("{user}:{quoted}@/postgres?host={folder}", "has tables of something else (mine), expected an empty"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_server_that_cannot_be_used_is_told_in_one_line_without_the_password(postgres, tmp_path, monkeypatch, what):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    address, said = WRONG[what]
    about = {"user": "beamline", "quoted": QUOTED, "folder": postgres.folder, "name": postgres.database()}
    if what == "other":
        postgres.ask("postgres", "CREATE TABLE IF NOT EXISTS mine (x int)")
    use_catalogue(tmp_path, SecretStr(f"postgresql://{address.format(**about)}"))
    with pytest.raises(CatalogueServerError) as caught:
        create_catalogue(tmp_path)
    text = str(caught.value)
    assert said.format(**about) in text
    assert "\n" not in text
    assert not any(secret in text for secret in (PASSWORD, QUOTED, "wrong", "other@", ":other"))
    assert not Layout(tmp_path).catalogue.exists()


def test_a_server_that_is_too_old_is_refused(postgres, monkeypatch):
    monkeypatch.setattr(postgresql_module, "OLDEST", 99)
    with pytest.raises(CatalogueServerError, match=r"is PostgreSQL \d+ in UTF8, expected 99 or later, and UTF8"):
        check_answer(SecretStr(postgres.address(postgres.database())))


def test_the_password_may_come_from_the_environment(postgres, tmp_path, monkeypatch):
    use_catalogue(tmp_path, SecretStr(postgres.address(postgres.database(), password="")))
    assert not Layout(tmp_path).catalogue_password.exists()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    store = Store(tmp_path)
    uid = store.measure(bp.count([number([3.0])]))
    assert store.ingest() == {}
    assert store.open()[uid]["primary"]["signal"].read().tolist() == [3.0]


def test_a_server_that_is_killed_in_mid_scan_and_started_again_costs_nothing(postgres, folder, monkeypatch):
    monkeypatch.setattr(process_module, "BLOCKED_INTERVAL", 0.2)
    store, ingester = Store(folder), FollowingThread(INGEST, folder)
    ingester.start()
    reader = store.open()
    first = store.measure(bp.count([number([1.0])]))
    assert ingester.wait_for(first, 60)
    assert len(list(documents(reader[first]))) == 4

    def until(said):
        deadline = time.monotonic() + 60
        while not said(ingester.status()):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def values():
        for value in range(40):
            if value == 10:
                until(lambda found: any(True for _ in found.errors) or found.waiting == 1)
                postgres.kill()
            if value == 20:
                until(lambda found: found.state == "blocked")
            if value == 30:
                postgres.start()
            yield value

    try:
        detector = number(values())
        uid = store.measure(bp.scan([detector, Camera("ccd", folder / "frames")], Motor("energy"), 1, 40, 40))
        assert "does not answer" in "".join(ingester.status().errors.values()) or ingester.status().state != "blocked"
        until(lambda found: found.state != "blocked")
        assert ingester.wait_for(uid, 60)
    finally:
        ingester.stop()
    from_catalogue = event_tables(documents(reader[uid]))  # by a client of before
    assert from_catalogue == event_tables(logged_documents(find_log(folder, uid)))
    assert unsound_runs(Layout(folder)) == set()


def event_tables(docs):
    """Values and times of events, but for the references to frames."""
    return [
        (doc["seq_num"], doc["time"], {key: value for key, value in doc["data"].items() if key != "ccd"})
        for name, doc in docs
        if name == "event"
    ]


def test_what_was_changed_in_the_database_is_found_and_made_anew(postgres, folder):
    store = Store(folder)
    uids = [store.measure(bp.count([number(range(5))], num=5)) for _ in range(2)]
    assert store.ingest() == {}
    assert unsound_runs(Layout(folder)) == set()
    name = name_of(folder)
    ((table,),) = postgres.ask(name, "SELECT tablename::text FROM pg_tables WHERE tablename LIKE 'table_%'")
    postgres.ask(name, f"UPDATE {table} SET signal = signal + 1e-9 WHERE signal = 3 AND _dataset_id = 2")
    assert unsound_runs(Layout(folder)) == {uids[1]}
    recovery = recover(folder)
    assert recovery.remade == [uids[1]]
    assert recovery.problems == []
    assert unsound_runs(Layout(folder)) == set()
    postgres.ask(name, "UPDATE structures SET structure = jsonb_set(structure::jsonb, '{chunks}', '[]')")
    recovery = recover(folder)
    assert "damaged: the structure" in recovery.catalogue
    postgres.ask(name, f"DROP TABLE {table}")
    recovery = recover(folder)
    assert f"its table {table} is missing; the one before is kept as" in recovery.catalogue
    assert (recovery.ingested, recovery.problems) == (2, [])
    kept = postgres.ask(name, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'public_before_%' ORDER BY 1")
    assert kept == [("public_before_1",), ("public_before_2",)]
    assert [run.start["uid"] for run in store.open().values()] == uids
    # What is left of an initialisation that was killed is no catalogue, and nobody else's.
    postgres.ask(name, "UPDATE beamline_catalogue SET id = ''")
    with pytest.raises(DamagedCatalogueError, match="has no catalogue of"):
        check_catalogue(folder)
    assert recover(folder).ingested == 2


def test_a_catalogue_moves_from_sqlite_to_postgresql_and_back_from_the_logs(postgres, tmp_path):
    store = Store(tmp_path)
    uids = [store.measure(bp.count([number(range(3))], num=3), sample={"name": "LCO"}) for _ in range(2)]
    store.ingest()
    before = [list(documents(store.open()[uid])) for uid in uids]
    postgres.use(tmp_path)
    with pytest.raises(
        DamagedCatalogueError, match=r"is kept in SQLite, expected in postgresql://beamline@/catalogue_"
    ):
        store.open()
    recovery = recover(tmp_path)
    assert (recovery.ingested, recovery.problems) == (2, [])
    for uid, expected in zip(uids, before, strict=True):
        assert_equal(list(documents(store.open()[uid])), expected)
    use_catalogue(tmp_path, SecretStr("sqlite"))
    with pytest.raises(DamagedCatalogueError, match="is kept in PostgreSQL, expected in SQLite, in the data folder"):
        store.open()
    assert recover(tmp_path).ingested == 2
    assert [run.start["uid"] for run in store.open().values()] == uids


def assert_equal(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_equal(dict(one), dict(other))
