"""How far the totals of six states of charge are off, seed by seed: measured, reduced and pooled whole.

Run as ``python tests/beamline/operations/states_of_charge.py [FIRST LAST]``, the seeds; some four minutes a seed.
Prints for each what was found less the truth, as shares of edge area, with the quoted standard uncertainties.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from beamline.acquire.session import Session
from beamline.operations.demonstrate.seed import CAPACITIES, measure_oxygen, pool_oxygen
from beamline.operations.demonstrate.techniques import simulated, truth_of, wait_until_reduced


def main(seeds):
    """Print a line for each seed, then the whole."""
    print("seed ", *(f"{capacity:^15}" for capacity in CAPACITIES), "rms    held", flush=True)
    rows = []
    for seed in seeds:
        wrong, sigma = of_seed(seed)
        rows.append((wrong, sigma))
        print(
            f"{seed:4} ",
            *(f"{a:+.3f} ± {b:.3f}" for a, b in zip(wrong, sigma, strict=True)),
            said([rows[-1]]),
            flush=True,
        )
    print(" all", said(rows))


def said(rows):
    """Say the rms of the errors, and the share of 68 % intervals that hold the truth."""
    wrong, sigma = np.array(rows).transpose(1, 0, 2)
    known = np.isfinite(wrong)
    return f"{np.sqrt(np.mean(wrong[known] ** 2)):.3f}  {np.mean(np.abs(wrong) <= sigma, where=known):.0%}"


def of_seed(seed):
    """Measure the states; give what is wrong with each total and its standard uncertainty."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Session(simulated(seed), Path(folder)) as session:
            truth = truth_of(session)
            uids = measure_oxygen(session, truth)
            wait_until_reduced(session)
        pooled, expected = pool_oxygen(uids, truth, Path(folder))
    assert pooled.status == "ok", pooled.status
    wrong, sigma = np.full((2, len(CAPACITIES)), np.nan)  # of a state that a beam dump has taken
    place = [CAPACITIES.index(capacity) for capacity in expected]
    wrong[place] = pooled.result.total_reduced - list(expected.values())
    sigma[place] = pooled.result.total_reduced_sigma
    return wrong, sigma


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:]) if len(sys.argv) > 1 else (1, 20)
    main(range(first, last + 1))
