"""The simulated microscope: known absorption, an empty place, true counting statistics, drift and focus."""

import numpy as np
import pytest

from callbacks.stxm.alignment.registration import register
from callbacks.stxm.steps.lines import count_rate
from simulated_devices.physics.materials import MATERIALS, optical_density_per_um, step_per_um
from simulated_devices.physics.microscope import (
    DARK_RATE,
    DEAD_TIME,
    FOCUS_OFFSET,
    Drift,
    Microscope,
    focal_length,
    probe_sigma,
)
from simulated_devices.physics.phantom import EMPTY_BELOW, HALF_FIELD, STEP, phantom_of
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


def test_the_continuum_has_the_tabulated_step():
    low, high = optical_density_per_um("reduced", np.array([520.0, 570.0]))
    assert high - low * (520.0 / 570.0) ** 2.7 == pytest.approx(step_per_um("reduced", "O", "K"), rel=0.3)


def test_white_lines_stand_where_they_are_measured():
    energies = np.arange(630.0, 880.0, 0.1)
    density = optical_density_per_um("reduced", energies)
    for low, high, at in ((636.0, 648.0, 643.0), (774.0, 788.0, 780.5), (848.0, 862.0, 853.0)):
        inside = (energies > low) & (energies < high)
        assert energies[inside][density[inside].argmax()] == pytest.approx(at, abs=0.3)


def test_oxidised_oxygen_absorbs_at_530_8():
    energies = np.array([522.0, 530.8, 545.0])
    reduced, oxidised = (optical_density_per_um(name, energies) for name in ("reduced", "oxidised"))
    assert oxidised[1] > 1.5 * reduced[1]
    np.testing.assert_allclose(oxidised[[0, 2]], reduced[[0, 2]], rtol=0.01)


def test_an_energy_out_of_the_tables_is_refused():
    with pytest.raises(ValueError, match="known from 280 to 900 eV"):
        optical_density_per_um("binder", 1000.0)


def test_the_phantom_has_an_empty_side_and_particles_up_to_saturation():
    phantom = phantom_of(SAMPLE)
    axis = np.linspace(-HALF_FIELD, HALF_FIELD, phantom.thickness["reduced"].shape[1])
    for name in MATERIALS:
        assert phantom.thickness[name].min() >= 0.0
        assert not phantom.thickness[name][:, axis < EMPTY_BELOW].any()
    density = -np.log(phantom.transmission(540.0, 0.02))
    inside = density[120:480, 120:480]
    assert (inside < 1e-3).mean() > 0.15
    assert 0.3 < np.quantile(inside, 0.8) < 1.5
    assert inside.max() > 2.0


def test_cores_are_oxidised_and_surfaces_reduced():
    phantom = phantom_of(SAMPLE)
    fraction = phantom.reduced_fraction(0.01)
    oxide = phantom.thickness["reduced"] + phantom.thickness["oxidised"]
    assert np.nanmedian(fraction[oxide > 0.12]) < 0.6
    assert np.nanmedian(fraction[(oxide > 1e-4) & (oxide < 0.02)]) > 0.8
    pristine = phantom_of("LRNMC pristine")
    assert not pristine.thickness["oxidised"].any()


def test_counts_have_the_mean_and_variance_of_a_detector_with_dead_time():
    microscope = Microscope(Drift.by_chance(0.0, np.random.default_rng(0), 0.0))
    rate, dwell = np.full(20_000, 8e6), np.full(20_000, 1e-3)
    counts = microscope.count(rate, dwell, np.random.default_rng(1))
    seen = 8e6 + DARK_RATE
    assert counts.mean() == pytest.approx(seen * 1e-3 / (1 + seen * DEAD_TIME), rel=1e-3)
    assert counts.var() == pytest.approx(seen * 1e-3 / (1 + seen * DEAD_TIME) ** 3, rel=0.05)
    found = count_rate(counts, dwell, dead_time=DEAD_TIME, dark_rate=DARK_RATE)
    assert found.value.mean() == pytest.approx(8e6, rel=1e-3)


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
    made.clock._now = begin + 2400.0
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
    stage = made_of = phantom_of("LRNMC powder reference").thickness["reduced"]
    made = world()
    sampled = made.truth.stxm.sampled(made_of, np.array([-2.0, 2.0]), np.array([0.0]), np.zeros((1, 2)))
    assert sampled[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert sampled[0, 1] == stage.max()
    assert stage.shape[0] == round(2 * HALF_FIELD / STEP) + 1
