"""Kill each process of the service with -9 while it measures; look at what the user saw, and what became of the scan.

Run as ``python tests/attacks/service_kills.py``; some five minutes. A map is measured undisturbed, then one for each
process. Prints for each: how often it was measured in mid-scan, the rate against the undisturbed map and the longest
pause between frames, how long until the process was back, what a viewer of the page was told meanwhile, and whether all
events are in the log, reduced, in the catalogue, and the queue idle. With the engine, and with "queue", which takes it
along, the run ends there: what was measured must be all there, and its run closed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

HELPERS = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HELPERS))

from services import STARTED, serving, until  # noqa: E402
from websockets.exceptions import WebSocketException  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from beamline.processes.followers import FollowingProcess  # noqa: E402
from beamline.storage.catalogue.find import open_catalog  # noqa: E402
from beamline.storage.layout import Layout  # noqa: E402
from beamline.storage.runs import Runs  # noqa: E402
from callbacks.contract import Stream  # noqa: E402

REGIONS, POINTS = "526:554:1", 29
PLAN = {"regions": REGIONS, "exposure_time": "900", "sample": "LRNMC 311 mAh/g", "edge": "O K", "dark_frames": "1"}
KILLED_AT = 5  # frames
ENDING = ("queue", "engine")  # with these the run ends
VICTIMS = (*STARTED, "manager", "engine", "reduction", "ingest", "supervisor")


@dataclass
class Seen:
    """What became of one map.

    Attributes
    ----------
    gaps : numpy.ndarray
        s between its frames.
    back : float
        s until the process was back; NaN where none was killed.
    told : list of str
        What the page said that was wrong, each once.
    problems : list of str
        What is not as it should be; empty where nothing was lost.
    """

    gaps: np.ndarray
    back: float = float("nan")
    told: list = field(default_factory=list)
    problems: list = field(default_factory=list)


class Viewer(threading.Thread):
    """Somebody who watches the page."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self._service, self._ending = service, threading.Event()
        self.told, self.now = [], {}
        self._session = service.session("viewer")

    def run(self):
        """Take what the page sends, and connect again as the browser does."""
        origin = self._service.address("page")
        cookie = "; ".join(f"{name}={value}" for name, value in self._session.cookies.items())
        address = origin.replace("http", "ws") + "/live"
        while not self._ending.is_set():
            try:
                with connect(address, origin=origin, additional_headers={"cookie": cookie}) as socket:
                    self._watch(socket)
            except (OSError, WebSocketException, TimeoutError):
                self._note("No connection")
                time.sleep(0.5)

    def _watch(self, socket):
        while not self._ending.is_set():
            with suppress(TimeoutError):
                said = socket.recv(timeout=5)
                if isinstance(said, bytes):
                    continue
                said = json.loads(said)
                if said.get("done"):
                    socket.send("drawn")
                if "parts" in said:
                    self.now = said
                    self._note(said["queue"].get("problem"))
                    self._note(said["run"].get("problem"))
                    for name, part in said["parts"].items():
                        if part["state"] != "running":
                            self._note(f"{name} is {part['state']}{': ' if part['error'] else ''}{part['error']}")

    def _note(self, text):
        if text and text not in self.told:
            self.told.append(text)

    def end(self):
        """Stop watching."""
        self._ending.set()
        self.join()


@contextmanager
def watched(service):
    """Watch the page meanwhile."""
    viewer = Viewer(service)
    viewer.start()
    yield viewer
    viewer.end()


def pid_of(service, process, name):
    """Give the process id of what is to be killed."""
    if name == "supervisor":
        return process.pid
    if name in ("manager", "engine"):
        children = psutil.Process(service.parts()["queue"]["pid"]).children(recursive=True)
        return next(one.pid for one in children if is_it(one, name, service))
    if name in STARTED:
        return service.parts()[name]["pid"]
    return FollowingProcess(name, service.folder).status().pid


def is_it(process, name, service):
    """Tell whether a process takes the orders for the queue, or has a log open."""
    if name == "manager":
        return any(each.laddr.endswith("/control") for each in process.net_connections("unix") if each.laddr)
    logs = Layout(service.folder).logs
    return any(Path(each.path).parent == logs for each in process.open_files())


def is_back(service, name, pid):
    """Tell whether another process does what the one that was killed did."""
    if name in STARTED:
        part = service.parts().get(name, {})
        return part.get("pid") not in (None, pid) and part.get("state") == "running"
    status = FollowingProcess(name, service.folder).status()
    return status.pid not in (None, pid) and status.state != "ended"


def frames(service, uid):
    """Give the times of the frames of a run that are in its log, s since 1970."""
    runs = Runs(service.folder)
    primary = runs.load(runs.find(uid)).streams.get(Stream.PRIMARY)
    return [] if primary is None else primary.time


def measure(service, process, name=None, command=()):
    """Measure a map, and kill a process in the middle of it."""
    session, runs = service.session("user"), Runs(service.folder)
    known = {entry.uid for entry in runs.raw()}
    with watched(service) as viewer:
        assert session.post("/api/queue", json={"do": "add", "plan": "rixs_map", "values": PLAN}).status_code == 200
        until(lambda: session.post("/api/queue", json={"do": "start"}).status_code == 200)
        uid = until(lambda: next((entry.uid for entry in runs.raw() if entry.uid not in known), None))
        until(lambda: len(frames(service, uid)) >= KILLED_AT)
        back = float("nan")
        if name is not None:
            pid = pid_of(service, process, name)
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            if name == "supervisor":
                process.wait()
                restarted = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                process.__dict__.update(restarted.__dict__)
                notes = service.folder / "service" / "service.json"
                until(lambda: json.loads(notes.read_text())["pid"] == restarted.pid)
                until(lambda: all(part["state"] == "running" for part in service.parts().values()))
            elif name == "manager":
                until(lambda: viewer.now["queue"].get("problem"))
                until(lambda: not viewer.now["queue"].get("problem"))
            elif name == "engine":
                until(lambda: is_ready(viewer.now), timeout=90)
            else:
                until(lambda: is_back(service, name, pid))
            back = time.monotonic() - killed
        until(lambda: runs.load(runs.find(uid)).stop, timeout=120)
        seen = Seen(np.diff(frames(service, uid)), back)
        with suppress(AssertionError):
            until(lambda: is_ready(viewer.now))
        seen.problems = problems(service, uid, viewer.now, ends=name in ENDING)
        seen.told = viewer.told
    return seen


def is_ready(now):
    """Tell whether the queue could start its next plan."""
    status = now.get("queue", {}).get("status") or {}
    return status.get("manager_state") == "idle" and status.get("worker_environment_exists")


def problems(service, uid, now, *, ends):
    """Look at what is left of a map from outside; `ends` where its engine was killed."""
    runs, found = Runs(service.folder), []
    run = runs.load(runs.find(uid))
    count = len(frames(service, uid))
    if run.stop["exit_status"] != ("abort" if ends else "success"):
        found.append(f"ended with {run.stop['exit_status']}")
    if run.stop["num_events"][Stream.PRIMARY] != count or count < KILLED_AT or (count != POINTS and not ends):
        found.append(f"{count} of {POINTS} frames, {run.stop['num_events']}")
    try:
        derived = until(lambda: runs.load_with_derived(uid)[1], timeout=60)
        until(lambda: runs.load_with_derived(uid)[1].result, timeout=60)
        if (rows := len(derived.frames)) != count:
            found.append(f"{rows} of {count} reduced")
    except AssertionError:
        found.append("not reduced after 60 s")
    try:
        catalogue = open_catalog(service.folder)
        until(lambda: uid in catalogue, timeout=60)
        until(lambda: catalogue[uid].metadata.get("stop"), timeout=60)
    except AssertionError:
        found.append("not in the catalogue after 60 s")
    if not is_ready(now):
        found.append(f"the queue is {now['queue'].get('status')}")
    if not ends and (items := now["queue"].get("items")):
        found.append(f"{len(items)} items left in the queue, in its history {now['queue']['history'][:1]}")
    return found


def main():
    """Kill one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("victims", nargs="*", default=VICTIMS)
    victims = parser.parse_args().victims
    wrong = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, serving(Path(folder)) as (service, process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in STARTED))
        plain = measure(service, process)
        rate = float(np.mean(plain.gaps[KILLED_AT - 1 :]))
        print(f"undisturbed: {rate:.3f} s a frame, longest {plain.gaps.max():.2f} s, {plain.problems or 'all there'}")
        for name in victims:
            seen = measure(service, process, name, process.args)
            went = "the run ended"
            if name not in ENDING:
                after = seen.gaps[KILLED_AT - 1 :]
                went = f"rate {rate / np.mean(after):.2f} of undisturbed after it, longest {after.max():.2f} s"
            print(
                f"{name}: {went}; back after {seen.back:.1f} s; "
                f"{seen.problems or 'all there'}; told: {seen.told or 'nothing'}",
                flush=True,
            )
            wrong += bool(seen.problems)
            if name in ENDING:
                service.client("operator").queue_clear()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
