"""Absorption edges: the energy windows, in eV, of Gent et al. (2017), whose methods these are.

W. E. Gent et al., "Coupling between oxygen redox and cation migration explains unusual electrochemistry in lithium-rich
layered oxides", Nat. Commun. 8 (2017) 2091, Supplementary Information. The windows of Fe, which the text does not
have, are placed as those of the other L3 edges. See docs/decisions/constants-edges.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float]
PRE_EDGE_SHARE, POST_EDGE_SHARE = 0.12, 0.15  # of the energy range, where an edge is not known
SLACK = 0.02  # eV by which an energy read back may lie beyond the end of a window
FEWEST_IN_WINDOW, MISSING_SHARE = 3, 0.25  # energies that fill a window, and the share of it that may be missing above


@dataclass(frozen=True)
class Edge:
    """An absorption edge.

    Attributes
    ----------
    background : (float, float)
        Below the edge: the mean here is subtracted, its scatter is the noise of a pixel.
    area : (float, float)
        The integral here normalises a pixel.
    brightness : (float, float)
        The integral here is the brightness of a chemical map.
    feature : float or None
        Where the oxidised phase absorbs more than the reduced one.
    sample : float
        Where the oxide absorbs: pixels are sample above a threshold here.
    of_binder : bool
        Whether binder has this edge as well: then an end member may be none of the phases, but binder.
    """

    name: str
    background: Window
    area: Window
    brightness: Window
    feature: float | None
    sample: float
    of_binder: bool = False


EDGES = {
    edge.name: edge
    for edge in (
        Edge("O K", (520.0, 526.0), (525.0, 535.0), (535.0, 560.0), 530.8, 529.5, of_binder=True),
        Edge("Mn L3", (630.0, 636.0), (638.0, 647.0), (638.0, 647.0), 643.0, 644.0),
        Edge("Fe L3", (700.0, 705.0), (706.0, 714.0), (706.0, 714.0), 709.8, 709.0),
        Edge("Co L3", (768.0, 774.0), (776.0, 784.0), (776.0, 784.0), 781.3, 780.0),
        Edge("Ni L3", (842.0, 848.0), (851.0, 857.0), (851.0, 857.0), 855.3, 852.0),
    )
}


def edge_of(name: str, energies: NDArray[np.floating]) -> Edge:
    """Give the windows of an edge; shares of the energy range for one that is not known or not covered.

    Parameters
    ----------
    name : str
        As in "O K", "Mn L3" or "Mn L"; where it is empty, the energies decide.
    energies : numpy.ndarray, shape (n,)
        The energies planned, eV, ascending.
    """
    for edge in EDGES.values():
        if edge.name.startswith(name.strip()) and _holds(energies, edge.background) and _holds(energies, edge.area):
            return edge
    low, high = float(energies[0]), float(energies[-1])
    span = high - low
    background, top = (low, low + PRE_EDGE_SHARE * span), (high - POST_EDGE_SHARE * span, high)
    return Edge(name, background, (background[1], high), (background[1], high), None, top[0])


def window_or(energies: NDArray[np.floating], window: Window, otherwise: Window) -> Window:
    """Give a window where the energies fill it, or else another one."""
    return window if _holds(energies, window) else otherwise


def inside(energies: NDArray[np.floating], window: Window) -> NDArray[np.bool_]:
    """Tell which energies lie in a window, ends included, with `SLACK` to spare: read-back energies scatter."""
    return (energies >= window[0] - SLACK) & (energies <= window[1] + SLACK)


def gap_in(energies: NDArray[np.floating], window: Window) -> str:
    """Say where a window has no energies for so long that nothing can be integrated over it; "" where there are.

    That is over more than `MISSING_SHARE` of the window, as where the beam was lost, or a stack was ended early.

    Parameters
    ----------
    energies : numpy.ndarray, shape (n,)
        Of the images that are there, eV, ascending.
    window : (float, float)
        eV.
    """
    within = energies[inside(energies, window)]
    bounds = np.concatenate([[window[0]], within, [window[1]]])
    at = int(np.diff(bounds).argmax())
    if bounds[at + 1] - bounds[at] <= MISSING_SHARE * (window[1] - window[0]):
        return ""
    return (
        f"no image between {bounds[at]:.2f} and {bounds[at + 1]:.2f} eV, where the edge area from {window[0]:.1f} to"
        f" {window[1]:.1f} eV is integrated"
    )


def _holds(energies: NDArray[np.floating], window: Window) -> bool:
    """Tell whether energies fill a window: enough lie in it, and they reach its upper part."""
    last = window[1] - MISSING_SHARE * (window[1] - window[0])
    return bool(inside(energies, window).sum() >= FEWEST_IN_WINDOW and energies[-1] >= last)
