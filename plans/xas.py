"""X-ray absorption: what the counters measure against excitation energy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Unpack, get_args

import numpy as np
from bluesky.utils import MsgGenerator

from callbacks.contract import REMARK, Channel, Key, Measurement, Stream, XasOutput, relative_error
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
from plans.endstation import OPEN, Endstation, lacking, needing, needs
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
from plans.xas_flight import Flight

DIMENSIONS = ((Key.ENERGY,), (Key.SWEEP_ENERGIES,))  # that events run along, of steps and in flight
LARGEST_RELATIVE_ERROR = 0.5  # beyond it, a yield is less than two of its sigmas off nothing


Mode = Literal["step", "fly"]


class XasOptions(SampleOptions, total=False):
    """What is measured, how, and until when."""

    mode: Annotated[
        Mode,
        "step: the monochromator stops at each energy. fly: it moves all the time, while counts are binned; in steps"
        " where the endstation has no energy_sweep.",
    ]
    sweeps: Annotated[int, "Sweeps of a flight, up and down in turn, that share the dwell; with mode fly."]

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


XAS: XasOptions = {
    **SAMPLE,
    "mode": "step",
    "sweeps": 2,
    "until_relative_error": 0.0,
    "of_yield": "tey",
    "most_points": 20,
    "most_time": 0.0,
}


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
        Counting time a point, where the region has none of its own; of all sweeps together.
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
    check_choice("mode", options["mode"], get_args(Mode))
    check_reachable(endstation.energy, energies)
    polarisations = check_polarisation(endstation, options["polarisation"], energies, most=PAIR)
    for counter in endstation.counters:
        check_reachable(counter.dwell, dwells)
    aim = _aim(options, endstation.channels)
    if aim is not None and len(polarisations) > 1:
        raise PlanError("until_relative_error: expected one polarisation, or none; it is not decided for two at a time")
    flight = _flight(endstation, regions, dwell, options)
    if aim is not None:
        aim.check("until_relative_error", endstation, largest=LARGEST_RELATIVE_ERROR)
    most = 1 if aim is None else aim.most
    visits = alternating(len(energies), polarisations)
    check_count("points", len(visits) * most, most=MAX_POINTS)
    check_counting_time(most * max(1, len(polarisations)) * float(dwells.sum()))
    measured_sample = yield from check_beamline(endstation, sample)

    def points(interruptions: Interruptions) -> MsgGenerator[None]:
        if flight is not None:
            yield from flight.take(endstation, interruptions, polarisations)
            return
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
        points=len(visits) * most if flight is None else flight.events,
        exposure_time=dwell,
        flown=None if flight is None else flight.grid,
        polarisations=polarisations,
        channels=list(endstation.channels if flight is None else _flown_channels(endstation)),
        precision=None if aim is None else aim.block(least_points=len(energies), least_time=float(dwells.sum())),
    )
    said = _otherwise(endstation, is_flown=flight is not None) if options["mode"] == "fly" else ""
    remark = {REMARK: f"mode fly: {said}"} if said else {}
    options["mode"] = "step" if flight is None else "fly"  # as whoever goes on with it is to measure
    plan_args = {"regions": str(regions), "dwell": dwell, **options}
    return (
        yield from run_with_light(
            endstation,
            points,
            detectors=endstation.counters if flight is None else [endstation.energy_sweep],
            metadata=start_metadata("xas", plan_args, measurement, dimensions=DIMENSIONS[flight is not None]) | remark,
            move_to_sample=sample,
        )
    )


def _flight(endstation: Endstation, regions: EnergyRegions, dwell: float, options: XasOptions) -> Flight | None:
    """Give how it is flown; None where it is measured in steps."""
    if options["mode"] == "step" or "energy_sweep" not in endstation:
        return None
    if options["until_relative_error"] != 0:
        raise PlanError("until_relative_error: is for mode step; expected 0 with mode fly")
    if "," in options["polarisation"]:
        raise PlanError(
            f"polarisation: {options['polarisation']!r}, expected one with mode fly; fly each by its own run"
        )
    flight = Flight.over(regions, dwell, options["sweeps"])
    flight.check(endstation)
    return flight


def _flown_channels(endstation: Endstation) -> list[Channel]:
    """Give the channels that are counted in flight: of the counters', those that the device counts."""
    known = {channel.name: channel for channel in endstation.channels}
    counted = endstation.energy_sweep.channels
    return [known.get(name, Channel(name=name)).model_copy(update={"is_rate": False}) for name in counted]


def _otherwise(endstation: Endstation, *, is_flown: bool) -> str:
    """Say what is measured in another way than a flight was asked for; empty where nothing is."""
    if not is_flown:
        return f"{lacking('energy_sweep')}; it is measured in steps"
    left = [each.name for each in endstation.channels if each.name not in endstation.energy_sweep.channels]
    return f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} not measured in flight" if left else ""


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
