"""The monochromator's scale: an offset is found within its interval, and not where the reference is another one."""

import numpy as np
import pytest

from callbacks.xas.energy_scale import by_edge, by_peak, by_spectrum
from simulated_devices.physics.samples import RUTILE, binder_o_k, rutile_o_k

ENERGY = np.arange(520.0, 552.0, 0.2)
LIBRARY = np.arange(515.0, 560.0, 0.1)
OFFSET = 0.18
TRIALS = 250


def measured(seed, noise=0.002, shape=rutile_o_k):
    truth = 0.12 * shape(ENERGY + OFFSET)
    sigma = noise * np.sqrt(truth / 0.1)
    return ENERGY, truth + sigma * np.random.default_rng(seed).standard_normal(len(ENERGY)), sigma**2


@pytest.mark.long
@pytest.mark.parametrize(
    "find",
    [
        lambda *spectrum: by_spectrum(*spectrum, LIBRARY, rutile_o_k(LIBRARY)),
        lambda *spectrum: by_peak(*spectrum, RUTILE[0]),
    ],
)
def test_the_offset_holds_the_truth_within_its_interval(find):
    found = [find(*measured(seed)) for seed in range(TRIALS)]
    assert {each.status for each in found} == {"ok"}
    pulls = np.array([(each.offset - OFFSET) / each.sigma for each in found])
    assert 0.62 <= np.mean(np.abs(pulls) <= 1) <= 0.76
    assert np.mean([each.misfit for each in found]) == pytest.approx(1.0, abs=0.1)


def test_a_spectrum_of_lower_resolution_is_uncertain_by_more_than_its_noise():
    kernel = np.exp(-0.5 * (np.arange(-20, 21) * 0.1 / 0.5) ** 2)
    blurred = np.convolve(np.pad(rutile_o_k(LIBRARY), 20, mode="edge"), kernel / kernel.sum(), mode="valid")
    sharp, soft = (by_spectrum(*measured(1), LIBRARY, known) for known in (rutile_o_k(LIBRARY), blurred))
    assert soft.status == "ok"
    assert soft.misfit > 10
    assert soft.sigma > 2 * sharp.sigma
    assert abs(soft.offset - OFFSET) < 2 * soft.sigma


def test_energies_near_a_gap_of_the_reference_are_left_out_and_those_of_the_spectrum_are_no_gap_of_it():
    gap = (LIBRARY > 540.0) & (LIBRARY < 543.0)
    torn, spoilt = np.where(gap, np.nan, rutile_o_k(LIBRARY)), list(measured(1))
    spoilt[1] = np.where((ENERGY > 540.0) & (ENERGY < 543.0), 9.0, spoilt[1])
    found = by_spectrum(*spoilt, LIBRARY, torn, largest=1.0)
    assert found.status == "ok"
    assert abs(found.offset - OFFSET) < 3 * found.sigma
    pulls = []
    for seed in range(100):
        energy, values, variance = measured(seed)
        values[(energy > 531.0) & (energy < 532.5)] = np.nan
        one = by_spectrum(energy, values, variance, LIBRARY, rutile_o_k(LIBRARY))
        pulls.append((one.offset - OFFSET) / one.sigma)
    assert 0.58 < np.mean(np.abs(pulls) < 1) < 0.78
    assert abs(np.mean(pulls)) < 0.3


def test_an_edge_gives_it_too():
    def edge(energy):
        return 0.5 + np.arctan((energy - 535.0) / 0.4) / np.pi

    pulls = [
        (found.offset - OFFSET) / found.sigma
        for found in (by_edge(*measured(seed, shape=edge), 535.0) for seed in range(TRIALS))
    ]
    assert 0.55 < np.mean(np.abs(pulls) <= 1) < 0.8
    assert abs(np.median(pulls)) < 0.5


def test_a_tabulated_energy_is_as_uncertain_as_it_says():
    bare, doubted = (by_peak(*measured(2), RUTILE[0], expected_sigma=sigma) for sigma in (0.0, 0.05))
    assert doubted.sigma == pytest.approx(np.hypot(bare.sigma, 0.05))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: by_spectrum(*measured(3, shape=binder_o_k), LIBRARY, rutile_o_k(LIBRARY)), "does not look like"),
        (lambda: by_spectrum(*measured(3), LIBRARY + 100, rutile_o_k(LIBRARY)), "0 energies are within those of the"),
        (lambda: by_spectrum(*measured(3), LIBRARY, rutile_o_k(LIBRARY), largest=20.0), "are too few to look for"),
        (lambda: by_peak(*measured(3), 600.0), "0 energies are within 2 eV of the line at 600 eV"),
        (lambda: by_peak(*measured(3), 524.0), "no line"),
        (lambda: by_peak(*measured(3), RUTILE[0], half_width=0.3), "expected more than 5"),
        (lambda: by_edge(*measured(3), 522.5), "no crossing"),
    ],
)
def test_where_there_is_no_such_reference_there_is_no_offset_and_a_reason(found, reason):
    outcome = found()
    assert reason in outcome.status
    assert np.isnan([outcome.offset, outcome.sigma]).all()


@pytest.mark.long
@pytest.mark.parametrize(("noise", "found"), [(0.003, True), (0.01, True), (0.025, True), (0.06, False)])
def test_the_noise_of_a_reference_is_in_the_offset_or_there_is_none(noise, found):
    energy, rng = np.arange(628.0, 670.0, 0.25), np.random.default_rng(1)
    variance = np.full(len(energy), noise**2)

    def spectrum(offset):
        at = energy + offset
        lines = ((643.0, 1.2, 1.5), (640.5, 0.6, 0.7), (654.0, 1.5, 0.9))
        exact = sum(height * np.exp(-0.5 * ((at - centre) / width) ** 2) for centre, width, height in lines)
        return exact + 0.2 / (1 + np.exp(-(at - 642.0) / 0.5)) + noise * rng.standard_normal(len(energy))

    offsets = rng.normal(0.0, 0.1, 300)
    answers = [
        by_spectrum(energy, spectrum(each), variance, energy, spectrum(0.0), known_variance=variance)
        for each in offsets
    ]
    ok = np.array([each.status == "ok" for each in answers])
    if not found:
        assert ok.mean() < 0.3
        assert answers[int(np.argmin(ok))].status == "the references are too noisy to be shifted"
        return
    assert ok.mean() > 0.99
    held = [abs(one.offset - true) < one.sigma for one, true in zip(answers, offsets, strict=True)]
    assert 0.60 < np.mean(held) < 0.76
