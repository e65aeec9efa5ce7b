"""The RunEngine with everything attached: recorder first, then the live reduction and the catalogue beside it."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bluesky import RunEngine, SupplementalData
from bluesky.utils import FailedStatus, RunEngineInterrupted

from beamline.acquire.live_feed import LiveFeed
from beamline.acquire.live_picture import LivePicture
from beamline.acquire.references import processing_with_references
from beamline.acquire.scan_numbers import next_scan_id
from beamline.acquire.suspenders import light_of, light_suspenders
from beamline.endstation.build import build_endstation
from beamline.endstation.config import Config
from beamline.endstation.connect import disconnect
from beamline.errors import BeamlineError
from beamline.storage.catalogue.supervisor import IngestSupervisor
from beamline.storage.derived import DerivedRuns
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder
from beamline.techniques import pipelines
from beamline.techniques.settings import processing_problems
from callbacks.contract import PROCESSING
from callbacks.reduction import Reducer
from plans.errors import PlanError

LOGGERS = ("beamline", "bluesky", "callbacks", "ophyd", "plans")
DRAIN_TIMEOUT = 600.0  # s; a reduction that is this far behind the end of its run is given up on


class Session:
    """An endstation ready to measure: devices, engine, recorder, live reduction, catalogue.

    Parameters
    ----------
    config : Config
        The endstation.
    data_dir : Path
        Where logs, frames, derived data and the catalogue are kept.

    Raises
    ------
    BeamlineError
        When a device cannot be built, or a setting of the processing is wrong.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        if problems := processing_problems(config):
            raise BeamlineError("\n".join(problems))
        data_dir = data_dir.absolute()  # documents name files in it, and are read from anywhere
        layout = Layout(data_dir)
        self.config = config
        self.data_dir = data_dir
        self._log = _log_to(layout.session_log)
        self.endstation: Any = build_endstation(config, frames_dir=layout.frames)
        self.RE = RunEngine(call_returns_result=True)
        self.RE.md["endstation"] = config.endstation.name
        self.RE.record_interruptions = True
        self.RE.scan_id_source = lambda _md: next_scan_id(data_dir)
        baseline = [getattr(self.endstation, name) for name, device in config.devices.items() if device.baseline]
        self.RE.preprocessors.append(SupplementalData(baseline=baseline))

        self.recorder = Recorder(data_dir)
        self.RE.subscribe(self.recorder)
        self.derived = DerivedRuns(data_dir)
        self.picture = LivePicture(data_dir)
        self.use_settings(processing_with_references(config, data_dir))
        self.reducer = Reducer(self._derived, pipelines())
        self.reduction = LiveFeed(
            self.reducer, depth=config.storage.queue_depth, log=self.recorder.read, name="reduction"
        )
        self.RE.subscribe(self.reduction)
        self.ingester = IngestSupervisor(data_dir)
        self._feeds = [self.reduction]
        if config.suspenders is not None:
            logging.getLogger(light_suspenders.__module__).setLevel(logging.INFO)  # the log has when they held the run
            self.endstation = dataclasses.replace(self.endstation, light=light_of(config.suspenders))
            for suspender in light_suspenders(config.suspenders, self.endstation):
                self.RE.install_suspender(suspender)

    def _derived(self, name: str, doc: dict[str, Any]) -> None:
        """Keep a document of a derived run, then show it."""
        self.derived(name, doc)
        self.picture(name, doc)

    def __enter__(self) -> Self:
        self.ingester.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def use_references(self, references: dict[str, str]) -> None:
        """Fit these reference spectra to the stacks measured from now on.

        Parameters
        ----------
        references : dict of str to str
            Name -> run or file, as in the table `references` of a configuration.

        Raises
        ------
        BeamlineError
            When one of them has no spectrum.
        """
        self.config = self.config.model_copy(update={"references": references})
        self.use_settings(processing_with_references(self.config, self.data_dir))

    def use_settings(self, settings: dict[str, dict[str, Any]]) -> None:
        """Reduce the runs that begin from now on with these settings, by pipeline; each run keeps its own.

        They go into the start document: what is measured before keeps the settings that it began with, whenever it is
        reduced.
        """
        self.RE.md[PROCESSING] = settings

    def watch(self, consumer: Callable[[str, dict[str, Any]], None], name: str) -> None:
        """Let `consumer` see the documents on a thread of its own, where it can neither slow nor stop the scan."""
        feed = LiveFeed(consumer, depth=self.config.storage.queue_depth, log=self.recorder.read, name=name)
        self._feeds.append(feed)
        self.RE.subscribe(feed)

    def drain(self) -> None:
        """Wait until every document measured so far has been reduced."""
        for feed in self._feeds:
            feed.drain(DRAIN_TIMEOUT)

    def close(self) -> None:
        """Finish the reduction, and let the catalogue finish on its own."""
        if self.RE.state == "paused":
            self.RE.abort("the session was closed")
        for feed in self._feeds:
            feed.close()
        self.recorder.close()
        self.derived.close()
        self.picture.close()
        self.ingester.finish()
        self.RE.clear_suspenders()
        if self.config.channel_access is not None:
            disconnect(getattr(self.endstation, name) for name in self.config.devices)
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._log)
        self._log.close()


def _log_to(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    return handler


def measure(session: Session, plan: Any, *, on_pause: Callable[[], bool] = lambda: False) -> str:
    """Run a plan to its end, and give the uid of its last run; see `measure_all`."""
    return measure_all(session, plan, on_pause=on_pause)[-1]


def measure_all(session: Session, plan: Any, *, on_pause: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
    """Run a plan to its end.

    Parameters
    ----------
    session : Session
    plan : iterable of Msg
    on_pause : callable
        Asked after an interruption whether to resume; the run is aborted where it says no.

    Returns
    -------
    tuple of str
        Uids of its runs, in order.

    Raises
    ------
    BeamlineError
        One line on why the plan could not be finished. The run is closed, and what was measured is kept.
    """
    engine: Any = session.RE
    check_free_space(session.data_dir, session.config.storage.minimum_free_gb)
    ends: list[dict[str, Any]] = []
    token = engine.subscribe(lambda _name, doc: ends.append(doc), "stop")
    try:
        with redirect_stdout(sys.stderr):  # the engine prints; what a command answers is for standard output
            try:
                outcome = engine(plan)
            except RunEngineInterrupted:
                try:
                    while engine.state == "paused" and on_pause():
                        _let_suspenders_hold(engine)
                        with suppress(RunEngineInterrupted):
                            outcome = engine.resume()
                finally:
                    if engine.state == "paused":
                        outcome = engine.abort("interrupted by the user")
    except (BeamlineError, PlanError) as error:
        raise BeamlineError(str(error)) from error
    except Exception as error:  # a device or the plan: the engine has closed the run and said so in its stop document
        cause = error.__cause__ if isinstance(error, FailedStatus) and error.__cause__ else error
        text = " ".join(str(cause).split()) or type(cause).__name__
        # What went wrong first is why the run was ended; what is raised may be what went wrong when that was done.
        first = (" ".join(ends[-1]["reason"].split()) if ends and ends[-1]["exit_status"] == "fail" else "") or text
        raise BeamlineError(f"the plan failed: {first}" + (f"; then {text}" if text != first else "")) from error
    finally:
        engine.unsubscribe(token)
    return tuple(outcome.run_start_uids)


def _let_suspenders_hold(engine: Any) -> None:
    """Let the suspenders that are tripped hold a plan that is resumed: the engine asks them when a plan begins only."""
    for suspender in engine.suspenders:
        futures, justification = suspender.get_futures()
        for future in futures:
            engine.request_suspend(future, justification=justification)


def check_free_space(data_dir: Path, minimum_gb: float) -> None:
    """Refuse to begin a run where the disk has less than `minimum_gb` left.

    Raises
    ------
    BeamlineError
        Naming the folder, what is free and what is asked for.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free / 1e9
    if free < minimum_gb:
        raise BeamlineError(
            f"{data_dir}: {free:.2f} GB free, expected at least {minimum_gb:g} GB (storage.minimum_free_gb)"
        )
