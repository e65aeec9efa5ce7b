"""X-ray absorption: what the counters measure against excitation energy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Unpack

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import Channel, Measurement, Stream, XasOutput, relative_error
from plans.checks import (
    check_beamline,
    check_choice,
    check_count,
    check_counting_time,
    check_polarisation,
    check_positive,
    check_reachable,
)
from plans.checks.polarisation import PAIR
from plans.endstation import OPEN, Endstation, needing, needs
from plans.errors import PlanError
from plans.measuring import (
    Aim,
    Decisions,
    Interruptions,
    Teller,
    run_with_light,
    start_metadata,
    take_point,
    take_until,
)
from plans.options import SAMPLE, SampleOptions, complete, with_options
from plans.regions import EnergyRegions
from plans.regions.energy import MAX_POINTS
from plans.scanned import scannable

LARGEST_RELATIVE_ERROR = 0.5  # beyond it, a yield is less than two of its sigmas off nothing


class XasOptions(SampleOptions, total=False):
    """What is measured, and until when."""

    until_relative_error: Annotated[
        float,
        "Add points at each energy until the relative standard uncertainty of a channel over I0 is at most this, as"
        " 0.005; 0: one point. Needs the live reduction.",
    ]
    of_yield: Annotated[str, "Of which channel, as tey; with until_relative_error."]
    most_points: Annotated[
        int, "Points at an energy at most, also where the reduction is late; with until_relative_error."
    ]
    most_time: Annotated[
        float,
        "s",
        "Time from the first point on in which more than one is taken; 0: no limit; with until_relative_error.",
    ]


XAS: XasOptions = {**SAMPLE, "until_relative_error": 0.0, "of_yield": "tey", "most_points": 20, "most_time": 0.0}


@scannable
@needing(needs.XAS)
@with_options(XasOptions, XAS)
def xas(
    endstation: Endstation,
    regions: EnergyRegions | str,
    dwell: float = 1.0,
    **options: Unpack[XasOptions],
) -> MsgGenerator[str]:
    """Measure an absorption spectrum: I0 and all other channels, as TEY and TFY, at each energy.

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
    polarisation : str
        How the light is polarised: LH, LV, C+, C- or an angle in degrees from the horizontal; as it is when left out.
        Of two, as in C+,C- or LH,LV, both are measured at each energy, in turns first the one and the other.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the spectrum cannot be measured as asked.
    """
    options = complete(options, XAS)
    sample, edge = options["sample"], options["edge"]
    regions = EnergyRegions.of(regions)
    energies = regions.points
    dwells = np.where(np.isnan(regions.dwell), dwell, regions.dwell)
    check_positive(dwell=dwell)
    check_reachable(endstation.energy, energies)
    polarisations = check_polarisation(endstation, options["polarisation"], energies, most=PAIR)
    for counter in endstation.counters:
        check_reachable(counter.dwell, dwells)
    aim = _aim(options, endstation.channels)
    if aim is not None and len(polarisations) > 1:
        raise PlanError("until_relative_error: expected one polarisation, or none; it is not decided for two at a time")
    if aim is not None:
        aim.check("until_relative_error", endstation, largest=LARGEST_RELATIVE_ERROR)
    most = 1 if aim is None else aim.most
    visits = alternating(len(energies), polarisations)
    check_count("points", len(visits) * most, most=MAX_POINTS)
    check_counting_time(most * max(1, len(polarisations)) * float(dwells.sum()))
    measured_sample = yield from check_beamline(endstation, sample)

    def points(interruptions: Interruptions) -> MsgGenerator[None]:
        decisions: Decisions | None = None
        if aim is not None and endstation.feedback is not None:
            decisions = Decisions(Teller(endstation.feedback, interruptions, aim.of, mark=XasOutput.POINT_MARK), aim)
        numbers = itertools.count(1)
        light = endstation.positions("shutter", OPEN)

        def take(index: int, polarisation: str) -> MsgGenerator[None]:
            energy, seconds = float(energies[index]), float(dwells[index])
            polarised = endstation.positions("polarisation", polarisation) if polarisation else []
            times = [item for counter in endstation.counters for item in (counter.dwell, seconds)]
            positions = [*light, *polarised, endstation.energy, energy, *times]
            devices = [*endstation.those("energy", "polarisation"), *endstation.counters, *endstation.those("ring")]
            point = yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)
            if decisions is not None:
                decisions.took(index, number=next(numbers), at=point.time)

        if decisions is not None:
            groups = [[index] for index, _ in visits]
            yield from take_until(decisions, groups, lambda index: take(*visits[index]))
        else:
            for visit in visits:
                yield from take(*visit)

    measurement = Measurement(
        technique="xas",
        sample=measured_sample,
        edge=edge,
        energy_regions=str(regions),
        points=len(visits) * most,
        exposure_time=dwell,
        polarisations=polarisations,
        channels=list(endstation.channels),
        precision=None if aim is None else aim.block(least_points=len(energies), least_time=float(dwells.sum())),
    )
    plan_args = {"regions": str(regions), "dwell": dwell, **options}
    return (
        yield from run_with_light(
            endstation,
            points,
            detectors=endstation.counters,
            metadata=start_metadata("xas", plan_args, measurement),
            move_to_sample=sample,
        )
    )


def _aim(options: XasOptions, channels: Sequence[Channel]) -> Aim | None:
    """Give what is to be reached at each energy; None where one point is taken."""
    names = [channel.name for channel in channels if channel.form != "monitor"]
    check_choice("of_yield", options["of_yield"], names or ["tey", "tfy"])
    if options["until_relative_error"] == 0:
        return None
    return Aim(
        relative_error(options["of_yield"]),
        options["until_relative_error"],
        least=1,
        most=options["most_points"],
        most_time=math.inf if options["most_time"] == 0 else options["most_time"],
        counted="points",
    )


def alternating(energies: int, polarisations: Sequence[str]) -> list[tuple[int, str]]:
    """Give the order in which points are taken.

    Parameters
    ----------
    energies : int
        Number of energies.
    polarisations : sequence of str
        None, one, or two, of which the last at an energy is the first at the next: half of the changes are spared, and
        what drifts evenly is in the difference with one sign and the other.

    Returns
    -------
    list of (int, str)
        Index of the energy, and the polarisation, "" where none is set.
    """
    pair = list(polarisations) or [""]
    return [(index, each) for index in range(energies) for each in (pair if index % 2 == 0 else reversed(pair))]
