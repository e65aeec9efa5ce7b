"""The camera over Channel Access: device and IOC together, each in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from simulated_devices.ports import free_port

pytestmark = pytest.mark.long

SPEED_UP = 100
PROGRAMS = Path(__file__).with_name("camera_programs")


def environment(port):
    channel_access = {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }
    return {**os.environ, **channel_access, "OMP_NUM_THREADS": "1"}


class Ioc:
    """A server in a process of its own."""

    def __init__(self, folder):
        self.environment = environment(free_port())
        self.log = folder / "ioc.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / "server.py"), str(SPEED_UP)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def run(self, program, folder):
        """Run a program on the device, and give its answer."""
        command = [sys.executable, str(PROGRAMS / f"{program}.py"), str(folder)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{self.log.read_text()[-3000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def ioc(tmp_path_factory):
    server = Ioc(tmp_path_factory.mktemp("ioc"))
    yield server
    server.stop()


def test_light_and_dark_frames_go_to_their_own_files_and_are_read_back_as_they_are(ioc, tmp_path, capsys):
    result = ioc.run(
        "light_and_dark",
        tmp_path,
    )
    light, dark = result["files"]
    assert [key for key, _, _ in result["alternated"]] == [
        *("ccd_image", "ccd_dark_image"),
        *("ccd_image", "ccd_dark_image", "ccd_dark_image"),
        *("ccd_image", "ccd_dark_image"),
    ]
    ids = {}
    for key, file, frames in (("ccd_image", light, 3), ("ccd_dark_image", dark, 4)):
        assert Path(file).name.startswith("ccd_dark_" if "dark" in key else "ccd_")
        with h5py.File(file) as written:  # closed: readable without SWMR
            images = written["entry/data/data"][:]
            ids[key] = list(written["entry/instrument/NDAttributes/NDArrayUniqueId"])
            assert np.all(np.diff(written["entry/instrument/NDAttributes/NDArrayTimeStamp"]) > 9.9)
        assert images.shape == (frames, 64, 2048)
        assert images.dtype == np.uint16
        took = [(datum, total) for each, datum, total in result["alternated"] if each == key]
        assert [int(datum.split("/")[1]) for datum, _ in took] == list(range(frames))
        assert [total for _, total in took] == images.astype(int).sum(axis=(1, 2)).tolist()
    first = ids["ccd_image"][0]
    assert ids == {
        "ccd_image": [first, first + 2, first + 5],
        "ccd_dark_image": [first + 1, first + 3, first + 4, first + 6],
    }
    with h5py.File(tmp_path / f"ccd_{result['counted'][0][1].split('/')[0]}.h5") as written:
        images = written["entry/data/data"][:]
    assert [total for _, _, total in result["counted"]] == images.astype(int).sum(axis=(1, 2)).tolist()
    assert len(images) == 10
    for device in result["agreement"]:
        assert device["describe"][0] == device["describe"][1]
        assert device["configuration"][0] == device["configuration"][1]
    real, twin = result["agreement"][0]["values"]
    ours = {"ccd_counts_per_ev", "ccd_read_noise", "ccd_full_scale"}
    assert {k: v for k, v in real.items() if k not in ours} == {k: v for k, v in twin.items() if k not in ours}
    assert result["logged"] == [
        f"{name}: SIM:CCD:{plugin}: has seen no frame of 64 x 2048 yet; one of 0.1 s is taken"
        for name, plugin in (("ccd", "HDF1"), ("ccd_dark", "HDF2"))
    ]
    bare, in_run = np.median(result["bare"]), np.median(result["in_run"])
    with capsys.disabled():
        print(f"\na frame beyond its exposure: {1e3 * bare:.1f} ms, in a run {1e3 * in_run:.1f} ms")
    assert bare < 0.15


def test_exposure_that_a_pause_aborts_is_taken_anew_and_numbered_right(ioc, tmp_path):
    result = ioc.run(
        "pause",
        tmp_path,
    )
    assert [int(datum.split("/")[1]) for datum in result["seen"]] == [0, 1, 2]
    assert result["captured"] == 1
    assert result["state"] == "Aborted"
    assert result["idle"] < 1
    assert np.all(np.diff(result["ids"]) == 1)
    assert result["stopped"][:2] == ["StoppedError", "ccd: stopped"]
    assert result["unstaged"][0] == ""
    assert result["acquire"] == 0


def test_what_camera_or_writer_fail_to_do_is_said_on_one_line_in_time_and_can_be_repeated(ioc, tmp_path):
    result = ioc.run(
        "failures",
        tmp_path,
    )
    file = result["file"]
    assert file.startswith(f"{tmp_path}/made/by/the plugin/ccd_")
    kind, text, took = result["hung"]
    assert (kind, text) == (
        "DeviceError",
        "ccd: SIM:CCD:cam1:Acquire_RBV is 1, expected 0 after an exposure of 0.25 s within 0.75 s",
    )
    assert 0.7 < took < 3
    assert result["acquire"] == 0
    assert result["empty"] == ""
    kind, text, took = result["stalled"]
    assert (kind, text) == ("DeviceError", f"ccd: SIM:CCD:HDF1:NumCaptured_RBV is 2, expected 3 in {file} within 0.5 s")
    assert 0.4 < took < 3
    assert result["again"][0] == "DeviceError"
    assert "SIM:CCD:HDF1:NumCaptured_RBV" in result["again"][1] or "SIM:CCD:HDF1:QueueFree" in result["again"][1]
    assert result["enabled"] == "Disable"
    stalled = len(result["ids"]) - 3  # frames that were written late
    assert stalled >= 1
    assert result["numbers"] == [1, 2 + stalled, 3 + stalled]
    assert result["ids"][-1] == result["last"]
    kind, text, took = result["full"]
    assert (kind, text) == (
        "OSError",
        f"ccd: frame {3 + stalled} cannot be written to {file}: the disk is full",
    )
    assert result["still_full"][:2] == [kind, text]
    kind, text, _ = result["ended"]
    assert kind == "DeviceError"
    assert re.fullmatch(
        rf"ccd: SIM:CCD:HDF1:NumCaptured_RBV is \d+, expected \d+ in {re.escape(file)} within 0.5 s", text
    )
    assert result["folder_missing"][0] == "OSError"
    assert re.fullmatch(
        r"ccd: /proc/nowhere/frames/ccd_[-0-9a-f]+\.h5 cannot be written: "
        r"SIM:CCD:HDF1:FilePathExists_RBV is 0, no such folder",
        result["folder_missing"][1],
    )
    assert result["no_folder"][:2] == ["DeviceError", "ccd: write_path is empty, expected the folder of the files"]
    assert result["warm"] == ["ccd: SIM:CCD:cam1:TemperatureActual is -60.0 degC, expected -90 degC within 2 degC"]
    assert result["off"] == ["ccd: SIM:CCD:cam1:AndorTempStatus_RBV is 'Cooler is OFF', expected it stabilized"]
    assert result["limits"][:2] == [
        "LimitError",
        "ccd_exposure_time: 1e+06 s is outside its limits 0.001 to 36000 s",
    ]


def test_stage_clears_up_after_a_crash_and_shutdown_closes_the_files(tmp_path):
    ioc = Ioc(tmp_path)
    try:
        left = ioc.run(
            "crash",
            tmp_path,
        )
    finally:
        ioc.stop()
    assert left["number"] == 0
    assert left["logged"] == [
        "ccd: SIM:CCD:cam1:Acquire is acquiring; it is stopped",
        "ccd: SIM:CCD:HDF1:Capture is writing a file; it is closed",
    ]
    for file in left["files"]:
        with h5py.File(file) as written:
            assert written["entry/data/data"].shape == (1, 64, 2048)
            assert written["entry/data/data"].chunks == (1, 64, 2048)
