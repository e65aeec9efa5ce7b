"""How long a command takes: help, from the key to the first point, and from the last point to its end.

Run as ``python tests/benchmarks/bench_commands.py``. The peer is a bare interpreter that imports numpy.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Result, run, seconds

from beamline.storage.follow import LogChanges, LogFollower
from callbacks.contract import Stream

ROUNDS = 5
PLAN = ("run", "xas", "--regions", "525:540:5", "--dwell", "0.001")


def command(*arguments):
    """Give the command line of a command, as it is installed."""
    return [sys.executable, "-m", "beamline.cli", *arguments]


def spent(arguments):
    """Time a command, s."""
    return seconds(lambda: subprocess.run(arguments, check=True, capture_output=True))[0]


def times_of_run(folder):
    """Give for a scan of four points s from the key to its first point, and from its last to the end of the command."""
    changes, follower = LogChanges(folder), LogFollower(folder, lambda start: "derivation" not in start)
    begun, points, primary = time.monotonic(), [], ""
    with subprocess.Popen(command(*PLAN, "--data-dir", str(folder)), stdout=subprocess.PIPE) as process:
        while len(points) < 4:
            for name, doc in follower:
                if name == "descriptor" and doc["name"] == Stream.PRIMARY:
                    primary = doc["uid"]
                if name == "event" and doc["descriptor"] == primary:
                    points.append(time.monotonic())
            changes.wait()
        process.communicate()
    changes.close()
    follower.close()
    return points[0] - begun, time.monotonic() - points[-1]


def measure():
    """Time the commands, with the processes of the data folder up and without."""
    bare = statistics.median(spent([sys.executable, "-c", "import numpy"]) for _ in range(ROUNDS))
    help_ = statistics.median(spent(command("--help")) for _ in range(ROUNDS))
    yield Result("--help", help_, "s", "import numpy", bare / help_)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        alone = [times_of_run(folder) for _ in range(ROUNDS)]
        with subprocess.Popen(
            command("serve", "--processes", "--data-dir", name), stdout=subprocess.PIPE, text=True
        ) as server:
            up = set()
            while len(up) < 3:
                process, _, state = server.stdout.readline().strip().partition(": ")
                up |= {process} if state == "idle" else set()
            served = [times_of_run(folder) for _ in range(ROUNDS)]
            server.send_signal(signal.SIGINT)
    for how, times in (("alone", alone), ("with `serve`", served)):
        first, last = (statistics.median(column) for column in zip(*times, strict=True))
        yield Result(f"key to first point, {how}", first, "s", "import numpy", bare / first)
        yield Result(f"last point to end, {how}", last, "s", "import numpy", bare / last)


if __name__ == "__main__":
    run(measure)
