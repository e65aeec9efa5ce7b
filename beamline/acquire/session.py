"""The RunEngine with everything attached to it: the recorder, the live reduction, the catalogue and the suspenders."""

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

from beamline.acquire.alarm_log import AlarmLog
from beamline.acquire.live_feed import LiveFeed
from beamline.acquire.live_picture import LivePicture
from beamline.acquire.references import processing_with_references
from beamline.acquire.scan_numbers import ScanNumbers
from beamline.acquire.suspenders import light_of, light_suspenders
from beamline.endstation.build import build_endstation
from beamline.endstation.config import Config
from beamline.endstation.connect import disconnect
from beamline.errors import BeamlineError
from beamline.storage import DerivedRuns, Layout, Recorder
from beamline.storage.catalogue.supervisor import IngestSupervisor
from beamline.techniques import pipelines
from beamline.techniques.settings import processing_problems, settings_problems
from callbacks.contract import PROCESSING
from callbacks.reduction import Reducer
from plans.errors import PlanError

LOGGERS = ("beamline", "bluesky", "callbacks", "ophyd", "plans")
DRAIN_TIMEOUT = 600.0  # s; a reduction that is this late after the end of its run is no longer waited for


class Session:
    """An endstation ready to measure: devices, engine, recorder, live reduction, catalogue.

    Parameters
    ----------
    config : Config
        The endstation.
    data_dir : Path
        The data folder.

    Raises
    ------
    BeamlineError
        When a device cannot be built, or a setting of the processing is wrong.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        if problems := processing_problems(config):
            raise BeamlineError(*problems)
        data_dir = data_dir.absolute()  # documents name files in it, and must be readable from any working directory
        layout = Layout(data_dir)
        self.config = config
        self.data_dir = data_dir
        self._log = _log_to(layout.session_log)
        self.endstation: Any = build_endstation(config, frames_dir=layout.frames)
        self.RE = RunEngine(call_returns_result=True)
        self.RE.md["endstation"] = config.endstation.name
        self.RE.record_interruptions = True
        numbers = ScanNumbers(data_dir)
        self.RE.scan_id_source = lambda _md: numbers.next()
        baseline = [getattr(self.endstation, name) for name, device in config.devices.items() if device.baseline]
        self.RE.preprocessors.append(SupplementalData(baseline=baseline))

        self.recorder = Recorder(data_dir)
        self.RE.subscribe(self.recorder)
        self.derived = DerivedRuns(data_dir)
        self.picture = LivePicture(data_dir)
        self.use_settings(processing_with_references(config, data_dir))
        self.reducer = Reducer(self._store_derived, pipelines())
        self.reduction = LiveFeed(
            self.reducer, depth=config.storage.queue_depth, log=self.recorder.read, name="reduction"
        )
        self.RE.subscribe(self.reduction)
        self.ingester = IngestSupervisor(data_dir)
        self._feeds = [self.reduction]
        self.watch(AlarmLog(), "alarms")
        if config.suspenders is not None:
            logging.getLogger(light_suspenders.__module__).setLevel(logging.INFO)  # log when they suspend and resume
            self.endstation = dataclasses.replace(self.endstation, light=light_of(config.suspenders))
            for suspender in light_suspenders(config.suspenders, self.endstation):
                self.RE.install_suspender(suspender)

    def _store_derived(self, name: str, doc: dict[str, Any]) -> None:
        """Store a document of a derived run, then show it."""
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
        self.RE.md[PROCESSING] = settings

    def watch(self, consumer: Callable[[str, dict[str, Any]], None], name: str) -> LiveFeed:
        """Feed the documents to `consumer` on a thread of its own, where it can neither slow down nor stop the scan."""
        feed = LiveFeed(consumer, depth=self.config.storage.queue_depth, log=self.recorder.read, name=name)
        self._feeds.append(feed)
        self.RE.subscribe(feed)
        return feed

    def drain(self) -> None:
        """Wait until every document emitted so far has been reduced."""
        for feed in self._feeds:
            feed.drain(DRAIN_TIMEOUT)

    def close(self) -> None:
        """Finish the reduction, disconnect, and leave the process that fills the catalogue to finish by itself."""
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
