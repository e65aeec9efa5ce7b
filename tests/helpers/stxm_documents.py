"""Raw STXM runs composed from arrays, as a scan leaves them."""

import numpy as np

from beamline.formats.importers.stxm_run import StxmImage, stxm_run
from callbacks.contract import Key, Measurement, StxmGrid, StxmRegion

START = 1_700_000_000.0


def stxm_documents(
    counts,
    energies,
    x,
    y,
    dwell=1e-3,
    *,
    technique="stxm",
    lines=None,
    ring_current=500.0,
    read_back=0.0,
    zone_plate=(),
    sample="LFP",
    edge="Fe L",
    **run,
):
    """Compose a run from `counts` (energies, rows, columns), or one such array for each region.

    `x`, `y` are the positions of columns and rows (um), or one of each for each region; `lines` the number of lines
    that were measured (None for all); `read_back` the offset of energies (eV) and positions (um) as read back;
    `run` goes to `stxm_run`.
    """
    several = isinstance(counts, (list, tuple))
    stacks, xs, ys = (counts, x, y) if several else ([counts], [x], [y])
    regions = [
        StxmRegion(
            x=(float(ax[0]), float(ax[-1])), y=(float(ay[0]), float(ay[-1])), columns=len(ax), rows=stack.shape[1]
        )
        for stack, ax, ay in zip(stacks, xs, ys, strict=True)
    ]
    grid = StxmGrid(energies=list(map(float, energies)), regions=regions, zone_plate=list(zone_plate))
    total = len(grid.energies) * grid.lines
    measurement = Measurement(
        technique=technique, sample=sample, edge=edge, points=total, exposure_time=float(np.median(dwell)), grid=grid
    )
    images = []
    for index, energy in enumerate(grid.energies):
        for region, (stack, ax, ay) in enumerate(zip(stacks, xs, ys, strict=True)):
            rows = np.arange(stack.shape[1])
            first = index * grid.lines + sum(one.rows for one in regions[:region])
            images.append(
                StxmImage(
                    index,
                    region,
                    np.asarray(stack[index], float),
                    dwell=dwell,
                    x=np.asarray(ax) + read_back,
                    y=np.broadcast_to(np.asarray(ay, float).reshape(-1, 1), stack.shape[1:]) + read_back,
                    energy_readback=energy + read_back,
                    ring_current=ring_current - 1e-3 * (first + rows),
                    time=START + 0.1 * (first + rows),
                    zone_plate=np.asarray(zone_plate) if len(zone_plate) else None,
                    measured=None if lines is None else first + rows < lines,
                )
            )
    metadata = {"plan_name": "stxm", "scan_id": 7, "sample": {"name": sample}, "endstation": "simulated"}
    return list(stxm_run(measurement, images, metadata=metadata, source="test", start_time=START, **run))


def events(documents):
    """Return the events of a run by their number."""
    return {doc["seq_num"]: doc for name, doc in documents if name == "event"}


def stack(documents, key=Key.STXM_COUNTS, region=0):
    """Return an array (energies, rows, columns) of one region, NaN where there is no line."""
    grid = Measurement.model_validate(documents[0][1]["measurement"]).grid
    one = grid.regions[region]
    found = np.full((len(grid.energies), one.rows, one.columns), np.nan)
    for number, event in events(documents).items():
        energy, of_region, row = grid.place(number)
        if of_region == region:
            found[energy, row] = event["data"][key]
    return found
