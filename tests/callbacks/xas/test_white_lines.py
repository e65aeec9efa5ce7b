"""White-line ratio: areas above two steps, the ratio within its uncertainty, refused where there is none."""

import numpy as np
import pytest

from callbacks.xas.white_lines import white_line_ratio

ENERGY = np.r_[np.arange(835.0, 848.0, 1.0), np.arange(848.0, 880.0, 0.2), np.arange(880.0, 895.0, 1.0)]
EDGES = (853.0, 870.5)
OPTIONS = {
    "edges": EDGES,
    "l3_window": (848.0, 860.0),
    "l2_window": (866.0, 876.0),
    "pre_edge": (835.0, 846.0),
    "post_edge": (884.0, 895.0),
}
L3, L2 = 6.0, 2.5  # areas
NOISE = 0.02


def line(position, area):
    return area * np.exp(-0.5 * ((ENERGY - position) / 0.8) ** 2) / (0.8 * np.sqrt(2 * np.pi))


def steps(width):
    def one(edge):
        return 0.5 + np.arctan((ENERGY - edge) / (width / 2)) / np.pi if width else np.heaviside(ENERGY - edge, 0.5)

    return 2 / 3 * one(EDGES[0]) + 1 / 3 * one(EDGES[1])


def spectrum(width=1.0):
    return 0.4 - 0.002 * (ENERGY - 835.0) + 0.6 * steps(width) + line(853.3, L3) + line(870.8, L2)


@pytest.mark.parametrize(("step", "width"), [("arctan", 1.0), ("sharp", 0.0)])
def test_areas_and_jump_are_those_the_spectrum_was_made_of(step, width):
    found = white_line_ratio(
        ENERGY, spectrum(width), np.full(len(ENERGY), 1e-6), step=step, width=width or 1.0, **OPTIONS
    )
    assert found.status == "ok"
    assert found.areas == pytest.approx([L3, L2], rel=1e-6)
    assert found.jump == pytest.approx(0.6, rel=1e-6)
    assert found.ratio == pytest.approx(L3 / L2, rel=1e-6)


def test_the_ratio_is_linear_algebra_on_the_spectrum_for_every_pixel():
    rng = np.random.default_rng(0)
    spectra = (spectrum(0.0) + rng.normal(0, NOISE, (6, len(ENERGY)))).reshape(2, 3, -1)
    variance = rng.uniform(1e-4, 9e-4, len(ENERGY))
    found = white_line_ratio(ENERGY, spectra, variance, step="sharp", **OPTIONS)
    before, beyond = ENERGY <= 846.0, ENERGY >= 884.0
    for place in np.ndindex(2, 3):
        fit = np.polyfit(ENERGY[before], spectra[place][before], 1, w=1 / np.sqrt(variance[before]))
        above = spectra[place] - np.polyval(fit, ENERGY)
        jump = above[beyond].mean()
        above = above - jump * steps(0.0)
        windows = OPTIONS["l3_window"], OPTIONS["l2_window"]
        fine = [np.unique(ENERGY.clip(*window)) for window in windows]
        areas = [np.trapezoid(np.interp(at, ENERGY, above), at) for at in fine]
        assert found.areas[place] == pytest.approx(areas, rel=1e-9)
        assert found.ratio[place] == pytest.approx(areas[0] / areas[1], rel=1e-9)
        assert found.jump[place] == pytest.approx(jump, rel=1e-9)


@pytest.mark.parametrize("own", [False, True])
def test_quoted_sigmas_hold_the_truth_in_two_trials_of_three(own):
    rng = np.random.default_rng(3)
    shape = (600, len(ENERGY)) if own else len(ENERGY)
    variance = rng.uniform(0.5, 2.0, shape) * NOISE**2
    spectra = spectrum(0.0) + rng.normal(0.0, 1.0, (600, len(ENERGY))) * np.sqrt(variance)
    found = white_line_ratio(ENERGY, spectra, variance, step="sharp", **OPTIONS)
    assert (found.status == "ok").all()
    assert 0.60 < np.mean(np.abs(found.ratio - L3 / L2) < found.sigma) < 0.76
    assert 0.60 < np.mean(np.abs(found.jump - 0.6) < found.jump_sigma) < 0.76
    sigma = np.sqrt(np.einsum("nii->ni", found.areas_covariance))
    inside = np.mean(np.abs(found.areas - [L3, L2]) < sigma, axis=0)
    assert ((inside > 0.60) & (inside < 0.76)).all()


def test_an_energy_no_spectrum_has_is_left_out_and_one_that_some_lack_is_refused():
    spectra = np.tile(spectrum(0.0), (3, 1))
    spectra[:, [1, -2]] = np.nan  # before the edge, and beyond it
    spectra[1, 40] = np.nan  # in the L3 window
    spectra[2, np.argmin(abs(ENERGY - 863.0))] = np.nan  # not needed
    found = white_line_ratio(ENERGY, spectra, np.full(len(ENERGY), 1e-6), step="sharp", **OPTIONS)
    assert found.status.tolist() == ["ok", "not measured at an energy that is needed", "ok"]
    assert found.ratio[[0, 2]] == pytest.approx(L3 / L2, rel=1e-2)
    assert np.isnan([found.ratio[1], found.sigma[1], *found.areas[1], found.jump[1]]).all()
    spectra[:, 39] = np.nan
    gap = white_line_ratio(ENERGY, spectra, np.full(len(ENERGY), 1e-6), step="sharp", **OPTIONS)
    assert set(gap.status) == {f"nothing was measured between {ENERGY[38]:g} and {ENERGY[40]:g} eV"}
    assert np.isnan([gap.ratio, *gap.areas.T, gap.jump]).all()


def test_a_spectrum_without_edge_or_without_l2_has_no_ratio():
    flat, bare = np.full(len(ENERGY), 0.3), 0.6 * steps(0.0) + line(853.3, L3)
    found = white_line_ratio(ENERGY, np.stack([flat, bare]), np.full(len(ENERGY), 1e-4), step="sharp", **OPTIONS)
    assert found.status.tolist() == [
        "no edge: the jump is not above 3 sigma",
        "no L2 line: its area is not above 3 sigma",
    ]
    assert np.isnan(found.ratio).all()
    assert np.isnan(found.sigma).all()
    assert found.areas[1, 0] == pytest.approx(L3, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edges": (870.0, 853.0)}, "expected L3 below L2"),
        ({"width": 0.0}, "a width above zero"),
        ({"l2_window": (900.0, 910.0)}, "the L2 window 900 to 910 eV holds 0 points, expected 2"),
        ({"pre_edge": (700.0, 710.0)}, "the pre-edge window 700 to 710 eV holds 0 points, expected 3"),
        ({"post_edge": (840.0, 842.0), "step": "sharp"}, "post-edge window 840 to 842 eV lies below the edges"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        white_line_ratio(ENERGY, spectrum(), np.full(len(ENERGY), 1e-4), **(OPTIONS | change))
