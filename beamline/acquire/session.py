"""The RunEngine with its recorder and suspenders, and the processes that follow what it records."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bluesky.preprocessors import baseline_wrapper
from bluesky.utils import FailedStatus, RunEngineInterrupted

from beamline.acquire.alarm_log import AlarmLog
from beamline.acquire.engine import Engine
from beamline.acquire.feedback import with_feedback
from beamline.acquire.references import newest_calibration, processing_with_references
from beamline.acquire.scan_numbers import ScanNumbers
from beamline.acquire.suspenders import light_of, light_suspenders
from beamline.acquire.watcher import Watcher
from beamline.endstation.build import build_endstation, tables_by_name
from beamline.endstation.config import Config
from beamline.endstation.connect import disconnect, use_channel_access
from beamline.errors import BeamlineError
from beamline.processes.followers import FollowingProcess, FollowingThread, LogFollowing
from beamline.processes.processors import allow, keep_to_the_first, threads
from beamline.storage import Layout, Recorder
from beamline.storage.catalogue.place import use_catalogue
from beamline.storage.layout import INGEST, PROCESSES, REDUCTION
from beamline.techniques.settings import processing_problems, settings_problems
from callbacks.contract import ADDED, ENERGY_CALIBRATION, GEOMETRY, PROCESSING
from plans.endstation import kept
from plans.errors import PlanError

LOGGERS = ("beamline", "bluesky", "callbacks", "ophyd", "plans")


class Session:
    """An endstation ready to measure: devices, engine, recorder; and the processes that reduce, catalogue and draw.

    When it is entered, the processes are started, or found if they work in the data folder already.

    Parameters
    ----------
    config : Config
        The endstation.
    data_dir : Path
        The data folder.
    in_process : bool
        Let threads of this process do what the processes do, by the same code: for tests and notebooks.
    followers : sequence of str
        Which of them to start: of `beamline.storage.layout.PROCESSES`.

    Attributes
    ----------
    reduction, ingester : LogFollowing
        How the live reduction and the catalogue keep up.
    watcher : Watcher
        What hands the documents to those of this process.

    Raises
    ------
    BeamlineError
        When a device cannot be built, or a setting of the processing is wrong.
    """

    def __init__(
        self, config: Config, data_dir: Path, *, in_process: bool = False, followers: Sequence[str] = PROCESSES
    ) -> None:
        if problems := processing_problems(config):
            raise BeamlineError(*problems)
        data_dir = data_dir.absolute()  # documents name files in it, and must be readable from any working directory
        layout = Layout(data_dir)
        use_catalogue(data_dir, config.storage.catalogue)
        self.config = config
        self.data_dir = data_dir
        self._log = _log_to(layout.session_log)
        use_channel_access(config.channel_access)
        self.RE = Engine(call_returns_result=True)  # first: devices of ophyd-async connect on its loop
        self.endstation: Any = with_feedback(build_endstation(config, frames_dir=layout.frames), data_dir, {})
        self.RE.md["endstation"] = config.endstation.name
        if config.endstation.geometry is not None:
            self.RE.md[GEOMETRY] = config.endstation.geometry.model_dump()
        self.RE.record_interruptions = True
        numbers = ScanNumbers(data_dir)
        all_devices = self.endstation.all_devices
        if self.endstation.added:
            self.RE.md[ADDED] = {name: list(kept(each.describe())) for name, each in self.endstation.added.items()}
        self.RE.scan_id_source = lambda _md: self._at_beginning(numbers)
        baseline = [all_devices[name] for name, table in tables_by_name(config).items() if table.baseline]
        # Not SupplementalData, which passes every message through four more generators, for monitors and flyers.
        self.RE.preprocessors.append(partial(baseline_wrapper, devices=baseline))
        self.use_settings(processing_with_references(config, data_dir))

        self.recorder = Recorder(data_dir)
        self.RE.subscribe(self.recorder)
        self.watcher = Watcher(data_dir)
        self.RE.subscribe(self.watcher, "start")
        self.watch(AlarmLog(), "alarms")
        self._unreduced: list[str] = []
        self.RE.subscribe(lambda _name, start: self._unreduced.append(start["uid"]), "start")
        self._in_process, self._processors = in_process, set[int]()  # those that it had before it kept to one
        make: type[LogFollowing] = FollowingThread if in_process else FollowingProcess
        self._all_followers = {name: make(name, data_dir) for name in PROCESSES}
        self._followers = [self._all_followers[name] for name in followers]
        self.reduction, self.ingester = self._all_followers[REDUCTION], self._all_followers[INGEST]
        if config.suspenders is not None:
            logging.getLogger(light_suspenders.__module__).setLevel(logging.INFO)  # log when they suspend and resume
            self.endstation = dataclasses.replace(self.endstation, light=light_of(config.suspenders))
            for suspender in light_suspenders(config.suspenders, self.endstation):
                self.RE.install_suspender(suspender)

    def __enter__(self) -> Self:
        measuring = threads()
        for follower in self._followers:
            follower.start()
        if not self._in_process:
            self._processors = keep_to_the_first(measuring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _at_beginning(self, numbers: ScanNumbers) -> int:
        """Give the number of a run that begins, and keep with it how the energy is calibrated by now."""
        newest = newest_calibration(self.data_dir)
        block = None if newest is None else newest.model_dump()
        if block != self.RE.md.get(ENERGY_CALIBRATION):
            self.RE.md[ENERGY_CALIBRATION] = block
            if self.config.calibration is not None and self.config.calibration.energy:
                xas = self.RE.md[PROCESSING].get("xas", {})
                self.use_settings(self.RE.md[PROCESSING] | {"xas": xas | {"energy_calibration": block}})
        return numbers.next()

    def use_references(self, references: dict[str, str]) -> None:
        """Fit these reference spectra to the stacks that are measured from now on.

        Parameters
        ----------
        references : dict of str to str
            Name -> run or file, as in the table `references` of the configuration.

        Raises
        ------
        BeamlineError
            When one of them has no spectrum.
        """
        self.config = self.config.model_copy(update={"references": references})
        self.use_settings(processing_with_references(self.config, self.data_dir))

    def use_settings(self, settings: dict[str, dict[str, Any]]) -> None:
        """Reduce the runs that begin from now on with these settings, by pipeline.

        They are part of the start document, so that each run is reduced with the settings it began with, however late.

        Raises
        ------
        BeamlineError
            Naming each setting that is wrong; the settings of before then stay.
        """
        if problems := settings_problems(settings):
            raise BeamlineError(*problems)
        self.RE.md[PROCESSING] = self.endstation.feedback.settings = settings

    def watch(self, consumer: Callable[[str, dict[str, Any]], None], name: str) -> None:
        """Hand the documents to `consumer` on a thread, where it can neither stop the scan nor slow it much."""
        self.watcher.add(name, consumer)

    def drain(self) -> str:
        """Wait until every run measured so far has been reduced.

        Returns
        -------
        str
            One line that says which run is not reduced and why; empty if all are.
        """
        self.watcher.drain()
        uids, self._unreduced[:] = tuple(self._unreduced), ()
        return self.reduction.why_missing(*uids)

    def close(self) -> None:
        """Disconnect, and leave what follows the logs to finish by itself; threads of this process are waited for."""
        if self.RE.state == "paused":
            self.RE.abort("the session was closed")
        self.watcher.close()
        self.recorder.close()
        self.endstation.feedback.close()
        if self._processors:
            allow(self._processors, threads())
        for follower in self._followers:
            follower.finish()
        self.RE.clear_suspenders()
        if self.config.channel_access is not None:
            disconnect(self.endstation.all_devices.values())
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._log)
        self._log.close()


class _SessionLog(logging.FileHandler):
    """The log file of a session, which says once and on one line that it cannot be written."""

    _said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message; that the file cannot be opened is no error of the caller."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file; what could not be written was said before."""
        with suppress(OSError):
            super().close()

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - overrides
        """Say why nothing is logged, instead of printing a traceback for each message."""
        if not self._said:
            self._said = True
            sys.stderr.write(f"{self.baseFilename}: nothing more is logged: {sys.exc_info()[1]}\n")


def _log_to(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BeamlineError(f"{path.parent}: cannot be made, nothing can be measured: {error.strerror}") from error
    handler = _SessionLog(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    return handler


def measure(session: Session, plan: Any, *, on_pause: Callable[[], bool] = lambda: False) -> str:
    """Run a plan to its end, and return the uid of its last run; see `measure_all`."""
    return measure_all(session, plan, on_pause=on_pause)[-1]


def measure_all(session: Session, plan: Any, *, on_pause: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
    """Run a plan to its end.

    Parameters
    ----------
    session : Session
    plan : iterable of Msg
    on_pause : callable
        Called after an interruption; tells whether to resume the run or to abort it.

    Returns
    -------
    tuple of str
        Uids of its runs, in order.

    Raises
    ------
    BeamlineError
        When the plan could not be finished; one line that says why. The run is closed, and its data are kept.
    """
    engine: Any = session.RE
    check_free_space(session.data_dir, session.config.storage.minimum_free_gb)
    stops: list[dict[str, Any]] = []
    token = engine.subscribe(lambda _name, doc: stops.append(doc), "stop")
    try:
        with redirect_stdout(sys.stderr):  # the engine prints, but standard output is for the answer of a command
            try:
                outcome = engine(plan)
            except RunEngineInterrupted:
                try:
                    while engine.state == "paused" and on_pause():
                        _suspend_again(engine)
                        with suppress(RunEngineInterrupted):
                            outcome = engine.resume()
                finally:
                    if engine.state == "paused":
                        outcome = engine.abort("interrupted by the user")
    except BeamlineError:
        raise
    except PlanError as error:
        raise BeamlineError(error) from error
    except Exception as error:  # of a device or of the plan; the engine has closed the run
        raise BeamlineError(_why_it_failed(error, stops)) from error
    finally:
        engine.unsubscribe(token)
    return tuple(outcome.run_start_uids)


def _why_it_failed(error: Exception, stops: list[dict[str, Any]]) -> str:
    """Say why a plan failed: the reason in its stop document, then the error, which may come from the clean-up."""
    cause = error.__cause__ if isinstance(error, FailedStatus) and error.__cause__ else error
    text = " ".join(str(cause).split()) or type(cause).__name__
    first = (" ".join(stops[-1]["reason"].split()) if stops and stops[-1]["exit_status"] == "fail" else "") or text
    return f"the plan failed: {first}" + (f"; then {text}" if text != first else "")


def _suspend_again(engine: Any) -> None:
    """Suspend a plan that is about to be resumed if a suspender is tripped: the engine only checks at its beginning."""
    for suspender in engine.suspenders:
        futures, justification = suspender.get_futures()
        for future in futures:
            engine.request_suspend(future, post_plan=suspender.before_resuming, justification=justification)


def check_free_space(data_dir: Path, minimum_gb: float) -> None:
    """Refuse to begin a run if the disk has less than `minimum_gb` (GB) of free space.

    Raises
    ------
    BeamlineError
        When there is less; names the folder, what is free and what is required.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free / 1e9
    if free < minimum_gb:
        raise BeamlineError(
            f"{data_dir}: {free:.2f} GB free, expected at least {minimum_gb:g} GB (storage.minimum_free_gb)"
        )
