"""A stack while it grows: an image costs what the one before did, and what is live agrees with the whole."""

import numpy as np
import pytest
from phantoms import blobs, grid_of, oxygen_spectra, reduced_chain

from callbacks import arrays
from callbacks.contract import Measurement
from callbacks.pipelines import StxmSettings, stxm_stack
from callbacks.stxm.components import StreamingPCA, grouped
from callbacks.stxm.components.grouped import GroupedSpectra, groups_of
from callbacks.stxm.density import whole
from callbacks.stxm.stack import ALIGNED_STACK, FIRST_REFINEMENT, IMAGE, AlignedStack, Image
from callbacks.stxm.steps.registration import AGAIN

pytestmark = pytest.mark.long

SIDE = 40
ENERGIES = np.r_[np.arange(520.0, 526.0), np.arange(526.0, 534.0, 0.5), np.arange(534.0, 546.0, 2.0)]


def settings(energies=ENERGIES, **kwargs):
    references = {
        name: {"energy": energies.tolist(), "optical_density": spectrum.tolist()}
        for name, spectrum in zip(("reduced", "oxidised", "binder"), oxygen_spectra(energies), strict=True)
    }
    return StxmSettings.model_validate({"chemistry": {"references": references}, **kwargs})


def counts(energies=ENERGIES, side=SIDE, seed=1):
    rng = np.random.default_rng(seed)
    maps = [0.5 * blobs((side, side), rng, number=20), 0.4 * blobs((side, side), rng, number=20)]
    density = np.tensordot(oxygen_spectra(energies)[:2].T, maps, axes=1)
    drift = np.cumsum(rng.uniform(-0.4, 0.4, (len(energies), 2)), axis=0).round()
    images = [np.roll(image, move.astype(int), axis=(0, 1)) for image, move in zip(density, drift, strict=True)]
    return rng.poisson(2e4 * np.exp(-np.array(images))).astype(float)


def pushed(values, energies, chosen, observer=None):
    """Send images through the steps; give what each gives, and the chain behind."""
    grid = grid_of(energies, values.shape[1:])
    measurement = Measurement(technique="stxm", sample="", edge="O K", points=1, exposure_time=1e-3, grid=grid)
    chain = stxm_stack(chosen, measurement).behind
    for number, (energy, rate) in enumerate(zip(energies, values, strict=True)):
        image = Image(number, energy, rate, rate, np.zeros((2, *rate.shape)), len(rate))
        outputs, problem = chain.push({"seq_num": number + 1, IMAGE: image}, observer=observer)
        assert not problem
        yield outputs, chain


@pytest.mark.parametrize("references", [True, False])
def test_with_each_image_as_many_are_read_however_many_there_are(monkeypatch, references):
    read, measured = [], AlignedStack.measured

    def counted(stack, place):
        read.append(place)
        return measured(stack, place)

    monkeypatch.setattr(AlignedStack, "measured", counted)
    energies = np.linspace(520.0, 546.0, 96)
    numbers = []
    for _ in pushed(counts(energies), energies, settings(energies) if references else StxmSettings()):
        numbers.append(len(read))
        read.clear()
    once = 2 + 3 * AGAIN  # the newest twice, to register and to move it; of one again, also where it lay
    assert max(numbers) <= once + 5  # images at the top of the edge, where that is found elsewhere
    assert np.mean(numbers[-32:]) <= 1.1 * once
    assert numbers[-1] <= once + 1


def test_a_result_on_the_way_changes_nothing_of_what_follows():
    values = counts()
    asked = [outputs | {"result": chain.result} for outputs, chain in pushed(values, ENERGIES, settings())]
    *plain, (last, chain) = pushed(values, ENERGIES, settings())
    for image, other in zip([outputs for outputs, _ in plain] + [last], asked, strict=True):
        for key, value in image.items():
            np.testing.assert_array_equal(value, other[key])
    for key, value in chain.result.items():
        np.testing.assert_array_equal(value, asked[-1]["result"][key])


def test_the_live_map_of_a_stack_that_lies_still_is_that_of_the_result():
    spread = ENERGIES[:: len(ENERGIES) // (FIRST_REFINEMENT - 2)][: FIRST_REFINEMENT - 1]
    values = counts(spread)
    given = {"incident_rate": [[519.0, 2e4], [560.0, 2e4]]}
    *_, (outputs, chain) = pushed(values, spread, settings(spread, absorbance=given))
    result = chain.result
    assert outputs["chemical_status"] == result["chemical_status"] == "ok"
    assert np.isfinite(outputs["reduced_fraction"]).sum() > 200
    for key in ("reduced_fraction", "reduced_fraction_sigma"):
        np.testing.assert_allclose(outputs[key], result[key], rtol=5e-4, atol=1e-6)  # of sums and of all in float32
    assert outputs["pixels_used"] == result["pixels_used"]
    share = result["pca_eigenvalues"] / result["pca_eigenvalues"].sum()
    np.testing.assert_allclose(outputs["pca_explained"], share[:5], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("chosen", [settings(), StxmSettings()], ids=["references", "end members"])
def test_a_stack_larger_than_the_memory_has_the_result_of_one_that_is_not(monkeypatch, chosen):
    values = counts()
    expected = reduced_chain(values, ENERGIES, settings=chosen)[0].result
    monkeypatch.setattr(arrays, "LARGEST_IN_MEMORY", 5 * SIDE * SIDE * 8)
    monkeypatch.setattr(whole, "BLOCK_VALUES", 300 * len(ENERGIES))
    monkeypatch.setattr(grouped, "BLOCK_PIXELS", 300)
    chain, _ = reduced_chain(values, ENERGIES, settings=chosen)
    found = chain.result
    assert found.keys() == expected.keys()
    for key in ("mask", "pca_kept", "clusters", "image_status", "i0_status", "pca_status", "chemical_status"):
        np.testing.assert_array_equal(found[key], expected[key])
    for key in ("optical_density", "drift", "fractions", "reduced_fraction", "reduced_fraction_sigma", "pca_scores"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["nmf_weights"], expected["nmf_weights"], atol=1e-3)


def test_live_components_of_few_energies_are_those_of_all_images():
    rng = np.random.default_rng(2)
    energies = rng.permutation(ENERGIES)
    images = counts(energies)[:, :20].reshape(len(energies), -1) / 2e4
    windows = {"background": (519.98, 526.02), "area": (524.98, 535.02)}
    live, exact = GroupedSpectra(energies, images.shape[1], **windows), StreamingPCA(**windows)
    for number, (energy, image) in enumerate(zip(energies, 1 - images, strict=True)):
        live.add(number, energy, image, np.full(image.shape, 1e-4))
        exact.add_energy(energy, image)
    live.add(3, energies[3], images[3], images[3])
    live.add(3, energies[3], images[3], images[3], -1)
    found = live.components(np.ones(images.shape[1], bool), 3, noise_share=0.1).components
    exact.set_filter(noise_cut=np.quantile(exact.noise[np.isfinite(exact.noise)], 0.9))
    assert found.n_kept == exact.result(3).n_kept
    np.testing.assert_allclose(found.eigenvalues, exact.result(3).eigenvalues, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("number", [60, 320])
def test_live_components_of_many_energies_have_groups_that_no_window_parts(number):
    energies = np.linspace(520.0, 560.0, number)
    windows = (519.98, 526.02), (524.98, 535.02)
    group = groups_of(energies, grouped.MOST_GROUPS, windows)
    assert np.array_equal(np.unique(group), np.arange(group.max() + 1))
    assert (np.diff(group) >= 0).all()
    assert grouped.MOST_GROUPS <= group.max() + 1 <= grouped.MOST_GROUPS + 5
    for low, high in windows:
        inside = (energies >= low) & (energies <= high)
        assert not set(group[inside]) & set(group[~inside])
    assert np.ptp(np.bincount(group)) <= 3


def test_an_image_that_is_found_elsewhere_is_moved_and_the_first_one_stays():
    values = counts()
    seen = {}
    for _ in pushed(values, ENERGIES, StxmSettings(), lambda _step, outputs: seen.update(outputs)):
        pass
    stack = seen[ALIGNED_STACK]
    assert not stack.shifts(0)[0].shift.any()
    assert not stack.final.shifts(0)[0].shift.any()
    assert stack.final is stack.final
    assert stack.final is not stack
