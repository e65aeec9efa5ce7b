"""Components that grow by energies and by pixels, against one singular value decomposition of everything."""

import itertools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from callbacks.stxm.components.moments import RunningMoments
from callbacks.stxm.components.normalisation import Windows
from callbacks.stxm.components.pca import StreamingPCA, stream_hdf5
from callbacks.stxm.components.significance import noise_cut, noise_edge, significance
from callbacks.stxm.components.storage import CHUNK

BACKGROUND, AREA = (520.0, 526.0), (525.0, 531.0)


def stack(rng, pixels, energies, *, noise=0.05, signals=3):
    """Give energies, ascending, and spectra of a few components of which all pixels have a positive area."""
    energy = np.linspace(520.0, 535.0, energies)
    shapes = (
        1
        / (1 + np.exp(-(energy - 526.0) / 0.7))
        * (1 + 0.5 * np.sin(energy[None, :] * np.arange(1, signals + 1)[:, None]))
    )
    shapes[0] += 1 / (1 + np.exp(-(energy - 526.0) / 0.7))
    amounts = rng.uniform(0.1, 1.0, (pixels, signals)) * 0.5 ** np.arange(signals)
    amounts[:, 0] += 0.5
    offset = rng.normal(0.4, 0.1, (pixels, 1))
    return energy, offset + amounts @ shapes + noise * rng.standard_normal((pixels, energies))


def normalised(energy, spectra, background=None, area=None):
    """Normalise plainly; give the spectra, their noise and whether they can be used."""
    order = np.argsort(energy, kind="stable")
    out, noise = spectra.copy(), np.full(len(spectra), np.nan)
    if background:
        inside = (energy >= background[0]) & (energy <= background[1])
        out -= out[:, inside].mean(axis=1, keepdims=True)
    usable = np.isfinite(spectra).all(axis=1)
    if area:
        chosen = order[(energy[order] >= area[0]) & (energy[order] <= area[1])]
        total = np.trapezoid(out[:, chosen], energy[chosen], axis=1)
        usable &= total > 0
        out = out / np.where(usable, total, 1.0)[:, None]
    if background and inside.sum() > 1:
        noise = out[:, inside].std(axis=1, ddof=1)
    return out, noise, usable


def batch(energy, spectra, *, mask=None, cut=None, background=None, area=None):
    """Give kept, mean, eigenvalues and components of one decomposition of everything."""
    out, noise, kept = normalised(energy, spectra, background, area)
    if mask is not None:
        kept = kept & mask
    if cut is not None:
        kept = kept & ~(noise > cut)
    mean = out[kept].mean(axis=0)
    _, singular, rows = np.linalg.svd(out[kept] - mean, full_matrices=kept.sum() < len(energy))
    values = np.zeros(len(energy))
    values[: len(singular)] = singular**2 / (kept.sum() - 1)
    return kept, mean, values, rows, out


def angle(one, other):
    """Give the largest angle between the spaces of orthonormal rows."""
    return np.arcsin(np.clip(np.linalg.norm(one - one @ other.T @ other, 2), 0, 1))


def assert_equal(pca, energy, spectra, k=3, **options):
    """Compare with the batch, in the order in which the energies came."""
    order = [int(np.flatnonzero(energy == value)[0]) for value in pca.energies]
    kept, mean, values, rows, out = batch(energy[order], spectra[:, order], **options)
    got = pca.result(k)
    assert got.status == "ok"
    assert np.array_equal(got.kept, kept)
    assert got.n_kept == kept.sum()
    np.testing.assert_allclose(got.mean, mean, rtol=1e-11, atol=1e-12)
    clear = values > 1e-5 * values[0]  # below, both are rounding
    np.testing.assert_allclose(got.eigenvalues[clear], values[clear], rtol=1e-9)
    np.testing.assert_allclose(got.eigenvalues, values, atol=1e-12 * values[0])
    k = len(got.components)
    np.testing.assert_allclose(got.components @ got.components.T, np.eye(k), atol=1e-12)
    if k < len(values) and values[k - 1] > 1.02 * values[k] and values[k - 1] > 1e-5 * values[0]:
        assert angle(got.components, rows[:k]) <= 1e-7
    np.testing.assert_allclose(got.scores[kept], (out[kept] - mean) @ got.components.T, atol=1e-9)
    assert np.isnan(got.scores[~kept]).all()
    return got


@st.composite
def arrivals(draw):
    """Draw spectra with pixels not measured, and the order in which they come."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels, energies = draw(st.integers(12, 90)), draw(st.integers(6, 20))
    energy, spectra = stack(rng, pixels, energies)
    lost = rng.random(spectra.shape) < draw(st.sampled_from([0.0, 0.002]))
    spectra[lost & (np.arange(pixels) > 5)[:, None]] = np.nan
    return {
        "energy": energy,
        "spectra": spectra,
        "order": draw(st.permutations(range(energies))) if draw(st.booleans()) else list(range(energies)),
        "images": draw(st.integers(1, energies)),  # energies before the first block of pixels
        "blocks": sorted(draw(st.lists(st.integers(1, pixels), max_size=3))),
        "asked": draw(st.booleans()),  # for a result at each step
        "background": BACKGROUND if draw(st.booleans()) else None,
        "area": AREA if draw(st.booleans()) else None,
    }


def feed(pca, case):
    """Give images of the first pixels, then the other pixels in blocks, then the other energies."""
    energy, spectra, order = case["energy"], case["spectra"], case["order"]
    edges = sorted({*case["blocks"], len(spectra)})
    for index in order[: case["images"]]:
        image = spectra[: edges[0], index]
        if np.isfinite(image).any():
            pca.add_energy(energy[index], image)
        if case["asked"]:
            pca.result(2)
    for start, stop in itertools.pairwise(edges):
        pca.add_pixels(spectra[start:stop, order[: case["images"]]])
        if case["asked"]:
            pca.result(2)
    for index in order[case["images"] :]:
        pca.add_energy(energy[index], spectra[:, index])
        if case["asked"]:
            pca.result(2)


def enough(case):
    """Say whether there is something to compare: all images measured, pixels to spare."""
    first = sorted({*case["blocks"], len(case["spectra"])})[0]
    return np.isfinite(case["spectra"][:first]).any(axis=0).all()


@pytest.mark.long
@settings(max_examples=120, deadline=None)
@given(arrivals())
def test_energies_and_pixels_in_any_order_give_what_one_decomposition_gives(case):
    pca = StreamingPCA(background=case["background"], area=case["area"])
    if not enough(case):
        case["spectra"] = np.nan_to_num(case["spectra"], nan=0.5)
    feed(pca, case)
    assert_equal(pca, case["energy"], case["spectra"], background=case["background"], area=case["area"])


@pytest.mark.long
@settings(max_examples=80, deadline=None)
@given(arrivals(), st.lists(st.tuples(st.floats(0.0, 0.6), st.none() | st.floats(0.3, 1.0)), min_size=1, max_size=4))
def test_filters_that_change_give_what_one_decomposition_of_the_kept_gives(case, filters):
    case["background"] = BACKGROUND
    rng = np.random.default_rng(0)
    pca = StreamingPCA(background=BACKGROUND, area=case["area"])
    if not enough(case):
        case["spectra"] = np.nan_to_num(case["spectra"], nan=0.5)
    feed(pca, case)
    pca.result(1)
    noise = pca.noise
    options = {"background": BACKGROUND, "area": case["area"]}
    for dropped, quantile in filters:
        mask = rng.random(len(case["spectra"])) >= dropped
        mask[:6] = True
        known = noise[np.isfinite(noise)]
        cut = None if quantile is None or not known.size else max(float(np.quantile(known, quantile)), noise[:6].max())
        cut = cut and cut * (1 + 1e-9)  # not on a pixel's own noise, where rounding decides
        pca.set_filter(mask, cut)
        assert_equal(pca, case["energy"], case["spectra"], mask=mask, cut=cut, **options)
    pca.set_filter()
    assert_equal(pca, case["energy"], case["spectra"], **options)


@pytest.mark.parametrize("windows", [{}, {"background": BACKGROUND, "area": AREA}])
def test_many_chunks_with_borders_that_drift_out_at_each_energy(windows):
    energy, spectra = stack(np.random.default_rng(1), 2 * CHUNK + 1234, 24)
    for index in range(24):
        spectra[index * 40 : index * 40 + 40, index] = np.nan
    pca = StreamingPCA(**windows)
    for index in range(24):
        pca.add_energy(energy[index], spectra[:, index].reshape(2, -1))
        pca.result(3)
    assert_equal(pca, energy, spectra, **windows)


def test_once_the_windows_are_full_nothing_is_computed_anew(monkeypatch):
    energy, spectra = stack(np.random.default_rng(2), 500, 30)
    pca, anew = StreamingPCA(background=BACKGROUND, area=AREA), []
    recompute = RunningMoments.recompute

    def counted(moments, blocks, energies):
        anew.append(energies)
        recompute(moments, blocks, energies)

    monkeypatch.setattr(RunningMoments, "recompute", counted)
    for value, image in zip(energy, spectra.T, strict=True):
        pca.add_energy(value, image)
        pca.result(3)
    assert max(anew) == (energy <= AREA[1]).sum() < 30
    anew.clear()
    pca.set_filter(np.arange(500) >= 30)
    assert_equal(pca, energy, spectra, mask=np.arange(500) >= 30, background=BACKGROUND, area=AREA)
    assert anew == []


def test_a_pixel_with_nearly_no_area_leaves_no_trace_once_it_is_cut():
    energy, spectra = stack(np.random.default_rng(3), 400, 20)
    spectra[7] = 0.4 + 1e-9 * (spectra[7] - 0.4)
    spectra[8] = 0.4 - (spectra[8] - 0.4)
    spectra[7, :5] += 1e-3 * np.array([1.0, -1.0, 1.0, -1.0, 0.0])
    pca = StreamingPCA(background=BACKGROUND, area=AREA)
    for value, image in zip(energy, spectra.T, strict=True):
        pca.add_energy(value, image)
    assert pca.result(3).eigenvalues[0] > 1e6
    cut = noise_cut(pca.noise)
    pca.set_filter(noise_cut=cut)
    got = assert_equal(pca, energy, spectra, cut=cut, background=BACKGROUND, area=AREA)
    assert not got.kept[7]
    assert not got.kept[8]
    assert got.kept.sum() > 390


def test_windows_can_change_afterwards():
    energy, spectra = stack(np.random.default_rng(4), 300, 20)
    pca = StreamingPCA()
    pca.add_pixels(spectra, energies=energy)
    assert_equal(pca, energy, spectra)
    pca.set_normalisation(background=BACKGROUND, area=AREA)
    got = assert_equal(pca, energy, spectra, background=BACKGROUND, area=AREA)
    plain, noise, _ = normalised(energy, spectra, BACKGROUND, AREA)
    np.testing.assert_allclose(got.noise, noise, rtol=1e-10)
    np.testing.assert_allclose(plain[:, -1] * pca.area, spectra[:, -1] - spectra[:, energy <= 526].mean(axis=1))
    pca.set_normalisation()
    assert_equal(pca, energy, spectra)


def test_a_result_stays_what_it_was_while_the_stack_grows():
    energy, spectra = stack(np.random.default_rng(5), 200, 20)
    pca = StreamingPCA(background=BACKGROUND)
    for value, image in zip(energy[:12], spectra.T[:12], strict=True):
        pca.add_energy(value, image)
    early, expected = pca.result(2), pca.result(2).scores
    for value, image in zip(energy[12:], spectra.T[12:], strict=True):
        pca.add_energy(value, image)
    pca.set_filter(np.arange(200) > 100)
    pca.add_pixels(spectra)
    pca.result(2)
    assert early.components.shape == (2, 12)
    assert np.array_equal(early.scores, expected)
    assert early.kept.sum() == 200


def test_the_same_arrivals_give_the_same_bits():
    energy, spectra = stack(np.random.default_rng(6), 300, 20)
    results = []
    for _ in range(2):
        pca = StreamingPCA(background=BACKGROUND, area=AREA)
        for value, image in zip(energy, spectra.T, strict=True):
            pca.add_energy(value, image)
            pca.result(3)
        results.append(pca.result(3))
    assert np.array_equal(results[0].components, results[1].components)
    assert np.array_equal(results[0].scores, results[1].scores)


def test_signs_and_shares_of_the_components():
    energy, spectra = stack(np.random.default_rng(7), 300, 20)
    pca = StreamingPCA(energies=energy)
    pca.add_pixels(spectra)
    got = pca.result(4)
    largest = np.argmax(np.abs(got.components), axis=1)
    assert (got.components[np.arange(4), largest] > 0).all()
    np.testing.assert_allclose(got.explained_variance, got.scores.var(axis=0, ddof=1), rtol=1e-10)
    total = spectra.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(got.explained_variance_ratio, got.explained_variance / total, rtol=1e-10)
    np.testing.assert_allclose(got.cumulative, np.cumsum(got.explained_variance_ratio), rtol=1e-12)
    assert got.eigenvalues.sum() == pytest.approx(total)


@pytest.mark.parametrize("windows", [{}, {"background": BACKGROUND, "area": AREA}])
def test_storing_in_float32_costs_less_than_a_millionth(windows):
    energy, spectra = stack(np.random.default_rng(8), CHUNK + 3000, 25, noise=0.02)
    spectra += 50.0 * np.cos(energy)  # what all pixels share costs no digits
    if windows:
        spectra -= 50.0 * np.cos(energy)
    pca = StreamingPCA(dtype=np.float32, **windows)
    for value, image in zip(energy, spectra.T, strict=True):
        pca.add_energy(value, image)
        pca.result(3)
    _, mean, values, rows, _ = batch(energy, spectra, **windows)
    got = pca.result(3)
    np.testing.assert_allclose(got.eigenvalues[:23], values[:23], rtol=1e-6)  # area and background fix two
    np.testing.assert_allclose(got.mean, mean, rtol=1e-6, atol=1e-6)
    assert angle(got.components, rows[:3]) < 1e-6


def test_a_stack_that_is_not_kept_gives_the_same_components_and_scores_block_by_block(tmp_path):
    energy, spectra = stack(np.random.default_rng(9), 900, 20)
    spectra[17, 3] = np.nan
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["stack"] = spectra.T.reshape(20, 30, 30)
        for cut in (None, 0.03):
            pca = StreamingPCA(energies=energy, background=BACKGROUND, area=AREA, noise_cut=cut)
            stream_hdf5(pca, file["stack"], block=7)
            kept, mean, values, _, out = batch(energy, spectra, cut=cut, background=BACKGROUND, area=AREA)
            got = pca.result(3)
            np.testing.assert_allclose(got.eigenvalues[:18], values[:18], rtol=1e-9)
            assert np.array_equal(got.kept, kept)
            assert got.scores.shape == (900, 3)
            assert np.isnan(got.scores).all()
            scores = np.concatenate([pca.project(spectra[start : start + 100], 3) for start in range(0, 900, 100)])
            np.testing.assert_allclose(scores[kept], (out[kept] - mean) @ got.components.T, atol=1e-10)
            assert np.isnan(scores[~kept]).all()
    for refused in (
        pca.set_filter,
        lambda: pca.set_normalisation(background=BACKGROUND),
        lambda: pca.add_energy(540.0, np.ones(900)),
    ):
        with pytest.raises(ValueError, match="not kept"):
            refused()


def test_a_stack_is_streamed_without_being_read_whole(tmp_path):
    energy, spectra = stack(np.random.default_rng(10), 600, 10)
    read = []

    class Dataset:
        shape = (10, 20, 30)

        def __getitem__(self, key):
            read.append(key[1].stop - key[1].start)
            return spectra.T.reshape(self.shape)[key]

    pca = StreamingPCA(energies=energy)
    stream_hdf5(pca, Dataset(), block=4)
    assert read == [4] * 5
    assert_values = batch(energy, spectra)[2]
    np.testing.assert_allclose(pca.result(3).eigenvalues, assert_values, rtol=1e-9)


def planted(rng, number, *, pixels=1500, energies=30, sigma=0.05):
    """Give a stack of white noise with a mean spectrum and `number` peaks that vary on their own."""
    energy = np.linspace(520.0, 535.0, energies)
    mean = np.where(energy < 526.0, 0.0, 1.0)
    shapes = np.exp(-(((energy - np.arange(527.5, 535.0, 2.0)[:number, None]) / 0.8) ** 2))
    amounts = 2.0 * sigma * rng.standard_normal((pixels, number))
    return energy, mean + amounts @ shapes + sigma * rng.standard_normal((pixels, energies))


@pytest.mark.long
@pytest.mark.parametrize("windows", [{}, {"background": BACKGROUND}, {"background": BACKGROUND, "area": AREA}])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_as_many_components_are_significant_as_were_planted(number, known, windows):
    sigma, found = 0.05, []
    for trial in range(100 if number == 0 else 20):
        energy, spectra = planted(np.random.default_rng(100 * number + trial), number, sigma=sigma)
        pca = StreamingPCA(energies=energy, **windows)
        pca.add_pixels(spectra)
        variance = np.full(30, sigma**2) * np.mean(1 / pca.area**2) if known else None
        found.append(pca.result(3, noise_variance=variance).significant)
    assert sum(value == number for value in found) >= (95 if number == 0 else 19)


def test_noise_that_differs_between_energies_is_whitened_by_its_variance():
    rng = np.random.default_rng(11)
    energy, spectra = planted(rng, 2)
    sigma = np.linspace(0.0, 0.1, 30)
    spectra += sigma * rng.standard_normal(spectra.shape)
    pca = StreamingPCA(energies=energy)
    pca.add_pixels(spectra)
    assert pca.result(3, noise_variance=0.05**2 + sigma**2).significant == 2


def test_fewer_pixels_than_energies_and_data_without_noise_have_no_false_components():
    rng = np.random.default_rng(12)
    falsely = 0
    for _ in range(50):
        values = np.linalg.eigvalsh(np.cov(rng.standard_normal((20, 40)), rowvar=False))[::-1]
        falsely += significance(values, 19).above_noise > 0
    assert falsely <= 3
    exact = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 12))
    values = np.linalg.eigvalsh(np.cov(exact, rowvar=False))[::-1]
    assert significance(values, 499).above_noise == 2


def test_pixels_that_interpolation_correlates_count_as_fewer():
    rng, found = np.random.default_rng(16), []
    for _ in range(20):
        noise = ndimage.gaussian_filter(rng.standard_normal((40, 40, 60)), (0.6, 0.6, 0.0)).reshape(-1, 60)
        pixels = noise + 4 * noise.std() * rng.standard_normal((1600, 2)) @ rng.standard_normal((2, 60))
        values = np.linalg.eigvalsh(np.cov(pixels, rowvar=False))[::-1]
        found.append(significance(values, 1599))
        assert np.sum(values / np.median(values) > noise_edge(60, 1599)) >= 5  # where pixels count as independent
    assert np.median([each.above_noise for each in found]) == 2
    assert max(each.above_noise for each in found) <= 4
    assert all(each.before_gap == 2 for each in found)


def test_noise_alone_exceeds_the_edge_in_one_case_of_a_hundred():
    rng = np.random.default_rng(13)
    above = sum(
        np.linalg.eigvalsh(np.cov(rng.standard_normal((400, 20)), rowvar=False))[-1] > noise_edge(20, 399)
        for _ in range(1000)
    )
    assert 2 <= above <= 22


def test_the_noise_cut_leaves_out_the_tail_or_the_share_asked_for():
    rng = np.random.default_rng(14)
    noise = np.exp(rng.normal(-3.0, 0.3, 20000))
    noise[:2000] *= 20
    noise[-1] = np.nan
    cut = noise_cut(noise)
    assert np.mean(noise[:2000] > cut) > 0.99
    assert np.mean(noise[2000:-1] > cut) < 0.005
    assert np.mean(noise[:-1] > noise_cut(noise, share=0.10)) == pytest.approx(0.10, abs=1e-3)


def test_a_window_without_energies_says_which_images_within_were_left_out_and_why():
    used, reasons = Windows(area=(530, 536)), ["not registered: no structure"] * 3
    said = used.left_out(np.array([520.0]), np.array([525.0, 531.0, 532.0]), reasons)
    assert said == "; 2 images within cannot be used: not registered: no structure"
    reasons[2] = "0% of the lines measured, expected 80%"
    said = used.left_out(np.array([520.0]), np.array([531.0, 532.0, 533.0]), reasons)
    assert said.endswith(": not registered: no structure (2); 0% of the lines measured, expected 80% (1)")
    assert used.left_out(np.array([531.0, 532.0]), np.array([533.0]), reasons[:1]) == ""


def test_without_enough_in_the_windows_numbers_are_nan_and_the_status_says_why():
    energy, spectra = stack(np.random.default_rng(15), 40, 20)
    pca = StreamingPCA(background=BACKGROUND, area=(530.0, 536.0))
    assert pca.result(3).status == "no energies yet"
    for value, image in zip(energy[:5], spectra.T[:5], strict=True):
        pca.add_energy(value, image)
    got = pca.result(3)
    assert got.status == "the area window 530 to 536 eV holds 0 energies, expected 2"
    assert np.isnan(got.components).all()
    assert got.components.shape == (3, 5)
    assert np.isnan(got.scores).all()
    assert got.scores.shape == (40, 3)
    assert not got.kept.any()
    pca.set_normalisation()
    pca.set_filter(np.arange(40) == 0)
    assert pca.result(3).status == "1 of 40 pixels are left, expected 2 or more"
    for value, image in zip(energy[5:], spectra.T[5:], strict=True):
        pca.add_energy(value, image)
    pca.set_filter()
    assert_equal(pca, energy, spectra)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pca: pca.add_energy(530.0, np.ones(4)), "4 pixels, expected 5"),
        (lambda pca: pca.add_energy(np.nan, np.ones(5)), "energy nan"),
        (lambda pca: pca.add_energy(530.0, np.full(5, np.nan)), "no measured pixel"),
        (lambda pca: pca.add_pixels(np.ones((3, 4))), r"\(3, 4\), expected \(pixels, energies\) at 2 energies"),
        (lambda pca: pca.add_pixels(np.ones((3, 2)), energies=[1.0, 2.0]), "energies other than"),
        (lambda pca: pca.set_filter(np.ones(4)), "4 entries, expected one for each of 5"),
        (lambda pca: pca.set_filter(noise_cut=1.0), "needs a background window"),
        (lambda pca: pca.set_normalisation(area=(530.0, 525.0)), "area window"),
        (lambda pca: pca.result(0), "0 components"),
        (lambda pca: pca.result(1, noise_variance=[1.0]), "expected 2 positive numbers"),
        (lambda pca: pca.project(np.ones((3, 3))), "at 2 energies"),
        (lambda pca: StreamingPCA(dtype=np.int16), "int16"),
        (lambda pca: StreamingPCA(energies=[520.0]).add_energy(521.0, np.ones(3)), "without pixels"),
        (lambda pca: StreamingPCA(energies=[]), "expected a list of numbers"),
        (lambda pca: StreamingPCA().project(np.ones((3, 3))), "no energies yet"),
        (lambda pca: noise_cut([np.nan]), "no pixel with known noise"),
        (lambda pca: noise_cut([1.0], share=1.0), "share 1.0"),
        (lambda pca: stream_hdf5(pca, np.ones((3, 4, 4))), r"expected \(2 energies"),
    ],
)
def test_bad_input_is_refused_by_a_line_that_names_it_and_changes_nothing(call, message):
    pca = StreamingPCA()
    image = np.arange(5.0)
    pca.add_energy(520.0, image)
    pca.add_energy(521.0, image**2)
    before = pca.result(2).components
    with pytest.raises(ValueError, match=message):
        call(pca)
    assert np.array_equal(pca.result(2).components, before)
