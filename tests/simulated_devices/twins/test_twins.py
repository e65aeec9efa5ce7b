"""Soft twins: limits, stops, and documents and frames that are valid while they are written."""

import threading

import event_model
import h5py
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.utils.errors import LimitError

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from beamline.endstation.devices import StoppedError
from callbacks.external import HDF5_DATASET


@pytest.fixture
def twins(tmp_path):
    config = load_config()
    config.endstation.shared.options["speed_up"] = 1e5
    return build_endstation(config, frames_dir=tmp_path)


def test_an_endstation_offers_the_truth_of_the_frames_its_camera_takes(twins):
    assert twins.truth is twins.energy.world.truth
    assert twins.truth.frames == {}
    twins.ccd.stage()
    twins.ccd.trigger().wait(60)
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
        status.wait(60)
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
