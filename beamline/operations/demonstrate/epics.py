"""The demonstration over EPICS: an IOC, all three techniques measured through it, each replayed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as TextTable

from beamline.acquire.session import Session
from beamline.endstation.config import EPICS, Config, load_config
from beamline.operations.commands import PointCounter, progress_bar, replay, summary_of, write_report
from beamline.operations.demonstrate.techniques import measure_rixs, measure_stxm, measure_xas, wait_for_catalogue
from beamline.operations.simulated_ioc import running_ioc
from beamline.operations.summary import print_summary

FIELD = "x=-1.8:1.76:0.04 y=-1.2:1.16:0.04"  # 90 x 60 pixels

MEASURE: dict[str, Callable[[Session], str]] = {
    "xas": measure_xas,
    "rixs": measure_rixs,
    "stxm": lambda session: measure_stxm(session, field=FIELD),
}


@dataclass(frozen=True)
class Measured:
    """One technique of the demonstration."""

    technique: str
    uid: str
    events: int
    seconds: float
    live_equals_replay: bool
    differences: list[str]
    report: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class EpicsOutcome:
    """What the demonstration came to."""

    port: int
    runs: list[Measured]
    feed: str
    data_dir: Path
    seconds: float

    @property
    def live_equals_replay(self) -> bool:
        """Whether it does for every run."""
        return all(run.live_equals_replay for run in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Give the outcome for JSON."""
        return {
            "runs": [
                run.summary
                | {
                    "seconds": run.seconds,
                    "live_equals_replay": run.live_equals_replay,
                    "differences": run.differences,
                    "report": str(run.report),
                }
                for run in self.runs
            ],
            "live_equals_replay": self.live_equals_replay,
            "feed": self.feed,
            "data_dir": str(self.data_dir),
            "seconds": self.seconds,
        }

    def show(self) -> None:
        """Print the outcome."""
        console = Console(highlight=False)
        for run in self.runs:
            print_summary(run.summary)
        table = TextTable(
            "technique", "events", "measured in (s)", "ms an event", "live equals replay", box=None, padding=(0, 2)
        )
        for run in self.runs:
            answer = "yes" if run.live_equals_replay else f"no: {', '.join(run.differences)}"
            each = 1000 * run.seconds / max(1, run.events)
            table.add_row(run.technique, str(run.events), f"{run.seconds:.1f}", f"{each:.1f}", answer)
        console.print(table)
        console.print(self.feed)
        for run in self.runs:
            console.print(f"report: {run.report}", soft_wrap=True)
        console.print(f"data: {self.data_dir}  (IOC on port {self.port}, {self.seconds:.0f} s)", soft_wrap=True)


def run_epics_demo(*, seed: int, data_dir: Path | None, quiet: bool) -> EpicsOutcome:
    """Start an IOC, measure an absorption spectrum, a RIXS map and a STXM stack through it, stop it, and replay.

    Parameters
    ----------
    seed : int
        Of the simulation.
    data_dir : Path or None
        Where the runs are kept; the configuration's folder where not given.
    quiet : bool
        Show no progress.

    Raises
    ------
    BeamlineError
        When the IOC does not start, or a run could not be measured.
    """
    began = time.monotonic()
    data_dir = (data_dir or load_config(EPICS).storage.data_dir).absolute()
    measured: list[tuple[str, str, float]] = []
    with (
        running_ioc(EPICS, seed=seed) as ioc,
        progress_bar(quiet=quiet) as progress,
        Session(on_port(load_config(EPICS), ioc.port), data_dir) as session,
    ):
        session.watch(PointCounter(progress), "progress")
        for technique, measure in MEASURE.items():
            start = time.monotonic()
            measured.append((technique, measure(session), time.monotonic() - start))
        session.drain()
        wait_for_catalogue(session, *(uid for _, uid, _ in measured))
        status = session.reduction.status()
    runs = []
    for technique, uid, seconds in measured:
        replayed = replay(uid, config=None, source="catalogue", keep=False, data_dir=data_dir)
        report = write_report(uid, data_dir / "reports" / f"{technique}-{uid[:8]}.html", data_dir=data_dir)
        summary = summary_of(uid, data_dir=data_dir)
        equal = bool(replayed["equal"])
        runs.append(
            Measured(technique, uid, summary["frames"], seconds, equal, replayed["differences"], report, summary)
        )
    feed = f"live reduction: {status.errors} errors, {status.caught_up} documents read back from the log"
    return EpicsOutcome(ioc.port, runs, feed, data_dir, time.monotonic() - began)


def on_port(config: Config, port: int) -> Config:
    """Give a configuration that looks for its process variables on another port of this computer."""
    assert config.channel_access is not None
    return config.model_copy(update={"channel_access": config.channel_access.model_copy(update={"port": port})})
