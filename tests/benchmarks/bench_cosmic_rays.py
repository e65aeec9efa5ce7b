"""Despiking a frame, against astroscrappy's detect_cosmics with its defaults, in one run.

Run as ``python tests/benchmarks/bench_cosmic_rays.py``; needs ``pip install ".[bench]"``.
"""

import astroscrappy
import numpy as np
from frames import EMISSION_SCALE, bright_measured_frame, spectrograph
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
    """Despike a binned frame and a full one, and bright measured frames that fill a full one."""
    photon_counts = 0.21 * EXCITATION
    yield despike("despike 64 x 2048", frame(64), photon_counts)
    yield despike("despike 2048 x 2048", frame(2048), photon_counts)
    yield despike("despike 2048 x 2048, measured", *bright_measured_frame())


def despike(name, image, photon_counts):
    """Time both on one frame."""
    single = image.astype(np.float32)
    contestants = {
        "ours": lambda: remove_cosmic_rays(image, photon_counts=photon_counts, read_noise=4.0),
        "theirs": lambda: astroscrappy.detect_cosmics(single),
    }
    contestants["ours"]()  # compiled, or loaded
    times, _ = in_turn(ROUNDS, contestants)
    return Result(name, 1e3 * times["ours"], "ms", "astroscrappy.detect_cosmics", times["theirs"] / times["ours"])


if __name__ == "__main__":
    run(measure)
