"""The process variables of ring, shutters, scaler, line scanner and the monochromator that flies."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import numpy as np

from beamline.endstation.devices.scanner import MODES
from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.channels import Integer, Pvs, array, choice, number
from simulated_devices.ioc.motor import MotorRecord
from simulated_devices.physics.drift_detector import BINS
from simulated_devices.twins import Energy

SHUTTER_TIME = 0.1  # s
RING_PERIOD = 0.1  # s of wall-clock time between readings of the ring current
CURRENTS = ("mesh", "drain", "reference", "diode")  # of the electrometer, channels 1 to 4
LONGEST_LINE = 4000  # pixels
MOST_BINS = 100_000  # of a sweep
CLOSED_OPEN = ("Closed", "Open")
UNDULATOR_MODES = ("Parallel", "Antiparallel")
CHANNELS = {"i0": 2, "tey": 3, "tfy": 4}  # of the scaler; 1 is its clock
CLOCK_RATE = 1e7  # Hz


class Ring:
    """The storage ring and the facility's shutter."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._current = number(bench, self._now(), units="mA", precision=2)
        self._front_end = choice(bench, "Open", CLOSED_OPEN)
        self.pvdb: Pvs = {f"{prefix}SR:Current": self._current, f"{prefix}FE:Sts": self._front_end}

    async def run(self) -> None:
        """Publish the state of the ring, again and again."""
        while True:
            await self.show()
            await asyncio.sleep(RING_PERIOD)

    async def show(self) -> None:
        """Publish the present current and front-end shutter."""
        await self._current.write(self._now())
        state = CLOSED_OPEN[self._bench.world.front_end_open]
        if self._front_end.value != state:
            await self._front_end.write(state)

    def _now(self) -> float:
        return float(self._bench.world.ring.current(np.array([self._bench.now()]))[0])


class Shutter:
    """The sample shutter."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._state = choice(bench, CLOSED_OPEN[bench.world.shutter_open], CLOSED_OPEN)
        command = choice(bench, "Close", ("Close", "Open"), on_put=self._move)
        self.pvdb: Pvs = {f"{prefix}Shutter:Cmd": command, f"{prefix}Shutter:Sts": self._state}

    async def _move(self, word: str) -> None:
        await self._bench.until(self._bench.now() + SHUTTER_TIME)
        self._bench.world.shutter_open = word == "Open"
        await self._state.write(CLOSED_OPEN[self._bench.world.shutter_open])


class UndulatorMode:
    """Which way the rows of the undulator are shifted by its phase."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        now = UNDULATOR_MODES[bench.world.antiparallel]
        self.pvdb: Pvs = {f"{prefix}ID:Mode": choice(bench, now, UNDULATOR_MODES, on_put=self._set)}

    async def _set(self, word: str) -> None:
        self._bench.world.antiparallel = word == UNDULATOR_MODES[1]


class BusyRecord:
    """A record that a client puts 1 to and that is 0 again when its work is done; a put of 0, or another 1, stops it.

    Parameters
    ----------
    bench : Bench
    work : callable
        Is given the event that is set when it is to stop.
    """

    def __init__(self, bench: Bench, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._work = work
        self._stop = asyncio.Event()
        self.channel = Integer(bench, value=0, on_put=self._put)

    def was_restarted(self, stop: asyncio.Event) -> bool:
        """Whether the work that has this event was followed by other work."""
        return stop is not self._stop

    async def stop(self) -> None:
        """Stop the work under way."""
        self._stop.set()

    async def _put(self, value: int) -> None:
        self._stop.set()
        if not value:
            return
        self._stop = stop = asyncio.Event()
        await self._work(stop)
        if not self.was_restarted(stop):
            await self.channel.write(0)


class Scaler:
    """A scaler record that counts I0 and the yields."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._count = BusyRecord(bench, self._run)
        self._preset = number(bench, 1.0, units="s")
        self._elapsed = number(bench, 0.0, units="s")
        self._channels = {name: number(bench, 0.0) for name in ("clock", *CHANNELS)}
        record = f"{prefix}Scaler"
        self.pvdb: Pvs = {
            f"{record}.CNT": self._count.channel,
            f"{record}.TP": self._preset,
            f"{record}.T": self._elapsed,
            f"{record}.FREQ": number(bench, CLOCK_RATE, units="Hz"),
            f"{record}.S1": self._channels["clock"],
            **{f"{record}.S{channel}": self._channels[name] for name, channel in CHANNELS.items()},
        }

    async def _run(self, stop: asyncio.Event) -> None:
        """Count for the preset time, or until stopped."""
        begin = self._bench.now()
        await self._bench.until(begin + self._preset.value, stop)
        if self._count.was_restarted(stop):
            return
        end = self._bench.now()
        counts = self._bench.world.counts(begin, end)
        if self._bench.faults.nan_i0:
            counts["i0"] = math.nan
        await self._elapsed.write(end - begin)
        await self._channels["clock"].write(np.rint((end - begin) * CLOCK_RATE))
        for name, value_counted in counts.items():
            await self._channels[name].write(value_counted)


class Electrometer:
    """An electrometer of four channels, as quadEM serves it."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._acquire = BusyRecord(bench, self._run)
        self._time = number(bench, 1.0, units="s")
        self._averaged = Integer(bench, value=0)
        self._means = {name: number(bench, 0.0, units="nA") for name in CURRENTS}
        self._spreads = {name: number(bench, 0.0, units="nA") for name in CURRENTS}
        self.pvdb: Pvs = {
            f"{prefix}QuadEM:Acquire": self._acquire.channel,
            f"{prefix}QuadEM:AcquireMode": choice(bench, "Continuous", ("Continuous", "Multiple", "Single")),
            f"{prefix}QuadEM:AveragingTime": self._time,
            f"{prefix}QuadEM:NumAveraged_RBV": self._averaged,
        }
        for index, name in enumerate(CURRENTS, start=1):
            self.pvdb[f"{prefix}QuadEM:Current{index}:MeanValue_RBV"] = self._means[name]
            self.pvdb[f"{prefix}QuadEM:Current{index}:Sigma_RBV"] = self._spreads[name]

    async def _run(self, stop: asyncio.Event) -> None:
        """Average for the time that is set, or until stopped."""
        begin = self._bench.now()
        await self._bench.until(begin + self._time.value, stop)
        if self._acquire.was_restarted(stop):
            return
        for name, (mean, spread, samples) in self._bench.world.currents(begin, self._bench.now()).items():
            await self._averaged.write(samples)
            await self._spreads[name].write(spread)
            await self._means[name].write(mean)


class DriftDetector:
    """A silicon drift detector behind an MCA record."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        self._start = BusyRecord(bench, self._run)
        self._preset = number(bench, 1.0, units="s")
        self._times = [number(bench, 0.0, units="s") for _ in range(2)]
        self._spectrum = array(bench, BINS, units="counts")
        self._spectrum.preset(np.zeros(BINS))
        real, live = self._times
        record = f"{prefix}SDD:mca1"
        self.pvdb: Pvs = {
            f"{record}.ERST": self._start.channel,
            f"{record}.STOP": Integer(bench, value=0, on_put=self._end),
            f"{record}.PRTM": self._preset,
            f"{record}.ERTM": real,
            f"{record}.ELTM": live,
            f"{record}.VAL": self._spectrum,
        }

    async def _end(self, _value: int) -> None:
        await self._start.stop()

    async def _run(self, stop: asyncio.Event) -> None:
        """Take a spectrum in the preset time, or until stopped."""
        begin = self._bench.now()
        await self._bench.until(begin + self._preset.value, stop)
        if self._start.was_restarted(stop):
            return
        end = self._bench.now()
        counts, live_time = self._bench.world.fluorescence(begin, end)
        await self._times[0].write(end - begin)
        await self._times[1].write(live_time)
        await self._spectrum.write(counts)


class LineScanner:
    """The fine stage, which flies a line, and the multichannel scaler that it steps."""

    def __init__(self, bench: Bench, prefix: str) -> None:
        self._bench = bench
        stage, mcs = f"{prefix}STXM:Stage:", f"{prefix}STXM:MCS:"
        self._x = tuple(number(bench, x, units="um", limits=(-50.0, 50.0)) for x in (-1.0, 1.0))
        self._y = number(bench, 0.0, units="um", limits=(-50.0, 50.0))
        self._mode = choice(bench, "line", MODES)
        self._dwell = number(bench, 0.001, units="s", limits=(1e-4, 10.0))
        self._pixels = Integer(bench, value=100, lower_ctrl_limit=1, upper_ctrl_limit=LONGEST_LINE)
        self._arrays = [array(bench, LONGEST_LINE, units=units) for units in ("counts", "s", "um", "um")]
        counts, dwell_times, x, y = self._arrays
        self.pvdb: Pvs = {
            f"{prefix}STXM:Fly": BusyRecord(bench, self._run).channel,
            f"{stage}XStart": self._x[0],
            f"{stage}XStop": self._x[1],
            f"{stage}Y": self._y,
            f"{stage}Mode": self._mode,
            f"{stage}XTrace": x,
            f"{stage}YTrace": y,
            f"{mcs}Channels": self._pixels,
            f"{mcs}Dwell": self._dwell,
            f"{mcs}Counts": counts,
            f"{mcs}DwellTimes": dwell_times,
        }

    async def _run(self, stop: asyncio.Event) -> None:
        """Fly a line; its arrays stay as they were where it is stopped."""
        world = self._bench.world
        places = np.linspace(self._x[0].value, self._x[1].value, self._pixels.value)
        y, dwell, point = self._y.value, self._dwell.value, self._mode.value == "point"
        begin = self._bench.now()
        flown = await self._bench.until(begin + world.line_time(len(places), dwell, point=point), stop)
        if flown:
            line = await self._bench.compute(self._line, begin, places, y, dwell, point)
            for channel, values in zip(self._arrays, line, strict=True):
                await channel.write(values)

    def _line(self, begin: float, places: np.ndarray, y: float, dwell: float, point: bool) -> Any:
        return self._bench.world.line(begin, places, y, dwell, point=point)


class EnergySweep:
    """The controller that flies monochromator and undulator, and the multichannel scaler that it starts.

    Parameters
    ----------
    bench : Bench
    prefix : str
    monochromator, undulator : MotorRecord
        The records that show where both are.
    """

    def __init__(self, bench: Bench, prefix: str, *, monochromator: MotorRecord, undulator: MotorRecord) -> None:
        self._bench, self._monochromator, self._undulator = bench, monochromator, undulator
        mono, mcs = f"{prefix}Sweep:Mono:", f"{prefix}Sweep:MCS:"
        self._ends = tuple(number(bench, energy, units="eV", limits=Energy.limits) for energy in (520.0, 530.0))
        self._bins = Integer(bench, value=100, lower_ctrl_limit=2, upper_ctrl_limit=MOST_BINS)
        self._bin_time = number(bench, 0.01, units="s", limits=(1e-4, 100.0))
        self._fly = BusyRecord(bench, self._run)
        self._arrays = {name: array(bench, MOST_BINS, units="counts") for name in CHANNELS}
        self._arrays |= {name: array(bench, MOST_BINS, units="s") for name in ("bin_times", "energy_times")}
        self._arrays["energies"] = array(bench, MOST_BINS, units="eV")
        self.pvdb: Pvs = {
            f"{prefix}Sweep:Fly": self._fly.channel,
            f"{mono}Start": self._ends[0],
            f"{mono}Stop": self._ends[1],
            f"{mono}Energies": self._arrays["energies"],
            f"{mono}EnergyTimes": self._arrays["energy_times"],
            f"{mcs}Channels": self._bins,
            f"{mcs}Dwell": self._bin_time,
            f"{mcs}DwellTimes": self._arrays["bin_times"],
            **{f"{mcs}{name.upper()}": self._arrays[name] for name in CHANNELS},
        }

    async def _run(self, stop: asyncio.Event) -> None:
        """Fly a range; where it is stopped, the arrays have what was counted until then."""
        world = self._bench.world
        start, end = (channel.value for channel in self._ends)
        bins, bin_time = self._bins.value, self._bin_time.value
        begin = self._bench.now()
        flown = await self._bench.until(begin + world.sweep_time(start, end, bins * bin_time), stop)
        ended = math.inf if flown else self._bench.now()
        sweep = partial(world.sweep, begin, start, end, bins=bins, bin_time=bin_time, ended=ended)
        found = await self._bench.compute(sweep)
        await self._monochromator.carried_to(world.energy)
        await self._undulator.carried_to(world.gap)
        if self._bench.faults.nan_i0:
            found["i0"][:] = math.nan
        for name, channel in self._arrays.items():
            await channel.write(found[name])
