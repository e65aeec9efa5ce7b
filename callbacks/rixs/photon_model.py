"""What photons leave in each column of a CCD frame: the expectation that cosmic rays are told apart from.

All pixels of a column see one emission energy, so the rest of a column says how many photons a pixel should hold. The
constants are derived, or their scans shown, in docs/decisions/constants-cosmic-rays.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

from callbacks.rixs.compiled import capped_means
from callbacks.rixs.photon_charge import CLOUD_SIGMA, charge_limits, cloud_of

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.intp]

BLOCK_ROWS = 64  # rows that share a model: a tilted line stays in its columns, and photons are enough for a mean

SHARING_PHOTONS, SHARING_PIXELS = 0.15, 600  # photons a pixel, and the number of such pixels, that show the sharing
SHARING_CAP = 5.0  # sigma; larger changes from row to row are hits

MEAN_PARTS = 4  # of a block: the median of their means is insensitive to a hit
CAP_SIGMAS, CAP_PHOTONS = 6.0, 3.0  # above a column's rough mean: no hit weighs more than that in the mean
NEAR_COLUMNS, DIM_COLUMNS, FAR_COLUMNS = 5, 15, 41  # widths of running means: an elastic line, its feet, the continuum
MEDIAN_COLUMNS = 61  # an elastic line and its feet fill less than half of it
LINE_SIGMAS = 3.0  # above the continuum: a column of a line
UNSEEN_PHOTONS = 3.0  # may have been expected where none is seen: Poisson's 95 % limit
SIDE_GAP, SIDE_COLUMNS = 3, 20  # beside a pixel, along its row: the first column that is looked at, and how many
SIDE_CAP = 3.0  # photons; a hit beside a pixel weighs no more
# Above and below a pixel, in this many columns to each side: the first row that is looked at, and how many; where a
# line is bright enough for photons to tell its place in these rows, photons a pixel.
NEAR_GAP, NEAR_ROWS, NEAR_SIDE, NEAR_PHOTONS = 2, 5, 1, 0.1


class PhotonModel:
    """What photons leave in each column, block of rows by block.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed.
    photon_counts, read_noise : float
        Counts of one photon; counts rms a pixel.
    largest_loss : float
        Share of the photons' charge that may pass for hits.

    Attributes
    ----------
    edges, block_of : numpy.ndarray
        First row of each block and the end; the block of each row.
    mean, expected : numpy.ndarray, shape (blocks, columns)
        Counts a pixel: the measured mean, and a cautious one that is nowhere too low.
    cloud_sigma : float
        Radius of a photon's charge along a row, columns rms.
    thresholds : numpy.ndarray, shape (boxes, blocks, columns)
        Counts in each of `callbacks.rixs.photon_charge.BOXES` above which charge is no longer that of photons.
    """

    def __init__(self, image: FloatArray, photon_counts: float, read_noise: float, largest_loss: float) -> None:
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
        self.photon_counts, self.read_noise, self.largest_loss = photon_counts, read_noise, largest_loss
        self.cloud_sigma = _measure_cloud(blocks, self.mean, photon_counts, read_noise)
        self.thresholds = self.thresholds_for(self.expected)

    def thresholds_for(self, expected: FloatArray) -> FloatArray:
        """Give the thresholds for expected counts a pixel, shape (boxes, ...)."""
        noise = self.read_noise / self.photon_counts
        limits = charge_limits(
            expected / self.photon_counts, largest_loss=self.largest_loss, noise=noise, cloud_sigma=self.cloud_sigma
        )
        return limits * self.photon_counts

    def expected_at(self, image: FloatArray, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Give the counts expected in pixels: by their columns, or by what is around them if that is more.

        Light that varies along a column, as a line that runs along the rows does, is on both sides of a pixel; that of
        a line which leaves its column over a block of rows is above and below.
        """
        expected = self.expected[self.block_of[rows], columns]
        along, across = np.arange(SIDE_GAP, SIDE_GAP + SIDE_COLUMNS), np.arange(-1, 2)
        near, beside = np.arange(NEAR_GAP, NEAR_GAP + NEAR_ROWS), np.arange(-NEAR_SIDE, NEAR_SIDE + 1)

        def mean(row_steps: IndexArray, column_steps: IndexArray, cap: FloatArray) -> FloatArray:
            at = rows[:, None, None] + row_steps[:, None], columns[:, None, None] + column_steps
            values, inside = pixels_at(image, *at)
            values = np.where(inside, np.minimum(values, cap[:, None, None]), 0.0)
            return np.asarray(values.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))

        cap = np.full(rows.shape, SIDE_CAP * self.photon_counts)
        sides = np.minimum(mean(across, -along[::-1], cap), mean(across, along, cap))
        local = mean(np.concatenate([-near[::-1], near]), beside, cap + 2 * expected)
        local[expected < NEAR_PHOTONS * self.photon_counts] = 0.0
        return np.asarray(np.maximum(expected, np.maximum(sides, local)))


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


def _measure_cloud(blocks: list[FloatArray], mean: FloatArray, photon_counts: float, read_noise: float) -> float:
    """Measure how far the charge of a photon spreads, by the scatter of bright pixels; no wider than was measured.

    The variance of N shares of q counts is q times their sum. Neighbours along a column are compared, so that lines
    that are not quite straight do not count as scatter, and differences are capped, so that hits do not.
    """
    scatter = counts = 0.0
    pixels = 0
    for block, column_mean in zip(blocks, mean, strict=True):
        bright = block[:, column_mean > SHARING_PHOTONS * photon_counts]
        if not bright.size or len(bright) < 2:
            continue
        expected = bright.mean(axis=0)
        cap = SHARING_CAP * np.sqrt(photon_counts * np.clip(expected, 0, None) + read_noise**2)
        changes = np.clip(np.diff(bright, axis=0), -cap, cap)
        scatter += 0.5 * float((changes**2).sum()) - read_noise**2 * changes.size
        counts += float(expected.sum()) * (len(bright) - 1)
        pixels += bright.size
    if pixels < SHARING_PIXELS or counts <= 0:
        return CLOUD_SIGMA
    return min(cloud_of(scatter / counts / photon_counts), CLOUD_SIGMA)
