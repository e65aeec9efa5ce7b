"""The catalogue over HTTP, with a key: the same on SQLite and on PostgreSQL, also while a scan writes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import bluesky.plans as bp
import httpx
import numpy as np
import pytest
import uvicorn
from soft import Camera, Motor, Values
from store import Store
from tiled.client import from_uri

from beamline.serve.access import CLOSED, KeyRequired
from beamline.serve.catalogue_server import ABOUT
from beamline.serve.keys import load_keys
from beamline.storage.catalogue.documents import documents
from beamline.storage.catalogue.embedded import served_app
from beamline.storage.catalogue.ingest import Ingester
from beamline.storage.layout import Layout
from simulated_devices.ports import free_port

pytestmark = pytest.mark.long

POINTS = 12


def scan(folder, before_each=lambda _number: None):
    rng = np.random.default_rng(7)
    keys = {"i0": {"dtype": "number"}, "line": {"dtype": "array", "shape": [50], "dtype_numpy": "<f8"}}

    def readings():
        for number in range(POINTS):
            before_each(number)
            yield {"i0": rng.normal(), "line": rng.normal(size=50)}

    detectors = [Values("det", keys, readings()), Camera("ccd", folder / "frames")]
    return bp.scan(detectors, Motor("energy"), 520, 530, POINTS)


@contextmanager
def served(folder):
    """Serve a catalogue as `beamline serve` does; yields its address and the key of a viewer."""
    keys = load_keys(folder / "keys.toml")
    app = KeyRequired(served_app(folder), keys, role="viewer", open_to_all=ABOUT, closed=CLOSED)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    key = next(user.key for user in keys.users if user.role == "viewer")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/api/v1", key
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def client(address, key):
    found = from_uri(address, api_key=key)
    with closing(found.context.http_client):
        yield found


def assert_same(one, other):
    """Documents are the same, every array bit for bit."""
    assert [name for name, _ in one] == [name for name, _ in other]
    for (_, first), (_, second) in zip(one, other, strict=True):
        np.testing.assert_equal(first, second)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_client_over_http_replays_every_array_as_the_catalogue_and_the_log_have_it(tmp_path, request, kind):
    if kind == "postgresql":
        request.getfixturevalue("postgres").use(tmp_path)
    store = Store(tmp_path)
    emitted = []
    store.engine.subscribe(lambda name, doc: emitted.append((name, doc)))
    uid = store.measure(scan(tmp_path), sample={"name": "LCO"})
    assert store.ingest() == {}
    embedded = list(documents(store.open()[uid]))
    with served(tmp_path) as (address, key):
        assert httpx.get(f"{address}/search/").status_code == 401
        with client(address, key) as catalogue:
            assert [run.start["uid"] for run in catalogue["raw"].values()] == [uid]
            assert_same(list(documents(catalogue["raw"][uid])), embedded)
            table = catalogue["raw"][uid]["primary"].read()
            with pytest.raises(httpx.HTTPStatusError, match=r"40[135]"):
                catalogue.create_container("mine")
    events = [doc for name, doc in emitted if name == "event" and "ccd" in doc["data"]]
    assert len(events) == POINTS
    for key_ in ("i0", "line", "energy"):
        assert np.array_equal(table[key_], [event["data"][key_] for event in events])
    assert np.array_equal(np.asarray(table["ccd"])[:, 0, 0], range(POINTS))
    assert Layout(tmp_path).catalogue_database.exists() is (kind == "sqlite")


def test_two_clients_replay_over_http_from_postgresql_while_a_scan_writes(tmp_path, postgres):
    postgres.use(tmp_path)
    store = Store(tmp_path)
    first = store.measure(scan(tmp_path))
    assert store.ingest() == {}
    expected = list(documents(store.open()[first]))
    seen = [threading.Event(), threading.Event()]

    def replay_during_the_scan(address, key, is_seen):
        """Replay the first run; give the lengths that the second has, until it has some events, but not all."""
        lengths = []
        with client(address, key) as catalogue:
            assert_same(list(documents(catalogue["raw"][first])), expected)
            while not lengths or not lengths[-1]:
                others = catalogue["raw"].values()[1:]
                lengths += [sum(name == "event" for name, _ in documents(run)) for run in others]
        is_seen.set()
        return lengths

    def ingest():
        with closing(Ingester(tmp_path, ())) as ingester:
            while not ingester.ingested:
                ingester.advance()
                time.sleep(0.05)
            return ingester.status()

    def wait(number):
        if number == POINTS - 2:
            assert all(each.wait(60) for each in seen)

    with served(tmp_path) as (address, key), ThreadPoolExecutor(3) as threads:
        ingesting = threads.submit(ingest)
        readers = [threads.submit(replay_during_the_scan, address, key, each) for each in seen]
        second = store.measure(scan(tmp_path, before_each=wait))
        assert ingesting.result(60) == []
        for reader in readers:
            assert 0 < reader.result(60)[-1] < POINTS
        with client(address, key) as catalogue:
            assert_same(list(documents(catalogue["raw"][second])), list(documents(store.open()[second])))
