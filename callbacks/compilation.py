"""Compile loops over pixels with Numba: once on a machine, where what was compiled can be kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(loop: Callable[..., Any], *, sums_in_any_order: bool = False) -> Any:
    """Compile a function of numbers and arrays, or load what has been compiled before.

    Parameters
    ----------
    loop : callable
        What Numba understands. A division by zero gives infinity or NaN in it.
    sums_in_any_order : bool
        Sums may be made of several numbers at once: in an order of the processor's, and not as written.

    Returns
    -------
    callable
        It lets other threads run while it works.

    Notes
    -----
    Functions of the same arguments are compiled again for each data type and order of the arrays that they meet:
    callers make them of one kind.
    """
    import numba  # noqa: PLC0415 - what needs no compiled loop need not wait for it

    # NaN and infinity keep their meaning, and come of a division by zero: where that is an error, each is a question of
    # its own.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if sums_in_any_order:
        options["fastmath"] = {"reassoc", "contract"}
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither beside this file nor at home can what was compiled be kept: it takes 2 s each time
        return numba.njit(**options)(loop)
