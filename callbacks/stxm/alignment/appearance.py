"""How the sample looks at any energy, from the aligned images so far: what an image is registered against.

The scans of the constants are in docs/decisions/constants-registration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from callbacks.stxm.alignment.drift import Drift, Pull, drift_of
from callbacks.stxm.alignment.registration import (
    Prediction,
    RegistrationSettings,
    Shift,
    SmoothImage,
    absorbance,
    fit_absorbance,
    match,
    shifted,
    smoothed,
)

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

COMPONENTS = 3  # of the absorbance, by which an image is predicted
KEPT = 5  # of the absorbance, from image to image: what is left out is lost
HELD_BY_ONE = 0.8  # share of a component that is one image's: without this image, it is not known
ALIKE = 0.05  # correlation of what changes with the slopes of the mean, rms, as it is expected beforehand
LEAST_ABSORPTION = 0.1  # of the most: with less, an image has no contrast to speak of
UNABSORBED_PERCENTILE = 99.0  # of the brightness of an image: counts as no absorption


class Appearance:
    """What the aligned images of a region look like so far, and with it how the sample looks at another energy.

    The absorbance of all images is a sum of few components, of which each image has its own amounts; they are those of
    a singular value decomposition, which each image updates (M. Brand, Proc. ECCV 2350 (2002) 707). An image is
    registered against what they make of it, its amounts fitted along with its shift; what it gave to them itself is
    taken out first.

    Parameters
    ----------
    settings : RegistrationSettings
    complete : bool
        Whether it is made of all images of a stack. While images are still to come that look like none before, only
        what varies fast is compared: it moves least where the composition is another than before.
    """

    def __init__(self, settings: RegistrationSettings, *, complete: bool = False) -> None:
        self._settings = settings
        self._complete = complete
        self._maps: FloatArray = np.empty((0, 0, 0))  # orthonormal, shape (components, rows, columns)
        self._strength: FloatArray = np.empty(0)  # singular values
        self._amounts: FloatArray = np.empty((0, 0))  # of unit length, shape (images, components)
        self._known: BoolArray = np.empty((0, 0), dtype=bool)
        self._rows: dict[int, int] = {}  # of the amounts, by the name of an image
        self._pull: Pull | None = None
        self._turn: FloatArray = np.empty((0, 0))  # amounts as they were when the pull was found, by those of now

    @property
    def names(self) -> list[int]:
        """Names of the images, in the order in which they were added."""
        return list(self._rows)

    def __len__(self) -> int:
        """Give how many images there are."""
        return len(self._amounts)

    def add(self, aligned: FloatArray, name: int) -> None:
        """Take an aligned image, counts/s, under a name."""
        image = _over_bright(smoothed(aligned, self._settings.smoothing))
        if not image.known.any():
            return
        density = absorbance(image.value)
        self._rows[name] = len(self)
        if not len(self):
            nearest = ndimage.distance_transform_edt(~image.known, return_distances=False, return_indices=True)
            first = density[tuple(nearest)]
            first = first - first.mean()
            length = float(np.linalg.norm(first)) or 1.0
            self._maps, self._strength = first[None] / length, np.array([length])
            self._amounts, self._known = np.ones((1, 1)), image.known.copy()
            return
        amount, offset = fit_absorbance(density[image.known], self._maps[:, image.known])
        rest = np.where(image.known, density - offset - np.tensordot(amount, self._maps, axes=1), 0.0)
        beyond = float(np.linalg.norm(rest)) or 1.0
        kept = len(self._strength)
        core = np.zeros((kept + 1, kept + 1))
        core[:kept, :kept] = np.diag(self._strength)
        core[kept] = [*amount, beyond]
        left, strength, right = np.linalg.svd(core)
        amounts = np.zeros((len(self) + 1, kept + 1))
        amounts[:-1, :kept], amounts[-1, kept] = self._amounts, 1.0
        self._strength = strength[:KEPT]
        self._amounts = amounts @ left[:, :KEPT]
        self._maps = np.tensordot(right[:KEPT], np.concatenate([self._maps, rest[None] / beyond]), axes=1)
        self._known |= image.known
        if self._amounts[:, 0].sum() < 0:
            left[:, 0] *= -1
            self._amounts[:, 0] *= -1
            self._maps[0] *= -1
        self._turn = self._turn @ left[:kept, :KEPT] if self._pull else np.empty((0, 0))

    def register(self, image: FloatArray, start: FloatArray, name: int | None = None) -> Shift:
        """Register an image, counts/s, against the others.

        Parameters
        ----------
        image : numpy.ndarray, shape (rows, columns)
        start : numpy.ndarray, shape (2,)
            Where it is looked for first, pixel; where it lay when it was added, if it was.
        name : int, optional
            Under which it was added.
        """
        moving = _over_bright(smoothed(image, self._settings.smoothing))
        maps, spread = self._others(moving, start, name)
        amount = np.zeros(len(maps))
        amount[0], spread[0] = spread[0], math.inf
        prediction = Prediction(np.ones(image.shape), self._known, maps, amount, spread, fine=not self._complete)
        found = match(moving, prediction, self._settings, start)
        if self._pull is None or found.shift.status != "ok":
            return found.shift
        by, uncertain = self._pull.of(_contrast((self._turn[:, : len(maps)] @ found.amount)[None])[0])
        return replace(found.shift, shift=found.shift.shift - by, sigma=np.hypot(found.shift.scatter, uncertain))

    def settle(self, shifts: Sequence[Shift], moments: FloatArray, energies: FloatArray) -> Drift:
        """Tell drift from what follows the contrast; images that are registered from now on are freed of that.

        Parameters
        ----------
        shifts : sequence of Shift
            Of the images in `names`.
        moments, energies : numpy.ndarray, shape (images,)
            s and eV.
        """
        slopes = np.sqrt([float((slope**2).sum()) for slope in np.gradient(self._maps[0])])
        strength = self._strength[1:COMPONENTS] / self._strength[0]
        drift = drift_of(
            np.array([shift.shift for shift in shifts]),
            np.array([shift.scatter for shift in shifts]),
            contrast=_contrast(self._amounts),
            expected=np.outer(ALIKE / slopes, strength),
            moment=moments,
            energy=energies,
        )
        self._pull, self._turn = drift.pull, np.eye(len(self._strength))
        return drift

    def _others(self, image: SmoothImage, start: FloatArray, name: int | None) -> tuple[FloatArray, FloatArray]:
        """Give the absorbance of each component without one image, and the rms of its amount in the others."""
        absorbances = self._strength[:, None, None] * self._maps
        row = None if name is None else self._rows.get(name)
        if row is None:
            return absorbances[:COMPONENTS], np.full(min(len(absorbances), COMPONENTS), len(self) ** -0.5)
        own = self._amounts[row]
        share = float(own @ own)
        if share > HELD_BY_ONE:
            absorbances -= np.tensordot(np.outer(own, own) / share, absorbances, axes=1)
        else:
            value, _ = shifted(image.value, image.value, start)
            known = np.abs(shifted(image.known.astype(float), image.value, start)[0] - 1) < 1e-6  # of known ones only
            density = np.where(known, absorbance(np.where(known, value, 1.0)), 0.0)
            amount, offset = fit_absorbance(density[known], absorbances[:, known])
            rest = np.where(known, density - offset - np.tensordot(amount, absorbances, axes=1), 0.0)
            absorbances -= own[:, None, None] * (np.tensordot(amount, absorbances, axes=1) + rest)
            absorbances += np.tensordot(np.outer(own, own) / (1 - share), absorbances, axes=1)
        spread = np.sqrt(np.maximum(1 - own**2, 0.0) / max(len(self) - 1, 1))
        return absorbances[:COMPONENTS], spread[:COMPONENTS]


def _over_bright(image: SmoothImage) -> SmoothImage:
    """Give a smoothed image over its brightest places."""
    bright = float(np.percentile(image.value[image.known], UNABSORBED_PERCENTILE)) if image.known.any() else 1.0
    return SmoothImage(image.value / (bright or 1.0), image.known)


def _contrast(amounts: FloatArray) -> FloatArray:
    """Give the amounts of what changes over that of the first component, shape (images, changes)."""
    first = amounts[:, :1]
    return np.asarray(amounts[:, 1:COMPONENTS] / np.maximum(first, LEAST_ABSORPTION * first.max()))
