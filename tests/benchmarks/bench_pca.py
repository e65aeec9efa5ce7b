"""An energy more: the update of the exact components, against scikit-learn's refit and its incremental one.

Run as ``python tests/benchmarks/bench_pca.py``; needs scikit-learn and 3 GB. The peers, in the same run and stack:
``PCA(svd_solver="covariance_eigh")`` fitted again, and ``IncrementalPCA``, which can add pixels but no energies and so
starts again, too. Where pixels are normalised, the peers are given the time of doing so with numpy. Rounds alternate.
"""

import statistics
import time

import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA

from callbacks.stxm.components.pca import StreamingPCA

STACKS = ((74_700, 50, np.float64, 7), (1_000_000, 100, np.float32, 3))  # pixels, energies, stored as, rounds
COMPONENTS = 3
BATCH = 8192  # pixels that IncrementalPCA is given at a time
FULL = {"background": (520.0, 526.0), "area": (526.0, 534.9)}  # the last energy lies outside
FILLING = {"background": (520.0, 526.0), "area": (525.0, 535.0)}
CASES = (
    ("add_energy, result", {}, False),
    ("add_energy, result, scores", {}, True),
    ("normalised, windows full", FULL, False),
    ("normalised, windows filling", FILLING, False),
)


def stack(pixels, energies, dtype):
    """Give a stack of three components and noise, image by image."""
    rng = np.random.default_rng(1)
    position = np.linspace(0.0, 1.0, energies)
    shapes = np.array([1 / (1 + np.exp(-(position - 0.4) / 0.03)), np.sin(7 * position), np.cos(11 * position)])
    amounts = rng.uniform(0.2, 1.0, (3, pixels)).astype(dtype)
    amounts[0] += 1
    images = rng.standard_normal((energies, pixels), dtype=dtype)
    images *= dtype(0.1)
    images += shapes.T.astype(dtype) @ amounts
    return 520.0 + 15.0 * position, images


def timed(function, *arguments, **options):
    """Give the result of one call and its s."""
    begun = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - begun


def grow(energy, images, windows):
    """Give a PCA of all energies but the last, up to date."""
    pca = StreamingPCA(dtype=images.dtype, **windows)
    for value, image in zip(energy[:-1], images[:-1], strict=True):
        pca.add_energy(value, image)
    pca.result(COMPONENTS)
    return pca


def update(pca, energy, image, *, scores):
    """Add the last energy."""
    pca.add_energy(energy, image)
    result = pca.result(COMPONENTS)
    if scores:
        assert len(result.scores) == image.size
    return result.components


def refit(spectra):
    """Fit anew."""
    return PCA(COMPONENTS, svd_solver="covariance_eigh").fit(spectra).components_


def refit_in_batches(spectra):
    """Fit anew, batch by batch."""
    return IncrementalPCA(COMPONENTS, batch_size=BATCH).fit(spectra).components_


def normalise(energy, spectra, windows):
    """Normalise with numpy, in place."""
    low, high = windows["background"]
    spectra -= spectra[:, (energy >= low) & (energy <= high)].mean(axis=1, keepdims=True)
    low, high = windows["area"]
    inside = (energy >= low) & (energy <= high)
    spectra /= np.trapezoid(spectra[:, inside], energy[inside].astype(spectra.dtype), axis=1)[:, None]


def exact_components(images):
    """Give the components from sums in float64, chunk by chunk."""
    mean = images.mean(axis=1, dtype=np.float64, keepdims=True)
    products = np.zeros((len(images), len(images)))
    for start in range(0, images.shape[1], BATCH):
        part = images[:, start : start + BATCH] - mean
        products += part @ part.T
    return np.linalg.eigh(products)[1][:, : -COMPONENTS - 1 : -1].T


def sine(components, exact):
    """Give the sine of the largest angle between both spaces."""
    return np.linalg.norm(components - components @ exact.T @ exact, 2)


def compare(pixels, energies, dtype, rounds):
    """Print the rows of one stack."""
    energy, images = stack(pixels, energies, dtype)
    exact, spectra = exact_components(images), np.ascontiguousarray(images.T)
    times, angles = {}, {}
    for number in range(rounds):
        for name, windows, scores in CASES:
            pca = grow(energy, images, windows)
            components, took = timed(update, pca, energy[-1], images[-1], scores=scores)
            times.setdefault(name, []).append(took)
            angles[name] = np.nan if windows else sine(components, exact)
            del pca
        for function in (refit, refit_in_batches)[: 2 if number < 2 else 1]:
            components, took = timed(function, spectra)
            times.setdefault(function, []).append(took)
            angles[function] = sine(components, exact)
    normalising = [timed(normalise, energy, spectra.copy(), FILLING)[1] for _ in range(rounds)]
    took = {name: statistics.median(values) for name, values in times.items()}
    before = statistics.median(normalising)
    print(f"{pixels} x {energies}, {np.dtype(dtype).name}; numpy normalises in {1e3 * before:.1f} ms")
    for name, windows, _ in (*CASES, (refit, {}, False), (refit_in_batches, {}, False)):
        more = before if windows else 0.0
        ratios = [(took[peer] + more) / took[name] for peer in (refit, refit_in_batches)]
        label = name if isinstance(name, str) else {refit: "covariance_eigh", refit_in_batches: "IncrementalPCA"}[name]
        print(f"{label:>30} {1e3 * took[name]:9.1f} {ratios[0]:16.2f} {ratios[1]:15.2f} {angles[name]:12.0e}")


def main():
    """Print the table."""
    print(f"{'':30} {'ms':>9} {'covariance_eigh':>16} {'IncrementalPCA':>15} {'sine of angle':>14}")
    for case in STACKS:
        compare(*case)


if __name__ == "__main__":
    main()
