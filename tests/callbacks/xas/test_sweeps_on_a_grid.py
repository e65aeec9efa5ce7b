"""Sweeps on a grid of energies: nothing lost, the variance that is claimed; the lag; what is read off the points."""

import numpy as np
import pytest

from callbacks.xas.moments import moments
from callbacks.xas.normalised import normalise_spectra
from callbacks.xas.sweep import Region, Sweep, find_lag, grid_edges, share_out
from simulated_devices.physics.samples import SAMPLES
from simulated_devices.world import SimulatedEndstation

CHANNELS = ("i0", "tey", "tfy")


def straight(counts, *, start=520.0, velocity=1.0, bin_time=0.01, lag=0.0):
    """A sweep at one velocity whose readbacks are late by a lag."""
    bins = len(counts)
    times = np.linspace(-0.5, bins * bin_time + 0.5, bins)
    return Sweep({"i0": counts}, np.full(bins, bin_time), start + velocity * (times - lag), times)


def test_counts_and_exposure_are_shared_in_proportion_to_the_overlap():
    edges = np.array([520.0, 520.1, 520.25, 520.3])
    sweep = straight(np.arange(1.0, 6.0), bin_time=0.06)  # time bins from 520 to 520.3 in steps of 0.06 eV
    binned = share_out(sweep, edges, lag=0.0)
    assert binned.counts["i0"] == pytest.approx([1 + 2 * 4 / 6, 2 * 2 / 6 + 3 + 4 + 5 * 1 / 6, 5 * 5 / 6])
    assert binned.exposure == pytest.approx([0.1, 0.15, 0.05])
    assert binned.energy == pytest.approx([520.05, 520.175, 520.275])


@pytest.mark.parametrize("velocity", [1.0, -1.0, 0.37])
@pytest.mark.parametrize("lag", [0.0, 0.02])
def test_what_is_within_the_grid_is_conserved(velocity, lag):
    rng = np.random.default_rng(3)
    counts = rng.poisson(100, 1000).astype(float)
    sweep = straight(counts, start=520.0 if velocity > 0 else 530.0, velocity=velocity, lag=lag)
    ends = np.sort([sweep.edges(lag)[0], sweep.edges(lag)[-1]])
    binned = share_out(sweep, np.linspace(*ends, 38), lag=lag)
    assert binned.counts["i0"].sum() == pytest.approx(counts.sum(), rel=1e-9)
    assert binned.exposure.sum() == pytest.approx(10.0, rel=1e-9)
    assert binned.exposure == pytest.approx(np.full(37, 10.0 / 37))


def test_the_energies_of_a_known_lag_are_right():
    late = straight(np.ones(100), lag=0.03)
    assert late.edges(0.03)[[0, -1]] == pytest.approx([520.0, 521.0])
    assert late.edges(0.0)[0] == pytest.approx(520.0 - 0.03)
    assert late.longest_lag == pytest.approx(0.5)


def test_time_bins_that_were_not_counted_leave_energies_without_exposure():
    counts = np.ones(100)
    counts[50:] = np.nan
    binned = share_out(straight(counts), np.linspace(520.0, 521.0, 11), lag=0.0)
    assert binned.exposure == pytest.approx([0.1] * 5 + [0.0] * 5)
    assert np.isnan(binned.energy[5:]).all()
    assert binned.counts["i0"][5:] == pytest.approx(0.0)


@pytest.mark.parametrize("finer", [3, 10])
def test_sharing_takes_from_the_variance_what_it_gives_to_neighbours(finer):
    """As derived in `share_out`: 1 - 1/(3m) of Poisson's variance, and 1/(6m) between neighbours."""
    rng = np.random.default_rng(1)
    energies, mean = 200, 50.0
    found = []
    for _ in range(200):
        sweep = straight(rng.poisson(mean, energies * finer).astype(float), bin_time=0.1 / finer)
        begin = 520.0 + rng.uniform(0, 0.1)  # anywhere against the time bins
        found.append(share_out(sweep, begin + 0.1 * np.arange(energies - 1), lag=0.0).counts["i0"])
    off = (np.array(found) - mean * finer) / np.sqrt(mean * finer)
    uncertain = 1 / np.sqrt(off.size)
    assert off.var() == pytest.approx(1 - 1 / (3 * finer), abs=4 * np.sqrt(2) * uncertain)
    assert np.mean(off[:, 1:] * off[:, :-1]) == pytest.approx(1 / (6 * finer), abs=4 * uncertain)


def flown(seed, *, start=525.0, step=0.1, energies=200, dwell=0.2, sweeps=2, lag=None):
    """A region that was flown up and down on the simulated endstation; the lag that it had."""
    world = SimulatedEndstation(seed=seed, dump_after=1e9)
    world.shutter_open = True
    if lag is not None:
        world.readback_lag = lag
    edges = grid_edges(start + step * np.arange(energies))
    bins, seconds = 10 * energies, energies * dwell / sweeps
    directions = ([], [])
    for number in range(sweeps):
        ends = edges[[0, -1]] if number % 2 == 0 else edges[[-1, 0]]
        begin = world.clock.now()
        world.clock.reach(begin + world.sweep_time(*ends, seconds))
        found = world.sweep(begin, *ends, bins=bins, bin_time=seconds / bins)
        sweep = Sweep(
            {name: found[name] for name in CHANNELS}, found["bin_times"], found["energies"], found["energy_times"]
        )
        directions[number % 2].append(sweep)
    return Region(edges, *directions), world.readback_lag


@pytest.mark.long
@pytest.mark.parametrize("asked", [{}, {"dwell": 0.05, "step": 0.2, "energies": 100}, {"sweeps": 6}])
def test_the_lag_lies_in_its_interval_as_often_as_it_says(asked):
    pulls = []
    for seed in range(200):
        region, true = flown(seed, **asked)
        found = find_lag([region], "tey", "i0")
        assert found.status == "ok"
        pulls.append((found.value - true) / found.sigma)
    pulls = np.array(pulls)
    assert 0.60 <= np.mean(np.abs(pulls) < 1) <= 0.76
    assert abs(pulls.mean()) < 3 / np.sqrt(len(pulls))


def centroid_of_manganese(energy, spectrum, variance):
    """Above what is before the edge, in a window at whose ends energies are asked for; and its sigma."""
    flat = {"pre_edge": (630.0, 636.0), "post_edge": (638.0, 647.0), "form": "constant", "by": "area"}
    above = normalise_spectra(energy, spectrum, variance, **flat)
    found = moments(energy, above.values, above.variance, window=(638.0, 648.0), form="none")
    return float(found.centroid), float(found.centroid_sigma)


@pytest.mark.long
def test_the_centroid_of_a_line_that_was_flown_over_lies_in_its_interval_as_often_as_it_says():
    """With no lag found: up and down are off by it to either side."""
    offset = SimulatedEndstation(seed=0, dump_after=1e9).truth.energy_offset
    fine = np.linspace(628.0, 666.0, 3801)
    absorption = SAMPLES["LRNMC pristine"].absorption(fine + offset)
    true, _ = centroid_of_manganese(fine, absorption, np.full(len(fine), 1e-9))
    pulls = []
    for seed in range(220):
        region, _ = flown(seed, start=628.0, energies=381, dwell=5.0)
        binned = [share_out(sweep, region.edges, lag=0.0) for sweep in (*region.up, *region.down)]
        tey, i0 = (sum(each.counts[name] for each in binned) for name in ("tey", "i0"))
        ratio, energy = tey / i0, np.mean([each.energy for each in binned], axis=0)
        found, sigma = centroid_of_manganese(energy, ratio, ratio**2 * (1 / tey + 1 / i0))
        pulls.append((found - true) / sigma)
    assert 0.60 <= np.mean(np.abs(pulls) < 1) <= 0.76
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))


@pytest.mark.parametrize("lag", [-0.08, -0.02, 0.05, 0.08])
def test_large_lags_are_found(lag):
    region, _ = flown(5, lag=lag)
    found = find_lag([region], "tey", "i0")
    assert found.status == "ok"
    assert abs(found.value - lag) < 4 * found.sigma
    assert found.sigma < 0.004


@pytest.mark.long
def test_a_lag_is_not_told_by_noise():
    """Far above the edge there is nothing that would be apart between the directions."""
    statuses = {find_lag([flown(seed, start=600.0, energies=100)[0]], "tey", "i0").status for seed in range(60)}
    assert statuses == {"tey has no structure that would tell it"}


@pytest.mark.long
def test_a_lag_is_refused_where_nothing_tells_it():
    region, _ = flown(1)
    one_way = Region(region.edges, region.up, [])
    assert "one direction only" in find_lag([one_way], "tey", "i0").status
    late, _ = flown(1, lag=0.3)  # the readbacks reach 0.1 s beyond the time bins
    assert find_lag([late], "tey", "i0").status.startswith(("beyond the 0.1 s", "tey has no", "not found"))
