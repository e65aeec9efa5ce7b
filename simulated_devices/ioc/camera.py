"""The RIXS camera of the IOC: an Andor CCD under areaDetector, with HDF5 plugins that write real files."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from caproto import (
    AccessRights,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
)
from numpy.typing import NDArray
from ophyd import Device, EpicsSignalRO
from ophyd.areadetector.base import EpicsSignalWithRBV
from ophyd.areadetector.cam import AndorDetectorCam
from ophyd.areadetector.paths import EpicsPathSignal
from ophyd.areadetector.plugins import HDF5Plugin_V34
from ophyd.signal import EpicsSignalBase

from callbacks.external import HDF5_DATASET
from simulated_devices.ioc.bench import Bench
from simulated_devices.twins import ccd as twins

log = logging.getLogger(__name__)

PLUGINS = ("HDF1:", "HDF2:")
QUEUE_SIZE = 20  # frames that a plugin keeps until they are written
POLL = 0.02  # s, in which a fault that is cleared is noticed
WARM_CHIP, COOLING_TIME = 20.0, 600.0  # degC of a chip that is not cooled; s in which it comes to a temperature
STABLE = 0.5  # degC
EPICS_EPOCH = 631152000.0  # s since 1970; areaDetector's time stamps begin there
TEXT_LENGTH = 256
ATTRIBUTES = "/entry/instrument/NDAttributes"
SHORTEST_EXPOSURE = 1e-5  # s
SINGLE, MULTIPLE = 0, 1  # of ImageMode
STREAM = 2  # of FileWriteMode
IDLE, ACQUIRE, READOUT, ABORTED = 0, 1, 2, 10  # of DetectorState_RBV

_NO_YES = ("No", "Yes")
_OFF_ON = ("Off", "On")
_DISABLE_ENABLE = ("Disable", "Enable")
_DATA_TYPES = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Float32", "Float64")
# What areaDetector's records are, where it is not an integer: by their names without the _RBV of those read back.
CHOICES: dict[str, tuple[str, ...]] = {
    "Acquire": ("Done", "Acquire"),
    "AndorADCSpeed": ("5.00 MHz", "3.00 MHz", "1.00 MHz", "0.05 MHz"),
    "AndorCooler": _OFF_ON,
    "AndorPreAmpGain": ("1.00", "2.00", "4.00"),
    "AndorShutterExTTL": ("Low To Open", "High To Open"),
    "AndorShutterMode": ("Auto", "Open"),
    "ArrayCallbacks": _DISABLE_ENABLE,
    "AutoIncrement": _NO_YES,
    "AutoSave": _NO_YES,
    "BlockingCallbacks": _NO_YES,
    "BloscCompressor": ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"),
    "BloscShuffle": ("None", "ByteShuffle", "BitShuffle"),
    "Capture": ("Done", "Capture"),
    "ColorMode": ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV421"),
    "Compression": ("None", "N-bit", "szip", "zlib", "blosc"),
    "DataType": _DATA_TYPES,
    "DeleteDriverFile": _NO_YES,
    "DetectorState": (
        "Idle",
        "Acquire",
        "Readout",
        "Correct",
        "Saving",
        "Aborting",
        "Error",
        "Waiting",
        "Initializing",
        "Disconnected",
        "Aborted",
    ),
    "DimAttDatasets": _NO_YES,
    "EmptyFreeList": ("Done", "Empty"),
    "EnableCallbacks": _DISABLE_ENABLE,
    "FilePathExists": _NO_YES,
    "FileWriteMode": ("Single", "Capture", "Stream"),
    "FrameType": ("Normal", "Background", "FlatField", "DblCorrelation"),
    "ImageMode": ("Single", "Multiple", "Continuous", "Fast Kinetics"),
    "LazyOpen": _NO_YES,
    "NDAttributesStatus": ("Attributes file OK", "File not found", "XML syntax error", "Macro substitution error"),
    "PositionMode": _OFF_ON,
    "ProcessPlugin": ("Done", "Process"),
    "ReadFile": ("Done", "Read"),
    "ReadStatus": ("Done", "Read"),
    "ReverseX": _NO_YES,
    "ReverseY": _NO_YES,
    "SWMRActive": ("Off", "Active"),
    "SWMRMode": _OFF_ON,
    "SWMRSupported": ("Not Supported", "Supported"),
    "ShutterControl": ("Close", "Open"),
    "ShutterMode": ("None", "EPICS signal", "Detector output"),
    "ShutterStatus": ("Closed", "Open"),
    "ShutterStatusEPICS": ("Closed", "Open"),
    "SortMode": ("Unsorted", "Sorted"),
    "StoreAttr": _NO_YES,
    "StorePerform": _NO_YES,
    "TriggerMode": ("Internal", "External", "External Start", "External Exposure", "External FVP", "Software"),
    "WriteFile": ("Done", "Write"),
    "WriteStatus": ("Write OK", "Write error"),
    "XMLValid": _NO_YES,
}
TEXTS = {  # waveforms of characters
    "AndorMessage",
    "AndorTempStatus",
    "FileName",
    "FilePath",
    "FileTemplate",
    "FullFileName",
    "NDAttributesFile",
    "NDAttributesMacros",
    "PALFilePath",
    "StatusMessage",
    "StringFromServer",
    "StringToServer",
    "WriteMessage",
    "XMLErrorMsg",
    "XMLFileName",
}
NAMES = {  # strings of up to 40 characters
    "ADCoreVersion",
    "AsynIO",
    "DriverVersion",
    "Manufacturer",
    "Model",
    "NDArrayPort",
    "PluginType",
    "PortName",
    "TempSuffix",
}
REALS = {
    "AcquirePeriod",
    "AcquireTime",
    "AndorAccumulatePeriod",
    "ArrayRate",
    "ExecutionTime",
    "FillValue",
    "Gain",
    "IOSpeed",
    "MaxArrayRate",
    "MaxArrayRate_COUT",
    "MaxByteRate",
    "MinCallbackTime",
    "PoolMaxMem",
    "PoolUsedMem",
    "RunTime",
    "ShutterCloseDelay",
    "ShutterOpenDelay",
    "SortTime",
    "Temperature",
    "TemperatureActual",
    "TimeRemaining",
    "TimeStamp",
}
# How the chip is read out, which does not change in the simulation: what is written has no effect on what is read back.
FIXED = {
    "BinX",
    "BinY",
    "ColorMode",
    "DataType",
    "MinX",
    "MinY",
    "NumExposures",
    "ReverseX",
    "ReverseY",
    "SizeX",
    "SizeY",
    "TriggerMode",
}


class _Record:
    """What a client writes to; `on_put` then acts on it, and the put completes when it has."""

    on_put: Callable[[], Awaitable[None]] | None = None
    is_input = False  # an input record, which no client writes to

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """Let clients write to what is no input record."""
        return AccessRights.READ if self.is_input else AccessRights.READ | AccessRights.WRITE

    async def write_from_dbr(self, *args: Any, **kwargs: Any) -> None:
        """Take what a client writes, and act on it."""
        await super().write_from_dbr(*args, **kwargs)  # type: ignore[misc]
        if self.on_put is not None:
            await self.on_put()


class _Integer(_Record, ChannelInteger):
    pass


class _Real(_Record, ChannelDouble):
    pass


class _Choice(_Record, ChannelEnum):
    pass


class _Name(_Record, ChannelString):
    pass


class _Text(_Record, ChannelChar):
    """Characters; none at all are sent as a NUL, since an empty waveform has no value for clients."""

    def preprocess_value(self, value: Any) -> str:
        return super().preprocess_value(value) or "\0"


class Records:
    """The records of an areaDetector driver or plugin, made from the components of its ophyd class.

    Parameters
    ----------
    bench : Bench
    prefix : str
    device : type
        An ophyd device.
    """

    def __init__(self, bench: Bench, prefix: str, device: type[Device]) -> None:
        self._bench = bench
        self._records: dict[str, Any] = {}
        for name, is_input in _suffixes(device):
            if name not in self._records:
                self._records[name] = _record(name)
                self._records[name].is_input = is_input
        self.pvdb: dict[str, ChannelData] = {f"{prefix}{name}": record for name, record in self._records.items()}
        for name, record in self._records.items():
            if f"{name}_RBV" in self._records and name not in FIXED:
                record.on_put = self._read_back(name)

    def __getitem__(self, name: str) -> Any:
        """Give a value: a number, the index of a choice, or text."""
        record = self._records[name]
        if isinstance(record, ChannelEnum):
            return record.value if isinstance(record.value, int) else record.enum_strings.index(record.value)
        return record.value.rstrip("\0") if isinstance(record, ChannelChar) else record.value

    async def show(self, **values: Any) -> None:
        """Give records values, and the records they are read back by; clients that monitor them are told."""
        moment = self._bench.now()
        for name, value in values.items():
            for each in (name, f"{name}_RBV"):
                if each in self._records:
                    await self._records[each].write(value, timestamp=moment, verify_value=True)

    def set(self, **values: Any) -> None:
        """Give records the values they begin with."""
        for name, value in values.items():
            for each in (name, f"{name}_RBV"):
                if (record := self._records.get(each)) is not None:
                    record._data["value"] = record.preprocess_value(value)

    def on_put(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """Act on what clients write."""
        self._records[name].on_put = act

    def _read_back(self, name: str) -> Callable[[], Awaitable[None]]:
        async def read_back() -> None:
            await self.show(**{name: self[name]})

        return read_back


def _suffixes(device: type[Device]) -> Iterator[tuple[str, bool]]:
    """Give the names of the PVs that an ophyd class uses, without prefix, and whether they are only read."""
    for walk in device.walk_components():
        component = walk.item
        if not (isinstance(component.cls, type) and issubclass(component.cls, EpicsSignalBase)):
            continue
        if issubclass(component.cls, EpicsSignalWithRBV | EpicsPathSignal):
            yield component.suffix, False
            yield f"{component.suffix}_RBV", True
        else:
            yield component.suffix, component.cls is EpicsSignalRO


def _record(suffix: str) -> ChannelData:
    name = suffix.removesuffix("_RBV")
    if name in CHOICES:
        return _Choice(value=CHOICES[name][0], enum_strings=CHOICES[name])
    if name in TEXTS:
        return _Text(value="\0", max_length=TEXT_LENGTH)
    if name in NAMES or name.startswith(("ExtraDimName", "PosNameDim")):
        return _Name(value="")
    if name in REALS:
        return _Real(value=0.0, precision=3)
    return _Integer(value=0)


@dataclass(frozen=True)
class Frame:
    """A frame as the driver gives it to the plugins."""

    image: NDArray[np.uint16]  # (rows, columns)
    number: int  # areaDetector's unique id
    moment: float  # s since 1970


class Hdf5Writer:
    """An HDF5 plugin of areaDetector: writes the frames it is given to a file, each readable at once (SWMR).

    It refuses to capture where it has seen no frame, unless it is to open its file with the first.

    Parameters
    ----------
    bench : Bench
    prefix : str
        Of its PVs.
    port : str
        Its asyn port.
    source : str
        That of the driver.
    """

    def __init__(self, bench: Bench, prefix: str, port: str, source: str) -> None:
        self._bench = bench
        self.records = Records(bench, prefix, HDF5Plugin_V34)
        self.records.set(
            PortName_RBV=port,
            NDArrayPort=source,
            PluginType_RBV="NDFileHDF5",
            ADCoreVersion_RBV="3.4.0",
            DriverVersion_RBV="3.4.0",
            QueueSize=QUEUE_SIZE,
            QueueFree=QUEUE_SIZE,
            SWMRSupported_RBV="Supported",
            FileTemplate="%s%s_%3.3d.h5",
            NumCapture=1,
            NumFramesFlush=1,
            NumFramesChunks=1,
            MaxThreads_RBV=1,
            NumThreads=1,
        )
        self._file: h5py.File | None = None
        self._file_access = asyncio.Lock()
        self._closed = asyncio.Event()
        self._closed.set()
        self._queue: asyncio.Queue[tuple[Frame, asyncio.Event]] = asyncio.Queue(QUEUE_SIZE)
        self._worker: asyncio.Task[None] | None = None
        self.records.on_put("Capture", self._capture)
        self.records.on_put("FilePath", self._set_path)

    async def take(self, frame: Frame) -> None:
        """Put a frame into the queue; wait until it is written where the plugin is to block."""
        if not self.records["EnableCallbacks"]:
            return
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        written = asyncio.Event()
        try:
            self._queue.put_nowait((frame, written))
        except asyncio.QueueFull:
            await self.records.show(DroppedArrays=self.records["DroppedArrays"] + 1)
            return
        await self.records.show(QueueFree=QUEUE_SIZE - self._queue.qsize())
        if self.records["BlockingCallbacks"]:
            await written.wait()

    async def close(self) -> None:
        """Close the file, whatever is still to be written."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        await self._end()

    async def _work(self) -> None:
        while True:
            frame, written = await self._queue.get()
            while self._bench.faults.stalled_writer:
                await asyncio.sleep(POLL)
            try:
                await self._process(frame)
            except Exception:  # what a frame does wrong is not to end the plugin
                log.exception("frame %d", frame.number)
            written.set()

    async def _process(self, frame: Frame) -> None:
        records = self.records
        rows, columns = frame.image.shape
        problem = ""
        captured = 0
        if records["Capture"]:
            try:
                async with self._file_access:
                    if self._file is None:
                        self._file = await self._bench.compute(self._create, frame.image.shape)
                    await self._bench.compute(_append, self._file, frame)
                captured = 1
            except (OSError, RuntimeError, ValueError) as error:
                problem = str(error)
        # All at once, when the frame can be read from the file.
        await records.show(
            ArrayCounter=records["ArrayCounter"] + 1,
            ArraySize0=columns,
            ArraySize1=rows,
            ArraySizeX_RBV=columns,
            ArraySizeY_RBV=rows,
            ArraySize_RBV=frame.image.nbytes,
            NDimensions=2,
            DataType="UInt16",
            UniqueId_RBV=frame.number,
            TimeStamp_RBV=frame.moment - EPICS_EPOCH,
            QueueFree=QUEUE_SIZE - self._queue.qsize(),
        )
        if problem:
            await self._refuse(problem)
        elif captured:
            await records.show(WriteStatus="Write OK", WriteMessage="", NumCaptured_RBV=records["NumCaptured_RBV"] + 1)
            if records["NumCaptured_RBV"] == records["NumCapture"]:
                await self._end()

    async def _set_path(self) -> None:
        """Take a folder: areaDetector ends it with a slash, and says whether it exists."""
        path = self.records["FilePath"]
        if path and not path.endswith("/"):
            path += "/"
        exists = await self._bench.compute(_have_folder, path, -self.records["CreateDirectory"])
        await self.records.show(FilePath=path, FilePathExists_RBV=int(exists))

    async def _capture(self) -> None:
        """Begin or end a file; a put that begins one completes when it is ended, as areaDetector's do."""
        records = self.records
        if not records["Capture"]:
            await self._end()
        elif self._closed.is_set():
            shape = records["ArraySize1_RBV"], records["ArraySize0_RBV"]
            try:
                if records["FileWriteMode"] != STREAM:
                    raise ValueError("only FileWriteMode Stream is simulated")
                if records["LazyOpen"]:
                    self._file = None
                elif min(shape) == 0:
                    raise ValueError("ERROR, must collect an array to get dimensions first")
                else:
                    async with self._file_access:
                        self._file = await self._bench.compute(self._create, shape)
            except (OSError, RuntimeError, ValueError) as error:
                await self._refuse(str(error))
                await records.show(Capture=0)
                return
            self._closed.clear()
            swmr = records["SWMRMode"]
            await records.show(
                NumCaptured_RBV=0,
                WriteStatus="Write OK",
                WriteMessage="",
                FullFileName_RBV=str(self._path()),
                SWMRActive_RBV=swmr,
                Capture=1,
            )
            await self._closed.wait()

    async def _end(self) -> None:
        async with self._file_access:
            if self._file is not None:
                await self._bench.compute(self._file.close)
                self._file = None
        await self.records.show(Capture=0, SWMRActive_RBV=0)
        self._closed.set()

    async def _refuse(self, problem: str) -> None:
        await self.records.show(WriteStatus="Write error", WriteMessage=problem[: TEXT_LENGTH - 1])

    def _path(self) -> Path:
        """Give the path of the file, made as areaDetector makes it."""
        template = self.records["FileTemplate"]
        parts = (self.records["FilePath"], self.records["FileName"], self.records["FileNumber"])
        return Path(template % parts[: len(re.findall(r"%[^%a-z]*[a-z]", template))])

    def _create(self, shape: tuple[int, int]) -> h5py.File:
        path = self._path()
        file = h5py.File(path, "w", libver="latest")
        try:
            file.create_dataset(HDF5_DATASET, (0, *shape), maxshape=(None, *shape), chunks=(1, *shape), dtype="uint16")
            for name, kind in (("NDArrayUniqueId", "int32"), ("NDArrayTimeStamp", "float64")):
                file.create_dataset(f"{ATTRIBUTES}/{name}", (0,), maxshape=(None,), chunks=(16,), dtype=kind)
            file.flush()
            if self.records["SWMRMode"]:
                file.swmr_mode = True
        except Exception:
            file.close()
            raise
        return file


def _append(file: h5py.File, frame: Frame) -> None:
    """Write a frame and what belongs to it; it can be read when this returns."""
    dataset = file[HDF5_DATASET]
    number = len(dataset)
    if frame.image.shape != dataset.shape[1:]:
        raise ValueError(f"frame {number} is {frame.image.shape}, expected {dataset.shape[1:]} in {file.filename}")
    # Asked before: a file that HDF5 could not extend is not to be closed in peace, and takes the process with it.
    if shutil.disk_usage(Path(file.filename).parent).free < frame.image.nbytes + twins.FREE_FOR_HDF5:
        raise OSError("the disk is full")
    for name, value in (
        (HDF5_DATASET, frame.image),
        (f"{ATTRIBUTES}/NDArrayUniqueId", frame.number),
        (f"{ATTRIBUTES}/NDArrayTimeStamp", frame.moment - EPICS_EPOCH),
    ):
        file[name].resize(number + 1, axis=0)
        file[name][number] = value
        file[name].flush()


def _have_folder(path: str, levels: int) -> bool:
    """Tell whether a folder exists, after making up to so many of its last levels."""
    folder = Path(path)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    if 0 < len(missing) <= levels:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("%s cannot be made: %s", folder, error)
    return path != "" and folder.is_dir()


class SimulatedCamera:
    """The camera with its plugins; `pvdb` is what it serves.

    Faults: with `hung_camera` an exposure does not end until the fault is gone or it is aborted; with
    `stalled_writer` the plugins take frames and write them when the fault is gone.

    Parameters
    ----------
    bench : Bench
    prefix : str
        Of the detector: "SIM:CCD:".
    """

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._records = Records(bench, f"{prefix}cam1:", AndorDetectorCam)
        self._plugins = [Hdf5Writer(bench, f"{prefix}{name}", name.rstrip(":"), "ANDOR") for name in PLUGINS]
        self.pvdb: dict[str, ChannelData] = dict(self._records.pvdb)
        for plugin in self._plugins:
            self.pvdb.update(plugin.records.pvdb)
        twin = twins.Ccd
        model = bench.world.truth.spectrograph
        rows, columns = model.rows, model.columns
        default = {name: getattr(twin, name).kwargs["value"] for name in ("temperature_setpoint", "gain", "model")}
        self._records.set(
            PortName_RBV="ANDOR",
            Manufacturer_RBV="Andor",
            Model_RBV=default["model"],
            MaxSizeX_RBV=twin.chip_size,
            MaxSizeY_RBV=twin.chip_size,
            SizeX=twin.chip_size,
            SizeY=twin.chip_size,
            BinX=max(1, twin.chip_size // columns),
            BinY=max(1, twin.chip_size // rows),
            ArraySizeX_RBV=columns,
            ArraySizeY_RBV=rows,
            DataType="UInt16",
            AcquireTime=twin.exposure_time.kwargs["value"],
            AcquirePeriod=twin.exposure_time.kwargs["value"],
            NumImages=1,
            NumExposures=1,
            ArrayCallbacks="Enable",
            ImageMode="Continuous",  # as ADAndor begins
            Temperature=default["temperature_setpoint"],
            TemperatureActual=default["temperature_setpoint"],
            AndorCooler=twin.cooler.kwargs["value"],
            AndorTempStatus_RBV=twin.cooling_state.kwargs["value"],
            AndorPreAmpGain=default["gain"],
            AndorADCSpeed=twin.readout_speed.kwargs["value"],
        )
        self._chip = self._cooled_to = float(default["temperature_setpoint"])  # degC
        self._cooled_at = bench.now()
        self._stopped = asyncio.Event()
        self._exposing: asyncio.Task[None] | None = None
        self._records.on_put("Acquire", self._acquire)
        self._records.on_put("AcquireTime", self._set_exposure)
        self._records.on_put("Temperature", self._cool)
        self._records.on_put("AndorCooler", self._cool)

    async def close(self) -> None:
        """Abort an exposure, and close the files."""
        self._stopped.set()
        if self._exposing is not None:
            await asyncio.gather(self._exposing, return_exceptions=True)
        for plugin in self._plugins:
            await plugin.close()

    async def _acquire(self) -> None:
        """Begin or abort; what begins completes at its end. A client that goes away does not abort it."""
        if not self._records["Acquire"]:
            self._stopped.set()
            if self._exposing is None or self._exposing.done():
                await self._records.show(Acquire=0)
            return
        if self._exposing is None or self._exposing.done():
            self._stopped = asyncio.Event()
            self._exposing = asyncio.create_task(self._expose_all(self._stopped))
        await asyncio.shield(self._exposing)

    async def _expose_all(self, stopped: asyncio.Event) -> None:
        records = self._records
        mode = records["ImageMode"]
        images = 1.0 if mode == SINGLE else float(records["NumImages"]) if mode == MULTIPLE else math.inf
        state = IDLE
        await records.show(Acquire=1, NumImagesCounter_RBV=0)
        try:
            while images > 0:
                await records.show(DetectorState_RBV=ACQUIRE)
                frame = await self._expose(stopped)
                if frame is None:
                    state = ABORTED
                    break
                images -= 1
                await records.show(NumImagesCounter_RBV=records["NumImagesCounter_RBV"] + 1)
                if records["ArrayCallbacks"]:
                    for plugin in self._plugins:
                        await plugin.take(frame)
        finally:
            await records.show(DetectorState_RBV=state, Acquire=0)

    async def _expose(self, stopped: asyncio.Event) -> Frame | None:
        """Expose a frame; None where it is aborted before it is read out."""
        bench, records = self._bench, self._records
        begin = bench.now()
        end = begin + records["AcquireTime_RBV"]
        if not await bench.until(end, stopped):
            return None
        while bench.faults.hung_camera:
            if stopped.is_set():
                return None
            await asyncio.sleep(POLL)
        await records.show(DetectorState_RBV=READOUT)
        image = await bench.compute(bench.world.frame, begin, end)
        await self._cool()
        rows, columns = image.shape
        number = records["ArrayCounter"] + 1
        await records.show(ArrayCounter=number, ArraySizeX_RBV=columns, ArraySizeY_RBV=rows, ArraySize_RBV=image.nbytes)
        return Frame(image, number, end)

    async def _set_exposure(self) -> None:
        await self._records.show(AcquireTime=max(SHORTEST_EXPOSURE, self._records["AcquireTime"]))

    async def _cool(self) -> None:
        """Bring the chip nearer to where it is cooled to, for the time that went by, and say so."""
        records = self._records
        now = self._bench.now()
        self._chip += (self._cooled_to - self._chip) * -math.expm1(-(now - self._cooled_at) / COOLING_TIME)
        self._cooled_at = now
        is_on = bool(records["AndorCooler"])
        self._cooled_to = records["Temperature"] if is_on else WARM_CHIP
        if not is_on:
            state = "Cooler is OFF"
        elif abs(self._chip - self._cooled_to) < STABLE:
            state = "Stabilized at set point"
        else:
            state = "Not reached setpoint"
        await records.show(
            Temperature=records["Temperature"],
            AndorCooler=records["AndorCooler"],
            TemperatureActual=self._chip,
            AndorTempStatus_RBV=state,
        )
