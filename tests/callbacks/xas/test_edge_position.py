"""Edge position at half height: where the edge is, within its uncertainty, refused where there is none."""

import numpy as np
import pytest
import scipy.special
from scipy.optimize import brentq

from callbacks.xas.background import step_energy, windows
from callbacks.xas.edge_position import edge_position

ENERGY = np.arange(8320.0, 8380.0, 0.5)
WINDOWS = {"pre_edge": (8320.0, 8330.0), "post_edge": (8360.0, 8380.0)}
EDGE, NOISE = 8343.2, 0.01


def edge(energy, position=EDGE):
    """A rise as smooth and complete as an error function, with a white line beyond it."""
    rise = 1 / (1 + np.exp(-(energy - position) / 0.9))
    return rise + 0.5 * np.exp(-0.5 * ((energy - position - 6.0) / 1.5) ** 2)


def spectrum(energy=ENERGY, position=EDGE):
    return 0.3 - 0.003 * (energy - 8320.0) + 0.8 * edge(energy, position)


def half_height(position=EDGE):
    return brentq(lambda energy: edge(energy, position) - 0.5, position - 3, position + 3)


def test_the_crossing_of_an_edge_without_noise_is_found_between_the_points():
    for position in EDGE + np.linspace(0.0, 0.5, 7):
        found = edge_position(ENERGY, spectrum(position=position), np.full(len(ENERGY), 1e-8), **WINDOWS)
        assert found.status == "ok"
        assert found.position == pytest.approx(half_height(position), abs=0.02)
        assert found.jump == pytest.approx(0.8, rel=1e-3)
        narrow = edge_position(ENERGY, spectrum(position=position), np.full(len(ENERGY), 1e-8), points=2, **WINDOWS)
        assert narrow.position == pytest.approx(half_height(position), abs=0.01)


@pytest.mark.parametrize("form", ["mean", "line"])
@pytest.mark.parametrize("points", [2, 4, 6])
def test_quoted_sigmas_hold_the_truth_in_two_trials_of_three(form, points):
    rng = np.random.default_rng(5)
    variance = rng.uniform(0.5, 2.0, (600, len(ENERGY))) * NOISE**2
    spectra = spectrum() + rng.normal(0.0, 1.0, variance.shape) * np.sqrt(variance)
    options = {"post_edge_form": form, "points": points, **WINDOWS}
    found = edge_position(ENERGY, spectra, variance, **options)
    assert (found.status == "ok").all()
    assert 0.60 < np.mean(np.abs(found.position - half_height()) < found.sigma) < 0.76
    assert 0.60 < np.mean(np.abs(found.jump - 0.8) < found.jump_sigma) < 0.76


def test_sigma_is_what_a_change_of_each_point_makes_of_the_position():
    variance = np.random.default_rng(1).uniform(0.5, 2.0, len(ENERGY)) * NOISE**2
    changed = spectrum() + np.concatenate([np.eye(len(ENERGY)), -np.eye(len(ENERGY))]) * 1e-5
    moved = edge_position(ENERGY, changed, variance, post_edge_form="line", **WINDOWS).position
    jacobian = (moved[: len(ENERGY)] - moved[len(ENERGY) :]) / 2e-5
    found = edge_position(ENERGY, spectrum(), variance, post_edge_form="line", **WINDOWS)
    assert found.sigma == pytest.approx(np.sqrt(jacobian**2 @ variance), rel=1e-4)


def test_a_map_of_positions_is_recovered_and_each_pixel_stands_alone():
    rng = np.random.default_rng(9)
    positions = rng.uniform(8341.0, 8346.0, (20, 15))
    spectra = np.stack([spectrum(position=position) for position in positions.ravel()]).reshape(20, 15, -1)
    spectra = spectra + rng.normal(0.0, NOISE, spectra.shape)
    found = edge_position(ENERGY, spectra, np.full(len(ENERGY), NOISE**2), **WINDOWS)
    assert (found.status == "ok").all()
    truth = np.vectorize(half_height)(positions)
    assert 0.60 < np.mean(np.abs(found.position - truth) < found.sigma) < 0.76
    alone = edge_position(ENERGY, spectra[3, 4], np.full(len(ENERGY), NOISE**2), **WINDOWS)
    assert alone.position == pytest.approx(found.position[3, 4], abs=1e-9)


def test_a_pre_edge_peak_above_half_height_and_a_stray_point_do_not_take_the_edge():
    peak = 0.6 * np.exp(-0.5 * ((ENERGY - 8336.0) / 0.6) ** 2)
    stray = np.zeros(len(ENERGY))
    stray[[25, 70]] = 0.7, -0.7  # far from the edge, on the wrong side
    found = edge_position(ENERGY, spectrum() + np.stack([peak, stray]), np.full(len(ENERGY), 1e-6), **WINDOWS)
    assert found.position == pytest.approx(half_height(), abs=0.02)


def test_what_has_no_edge_has_no_position():
    flat = np.full(len(ENERGY), 0.3)
    gap, short, needless = spectrum(), spectrum(), spectrum()
    gap[46], short[3], needless[70] = np.nan, np.nan, np.nan
    falling = 1.0 - spectrum()
    spectra = np.stack([flat, falling, gap, short, needless])
    found = edge_position(ENERGY, spectra, np.full(len(ENERGY), 1e-4), **WINDOWS)
    none, lacks = "no edge: the jump is not above 3 sigma", "not measured at an energy that is needed"
    assert found.status.tolist() == [none, none, lacks, lacks, "ok"]
    assert np.isnan(found.position[:4]).all()
    assert np.isnan(found.sigma[:4]).all()
    assert found.position[4] == pytest.approx(half_height(), abs=0.02)


def test_an_edge_outside_the_search_is_not_found():
    found = edge_position(ENERGY, spectrum(), np.full(len(ENERGY), 1e-4), search=(8350.0, 8370.0), **WINDOWS)
    assert found.status == "no crossing within the range searched"
    assert np.isnan(found.position)


def test_noise_about_a_slow_rise_is_not_taken_for_a_crossing():
    rng = np.random.default_rng(0)
    slow = np.clip((ENERGY - 8330.0) / 30.0, 0.0, 1.0) + rng.normal(0.0, 0.05, (400, len(ENERGY)))
    variance = np.full(len(ENERGY), 0.05**2)
    by_two = edge_position(ENERGY, slow, variance, points=2, **WINDOWS)
    assert np.mean(by_two.status != "ok") > 0.9
    assert set(by_two.status) <= {
        "ok",
        "no crossing: it does not rise there by more than 3 sigma",
        "no crossing: the curve fitted does not rise through half the jump between its points",
    }
    found = edge_position(ENERGY, slow, variance, **WINDOWS)
    ok = found.status == "ok"
    assert ok.mean() > 0.99
    assert 0.60 < np.mean(np.abs(found.position - 8345.0)[ok] < found.sigma[ok]) < 0.76


def test_an_energy_no_spectrum_has_is_left_out_unless_the_edge_is_there():
    spectra, variance = np.stack([spectrum(), spectrum(position=EDGE + 4.0)]), np.full(len(ENERGY), 1e-6)
    spectra[:, [0, 2, 100, -1]] = np.nan
    found = edge_position(ENERGY, spectra, variance, **WINDOWS)
    assert (found.status == "ok").all()
    assert found.position == pytest.approx([half_height(), half_height(EDGE + 4.0)], abs=0.05)
    spectra[:, 45:48] = np.nan
    gap = edge_position(ENERGY, spectra, variance, **WINDOWS)
    assert gap.status.tolist() == ["nothing was measured between 8342 and 8344 eV", "ok"]
    assert np.isnan([gap.position[0], gap.sigma[0]]).all()
    assert gap.position[1] == pytest.approx(found.position[1], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": 3}, "points 3: expected an even number"),
        ({"points": 0}, "points 0: expected an even number"),
        ({"pre_edge": (1.0, 2.0)}, "the pre-edge window 1 to 2 eV holds 0 points, expected 3"),
        ({"search": (1.0, 2.0)}, "the search window 1 to 2 eV holds 0 points"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        edge_position(ENERGY, spectrum(), np.full(len(ENERGY), 1e-4), **(WINDOWS | change))


# Steps as of scans of fine structure: wide before the edge, fine on it, ever wider beyond, as even in the wave number.
BESIDE = np.concatenate([np.arange(-30.0, 40.0, 0.5), 40.0 + 0.05 * np.arange(1, 160) ** 2])
COPPER = 8983.0


def scan(first, last, edge=COPPER):
    """Energies of a scan over an edge."""
    energy = np.concatenate([np.arange(first, edge - 30.0, 5.0), edge + BESIDE])
    return energy[energy <= last]


def absorption(energy, position=COPPER, peak=0.0):
    """An edge on what falls with the energy as it does in solids, itself falling so, with fine structure beyond it."""
    above = np.clip(energy - position - 15.0, 0.0, None)
    wave = 0.512 * np.sqrt(above)
    fine = 0.12 * np.sin(4.6 * wave) * np.exp(-0.02 * wave**2) * (1 - np.exp(-above / 10.0))
    rise = 1 / (1 + np.exp(-(energy - position) / 1.5)) + peak * np.exp(-0.5 * ((energy - position + 12.0) / 0.8) ** 2)
    return 0.6 * (energy / position) ** -2.9 + 1.4 * (energy / position) ** -2.7 * (rise + fine)


RANGES = [(8786.0, 10280.0), (8850.0, 10200.0), (8904.0, 9401.0), (8930.0, 9120.0), (8700.0, 9300.0)]


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_windows_that_are_not_given_stand_beside_the_edge_however_far_the_scan_reaches(first, last):
    energy = scan(first, last)
    found = edge_position(energy, absorption(energy), np.full(len(energy), 1e-8))
    assert found.status == "ok"
    assert found.position == pytest.approx(COPPER, abs=0.05)  # where the line does not follow what falls
    assert found.jump == pytest.approx(1.4, rel=0.02)
    pre, post = windows(energy, None, None, absorption(energy))
    assert first == pre[0] < pre[1] < COPPER - 15.0
    assert COPPER + 15.0 < post[0] < post[1] <= last


def test_the_window_beyond_m5_of_a_lanthanide_does_not_hold_its_m4():
    energy = np.arange(1160.0, 1255.0, 0.25)
    lines = 2.0 * np.exp(-0.5 * ((energy - 1185) / 0.8) ** 2) + np.exp(-0.5 * ((energy - 1217) / 0.8) ** 2)
    steps = 0.3 * scipy.special.expit((energy - 1185) / 0.5) + 0.2 * scipy.special.expit((energy - 1217) / 0.5)
    _, (begins, ends) = windows(energy, None, None, lines + steps)
    assert (begins, ends) == (pytest.approx(1254.75 - 0.15 * 94.75), 1254.75)


def test_the_edge_is_roughly_found_in_spite_of_a_pre_edge_peak_a_stray_point_and_noise():
    energy = scan(8786.0, 9800.0)
    spectrum = absorption(energy, peak=0.7)
    spectrum[10] += 2.0
    spectrum[-30] -= 1.0
    spectrum += np.random.default_rng(3).normal(0.0, 0.03, len(energy))
    assert step_energy(energy, spectrum) == pytest.approx(COPPER, abs=3.0)
    assert np.isnan(step_energy(energy, np.zeros(len(energy))))
    assert np.isnan(step_energy(energy[:5], spectrum[:5]))


def test_half_of_the_jump_within_a_window_is_no_position():
    variance = np.full(len(ENERGY), 1e-6)
    for wrong in ({"pre_edge": (8320.0, 8346.0)}, {"post_edge": (8341.0, 8380.0)}):
        found = edge_position(ENERGY, spectrum(), variance, **(WINDOWS | wrong))
        assert found.status == "no position: the edge is not between pre-edge and post-edge"
        assert np.isnan(found.position)


@pytest.mark.parametrize("noise", [0.01, 0.04, 0.1])
def test_the_curve_takes_as_many_points_as_the_noise_of_fine_steps_calls_for(noise):
    energy, rng = scan(8850.0, 9400.0), np.random.default_rng(11)
    options = {"pre_edge": (8850.0, 8950.0), "post_edge": (9010.0, 9280.0), "post_edge_form": "line"}
    truth = float(edge_position(energy, absorption(energy), np.full(len(energy), 1e-8), **options).position)
    noisy = absorption(energy) + rng.normal(0.0, noise, (600, len(energy)))
    variance = np.full(len(energy), noise**2)
    found = edge_position(energy, noisy, variance, **options)
    ok = found.status == "ok"
    assert ok.mean() > 0.99
    assert 0.60 < np.mean(np.abs(found.position - truth)[ok] < found.sigma[ok]) < 0.76
    if noise == 0.04:  # between two points, those are kept that rise too much by chance, and quote too little
        by_two = edge_position(energy, noisy, variance, points=2, **options)
        kept = by_two.status == "ok"
        assert kept.mean() < 0.5
        assert np.mean(np.abs(by_two.position - truth)[kept] < by_two.sigma[kept]) < 0.5


@pytest.mark.parametrize("noise", [0.003, 0.02, 0.05, 0.1])
def test_a_white_line_that_bends_the_edge_does_not_move_its_half(noise):
    def absorption(energy):
        rise = 1.0 / (1.0 + np.exp(-(energy - 642.0) / 0.8))
        return 0.3 + 0.001 * (energy - 628.0) + rise + 0.9 * np.exp(-0.5 * (energy - 643.5) ** 2)

    options = {"pre_edge": (628.0, 636.0), "post_edge": (662.0, 670.0), "search": (637.0, 645.0)}
    fine, energy = np.arange(628.0, 670.0, 0.001), np.arange(628.0, 670.0, 0.25)
    truth = float(edge_position(fine, absorption(fine), np.full(len(fine), 1e-14), points=2, **options).position)
    measured = absorption(energy) + np.random.default_rng(5).normal(0.0, noise, (800, len(energy)))
    found = edge_position(energy, measured, np.full(len(energy), noise**2), **options)
    ok = found.status == "ok"
    assert ok.mean() > 0.8
    assert 0.60 <= np.mean(np.abs(found.position - truth)[ok] < found.sigma[ok]) < 0.76
