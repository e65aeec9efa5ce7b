"""Analyses at the page: made of runs that are chosen, listed, shown, handed out; and figures for print."""

import io
import json
import threading
import time
import zipfile
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from browsers import chromium, page_of
from command_line import as_json, beamline
from here import reducing_session
from playwright.sync_api import expect
from services import Service, until

from beamline.acquire.session import measure
from beamline.endstation.config import SIMULATED, load_config
from beamline.formats.importers.xdi import xdi_documents
from beamline.operations.analyses import analyses_of, list_analyses
from beamline.operations.exporting import export
from beamline.operations.replay import reduce_documents
from beamline.serve.keys import load_keys
from beamline.serve.page.app import Page
from beamline.serve.parts import Places
from beamline.storage.derived import DerivedRuns
from beamline.storage.recorder import Recorder
from beamline.storage.runs import Runs
from callbacks.contract import AnalysedResult
from plans import xas
from simulated_devices.ports import free_port

pytestmark = pytest.mark.long

HOSTILE = "<img src=x onerror=alert(1)>"
SAMPLES = (HOSTILE, "LRNMC 131 mAh/g", "LRNMC 311 mAh/g")
RECIPE = """
[measures.shoulder]
by = "integral"
window = [529.5, 531.5]

[measures.edge_position]
search = [532, 540]
"""


@contextmanager
def page_alone(folder, data):
    """Serve the page of a data folder by a thread of this process, without the other processes of the service."""
    port = free_port()
    config = folder / "endstation.toml"
    config.write_text(f"{SIMULATED.read_text()}\n[service]\npage_port = {port}\n")
    places = Places.of(data)
    app = Page(load_config(config), data, places, load_keys(places.keys), single=True).app()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    service = Service(data, {"page": port})
    try:
        until(lambda: server.started)
        yield service
    finally:
        service.opened.close()
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module", autouse=True)
def _with_the_other_workers():
    """Let commands beside the page have as much as the others: of low priority they would get next to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamline.serve.page.beside.NICENESS", 0)
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analyses")
    data = folder / "data"
    session = reducing_session(load_config(), data)
    for sample in SAMPLES[1:]:
        plan = xas(session.endstation, "520:527:1, 527:536:0.2, 536:552:0.5", 1.0, sample=sample, edge="O K")
        measure(session, plan)
    assert session.drain() == ""
    session.close()
    (file,) = export(Runs(data), "1", "xdi", folder / "of_another.xdi")
    file.write_text(file.read_text().replace(SAMPLES[1], HOSTILE))
    documents = list(xdi_documents(file))
    with closing(Recorder(data)) as recorder, closing(DerivedRuns(data)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, {}):
            derived(*document)
    with page_alone(folder, data) as service:
        yield service


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def analysed(service, browser):
    """The uid of an analysis that is made by the page, after a recipe that is refused."""
    with page_of(service, browser, "user") as page:
        page.click("#tab-runs")
        boxes = page.locator("#runs td.choose input")
        expect(boxes).to_have_count(3, timeout=60_000)
        for place in (2, 1, 0):
            boxes.nth(place).check()
        page.click("text=Analyse the 3 runs chosen")
        page.fill("#analysis-recipe", "[measures.edge_position]\nsearch = 532\n")
        page.click("#analyses >> text=Start")
        expect(page.locator("#analyses .answer.bad")).to_contain_text(
            "recipe.toml: measures.edge_position", timeout=60_000
        )
        page.fill("#analysis-recipe", RECIPE)
        page.click("#analyses >> text=Start")
        expect(page.locator("#analyses .answer")).to_contain_text("An analysis of 3 runs is being made for user")
        expect(page.locator("#analyses .answer.good")).to_contain_text("user’s analysis is done", timeout=300_000)
        for said in ("3 runs of absorption spectra: ", *SAMPLES):
            expect(page.locator("#analyses h2")).to_contain_text(said)
    (listed,) = list_analyses(Runs(service.folder), last=10)
    return listed["uid"]


def test_an_analysis_is_shown_with_its_values_and_figures_and_names_of_samples_are_text(service, browser, analysed):
    runs = Runs(service.folder)
    result = runs.load(runs.find_pooled(analysed)).read(AnalysedResult).quantities
    energy, sigma = (result[f"edge_position_energy{end}"].values for end in ("", "_sigma"))
    with page_of(service, browser, "viewer") as page:
        page.click("#tab-analyses")
        row = page.locator("#analyses tr.pick")
        expect(row).to_have_count(1)
        for said in ("xas", "shoulder, edge_position", *SAMPLES, "scan 1", "ok"):
            expect(row).to_contain_text(said)
        row.click()
        table = page.locator("#analyses .card", has_text="edge position").last
        expect(table.locator("tbody tr")).to_have_count(3, timeout=60_000)
        for place in range(3):
            told = table.locator("tbody tr").nth(place).locator("td").first.inner_text().split(" ± ")
            assert [float(each) for each in told] == pytest.approx([energy[place], sigma[place]], abs=6e-5)
        pictures = page.locator("#analyses figure img")
        expect(pictures).to_have_count(3)
        assert all(pictures.nth(place).evaluate("each => each.naturalWidth") > 500 for place in range(3))
        assert page.locator("img[src=x]").count() == 0
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_names_the_analyses_made_of_it_and_leads_to_them_and_back(service, browser, analysed):
    runs = Runs(service.folder)
    assert [each["uid"] for each in analyses_of(runs, runs.find("2").uid)] == [analysed]
    with page_of(service, browser, "viewer") as page:
        page.click("#tab-runs")
        page.locator("#runs tr.pick", has_text=SAMPLES[2]).click()
        page.locator("#runs .analyses button").click()
        expect(page.locator("#analyses h2")).to_contain_text("3 runs of absorption spectra", timeout=60_000)
        page.click("#analyses >> text=scan 2")
        expect(page.locator("#runs h2")).to_contain_text("scan 2", timeout=60_000)


def test_a_viewer_looks_and_starts_nothing(service, browser, analysed):
    with page_of(service, browser, "viewer") as page:
        page.click("#tab-runs")
        expect(page.locator("#runs tr.pick")).to_have_count(3, timeout=60_000)
        assert page.locator("#runs td.choose input").count() == 0
        page.click("#tab-analyses")
        page.click("text=New analysis")
        expect(page.locator("#analyses button.main").first).to_be_disabled()
    session = service.session("viewer")
    assert session.post("/api/analyses", json={"runs": ["1"], "recipe": ""}).status_code == 403
    assert session.post("/api/analyses/stop", json={}).status_code == 403
    assert session.get(f"/api/analyses/{analysed}").status_code == 200
    assert httpx.get(f"{service.address('page')}/api/analyses").status_code == 401


@pytest.mark.parametrize(
    ("runs", "recipe", "said"),
    [
        (["1"], "measures = ", "recipe.toml: not valid TOML"),
        (["1"], '[measures.x]\nby = "guess"\n', "recipe.toml: measures.x"),
        (["1"], '[references]\na = "/etc/passwd"\n', "recipe.toml: references.a: run /etc/passwd: no run has this uid"),
        (
            ["1"],
            '[references]\na = "../page.out"\n',
            "recipe.toml: references.a: run ../page.out: no run",
        ),
        (["1"], '[regions.r]\nmask = "/etc/passwd"\n', "recipe.toml: regions.r.mask: is a file"),
        (["1"], 'technique = "across"\n[features.a]\nof = "1"\nquantity = "x"\n', "recipe.toml: compares analyses"),
        ([], 'technique = "across"\n[features.a]\nof = "1"\nquantity = "x"\n', "features.a"),
        ([], "", "no run is named"),
        (["1", "1"], "", "run "),
        (["--help"], "", "run --help: no run has this uid"),
        (["1"], "x" * 100_001, "recipe: has 100001 characters, expected at most 100000"),
        (["1"], "\ud800", "recipe: is no text"),
        (["1"] * 201, "", "runs: expected at most 200 names"),
        ("1", "", "runs: expected a list of names"),
        (["1"], None, "recipe: expected a text"),
    ],
)
def test_what_cannot_be_analysed_is_refused_in_one_line_before_anything_is_begun(service, runs, recipe, said):
    asked = json.dumps({"runs": runs, "recipe": recipe})
    answer = service.session("user").post("/api/analyses", content=asked)
    assert answer.status_code == 400
    told = answer.json()["detail"]
    assert told.startswith(said)
    assert "\n" not in told


def test_one_is_made_at_a_time_and_only_who_began_it_or_an_operator_stops_it(service, analysed):
    user, operator = service.session("user"), service.session("operator")
    nothing = user.post("/api/analyses/stop", json={})
    assert (nothing.status_code, nothing.json()["detail"]) == (400, "no analysis is being made")
    order = {"runs": ["1", "2"], "recipe": RECIPE}
    begun = operator.post("/api/analyses", json=order).json()
    assert (begun["by"], begun["of"], begun["ended"]) == ("operator", 2, None)
    second = user.post("/api/analyses", json=order)
    assert second.json()["detail"] == "an analysis is being made; try it when that is done"
    run = Runs(service.folder).find("1").uid
    again = user.post(f"/api/runs/{run}/reduce", json={"changes": {}})
    assert again.json()["detail"] == "an analysis is being made; try it when that is done"
    refused = user.post("/api/analyses/stop", json={})
    assert refused.json()["detail"] == "operator has begun this analysis; an operator may stop it"
    stopped = operator.post("/api/analyses/stop", json={}).json()
    assert (stopped["uid"], stopped["error"]) == ("", "stopped by operator")
    assert time.time() - stopped["ended"] < 10
    assert [each["uid"] for each in list_analyses(Runs(service.folder), last=10)] == [analysed]


def archive(answer):
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
        return {name: files.read(name) for name in files.namelist()}


@pytest.mark.parametrize("of", ["analysis", "run"])
def test_figures_for_print_are_those_of_the_command_line(service, analysed, tmp_path, of):
    name = analysed if of == "analysis" else Runs(service.folder).find("1").uid
    style = {"format": "svg", "width": "85", "font_size": "7", "colours": "grey"}
    answer = service.session("viewer").get(f"/api/runs/{name}/print", params=style, timeout=120)
    assert answer.headers["content-disposition"] == f'attachment; filename="figures-{name[:8]}.zip"'
    options = ("--figure-format", "svg", "--width", 85, "--font-size", 7, "--colours", "grey")
    where = ("--data-dir", service.folder, "-o", tmp_path / "report.html", "--figures", tmp_path / "figures")
    beamline("report", name, *options, *where)
    assert archive(answer) == {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}


def test_the_form_hands_out_figures_in_the_style_that_is_chosen(service, browser, analysed):
    with page_of(service, browser, "viewer", accept_downloads=True) as page:
        page.click("#tab-analyses")
        page.locator("#analyses tr.pick").first.click()
        page.click("#analyses >> text=Figures for print")
        page.select_option("#analyses select[name=format]", "png")
        page.fill("#analyses input[name=width]", "60")
        with page.expect_download(timeout=120_000) as handed_out:
            page.click("#analyses >> text=Download figures")
        with zipfile.ZipFile(handed_out.value.path()) as files:  # gone with the browser's context
            names = files.namelist()
            picture = files.read("01-spectra.png")
    assert {name.rpartition(".")[2] for name in names} == {"png", "csv"}
    assert int.from_bytes(picture[16:20]) == pytest.approx(60 / 25.4 * 600, abs=1)  # pixels of 600 to the inch


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"width": "10"}, "figure width 10 mm: expected 40 to 400 mm"),
        ({"width": "wide"}, "width: 'wide' is no number"),
        ({"font_size": "nan"}, "font size nan pt: expected 4 to 24 pt"),
        ({"format": "../x"}, "figure format '../x': expected pdf, svg, png"),
        ({"colours": "red"}, "colours 'red': expected standard, colour-blind, grey"),
    ],
)
def test_a_style_that_is_none_is_refused_in_a_line(service, analysed, asked, said):
    answer = service.session("viewer").get(f"/api/runs/{analysed}/print", params=asked)
    assert (answer.status_code, answer.json()["detail"]) == (400, said)


def test_report_and_tables_of_an_analysis_are_handed_out_and_no_other_file(service, analysed, tmp_path):
    session = service.session("viewer")
    report = session.get(f"/api/runs/{analysed}/report", timeout=60)
    assert report.headers["content-disposition"].startswith("attachment")
    assert HOSTILE not in report.text
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in report.text
    handed_out = archive(session.get(f"/api/runs/{analysed}/export/tables", timeout=60))
    written = as_json("export", analysed, "--data-dir", service.folder, "-o", tmp_path / "tables")["files"]
    assert sorted(handed_out) == sorted(Path(each).name for each in written)
    assert handed_out["spectra.csv"] == (tmp_path / "tables" / "spectra.csv").read_bytes()
    for path in (
        "/api/runs/..%2F..%2Fservice%2Fkeys.toml/report",
        "/api/analyses/..%2Fservice%2Fkeys.toml",
        f"/api/runs/{analysed}/export/..%2F..%2Fservice",
        f"/api/runs/{analysed}/export/nexus",
    ):
        assert session.get(path).status_code in (400, 404)
