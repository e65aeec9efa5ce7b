"""Scan the constants that find sample-free pixels; prints the tables of docs/decisions/constants-blank.md.

Run as ``PYTHONPATH=tests/helpers python tests/callbacks/stxm/scan_blank.py [NAME ...]``; some minutes for all.
"""

import sys
from functools import cache, partial

import numpy as np
import scan_tables
from phantoms import blobs
from scan_tables import MEASURED_DATA, print_tables
from scipy import ndimage

from callbacks.stxm.density import blank
from callbacks.stxm.density.blank import find_blank

HEADER = (
    "value",
    "found, %",
    "share of the empty pixels, %",
    "bias of I0, ‰",
    "covered: refused, %",
    "measured: pixels, I0",
)
NOISES = (0.002, 0.006, 0.02)  # relative, of the mean of all images
SHAPE = (80, 90)
SCANS = {
    "PEAK_WIDTH": (2.0, 3.0, 4.0, 6.0, 8.0),
    "BRIGHT_PERCENTILE": (50.0, 80.0, 90.0, 95.0, 99.0),
    "STEPS_PER_WIDTH": (2, 4, 8, 16),
    "IGNORED_BRIGHTEST": (0.0, 0.0003, 0.001, 0.003, 0.01),
    "STANDS_OUT": (1.0, 1.5, 2.0, 3.0, 5.0),
    "DARK_SIDE": (1.0, 1.5, 2.0, 3.0),
    "BRIGHTER": (0.5, 1.0, 1.5, 2.0, 3.0),
    "HOT_PIXELS": (0, 1, 3, 10, 30),
    "HOT_SHARE": (0.0, 0.002, 0.005, 0.01, 0.03),
    "OVERSHOOT": (0.0, 0.03, 0.065, 0.12, 0.23),
    "HOLE": (2, 3, 4, 6, 9),
    "ALIKE_WIDTHS": (0.25, 0.5, 0.75, 1.0, 1.5),
    "ALIKE_SIGMAS": (1.0, 2.0, 3.0, 4.0, 6.0),
    "NEIGHBOURS": (1, 4, 6, 8, 9),
    "LARGEST_SPREAD": (1.1, 1.3, 2.0, 3.0, 5.0),
}
constant = partial(scan_tables.constant, modules=(blank,))


def seen(thickness, noise, rng):
    """Give brightness and its sigma, noisier where it is bright as counts are; a few pixels are hot."""
    sigma = noise * np.exp(-thickness / 2)
    brightness = np.exp(-thickness) + sigma * rng.standard_normal(thickness.shape)
    hot = rng.integers(0, thickness.size, 3)
    brightness.flat[hot] *= 2.0
    return brightness, sigma


@cache
def with_empty_places(seed):
    """Give thickness maps with empty places: particles on one half, an empty corner, an empty rim."""
    rng = np.random.default_rng(seed)
    corner = 0.5 + 0.1 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 6) / 0.047
    corner[:12, :14] = 0.0
    flat = np.full(SHAPE, 0.4)
    flat[:, :20] = 0.0
    return blobs(SHAPE, rng), ndimage.gaussian_filter(corner, 1.0), ndimage.gaussian_filter(flat, 1.5)


@cache
def covered(seed):
    """Give thickness maps without an empty place: rough, particles on a film, a film with a small hole."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 5)
    rough = 0.2 + 0.25 * (rough - rough.min()) / rough.std()
    steps = (
        0.3 + 0.4 * blobs(SHAPE, rng, empty=0.0) + 0.05 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 8) / 0.035
    )
    film = np.full(SHAPE, 0.5)
    side = rng.integers(3, 5)
    film[20 : 20 + side, 30 : 30 + side] = 0.0
    return rough, steps, film


def scores(seeds):
    """Share found, share of the empty pixels taken, rms bias of I0, and share of the covered fields refused."""
    found, shares, bias, refused = [], [], [], []
    for seed in seeds:
        for noise in NOISES:
            for thickness in with_empty_places(seed):
                brightness, sigma = seen(thickness, noise, np.random.default_rng([seed, 1]))
                result = find_blank(brightness, sigma)
                found.append(result.status == "ok")
                if found[-1]:
                    shares.append((result.pixels & (thickness < 1e-3)).sum() / (thickness < 1e-3).sum())
                    bias.append(np.exp(-thickness[result.pixels]).mean() - 1)
            refused += [
                find_blank(*seen(thickness, noise, np.random.default_rng([seed, 1]))).status != "ok"
                for thickness in covered(seed)
            ]
    rms = float(np.sqrt(np.mean(np.square(bias)))) if bias else np.nan
    return float(np.mean(found)), float(np.mean(shares)) if shares else np.nan, rms, float(np.mean(refused))


@cache
def measured():
    """Give brightness and its sigma of a measured stack, every eighth image, and the published I0 of these."""
    folder = MEASURED_DATA / "als-stxm-fe2p"
    kept = range(0, 123, 8)
    counts = np.array([np.loadtxt(folder / f"71214078_a{index:03d}.xim") for index in kept])
    level = np.percentile(counts, 99.0, axis=(1, 2))[:, None, None]
    return (counts / level).mean(axis=0), np.sqrt((counts / level**2).sum(axis=0)) / len(counts), counts


def measured_score():
    """Say how many pixels of the measured stack are found, and their I0 over the published one."""
    brightness, sigma, counts = measured()
    result = find_blank(brightness, sigma)
    if result.status != "ok":
        return "refused"
    i0 = np.loadtxt(MEASURED_DATA / "als-stxm-fe2p" / "i0.xsp")[range(0, 123, 8), 1] * 0.433
    ratio = counts[:, result.pixels].mean(axis=1) / i0
    return f"{result.pixels.sum()}, {ratio.mean():.4f}"


def row(name, value):
    """Score a value on simulated fields and on the measured stack."""
    with constant(name, value):
        found, share, bias, refused = scores(range(20))
        simulated = f"{100 * found:.0f}", f"{100 * share:.0f}", f"{1e3 * bias:.2f}", f"{100 * refused:.0f}"
        return *simulated, measured_score()


if __name__ == "__main__":
    print_tables(sys.argv[1:], SCANS, HEADER, row)
