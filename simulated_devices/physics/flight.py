"""How monochromator and undulator move while they are flown, and what their controller reads of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

RAMP = 0.1  # s in which the monochromator reaches its velocity, and in which it stops
POSITIONING = 5.0  # eV/s, to where a sweep begins
RIPPLE = 0.03  # of the velocity: by how much it swings about its mean
RIPPLE_PERIOD = (0.2, 0.5)  # s, of that: a gear of the drive
READBACK_NOISE = 0.002  # eV rms
LAG = (0.012, 0.004)  # s, mean and sigma over endstations: so late is a readback stamped, by filter and transfer
UNDULATOR_LAG = 0.3  # s by which the gap is behind: it is told the energy again and again
CLOCK_NOISE = 1e-4  # relative, of the measured length of a time bin


@dataclass(frozen=True)
class Flight:
    """A sweep of the monochromator at one velocity: over its ramps, and the range in between.

    Attributes
    ----------
    start, stop : float
        eV, ends of the range that is counted.
    duration : float
        s, of the range.
    swing, period, phase : float
        Ripple: relative amplitude of the velocity, s and rad.
    """

    start: float
    stop: float
    duration: float
    swing: float
    period: float
    phase: float

    @classmethod
    def by_chance(cls, start: float, stop: float, duration: float, rng: np.random.Generator) -> Flight:
        """Fly a range with a ripple of its own."""
        period = float(rng.uniform(*RIPPLE_PERIOD))
        return cls(start, stop, duration, RIPPLE, period, float(rng.uniform(0.0, 2 * np.pi)))

    @property
    def velocity(self) -> float:
        """Mean velocity, eV/s; below zero downwards."""
        return (self.stop - self.start) / self.duration

    @property
    def before(self) -> float:
        """Energy, eV, from which it sets off: the monochromator has its velocity at `start`."""
        return self.start - self.velocity * RAMP / 2

    @property
    def behind(self) -> float:
        """Energy, eV, at which it has stopped."""
        return self.stop + self.velocity * RAMP / 2

    def energy(self, moment: FloatArray) -> FloatArray:
        """Give the energy, eV, that the monochromator has: s since it passed `start`.

        The velocity rises and falls linearly over the ramps. At both ends of the range the ripple is faded in over a
        ramp, so that the monochromator stands still before and behind.
        """
        linear = np.clip(moment, 0.0, self.duration)
        into = np.clip(moment + RAMP, 0.0, RAMP)  # s of the ramp before
        out = np.clip(moment - self.duration, 0.0, RAMP)
        path = linear + (into**2 / (2 * RAMP) - RAMP / 2) + (out - out**2 / (2 * RAMP))
        fade = np.clip(np.minimum(moment, self.duration - moment) / RAMP, 0.0, 1.0)
        swing = self.swing * self.period / (2 * np.pi) * fade * np.sin(2 * np.pi * moment / self.period + self.phase)
        result: FloatArray = self.start + self.velocity * (path + swing)
        return result

    def undulator_energy(self, moment: FloatArray) -> FloatArray:
        """Give the energy, eV, that the gap is set for: that of the monochromator some time before."""
        return self.energy(moment - UNDULATOR_LAG)


def captured_times(duration: float, number: int) -> FloatArray:
    """Give when readbacks are captured, s since the first time bin began, shape (number,): over both ramps as well."""
    return np.linspace(-RAMP, duration + RAMP, number)
