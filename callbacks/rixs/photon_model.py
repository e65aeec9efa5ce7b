"""What photons leave in each column of a CCD frame: the expectation that cosmic rays are told apart from.

All pixels of a column see one emission energy, so the rest of a column says how many photons a pixel should hold. The
constants are derived, or their scans shown, in docs/decisions/constants-cosmic-rays.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d
from scipy.special import ndtr, ndtri, pdtrc

from callbacks.rixs.compiled import capped_means

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.intp]

BLOCK_ROWS = 64  # rows that share a model: a tilted line stays in its columns, and photons are enough for a mean

# Photons may pass for a hit by chance: once in 1e9 pixels at a threshold of 6 sigma. That chance is raised by these
# factors where it costs less than the hits that would be missed: most for clumps of whole photons, where photons are
# few and a clump is two or three; less where charge is shared among many pixels.
CLUMP_CHANCE_FACTOR, SHARED_CHANCE_FACTOR = 1e5, 2e4
LARGEST_CHANCE = 0.01  # however low the threshold that is asked for
PHOTON_MARGIN = 0.25  # of a photon, beyond the largest credible number of photons
LEAST_CREDIBLE = 2  # photons in one place are always credible
NOISE_MARGIN = 0.5  # read noise of a box that is added to its threshold

# Share of a photon's charge that a pixel, 2 x 2 and 3 x 3 pixels catch, where a frame cannot tell.
DEFAULT_SHARES = (0.7, 0.85, 1.0)
# Share of a box, of 1, 2 x 2 and 3 x 3 pixels, in which a photon that lands leaves all its charge to the box.
WHOLE_PHOTON_SHARES = (0.2, 0.3, 0.5)
SHARING_PHOTONS, SHARING_PIXELS = 0.15, 600  # photons a pixel, and the number of such pixels, that show the sharing
SHARING_CAP = 5.0  # sigma; larger changes from row to row are hits
SHARE_SKEW = 1.2  # the tail of shared charge is that of larger shares than its variance shows
LEAST_SHARE = 0.4  # a smaller one is read noise taken too large, not charge shared

MEAN_PARTS = 4  # of a block: the median of their means is insensitive to a hit
CAP_SIGMAS, CAP_PHOTONS = 6.0, 3.0  # above a column's rough mean: no hit weighs more than that in the mean
NEAR_COLUMNS, DIM_COLUMNS, FAR_COLUMNS = 5, 15, 41  # widths of running means: an elastic line, its feet, the continuum
MEDIAN_COLUMNS = 61  # an elastic line and its feet fill less than half of it
LINE_SIGMAS = 3.0  # above the continuum: a column of a line
UNSEEN_PHOTONS = 3.0  # may have been expected where none is seen: Poisson's 95 % limit
SIDE_GAP, SIDE_COLUMNS = 3, 20  # beside a pixel, along its row: the first column that is looked at, and how many
SIDE_CAP = 3.0  # photons; a hit beside a pixel weighs no more
LEAST_EXPECTED = 1e-9  # photons a pixel; Poisson's law has no limit where none are expected
_GRID = 256  # points of the thresholds, which vary slowly with what is expected


class PhotonModel:
    """What photons leave in each column, block of rows by block.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed.
    photon_counts, read_noise : float
        Counts of one photon; counts rms a pixel.
    threshold : float
        How improbable photons must be to be a hit, in standard deviations of a normal distribution.

    Attributes
    ----------
    edges, block_of : numpy.ndarray
        First row of each block and the end; the block of each row.
    mean, expected : numpy.ndarray, shape (blocks, columns)
        Counts a pixel: the measured mean, and a cautious one that is nowhere too low.
    thresholds : numpy.ndarray, shape (3, blocks, columns)
        Counts in a pixel, in 2 x 2 and in 3 x 3 pixels above which charge is no longer that of photons.
    """

    def __init__(self, image: FloatArray, photon_counts: float, read_noise: float, threshold: float) -> None:
        n_rows = len(image)
        n_blocks = max(1, round(n_rows / BLOCK_ROWS))
        self.edges = np.linspace(0, n_rows, n_blocks + 1).astype(int)
        self.block_of = np.repeat(np.arange(n_blocks), np.diff(self.edges))
        blocks = [image[low:high] for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)]
        self.mean = capped_means(
            image,
            self.edges,
            parts=MEAN_PARTS,
            cap_sigmas=CAP_SIGMAS,
            cap_counts=CAP_PHOTONS * photon_counts,
            photon_counts=photon_counts,
            read_noise=read_noise,
        )
        self.expected = _cautious_mean(self.mean, n_rows / n_blocks, photon_counts, read_noise)
        self.photon_counts, self.read_noise, self.chance = photon_counts, read_noise, float(ndtr(-threshold))
        self.shares = _measure_shares(blocks, self.mean, photon_counts, read_noise)
        self.thresholds = self.thresholds_for(self.expected)

    def thresholds_for(self, expected: FloatArray) -> FloatArray:
        """Give the three thresholds for expected counts a pixel, shape (3, ...): on a grid, since they vary slowly."""
        if not expected.size:
            return np.zeros((3, *expected.shape))
        expected = np.maximum(expected, LEAST_EXPECTED * self.photon_counts)
        grid = np.geomspace(expected.min(), expected.max() * 1.0001, _GRID)
        limits = [
            _threshold(grid, side, share=share, chance=self.chance, photon_counts=self.photon_counts)
            + NOISE_MARGIN * self.read_noise * side
            for side, share in zip((1, 2, 3), self.shares, strict=True)
        ]
        return np.stack(limits)[:, np.searchsorted(grid, expected).clip(0, _GRID - 1)]

    def expected_at(self, image: FloatArray, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Give the counts expected in pixels: by their columns, or by their neighbours along the rows if that is more.

        Light that varies along a column, as a line that runs along the rows does, is on both sides of a pixel.
        """
        sides = []
        for first in (-SIDE_GAP - SIDE_COLUMNS + 1, SIDE_GAP):
            steps = np.arange(first, first + SIDE_COLUMNS)
            at = (rows[:, None, None] + np.arange(-1, 2)[:, None], columns[:, None, None] + steps)
            values, inside = pixels_at(image, *at)
            values = np.where(inside, np.minimum(values, SIDE_CAP * self.photon_counts), 0.0)
            sides.append(values.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))
        return np.asarray(np.maximum(self.expected[self.block_of[rows], columns], np.minimum(*sides)))


def pixels_at(image: FloatArray, rows: IndexArray, columns: IndexArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Give pixels by row and column, 0 beyond the image, and which of them lie within it."""
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    return np.where(inside, image[rows * inside, columns * inside], 0.0), inside


def _cautious_mean(mean: FloatArray, rows: float, photon_counts: float, read_noise: float) -> FloatArray:
    """Expect the surroundings' light in dim columns, where a column's own mean is a photon or none; more at lines."""

    def smooth(values: FloatArray, size: int) -> FloatArray:
        return np.asarray(np.clip(uniform_filter1d(values, size, axis=1, mode="nearest"), 0, None))

    near, far = smooth(mean, NEAR_COLUMNS), smooth(mean, FAR_COLUMNS)
    dim = np.minimum(far, _running_median(smooth(mean, DIM_COLUMNS), MEDIAN_COLUMNS))
    dim = np.maximum(dim, UNSEEN_PHOTONS * photon_counts / (FAR_COLUMNS * rows))
    noise = np.sqrt((photon_counts * dim + read_noise**2) / (NEAR_COLUMNS * rows))
    lines = near > dim + LINE_SIGMAS * noise
    return np.asarray(maximum_filter1d(np.where(lines, near, dim), NEAR_COLUMNS, axis=1, mode="nearest"))


def _running_median(values: FloatArray, size: int) -> FloatArray:
    """Give the median of so many columns, an odd number, that go on beyond their ends as they end.

    All rows in one: SciPy keeps a window's values in order from one to the next in one dimension, and not in two.
    """
    reach = size // 2
    padded = np.pad(values, ((0, 0), (reach, reach)), mode="edge")
    return np.asarray(median_filter(padded.ravel(), size).reshape(padded.shape)[:, reach : reach + values.shape[1]])


def _measure_shares(
    blocks: list[FloatArray], mean: FloatArray, photon_counts: float, read_noise: float
) -> tuple[float, float, float]:
    """Measure the share of a photon's charge that a pixel and 2 x 2 pixels catch: bright pixels scatter by it.

    The variance of N shares of q counts is q times their sum. Neighbours along a column are compared, so that lines
    that are not quite straight do not count as scatter, and differences are capped, so that hits do not.
    """
    shares = []
    for side in (1, 2):
        scatter = counts = 0.0
        pixels = 0
        for block, column_mean in zip(blocks, mean, strict=True):
            boxes = _bright_boxes(block, column_mean > SHARING_PHOTONS * photon_counts, side)
            if not boxes.size or len(boxes) < 2:
                continue
            expected = boxes.mean(axis=0)
            cap = SHARING_CAP * np.sqrt(photon_counts * np.clip(expected, 0, None) + side**2 * read_noise**2)
            changes = np.clip(np.diff(boxes, axis=0), -cap, cap)
            scatter += 0.5 * float((changes**2).sum()) - side**2 * read_noise**2 * changes.size
            counts += float(expected.sum()) * (len(boxes) - 1)
            pixels += boxes.size * side**2
        if pixels < SHARING_PIXELS or counts <= 0:
            return DEFAULT_SHARES
        shares.append(float(np.clip(SHARE_SKEW * scatter / counts / photon_counts, LEAST_SHARE, 1.0)))
    return shares[0], max(shares), 1.0


def _bright_boxes(block: FloatArray, bright: NDArray[np.bool_], side: int) -> FloatArray:
    """Sum boxes of side x side pixels whose first column is bright; shape (boxes along a column, columns)."""
    first = np.flatnonzero(bright[: bright.size // side * side : side]) * side
    rows = len(block) // side
    columns = np.sum([block[: rows * side, first + step] for step in range(side)], axis=0)
    return np.asarray(columns.reshape(rows, side, first.size).sum(axis=1))


def _threshold(expected: FloatArray, side: int, *, share: float, chance: float, photon_counts: float) -> FloatArray:
    """Charge in a box of side x side pixels that photons leave with no more than this chance."""
    share, whole = share * photon_counts, WHOLE_PHOTON_SHARES[side - 1]
    charge = side**2 * expected
    number = poisson_limit(min(chance * CLUMP_CHANCE_FACTOR, LARGEST_CHANCE), whole * charge / photon_counts)
    number = np.maximum(number, LEAST_CREDIBLE)
    clumps = photon_counts * (number + PHOTON_MARGIN)
    shared = share * poisson_limit(min(chance * SHARED_CHANCE_FACTOR, LARGEST_CHANCE), charge / share)
    return np.asarray(np.maximum(clumps, shared))


def poisson_limit(chance: float, expected: FloatArray) -> FloatArray:
    """Give the largest number of events that Poisson's law allows: more have no larger chance than this.

    Parameters
    ----------
    chance : float
        Of more events than the limit.
    expected : numpy.ndarray
        Mean number of events, above zero.

    Returns
    -------
    numpy.ndarray of float, of the same shape
        Whole numbers; infinity where the chance is zero.

    Notes
    -----
    It is looked for from the first terms of its expansion about a normal distribution on (E. Cornish and R. Fisher,
    Rev. Inst. Int. Stat. 5 (1938) 307), one event after the other; `scipy.stats.poisson.isf` solves for a real number
    first, and knows no chance below the rounding of one.
    """
    if not chance > 0:
        return np.full(expected.shape, np.inf)
    sigmas = -float(ndtri(chance))
    number = np.maximum(np.ceil(expected + sigmas * np.sqrt(expected) + (sigmas**2 - 1) / 6), 0.0)
    while (too_few := pdtrc(number, expected) > chance).any():
        number[too_few] += 1
    while (too_many := (number > 0) & (pdtrc(np.maximum(number - 1, 0.0), expected) <= chance)).any():
        number[too_many] -= 1
    return number
