"""What the compiled passes over a frame do, in plain numpy: to compare with, and for those who want to read it."""

import itertools

import numpy as np


def capped_means(image, edges, *, parts, cap_sigmas, cap_counts, photon_counts, read_noise):
    """Average the columns of each block of rows, pixels capped."""
    means = []
    for low, high in itertools.pairwise(edges):
        block = image[low:high]
        middle = np.median(
            [part.mean(axis=0) for part in np.array_split(block, min(parts, len(block)))],
            axis=0,
        )
        level = np.clip(middle, 0, None)
        cap = level + cap_sigmas * np.sqrt(photon_counts * level + read_noise**2) + cap_counts
        means.append(np.minimum(block, cap).mean(axis=0))
    return np.stack(means)


def pixels_above(image, levels, block_of):
    """Find the pixels above the level of their block and column."""
    return np.nonzero(image > levels[block_of])


def box_charges(image, rows, columns):
    """Give the charge of pixels, and the most that boxes of pixels about each hold."""
    padded = np.pad(image, 1)
    own = image[rows, columns]
    around = {
        (row, column): padded[rows + 1 + row, columns + 1 + column]
        for row in (-1, 0, 1)
        for column in (-1, 0, 1)
        if row or column
    }
    four = np.max(
        [own + around[row, 0] + around[0, column] + around[row, column] for row in (-1, 1) for column in (-1, 1)],
        axis=0,
    )
    nine = own + np.sum(list(around.values()), axis=0)
    is_peak = own >= np.max(list(around.values()), axis=0)
    two = own + np.maximum(around[0, -1], around[0, 1])
    return np.stack([own, two, four, np.where(is_peak, nine, -np.inf)])


def pedestal(frame):
    """Estimate level and noise of a frame by the pixels themselves."""
    values = frame.ravel()
    level, noise = float(np.median(values)), 1.0
    for _ in range(20):
        below = level - values[values < level]
        noise = max(float(np.median(below)) * 1.4826, 0.3) if below.size else 0.3
        before, level = level, float(values[np.abs(values - level) < 2.5 * noise].mean())
        if abs(level - before) < 0.01 * noise:
            break
    return level, noise
