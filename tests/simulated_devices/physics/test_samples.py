"""The spectra of the simulated samples."""

from simulated_devices.physics import SAMPLES
from simulated_devices.physics.samples import OXIDISED_ABSORPTION, OXIDISED_EMISSION


def test_the_oxidised_oxygen_grows_along_the_plateau():
    charged = [SAMPLES[f"LRNMC {capacity} mAh/g"] for capacity in (131, 179, 230, 257, 280, 311)]
    absorbed = [float(sample.absorption(OXIDISED_ABSORPTION)) for sample in charged]
    emitted = [float(sample.emission(OXIDISED_ABSORPTION, OXIDISED_EMISSION)) for sample in charged]
    assert absorbed == sorted(absorbed)
    assert emitted == sorted(emitted)
    assert emitted[-1] > 1.5 * emitted[0]
    assert float(SAMPLES["carbon"].absorption(529.0)) < 0.3 * absorbed[0]
