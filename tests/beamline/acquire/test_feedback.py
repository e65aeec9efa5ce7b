"""What the live reduction tells plans: of which run, and when it is late; what is measured until it is precise."""

import os
import signal
import time
from contextlib import closing

import numpy as np
import pytest
from frame_documents import FRAMES, raw_run, write_frames

from beamline.acquire.feedback import Feedback
from beamline.acquire.session import Session, measure
from beamline.endstation.config import load_config
from beamline.operations.demonstrate.techniques import REFERENCE_SAMPLES, SAMPLE, simulated
from beamline.operations.replay import reduce_documents
from beamline.operations.runs import decision_lines, summary_of
from beamline.processes.reduction import Reduction
from beamline.serve.checking import PlanChecks
from beamline.storage.layout import REDUCTION, Layout
from beamline.storage.log import find_log, read_log
from beamline.storage.recorder import Recorder
from beamline.storage.reductions import live_uid
from beamline.storage.results import collect, differences
from beamline.storage.runs import Runs
from callbacks.contract import DecisionKey, ImageOutput, Reason, RixsOutput, RixsResult, Stream, StxmResult, XasResult
from callbacks.rixs.repeats import relative_error
from plans import rixs_map, stxm_line_spectrum, stxm_stack, xas
from plans.endstation import Question

PATIENCE = 2.0  # s
QUESTION = Question("", 0, RixsOutput.ROW_RELATIVE_ERROR, mark=RixsOutput.FRAME_MARK)


def record(data_dir, documents):
    with closing(Recorder(data_dir)) as recorder:
        for name, doc in documents:
            recorder(name, doc)
    return documents[0][1]["uid"]


def reduce_all(data_dir):
    with closing(Reduction(data_dir)) as reduction:
        reduction.complete()


def answer(feedback, run, number, *, patient=True):
    """Ask, and give the answer by the names of `DecisionKey`, and the time it took, s."""
    feedback.set(Question(run, number, QUESTION.of, QUESTION.stream, QUESTION.mark, patient)).exception()
    begin = time.monotonic()
    status = feedback.trigger()
    status.wait(60)
    assert status.success
    reading = feedback.read()
    assert reading.keys() == feedback.describe().keys()
    return {key.name: reading[key]["value"] for key in DecisionKey if key in reading}, time.monotonic() - begin


@pytest.fixture
def feedback(tmp_path):
    feedback = Feedback(tmp_path, {}, patience=PATIENCE)
    feedback.patience_at_start = PATIENCE
    yield feedback
    feedback.close()


@pytest.fixture
def documents(tmp_path):
    return list(raw_run(write_frames(tmp_path / "frames.h5"), "stream"))


@pytest.mark.long
def test_it_waits_until_the_reduction_has_come_to_the_frame_or_says_that_it_is_late(
    tmp_path, feedback, documents, monkeypatch
):
    uid = record(tmp_path, documents)
    told, seconds = answer(feedback, uid, 2)
    assert (told["EVENT"], told["LATE"], told["TOLD"]) == (2, 1, -1)
    assert PATIENCE <= told["WAITED"] <= seconds < 60
    told, seconds = answer(feedback, uid, 2, patient=False)
    assert told["LATE"] == 1
    assert seconds < PATIENCE
    reduce_all(tmp_path)
    told, seconds = answer(feedback, uid, 2)
    assert (told["LATE"], told["TOLD"], told["MARK"]) == (0, FRAMES, "")
    assert seconds < PATIENCE
    derived = Runs(tmp_path).load_with_derived(uid)[1]
    errors = derived.frames[RixsOutput.ROW_RELATIVE_ERROR]
    assert told["REACHED"] == errors[1]
    assert answer(feedback, uid, FRAMES)[0]["REACHED"] == errors[-1]
    assert answer(feedback, uid, FRAMES + 1)[0]["LATE"] == 1


def test_what_was_told_of_a_run_before_is_not_taken_for_this_one(tmp_path, feedback, documents):
    before = record(tmp_path, documents)
    reduce_all(tmp_path)
    assert answer(feedback, before, 3)[0]["LATE"] == 0
    now = record(tmp_path, list(raw_run(tmp_path / "frames.h5", "stream")))
    told, _ = answer(feedback, now, 3)
    assert (told["LATE"], told["TOLD"]) == (1, -1)
    assert np.isnan(told["REACHED"])


def test_why_a_frame_is_of_no_use_is_told(tmp_path, feedback):
    documents = list(raw_run(write_frames(tmp_path / "frames.h5"), "stream", problems={3: "torn"}))
    uid = record(tmp_path, documents)
    reduce_all(tmp_path)
    problem = Runs(tmp_path).load_with_derived(uid)[1].frames["problem"][2]
    assert problem
    told, _ = answer(feedback, uid, 3)
    assert told["MARK"].startswith(str(problem))
    assert np.isnan(told["REACHED"])


def test_a_reduction_that_is_made_anew_is_read_anew(tmp_path, feedback, documents):
    uid = record(tmp_path, documents)
    reduce_all(tmp_path)
    first, _ = answer(feedback, uid, 2)
    find_log(tmp_path, live_uid(uid)).unlink()
    reduce_all(tmp_path)
    assert answer(feedback, uid, 2)[0]["REACHED"] == first["REACHED"]


def test_a_log_that_cannot_be_read_counts_as_late_and_never_fails(tmp_path, feedback, documents, caplog):
    uid = record(tmp_path, documents)
    Layout(tmp_path).log(live_uid(uid)).write_bytes(b"no log of documents\n" * 100)
    assert answer(feedback, uid, 2)[0]["LATE"] == 1
    assert any("what the reduction tells cannot be read" in message for message in caplog.messages)


def test_fractions_are_told_of_with_references_of_both_phases_only(feedback):
    why = feedback.why_not(ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA)
    assert why.startswith("needs the references reduced and oxidised in the configuration, which has none")
    spectrum = {"energy": (1.0, 2.0, 3.0, 4.0), "optical_density": (0.0, 1.0, 1.0, 1.0)}
    feedback.settings = {"stxm": {"chemistry": {"references": {"reduced": spectrum, "oxidised": spectrum}}}}
    assert feedback.why_not(ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA) == ""
    assert feedback.why_not(RixsOutput.ROW_RELATIVE_ERROR) == ""


# ---- on the simulated endstation


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    config = simulated(3, spectrograph_drift_scale=0.0)
    with Session(config, tmp_path_factory.mktemp("data"), in_process=True, followers=(REDUCTION,)) as session:
        yield session


def reduced(session, plan):
    """Measure and reduce a plan; give the raw run and its reduction, which equals the replay."""
    uid = measure(session, plan)
    assert session.drain() == ""
    raw, derived = Runs(session.data_dir).load_with_derived(uid)
    replay = collect(reduce_documents(list(read_log(find_log(session.data_dir, uid))), None))
    assert differences(derived, replay) == []
    return raw, derived


def decided(raw):
    """Give count and reason of each energy, as decided in the end."""
    table = raw.streams[Stream.DECISION]
    last = {index: row for row, index in enumerate(table[DecisionKey.ENERGY_INDEX])}
    rows = [last[index] for index in sorted(last)]
    return table[DecisionKey.COUNT][rows], table[DecisionKey.REASON][rows], table[DecisionKey.REACHED][rows]


@pytest.mark.long
def test_a_rixs_map_has_the_precision_that_was_asked_for_and_less_exposure_than_a_fixed_one(session):
    asked = 0.06
    plan = rixs_map(session.endstation, "528:532:1", 20.0, until_relative_error=asked, most_frames=60, dark_frames=2)
    raw, derived = reduced(session, plan)
    count, reason, reached = decided(raw)
    assert set(reason) == {Reason.REACHED}
    assert count.sum() == len(raw.streams["primary"])
    result = derived.read(RixsResult)
    found = np.array(
        [relative_error(*row, 0.0, columns=5) for row in zip(result.map, result.map_variance, strict=True)]
    )
    assert np.all(found < 1.02 * asked)
    many = count >= 6  # with fewer, the last frame takes it further
    assert many.sum() >= 3
    assert np.all(np.abs(found[many] / asked - 1) < 0.1)
    assert np.allclose(found, reached, rtol=0.03)
    assert count.sum() < 0.7 * len(count) * count.max()


@pytest.mark.long
def test_a_spectrum_has_the_precision_that_was_asked_for(session):
    asked = 0.005
    plan = xas(session.endstation, "525:545:1", 0.2, edge="O K", until_relative_error=asked, most_points=200)
    raw, derived = reduced(session, plan)
    count, reason, reached = decided(raw)
    assert set(reason) == {Reason.REACHED}
    result = derived.read(XasResult)
    found = result.spectra["tey"].over_i0_spectrum_sigma / result.spectra["tey"].over_i0_spectrum
    assert np.all(np.abs(found / asked - 1) < 0.1)
    assert np.allclose(found, reached)
    assert count.sum() == len(raw.streams["primary"])
    assert count.sum() < 0.6 * len(count) * count.max()


@pytest.mark.long
def test_a_stack_has_the_precision_that_was_asked_for_by_passes_that_are_added_up(session):
    energies, line = "520:526:2, 526:533:0.5, 533:545:2", "x=-1.8:1.77:0.03 y=0"
    references = {
        name: measure(session, stxm_line_spectrum(session.endstation, energies, line, 0.3, sample=sample, edge="O K"))
        for name, sample in REFERENCE_SAMPLES.items()
    }
    session.drain()
    session.use_references(references)
    field, options = "x=-1.6:1.04:0.06 y=-0.6:0.42:0.06", {"sample": SAMPLE, "edge": "O K"}
    asked = 0.083
    plan = stxm_stack(
        session.endstation, energies, field, 0.0001, until_fraction_sigma=asked, most_passes=12, **options
    )
    raw, derived = reduced(session, plan)
    (count,), (reason,), (reached,) = decided(raw)
    assert (count, reason) == (3, Reason.REACHED)
    result = derived.read(StxmResult)
    assert result.chemical_status == "ok"
    assert len(result.stack_energy) == 3 * 24
    found = np.median(result.reduced_fraction_sigma[np.isfinite(result.reduced_fraction)])
    assert abs(found / asked - 1) < 0.1
    assert abs(reached / asked - 1) < 0.1
    # Each pass adds what it should: the variance is inverse to their number.
    by_pass = raw.streams[Stream.DECISION][DecisionKey.REACHED]
    assert np.allclose(by_pass * np.sqrt(np.arange(1, 4)), by_pass[0], rtol=0.06)
    assert len(raw.streams["primary"]) == 3 * 24 * 18
    with pytest.raises(ValueError, match="of a grid with"):
        raw.measurement.grid.place(raw.measurement.points + 1)
    assert summary_of(Runs(session.data_dir), raw.uid)["problems"] == []


@pytest.mark.long
def test_with_the_reduction_killed_the_rest_is_fixed_and_said_to_be(tmp_path, caplog):
    with Session(load_config(), tmp_path, followers=(REDUCTION,)) as session:
        killed = []

        def kill(name, doc):
            if name == "event" and doc["data"].get(DecisionKey.ENERGY_INDEX) == 1 and not killed:
                session.reduction._restart = lambda _code: False  # noqa: SLF001 - it shall not come back in time
                killed.append(os.kill(session.reduction.pid, signal.SIGKILL))

        session.endstation.feedback.patience = 1.0
        session.RE.subscribe(kill)
        plan = xas(session.endstation, "528:533:1", 1.0, until_relative_error=0.05, most_points=3)
        uid = measure(session, plan)
    raw, _ = Runs(tmp_path).load_with_derived(uid)
    _, reason, _ = decided(raw)
    assert killed
    assert list(reason) == [Reason.REACHED] * 2 + [Reason.LATE] * 4
    assert len(raw.streams["primary"]) == 2 + 4 * 3
    waited = raw.streams[Stream.DECISION][DecisionKey.WAITED]
    assert 1.0 <= waited[2] < 3
    assert np.all(waited[3:] < 0.5)
    assert "the reduction is late: 3 points are taken at energy 3 without looking" in caplog.messages
    lines = dict(decision_lines(summary_of(Runs(tmp_path), uid)))
    assert lines["precision"].startswith("the reduction was late, so that the most were taken without looking, at 4")


def test_the_queue_and_a_dry_run_say_the_least_and_the_most_and_refuse_what_cannot_be_reached(tmp_path):
    checks = PlanChecks(load_config(), tmp_path)
    asked = [("regions", "528:533:1"), ("exposure-time", "60"), ("until-relative-error", "0.05"), ("most-frames", "10")]
    parameters, assessment = checks.check("rixs_map", asked)
    assert parameters["until_relative_error"] == 0.05
    assert assessment.text().startswith("6 to 60 frames and 3 dark frames, 9.0 min to 1.1 h of exposure, about")
    assert "at the latest" in assessment.text()
    assert assessment.as_dict()["least_points"]["primary"] == 6
    assert assessment.least_duration < assessment.duration
    stack = [("energies", "528:533:1"), ("regions", "x=-1:1:0.5 y=0:1:0.5"), ("until-fraction-sigma", "0.05")]
    with pytest.raises(Exception, match="until_fraction_sigma: needs the references reduced and oxidised"):
        checks.check("stxm_stack", stack)
