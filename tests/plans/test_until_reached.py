"""Measuring until a precision is reached: how many frames, points and passes are taken, why, and what is kept of it."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import NullStatus
from ophyd.status import Status

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from callbacks.contract import MEASUREMENT, UNITS, DecisionKey, Key, Measurement, Reason, RixsOutput, Stream
from callbacks.incident_flux import IncidentFluxSettings
from plans.checks import estimate
from plans.errors import PlanError
from plans.measuring import point as point_module
from plans.rixs import rixs_map
from plans.stxm import stxm_stack
from plans.xas import xas

SMALL = "x=-1:1:0.5 y=0:0.2:0.1"


class Told:
    """A feedback that answers as it is told to; `answers` gives reached, mark and late of a question."""

    name, parent, flux = "feedback", None, IncidentFluxSettings()

    def __init__(self, answers, problem=""):
        self.answers, self.problem = answers, problem
        self.told = lambda number: number - 2  # where it is late
        self.asked, self.question = [], None

    def why_not(self, _of):
        return self.problem

    def set(self, question):
        self.question = question
        self.asked.append(question)
        return NullStatus()

    def trigger(self):
        return NullStatus()

    def read(self):
        number, answer = -1, {}
        if self.question is not None:
            number = self.question.number
            answer = dict(zip(("REACHED", "MARK", "LATE"), self.answers(self.question), strict=True))
        told = self.told(number) if answer.get("LATE") else number
        values = {"EVENT": number, "REACHED": math.nan, "MARK": "", "LATE": 0, "TOLD": told, "WAITED": 0.0} | answer
        return {str(DecisionKey[name]): {"value": value, "timestamp": 1.0} for name, value in values.items()}

    def describe(self):
        kinds = {float: "number", int: "integer", str: "string"}
        return {
            key: {"source": "test", "dtype": kinds[type(each["value"])], "shape": [], "units": UNITS[DecisionKey(key)]}
            for key, each in self.read().items()
        }

    def read_configuration(self):
        return {}

    describe_configuration = read_configuration


def with_feedback(endstation, told):
    return replace(endstation, feedback=told)


def measured(documents):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events("primary")]


def decisions(documents, *keys):
    return [tuple(event["data"][key] for key in keys) for event in documents.events("decision")]


def falling(documents, alone):
    """Answer with an error that falls with the root of the frames at the energy; `alone`: that of one frame."""

    def answer(question):
        energies = measured(documents)[: question.number]
        return alone(energies[-1]) / math.sqrt(energies.count(energies[-1])), "", 0

    return answer


def bright_at_521(energy):
    return 0.05 if energy == 521.0 else 0.1


def test_frames_are_added_at_each_energy_until_it_is_reached_or_the_most_are_taken(engine, documents, endstation):
    told = Told(falling(documents, lambda energy: {520.0: 0.1, 521.0: 0.03, 522.0: 0.5}[energy]))
    plan = rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, until_relative_error=0.05, most_frames=6)
    (uid,) = engine(plan)
    assert measured(documents) == [520.0] * 4 + [521.0] + [522.0] * 6
    assert {question.run for question in told.asked} == {uid}
    assert [question.number for question in told.asked] == list(range(1, 12))
    assert {(question.of, question.stream) for question in told.asked} == {
        (RixsOutput.ROW_RELATIVE_ERROR, Stream.FRAMES)
    }
    found = decisions(documents, DecisionKey.ENERGY_INDEX, DecisionKey.COUNT, DecisionKey.REASON)
    assert found[3:5] == [(0, 4, Reason.REACHED), (1, 1, Reason.REACHED)]
    assert found[-1] == (2, 6, Reason.MOST)
    assert {reason for _, _, reason in found[:3] + found[5:-1]} == {Reason.GO_ON}
    (descriptor,) = [doc for doc in documents.of("descriptor") if doc["name"] == "decision"]
    assert {key: each["units"] for key, each in descriptor["data_keys"].items()} == {
        str(key): UNITS[key] for key in DecisionKey
    }


def test_the_start_document_says_what_is_to_be_reached(engine, documents, endstation):
    told = Told(lambda _question: (0.01, "", 0))
    engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, until_relative_error=0.05, frames_per_energy=2))
    measurement = Measurement.model_validate(documents.of("start")[0][MEASUREMENT])
    assert measurement.points == 60
    precision = measurement.precision
    assert (precision.of, precision.asked, precision.least_points) == ("row_relative_error", 0.05, 6)
    assert (precision.least_time, precision.most_time) == (60.0, None)
    assert len(measured(documents)) == 6


def test_passes_go_over_the_energies_that_have_not_enough(engine, documents, endstation):
    told = Told(falling(documents, bright_at_521))
    options = {"until_relative_error": 0.06, "dark_frames": 0}
    engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, order="up_down", **options))
    assert measured(documents) == [520.0, 521.0, 522.0, 522.0, 520.0, 520.0, 522.0]
    documents.all.clear()
    engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, order="random", seed=3, **options))
    energies = measured(documents)
    assert sorted(energies[:3]) == [520.0, 521.0, 522.0]
    assert sorted(energies[3:5]) == sorted(energies[5:]) == [520.0, 522.0]


def test_when_the_time_is_spent_the_other_energies_get_the_least(engine, documents, endstation):
    told = Told(lambda _question: (0.1, "", 0))
    options = {"until_relative_error": 0.05, "most_time": 25.0, "dark_frames": 0}
    engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, **options))
    assert measured(documents) == [520.0] * 4 + [521.0, 522.0]  # the fourth ends 30 s after the first
    reasons = [reason for (reason,) in decisions(documents, DecisionKey.REASON)]
    assert reasons == [Reason.GO_ON] * 3 + [Reason.TIME] * 3


def test_with_the_reduction_late_the_most_are_taken_until_it_has_caught_up(engine, documents, endstation, caplog):
    def answer(question):  # late until it has come to frame 6, and always when it is not waited for
        known = question.number > 6 and question.patient
        return (0.01, "", 0) if known else (math.nan, "", 1)

    told = Told(answer)
    told.told = lambda number: 0 if number <= 6 else number - 1
    options = {"until_relative_error": 0.05, "most_frames": 3, "dark_frames": 0}
    engine(rixs_map(with_feedback(endstation, told), "520:523:1", 10.0, **options))
    assert measured(documents) == [520.0] * 3 + [521.0] * 3 + [522.0, 523.0]
    assert [question.patient for question in told.asked] == [True, False, False, True, True]
    found = decisions(documents, DecisionKey.ENERGY_INDEX, DecisionKey.REASON, DecisionKey.LATE)
    assert found == [(0, Reason.LATE, 1), (1, Reason.LATE, 1), (2, Reason.REACHED, 0), (3, Reason.REACHED, 0)]
    assert [message for message in caplog.messages if "reduction" in message] == [
        "the reduction is late: 3 frames are taken at energy 1 without looking",
        "the reduction is late: 3 frames are taken at energy 2 without looking",
        "the reduction has caught up: what it finds is looked at again",
    ]


def test_a_frame_that_the_reduction_marks_is_taken_again_at_once_and_once(engine, documents, endstation):
    marks = {2: "3 saturated pixels", 3: "3 saturated pixels", 5: "the frame cannot be read"}
    told = Told(lambda question: (math.nan, marks.get(question.number, ""), 0))
    engine(rixs_map(with_feedback(endstation, told), "520:523:1", 10.0, retake="at_once"))
    assert measured(documents) == [520.0, 521.0, 521.0, 522.0, 523.0, 523.0]
    found = decisions(documents, DecisionKey.ENERGY_INDEX, DecisionKey.REASON, DecisionKey.AGAIN)
    assert found == [(1, Reason.MARKED, marks[2]), (3, Reason.MARKED, marks[5])]


def test_a_frame_is_taken_again_by_the_thresholds_of_the_configuration(engine, documents, endstation, monkeypatch):
    read = endstation.scaler.read
    for partial_below, taken in ((0.8, 1), (0.9, 2)):
        counted = iter([1e6, 1e6, 0.85e6, 1e6, 1e6])
        monkeypatch.setattr(endstation.scaler, "read", lambda counted=counted: with_i0(read(), next(counted)))
        told = Told(lambda question: (math.nan, "", 0))
        told.flux = IncidentFluxSettings(partial_below=partial_below)
        documents.all.clear()
        engine(rixs_map(with_feedback(endstation, told), "520:523:1", 10.0, retake="at_once", dark_frames=0))
        assert measured(documents).count(522.0) == taken


def with_i0(reading, counts):
    return reading | {str(Key.I0): reading[Key.I0] | {"value": counts}}


def test_marked_frames_are_taken_again_at_the_end_and_do_not_count_as_one_of_the_most(engine, documents, endstation):
    told = Told(lambda question: (0.1, "2 saturated pixels" if question.number == 2 else "", 0))
    engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, retake="at_end"))
    assert measured(documents) == [520.0, 521.0, 522.0, 521.0]
    documents.all.clear()
    options = {"until_relative_error": 0.05, "most_frames": 2, "retake": "at_once"}
    engine(rixs_map(with_feedback(endstation, told), "520:521:1", 10.0, **options))
    assert measured(documents) == [520.0] * 3 + [521.0] * 2


def test_a_pause_while_the_plan_waits_for_the_reduction_loses_nothing(engine, documents, endstation):
    told = Told(falling(documents, bright_at_521))
    pauses = iter([False, True, False, True])

    def trigger():
        if not next(pauses, False):
            return NullStatus()
        threading.Thread(target=engine.request_pause, args=(False,)).start()
        return Status()  # the reduction takes its time

    told.trigger = trigger
    held = 0
    try:
        engine(rixs_map(with_feedback(endstation, told), "520:522:1", 10.0, until_relative_error=0.06))
    except RunEngineInterrupted:
        held += 1
        while engine.state == "paused":
            try:
                engine.resume()
            except RunEngineInterrupted:
                held += 1
    assert held == 2
    assert measured(documents) == [520.0] * 3 + [521.0] + [522.0] * 3
    assert [event["seq_num"] for event in documents.events("primary")] == list(range(1, 8))
    assert decisions(documents, DecisionKey.EVENT) == [(number,) for number in range(1, 8)]


def test_points_of_a_spectrum_are_added_until_the_chosen_yield_is_known(engine, documents, endstation):
    told = Told(falling(documents, bright_at_521))
    options = {"until_relative_error": 0.04, "of_yield": "tfy", "most_points": 5}
    engine(xas(with_feedback(endstation, told), "520:522:1", 2.0, **options))
    assert measured(documents) == [520.0] * 5 + [521.0] * 2 + [522.0] * 5
    assert {str(question.of) for question in told.asked} == {"tfy_relative_error"}
    assert decisions(documents, DecisionKey.REASON)[-1] == (Reason.MOST,)


def test_passes_over_a_stack_are_added_until_the_fractions_are_known(engine, documents, endstation):
    told = Told(lambda question: (0.1 / math.sqrt(question.number / 2), "", 0))
    options = {"until_fraction_sigma": 0.06, "most_passes": 4, "dark_lines": 0}
    engine(stxm_stack(with_feedback(endstation, told), "520:521:1", SMALL, **options))
    assert measured(documents) == ([520.0] * 3 + [521.0] * 3) * 3
    assert [(question.number, question.stream) for question in told.asked] == [
        (number, Stream.IMAGES) for number in (2, 4, 6)
    ]
    grid = Measurement.model_validate(documents.of("start")[0][MEASUREMENT]).grid
    assert grid.energies == [520.0, 521.0] * 4
    assert [grid.energies[grid.place(number)[0]] for number in (1, 6, 7, 18)] == [520.0, 521.0, 520.0, 521.0]
    found = decisions(documents, DecisionKey.ENERGY_INDEX, DecisionKey.COUNT, DecisionKey.REASON)
    assert found == [(-1, 1, Reason.GO_ON), (-1, 2, Reason.GO_ON), (-1, 3, Reason.REACHED)]


@pytest.mark.parametrize(
    ("plan", "changed", "message"),
    [
        (rixs_map, {"until_relative_error": 0.3}, "until_relative_error: 0.3, expected more than 0 and at most 0.2"),
        (rixs_map, {"until_relative_error": -1.0}, "until_relative_error: -1.0, expected more than 0"),
        (rixs_map, {"until_relative_error": math.nan}, "until_relative_error: nan, expected more than 0"),
        (rixs_map, {"frames_per_energy": 30}, "most_frames: 20, expected 30 or more"),
        (rixs_map, {"most_frames": 10**7}, "frames: 30000000, expected 1 to"),
        (rixs_map, {"most_time": -1.0}, "most_time: -1.0 is not positive"),
        (rixs_map, {"retake": "soon"}, "retake: 'soon' is none of no, at_once, at_end"),
        (xas, {"until_relative_error": 0.6}, "until_relative_error: 0.6, expected more than 0 and at most 0.5"),
        (xas, {"of_yield": "ey"}, "of_yield: 'ey' is none of tey, tfy"),
        (xas, {"most_points": 0}, "most_points: 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_reached_is_refused_before_anything_moves(simulator, endstation, plan, changed, message):
    told = with_feedback(endstation, Told(lambda _question: (0.01, "", 0)))
    arguments = {"regions": "520:522:1", "until_relative_error": 0.05} | changed
    arguments |= {"exposure_time": 10.0} if plan is rixs_map else {}
    with pytest.raises(PlanError) as error:
        simulator.simulate_plan(plan(told, **arguments))
    assert message in str(error.value)
    assert endstation.energy.history == endstation.shutter.history == []


def test_without_a_reduction_or_what_it_needs_a_precision_is_refused(simulator, endstation):
    with pytest.raises(PlanError, match="until_relative_error: needs the live reduction, and this endstation has none"):
        simulator.simulate_plan(xas(endstation, "520:522:1", until_relative_error=0.01))
    told = with_feedback(endstation, Told(None, problem="needs the references reduced and oxidised"))
    with pytest.raises(PlanError, match="until_fraction_sigma: needs the references reduced and oxidised"):
        simulator.simulate_plan(stxm_stack(told, "520:521:1", SMALL, until_fraction_sigma=0.05))


def test_the_dry_run_tells_the_least_and_the_most(tmp_path):
    told = Told(None)  # nobody asks it: nothing is set in a dry run
    endstation = with_feedback(build_endstation(load_config(), frames_dir=tmp_path / "frames"), told)
    options = {"until_relative_error": 0.05, "frames_per_energy": 2, "most_frames": 7, "dark_ttl": 1e6}
    found = estimate(rixs_map(endstation, "520:522:1", 10.0, **options), endstation)
    assert (found.points, found.least.points) == ({"dark": 3, "primary": 21}, {"dark": 3, "primary": 6})
    assert (found.counting_time, found.least.counting_time) == (240.0, 90.0)
    assert np.isclose(found.duration() - found.least.duration(), 15 * 11.0)
    assert "feedback" not in found.moves
    timed = estimate(rixs_map(endstation, "520:522:1", 10.0, **options, most_time=40.0), endstation)
    assert timed.points["primary"] == 5 + 2 + 2  # with a second a frame beside the exposure
    stack = estimate(stxm_stack(endstation, "520:521:1", SMALL, 0.1, until_fraction_sigma=0.05), endstation)
    assert (stack.lines["primary"], stack.least.lines["primary"]) == (30, 6)
    assert np.isclose(stack.least.counting_time, (6 + 3) * 0.5)
    plain = estimate(rixs_map(endstation, "520:522:1", 10.0), endstation)
    assert plain.least == plain
    assert told.asked == []


def test_a_point_that_is_measured_again_counts_once(engine, documents, endstation, monkeypatch):
    monkeypatch.setattr(point_module, "RECONNECT", 0.01)
    told = Told(falling(documents, bright_at_521))
    lost = iter([False, True])

    def lose():
        if next(lost, False):
            raise ConnectionError("gone")

    endstation.ccd.before_trigger = lose
    engine(rixs_map(with_feedback(endstation, told), "520:521:1", 10.0, until_relative_error=0.06))
    assert measured(documents) == [520.0] * 3 + [521.0]
    assert [question.number for question in told.asked] == [1, 2, 3, 4]
