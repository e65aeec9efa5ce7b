"""The configuration: what a file may contain, and the messages for what it may not."""

import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_data_path

from beamline.endstation import config as config_module
from beamline.endstation.config import Config, load_config, load_reduction_config, resolve_class
from beamline.errors import BeamlineError
from beamline.techniques.settings import processing_problems

FILE = """
[endstation]
name = "test"
[endstation.shared]
class = "types.SimpleNamespace"
options = { seed = 3 }
[devices.energy]
class = "a.b.Energy"
prefix = "BL8:MONO:"
options = { limits = [200.0, 1500.0] }
[devices.ccd]
class = "a.b.Ccd"
baseline = false
[processing.rixs.cosmic_rays]
threshold = 6
[storage]
minimum_free_gb = 100
[suspenders]
ring_current_low = 400
ring_current_resume = 450.0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "endstation.toml"
    path.write_text(FILE)
    return path


def edit(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_the_reduction_needs_no_endstation_and_a_whole_file_is_still_checked_as_a_whole(tmp_path, file):
    alone = tmp_path / "new.toml"
    alone.write_text('[processing.rixs.cosmic_rays]\nthreshold = 6\n[calibration]\nrixs = "-1"\n')
    config = load_reduction_config(alone)
    assert (config.processing, config.calibration.rixs) == ({"rixs": {"cosmic_rays": {"threshold": 6}}}, "-1")
    assert config.path == alone
    assert load_reduction_config(file) == load_config(file)
    with pytest.raises(BeamlineError, match="endstation: Field required"):
        load_config(alone)
    alone.write_text("[procesing.rixs.cosmic_rays]\nthreshold = 6\n")
    with pytest.raises(BeamlineError, match=r"unknown key 'procesing'; did you mean 'processing'\?"):
        load_reduction_config(alone)
    edit(file, "[devices.ccd]", "[devises.ccd]")
    with pytest.raises(BeamlineError, match=r"unknown key 'devises'; did you mean 'devices'\?"):
        load_reduction_config(file)


def test_a_file_gives_its_tables(file):
    config = load_config(file)
    assert config.endstation.name == "test"
    assert config.endstation.shared.options == {"seed": 3}
    assert config.devices["energy"].class_path == "a.b.Energy"
    assert config.devices["energy"].prefix == "BL8:MONO:"
    assert config.devices["energy"].options == {"limits": [200.0, 1500.0]}
    assert [config.devices[name].baseline for name in ("energy", "ccd")] == [True, False]
    assert config.processing == {"rixs": {"cosmic_rays": {"threshold": 6}}}
    assert config.storage.minimum_free_gb == 100
    assert config.storage.data_dir == user_data_path("stxm-rixs-beamline")
    assert config.suspenders.ring_current_low == 400.0
    assert (config.suspenders.settle_time, config.suspenders.front_end_shutter) == (10.0, True)
    assert config.path == file


def test_a_folder_for_data_is_taken_from_where_the_file_lies(file):
    edit(file, "[storage]", '[storage]\ndata_dir = "data"')
    assert load_config(file).storage.data_dir == file.parent / "data"
    edit(file, '"data"', '"~/data"')
    assert load_config(file).storage.data_dir == Path.home() / "data"


def test_only_the_endstation_and_its_devices_must_be_given():
    config = Config.model_validate({"endstation": {"name": "test"}, "devices": {}})
    assert (config.endstation.shared, config.suspenders, config.processing) == (None, None, {})
    assert config.storage.data_dir == user_data_path("stxm-rixs-beamline")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minimum_free_gb", "minimum_free_g", "storage: unknown key 'minimum_free_g'; did you mean 'minimum_free_gb'?"),
        ("[storage]", "[storag]", "unknown key 'storag'; did you mean 'storage'?"),
        ('prefix = "', 'prefiks = "', "devices.energy: unknown key 'prefiks'; did you mean 'prefix'?"),
        ("options = { seed", "option = { seed", "endstation.shared: unknown key 'option'; did you mean 'options'?"),
        ("ring_current_low", "low", "suspenders: unknown key 'low'"),
        ('class = "a.b.Ccd"', "", "devices.ccd.class: Field required"),
        ('class = "a.b.Ccd"', 'clas = "a.b.Ccd"', "devices.ccd: unknown key 'clas'; did you mean 'class'?"),
        ("= 100", '= "100"', "storage.minimum_free_gb: Input should be a valid number, not '100'"),
        ("= 100", "= 0", "storage.minimum_free_gb: Input should be greater than 0, not 0"),
        ("= false", '= "no"', "devices.ccd.baseline: Input should be a valid boolean, not 'no'"),
        ('"test"', "7", "endstation.name: Input should be a valid string, not 7"),
        ("450.0", "300.0", "suspenders: ring_current_resume: 300 mA is below ring_current_low, 400 mA"),
        (
            "450.0",
            "450.0\nsettle_time = -1.0",
            "suspenders.settle_time: Input should be greater than or equal to 0, not -1.0",
        ),
        ("450.0", "inf", "suspenders.ring_current_resume: inf is not a finite number"),
        ("threshold = 6", "threshold = nan", "processing.rixs.cosmic_rays.threshold: nan is not a finite number"),
        ("[200.0, 1500.0]", "[200.0, -inf]", "devices.energy.options.limits.1: -inf is not a finite number"),
        ('"test"', '""', "endstation.name: String should have at least 1 character, not ''"),
        ("minimum_free_gb = 100", 'data_dir = ""', "storage.data_dir: '' is not the path of a folder"),
        ("minimum_free_gb = 100", 'data_dir = "a\\u0000"', r"storage.data_dir: 'a\x00' is not the path of a folder"),
        ("= 400", "= -1", "suspenders.ring_current_low: Input should be greater than 0, not -1"),
    ],
)
def test_what_is_wrong_is_said_with_file_table_key_and_the_nearest_right_one(file, old, new, message):
    edit(file, old, new)
    with pytest.raises(BeamlineError) as error:
        load_config(file)
    assert f"{file}: {message}" in str(error.value).splitlines()


def test_two_mistakes_are_two_lines(file):
    edit(file, "minimum_free_gb", "minimum_free_g")
    edit(file, "prefix", "prefiks")
    with pytest.raises(BeamlineError) as error:
        load_config(file)
    assert len(str(error.value).splitlines()) == 2


def test_a_file_that_is_not_toml_or_not_there_is_one_line(file, tmp_path):
    edit(file, "[storage]", "[storage")
    with pytest.raises(BeamlineError, match=r"endstation.toml: not valid TOML: .*line 16") as error:
        load_config(file)
    assert "\n" not in str(error.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BeamlineError, match="not a text file in UTF-8"):
        load_config(file)
    with pytest.raises(BeamlineError, match=r"none.toml: cannot be read: No such file or directory"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = " + "[" * 20_000, "not valid TOML: "),
        ("x = " + "9" * 5000, "not valid TOML: "),
        ("x = 2020-13-45", "not valid TOML: "),
        ("#" * 1_000_001, "is larger than 1000000 bytes"),
        ("", "endstation: Field required"),
        ("endstation = 5\ndevices = []", "endstation: expected a table, not "),
        ('endstation = "' + "x" * 10_000 + '"', "endstation: expected a table, not "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_short_lines(tmp_path, content, message):
    path = tmp_path / "endstation.toml"
    path.write_text(content)
    with pytest.raises(BeamlineError) as error:
        load_config(path)
    assert error.value.problems[0].startswith(f"{path}: {message}")
    assert all(len(line) < 500 for line in error.value.problems)


@pytest.mark.parametrize("path", [Path("/dev/zero"), Path("/tmp")])
def test_a_configuration_that_is_no_file_is_not_read(path):
    with pytest.raises(BeamlineError, match="cannot be read: is no file"):
        load_config(path)


def test_a_class_is_found_by_its_path():
    assert resolve_class("pathlib.Path") is Path


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("Path", "class 'Path': expected a dotted path like package.module.Class"),
        ("../../../x", "class '../../../x': expected a dotted path like package.module.Class"),
        ("a..B", "class 'a..B': expected a dotted path like package.module.Class"),
        ("pathlib.Pth", "class 'pathlib.Pth': unknown class of pathlib 'Pth'; did you mean 'Path'?"),
        ("pathlib.fnmatch", "class 'pathlib.fnmatch': unknown class of pathlib 'fnmatch'"),
        ("no.such.Thing", "class 'no.such.Thing': module 'no.such' cannot be imported: No module named 'no'"),
    ],
)
def test_a_wrong_class_path_is_one_line(class_path, message):
    with pytest.raises(BeamlineError) as error:
        resolve_class(class_path)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("processing.rixs", "processing.rix", "processing: unknown pipeline 'rix'; did you mean 'rixs'?"),
        ("cosmic_rays]", "cosmic_ray]", "processing.rixs: unknown key 'cosmic_ray'; did you mean 'cosmic_rays'?"),
        ("threshold", "treshold", "processing.rixs.cosmic_rays: unknown key 'treshold'; did you mean 'threshold'?"),
        (
            "threshold = 6",
            'threshold = "x"',
            "processing.rixs.cosmic_rays.threshold: Input should be a valid number, unable to parse string as a "
            "number, not 'x'",
        ),
    ],
)
def test_settings_of_steps_are_checked_against_the_pipelines(file, old, new, message):
    assert processing_problems(load_config(file)) == []
    edit(file, old, new)
    assert processing_problems(load_config(file)) == [f"{file}: {message}"]


def test_reading_a_configuration_imports_no_engine_no_devices_and_no_numerics():
    heavy = ("bluesky", "ophyd", "scipy", "h5py", "tiled", "databroker", "simulated_devices", "plans")
    code = f"import sys, {config_module.__name__}; print([name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
