"""Lines of the simulated microscope: repeatable by seed, with drift, focus, and a beam that may be lost."""

import numpy as np
import pytest

from callbacks.stxm.alignment.registration import register
from simulated_devices.physics.microscope import (
    DARK_RATE,
    FOCUS_OFFSET,
    focal_length,
    probe_sigma,
)
from simulated_devices.physics.phantom import HALF_FIELD, STEP, phantom_of
from simulated_devices.physics.undulator import setting_for
from simulated_devices.world import SimulatedEndstation

SAMPLE = "LRNMC 311 mAh/g"
X = np.linspace(-1.8, 1.77, 120)


def world(seed=1, **options):
    made = SimulatedEndstation(seed=seed, **options)
    made.shutter_open, made.sample, made.energy = True, SAMPLE, 540.0
    made.microscope.zone_plate = focal_length(540.0)
    return made


def image(made, rows=X, dwell=1e-3):
    begin = made.clock.now()
    lines = [made.line(begin, X, y, dwell, point=False) for y in rows]
    return np.array([line[0] for line in lines]), np.array([line[1] for line in lines])


def test_a_closed_shutter_leaves_dark_counts():
    made = world()
    made.shutter_open = False
    counts, dwell = image(made, rows=X[:40], dwell=0.01)
    assert counts.sum() / dwell.sum() == pytest.approx(DARK_RATE, rel=0.1)


def test_the_same_seed_gives_the_same_counts_and_another_others():
    first, _ = image(world(3), rows=X[:4])
    again, _ = image(world(3), rows=X[:4])
    other, _ = image(world(4), rows=X[:4])
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_images_move_as_the_truth_says():
    made = world(2)
    begin = made.clock.now()
    first, dwell = image(made)
    made.clock.reach(begin + 2400.0)
    later, _ = image(made)
    moved = (
        made.truth.stxm.drift([begin + 2400.0], [made.microscope.zone_plate])
        - made.truth.stxm.drift([begin], [made.microscope.zone_plate])
    )[0]
    found = register(later / dwell, first / dwell)
    assert np.abs(moved).max() > 0.05
    np.testing.assert_allclose(found.shift, -moved / 0.03, atol=0.06)


def test_drift_is_slow_within_an_image():
    made = world(5)
    moments = made.clock.now() + np.arange(0.0, 3000.0, 20.0)
    drift = made.microscope.drift.at(moments) / 0.03
    assert np.abs(np.diff(drift, axis=1)).max() < 0.25
    assert np.ptp(drift, axis=1).max() > 3.0


def test_the_probe_is_smallest_in_focus_and_the_zone_plate_follows_the_energy():
    assert probe_sigma(0.0, 530.0) < probe_sigma(5.0, 530.0) < probe_sigma(20.0, 530.0)
    assert focal_length(545.0) - focal_length(520.0) == pytest.approx(160 * 0.045 * 25 / 1.23984)
    made = world()
    sharp, _ = image(made, rows=X[40:60])
    made.microscope.zone_plate += FOCUS_OFFSET + 40.0
    dull, _ = image(made, rows=X[40:60])
    assert np.diff(dull, axis=1).std() < 0.7 * np.diff(sharp, axis=1).std()


def test_light_is_lost_with_the_beam_in_the_middle_of_a_line():
    made = world(dump_after=0.1)
    counts, _, _, _ = made.line(made.clock.start, X, 0.0, 1e-3, point=False)
    assert counts[:30].min() > 1000
    assert counts[-30:].max() < 20


def test_the_maps_lie_where_the_stage_says():
    stage = made_of = phantom_of("LRNMC powder reference").thickness["pristine"]
    made = world()
    sampled = made.truth.stxm.sampled(made_of, np.array([-2.0, 2.0]), np.array([0.0]), np.zeros((1, 2)))
    assert sampled[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert sampled[0, 1] == stage.max()
    assert stage.shape[0] == round(2 * HALF_FIELD / STEP) + 1


def test_a_magnetised_film_transmits_the_two_helicities_differently_and_others_do_not():
    def transmitted(sample, polarisation, energy=707.7):
        made = SimulatedEndstation(seed=1, polarisation_scale=0.0)
        made.shutter_open, made.sample, made.energy = True, sample, energy
        made.undulator = setting_for(energy, polarisation)
        made.microscope.zone_plate = focal_length(energy)
        counts, *_ = made.line(made.clock.now(), np.linspace(0.5, 1.5, 50), 0.0, 0.01, point=False)
        return counts.mean()

    plus, minus = (transmitted("Fe film", each) for each in ("C+", "C-"))
    assert plus > 1.1 * minus  # it absorbs more of C- at L3
    assert transmitted("Fe film", "C+", 690.0) == pytest.approx(transmitted("Fe film", "C-", 690.0), rel=0.002)
    others = [transmitted("LRNMC powder reference", each) for each in ("C+", "C-")]
    assert others[0] == pytest.approx(others[1], rel=0.002)
