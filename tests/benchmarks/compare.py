"""Compare the ratios of a benchmark run with those of the baseline, and fail where one has become much worse.

Run as ``python tests/benchmarks/compare.py [results.json] [--fail-above PERCENT] [--update]``. The baseline is
`baseline.json`: ratios only, since they are what can be compared between machines, and committed, so that a clone has
something to compare with and a change of it is seen in review.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from harness import RESULTS, read

BASELINE = Path(__file__).with_name("baseline.json")


def worse_by(ratio: float, before: float) -> float:
    """Say by how many percent a ratio is worse than it was: 100 where we take twice as long; negative where better."""
    return 100.0 * (before / ratio - 1.0)


def compare(ratios: Mapping[str, float], baseline: Mapping[str, float], fail_above: float) -> list[str]:
    """Print a line for each ratio.

    Parameters
    ----------
    ratios, baseline : dict of str to float
        By name, larger is better.
    fail_above : float
        Percent.

    Returns
    -------
    list of str
        The names of those that are worse by more than that.
    """
    failed = []
    print(f"{'':44} {'baseline':>9} {'now':>9} {'worse by':>9}")
    for name, ratio in ratios.items():
        if name not in baseline:
            print(f"{name:44} {'-':>9} {ratio:9.3g}       new")
            continue
        percent = worse_by(ratio, baseline[name])
        if percent > fail_above:
            failed.append(name)
        print(f"{name:44} {baseline[name]:9.3g} {ratio:9.3g} {percent:7.0f} %{'  FAILED' * (percent > fail_above)}")
    return failed


def main() -> int:
    """Compare; give the exit code: 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS, help="what a benchmark wrote")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--fail-above", type=float, default=float("inf"), metavar="PERCENT", help="exit 1 beyond it")
    parser.add_argument("--update", action="store_true", help="take these ratios as the baseline from now on")
    options = parser.parse_args()
    ratios = {record["name"]: float(record["ratio"]) for record in read(options.results)}
    baseline = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
    failed = compare(ratios, baseline, options.fail_above)
    if options.update:
        rounded = {name: float(f"{ratio:.3g}") for name, ratio in ratios.items()}
        options.baseline.write_text(json.dumps(baseline | rounded, indent=2, sort_keys=True) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
