"""How the sample looks at any energy, from the aligned images so far: what an image is registered against.

The scans of the constants are in docs/decisions/constants-registration.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from callbacks.stxm.alignment.registration import RegistrationSettings, Shift, register, shifted

FloatArray = NDArray[np.floating]

PASSES = 2  # of registration, each with the contrast found where the one before put the image
FACTORS = (0.1, 10.0)  # by which the absorption may change: what a white line does, with a margin
SMOOTH = 1.0  # pixels; sigma of the Gaussian before the logarithm
LOWEST = 0.02  # transmission that is told apart from none
UNABSORBED_PERCENTILE = 99.0  # of the brightness of an image: counts as no absorption


class Appearance:
    """What the aligned images of a region look like so far, and with it how the sample looks at another energy.

    An edge seems to move when the absorption changes: a strong absorber is dark well into its rim, a weak one in its
    middle only. So an image is registered against the sample as it looks at that energy: the mean absorbance, times a
    factor that is fitted to the image at the shift found so far.
    """

    def __init__(self) -> None:
        self._sum: FloatArray | None = None  # of absorbance times factor
        self._weight: FloatArray = np.zeros(0)  # sum of squared factors

    @property
    def empty(self) -> bool:
        """Whether there is no image yet."""
        return self._sum is None

    @property
    def mean(self) -> FloatArray:
        """Mean absorbance, weighted by how much each image absorbs, shape (rows, columns); NaN where not known."""
        assert self._sum is not None
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._weight > 0, self._sum / self._weight, np.nan)

    def add(self, aligned: FloatArray) -> None:
        """Take an aligned image, counts/s."""
        density = absorbance(aligned)
        factor = 1.0
        if self._sum is None:
            self._sum, self._weight = np.zeros(density.shape), np.zeros(density.shape)
        else:
            factor, _ = _contrast(self.mean, density)
        known = np.isfinite(density)
        self._sum[known] += factor * density[known]
        self._weight[known] += factor**2

    def register(self, image: FloatArray, settings: RegistrationSettings, start: FloatArray) -> Shift:
        """Register an image, counts/s, against the images so far.

        Parameters
        ----------
        image : numpy.ndarray, shape (rows, columns)
        settings : RegistrationSettings
        start : numpy.ndarray, shape (2,)
            Where it is looked for first, pixel.
        """
        mean = self.mean
        found = Shift(start, np.zeros(2), "ok")
        for _ in range(PASSES):
            aligned, _ = shifted(image, np.ones_like(image), found.shift)
            factor, offset = _contrast(mean, absorbance(aligned))
            found = register(image, np.exp(-factor * mean - offset), settings, start=found.shift)
            if found.status != "ok":
                break
        return found


def absorbance(image: FloatArray) -> FloatArray:
    """Give -ln of a smoothed image over its brightest places; NaN near a missing pixel."""
    measured = np.isfinite(image)
    level = float(np.median(image[measured])) if measured.any() else 1.0
    smooth = ndimage.gaussian_filter(np.where(measured, image, level), SMOOTH)
    known = ndimage.binary_erosion(measured, iterations=2, border_value=1)
    bright = float(np.percentile(smooth[known], UNABSORBED_PERCENTILE)) if known.any() else 1.0
    return np.where(known, -np.log(np.clip(smooth / bright, LOWEST, None)), np.nan)


def _contrast(mean: FloatArray, density: FloatArray) -> tuple[float, float]:
    """Fit an absorbance image by a factor times another and an offset; what is darker is noisier and weighs less."""
    known = np.isfinite(density) & np.isfinite(mean)
    weight = np.exp(-density[known])
    design = np.column_stack([mean[known], np.ones(known.sum())]) * weight[:, None]
    (factor, offset), *_ = np.linalg.lstsq(design, density[known] * weight, rcond=None)
    return float(np.clip(factor, *FACTORS)), float(offset)
