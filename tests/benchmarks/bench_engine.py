"""Events a second of each technique with all that follows them, against a bare engine; and how late the reduction is.

Run as ``python tests/benchmarks/bench_engine.py``. The plans, devices and rounds are the same for both; rounds of both
alternate, so that both meet the same machine. A scan is long enough for what is done once, as the baseline and what is
synchronised at its start and end (some 20 ms), to count for little, as it does where a point takes a second.

With ``--kills 20`` reduction and catalogue are killed at random moments of the scans, and what was reduced is compared
with a replay.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from harness import Result, run, seconds

from beamline.acquire.session import Session, measure
from beamline.operations.demonstrate import techniques as demo
from beamline.operations.replay import replay
from beamline.storage.layout import INGEST, REDUCTION
from beamline.storage.runs import Runs
from plans import rixs_map, stxm_stack, xas

ROUNDS = 5
SAMPLE = "LRNMC 311 mAh/g"
# Notes when each event of a reduction was there to be read: a process of its own, which the engine does not feel.
OBSERVER = """
import json, sys, time
from pathlib import Path
from beamline.storage.follow import LogChanges, LogFollower
folder = Path(sys.argv[1])
changes, follower, names = LogChanges(folder), LogFollower(folder, lambda start: "derivation" in start), {}
seen = open(sys.argv[2], "w", buffering=1)
print("ready", flush=True)
while True:
    for name, doc in follower:
        now = time.time()
        if name == "start":
            names[doc["uid"]] = doc["derivation"]["raw_uids"]
        elif name == "descriptor":
            names[doc["uid"]] = *names[doc["run_start"]], doc["name"]
        elif name == "event":
            print(json.dumps([*names[doc["descriptor"]], doc["seq_num"], now]), file=seen)
    changes.wait()
"""


def plans():
    """What is measured: name, events, and the plan on an endstation."""
    yield "XAS points", 1600, lambda end: xas(end, "520:559.975:0.025", 1.0, sample=SAMPLE, edge="O K")
    field, energies = "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03", "520:522:1"
    yield "STXM lines of 120 pixels", 360, lambda end: stxm_stack(end, energies, field, 1e-3, sample=SAMPLE, edge="O K")
    yield "RIXS frames of 64 x 2048", 60, lambda end: rixs_map(end, "525:536.8:0.2", 300.0, sample=SAMPLE, edge="O K")


@contextmanager
def opened():
    """Give a session whose processes are ended with it, whatever is left to be done."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        Session(demo.simulated(1, speed_up=1e6), Path(name)) as session,
    ):
        yield session
        session.reduction.stop()
        session.ingester.stop()


def rates(session, events, plan, rounds=ROUNDS):
    """Give events a second with everything attached and on a bare engine, of each round."""
    bare = session.RE.__class__(call_returns_result=True)
    found = []
    for _ in range(rounds):
        attached, _ = seconds(lambda: measure(session, plan(session.endstation)))
        reason = session.drain()
        assert not reason, reason
        alone, _ = seconds(lambda: bare(plan(session.endstation)))
        found.append((events / attached, events / alone))
    return found


class Acknowledged:
    """When each event of a run was in its log, s since 1970; subscribed behind the recorder."""

    def __init__(self):
        self.times = {}  # (uid of the run, number) -> s
        self._primary = {}

    def __call__(self, name, doc):
        now = time.time()
        if name == "descriptor" and doc["name"] == "primary":
            self._primary[doc["uid"]] = doc["run_start"]
        elif name == "event" and doc["descriptor"] in self._primary:
            self.times[self._primary[doc["descriptor"]], doc["seq_num"]] = now


def latencies(acknowledged, seen, lines):
    """Give for each stream of derived events how much later than the raw event it comes of each was seen, s.

    `lines` is the number of lines of an image.
    """
    late = {"frames": [], "images": []}
    for uid, stream, number, when in seen:
        cause = uid, number * lines if stream == "images" else number
        if stream in late and cause in acknowledged.times:
            late[stream].append(when - acknowledged.times[cause])
    return late


def benchmark():
    """Measure the rate of each technique, attached and bare, and how late its reduction is."""
    with opened() as session:
        for what, events, plan in plans():
            rates(session, events, plan, rounds=1)  # the processes are up, and what is compiled is
            found = rates(session, events, plan)
            seen = session.data_dir / "seen"
            command = [sys.executable, "-c", OBSERVER, str(session.data_dir), str(seen)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as observer:
                observer.stdout.readline()
                acknowledged = Acknowledged()
                token = session.RE.subscribe(acknowledged)
                rates(session, events, plan, rounds=2)  # not those that count: the observer takes its share
                session.RE.unsubscribe(token)
                time.sleep(1.0)
                observer.kill()
                late = latencies(acknowledged, map(json.loads, seen.read_text().splitlines()), lines=120)
            attached = statistics.median(full for full, _ in found)
            ratio = statistics.median(full / alone for full, alone in found)
            note = ", ".join(
                f"{stream} reduced after {1e3 * np.median(times):.1f} ms (95 %: {1e3 * np.quantile(times, 0.95):.1f})"
                for stream, times in late.items()
                if times
            )
            yield Result(what, attached, "events/s", "bare RunEngine", ratio, note)


def with_kills(number):
    """Kill reduction and catalogue during scans; compare rates, and every reduction with its replay."""
    rng = random.Random(1)
    with opened() as session:
        what, events, plan = list(plans())[1]
        rates(session, events, plan, rounds=1)
        quiet, killed, uids = [], [], []
        for each in range(number):
            spent, uid = seconds(lambda: measure(session, plan(session.endstation)))
            quiet.append(events / spent)
            uids.append(uid)
            session.drain()
            kill = threading.Timer(rng.uniform(0, spent), kill_followers, args=(session, each))
            kill.start()
            spent, uid = seconds(lambda: measure(session, plan(session.endstation)))
            killed.append(events / spent)
            uids.append(uid)
            kill.join()
            print(session.drain() or f"{each + 1} killed", file=sys.stderr)
        runs = Runs(session.data_dir)
        kept = [sum(entry.reduction_of == uid for entry in runs.entries()) for uid in uids]
        equal = [replay(runs, uid, config=None, source="log", keep=False)["equal"] for uid in uids]
        missing = session.ingester.why_missing(*uids, *(runs.derived_uid(uid) for uid in uids))
    print(f"{what}: killed over quiet {statistics.median(killed) / statistics.median(quiet):.3f}")
    print(f"{kept.count(1)} of {len(uids)} runs with one reduction, {equal.count(True)} equal to replay; {missing!r}")


def kill_followers(session, number):
    """Kill the reduction, the ingester, or both, in turn."""
    for name in ((REDUCTION,), (INGEST,), (REDUCTION, INGEST))[number % 3]:
        follower = session.reduction if name == REDUCTION else session.ingester
        with suppress(ProcessLookupError):  # it is being started again since it was killed last
            os.kill(follower.pid, signal.SIGKILL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kills", type=int, default=0)
    options, rest = parser.parse_known_args()
    if options.kills:
        with_kills(options.kills)
    else:
        sys.argv[1:] = rest
        run(benchmark)
