"""Optical density of a growing stack: what is summed up live and made of the whole, and masked with reasons."""

import math
from dataclasses import replace

import numpy as np
import pytest
from phantoms import blobs, grid_of, oxygen_spectra, reduced_chain

from callbacks import arrays
from callbacks.contract import Measurement
from callbacks.pipelines import StxmSettings, stxm_stack
from callbacks.step import Step
from callbacks.stxm.alignment.registration import RegistrationSettings, Shift
from callbacks.stxm.density import whole
from callbacks.stxm.density.blank import BlankSettings
from callbacks.stxm.density.incident import IncidentFlux
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
    top_of_edge,
)
from callbacks.stxm.density.optical_density import density_image, optical_density
from callbacks.stxm.density.stack_density import StackDensity
from callbacks.stxm.density.sums import DensitySums, RunningSum
from callbacks.stxm.density.whole import PixelBlocks, whole_density
from callbacks.stxm.stack import AlignedImage, AlignedStack, Image, Placement

SHAPE = (5, 7)
ENERGIES = np.arange(520.0, 540.0)
PRE_EDGE, POST_EDGE = (520.0, 526.0), (535.0, 539.0)
LEFT = (-0.01, 0.07, -0.01, 0.15)  # um: the three columns without sample
STAYS = Shift(np.zeros(2), np.zeros(2), np.zeros(2), "ok")


def aligned(energy, rate, *, drifted=None, status="ok"):
    drifted = np.zeros(rate.shape, dtype=bool) if drifted is None else drifted
    return AlignedImage(0, energy, status, rate, rate, drifted, np.zeros(len(rate)))


def rates(rng, number=20):
    return rng.uniform(50.0, 100.0, (number, *SHAPE))


class Growing:
    """A stack that grows image by image, and its optical density."""

    def __init__(self, shape=SHAPE):
        flux = IncidentFlux(grid_of(ENERGIES, shape, blank=LEFT), BlankSettings())
        self.flux = flux
        self.stack = AlignedStack([slice(0, shape[0])], RegistrationSettings(), registered=False)
        self.density = StackDensity(shape, flux, MaskSettings(), pre_edge=PRE_EDGE, post_edge=POST_EDGE)

    def append(self, energy, rate, status="ok"):
        place = len(self.stack)
        self.stack.append(Image(place, energy, rate, rate, np.zeros((2, *rate.shape)), len(rate)))
        return self.update(Placement(place, None, self.stack.put(place, [STAYS], status)))

    def move(self, place, shift):
        before = self.stack.aligned(place)
        return self.update(Placement(place, before, self.stack.put(place, [replace(STAYS, shift=shift)], "ok")))

    def update(self, placement):
        return self.density.update(self.stack, [placement])

    def whole(self):
        return whole_density(self.stack, self.flux, MaskSettings(), pre_edge=PRE_EDGE)


def grown(values, energies=ENERGIES):
    stack = Growing(values.shape[1:])
    for energy, rate in zip(energies, values, strict=False):
        stack.append(energy, rate)
    return stack


@pytest.mark.parametrize("number", [1, 2, 40])
def test_images_that_were_taken_out_leave_nothing_but_rounding(number):
    rng = np.random.default_rng(number)
    stack, others = rng.uniform(0.0, 1.0, (number, *SHAPE)), rng.uniform(0.0, 1e3, (30, *SHAPE))
    others[3, 1, 2] = np.nan
    total = RunningSum(SHAPE)
    for image in (*others, *stack):
        total.add(image)
    assert np.isnan(total.mean).sum() == 1
    for image in others:
        total.add(image, -1)
    assert total.number == number
    np.testing.assert_allclose(total.total, stack.sum(axis=0), atol=1e-11)
    np.testing.assert_allclose(total.mean, stack.mean(axis=0), atol=1e-11)


def test_an_image_is_made_once_and_again_when_it_is_moved():
    stack = Growing()
    values = rates(np.random.default_rng(0), 3)
    for energy, rate in zip(ENERGIES, values, strict=False):
        (change,) = stack.append(energy, rate)
        assert change.before is None
    assert stack.update(Placement(1, *2 * [stack.stack.aligned(1)])) == []
    (change,) = stack.move(1, np.array([1.0, 0.0]))
    assert (change.before.place, change.after.place) == (1, 1)
    assert np.isnan(change.after.density[0]).all()
    assert stack.density.number == 3


def test_sums_of_images_that_moved_are_those_of_the_stack_as_it_lies_now():
    rng = np.random.default_rng(5)
    white_line = np.where((ENERGIES >= 530) & (ENERGIES < 535), 0.4, 1.0)
    values = rates(rng, 20)
    values[:, :, 3:] *= white_line[:, None, None]
    moved = grown(values)
    for place in (3, 11, 3, 7, 0):
        moved.move(place, rng.integers(-1, 2, 2).astype(float))
    afresh = Growing()
    for place, (energy, rate) in enumerate(zip(ENERGIES, values, strict=True)):
        afresh.stack.append(Image(place, energy, rate, rate, np.zeros((2, *SHAPE)), len(rate)))
        afresh.update(Placement(place, None, afresh.stack.put(place, moved.stack.shifts(place), "ok")))
    whole = moved.whole()
    for now in (afresh.density, whole):
        np.testing.assert_array_equal(moved.density.mask, now.mask)
        np.testing.assert_allclose(moved.density.edge_jump.jump, now.edge_jump.jump, atol=1e-10)
        np.testing.assert_allclose(moved.density.edge_jump.sigma, now.edge_jump.sigma, atol=1e-10)
        np.testing.assert_array_equal(moved.density.edge_jump.top, now.edge_jump.top)


def test_the_density_of_the_whole_stack_is_that_of_float64_to_a_millionth():
    values = rates(np.random.default_rng(2))
    found = grown(values).whole()
    incident = values[:, :, :3].mean(axis=(1, 2))
    sigma = np.sqrt(values[:, :, :3].sum(axis=(1, 2))) / 15
    expected, variance = optical_density(values, values, incident, sigma)
    np.testing.assert_allclose(found.density, expected, atol=1e-6)
    np.testing.assert_allclose(found.sigma**2, variance, rtol=1e-6)
    assert found.sigma.min() > 1e4 * 1e-6


def test_images_are_by_ascending_energy_and_those_not_registered_are_left_out():
    stack = grown(rates(np.random.default_rng(3), 3), energies=(530.0, 520.0, 525.0))
    stack.append(522.0, np.full(SHAPE, 60.0), status="not registered")
    found = stack.whole()
    assert found.energies.tolist() == [520.0, 522.0, 525.0, 530.0]
    assert found.usable.tolist() == [True, False, True, True]
    assert np.isnan(found.density[1]).all()
    assert np.isfinite(found.density[[0, 2, 3]]).all()
    assert stack.density.number == 3


def test_without_a_place_without_sample_there_is_no_density_until_there_is_one():
    stack = Growing()
    hidden = rates(np.random.default_rng(4), 3)
    stack.density.blank = type(stack.density.blank)(stack.density.blank.pixels, "none")
    find, stack.flux.find = stack.flux.find, lambda _brightness: type(stack.density.blank)(np.zeros(SHAPE, bool), "no")
    assert stack.append(520.0, hidden[0]) == stack.append(521.0, hidden[1]) == []
    assert (stack.density.number, stack.density.status) == (0, "no")
    stack.flux.find = find
    stack.append(522.0, hidden[2])
    assert (stack.density.number, stack.density.status) == (1, "ok")
    stack.update(Placement(0, *2 * [stack.stack.aligned(0)]))
    assert stack.density.number == 2


@pytest.mark.parametrize("values", [7, 40, 10_000])
def test_blocks_hold_the_pixels_that_the_mask_lets_pass_at_the_energies_that_can_be_used(values, monkeypatch):
    monkeypatch.setattr(whole, "BLOCK_VALUES", values)
    rng = np.random.default_rng(6)
    images, usable, chosen = rng.random((20, *SHAPE)), rng.random(20) < 0.8, rng.random(SHAPE) < 0.5
    expected = np.where(chosen, images[usable], np.nan).reshape(usable.sum(), -1).T
    for square in (False, True):
        blocks = PixelBlocks(images, usable, chosen, square=square)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), expected**2 if square else expected)
        np.testing.assert_array_equal(np.concatenate(blocks[:]), np.concatenate(list(blocks)))
    assert len(blocks) == math.ceil(35 / max(1, values // usable.sum()))


def test_arrays_in_a_file_are_as_those_in_memory(monkeypatch):
    values = rates(np.random.default_rng(7))
    expected = grown(values).whole()
    monkeypatch.setattr(arrays, "LARGEST_IN_MEMORY", 5 * SHAPE[0] * SHAPE[1] * 8)
    stack = grown(values)
    found = stack.whole()
    assert (found.density.dtype, found.sigma.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.density, expected.density, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.sigma, expected.sigma, rtol=1e-6)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(stack.stack.measured(19), np.array([values[19], values[19]], dtype=np.float32))


def images_of(densities, **kwargs):
    pairs = zip(ENERGIES, densities, strict=True)
    return [density_image(n, aligned(e, 100.0 * np.exp(-d), **kwargs), 100.0, 0.1) for n, (e, d) in enumerate(pairs)]


def sums_of(images):
    limits = MaskSettings()
    sums = DensitySums(
        images[0].density.shape,
        opaque_above=limits.opaque_above,
        saturated_above=limits.saturated_above,
        pre_edge=PRE_EDGE,
    )
    for image in images:
        sums.add(image)
    return sums


def jump_of(images):
    means = np.array([image.density.mean() for image in images])
    top = top_of_edge(ENERGIES[: len(images)], means, PRE_EDGE[1])
    return edge_jump([images[number].map for number in top], sums_of(images))


def test_the_edge_jump_is_the_top_less_what_is_below():
    step = np.where(ENERGIES >= 530, 1.0, 0.2)
    found = jump_of(images_of(step[:, None, None] * np.ones(SHAPE)))
    bias = 0.5 / 100 * (np.exp(1.0) - np.exp(0.2))  # of the logarithm, corrected for in the optical density
    np.testing.assert_allclose(found.jump, 0.8 - bias, rtol=1e-9)
    assert (found.top.min(), found.top.max()) == (530.0, 534.0)


def test_before_the_edge_there_is_no_jump_and_no_pixel_has_a_low_one():
    images = images_of(np.full((len(ENERGIES), *SHAPE), 0.2))[:6]
    found = jump_of(images)
    assert np.isnan(found.jump).all()
    assert not found.top.size
    assert (pixel_mask(sums_of(images), found.jump, MaskSettings(), incident_known=True) == GOOD).all()


def test_of_several_reasons_the_first_of_the_list_is_given():
    highest = np.array([[0.5, 0.5, 2.0, 4.0, 4.0, 4.0]])
    jump = np.array([[0.9, 0.05, 0.05, 0.05, 0.05, 0.05]])
    drifted = np.array([[False, False, False, False, True, False]])
    images = images_of(np.broadcast_to(highest, (len(ENERGIES), 1, 6)), drifted=drifted)
    images[3].aligned.rate[0, 5] = np.nan
    mask = pixel_mask(sums_of(images), jump, MaskSettings(), incident_known=True)
    assert mask.tolist() == [[GOOD, LOW_JUMP, SATURATED, OPAQUE, DRIFTED_OUT, NOT_MEASURED]]


def test_without_incident_flux_a_pixel_is_not_called_opaque():
    images = images_of(np.full((len(ENERGIES), *SHAPE), np.nan))
    for image in images:
        image.aligned.rate[:] = 50.0
    nothing, sums = np.full(SHAPE, np.nan), sums_of(images)
    assert (pixel_mask(sums, nothing, MaskSettings(), incident_known=False) == GOOD).all()
    assert (pixel_mask(sums, nothing, MaskSettings(), incident_known=True) == OPAQUE).all()


def test_no_step_of_a_stack_holds_another():
    measurement = Measurement(
        technique="stxm", sample="", edge="O K", points=10, exposure_time=1e-3, grid=grid_of(ENERGIES, (20, 20))
    )
    chain = stxm_stack(StxmSettings(), measurement)
    for step in (*chain.steps.values(), *chain.behind.steps.values()):
        assert not any(isinstance(value, Step) for value in vars(step).values())


@pytest.mark.long
def test_a_stack_that_is_reduced_twice_gives_the_same_to_the_bit():
    rng = np.random.default_rng(4)
    thickness = 0.8 * blobs((32, 36), rng)
    energies = np.r_[np.arange(520.0, 526.0), np.arange(526.0, 540.0, 0.7)]
    counts = rng.poisson(2e4 * np.exp(-oxygen_spectra(energies)[0][:, None, None] * thickness)).astype(float)
    chain, images = reduced_chain(counts, energies)
    again, images_again = reduced_chain(counts, energies)
    for key, value in chain.result.items():
        np.testing.assert_array_equal(value, again.result[key])
    for image, other in zip(images, images_again, strict=True):
        for key, value in image.items():
            np.testing.assert_array_equal(value, other[key])
    newest = images[-1]["optical_density"]
    wrong = (chain.result["optical_density"][-1] - newest) / chain.result["optical_density_sigma"][-1]
    assert np.nanmedian(np.abs(wrong)) < 0.3  # it was registered once more
