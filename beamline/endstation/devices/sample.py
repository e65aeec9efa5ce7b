"""The sample manipulator: samples by name, on three motors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ophyd import Component, Kind, Signal

from beamline.endstation.devices.motors import Motor
from beamline.endstation.devices.task import TaskDevice, TaskStatus
from beamline.endstation.devices.waits import in_parallel

AXES = ("x", "y", "z")
IN_BEAM = 0.05  # mm from its position, within which a sample is in the beam


class Sample(TaskDevice):
    """Sample manipulator: moves a sample into the beam by its name.

    Parameters
    ----------
    prefix : str
        In front of the motor records X, Y and Z, mm.
    name : str
    samples : dict of str to (float, float, float)
        Position at which each sample is in the beam: x, y and z, mm.
    clear : float, optional
        z, mm, at which the holder is moved from sample to sample; where not given, z moves together with x and y.
    """

    x = Component(Motor, "X", key="sample_x", units="mm", kind=Kind.normal)
    y = Component(Motor, "Y", key="sample_y", units="mm", kind=Kind.normal)
    z = Component(Motor, "Z", key="sample_z", units="mm", kind=Kind.normal)
    in_beam = Component(Signal, value="", kind=Kind.hinted)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        samples: Mapping[str, Sequence[float]],
        clear: float | None = None,
        **kwargs: Any,
    ) -> None:
        for sample, place in samples.items():
            if len(place) != len(AXES):
                raise ValueError(f"{name}: samples: {sample}: expected x, y and z in mm, not {list(place)}")
        self._places = {sample: tuple(map(float, place)) for sample, place in samples.items()}
        self._clear = clear
        super().__init__(prefix, name=name, **kwargs)
        self.in_beam.name = name
        for axis in AXES:
            getattr(self, axis).readback.kind = Kind.normal

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(self._places)

    def check_value(self, value: str, **_kwargs: Any) -> None:
        """Raise ValueError for a sample it does not hold, or cannot move into the beam."""
        if value not in self._places:
            raise ValueError(f"{self.name}: holds no {value!r}, only {', '.join(self._places)}")
        for axis, place in zip(AXES, self._places[value], strict=True):
            getattr(self, axis).check_value(place)
        if self._clear is not None:
            self.z.check_value(self._clear)

    def set(self, value: str) -> TaskStatus:
        """Move a sample into the beam."""
        self.check_value(value)
        return self.work(lambda stopped: self._move(self._places[value], stopped))

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read which sample is in the beam, "" for none, and the positions of the motors."""
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        places = [reading[getattr(self, axis).readback.name]["value"] for axis in AXES]
        found = [
            sample
            for sample, wanted in self._places.items()
            if all(abs(place - goal) <= IN_BEAM for place, goal in zip(places, wanted, strict=True))
        ]
        self.in_beam.put(found[0] if found else "")
        reading.update(self.in_beam.read())
        return reading

    def _move(self, place: tuple[float, ...], stopped: threading.Event) -> None:
        x, y, z = place
        steps = [{"x": x, "y": y, "z": z}]
        if self._clear is not None:
            steps = [{"z": self._clear}, {"x": x, "y": y}, {"z": z}]
        for step in steps:
            in_parallel(*(partial(getattr(self, axis).move, goal, stopped) for axis, goal in step.items()))
