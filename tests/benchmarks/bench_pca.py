"""An energy more: the update of the exact components, against scikit-learn's refit and its incremental one.

Run as ``python tests/benchmarks/bench_pca.py``; needs scikit-learn and 3 GB. The peers, in the same run and stack:
``PCA(svd_solver="covariance_eigh")`` fitted again, and ``IncrementalPCA``, which can add pixels but no energies and so
starts again, too. Where pixels are normalised, the peers are given the time of doing so with numpy. Rounds alternate.
"""

import statistics

import numpy as np
from harness import Result, run, seconds
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
    """Time the update and both peers on one stack."""
    energy, images = stack(pixels, energies, dtype)
    exact, spectra = exact_components(images), np.ascontiguousarray(images.T)
    peers = {"covariance_eigh": refit, "IncrementalPCA": refit_in_batches}
    times, angles = {}, {}
    for number in range(rounds):
        for name, windows, scores in CASES:
            pca = grow(energy, images, windows)
            took, components = seconds(update, pca, energy[-1], images[-1], scores=scores)
            times.setdefault(name, []).append(took)
            angles[name] = np.nan if windows else sine(components, exact)
            del pca
        for name, function in list(peers.items())[: 2 if number < 2 else 1]:
            took, components = seconds(function, spectra)
            times.setdefault(name, []).append(took)
            angles[name] = sine(components, exact)
    normalising = statistics.median(seconds(normalise, energy, spectra.copy(), FILLING)[0] for _ in range(rounds))
    took = {name: statistics.median(values) for name, values in times.items()}
    for name, windows, _ in CASES:
        for peer in peers:
            theirs = took[peer] + (normalising if windows else 0.0)
            label = f"pca {pixels} x {energies} {name}"
            note = f"sine of angle {angles[name]:.0e}, of the peer's {angles[peer]:.0e}"
            yield Result(f"{label}, {peer}", 1e3 * took[name], "ms", peer, theirs / took[name], note)


def measure():
    """Compare on a stack of the usual size and on a large one."""
    for case in STACKS:
        yield from compare(*case)


if __name__ == "__main__":
    run(measure)
