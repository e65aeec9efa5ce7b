"""Text from data, through every command: never markup, a control sequence, HTML, mathematics, or a path."""

import csv
import io
import json
import unicodedata
from contextlib import closing, redirect_stderr, redirect_stdout

import numpy as np
import pytest
from command_line import answer
from matplotlib.figure import Figure
from stxm_documents import stxm_documents

from beamline.cli import printing
from beamline.cli.progress import progress_bar
from beamline.operations.replay import reduce_documents
from beamline.report.figures import literal
from beamline.storage import DerivedRuns, Layout, Recorder
from beamline.storage.log import FORMAT, pack
from beamline.text import clean, file_name_of, shortened, write_csv

FORMULAE = ['=HYPERLINK("http://x")', "+1+1", "-1+1", "@SUM(A1)", "\uff1d1+1", " =1+1"]
HOSTILE = "[/x][bold]\x1b[2J\x9b31m<script>alert(1)</script>\"'>$\\frac$../../x\n\r\t\0\u202e:smile:" + 500 * "long "
SHOWN = r"[/x][bold]\x1b[2J\x9b31m<script>alert(1)</script>"  # the beginning of it, as it is to be shown


def hostile(documents):
    """Give the documents of a run in which every text that a user, a device or a file gives is hostile."""
    for name, doc in documents:
        if name == "start":
            plan_args = {"regions": HOSTILE, HOSTILE: HOSTILE}
            texts = {"plan_name": HOSTILE, "scan_id": HOSTILE, "imported_from": HOSTILE, "plan_args": plan_args}
            yield name, doc | texts | {"import_problems": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
        elif name == "stop":
            yield name, doc | {"exit_status": "fail", "reason": HOSTILE}
        else:
            yield name, doc


def interrupted(documents):
    """Add a stream of the engine that says why the run was held."""
    key = {"interruption": {"dtype": "string", "shape": [], "source": "RunEngine"}}
    start = documents[0][1]
    descriptor = {"uid": "held", "name": "interruptions", "run_start": start["uid"], "time": 1.0, "data_keys": key}
    event = {"uid": "held-1", "descriptor": "held", "seq_num": 1, "time": start["time"], "filled": {}}
    held = ("event", event | {"data": {"interruption": HOSTILE}, "timestamps": {"interruption": 1.0}})
    return [documents[0], ("descriptor", descriptor | {"configuration": {}, "hints": {}}), held, *documents[1:]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A reduced stack of hostile texts, and its data folder."""
    folder = tmp_path_factory.mktemp("hostile")
    transmission = np.r_[np.ones(10), np.linspace(0.6, 0.4, 10)]  # with a place without sample, so that there is I0
    counts = np.random.default_rng(1).poisson(1e4 * transmission, (5, 16, 20))
    energies = [700.0, 705.0, 708.0, 710.0, 720.0]
    stack = stxm_documents(counts, energies, np.arange(20.0), np.arange(16.0), sample=HOSTILE)
    documents = interrupted(list(hostile(stack)))
    with closing(Recorder(folder)) as recorder, closing(DerivedRuns(folder)) as derived:
        for document in documents:
            recorder(*document)
        for document in reduce_documents(documents, None):
            derived(*document)
    return folder, documents[0][1]["uid"]


def test_no_cell_of_a_table_is_a_formula_and_numbers_stay_as_they_are(tmp_path):
    path, numbers = tmp_path / "table.csv", ["-1.5", "+2", "-inf", "nan", "1e-05"]
    write_csv(path, ["made of a,=1+1; @SUM(A1), b"], [["name", *FORMULAE], ["=", *numbers, "a=b"]])
    about, *lines = csv.reader(path.read_text("utf-8").splitlines())
    assert about == ["# made of a", "'=1+1; '@SUM(A1)", " b"]
    assert lines[0] == ["name", *(f"'{text}" for text in FORMULAE)]
    assert lines[1] == ["'=", *numbers, "a=b"]


def is_harmless(text):
    """Whether a terminal shows a text as lines of characters."""
    return all(
        character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl") for character in text
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ["runs"],
        ["show", "-1"],
        ["show", "-1", "--json"],
        ["runs", "--json"],
        ["report", "-1"],
        ["export", "-1"],
        ["export", "-1", "--format", "columns"],
        ["export", "-1", "--format", "nxstxm"],
        ["replay", "-1", "--source", "log"],
        ["analyse", "-1"],
    ],
    ids=" ".join,
)
def test_a_hostile_run_goes_through_every_command_as_text(run, tmp_path, monkeypatch, command):
    folder, _ = run
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    found = answer(*command, "--data-dir", folder)
    assert found.code == (1 if command[0] == "analyse" else 0), found.stderr
    assert is_harmless(found.stdout + found.stderr)
    assert "internal error" not in found.stderr
    if "--json" in command:
        json.loads(found.stdout, parse_constant=pytest.fail)
    elif command[0] == "show":
        assert SHOWN in "".join(found.stdout.split())
        assert ":smile:" in "".join(found.stdout.split())
    if command[0] in ("report", "export"):
        (path,) = here.iterdir()
        assert path.name.startswith("scan-__x__bold_")
        assert len(path.name) < 100
    assert {path for path in tmp_path.rglob("*") if here not in path.parents} <= {here, here.parent}


@pytest.mark.long
def test_a_report_shows_hostile_text_as_text(run, tmp_path):
    folder, _ = run
    assert answer("report", "-1", "-o", tmp_path / "report.html", "--data-dir", folder).code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert is_harmless(page)
    assert r"[/x][bold]\x1b[2J\x9b31m&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;$\frac$" in page


def test_a_foreign_log_cannot_name_the_files_that_are_made_of_it(tmp_path, monkeypatch):
    folder, here = tmp_path / "data", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Layout(folder).logs.mkdir(parents=True)
    start = {
        "uid": "../../../tmp/x",
        "time": 1.7e9,
        "scan_id": "../../y",
        "plan_name": HOSTILE,
        "sample": {"name": HOSTILE},
    }
    block = {"technique": "xas", "sample": HOSTILE, "points": 3, "exposure_time": 1.0}
    stop = {"uid": "s", "time": 1.7e9, "exit_status": "success"}
    for name, more in (("one", {"measurement": block}), ("two", {"measurement": HOSTILE}), ("three", {})):
        uid = f"../../../tmp/x{name}"
        documents = [("start", start | more | {"uid": uid}), ("stop", stop | {"run_start": uid})]
        (Layout(folder).logs / f"{name}.log").write_bytes(FORMAT + b"".join(pack(*each) for each in documents))
    for command in (["runs"], ["show"], ["report"], ["export"], ["replay", "--source", "log"], ["analyse"]):
        for run in [[]] if command == ["runs"] else (["-1"], ["-2"], ["-3"]):
            found = answer(command[0], *run, *command[1:], "--data-dir", folder)
            assert found.code in (0, 1)
            assert is_harmless(found.stdout + found.stderr)
            assert "internal error" not in found.stderr, (command, run)
    assert [path.name for path in here.iterdir()] == ["scan-.._.._y-.._.._...nxs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "here"]


def test_progress_shows_hostile_text_as_text():
    stderr = io.StringIO()
    with redirect_stderr(stderr), progress_bar(quiet=False) as progress:
        progress(f"xas of {HOSTILE}", 0, 2)
        progress(f"xas of {HOSTILE}", 2, 2)
    assert is_harmless(stderr.getvalue())
    assert r"xas of [/x][bold]\x1b[2J" in stderr.getvalue()


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": float("nan")}, [float("inf"), np.float64("nan")], "\0\x1b"])
def test_any_value_is_printed_as_json(value):
    stdout = io.StringIO()
    with redirect_stdout(stdout):
        printing.print_json(value)
    json.loads(stdout.getvalue(), parse_constant=pytest.fail)
    stdout.getvalue().encode("utf-8")
    assert "\\ud800" not in stdout.getvalue().replace("\\\\ud800", "")


def test_a_figure_shows_dollars_and_line_breaks_of_data_as_they_are():
    figure = Figure()
    axes = figure.subplots()
    axes.set(title="$\\frac$ of \x1b[2J\0", xlabel=100 * "line\n", ylabel="long " * 500)
    axes.semilogy([1, 2], [1e-3, 1.0], label="$\\frac$")
    axes.legend()
    axes.set_xticks([1, 2], ["$\\frac{1$ @x", "5 $"])
    literal(literal(figure)).savefig(io.BytesIO(), format="png", dpi=20)
    assert axes.get_title() == r"$\frac$ of \x1b[2J\x00"
    assert axes.get_xlabel() == "line\nline\nline"
    assert len(axes.get_ylabel()) == 200
    assert [label.get_text() for label in axes.get_xticklabels()] == [r"\$\frac{1\$ @x", r"5 \$"]  # no mathematics
    assert all(label.get_parse_math() for label in axes.get_yticklabels())  # matplotlib's own


def test_clean_text_is_one_line_and_keeps_what_can_be_printed():
    assert clean("NMC [charged] µm ± 5 °C, 充電\u00a0é") == "NMC [charged] µm ± 5 °C, 充電\u00a0é"
    assert clean("a\nb\x1b\ud800\u202e\u2028") == r"a\nb\x1b\ud800\u202e\u2028"
    assert shortened("x" * 1000, 10) == "xxxxxxxxx…"
    assert file_name_of("scan", "../../x\0", "é") == "scan-.._.._x_-_"
