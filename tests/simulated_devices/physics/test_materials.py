"""Known absorption of the materials under the microscope."""

import numpy as np
import pytest

from simulated_devices.physics.materials import optical_density_per_um, step_per_um


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
