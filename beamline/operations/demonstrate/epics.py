"""The demonstration over EPICS: an IOC, all three techniques measured through it, each replayed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamline.acquire.session import Session
from beamline.endstation.config import EPICS, Config, load_config
from beamline.operations.demonstrate.techniques import (
    measure_rixs,
    measure_stxm,
    measure_xas,
    wait_for_catalogue,
    wait_until_reduced,
)
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import data_folder, summary_of
from beamline.operations.simulated_ioc import running_ioc
from beamline.storage.catalogue.condition import check_catalogue
from beamline.storage.layout import Layout
from beamline.storage.runs import Runs

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
    """The outcome of the demonstration."""

    port: int
    runs: list[Measured]
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
            "data_dir": str(self.data_dir),
            "seconds": self.seconds,
        }


def run_epics_demo(*, seed: int, data_dir: Path | None, progress: Progress = no_progress) -> EpicsOutcome:
    """Start an IOC, measure an absorption spectrum, a RIXS map and a STXM stack through it, stop it, and replay.

    Parameters
    ----------
    seed : int
        Of the simulation.
    data_dir : Path or None
        Where the runs are kept; the configuration's folder where not given.
    progress : callable
        See `beamline.operations.progress`.

    Raises
    ------
    BeamlineError
        When the IOC does not start, or a run could not be measured.
    """
    began = time.monotonic()
    data_dir = data_folder(data_dir, load_config(EPICS))
    check_catalogue(data_dir)
    measured: list[tuple[str, str, float]] = []
    with (
        running_ioc(EPICS, seed=seed) as ioc,
        Session(on_port(load_config(EPICS), ioc.port), data_dir) as session,
    ):
        session.watch(EventCounter(progress), "progress")
        for technique, measure in MEASURE.items():
            start = time.monotonic()
            measured.append((technique, measure(session), time.monotonic() - start))
        wait_until_reduced(session)
        wait_for_catalogue(session, *(uid for _, uid, _ in measured))
    runs = Runs(data_dir)
    done = []
    for technique, uid, seconds in measured:
        replayed = replay(runs, uid, config=None, source="catalogue", keep=False)
        report = write_report(runs, uid, Layout(data_dir).reports / f"{technique}-{uid[:8]}.html")
        summary = summary_of(runs, uid)
        equal = bool(replayed["equal"])
        done.append(
            Measured(technique, uid, summary["frames"], seconds, equal, replayed["differences"], report, summary)
        )
    return EpicsOutcome(ioc.port, done, data_dir, time.monotonic() - began)


def on_port(config: Config, port: int) -> Config:
    """Give a configuration that looks for its process variables on another port of this computer."""
    assert config.channel_access is not None
    return config.model_copy(update={"channel_access": config.channel_access.model_copy(update={"port": port})})
