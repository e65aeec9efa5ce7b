"""The simulated endstation: honest noise, repeatable by seed, and a ring that loses its beam."""

import numpy as np
import pytest

from simulated_devices.world import SimulatedEndstation
from simulated_devices.world.endstation import I0_RATE


def world(**options):
    made = SimulatedEndstation(**{"seed": 1, "speed_up": 1e9, **options})
    made.shutter_open, made.sample = True, "LRNMC 311 mAh/g"
    return made


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


@pytest.mark.long
def test_the_ring_decays_is_topped_up_and_is_lost():
    made = world(dump_after=1000.0)
    moments = made.clock.start + np.arange(0.0, 3000.0, 10.0)
    current = made.ring.current(moments)
    assert current.max() <= 500.0
    assert (np.diff(current) > 1.0).sum() >= 4  # top-up steps
    assert (current[(moments >= made.clock.start + 1000) & (moments < made.clock.start + 2500)] == 0).all()
