"""Results and streams as datasets: axes, units, uncertainties, masks, what is not known; and back from NetCDF."""

import inspect
from typing import Annotated

import numpy as np
import pytest
import xarray as xr

from beamline.analysis import dataset_of, stream_dataset
from beamline.errors import BeamlineError
from beamline.storage.results import Table
from callbacks import contract
from callbacks.contract import (
    AnalysedResult,
    ChannelSpectrum,
    Described,
    Quantity,
    RegionsResult,
    Result,
    RixsMapResult,
    StxmResult,
    XasResult,
)
from callbacks.contract.outputs import NO_TEXTS, NOT_KNOWN_1D, Floats, Texts

RESULTS = [one for one in vars(contract).values() if inspect.isclass(one) and issubclass(one, Result)]


@pytest.mark.parametrize("model", RESULTS)
def test_every_result_says_of_each_axis_by_what_it_is_looked_up(model):
    described = model.describe()
    axes = {name: one for name, one in described.items() if one.is_axis}
    assert all(len(one.shape) == 1 for one in axes.values())
    assert len({one.shape for one in axes.values()}) == len(axes)  # one field for each axis
    assert all(one.of in described for one in described.values() if one.of)
    for one in described.values():
        assert len(set(one.shape)) == len(one.shape)
        for axis in one.shape:  # a dataset has a variable of this name only along it
            assert described.get(axis, Described("", shape=(axis,))).shape == (axis,)


def test_a_map_is_looked_up_by_its_energies_and_has_a_sigma_where_the_result_has_a_variance():
    values = np.arange(6.0).reshape(2, 3)
    result = RixsMapResult(
        excitation_energy=np.array([529.0, 531.0]),
        emission_energy=np.array([520.0, 521.0, 522.0]),
        emission_energy_sigma=np.full(3, 0.02),
        map=values,
        map_variance=4 * np.ones((2, 3)),
        pfy=np.array([1.0, 2.0]),
        pfy_sigma=np.array([0.1, 0.2]),
        energy_loss=np.zeros(0),
        map_loss=np.zeros((0, 0)),
    )
    found = dataset_of(result, {"uid": "abc"})
    assert found["map"].dims == ("excitation_energy", "emission_energy")
    assert float(found["map"].sel(excitation_energy=531, emission_energy=522)) == values[1, 2]
    assert found["map"].attrs["units"] == found.map_sigma.attrs["units"] == "counts"
    assert found["map"].attrs["ancillary_variables"].split() == ["map_variance", "map_sigma"]
    np.testing.assert_array_equal(found.map_sigma, np.full((2, 3), 2.0))
    assert found.pfy_sigma.attrs["long_name"] == "standard uncertainty of partial fluorescence yield"
    assert found.emission_energy.attrs["units"] == "eV"
    assert found.attrs["not_known"] == "map_loss"  # it has no rows, where the map has two
    assert found.attrs["uid"] == "abc"


def test_what_is_not_calibrated_keeps_the_axis_of_the_detector():
    result = RixsMapResult(excitation_energy=np.array([529.0]), map=np.ones((1, 4)), emission_energy=NOT_KNOWN_1D)
    found = dataset_of(result)
    assert found["map"].dims == ("excitation_energy", "columns")
    assert found.attrs["not_known"] == "emission_energy"


def test_spectra_have_the_names_of_their_channels_and_say_whether_they_are_normalised():
    spectrum = ChannelSpectrum(
        normalised=np.array([0.0, 1.0]), sigma=np.array([0.1, 0.2]), status="ok", edge_jump=2.0, edge_jump_sigma=0.3
    )
    refused = ChannelSpectrum(status="no edge", over_i0_spectrum=np.ones(2))
    result = XasResult(
        xas_energy=np.array([520.0, 530.0]),
        channels=np.array(["tey", "tfy"]),
        spectra={"tey": spectrum, "tfy": refused},
    )
    found = dataset_of(result)
    assert found.tey.sel(xas_energy=530) == 1.0
    assert found.tey.attrs["status"] == "ok"
    assert found.tey.attrs["ancillary_variables"] == "tey_sigma"
    assert found.tey_sigma.attrs["long_name"] == "standard uncertainty of TEY: normalised absorption"
    assert found.attrs["tfy_status"] == "no edge"
    assert "tfy" not in found
    assert float(found.tey_edge_jump_sigma) == 0.3


def test_pixels_are_looked_up_by_their_places_on_the_sample_and_a_mask_says_what_its_numbers_mean():
    result = StxmResult(
        region_rows=np.array([2]), region_columns=np.array([3]),
        region_x=np.array([[-1.0, 1.0]]), region_y=np.array([[5.0, 6.0]]),
        stack_energy=np.array([700.0, 710.0]), optical_density=np.arange(12.0).reshape(2, 2, 3),
        mask=np.array([[0, 1, 1], [0, 0, 2]]), mask_reasons=np.array(["good", "drifted out", "opaque"]),
        pca_status="too few",
    )  # fmt: skip
    found = dataset_of(result)
    assert float(found.optical_density.sel(stack_energy=710, y=6, x=0)) == 10.0
    assert found.x.attrs["units"] == "um"
    assert found.mask.attrs["flag_meanings"] == "good drifted_out opaque"
    assert found.mask.attrs["flag_values"].tolist() == [0, 1, 2]
    assert found.attrs["pca_status"] == "too few"
    assert int((found.mask == 0).sum()) == 3


def test_pixels_of_several_regions_have_places_each_of_their_own():
    result = RegionsResult(
        region_rows=np.array([1, 2]), region_columns=np.array([3, 2]),
        region_x=np.array([[0.0, 2.0], [10.0, 11.0]]), region_y=np.array([[0.0, 0.0], [4.0, 5.0]]),
    )  # fmt: skip
    found = dataset_of(result)
    assert found.region.values.tolist() == [0, 1, 1]
    assert found.y.values.tolist() == [0.0, 4.0, 5.0]
    np.testing.assert_array_equal(found.x, [[0.0, 1.0, 2.0], [10.0, 11.0, np.nan], [10.0, 11.0, np.nan]])


class Contradicting(Result):
    a: Annotated[Floats, Described("a", "", ("points",))] = NOT_KNOWN_1D
    b: Annotated[Floats, Described("b", "", ("points",))] = NOT_KNOWN_1D
    names: Annotated[Texts, Described("names", "", ("points",))] = NO_TEXTS


def test_fields_of_one_axis_with_different_lengths_are_refused():
    with pytest.raises(BeamlineError, match=r"^b: 3 points, expected 2, as a has$"):
        dataset_of(Contradicting(a=np.ones(2), b=np.ones(3)))
    with pytest.raises(BeamlineError, match=r"^a: has 2 axes, expected points$"):
        dataset_of(Contradicting(a=np.ones((2, 2))))


class SaysItself(Result):
    """A result whose fields are known of each instance only, as of a general analysis."""

    values: dict[str, np.ndarray]

    def described(self):
        return {name: Described(f"the {name}", "eV", ("runs",), is_axis=name == "runs") for name in self.values}

    def as_dict(self):
        return self.values


def test_a_result_that_describes_itself_is_converted_the_same_way():
    found = dataset_of(SaysItself(values={"runs": np.array(["a", "b"]), "edge": np.array([1.0, 2.0])}))
    assert float(found.edge.sel(runs="b")) == 2.0
    assert found.edge.attrs == {"units": "eV", "long_name": "the edge"}


def test_an_analysis_by_a_recipe_has_its_quantities_and_its_maps_are_by_place():
    pixels = ("lines_1", "columns_1")
    quantities = {
        "edge_energy": Quantity(np.array([530.0, np.nan]), "edge", "eV", ("rows",)),
        "edge_energy_sigma": Quantity(np.array([0.1, np.nan]), "its standard uncertainty", "eV", ("rows",)),
        "edge_status": Quantity(np.array(["ok", "no edge"]), "ok, or why not", "", ("rows",)),
        "map1_x": Quantity(np.array([0.0, 0.5]), "x", "um", ("columns_1",)),
        "map1_y": Quantity(np.array([2.0]), "y", "um", ("lines_1",)),
        "map1_edge_energy": Quantity(np.array([[530.0, 531.0]]), "edge", "eV", pixels),
        "map1_edge_status": Quantity(np.array([[1, 2]]), "number of the reason", "", pixels),
        "map1_edge_reasons": Quantity(np.array(["no sample", "ok", "no edge"]), "reasons", "", ("reasons_1_edge",)),
    }
    found = dataset_of(AnalysedResult(runs=np.array(["a"]), row_run=np.array(["a", "a"]), quantities=quantities))
    assert float(found.map1_edge_energy.sel(map1_x=0.5, map1_y=2.0)) == 531.0
    assert found.map1_edge_status.attrs["flag_meanings"] == "no_sample ok no_edge"
    assert found.edge_energy.attrs["ancillary_variables"] == "edge_energy_sigma"
    assert found.edge_status.values.tolist() == ["ok", "no edge"]
    assert "flag_values" not in found.edge_status.attrs


def test_a_stream_is_along_its_events_and_devices_share_axes():
    keys = {"counts": {"object_name": "scanner"}, "x": {"object_name": "scanner"}, "spectrum": {}, "spectrum_sigma": {}}
    table = Table(
        columns={
            "counts": np.ones((2, 3)), "x": np.ones((2, 3)),
            "spectrum": np.ones((2, 4)), "spectrum_sigma": np.ones((2, 4)),
        },
        timestamps={}, time=np.array([0.0, 1.5]), units={"counts": "counts"}, configuration={},
        numbers=np.array([1, 3]), data_keys=keys,
    )  # fmt: skip
    found = stream_dataset(table)
    assert found.counts.dims == found.x.dims == ("event", "scanner_index")
    assert found.spectrum.dims == found.spectrum_sigma.dims == ("event", "spectrum_index")
    assert found.spectrum.attrs["ancillary_variables"] == "spectrum_sigma"
    assert found.counts.attrs["units"] == "counts"
    assert found.event.values.tolist() == [1, 3]
    assert found.time.values[1] == np.datetime64("1970-01-01T00:00:01.5")


def test_a_dataset_is_the_same_after_netcdf(tmp_path):
    result = StxmResult(
        mask=np.array([[0, 1]]), mask_reasons=np.array(["good", "opaque"]), marks=np.array(["late"]),
        marked_frames=np.array([3]), dark_rate=np.nan, problems=NO_TEXTS, i0_status="ok", frames=-1,
        optical_density=np.full((1, 1, 2), np.nan, np.float32), stack_energy=np.array([700.0]),
    )  # fmt: skip
    found = dataset_of(result, {"settings": "{}", "scan_id": 4})
    found.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), found)
