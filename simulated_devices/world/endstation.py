"""The simulated endstation: the positions of everything, and what the detectors count there."""

from __future__ import annotations

import math
import threading
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics import drift_detector
from simulated_devices.physics.cell import Cell
from simulated_devices.physics.escape import Escape
from simulated_devices.physics.flight import (
    CLOCK_NOISE,
    LAG,
    POSITIONING,
    RAMP,
    READBACK_NOISE,
    Flight,
    captured_times,
)
from simulated_devices.physics.lineshapes import line
from simulated_devices.physics.microscope import (
    ENCODER_NOISE,
    FLUX,
    FLUX_NOISE,
    POINT_OVERHEAD,
    TURNAROUND,
    Drift,
    Microscope,
    MicroscopeTruth,
)
from simulated_devices.physics.ring import FULL_CURRENT, StorageRing
from simulated_devices.physics.samples import (
    OPEN_BEAM,
    OPERANDO,
    SAMPLES,
    Sample,
    binder_o_k,
    rutile_o_k,
    sample_called,
)
from simulated_devices.physics.spectrograph import ChipDrift, SpectrographModel
from simulated_devices.physics.undulator import Setting, Stokes, beside, follow, gap_of, stokes_of, tuning
from simulated_devices.world.clock import Clock
from simulated_devices.world.truth import Truth

I0_RATE = 9.3e4  # counts/s at 500 mA, 30 um and the best energy: 2.8e7 in a frame of 300 s
TEY_RATE, TFY_RATE = 4.0e4, 1.5e4  # counts/s for an absorption of 1
# Currents of the electrometer, nA at full flux (the yields for an absorption of 1); its samples a second, what they
# vary by, nA rms, and relative to the current.
CURRENTS = {"mesh": 0.9, "drain": 0.35, "reference": 0.12, "diode": 240.0}
SAMPLE_RATE, CURRENT_NOISE, CURRENT_FLICKER = 1000.0, 0.01, 0.01
OXYGEN_RATE, CARBON_RATE, SCATTER_RATE = 2.0e4, 6.0e3, 400.0  # photons/s in the drift detector, at full flux
MONITOR_OXYGEN = 0.02
FULL_SLIT = 30.0  # um
EMISSION_PHOTONS = 14_000.0  # in a frame of 300 s for `Sample.emission` of area 1
# In a frame of 300 s, as measured: what resonance adds to the elastic line and what self-absorption takes off it are
# both in it.
ELASTIC_PHOTONS = 320.0
STRAY_PHOTONS_PER_EV = 0.8  # in a frame of 300 s
# Fluorescence of elements whose edge is elsewhere: energy and FWHM (eV), photons in a frame of 300 s. The nickel's is
# excited by the second harmonic, and seen in second order: at half its energy. No edge that is scanned absorbs that.
TITANIUM_LINE, NICKEL_LINE = (452.2, 3.5, 350.0), (851.5 / 2, 2.5, 120.0)
# What the beamline makes of the polarisation. The mirrors shift and weaken the vertical field against the horizontal
# one: circular light becomes elliptical, by a degree that is known to some per cent, and vertical light is weaker. The
# axis of the two helicities is not quite the same: their photon energies differ by some meV on the same grating, their
# fluxes by a per cent, and what the mesh counts of each by tenths of one. All but the degree are drawn for each seed.
CIRCULAR_DEGREE, CIRCULAR_DEGREE_SIGMA = 0.95, 0.02
VERTICAL_FLUX = 0.85
HELICITY_ENERGY, HELICITY_FLUX, HELICITY_MESH = 0.003, 0.01, 0.002  # eV, relative: rms of C+ less C-
COUNTER_DARK_RATE = 2.0  # counts/s


class SimulatedEndstation:
    """An endstation without hardware.

    Parameters
    ----------
    seed : int
        Of all noise: the n-th reading of a device has the same noise in every run with the same seed.
    speed_up : float
        Simulated seconds per second of wall-clock time.
    frame_rows : int
        Rows of the CCD's frames.
    elastic_scale : float
        Strength of the elastic line; 0 for none.
    incidence, exit : float
        Angles of the light and of the emission that is measured to the surface of the sample, degrees. An exit as
        grazing as by default leaves the emission of the oxides 0.6 to 0.9 of what it is before their edge.
    energy_offset : float
        True photon energy minus what the monochromator says, eV.
    dump_after : float, optional
        s of simulated time after which the beam is lost; drawn at random, rarely within a run, where not given.
    drift_scale : float
        Of the thermal drift of the microscope; 0 for none.
    spectrograph_drift_scale : float
        Of the thermal drift of the spectrograph, which moves by up to 2 columns an hour; 0 for none.
    monitor_oxygen : float
        Of what has condensed on the mesh that gives I0: its yield at the O K edge over that of the mesh; 0 for none.
    polarisation_scale : float
        Of what differs between the two helicities beside their sign; 0 for none.
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
        incidence: float = 80.0,
        exit: float = 10.0,
        energy_offset: float = 0.18,
        dump_after: float | None = None,
        drift_scale: float = 1.0,
        spectrograph_drift_scale: float = 1.0,
        monitor_oxygen: float = MONITOR_OXYGEN,
        polarisation_scale: float = 1.0,
        kept_truths: int = 200,
    ) -> None:
        self._seed = seed
        self._counters: dict[str, int] = {}
        self._frames, self._kept_truths = 0, kept_truths
        self._lock = threading.Lock()
        self.clock = Clock(speed_up)
        self.ring = StorageRing(self.clock.start)
        if dump_after is None:  # about one in two days
            dump_after = float(self.rng("dump").exponential(48 * 3600.0))
        begin = self.clock.start + dump_after
        self.ring.dumps.append((begin, begin + 1500.0))
        self._elastic_scale = elastic_scale
        self._escape = Escape(incidence, exit)
        self._monitor_oxygen = monitor_oxygen
        self.microscope = Microscope(Drift.by_chance(self.clock.start, self.rng("drift"), drift_scale))
        self.truth = Truth(SpectrographModel(rows=frame_rows), energy_offset, SAMPLES, MicroscopeTruth(self.microscope))
        self._chip_drift = ChipDrift.by_chance(self.clock.start, self.rng("chip drift"), spectrograph_drift_scale)
        chance = self.rng("polarisation").standard_normal(4)
        self.circular_degree = CIRCULAR_DEGREE + CIRCULAR_DEGREE_SIGMA * float(chance[0])
        self._helicity = polarisation_scale * np.array([HELICITY_ENERGY, HELICITY_FLUX, HELICITY_MESH]) * chance[1:]
        self.readback_lag = float(self.rng("readback lag").normal(*LAG))  # s by which readbacks are stamped late
        # Positions, which the devices change.
        self.energy = 530.0  # eV, as the monochromator says
        self.gap = gap_of(self.energy)  # mm, of the undulator
        self.phase, self.antiparallel = 0.0, False  # mm, and which way its rows are shifted
        self.slit = FULL_SLIT  # um
        self.sample = "LRNMC pristine"
        self.cell = Cell(since=self.clock.start)  # that the sample "LRNMC operando" is in
        self.shutter_open = False
        self.front_end_open = True

    @property
    def undulator(self) -> Setting:
        """How the undulator stands."""
        return Setting(self.gap, self.phase, "antiparallel" if self.antiparallel else "parallel")

    @undulator.setter
    def undulator(self, setting: Setting) -> None:
        self.gap, self.phase, self.antiparallel = setting.gap, setting.phase, setting.mode == "antiparallel"

    @property
    def light(self) -> Stokes:
        """How the light is polarised at the sample."""
        emitted = stokes_of(self.undulator)
        return Stokes(emitted.horizontal, emitted.diagonal, self.circular_degree * emitted.circular)

    @property
    def true_energy(self) -> float:
        """Photon energy, eV."""
        return (
            self.energy + self.truth.energy_offset + float(self._helicity[0]) / 2 * stokes_of(self.undulator).circular
        )

    @property
    def absorption(self) -> float:
        """What the sample in the beam absorbs of the light, relative to the step of its edge."""
        if self.sample == OPEN_BEAM:
            return 0.0
        return float(sample_called(self.sample_in_beam).absorption(self.true_energy, self.light))

    @property
    def sample_in_beam(self) -> str:
        """Name of the sample in the beam, with its charge now where it is in the cell."""
        return f"LRNMC {self.cell.at(self.clock.now()):.1f} mAh/g" if self.sample == OPERANDO else self.sample

    def rng(self, device: str) -> np.random.Generator:
        """Give the source of noise for the next reading of a device."""
        with self._lock:
            count = self._counters[device] = self._counters.get(device, -1) + 1
        return np.random.default_rng([self._seed, zlib.crc32(device.encode()), count])

    def dose(self, begin: float, end: float) -> float:
        """Give the incident light between two moments, as s of full flux."""
        if not self.front_end_open or end <= begin:
            return 0.0
        return (end - begin) * float(np.mean(self._beam(np.linspace(begin, end, 65)))) * self._throughput()

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
            flux = FLUX * self.ring.current(moments) / FULL_CURRENT * self.slit / FULL_SLIT * self._throughput()
            flux = flux * (1 + FLUX_NOISE * rng.standard_normal())
            sample, light = self.sample_in_beam, self.light
            rate = flux * self.microscope.transmission(sample, self.true_energy, at_x, at_y, moments, light=light)
        return self.microscope.count(rate, dwells, rng), dwells, at_x, at_y

    def counts(self, begin: float, end: float) -> dict[str, float]:
        """Count I0, TEY and TFY between two moments."""
        rng = self.rng("scaler")
        counted = {}
        for name, mean in self._expected(self.dose(begin, end), self.energy).items():
            dark = COUNTER_DARK_RATE * (end - begin)
            counts = float(rng.poisson(mean + dark))
            counted[name] = max(0.0, np.rint(counts * (1 + 0.0005 * rng.standard_normal())))
        return counted

    def currents(self, begin: float, end: float) -> dict[str, tuple[float, float, int]]:
        """Average currents between two moments: mean and standard deviation of the samples, nA, and their number.

        ``mesh`` is a second monitor, ``drain`` what flows off the sample, ``reference`` what flows off a reference
        sample, rutile, in a part of the beam, and ``diode`` sees the beam where no sample is in it.
        """
        rng = self.rng("electrometer")
        seconds = end - begin
        samples = max(1, round(seconds * SAMPLE_RATE))
        flux = self.dose(begin, end) / seconds if seconds > 0 else 0.0
        on_sample = flux if self.shutter_open else 0.0
        absorption, is_open = self.absorption, self.sample == OPEN_BEAM
        expected = {
            "mesh": CURRENTS["mesh"] * flux,
            "drain": CURRENTS["drain"] * on_sample * absorption,
            "reference": CURRENTS["reference"] * flux * float(rutile_o_k(self.true_energy)),
            "diode": CURRENTS["diode"] * on_sample * is_open,
        }
        found = {}
        for name, current in expected.items():
            spread = math.hypot(CURRENT_NOISE, CURRENT_FLICKER * current)
            mean = current + spread / math.sqrt(samples) * rng.standard_normal()
            measured = spread * math.sqrt(rng.chisquare(samples - 1) / (samples - 1)) if samples > 1 else 0.0
            found[name] = (mean, measured, samples)
        return found

    def fluorescence(self, begin: float, end: float) -> tuple[NDArray[np.floating], float]:
        """Take a spectrum of the fluorescence between two moments: counts, shape (BINS,), and live time, s."""
        seconds = end - begin
        flux = self.dose(begin, end) / seconds if self.shutter_open and seconds > 0 else 0.0
        energy = self.true_energy
        sample = Sample(oxide=0.0, carbon=0.0) if self.sample == OPEN_BEAM else sample_called(self.sample_in_beam)
        oxygen = float(sample.oxygen_absorption(energy))
        seen = float(self._escape.share(sample, energy, light=self.light))
        rates = {
            drift_detector.OXYGEN: OXYGEN_RATE * flux * oxygen * seen,
            drift_detector.CARBON: CARBON_RATE * flux * sample.carbon,
            energy: SCATTER_RATE * flux,
        }
        return drift_detector.spectrum(rates, seconds, self.rng("drift detector"))

    def sweep_time(self, start: float, stop: float, duration: float) -> float:
        """Give the time that a sweep over a range takes, s: to where it sets off, and both ramps."""
        velocity = (stop - start) / duration
        return abs(self.energy - (start - velocity * RAMP / 2)) / POSITIONING + duration + 2 * RAMP

    def sweep(
        self, begin: float, start: float, stop: float, *, bins: int, bin_time: float, ended: float = math.inf
    ) -> dict[str, NDArray[np.floating]]:
        """Fly monochromator and undulator over a range of energies, eV, and count I0, TEY and TFY in time bins.

        Parameters
        ----------
        begin : float
            s since 1970, at which the monochromator leaves for where it sets off.
        start, stop : float
            eV
        bins : int
        bin_time : float
            s
        ended : float
            s since 1970, at which it was stopped: time bins and readbacks behind are NaN.

        Returns
        -------
        dict of str to array, shape (bins,)
            ``i0``, ``tey``, ``tfy``: counts. ``bin_times``: s, as they were timed. ``energies`` and ``energy_times``:
            readbacks, eV, and when they are stamped, s since the first time bin began.
        """
        rng = self.rng("sweep")
        flight = Flight.by_chance(start, stop, bins * bin_time, rng)
        lengths = bin_time * (1 + CLOCK_NOISE * rng.standard_normal(bins))
        moments = np.cumsum(lengths) - lengths / 2
        counting_from = begin + self.sweep_time(start, stop, flight.duration) - flight.duration - RAMP
        energy = flight.energy(moments)
        flux = self._flux(counting_from + moments, energy) * beside(energy, flight.undulator_energy(moments))
        # A bin holds so few counts that the noise of the amplifiers, 0.05 %, is less than one of them.
        found: dict[str, NDArray[np.floating]] = {
            name: rng.poisson(mean + COUNTER_DARK_RATE * lengths).astype(float)
            for name, mean in self._expected(flux * lengths, energy).items()
        }
        times = captured_times(flight.duration, bins)
        energies = flight.energy(times - self.readback_lag) + READBACK_NOISE * rng.standard_normal(bins)
        passed = ended - counting_from
        self.energy = float(flight.energy(np.array(min(passed, flight.duration + RAMP))))
        self.undulator = follow(self.energy, self.undulator)
        for values in (*found.values(), lengths):
            values[moments > passed] = np.nan
        energies[times > passed] = np.nan
        return found | {"bin_times": lengths, "energies": energies, "energy_times": times}

    def frame(self, begin: float, end: float) -> NDArray[np.uint16]:
        """Expose a frame between two moments."""
        with self._lock:
            number, self._frames = self._frames, self._frames + 1
        dose = self.dose(begin, end) if self.shutter_open else 0.0
        frames = dose / 300.0
        true_energy, light = self.true_energy, self.light
        sample, elastic = sample_called(self.sample_in_beam), self._elastic_scale * ELASTIC_PHOTONS
        bandwidth = 0.12 * self.slit / FULL_SLIT  # eV

        def photons_per_ev(emission: NDArray[np.floating]) -> NDArray[np.floating]:
            near = elastic * line(emission, true_energy, bandwidth) + STRAY_PHOTONS_PER_EV
            own = EMISSION_PHOTONS * sample.emission(true_energy, emission)
            own = own + TITANIUM_LINE[2] * line(emission, *TITANIUM_LINE[:2])
            seen = self._escape.share(sample, true_energy, emission, light)
            result: NDArray[np.floating] = frames * (near + own * seen)
            return result

        def second_order(emission: NDArray[np.floating]) -> NDArray[np.floating]:
            result: NDArray[np.floating] = frames * NICKEL_LINE[2] * line(emission, *NICKEL_LINE[:2])
            return result

        image, truth = self.truth.spectrograph.render(
            photons_per_ev,
            exposure_time=end - begin,
            rng=self.rng("ccd"),
            second_order=second_order,
            displacement=float(self._chip_drift.at((begin + end) / 2)),
        )
        self.truth.frames[number] = truth
        self.truth.frames.pop(number - self._kept_truths, None)
        return image

    def _beam(self, moments: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give what comes out of the slit at moments, 1 at best, beside what depends on the energy."""
        drift = 1 + 0.01 * np.sin(2 * np.pi * (moments - self.clock.start) / (5 * 3600.0))
        result: NDArray[np.floating] = self.ring.current(moments) / FULL_CURRENT * drift * self.slit / FULL_SLIT
        return result

    def _flux(self, moments: NDArray[np.floating], energy: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give the flux at moments and energies, 1 at best, with the undulator tuned."""
        flux: NDArray[np.floating] = self._beam(moments) * _transport(energy) * self._polarised
        return flux if self.front_end_open else np.zeros(len(moments))

    def _expected(self, dose: ArrayLike, energy: ArrayLike) -> dict[str, NDArray[np.floating]]:
        """Give the expected counts of each channel for incident light, s of full flux, at energies, eV."""
        light = np.asarray(dose, dtype=float)
        on_sample = light if self.shutter_open else np.zeros_like(light)
        true_energy = np.asarray(energy) + (self.true_energy - self.energy)
        is_open, sample = self.sample == OPEN_BEAM, self.sample_in_beam
        absorption: NDArray[np.floating] = np.zeros_like(true_energy)
        fluorescence = absorption
        if not is_open:
            absorption = sample_called(sample).absorption(true_energy, self.light)
            fluorescence = absorption * self._escape.share(sample_called(sample), true_energy, light=self.light)
        mesh = 1 + float(self._helicity[2]) / 2 * stokes_of(self.undulator).circular
        return {
            # The mesh is upstream of the sample shutter, and not clean.
            "i0": I0_RATE * light * mesh * (1 + self._monitor_oxygen * binder_o_k(true_energy)),
            "tey": TEY_RATE * on_sample * absorption,
            "tfy": TFY_RATE * on_sample * (0.05 + fluorescence),  # self-absorption flattens it
        }

    def _throughput(self) -> float:
        """Flux at the present energy and gap, 1 at best."""
        return float(_transport(self.energy) * tuning(self.energy, self.undulator)) * self._polarised

    @property
    def _polarised(self) -> float:
        """Flux by the polarisation, 1 for horizontal light."""
        emitted = stokes_of(self.undulator)
        flux = 1 - (1 - VERTICAL_FLUX) * (1 - emitted.horizontal) / 2
        return flux * (1 + float(self._helicity[1]) / 2 * emitted.circular)


def _transport(energy: ArrayLike) -> NDArray[np.floating]:
    """Give the flux that mirrors let through at energies, eV, 1 at best: their oxygen absorbs above its own edge."""
    at = np.asarray(energy, dtype=float)
    broad = np.exp(-0.5 * ((at - 600.0) / 350.0) ** 2)
    result: NDArray[np.floating] = broad * (1 - 0.06 * (0.5 + np.arctan((at - 532.0) / 0.8) / np.pi))
    return result
