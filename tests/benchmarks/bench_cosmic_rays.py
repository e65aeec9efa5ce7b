"""Despiking a frame, against astroscrappy's detect_cosmics with its defaults, in one run.

Run as ``python tests/benchmarks/bench_cosmic_rays.py``; needs ``pip install ".[bench]"``.
"""

import astroscrappy
import numpy as np
from frames import EMISSION_SCALE, spectrograph
from harness import Result, in_turn, run

from callbacks.rixs.cosmic_rays import remove_cosmic_rays

ROUNDS = 5
EXCITATION = 540.0  # eV


def frame(rows):
    """Give a frame of 300 s without its pedestal."""
    model, sample = spectrograph(rows)
    image, _ = model.render(
        lambda emission: EMISSION_SCALE * sample.emission(EXCITATION, emission) + 0.8,
        exposure_time=300.0,
        rng=np.random.default_rng(1),
    )
    return image.astype(float) - model.pedestal_image


def measure():
    """Despike a binned frame and a full one."""
    for rows in (64, 2048):
        image = frame(rows)
        single = image.astype(np.float32)
        contestants = {
            "ours": lambda image=image: remove_cosmic_rays(image, photon_counts=0.21 * EXCITATION, read_noise=4.0),
            "theirs": lambda single=single: astroscrappy.detect_cosmics(single),
        }
        times, _ = in_turn(ROUNDS, contestants)
        ratio = times["theirs"] / times["ours"]
        yield Result(f"despike {rows} x 2048", 1e3 * times["ours"], "ms", "astroscrappy.detect_cosmics", ratio)


if __name__ == "__main__":
    run(measure)
