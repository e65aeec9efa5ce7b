"""The camera with its plugins: exposures, cooling, and the records of an areaDetector driver."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from ophyd.areadetector.cam import AndorDetectorCam

from simulated_devices.ioc.area_detector.hdf5_writer import POLL, Frame, Hdf5Writer
from simulated_devices.ioc.area_detector.record_types import ABORTED, ACQUIRE, IDLE, MULTIPLE, READOUT, SINGLE
from simulated_devices.ioc.area_detector.records import Records
from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.channels import Pvs
from simulated_devices.twins import Ccd

PLUGINS = ("HDF1:", "HDF2:")
WARM_CHIP, COOLING_TIME = 20.0, 600.0  # degC of a chip that is not cooled; s, time constant of the cooling
STABLE = 0.5  # degC
SHORTEST_EXPOSURE = 1e-5  # s


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
        self.pvdb: Pvs = dict(self._records.pvdb)
        for plugin in self._plugins:
            self.pvdb.update(plugin.records.pvdb)
        self._records.preset(**_initial_values(bench))
        self._chip = self._cooled_to = float(self._records["Temperature"])  # degC
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
        """Begin or abort; a put that begins completes at the end. A client that disconnects does not abort."""
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
        """Let the temperature of the chip relax for the time elapsed, and publish it."""
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


def _initial_values(bench: Bench) -> dict[str, Any]:
    """Give the values that the driver's records begin with: those of the twin."""
    model = bench.world.truth.spectrograph
    default = {walk.dotted_name: walk.item.kwargs.get("value") for walk in Ccd.walk_components()}
    return {
        "PortName_RBV": "ANDOR",
        "Manufacturer_RBV": "Andor",
        "Model_RBV": default["model"],
        "MaxSizeX_RBV": Ccd.chip_size,
        "MaxSizeY_RBV": Ccd.chip_size,
        "SizeX": Ccd.chip_size,
        "SizeY": Ccd.chip_size,
        "BinX": max(1, Ccd.chip_size // model.columns),
        "BinY": max(1, Ccd.chip_size // model.rows),
        "ArraySizeX_RBV": model.columns,
        "ArraySizeY_RBV": model.rows,
        "DataType": "UInt16",
        "AcquireTime": default["exposure_time"],
        "AcquirePeriod": default["exposure_time"],
        "NumImages": 1,
        "NumExposures": 1,
        "ArrayCallbacks": "Enable",
        "ImageMode": "Continuous",  # as ADAndor begins
        "Temperature": default["temperature_setpoint"],
        "TemperatureActual": default["temperature_setpoint"],
        "AndorCooler": default["cooler"],
        "AndorTempStatus_RBV": default["cooling_state"],
        "AndorPreAmpGain": default["gain"],
        "AndorADCSpeed": default["readout_speed"],
    }
