"""An HDF5 plugin of areaDetector."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from ophyd.areadetector.plugins import HDF5Plugin_V34

from callbacks.external import HDF5_DATASET
from simulated_devices.ioc.area_detector.record_types import STREAM
from simulated_devices.ioc.area_detector.records import TEXT_LENGTH, Records
from simulated_devices.ioc.bench import Bench
from simulated_devices.twins.frame_files import create_frames, is_disk_full

log = logging.getLogger(__name__)

QUEUE_SIZE = 20  # frames that a plugin keeps until they are written
POLL = 0.02  # s, in which a fault that is cleared is noticed
EPICS_EPOCH = 631152000.0  # s since 1970; areaDetector's time stamps begin there
ATTRIBUTES = "/entry/instrument/NDAttributes"


@dataclass(frozen=True)
class Frame:
    """A frame as the driver gives it to the plugins."""

    image: NDArray[np.uint16]  # (rows, columns)
    number: int  # areaDetector's unique id
    moment: float  # s since 1970


class Hdf5Writer:
    """An HDF5 plugin of areaDetector: writes the frames it is given to a file, each readable at once (SWMR).

    It refuses to capture before it has seen a frame, unless it opens its file with the first (LazyOpen).

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
        self.records.preset(
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
        """Queue a frame; wait until it is written where the plugin blocks the driver."""
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
        """Close the file without writing the frames that are still queued."""
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
            except Exception:  # a frame that cannot be processed must not end the plugin
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
        """Set the folder: areaDetector ends it with a slash, and shows whether it exists."""
        path = self.records["FilePath"]
        if path and not path.endswith("/"):
            path += "/"
        exists = await self._bench.compute(_make_folder, path, -self.records["CreateDirectory"])
        await self.records.show(FilePath=path, FilePathExists_RBV=int(exists))

    async def _capture(self) -> None:
        """Begin or end a file; a put that begins one completes when the file is closed, as with areaDetector."""
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
        """Give the path of the file, composed as areaDetector does."""
        template = self.records["FileTemplate"]
        parts = (self.records["FilePath"], self.records["FileName"], self.records["FileNumber"])
        return Path(template % parts[: len(re.findall(r"%[^%a-z]*[a-z]", template))])

    def _create(self, shape: tuple[int, int]) -> h5py.File:
        path = self._path()
        file = h5py.File(path, "w", libver="latest")
        try:
            create_frames(file, shape)
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
    """Write a frame with its attributes; it can be read when this returns."""
    dataset = file[HDF5_DATASET]
    number = len(dataset)
    if frame.image.shape != dataset.shape[1:]:
        raise ValueError(f"frame {number} is {frame.image.shape}, expected {dataset.shape[1:]} in {file.filename}")
    if is_disk_full(file, frame.image.nbytes):
        raise OSError("the disk is full")
    for name, value in (
        (HDF5_DATASET, frame.image),
        (f"{ATTRIBUTES}/NDArrayUniqueId", frame.number),
        (f"{ATTRIBUTES}/NDArrayTimeStamp", frame.moment - EPICS_EPOCH),
    ):
        file[name].resize(number + 1, axis=0)
        file[name][number] = value
        file[name].flush()


def _make_folder(path: str, levels: int) -> bool:
    """Tell whether a folder exists, after making up to so many of its last levels."""
    folder = Path(path)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    if 0 < len(missing) <= levels:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("%s cannot be made: %s", folder, error)
    return path != "" and folder.is_dir()
