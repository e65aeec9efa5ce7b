"""A session: what belongs to a run stays with it, however far behind the reduction is."""

import time

from beamline.acquire.session import Session, measure
from beamline.endstation.config import load_config
from beamline.operations.replay import replay
from beamline.storage.runs import Runs
from callbacks.xas.spectrum import XasPoint
from plans import xas


def test_a_run_keeps_the_settings_it_began_with_however_late_it_is_reduced(tmp_path, monkeypatch):
    push = XasPoint.push

    def late(self, event):
        time.sleep(0.02)
        return push(self, event)

    monkeypatch.setattr(XasPoint, "push", late)
    uids = []
    with Session(load_config(), tmp_path) as session:
        for partial_below in (0.7, 0.6):
            session.use_settings({"xas": {"partial_below": partial_below}})
            uids.append(measure(session, xas(session.endstation, "525:545:0.5", 0.1)))
        assert session.reduction.status().lag > 0  # else nothing is shown
        session.drain()
    runs = Runs(tmp_path)
    found = [runs.load_with_derived(uid)[1].settings["xas"]["partial_below"] for uid in uids]
    assert found == [0.7, 0.6]
    assert replay(runs, uids[0], config=None, source="log", keep=False)["equal"] is True
