"""The example of docs/extending.md: a technique of its own is measured, reduced live, summed up, drawn and exported."""

import sys
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from here import reducing_session

from beamline.acquire.session import measure
from beamline.endstation.config import load_config
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import summary_lines, summary_of
from beamline.storage.runs import Runs
from beamline.techniques import TECHNIQUES

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import flux_stability

    monkeypatch.setitem(TECHNIQUES, "flux_stability", flux_stability.FLUX_STABILITY)
    yield flux_stability
    sys.modules.pop("flux_stability")


def test_a_technique_of_ones_own_goes_all_the_way_from_plan_to_export(example, tmp_path):
    with closing(reducing_session(load_config(), tmp_path / "data")) as session:
        uid = measure(session, example.flux_stability(session.endstation, 40, 1.0))
        session.drain()
    runs = Runs(tmp_path / "data")
    summary = summary_of(runs, uid)
    assert summary["frames"] == 40
    assert summary["stability"]["status"] == "ok"
    assert abs(summary["stability"]["excess_variance"]) < 0.02**2
    ((label, text),) = summary_lines(summary)
    assert label == "flux"
    assert "beyond counting statistics" in text
    assert replay(runs, uid, config=None, source="log", keep=False)["equal"] is True
    assert "Flux of every point" in write_report(runs, uid, tmp_path / "report.html").read_text()
    (table,) = export(runs, uid, "columns", tmp_path / "text")
    assert np.loadtxt(table).shape == (40, 2)
    (path,) = export(runs, uid, "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as file:
        assert file["entry/flux/flux"].shape == (40,)
        assert file["entry/flux/flux"].attrs["units"] == "counts/s"


def test_the_excess_of_the_example_is_within_its_quoted_uncertainty(example):
    rng, truth, inside = np.random.default_rng(1), 0.01, 0
    for _ in range(200):
        step = example.Stability(example.StabilitySettings())
        for flux in 1e6 * (1 + truth * rng.standard_normal(40)):
            step.push({"i0": rng.poisson(flux), "dwell": 1.0})
        found = step.result
        inside += abs(found.excess_variance - truth**2) <= found.excess_variance_sigma
    assert 0.60 <= inside / 200 <= 0.76
