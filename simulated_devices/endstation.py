"""The world that all soft twins share: clock, storage ring, beamline optics, samples and spectrograph."""

from __future__ import annotations

import threading
import time
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulated_devices.microscope import (
    ENCODER_NOISE,
    FLUX,
    FLUX_NOISE,
    POINT_OVERHEAD,
    TURNAROUND,
    Drift,
    Microscope,
    StxmTruth,
)
from simulated_devices.samples import SAMPLES, Sample
from simulated_devices.spectrograph import FrameTruth, SpectrographModel
from simulated_devices.undulator import gap_of, tuning

I0_RATE = 9.3e4  # counts/s at 500 mA, 30 um and the best energy: 2.8e7 in a frame of 300 s
TEY_RATE, TFY_RATE = 4.0e4, 1.5e4  # counts/s for an absorption of 1
FULL_CURRENT, FULL_SLIT = 500.0, 30.0  # mA, um
EMISSION_PHOTONS = 14_000.0  # in a frame of 300 s for `Sample.emission` of area 1
ELASTIC_PHOTONS = 320.0  # in a frame of 300 s
STRAY_PHOTONS_PER_EV = 0.8  # in a frame of 300 s


class Clock:
    """Simulated time, which runs `speed_up` times as fast as the clock on the wall while something is done.

    It stands still between operations, so that a run depends on what is done and not on how fast the computer is.
    """

    def __init__(self, speed_up: float) -> None:
        if not speed_up > 0:
            raise ValueError(f"speed_up is {speed_up}, expected a number above zero")
        self.speed_up = speed_up
        self._now = self.start = time.time()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Give the simulated time, s since 1970."""
        with self._lock:
            return self._now

    def wait_until(self, moment: float, stopped: threading.Event) -> bool:
        """Let time pass until a moment, unless `stopped` is set before.

        Returns
        -------
        bool
            False when it was stopped.
        """
        finished = not stopped.wait(self.seconds_to(moment))
        if finished:
            self.reach(moment)
        return finished

    def seconds_to(self, moment: float) -> float:
        """Give how long it takes on the wall until a moment, s; 0 when it has passed."""
        return max(0.0, moment - self.now()) / self.speed_up

    def reach(self, moment: float) -> None:
        """Let it be a moment, or later."""
        with self._lock:
            self._now = max(self._now, moment)


@dataclass
class Ring:
    """A storage ring in top-up: the current decays and is topped up; now and then the beam is lost.

    Attributes
    ----------
    start : float
        s since 1970.
    dumps : list of (float, float)
        Begin and end of times without beam, s since 1970.
    """

    start: float
    lifetime: float = 8 * 3600.0  # s
    top_up_interval: float = 180.0  # s
    dumps: list[tuple[float, float]] = field(default_factory=list)

    def current(self, moment: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give the current, mA, at moments in s since 1970."""
        current = FULL_CURRENT * np.exp(-((moment - self.start) % self.top_up_interval) / self.lifetime)
        for begin, end in self.dumps:
            current = np.where((moment >= begin) & (moment < end), 0.0, current)
        return current


@dataclass
class Truth:
    """What the simulation knows and a measurement does not: for tests, and for the demo's comparison only.

    Attributes
    ----------
    energy_offset : float
        True photon energy minus the monochromator's, eV.
    frames : dict of int to FrameTruth
        By number of the frame since the start.
    """

    spectrograph: SpectrographModel
    energy_offset: float
    samples: dict[str, Sample]
    stxm: StxmTruth
    frames: dict[int, FrameTruth] = field(default_factory=dict)

    def emission_energy(self, pixel: float) -> float:
        """Give the energy of a column in the monochromator's scale, to which the elastic line calibrates."""
        return float(self.spectrograph.energy(pixel)) - self.energy_offset

    def dispersion(self, pixel: float) -> float:
        """Give the dispersion at a column, eV/pixel."""
        return self.emission_energy(pixel + 0.5) - self.emission_energy(pixel - 0.5)


class SimulatedEndstation:
    """The endstation without the hardware.

    Parameters
    ----------
    seed : int
        Of all noise. The n-th reading of a device has the same noise in every run with this seed.
    speed_up : float
        Simulated seconds in a second.
    frame_rows : int
        Rows of the CCD's frames.
    elastic_scale : float
        Strength of the elastic line; 0 for none.
    energy_offset : float
        True photon energy minus what the monochromator says, eV.
    dump_after : float, optional
        Lose the beam so many simulated seconds after the start; by chance, rarely, where not given.
    drift_scale : float
        Of the thermal drift of the microscope; 0 for none.
    kept_truths : int
        Frames whose truth is kept, the newest.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        speed_up: float = 1000.0,
        frame_rows: int = 64,
        elastic_scale: float = 1.0,
        energy_offset: float = 0.18,
        dump_after: float | None = None,
        drift_scale: float = 1.0,
        kept_truths: int = 200,
    ) -> None:
        self._seed = seed
        self._counters: dict[str, int] = {}
        self._frames, self._kept_truths = 0, kept_truths
        self._lock = threading.Lock()
        self.clock = Clock(speed_up)
        self.ring = Ring(self.clock.start)
        if dump_after is None:  # about one in two days
            dump_after = float(self.rng("dump").exponential(48 * 3600.0))
        begin = self.clock.start + dump_after
        self.ring.dumps.append((begin, begin + 1500.0))
        self._elastic_scale = elastic_scale
        self.microscope = Microscope(Drift.by_chance(self.clock.start, self.rng("drift"), drift_scale))
        self.truth = Truth(SpectrographModel(rows=frame_rows), energy_offset, SAMPLES, StxmTruth(self.microscope))
        # Where everything stands; the devices move it.
        self.energy = 530.0  # eV, as the monochromator says
        self.gap = gap_of(self.energy)  # mm, of the undulator
        self.slit = FULL_SLIT  # um
        self.sample = "LRNMC pristine"
        self.shutter_open = False
        self.front_end_open = True

    def rng(self, device: str) -> np.random.Generator:
        """Give the source of noise for the next reading of a device."""
        with self._lock:
            count = self._counters[device] = self._counters.get(device, -1) + 1
        return np.random.default_rng([self._seed, zlib.crc32(device.encode()), count])

    def dose(self, begin: float, end: float) -> float:
        """Give the incident light between two moments: s of full flux."""
        if not self.front_end_open or end <= begin:
            return 0.0
        moments = np.linspace(begin, end, 65)
        drift = 1 + 0.01 * np.sin(2 * np.pi * (moments - self.clock.start) / (5 * 3600.0))
        current = self.ring.current(moments) / FULL_CURRENT
        mean = float(np.mean(current * drift))
        return (end - begin) * mean * self.slit / FULL_SLIT * self._throughput()

    def line_time(self, pixels: int, dwell: float, *, point: bool) -> float:
        """Give the time that a line takes, s."""
        return TURNAROUND + pixels * (dwell + (POINT_OVERHEAD if point else 0.0))

    def line(
        self, begin: float, x: NDArray[np.floating], y: float, dwell: float, *, point: bool
    ) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
        """Fly a line of the microscope: counts, dwell times (s) and true places (um, x and y) of its pixels."""
        rng = self.rng("scanner")
        pixels = len(x)
        pitch = dwell + (POINT_OVERHEAD if point else 0.0)
        moments = begin + TURNAROUND + pitch * (np.arange(pixels) + 0.5)
        dwells = dwell * (1 + 0.001 * rng.standard_normal(pixels))
        at_x, at_y = x + ENCODER_NOISE * rng.standard_normal(pixels), y + ENCODER_NOISE * rng.standard_normal(pixels)
        rate = np.zeros(pixels)
        if self.shutter_open and self.front_end_open:
            true_energy = self.energy + self.truth.energy_offset
            flux = FLUX * self.ring.current(moments) / FULL_CURRENT * self.slit / FULL_SLIT * self._throughput()
            flux = flux * (1 + FLUX_NOISE * rng.standard_normal())
            rate = flux * self.microscope.transmission(self.sample, true_energy, at_x, at_y, moments)
        return self.microscope.count(rate, dwells, rng), dwells, at_x, at_y

    def counts(self, begin: float, end: float) -> dict[str, float]:
        """Count I0, TEY and TFY between two moments."""
        rng = self.rng("scaler")
        dose = self.dose(begin, end)
        on_sample = dose if self.shutter_open else 0.0
        absorption = float(SAMPLES[self.sample].absorption(self.energy + self.truth.energy_offset))
        expected = {
            "i0": I0_RATE * dose,  # the mesh stands before the sample shutter
            "tey": TEY_RATE * on_sample * absorption,
            "tfy": TFY_RATE * on_sample * (0.05 + absorption / (1 + 0.15 * absorption)),  # self-absorption flattens it
        }
        counted = {}
        for name, mean in expected.items():
            dark = 2.0 * (end - begin)
            counts = float(rng.poisson(mean + dark))
            counted[name] = max(0.0, np.rint(counts * (1 + 0.0005 * rng.standard_normal())))
        return counted

    def frame(self, begin: float, end: float) -> NDArray[np.uint16]:
        """Expose a frame between two moments."""
        with self._lock:
            number, self._frames = self._frames, self._frames + 1
        dose = self.dose(begin, end) if self.shutter_open else 0.0
        frames = dose / 300.0
        true_energy = self.energy + self.truth.energy_offset
        sample, elastic = SAMPLES[self.sample], self._elastic_scale * ELASTIC_PHOTONS
        bandwidth = 0.12 * self.slit / FULL_SLIT / 2.3548  # eV rms

        def photons_per_ev(emission: NDArray[np.floating]) -> NDArray[np.floating]:
            line = np.exp(-0.5 * ((emission - true_energy) / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))
            light = elastic * line + EMISSION_PHOTONS * sample.emission(true_energy, emission) + STRAY_PHOTONS_PER_EV
            return frames * light

        image, truth = self.truth.spectrograph.render(photons_per_ev, exposure_time=end - begin, rng=self.rng("ccd"))
        self.truth.frames[number] = truth
        self.truth.frames.pop(number - self._kept_truths, None)
        return image

    def _throughput(self) -> float:
        """Flux where energy and gap stand, 1 at best: oxygen on the mirrors absorbs above its own edge."""
        broad = np.exp(-0.5 * ((self.energy - 600.0) / 350.0) ** 2)
        mirrors = 1 - 0.06 * (0.5 + np.arctan((self.energy - 532.0) / 0.8) / np.pi)
        return float(broad * mirrors * tuning(self.energy, self.gap))
