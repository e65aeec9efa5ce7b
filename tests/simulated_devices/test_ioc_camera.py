"""The camera over Channel Access: device and IOC together, each in a process of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

SPEED_UP = 100

SERVER = """
    import asyncio
    import shutil
    import signal
    import socket
    import sys
    from types import SimpleNamespace

    from caproto import ChannelInteger
    from caproto.asyncio.server import Context

    from simulated_devices.world import SimulatedEndstation
    from simulated_devices.ioc import camera
    from simulated_devices.ioc.bench import Bench

    bench = Bench(SimulatedEndstation(speed_up=float(sys.argv[1])))
    disk = SimpleNamespace(is_full=False)
    usage = shutil.disk_usage
    camera.shutil.disk_usage = lambda path: SimpleNamespace(free=0) if disk.is_full else usage(path)


    class Switch(ChannelInteger):
        def __init__(self, thing, name):
            super().__init__(value=0)
            self.thing, self.name = thing, name

        async def verify_value(self, value):
            setattr(self.thing, self.name, bool(value))
            return value


    class PromptContext(Context):  # small answers are not collected
        async def tcp_handler(self, client, addr):
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await super().tcp_handler(client, addr)


    async def main():
        simulated = camera.SimulatedCamera(bench, "SIM:CCD:")
        pvdb = {
            **simulated.pvdb,
            "T:hung": Switch(bench.faults, "hung_camera"),
            "T:stalled": Switch(bench.faults, "stalled_writer"),
            "T:full": Switch(disk, "is_full"),
            "T:shutter": Switch(bench.world, "shutter_open"),
        }
        serving = asyncio.create_task(PromptContext(pvdb, ["127.0.0.1"]).run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        try:
            await asyncio.gather(serving, return_exceptions=True)
        finally:
            await simulated.close()


    asyncio.run(main())
"""

CLIENT = """
    import json
    import logging
    import sys
    import threading
    import time
    import warnings
    from pathlib import Path

    warnings.simplefilter("error")
    import epics
    import h5py
    import numpy as np

    from beamline.endstation.devices.base import DeviceError
    from beamline.endstation.devices.ccd import Ccd, CcdDark
    from callbacks.external import ExternalFrames

    logged = []


    class Handler(logging.Handler):
        def emit(self, record):
            logged.append(record.getMessage())


    logging.getLogger("beamline").addHandler(Handler())
    folder = Path(sys.argv[1])
    deadline = time.monotonic() + 20
    while epics.caget("T:hung", timeout=0.5, connection_timeout=0.5) is None:
        assert time.monotonic() < deadline, "the server did not answer"


    def make(cls, name, **options):
        device = cls("SIM:CCD:", name=name, **options)
        device.wait_for_connection(timeout=10)
        device.write_path = str(folder)
        return device


    def switch(name, value):
        epics.caput(f"T:{name}", value, wait=True, timeout=5)


    def message(action):
        begin = time.monotonic()
        try:
            action()
        except Exception as error:
            return type(error).__name__, str(error), time.monotonic() - begin
        return "", "", time.monotonic() - begin


    def number(device):
        return int(next(v["value"] for k, v in device.read().items() if k.endswith("image")).split("/")[1])


    def path(device):
        return device.hdf.full_file_name.get(use_monitor=False)
"""


def free_port():
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1]


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
                [sys.executable, "-c", textwrap.dedent(SERVER), str(SPEED_UP)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def run(self, script, folder):
        """Run a client and give what it printed last."""
        code = textwrap.dedent(CLIENT) + textwrap.dedent(script)
        command = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{self.log.read_text()[-3000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def ioc(tmp_path_factory):
    server = Ioc(tmp_path_factory.mktemp("ioc"))
    yield server
    server.stop()


def test_light_and_dark_frames_go_to_their_own_files_and_are_read_back_as_they_are(ioc, tmp_path, capsys):
    result = ioc.run(
        """
        import bluesky.plan_stubs as bps
        import bluesky.plans as bp
        import bluesky.preprocessors as bpp
        from bluesky import RunEngine

        from simulated_devices.world import SimulatedEndstation
        from simulated_devices import twins

        given = {"counts_per_ev": 0.21, "read_noise": 4.0, "full_scale": 65535.0}
        ccd, ccd_dark = make(Ccd, "ccd", **given), make(CcdDark, "ccd_dark", **given)
        engine = RunEngine({})
        frames, seen = ExternalFrames(), []

        def follow(name, doc):
            if name in ("resource", "datum"):
                getattr(frames, name)(doc)
            elif name == "event":
                key, = (key for key in doc["data"] if key.endswith("_image"))
                seen.append([key, doc["data"][key], int(frames.read(doc, key).astype(int).sum())])
            elif name == "stop":
                frames.close()

        engine.subscribe(follow)
        switch("shutter", 1)

        @bpp.stage_decorator([ccd, ccd_dark])
        @bpp.run_decorator()
        def alternate():
            yield from bps.mv(ccd.exposure_time, 10.0)
            for index in range(3):
                yield from bps.abs_set(ccd.exposure_time, 10.0, wait=True)
                yield from bps.trigger_and_read([ccd], "primary")
                switch("shutter", 0)
                for _ in range(2 if index == 1 else 1):
                    yield from bps.trigger_and_read([ccd_dark], "dark")
                switch("shutter", 1)

        engine(alternate())
        files = [path(ccd), path(ccd_dark)]
        alternated, seen[:] = list(seen), []

        took = []
        def timed(name, doc):
            took.append(time.monotonic())
        token = engine.subscribe(timed, "event")
        engine(bps.mv(ccd.exposure_time, 0.001))
        engine(bp.count([ccd], num=10))
        counted = list(seen)

        ccd.stage()
        bare = []
        for _ in range(10):
            begin = time.monotonic()
            ccd.trigger().wait(10)
            bare.append(time.monotonic() - begin)
        ccd.unstage()

        def plain(described):
            left_out = ("source", "lower_ctrl_limit", "upper_ctrl_limit", "precision", "enum_strs")
            return {key: {k: v for k, v in value.items() if k not in left_out} for key, value in described.items()}

        world = SimulatedEndstation()
        agreement = []
        for device, twin in ((ccd, twins.Ccd), (ccd_dark, twins.CcdDark)):
            twin = twin(name=device.name, shared=world)
            twin.write_path = str(folder)
            agreement.append(
                {
                    "describe": [plain(each.describe()) for each in (device, twin)],
                    "configuration": [plain(each.describe_configuration()) for each in (device, twin)],
                    "values": [
                        {k: v["value"] for k, v in each.read_configuration().items()} for each in (device, twin)
                    ],
                }
            )
        print(json.dumps({"alternated": alternated, "files": files, "counted": counted,
            "bare": bare, "in_run": np.diff(took).tolist(), "agreement": agreement, "logged": logged}))
        """,
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
        """
        import bluesky.plans as bp
        from bluesky import RunEngine
        from bluesky.utils import RunEngineInterrupted

        ccd = make(Ccd, "ccd")
        ccd.exposure_time.set(60.0).wait(5)  # 0.6 s here
        engine = RunEngine({})
        seen, timers = [], []
        engine.subscribe(lambda name, doc: seen.append(doc["data"]["ccd_image"]), "event")
        frames = ExternalFrames()

        def pause_second(name, doc):
            if doc["seq_num"] == 1:
                timers.append(threading.Timer(0.3, engine.request_pause))
                timers[-1].start()

        engine.subscribe(pause_second, "event")
        try:
            engine(bp.count([ccd], num=3))
        except RunEngineInterrupted:
            pass
        begin = time.monotonic()
        while ccd.cam.acquire.get(use_monitor=False) != 0:
            assert time.monotonic() - begin < 5
        idle_within = time.monotonic() - begin
        state = epics.caget("SIM:CCD:cam1:DetectorState_RBV", as_string=True)
        captured = ccd.hdf.num_captured.get(use_monitor=False)
        engine.resume()
        file = path(ccd)
        with h5py.File(file) as written:
            ids = written["entry/instrument/NDAttributes/NDArrayUniqueId"][:].tolist()

        ccd.stage()
        ccd.exposure_time.set(600.0).wait(5)
        status = ccd.trigger()
        time.sleep(0.2)
        ccd.stop()
        stopped = message(lambda: status.wait(5))
        status = ccd.trigger()
        time.sleep(0.2)
        ccd.unstage()
        unstaged = message(lambda: status.wait(5))
        print(json.dumps({"seen": seen, "idle": idle_within, "state": state, "captured": captured, "ids": ids,
            "stopped": stopped, "unstaged": unstaged, "acquire": ccd.cam.acquire.get(use_monitor=False)}))
        """,
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
        """
        ccd = make(Ccd, "ccd", readout_time=0.5, write_timeout=0.5)
        bad = make(Ccd, "ccd")
        bad.write_path = "/proc/nowhere/frames"
        folder_missing = message(bad.stage)
        bad.write_path = ""
        no_folder = message(bad.stage)
        folder = folder / "made" / "by" / "the plugin"
        ccd.write_path = str(folder)
        ccd.stage()
        file = path(ccd)
        ccd.exposure_time.set(1.0).wait(5)
        ccd.trigger().wait(5)
        ccd.exposure_time.set(0.25).wait(5)
        switch("hung", 1)
        hung = message(lambda: ccd.trigger().wait(10))
        acquire = ccd.cam.acquire.get(use_monitor=False)
        empty = ccd.read()["ccd_image"]["value"]
        switch("hung", 0)
        ccd.trigger().wait(5)
        numbers = [number(ccd)]

        switch("stalled", 1)
        stalled = message(lambda: ccd.trigger().wait(10))
        again = message(lambda: ccd.trigger().wait(10))
        enabled = epics.caget("SIM:CCD:HDF1:EnableCallbacks_RBV", as_string=True)
        switch("stalled", 0)
        ccd.trigger().wait(5)
        numbers.append(number(ccd))
        last = ccd.cam.array_counter.get(use_monitor=False)
        with h5py.File(file, swmr=True) as written:
            ids = written["entry/instrument/NDAttributes/NDArrayUniqueId"][:].tolist()

        switch("full", 1)
        full = message(lambda: ccd.trigger().wait(10))
        still_full = message(lambda: ccd.trigger().wait(10))
        switch("full", 0)
        ccd.trigger().wait(5)
        numbers.append(number(ccd))

        ccd.hdf.capture.put(0, use_complete=False)
        while ccd.hdf.capture.get(use_monitor=False):
            time.sleep(0.02)
        ended = message(lambda: ccd.trigger().wait(10))
        ccd.unstage()

        epics.caput("SIM:CCD:cam1:Temperature", -90.0, wait=True, timeout=5)
        logged.clear()
        ccd.stage()
        warm = list(logged)
        ccd.unstage()
        epics.caput("SIM:CCD:cam1:Temperature", -60.0, wait=True, timeout=5)
        epics.caput("SIM:CCD:cam1:AndorCooler", 0, wait=True, timeout=5)
        logged.clear()
        ccd.stage()
        off = list(logged)
        ccd.unstage()
        epics.caput("SIM:CCD:cam1:AndorCooler", 1, wait=True, timeout=5)

        limits = message(lambda: ccd.exposure_time.check_value(1e6))
        print(json.dumps({"file": file, "hung": hung, "acquire": acquire, "empty": empty, "numbers": numbers,
            "stalled": stalled, "again": again, "enabled": enabled, "last": last, "ids": ids, "full": full,
            "still_full": still_full,
            "ended": ended, "warm": warm, "off": off, "folder_missing": folder_missing, "no_folder": no_folder,
            "limits": limits}))
        """,
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
            """
            crashed = make(Ccd, "ccd")
            crashed.stage()
            crashed.exposure_time.set(1.0).wait(5)
            crashed.trigger().wait(5)
            epics.caput("SIM:CCD:cam1:ImageMode", "Continuous", wait=True, timeout=5)
            epics.caput("SIM:CCD:cam1:Acquire", 1)
            while not crashed.cam.acquire.get(use_monitor=False):
                time.sleep(0.01)
            files = [path(crashed)]
            logged.clear()
            ccd = make(Ccd, "ccd")
            ccd.stage()
            ccd.trigger().wait(5)
            print(json.dumps({"files": [*files, path(ccd)], "number": number(ccd), "logged": logged}))
            """,
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
