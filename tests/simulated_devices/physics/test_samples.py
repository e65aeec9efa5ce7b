"""The spectra of the simulated samples."""

import numpy as np
import pytest
import xraydb

from simulated_devices.physics import SAMPLES
from simulated_devices.physics.metal_edges import metal_l
from simulated_devices.physics.samples import (
    IRON,
    IRON_ONSETS,
    IRON_STEPS,
    OXIDISED_ABSORPTION,
    OXIDISED_EMISSION,
    sample_called,
)
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


def test_nickel_and_cobalt_are_oxidised_before_the_plateau_and_manganese_is_not():
    pristine, slope, plateau, charged = (
        sample_called(name) for name in ("LRNMC pristine", "LRNMC 60 mAh/g", "LRNMC 131 mAh/g", "LRNMC 311 mAh/g")
    )
    manganese, cobalt, nickel = (np.arange(low, high, 0.02) for low, high in ((639, 648), (778, 785), (851, 858)))
    for energy, before, after in ((cobalt, 780.5, 781.3), (nickel, 853.0, 855.3)):
        highest = [float(energy[each.absorption(energy).argmax()]) for each in (pristine, plateau, charged)]
        assert highest == pytest.approx([before, after, after], abs=0.05)
        half = 0.5 * (pristine.absorption(energy) + plateau.absorption(energy))
        np.testing.assert_allclose(slope.absorption(energy)[50:-50], half[50:-50], rtol=0.02)
    oxygen = [each.oxygen_absorption(manganese) for each in (pristine, charged)]
    lines = [each.absorption(manganese) - own for each, own in zip((pristine, charged), oxygen, strict=True)]
    np.testing.assert_allclose(lines[0], lines[1], rtol=0.005)
    assert float(manganese[lines[0].argmax()]) == pytest.approx(643.2, abs=0.05)


def test_the_steps_of_the_metals_are_tabulated_ones_and_leave_the_oxygen_edge_alone():
    below, above = metal_l([630.0, 680.0], oxidised=0.0)
    step = xraydb.mu_elam("Mn", [638.6, 638.8], kind="photo"), xraydb.mu_elam("Mn", [649.8, 650.0], kind="photo")
    oxygen = np.diff(xraydb.mu_elam("O", [543.0, 543.2], kind="photo"))[0] * 2.0 * xraydb.atomic_mass("O")
    expected = 0.54 * xraydb.atomic_mass("Mn") * sum(np.diff(each)[0] for each in step) / oxygen
    assert above - below == pytest.approx(expected * (645 / 680) ** 2.5, rel=0.05)
    energy = np.arange(500.0, 599.0)
    assert not metal_l(energy, oxidised=1.0).any()
