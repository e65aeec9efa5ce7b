"""An operando cell under a potentiostat: charge, current and voltage of a Li-rich oxide against lithium.

The voltage follows the shape of the first charge of Li-rich NMC: a slope to 4.4 V up to some 120 mAh/g, while the
metals are oxidised, and the long plateau of the oxygen near 4.5 V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAPACITY = 320.0  # mAh/g, to which it can be charged
RESISTANCE = 0.9  # V per A/g: 25 mV at a tenth of the capacity an hour
OPEN_CIRCUIT = np.array(
    [[0.0, 3.2], [10.0, 3.7], [60.0, 3.95], [120.0, 4.40], [140.0, 4.47], [250.0, 4.53], [320.0, 4.80]]
)


@dataclass
class Cell:
    """The cell: it is charged or discharged at a constant rate to a charge, and held there.

    Attributes
    ----------
    charge : float
        mAh/g, at `since`.
    goal : float
        mAh/g, to which it goes.
    rate : float
        mA/g, of charge and discharge.
    since : float
        s since 1970.
    """

    charge: float = 0.0
    goal: float = 0.0
    rate: float = 28.0
    since: float = 0.0

    def go(self, moment: float, goal: float) -> float:
        """Begin to charge or discharge to a charge, mAh/g; give the moment at which it is there, s since 1970."""
        self.charge, self.goal, self.since = self.at(moment), goal, moment
        return moment + abs(goal - self.charge) / self.rate * 3600.0

    def hold(self, moment: float) -> None:
        """Stop where it is."""
        self.go(moment, self.at(moment))

    def at(self, moment: float) -> float:
        """Give the charge at a moment, mAh/g."""
        done = self.rate * max(0.0, moment - self.since) / 3600.0
        way = self.goal - self.charge
        return float(self.charge + np.sign(way) * min(abs(way), done))

    def current(self, moment: float) -> float:
        """Give the current at a moment, mA/g: positive while it is charged."""
        return float(np.sign(self.goal - self.at(moment)) * self.rate)

    def voltage(self, moment: float) -> float:
        """Give the voltage at a moment, V."""
        resting = float(np.interp(self.at(moment), OPEN_CIRCUIT[:, 0], OPEN_CIRCUIT[:, 1]))
        return resting + RESISTANCE * self.current(moment) / 1000.0
