"""Several passes over a stack: what the noise of a reference does to fractions does not average out over them."""

import numpy as np

from callbacks.stxm.unmixing.fractions import median_sigma, spread_of_noise
from callbacks.stxm.unmixing.references import ChemistrySettings, reference_spread, references_at

ENERGIES = np.linspace(520.0, 545.0, 26)
WINDOWS = {"pre_edge": (520.0, 524.0), "post_edge": (540.0, 545.0)}


def chemistry():
    step = 1 / (1 + np.exp(-(ENERGIES - 530.0)))
    peaks = {"reduced": 529.0, "oxidised": 532.0}
    return ChemistrySettings.model_validate(
        {
            "references": {
                name: {
                    "energy": ENERGIES.tolist(),
                    "optical_density": (step + np.exp(-((ENERGIES - at) ** 2))).tolist(),
                    "sigma": [0.02] * len(ENERGIES),
                }
                for name, at in peaks.items()
            }
        }
    )


def spread(energies, settings):
    at = references_at(energies, settings.references, phases=("reduced", "oxidised"), **WINDOWS)
    return reference_spread(energies, at, settings, np.ones(len(energies)), WINDOWS)


def test_the_noise_of_a_reference_is_the_same_in_every_pass():
    settings, rng = chemistry(), np.random.default_rng(1)
    once = spread(ENERGIES, settings)
    read_back = np.concatenate([ENERGIES + rng.normal(0, 0.005, 26) for _ in range(4)])
    assert np.allclose(spread(np.tile(ENERGIES, 4), settings), once)
    assert np.allclose(spread(read_back, settings), once, rtol=0.05, atol=1e-6)


def test_each_energy_once_gives_what_it_gave_before():
    settings = chemistry()
    at = references_at(ENERGIES, settings.references, phases=("reduced", "oxidised"), **WINDOWS)
    variance = np.full(at.shape, 0.02**2)
    own = np.tile(np.arange(26), (2, 1))
    plain = spread_of_noise(at, variance, np.ones(26))
    assert np.array_equal(spread_of_noise(at, variance, np.ones(26), own), plain)


def test_the_median_counts_pixels_that_are_not_known_as_uncertain():
    sigma = np.array([0.1, 0.2, 0.3, np.nan, 9.0])
    sample = np.array([True, True, True, True, False])
    assert np.isclose(median_sigma(sigma, sample), 0.25)
    assert np.isnan(median_sigma(np.array([0.1, np.nan, np.nan]), np.ones(3, dtype=bool)))
    assert np.isnan(median_sigma(sigma, np.zeros(5, dtype=bool)))
