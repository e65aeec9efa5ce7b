"""Analysis of pixels: end members recovered from mixtures, NMF beside them, averages and pooled runs as due."""

import colorsys
import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from phantoms import oxygen_spectra, peak

from callbacks.fitting.nonnegative import ratio, unmix
from callbacks.stxm.components.normalisation import Windows
from callbacks.stxm.edges import EDGES, edge_of
from callbacks.stxm.steps.focus import best_focus, sharpness
from callbacks.stxm.unmixing import analysis
from callbacks.stxm.unmixing.analysis import AnalysisSettings, analyse, average_spectrum
from callbacks.stxm.unmixing.chemical_map import colour_scale, colours, edge_area
from callbacks.stxm.unmixing.end_members import (
    EndMemberSettings,
    extreme_clusters,
    extremes,
    factorise,
    nearest_pixels,
    order_and_name,
)
from callbacks.stxm.unmixing.fractions import (
    background_shapes,
    fit_mean,
    fit_normalised,
    spread_of_noise,
    with_uncertain_references,
)
from callbacks.stxm.unmixing.pooling import Stack, energy_offset, pool
from callbacks.stxm.unmixing.references import Reference
from callbacks.stxm.unmixing.simplex import beyond_pixels, fraction_errors, minimum_volume_simplex, simplices
from simulated_devices.physics.materials import optical_density_per_um
from simulated_devices.physics.phantom import phantom_of

ENERGIES = np.r_[np.arange(520.0, 526.0, 1.0), np.arange(526.0, 535.01, 0.25)]
NOISE = 0.006
EDGE = EDGES["O K"]


def mixtures(rng, pixels=4000, noise=NOISE):
    """Pixels on a simplex with pure corners, of different thickness; their spectra, shares and thickness."""
    shares = rng.dirichlet((0.5, 0.5, 0.15), pixels)
    thickness = rng.uniform(0.25, 0.9, pixels)
    density = thickness[:, None] * (shares @ oxygen_spectra(ENERGIES))
    return density + noise * rng.standard_normal(density.shape), shares, thickness


def normalised(spectra):
    base = spectra[:, ENERGIES <= 526].mean(axis=1)
    inside = ENERGIES >= 525
    return (spectra - base[:, None]) / np.trapezoid((spectra - base[:, None])[:, inside], ENERGIES[inside])[:, None]


@pytest.mark.long
@pytest.mark.parametrize("space", ["pca", "nmf"])
def test_end_members_of_mixtures_are_the_pure_spectra(space):
    density, _, _ = mixtures(np.random.default_rng(1))
    settings = AnalysisSettings(end_members=EndMemberSettings(space=space))
    found = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE, settings)
    assert (found.status, found.phases.end_members.names) == ("ok", ["reduced", "oxidised", "other"])
    pure = normalised(oxygen_spectra(ENERGIES))
    for spectrum, expected in zip(found.phases.end_members.spectra, pure, strict=True):
        assert np.linalg.norm(spectrum - expected) < 0.12 * np.linalg.norm(expected)


def test_fractions_follow_the_shares():
    density, shares, thickness = mixtures(np.random.default_rng(2))
    found = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE)
    kept = found.components.kept & (shares[:, 2] < 0.3) & (thickness > 0.4)
    expected = shares[:, 0] / (shares[:, 0] + shares[:, 1])
    # The reference text's normalisation is by area, of which the oxidised phase has more.
    assert np.corrcoef(found.phases.reduced[kept], expected[kept])[0, 1] > 0.97
    assert np.median(np.abs(found.phases.reduced - expected)[kept]) < 0.06


@pytest.mark.long
def test_noisy_pixels_are_left_out_of_the_components():
    rng = np.random.default_rng(3)
    density, _, _ = mixtures(rng)
    density[:300] = 0.01 * density[:300] + NOISE * rng.standard_normal((300, len(ENERGIES)))
    found = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE)
    assert found.components.kept[:300].mean() < 0.1
    assert found.components.kept[300:].mean() > 0.9
    shared = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE, AnalysisSettings(noise_share=0.2))
    assert shared.components.kept.mean() == pytest.approx(0.8 * np.isfinite(shared.components.noise).mean(), abs=0.01)


@pytest.mark.long
def test_blocks_are_analysed_as_one_cloud():
    density, _, _ = mixtures(np.random.default_rng(4))
    variance = np.full_like(density, NOISE**2)
    whole = analyse(ENERGIES, [density], [variance], EDGE)
    parts = analyse(ENERGIES, [density[:900], density[900:]], [variance[:900], variance[900:]], EDGE)
    np.testing.assert_allclose(parts.components.eigenvalues, whole.components.eigenvalues, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(parts.phases.reduced, whole.phases.reduced, atol=1e-6)


class MadeWhenAsked(Sequence):
    """Blocks of pixels that are nowhere kept; it counts how many there are at a time."""

    def __init__(self, spectra, pixels):
        self.spectra, self.pixels, self.most, self._alive = spectra, pixels, 0, []

    def __len__(self):
        return math.ceil(len(self.spectra) / self.pixels)

    def __getitem__(self, place):
        if place >= len(self):
            raise IndexError(place)
        block = self.spectra[place * self.pixels :][: self.pixels].copy()
        self._alive = [each for each in self._alive if each() is not None] + [weakref.ref(block)]
        self.most = max(self.most, len(self._alive))
        return block


@pytest.mark.long
@pytest.mark.parametrize("space", ["pca", "nmf"])
def test_blocks_that_are_made_when_asked_for_give_the_same_and_are_never_all_there(space):
    density, _, _ = mixtures(np.random.default_rng(4))
    density[:50] = np.nan
    variance = np.full_like(density, NOISE**2)
    settings = AnalysisSettings(end_members=EndMemberSettings(space=space))
    whole = analyse(ENERGIES, [density], [variance], EDGE, settings)
    blocks, variances = MadeWhenAsked(density, 300), MadeWhenAsked(variance, 300)
    parts = analyse(ENERGIES, blocks, variances, EDGE, settings)
    assert len(blocks) == 14
    assert max(blocks.most, variances.most) <= 3
    assert (parts.kept == whole.kept).all()
    assert parts.components.significant == whole.components.significant
    for found, expected in (
        (parts.scores, whole.scores),
        (parts.phases.unmixed.fractions, whole.phases.unmixed.fractions),
        (parts.phases.nmf.weights, whole.phases.nmf.weights),
        (parts.phases.reduced, whole.phases.reduced),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_of_very_many_pixels_some_make_the_nmf_and_all_get_weights(monkeypatch):
    density, _, _ = mixtures(np.random.default_rng(8))
    variance = np.full_like(density, NOISE**2)
    whole = analyse(ENERGIES, [density], [variance], EDGE).phases.nmf
    monkeypatch.setattr(analysis, "LARGEST_FACTORISED", 1000)
    some = analyse(ENERGIES, [density], [variance], EDGE).phases.nmf
    assert np.isfinite(some.weights).any(axis=1).sum() == np.isfinite(whole.weights).any(axis=1).sum()
    assert np.linalg.norm(some.components - whole.components) < 0.1 * np.linalg.norm(whole.components)


def test_too_few_pixels_are_refused_with_their_number():
    density, _, _ = mixtures(np.random.default_rng(5), pixels=30)
    found = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE)
    assert found.status == "27 pixels are left, expected 60 or more for 3 end members"
    assert found.phases.end_members.names == []
    assert np.isnan(found.phases.reduced).all()


@pytest.mark.parametrize(
    ("pixels", "energies", "words"),
    [
        (3, slice(None), "2 pixels are left, expected 40 or more for 2 end members"),
        (900, [0, 10, 20], "3 energies, expected 4 or more to tell a component from the noise"),
        (
            900,
            [0, 1, 10, 20, 30],
            "no image between 532.00 and 535.00 eV, where the edge area from 525.0 to 535.0 eV is integrated",
        ),
    ],
)
def test_where_pixels_or_energies_are_too_few_it_is_not_said_that_they_are_noise(pixels, energies, words):
    density = mixtures(np.random.default_rng(5), pixels=pixels)[0][:, energies]
    settings = AnalysisSettings(nmf=False)
    found = analyse(ENERGIES[energies], [density], [np.full_like(density, NOISE**2)], EDGE, settings)
    assert found.status == words


def test_noise_alone_has_no_component_and_it_is_said_of_how_many_pixels_at_how_many_energies():
    level = 0.5 * oxygen_spectra(ENERGIES)[0]
    density = level + NOISE * np.random.default_rng(5).standard_normal((900, len(ENERGIES)))
    found = analyse(ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE)
    assert found.status.startswith("no component stands above the noise of 810 pixels at 43 energies")


def test_clusters_lie_at_the_corners_of_the_cloud():
    rng = np.random.default_rng(6)
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    cloud = rng.dirichlet((0.6, 0.6, 0.6), 5000) @ corners + 0.05 * rng.standard_normal((5000, 2))
    clusters = extreme_clusters(cloud, 3, EndMemberSettings())
    centres = np.array([cloud[cluster].mean(axis=0) for cluster in clusters])
    for corner in corners:
        assert np.linalg.norm(centres - corner, axis=1).min() < 0.3


def triangle(rng, pixels=3000, *, reach=1.0):
    """Points of unit noise in a triangle, none of which has more than `reach` of the second corner; and its corners."""
    corners = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 15.0]])
    shares = rng.dirichlet((1.0, 1.0, 1.0), 4 * pixels)
    shares = shares[shares[:, 1] <= reach][:pixels]
    return shares @ corners + rng.standard_normal((len(shares), 2)), corners


def test_the_smallest_simplex_of_an_even_cloud_is_the_one_it_was_drawn_from():
    points, corners = triangle(np.random.default_rng(20))
    start = 1.3 * (corners - corners.mean(axis=0)) + corners.mean(axis=0)
    found = minimum_volume_simplex(points, np.ones(len(points)), start, np.zeros(3, bool), density=np.ones(3))
    assert np.abs(found - corners).max() < 0.6
    held = minimum_volume_simplex(
        points, np.ones(len(points)), np.vstack([corners[:1], start[1:]]), np.array([True, False, False]),
        density=np.ones(3),
    )  # fmt: skip
    np.testing.assert_array_equal(held[0], corners[0])


def test_what_is_not_known_of_a_corner_that_no_pixel_reaches_is_in_the_replicates():
    inside = []
    for seed in range(8):
        points, corners = triangle(np.random.default_rng(seed), 500, reach=0.85)
        found, replicates = simplices(
            points, np.ones(len(points)), extremes(points), corners[:1], np.zeros((1, 2, 2)), seed=seed
        )
        purest = np.array([points[each].mean(axis=0) for each in nearest_pixels(points, found, 20)])
        replicates = beyond_pixels(replicates, found, purest, np.array([True, False, False]), seed=seed)
        np.testing.assert_array_equal(found[0], corners[0])
        errors = fraction_errors(found, replicates)
        truth = fraction_errors(found, corners[None])[0] @ np.array([0.2, 0.6, 0.2])
        inside.append(np.abs(truth) <= np.sqrt(np.mean((errors @ np.array([0.2, 0.6, 0.2])) ** 2, axis=0)))
    assert 0.5 < np.mean(inside) <= 1.0
    assert np.median(np.std(replicates[:, 1], axis=0)) > 0.3  # of 20: the corner is not known to the noise of the mean


def test_end_members_that_were_measured_are_held_and_named():
    density, _, _ = mixtures(np.random.default_rng(9), pixels=1000)
    binder = oxygen_spectra(ENERGIES)[2]
    references = {"carbon": Reference(energy=tuple(ENERGIES), optical_density=tuple(binder))}
    noise, settings = np.full_like(density, NOISE**2), AnalysisSettings(nmf=False)
    found = analyse(ENERGIES, [density], [noise], EDGE, settings, references=references)
    members = found.phases.end_members
    assert members.names == ["reduced", "oxidised", "carbon"]
    assert members.measured == [False, False, True]
    np.testing.assert_allclose(members.spectra[2], normalised(binder[None])[0], rtol=1e-9)
    assert members.note.startswith("reduced, oxidised: found in the pixels")


@pytest.mark.parametrize(
    ("energies", "scale", "words"),
    [
        (ENERGIES[ENERGIES < 531], 1.0, "reference reduced: covers 520 to 530.75 eV, expected 520 to 535 eV; left out"),
        (ENERGIES, 0.0, "reference reduced: its area above the background from 525 to 535 eV is 0, expected above 0;"),
    ],
)
def test_a_reference_that_cannot_be_an_end_member_is_named_with_the_reason(energies, scale, words):
    density, _, _ = mixtures(np.random.default_rng(15), pixels=900)
    reference = Reference(energy=tuple(energies), optical_density=tuple(scale * oxygen_spectra(energies)[0]))
    found = analyse(
        ENERGIES, [density], [np.full_like(density, NOISE**2)], EDGE, AnalysisSettings(nmf=False),
        references={"reduced": reference},
    )  # fmt: skip
    assert found.status == "ok"
    assert not any(found.phases.end_members.measured)
    (told,) = found.left_out
    assert told.startswith(words)


def totalled(density, pure, shares, thickness, **end_members):
    """Analyse pixels; give that, and what is wrong with their reduced total and its standard uncertainty."""
    area = (pure - pure[:, ENERGIES <= 526].mean(axis=1, keepdims=True)).max(axis=1) / normalised(pure).max(axis=1)
    variance = np.full_like(density, NOISE**2)
    settings = AnalysisSettings(nmf=False, end_members=EndMemberSettings(**end_members))
    found = analyse(ENERGIES, [density], [variance], EDGE, settings)
    windows = {"background": EDGE.background, "area": EDGE.area}
    total = found.phases.total(average_spectrum(ENERGIES, density.T, variance.T, **windows))
    (value,), (sigma,) = ratio(total, 0, (0, 1))
    reduced, oxidised = (area * (thickness @ shares))[:2]
    return found, value - reduced / (reduced + oxidised), sigma


@pytest.mark.long
@pytest.mark.parametrize("method", ["simplex", "clusters"])
def test_totals_hold_the_truth_within_their_intervals_though_no_pixel_is_pure(method):
    pure = oxygen_spectra(ENERGIES)
    pulls = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet((0.8, 0.8, 0.3), 1600)
        shares = shares[shares[:, 1] < 0.85][:800]
        thickness = rng.uniform(0.4, 0.9, len(shares))
        density = thickness[:, None] * (shares @ pure) + NOISE * rng.standard_normal((len(shares), len(ENERGIES)))
        found, off, sigma = totalled(density, pure, shares, thickness, method=method)
        pulls.append(off / sigma)
        assert 0.005 < sigma < 0.2
        assert "times their noise" not in found.phases.end_members.note
    assert np.abs(pulls).max() < 3.0
    assert np.mean(np.abs(pulls) <= 1.0) >= 0.5


@pytest.mark.long
@pytest.mark.parametrize("left", [0.02, 0.08])
def test_what_alignment_leaves_in_the_pixels_is_in_the_totals(left):
    """One image after another a little aside: each pixel has its own step there, which moves it along the simplex."""
    pure = oxygen_spectra(ENERGIES)[:2]
    wrong, quoted = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shares, thickness = rng.dirichlet((0.8, 0.8), 800), rng.uniform(0.4, 0.9, 800)
        aside = left * rng.standard_normal((800, 1)) * rng.standard_normal(len(ENERGIES))
        density = thickness[:, None] * (shares @ pure) + aside + NOISE * rng.standard_normal(aside.shape)
        found, off, sigma = totalled(density, pure, shares, thickness, number=2)
        wrong.append(off)
        quoted.append(sigma)
        assert "times their noise" in found.phases.end_members.note
    assert np.mean(np.abs(wrong) <= quoted) >= 0.6
    assert 0.05 < np.median(quoted) < 0.4


@pytest.mark.parametrize("edge", ["O K", "Co L3"])
def test_pixels_hold_the_truth_with_the_noise_of_their_own_background_and_area(edge):
    pure = normalised(oxygen_spectra(ENERGIES))
    windows = Windows(EDGE.background, EDGE.area)
    level, weight = windows.weights(ENERGIES)
    area, beside = weight - weight.sum() * level, background_shapes(ENERGIES, EDGES[edge])
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shares, scale = rng.dirichlet((3.0, 3.0, 3.0), 500), rng.uniform(2.0, 5.0, 500)
        density = scale[:, None] * (shares @ pure) + 0.3 + NOISE * rng.standard_normal((500, len(ENERGIES)))
        above = density - density @ level[:, None]
        total = (above @ weight)[:, None]
        fit = fit_normalised(above / total, pure, np.full_like(density, NOISE**2) / total**2, area, beside)
        value, sigma = ratio(fit, 0, (0, 1))
        inside.append(np.abs(value - shares[:, 0] / shares[:, :2].sum(axis=1)) <= sigma)
        inside.append((np.abs(fit.fractions - shares) <= fit.sigma)[:, 0])
    assert 0.64 <= np.mean(inside) <= 0.76  # widened by the misfit, which is never below one


@pytest.mark.parametrize(("sample", "without"), [("LRNMC 311 mAh/g", 0.002), ("LRNMC discharged", 0.008)])
def test_what_absorbs_beside_the_phases_does_not_pull_the_totals_of_a_metal_edge(sample, without):
    """The exact mean spectrum of the sample, with its binder, its other elements and light that it does not see."""
    energies, phantom, edge = np.r_[842:848.1:1.5, 851:857.1:0.4], phantom_of(sample), EDGES["Ni L3"]
    truth = phantom.edge_areas(0.025, energies, edge.background, edge.area, "Ni")
    seen = np.array([phantom.transmission(energy, 0.025)[::5, ::5] for energy in energies])
    pixels = (truth["reduced"] + truth["oxidised"])[::5, ::5] > 0.05
    density, variance = -np.log(0.997 * seen + 0.003)[:, pixels], np.full((len(energies), pixels.sum()), 1e-8)
    average = average_spectrum(energies, density, variance, background=edge.background, area=edge.area)
    own = np.array([optical_density_per_um(state, energies) for state in ("reduced", "oxidised")])
    own -= own[:, energies < 849].mean(axis=1, keepdims=True)
    own /= np.trapezoid(own[:, energies > 850], energies[energies > 850])[:, None]
    reduced, oxidised = (truth[phase][::5, ::5][pixels].sum() for phase in ("reduced", "oxidised"))
    wrong = {}
    for columns in (1, 2):
        beside = background_shapes(energies, edge)[:columns]
        total, _ = fit_mean(average.spectrum, average.square, own, average.noise, beside)
        wrong[columns] = total.fractions[0, 0] / total.fractions[0].sum() - reduced / (reduced + oxidised)
    assert abs(wrong[2]) < 0.006
    assert abs(wrong[1]) > without


def test_pixels_are_averaged_whatever_the_noise_of_one_image():
    rng = np.random.default_rng(8)
    exact = 0.01 * normalised(oxygen_spectra(ENERGIES))[0] / normalised(oxygen_spectra(ENERGIES))[0].max()
    density = exact[:, None] + 0.02 * rng.standard_normal((len(ENERGIES), 4000))
    given = {"background": EDGE.background, "area": EDGE.area, "at": EDGE.sample}
    at = np.abs(ENERGIES - EDGE.sample).argmin()
    raised, free = (
        average_spectrum(ENERGIES, density, np.full_like(density, 4e-4), **given, threshold=threshold)
        for threshold in (0.0, None)
    )
    assert free.pixels == 4000
    assert abs(free.spectrum[at] - normalised(exact[None])[0, at]) < 3 * free.sigma[at]
    assert raised.spectrum[at] - normalised(exact[None])[0, at] > 10 * raised.sigma[at]


def test_flattening_is_found_in_the_mean_spectrum_and_undone():
    pure = oxygen_spectra(np.arange(520.0, 545.0, 0.5))
    rng = np.random.default_rng(3)
    shares, thickness = rng.dirichlet((2.0, 2.0, 2.0), 4000), rng.uniform(0.2, 1.2, 4000)
    exact = thickness[:, None] * (shares @ pure)
    flat = exact - 0.02 * exact**2 + 0.004 * rng.standard_normal(exact.shape)
    variance = np.full(exact.shape[1], 0.004**2)
    total, flattening = fit_mean(flat.mean(axis=0), (flat**2).mean(axis=0) - variance, pure, variance / 4000)
    (value,), (sigma,) = ratio(total, 0, (0, 1))
    truth = (thickness @ shares)[0] / (thickness @ shares)[:2].sum()
    assert flattening == pytest.approx(0.02, abs=0.002)
    assert abs(value - truth) < max(3 * sigma, 0.003)
    _, nothing = fit_mean(flat.mean(axis=0)[:9], flat.mean(axis=0)[:9], pure[:, :9], variance[:9])
    assert nothing == 0.0
    unknown, nothing = fit_mean(np.full(9, np.nan), np.full(9, np.nan), pure[:, :9], variance[:9], np.ones((1, 9)))
    assert np.isnan(unknown.fractions).all()
    assert nothing == 0.0


def test_no_flattening_is_undone_that_would_have_added_to_absorption():
    """Where little of the absorption is the edge's, its square is alike to edge and constant, and takes their place."""
    pure = oxygen_spectra(np.arange(520.0, 545.0, 0.5))
    rng = np.random.default_rng(4)
    shares, thickness = rng.dirichlet((2.0, 2.0, 2.0), 4000), rng.uniform(0.2, 0.5, 4000)
    density = 1.5 + thickness[:, None] * (shares @ pure)
    mean, square = (density + 0.02 * density**2).mean(axis=0), (density**2).mean(axis=0)
    variance = np.full(len(mean), 1e-8)
    total, flattening = fit_mean(mean, square, pure, variance, np.ones((1, len(mean))))
    assert flattening == 0.0
    found = total.fractions[0] / total.fractions.sum()
    assert found == pytest.approx(thickness @ shares / thickness.sum(), abs=0.03)
    assert total.fractions.sum() == pytest.approx(thickness.mean(), rel=0.1)
    assert (total.sigma[0] > 0.003).all()  # half of what it would have done


def test_the_noise_of_references_is_in_the_fractions():
    exact, sigma, inside = oxygen_spectra(ENERGIES), 0.01, []
    weights = np.full(len(ENERGIES), NOISE**-2)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        measured = exact + sigma * rng.standard_normal(exact.shape)
        spectrum = np.array([[0.3, 0.5, 0.2]]) @ exact
        plain = unmix(spectrum, measured, np.full(spectrum.shape, 1e-10))
        spread = spread_of_noise(measured, np.full(exact.shape, sigma**2), weights)
        fit = with_uncertain_references(plain, spread)
        inside.append(np.abs(fit.fractions - [0.3, 0.5, 0.2]) <= fit.sigma)
    assert 0.60 <= np.mean(inside) <= 0.76


def test_nmf_is_the_same_each_time_and_explains_the_pixels():
    density, _, _ = mixtures(np.random.default_rng(7), pixels=500)
    start = oxygen_spectra(ENERGIES) * 1.1
    nmf = factorise(density, start)
    np.testing.assert_array_equal(nmf.weights, factorise(density, start).weights)
    assert (nmf.weights >= 0).all()
    assert (nmf.components >= 0).all()
    left = np.linalg.norm(np.maximum(density, 0) - nmf.weights @ nmf.components)
    assert left == pytest.approx(nmf.reconstruction_error, rel=1e-6)
    assert left < 1.3 * NOISE * np.sqrt(density.size)


def test_colours_are_those_of_the_hsv_scale():
    fractions = np.linspace(0, 1, 11)
    shown = colours(fractions, np.full(11, 2.0), full=4.0)
    expected = [colorsys.hsv_to_rgb(fraction / 3, 1.0, 0.5) for fraction in fractions]
    np.testing.assert_allclose(shown, expected, atol=1e-12)
    np.testing.assert_allclose(colours(fractions, np.full(11, 9.0), full=4.0), colour_scale(11), atol=1e-12)
    assert colours(np.array([0.5, np.nan]), np.array([-1.0, 1.0]), full=1.0).max() == 0.0


def test_the_edge_area_is_the_integral_less_the_background():
    energies = np.arange(520.0, 560.5, 0.5)
    density = np.where(energies >= 535.0, 1.0, 0.2)[:, None] * np.ones((1, 3))
    np.testing.assert_allclose(edge_area(energies, density, (535.0, 560.0), 0.2), 25.0 * 0.8)
    assert np.isnan(edge_area(energies, density, (600.0, 610.0))).all()


def test_the_average_holds_the_truth_within_its_uncertainty_and_has_an_area_of_one():
    truth = None
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        thickness = np.linspace(0.1, 0.8, 40)
        exact = oxygen_spectra(ENERGIES)[0][:, None] * thickness
        windows = {"background": EDGE.background, "area": EDGE.area}
        density = exact + NOISE * rng.standard_normal(exact.shape)
        average = average_spectrum(ENERGIES, density, np.full_like(exact, NOISE**2), **windows)
        spectrum, sigma, pixels = average.spectrum, average.sigma, average.pixels
        truth = average_spectrum(ENERGIES, exact, np.full_like(exact, NOISE**2), **windows).spectrum
        inside.append(np.abs(spectrum - truth) <= sigma)
        assert pixels == 40
    chosen = ENERGIES >= 525
    assert np.trapezoid(spectrum[chosen], ENERGIES[chosen]) == pytest.approx(1.0)
    assert 0.60 <= np.mean(inside) <= 0.76


def test_pixels_below_the_threshold_are_not_averaged():
    density = oxygen_spectra(ENERGIES)[0][:, None] * np.array([0.0, 0.02, 0.5, 0.9])
    windows = {"background": EDGE.background, "area": EDGE.area, "at": 529.5, "threshold": 0.1}
    assert average_spectrum(ENERGIES, density, np.full_like(density, 1e-6), **windows).pixels == 2
    empty = average_spectrum(ENERGIES, density[:, :1], np.full((len(ENERGIES), 1), 1e-6), **windows)
    assert empty.pixels == 0
    assert np.isnan(empty.spectrum).all()


def test_the_edge_is_known_by_its_name_or_by_the_energies():
    assert edge_of("O K", ENERGIES).name == "O K"
    assert edge_of("", np.arange(700.0, 730.0, 0.5)).name == "Fe L3"
    other = edge_of("Ti L", np.arange(450.0, 480.0, 0.5))
    assert other.feature is None
    assert other.background == pytest.approx((450.0, 453.54))


def test_an_energy_offset_between_two_series_is_recovered_within_its_uncertainty():
    energies = np.arange(520.0, 545.0, 0.2)
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        true = rng.uniform(-0.4, 0.4)
        reference = oxygen_spectra(energies)[0]
        measured = 1.3 * oxygen_spectra(energies + true)[0] + 0.01 * rng.standard_normal(len(energies))
        found, sigma, status = energy_offset(energies, measured, np.full(len(energies), 0.01), energies, reference)
        assert status == "ok"
        inside.append(abs(found - true) <= sigma)
    assert 0.60 <= np.mean(inside) <= 0.76
    reference[[3, 60]] = np.nan  # energies without an image
    assert energy_offset(energies, measured, np.full(len(energies), 0.01), energies, reference)[2] == "ok"
    nothing = np.full_like(reference, np.nan)
    *_, status = energy_offset(energies, measured, np.full(len(energies), 0.01), energies, nothing)
    assert status == "the two spectra share 0 energies, expected 10 or more"


def test_stacks_of_different_energy_scales_are_pooled_on_one():
    shift = 0.13
    images = oxygen_spectra(ENERGIES)[:, :, None] * np.ones((1, 1, 4))
    moved = oxygen_spectra(ENERGIES + shift)[0][:, None, None] * np.ones((1, 2, 3))
    noise = np.full_like(moved, 1e-4)
    one = Stack("one", ENERGIES, images[0][:, None], np.full_like(images[0][:, None], 1e-4))
    two = Stack("two", ENERGIES, moved, noise, offset=shift)
    energies, (first, second), (_, variance) = pool([one, two])
    assert energies[0] >= ENERGIES[0] + shift
    assert (first.shape, second.shape) == ((4, len(energies)), (6, len(energies)))
    fine = energies > 526.5
    np.testing.assert_allclose(second[0][fine], oxygen_spectra(energies)[0][fine], atol=2e-3)
    assert np.median(variance[0]) < 1e-4


def test_no_energy_is_pooled_across_a_gap_of_a_stack():
    images = np.ones((len(ENERGIES), 1, 4))
    there = (ENERGIES < 528.3) | (ENERGIES > 530.2)
    one = Stack("one", ENERGIES, images, images)
    two = Stack("two", ENERGIES[there] - 0.1, images[there], images[there], offset=0.0)
    energies, *_ = pool([one, two])
    assert set(energies) == {energy for energy in ENERGIES[:-1] if not 528.2 < energy < 530.1}


def test_an_offset_is_not_found_from_what_lies_in_a_gap_of_the_reference():
    energies = np.arange(520.0, 545.0, 0.2)
    reference, sigma = oxygen_spectra(energies)[0], np.full(len(energies), 0.01)
    lost = (energies > 528.0) & (energies < 533.0)
    reference[lost] = np.nan
    spectrum = oxygen_spectra(energies + 0.1)[0]
    found, uncertain, status = energy_offset(energies, spectrum, sigma, energies, reference)
    assert status == "ok"
    assert abs(found - 0.1) < 3 * uncertain
    spectrum[lost] = 100.0
    assert energy_offset(energies, spectrum, sigma, energies, reference) == (found, uncertain, status)


@pytest.mark.parametrize("lost", [(528.3, 531.0), (532.0, 536.0), (524.9, 527.6)])
def test_no_end_members_are_found_where_images_of_the_edge_are_missing(lost):
    spectra, _, _ = mixtures(np.random.default_rng(3))
    there = (lost[0] > ENERGIES) | (lost[1] < ENERGIES)
    noise = np.full_like(spectra[:, there], NOISE**2)
    status = analyse(ENERGIES[there], [spectra[:, there]], [noise], EDGE).status
    assert status.startswith("no image between 5")
    assert "where the edge area from 525.0 to 535.0 eV is integrated" in status


def test_stacks_without_common_energies_are_refused():
    stack = Stack("one", ENERGIES, np.zeros((len(ENERGIES), 2, 2)), np.ones((len(ENERGIES), 2, 2)))
    other = Stack("two", ENERGIES + 100, stack.density, stack.variance)
    with pytest.raises(ValueError, match="the stacks share 0 energies"):
        pool([stack, other])


def test_the_focus_is_where_lines_are_sharpest_within_its_uncertainty():
    positions, truth, inside = np.arange(-40.0, 41.0, 4.0), 3.3, []
    x = np.arange(200.0)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = []
        for position in positions:
            width = np.hypot(1.5, (position - truth) / 8)
            line = 5000 * (1 - 0.6 * sum(peak(x, centre, 2.3548 * np.hypot(2, width)) for centre in (40, 90, 150)))
            counts = rng.poisson(line).astype(float)
            values.append(sharpness(counts, counts))
        value, sigma = np.array(values).T
        best, best_sigma, status = best_focus(positions, value, sigma)
        assert status == "ok"
        inside.append(abs(best - truth) <= best_sigma)
    assert 0.60 <= np.mean(inside) <= 0.80


def test_a_focus_beyond_the_range_or_none_is_refused():
    positions = np.arange(10.0)
    assert "focus lies beyond" in best_focus(positions, positions, np.full(10, 0.1))[2]
    assert "no line is sharper" in best_focus(positions, np.ones(10), np.full(10, 0.5))[2]
    assert "expected 5 or more" in best_focus(positions[:3], positions[:3], np.full(3, 0.1))[2]


def test_binder_of_which_there_is_most_is_no_phase_since_it_absorbs_nothing_at_the_feature():
    energies = np.arange(520.0, 560.0, 0.5)
    edge = EDGES["O K"]
    step = 1 / (1 + np.exp((535.0 - energies) / 0.8))

    def with_feature(height):
        return step + height * np.exp(-0.5 * ((energies - edge.feature) / 0.7) ** 2)

    binder, reduced, oxidised = with_feature(0.0), with_feature(0.2), with_feature(0.8)
    order, names = order_and_name(energies, np.stack([binder, oxidised, reduced]), np.array([5.0, 2.0, 1.0]), edge)
    assert names == ["reduced", "oxidised", "other"]
    assert order == [2, 1, 0]


def test_the_phases_at_the_edge_of_a_metal_are_what_there_is_most_of_however_little_it_absorbs_at_the_feature():
    energies = np.arange(771.0, 784.5, 0.5)
    reduced, oxidised, thick = (
        np.exp(-0.5 * ((energies - at) / width) ** 2) / width
        for at, width in ((780.5, 0.5), (781.5, 0.9), (781.0, 1.6))
    )
    feature = np.abs(energies - EDGES["Co L3"].feature).argmin()
    assert reduced[feature] < thick[feature] < oxidised[feature]
    spectra, amounts = np.stack([thick, oxidised, reduced]), np.array([0.4, 1.1, 0.8])
    order, names = order_and_name(energies, spectra, amounts, EDGES["Co L3"])
    assert (order, names) == ([2, 1, 0], ["reduced", "oxidised", "other"])
