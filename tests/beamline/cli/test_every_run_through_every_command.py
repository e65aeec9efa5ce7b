"""Every technique, however its run ended, through every command: it answers, or says in one line why it does not."""

import copy
import io
import shutil
import uuid
from contextlib import closing

import h5py
import numpy as np
import pytest
from command_line import answer
from stxm_documents import stxm_documents

from beamline.acquire.session import Session, measure
from beamline.endstation.config import load_config
from beamline.operations.replay import reduce_documents
from beamline.report import page
from beamline.report.figures import literal
from beamline.storage import DerivedRuns, Layout, Recorder, Runs, read_log
from beamline.storage.log import FORMAT, pack
from beamline.storage.relocation import file_of
from beamline.techniques import TECHNIQUES, pipelines
from callbacks.contract import Key, Measurement, Stream
from plans import elastic_scan, find_plan, rixs_map, stxm_focus, stxm_image, stxm_line_spectrum, stxm_stack, xas

pytestmark = pytest.mark.long

ENERGIES, FIELD, LINE = "520:526:3, 528:532:2, 538:545:7", "x=-1.6:0.8:0.2 y=-0.6:0.4:0.2", "x=-1.8:1.8:0.3 y=0"
REGIONS = f"{FIELD}; x=-0.8:1.6:0.2 y=0.6:1:0.2"
SPECTRUM = "520:526:2, 527:535:1, 536:550:7"
OF_SAMPLE = {"sample": "LRNMC 311 mAh/g", "edge": "O K"}
SHORT = {"sample": "LRNMC 311 mAh/g", "dark_frames": 1}

MEASURED = {  # name -> how it is measured, and its technique
    "xas": (lambda e: xas(e, SPECTRUM, 1.0, **OF_SAMPLE), "xas"),
    "rixs": (lambda e: rixs_map(e, "512:530:3.6", 300.0, **SHORT), "rixs"),
    "elastic": (lambda e: elastic_scan(e, "512:521:3", 300.0, **SHORT), "elastic"),
    "stack": (lambda e: stxm_stack(e, ENERGIES, FIELD, 0.004, dark_lines=1, **OF_SAMPLE), "stxm"),
    "regions": (lambda e: stxm_stack(e, "526:532:3", REGIONS, 0.004, dark_lines=0, **OF_SAMPLE), "stxm"),
    "image": (lambda e: stxm_image(e, 530.0, FIELD, 0.004, dark_lines=0), "stxm"),
    "line": (lambda e: stxm_line_spectrum(e, ENERGIES, LINE, 0.05, dark_lines=0, **OF_SAMPLE), "stxm_line_spectrum"),
    "focus": (lambda e: stxm_focus(e, 540.0, LINE, "-24:24:8", 0.005), "stxm_focus"),
    "live view": (lambda e: find_plan("live_view").function(e, frames=3), ""),
}
MID = {"xas": 7, "rixs": 3, "elastic": 2, "stack": 15, "regions": 3, "image": 4, "line": 4, "focus": 3, "live view": 1}
FEW = {"xas": 3, "rixs": 2, "elastic": 2, "stack": 6, "regions": 9, "image": 6, "line": 1, "focus": 2, "live view": 1}
ENDINGS = ("complete", "before", "mid", "few", "one", "imported", "lost", "marked", "unreduced", "open")
OF_ANOTHER = ("complete", "before", "mid", "one", "open")  # where the technique is that of another run, too
CELLS = [
    (name, ending)
    for name in MEASURED
    for ending in (OF_ANOTHER if name in ("elastic", "regions", "image") else ENDINGS)
]
DRAWN = {  # those with little to see; to draw all of them would take a minute
    *(("xas", "few"), ("xas", "one"), ("xas", "lost"), ("rixs", "one"), ("stack", "few")),
    *(("stack", "lost"), ("regions", "mid"), ("image", "one"), ("line", "one"), ("line", "lost"), ("focus", "one")),
}
COUNTS = (Key.I0, Key.STXM_COUNTS)


def ended(documents, name, ending):
    """Give the documents of a complete run as they would be, had it ended otherwise, under a uid of their own."""
    points = {"before": 0, "mid": MID[name], "few": FEW[name], "one": 1}.get(ending)
    primary, uid, taken = "", str(uuid.uuid4()), 0
    for kind, original in copy.deepcopy(documents):
        doc = original | ({"uid": uid} if kind == "start" else {"run_start": uid} if "run_start" in original else {})
        match kind:
            case "start" if "measurement" in doc and ending in ("few", "one"):
                doc["measurement"]["points"] = points
            case "start" if ending == "imported":
                doc |= {"imported_from": "/data/scan", "import_problems": ["image 7 is missing"]}
            case "descriptor" if doc["name"] == Stream.PRIMARY:
                primary = doc["uid"]
                if points == 0:
                    continue
                if ending == "marked":
                    doc["data_keys"][Key.FRAME_PROBLEM] = {"dtype": "string", "shape": [], "source": "camera"}
            case "event" if doc["descriptor"] == primary:
                taken += 1
                if points is not None and taken > points:
                    continue
                if ending == "lost":
                    doc["data"] |= {key: np.zeros_like(doc["data"][key]) for key in COUNTS if key in doc["data"]}
                if ending == "marked":
                    doc["data"][Key.FRAME_PROBLEM] = "the shutter was closed"
                    doc["timestamps"][Key.FRAME_PROBLEM] = doc["time"]
            case "stop" if ending == "open":
                return
            case "stop" if ending in ("before", "mid"):
                doc |= {"exit_status": "fail", "reason": "made to fail"}
        yield kind, doc


def keep(folder, documents, *, reduced=True):
    """Record a run, and reduce it; give its uid. Its frames are linked to."""
    documents = list(documents)
    for frames in {path.parent for document in documents if (path := file_of(*document))}:
        if not Layout(folder).frames.exists():
            Layout(folder).frames.symlink_to(frames)
    with closing(Recorder(folder)) as recorder, closing(DerivedRuns(folder)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, None) if reduced else ():
            derived(*document)
    return documents[0][1]["uid"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A complete run of each technique on the simulated endstation: its documents, by name."""
    folder = tmp_path_factory.mktemp("measured")
    config = load_config()
    config.endstation.shared.options.update(speed_up=1e6, frame_rows=16)
    session = Session(config, folder)  # not entered: nothing looks at these runs in the catalogue
    uids = {name: measure(session, plan(session.endstation)) for name, (plan, _) in MEASURED.items()}
    session.close()
    return {name: list(read_log(Runs(folder).find(uid).path)) for name, uid in uids.items()}


@pytest.fixture(scope="module")
def table(measured, tmp_path_factory):
    """A data folder for each technique with every ending of its run, their uids, and the points that were planned."""
    kept = {}
    for name, documents in measured.items():
        folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
        uids = {
            ending: keep(folder, ended(documents, name, ending), reduced=ending != "unreduced")
            for of, ending in CELLS
            if of == name
        }
        kept[name] = folder, uids, documents[0][1].get("measurement", {}).get("points")
    return kept


def drawn_without_layout(figure):
    """Draw a figure small, and leave its panels where they are: to lay them out takes most of the time."""
    literal(figure).set_layout_engine("none")
    figure.savefig(io.BytesIO(), format="png", dpi=20)
    return ""


def one_line(found, *words):
    assert found.code == 1
    assert found.stderr.startswith("beamline: ")
    assert found.stderr.count("\n") == 1
    assert "internal error" not in found.stderr
    assert all(word in found.stderr for word in words), found.stderr


def success(found):
    assert found.code == 0, found.stderr
    assert found.stderr == ""
    return found


def planned_and_measured(planned, name, ending):
    points = {"before": 0, "mid": MID[name], "few": FEW[name], "one": 1}.get(ending, planned or 3)
    return points if ending in ("few", "one") else planned, points


@pytest.mark.parametrize(("name", "ending"), CELLS)
def test_a_run_is_shown_reported_exported_replayed_and_analysed_or_it_is_said_why_not(
    table, tmp_path, monkeypatch, name, ending
):
    folder, uids, planned = table[name]
    uid, technique = uids[ending], MEASURED[name][1]
    planned, points = planned_and_measured(planned, name, ending)
    monkeypatch.setattr(page, "as_png", drawn_without_layout if (name, ending) in DRAWN else lambda _figure: "")

    def run(*arguments):
        return answer(*arguments, "--data-dir", folder)

    shown = success(run("show", uid, "--json")).json
    assert shown["frames"] == points
    assert shown["exit_status"] == {"open": "open", "before": "fail", "mid": "fail"}.get(ending, "success")
    said = ["image 7 is missing"] if ending == "imported" else []
    if planned is not None and points < planned:
        said.append(f"{points} of {planned} points measured")
    assert shown["problems"] == said
    text = success(run("show", uid)).stdout
    assert uid in text
    assert all(" ".join(problem.split()) in " ".join(text.split()) for problem in said)
    if technique:
        missing = {"unreduced": "has no reduction; `beamline replay --keep", "open": "is not closed"}.get(ending, "")
        assert_commands_answer(run, uid, technique, points, tmp_path, missing=missing, usable=ending != "marked")
    else:
        for command in (["report"], ["export"], ["replay", "--source", "log"], ["analyse"]):
            one_line(run(command[0], uid, *command[1:]), "live_view", "nothing reduces")


def assert_commands_answer(run, uid, technique, points, folder, *, missing, usable):
    report = run("report", uid, "-o", folder / "report.html")
    if not missing:
        assert success(report).stdout.strip() == str(folder / "report.html")
        assert uid in (folder / "report.html").read_text()
    else:
        one_line(report, missing)
    for file_format in ("nexus", "columns", "nxstxm"):
        found = run("export", uid, "--format", file_format, "-o", folder / file_format, "--json")
        if file_format not in TECHNIQUES[technique].exporters:
            one_line(found, f"is not written as {file_format}", "expected nexus or columns")
        elif found.code == 0:
            assert found.json["files"]
            assert_written(folder / file_format, file_format, points)
        else:
            one_line(found, missing)
            assert file_format == "columns" or points == 0
            assert not (folder / file_format).is_file()
    assert success(run("replay", uid, "--source", "log", "--json")).json["equal"] is (None if missing else True)
    analysed = run("analyse", uid, "-o", folder / "analysed.html")
    if technique == "xas" and points and usable and not missing:  # others are pooled, of which one alone is none
        success(analysed)
    else:
        one_line(analysed)
    assert (folder / "analysed.html").exists() == (analysed.code == 0)


def assert_written(path, file_format, points):
    match file_format:
        case "nexus":
            with h5py.File(path) as file:
                assert len(file["entry/raw_primary/energy"]) == points if points else "raw_primary" not in file["entry"]
        case "nxstxm":
            with h5py.File(path) as file:
                assert sum(len(file[entry]["lines/seq_num"]) for entry in file) == points
        case "columns":
            assert all(np.loadtxt(each, ndmin=2).size for each in path.iterdir())


@pytest.mark.parametrize("ending", ["complete", "few", "one"])
def test_columns_of_a_spectrum_have_what_was_measured_where_it_is_not_normalised(table, tmp_path, ending):
    folder, uids, _ = table["xas"]
    for file_format in ("nexus", "columns"):
        command = ("export", uids[ending], "--format", file_format, "-o", tmp_path / file_format)
        success(answer(*command, "--data-dir", folder))
    lines = (tmp_path / "columns" / "xas.txt").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    columns = dict(zip(header[-1].split()[1:], np.loadtxt(lines, ndmin=2).T, strict=True))
    with h5py.File(tmp_path / "nexus") as file:
        for name in ("tey_over_i0", "tey_over_i0_sigma", "tfy_over_i0", "tfy_over_i0_sigma"):
            np.testing.assert_allclose(columns[name], file["entry/frames"][name], rtol=1e-9)
        np.testing.assert_array_equal(columns["i0_counts"], file["entry/raw_primary/i0"])
    assert all(np.isnan(columns[name]).all() for name in ("tey", "tey_sigma", "tfy", "tfy_sigma"))
    assert all(any(line.startswith(f"# {name}: ") for line in header) for name in ("tey", "tfy"))


def test_a_run_whose_frames_are_gone_is_exported_and_replayed_with_the_same_words(measured, tmp_path):
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    Layout(folder).frames.mkdir(parents=True)
    uid = keep(folder, with_frames_in(Layout(folder).frames, ended(measured["rixs"], "rixs", "complete")))
    shutil.copytree(folder, copy)
    shutil.rmtree(Layout(copy).frames)
    assert_frames_are_missing(copy, uid, tmp_path)  # and those of the original are not taken
    success(answer("export", uid, "-o", tmp_path / "run.nxs", "--data-dir", folder))
    shutil.rmtree(Layout(folder).frames)
    assert_frames_are_missing(folder, uid, tmp_path)


def with_frames_in(folder, documents):
    """Copy the frames of a run, and let its documents refer to the copies."""
    for name, doc in documents:
        file = file_of(name, doc)
        here = {"root": str(folder), "resource_path": shutil.copy(file, folder / file.name).name} if file else {}
        yield name, doc | here


def assert_frames_are_missing(folder, uid, out):
    exported = answer("export", uid, "-o", out / "none.nxs", "--data-dir", folder)
    replayed = answer("replay", uid, "--source", "log", "--data-dir", folder)
    for found in (exported, replayed):
        one_line(found, str(Layout(folder).frames), ": missing, though runs refer to it (and 1 other file)")
    assert exported.stderr.partition(": /")[2] == replayed.stderr.partition(": /")[2]
    assert not (out / "none.nxs").exists()
    command = "export", uid, "--format", "columns", "-o", out / "columns", "--overwrite"
    success(answer(*command, "--data-dir", folder))


def test_why_there_is_no_reduction_to_show_is_said_once(tmp_path):
    image = stxm_documents(np.full((1, 100, 200), 400.0), [700.0], np.arange(200.0), np.arange(100.0))
    for reduced, label, words in (
        (False, "derived run", "none: the run has not been reduced"),
        (True, "problem", " cannot be read: "),
    ):
        folder = tmp_path / ("reduced" if reduced else "not reduced")
        uid = keep(folder, image, reduced=reduced)
        if reduced:
            shutil.rmtree(Layout(folder).derived)  # of its large arrays
        shown = success(answer("show", uid, "--data-dir", folder)).stdout
        (line,) = [line for line in shown.splitlines() if line.startswith(("derived run", "problem"))]
        assert line.startswith(label)
        assert words in " ".join(shown.split())


@pytest.mark.parametrize("name", MEASURED)
def test_every_run_is_listed_with_what_it_leaves_out(table, name):
    folder, uids, planned = table[name]
    listed = success(answer("runs", "--json", "--data-dir", folder)).json
    assert {entry["uid"] for entry in listed} == set(uids.values())
    problems = {entry["uid"]: entry["problems"] for entry in listed}
    assert all(problems[uids[ending]] == ["image 7 is missing"] for ending in uids if ending == "imported")
    assert problems[uids["before"]] == ([f"0 of {planned} points measured"] if planned else [])
    measured = {entry["uid"]: (entry["measured"], entry["points"]) for entry in listed}
    shown = success(answer("runs", "--data-dir", folder)).stdout.splitlines()
    for ending, uid in uids.items():
        asked, taken = planned_and_measured(planned, name, ending)
        asked = asked if planned else None
        assert measured[uid] == (taken, asked)
        (line,) = [line for line in shown if uid[:8] in line]
        assert (f"  {taken}  " if asked in (None, taken) else f"  {taken} of {asked}  ") in f"{line}  "


def steps_with_results():
    """Name every step that has a result, of every pipeline, by the run that it reduces."""
    grid = {"energies": [520.0, 530.0], "regions": [{"x": (0, 1), "y": (0, 1), "columns": 2, "rows": 2}]}
    for name, technique in (("xas", "xas"), ("rixs", "rixs"), ("stack", "stxm"), ("focus", "stxm_focus")):
        pipeline = pipelines()[technique]
        asked = Measurement(technique=technique, sample="", edge="O K", points=1, exposure_time=1.0, grid=grid)
        chain = pipeline.build(pipeline.settings_model(), asked)
        for step in (*chain.steps.values(), *(chain.behind.steps.values() if chain.behind else ())):
            if "result" in vars(type(step)):
                yield pytest.param(name, type(step), id=f"{name}-{type(step).__name__}")


@pytest.mark.parametrize(("name", "step"), list(steps_with_results()))
def test_a_step_whose_result_fails_costs_its_own_results_and_is_named(measured, tmp_path, monkeypatch, name, step):
    def fails(_self):
        raise RuntimeError("made [/to] fail")

    monkeypatch.setattr(step, "result", property(fails))
    monkeypatch.setattr(page, "as_png", lambda _figure: "")
    uid = keep(tmp_path, ended(measured[name], name, "complete"))
    shown = success(answer("show", uid, "--json", "--data-dir", tmp_path)).json
    assert "no result: RuntimeError: made [/to] fail" in shown["marked_frames"][0]["reason"]
    assert "made [/to] fail" in success(answer("show", uid, "--data-dir", tmp_path)).stdout
    success(answer("report", uid, "-o", tmp_path / "report.html", "--data-dir", tmp_path))
    assert "no result: RuntimeError: made [/to] fail" in (tmp_path / "report.html").read_text()
    success(answer("export", uid, "-o", tmp_path / "run.nxs", "--data-dir", tmp_path))
    columns = answer("export", uid, "--format", "columns", "-o", tmp_path / "columns", "--data-dir", tmp_path)
    success(columns) if columns.code == 0 else one_line(columns, "found nothing")


def test_a_log_that_lost_any_of_its_documents_is_answered_for(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "as_png", lambda _figure: "")
    whole = list(ended(measured["rixs"], "rixs", "few"))
    lost = {(kind, doc.get("name"), doc.get("spec")): place for place, (kind, doc) in enumerate(whole) if place}
    assert len(lost) > 5  # descriptors, resources, a datum, an event and the stop document
    for place in lost.values():
        folder = tmp_path / str(place)
        Layout(folder).logs.mkdir(parents=True)
        left = [document for number, document in enumerate(whole) if number != place]
        (Layout(folder).logs / "left.log").write_bytes(FORMAT + b"".join(pack(*document) for document in left))
        with closing(DerivedRuns(folder)) as derived:
            for document in reduce_documents(whole, None):
                derived(*document)
        success(answer("show", "--data-dir", folder))
        success(answer("report", "-o", folder / "report.html", "--data-dir", folder))
        for command in (["export", "-o", folder / "run.nxs"], ["replay", "--source", "log"]):
            found = answer(*command, "--data-dir", folder)
            if found.code and not found.stdout.startswith("live equals replay: no: "):
                one_line(found)
