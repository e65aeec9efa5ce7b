"""Numbers of things in the texts that steps and operations give."""

from __future__ import annotations


def number_of(count: int, noun: str) -> str:
    """Give a number with its noun, which is in the plural unless it is one.

    Parameters
    ----------
    count : int
    noun : str
        In the singular.

    Examples
    --------
    >>> number_of(1, "energy"), number_of(0, "energy"), number_of(2, "elastic line")
    ('1 energy', '0 energies', '2 elastic lines')
    """
    if count == 1:
        return f"{count} {noun}"
    if noun.endswith("spectrum"):
        return f"{count} {noun.removesuffix('um')}a"
    return f"{count} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{count} {noun}s"
