"""What an image of a STXM stack costs when few or many came before it, and the memory that a stack takes.

Run as ``PYTHONPATH=tests/callbacks/stxm python tests/benchmarks/bench_stxm_growing.py [--large]``; with ``--large`` it
reduces a stack of 1000 x 1000 pixels and 100 energies, too, which takes some twenty minutes and 2 GB. The peers: an
image of a stack of 20, in processor time, which hardly sees what else the machine does; the stack itself, in float64.
"""

import importlib
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from harness import Result, command_line, keep, show
from phantoms import DWELL, blobs, grid_of, oxygen_spectra
from scipy import ndimage

from callbacks.contract import Measurement
from callbacks.fitting.nonnegative import unmix
from callbacks.pipelines import StxmSettings, stxm_stack
from callbacks.stxm.stack import IMAGE, Image

MARGIN = 12  # pixels around the field, for the drift
LARGEST_TILE = 274  # pixels: a larger sample is of many such, so that grains are no larger
RATE = 1.2e7  # counts/s
FEW, SOME, MANY = 20, 80, 320  # images
SIDE, NUMBER = 250, 75
LARGE_SIDE, LARGE_ENERGIES = 1000, 100
REFERENCE_ENERGIES = np.linspace(519.0, 561.0, 400)


def settings(references):
    """Give the settings of a reduction with three references or none."""
    spectra = oxygen_spectra(REFERENCE_ENERGIES) if references else ()
    names = ("reduced", "oxidised", "binder")[: len(spectra)]
    energy = REFERENCE_ENERGIES.tolist()
    found = {
        name: {"energy": energy, "optical_density": one.tolist()} for name, one in zip(names, spectra, strict=True)
    }
    return StxmSettings.model_validate({"chemistry": {"references": found}})


def images(side, energies):
    """Give the images of a phantom that drifts, with the noise of their counts."""
    rng = np.random.default_rng(1)
    tile = (min(side + 2 * MARGIN, LARGEST_TILE),) * 2
    thickness = 0.8 * blobs(tile, rng, number=26)
    share = np.clip(3 * ndimage.gaussian_filter(rng.uniform(-2, 3, tile), 6), 0.1, 0.9)
    maps = np.array([thickness * share, thickness * (1 - share), 0.25 * blobs(tile, rng, number=6)])
    times = math.ceil((side + 2 * MARGIN) / tile[0])
    maps = np.tile(maps, (1, times, times))[:, : side + 2 * MARGIN, : side + 2 * MARGIN]
    for number, spectrum in enumerate(oxygen_spectra(energies).T):
        step = number / len(energies)
        through = np.exp(-np.tensordot(spectrum, maps, axes=1))
        moved = ndimage.shift(through, (3 * np.sin(2.2 * step), -4 * step), order=3, mode="nearest")
        rate = rng.poisson(RATE * DWELL * moved[MARGIN:-MARGIN, MARGIN:-MARGIN]) / DWELL
        yield Image(number, float(energies[number]), rate, rate / DWELL, np.zeros((2, *rate.shape)), side)


def reduce(side, number, *, references):
    """Reduce a stack; give the processor time of each image, s, and the chain behind the lines."""
    energies = np.linspace(520.0, 560.0, number)
    measurement = Measurement(
        technique="stxm", sample="phantom", edge="O K", points=number * side, exposure_time=DWELL,
        grid=grid_of(energies, (side, side)),
    )  # fmt: skip
    chain = stxm_stack(settings(references), measurement).behind
    times = []
    for image in images(side, energies):
        begun = time.process_time()
        _, problem = chain.push({"seq_num": image.index + 1, IMAGE: image})
        times.append(time.process_time() - begun)
        assert not problem, problem
    return np.array(times), chain


def costs(references):
    """Compare an image of long stacks with one of a short stack: the last quarter of each but its last image."""
    name = "three references" if references else "no references"
    times = {number: reduce(100, number, references=references)[0] for number in (FEW, SOME, MANY)}
    usual = {number: float(np.mean(each[-max(4, number // 4) - 1 : -1])) for number, each in times.items()}
    for number in (SOME, MANY):
        last = times[number][-1] / usual[number]
        worst = times[number][:-1].max() / usual[number]
        yield Result(
            f"image of 100 x 100 x {number}, {name}",
            1e3 * usual[number],
            "ms",
            f"of {FEW} images",
            usual[FEW] / usual[number],
            f"last image {last:.2f}, dearest {worst:.2f} of a usual one",
        )


def peak():
    """Give the largest resident memory of this process so far, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def memory(side, number, *, references):
    """Reduce a stack; give the peak of the resident memory, MB, before it and after it."""
    # What a process has that has reduced another stack: what is compiled, and what is imported where it is needed.
    unmix(np.ones((2, 8)), np.eye(2, 8), np.ones((2, 8)))
    importlib.import_module("sklearn.decomposition")
    before = peak()
    _, chain = reduce(side, number, references=references)
    assert chain.result["chemical_status"] == "ok"
    return before, peak()


def memory_of(side, number, references):
    """Measure the memory of a reduction in a process of its own."""
    call = f"print(*bench.memory({side}, {number}, references={references}))"
    program = f"import sys; sys.path[:0] = {sys.path!r}; import {Path(__file__).stem} as bench; {call}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    size = side * side * number * 8e-6
    return Result(
        f"memory of {side} x {side} x {number}, {'three' if references else 'no'} references",
        after - before,
        "MB",
        "the stack in float64",
        size / (after - before),
        f"{(after - before) / size:.1f} times; {after:.0f} MB in total, {before:.0f} MB before",
    )


def benchmark(large):
    """Measure images of stacks that grow, and the memory of whole stacks."""
    for references in (True, False):
        yield from costs(references)
    for references in (True, False):
        yield memory_of(SIDE, NUMBER, references)
    if large:
        yield memory_of(LARGE_SIDE, LARGE_ENERGIES, True)


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--large", action="store_true", help="also a stack larger than the memory")
    options = parser.parse_args()
    keep(show(benchmark(options.large)), options.json)
