"""Measures of a recipe taken of arrays: of an energy-loss spectrum image, of one spectrum, of any dimensions."""

import h5py
import numpy as np
import pytest
import xarray as xr

from beamline.analysis import read_off, spectrum_image
from beamline.errors import BeamlineError

ENERGY = np.arange(620.0, 675.0, 0.5)
SHAPE = (12, 16)


def edge(ratio):
    lines = [np.exp(-0.5 * ((ENERGY - at) / 1.3) ** 2) for at in (642.0, 653.0)]
    step = sum(part * (0.5 + np.arctan((ENERGY - at) / 0.5) / np.pi) for part, at in ((2 / 3, 642.0), (1 / 3, 653.0)))
    return 0.3 * step + (ratio * lines[0] + lines[1]) / (1 + ratio) * 2


def reference(ratio):
    return xr.DataArray(edge(ratio), dims="energy", coords={"energy": ENERGY})


RECIPE = {
    "references": {"surface": reference(3.6), "bulk": reference(2.1)},
    "measures": {"valence": {"by": "mlls", "values": {"surface": 2.0, "bulk": 4.0}}},
}


@pytest.fixture(scope="module")
def particle(tmp_path_factory):
    """A file of HyperSpy with a particle whose surface is reduced; the share of the surface at each position."""
    rng = np.random.default_rng(5)
    share = np.clip((np.hypot(*np.meshgrid(np.arange(16.0) - 8, np.arange(12.0) - 6)) - 2) / 5, 0.05, 0.95)
    clean = share[..., None] * edge(3.6) + (1 - share[..., None]) * edge(2.1) + 2.0 * (ENERGY / 650.0) ** -3
    path = tmp_path_factory.mktemp("eels") / "particle.hspy"
    with h5py.File(path, "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        group = file.create_group("Experiments/particle")
        group["data"] = rng.poisson(2000 * clean).astype(np.int32)
        for place, (size, scale, offset, unit) in enumerate(
            ((12, 0.5, 0, "nm"), (16, 0.5, 0, "nm"), (110, 0.5, 620.0, "eV"))
        ):
            axis = group.create_group(f"axis-{place}")
            axis.attrs.update({"size": size, "scale": scale, "offset": offset, "units": unit, "navigate": place < 2})
        group.create_group("metadata/Signal").attrs["signal_type"] = "EELS"
    return path, share


def test_valence_maps_of_a_spectrum_image_hold_the_truth_in_two_of_three(particle):
    path, share = particle
    image = spectrum_image(path)
    assert image.dims == ("position_0", "position_1", "energy")
    assert image.shape == (*SHAPE, len(ENERGY))
    found = read_off(image, RECIPE)
    assert (found.valence_status == "ok").all()
    assert found.valence_mean.dims == ("position_0", "position_1")
    held = np.abs(found.valence_mean - (4.0 - 2.0 * share)) < found.valence_mean_sigma
    assert 0.60 < float(held.mean()) < 0.76
    assert found.valence_of_bulk.attrs["ancillary_variables"] == "valence_of_bulk_sigma"
    assert found.valence_background.attrs["units"] == "counts"


def test_white_lines_of_a_spectrum_image_are_above_the_power_law_beneath_them(particle):
    path, share = particle
    white = {"by": "white_lines", "edges": [642, 653], "l3_window": [634, 648], "l2_window": [648, 660]}
    white |= {"pre_edge": [620, 634], "post_edge": [664, 675]}
    pure = share[..., None] * edge(3.6) + (1 - share[..., None]) * edge(2.1)
    alone = xr.DataArray(pure, dims=("y", "x", "energy"), coords={"energy": ENERGY})
    truth = read_off(alone, {"measures": {"white": white}}, sigma=xr.full_like(alone, 1e-3)).white_ratio.values
    image = spectrum_image(path)
    found = read_off(image, {"measures": {"white": white}})
    assert (found.white_status == "ok").all()
    assert 0.58 < np.mean(np.abs(found.white_ratio.values - truth) < found.white_ratio_sigma.values) < 0.78
    normalised = read_off(
        image, {"normalise": {"pre_edge": [620, 634], "post_edge": [664, 675]}, "measures": {"white": white}}
    )
    assert 0.58 < np.mean(np.abs(normalised.white_ratio.values - truth) < normalised.white_ratio_sigma.values) < 0.9
    by_line = read_off(image, {"measures": {"white": white | {"background": "linear"}}})
    too_high = [float(np.nanmedian(one.white_ratio.values - truth)) for one in (found, normalised, by_line)]
    assert too_high[:2] == pytest.approx([0.0, 0.0], abs=0.1)
    assert too_high[2] > 0.2
    with pytest.raises(BeamlineError, match="a power law needs a mean above zero everywhere in the pre-edge window"):
        read_off(image - 5000.0, {"measures": {"white": white}}, sigma=xr.full_like(image, 30.0, dtype=float))


@pytest.mark.parametrize("before", [(500.0, 535.0), (600.0, 635.0)])
def test_each_spectrum_has_a_power_law_of_its_own_exponent_beneath_it_however_far_it_is_drawn_on(before):
    rng = np.random.default_rng(2)
    energy = np.arange(500.0, 760.0, 0.5)
    lines = np.exp(-(((energy - 641.5) / 1.5) ** 2)) + 0.5 * np.exp(-(((energy - 652.5) / 1.5) ** 2))
    step = (2 * (energy > 641) + (energy > 652)) / 3
    edge = 0.4 * (0.3 * step + lines)
    law = (energy / 641) ** -rng.uniform(2.0, 4.0, (300, 1))
    white = {
        "by": "white_lines",
        "edges": [641, 652],
        "l3_window": [637, 648],
        "l2_window": [648, 660],
        "step": "sharp",
    }
    white |= {"pre_edge": before, "post_edge": [700, 760]}

    def array(values):
        loss = ("energy", energy, {"units": "eV", "long_name": "energy loss"})
        return xr.DataArray(values, dims=("pixel", "energy"), coords={"energy": loss}, attrs={"units": "counts"})

    alone = array(edge[None])
    by_line = {"white": white | {"background": "linear"}}
    truth = read_off(alone, {"measures": by_line}, sigma=xr.full_like(alone, 1e-3)).white_l3.item()
    found = read_off(array(rng.poisson(1e5 * (law + edge)).astype(float)), {"measures": {"white": white}})
    off = (found.white_l3 - 1e5 * truth) / found.white_l3_sigma
    assert 0.60 < float((np.abs(off) < 1).mean()) < 0.76
    assert abs(float(off.mean())) < 0.2


def test_a_power_law_needs_energies_above_zero():
    energy = np.arange(-20.0, 80.0, 0.5)
    flat = xr.DataArray(np.full(len(energy), 50.0), dims="energy", coords={"energy": energy})
    area = {"by": "integral", "window": [60, 70], "pre_edge": [45, 58], "background": "power_law"}
    with pytest.raises(BeamlineError, match="a power law needs energies above zero; the first is -20 eV"):
        read_off(flat, {"measures": {"area": area}})


def test_one_spectrum_and_dimensions_in_any_order_give_the_same(particle):
    image = spectrum_image(particle[0])
    whole = read_off(image, RECIPE)
    turned = read_off(image.transpose("energy", "position_1", "position_0").isel(energy=slice(None, None, -1)), RECIPE)
    xr.testing.assert_allclose(whole.valence_mean, turned.valence_mean.transpose(*whole.valence_mean.dims), rtol=1e-12)
    one = read_off(image[3, 4], RECIPE)
    assert float(one.valence_mean) == pytest.approx(float(whole.valence_mean[3, 4]), rel=1e-9)
    noise = xr.full_like(image, 0.0) + np.sqrt(np.maximum(image, 1.0))
    xr.testing.assert_allclose(read_off(image, RECIPE, sigma=noise).valence_mean_sigma, whole.valence_mean_sigma)


def test_normalised_spectra_that_have_no_edge_say_so():
    flat = xr.DataArray(np.ones((2, 40)), dims=("x", "energy"), coords={"energy": np.arange(40.0) + 700.0})
    found = read_off(flat, {"normalise": {}, "measures": {"edge_position": {}}}, sigma=flat * 0.01)
    assert set(found.edge_position_status.values) == {"no edge: the jump is not above 3 sigma"}
    assert set(found.data_vars) == {"edge_position_status"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.values.tolist(), "spectra: are list, expected xarray.DataArray"),
        (lambda one: one.astype(str), "spectra: values of type <U32, expected real numbers"),
        (lambda one: one + 1j, "spectra: values of type complex128, expected real numbers"),
        (lambda one: one.astype(object), "spectra: values of type object, expected real numbers"),
        (lambda one: one[:0], "spectra: there is no energy"),
        (lambda one: one.where(one > 99), "nothing was measured at any energy"),
        (lambda one: one.assign_coords(energy=ENERGY.astype(str)), "spectra: energy: values of type <U32, expected"),
        (lambda one: one.assign_coords(energy=ENERGY.clip(max=650)), "energy 650 eV stands there twice"),
        (lambda one: one.assign_coords(energy=np.r_[np.nan, ENERGY[1:]]), "spectra: an energy is nan, expected finite"),
        (
            lambda one: xr.DataArray(
                np.ones((2, 110)), dims=("x", "energy"), coords={"energy": (("x", "energy"), np.ones((2, 110)))}
            ),
            r"spectra: energy is over \('x', 'energy'\), expected one dimension, energy",
        ),
    ],
)
def test_spectra_that_are_none_are_refused_in_one_line(change, words):
    with pytest.raises(BeamlineError, match=words) as raised:
        read_off(change(reference(2.0)), {"measures": {"edge_position": {}}})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("sigma", "words"),
    [
        (reference(2.0) * -1, "sigma: is -.*, expected above zero, or NaN where not measured"),
        (reference(2.0) + 1j, "sigma: values of type complex128, expected real numbers"),
        ([0.1] * 110, r"sigma: list, expected xarray\.DataArray"),
    ],
)
def test_uncertainties_that_are_none_are_refused_in_one_line(sigma, words):
    with pytest.raises(BeamlineError, match=words):
        read_off(reference(2.0), {"measures": {"edge_position": {}}}, sigma=sigma)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (None, "recipe: is NoneType, expected a mapping with measures"),
        ("states.toml", "recipe: is str, expected a mapping with measures"),
        ({"measures": ["edge_position"]}, "recipe: measures: is list, expected a mapping by names"),
        ({"measures": {"half": {"by": "nothing"}}}, "unknown by 'nothing'; expected one of edge_position, derivative"),
        ({"references": [reference(2.0)]}, "recipe: references: is list, expected a mapping by names"),
        ({"references": {"a": reference(2.0).astype(str)}}, "reference a: values of type <U32, expected real numbers"),
        ({1: 2}, "recipe: 1: is of runs"),
        ({"measures": {"centroid": {"window": [1, 2]}}}, "holds 0 points"),
        ({"measures": {"centroid": {}}}, "recipe: measures.centroid.centroid.window: Field required"),
        ({"measures": {"half": {"by": "edge_position", "point": 2}}}, "unknown key 'point'"),
        ({"measures": {"lcf": {}}}, "0 references: expected 1 to 6"),
        ({"references": {"a": xr.DataArray(np.ones((2, 3)), dims=("x", "y"))}}, "expected one dimension with energies"),
    ],
)
def test_a_mistake_is_one_line(recipe, words):
    spectrum = reference(2.0)
    with pytest.raises(BeamlineError, match=words) as raised:
        read_off(spectrum, recipe, sigma=0.01 * spectrum)
    assert "\n" not in str(raised.value)


def test_uncertainties_are_asked_for_unless_spectra_are_counts():
    recipe = {"measures": {"integral": {"window": [640, 656]}}}
    with pytest.raises(BeamlineError, match="spectra: are no counts, whose uncertainty is known: expected theirs as"):
        read_off(reference(2.0), recipe)
    whole = (1e4 * reference(2.0)).round()
    counts = (1e4 * reference(2.0)).assign_attrs(units="counts")
    of_whole, of_counts = (float(read_off(each, recipe).integral_area_sigma) for each in (whole, counts))
    assert of_whole == pytest.approx(of_counts, rel=1e-3)


@pytest.mark.long
def test_a_reference_with_a_gap_is_not_guessed_there():
    torn = reference(3.6).where((ENERGY < 640.0) | (ENERGY > 644.0))
    spoilt = 0.3 * reference(3.6) + 0.7 * reference(2.1)
    spoilt[(ENERGY >= 640.0) & (ENERGY <= 644.0)] = 9.0
    references = {"surface": torn, "bulk": reference(2.1)}
    noise = xr.full_like(spoilt, 1e-3)
    found = read_off(spoilt, {"references": references, "measures": {"lcf": {}}}, sigma=noise)
    assert float(found.lcf_of_surface) == pytest.approx(0.3, abs=1e-6)
    assert "9 energies from 640 to 644 eV left out, where reference surface" in found.lcf_status.attrs["note"]


def test_what_is_no_spectrum_image_is_said(tmp_path):
    (tmp_path / "x.hspy").write_text("nothing")
    with pytest.raises(BeamlineError, match=r"x\.hspy: "):
        spectrum_image(tmp_path / "x.hspy")
    with pytest.raises(BeamlineError, match="found none of x"):
        read_off(xr.DataArray(np.ones(3), dims="x"), {"measures": {}})


def test_uncertainties_are_those_of_the_same_energies_or_refused(particle):
    whole = spectrum_image(particle[0])[3, 4]
    noise = np.sqrt(whole.clip(min=1.0))
    backwards = slice(None, None, -1)
    expected = read_off(whole, RECIPE, sigma=noise)
    bare = noise.isel(energy=backwards).drop_vars("energy")  # by place
    xr.testing.assert_equal(read_off(whole.isel(energy=backwards), RECIPE, sigma=bare), expected)
    moved = noise.assign_coords(energy=noise.energy + 100)
    with pytest.raises(BeamlineError, match="sigma: its coordinates are not those of the spectra: "):
        read_off(whole, RECIPE, sigma=moved)
    with pytest.raises(BeamlineError, match=r"sigma: float, expected xarray.DataArray with \{'energy': "):
        read_off(whole, RECIPE, sigma=0.1)


def test_what_an_array_does_not_have_is_refused(particle):
    image = spectrum_image(particle[0])
    kilo = image[3, 4].assign_coords(energy=image.energy.assign_attrs(units="keV"))
    with pytest.raises(BeamlineError, match="energy: is in keV, expected eV"):
        read_off(kilo, RECIPE)
    with pytest.raises(BeamlineError, match=r"spectra: are ndarray, expected xarray\.DataArray"):
        read_off(np.ones(5), RECIPE)
    with pytest.raises(BeamlineError, match="recipe: regions: is of runs; expected measures, normalise, references"):
        read_off(image, RECIPE | {"regions": {"a": {}}})
    with pytest.raises(BeamlineError, match=r"measures\.valence: `of` and `edge` are of runs"):
        read_off(image, RECIPE | {"measures": {"valence": {"by": "mlls", "of": ["thick"]}}})
