"""What lies under the microscope: an empty side, particles up to saturation, oxidised cores."""

import numpy as np

from simulated_devices.physics.phantom import EMPTY_BELOW, HALF_FIELD, phantom_of

SAMPLE = "LRNMC 311 mAh/g"


def test_the_phantom_has_an_empty_side_and_particles_up_to_saturation():
    phantom = phantom_of(SAMPLE)
    axis = np.linspace(-HALF_FIELD, HALF_FIELD, phantom.thickness["reduced"].shape[1])
    for name in phantom.thickness:
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


def test_metals_are_oxidised_in_the_core_before_its_oxygen_and_manganese_is_reduced_in_the_shell_alone():
    phantom = phantom_of("LRNMC 131 mAh/g")  # the plateau has begun
    oxide = sum(phantom.thickness[name] for name in ("reduced", "pristine", "charged", "oxidised"))
    thick, thin = oxide > 0.12, (oxide > 1e-4) & (oxide < 0.02)
    reduced = {element: phantom.reduced_fraction(0.01, element) for element in ("O", "Mn", "Ni")}
    assert [np.nanmedian(reduced[element][thick]) > 0.6 for element in ("O", "Mn", "Ni")] == [True, False, False]
    assert all(np.nanmedian(each[thin]) > 0.8 for each in reduced.values())
    pristine = phantom_of("LRNMC pristine")
    assert np.nanmin(pristine.reduced_fraction(0.01, "Ni")) > 0.999
    assert np.nanmedian(pristine.reduced_fraction(0.01, "Mn")[thick]) < 0.6
