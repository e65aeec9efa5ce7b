"""The simulated endstation and its soft twins: honest noise, repeatable by seed, and devices that behave."""

import threading

import event_model
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.utils.errors import LimitError

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from beamline.endstation.devices.task import StoppedError
from callbacks.external import HDF5_DATASET
from simulated_devices.physics.samples import OXIDISED_ABSORPTION, OXIDISED_EMISSION, SAMPLES
from simulated_devices.world import SimulatedEndstation
from simulated_devices.world.endstation import I0_RATE


def world(**options):
    made = SimulatedEndstation(**{"seed": 1, "speed_up": 1e9, **options})
    made.shutter_open, made.sample = True, "LRNMC 311 mAh/g"
    return made


@pytest.fixture
def twins(tmp_path):
    config = load_config()
    config.endstation.shared.options["speed_up"] = 1e5
    return build_endstation(config, frames_dir=tmp_path)


def test_the_oxidised_oxygen_grows_along_the_plateau():
    charged = [SAMPLES[f"LRNMC {capacity} mAh/g"] for capacity in (131, 179, 230, 257, 280, 311)]
    absorbed = [float(sample.absorption(OXIDISED_ABSORPTION)) for sample in charged]
    emitted = [float(sample.emission(OXIDISED_ABSORPTION, OXIDISED_EMISSION)) for sample in charged]
    assert absorbed == sorted(absorbed)
    assert emitted == sorted(emitted)
    assert emitted[-1] > 1.5 * emitted[0]
    assert float(SAMPLES["carbon"].absorption(529.0)) < 0.3 * absorbed[0]


def test_counts_scatter_as_poisson_and_the_monitor_do():
    made = world()
    begin = made.clock.now()
    counts = [made.counts(begin, begin + 1.0)["i0"] for _ in range(400)]
    mean = np.mean(counts)
    assert mean == pytest.approx(I0_RATE * made.dose(begin, begin + 1.0), rel=0.01)
    assert np.var(counts) == pytest.approx(mean + (0.0005 * mean) ** 2, rel=0.25)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others():
    frames = []
    for seed in (1, 1, 2):
        made = world(seed=seed)
        made.energy = 531.0
        frames.append(made.frame(made.clock.start, made.clock.start + 300.0))
    np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != frames[2]).any()


def test_a_closed_shutter_gives_a_dark_frame_and_no_elastic_scale_no_line():
    made = world()
    made.shutter_open = False
    dark = made.frame(made.clock.start, made.clock.start + 300.0)
    assert np.median(dark) == pytest.approx(340.0, abs=2.0)
    assert made.truth.frames[0].photons.sum() == 0
    weak = world(elastic_scale=0.0, energy_offset=0.0)
    weak.energy = 545.0
    weak.frame(weak.clock.start, weak.clock.start + 300.0)
    line = round(float(weak.truth.spectrograph.pixel(545.0)))
    assert weak.truth.frames[0].photons[:, line - 8 : line + 9].sum() < 10


def test_the_ring_decays_is_topped_up_and_is_lost():
    made = world(dump_after=1000.0)
    moments = made.clock.start + np.arange(0.0, 3000.0, 10.0)
    current = made.ring.current(moments)
    assert current.max() <= 500.0
    assert (np.diff(current) > 1.0).sum() >= 4  # top-up steps
    assert (current[(moments >= made.clock.start + 1000) & (moments < made.clock.start + 2500)] == 0).all()


def test_an_endstation_offers_the_truth_of_the_frames_its_camera_takes(twins):
    assert twins.truth is twins.energy.world.truth
    assert twins.truth.frames == {}
    twins.ccd.stage()
    twins.ccd.trigger().wait(5)
    twins.ccd.unstage()
    assert twins.truth.frames[0].expected_photons == 0.0  # the shutter is closed
    assert twins.truth.emission_energy(1023.5) == pytest.approx(525.0 - twins.truth.energy_offset)


def test_limits_hold_before_anything_moves(twins):
    with pytest.raises(LimitError, match="energy: 5000 eV is outside its limits 200 to 1500 eV"):
        twins.energy.set(5000.0)
    with pytest.raises(ValueError, match="holds no 'gold'"):
        twins.sample.set("gold")
    assert twins.energy.position == pytest.approx(530.0)


def test_stopped_means_stopped_and_not_done(twins):
    twins.energy.speed = 1e-4
    status = twins.energy.set(531.0)
    threading.Timer(0.05, twins.energy.stop).start()
    with pytest.raises(StoppedError):
        status.wait(5)
    assert not status.success
    assert twins.energy.position == pytest.approx(530.0)


def test_documents_are_valid_and_frames_are_readable_while_they_are_written(twins):
    documents, seen = [], []

    def keep(name, doc):
        documents.append((name, doc))
        if name == "event":
            resource = next(doc for name, doc in documents if name == "resource")
            with h5py.File(f"{resource['root']}/{resource['resource_path']}", "r", swmr=True) as file:
                seen.append(file[HDF5_DATASET].shape)

    engine = RunEngine()
    engine.subscribe(keep)
    engine(count([twins.ccd, twins.scaler, twins.ring, twins.energy], num=3))
    assert seen == [(1, 64, 2048), (2, 64, 2048), (3, 64, 2048)]
    for name, doc in documents:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    descriptor = next(doc for name, doc in documents if name == "descriptor")
    assert {"energy", "i0", "tey", "tfy", "dwell", "ring_current", "ccd_image"} <= descriptor["data_keys"].keys()
    assert descriptor["data_keys"]["i0"]["units"] == "counts"
    assert descriptor["data_keys"]["energy"]["units"] == "eV"
    assert descriptor["configuration"]["ccd"]["data"]["ccd_counts_per_ev"] == pytest.approx(0.21)
