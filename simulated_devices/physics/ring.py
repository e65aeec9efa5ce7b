"""The storage ring: a current that decays, is topped up, and is lost now and then."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FULL_CURRENT = 500.0  # mA


@dataclass
class StorageRing:
    """A storage ring in top-up operation: the current decays between top-ups; now and then the beam is lost.

    Attributes
    ----------
    start : float
        s since 1970.
    dumps : list of (float, float)
        Begin and end of times without beam, s since 1970.
    """

    start: float
    lifetime: float = 8 * 3600.0  # s
    top_up_interval: float = 180.0  # s
    dumps: list[tuple[float, float]] = field(default_factory=list)

    def current(self, moment: NDArray[np.floating]) -> NDArray[np.floating]:
        """Give the current, mA, at moments in s since 1970."""
        current: NDArray[np.floating] = FULL_CURRENT * np.exp(
            -((moment - self.start) % self.top_up_interval) / self.lifetime
        )
        for begin, end in self.dumps:
            current = np.where((moment >= begin) & (moment < end), 0.0, current)
        return current
