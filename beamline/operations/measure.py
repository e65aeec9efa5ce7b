"""Measure: check a plan with its parameters as text, say what it will do, run it, sum up its run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from beamline.acquire.feedback import with_feedback
from beamline.acquire.references import processing_with_references
from beamline.acquire.safety import Assessment, assess
from beamline.acquire.session import Session, measure_all
from beamline.endstation.build import build_endstation
from beamline.endstation.config import Config, load_config
from beamline.errors import BeamlineError
from beamline.operations.continuing import Missing, what_is_missing
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.runs import data_folder, summary_of
from beamline.storage.layout import Layout
from beamline.storage.runs import Runs
from beamline.techniques.settings import processing_problems
from plans import PLANS, PlanError, find_plan
from plans.continued import continued

logger = logging.getLogger(__name__)


def list_plans() -> list[dict[str, Any]]:
    """List the plans and their parameters, for JSON."""
    return [
        {
            "name": plan.name,
            "summary": plan.summary,
            "parameters": [
                {
                    "name": parameter.name,
                    "type": parameter.type.__name__,
                    "unit": parameter.unit,
                    "required": parameter.required,
                    "default": None if parameter.required else parameter.default,
                    "help": parameter.help,
                    "choices": list(parameter.choices),
                }
                for parameter in plan.parameters.values()
            ],
        }
        for plan in PLANS.values()
    ]


def assess_plan(name: str, arguments: Sequence[str], *, config: Path | None, data_dir: Path | None) -> Assessment:
    """Find out what a plan will do; nothing moves.

    Parameters
    ----------
    name : str
        Of the plan.
    arguments : sequence of str
        Its parameters as on the command line: ``["--regions", "520:560:0.5"]``.
    config, data_dir : Path or None
        Endstation; where runs are kept.

    Raises
    ------
    BeamlineError
        When it cannot finish, or the configuration is wrong.
    """
    loaded = load_config(config)
    plan, parameters = _parsed(name, arguments)
    return _assessed(lambda endstation: plan.function(endstation, **parameters), loaded, data_folder(data_dir, loaded))


def run_plan(
    name: str,
    arguments: Sequence[str],
    *,
    config: Path | None,
    data_dir: Path | None,
    progress: Progress = no_progress,
    on_assessment: Callable[[Assessment], None] = lambda _assessment: None,
    on_pause: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run a plan and sum up its run.

    Parameters
    ----------
    name, arguments, config, data_dir
        As of `assess_plan`.
    progress : callable
        See `beamline.operations.progress`.
    on_assessment : callable
        Is given what the plan will do, before it starts.
    on_pause : callable
        Asked after an interruption whether to resume; the run is aborted where it says no.

    Returns
    -------
    dict
        The summary of the last run, with ``estimate``, ``runs``, the uids, where there are several, and
        ``not_in_catalogue`` and ``not_reduced``, why a run did not come into the catalogue, or was not reduced, empty
        where all did.

    Raises
    ------
    BeamlineError
        One line on why the plan could not be started, or not be finished.
    """
    plan, parameters = _parsed(name, arguments)
    return _measured(
        lambda endstation: plan.function(endstation, **parameters),
        load_config(config),
        data_dir,
        progress=progress,
        on_assessment=on_assessment,
        on_pause=on_pause,
    )


def continue_run(
    name: str,
    *,
    again: str = "",
    config: Path | None,
    data_dir: Path | None,
    progress: Progress = no_progress,
    on_assessment: Callable[[Assessment], None] = lambda _assessment: None,
    on_pause: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Measure what a run still lacks, and sum up the whole.

    Parameters
    ----------
    name : str
        The run.
    again : str
        Points that are taken again; see `what_is_missing`.
    config, data_dir, progress, on_assessment, on_pause
        As of `run_plan`.

    Returns
    -------
    dict
        As of `run_plan`; of all parts together.

    Raises
    ------
    BeamlineError
        One line on why it cannot be continued, or not be finished.
    """
    loaded = load_config(config)
    missing = what_is_missing(Runs(data_folder(data_dir, loaded)), name, again=again)
    return _measured(
        partial(_missing, missing),
        loaded,
        data_dir,
        progress=progress,
        on_assessment=on_assessment,
        on_pause=on_pause,
    )


def assess_missing(name: str, *, again: str = "", config: Path | None, data_dir: Path | None) -> Assessment:
    """Say what it takes to measure what a run still lacks; see `continue_run`."""
    loaded = load_config(config)
    data_dir = data_folder(data_dir, loaded)
    missing = what_is_missing(Runs(data_dir), name, again=again)
    return _assessed(partial(_missing, missing), loaded, data_dir)


def _missing(missing: Missing, endstation: Any) -> Any:
    plan = find_plan(missing.plan).function(endstation, **missing.parameters)
    return continued(plan, missing.done)


def _assessed(make: Callable[[Any], Any], loaded: Config, data_dir: Path) -> Assessment:
    """Find out what the plan that is made for an endstation will do; nothing moves."""
    if problems := processing_problems(loaded):  # as the session says
        raise BeamlineError(*problems)
    built = build_endstation(loaded, frames_dir=Layout(data_dir).frames)
    endstation = with_feedback(built, data_dir, processing_with_references(loaded, data_dir))
    assessment = assess(make(endstation), endstation, data_dir, loaded.storage.minimum_free_gb)
    assessment.refuse()
    return assessment


def _measured(
    make: Callable[[Any], Any],
    loaded: Config,
    data_dir: Path | None,
    *,
    progress: Progress,
    on_assessment: Callable[[Assessment], None],
    on_pause: Callable[[], bool],
) -> dict[str, Any]:
    """Run the plan that is made for an endstation, and sum up its run."""
    data_dir = data_folder(data_dir, loaded)
    with redirect_stdout(sys.stderr), Session(loaded, data_dir) as session:  # the engine's suspenders print
        # Made twice: the estimate uses up the first.
        made = make(session.endstation)
        assessment = assess(made, session.endstation, session.data_dir, loaded.storage.minimum_free_gb)
        assessment.refuse()
        estimate = assessment.as_dict()
        on_assessment(assessment)
        session.watch(EventCounter(progress), "progress")
        uids = measure_all(session, make(session.endstation), on_pause=on_pause)
        unreduced = session.drain()
        summary = summary_of(Runs(session.data_dir), uids[-1])
        derived_uid = summary["derived_uid"]
        late = _why_not_in_catalogue(session, *uids, *([derived_uid] if derived_uid else []))
        errors = session.reduction.status().errors
    for uid, reason in errors.items():
        if uid and reason not in unreduced:
            logger.error("the live reduction of run %s: %s", uid, reason)
    summary |= {"estimate": estimate, "not_in_catalogue": late, "not_reduced": unreduced}
    return summary if len(uids) == 1 else summary | {"runs": list(uids)}


def _why_not_in_catalogue(session: Session, *uids: str) -> str:
    """Say why runs are not in the catalogue; of one that another process keeps filling, why they will not be."""
    if session.ingester.is_found:
        return session.ingester.why_not_coming(*uids)
    return session.ingester.why_missing(*uids)


def _parsed(name: str, arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    try:
        plan = find_plan(name)
        return plan, plan.parse(arguments)
    except PlanError as error:
        raise BeamlineError(error) from error
