"""STXM: transmission of a sample, pixel by pixel, at one or many energies."""

from __future__ import annotations

from typing import Unpack

from bluesky.utils import MsgGenerator

from callbacks.contract import Key
from plans.checks import check_positive
from plans.endstation import Endstation, needing, needs
from plans.errors import PlanError
from plans.options import complete, with_options
from plans.regions import Axis, EnergyRegions, StxmRegions, single_line
from plans.scanned import scannable
from plans.stxm_scan import FOCUS, STACK, STXM, FocusOptions, StackOptions, StxmOptions, StxmScan

ZONE_PLATE_EXPECTED = "expected start:stop:step in um from the nominal focus, as in -20:20:2"


@scannable
@needing(needs.STXM)
@with_options(StxmOptions, STXM)
def stxm_image(
    endstation: Endstation,
    energy: float,
    regions: StxmRegions | str,
    dwell: float = 0.001,
    **options: Unpack[StxmOptions],
) -> MsgGenerator[str]:
    """Measure a STXM image at one energy.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    energy : float, eV
        Excitation energy.
    regions : StxmRegions, um
        Pixels, in coordinates of the fine stage, as x=start:stop:step y=start:stop:step or centre=x,y size=x,y
        step=x,y; several regions separated by semicolons.
    dwell : float, s
        Counting time of a pixel.
    follow_focus : bool
        Whether the zone plate moves to the nominal focus first; otherwise it stays where it is.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the image cannot be measured as asked.
    """
    energies, regions = _one_energy(energy), StxmRegions.of(regions)
    options = complete(options, STXM)
    scan = StxmScan(
        plan_name="stxm_image",
        plan_args={"energy": energy, "regions": str(regions), "dwell": dwell, **options},
        technique="stxm",
        energies=energies,
        regions=regions,
        dwell=dwell,
        **options,
    )
    return (yield from scan.check_and_measure(endstation))


@scannable
@needing(needs.STXM)
@with_options(StackOptions, STACK)
def stxm_stack(
    endstation: Endstation,
    energies: EnergyRegions | str,
    regions: StxmRegions | str,
    dwell: float = 0.001,
    **options: Unpack[StackOptions],
) -> MsgGenerator[str]:
    """Measure a STXM stack: an image at each energy.

    A line is an event, and a pause costs no more than the line it falls into. A line sets only the devices whose
    values changed since the last one, and all of them after a pause, whatever was moved meanwhile
    (`plans.measuring.HeldSettings`); sample and coarse stage stay where they are.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    energies : EnergyRegions, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own dwell.
    regions : StxmRegions, um
        Pixels of an image, in coordinates of the fine stage, as x=start:stop:step y=start:stop:step or centre=x,y
        size=x,y step=x,y; several regions separated by semicolons, with lines of equally many pixels.
    dwell : float, s
        Counting time of a pixel, where the energy has none of its own.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the stack cannot be measured as asked.
    """
    energies, regions = EnergyRegions.of(energies), StxmRegions.of(regions)
    options = complete(options, STACK)
    scan = stack_scan(energies, regions, dwell, options)
    return (yield from scan.check_and_measure(endstation))


@scannable
@needing(needs.STXM)
@with_options(StxmOptions, STXM)
def stxm_line_spectrum(
    endstation: Endstation,
    energies: EnergyRegions | str,
    line: StxmRegions | str,
    dwell: float = 0.001,
    **options: Unpack[StxmOptions],
) -> MsgGenerator[str]:
    """Measure a line spectrum: the same line of pixels at each energy.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    energies : EnergyRegions, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own dwell.
    line : StxmRegions, um
        One line of pixels, in coordinates of the fine stage, as x=start:stop:step y=position.
    dwell : float, s
        Counting time of a pixel, where the energy has none of its own.
    mode : str
        line: the fine stage flies along the line. point: it stops at each pixel.
    blank : str
        Part of the line without sample, as x=from:to y=from:to in um; not known when left out.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the spectrum cannot be measured as asked.
    """
    energies, line = EnergyRegions.of(energies), single_line(line)
    options = complete(options, STXM)
    scan = StxmScan(
        plan_name="stxm_line_spectrum",
        plan_args={"energies": str(energies), "line": str(line), "dwell": dwell, **options},
        technique="stxm_line_spectrum",
        energies=energies,
        regions=line,
        dimensions=(Key.ENERGY,),
        dwell=dwell,
        **options,
    )
    return (yield from scan.check_and_measure(endstation))


@scannable
@needing(needs.FOCUS)
@with_options(FocusOptions, FOCUS)
def stxm_focus(
    endstation: Endstation,
    energy: float,
    line: StxmRegions | str,
    zone_plate: str,
    dwell: float = 0.001,
    **options: Unpack[FocusOptions],
) -> MsgGenerator[str]:
    """Look for the focus: the same line of pixels at each position of the zone plate.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    energy : float, eV
        Excitation energy.
    line : StxmRegions, um
        One line of pixels across an edge of the sample, in coordinates of the fine stage, as x=start:stop:step
        y=position.
    zone_plate : str, um
        Positions as start:stop:step, counted from the nominal focus at the energy, as in -20:20:2.
    dwell : float, s
        Counting time of a pixel.

    Returns
    -------
    str
        Uid of the run. The zone plate is left at the last position.

    Raises
    ------
    PlanError
        Before anything moves, when the scan cannot be measured as asked.
    """
    line = single_line(line)
    offsets = Axis.parse(zone_plate, f"zone_plate {zone_plate!r}", ZONE_PLATE_EXPECTED)
    if len(offsets) < 2:
        raise PlanError(f"zone_plate {zone_plate!r}: one position; {ZONE_PLATE_EXPECTED}")
    energies = _one_energy(energy)
    focus = endstation.zone_plate.focus(energy)
    options = complete(options, FOCUS)
    scan = StxmScan(
        plan_name="stxm_focus",
        plan_args={"energy": energy, "line": str(line), "zone_plate": zone_plate, "dwell": dwell, **options},
        technique="stxm_focus",
        energies=energies,
        regions=line,
        zone_plate=tuple(focus + offset for offset in offsets.points),
        dimensions=(Key.ZONE_PLATE,),
        dwell=dwell,
        **options,
    )
    return (yield from scan.check_and_measure(endstation))


def stack_scan(energies: EnergyRegions, regions: StxmRegions, dwell: float, options: StackOptions) -> StxmScan:
    """Give the scan of a stack, with all options of `stxm_stack`."""
    return StxmScan(
        plan_name="stxm_stack",
        plan_args={"energies": str(energies), "regions": str(regions), "dwell": dwell, **options},
        technique="stxm",
        energies=energies,
        regions=regions,
        dwell=dwell,
        **options,
    )


def _one_energy(energy: float) -> EnergyRegions:
    check_positive(energy=energy)
    return EnergyRegions.parse(str(energy))
