"""Runs of a data folder in Python: found, read, reduced again with other settings, exported; frames when needed."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from here import reducing_session

from beamline.acquire.session import measure
from beamline.analysis import open_runs
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.operations.analyse_rixs import keep_pooled
from beamline.storage.results import collect
from beamline.storage.runs import Runs
from callbacks.contract import STXM_POOLED, PooledResult, RixsResult, XasResult
from callbacks.external import ExternalFrames, FrameReadError
from callbacks.pipelines import StxmSettings
from plans import rixs_map, stxm_stack, xas


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A spectrum, a stack and a small map."""
    data_dir = tmp_path_factory.mktemp("data")
    with closing(reducing_session(load_config(), data_dir)) as session:
        end = session.endstation
        measure(session, xas(end, "520:526:0.5, 526:535:0.25, 535:560:1", 1.0, sample="carbon", edge="O K"))
        field = "x=-0.3:0.3:0.1 y=-0.2:0.2:0.1"
        measure(session, stxm_stack(end, "520:545:5", field, 0.001, sample="LRNMC 311 mAh/g", edge="O K"))
        measure(session, rixs_map(end, "528:531:1", 60.0, sample="LRNMC 311 mAh/g", edge="O K"))
        session.drain()
    return data_dir


@pytest.fixture
def runs(folder):
    return open_runs(folder)


@pytest.mark.long
def test_runs_are_listed_and_found_as_at_the_command_line(runs):
    assert [run.technique for run in runs] == ["xas", "stxm", "rixs"]
    assert len(runs) == 3
    assert runs["-1"].uid == runs[3].uid == runs[runs["-1"].uid[:8]].uid
    assert runs.table()["sample"].tolist() == ["carbon", "LRNMC 311 mAh/g", "LRNMC 311 mAh/g"]
    assert "stxm of LRNMC 311 mAh/g" in repr(runs[2])
    assert runs[2].uid[:8] in repr(runs)
    with pytest.raises(BeamlineError, match="run 17: no run has this uid or scan id"):
        runs[17]


def test_a_reduction_is_what_is_kept_with_its_provenance(runs, folder):
    found = runs[1].reduced()
    _, derived = Runs(folder).load_with_derived("1")
    kept = derived.read(XasResult)
    np.testing.assert_array_equal(found.tey, kept.spectra["tey"].normalised)
    np.testing.assert_array_equal(found.tey_sigma, kept.spectra["tey"].sigma)
    np.testing.assert_array_equal(found.xas_energy, kept.xas_energy)
    assert found.attrs["uid"] == derived.uid
    assert found.attrs["raw_uids"] == runs[1].uid
    assert json.loads(found.attrs["settings"]) == derived.derivation.settings == runs[1].settings
    assert json.loads(found.attrs["software"]) == derived.derivation.software
    assert (found.attrs["sample"], found.attrs["edge"]) == ("carbon", "O K")


@pytest.mark.long
def test_all_streams_of_all_techniques_are_datasets_that_netcdf_holds(runs, tmp_path):
    for run in runs:
        for form, streams in run.streams().items():
            for stream in streams:
                found = getattr(run, form)(stream)
                found.to_netcdf(tmp_path / "one.nc", engine="h5netcdf")
                with xr.open_dataset(tmp_path / "one.nc", engine="h5netcdf") as read:
                    assert set(read.variables) == set(found.variables)
                    assert read.attrs.keys() == found.attrs.keys()


def test_frames_are_read_as_they_are_needed(runs, folder):
    found = runs["-1"].raw()
    entry = Runs(folder).find("-1")
    documents = Runs(folder).documents(entry)
    files, events = ExternalFrames(), []
    for name, doc in documents:
        if name in ("resource", "datum"):
            getattr(files, name)(doc)
        if name == "event" and "ccd_image" in doc["data"]:
            events.append(doc)
    image = found.ccd_image
    assert image.chunks is not None
    assert image.shape == (len(events), *files.read(events[0], "ccd_image").shape)
    assert image.attrs["units"] == "counts"
    np.testing.assert_array_equal(image[2], files.read(events[2], "ccd_image"))
    np.testing.assert_array_equal(
        image.sel(event=[1, 4])[:, 5, ::7], [files.read(events[n], "ccd_image")[5, ::7] for n in (0, 3)]
    )
    files.close()


def test_a_frame_whose_file_is_gone_is_an_error_only_when_it_is_needed(runs, folder, tmp_path):
    (document,) = [doc for name, doc in Runs(folder).documents(runs["-1"].entry) if name == "resource"][-1:]
    frames = folder / "frames" / Path(document["resource_path"]).name
    moved = frames.rename(tmp_path / "away.h5")
    try:
        found = runs["-1"].raw()
        assert found.i0.size
        with pytest.raises(FrameReadError, match="cannot be read"):
            found.ccd_image.load()
    finally:
        moved.rename(frames)


def test_a_changed_setting_gives_another_result_in_memory_and_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("beamline.operations.replay.ingest_now", lambda *_: "")  # the catalogue takes its time
    shutil.copytree(folder, tmp_path / "data")
    run = open_runs(tmp_path / "data")[1]
    before = run.reduced()
    assert run.reduce().drop_attrs().identical(before.drop_attrs())
    again = run.reduce({"pre_edge": [520.0, 524.0]})
    assert json.loads(again.attrs["settings"]) == run.settings | {"pre_edge": [520.0, 524.0]}
    assert not again.tey.equals(before.tey)
    assert run.reduced().identical(before)  # nothing was kept
    kept = run.reduce({"pre_edge": [520.0, 524.0]}, keep=True)
    assert kept.drop_attrs().identical(again.drop_attrs())
    assert run.reduced().identical(kept)
    assert run.settings["pre_edge"] == [520.0, 524.0]


def test_a_setting_within_a_step_is_changed_alone(runs):
    run = runs["-1"]
    settings = run.settings
    again = run.reduce({"dark": {"read_noise": 9.0}})
    changed = json.loads(again.attrs["settings"])
    assert changed == settings | {"dark": settings["dark"] | {"read_noise": 9.0}}
    assert RixsResult.describe().keys() >= set(again.data_vars) - {"map_sigma", "map_loss_sigma"}


def test_what_is_no_setting_is_said_in_one_line(runs):
    with pytest.raises(BeamlineError, match=r"^processing.xas: unknown key 'pre_edg'; did you mean 'pre_edge'\?$"):
        runs[1].reduce({"pre_edg": [1, 2]})
    with pytest.raises(BeamlineError, match="has no stream 'images'; expected baseline, "):
        runs[1].raw("images")


def test_a_table_is_exported(runs, tmp_path):
    (path,) = runs[1].export(tmp_path / "tables")
    assert np.loadtxt(path).shape[0] == runs[1].reduced().xas_energy.size


def test_a_pooled_analysis_is_a_dataset(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    runs = open_runs(tmp_path / "data")
    result = PooledResult(
        runs=np.array([runs[2].uid]),
        samples=np.array(["LRNMC 311 mAh/g"]),
        pca_energy=np.array([520.0, 530.0]),
        pca_mean=np.array([0.0, 1.0]),
        chemical_status="no references",
    )
    raw = Runs(tmp_path / "data").load_with_derived("2")[0]
    uid = keep_pooled([raw], STXM_POOLED, StxmSettings(), result, tmp_path / "data")
    (analysis,) = runs.analyses()
    assert analysis.uid == runs.analysis(uid[:8]).uid == uid
    found = analysis.result()
    assert float(found.pca_mean.sel(pca_energy=530)) == 1.0
    assert found.samples.sel(runs=analysis.raw_uids[0]) == "LRNMC 311 mAh/g"
    assert found.attrs["pipeline"] == "stxm_pooled"
    assert found.attrs["chemical_status"] == "no references"
    with pytest.raises(BeamlineError, match="no analysis has this uid"):
        runs.analysis(runs[2].uid)


def test_beamline_alone_imports_none_of_it():
    code = "import sys, beamline, beamline.cli.app; print(*sorted({'xarray', 'dask', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_documents_without_numbers_are_collected_all_the_same():
    documents = [
        ("start", {"uid": "a", "time": 1.0}),
        (
            "descriptor",
            {"uid": "d", "name": "primary", "data_keys": {"x": {"dtype": "number", "shape": [], "units": "mm"}}},
        ),
        ("event", {"descriptor": "d", "seq_num": 7, "time": 2.0, "data": {"x": 1.0}, "timestamps": {}}),
    ]
    table = collect(documents).streams["primary"]
    assert table.numbers.tolist() == [7]
    assert table.data_keys["x"]["units"] == "mm"
