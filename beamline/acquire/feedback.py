"""What the live reduction tells plans: a soft device that follows the derived log of the run under way."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bluesky.protocols import Status

from beamline.storage.follow import LogChanges
from beamline.storage.layout import Layout
from beamline.storage.log import LogReader
from beamline.storage.reductions import live_uid
from callbacks.contract import UNITS, DecisionKey, ImageOutput, Output, Stream
from callbacks.incident_flux import IncidentFluxSettings
from callbacks.pipelines import RIXS, STXM
from callbacks.rixs.normalisation import NormalisationSettings
from callbacks.stxm.unmixing.references import ChemistrySettings
from plans.endstation import Endstation, Question
from plans.measuring.held import AllDone

logger = logging.getLogger(__name__)

Settings = Mapping[str, Mapping[str, Any]]

# s. A reduction that died is started again after half a second, needs some four to import what it works with, and
# reduces the run once more from its beginning, a frame in some 50 ms: with 500 frames it is back after 30 s.
PATIENCE = 30.0
# s, before it has told anything of the run: one that is started with the session needs 25 s on a busy computer (load 5
# on two cores), and compiles its arithmetic the first time.
PATIENCE_AT_START = 120.0
NUMBER_OF_RAW = {Stream.FRAMES: "frame", Stream.IMAGES: "image"}  # data key of each stream that numbers its events
NOTHING: dict[DecisionKey, Any] = {
    DecisionKey.EVENT: -1,
    DecisionKey.REACHED: math.nan,
    DecisionKey.MARK: "",
    DecisionKey.LATE: 0,
    DecisionKey.TOLD: -1,
    DecisionKey.WAITED: 0.0,
}


def with_feedback(endstation: Endstation, data_dir: Path, settings: Settings) -> Endstation:
    """Give an endstation with what the live reduction in a data folder tells; parameters as of `Feedback`."""
    return dataclasses.replace(endstation, feedback=Feedback(data_dir, settings))


class Feedback:
    """What the live reduction has told of the run under way; see `plans.endstation.Feedback`.

    It follows the log of the derived run, whoever writes it: a process of its own, or a thread of this one. Set to a
    question, its trigger is done when the reduction has come to the frame, point or image that is asked for, or after
    a patience, with ``decision_late`` 1; it never fails. What is told of another run is not looked at.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    settings : mapping
        Of the pipelines, by name, that runs are reduced with.
    patience : float
        s to wait for the reduction at most.

    Attributes
    ----------
    settings, patience
        May be set to others, for the runs that begin from then on.
    patience_at_start : float
        s that are waited for the first answer of a run.
    """

    name = "feedback"
    parent = None

    def __init__(self, data_dir: Path, settings: Settings, *, patience: float = PATIENCE) -> None:
        self.settings = settings
        self.patience = patience
        self.patience_at_start = max(patience, PATIENCE_AT_START)
        self._data_dir = data_dir
        self._question: Question | None = None
        self._told: _Told | None = None
        self._answer = NOTHING
        self._one = threading.Lock()  # looks at the log at a time: a wait that was cut short may still look

    @property
    def flux(self) -> IncidentFluxSettings:
        """When the I0 of a RIXS frame counts as lost, partial or high, as the reduction has it."""
        return NormalisationSettings.model_validate(self.settings.get(RIXS.name, {}).get("normalisation", {}))

    def why_not(self, of: Output) -> str:
        """Say why the reduction will not tell of an output, whatever is measured; empty where it will."""
        if of is not ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA:
            return ""
        chemistry = ChemistrySettings.model_validate(self.settings.get(STXM.name, {}).get("chemistry", {}))
        if chemistry.complete:
            return ""
        names = ", ".join(chemistry.references) or "none"
        return (
            f"needs the references {chemistry.reduced} and {chemistry.oxidised} in the configuration, which has"
            f" {names}: without both, fractions are found when the stack is complete"
        )

    def set(self, question: Question) -> Status:
        """Ask a question, which the next trigger waits to be answered."""
        self._question, self._answer = question, NOTHING
        done: Status = AllDone([])
        return done

    def trigger(self) -> Status:
        """Wait until the reduction has come to what is asked for, or until the patience ends."""
        from ophyd.status import Status as OphydStatus  # noqa: PLC0415 - ophyd begins EPICS, before it is told where

        status: Any = OphydStatus(timeout=None)
        question, begin = self._question, time.monotonic()
        threading.Thread(target=self._answer_it, args=(question, begin, status), name="feedback", daemon=True).start()
        result: Status = status
        return result

    def read(self) -> dict[str, Any]:
        """Give the answer, or that nothing was asked."""
        return {str(key): {"value": value, "timestamp": time.time()} for key, value in self._answer.items()}

    def describe(self) -> dict[str, Any]:
        """Describe the data keys."""
        kinds = {float: "number", int: "integer", str: "string"}
        return {
            str(key): {"source": "reduction", "dtype": kinds[type(value)], "shape": [], "units": UNITS[key]}
            for key, value in NOTHING.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        """Give the patience."""
        return {"feedback_patience": {"value": self.patience, "timestamp": time.time()}}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the patience."""
        return {"feedback_patience": {"source": "feedback", "dtype": "number", "shape": [], "units": "s"}}

    def close(self) -> None:
        """Close the log that is followed; the next question opens it again."""
        with self._one:
            if self._told is not None:
                self._told.close()

    def _answer_it(self, question: Question | None, begin: float, status: Any) -> None:
        try:
            if question is not None:
                self._wait_for(question, begin)
        except Exception:
            logger.exception("what the reduction tells cannot be read: it counts as late")
            self._give(question, {DecisionKey.LATE: 1, DecisionKey.WAITED: time.monotonic() - begin})
        finally:
            status.set_finished()

    def _wait_for(self, question: Question, begin: float) -> None:
        with LogChanges(self._data_dir) as changes:  # before the log is looked at, so that nothing is missed
            while True:
                with self._one:
                    told = self._told_for(question)
                    told.look()
                    found, newest = told.answer(question.number), told.newest
                waited = time.monotonic() - begin
                patience = self.patience if newest >= 0 else self.patience_at_start
                if found is not None or waited >= patience or not question.patient or self._question is not question:
                    break
                changes.wait()
        late = {DecisionKey.LATE: int(found is None), DecisionKey.TOLD: newest, DecisionKey.WAITED: waited}
        self._give(question, late | (found or {}))

    def _told_for(self, question: Question) -> _Told:
        """Give what follows the log of the run that is asked for, and keeps what is asked of it."""
        about = dataclasses.replace(question, number=0, patient=True)
        if self._told is None or self._told.about != about:
            if self._told is not None:
                self._told.close()
            self._told = _Told(self._data_dir, about)
        return self._told

    def _give(self, question: Question | None, answer: dict[DecisionKey, Any]) -> None:
        if question is not None and question is self._question:
            self._answer = NOTHING | {DecisionKey.EVENT: question.number} | answer


class _Told:
    """What the derived log of a run has told so far of one output: a number and a mark for each event.

    Parameters
    ----------
    data_dir : Path
    about : Question
        Whose number does not matter.
    """

    def __init__(self, data_dir: Path, about: Question) -> None:
        self.about = about
        self._data_dir = data_dir
        self._reader: LogReader | None = None
        self._forget()

    def _forget(self) -> None:
        self._descriptor = ""  # of the stream
        self._events: dict[int, tuple[float, str]] = {}
        self.newest = -1  # number that was told of; -1: none

    def look(self) -> None:
        """Read what was written since; all of it where the reduction is made anew."""
        if self._reader is not None and self._reader.is_replaced:
            self.close()
        if self._reader is None:
            path = Layout(self._data_dir).find_log(live_uid(self.about.run))
            if path is None:
                return
            self._forget()
            self._reader = LogReader(path)
        for name, doc in self._reader:
            if name == "descriptor" and doc["name"] == self.about.stream:
                self._descriptor = doc["uid"]
            elif name == "event" and doc["descriptor"] == self._descriptor:
                self._take(doc["data"])

    def answer(self, number: int) -> dict[DecisionKey, Any] | None:
        """Give what was told of a frame, point or image; None where nothing was."""
        if number not in self._events:
            return None
        value, mark = self._events[number]
        return {DecisionKey.REACHED: value, DecisionKey.MARK: mark}

    def close(self) -> None:
        """Close the log."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _take(self, data: Mapping[str, Any]) -> None:
        mark = "" if self.about.mark is None else str(data.get(self.about.mark, ""))
        self.newest = int(data[NUMBER_OF_RAW[self.about.stream]])
        marks = "; ".join(filter(None, (str(data["problem"]), mark)))
        self._events[self.newest] = float(data.get(self.about.of, math.nan)), marks
