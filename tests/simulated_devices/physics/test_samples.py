"""The spectra of the simulated samples."""

import numpy as np
import pytest

from simulated_devices.physics import SAMPLES
from simulated_devices.physics.samples import IRON, IRON_ONSETS, IRON_STEPS, OXIDISED_ABSORPTION, OXIDISED_EMISSION
from simulated_devices.physics.undulator import Stokes


def test_the_oxidised_oxygen_grows_along_the_plateau():
    charged = [SAMPLES[f"LRNMC {capacity} mAh/g"] for capacity in (131, 179, 230, 257, 280, 311)]
    absorbed = [float(sample.absorption(OXIDISED_ABSORPTION)) for sample in charged]
    emitted = [float(sample.emission(OXIDISED_ABSORPTION, OXIDISED_EMISSION)) for sample in charged]
    assert absorbed == sorted(absorbed)
    assert emitted == sorted(emitted)
    assert emitted[-1] > 1.5 * emitted[0]
    assert float(SAMPLES["carbon"].absorption(529.0)) < 0.3 * absorbed[0]


def test_the_dichroism_of_the_iron_film_gives_its_moments_by_the_sum_rules():
    energy = np.arange(690.0, 760.0, 0.01)
    film = SAMPLES[IRON]
    plus, minus = (film.absorption(energy, Stokes(0.0, 0.0, sign)) for sign in (1.0, -1.0))
    difference = plus - minus
    steps = sum(
        share * (0.5 + np.arctan((energy - onset) / 0.4) / np.pi)
        for onset, share in zip(IRON_ONSETS, IRON_STEPS, strict=True)
    )
    r = np.trapezoid(plus + minus - 2 * (steps + 0.12 * (520.0 / energy) ** 3), energy)
    p, q = np.trapezoid(difference[energy < 714], energy[energy < 714]), np.trapezoid(difference, energy)
    assert -4 / 3 * q / r * 3.39 == pytest.approx(0.085, rel=0.01)
    assert -(6 * p - 4 * q) / r * 3.39 == pytest.approx(1.98, rel=0.01)
    assert difference[np.argmin(abs(energy - 707.9))] < -1.5
    assert difference[np.argmin(abs(energy - 720.9))] > 0.5


def test_a_sample_without_magnetisation_is_the_same_for_all_light():
    energy = np.arange(520.0, 560.0, 0.5)
    for light in (Stokes(-1.0, 0.0, 0.0), Stokes(0.0, 0.0, 1.0)):
        assert np.array_equal(SAMPLES["carbon"].absorption(energy, light), SAMPLES["carbon"].absorption(energy))
