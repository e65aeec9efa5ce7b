"""X-ray absorption: electron and fluorescence yield against excitation energy."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import Measurement, Stream
from plans.checks import check_beamline, check_counting_time, check_positive, check_reachable
from plans.endstation import OPEN, Endstation
from plans.measuring import Interruptions, run_with_light, start_metadata, take_point
from plans.options import SAMPLE, SampleOptions, complete, with_options
from plans.regions import EnergyRegions


@with_options(SampleOptions, SAMPLE)
def xas(
    endstation: Endstation,
    regions: EnergyRegions | str,
    dwell: float = 1.0,
    **options: Unpack[SampleOptions],
) -> MsgGenerator[str]:
    """Measure an absorption spectrum: I0, TEY and TFY at each energy.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    regions : EnergyRegions, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own dwell.
    dwell : float, s
        Counting time a point, where the region has none of its own.
    edge : str
        Absorption edge, kept with the data, as in "O K".

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the spectrum cannot be measured as asked.
    """
    options = complete(options, SAMPLE)
    sample, edge = options["sample"], options["edge"]
    regions = EnergyRegions.of(regions)
    energies = regions.points
    dwells = np.where(np.isnan(regions.dwell), dwell, regions.dwell)
    check_positive(dwell=dwell)
    check_reachable(endstation.energy, energies)
    check_reachable(endstation.scaler.dwell, dwells)
    check_counting_time(float(dwells.sum()))
    measured_sample = yield from check_beamline(endstation, sample)

    def points(interruptions: Interruptions) -> MsgGenerator[None]:
        for energy, seconds in zip(energies.tolist(), dwells.tolist(), strict=True):
            positions = [endstation.shutter, OPEN, endstation.energy, energy, endstation.scaler.dwell, seconds]
            devices = [endstation.energy, endstation.scaler, endstation.ring]
            yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)

    measurement = Measurement(
        technique="xas",
        sample=measured_sample,
        edge=edge,
        energy_regions=str(regions),
        points=len(energies),
        exposure_time=dwell,
    )
    plan_args = {"regions": str(regions), "dwell": dwell, **options}
    return (
        yield from run_with_light(
            endstation,
            points,
            detectors=[endstation.scaler],
            metadata=start_metadata("xas", plan_args, measurement),
            move_to_sample=sample,
        )
    )
