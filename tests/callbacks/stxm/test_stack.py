"""A stack through all its steps: drift undone, fractions recovered, pixels masked, partial stacks valid."""

import numpy as np
import pytest
from phantoms import DWELL, blobs, grid_of, oxygen_spectra, reduced_chain
from scipy import ndimage

from callbacks.fitting.nonnegative import unmix
from callbacks.pipelines import StxmSettings
from callbacks.stxm.density.masks import MASK_REASONS
from callbacks.stxm.density.optical_density import optical_density

ENERGIES = np.r_[np.arange(520.0, 526.0, 1.0), np.arange(526.0, 534.0, 0.4), np.arange(534.0, 546.0, 1.0)]
FEWER = slice(None, None, 2)  # every other energy, where the question is not how well
SHAPE, MARGIN, RATE = (64, 72), 12, 1.2e7


@pytest.fixture(scope="module")
def truth():
    """Thickness maps of reduced, oxidised and binder on a field with a margin, and a drift."""
    rng = np.random.default_rng(5)
    large = tuple(side + 2 * MARGIN for side in SHAPE)
    whole = 0.8 * blobs(large, rng, number=26)
    share = np.clip(ndimage.gaussian_filter(rng.uniform(-2, 3, large), 6) * 3, 0.1, 0.9)
    binder = 0.25 * blobs(large, rng, number=6)
    steps = np.linspace(0, 1, len(ENERGIES))
    drift = np.column_stack([3.0 * np.sin(2.2 * steps), -4.0 * steps + 0.4 * np.sin(9 * steps)])
    return {"maps": np.array([whole * share, whole * (1 - share), binder]), "drift": drift}


@pytest.fixture(scope="module")
def counts(truth):
    rng = np.random.default_rng(6)
    spectra = oxygen_spectra(ENERGIES)
    images = []
    for energy, move in enumerate(truth["drift"]):
        density = np.tensordot(spectra[:, energy], truth["maps"], axes=1)
        image = ndimage.shift(np.exp(-density), move, order=5, mode="nearest")[MARGIN:-MARGIN, MARGIN:-MARGIN]
        images.append(rng.poisson(RATE * DWELL * (1 - 0.05 * steps_of(energy)) * image))
    return np.array(images, dtype=float)


def steps_of(energy):
    return energy / len(ENERGIES)


def settings(**kwargs):
    references = {
        name: {"energy": ENERGIES.tolist(), "optical_density": spectrum.tolist()}
        for name, spectrum in zip(("reduced", "oxidised", "binder"), oxygen_spectra(ENERGIES), strict=True)
    }
    return StxmSettings.model_validate({"chemistry": {"references": references}, **kwargs})


@pytest.fixture(scope="module")
def reduced(counts):
    chain, images = reduced_chain(counts, ENERGIES, settings=settings())
    return chain.result, images


@pytest.mark.long
def test_the_drift_is_recovered(reduced, truth):
    result, _ = reduced
    wrong = result["drift"][:, 0] + truth["drift"] - truth["drift"][0]
    assert np.sqrt(np.mean(wrong**2)) < 0.06  # an image of 64 x 72 pixels
    assert list(result["image_status"]) == ["ok"] * len(ENERGIES)


def test_the_reduced_fraction_is_recovered_within_its_uncertainty(reduced, truth):
    result, _ = reduced
    maps = truth["maps"][:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    expected = maps[0] / np.maximum(maps[0] + maps[1], 1e-9)
    inside = (result["edge_jump"] > 0.3) & np.isfinite(result["reduced_fraction"])
    wrong = result["reduced_fraction"] - expected
    assert inside.sum() > 300
    assert np.median(np.abs(wrong[inside])) < 0.03
    assert 0.60 <= np.mean(np.abs(wrong) <= result["reduced_fraction_sigma"], where=inside) <= 0.76


def test_maps_appear_as_soon_as_the_references_can_be_told_apart(reduced):
    _, images = reduced
    mapped = [np.isfinite(image["reduced_fraction"]).any() for image in images]
    first = mapped.index(True)
    assert 528.0 < ENERGIES[first] < 536.0
    assert all(mapped[first:])
    assert "look alike" in images[first - 1]["chemical_status"]


def test_the_incident_flux_is_that_of_the_blank_pixels(reduced):
    result, _ = reduced
    expected = RATE * (1 - 0.05 * np.arange(len(ENERGIES)) / len(ENERGIES))
    assert result["i0_status"] == "ok"
    assert np.abs(result["incident_rate"] / expected - 1).max() < 0.002
    blank = result["blank"] > 0
    assert np.abs(np.nanmean(result["optical_density"][:, blank], axis=1)).max() < 0.002


def test_pixels_that_left_the_field_are_masked_as_drifted_out(reduced):
    result, _ = reduced
    drifted = result["mask"] == MASK_REASONS.index("drifted out")
    assert drifted[:, :3].all()  # the sample went to smaller columns
    assert drifted[-2:].all()  # and larger rows
    assert np.isnan(result["reduced_fraction"][drifted]).all()


def test_components_explain_the_stack(reduced):
    result, images = reduced
    assert result["pca_status"] == "ok"
    share = result["pca_eigenvalues"] / result["pca_eigenvalues"].sum()
    assert share[:2].sum() > 0.5
    assert result["pca_significant"] >= 1
    assert images[-1]["pca_explained"][0] == pytest.approx(share[0], rel=0.04)  # of the shifts known by then


@pytest.mark.long
def test_a_partial_stack_is_valid(counts):
    rows = SHAPE[0]
    measured = set(range(1, 18 * rows + 9))  # stopped 8 lines into the 19th image
    chain, images = reduced_chain(counts, ENERGIES, settings=settings(), lines=measured)
    result = chain.result
    assert len(images) == 19
    assert result["image_status"][18].startswith("12% of the lines measured")
    assert np.isnan(result["optical_density"][18]).all()
    assert np.isfinite(result["optical_density"][:18, 10, 20:40]).all()
    assert result["pca_status"] == "ok"


@pytest.mark.long
def test_a_few_missing_lines_leave_nan_there_only(counts):
    rows = SHAPE[0]
    measured = set(range(1, len(ENERGIES[FEWER]) * rows + 1)) - {3 * rows + 30, 3 * rows + 31}
    chain, _ = reduced_chain(counts[FEWER], ENERGIES[FEWER], settings=settings(), lines=measured)
    result = chain.result
    missing = np.isnan(result["optical_density"][3]).all(axis=1)
    assert 2 <= missing.sum() <= 10
    assert (result["mask"][missing][:, 10:40] == MASK_REASONS.index("not measured")).any()
    assert np.isfinite(result["reduced_fraction"][:20]).any()


def test_a_covered_field_has_no_optical_density_and_says_why(truth):
    rng = np.random.default_rng(7)
    rough = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 4)
    thick = 0.2 + 0.25 * (rough - rough.min()) / rough.std()
    spectrum = oxygen_spectra(ENERGIES)[0]
    covered = rng.poisson(RATE * DWELL * np.exp(-spectrum[:, None, None] * thick)).astype(float)
    chain, images = reduced_chain(covered[FEWER], ENERGIES[FEWER], settings=settings())
    result = chain.result
    assert result["i0_status"] != "ok"
    assert np.isnan(result["optical_density"]).all()
    assert result["chemical_status"] == result["i0_status"]
    assert all("no place without sample" in said for said in (images[-1]["i0_status"], result["i0_status"]))


@pytest.mark.long
def test_a_blank_region_that_was_given_is_used(counts):
    grid = grid_of(ENERGIES[FEWER], SHAPE, blank=(0.0, 0.3, 0.3, 1.2))
    chain, _ = reduced_chain(counts[FEWER], ENERGIES[FEWER], settings=settings(), grid=grid)
    rows, columns = np.nonzero(chain.result["blank"])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 40, 0, 10)


@pytest.mark.long
def test_an_image_that_jumped_away_is_not_used_and_says_so(counts):
    jumped = counts.copy()
    jumped[20] = np.roll(counts[20], (0, 9), axis=(0, 1))
    chain, _ = reduced_chain(jumped, ENERGIES, settings=settings())
    result = chain.result
    assert "is not drift" in result["image_status"][20]
    assert np.isnan(result["optical_density"][20]).all()
    assert [status for place, status in enumerate(result["image_status"]) if place != 20] == ["ok"] * (
        len(ENERGIES) - 1
    )
    assert result["chemical_status"] == "ok"


@pytest.mark.long
def test_saturated_and_opaque_pixels_are_masked(counts):
    limits = {"saturated_above": 0.5, "opaque_above": 0.8}
    chain, _ = reduced_chain(counts[FEWER], ENERGIES[FEWER], settings=settings(absorbance=limits))
    result = chain.result
    highest = np.nanmax(np.nan_to_num(result["optical_density"], nan=-1.0), axis=0)
    saturated, opaque = (result["mask"] == MASK_REASONS.index(reason) for reason in ("saturated", "opaque"))
    assert saturated.sum() > 20
    assert opaque.sum() > 20
    assert highest[saturated].min() > 0.5
    assert highest[saturated].max() <= 0.8
    assert highest[opaque].min() > 0.8
    assert np.isnan(result["reduced_fraction"][saturated | opaque]).all()


def test_optical_density_has_no_bias_at_few_counts_and_the_right_variance():
    rng = np.random.default_rng(8)
    rate = rng.poisson(80.0, (1, 200_000)).astype(float)
    density, variance = optical_density(rate, rate, np.array([200.0]), np.array([0.0]))
    assert density.mean() == pytest.approx(np.log(200 / 80), abs=0.002)
    assert density.var() == pytest.approx(variance.mean(), rel=0.05)


def test_without_light_through_there_is_no_optical_density():
    density, _ = optical_density(np.array([[0.0, -1.0, 5.0]]), np.ones((1, 3)), np.array([10.0]), np.array([0.1]))
    assert np.isnan(density[0]).tolist() == [True, True, False]


def test_the_total_is_that_of_the_mean_spectrum(reduced):
    result, _ = reduced
    good = result["mask"] == 0
    mean = result["optical_density"][:, good].mean(axis=1)
    assert result["total_fractions"] == pytest.approx(unmix(mean[None], result["end_members"]).fractions[0], abs=0.01)


@pytest.mark.parametrize(
    ("grains", "through"),
    [
        ([(5, 9, 6, 10)], 0.0),
        ([(5, 9, 6, 10)], 1.0),
        ([(5, 9, 6, 10)], 366.0),  # an optical density of 4
        ([(5, 9, 6, 10)], 2700.0),  # of 2
        ([(2, 12, 4, 14)], 0.0),
        ([(3, 5, 5, 7), (8, 11, 12, 15), (14, 16, 5, 8), (5, 7, 18, 20)], 0.0),
        ([(9, 11, 2, 23)], 0.0),
    ],
    ids=["opaque", "one count", "OD 4", "OD 2", "large", "four", "line"],
)
def test_opaque_grains_take_no_sample_free_pixel(grains, through):
    energies, shape = np.array([520.0, 524.0, 528.0, 530.0, 532.0, 536.0]), (20, 24)

    def measured(seed, grains):
        rng = np.random.default_rng(seed)
        counts = np.empty((len(energies), *shape))
        for image, energy in zip(counts, energies, strict=True):
            density = np.zeros(shape)
            density[1:-1, 2:-1] = 0.3 + (0.8 if energy > 528 else 0.0)
            image[:] = rng.poisson(20000 * np.exp(-density))
            for top, bottom, left, right in grains:
                image[top:bottom, left:right] = rng.poisson(through, (bottom - top, right - left))
        return reduced_chain(counts, energies)[0].result

    without, with_grains = measured(1, []), measured(1, grains)
    assert (without["i0_status"], without["blank"].sum()) == ("ok", 102)
    assert with_grains["i0_status"] == "ok"
    np.testing.assert_array_equal(with_grains["blank"], without["blank"])


@pytest.mark.long
def test_a_fraction_that_noise_does_not_determine_is_none_and_the_status_says_so():
    """An absorber without an edge, whose references fit noise alone."""
    rng, energies = np.random.default_rng(1), ENERGIES[FEWER]
    through = np.exp(-0.8 * blobs((24, 30), np.random.default_rng(4), number=6))
    counts = rng.poisson(2.4e4 * through, (len(energies), 24, 30)).astype(float)
    grid = grid_of(energies, (24, 30), blank=(0.0, 0.2, 0.0, 1.0))
    result = reduced_chain(counts, energies, settings=settings(), grid=grid)[0].result
    assert result["chemical_status"] == (
        "the reduced fraction is not determined:"
        " the mean spectrum of the sample has neither of the two phases above noise"
    )
    assert np.isnan(result["total_reduced"])
    assert np.isnan(result["total_reduced_sigma"])
    unknown = result["reduced_fraction_sigma"] > 1
    assert unknown.sum() > 100
    assert np.isnan(result["reduced_fraction"][unknown]).all()


@pytest.mark.long
def test_a_reference_of_part_of_the_energies_is_named_with_what_it_covers_and_what_was_expected(counts):
    part = settings().model_dump()
    short = ENERGIES <= 542.0
    part["chemistry"]["references"]["binder"] = {
        "energy": ENERGIES[short], "optical_density": oxygen_spectra(ENERGIES)[2][short]
    }  # fmt: skip
    chain, _ = reduced_chain(counts[FEWER], ENERGIES[FEWER], settings=StxmSettings.model_validate(part))
    result = chain.result
    assert result["chemical_status"] == "ok"
    assert result["reference_note"] == (
        "reference binder: covers 520 to 542 eV, expected 520 to 544 eV; 18 of 19 energies are fitted"
    )
    assert len(result["end_member_energy"]) == 18


@pytest.mark.long
def test_energies_in_the_gap_of_a_reference_are_not_fitted_which_is_said(counts):
    torn = settings().model_dump()
    gap = (ENERGIES > 531.0) & (ENERGIES < 533.0)
    torn["chemistry"]["references"]["binder"] = {
        "energy": ENERGIES[~gap], "optical_density": oxygen_spectra(ENERGIES)[2][~gap], "gaps": [(531.0, 533.0)]
    }  # fmt: skip
    inside = ENERGIES[FEWER][(ENERGIES[FEWER] > 531.0) & (ENERGIES[FEWER] < 533.0)]
    result = reduced_chain(counts[FEWER], ENERGIES[FEWER], settings=StxmSettings.model_validate(torn))[0].result
    assert result["chemical_status"] == "ok"
    assert result["reference_note"].startswith(f"reference binder: was not measured at {len(inside)} energ")
    assert len(result["end_member_energy"]) == len(ENERGIES[FEWER]) - len(inside)
