"""What an analysis by a recipe is of, as it is read from the runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from beamline.storage.results import Run
from callbacks.analysis import Pixels, Row
from callbacks.contract import Quantity

NOT_TAKEN_OFF = "no [self_absorption] is given"


@dataclass
class Gathered:
    """What is analysed, and what is said of it.

    Attributes
    ----------
    raws : list of Run
        The runs.
    notes, corrected : list of str
        What was assumed or left out; what was taken off, and how well it is known.
    references : dict of str to Row
        References of the recipe that are runs, with all that was done to the spectra before they are normalised.
    more : dict of str to Quantity
        What is kept beside what is read off: offsets of energies, maps on common axes.
    """

    raws: list[Run] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    pixels: list[Pixels] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    references: dict[str, Row] = field(default_factory=dict)
    more: dict[str, Quantity] = field(default_factory=dict)
