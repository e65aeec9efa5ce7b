"""STXM from the plan or the file to its report: drift, I0, maps, pooled runs, formats, through the real engine."""

import re

import h5py
import numpy as np
import pytest
from command_line import answer, as_json
from here import reducing_session
from scipy import ndimage

from beamline.acquire.references import find_reference, processing_with_references
from beamline.acquire.session import Session, measure, measure_all
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.sdf import sdf_documents
from beamline.operations.analyse import analyse_runs
from beamline.operations.analyse_across import AcrossRecipe, compare
from beamline.operations.demonstrate import techniques as demo
from beamline.operations.exporting import export
from beamline.operations.replay import reduce_documents, replay
from beamline.operations.report import write_report
from beamline.operations.runs import summarise_run, summary_of
from beamline.processes.live_picture import PAGE
from beamline.storage.layout import PICTURE, REDUCTION, Layout
from beamline.storage.log import read_log
from beamline.storage.results import collect
from beamline.storage.runs import Runs
from callbacks.contract import SERIES, Key, PooledResult, Stream, StxmGrid, StxmRegion
from callbacks.stxm.alignment.registration import RegistrationSettings
from callbacks.stxm.density.masks import MASK_REASONS
from callbacks.stxm.stack import IMAGE, Image
from callbacks.stxm.steps.registration import Registration
from plans import stack_series, stxm_focus, stxm_line_spectrum, stxm_stack
from simulated_devices.physics.microscope import FOCUS_OFFSET

pytestmark = pytest.mark.long

ENERGIES = "520:526:2, 526:533:0.5, 533:545:2"
FIELD, LINE = "x=-1.6:1.04:0.06 y=-0.9:0.6:0.06", "x=-1.8:1.8:0.03 y=0"
SMALL = "x=-1.6:1.04:0.06 y=-0.6:0.42:0.06"
CUT_ENERGIES, CUT_ROWS = range(0, 123, 8), range(60, 85)
ALL_ROWS, EVERY_SIXTH = range(125), range(0, 123, 6)


@pytest.fixture(scope="module")
def whole(measured_data, tmp_path_factory):
    """Every sixth image of the measured stack, reduced as an import does; nothing is kept of it."""
    scan = tmp_path_factory.mktemp("whole")
    cut_out(measured_data / "als-stxm-fe2p" / "71214078.hdr", scan, EVERY_SIXTH, ALL_ROWS)
    documents = list(sdf_documents(scan))
    settings = processing_with_references(load_config(), tmp_path_factory.mktemp("no-references"))
    raw, derived = collect(documents), collect(reduce_documents(documents, settings))
    return summarise_run(raw, derived), raw, derived.result


@pytest.fixture(scope="module")
def imported(measured_data, tmp_path_factory):
    """A cut of the measured stack, every eighth image but one, a fifth of its lines, imported on the command line."""
    scan, folder = tmp_path_factory.mktemp("cut"), tmp_path_factory.mktemp("fe2p")
    cut_out(measured_data / "als-stxm-fe2p" / "71214078.hdr", scan, CUT_ENERGIES, CUT_ROWS)
    (scan / "71214078_a003.xim").unlink()
    return folder, as_json("import", scan, "--data-dir", folder)[0]


def cut_out(header, folder, energies, rows):
    def points(axis, kept):
        def cut(found):
            count, *values = found[2].split(", ")
            assert int(count) == len(values)
            return f"{found[1]}({len(kept)}, {', '.join(values[place] for place in kept)})"

        return lambda text: re.sub(rf"({axis} = .*?Points = )\(([^)]*)\)", cut, text, count=1, flags=re.DOTALL)

    text = points("QAxis", rows)(points("StackAxis", energies)(header.read_text()))
    blocks = dict(re.findall(r"^Image(\d+) = (.*)$", text, flags=re.MULTILINE))
    text = re.sub(r"^Image\d+ = .*\n?", "", text, flags=re.MULTILINE)
    for index, energy in enumerate(energies):
        if index:  # the header begins at 2: the first image has the values of the scan
            text += f"Image{index + 1} = {blocks[str(energy + 1)]}\n"
        lines = header.with_name(f"{header.stem}_a{energy:03d}.xim").read_text().splitlines(keepends=True)
        (folder / f"{header.stem}_a{index:03d}.xim").write_text("".join(lines[row] for row in rows))
    (folder / header.name).write_text(text)


@pytest.fixture(scope="module")
def i0(measured_data):
    """The published I0, counts of the dwell."""
    return np.loadtxt(measured_data / "als-stxm-fe2p" / "i0.xsp")[:, 1] * 0.433


@pytest.mark.measured
def test_the_measured_stack_has_the_i0_that_was_published(whole, i0):
    summary, raw, result = whole
    assert summary["shape"] == [21, 125, 125]
    assert summary["i0"]["status"] == "ok"
    current = raw.streams[Stream.PRIMARY][Key.RING_CURRENT].reshape(21, 125)[:, 0]  # ours is that of the first line's
    ratio = result["incident_rate"] * (current / current[0]) * 0.433e-3 / i0[EVERY_SIXTH]
    assert np.abs(ratio / ratio.mean() - 1).max() < 0.01
    blank = result["blank"] > 0
    density = np.where(blank, result["optical_density"], np.nan)
    assert np.abs(np.nanmean(density, axis=(1, 2))).max() <= 0.005


@pytest.mark.measured
def test_the_measured_stack_is_masked_where_it_saturates_and_analysed_elsewhere(whole):
    summary, _, result = whole
    assert summary["masked_pixels"]["saturated"] > 500
    assert summary["drift_pixels"] < 0.3  # it was aligned before it was published
    saturated = result["mask"] == MASK_REASONS.index("saturated")
    assert np.isnan(result["reduced_fraction"][saturated]).all()
    peaks = [result["pca_energy"][spectrum.argmax()] for spectrum in result["end_members"]]
    assert all(707.0 < peak < 711.0 for peak in peaks)
    oxidised = result["end_members"][list(result["end_member_names"]).index("oxidised")]
    assert result["pca_energy"][oxidised.argmax()] == pytest.approx(709.7, abs=0.5)


@pytest.mark.measured
def test_the_measured_stack_is_replayed_from_the_catalogue_bit_for_bit_and_reported(imported, tmp_path):
    folder, summary = imported
    assert summary["shape"] == [len(CUT_ENERGIES) - 1, len(CUT_ROWS), 125]
    assert "71214078_a003.xim: missing; 25 lines left out" in summary["problems"]
    assert summary["chemistry"]["status"] == "ok"
    outcome = replay(Runs(folder), "-1", config=None, source="catalogue", keep=False)
    assert outcome["equal"] is True
    assert outcome["compared_with"] == summary["derived_uid"]
    text = write_report(Runs(folder), "-1", tmp_path / "report.html").read_text()
    for heading in ("Chemical map", "Residual", "Images", "Drift", "Principal components", "Score maps", "End members"):
        assert f"<h2>{heading}</h2>" in text
    analysed = analyse_runs(["-1"], config=None, data_dir=folder, output=tmp_path / "pooled.html")
    assert analysed["runs"][0]["problems"] == summary["problems"]
    assert all(problem in (tmp_path / "pooled.html").read_text() for problem in summary["problems"])


@pytest.mark.measured
def test_a_drift_imposed_on_the_measured_stack_is_recovered(measured_data, i0):
    folder = measured_data / "als-stxm-fe2p"
    counts = np.array([np.loadtxt(folder / f"71214078_a{index:03d}.xim") for index in range(0, 123, 4)])
    steps = np.linspace(0, 1, len(counts))
    drift = np.column_stack([4 * np.sin(2.1 * steps), -4 * steps + 0.5 * np.sin(9 * steps)])
    rng = np.random.default_rng(0)
    moved = [
        rng.poisson(np.clip(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), move)).real, 0, None))
        for image, move in zip(counts, drift, strict=True)
    ]
    found, without = (np.array(_registered(stack / i0[::4, None, None])) for stack in (np.array(moved), counts))
    wrong = found - without + drift - drift[0]  # the stack itself is not aligned to better than a few hundredths
    assert np.sqrt(np.mean(wrong**2)) < 0.05


def _registered(images):
    grid = StxmGrid(
        energies=list(range(len(images))),
        regions=[StxmRegion(x=(0, 1), y=(0, 1), columns=images.shape[2], rows=images.shape[1])],
    )
    step = Registration(grid, RegistrationSettings())
    for number, image in enumerate(images):
        outputs = step.push({IMAGE: Image(number, number, image, image, np.zeros((2, *image.shape)))})
        assert outputs["image_status"] == "ok"
    return step.result.drift[:, 0]


def keep_from_the_catalogue(folder):
    """Put logs where they are once their runs are in the catalogue: to take in a run takes seconds."""
    for path in Layout(folder).pending_logs():
        kept = Layout(path.parents[1]).ingested_log(path.stem, next(iter(read_log(path)))[1]["time"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.rename(kept)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """References, a stack with live maps and a focus scan, on the simulated endstation."""
    folder = tmp_path_factory.mktemp("stxm")
    session = Session(demo.simulated(3), folder, in_process=True, followers=(REDUCTION, PICTURE)).__enter__()
    endstation = session.endstation
    references = {
        name: measure(session, stxm_line_spectrum(endstation, ENERGIES, LINE, 0.05, sample=sample, edge="O K"))
        for name, sample in demo.REFERENCE_SAMPLES.items()
    }
    session.drain()
    session.use_references(references)
    stack = measure(session, stxm_stack(endstation, ENERGIES, FIELD, 0.002, sample=demo.SAMPLE, edge="O K"))
    focus = measure(session, stxm_focus(endstation, 540.0, LINE, "-24:24:3", 0.005, sample=demo.SAMPLE))
    session.drain()
    session.close()
    return {"folder": folder, "stack": stack, "focus": focus, "truth": endstation.truth,
            "page": Layout(folder).live / PAGE, "references": references}  # fmt: skip


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Two series, the monochromator calibrated anew between them."""
    folder = tmp_path_factory.mktemp("series")
    session = reducing_session(demo.simulated(3), folder)
    endstation = session.endstation
    plan = stack_series(
        endstation,
        "LRNMC 311 mAh/g",
        f"O K={ENERGIES}",
        SMALL,
        0.002,
        reference="LRNMC pristine",
    )
    uids = measure_all(session, plan)
    endstation.truth.energy_offset += 0.12
    plan = stack_series(endstation, "LRNMC 257 mAh/g", f"O K={ENERGIES}", SMALL, 0.002, reference="LRNMC pristine")
    uids += measure_all(session, plan)
    session.drain()
    session.close()
    keep_from_the_catalogue(folder)  # which is to take the pooled run alone
    return folder, uids


def test_a_stack_is_reduced_live_with_its_maps_before_the_last_energy(measured):
    summary = summary_of(Runs(measured["folder"]), measured["stack"])
    assert summary["i0"]["status"] == "ok"
    assert summary["chemistry"]["status"] == "ok"
    assert set(summary["fractions"]) == {"reduced", "oxidised", "carbon"}
    raw, derived = Runs(measured["folder"]).load_with_derived(measured["stack"])
    images = derived.streams[Stream.IMAGES]
    mapped = [bool(np.isfinite(one).any()) for one in images["reduced_fraction"]]
    assert mapped.index(True) < len(mapped) - 3
    assert np.sqrt(np.mean(demo.drift_error(raw, derived, measured["truth"]) ** 2)) < 0.1
    assert len(raw.streams[Stream.PRIMARY]) == len(images) * 26


def test_a_stack_is_replayed_bit_for_bit(measured):
    outcome = replay(Runs(measured["folder"]), measured["stack"], config=None, source="log", keep=False)
    assert outcome["equal"] is True
    assert outcome["arrays_compared"] > 50


def test_the_live_page_shows_the_newest_picture(measured):
    assert 'src="stxm.png"' in measured["page"].read_text()
    assert (measured["page"].with_name("stxm.png")).read_bytes().startswith(b"\x89PNG")


def test_a_focus_scan_finds_the_focus(measured):
    raw, derived = Runs(measured["folder"]).load_with_derived(measured["focus"])
    result = derived.result
    assert result["focus_status"] == "ok"
    nominal = np.mean(raw.measurement.grid.zone_plate)
    higher = 160.0 * 0.045 * 0.18 / 1.23984  # um: the photons have 0.18 eV more than the monochromator says
    assert result["focus"] == pytest.approx(nominal + FOCUS_OFFSET + higher, abs=max(3 * result["focus_sigma"], 0.3))
    write_report(Runs(measured["folder"]), measured["focus"], measured["folder"] / "focus.html")


def test_a_stack_that_lost_the_beam_at_the_edge_has_no_fractions_and_is_left_out_of_a_pool(tmp_path):
    session = reducing_session(demo.simulated(3), tmp_path)
    ring = session.endstation.ring.world.ring

    def lose_it(name, doc):
        if name == "event" and "energy" in doc["data"]:
            ring.dumps[:] = [(0.0, np.inf)] if 528.4 < doc["data"]["energy_setpoint"] < 531.6 else []

    names = []
    for sample, callback in (("LRNMC 311 mAh/g", None), ("LRNMC 257 mAh/g", lose_it)):
        token = session.RE.subscribe(callback) if callback else None
        plan = stxm_stack(session.endstation, ENERGIES, SMALL, 0.002, sample=sample, edge="O K")
        names.append(measure(session, plan))
        if token is not None:
            session.RE.unsubscribe(token)
    session.drain()
    session.close()
    why = "no image between 528.00 and 532.00 eV, where the edge area from 525.0 to 535.0 eV is integrated"
    assert summary_of(Runs(tmp_path), names[1])["chemistry"]["status"] == why
    outcome = analyse_runs(names, config=None, data_dir=tmp_path, output=tmp_path / "pooled.html")
    assert [run["run"] for run in outcome["runs"]] == names[:1]
    assert outcome["left_out"] == [{"run": names[1], "reason": f"LRNMC 257 mAh/g: {why}"}]
    assert f"run {names[1][:8]} is left out: LRNMC 257 mAh/g: {why}" in (tmp_path / "pooled.html").read_text()
    assert as_json("show", outcome["derived_uid"], "--data-dir", tmp_path)["left_out"] == outcome["left_out"]
    (tmp_path / "mean.toml").write_text('maps = false\n[normalise]\nbackground = "constant"\nby = "area"\n')
    mean = as_json(
        "analyse", *names, "-r", tmp_path / "mean.toml", "-o", tmp_path / "mean.html", "--data-dir", tmp_path
    )
    (told,) = (line for line in mean["assumed"] if "as measured" in line)
    said = r"LRNMC 257 mAh/g, sample, O K: as measured: nothing was measured between 52[78]\.\d* and 53[12][.\d]* eV"
    assert re.fullmatch(said, told)
    given = {sample: [number, 0.001] for number, sample in enumerate(("LRNMC 311 mAh/g", "LRNMC 257 mAh/g"))}
    of = {"reduced": {"of": outcome["derived_uid"], "quantity": "total_reduced"}, "metals": {"values": given}}
    across = compare(Runs(tmp_path), AcrossRecipe.model_validate({"technique": "across", "features": of}))
    assert across.result.assumed.tolist() == [f"reduced: not known of LRNMC 257 mAh/g ({why})"]
    with pytest.raises(BeamlineError, match=f"run {names[1][:8]}: LRNMC 257 mAh/g: {why}"):
        analyse_runs(names[1:], config=None, data_dir=tmp_path, output=tmp_path / "none.html")


def test_runs_of_two_series_are_pooled_on_one_energy_scale(series):
    folder, uids = series
    names = [uid for uid in uids if Runs(folder).find(uid).start[SERIES]["role"] == "sample"]
    assert not Layout(folder).live.exists()  # a picture that is closed draws no more
    outcome = analyse_runs(names, config=None, data_dir=folder, output=folder / "pooled.html")
    again = as_json("show", outcome["derived_uid"], "--data-dir", folder)
    assert (again["pixels"], again["runs"][0]["reduced"]) == (outcome["pixels"], outcome["runs"][0]["reduced"])
    assert outcome["status"] == "ok"
    offsets = [run["energy_offset_ev"] for run in outcome["runs"]]
    sigma = outcome["runs"][-1]["energy_offset_sigma_ev"]
    assert offsets[0] == 0.0
    assert offsets[1] == pytest.approx(0.12, abs=max(4 * sigma, 0.02))
    reduced = {run["sample"]: run["reduced"] for run in outcome["runs"]}
    assert reduced["LRNMC 257 mAh/g"] > reduced["LRNMC 311 mAh/g"] + 0.2
    assert "Chemical maps" in (folder / "pooled.html").read_text()
    assert summary_of(Runs(folder), names[0])["derived_uid"] != outcome["derived_uid"]


def test_stacks_are_pooled_as_a_recipe_says_with_references_by_their_samples(series, tmp_path, monkeypatch):
    monkeypatch.setattr("beamline.operations.analyse.ingest_now", lambda *_: "")  # tested above
    folder, uids = series
    names = [uid for uid in uids if Runs(folder).find(uid).start[SERIES]["role"] == "sample"]
    recipe = tmp_path / "pool.toml"
    text = f"""
        pool = true
        runs = {names!r}
        [references]
        reduced = {{ sample = "LRNMC pristine", edge = "O K" }}
        [processing.stxm.analysis]
        components = 3
    """
    recipe.write_text(text)
    outcome = as_json("analyse", "-r", recipe, "--data-dir", folder, "-o", tmp_path / "pooled.html")
    kept = Runs(folder).load(Runs(folder).find_pooled(outcome["derived_uid"]))
    assert len(kept.read(PooledResult).pca_components) == 3
    assert list(kept.derivation.settings["chemistry"]["references"]) == ["reduced"]
    again = as_json("analyse", outcome["derived_uid"], "--data-dir", folder, "-o", tmp_path / "again.html")
    assert again["runs"] == outcome["runs"]
    recipe.write_text(text.replace("components", "component"))
    refused = answer("analyse", "-r", recipe, "--data-dir", folder)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert f"{recipe}: processing.stxm.analysis: unknown key 'component'" in refused.stderr


def test_a_stack_goes_out_as_nxstxm_and_comes_back(measured, tmp_path):
    (path,) = export(Runs(measured["folder"]), measured["stack"], "nxstxm", tmp_path / "stack.hdf5")
    raw, _ = Runs(measured["folder"]).load_with_derived(measured["stack"])
    again = collect(nxstxm_documents(path))
    for stream in (Stream.PRIMARY, Stream.DARK):
        np.testing.assert_array_equal(again.streams[stream][Key.STXM_COUNTS], raw.streams[stream][Key.STXM_COUNTS])


@pytest.mark.parametrize(("run", "tables"), [("stack", ["spectrum"]), ("focus", ["focus"])])
def test_every_stxm_run_is_written_for_viewers_and_as_columns(measured, tmp_path, run, tables):
    runs = Runs(measured["folder"])
    (path,) = export(runs, measured[run], "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        assert signal.shape == tuple(len(data[axis]) for axis in data.attrs["axes"])
        assert np.isfinite(signal[:]).any()
    written = export(runs, measured[run], "columns", tmp_path / "text")
    assert [file.stem for file in written][: len(tables)] == tables
    assert np.isfinite(np.loadtxt(written[0])).any()


def test_a_run_that_is_no_stack_is_not_analysed_and_not_exported(measured):
    with pytest.raises(BeamlineError, match="expected a STXM stack"):
        analyse_runs([measured["focus"]], config=None, data_dir=measured["folder"], output=None)


def test_references_come_from_runs_and_from_files(measured, tmp_path):
    folder = measured["folder"]
    found = find_reference(measured["references"]["reduced"][:12], tmp_path, folder)
    assert found["source"].startswith("run ")
    assert 0.5 < max(found["optical_density"]) < 2.0
    np.savetxt(tmp_path / "ref.txt", np.column_stack([found["energy"], found["optical_density"]]))
    again = find_reference("ref.txt", tmp_path, folder)
    np.testing.assert_allclose(again["optical_density"], found["optical_density"])
    rows = zip(found["energy"], found["optical_density"], strict=True)
    (tmp_path / "ref.csv").write_text("energy,OD\n" + "\n".join(f"{energy!r},{density!r}" for energy, density in rows))
    assert find_reference("ref.csv", tmp_path, folder)["energy"] == found["energy"]
    (tmp_path / "bad.txt").write_text("no numbers\n")
    with pytest.raises(BeamlineError, match="expected two columns"):
        find_reference("bad.txt", tmp_path, folder)
    with pytest.raises(BeamlineError, match="has no optical density"):
        find_reference(measured["focus"], tmp_path, folder)


def test_the_table_of_references_is_read_from_the_configuration(tmp_path):
    text = load_config().path.read_text()
    file = tmp_path / "endstation.toml"
    file.write_text(text + '\n[references]\nreduced = "12"\n')
    assert load_config(file).references == {"reduced": "12"}
