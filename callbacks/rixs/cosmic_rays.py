"""Step 2 of a RIXS map: find cosmic rays by what photons cannot do, and replace them.

Pixels of one column see one emission energy, so the others of a column say how many photons a pixel should hold. A
cosmic ray is charge, in one pixel, in 2 x 2 or in 3 x 3, that so many photons would hardly ever leave there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.stats import norm, poisson

from callbacks.contract import RixsOutput
from callbacks.step import Step

FloatArray = NDArray[np.floating]

BLOCK_ROWS = 64  # rows that share a model: a tilted line stays in its columns, and photons are enough for a mean
# Photons may pass for a hit by chance: once in 1e9 pixels at a threshold of 6 sigma. This is let happen more often, by
# the factors below, where it costs less than the hits that would be missed: most where photons are few, and a clump of
# them is two or three; less where charge is shared among many pixels.
_CHANCE_OF_CLUMPS, _CHANCE_OF_SHARED = 1e5, 2e4
# A pixel beside a hit belongs to it above so many times the read noise and, where photons are crowded, their noise.
_WING_READ_NOISE, _WING_PHOTON_NOISE = 2.0, 1.5
_CROWDED = 0.15  # photons a pixel, from where on one is often beside a hit
_PHOTON_SEEN = 0.3  # of a photon's charge: a pixel with more sees one
_NOISE_MARGIN = 0.5  # times read noise and side of the box
# Charge of a photon that a pixel, 2 x 2 and 3 x 3 pixels catch, as a share of the whole, where a frame cannot tell.
_USUAL_SHARES = (0.7, 0.85, 1.0)
_SKEW_OF_SHARES = 1.2  # the tail of shared charge is that of shares larger than its variance shows
_BRIGHT, _FEWEST_BRIGHT = 0.15, 600  # photons a pixel, and so many pixels, that show how charge is shared
_WHOLE_PHOTON = (0.2, 0.3, 0.5)  # share of a box in which photons leave all their charge to it
_MARGIN = 0.25  # of a photon, beyond the largest credible number of photons
_PHOTONS_AT_LEAST = 2  # in one place are always credible
_FEWEST_PHOTONS = 3.0  # that may have been expected where none is seen


@dataclass(frozen=True)
class CleanedFrame:
    """A frame without its cosmic rays.

    Attributes
    ----------
    frame : numpy.ndarray of float64, shape (rows, columns)
        The pixels of hits hold the mean of their column.
    mask : numpy.ndarray of bool, shape (rows, columns)
        Pixels that were replaced.
    hits : int
        Groups of touching replaced pixels.
    removed_counts : float
        Sum of what was taken away.
    """

    frame: FloatArray
    mask: NDArray[np.bool_]
    hits: int
    removed_counts: float


def remove_cosmic_rays(
    frame: FloatArray, *, photon_counts: float, read_noise: float, threshold: float = 6.0
) -> CleanedFrame:
    """Find cosmic rays in a frame and put the mean of their column in their place.

    Parameters
    ----------
    frame : array_like, shape (rows, columns)
        Counts, pedestal removed, emission energy along the columns. It is not changed.
    photon_counts : float
        Counts that one photon leaves.
    read_noise : float
        Counts rms a pixel.
    threshold : float
        How improbable photons must be, in standard deviations of a normal distribution.

    Returns
    -------
    CleanedFrame

    Raises
    ------
    ValueError
        When the frame is not of two dimensions or not finite, or a number is not above zero.

    Notes
    -----
    In blocks of 64 rows the mean of each column is taken over pixels capped at what photons can leave, and smoothed
    over columns where photons are few. The charge of N photons in a box follows Poisson's law, in units of the share
    of a photon's charge that a box catches. What is above the threshold is a hit; it is grown to touching pixels that
    stand out of the noise.
    """
    image = np.asarray(frame, dtype=float)
    if image.ndim != 2:
        raise ValueError(f"a frame has the shape (rows, columns), not {image.shape}")
    for name, value in (("photon_counts", photon_counts), ("read_noise", read_noise), ("threshold", threshold)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, expected a number above zero")
    if not np.isfinite(image.sum()):
        raise ValueError("the frame holds values that are not finite")

    model = _Model(image, photon_counts, read_noise, threshold)
    rows, columns = _grow(image, *_seeds(image, model), model)
    cleaned, mask = image.copy(), np.zeros(image.shape, dtype=bool)
    mask[rows, columns] = True
    cleaned[rows, columns] = _fill(image, mask, rows, columns, model)
    removed = float((image[rows, columns] - cleaned[rows, columns]).sum())
    return CleanedFrame(cleaned, mask, _count_groups(rows, columns), removed)


class _Model:
    """What photons leave in each column, block of rows by block.

    Attributes
    ----------
    edges, block_of : numpy.ndarray
        First row of each block and the end; the block of each row.
    mean, expected : numpy.ndarray, shape (blocks, columns)
        Counts a pixel: the measured mean, and a cautious one that is nowhere too low.
    thresholds : numpy.ndarray, shape (3, blocks, columns)
        Counts in a pixel, in 2 x 2 and in 3 x 3 pixels that are no longer photons.
    """

    def __init__(self, image: FloatArray, photon_counts: float, read_noise: float, threshold: float) -> None:
        n_rows = len(image)
        n_blocks = max(1, round(n_rows / BLOCK_ROWS))
        self.edges = np.linspace(0, n_rows, n_blocks + 1).astype(int)
        self.block_of = np.repeat(np.arange(n_blocks), np.diff(self.edges))
        blocks = [image[low:high] for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)]
        self.mean = np.stack([_capped_mean(block, photon_counts, read_noise) for block in blocks])
        self.expected = _cautious_mean(self.mean, n_rows / n_blocks, photon_counts, read_noise)
        self.photon_counts, self.read_noise, self.chance = photon_counts, read_noise, float(norm.sf(threshold))
        self.shares = _measure_shares(blocks, self.mean, photon_counts, read_noise)
        self.thresholds = self.thresholds_for(self.expected)

    def thresholds_for(self, expected: FloatArray) -> FloatArray:
        """Give the three thresholds for expected counts a pixel, shape (3, ...)."""
        return np.stack(
            [
                _threshold(expected, side, share=share, chance=self.chance, photon_counts=self.photon_counts)
                + _NOISE_MARGIN * self.read_noise * side
                for side, share in zip((1, 2, 3), self.shares, strict=True)
            ]
        )

    def expected_at(self, image: FloatArray, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> FloatArray:
        """Give the counts expected in pixels: by their columns, or by their neighbours along the rows if that is more.

        Light that varies along a column, as a line that runs along the rows does, is on both sides of a pixel.
        """
        sides = []
        for first, last in ((-22, -2), (3, 23)):
            at = (rows[:, None, None] + np.arange(-1, 2)[:, None], columns[:, None, None] + np.arange(first, last))
            inside = (at[0] >= 0) & (at[0] < image.shape[0]) & (at[1] >= 0) & (at[1] < image.shape[1])
            values = np.where(inside, np.minimum(image[at[0] * inside, at[1] * inside], 3 * self.photon_counts), 0.0)
            sides.append(values.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))
        return np.maximum(self.expected[self.block_of[rows], columns], np.minimum(*sides))


def _capped_mean(block: FloatArray, photon_counts: float, read_noise: float) -> FloatArray:
    """Mean of each column over pixels capped at what photons can leave: no hit weighs more than a few photons."""
    parts = np.array_split(block, min(4, len(block)))
    middle = np.median([part.mean(axis=0) for part in parts], axis=0)  # passes a hit by, if only roughly right
    positive = np.clip(middle, 0, None)
    cap = positive + 6 * np.sqrt(photon_counts * positive + read_noise**2) + 3 * photon_counts
    return np.minimum(block, cap).mean(axis=0)


def _cautious_mean(mean: FloatArray, rows: float, photon_counts: float, read_noise: float) -> FloatArray:
    """Expect the surroundings' light in dim columns, where a column's own mean is a photon or none; more at lines."""

    def smooth(values: FloatArray, size: int) -> FloatArray:
        return np.clip(uniform_filter1d(values, size, axis=1, mode="nearest"), 0, None)

    near, far = smooth(mean, 5), smooth(mean, 41)
    dim = np.minimum(far, median_filter(smooth(mean, 15), size=(1, 61), mode="nearest"))
    dim = np.maximum(dim, _FEWEST_PHOTONS * photon_counts / (41 * rows))
    lines = near > dim + 3 * np.sqrt((photon_counts * dim + read_noise**2) / (5 * rows))
    return maximum_filter1d(np.where(lines, near, dim), 5, axis=1, mode="nearest")


def _measure_shares(
    blocks: list[FloatArray], mean: FloatArray, photon_counts: float, read_noise: float
) -> tuple[float, float, float]:
    """Measure how much of a photon's charge a pixel and 2 x 2 pixels catch: bright pixels scatter by it.

    The variance of N shares of q counts is q times their sum. Neighbours along a column are compared, so that lines
    that are not quite straight do not count as scatter, and differences are capped, so that hits do not.
    """
    shares = []
    for side in (1, 2):
        scatter = counts = 0.0
        pixels = 0
        for block, column_mean in zip(blocks, mean, strict=True):
            bright = (
                np.flatnonzero(column_mean[: column_mean.size // side * side : side] > _BRIGHT * photon_counts) * side
            )
            rows = len(block) // side
            if not bright.size or rows < 2:
                continue
            columns = np.sum([block[: rows * side, bright + step] for step in range(side)], axis=0)
            boxes = columns.reshape(rows, side, bright.size).sum(axis=1)
            expected = boxes.mean(axis=0)
            cap = 5 * np.sqrt(photon_counts * np.clip(expected, 0, None) + side**2 * read_noise**2)
            changes = np.clip(np.diff(boxes, axis=0), -cap, cap)
            scatter += 0.5 * float((changes**2).sum()) - side**2 * read_noise**2 * changes.size
            counts += float(expected.sum()) * (rows - 1)
            pixels += boxes.size * side**2
        if pixels < _FEWEST_BRIGHT or counts <= 0:
            return _USUAL_SHARES
        shares.append(float(np.clip(_SKEW_OF_SHARES * scatter / counts / photon_counts, 0.4, 1.0)))
    return shares[0], max(shares), 1.0


def _threshold(expected: FloatArray, side: int, *, share: float, chance: float, photon_counts: float) -> FloatArray:
    """Charge in a box of side x side pixels that photons leave with no more than this chance."""
    share, whole = share * photon_counts, _WHOLE_PHOTON[side - 1]
    charge = side**2 * np.maximum(expected, 1e-9 * photon_counts)
    number = _poisson_limit(min(chance * _CHANCE_OF_CLUMPS, 0.01), whole * charge / photon_counts)
    number = np.maximum(number, _PHOTONS_AT_LEAST)
    clumps = photon_counts * (number + _MARGIN)
    shared = share * _poisson_limit(min(chance * _CHANCE_OF_SHARED, 0.01), charge / share)
    return np.maximum(clumps, shared)


def _poisson_limit(chance: float, expected: FloatArray) -> FloatArray:
    """Largest number of events that Poisson's law allows; computed on a grid, since it varies slowly."""
    if not expected.size:
        return expected
    grid = np.geomspace(expected.min(), expected.max() * 1.0001, 256)
    return poisson.isf(chance, grid)[np.searchsorted(grid, expected, side="left").clip(0, 255)]


def _seeds(image: FloatArray, model: _Model) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the pixels whose charge, alone or with their neighbours', is above the thresholds."""
    least = np.minimum(model.thresholds[0], np.minimum(model.thresholds[1] / 4, model.thresholds[2] / 9))
    found = []
    for block, (low, high) in enumerate(zip(model.edges[:-1], model.edges[1:], strict=True)):
        rows, columns = np.nonzero(image[low:high] > least[block])
        found.append((rows + low, columns))
    rows, columns = (np.concatenate(each) for each in zip(*found, strict=True))

    def charge(row: int, column: int) -> FloatArray:
        at = (rows + row, columns + column)
        inside = (at[0] >= 0) & (at[0] < image.shape[0]) & (at[1] >= 0) & (at[1] < image.shape[1])
        return np.where(inside, image[at[0] * inside, at[1] * inside], 0.0)

    own = charge(0, 0)
    around = {(row, column): charge(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column}
    four = np.max(
        [own + around[row, 0] + around[0, column] + around[row, column] for row in (-1, 1) for column in (-1, 1)],
        axis=0,
    )
    nine = own + np.sum(list(around.values()), axis=0)
    is_peak = own >= np.max(list(around.values()), axis=0)
    pixel, square, box = model.thresholds[:, model.block_of[rows], columns]
    hit = (own > pixel) | (four > square) | (is_peak & (nine > box))
    rows, columns, own, four, nine = (
        each[hit] for each in (rows, columns, own, four, np.where(is_peak, nine, -np.inf))
    )
    pixel, square, box = model.thresholds_for(model.expected_at(image, rows, columns))
    hit = (own > pixel) | (four > square) | (nine > box)
    return rows[hit], columns[hit]


def _grow(
    image: FloatArray, rows: NDArray[np.intp], columns: NDArray[np.intp], model: _Model
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Add touching pixels that stand out of the noise of their column, until there are no more."""
    n_rows, n_columns = image.shape
    row_steps, column_steps = (steps.ravel() for steps in np.mgrid[-1:2, -1:2])
    hit = np.unique(rows * n_columns + columns)
    front = hit
    while front.size:
        row = (front[:, None] // n_columns + row_steps).ravel()
        column = (front[:, None] % n_columns + column_steps).ravel()
        inside = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
        beside = np.setdiff1d(row[inside] * n_columns + column[inside], hit)
        row, column = beside // n_columns, beside % n_columns
        expected = model.expected_at(image, row, column)
        photon_noise = np.sqrt(model.shares[0] * model.photon_counts * expected)
        photon_noise *= np.minimum(1.0, expected / (_CROWDED * model.photon_counts))
        wing = expected + _WING_READ_NOISE * model.read_noise + _WING_PHOTON_NOISE * photon_noise
        front = beside[image[row, column] > wing]
        hit = np.union1d(hit, front)
    return hit // n_columns, hit % n_columns


def _fill(
    image: FloatArray, mask: NDArray[np.bool_], rows: NDArray[np.intp], columns: NDArray[np.intp], model: _Model
) -> FloatArray:
    """Give what stands in the place of hits: the mean of the other pixels of the column in the same block.

    Where photons are so few that most pixels see none, it is the mean of those that see none: a photon that happens to
    be in the column must not be spread over a hit.
    """
    filled = np.empty(len(rows))
    for block in np.unique(model.block_of[rows]):
        here = model.block_of[rows] == block
        low, high = model.edges[block], model.edges[block + 1]
        at, place = np.unique(columns[here], return_inverse=True)
        values, hit = image[low:high, at], mask[low:high, at]
        dim = model.expected[block, at] < _CROWDED * model.photon_counts
        used = ~hit & ~(dim & (values > _PHOTON_SEEN * model.photon_counts))
        number = used.sum(axis=0)
        mean = np.where(used, values, 0.0).sum(axis=0) / np.maximum(number, 1)
        filled[here] = np.where(number > 0, mean, model.expected[block, at])[place]
    return filled


def _count_groups(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> int:
    if not len(rows):
        return 0
    points = np.stack([rows, columns], axis=1)
    pairs = cKDTree(points).query_pairs(1.1, p=np.inf, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    return int(connected_components(links, directed=False)[0])


class CosmicRaySettings(BaseModel):
    """Settings of `CosmicRayRemoval`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(6.0, gt=0)  # standard deviations


class CosmicRayRemoval(Step):
    """Clean each frame, and keep account of what was taken away."""

    kept = (
        RixsOutput.COSMIC_HITS,
        RixsOutput.COSMIC_REMOVED_COUNTS,
    )

    def __init__(self, settings: CosmicRaySettings) -> None:
        self._settings = settings

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame without its pedestal; give it without its cosmic rays."""
        if not np.isfinite(event[RixsOutput.PHOTON_COUNTS]):
            raise ValueError(f"the counts of a photon are not known: {event['photon_counts_reason']}")
        cleaned = remove_cosmic_rays(
            event[RixsOutput.IMAGE],
            photon_counts=event[RixsOutput.PHOTON_COUNTS],
            read_noise=event[RixsOutput.READ_NOISE],
            threshold=self._settings.threshold,
        )
        return {
            RixsOutput.IMAGE: cleaned.frame,
            RixsOutput.COSMIC_MASK: cleaned.mask,
            RixsOutput.COSMIC_HITS: cleaned.hits,
            RixsOutput.COSMIC_REMOVED_COUNTS: cleaned.removed_counts,
        }
