"""Scans over Channel Access: whether a long one slows down or grows, and what a line and a frame cost beside counting.

Run as ``python tests/benchmarks/bench_epics.py [long|overhead]``; both where neither is named. The IOC is one of the
simulated endstation, in a process of its own, asked by pyepics. Counting is sped up, so that what is left is overhead.

``long`` compares a scan with itself: its last tenth with its first. The peers of ``overhead``, round by round in
turn so that all meet the same machine: the same plan on a bare RunEngine on the same devices, and on soft twins.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import bluesky.preprocessors as bpp
import h5py
import numpy as np
from bluesky import RunEngine
from harness import Result, command_line, keep, show

from beamline.acquire.session import Session, measure
from beamline.endstation.build import build_endstation
from beamline.endstation.config import EPICS, load_config
from beamline.operations.demonstrate.epics import on_port
from beamline.operations.demonstrate.techniques import SAMPLE, simulated, wait_for_catalogue
from beamline.operations.replay import replay
from beamline.operations.simulated_ioc import running_ioc
from beamline.storage.log import read_log
from beamline.storage.runs import Runs
from callbacks.contract import Stream
from plans import rixs_map, stxm_stack
from simulated_devices.physics.microscope import TURNAROUND

SPEED_UP = 1000.0  # of epics.toml and simulated.toml
PIXELS, DWELL, EXPOSURE = 100, 0.001, 1.0  # of a line; s
FRAMES, FRAMES_PER_ENERGY = 500, 5
ENERGIES, LINES = 20, 100
ROUNDS, ROUND_LINES, ROUND_FRAMES = 5, 150, 30
STEADY = 1.1  # more than so many times the beginning is growth
ENGINE = "bluesky-run-engine"
WAITING = "the engine, waiting"
THREADS = {ENGINE: "the engine", "reduction": "the reduction", "live picture": "the picture"}


def field(lines):
    """Give an image of so many lines, 20 nm apart, inside the field of the simulated sample."""
    return f"x=-1.7:{-1.7 + (PIXELS - 1) * 0.034:.3f}:0.034 y=-1.5:{-1.5 + (lines - 1) * 0.02:.2f}:0.02"


def long_scans():
    """Give technique, plan, points and points an energy of the long scans."""
    energies = FRAMES // FRAMES_PER_ENERGY
    regions = f"526:{526 + (energies - 1) * 0.1:g}:0.1"
    yield (
        "rixs",
        lambda endstation: rixs_map(
            endstation, regions, EXPOSURE, sample=SAMPLE, edge="O K", frames_per_energy=FRAMES_PER_ENERGY
        ),
        FRAMES,
        FRAMES_PER_ENERGY,
    )
    stack = f"526:{526 + (ENERGIES - 1) * 0.5:g}:0.5"
    yield (
        "stxm",
        lambda endstation: stxm_stack(endstation, stack, field(LINES), DWELL, sample=SAMPLE, edge="O K"),
        ENERGIES * LINES,
        LINES,
    )


class Processes:
    """This process, the IOC and the one that fills the catalogue, as /proc shows them."""

    def __init__(self, ioc):
        self.pids = {"this": os.getpid(), "IOC": ioc.process.pid}

    def find_catalogue(self):
        """Find the process that fills the catalogue among those that this one has started."""
        for task in Path("/proc/self/task").iterdir():
            for pid in (task / "children").read_text().split():
                if b"beamline.processes.process\0ingest" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    self.pids["catalogue"] = int(pid)

    def sample(self):
        """Give memory, files, threads and processor time so far."""
        cpu = {name: _cpu_seconds(pid) for name, pid in self.pids.items()}
        for thread in threading.enumerate():
            if thread.name in THREADS:
                ran, waited = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[:2]
                cpu[THREADS[thread.name]] = int(ran) / 1e9
                if thread.name == ENGINE:  # how much of its time went to others on this machine
                    cpu[WAITING] = int(waited) / 1e9
        return Sample(
            {name: _status(pid, "VmRSS") / 1024 for name, pid in self.pids.items()},
            len(list(Path("/proc/self/fd").iterdir())),
            _status(os.getpid(), "Threads"),
            cpu,
        )


@dataclass(frozen=True)
class Sample:
    """What the processes have at a moment: MB by process, files and threads of this one, processor s by name."""

    memory: dict
    files: int
    threads: int
    cpu: dict


def _status(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status: no {name}")


def _cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Sampler:
    """Note the time of each point, and take a sample at the first, after 5 % of them and after each 10 %."""

    def __init__(self, processes, points):
        self._processes = processes
        self._due = {max(1, round(points * percent / 100)): percent for percent in (0, 5, *range(10, 101, 10))}
        self._primary = ""
        self.moments = []
        self.samples = {}

    def __call__(self, name, doc):
        if name == "descriptor" and doc["name"] == Stream.PRIMARY:
            self._primary = doc["uid"]
        elif name == "event" and doc["descriptor"] == self._primary:
            self.moments.append(doc["time"])
            if (percent := self._due.get(len(self.moments))) is not None:
                self.samples[percent] = self._processes.sample()

    def cpu_per_point(self, name, begin, end):
        """Give processor time a point between two percentages, ms; 0 for a thread that was not there yet."""
        seconds = self.samples[end].cpu.get(name, 0.0) - self.samples[begin].cpu.get(name, 0.0)
        return 1000 * seconds / (len(self.moments) * (end - begin) / 100)


def tenths(moments, points_per_energy):
    """Give ms a point in the first and the last tenth: at one energy, with a change of energy, and over all."""
    intervals = 1000 * np.diff(moments)  # interval i ends with point i + 1
    changes = (np.arange(len(intervals)) + 1) % points_per_energy == 0
    tenth = len(moments) // 10
    rows = {}
    for name, chosen in (("at one energy", ~changes), ("energy changes", changes)):
        first, last = (intervals[part][chosen[part]] for part in (slice(0, tenth), slice(-tenth, None)))
        rows[f"{name}, median"] = (len(first), float(np.median(first)), float(np.median(last)))
    rows["all, mean"] = (tenth, float(np.mean(intervals[:tenth])), float(np.mean(intervals[-tenth:])))
    return rows


def frames_in_files(documents):
    """Give the number of frames in the camera's files for the stream `primary`, and of references to them."""
    paths = [
        Path(doc["root"]) / doc["resource_path"]
        for name, doc in documents
        if name == "resource" and not doc["resource_path"].startswith("ccd_dark")
    ]
    resources = {doc["uid"] for name, doc in documents if name == "resource" and "ccd_dark" not in doc["resource_path"]}
    data = sum(1 for name, doc in documents if name == "datum" and doc["resource"] in resources)
    frames = 0
    for path in paths:
        with h5py.File(path, "r", locking=False) as file:
            frames += file["entry/data/data"].shape[0]
    return frames, data


def steadiness(technique, sampler, points_per_energy):
    """Compare the end of a scan with its beginning: time, processor time, memory; print files and threads."""
    for name, (number, first, last) in tenths(sampler.moments, points_per_energy).items():
        yield _of_last(f"{technique}: point, {name}", last, first, f"{number} points")
    # Others that use this machine change the times above, and hardly these.
    for name in sampler.samples[100].cpu:
        first, last = sampler.cpu_per_point(name, 0, 10), sampler.cpu_per_point(name, 90, 100)
        if name == WAITING:
            print(
                f"  the engine waited for a processor {first:.2f} ms a point in the first tenth, {last:.2f} in the last"
            )
        elif first > 0:
            yield _of_last(f"{technique}: processor, {name}", last, first)
    marks = sorted(set(sampler.samples) - {0})
    for name in sampler.samples[marks[0]].memory:
        series = {mark: sampler.samples[mark].memory[name] for mark in marks}
        note = ", ".join(f"{value:.0f} at {mark} %" for mark, value in series.items())
        ratio = series[50] / series[100]
        yield Result(
            f"{technique}: memory, {name}", series[100], "MB", "after half", ratio, f"{_verdict(ratio)}; {note}"
        )
    for name in ("files", "threads"):
        print(f"  {name} open along the scan: {[getattr(sampler.samples[mark], name) for mark in marks]}")


def _of_last(name, last, first, note=""):
    ratio = first / last
    return Result(name, last, "ms", "first tenth", ratio, f"{_verdict(ratio)} {note}")


def _verdict(ratio):
    return "steady" if ratio >= 1 / STEADY else "GROWS"


def show_losses(session, uid, technique, points):
    """Print what was planned against what arrived, and whether replay gives the same."""
    runs = Runs(session.data_dir)
    raw, derived = runs.load_with_derived(uid)
    documents = list(read_log(runs.find(uid).path))
    events = len(raw.streams[Stream.PRIMARY])
    reduced = len(derived.streams[Stream.FRAMES]) if derived is not None else 0
    counts = {"planned": points, "events": events, "reduced": reduced}
    if technique == "rixs":
        counts["frames in the file"], counts["references"] = frames_in_files(documents)
    status = session.reduction.status()
    replayed = replay(Runs(session.data_dir), uid, config=None, source="log", keep=False)
    lost = "nothing lost" if len(set(counts.values())) == 1 else "LOST"
    print("  " + ", ".join(f"{name} {value}" for name, value in counts.items()) + f": {lost}")
    print(
        f"  live reduction: {len(status.errors)} errors, {status.restarts} restarts; "
        f"replay {'equals' if replayed['equal'] else 'DIFFERS FROM'} live {replayed['differences'] or ''}"
    )


def long():
    """Measure a long RIXS map and a long STXM stack with everything attached, and compare how they end and began."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ioc(EPICS, seed=1, speed_up=SPEED_UP) as ioc,
        Session(on_port(load_config(EPICS), ioc.port), Path(folder)) as session,
    ):
        processes = Processes(ioc)
        warm_up(session)
        processes.find_catalogue()
        for technique, plan, points, points_per_energy in long_scans():
            sampler = Sampler(processes, points)
            token = session.RE.subscribe(sampler)
            print(f"\n{technique}: {points} points, {points_per_energy} an energy; load {_load()}", flush=True)
            begun = time.perf_counter()
            uid = measure(session, plan(session.endstation))
            took = time.perf_counter() - begun
            session.RE.unsubscribe(token)
            session.drain()
            wait_for_catalogue(session, uid)
            later = time.perf_counter() - begun - took
            print(f"  measured in {took:.1f} s; reduced and in the catalogue {later:.1f} s later")
            yield from steadiness(technique, sampler, points_per_energy)
            show_losses(session, uid, technique, points)
            print(f"  load {_load()}", flush=True)


def warm_up(session):
    """Measure a little of each, and wait until the catalogue is up: from here on it writes while scans go on."""
    for _, plan in round_plans(lines=5, frames=2).values():
        uid = measure(session, plan(session.endstation))
        session.drain()
        wait_for_catalogue(session, uid)


def round_plans(*, lines, frames):
    """Give, by what a point is, the counting time of a point (s, simulated) and the plan."""

    def map_with(dark_frames):
        return lambda endstation: rixs_map(
            endstation, "530", EXPOSURE, sample=SAMPLE, frames_per_energy=frames, dark_frames=dark_frames
        )

    return {
        "line": (
            TURNAROUND + PIXELS * DWELL,
            lambda endstation: stxm_stack(endstation, "530", field(lines), DWELL, sample=SAMPLE, dark_lines=0),
        ),
        "frame": (EXPOSURE, map_with(3)),
        # What a session reduces takes four times as long: it has to find the pedestal in the frame itself.
        "frame, no darks": (EXPOSURE, map_with(0)),
    }


def point_times(engine, plan, counting):
    """Run a plan; give mean and median time from point to point beyond counting, and processor time, ms."""
    saved = []
    stream = ""

    def note(msg):
        nonlocal stream
        if msg.command == "create":
            stream = msg.kwargs["name"]
        elif msg.command == "save" and stream == Stream.PRIMARY:
            saved.append((time.perf_counter(), time.process_time()))
        return msg

    engine(bpp.msg_mutator(plan, note))
    # The first point moves everything there, and describes the devices.
    steps = 1000 * np.diff(np.array(saved[1:]), axis=0)
    between = steps[:, 0] - 1000 * counting / SPEED_UP
    return float(between.mean()), float(np.median(between)), float(steps[:, 1].mean())


def overhead():
    """Compare time a line and a frame beyond counting: with everything attached, on a bare engine, on soft twins."""
    print(f"\noverhead; load {_load()}", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ioc(EPICS, seed=1, speed_up=SPEED_UP) as ioc,
        Session(on_port(load_config(EPICS), ioc.port), Path(folder)) as session,
    ):
        twins = build_endstation(simulated(1, speed_up=SPEED_UP), frames_dir=Path(folder) / "twins")
        bare = RunEngine(call_returns_result=True)
        warm_up(session)
        found = {}
        for _ in range(ROUNDS):
            for point, (counting, plan) in round_plans(lines=ROUND_LINES, frames=ROUND_FRAMES).items():
                full = point_times(lambda each: measure(session, each), plan(session.endstation), counting)
                session.drain()
                wait_until_idle(session)
                alone = point_times(bare, plan(session.endstation), counting)
                soft = point_times(bare, plan(twins), counting)
                found.setdefault(point, []).append((full, alone, soft))
        for point, rounds in found.items():
            for index, kind in enumerate(("mean", "median", "processor")):
                values = [tuple(each[index] for each in row) for row in rounds]
                full, alone, _ = (statistics.median(column) for column in zip(*values, strict=True))
                attached = statistics.median(alone / full for full, alone, _ in values)
                access = statistics.median(soft / alone for _, alone, soft in values)
                yield Result(f"{point}, {kind}", full, "ms", "bare RunEngine", attached)
                yield Result(f"{point}, {kind}, bare", alone, "ms", "soft twins", access)
        status = session.reduction.status()
        print(f"  live reduction: {len(status.errors)} errors, {status.restarts} restarts")


def wait_until_idle(session):
    """Wait until the catalogue has everything, so that it does not work beside what is measured next."""
    deadline = time.monotonic() + 60
    while session.ingester.status().waiting:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the catalogue is not complete: {session.ingester.status()}")
        time.sleep(0.05)


def _load():
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def main():
    """Run what is named, or all, each in a process of its own: EPICS looks at one IOC's port a process."""
    parts = {"overhead": overhead, "long": long}
    parser = command_line(__doc__)
    parser.add_argument("parts", nargs="*", metavar="overhead|long", help="which; both where neither is named")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"{', '.join(sorted(unknown))}: expected {' or '.join(parts)}")
    if len(options.parts) == 1:
        keep(show(parts[options.parts[0]]()), options.json)
        return
    for part in options.parts or parts:
        subprocess.run([sys.executable, __file__, part, "--json", options.json], check=True)


if __name__ == "__main__":
    main()
