"""Measure one run after the other for half an hour with the service; look at the memory of each of its processes.

Run as ``python tests/attacks/service_memory.py [MINUTES]``. RIXS maps, stacks and spectra are queued in turn, a viewer
watches. Prints each minute how many runs there are, and of each process with its children the memory that is its own
(USS, MB); then that at the end against that after five minutes.
"""

import sys
import tempfile
import time
from functools import partial
from itertools import cycle
from pathlib import Path

import psutil
from service_kills import is_ready, watched
from services import STARTED, serving, until

from beamline.processes.followers import FollowingProcess
from beamline.storage.runs import Runs

SAMPLE = {"sample": "LRNMC 311 mAh/g", "edge": "O K"}
PLANS = (
    ("rixs_map", SAMPLE | {"regions": "526:545:1", "exposure_time": "300", "dark_frames": "1"}),
    ("stxm_stack", SAMPLE | {"energies": "520:545:1", "regions": "x=-1:1:0.05 y=-1:1:0.05", "dwell": "0.002"}),
    ("xas", SAMPLE | {"regions": "520:550:0.5"}),
)
AT_FIRST = 5  # minutes


def memory_of(pid):
    """Give the memory of a process and its children that is theirs alone, MB."""
    process, total = psutil.Process(pid), 0
    for one in (process, *process.children(recursive=True)):
        total += one.memory_full_info().uss
    return total / 1e6


def look(service, process):
    """Give the memory of each process, MB."""
    found = {"supervisor": psutil.Process(process.pid).memory_full_info().uss / 1e6}
    for name in STARTED:
        found[name] = memory_of(service.parts()[name]["pid"])
    for name in ("reduction", "ingest"):
        found[name] = memory_of(FollowingProcess(name, service.folder).status().pid)
    return found


def is_taken(session, order):
    """Give an order to the queue; tell whether it was taken, which at load it is not at once."""
    return session.post("/api/queue", json=order, timeout=60).status_code == 200


def new_run(runs, known):
    """Give the uid of a run that was not known; None where there is none."""
    return next((entry.uid for entry in runs.raw() if entry.uid not in known), None)


def main():
    """Measure, and print."""
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, serving(Path(folder)) as (service, process):
        until(lambda: all(service.parts().get(name, {}).get("state") == "running" for name in STARTED), timeout=120)
        session, runs, plans = service.session("user"), Runs(service.folder), cycle(PLANS)
        with watched(service) as viewer:
            until(lambda: viewer.now)
            began, found, uid = time.monotonic(), [], None
            while len(found) < minutes:
                if is_ready(viewer.now) and (uid is None or runs.load(runs.find(uid)).stop):
                    known = {entry.uid for entry in runs.raw()}
                    plan, values = next(plans)
                    for order in ({"do": "add", "plan": plan, "values": values}, {"do": "start"}):
                        until(partial(is_taken, session, order))
                    uid = until(partial(new_run, runs, known))
                if time.monotonic() - began > 60 * (len(found) + 1):
                    found.append(look(service, process))
                    told = ", ".join(f"{name} {size:.0f}" for name, size in found[-1].items())
                    print(f"{len(found)} min, {len(runs.raw())} runs: {told}", flush=True)
                time.sleep(0.5)  # it is looked at from outside, where nothing tells of a change
        print("told:", viewer.told or "nothing")
        for name, size in found[-1].items():
            before = found[min(AT_FIRST, len(found)) - 1][name]
            print(f"{name}: {before:.0f} MB after {AT_FIRST} min, {size:.0f} after {len(found)}: {size / before:.2f}")


if __name__ == "__main__":
    main()
