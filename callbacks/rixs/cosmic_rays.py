"""Step 2 of a RIXS map: find cosmic rays by the charge that photons cannot leave, and replace them.

Pixels of one column see one emission energy, so the others of a column say how many photons a pixel should hold
(`callbacks.rixs.photon_model`). A cosmic ray is charge, in a pixel or a few that touch, that this many photons are very
unlikely to leave there. The scans of the constants are in docs/decisions/constants-cosmic-rays.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.special import ndtr

from callbacks.contract import RixsOutput
from callbacks.rixs.compiled import box_charges, pixels_above
from callbacks.rixs.photon_charge import BOXES, pixel_share
from callbacks.rixs.photon_model import FloatArray, IndexArray, PhotonModel
from callbacks.step import Step, UnusableError

# A pixel beside a hit belongs to it above these multiples of the read noise and, where photons are crowded, of theirs.
WING_READ_NOISE, WING_PHOTON_NOISE = 2.0, 3.0
CROWDED = 0.15  # photons a pixel above which a photon is often beside a hit
PHOTON_SEEN = 0.3  # of a photon's charge: a pixel with more sees one
# Of a photon's charge in a pixel of a hit, so that others may belong to it: of its row, and of the rows beside it.
GROWS_ALONG, GROWS_ACROSS = 0.5, 1.0
LOSS, LOSS_AT = 3e-3, 6.0  # share of the photons' charge that may pass for hits in each kind of box, at this threshold
LARGEST_LOSS = 0.1  # however low the threshold that is asked for
LARGEST_SHARE = 0.1  # of the pixels that hits may cover: with more, nothing tells the light beneath
PASSES = 2  # the second expects the light of a frame without the hits of the first


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
        How improbable photons must be, in standard deviations of a normal distribution: with 6 they lose no more than
        `LOSS` of their charge where they pass for hits, with others as much more or less as its tail has.

    Returns
    -------
    CleanedFrame

    Raises
    ------
    ValueError
        When the frame is not of two dimensions or not finite, a number is not above zero, or hits cover more of the
        frame than `LARGEST_SHARE`; `UnusableError` where it is the frame's fault.

    Notes
    -----
    In blocks of 64 rows the mean of each column is taken over pixels capped at what photons can leave, and smoothed
    over columns where photons are few. Charge in a pixel, or in a few that touch, more than this many photons
    leave is a hit (`callbacks.rixs.photon_charge`); it is grown to touching pixels that stand out
    of the noise. Then all is done once more, with the light that the frame without these hits shows.
    """
    image = np.asarray(frame, dtype=float)
    if image.ndim != 2 or not image.size:
        raise ValueError(f"a frame has the shape (rows, columns), not {image.shape}")
    for name, value in (("photon_counts", photon_counts), ("read_noise", read_noise), ("threshold", threshold)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, expected a number above zero")
    if not np.isfinite(image.sum()):
        raise UnusableError("the frame holds values that are not finite")

    largest_loss = min(LOSS * float(ndtr(-threshold) / ndtr(-LOSS_AT)), LARGEST_LOSS)
    cleaned = image
    for _ in range(PASSES):
        model = PhotonModel(cleaned, photon_counts, read_noise, largest_loss)
        rows, columns = _grow_hits(image, cleaned, *_find_seeds(image, cleaned, model), model)
        cleaned, mask = image.copy(), np.zeros(image.shape, dtype=bool)
        mask[rows, columns] = True
        cleaned[rows, columns] = _replacement(image, mask, rows, columns, model)
    if (share := mask.mean()) > LARGEST_SHARE:
        raise UnusableError(
            f"charge that photons of {photon_counts:g} counts do not leave covers {share:.0%} of the frame, expected at"
            f" most {LARGEST_SHARE:.0%}: what light there is beneath is not known"
        )
    removed = float((image[rows, columns] - cleaned[rows, columns]).sum())
    return CleanedFrame(cleaned, mask, _count_groups(rows, columns), removed)


def _find_seeds(image: FloatArray, light: FloatArray, model: PhotonModel) -> tuple[IndexArray, IndexArray]:
    """Find the pixels whose charge, alone or with their neighbours', is above the thresholds of the light around them.

    Pixels above the lowest threshold that the brightest of a box can reach are looked at by the expectation of their
    column; those that pass once more by that of their neighbours along the row, which is more expensive to compute.
    """
    lowest = np.min([limit / (r * c) for limit, (r, c) in zip(model.thresholds, BOXES, strict=True)], axis=0)
    rows, columns = pixels_above(image, lowest, model.block_of)
    charges = box_charges(image, rows, columns)
    hit = (charges > model.thresholds[:, model.block_of[rows], columns]).any(axis=0)
    rows, columns, charges = rows[hit], columns[hit], charges[:, hit]
    hit = (charges > model.thresholds_for(model.expected_at(light, rows, columns))).any(axis=0)
    return rows[hit], columns[hit]


def _grow_hits(
    image: FloatArray, light: FloatArray, rows: IndexArray, columns: IndexArray, model: PhotonModel
) -> tuple[IndexArray, IndexArray]:
    """Add touching pixels that stand out of the noise of their column, until there are no more.

    What lies beside the faint rim of a hit is more likely a photon.
    """
    n_rows, n_columns = image.shape
    row_steps, column_steps = (steps.ravel() for steps in np.mgrid[-1:2, -1:2])
    share = pixel_share(model.cloud_sigma)
    hit = np.unique(rows * n_columns + columns)
    front = hit
    grows_from = model.photon_counts * np.where(row_steps, GROWS_ACROSS, GROWS_ALONG)
    while front.size:
        row, column = front[:, None] // n_columns + row_steps, front[:, None] % n_columns + column_steps
        inside = (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_columns)
        inside &= image.ravel()[front][:, None] > grows_from
        beside = np.setdiff1d(row[inside] * n_columns + column[inside], hit)
        row, column = beside // n_columns, beside % n_columns
        expected = model.expected_at(light, row, column)
        photon_noise = np.sqrt(share * model.photon_counts * expected)
        photon_noise *= np.minimum(1.0, expected / (CROWDED * model.photon_counts))
        wing = expected + WING_READ_NOISE * model.read_noise + WING_PHOTON_NOISE * photon_noise
        front = beside[image[row, column] > wing]
        hit = np.union1d(hit, front)
    return hit // n_columns, hit % n_columns


def _replacement(
    image: FloatArray, mask: NDArray[np.bool_], rows: IndexArray, columns: IndexArray, model: PhotonModel
) -> FloatArray:
    """Give the counts that replace hits: the mean of the other pixels of the column in the same block.

    Where photons are so few that most pixels see none, it is the mean of those that see none: a photon that happens to
    be in the column must not be spread over a hit.
    """
    filled = np.empty(len(rows))
    for block in np.unique(model.block_of[rows]):
        here = model.block_of[rows] == block
        low, high = model.edges[block], model.edges[block + 1]
        at, place = np.unique(columns[here], return_inverse=True)
        values, hit = image[low:high, at], mask[low:high, at]
        dim = model.expected[block, at] < CROWDED * model.photon_counts
        used = ~hit & ~(dim & (values > PHOTON_SEEN * model.photon_counts))
        number = used.sum(axis=0)
        mean = np.where(used, values, 0.0).sum(axis=0) / np.maximum(number, 1)
        filled[here] = np.where(number > 0, mean, model.expected[block, at])[place]
    return filled


def _count_groups(rows: IndexArray, columns: IndexArray) -> int:
    """Count the groups of touching pixels, corners included."""
    if not len(rows):
        return 0
    points = np.stack([rows, columns], axis=1)
    pairs = cKDTree(points).query_pairs(1.1, p=np.inf, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    return int(connected_components(links, directed=False)[0])


class CosmicRaySettings(BaseModel):
    """Settings of `CosmicRayRemoval`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(6.0, gt=0, le=30)  # sigma: with 6, 0.3 % of photons' charge may pass for hits


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
            raise UnusableError(f"the counts of a photon are not known: {event['photon_counts_reason']}")
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
