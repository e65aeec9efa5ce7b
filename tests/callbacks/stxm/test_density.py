"""Optical density of a growing stack: made once, equal to the bit to that of the whole, and masked with reasons."""

import numpy as np
import pytest
from phantoms import blobs, grid_of, oxygen_spectra, reduced_chain

from callbacks.contract import Measurement
from callbacks.pipelines import StxmSettings, stxm_stack
from callbacks.step import Step
from callbacks.stxm.density.blank import Blank
from callbacks.stxm.density.masks import (
    DRIFTED_OUT,
    GOOD,
    LOW_JUMP,
    NOT_MEASURED,
    OPAQUE,
    SATURATED,
    MaskSettings,
    edge_jump,
    pixel_mask,
)
from callbacks.stxm.density.optical_density import density_image, optical_density
from callbacks.stxm.density.stack_density import StackDensity
from callbacks.stxm.density.sums import mean_of_images, sum_of_images, sum_of_pixels
from callbacks.stxm.stack import AlignedImage, AlignedStack, Image

SHAPE = (5, 7)
ENERGIES = np.arange(520.0, 540.0)
PRE_EDGE, POST_EDGE = (520.0, 526.0), (535.0, 539.0)


def aligned(energy, rate, *, drifted=None, status="ok"):
    image = Image(0, energy, rate, rate, np.zeros((2, *rate.shape)), len(rate))
    drifted = np.zeros(rate.shape, dtype=bool) if drifted is None else drifted
    return AlignedImage(image, (), status, rate, rate, drifted)


def stack_of(rates, energies=ENERGIES):
    stack = AlignedStack()
    for energy, rate in zip(energies, rates, strict=False):
        stack.append(aligned(energy, rate))
    return stack


def rates(rng, number=20):
    return rng.uniform(50.0, 100.0, (number, *SHAPE))


def updated(density, stack, blank, rate):
    number = len(stack.usable)
    density.update(stack, blank, "ok", np.full(number, rate), np.full(number, 0.1))
    return density


def new_density():
    return StackDensity(SHAPE, MaskSettings(), pre_edge=PRE_EDGE, post_edge=POST_EDGE)


BLANK = Blank(np.ones(SHAPE, dtype=bool), "ok")


@pytest.mark.parametrize("number", [2, 3, 9, 40])
def test_sums_image_by_image_are_to_the_bit_those_of_the_whole_stack(number):
    rng = np.random.default_rng(number)
    stack, chosen = rng.uniform(0.0, 1.0, (number, 61, 47)), rng.random((61, 47)) < 0.4
    np.testing.assert_array_equal(sum_of_images(stack), stack.sum(axis=0))
    np.testing.assert_array_equal(mean_of_images(stack, number), stack.mean(axis=0))
    expected = stack[:, chosen].sum(axis=1)
    np.testing.assert_array_equal([sum_of_pixels(image[chosen]) for image in stack], expected)


def test_an_image_is_made_once_and_again_when_its_incident_flux_changes():
    stack = stack_of(rates(np.random.default_rng(0), 3))
    density = updated(new_density(), stack, BLANK, 100.0)
    first, generation = density.images, density.generation
    stack.append(aligned(523.0, np.full(SHAPE, 60.0)))
    updated(density, stack, BLANK, 100.0)
    assert all(now is before for now, before in zip(density.images, first, strict=False))
    assert density.generation == generation
    updated(density, stack, Blank(BLANK.pixels, "ok"), 101.0)
    assert not any(now is before for now, before in zip(density.images, first, strict=False))
    assert density.generation == generation + 1


def test_all_images_are_made_again_when_they_moved():
    stack = stack_of(rates(np.random.default_rng(1), 3))
    density = updated(new_density(), stack, BLANK, 100.0)
    first, generation = density.images, density.generation
    stack.replace(list(stack))
    updated(density, stack, BLANK, 100.0)
    assert not any(now is before for now, before in zip(density.images, first, strict=True))
    assert density.generation == generation + 1


def test_the_density_of_an_image_is_to_the_bit_that_of_the_whole_stack():
    values = rates(np.random.default_rng(2))
    density = updated(new_density(), stack_of(values), BLANK, 100.0)
    whole, variance = optical_density(values, values, np.full(len(values), 100.0), np.full(len(values), 0.1))
    np.testing.assert_array_equal([image.density for image in density.images], whole)
    np.testing.assert_array_equal([image.variance for image in density.images], variance)


def test_images_are_by_ascending_energy_and_those_not_registered_are_left_out():
    stack = stack_of(rates(np.random.default_rng(3), 3), energies=(530.0, 520.0, 525.0))
    stack.append(aligned(522.0, np.full(SHAPE, np.nan), status="not registered"))
    density = updated(new_density(), stack, BLANK, 100.0)
    assert density.energies.tolist() == [520.0, 525.0, 530.0]
    assert [image.place for image in density.images] == [1, 2, 0]


def images_of(densities, **kwargs):
    pairs = zip(ENERGIES, densities, strict=True)
    return [density_image(n, aligned(e, 100.0 * np.exp(-d), **kwargs), 100.0, 0.1) for n, (e, d) in enumerate(pairs)]


def test_the_edge_jump_is_the_top_less_what_is_below():
    step = np.where(ENERGIES >= 530, 1.0, 0.2)
    found = edge_jump(images_of(step[:, None, None] * np.ones(SHAPE)), SHAPE, PRE_EDGE)
    bias = 0.5 / 100 * (np.exp(1.0) - np.exp(0.2))  # of the logarithm, corrected for in the optical density
    np.testing.assert_allclose(found.jump, 0.8 - bias, rtol=1e-9)
    assert (found.top.min(), found.top.max()) == (530.0, 534.0)


def test_before_the_edge_there_is_no_jump_and_no_pixel_has_a_low_one():
    images = images_of(np.full((len(ENERGIES), *SHAPE), 0.2))[:6]
    found = edge_jump(images, SHAPE, PRE_EDGE)
    assert np.isnan(found.jump).all()
    assert not found.top.size
    assert (pixel_mask(images, found.jump, MaskSettings(), incident_known=True) == GOOD).all()


def test_of_several_reasons_the_first_of_the_list_is_given():
    highest = np.array([[0.5, 0.5, 2.0, 4.0, 4.0, 4.0]])
    jump = np.array([[0.9, 0.05, 0.05, 0.05, 0.05, 0.05]])
    drifted = np.array([[False, False, False, False, True, False]])
    images = images_of(np.broadcast_to(highest, (len(ENERGIES), 1, 6)), drifted=drifted)
    images[3].aligned.rate[0, 5] = np.nan
    mask = pixel_mask(images, jump, MaskSettings(), incident_known=True)
    assert mask.tolist() == [[GOOD, LOW_JUMP, SATURATED, OPAQUE, DRIFTED_OUT, NOT_MEASURED]]


def test_without_incident_flux_a_pixel_is_not_called_opaque():
    images = images_of(np.full((len(ENERGIES), *SHAPE), np.nan))
    for image in images:
        image.aligned.rate[:] = 50.0
    nothing = np.full(SHAPE, np.nan)
    assert (pixel_mask(images, nothing, MaskSettings(), incident_known=False) == GOOD).all()
    assert (pixel_mask(images, nothing, MaskSettings(), incident_known=True) == OPAQUE).all()


def test_no_step_of_a_stack_holds_another():
    measurement = Measurement(
        technique="stxm", sample="", edge="O K", points=10, exposure_time=1e-3, grid=grid_of(ENERGIES, (20, 20))
    )
    chain = stxm_stack(StxmSettings(), measurement)
    for step in (*chain.steps.values(), *chain.behind.steps.values()):
        assert not any(isinstance(value, Step) for value in vars(step).values())


def test_a_stack_that_grows_ends_as_one_that_came_at_once():
    rng = np.random.default_rng(4)
    thickness = 0.8 * blobs((32, 36), rng)
    energies = np.r_[np.arange(520.0, 526.0), np.arange(526.0, 540.0, 0.7)]
    counts = rng.poisson(2e4 * np.exp(-oxygen_spectra(energies)[0][:, None, None] * thickness)).astype(float)
    chain, images = reduced_chain(counts, energies)
    again, _ = reduced_chain(counts, energies)
    for key, value in chain.result.items():
        np.testing.assert_array_equal(value, again.result[key])
    np.testing.assert_allclose(chain.result["optical_density"][-1], images[-1]["optical_density"], rtol=0, atol=1e-12)
