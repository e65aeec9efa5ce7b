"""What the columns of a spectrum are, by the names that instruments and programs give them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from beamline.formats.text import quoted
from callbacks.contract import Key

ENERGY, SETPOINT, ANGLE, I0, DWELL, RING = "energy", "energy_setpoint", "angle", "i0", "dwell", "ring_current"
TRANSMISSION, REFERENCE, TEY, TFY, MU = "transmission", "reference", "tey", "tfy", "mu"
SIGMA, OVER_I0 = "_sigma", "_over_i0"  # behind the name of a channel

# The words by which a column is known, the first of a line before the others. A name is cut into words at whatever is
# no letter or digit, and where small letters or digits are followed by a capital one.
# Those of XDI are in `beamline.formats.importers.xdi`, which has them from its specification.
WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    SETPOINT: (("energy", "setpoint"), ("energy", "sp"), ("energy", "requested"), ("energy", "request")),
    ENERGY: (("energy",), ("ev",), ("e",), ("en",), ("kev",), ("mono",), ("hv",), ("photonenergy",)),
    ANGLE: (("angle",), ("theta",), ("bragg",)),
    I0: (("i0",), ("izero",), ("io",), ("mon",), ("monitor",), ("imesh",), ("mesh",)),
    TRANSMISSION: (("itrans",), ("it",), ("i1",), ("trans",), ("transmission",), ("transmitted",)),
    REFERENCE: (("irefer",), ("iref",), ("ir",), ("i2",), ("ref",), ("reference",)),
    TEY: (("tey",), ("drain",), ("sample", "current"), ("electron", "yield")),
    TFY: (("tfy",), ("ifluor",), ("pfy",), ("if",), ("fluorescence",), ("fluo",), ("fluor",), ("fy",)),
    MU: (
        ("mu",),
        ("xmu",),
        ("mutrans",),
        ("mufluor",),
        ("absorption",),
        ("absorbance",),
        ("xas",),
        ("od",),
        ("mux",),
        ("munorm",),
        ("norm",),
    ),
    DWELL: (("dwell",), ("integration", "time"), ("int", "time"), ("count", "time"), ("counting", "time")),
    RING: (("ring", "current"), ("ringcurrent",), ("srcur",), ("beam", "current"), ("sr", "current")),
}
CHANNELS = (I0, TRANSMISSION, REFERENCE, TEY, TFY, MU)
UNIT = re.compile(r"^(?P<name>.*?)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]\s*$")
SUFFIX = re.compile(r"^(?P<name>.+?)[_\s](?P<unit>eV|keV|mA|cps|ms|counts)$")
LONGEST = 200  # characters of a name that is looked at for a unit
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
SLASH = re.compile(r"^(?P<name>.+?) ?/ ?(?P<unit>eV|keV|s|ms|A|mA|deg|rad)$")  # as DIN 1313 has it
ERRORS = ("sigma", "error", "err", "std", "stddev", "stdev", "uncertainty")


def name_and_unit(heading: str) -> tuple[str, str]:
    """Split ``Energy (eV)``, ``TEY [A]``, ``time/s`` and ``energy_eV`` into name and unit, which may be empty."""
    text = unicodedata.normalize("NFKC", heading).strip()
    found = (UNIT.match(text) or SLASH.match(text) or SUFFIX.match(text)) if len(text) <= LONGEST else None
    if found and words_of(found["name"]):
        return found["name"].strip(), found["unit"].strip()
    return text, ""


def words_of(name: str) -> list[str]:
    """Cut a name into its words, in small letters."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name).replace("μ", "mu"))
    return [word for word in re.split(r"[\W_]+", text.lower()) if word]


def known_columns(names: Sequence[str]) -> dict[str, int]:
    """Tell which column is what.

    Parameters
    ----------
    names : sequence of str
        Of the columns, without their units.

    Returns
    -------
    dict of str to int
        Index of a column by what it is: `ENERGY`, `I0`, a channel, or a channel with `SIGMA`. Of several that could be
        the same, the one by the better word and, of these, the one with the fewest words beside it; no column twice.
        A channel over I0, as ``tey_over_i0``, has `OVER_I0` behind its name.
    """
    cut = [words_of(name) for name in names]
    taken: dict[str, int] = {}
    for index, words in enumerate(cut):
        if "over" in words and not _is_error(words):
            taken.setdefault("_".join(words[: words.index("over")]) + OVER_I0, index)
    for what, patterns in WORDS.items():
        found = [
            (rank, len(words), index)
            for index, words in enumerate(cut)
            for rank, pattern in enumerate(patterns)
            if _holds(words, pattern) and index not in taken.values() and not _is_error(words) and "over" not in words
        ]
        if found:
            taken[what] = min(found)[2]
    channels = {what: cut[index] for what, index in taken.items() if what.endswith(OVER_I0) or what in CHANNELS}
    for index, words in enumerate(cut):
        if _is_error(words):
            of = [what for what, own in channels.items() if [word for word in words if word not in ERRORS] == own]
            if of:
                taken.setdefault(of[0] + SIGMA, index)
    return taken


def _holds(words: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether all words of a pattern are among those of a name; a letter or two must be the whole name."""
    if len(pattern) == 1 and len(pattern[0]) <= 1:
        return list(words) == list(pattern)
    return all(word in words for word in pattern)


def _is_error(words: Sequence[str]) -> bool:
    return any(word in ERRORS for word in words)


def with_named(what: Mapping[str, int], named: Mapping[str, int]) -> dict[str, int]:
    """Add the columns that a user named to those that are known by their names, in whose place they stand."""
    scales = (ENERGY, SETPOINT, ANGLE)
    told = any(name in named for name in scales)
    kept = {
        name: place for name, place in what.items() if place not in named.values() and not (told and name in scales)
    }
    return {**kept, **named}


def named_columns(given: Mapping[str, str], names: Sequence[str], count: int) -> dict[str, int]:
    """Find the columns that a user names by what they are.

    Parameters
    ----------
    given : mapping of str to str
        Name of a column, or its number from 1, by what it is.
    names : sequence of str
        Of the columns; none where they have none.
    count : int
        Of the columns.

    Raises
    ------
    ValueError
        When there is no such column.
    """
    found = {}
    for what, column in given.items():
        if not NAME.fullmatch(what) or (what in set(Key) and what not in WORDS):
            known = ", ".join((*WORDS, "...", f"tey{SIGMA}"))
            raise ValueError(f"column {quoted(what)}: expected the name of a channel, as one of {known}")
        if column.isascii() and column.isdigit():  # counters may have numbers for names, which mean nothing here
            places = [int(column) - 1] if len(column) < 5 and 1 <= int(column) <= count else []
        else:
            places = [index for index, name in enumerate(names) if name == column]
        if len(places) != 1:
            there = ", ".join(names) or f"{count}, without names"
            raise ValueError(f"column {quoted(column)} for {what}: expected one of its columns: {quoted(there, 300)}")
        found[what] = places[0]
    return found
