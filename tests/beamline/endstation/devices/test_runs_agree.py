"""The same plans on soft twins and on EPICS devices: runs of the same structure, reductions that agree within noise."""

import numpy as np
import pytest
from recorded import Documents

from beamline.acquire.session import Session, measure
from beamline.operations.demonstrate.techniques import simulated
from beamline.operations.replay import reduce_documents
from beamline.storage.results import collect
from callbacks.rixs.calibration import Calibration
from plans import rixs_map, stxm_line_spectrum, xas

pytestmark = pytest.mark.long

SAMPLE = "LRNMC 311 mAh/g"
PLANS = {
    "xas": lambda endstation: xas(endstation, "524:546:0.5", 1.0, sample=SAMPLE, edge="O K"),
    "flown": lambda endstation: xas(endstation, "524:546:0.5", 1.0, mode="fly", sweeps=4, sample=SAMPLE, edge="O K"),
    "rixs": lambda endstation: rixs_map(endstation, "526:544:1", 500.0, sample=SAMPLE, edge="O K"),
    "stxm": lambda endstation: stxm_line_spectrum(
        endstation, "520:546:1", "x=-1.8:1.8:0.03 y=0", 0.05, sample="LRNMC powder reference", edge="O K"
    ),
}
TOP_UPS = 4  # lines of both runs together in which the ring may be topped up
COMPARED = ("dtype", "dtype_numpy", "shape", "units", "external")


def taken_on(config, folder):
    """The documents of each plan on an endstation."""
    session = Session(config, folder)
    documents = Documents(session.RE)
    runs = {}
    try:
        session.endstation.coarse_x.set(0.0).wait(60)  # other tests may have left the served stage elsewhere
        session.endstation.coarse_y.set(0.0).wait(60)
        for name, plan in PLANS.items():
            documents.all.clear()
            measure(session, plan(session.endstation))
            runs[name] = list(documents.all)
    finally:
        session.close()
    return runs


@pytest.fixture(scope="module")
def on_twins(tmp_path_factory):
    return taken_on(simulated(2), tmp_path_factory.mktemp("twins"))  # another seed than the IOC's: other noise


@pytest.fixture(scope="module")
def on_epics(ioc, configured, tmp_path_factory):
    return taken_on(configured(), tmp_path_factory.mktemp("epics"))


@pytest.fixture(scope="module")
def reduced(on_twins, on_epics):
    return {name: [collect(reduce_documents(on[name], {})).result for on in (on_twins, on_epics)] for name in PLANS}


def structure(documents):
    """What a run is made of, without its numbers."""
    start = next(doc for name, doc in documents if name == "start")
    streams = {}
    for name, doc in documents:
        if name == "descriptor":
            streams[doc["name"]] = {
                "keys": {
                    key: {part: described.get(part) for part in COMPARED} for key, described in doc["data_keys"].items()
                },
                "devices": {device: sorted(keys) for device, keys in doc["object_keys"].items()},
                "configuration": {device: sorted(of["data"]) for device, of in doc["configuration"].items()},
                "hints": doc["hints"],
            }
    stop = documents[-1][1]
    kinds = {name for name, _ in documents}
    own = ("uid", "time", "scan_id", "endstation", "geometry", "versions")  # geometry: as the configuration has it
    return {key: value for key, value in start.items() if key not in own}, streams, stop["num_events"], kinds


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_makes_runs_of_the_same_structure_on_both(name, on_twins, on_epics):
    for twins, epics in zip(structure(on_twins[name]), structure(on_epics[name]), strict=True):
        assert twins == epics


def pull(reduced, value, sigma):
    """Differences of two reductions, in units of their uncertainty."""
    one, other = reduced
    difference = (one[value] - other[value]) / np.hypot(one[sigma], other[sigma])
    return difference[np.isfinite(difference)]


@pytest.mark.parametrize("kind", ["xas", "flown"])
def test_absorption_spectra_agree_within_their_noise(reduced, kind):
    for spectrum in ("tey_over_i0_spectrum", "tfy_over_i0_spectrum"):
        pulls = pull(reduced[kind], spectrum, f"{spectrum}_sigma")
        assert len(pulls) == 45
        assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))
        assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.4


def test_rixs_maps_and_their_calibrations_agree_within_their_noise(reduced):
    one, other = reduced["rixs"]
    assert one["calibration_status"] == other["calibration_status"] == "ok"
    assert one["curvature_status"] == other["curvature_status"] == "ok"
    found = [
        Calibration(
            *(each[f"calibration_{what}"] for what in ("parameters", "pivot", "covariance")), np.zeros(0), "ok", 0.0
        )
        for each in (one, other)
    ]
    at = found[0].pivot
    # A column stands for a place that depends on the curvature that was found.
    bends = (each["curvature_sigma"] * line.dispersion for each, line in zip((one, other), found, strict=True))
    sigma = np.hypot(np.hypot(*(each.sigma(at) for each in found)), np.hypot(*bends))
    assert abs(found[0].energy(at) - found[1].energy(at)) < 4 * sigma
    dispersions, sigmas = zip(*(each.dispersion_at(float(found[0].energy(at))) for each in found), strict=True)
    assert abs(dispersions[0] - dispersions[1]) < 4 * np.hypot(*sigmas)
    pulls = pull(reduced["rixs"], "pfy", "pfy_sigma")
    assert len(pulls) == 19
    assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))
    assert np.sqrt(np.mean(pulls**2)) < 1.6


def test_line_spectra_agree_within_their_noise(reduced):
    one, other = reduced["stxm"]
    assert one["i0_status"] == other["i0_status"] == "ok"
    thinner = np.min([each["optical_density"][-1] for each in (one, other)], axis=0)
    sample = thinner > 0.95 * np.nanmax(thinner)  # away from the edge, which drifts
    assert sample.sum() > 15
    means, variances = [], []
    for each in (one, other):
        means.append(each["optical_density"][:, sample].mean(axis=1))
        own = (each["optical_density_sigma"][:, sample] ** 2).sum(axis=1) / sample.sum() ** 2
        variances.append(own + (each["incident_sigma"] / each["incident_rate"]) ** 2)
    pulls = (means[0] - means[1]) / np.sqrt(sum(variances))
    assert len(pulls) == 27
    assert np.isfinite(pulls).all()
    # The ring is topped up every 180 s, by 0.6 %: in mid-line that is not seen in its current, which is read after it.
    sizes = np.sort(np.abs(pulls))
    assert np.sqrt(np.mean(sizes[:-TOP_UPS] ** 2)) < 1.5
    assert sizes[-1] < 12
