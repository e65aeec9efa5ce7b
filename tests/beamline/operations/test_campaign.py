"""A campaign from one file: spectra, calibration, proposed energies, maps; interrupted, changed, gone on with."""

import threading

import numpy as np
import pytest
from command_line import answer

from beamline.acquire import session as acquiring
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.campaign import load_campaign, run_campaign
from beamline.operations.campaign_report import write_campaign
from beamline.operations.runs import summary_of
from beamline.storage.runs import Runs
from callbacks.contract import CAMPAIGN, CONTINUES, Stream
from simulated_devices.physics.samples import rutile_o_k

pytestmark = pytest.mark.long

SAMPLES = ["LRNMC 311 mAh/g", "LRNMC powder reference"]
TEXT = """
name = "two states"
samples = ["LRNMC 311 mAh/g", "LRNMC powder reference"]
references = ["LRNMC powder reference"]
edge = "O K"
channel = "drain"
[spectra]
regions = "520:526:1, 526:534:0.2, 534:550:0.5"
dwell = 4.0
[calibration]
reference = "rutile.txt"
[excitations]
below = [4.0]
above = [4.0]
step = 0.8
fine = 0.4
[[then]]
plan = "rixs_map"
exposure_time = 100.0
dark_frames = 1
order = "random"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    energy = np.arange(512.0, 562.0, 0.1)
    np.savetxt(tmp_path / "rutile.txt", np.column_stack([energy, rutile_o_k(energy)]))
    path = tmp_path / "two.toml"
    path.write_text(TEXT)
    return path


def test_a_campaign_proposes_waits_takes_changed_energies_goes_on_after_an_abort_and_reports(
    file, tmp_path, monkeypatch
):
    data, runs = tmp_path / "data", Runs(tmp_path / "data")
    shown, before = [], []
    outcome = run_campaign(
        file,
        config=None,
        data_dir=data,
        on_estimate=before.extend,
        on_proposal=shown.append,  # whose answer is no
    )
    assert [what for what, _ in before] == [
        f"{plan} of {sample}" for plan in ("xas", "rixs_map") for sample in reversed(SAMPLES)
    ]
    assert "were not agreed to" in outcome["ended"]
    assert [entry.start["plan_name"] for entry in runs.raw()] == ["xas", "xas"]
    assert [entry.start["measurement"]["sample"] for entry in runs.raw()] == SAMPLES[::-1]  # references first
    (proposal,) = shown
    assert abs(proposal.offset - 0.18) < 3 * proposal.offset_sigma
    lines = proposal.found[1].features
    assert {each.channel for each in proposal.found} == {"drain"}
    assert abs(lines[0].energy + proposal.offset - 529.0) < 0.05
    assert proposal.regions in proposal.path.read_text()
    proposal.path.write_text('regions = "526:532:1, 537"\n')

    measure = acquiring.measure_all
    aborted = []

    def abort_the_first_map(session, plan, **options):
        if not aborted and session.RE.md[CAMPAIGN]["part"] == 1:
            seen = []

            def count(name, doc):
                seen.append(name) if name == "event" else None
                if len(seen) == 6:
                    threading.Thread(target=session.RE.request_pause, args=(True,)).start()

            token = session.RE.subscribe(count)
            uids = measure(session, plan, **options)
            session.RE.unsubscribe(token)
            aborted.extend(uids)
            return uids
        return measure(session, plan, **options)

    monkeypatch.setattr("beamline.operations.campaign.measure_all", abort_the_first_map)
    with pytest.raises(BeamlineError, match="the campaign ended with it; repeated, it goes on with what is missing"):
        run_campaign(file, config=None, data_dir=data)
    again = []
    outcome = run_campaign(
        file, config=None, data_dir=data, on_estimate=again.extend, on_proposal=lambda one: one.changed
    )
    assert len(again) == 2
    maps = [runs.load(runs.find(uid)) for what, uid in outcome["runs"].items() if what.startswith("rixs_map")]
    assert maps[0].start[CONTINUES]["uids"] == aborted
    for run in maps:
        energies = sorted(run.streams[Stream.PRIMARY]["energy_setpoint"])
        assert energies == [526.0, 527.0, 528.0, 529.0, 530.0, 531.0, 532.0, 537.0]
    page = (tmp_path / "two.html").read_text()
    for said in (
        "Spectra and their features",
        "RIXS of LRNMC 311 mAh/g",
        "as changed in",
        "offset of the monochromator +0.1",
    ):
        assert said in page
    assert "LRNMC 311 mAh/g less LRNMC powder reference" in page
    part_of_one = [*aborted, maps[1].uid]
    write_campaign(tmp_path / "apart.html", runs, "apart", proposal, part_of_one)
    assert "the maps are not compared: calibrated maps: 1 of 2, expected" in (tmp_path / "apart.html").read_text()
    assert summary_of(runs, maps[0].uid)["problems"] == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"LRNMC powder reference"]\nedge',
            '"LRNMC powder"]\nedge',
            "references: 'LRNMC powder' is none of the samples",
        ),
        ('plan = "rixs_map"', 'plan = "rixs_mop"', "then: plan is 'rixs_mop', expected one of"),
        ("exposure_time = 100.0", "exposure_tome = 100.0", "rixs_map has no parameter 'exposure_tome'; did you mean"),
        ("exposure_time = 100.0", "exposure_time = -1.0", "rixs_map of LRNMC powder reference: exposure_time"),
        ('name = "two states"', "", "name: Field required"),
        ("dwell = 4.0", "dwell =", "two.toml: not valid TOML"),
        ('edge = "O K"', 'sampels = ["a"]', "unknown key 'sampels'; did you mean 'samples'?"),
        ('samples = ["LRNMC 311', 'samples = ["LRNMC 312', "LRNMC 312 mAh/g"),
    ],
)
def test_a_file_that_is_wrong_is_refused_before_anything_moves(file, tmp_path, old, new, said):
    file.write_text(TEXT.replace(old, new))
    found = answer("campaign", file, "--data-dir", tmp_path / "data")
    assert found.code == 1
    assert said in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert Runs(tmp_path / "data").raw() == []


def test_the_order_is_references_first(file):
    assert load_campaign(file).in_order == SAMPLES[::-1]
    assert load_config().endstation.name == "simulated"
