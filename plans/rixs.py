"""RIXS: CCD frames of the emitted light at each excitation energy, with the dark frames that belong to them."""

from __future__ import annotations

from typing import Unpack

from bluesky.utils import MsgGenerator

from callbacks.rixs.calibration import FEWEST_LINES
from callbacks.wording import number_of
from plans.endstation import Endstation, needing, needs
from plans.errors import PlanError
from plans.options import complete, with_options
from plans.regions import EnergyRegions
from plans.rixs_scan import ELASTIC, RIXS, ElasticOptions, RixsOptions, RixsScan
from plans.scanned import scannable


@scannable
@needing(needs.RIXS)
@with_options(RixsOptions, RIXS)
def rixs_map(
    endstation: Endstation,
    regions: EnergyRegions | str,
    exposure_time: float,
    **options: Unpack[RixsOptions],
) -> MsgGenerator[str]:
    """Measure a RIXS map: CCD frames and I0 at each excitation energy.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    regions : EnergyRegions, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own exposure.
    exposure_time : float, s
        Exposure of a frame, where the region has none of its own; I0, TEY and TFY are counted as long.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the map cannot be measured as asked.
    """
    options = complete(options, RIXS)
    scan = RixsScan("rixs_map", "rixs", EnergyRegions.of(regions), exposure_time, **options)
    return (yield from scan.check_and_measure(endstation))


@scannable
@needing(needs.RIXS)
@with_options(ElasticOptions, ELASTIC)
def elastic_scan(
    endstation: Endstation,
    regions: EnergyRegions | str,
    exposure_time: float,
    **options: Unpack[ElasticOptions],
) -> MsgGenerator[str]:
    """Calibrate the spectrograph: frames at a few energies where the elastic line stands alone.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    regions : EnergyRegions, eV
        At least four excitation energies away from any resonance of the sample, as in "512, 515, 518, 521".
    exposure_time : float, s
        Exposure of a frame, where the region has none of its own.
    sample : str
        Sample to move into the beam, best one that scatters; the one that is there when left out.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PlanError
        Before anything moves, when the scan cannot be measured as asked.
    """
    options = complete(options, ELASTIC)
    regions = EnergyRegions.of(regions)
    if len(regions) < FEWEST_LINES:
        raise PlanError(
            f"regions: {number_of(len(regions), 'energy')}, expected at least {FEWEST_LINES} to calibrate with"
        )
    scan = RixsScan("elastic_scan", "elastic", regions, exposure_time, **options)
    return (yield from scan.check_and_measure(endstation))
