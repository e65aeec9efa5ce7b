"""Twin of the sample manipulator."""

from __future__ import annotations

from typing import Any

from ophyd import Component, Kind

from beamline.endstation.devices.task import TaskStatus
from simulated_devices.physics.samples import PLACES
from simulated_devices.twins.base import SoftSignal, Twin


class Sample(Twin):
    """Sample holder: moves a sample into the beam by its name."""

    samples = tuple(PLACES)
    in_beam = Component(SoftSignal, value="", key="sample", kind=Kind.hinted)
    x = Component(SoftSignal, value=0.0, key="sample_x", units="mm", kind=Kind.normal)
    y = Component(SoftSignal, value=0.0, key="sample_y", units="mm", kind=Kind.normal)
    z = Component(SoftSignal, value=0.0, key="sample_z", units="mm", kind=Kind.normal)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place(self.world.sample)

    def set(self, value: str) -> TaskStatus:
        """Move a sample into the beam."""
        if value not in self.samples:
            raise ValueError(f"{self.name}: holds no {value!r}, only {', '.join(self.samples)}")
        travel = 0.0 if value == self.world.sample else 5.0

        def move() -> None:
            self.wait_until(self.world.clock.now() + travel)
            self.world.sample = value
            self._place(value)

        return self.in_background(move)

    def _place(self, sample: str) -> None:
        self.put(self.in_beam, sample)
        for signal, value in zip((self.x, self.y, self.z), PLACES[sample], strict=True):
            self.put(signal, value)
