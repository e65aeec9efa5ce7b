"""A session: what belongs to a run stays with it, however far behind the reduction is."""

import logging
import time
from contextlib import closing

import pytest
from here import reducing_session

from beamline.acquire.session import measure
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import summary_of
from beamline.storage.layout import Layout
from beamline.storage.runs import Runs
from callbacks.xas.spectrum import XasPoint, XasSpectrum
from plans import live_view, xas


@pytest.mark.long
def test_a_run_keeps_the_settings_it_began_with_however_late_it_is_reduced(tmp_path, monkeypatch):
    push = XasPoint.push

    def late(self, event):
        time.sleep(0.02)
        return push(self, event)

    monkeypatch.setattr(XasPoint, "push", late)
    uids = []
    with closing(reducing_session(load_config(), tmp_path)) as session:
        for partial_below in (0.7, 0.6):
            session.use_settings({"xas": {"partial_below": partial_below}})
            uids.append(measure(session, xas(session.endstation, "525:545:0.5", 0.1)))
        assert session.reduction.status().waiting > 0  # else nothing is shown
        session.drain()
    runs = Runs(tmp_path)
    found = [runs.load_with_derived(uid)[1].settings["xas"]["partial_below"] for uid in uids]
    assert found == [0.7, 0.6]
    assert replay(runs, uids[0], config=None, source="log", keep=False)["equal"] is True


def test_settings_that_no_reduction_takes_are_refused_before_a_run_begins(tmp_path):
    with closing(reducing_session(load_config(), tmp_path)) as session:
        before = session.RE.md["processing"]
        with pytest.raises(
            BeamlineError, match=r"processing\.xas: unknown key 'partial_bellow'; did you mean 'partial_below'"
        ):
            session.use_settings({"xas": {"partial_bellow": 0.7}})
        assert session.RE.md["processing"] == before == load_config().processing


def test_a_run_that_is_no_measurement_is_refused_in_one_line(tmp_path):
    with closing(reducing_session(load_config(), tmp_path)) as session:
        uid = measure(session, live_view(session.endstation, frames=2))
    for operation in (
        lambda runs: export(runs, uid, "nexus", None),
        lambda runs: replay(runs, uid, config=None, source="log", keep=False),
        lambda runs: write_report(runs, uid, None),
    ):
        with pytest.raises(BeamlineError, match="is of the plan 'live_view', which nothing reduces"):
            operation(Runs(tmp_path))


def test_a_step_without_a_result_is_named_among_the_problems(tmp_path, monkeypatch):
    monkeypatch.setattr(XasSpectrum, "result", property(lambda _: 1 / 0))
    with closing(reducing_session(load_config(), tmp_path)) as session:
        uid = measure(session, xas(session.endstation, "525:545:1", 0.1))
        session.drain()
    (mark,) = summary_of(Runs(tmp_path), uid)["marked_frames"]
    assert mark["reason"] == "xas_spectrum: no result: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("place", "why"), [("/dev/full", "No space left"), ("/dev/null/x", "Not a directory")])
def test_a_log_file_that_cannot_be_written_is_said_once_and_on_one_line(tmp_path, capsys, place, why):
    Layout(tmp_path).session_log.symlink_to(place)
    with closing(reducing_session(load_config(), tmp_path)):
        for _ in range(3):
            logging.getLogger("beamline").error("something to log")
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "beamline.log" in line]
    assert said.startswith(f"{tmp_path / 'beamline.log'}: nothing more is logged: ")
    assert why in said
