"""Events a second with recorder, live feed and catalogue attached, against the bare RunEngine, in one run.

Run as ``python tests/benchmarks/bench_scan_rate.py``. Rounds of both alternate, so that both meet the same machine.
"""

import statistics
import tempfile
import time
from pathlib import Path

import bluesky.plans as bp
import numpy as np
from beamline.acquire.live_feed import LiveFeed
from bluesky import RunEngine
from harness import Result, run, seconds
from ophyd.sim import SynAxis, SynSignal

from beamline.processes.followers import FollowingProcess
from beamline.storage.recorder import Recorder

EVENTS = 300  # a scan
ROUNDS = 7
QUEUE_DEPTH = 100
LINE = 500  # points of an array event: one line of a STXM map


def rate(engine, plan):
    """Events a second of a plan of `EVENTS` events."""
    return EVENTS / seconds(engine, plan)[0]


class Consumer:
    """Takes every document and does a little arithmetic, as a light reduction does."""

    def __init__(self):
        self.total = 0.0

    def __call__(self, name, doc):
        if name == "event":
            self.total += sum(float(np.sum(value)) for value in doc["data"].values())


def plans():
    """What is measured: a scan of scalars, and one of lines."""
    scalar = SynSignal(name="scalar", func=lambda: 1.5)
    line = SynSignal(name="line", func=lambda: np.linspace(0.0, 1.0, LINE))
    motor = SynAxis(name="motor")
    yield "count, one scalar", lambda: bp.count([scalar], num=EVENTS)
    yield "scan, motor and scalar", lambda: bp.scan([scalar], motor, 0, 1, EVENTS)
    yield f"count, a line of {LINE} points", lambda: bp.count([line], num=EVENTS)


def measure():
    """Run each plan with everything attached and on a bare engine."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        recorder = Recorder(data_dir)
        feed = LiveFeed(Consumer(), depth=QUEUE_DEPTH, log=recorder.read)
        ingester = FollowingProcess("ingest", data_dir)
        ingester.start()
        bare, attached = RunEngine(), RunEngine()
        attached.subscribe(recorder)
        attached.subscribe(feed)
        uid = attached(bp.count([SynSignal(name="first", func=lambda: 0.0)]))[0]
        ingester.wait_for(uid, 60)  # the catalogue is up: from here on it writes while the scans go on

        for name, plan in plans():
            rates = [(rate(bare, plan()), rate(attached, plan())) for _ in range(ROUNDS)]
            median = statistics.median(full for _, full in rates)
            ratio = statistics.median(full / alone for alone, full in rates)
            yield Result(name, median, "events/s", "bare RunEngine", ratio)
        feed.drain(60)
        begun = time.perf_counter()
        while ingester.status().waiting:
            time.sleep(0.1)
        print(f"the catalogue was complete {time.perf_counter() - begun:.1f} s later; live feed: {feed.status()}")
        feed.close()
        ingester.stop()


if __name__ == "__main__":
    run(measure)
