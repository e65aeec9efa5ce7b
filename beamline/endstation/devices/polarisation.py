"""Polarisation of the light: the phase of an APPLE-II undulator, and its gap with it."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ophyd import Component, EpicsSignal, FormattedComponent, Kind, Signal

from beamline.endstation.devices.curves import PolarisedCurve
from beamline.endstation.devices.energy import Energy
from beamline.endstation.devices.motors import MARGIN, Motor
from beamline.endstation.devices.signals import SoftSetting
from beamline.endstation.devices.task import StoppedError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import ANSWER_TIMEOUT, present, put_and_wait
from callbacks.contract import UNITS, Key, PolarisationConfig, polarisation_called

log = logging.getLogger(__name__)

MODES = PARALLEL, ANTIPARALLEL = "parallel", "antiparallel"
UNKNOWN = "unknown"


def _config(key: PolarisationConfig) -> Component:
    return Component(SoftSetting, value=math.nan, key=str(key), units=UNITS[key], kind=Kind.config)


class Polarisation(TaskDevice):
    """Polarisation of an undulator by the phase of its rows, a motor record: LH, LV, C+ or C-.

    A change moves the phase and then the gap to where they are for the present energy, and waits until they have
    settled; where this energy is out of reach with the new polarisation, they go there with the next energy. While the
    energy moves, both follow it. Energy and polarisation may be set at once: one waits for the other.

    Parameters
    ----------
    prefix : str
        In front of the records.
    name : str
    energy : Energy
        The device of that role, which has a gap for each polarisation.
    motor : str
        Motor record of the phase, mm.
    phase : dict
        Phase, mm, against energy and polarisation, as `PolarisedCurve` takes it; ``C`` is for C+, and C- has the other
        sign.
    circular_degree, circular_degree_sigma, energy_sigma : float
        As in `PolarisationConfig`; NaN where it is not known.
    tolerance : float
        mm. The phase is not moved for less, and it is that of a polarisation within it.
    settle_time : float
        s to wait once phase and gap have stopped.
    margin : float
        s that a move of the phase may take beyond distance over speed.
    """

    state = Component(Signal, value="", kind=Kind.hinted)
    phase = FormattedComponent(
        Motor, "{prefix}{_motor}", key=str(Key.UNDULATOR_PHASE), units=UNITS[Key.UNDULATOR_PHASE], kind=Kind.normal
    )
    circular_degree = _config(PolarisationConfig.CIRCULAR_DEGREE)
    circular_degree_sigma = _config(PolarisationConfig.CIRCULAR_DEGREE_SIGMA)
    energy_sigma = _config(PolarisationConfig.ENERGY_SIGMA)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        energy: Energy,
        motor: str,
        phase: Mapping[str, Any],
        circular_degree: float = math.nan,
        circular_degree_sigma: float = math.nan,
        energy_sigma: float = math.nan,
        tolerance: float = 0.02,
        settle_time: float = 0.0,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self._motor, self._settle_time = motor, settle_time
        self._phases = PolarisedCurve(f"{name}: phase", phase, signed=True)
        self._energy = energy
        super().__init__(prefix, name=name, **kwargs)
        self.state.name = str(Key.POLARISATION)
        self.phase.tolerance, self.phase.margin = tolerance, margin
        self.phase.readback.kind = Kind.normal
        self.circular_degree.put(float(circular_degree))
        self.circular_degree_sigma.put(float(circular_degree_sigma))
        self.energy_sigma.put(float(energy_sigma))
        for each in self._phases.names:
            self._check_possible(each)
        energy.move_with(self, self._phases.names)

    @property
    def position(self) -> str:
        """The polarisation as the phase has it; "" for none of the tables."""
        return self.seen()

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read which polarisation the phase is that of, "" for none, and the phase."""
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        self.state.put(self._seen(reading[self.phase.readback.name]["value"]))
        reading.update(self.state.read())
        return reading

    def check_value(self, value: str, **_kwargs: Any) -> None:
        """Raise ValueError for a polarisation that it cannot give."""
        self._possible(value)

    def check_energy(self, polarisation: str, energy: float) -> None:
        """Raise LimitError where an energy, eV, is out of reach with a polarisation; "" is the present one."""
        named = self._possible(polarisation) if polarisation else self._energy.polarisation
        self._energy.check_with(named, energy)
        self.phase.check_value(self._phases(energy, named))

    def change_time(self, before: str, after: str) -> float:
        """Give the time that a change takes at the present energy, s; `before` is "" for the present polarisation."""
        energy = self._energy.goal
        begin = self._phases(energy, before) if before else self.phase.position
        distance = abs(self._phases(energy, self._possible(after)) - begin)
        velocity = self.phase.velocity.last
        if not distance > self.phase.tolerance or not velocity > 0:
            return 0.0
        return float(distance / velocity + self._settle_time)

    def set(self, value: str) -> TaskStatus:
        """Change the polarisation at the present energy; done when phase and gap have settled."""
        named = self._possible(value)
        self._energy.last_polarisation = named  # also for an energy that is set meanwhile
        return self.work(lambda stopped: self._change(named, stopped))

    def halt(self) -> None:
        """Stop phase and gap."""
        super().halt()
        self._energy.undulator.halt()

    def follow(self, energy: float, polarisation: str, stopped: threading.Event) -> None:
        """Move the phase to where it is for an energy, eV, and a polarisation, unless it is there."""
        goal = self._phases(energy, polarisation)
        if not abs(goal - self.phase.position) <= self.phase.tolerance:  # also where it is not known (NaN)
            self.phase.move(goal, stopped)

    def seen(self) -> str:
        """Give the polarisation as the phase has it; "" for none of the tables."""
        return self._seen(self.phase.position)

    def _change(self, polarisation: str, stopped: threading.Event) -> None:
        with self._energy.undulator_alone(stopped):
            energy = self._energy.goal
            try:
                self.check_energy(polarisation, energy)
            except ValueError as error:
                log.info("%s: the undulator follows with the next energy: %s", self.name, error)
                return
            self.follow(energy, polarisation, stopped)
            self._energy.move_gap(energy, stopped)
            if self._settle_time and stopped.wait(self._settle_time):
                raise StoppedError(f"{self.name}: stopped")

    def _seen(self, phase: float) -> str:
        # At the energy that was set last, where one was: the phase is for it, and a point needs no further reading.
        energy, mode = self._energy.goal, self._present_mode()
        angles = [f"-{each}" for each in self._phases.names if _mode_of(each) == ANTIPARALLEL]
        for each in filter(None, (self._energy.last_polarisation, *self._phases.names, *angles)):
            if mode not in (_mode_of(each), "") and each != "LH":
                continue
            try:
                expected = self._phases(energy, each)
            except ValueError:  # this energy is not in its table
                continue
            if abs(phase - expected) <= self.phase.tolerance:
                return each
        return ""

    def _present_mode(self) -> str:
        """Give the mode of the phase; "" where it has but one."""
        return ""

    def _possible(self, value: str) -> str:
        try:
            named = polarisation_called(value)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        self._check_possible(named)
        return named

    def _check_possible(self, polarisation: str) -> None:
        if _mode_of(polarisation) == ANTIPARALLEL:
            raise ValueError(f"{self.name}: {polarisation}: expected LH, LV, C+ or C-: its undulator has no mode")
        self._phases.check(polarisation)


class AngledPolarisation(Polarisation):
    """Polarisation of an undulator that also shifts its rows against one another: linear light at an angle.

    A record says which of the two the phase is: 0, ``parallel``, for LH, LV, C+ and C-; 1, ``antiparallel``, for
    angles, where a negative phase is that of the other two rows. To change it, the phase first goes to 0.

    Parameters
    ----------
    mode : str
        That record.
    """

    mode_setting = FormattedComponent(EpicsSignal, "{prefix}{_mode}", kind=Kind.omitted)

    def __init__(self, *args: Any, mode: str, **kwargs: Any) -> None:
        self._mode = mode
        super().__init__(*args, **kwargs)

    def follow(self, energy: float, polarisation: str, stopped: threading.Event) -> None:
        """Move the phase to where it is for an energy, eV, and a polarisation, after the mode, unless it is there."""
        wanted = _mode_of(polarisation)
        if self._present_mode() != wanted:
            self.phase.move(0.0, stopped)
            number = MODES.index(wanted)
            put_and_wait(self.mode_setting, number, timeout=ANSWER_TIMEOUT, wanted=wanted, stopped=stopped)
        super().follow(energy, polarisation, stopped)

    def _present_mode(self) -> str:
        number = present(self.mode_setting)
        return MODES[int(number)] if number in (0, 1) else UNKNOWN

    def _check_possible(self, polarisation: str) -> None:
        self._phases.check(polarisation)


def _mode_of(polarisation: str) -> str:
    return PARALLEL if polarisation in ("LH", "LV", "C+", "C-") else ANTIPARALLEL
