"""Keep the numbers that the catalogue's JSON cannot represent beside it: NaN, infinities, integers beyond 2^53."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Key of a run's metadata in the catalogue, beside "start" and "stop":
# {"start" | "stop" | uid of a descriptor: [[path, text of the number], ...]}
EXACT = "exact"
JSON_LIMIT = 2**53  # the catalogue clips integers from here on; NaN becomes null, and infinity 1.7976e308


def to_json(value: Any, lost: list[Any], path: tuple[str | int, ...] = ()) -> Any:
    """Convert a value of a document to what JSON knows, and note the numbers that would be lost.

    Parameters
    ----------
    value : object
        Mappings, sequences, arrays, numbers, strings.
    lost : list
        Receives [path, text] for each number that the catalogue's JSON cannot represent; see `from_json`.
    path : tuple of (str or int)
        Keys and indices that lead from the document to the value.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_json(part, lost, (*path, str(key))) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(part, lost, (*path, index)) for index, part in enumerate(value)]
    if isinstance(value, int | float) and not abs(value) < JSON_LIMIT:
        lost.append([list(path), repr(value)])
    return value


def from_json(value: Any, lost: list[Any]) -> Any:
    """Undo `to_json`: put the numbers that JSON could not represent back. Changes and returns `value`."""
    for path, text in lost:
        parent = value
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = int(text) if text.lstrip("-").isdigit() else float(text)
    return value
