"""Twin of the polarisation of the undulator."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import UNITS, Key, PolarisationConfig, polarisation_called
from simulated_devices.physics.undulator import setting_for
from simulated_devices.twins.base import SoftSignal, Twin
from simulated_devices.twins.energy import Energy
from simulated_devices.world.endstation import CIRCULAR_DEGREE, CIRCULAR_DEGREE_SIGMA, HELICITY_ENERGY

SMALLEST_GAP = 9.0  # mm
SPEED, SETTLE_TIME = 2.0, 1.0  # mm/s, of the phase; s


def _config(value: float, key: PolarisationConfig) -> Component:
    return Component(SoftSignal, value=value, key=str(key), units=UNITS[key], kind=Kind.config)


class Polarisation(Twin):
    """Polarisation of the undulator: gap and phase together, as the energy has them.

    Parameters
    ----------
    energy : Energy
        That moves the undulator, too.
    """

    state = Component(SoftSignal, value="LH", key=str(Key.POLARISATION), kind=Kind.hinted)
    phase = Component(SoftSignal, value=0.0, key=str(Key.UNDULATOR_PHASE), units="mm", kind=Kind.normal)
    circular_degree = _config(CIRCULAR_DEGREE, PolarisationConfig.CIRCULAR_DEGREE)
    circular_degree_sigma = _config(CIRCULAR_DEGREE_SIGMA, PolarisationConfig.CIRCULAR_DEGREE_SIGMA)
    energy_sigma = _config(HELICITY_ENERGY, PolarisationConfig.ENERGY_SIGMA)

    def __init__(self, *args: Any, energy: Energy, **kwargs: Any) -> None:
        self._energy = energy
        super().__init__(*args, **kwargs)

    @property
    def position(self) -> str:
        """The polarisation that the undulator has."""
        return self._energy.tuned

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read the polarisation, and the phase, which follows the energy."""
        self.put(self.state, self.position)
        self.put(self.phase, self.world.phase)
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        return reading

    def check_value(self, value: str, **_kwargs: Any) -> None:
        """Raise ValueError for what is no polarisation."""
        self._called(value)

    def check_energy(self, polarisation: str, energy: float) -> None:
        """Raise LimitError where no gap gives an energy, eV, with a polarisation; "" is the present one."""
        named = self._called(polarisation) if polarisation else self.position
        try:
            gap = setting_for(energy, named).gap
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        check_limits(f"{self.name}: {named} at {energy:g} eV: gap", gap, (SMALLEST_GAP, math.inf), "mm")

    def change_time(self, before: str, after: str) -> float:
        """Give the time that a change takes, s; `before` is "" for the present polarisation."""
        phases = [setting_for(self.world.energy, each).phase for each in (before or self.position, self._called(after))]
        distance = abs(phases[1] - phases[0])
        return distance / SPEED + SETTLE_TIME if distance else 0.0

    def set(self, value: str) -> TaskStatus:
        """Change the polarisation at the present energy; done when gap and phase have settled."""
        named = self._called(value)
        self._energy.polarisation = named  # also for an energy that is set meanwhile

        def change() -> None:
            try:
                self.check_energy(named, self.world.energy)
            except ValueError:  # it follows with the next energy
                return
            self.wait_until(self.world.clock.now() + self.change_time("", named))
            self._energy.tune()

        return self.in_background(change)

    def _called(self, value: str) -> str:
        try:
            return polarisation_called(value)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
