"""Devices without a role, of ophyd and ophyd-async: read, monitored, moved; kept through reduction and export."""

import h5py
import numpy as np
import pytest

from beamline.acquire.session import Session, measure_all
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.check import check
from beamline.operations.exporting import export
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import added_lines, summary_of
from beamline.storage.layout import REDUCTION
from beamline.storage.runs import Runs
from callbacks.contract import ADDED, Stream
from plans import xas

XAS_WITH_A_CRYOSTAT = """
[endstation]
name = "XAS with a cryostat"

[endstation.shared]
class = "simulated_devices.world.SimulatedEndstation"
options = { seed = 1, speed_up = 1000.0 }

[devices]
mono = { class = "simulated_devices.twins.Energy", role = "energy" }
shutter = { class = "simulated_devices.twins.Shutter" }
scaler = { class = "simulated_devices.twins.Scaler", baseline = false }
cryostat = { class = "added_devices.Cryostat", points = true, monitor = true }
thermometer = { class = "added_devices.Thermometer", baseline = true }
"""
TEMPERATURE = "cryostat-temperature"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "endstation.toml"
    path.write_text(XAS_WITH_A_CRYOSTAT)
    return path


@pytest.fixture
def measured(file, tmp_path):
    """A spectrum at three temperatures."""
    with Session(load_config(file), tmp_path / "data", in_process=True, followers=[REDUCTION]) as session:
        plan = xas(session.endstation, "520:526:1, 526:550:0.5", 1.0, edge="O K", scan="cryostat=20:80:30")
        uids = measure_all(session, plan)
        assert session.drain() == ""
    return Runs(tmp_path / "data"), uids


@pytest.mark.long
def test_what_they_read_is_kept_with_each_point_and_goes_into_the_reduction(measured):
    runs, uids = measured
    assert len(uids) == 3
    for uid, temperature in zip(uids, (20, 50, 80), strict=True):
        raw, derived = runs.load_with_derived(uid)
        primary, baseline = raw.streams[Stream.PRIMARY], raw.streams[Stream.BASELINE]
        assert set(primary[TEMPERATURE]) == {temperature}
        assert primary.units[TEMPERATURE] == "K"
        assert list(baseline["thermometer_holder"]) == [296.0, 296.0]
        assert raw.streams[f"{TEMPERATURE}_monitor"][TEMPERATURE][0] == temperature
        assert raw.start[ADDED] == {
            "cryostat": [TEMPERATURE],
            "thermometer": ["thermometer_holder", "thermometer_pump"],
        }
        np.testing.assert_array_equal(derived.frames[TEMPERATURE], primary[TEMPERATURE])
        assert derived.frames.units[TEMPERATURE] == "K"
        summary = summary_of(runs, uid)
        assert dict(added_lines(summary)) == {
            TEMPERATURE: f"{temperature} K",
            "thermometer_holder": "296",
            "thermometer_pump": "on",
        }
        assert summary["series"]["position"] == temperature


@pytest.mark.long
def test_runs_with_them_are_replayed_reported_and_exported(measured, tmp_path):
    runs, uids = measured
    assert replay(runs, uids[1], config=None, source="log", keep=False)["equal"]
    page = write_report(runs, uids[1], tmp_path / "report.html").read_text()
    assert "TEY of the series" in page
    (path,) = export(runs, uids[1], "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as file:
        kept = file["entry/raw_primary"][TEMPERATURE]
        assert set(kept[()]) == {50.0}
        assert kept.attrs["units"] == "K"


def test_check_names_them_and_what_the_others_lack(file):
    outcome = check(file)
    assert outcome["ok"]
    assert [answer["device"] for answer in outcome["devices"]] == [
        "energy",
        "shutter",
        "scaler",
        "cryostat",
        "thermometer",
    ]
    assert {name: told["lacks"] for name, told in outcome["techniques"].items()} == {
        "xas": [],
        "rixs": ["ccd"],
        "stxm": ["scanner"],
    }


def test_one_that_does_not_answer_is_named(file, tmp_path):
    file.write_text(XAS_WITH_A_CRYOSTAT.replace("added_devices.Cryostat", "added_devices.Missing"))
    with pytest.raises(BeamlineError, match="cryostat: is not connected: no answer from ca://COLD:T"):
        Session(load_config(file), tmp_path / "data", in_process=True, followers=[REDUCTION])


def test_what_cannot_be_monitored_is_named(file, tmp_path):
    file.write_text(f'{XAS_WITH_A_CRYOSTAT}nothing = {{ class = "{__name__}.Nothing", monitor = true }}\n')
    with pytest.raises(BeamlineError, match=r"devices\.nothing: nothing of it can be monitored"):
        Session(load_config(file), tmp_path / "data", in_process=True, followers=[REDUCTION])


class Nothing:
    """Reads nothing."""

    parent = None

    def __init__(self, prefix="", *, name):
        self.name = name

    def read(self):
        return {}

    describe = read_configuration = describe_configuration = read
