"""The undulator: tuned at each energy and polarisation, and polarised as it was asked to be."""

import numpy as np
import pytest

from simulated_devices.physics.undulator import (
    HALF_PERIOD,
    Setting,
    Stokes,
    energy_of,
    gap_of,
    setting_for,
    stokes_of,
    tuning,
)

EXPECTED = {
    "LH": Stokes(1.0, 0.0, 0.0),
    "LV": Stokes(-1.0, 0.0, 0.0),
    "C+": Stokes(0.0, 0.0, 1.0),
    "C-": Stokes(0.0, 0.0, -1.0),
    "45": Stokes(0.0, 1.0, 0.0),
    "-30": Stokes(0.5, -np.sqrt(0.75), 0.0),
    "80": Stokes(np.cos(np.radians(160)), np.sin(np.radians(160)), 0.0),
}


@pytest.mark.parametrize("energy", [530.0, 708.0, 1400.0])
@pytest.mark.parametrize("polarisation", EXPECTED)
def test_it_is_tuned_and_polarised_as_it_was_asked_to_be(polarisation, energy):
    setting = setting_for(energy, polarisation)
    assert energy_of(setting.gap, setting.phase, setting.mode) == pytest.approx(energy, abs=1e-6)
    assert tuning(energy, setting) == pytest.approx(1.0)
    found, expected = stokes_of(setting), EXPECTED[polarisation]
    for part in ("horizontal", "diagonal", "circular"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), abs=1e-9), part
    assert abs(setting.phase) <= HALF_PERIOD


def test_horizontal_light_is_at_the_gap_of_the_data_booklet():
    deflection = 0.0934 * 49.0 * 1.6 * np.exp(-np.pi * gap_of(530.0) / 49.0)
    assert 950.0 * 3.0**2 / 4.9 / (1 + deflection**2 / 2) == pytest.approx(530.0)
    assert gap_of(530.0) == pytest.approx(19.1786, abs=1e-4)


def test_a_phase_alone_detunes_it_and_makes_light_elliptical():
    gap = gap_of(700.0)
    assert tuning(700.0, Setting(gap, 5.0)) < 0.01
    between = stokes_of(Setting(gap, 5.0))
    assert 0 < between.circular < 1
    assert between.horizontal > 0
    assert between.horizontal**2 + between.circular**2 == pytest.approx(1.0)


def test_an_energy_that_no_gap_gives_is_refused():
    with pytest.raises(ValueError, match="undulator: no gap gives 200 eV with 30"):
        setting_for(200.0, "30")
