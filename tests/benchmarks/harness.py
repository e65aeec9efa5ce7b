"""What all benchmarks share: timing in turn with a peer, one table, and one file of results that `compare.py` reads.

A benchmark yields a `Result` for each thing that it measures, beside the peer's in the same run, and ends with
``run(measure)``. Machines differ, and so does one machine from minute to minute; a ratio to a peer that met the same
minute hardly does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")  # of this machine, not committed
SOFTWARE = ("stxm-rixs-beamline", "numpy", "scipy", "h5py", "scikit-learn", "bluesky", "ophyd", "astroscrappy")


@dataclass(frozen=True)
class Result:
    """One thing measured.

    Attributes
    ----------
    name : str
        What was measured: names the result from run to run.
    value : float
        How long it took, or how much it was.
    unit : str
        Of the value.
    peer : str
        What it was compared with.
    ratio : float
        To the peer, so that larger is better: the peer's time over ours, our rate over the peer's.
    note : str
        What else the table is to show.
    """

    name: str
    value: float
    unit: str
    peer: str
    ratio: float
    note: str = ""


def seconds(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Call a function; give how long it took, s, and what it gave."""
    begun = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - begun, result


def in_turn(rounds: int, contestants: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    """Call each in turn, round after round, so that all meet the same machine.

    Returns
    -------
    times : dict of str to float
        The shortest of the rounds, s: what else the machine does can only add to it.
    answers : dict of str to object
        What each gave last.
    """
    times = dict.fromkeys(contestants, math.inf)
    answers = {}
    for _ in range(rounds):
        for name, function in contestants.items():
            spent, answers[name] = seconds(function)
            times[name] = min(times[name], spent)
    return times, answers


def run(benchmark: Callable[[], Iterable[Result]]) -> None:
    """Print each result as it comes, and keep all in the file that the command line names.

    Parameters
    ----------
    benchmark : callable
        Yields the results. A result replaces the one of the same name in the file; the others stay.
    """
    options = command_line(sys.modules[benchmark.__module__].__doc__).parse_args()
    keep(show(benchmark()), options.json)


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Give what every benchmark understands on its command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where to keep the results")
    return parser


def show(results: Iterable[Result]) -> list[Result]:
    """Print a table, line by line."""
    print(f"{'':44} {'value':>10} {'unit':8} {'ratio':>7}  against")
    shown = []
    for result in results:
        columns = f"{result.name:44} {result.value:10.4g} {result.unit:8} {result.ratio:7.3g}  {result.peer}"
        print(f"{columns}  {result.note}".rstrip(), flush=True)
        shown.append(result)
    return shown


def keep(results: Iterable[Result], path: Path) -> None:
    """Put results into a file, each with when, where and with what it was measured."""
    records = {record["name"]: record for record in read(path)} if path.exists() else {}
    measured = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }
    records.update({result.name: asdict(result) | measured for result in results})
    path.write_text(json.dumps(list(records.values()), indent=2) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Give the records of a file of results."""
    return list(json.loads(path.read_text()))


def machine() -> dict[str, Any]:
    """Say what the machine is: processor, cores, system, Python."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Give the versions of what takes part in the results."""
    found = {}
    for package in SOFTWARE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Give the commit, with "-dirty" behind it where files differ from it; empty without git."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    """Give the processor's name as Linux says it, or what Python knows elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
