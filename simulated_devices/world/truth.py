"""What the simulation knows and a measurement does not: what a simulated endstation offers as its truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulated_devices.physics.microscope import MicroscopeTruth
from simulated_devices.physics.samples import Sample
from simulated_devices.physics.spectrograph import FrameTruth, SpectrographModel

if TYPE_CHECKING:
    import plans.endstation


@dataclass
class Truth:
    """What the simulation knows and a measurement does not: only for tests and demonstrations to compare with.

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
    stxm: MicroscopeTruth
    frames: dict[int, FrameTruth] = field(default_factory=dict)

    def emission_energy(self, pixel: float, *, frame: int | None = None) -> float:
        """Give the energy of a column in the monochromator's scale, to which the elastic line calibrates.

        Parameters
        ----------
        pixel : float
        frame : int, optional
            As the chip lay when this frame was taken; as it lay at the start where not given.
        """
        drifted = 0.0 if frame is None else self.frames[frame].displacement
        return float(self.spectrograph.energy(pixel - drifted)) - self.energy_offset

    def dispersion(self, pixel: float, *, frame: int | None = None) -> float:
        """Give the dispersion at a column, eV/pixel."""
        return self.emission_energy(pixel + 0.5, frame=frame) - self.emission_energy(pixel - 0.5, frame=frame)


if TYPE_CHECKING:

    def _offered(truth: Truth) -> plans.endstation.Truth:
        """Let the type checker hold that this truth is what an endstation may offer."""
        return truth
