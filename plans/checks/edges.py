"""Whether the energies of a plan are those of the absorption edge that it names."""

from __future__ import annotations

import re

SHELLS = re.compile(r"K|L([1-3]|2,3)?|M([1-5]|2,3|4,5)?")
LONGEST_SYMBOL = 2  # letters of an element's
NEAR_EDGE = 20.0  # eV: the O K absorption of oxides begins at 528, the binding energy that is tabulated is 543


def why_elsewhere(edge: str, first: float, last: float) -> str:
    """Say that energies are not those of the edge they are named for, or that it is none; else empty.

    Parameters
    ----------
    edge : str
        As a user names it; what is not an element, a space and one of its edges or shells says nothing.
    first, last : float
        Lowest and highest energy, eV.

    Notes
    -----
    Binding energies are those of the elements, as xraydb tabulates them.
    """
    element, _, shell = edge.strip().partition(" ")
    if not element.isalpha() or shell[:1] not in ("K", "L", "M"):
        return ""
    import xraydb  # noqa: PLC0415 - 1.3 s, and few plans name an edge

    try:
        known = xraydb.xray_edges(element) if len(element) <= LONGEST_SYMBOL else None  # it takes names, too
    except ValueError:
        known = None
    if known is None:
        no_element = f"edge {edge}: {element} is not the symbol of an element, as O of O K"
        return no_element if SHELLS.fullmatch(shell) else ""
    where = sorted(float(known[name].energy) for name in known if name.startswith(shell[:2]))
    if not where or any(first - NEAR_EDGE <= at <= last + NEAR_EDGE for at in where):
        return ""
    at = " to ".join(f"{value:g}" for value in dict.fromkeys((where[0], where[-1])))
    return f"edge {edge}: lies at {at} eV, and {first:g} to {last:g} eV are measured"
