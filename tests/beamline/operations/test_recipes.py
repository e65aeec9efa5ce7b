"""Analyses by a recipe: from runs to tables, maps, a report and a derived run that is made again by its uid."""

import copy
import html
import json
import re
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import answer, as_json
from frame_documents import ROWS, raw_run, write_frames
from scipy.special import expit
from stxm_documents import stxm_documents

from beamline.acquire.session import Session, measure
from beamline.analysis import open_runs
from beamline.endstation.config import load_config
from beamline.formats.importers.xdi import xdi_documents
from beamline.operations.replay import reduce_documents
from beamline.report.analysed import analysed_figures, labels
from beamline.storage.derived import DerivedRuns
from beamline.storage.layout import REDUCTION, Layout
from beamline.storage.recorder import Recorder
from beamline.storage.results import collect
from beamline.storage.runs import Runs
from callbacks.contract import AnalysedResult, RixsResult, StxmResult, XasResult
from plans import xas

pytestmark = pytest.mark.long

SAMPLES = ("LRNMC pristine", "LRNMC 131 mAh/g", "LRNMC 311 mAh/g")
RECIPE = """
runs = ["1", "2", "3"]
[align]
channel = "reference"
[references]
pristine = "1"
charged = "3"
[measures.shoulder]
by = "integral"
window = [529.5, 531.5]
[measures.edge_position]
search = [532, 540]
[measures.state]
by = "lcf"
window = [526, 550]
values = { pristine = 0, charged = 311 }
"""


@pytest.fixture(autouse=True, scope="module")
def _no_catalogue():
    """Leave out the catalogue, which takes seconds for each analysis: pooled analyses are tested with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamline.operations.analyse.ingest_now", lambda *_: "")
        yield


def keep(folder, documents, settings=None):
    """Record a run, reduce it, and keep both."""
    with closing(Recorder(folder)) as recorder, closing(DerivedRuns(folder)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, settings or {}):
            derived(*document)
    return documents[0][1]["uid"]


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    """A data folder with absorption spectra of three states of charge, scans 1 to 3."""
    data = tmp_path_factory.mktemp("spectra")
    with Session(load_config(), data, in_process=True, followers=[REDUCTION]) as session:
        for sample in SAMPLES:
            measure(
                session, xas(session.endstation, "520:527:1, 527:536:0.2, 536:552:0.5", 1.0, sample=sample, edge="O K")
            )
        assert session.drain() == ""
    return data


def test_a_recipe_makes_tables_a_report_and_a_run_that_is_made_again(spectra, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    outcome = as_json("analyse", "--recipe", file, "--data-dir", spectra, "-o", tmp_path / "report.html")
    assert outcome["technique"] == "xas"
    assert outcome["problems"] == []
    first, note, last = outcome["assumed"]
    assert [told.partition(", with the same noise")[0] for told in (first, last)] == [
        "state of LRNMC pristine, tey: is reference pristine itself",
        "state of LRNMC 311 mAh/g, tey: is reference charged itself",
    ]
    assert re.match(r"state of LRNMC 131 mAh/g, tey: reduced chi square [\d.]+: the references do not explain", note)
    reduced = [one["measures"]["state"]["reduced_chi_square"]["value"] for one in outcome["spectra"]]
    assert reduced[1] > 3
    assert [one["sample"] for one in outcome["spectra"]] == list(SAMPLES)
    found = [one["measures"] for one in outcome["spectra"]]
    assert [{measure["status"] for measure in one.values()} for one in found] == [{"ok"}] * 3
    areas = [one["shoulder"]["area"]["value"] for one in found]
    assert areas == sorted(areas)  # the oxidised oxygen grows
    assert [*found[2]["state"]["mean"].values()] == [pytest.approx(311.0), 0.0, "", 0.0]  # nothing of it is uncertain
    mean = found[1]["state"]["mean"]
    assert mean["units"] == ""
    assert 40 < mean["value"] < 160  # the shoulder does not grow evenly
    edges = np.array([[one["edge_position"]["energy"][key] for key in ("value", "sigma")] for one in found])
    assert np.ptp(edges[:, 0]) < 4 * edges[:, 1].max()  # the 4sp band stays
    by_scale = [one["edge_position"]["energy"]["scale_sigma"] for one in found]
    assert by_scale[0] == 0.0  # the others are brought to the first
    assert 0.0 < min(by_scale[1:]) <= max(by_scale[1:]) < 0.02
    report = (tmp_path / "report.html").read_text()
    words_of_measures = "Fits: state", "edge position", "mean", "± by energy scale (eV)", "Pale: with"
    for words in ("3 runs of absorption spectra", *words_of_measures):
        assert words in report, words
    kept = open_runs(spectra).analysis(outcome["derived_uid"])
    short = json.loads(kept.result().attrs["settings"])["references"]["charged"]
    whole = kept.settings["references"]["charged"]
    number = len(whole["energy"])
    assert number == len(whole["values"]) > 50
    assert short["energy"] == f"{whole['energy'][0]:g} to {whole['energy'][-1]:g} eV"
    assert (short["points"], short["source"]) == (number, whole["source"])
    assert json.dumps({key: short[key] for key in ("energy", "points")})[1:-1] in html.unescape(report)
    assert json.dumps(whole["values"][:2])[:-1] not in report
    again = as_json("analyse", outcome["derived_uid"][:8], "--data-dir", spectra, "-o", tmp_path / "again.html")
    assert again["derived_uid"] != outcome["derived_uid"]
    assert again["spectra"] == outcome["spectra"]
    assert again["recipe"] == outcome["recipe"]
    shown = as_json("show", again["derived_uid"], "--data-dir", spectra)
    assert shown["spectra"] == outcome["spectra"]
    once_more = as_json("report", outcome["derived_uid"][:8], "--data-dir", spectra, "-o", tmp_path / "kept.html")
    assert once_more == {"report": str(tmp_path / "kept.html")}
    assert (tmp_path / "kept.html").read_text() == report
    runs = Runs(spectra)
    result = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult)
    assert result.quantities["spectrum"].axes == ("rows", "points")
    assert result.quantities["energy_offset"].units == "eV"
    assert (
        abs(result.quantities["energy_offset"].values).max() < 4 * result.quantities["energy_offset_sigma"].values.max()
    )


def test_a_spectrum_as_its_reduction_normalised_it_is_as_uncertain_as_one_that_the_recipe_does(spectra, tmp_path):
    options = ["--do", "integral", "--set", "measures.integral.window=[529, 533]"]
    where = ["--data-dir", spectra, "-o", tmp_path / "report.html", "--overwrite"]
    reduced, anew = (
        as_json("analyse", "1", *options, *more, *where)["spectra"][0]["measures"]["integral"]["area"]
        for more in ([], ["--set", "normalise.by=edge"])
    )
    assert reduced["value"] == pytest.approx(anew["value"], rel=1e-9)
    assert reduced["sigma"] == pytest.approx(anew["sigma"], rel=1e-6)


@pytest.mark.parametrize(
    "done", ["align.channel='reference'", "as_measured=true", "normalise.by='area'", "normalise.by='edge'"]
)
def test_a_run_that_is_a_reference_is_itself_whatever_is_done_to_the_spectra(spectra, tmp_path, done):
    """The third run has another energy scale: its reference channel says so of the run, and of the reference it is."""
    data, runs = tmp_path / "data", Runs(spectra)
    for name, offset in (("1", 0.0), ("3", 0.5)):
        documents = copy.deepcopy(runs.documents(runs.find(name)))
        for kind, doc in documents:
            if kind == "event" and "energy" in doc["data"]:
                doc["data"]["energy"] += offset
        keep(data, documents)
    sets = ["references.first='1'", "references.third='3'", "measures.lcf.window=[527, 549]", done]
    options = [each for one in sets for each in ("--set", one)]
    outcome = as_json("analyse", "1", "3", "--do", "lcf", *options, "--data-dir", data, "-o", tmp_path / "a.html")
    for each, truth in zip(outcome["spectra"], ((1.0, 0.0), (0.0, 1.0)), strict=True):
        found = each["measures"]["lcf"]
        assert found["status"] == "ok"
        assert (found["of_first"]["value"], found["of_third"]["value"]) == pytest.approx(truth, abs=2e-3)


def test_options_are_a_recipe_too_and_spectra_are_compared_without_one(spectra, tmp_path):
    out = tmp_path / "report.html"
    options = [
        "--do",
        "edge_position",
        "--set",
        "edge_position.search=[532, 540]",
        "--set",
        "measures.edge_position.points=6",
    ]
    refused = answer("analyse", "1", "2", *options, "--data-dir", spectra, "-o", out, "--overwrite")
    assert refused.code == 1
    assert "edge_position" in refused.stderr
    assert refused.stderr.count("\n") == 1
    options[3] = "measures.edge_position.search=[532, 540]"
    found = as_json("analyse", "1", "2", *options, "--data-dir", spectra, "-o", out, "--overwrite")
    assert found["recipe"]["measures"] == {
        "edge_position": {"by": "edge_position", "search": [532.0, 540.0], "points": 6}
    }
    plain = as_json("analyse", "1", "2", "3", "--data-dir", spectra, "-o", out, "--overwrite")
    assert [one["measures"] for one in plain["spectra"]] == [{}, {}, {}]
    printed = answer("analyse", "1", "2", *options, "--data-dir", spectra, "-o", out, "--overwrite")
    assert re.search(r"LRNMC pristine +\d{3}\.\d+ ± 0\.\d+", printed.stdout)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('technique = "stxm"', "technique: is stxm, but the runs are xas"),
        ('channel = "tez"', "unknown channel 'tez'; did you mean 'tey'?"),
        ("[measures.half]\nby = 'edge'", "measures.half: "),
        ("[measures.half]\nby = 'edge_position'\npoint = 4", "measures.half.edge_position: unknown key 'point'"),
        ("[references]\na = 'nothing.txt'", "nothing.txt"),
        ("[measures.half]\nby = 'centroid'\nwindow = [1, inf]", "measures.half.window.1: inf is not a finite number"),
        ("measures = 3", "measures: expected a table"),
        ("this is no TOML", "recipe.toml"),
        ("measures.half = 3", "measures.half: expected a table, not 3"),
        ("[measures.integral]\nwindow = [529]", "measures.integral.integral.window: holds 1 value, expected more"),
        ("[measures.integral]\nwindow = 'all'", "window: expected a list, such as [1, 2], not 'all'"),
        ("[regions.a]", "regions: are of stxm"),
        ("[regions.a.masked]\nlines = 9\ncolumns = 9\npixels = 'eJw='", "are not those of a mask of 9 x 9"),
        ("[regions.a.masked]\nlines = 9\ncolumns = 9\npixels = 'no'", "are not those of a mask of 9 x 9"),
        ("[measures.half]\nby = 'lfc'", "unknown by 'lfc'; did you mean 'lcf'?; expected one of edge_position, "),
        ("[measures.lcf]", "measures.lcf: 0 references: expected 1 to 6"),
        ("[references]\na = '1'\n[measures.lcf]\nreferences = ['b']", "'b' is not among those of the recipe: a"),
        ("[measures.edge_position]\nsearch = [540, 532]", "window 540 to 532: expected the lower end first"),
        ("[measures.edge_position]\nof = ['tez']", "measures.edge_position.of: 'tez' is not there, expected of tey"),
        ("[measures.edge_position]\nedge = 'Mn L3'", "edge: 'Mn L3' is not there, expected of O K"),
        ("difference_from = 'LRNMC'", "difference_from: 'LRNMC' is none of the runs, expected one of LRNMC pristine"),
        ("[references]\na = 'charged.txt'", "reference charged.txt: there is no file "),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line_that_says_where(spectra, tmp_path, text, words):
    (tmp_path / "recipe.toml").write_text(text)
    told = answer("analyse", "1", "2", "-r", tmp_path / "recipe.toml", "--data-dir", spectra, "-o", tmp_path / "r.html")
    assert told.code == 1
    assert words in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_no_run_and_no_recipe_is_said(spectra):
    told = answer("analyse", "--data-dir", spectra)
    assert (told.code, told.stderr.count("\n")) == (1, 1)
    assert "no run is named" in told.stderr


ENERGY = np.concatenate(
    [np.arange(8320.0, 8334.0, 2.0), np.arange(8334.0, 8352.0, 1.0), np.arange(8352.0, 8382.0, 3.0)]
)
EDGES = {"pre_edge": [8320, 8333], "post_edge": [8358, 8380]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack of which every pixel's edge is known, scan 7."""
    data = tmp_path_factory.mktemp("stack")
    rng = np.random.default_rng(8)
    lines, columns = 40, 60
    x, y = 0.1 * np.arange(columns), 0.1 * np.arange(lines)
    grains = np.hypot((x - 3.2)[None, :] / 1.8, (y - 2.0)[:, None] / 1.4)  # one, with a hole
    hole = np.hypot((x - 2.4)[None, :], (y - 1.4)[:, None])
    thickness = 0.9 * expit((1.0 - grains) / 0.05) * expit((hole - 0.4) / 0.1)
    position = 8343.0 + 0.5 * np.sin(y / 0.8)[:, None] * np.ones(columns)
    edge = expit((ENERGY[:, None, None] - position) / 0.9)
    density = thickness * (0.2 + edge)
    counts = rng.poisson(20_000 * np.exp(-density)).astype(float)
    uid = keep(data, stxm_documents(counts, ENERGY, x, y, dwell=1.0, sample="NMC", edge="Ni K"))
    return SimpleNamespace(data=data, uid=uid, position=position, thick=thickness > 0.85)


def test_a_map_of_edge_positions_holds_the_truth_in_two_pixels_of_three(stack, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(f"""
        [regions.thick]
        above = 0.6
        [regions.corner]
        x = [3.0, 4.0]
        y = [1.6, 2.4]
        [measures.half]
        by = "edge_position"
        pre_edge = {EDGES["pre_edge"]}
        post_edge = {EDGES["post_edge"]}
        [correlations.jump]
        first = "1.half_energy"
        second = "1.half_jump"
        [correlations.nothing]
        first = "1.half_energy"
        second = "2.half_energy"
    """)
    outcome = as_json("analyse", "7", "-r", file, "--data-dir", stack.data, "-o", tmp_path / "report.html")
    assert any("energies are as they were read" in told for told in outcome["assumed"])
    assert [one["part"] for one in outcome["spectra"]] == ["thick", "corner"]
    assert outcome["maps"] == ["map1_half_energy", "map1_half_jump"]
    assert outcome["correlations"]["jump"]["status"] == "ok"
    assert abs(outcome["correlations"]["jump"]["pearson"]) < 0.5
    why = "there is no map 2.half_energy; there are 1.half_energy, 1.half_jump"
    assert outcome["correlations"]["nothing"]["status"] == why
    report = (tmp_path / "report.html").read_text()
    assert "Correlation: jump" in report
    assert why in report
    runs = Runs(stack.data)
    found = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult).quantities
    values, sigma = (np.asarray(found[f"map1_half_energy{end}"].values) for end in ("", "_sigma"))
    known = np.isfinite(values)
    assert known[stack.thick].mean() > 0.95
    inside = known & stack.thick  # at its rim the sample is thin, and half of a pixel
    held = np.abs(values - stack.position)[inside] < sigma[inside]
    assert 0.60 < held.mean() < 0.76
    assert found["map1_x"].values[-1] == pytest.approx(5.9)
    corner = outcome["spectra"][1]["measures"]["half"]["energy"]
    assert corner["value"] == pytest.approx(stack.position[16:25].mean(), abs=0.05)


def test_regions_by_mask_and_cluster_and_those_that_are_not_there(stack, tmp_path):
    derived = Runs(stack.data).load_with_derived("7")[1].read(StxmResult)
    mask = np.zeros(np.shape(derived.mask), dtype=np.uint8)
    mask[18:24, 30:40] = 1
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "wrong.npy", mask[1:])
    file = tmp_path / "recipe.toml"
    file.write_text("""
        maps = false
        [regions.masked]
        mask = "mask.npy"
        [regions.wrong]
        mask = "wrong.npy"
        [regions.no_cluster]
        cluster = "reduced "
        [regions.nowhere]
        x = [100, 101]
        [regions.beyond]
        quantity = "optical_density"
        at = 530.0
        above = 0.1
        [measures.area]
        by = "integral"
        window = [8345, 8355]
    """)
    outcome = as_json("analyse", "7", "-r", file, "--data-dir", stack.data, "-o", tmp_path / "report.html")
    assert [one["part"] for one in outcome["spectra"]] == ["masked"]
    assert outcome["maps"] == []
    told = "\n".join(outcome["assumed"])
    assert "region wrong: mask wrong.npy: (39, 60) pixels, expected (40, 60) (lines, columns)" in told
    assert "region no_cluster: cluster 'reduced '" in told
    assert "region nowhere: no pixel with sample lies in it" in told
    assert "region beyond: at: no image at 530 eV; there are " in told
    np.save(tmp_path / "mask.npy", 1 - mask)  # what was analysed is made again, wherever and whatever its files are now
    again = as_json("analyse", outcome["derived_uid"], "--data-dir", stack.data, "-o", tmp_path / "again.html")
    assert [one["measures"] for one in again["spectra"]] == [one["measures"] for one in outcome["spectra"]]
    for name, values in {"nan": np.full(mask.shape, np.nan), "texts": np.full(mask.shape, "0")}.items():
        np.save(tmp_path / f"{name}.npy", values)
        one = ["analyse", "7", "--set", f"regions.grain.mask={tmp_path / name}.npy", "--data-dir", stack.data]
        assert f"{name}.npy: holds what is no number, expected 0 or another for each pixel" in answer(*one).stderr
    (tmp_path / "text.npy").write_text("no numbers")
    one = ["analyse", "7", "--set", f"regions.grain.mask={tmp_path}/text.npy", "--data-dir", stack.data]
    assert answer(*one).stderr.endswith("cannot be read: it is no image, and no .npy file of numbers\n")
    missing = file.read_text().replace("mask.npy", "none.npy", 1)
    file.write_text(missing)
    refused = answer("analyse", "7", "-r", file, "--data-dir", stack.data, "-o", tmp_path / "refused.html")
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert "none.npy: cannot be read" in refused.stderr


@pytest.fixture(scope="module")
def rixs(tmp_path_factory):
    """A calibrated RIXS map with an elastic line and emission that grows with the excitation energy, scan 3."""
    data = tmp_path_factory.mktemp("rixs")
    keep_map(data)
    return data


def keep_map(data, scan=3):
    """Keep that map in a data folder; give its uid."""
    energies, columns = np.arange(526.0, 536.0, 1.0), np.arange(420)
    frames = []
    for number, energy in enumerate(energies):
        centre = 250.0 + 530.0 / 0.1 * (1 - 530.0 / energy)
        spectrum = 600 / 5.32 * np.exp(-0.5 * ((columns - centre) / 2.12) ** 2) + 1.0
        spectrum += (500 + 500 * number) / 25 * np.exp(-0.5 * ((columns - 100) / 10) ** 2)
        frames.append(np.tile(spectrum / ROWS, (ROWS, 1)))
    Layout(data).frames.mkdir(parents=True, exist_ok=True)
    path = write_frames(Layout(data).frames / f"{scan}.h5", np.array(frames), seed=3)
    documents = list(raw_run(path, "stream", energies=energies, columns=420, scan_id=scan, technique="rixs"))
    return keep(data, documents, {"rixs": {"repeated_frames": {"drift": {"rate": 0.0, "track": False}}}})


def test_cuts_of_a_map_are_spectra_like_others(rixs, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("""
        [cuts.pfy]
        emission = [512, 519]
        [cuts.at530]
        excitation = [529.5, 530.5]
        [cuts.elastic]
        loss = [-0.8, 0.8]
        [cuts.beyond]
        emission = [900, 901]
        [measures.growth]
        by = "integral"
        window = [526, 535]
        of = ["pfy"]
        [measures.line]
        by = "centroid"
        window = [510, 525]
        of = ["at530"]
    """)
    outcome = as_json("analyse", "3", "-r", file, "--data-dir", rixs, "-o", tmp_path / "report.html")
    line = outcome["spectra"][1]["measures"]["line"]["energy"]
    found = Runs(rixs).load_with_derived("3")[1].read(RixsResult)
    scale = np.interp(line["value"], found.emission_energy, found.emission_energy_sigma)  # that of the calibration
    assert line["scale_sigma"] == pytest.approx(scale, rel=0.3)
    assert line["scale_sigma"] > line["sigma"]
    assert [one["part"] for one in outcome["spectra"]] == ["pfy", "at530", "elastic"]
    assert (
        "cut beyond: emission 900 to 901 eV: is not whole at any excitation; the map has emission from"
        in outcome["assumed"][0]
    )
    statuses = [one["measures"]["growth"]["status"] for one in outcome["spectra"]]
    assert statuses == ["ok", "not taken of this part", "not taken of this part"]
    runs = Runs(rixs)
    result = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult)
    assert result.row_axis.tolist() == ["excitation energy", "emission energy", "excitation energy"]
    pfy, elastic = (result.quantities["spectrum"].values[row][:10] for row in (0, 2))
    assert pfy / pfy[0] == pytest.approx(1 + np.arange(10), rel=0.12)
    assert elastic / elastic.mean() == pytest.approx(1, rel=0.25)
    refused = answer("analyse", "3", "--do", "centroid", "--data-dir", rixs, "-o", tmp_path / "r.html")
    assert refused.stderr.count("\n") == 1


def test_self_absorption_of_a_yield_is_taken_off_by_the_geometry_of_the_run(spectra, tmp_path):
    formula = '--set=self_absorption.formula="Li1.2Mn0.54Co0.13Ni0.13O2"'
    windows = ["--set=self_absorption.pre_edge=[519, 526]", "--set=self_absorption.post_edge=[547, 553]"]
    options = ["--set=channel=tfy", "--data-dir", spectra, "-o", tmp_path / "report.html", "--overwrite"]
    plain = as_json("analyse", "1", *options)
    assert plain["assumed"] == ["tfy is as measured, with its self-absorption: no [self_absorption] is given"]
    outcome = as_json("analyse", "1", formula, *windows, *options)
    runs = Runs(spectra)
    found = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult).quantities
    energy, corrected, measured = (found[key].values[0] for key in ("energy", "spectrum", "measured"))
    electrons = runs.load_with_derived("1")[1].read(XasResult).spectra["tey"].normalised  # which no absorption flattens
    peak = np.abs(energy - 537.5).argmin()
    assert abs(measured[peak] - electrons[peak]) > 0.08
    assert abs(corrected[peak] - electrons[peak]) < 0.05  # it holds binder, too, unlike the formula
    assert "dashed: as measured" in (tmp_path / "report.html").read_text()
    refused = answer("analyse", "1", '--set=self_absorption.formula="LiCoF3"', *options)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert "left out: self-absorption: formula LiCoF3: has no O, whose edge is 'O K'" in refused.stderr


def test_self_absorption_of_a_map_is_taken_off_by_the_absorption_of_another_run(spectra, tmp_path):
    text = f"""
        runs = ["{keep_map(spectra, 9)[:8]}"]
        [cuts.pfy]
        emission = [512, 519]
        [self_absorption]
        formula = "Li1.2Mn0.54Co0.13Ni0.13O2"
        edge = "O K"
        absorption = "1"
        incidence = 45
        exit = 30
    """
    file = tmp_path / "recipe.toml"
    options = ["--data-dir", spectra, "-o", tmp_path / "report.html", "--overwrite"]
    file.write_text(text)
    outcome = as_json("analyse", "-r", file, *options)
    assert ["its absorption is taken to be that of" in told for told in outcome["assumed"]] == [True]
    assert "self-absorption at 45 and 30 degrees is taken off: times 1.0" in outcome["corrected"][0]
    runs = Runs(spectra)
    found = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult).quantities
    factor = found["spectrum"].values[0] / found["measured"].values[0]
    assert factor[0] == pytest.approx(1.08, abs=0.03)  # before the edge, where all is absorbed more than at its onset
    # At 531 eV, where the edge absorbs some 0.6 of its step: (2490 + 0.6 * 6930) / sin 45 + 2600 / sin 30 over
    # 2374 (1 / sin 45 + 1 / sin 30), cm2/g.
    assert factor[5] == pytest.approx(1.80, abs=0.10)
    assert (found["spectrum_sigma"].values[0] / found["spectrum"].values[0])[5] > 0.04  # that of the tabulated step
    again = as_json("analyse", outcome["derived_uid"], *options)
    assert again["recipe"] == outcome["recipe"]
    assert again["recipe"]["self_absorption"]["absorption"] == Runs(spectra).find("1").uid
    file.write_text(text.replace("exit = 30", ""))
    refused = answer("analyse", "-r", file, *options)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1)
    assert "the geometry is not known: neither the recipe nor the run gives exit (degrees)" in refused.stderr
    own = re.search(r'runs = \["(\w+)"', text)[1]
    for change, words in {
        'absorption = "1"': (f'absorption = "{own}"', "is of rixs, expected an absorption spectrum"),
        'edge = "O K"': ('edge = "Mn L3"', "absorption: scan 1 .*: was measured at O K, expected Mn L3"),
        "Li1.2Mn": ("Xx1.2Mn", "formula .*: 'Xx' is not an element symbol$"),
    }.items():
        file.write_text(text.replace(change, words[0]))
        told = answer("analyse", "-r", file, *options)
        assert (told.code, told.stderr.count("\n")) == (1, 1)
        assert re.search(words[1], told.stderr), told.stderr


def test_the_answer_of_json_is_whole(spectra, tmp_path):
    said = answer("analyse", "1", "--do", "edge_position", "--json", "--data-dir", spectra, "-o", tmp_path / "r.html")
    assert json.loads(said.stdout)["spectra"][0]["measures"]["edge_position"]["status"] == "ok"


def test_features_of_the_same_samples_are_compared_along_the_cycle(spectra, tmp_path):
    out = tmp_path / "report.html"
    shoulder = ["--do", "integral", "--set", "measures.integral.window=[529.5, 531.5]"]
    one = as_json("analyse", "1", "2", "3", *shoulder, "--data-dir", spectra, "-o", out, "--overwrite")
    centroid = ["--do", "centroid", "--set", "measures.centroid.window=[528, 534]", "--set", "channel=tfy"]
    other = as_json("analyse", "2", "3", *centroid, "--data-dir", spectra, "-o", out, "--overwrite")
    recipe = tmp_path / "across.toml"
    text = f"""
        technique = "across"
        [features.shoulder]
        of = "{one["derived_uid"][:8]}"
        quantity = "integral_area"
        [features.centre]
        of = "{other["derived_uid"]}"
        quantity = "centroid_energy"
        part = "tfy"
        [features.migrated]
        values = {{ "LRNMC pristine" = [2.5, 0.3], "LRNMC 131 mAh/g" = [3, 0.2] }}
        units = "%"
        [capacity]
        "LRNMC 311 mAh/g" = 300
    """
    recipe.write_text(text)
    across = as_json("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")
    assert [each["capacity_mah_per_g"] for each in across["samples"]] == [0, 131, 300]
    areas = [each["features"]["shoulder"]["value"] for each in across["samples"]]
    assert areas == [each["measures"]["integral"]["area"]["value"] for each in one["spectra"]]
    assert across["samples"][0]["features"]["centre"]["value"] is None
    assert across["samples"][2]["features"]["centre"]["units"] == "eV"
    assert across["samples"][0]["features"]["migrated"] == {"value": 2.5, "sigma": 0.3, "units": "%"}
    assert across["assumed"] == ["centre: not known of LRNMC pristine", "migrated: not known of LRNMC 311 mAh/g"]
    report = out.read_text()
    assert "centre against shoulder" in report
    again = as_json("analyse", across["derived_uid"], "--data-dir", spectra, "-o", out, "--overwrite")
    assert again["samples"] == across["samples"]
    assert as_json("show", again["derived_uid"], "--data-dir", spectra)["samples"] == across["samples"]
    for change, words in {
        one["derived_uid"][:8]: ("ffffffff", "no analysis has this uid"),
        "integral_area": ("integral_areas", "unknown quantity 'integral_areas'; did you mean 'integral_area'?"),
        'part = "tfy"': ('part = "tey"', "unknown part 'tey'"),
        'of = "': ('# "', "features.shoulder: expected `of` and `quantity`, or `values`"),
        "quantity": ("quantify", "unknown key 'quantify'; did you mean 'quantity'?"),
        "[2.5, 0.3]": ("2.5", "migrated.values: LRNMC pristine: is 2.5, expected value and standard uncertainty"),
        "0.3]": ("-0.3]", "LRNMC pristine: is [2.5, -0.3], expected value and standard uncertainty"),
        "= 300": ("= nan", "capacity: LRNMC 311 mAh/g: is nan, expected a number, mAh/g"),
    }.items():
        recipe.write_text(text.replace(change, words[0], 1))
        told = answer("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")
        assert (told.code, words[1] in told.stderr) == (1, True), told.stderr
    recipe.write_text("technique = 'across'\n[features.migrated]\nvalues = { 'LRNMC pristine' = [2.5, 0.3] }")
    told = answer("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")
    assert (told.code, told.stderr.count("\n")) == (1, 1)
    assert "features: all are given as `values`: expected one or more out of an analysis" in told.stderr
    recipe.write_text(text.replace("LRNMC 311 mAh/g", "LRNMC 311 mAh", 1))
    mistyped = as_json("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")["assumed"]
    assert "capacity: unknown sample 'LRNMC 311 mAh'; did you mean 'LRNMC 311 mAh/g'?" in mistyped


def test_a_spectrum_that_is_exported_to_xdi_and_imported_again_is_reduced_to_the_same(spectra, tmp_path):
    file = tmp_path / "scan.xdi"
    assert as_json("export", "2", "--format", "xdi", "-o", file, "--data-dir", spectra) == {"files": [str(file)]}
    text = file.read_text()
    assert text.startswith("# XDI/1.0 stxm-rixs-beamline/")
    for line in ("# Column.1: energy eV", "# Element.symbol: O", "# Element.edge: K", "# Sample.name: LRNMC 131 mAh/g"):
        assert f"{line}\n" in text
    runs = Runs(spectra)
    _, before = runs.load_with_derived("2")
    documents = list(xdi_documents(file))
    after = collect(list(reduce_documents(documents, {}))).read(XasResult)
    before = before.read(XasResult)
    assert after.xas_energy == pytest.approx(before.xas_energy, rel=1e-9)
    for name in ("tey", "tfy", "reference"):  # all yields of electrons or light
        for field in ("normalised", "sigma", "edge_jump"):
            expected, found = (getattr(result.spectra[name], field) for result in (before, after))
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), (name, field)


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    """A data folder with absorption spectra of two states of charge at two edges, flown."""
    data = tmp_path_factory.mktemp("edges")
    regions = {"Ni L3": "842:850:0.5, 850:860:0.2", "Mn L3": "628:638:0.5, 638:648:0.2"}
    with Session(load_config(), data, in_process=True, followers=[REDUCTION]) as session:
        for sample in SAMPLES[::2]:
            for edge, energies in regions.items():
                measure(session, xas(session.endstation, energies, 5.0, sample=sample, edge=edge, mode="fly"))
        assert session.drain() == ""
    return data


OF_EDGES = """
[select]
technique = "xas"
samples = ["LRNMC pristine", "LRNMC 311 mAh/g"]
edges = ["Ni L3", "Mn L3"]
[normalise]
background = "constant"
by = "area"
[measures.nickel]
by = "centroid"
edge = "Ni L3"
window = [851, 857]
"""


def test_runs_selected_at_several_edges_are_compared_at_each_in_a_panel_of_its_own(edges, tmp_path):
    file = tmp_path / "edges.toml"
    file.write_text(OF_EDGES)
    outcome = as_json("analyse", "-r", file, "--data-dir", edges, "-o", tmp_path / "report.html")
    assert [one["sample"] for one in outcome["spectra"]] == [*SAMPLES[::2]] * 2
    runs = Runs(edges)
    result = runs.load(runs.find_pooled(outcome["derived_uid"])).read(AnalysedResult)
    assert result.row_edge.tolist() == ["Ni L3"] * 2 + ["Mn L3"] * 2
    assert set(result.quantities["spectrum_status"].values) == {"ok"}
    row_run = result.row_run.tolist()
    assert result.quantities["difference_from"].values.tolist() == ["", row_run[0], "", row_run[2]]
    difference, sigma = (np.nan_to_num(result.quantities[f"difference{end}"].values) for end in ("", "_sigma"))
    assert np.abs(difference[1]).max() > 10 * sigma[1].max()  # nickel is oxidised,
    assert np.abs(difference[3]).max() < 5 * sigma[3].max()  # and manganese is not
    centre = [one["measures"]["nickel"].get("energy", {}).get("value") for one in outcome["spectra"]]
    assert centre[1] - centre[0] == pytest.approx(0.85, abs=0.15)
    assert centre[2:] == [None, None]
    _, _, drawn = next(iter(analysed_figures(result, ["nickel"])))
    above = drawn.axes[:2]
    assert [axes.get_title() for axes in above] == ["Mn L3", "Ni L3"]
    assert [line.get_color() for line in above[0].lines] == [line.get_color() for line in above[1].lines]
    assert [text.get_text() for axes in above if axes.get_legend() for text in axes.get_legend().get_texts()] == [
        *SAMPLES[::2]
    ]
    assert labels(result)[1] == "LRNMC 311 mAh/g Ni L3"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"LRNMC pristine"', '"LRNMC mislaid"'), "select: technique=xas sample=LRNMC mislaid edge=Ni L3: no run of"),
        (("edges =", "edge ="), "select: unknown key 'edge'; did you mean 'edges'?"),
        (("[select]", "runs = [1]\n[select]"), "runs and select: expected one of them"),
        (("[select]", "pool = true\n[select]"), "measures, normalise: runs that are pooled are analysed as"),
        (("[select]", "pool = 1\n[select]"), "pool: is 1, expected true, or nothing"),
        (("[normalise]", "[references]\na = { sample = 'a', edges = 'O K' }\n[normalise]"), "unknown key 'edges'; did"),
        (("[normalise]", "[references]\na = { sample = 'LRNMC mislaid' }\n[normalise]"), "references.a: sample=LRNMC"),
    ],
)
def test_a_mistake_in_what_a_recipe_selects_is_said_in_one_line(edges, tmp_path, change, told):
    file = tmp_path / "edges.toml"
    file.write_text(OF_EDGES.replace(*change, 1))
    refused = answer("analyse", "-r", file, "--data-dir", edges)
    assert (refused.code, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert told in refused.stderr


def test_absorption_spectra_are_not_pooled(edges, tmp_path):
    file = tmp_path / "pool.toml"
    file.write_text('pool = true\nruns = ["1"]\n')
    refused = answer("analyse", "-r", file, "--data-dir", edges)
    assert "pool: is of STXM stacks or RIXS maps, but the runs are absorption spectra" in refused.stderr


def test_features_may_be_of_recipes_beside_which_are_made_first(spectra, tmp_path):
    (tmp_path / "shoulder.toml").write_text(
        'runs = ["1", "2", "3"]\n[measures.shoulder]\nby = "integral"\nwindow = [529.5, 531.5]\n'
    )
    recipe, out = tmp_path / "across.toml", tmp_path / "report.html"
    text = 'technique = "across"\n[features.area]\nof = "shoulder.toml"\nquantity = "shoulder_area"\n'
    recipe.write_text(text)
    across = as_json("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")
    of = across["recipe"]["features"]["area"]["of"]
    made = as_json("show", of, "--data-dir", spectra)
    areas = [one["measures"]["shoulder"]["area"]["value"] for one in made["spectra"]]
    assert [one["features"]["area"]["value"] for one in across["samples"]] == areas
    again = as_json("analyse", across["derived_uid"], "--data-dir", spectra, "-o", out, "--overwrite")
    assert again["recipe"] == across["recipe"]
    for named, told in (("across.toml", "compares analyses itself"), ("nowhere.toml", "nowhere.toml")):
        recipe.write_text(text.replace("shoulder.toml", named))
        refused = answer("analyse", "-r", recipe, "--data-dir", spectra, "-o", out, "--overwrite")
        assert (refused.code, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert told in refused.stderr
