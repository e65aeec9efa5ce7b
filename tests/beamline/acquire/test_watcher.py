"""The watcher: consumers get every document once and in order, and nothing that they do reaches the scan."""

import logging
import threading
from contextlib import closing

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd.sim import SynSignal
from recorded import Documents

from beamline.acquire import watcher as watcher_module
from beamline.acquire.watcher import Watcher
from beamline.storage.recorder import Recorder


@pytest.fixture
def watched(tmp_path):
    """An engine with recorder and watcher, what the engine emitted, and the data folder."""
    engine = RunEngine()
    documents = Documents(engine)
    with closing(Recorder(tmp_path)) as recorder, closing(Watcher(tmp_path)) as watcher:
        engine.subscribe(recorder)
        engine.subscribe(watcher, "start")
        yield engine, watcher, documents, tmp_path


def line(value=1.0):
    return SynSignal(name="line", func=lambda: np.full(5, value))


def same(one, other):
    return [(name, doc["uid"]) for name, doc in one] == [(name, doc["uid"]) for name, doc in other]


def test_each_consumer_gets_every_document_once_and_in_order(watched):
    engine, watcher, documents, _ = watched
    first, second = [], []
    watcher.add("first", lambda name, doc: first.append((name, doc)))
    watcher.add("second", lambda name, doc: second.append((name, doc)))
    for _ in range(2):
        engine(bp.count([line()], num=20))
    assert watcher.drain()
    assert len(documents.all) == 2 * 23
    assert same(first, documents.all)
    assert same(second, documents.all)
    assert first[2][1]["data"]["line"].tolist() == [1.0] * 5


def test_a_consumer_that_fails_is_counted_and_logged_once_and_the_others_go_on(watched, caplog):
    engine, watcher, documents, _ = watched
    seen = []

    def fails(_name, _doc):
        raise ValueError("made to fail")

    watcher.add("broken", fails)
    watcher.add("whole", lambda name, doc: seen.append((name, doc)))
    with caplog.at_level(logging.ERROR):
        engine(bp.count([line()], num=4))
        watcher.drain()
    assert watcher.errors() == {"broken": 7, "whole": 0}
    assert same(seen, documents.all)
    assert caplog.messages == ["broken failed, the scan goes on"]


def test_a_consumer_that_hangs_holds_nobody_up(watched, monkeypatch):
    engine, watcher, documents, _ = watched
    monkeypatch.setattr(watcher_module, "CLOSE_TIMEOUT", 0.2)
    release = threading.Event()
    watcher.add("hangs", lambda *_: release.wait(60))
    engine(bp.count([line()], num=4))
    assert len(documents.all) == 7
    assert not watcher.drain(0.1)
    watcher.close()
    release.set()


def test_a_log_that_is_gone_costs_the_consumers_that_run_only(watched, caplog):
    engine, watcher, documents, folder = watched
    seen = []
    watcher.add("seen", lambda name, doc: seen.append((name, doc)))
    watcher("start", {"uid": "lost"})
    assert caplog.messages == [f"{folder / 'log'}: no log of run lost"]
    engine(bp.count([line()], num=2))
    watcher.drain()
    assert same(seen, documents.all)
