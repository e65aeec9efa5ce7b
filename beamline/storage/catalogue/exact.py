"""Keep what the catalogue's JSON cannot represent beside it: NaN, infinities, integers beyond 2^53; NUL in a text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Key of a run's metadata in the catalogue, beside "start" and "stop":
# {"start" | "stop" | uid of a descriptor: [[path, text of the number or, as JSON, of the text], ...]}
EXACT = "exact"
JSON_LIMIT = 2**53  # the catalogue clips integers from here on; NaN becomes null, and infinity 1.7976e308


@dataclass(frozen=True)
class JsonLimits:
    """What the JSON of a database can hold.

    Attributes
    ----------
    largest : float
        The largest number that comes back as one; beyond, the database is given this one.
    nul : bool
        Whether a text may have the character NUL in it; else it is given a replacement character.
    """

    largest: float = math.inf
    nul: bool = True


NO_LIMITS = JsonLimits()


def to_json(value: Any, lost: list[Any], path: tuple[str | int, ...] = (), limits: JsonLimits = NO_LIMITS) -> Any:
    """Convert a value of a document to what JSON knows, and note the numbers and texts that would be lost.

    Parameters
    ----------
    value : object
        Mappings, sequences, arrays, numbers, strings.
    lost : list
        Receives [path, text] for each that the catalogue's JSON cannot represent; see `from_json`.
    path : tuple of (str or int)
        Keys and indices that lead from the document to the value.
    limits : JsonLimits
        Of the database.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_json(part, lost, (*path, str(key)), limits) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(part, lost, (*path, index), limits) for index, part in enumerate(value)]
    if isinstance(value, int | float) and not abs(value) < JSON_LIMIT:
        lost.append([list(path), repr(value)])
        if abs(value) > limits.largest:
            return math.copysign(limits.largest, value)
    if isinstance(value, str) and not limits.nul and "\0" in value:
        lost.append([list(path), json.dumps(value)])
        return value.replace("\0", "\ufffd")
    return value


def from_json(value: Any, lost: list[Any]) -> Any:
    """Undo `to_json`: put back what JSON could not represent. Changes and returns `value`."""
    for path, text in lost:
        parent = value
        for part in path[:-1]:
            parent = parent[part]
        if text.startswith('"'):
            parent[path[-1]] = json.loads(text)
        else:
            parent[path[-1]] = int(text) if text.lstrip("-").isdigit() else float(text)
    return value
