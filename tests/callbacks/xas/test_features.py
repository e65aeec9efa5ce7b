"""Features of spectra are found within their uncertainty, and excitation energies proposed that cover them."""

import numpy as np
import pytest

from callbacks.xas import normalise_spectrum
from callbacks.xas.features import ExcitationSettings, Feature, find_features, onset, propose_excitations
from plans.regions import EnergyRegions

ENERGY = np.concatenate([np.arange(520.0, 526.0, 0.5), np.arange(526.0, 536.0, 0.1), np.arange(536.0, 552.1, 0.25)])
LINES = {529.0: (0.5, 0.9), 531.4: (0.7, 1.3)}  # eV: height, FWHM


def spectrum(seed, noise=0.004):
    truth = 0.1 + 0.5 + np.arctan((ENERGY - 536.0) / 0.4) / np.pi
    for at, (height, width) in LINES.items():
        truth = truth + height * np.exp(-4 * np.log(2) * ((ENERGY - at) / width) ** 2)
    sigma = noise * np.sqrt(truth)
    found = normalise_spectrum(
        ENERGY, truth + sigma * np.random.default_rng(seed).standard_normal(len(ENERGY)), sigma**2
    )
    return ENERGY, found.normalised, found.sigma


def test_features_are_found_where_they_are_and_noise_makes_none():
    pulls = []
    for seed in range(200):
        features = [each for each in find_features(*spectrum(seed)) if each.energy < 534]
        assert len(features) == 2
        pulls += [(each.energy - at) / each.sigma for each, at in zip(features, LINES, strict=True)]
        assert [each.width for each in features] == pytest.approx([width for _, width in LINES.values()], rel=0.2)
    assert 0.6 <= np.mean(np.abs(pulls) <= 1) <= 0.8
    assert np.mean(np.abs(pulls) <= 2) > 0.9


def test_a_spectrum_of_noise_has_neither_feature_nor_onset():
    rng = np.random.default_rng(1)
    flat = ENERGY, 0.01 * rng.standard_normal(len(ENERGY)), np.full(len(ENERGY), 0.01)
    assert find_features(*flat) == []
    assert np.isnan(onset(*flat))
    assert find_features(*(np.zeros(0),) * 3) == []


def test_the_onset_is_where_the_spectrum_begins_to_rise():
    assert onset(*spectrum(2)) == pytest.approx(528.2, abs=0.3)


def feature(energy, width=1.0, status="ok"):
    return Feature(energy, 0.01, 0.5, width, status)


def test_excitations_are_fine_at_narrow_features_and_reach_below_and_above():
    text = propose_excitations(
        [feature(529.0), feature(531.4), feature(537.0, width=5.0)], [528.2], (520.0, 552.0), ExcitationSettings()
    )
    energies = EnergyRegions.parse(text).points
    inside = energies[(energies > 527.0) & (energies < 540.5)]
    steps = np.diff(inside)
    assert np.allclose(np.sort(np.unique(steps.round(6))), [0.1, 0.2])
    for at in (529.0, 531.4):
        assert np.allclose(steps[np.abs(inside[:-1] - at) < 0.35], 0.1)
    assert np.allclose(steps[np.abs(inside[:-1] - 537.0) < 2], 0.2)
    assert np.allclose(energies[:3], [518.2, 521.2, 524.2])
    assert np.allclose(energies[-3:], [544.0, 548.0, 552.0])
    assert inside[0] <= 527.4
    assert energies.min() < 520


def test_excitations_stay_within_what_was_measured_but_for_those_of_the_calibration():
    text = propose_excitations([feature(529.0)], [527.0], (526.6, 530.0), ExcitationSettings(below=(), above=()))
    energies = EnergyRegions.parse(text).points
    assert energies.min() >= 526.59
    assert energies.max() <= 530.01


@pytest.mark.parametrize(
    ("features", "begins"), [([], [528.0]), ([feature(529.0, status="no")], [528.0]), ([feature(529.0)], [np.nan])]
)
def test_nothing_is_proposed_where_nothing_stands_out(features, begins):
    with pytest.raises(ValueError, match="no feature stands out in any spectrum"):
        propose_excitations(features, begins, (520.0, 550.0), ExcitationSettings())
