"""A consumer of live documents receives every one of them, and can neither slow down nor stop the scan."""

import logging
import threading
import time

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from soft import Camera, Kept, Motor, Values, as_logged, number

from beamline.acquire.live_feed import LiveFeed
from beamline.storage.recorder import Recorder


@pytest.fixture
def recorder(tmp_path):
    return Recorder(tmp_path)


@pytest.fixture
def engine(recorder):
    engine = RunEngine()
    engine.subscribe(recorder)
    return engine


class Gate:
    """A consumer that waits until it is released, then keeps the documents it receives."""

    def __init__(self):
        self.open = threading.Event()
        self.documents = []

    def __call__(self, name, doc):
        self.open.wait()
        self.documents.append((name, doc))


def test_a_consumer_gets_every_document_in_order_on_a_thread_of_its_own(tmp_path, engine, recorder):
    kept, threads = Kept(), set()

    def consumer(name, doc):
        threads.add(threading.current_thread().name)
        kept(name, doc)

    expected = Kept()
    engine.subscribe(expected)
    feed = LiveFeed(consumer, depth=1000, log=recorder.read, name="reduction")
    engine.subscribe(feed)
    engine(bp.scan([Camera("ccd", tmp_path / "frames"), number(range(20))], Motor("energy"), 0.0, 1.0, 20))
    assert feed.drain(5)
    assert as_logged(kept.documents) == as_logged(expected.documents)
    assert threads == {"reduction"}
    assert feed.status().caught_up == 0
    assert feed.close()


def test_when_the_queue_is_full_nothing_is_lost_and_the_order_is_kept(engine, recorder):
    gate, expected = Gate(), Kept()
    feed = LiveFeed(gate, depth=5, log=recorder.read)
    engine.subscribe(feed)
    engine.subscribe(expected)
    for _ in range(2):  # two runs, both longer than the queue
        engine(bp.count([number(range(40))], num=40))
    status = feed.status()
    assert (status.depth, status.lag) == (5, 86)
    gate.open.set()
    assert feed.drain(5)
    assert as_logged(gate.documents) == as_logged(expected.documents)
    status = feed.status()
    assert (status.lag, status.lost, status.errors) == (0, 0, 0)
    assert status.caught_up == 80  # all but the first, and the five behind it
    assert feed.close()


def test_a_slow_consumer_that_overflows_again_and_again_gets_each_document_once(engine, recorder):
    kept, expected = Kept(), Kept()

    def slow(name, doc):
        time.sleep(0.003)
        kept(name, doc)

    feed = LiveFeed(slow, depth=2, log=recorder.read)
    engine.subscribe(feed)
    engine.subscribe(expected)
    engine(bp.count([number(range(150))], num=150))
    assert feed.drain(10)
    assert as_logged(kept.documents) == as_logged(expected.documents)
    assert feed.close()


def test_a_consumer_that_stands_still_does_not_delay_the_engine(engine, recorder):
    gate = Gate()
    feed = LiveFeed(gate, depth=10, log=recorder.read)
    engine.subscribe(feed)
    engine(bp.count([number(range(50))], num=50))  # would wait for ever: the consumer has not taken one document
    assert not feed.drain(0.05)
    gate.open.set()
    assert feed.drain(5)
    assert feed.close()


def test_a_consumer_that_raises_is_counted_logged_once_a_kind_and_gets_the_next_document(engine, recorder, caplog):
    kept = Kept()

    def faulty(name, doc):
        kept(name, doc)
        if name == "event":
            raise (ValueError if doc["seq_num"] < 8 else KeyError)(f"frame {doc['seq_num']}")

    feed = LiveFeed(faulty, depth=100, log=recorder.read, name="reduction")
    engine.subscribe(feed)
    with caplog.at_level(logging.ERROR, logger="beamline.acquire.live_feed"):
        engine(bp.count([number(range(10))], num=10))
        assert feed.drain(5)
    assert [name for name, _ in kept.documents] == ["start", "descriptor", *["event"] * 10, "stop"]
    status = feed.status()
    assert status.errors == 10
    assert status.last_error == "KeyError: 'frame 10'"
    assert [record.exc_info[0] for record in caplog.records] == [ValueError, KeyError]
    assert feed.close()


def test_a_consumer_may_change_its_document_without_anyone_noticing(engine, recorder):
    expected = Kept()

    def rude(name, doc):
        if name == "event":
            doc["data"]["line"][:] = -1.0
            doc["data"].clear()

    feed = LiveFeed(rude, depth=100, log=recorder.read)
    engine.subscribe(feed)
    engine.subscribe(expected)
    keys = {"line": {"dtype": "array", "shape": [3], "dtype_numpy": "<f8"}}
    engine(bp.count([Values("det", keys, [{"line": np.ones(3)}])]))
    assert feed.drain(5)
    event = next(doc for name, doc in expected.documents if name == "event")
    assert np.array_equal(event["data"]["line"], np.ones(3))
    assert feed.close()


def test_documents_that_only_a_lost_log_had_are_counted_and_the_feed_goes_on(engine, recorder):
    def no_log(uid):
        raise OSError("the disk is gone")

    gate = Gate()
    feed = LiveFeed(gate, depth=4, log=no_log)
    engine.subscribe(feed)
    engine(bp.count([number(range(10))], num=10))
    gate.open.set()
    assert feed.drain(5)
    status = feed.status()
    assert status.lost == 13 - len(gate.documents)
    assert status.last_error == "OSError: the disk is gone"
    engine(bp.count([number(range(1))]))
    assert feed.drain(5)
    assert [name for name, _ in gate.documents[-4:]] == ["start", "descriptor", "event", "stop"]
    assert feed.close()


def test_closing_lets_the_consumer_finish_and_says_when_it_cannot(engine, recorder):
    gate = Gate()
    feed = LiveFeed(gate, depth=100, log=recorder.read)
    engine.subscribe(feed)
    engine(bp.count([number(range(5))], num=5))
    assert not feed.close(timeout=0.05)
    gate.open.set()
    assert feed.close()
    assert len(gate.documents) == 8
