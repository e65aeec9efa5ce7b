"""Series of STXM stacks: several samples, several edges, the reference powder first."""

from __future__ import annotations

import uuid
from typing import Literal, Unpack

from bluesky.utils import MsgGenerator

from callbacks.contract import SERIES, Measurement, Series
from plans.endstation import Endstation, needing, needs
from plans.errors import PlanError
from plans.options import complete, with_options
from plans.regions import EdgeEnergies, EnergyRegions, StxmRegions
from plans.regions.edges import first_repeated
from plans.stxm import stack_scan
from plans.stxm_scan import IMAGES, STACK, ImageOptions, StxmScan


@needing(needs.STXM)
@with_options(ImageOptions, IMAGES)
def stack_series(
    endstation: Endstation,
    samples: str,
    energies: EdgeEnergies | EnergyRegions | str,
    regions: StxmRegions | str,
    dwell: float = 0.001,
    *,
    reference: str = "",
    **options: Unpack[ImageOptions],
) -> MsgGenerator[tuple[str, ...]]:
    """Measure STXM stacks of several samples at one or more edges, the reference first.

    Each stack is a run of its own, as `stxm_stack` measures it. The block ``series`` of their start documents links
    them: ``uid`` of the series, ``index`` of the run from 0, ``runs`` in all, and ``role``, "reference" or "sample".

    Parameters
    ----------
    endstation : Endstation
        The devices.
    samples : str
        Samples separated by commas, in the order of measurement.
    energies : EdgeEnergies, eV
        Excitation energies as start:stop:step, separated by commas; @seconds gives a region its own dwell. Several
        edges as name=energies separated by semicolons, as in "O K=520:560:0.5; Co L3=770:800:0.2".
    regions : StxmRegions, um
        Pixels of an image, in coordinates of the fine stage, as x=start:stop:step y=start:stop:step or centre=x,y
        size=x,y step=x,y; several regions separated by semicolons, with lines of equally many pixels.
    dwell : float, s
        Counting time of a pixel, where the energy has none of its own.
    reference : str
        Sample whose spectra the others are compared with, measured before them; none when left out.
    dark_lines : int
        Lines to take first in each run with the shutter closed; 0 for none.

    Returns
    -------
    tuple of str
        Uids of the runs.

    Raises
    ------
    PlanError
        Before anything moves, when one of the stacks cannot be measured as asked.
    """
    options = complete(options, IMAGES)
    edges, regions = EdgeEnergies.of(energies), StxmRegions.of(regions)
    names = [name for name in _names(samples) if name != reference]
    stacks: list[tuple[StxmScan, Measurement]] = []
    for sample in [reference, *names] if reference else names:
        for edge, edge_energies in edges.edges:
            scan = stack_scan(edge_energies, regions, dwell, {**STACK, **options, "sample": sample, "edge": edge})
            stacks.append((scan, (yield from scan.check(endstation))))

    asked = {
        "samples": samples,
        "energies": str(edges),
        "regions": str(regions),
        "dwell": dwell,
        "reference": reference,
    }
    block = Series(uid=str(uuid.uuid4()), index=0, runs=len(stacks), role="sample", plan="stack_series")
    block = block.model_copy(update={"arguments": {**asked, **options}})
    uids = []
    for index, (scan, measurement) in enumerate(stacks):
        role: Literal["reference", "sample"] = "reference" if scan.sample == reference else "sample"
        link = block.model_copy(update={"index": index, "role": role})
        uids.append((yield from scan.measure(endstation, measurement, {SERIES: link.model_dump()})))
    return tuple(uids)


def _names(samples: str) -> list[str]:
    names = [name.strip() for name in samples.split(",")]
    if not all(names):
        raise PlanError(f"samples: {samples!r} has an empty name; expected names separated by commas")
    if twice := first_repeated(names):
        raise PlanError(f"samples: {twice!r} is given twice")
    return names
