"""How many pixels of a chemical map hold the truth in their 68 % interval, by dwell, drift, and what is held.

Run as ``python tests/beamline/operations/fractions_of_pixels.py [FIRST LAST]``, the seeds; some ten minutes a seed.
Pixels with an edge jump above 0.3 are counted. Fractions of references are compared with the shares of thickness,
fractions of end members, of area 1, with those of the edge area.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from beamline.acquire.references import find_reference
from beamline.acquire.session import Session, measure
from beamline.operations.analyse import pool_runs
from beamline.operations.demonstrate.techniques import (
    SAMPLE,
    STXM_ENERGIES,
    STXM_FIELD,
    measure_references,
    on_pixels,
    simulated,
    true_fraction,
    truth_of,
    wait_until_reduced,
)
from beamline.storage.runs import Runs
from callbacks.contract import StxmResult
from callbacks.pipelines import StxmSettings
from callbacks.stxm.edges import EDGES
from plans import stxm_stack

DWELLS = (0.0005, 0.001, 0.002, 0.004)  # s
JUMP = 0.3  # of a pixel that is counted
ENDS = ("no end member held", "the reduced one held")


def main(seeds):
    """Print a line for each stack, then the mean of each kind."""
    print("seed  drift  dwell, ms   references     " + "   ".join(ENDS), flush=True)
    shares = {}
    for seed in seeds:
        for drift in (0.0, 1.0):
            for dwell, held in of_world(seed, drift):
                shares.setdefault((drift, dwell), []).append(held)
                print(f"{seed:4} {drift:6} {1e3 * dwell:10}   ", said(held), flush=True)
    for (drift, dwell), each in shares.items():
        print(f" all {drift:6} {1e3 * dwell:10}   ", said(np.nanmean(each, axis=0)))


def said(held):
    """Say shares of pixels."""
    return "             ".join(f"{share:6.1%}" for share in held)


def of_world(seed, drift):
    """Measure stacks of all dwells; give for each the shares of pixels that hold, for each way to know the phases."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data_dir = Path(folder)
        with Session(simulated(seed, drift_scale=drift), data_dir) as session:
            references = measure_references(session)
            wait_until_reduced(session)
            session.use_references(references)
            plan = (
                stxm_stack(session.endstation, STXM_ENERGIES, STXM_FIELD, dwell, sample=SAMPLE, edge="O K")
                for dwell in DWELLS
            )
            uids = [measure(session, one) for one in plan]
            truth = truth_of(session)
            wait_until_reduced(session)
        runs = Runs(data_dir)
        reduced = find_reference(references["reduced"], data_dir, data_dir)
        for dwell, uid in zip(DWELLS, uids, strict=True):
            raw, derived = runs.load_with_derived(uid)
            result = derived.read(StxmResult)
            thick = result.edge_jump > JUMP
            held = [
                share_held(result.reduced_fraction, result.reduced_fraction_sigma, true_fraction(raw, truth), thick)
            ]
            area = area_fraction(raw, truth, np.asarray(result.stack_energy))
            for corners in ({}, {"reduced": reduced}):
                settings = StxmSettings.model_validate({"chemistry": {"references": corners}})
                pooled = pool_runs([uid], settings, data_dir).result
                found, sigma = (
                    one.reshape(thick.shape) for one in (pooled.reduced_fraction, pooled.reduced_fraction_sigma)
                )
                held.append(share_held(found, sigma, area, thick))
            yield dwell, held


def area_fraction(raw, truth, energies):
    """Give the share of the reduced phase in the edge area of both phases in each pixel."""
    edge = EDGES["O K"]
    areas = truth.stxm.phantom(raw.measurement.sample).edge_areas(
        truth.stxm.probe, energies, edge.background, edge.area, energy_offset=truth.energy_offset
    )
    reduced, oxidised = (on_pixels(raw, truth, areas[name]) for name in ("reduced", "oxidised"))
    with np.errstate(invalid="ignore"):
        return reduced / (reduced + oxidised)


def share_held(found, sigma, true, counted):
    """Give the share of the pixels counted whose interval holds the truth."""
    known = counted & np.isfinite(found)
    return np.mean(np.abs(found - true)[known] <= sigma[known])


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:]) if len(sys.argv) > 1 else (1, 4)
    main(range(first, last + 1))
