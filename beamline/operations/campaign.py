"""A campaign: spectra of all samples, the energies of their maps proposed from these, then maps, and one report."""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from beamline.acquire.references import newest_calibration
from beamline.acquire.safety import Assessment, assess
from beamline.acquire.session import Session, measure_all
from beamline.endstation.config import explain, load_config
from beamline.errors import BeamlineError
from beamline.operations.calibrating import calibrate
from beamline.operations.campaign_proposal import REGIONS, Proposal, found_in, propose
from beamline.operations.campaign_report import write_campaign
from beamline.operations.continuing import Missing, what_is_missing
from beamline.operations.outputs import check_page
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.runs import data_folder
from beamline.report.style import FigureStyle
from beamline.storage.runs import Entry, Runs
from callbacks.contract import CAMPAIGN, CampaignPart
from callbacks.xas.features import ExcitationSettings
from plans import PLANS, PlanError, find_plan
from plans.continued import continued

SPECTRA = "xas"  # the plan of the first part


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationOf(_Table):
    """Table `calibration`: as the options of `beamline calibrate`."""

    sample: str = ""  # whose spectrum has the reference; the first where not given
    channel: str = ""
    reference: str = ""
    peak: float | None = None
    edge: float | None = None
    sigma: float = 0.0


class Campaign(_Table):
    """The file of a campaign."""

    name: str = Field(min_length=1)  # by which its runs are found again
    samples: list[str] = Field(min_length=1)
    references: list[str] = []  # of them: they are measured first
    edge: str = ""
    spectra: dict[str, Any]  # parameters of the plan `xas`
    channel: str = "tey"  # in which features are looked for
    calibration: CalibrationOf | None = None
    excitations: ExcitationSettings = ExcitationSettings()
    then: list[dict[str, Any]] = []  # plans of each sample, with their parameters

    @model_validator(mode="after")
    def _samples_are_named_once(self) -> Campaign:
        if len(set(self.samples)) < len(self.samples):
            raise ValueError("samples: expected each once")
        if strange := set(self.references) - set(self.samples):
            raise ValueError(f"references: {min(strange)!r} is none of the samples")
        for table in self.then:
            if table.get("plan") not in PLANS:
                raise ValueError(f"then: plan is {table.get('plan')!r}, expected one of {', '.join(PLANS)}")
        return self

    @property
    def in_order(self) -> list[str]:
        """Samples as they are measured: references first."""
        return sorted(self.samples, key=lambda sample: sample not in self.references)


@dataclass(frozen=True)
class _Step:
    part: CampaignPart
    plan: str
    arguments: dict[str, Any]

    @property
    def said(self) -> str:
        return f"{self.plan} of {self.part.sample}"

    @property
    def as_item(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self.parameters.items()
        }
        return self.plan, plain, {CAMPAIGN: self.part.model_dump()}

    @property
    def parameters(self) -> dict[str, Any]:
        return find_plan(self.plan).convert((name, str(value)) for name, value in self.arguments.items())


def load_campaign(path: Path) -> Campaign:
    """Read the file of a campaign.

    Raises
    ------
    BeamlineError
        With a line for each mistake.
    """
    try:
        return Campaign.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BeamlineError(*(f"{path}: {line}" for line in explain(error, Campaign))) from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are some
        raise BeamlineError(f"{path}: not valid TOML: {error}") from error


def run_campaign(
    path: Path,
    *,
    config: Path | None,
    data_dir: Path | None,
    output: Path | None = None,
    progress: Progress = no_progress,
    on_estimate: Callable[[list[tuple[str, Assessment]]], None] = lambda _assessments: None,
    on_assessment: Callable[[str, Assessment], None] = lambda _what, _assessment: None,
    on_proposal: Callable[[Proposal], bool] = lambda _proposal: True,
    on_pause: Callable[[], bool] = lambda: False,
    figures: Path | None = None,
    style: FigureStyle | None = None,
) -> dict[str, Any]:
    """Measure what is still to be measured of a campaign, and write its report.

    What was measured is found by the name of the campaign; a run that was interrupted is gone on with.

    Parameters
    ----------
    path : Path
        Its file.
    config, data_dir, progress, on_pause
        As of `beamline.operations.measure.run_plan`.
    output : Path, optional
        The report; beside the file where not given.
    on_estimate : callable
        Is given all runs that are still to be measured, in words, and what they will do; the maps at the energies of
        the spectra.
    on_assessment : callable
        Is given each run before it begins.
    on_proposal : callable
        Is given the energies of the maps, and tells whether to go on with them.
    figures, style : Path, FigureStyle, optional
        A folder, for the figures of the report in a style for print as well.

    Returns
    -------
    dict
        For JSON: ``runs``, uids by what they are; ``proposal``; ``report``, its file; ``ended``, why it did not go on.

    Raises
    ------
    BeamlineError
        One line on what is wrong with the file, or why a run could not be measured or reduced.
    """
    campaign = load_campaign(path)
    loaded = load_config(config)
    folder = data_folder(data_dir, loaded)
    report = _report(path, output, folder)
    spectra = list(_spectra(campaign, path))
    runs = Runs(folder)
    with redirect_stdout(sys.stderr), Session(loaded, folder) as session:
        session.watch(EventCounter(progress), "progress")
        work = _Work(session, runs, on_assessment, on_pause)
        on_estimate(work.check([*spectra, *_then(campaign, path, str(campaign.spectra.get(REGIONS, "")))]))
        done = [work.measured(step) for step in spectra]
        work.reduced()
        proposal = _proposal(campaign, path, runs, done)
        ended = "" if on_proposal(proposal) else f"the energies were not agreed to; change {proposal.path} and repeat"
        steps = [] if ended else list(_then(campaign, path, proposal.regions))
        later = [work.measured(step) for step in steps]
        work.reduced()
    write_campaign(report, runs, campaign.name, proposal, done + later, figures=figures, style=style)
    return {
        "runs": {step.said: uid for step, uid in zip([*spectra, *steps], [*done, *later], strict=True)},
        "proposal": asdict(proposal) | {"path": str(proposal.path)},
        "report": str(report),
        "ended": ended,
    }


@dataclass(frozen=True)
class Waiting:
    """What of a campaign can be measured now, by whoever measures it.

    Attributes
    ----------
    plans : list of (str, dict, dict)
        Name of each plan, its parameters, and the metadata by which its run is found again.
    proposal : Proposal or None
        The energies of the maps; None as long as a spectrum is missing.
    report : str
        File of the report, once all is measured.
    """

    plans: list[tuple[str, dict[str, Any], dict[str, Any]]]
    proposal: Proposal | None
    report: str = ""


def what_waits(
    path: Path,
    runs: Runs,
    *,
    output: Path | None = None,
    on_proposal: Callable[[Proposal], bool] = lambda _proposal: True,
    figures: Path | None = None,
    style: FigureStyle | None = None,
) -> Waiting:
    """Say which plans of a campaign can be measured now; write its report once all are measured.

    Parameters
    ----------
    path, output, on_proposal, figures, style
        As of `run_campaign`.
    runs : Runs
        In which what was measured is looked for.

    Raises
    ------
    BeamlineError
        As of `run_campaign`; when the energies were not agreed to.
    """
    campaign = load_campaign(path)
    report = _report(path, output, runs.data_dir)
    spectra = list(_spectra(campaign, path))
    if left := [step for step in spectra if _uid_of(runs, step) is None]:
        return Waiting([step.as_item for step in left], None)
    done = [uid for step in spectra if (uid := _uid_of(runs, step))]
    proposal = _proposal(campaign, path, runs, done)
    if not on_proposal(proposal):
        raise BeamlineError(f"the energies were not agreed to; change {proposal.path} and repeat")
    steps = list(_then(campaign, path, proposal.regions))
    if left := [step for step in steps if _uid_of(runs, step) is None]:
        return Waiting([step.as_item for step in left], proposal)
    later = [uid for step in steps if (uid := _uid_of(runs, step))]
    write_campaign(report, runs, campaign.name, proposal, done + later, figures=figures, style=style)
    return Waiting([], proposal, str(report))


def _report(path: Path, output: Path | None, data_dir: Path) -> Path:
    """Give the file of a report; `BeamlineError`, before anything is measured, where it cannot be one."""
    report = output or path.with_suffix(".html")
    check_page(report, data_dir)
    return report


def _uid_of(runs: Runs, step: _Step) -> str | None:
    """Give the uid of the run that a step was measured in; None where it was not, or not to its end."""
    entry = _entry(runs, step)
    return entry.uid if entry is not None and _has_succeeded(runs, entry) else None


def _entry(runs: Runs, step: _Step) -> Entry | None:
    """Find the newest run of a step."""
    block = step.part.model_dump()
    found = [entry for entry in runs.raw() if entry.start.get(CAMPAIGN) == block]
    return found[-1] if found else None


def _proposal(campaign: Campaign, path: Path, runs: Runs, done: Sequence[str]) -> Proposal:
    """Calibrate, find the features of the spectra, and propose the energies of the maps."""
    offset = _calibrated(campaign, runs, done)
    samples = zip(done, campaign.in_order, strict=True)
    found = [found_in(runs, uid, sample, campaign.channel) for uid, sample in samples]
    return propose(path, found, offset, str(campaign.spectra.get(REGIONS, "")), campaign.excitations)


class _Work:
    """Measures the steps of a campaign, those that are not yet measured."""

    def __init__(
        self,
        session: Session,
        runs: Runs,
        on_assessment: Callable[[str, Assessment], None],
        on_pause: Callable[[], bool],
    ) -> None:
        self._session, self._runs = session, runs
        self._on_assessment, self._on_pause = on_assessment, on_pause

    def check(self, steps: Sequence[_Step]) -> list[tuple[str, Assessment]]:
        """Say what is still to be measured; refuse what cannot be, before anything moves."""
        found = []
        for step in steps:
            assessment = self._assessed(step, None)
            assessment.refuse()
            if _uid_of(self._runs, step) is None:
                found.append((step.said, assessment))
        return found

    def measured(self, step: _Step) -> str:
        """Measure a step, or what it still lacks; give the uid of its run, or of the last of its runs."""
        if uid := _uid_of(self._runs, step):
            return uid
        missing = self._missing(step)
        assessment = self._assessed(step, missing)
        assessment.refuse()
        self._on_assessment(step.said, assessment)
        self._session.RE.md[CAMPAIGN] = step.part.model_dump()
        try:
            uids = measure_all(self._session, self._plan(step, missing), on_pause=self._on_pause)
        finally:
            del self._session.RE.md[CAMPAIGN]
        if not _has_succeeded(self._runs, self._runs.find(uids[-1])):
            raise BeamlineError(
                f"run {uids[-1]}: the campaign ended with it; repeated, it goes on with what is missing"
            )
        return uids[-1]

    def reduced(self) -> None:
        """Wait for the reduction; refuse what is not reduced."""
        if why := self._session.drain():
            raise BeamlineError(why)

    def _missing(self, step: _Step) -> Missing | None:
        """Find what a run of a step lacks that was interrupted; None where there is none to go on with."""
        if (entry := _entry(self._runs, step)) is None:
            return None
        try:
            return what_is_missing(self._runs, entry.uid)
        except BeamlineError:  # it is measured anew
            return None

    def _assessed(self, step: _Step, missing: Missing | None) -> Assessment:
        session = self._session
        minimum = session.config.storage.minimum_free_gb
        try:
            return assess(self._plan(step, missing), session.endstation, session.data_dir, minimum)
        except (PlanError, BeamlineError) as error:
            raise BeamlineError(f"{step.said}: {error}") from error

    def _plan(self, step: _Step, missing: Missing | None) -> Any:
        parameters = missing.parameters if missing else step.parameters
        plan = find_plan(step.plan).function(self._session.endstation, **parameters)
        return continued(plan, missing.done) if missing else plan


def _has_succeeded(runs: Runs, entry: Entry) -> bool:
    stop = runs.load(entry).stop
    return stop is not None and stop.get("exit_status") == "success"


def _spectra(campaign: Campaign, path: Path) -> Iterator[_Step]:
    if "sample" in campaign.spectra:
        raise BeamlineError(f"{path}: spectra.sample: expected in the list samples")
    for sample in campaign.in_order:
        yield _step(campaign, 0, SPECTRA, sample, campaign.spectra)


def _then(campaign: Campaign, path: Path, regions: str) -> Iterator[_Step]:
    for sample in campaign.in_order:
        for part, table in enumerate(campaign.then, start=1):
            own = {name: value for name, value in table.items() if name != "plan"}
            if "sample" in own:
                raise BeamlineError(f"{path}: then: sample: expected in the list samples")
            if REGIONS in find_plan(table["plan"]).parameters and "energies" not in find_plan(table["plan"]).parameters:
                own = {REGIONS: regions} | own
            yield _step(campaign, part, table["plan"], sample, own)


def _step(campaign: Campaign, part: int, plan: str, sample: str, arguments: dict[str, Any]) -> _Step:
    known = find_plan(plan).parameters
    common = {name: value for name, value in (("sample", sample), ("edge", campaign.edge)) if name in known and value}
    block = CampaignPart(name=campaign.name, part=part, sample=sample)
    return _Step(block, plan, common | arguments)


def _calibrated(campaign: Campaign, runs: Runs, done: Sequence[str]) -> tuple[float, float]:
    """Calibrate the monochromator by a spectrum of the campaign; NaN where it does not say by what."""
    table = campaign.calibration
    if table is None:
        return math.nan, math.nan
    run = done[campaign.in_order.index(table.sample)] if table.sample in campaign.in_order else done[0]
    kept = newest_calibration(runs.data_dir)
    if kept is None or kept.run != run:
        calibrate(runs, run, **table.model_dump(exclude={"sample"}))
        kept = newest_calibration(runs.data_dir)
    assert kept is not None
    return kept.offset, kept.sigma
