"""Scan the constants of registration; prints the tables of docs/decisions/constants-registration.md.

Run as ``PYTHONPATH=tests/helpers python tests/callbacks/stxm/scan_registration.py [NAME ...]``; some minutes for all.
"""

import itertools
import sys
from functools import cache, partial

import numpy as np
import scan_tables
from phantoms import blobs
from scan_tables import MEASURED_DATA, print_tables
from scipy import ndimage

from callbacks.stxm.alignment import appearance, registration
from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.registration import RegistrationSettings, put_in_place, register, shifted

HEADER = (
    "value",
    "simulated stack, px rms",
    "with an overlayer, px rms",
    "refused",
    "held, %",
    "measured stack, px rms",
)
COUNTS, SHAPE = 4000.0, (96, 110)
ABSORPTION = np.array([0.5, 0.5, 0.6, 0.9, 1.6, 2.2, 1.4, 1.0])  # of the sample, image by image: over an edge
SCANS = {
    "smoothing": (0.5, 0.7, 1.0, 1.5, 2.5),
    "WIDE": (1.5, 2.0, 3.0, 5.0, 10.0),
    "BLOCK": (1, 4, 8, 16, 32),
    "FADE": (4, 8, 16),
    "CONVERGED": (1e-2, 1e-3, 1e-4, 1e-6),
    "PASSES": (1, 2, 3, 4),
    "SLOW": (1, 2, 3, 4),
    "COMPONENTS": (1, 2, 3, 4),
    "LOWEST": (0.001, 0.01, 0.02, 0.05, 0.15),
    "UNABSORBED_PERCENTILE": (90.0, 95.0, 99.0, 99.9),
}
constant = partial(scan_tables.constant, modules=(registration, appearance), settings=RegistrationSettings)


@cache
def stack(seed, *, overlayer=False, probe=2.0, counts=COUNTS, first=None):
    """Give the noisy images of a sample that drifts, without drift and noise, and the drift; pixels."""
    rng = np.random.default_rng(seed)
    margin = 20
    field = (SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin)
    thickness = blobs(field, rng, number=30, smooth=probe, empty=0.0)
    cover = np.zeros(field)
    if overlayer:
        cover = ndimage.gaussian_filter(rng.standard_normal(field), 15)
        cover = 0.3 + 0.15 * cover / cover.std()
    drift = np.cumsum(rng.normal(0, 0.7, (len(ABSORPTION), 2)), axis=0)
    drift, absorptions = drift[:first] - drift[0], ABSORPTION[:first]
    inner = np.s_[margin:-margin, margin:-margin]
    still = [np.exp(-absorption * thickness - cover)[inner] for absorption in absorptions]
    images = [
        rng.poisson(
            counts * ndimage.shift(np.exp(-absorption * thickness - cover), move, order=5, mode="nearest")[inner]
        )
        / counts
        for absorption, move in zip(absorptions, drift, strict=True)
    ]
    return images, still, drift


def align(images, settings):
    """Register images one after the other against those so far; give the shifts, NaN where refused."""
    seen, shifts = Appearance(settings), [np.zeros(2)]
    seen.add(images[0], 0)
    last = shifts[0]
    for number, image in enumerate(images[1:], 1):
        found = seen.register(image, last)
        shifts.append(found.shift)
        if found.status == "ok":
            last = found.shift
            seen.add(shifted(image, image, last)[0], number)
    return np.array(shifts)


def drift_error(seeds, settings, **sample):
    """Rms of the error of the shifts of simulated stacks, pixel, and how many images were refused."""
    errors = []
    for seed in seeds:
        images, _, drift = stack(seed, **sample)
        errors.append(align(images, settings)[1:] + drift[1:])
    errors = np.array(errors)
    return float(np.sqrt(np.nanmean(errors**2))), int(np.isnan(errors[..., 0]).sum())


def coverage(seeds, settings):
    """Share of shifts within their quoted sigma, of images of equal contrast."""
    inside = []
    for seed in seeds:
        images, still, drift = stack(seed, first=2)
        found = register(images[1], still[1], settings)
        inside.append(np.abs(found.shift + drift[1]) <= found.sigma)
    return float(np.mean(inside))


def position_noise(seeds, **sample):
    """Rms displacement, pixel, that explains what the aligned images differ by from those without drift and noise."""
    excess = power = 0.0
    for seed in seeds:
        images, still, _ = stack(seed, **sample)
        shifts = align(images, RegistrationSettings())
        for image, true, shift in zip(images[1:], still[1:], shifts[1:], strict=True):
            if np.isnan(shift).any():
                continue
            variance = np.clip(image, 1 / COUNTS, None) / sample.get("counts", COUNTS)
            aligned, noise = shifted(image, variance, shift)
            slopes = (np.array(np.gradient(true)) ** 2).sum(axis=0)
            known = np.isfinite(aligned)
            known[:8] = known[-8:] = known[:, :8] = known[:, -8:] = False
            excess += float(((aligned - true) ** 2 - noise)[known].sum())
            power += float(slopes[known].sum())
    return np.sqrt(max(excess, 0.0) / power)


def placing_error(seeds, *, probe, counts, off=0.15):
    """Rms error of images whose pixels were off their places, corrected by `put_in_place`, over that without."""
    left = before = 0.0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        exact = np.exp(-blobs(SHAPE, rng, number=30, smooth=probe, empty=0.0))
        displaced = off * rng.standard_normal((2, *SHAPE))
        seen = ndimage.map_coordinates(exact, np.mgrid[: SHAPE[0], : SHAPE[1]] + displaced, order=3, mode="nearest")
        noise = rng.poisson(counts * seen) / counts - seen
        placed = put_in_place(seen + noise, displaced)
        inner = np.s_[4:-4, 4:-4]
        left += ((placed - noise - exact)[inner] ** 2).sum()
        before += ((seen - exact)[inner] ** 2).sum()
    return float(np.sqrt(left / before))


@cache
def measured_stack():
    """Give a measured stack with an imposed drift, without it, and the drift."""
    folder = MEASURED_DATA / "als-stxm-fe2p"
    kept = range(0, 123, 8)
    i0 = np.loadtxt(folder / "i0.xsp")[kept, 1] * 0.433
    counts = np.array([np.loadtxt(folder / f"71214078_a{index:03d}.xim") for index in kept])
    steps = np.linspace(0, 1, len(counts))
    drift = np.column_stack([4 * np.sin(2.1 * steps), -4 * steps + 0.5 * np.sin(9 * steps)])
    rng = np.random.default_rng(0)
    moved = [
        rng.poisson(np.clip(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), move)).real, 0, None))
        for image, move in zip(counts, drift, strict=True)
    ]
    return np.array(moved) / i0[:, None, None], counts / i0[:, None, None], drift


def measured_error(settings):
    """Rms by which an imposed drift is missed on the measured stack, pixel."""
    moved, still, drift = measured_stack()
    wrong = align(moved, settings) - align(still, settings) + drift - drift[0]
    return float(np.sqrt(np.nanmean(wrong**2)))


def print_position_noise():
    """Print the position noise of several samples."""
    print("\nposition_noise\n\n| probe sigma, px | counts a pixel | px rms | with an overlayer |\n|---|---|---|---|")
    for probe, counts in itertools.product((0.8, 1.0, 1.5, 2.0), (400.0, 4000.0, 40_000.0)):
        plain, covered = (
            position_noise(range(4), probe=probe, counts=counts, overlayer=overlayer) for overlayer in (False, True)
        )
        print(f"| {probe} | {counts:.0f} | {plain:.3f} | {covered:.3f} |", flush=True)


def print_slope_smoothing():
    """Print what is left of the error of displaced pixels, by the smoothing before slopes are taken."""
    cases = tuple(itertools.product((0.8, 1.5), (400.0, 4000.0, 40_000.0)))
    titles = (f"probe {probe} px, {counts:.0f} counts" for probe, counts in cases)
    print(f"\nSLOPE_SMOOTHING\n\n| value | {' | '.join(titles)} |\n{'|---' * (len(cases) + 1)}|")
    for value in (0.3, 0.5, 0.7, 1.0, 1.5):
        with constant("SLOPE_SMOOTHING", value):
            left = (f"{placing_error(range(4), probe=probe, counts=counts):.2f}" for probe, counts in cases)
            print(f"| {value} | {' | '.join(left)} |", flush=True)


def row(name, value):
    """Score a value on simulated stacks, with and without an overlayer, and on the measured one."""
    with constant(name, value) as settings:
        error, refused = drift_error(range(5), settings)
        covered, more = drift_error(range(5), settings, overlayer=True)
        held, measured = coverage(range(40), settings), measured_error(settings)
    return f"{error:.3f}", f"{covered:.3f}", str(refused + more), f"{100 * held:.0f}", f"{measured:.3f}"


if __name__ == "__main__":
    print_tables(sys.argv[1:], SCANS, HEADER, row)
    if not sys.argv[1:]:
        print_position_noise()
        print_slope_smoothing()
