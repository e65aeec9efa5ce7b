"""Despiking a frame, against astroscrappy's detect_cosmics with its defaults, in one run.

Run as ``python tests/benchmarks/bench_cosmic_rays.py``; needs ``pip install ".[bench]"``. Rounds of both alternate.
"""

import statistics
import time

import astroscrappy
import numpy as np

from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from simulated_devices.physics.samples import SAMPLES
from simulated_devices.physics.spectrograph import SpectrographModel

ROUNDS = 5
EXCITATION = 540.0


def frame(rows):
    """Give a frame of 300 s without its pedestal."""
    model = SpectrographModel(rows=rows, row_binning=512 // min(rows, 512) or 1)
    sample = SAMPLES["LRNMC 311 mAh/g"]
    image, _ = model.render(
        lambda emission: 14_000.0 * sample.emission(EXCITATION, emission) + 0.8,
        exposure_time=300.0,
        rng=np.random.default_rng(1),
    )
    return image.astype(float) - model.pedestal_image


def seconds(function, *arguments, **options):
    """Time one call."""
    begun = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - begun


def main():
    """Print the table."""
    print(f"{'frame':>12} {'ours, ms':>10} {'astroscrappy, ms':>18} {'ratio':>7}")
    for rows in (64, 2048):
        image = frame(rows)
        single = image.astype(np.float32)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(seconds(remove_cosmic_rays, image, photon_counts=0.21 * EXCITATION, read_noise=4.0))
            theirs.append(seconds(astroscrappy.detect_cosmics, single))
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(f"{f'{rows} x 2048':>12} {1e3 * mine:>10.1f} {1e3 * other:>18.1f} {other / mine:>7.1f}")


if __name__ == "__main__":
    main()
