"""From a configuration to devices: what each is built with, and the message when that is impossible."""

from pathlib import Path

import pytest

from beamline.endstation.build import REQUIRED_KEYS, build_endstation, device_problems, techniques
from beamline.endstation.config import SIMULATED, load_config
from beamline.errors import BeamlineError
from beamline.operations.check import check, config_problems
from plans import rixs_map
from plans.endstation import ROLES, Endstation
from plans.errors import PlanError


class World:
    """What the devices share."""

    def __init__(self, seed=0):
        if seed < 0:
            raise ValueError(f"seed: {seed} is below zero")
        self.seed = seed


class Device:
    """Remembers what it was built with."""

    def __init__(self, prefix, *, name, shared=None, gain=1.0):
        self.prefix, self.name, self.shared, self.gain = prefix, name, shared, gain

    def read(self):
        return {}

    def describe(self):
        return {key: {} for key in REQUIRED_KEYS.get(self.name, ())}


class Second(Device):
    def describe(self):
        return {"dwell": {}}


@pytest.fixture
def file(tmp_path):
    devices = "".join(f'[devices.{name}]\nclass = "{__name__}.Device"\nprefix = "BL:{name}"\n' for name in ROLES)
    shared = f'[endstation.shared]\nclass = "{__name__}.World"\noptions = {{ seed = 3 }}\n'
    path = tmp_path / "endstation.toml"
    path.write_text(f'[endstation]\nname = "test"\n{shared}{devices}')
    return path


def edit(file, old, new):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_each_device_has_its_name_its_prefix_its_options_and_the_shared_object(file, tmp_path):
    edit(file, 'prefix = "BL:scaler"', 'prefix = "BL:scaler"\noptions = { gain = 2.5 }')
    endstation = build_endstation(load_config(file), frames_dir=tmp_path / "data" / "frames")
    assert isinstance(endstation, Endstation)
    for name in ROLES:
        device = getattr(endstation, name)
        assert (device.name, device.prefix) == (name, f"BL:{name}")
        assert device.shared is endstation.energy.shared
    assert endstation.energy.shared.seed == 3
    assert (endstation.scaler.gain, endstation.energy.gain) == (2.5, 1.0)


def test_both_cameras_write_into_the_folder_of_frames(file, tmp_path):
    endstation = build_endstation(load_config(file), frames_dir=tmp_path / "frames")
    assert endstation.ccd.write_path == endstation.ccd_dark.write_path == str(tmp_path / "frames")
    assert (tmp_path / "frames").is_dir()


def test_without_a_shared_object_devices_are_built_without(file, tmp_path):
    edit(file, f'[endstation.shared]\nclass = "{__name__}.World"\noptions = {{ seed = 3 }}\n', "")
    assert build_endstation(load_config(file), frames_dir=tmp_path).energy.shared is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[devices.scaler]",
            "[devices.scalar]",
            "devices.scalar: unknown role 'scalar'; did you mean 'scaler'?; a device",
        ),
        ("[devices.scaler]", '[devices.counter]\nrole = "scalar"', "devices.counter: unknown role 'scalar'; did you"),
        ("[devices.scaler]", '[devices.counter]\nrole = "ring"', "devices: ring: two devices have this role"),
        ("World", "Wrld", f"endstation.shared: class '{__name__}.Wrld': unknown class of {__name__} 'Wrld'; did you"),
        (f"{__name__}.Device", "no.Device", "devices.energy: class 'no.Device': module 'no' cannot be imported"),
        ("seed = 3", "seed = -3", "endstation.shared: seed: -3 is below zero"),
    ],
)
def test_what_cannot_be_built_is_one_line_with_file_and_device(file, tmp_path, old, new, message):
    edit(file, old, new)
    with pytest.raises(BeamlineError) as error:
        build_endstation(load_config(file), frames_dir=tmp_path / "frames")
    assert any(line.startswith(f"{file}: {message}") for line in str(error.value).splitlines())
    assert not (tmp_path / "frames").exists()


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("builtins.dict", "devices.energy: "),
        ("types.SimpleNamespace", "devices.energy: "),
        ("pathlib.Path", "devices.energy: "),
        ("argparse.ArgumentParser", "devices.energy: "),
    ],
)
def test_a_class_that_is_no_device_is_named(file, tmp_path, class_path, message):
    edit(file, f'"{__name__}.Device"\nprefix = "BL:energy"', f'"{class_path}"')
    edit(file, f'[endstation.shared]\nclass = "{__name__}.World"\noptions = {{ seed = 3 }}\n', "")
    with pytest.raises(BeamlineError) as error:
        build_endstation(load_config(file), frames_dir=tmp_path)
    assert str(error.value).startswith(f"{file}: {message}")
    assert len(error.value.problems) == 1


@pytest.mark.parametrize("option", ["name", "shared"])
def test_an_option_that_every_device_is_given_anyway_is_refused(file, tmp_path, option):
    edit(file, '"BL:ring"', f'"BL:ring"\noptions = {{ {option} = 1 }}')
    with pytest.raises(BeamlineError, match=f"devices.ring.options: '{option}' is given to every device"):
        build_endstation(load_config(file), frames_dir=tmp_path)


def test_an_option_that_a_class_does_not_take_is_named(file, tmp_path):
    edit(file, '"BL:ring"', '"BL:ring"\noptions = { gian = 1 }')
    with pytest.raises(BeamlineError, match=r"devices.ring.options: unknown option 'gian'; did you mean 'gain'\?"):
        build_endstation(load_config(file), frames_dir=tmp_path / "frames")


def test_problems_are_found_without_building_anything(file):
    assert device_problems(load_config(file)) == []
    edit(file, "[devices.ccd]", "[devices.detector]")
    assert device_problems(load_config(file)) == [
        f"{file}: devices.detector: unknown role 'detector'; a device without a role says how it is read: baseline,"
        " points or monitor",
    ]


def test_a_device_has_the_name_of_its_role_in_documents(file, tmp_path):
    edit(file, "[devices.scaler]", '[devices.keithley]\nrole = "scaler"')
    endstation = build_endstation(load_config(file), frames_dir=tmp_path / "frames")
    assert (endstation.scaler.name, endstation.scaler.prefix) == ("scaler", "BL:scaler")


def test_what_an_endstation_has_not_is_refused_in_one_line_and_said_by_check(file, tmp_path):
    edit(file, "[devices.ccd]", "[devices.ccd1]\nbaseline = false")
    config = load_config(file)
    endstation = build_endstation(config, frames_dir=tmp_path / "frames")
    assert [name for name in ROLES if name not in endstation] == ["ccd"]
    assert list(endstation.added) == ["ccd1"]
    with pytest.raises(PlanError) as error:
        list(rixs_map(endstation, "520:530:1", 1.0))
    assert str(error.value) == "rixs_map: the endstation has no ccd (what takes frames of what is emitted)"
    told = techniques(config)
    assert {name: each["possible"] for name, each in told.items()} == {"xas": True, "rixs": False, "stxm": True}
    assert told["rixs"]["lacks"] == ["ccd"]
    assert told["rixs"]["meant"] == {"ccd": "ccd1"}
    assert told["stxm"]["without"] == []


@pytest.mark.parametrize("name", ["a/b", "a.b", ""])
def test_a_name_that_no_document_can_hold_is_refused(file, name):
    edit(
        file, "[devices.scaler]", f'[devices."{name}"]\nclass = "{__name__}.Device"\npoints = true\n\n[devices.scaler]'
    )
    (problem,) = device_problems(load_config(file))
    assert problem == f"{file}: devices: {name!r}: expected a name without '.' and '/', as documents have it"


@pytest.mark.parametrize("class_path", ["ophyd.sim.SynAxis", "ophyd.sim.SynPeriodicSignal", "ophyd.Signal"])
def test_devices_of_others_are_built_with_what_they_take(file, tmp_path, class_path):
    edit(file, "[devices.scaler]", f'[devices.axis]\nclass = "{class_path}"\nbaseline = true\n\n[devices.scaler]')
    endstation = build_endstation(load_config(file), frames_dir=tmp_path / "frames")
    assert endstation.added["axis"].name == "axis"


def test_one_that_cannot_be_described_is_named(file, tmp_path):
    added = '[devices.odd]\nclass = "ophyd.Signal"\noptions = { value = { a = 1 } }\nbaseline = true\n\n'
    edit(file, "[devices.scaler]", f"{added}[devices.scaler]")
    with pytest.raises(BeamlineError, match=r"devices\.odd: cannot be described: "):
        build_endstation(load_config(file), frames_dir=tmp_path / "frames")


def test_two_devices_cannot_read_the_same(file, tmp_path):
    edit(file, "[devices.scaler]", f'[devices.second]\nclass = "{__name__}.Second"\npoints = true\n\n[devices.scaler]')
    with pytest.raises(BeamlineError, match=r"devices\.second: reads dwell, as scaler does: give it another name"):
        build_endstation(load_config(file), frames_dir=tmp_path / "frames")


def test_the_shipped_configuration_has_no_problems_and_builds(tmp_path):
    config = load_config()
    assert config.path == SIMULATED
    assert config_problems(config) == []
    endstation = build_endstation(config, frames_dir=tmp_path / "frames")
    assert [getattr(endstation, name).name for name in ROLES] == list(ROLES)
    assert Path(endstation.ccd.write_path) == tmp_path / "frames"


def test_the_baseline_of_the_shipped_configuration_is_everything_but_the_detectors():
    without = {name for name, device in load_config().devices.items() if not device.baseline}
    assert without == {"scaler", "electrometer", "fluorescence", "energy_sweep", "ccd", "ccd_dark", "scanner"}


def test_a_device_in_the_place_of_another_is_named_with_what_it_does_not_read(tmp_path):
    file = tmp_path / "endstation.toml"
    file.write_text(SIMULATED.read_text().replace('twins.Energy"', 'twins.Shutter"'))
    with pytest.raises(
        BeamlineError,
        match=r"devices\.energy: simulated_devices\.twins\.Shutter does not read energy_setpoint; it reads",
    ):
        build_endstation(load_config(file), frames_dir=tmp_path / "frames")


MESH, OXYGEN = 'compared_with = "mesh"', "windows = {"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (MESH, 'compared_with = "nosuch"', "processing.xas.compared_with: 'nosuch', expected one of"),
        (MESH, f'i0 = "mesh"\n{MESH}', "processing.xas.compared_with: 'mesh', expected one of"),
        (MESH, 'i0 = "nosuch"', "no counter measures nosuch, which is divided by"),
        (OXYGEN, "windows = { tey = [460.0, 590.0],", "xas.windows.tey: a counter has this name"),
        (OXYGEN, "windows = { a = [590.0, 460.0],", "a: 590 to 460 eV, expected the lower end first"),
        (OXYGEN, 'windows = { "a/b" = [460.0, 590.0],', "'a/b': expected a name of letters, digits and _"),
        ("drain = { title", 'drain = { over = "drain", title', "channels.drain: over: it would be divided by itself"),
    ],
)
def test_channels_that_cannot_be_are_named_by_check_before_anything_is_measured(tmp_path, old, new, problem):
    outcome = check(changed(tmp_path, old, new))
    assert not outcome["ok"]
    assert any(problem in each for each in outcome["problems"]), outcome["problems"]


@pytest.mark.parametrize("device", ["electrometer", "scaler"])
def test_a_channel_that_the_simulation_does_not_measure_is_named(tmp_path, device):
    old = '["mesh", "drain", "reference"]'
    path = changed(tmp_path, old, '["mesh", "banana"]')
    if device == "scaler":
        path = changed(
            tmp_path,
            'simulated_devices.twins.Scaler"',
            'simulated_devices.twins.Scaler"\noptions.channels = ["i0", "banana"]',
        )
    with pytest.raises(
        BeamlineError, match=f"devices.{device}: channels: the simulation has no 'banana' here, expected"
    ):
        check(path)


def changed(folder, old, new):
    """Write the configuration of the simulated endstation with a change."""
    text = SIMULATED.read_text()
    assert old in text
    path = folder / "endstation.toml"
    path.write_text(text.replace(old, new, 1))
    return path
