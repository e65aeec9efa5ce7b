"""A spectrum in flight: how the regions are swept, and the sweeps one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bluesky.utils import MsgGenerator

from callbacks.contract import Stream, SweepGrid, SweepRegion
from plans.checks import check_count, check_reachable
from plans.endstation import OPEN, Endstation
from plans.errors import PlanError
from plans.measuring import Interruptions, take_point
from plans.regions import EnergyRegions

FINER = (
    10  # time bins in a step of energy, in the region with most: neighbours then share 1.7 % (`callbacks.xas.sweep`)
)
MOST_SWEEPS = 1000


@dataclass(frozen=True)
class Flight:
    """A spectrum that is flown, as it was asked for.

    Attributes
    ----------
    grid : SweepGrid
    """

    grid: SweepGrid

    @classmethod
    def over(cls, regions: EnergyRegions, dwell: float, sweeps: int) -> Flight:
        """Fly over regions, each at the velocity that its step and its dwell make.

        Parameters
        ----------
        regions : EnergyRegions
        dwell : float
            s that each energy is counted for, in all sweeps together, where its region has no dwell of its own.
        sweeps : int

        Raises
        ------
        PlanError
            Naming a region that cannot be flown, and what was expected.
        """
        check_count("sweeps", sweeps, most=MOST_SWEEPS)
        swept = []
        for region, energies in regions.parts:
            if len(energies) < 2:
                raise PlanError(f"energy region '{region}': one energy cannot be flown over, expected two or more")
            swept.append(SweepRegion(energies=energies.tolist(), dwell=float(region.dwell or dwell)))
        return cls(SweepGrid(regions=swept, sweeps=sweeps))

    @property
    def events(self) -> int:
        """Sweeps over all regions."""
        return self.grid.sweeps * len(self.grid.regions)

    @property
    def bins(self) -> int:
        """Time bins of each sweep: of every one as many, since all events of a stream have arrays of one length."""
        return FINER * max(len(region.energies) for region in self.grid.regions)

    def check(self, endstation: Endstation) -> None:
        """Check that it can be flown; `PlanError` names the device, what it was asked for and its limits."""
        sweep = endstation.energy_sweep
        check_reachable(sweep.bins, [self.bins])
        for number in range(1, min(2, self.grid.sweeps) * len(self.grid.regions) + 1):
            start, stop, seconds = self._leg(number)
            check_reachable(endstation.energy, [start, stop])
            check_reachable(sweep.start, [start])
            check_reachable(sweep.stop_at, [stop])
            check_reachable(sweep.bin_time, [seconds / self.bins])
            try:
                sweep.check_sweep(start, stop, seconds)
            except ValueError as error:
                raise PlanError(str(error)) from error

    def take(
        self, endstation: Endstation, interruptions: Interruptions, polarisations: Sequence[str]
    ) -> MsgGenerator[None]:
        """Fly all sweeps, each an event, with the one polarisation that there is, if any."""
        sweep = endstation.energy_sweep
        light = endstation.positions("shutter", OPEN)
        for polarisation in polarisations:
            light += endstation.positions("polarisation", polarisation)
        devices = [sweep, *endstation.those("polarisation", "ring")]
        for number in range(1, self.events + 1):
            start, stop, seconds = self._leg(number)
            positions = [*light, sweep.start, start, sweep.stop_at, stop]
            positions += [sweep.bins, self.bins, sweep.bin_time, seconds / self.bins]
            yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY, keep_part=True)

    def _leg(self, number: int) -> tuple[float, float, float]:
        """Give start and stop, eV, and the time in between, s, of an event of `primary`."""
        index, up = self.grid.place(number)
        region = self.grid.regions[index]
        energies = region.energies
        half = (energies[-1] - energies[0]) / (len(energies) - 1) / 2
        low, high = energies[0] - half, energies[-1] + half
        seconds = len(energies) * region.dwell / self.grid.sweeps
        return (low, high, seconds) if up else (high, low, seconds)
