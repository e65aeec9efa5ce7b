"""The command line says what is wrong in one line, whatever is typed and whatever goes wrong."""

import os
import sys
import time

import pytest
from command_line import answer, answer_of_process

from beamline.endstation.config import load_config
from beamline.operations import runs
from beamline.storage.layout import Layout
from plans import PlanError, find_plan


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "--jsn"], 2, "no such option: --jsn; did you mean --json?"),
        (["report", "-x"], 2, "no such option: -x"),
        (["analyse", "1", "--outptu", "x"], 2, "no such option: --outptu; did you mean --output?"),
        (["show", ""], 2, "'' names no run; expected a uid, a scan id, or -1"),
        (["analyse", __file__], 2, "is a file; expected a uid, a scan id, or -1 for the newest (a recipe is given by"),
        (["replay", "a b"], 2, "'a b' names no run"),
        (["export", "²"], 2, "'²' names no run"),
        (["runs", "-n", "0"], 2, "'-n' / '--last'"),
        (["runs", "--data-dir", ""], 2, "'' is not the path of a file or folder"),
        (["runs", "--data-dir", "/tmp/b\udcff"], 1, "/tmp/b\\xff: is not in UTF-8, expected a path that is"),
        (["check", "--config", ""], 2, "'' is not the path of a file or folder"),
        (["import", ""], 2, "'' is not the path of a file or folder"),
        (["import", "x", "--as", "sdv"], 2, "'sdv' is not one of irixs, sdf, nexus, nxstxm"),
        (["import", "x", "--columns", "energy"], 2, "'energy', expected WHAT=COLUMN as in energy=1"),
        (["import", __file__, "--as", "irixs"], 1, "test_command_line.py: is a file, expected a folder"),
        (["import", "/none", "--as", "irixs"], 1, "/none: no such folder"),
        (["import", "/none"], 1, "beamline: /none: no such file or folder\n"),
        (["import", "/tmp", "--as", "nxstxm"], 1, "beamline: /tmp: cannot be read: not a regular file\n"),
        (["demo", "xas", "--seed", "-1"], 2, "'--seed': Input should be greater than or equal to 0"),
        (["sho"], 2, "sho"),
        (["sh\x1b[2Jow\n"], 2, r"sh\x1b[2Jow\n"),
        (["run", ""], 1, "no plan ''; there are xas, rixs_map"),
        (["run", "xsa"], 1, "no plan 'xsa'; did you mean xas?"),
        (["run", "xas", "--jsno"], 1, "xas: --jsno has no value"),
        (["run", "xas", "--regions", "530, 530, 530"], 1, "530 eV is given twice"),
        (["run", "xas", "--regions", "530", "--sample", ""], 1, "sample: is empty; leave it out, or give it a value"),
        (["run", "xas", "--regions", "530", "--edge", "O\x1bK"], 1, r"edge: 'O\x1bK' is not a text"),
        (["run", "xas", "--regions", "530", "--edge", "\udcff"], 1, r"edge: '\udcff' is not a text"),
        (["run", "xas", "--regions", "530", "--dwell", "inf"], 1, "dwell: inf is not a number between"),
        (["run", "xas", "--regions", "530", "--dwell", "nan"], 1, "dwell: nan is not a number between"),
        (["run", "xas", "--regions", "530", "--dwell", "9" * 5000], 1, "dwell: '9999"),
        (["run", "xas", "--regions", "530", "--dwell", "-1"], 1, "dwell: -1.0 is not positive"),
        (["check", "--config", "/dev/zero"], 1, "/dev/zero: cannot be read: is no file"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, arguments, code, words):
    data_dir = [] if "--data-dir" in arguments or arguments[0] == "check" else ["--data-dir", tmp_path]
    found = answer(*arguments, *data_dir)
    assert found.code == code
    assert found.stderr.startswith("beamline: ")
    assert words in found.stderr
    assert found.stderr.count("\n") == 1
    assert "internal error" not in found.stderr
    assert found.stdout == ""


HUGE = "399999999999999999999999999"
MAP, STACK = ["rixs_map", "--regions", "530", "--exposure-time", "1"], ["stxm_stack", "--energies", "530"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*MAP, "--dark-frames", HUGE], f"dark_frames: {HUGE}, expected 0 to 1000"),
        ([*MAP, "--dark-frames", "100000"], "dark_frames: 100000, expected 0 to 1000"),
        ([*MAP, "--frames-per-energy", "100001"], "frames: 100001, expected 1 to 100000"),
        ([*MAP, "--seed", HUGE], f"seed: {HUGE}, expected -1000000000000 to 1000000000000"),
        ([*MAP, "--frames-per-energy", HUGE], f"frames: {HUGE}, expected 1 to 100000"),
        (["live_view", "--frames", HUGE], f"frames: {HUGE}, expected 1 to 100000"),
        (
            ["rixs_map", "--regions", "500:600:0.01", "--exposure-time", "30000"],
            "the points count for 3473 days in all",
        ),
        (["live_view", "--frames", "1000000"], "frames: 1000000, expected 1 to 100000"),
        (["live_view", "--frames", "0"], "frames: 0, expected 1 to 100000"),
        ([*STACK, "--regions", "x=-1:1:0.1 y=-1:1:0.1", "--dark-lines", "-1"], "dark_lines: -1, expected 0 to 1000"),
        ([*STACK, "--regions", "centre=0,0 size=1e9,1 step=0.1"], "1e9 is not between -100000 and 100000"),
        (
            ["stxm_stack", "--energies", "500:600:0.01", "--regions", "x=0:0.1:0.1 y=0:20:0.01"],
            "lines of all images: 20012001, expected 1 to 200000",
        ),
        (
            ["stxm_stack", "--energies", "500:540:1", "--regions", "x=0:40:0.1 y=0:40:0.1", "--dwell", "10"],
            "the points count for 763.1 days in all, expected at most 100",
        ),
    ],
)
def test_numbers_that_nobody_can_mean_are_refused_at_once(tmp_path, arguments, words):
    began = time.monotonic()
    found = answer("run", *arguments, "--dry-run", "--data-dir", tmp_path)
    assert found.code == 1
    assert words in found.stderr
    assert found.stderr.count("\n") == 1
    assert time.monotonic() - began < 30


def test_an_empty_value_and_a_control_character_are_refused_for_every_parameter_of_text():
    for plan in ("xas", "stxm_stack", "stack_series", "live_view"):
        for parameter in find_plan(plan).parameters.values():
            with pytest.raises(PlanError, match="is empty"):
                parameter.convert("  ")
            if parameter.type is str:
                with pytest.raises(PlanError, match=r"is not a text of up to 200|is none of"):
                    parameter.convert("a\nb")
                with pytest.raises(PlanError, match=r"is not a text of up to 200|is none of"):
                    parameter.convert("a" * 201)


COMMANDS = [["runs"], ["show"], ["report"], ["export"], ["replay"], ["analyse", "1"], ["import", "/x", "--as", "sdf"]]
MEASURES = [["run", "xas", "--regions", "530"], ["run", "xas", "--regions", "530", "--dry-run"], ["demo", "xas"]]


@pytest.mark.long
@pytest.mark.parametrize("command", [*COMMANDS, *MEASURES], ids=" ".join)
def test_a_data_folder_that_is_none_is_one_line_for_every_command(tmp_path, command):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("x" * 256)):
        found = answer(*command, "--data-dir", folder)
        assert found.code == 1
        assert found.stderr.count("\n") == 1
        assert "internal error" not in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (
            [""],
            "'' selects no run; expected RUN, scan ids FROM:TO, technique=, sample=, edge=, plan=, since=, until=, or",
        ),
        (["technique=xas", "  "], "'  ' selects no run; expected RUN, scan ids FROM:TO, "),
        (["all", "--setting=x"], "no such option: --setting=x; did you mean --settings?"),
        (["1\n2"], r"'1\n2' names no run; expected a uid, a scan id, or -1 for the newest"),
    ],
)
def test_what_selects_no_run_to_reduce_again_is_a_wrong_command_line(tmp_path, terms, said):
    found = answer("reprocess", *terms, "--data-dir", tmp_path)
    assert found.code == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
    for known in (["-1"], ["1:3"], ["sample=a b"], ["all"]):
        assert answer("reprocess", *known, "--data-dir", tmp_path).stderr.startswith("beamline: ")
        assert answer("reprocess", *known, "--data-dir", tmp_path).code == 1  # there are no runs


@pytest.fixture
def raises(monkeypatch):
    """Let `runs` raise an error that nobody foresaw."""

    def let(error):
        def fails(*_arguments, **_options):
            raise error

        monkeypatch.setattr(runs, "list_runs", fails)

    return let


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TypeError("a\nb"), r"internal error: TypeError: a\nb; set BEAMLINE_DEBUG=1 for the traceback"),
        (ZeroDivisionError(), "internal error: ZeroDivisionError; set BEAMLINE_DEBUG=1 for the traceback"),
        (PermissionError(13, "Permission denied", "/a\x1b"), r"/a\x1b: Permission denied"),
        (OSError(28, "No space left on device", b"/a"), "/a: No space left on device"),
        (OSError("no file"), "internal error: OSError: no file; set BEAMLINE_DEBUG=1 for the traceback"),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_a_traceback_on_request(tmp_path, monkeypatch, raises, error, line):
    raises(error)
    found = answer("runs", "--data-dir", tmp_path)
    assert (found.code, found.stderr) == (1, f"beamline: {line}\n")
    monkeypatch.setenv("BEAMLINE_DEBUG", "1")
    assert "Traceback (most recent call last)" in answer("runs", "--data-dir", tmp_path).stderr


def test_the_data_folder_may_be_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BEAMLINE_DATA_DIR", str(tmp_path / "of environment"))
    assert str(tmp_path / "of environment") in answer("runs").stdout
    assert str(tmp_path / "given") in answer("runs", "--data-dir", tmp_path / "given").stdout


def test_ctrl_c_ends_a_command_without_a_word(tmp_path, raises):
    raises(KeyboardInterrupt())
    found = answer("runs", "--data-dir", tmp_path)
    assert (found.code, found.stderr) == (130, "")


@pytest.mark.long
def test_a_reader_that_has_had_enough_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    import subprocess

    command = [sys.executable, "-m", "beamline.cli", "run", "--list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


@pytest.mark.long
def test_a_character_that_the_terminal_has_not_is_written_as_its_number(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    found = answer_of_process("show", "--data-dir", "/µm")
    assert found.stderr == "beamline: no runs in /\\xb5m\n"


@pytest.mark.parametrize("module", ["beamline", "beamline.cli"])
def test_the_package_is_run_as_the_command_is(module):
    import subprocess

    done = subprocess.run([sys.executable, "-m", module, "sho"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("beamline: ")


def test_nothing_on_the_command_line_is_answered_with_the_help():
    found = answer()
    assert found.code == 2
    assert "Commands:" in found.stderr


@pytest.mark.parametrize("command", [["replay", "-1", "--config"], ["analyse", "1", "--config"]], ids=" ".join)
def test_settings_of_a_configuration_are_checked_by_what_reduces_again(tmp_path, command, stack):
    text = load_config().path.read_text() + "\n[processing.stxm.lines]\ndark_tim = 5.0\n"
    (tmp_path / "endstation.toml").write_text(text)
    found = answer(*command, tmp_path / "endstation.toml", "--data-dir", stack)
    assert found.code == 1
    assert "processing.stxm.lines: unknown key 'dark_tim'" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A data folder with a stack of one line that was not reduced."""
    from contextlib import closing

    import numpy as np
    from stxm_documents import stxm_documents

    from beamline.storage import Recorder

    folder = tmp_path_factory.mktemp("stack")
    with closing(Recorder(folder)) as recorder:
        for document in stxm_documents(np.full((1, 1, 4), 100.0), [700.0], np.arange(4.0), np.arange(1.0)):
            recorder(*document)
    return folder


@pytest.mark.parametrize("arguments", [["rixs"], ["stxm"], ["seed"], ["--epics"]])
def test_a_demonstration_measures_nothing_into_a_folder_whose_catalogue_cannot_be_used(tmp_path, arguments):
    layout = Layout(tmp_path)
    layout.catalogue.mkdir(parents=True)
    layout.catalogue_database.write_bytes(b"of an earlier version")
    said = answer("demo", *arguments, "--data-dir", str(tmp_path))
    assert said.code == 1
    assert f"{layout.catalogue}: of the format of an earlier version" in said.stderr
    assert "`beamline recover` makes it anew" in said.stderr
    assert layout.all_logs() == []
