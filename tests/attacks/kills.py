"""Kill what measures, imports, ingests and recovers at random moments; compare what is left with what was safe.

Run as ``python tests/attacks/kills.py --kills 120 --seed 1``; some minutes. In each folder several processes are
killed, one after the other; then it is recovered by the command, and looked at from outside: every acknowledged
document in its log, every value in databroker, every frame by h5py. Then every command is run on what is left.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import msgpack
import msgpack_numpy
import numpy as np

HELPERS = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HELPERS))

from command_line import answer  # noqa: E402
from stxm_documents import stxm_documents  # noqa: E402

from beamline.formats.exporters.nxstxm import write_nxstxm  # noqa: E402
from beamline.storage.catalogue.find import open_catalog  # noqa: E402
from beamline.storage.layout import Layout  # noqa: E402
from beamline.storage.log import LogState, RunIndex, inspect_log, read_log  # noqa: E402
from beamline.storage.runs import Runs  # noqa: E402
from callbacks.external import HDF5_DATASET  # noqa: E402

MEASURING = ("xas", "rixs", "stxm", "import")
# What is killed in one folder, in this order; "all": a measurement, and what reduces and ingests beside it at the same
# moment, which is three kills.
ROUNDS = tuple(
    (kind, kind, "all", "reduction", kind, "all", "reduction", "ingest", kind, "recover") for kind in MEASURING
)
LONGEST = {"ingest": 4.0, "recover": 5.0, "all": 2.0}  # s until it is killed
FOLLOWING = ("reduction", "ingest")
COMMANDS = (
    ("show", "--json"),
    ("report",),
    ("export",),
    ("export", "--format", "columns"),
    ("replay", "--source", "log", "--json"),
)


@dataclass
class Count:
    """What the kills of one kind led to."""

    kills: int = 0
    documents: int = 0  # acknowledged
    frames: int = 0
    lost: int = 0
    different: int = 0
    commands: int = 0
    problems: list[str] = field(default_factory=list)


class Victims:
    """Processes to be killed, forked from one that has imported all, which is started when it is needed."""

    def __init__(self):
        self._process = None

    def start(self, task, folder, acknowledged, seed):
        """Start a task; give its process id."""
        if self._process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            environment["PYTHONPATH"] = os.pathsep.join([str(HELPERS), *sys.path])
            command = [sys.executable, str(Path(__file__).with_name("kill_victims.py"))]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen(command, env=environment, **pipes)
        order = {"task": task, "folder": str(folder), "acknowledged": str(acknowledged), "seed": seed}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self):
        """Wait for the end of the one that was started last; tell whether it was killed."""
        return self._process.stdout.readline().strip() == "killed"

    def close(self):
        """End the process."""
        if self._process is not None:
            self._process.communicate()


@contextmanager
def victims():
    """Three of them, so that one can measure while the others reduce and ingest."""
    with closing(Victims()) as one, closing(Victims()) as two, closing(Victims()) as three:
        yield one, two, three


def kill_round(three, folder, kinds, rng, least=0):
    """Kill in a folder in several ways, one after the other; give what was acknowledged, and the kills of each kind.

    What measures is not killed before it has acknowledged `least` bytes.
    """
    files, kills, measuring = [], Counter(), kinds[0]
    for number, kind in enumerate(kinds):
        names = (measuring, *FOLLOWING) if kind == "all" else (kind,)
        tasks = list(zip(three, names, strict=False))
        pids = []
        for victim, task in tasks:
            file = folder.parent / f"{folder.name}-{number}-{task}"
            pids.append(victim.start(task, folder, file, number))
            files += [file] * (task in MEASURING or task == "reduction")
            if task in MEASURING:
                wait_for(file, least)
        time.sleep(rng.uniform(0, LONGEST.get(kind, 1.5)))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it had come to its end
                continue
        kills[kind] += sum(victim.end() for victim, _ in tasks)
    return files, kills


def wait_for(file, least):
    deadline = time.monotonic() + 60
    while not file.exists() or file.stat().st_size <= least:
        assert time.monotonic() < deadline, file.with_name(f"{file.name}.output").read_text()
        time.sleep(0.002)


def acknowledged(file):
    """Give what was acknowledged, up to what a kill tore off: name and document, and the frames."""
    if not file.exists():  # killed before it began
        return [], []
    unpacker = msgpack.Unpacker(object_hook=msgpack_numpy.decode, strict_map_key=False, max_buffer_size=0)
    unpacker.feed(file.read_bytes())
    found = [tuple(one) for one in unpacker]
    return [one for one in found if one[0] != "frame"], [doc for name, doc in found if name == "frame"]


def same(one, other):
    try:
        np.testing.assert_equal(one, other)
    except AssertionError:
        return False
    return True


def look(folder, files, count):
    """Recover a folder, and compare what is there with what was acknowledged."""
    recovered = answer("recover", "--data-dir", folder, "--json")
    if recovered.code:
        count.problems.append(f"recover: {recovered.stdout}{recovered.stderr}")
    layout = Layout(folder)
    logs = {path.stem: Logged(read_log(path)) for path in layout.all_logs()}
    open_ = [path for path in layout.all_logs() if inspect_log(path).state != LogState.CLOSED]
    count.problems += [f"{path}: not closed" for path in open_]
    count.problems += [f"{path}: not in the catalogue" for path in layout.pending_logs()]
    reductions = Counter(entry.reduction_of for entry in Runs(folder).entries() if entry.reduction_of)
    count.problems += [f"{uid}: {number} reductions" for uid, number in reductions.items() if number != 1]
    events, runs = {}, RunIndex()
    for path in layout.all_logs():  # a reduction that was gone on with refers to what another had acknowledged
        for document in read_log(path):
            runs.run_of(*document)
    names = {
        doc["uid"]: doc["name"] for path in layout.all_logs() for name, doc in read_log(path) if name == "descriptor"
    }
    for file in files:
        documents, frames = acknowledged(file)
        count.documents += len(documents)
        count.frames += len(frames)
        for name, doc in documents:
            run = runs.run_of(name, doc)
            if run not in logs or (name, doc) not in logs[run]:
                count.lost += 1
            elif name == "event":
                events.setdefault((run, names[doc["descriptor"]]), {})[doc["seq_num"]] = doc
        for frame in frames:
            with h5py.File(frame["file"], "r") as file_:
                pixels = file_[HDF5_DATASET]
                if frame["number"] >= len(pixels):
                    count.lost += 1
                elif zlib.crc32(pixels[frame["number"]].tobytes()) != frame["checksum"]:
                    count.different += 1
    compare_with_databroker(folder, events, count)


class Logged:
    """The documents of a log, looked up by what numbers them."""

    def __init__(self, documents):
        self._documents = {self._key(name, doc): doc for name, doc in documents}

    def __contains__(self, document):
        name, doc = document
        return same(self._documents.get(self._key(name, doc)), doc)

    def _key(self, name, doc):
        return name, doc.get("uid") or doc.get("datum_id")


def compare_with_databroker(folder, events, count):
    """Compare the values of all acknowledged events, raw and derived, with those in databroker."""
    catalogue = open_catalog(folder)
    for (run, stream), docs in events.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate dimension names")  # of square arrays
            table = catalogued(catalogue, run)[stream].read()
        columns = {key: np.asarray(table[key]) for key in table}
        for number, doc in docs.items():
            for key, value in doc["data"].items():
                if key not in columns or is_frame(value, columns[key]):  # which is compared where it lies
                    continue
                if number > len(columns[key]):
                    count.lost += 1
                elif not same(columns[key][number - 1].tolist(), np.asarray(value).tolist()):
                    count.different += 1
                    count.problems.append(f"{run} {stream} {number} {key}")


def is_frame(value, column):
    """Tell whether a value refers to a frame, in whose place databroker gives the frame itself."""
    return isinstance(value, str) and column.ndim > 1


def catalogued(catalogue, uid):
    """Find a raw or a derived run."""
    from beamline.storage.catalogue.find import resolve_run

    return resolve_run(catalogue, uid)


def run_commands(folder, count, most=None):
    """Run every command on the newest raw runs: it answers, or says in one line why not."""
    for entry in Runs(folder).raw()[-(most or 0) :]:
        for command, *options in COMMANDS:
            output = ["-o", folder.parent / "output.html"] if command in ("report", "export") else []
            found = answer(command, entry.uid, *options, *output, "--data-dir", folder)
            shutil.rmtree(folder.parent / "output.html", ignore_errors=True)
            (folder.parent / "output.html").unlink(missing_ok=True)
            count.commands += 1
            if command == "replay" and not found.code and found.json["equal"] is not True:
                count.problems.append(f"{entry.uid}: the live reduction is not equal to the replay")
            if found.code not in (0, 1) or (found.code == 1 and found.stderr.count("\n") != 1):
                count.problems.append(f"{command} {entry.uid}: {found.code} {found.stdout[:200]}{found.stderr[:500]}")


def write_import(folder, seed):
    """Write the file that the victims import."""
    counts, axis = np.random.default_rng(seed).poisson(1000.0, (6, 20, 20)).astype(float), np.arange(20) * 0.05
    write_nxstxm(folder / "stack.hdf5", stxm_documents(counts, np.linspace(705.0, 715.0, 6), axis, axis), None)


def attack(kills, seed, folder):
    """Kill as often as asked; give the counts by what was measured or imported, and the kills of each kind."""
    rng = random.Random(seed)
    write_import(folder, seed)
    counts = {kinds[0]: Count() for kinds in ROUNDS}
    by_kind = Counter()
    with victims() as three:
        for number in itertools.count():
            if sum(by_kind.values()) >= kills:
                return
            kinds = ROUNDS[number % len(ROUNDS)]
            place = folder / f"{number}-{kinds[0]}"
            place.mkdir()
            files, killed = kill_round(three, place, kinds, rng)
            by_kind += killed
            counts[kinds[0]].kills += sum(killed.values())
            look(place, files, counts[kinds[0]])
            run_commands(place, counts[kinds[0]])
            yield counts, by_kind


def main():
    """Run the attack, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for counts, by_kind in attack(options.kills, options.seed, Path(folder)):  # noqa: B007 - the last are used
            print(f"{sum(by_kind.values())} kills", end="\r", file=sys.stderr, flush=True)
    print("killed: " + ", ".join(f"{kind} {number}" for kind, number in sorted(by_kind.items())))
    print("| folders of | kills | documents | frames | lost | different | commands | problems |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, one in counts.items():
        cells = one.kills, one.documents, one.frames, one.lost, one.different, one.commands, len(one.problems)
        print(f"| {kind} | " + " | ".join(map(str, cells)) + " |")
    problems = [problem for one in counts.values() for problem in one.problems]
    print(*problems, sep="\n")
    raise SystemExit(bool(problems) or any(one.lost or one.different for one in counts.values()))


if __name__ == "__main__":
    main()
