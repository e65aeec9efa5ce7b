"""Keep beside a document in JSON the numbers that JSON cannot say: NaN, infinities, whole numbers beyond 2^53."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Key of a run's metadata in the catalogue, beside "start" and "stop":
# {"start" | "stop" | uid of a descriptor: [[path, text of the number], ...]}
EXACT = "exact"
JSON_LIMIT = 2**53  # the catalogue clips whole numbers from here on; NaN becomes null, an infinity 1.7976e308


def to_json(value: Any, lost: list[Any], path: tuple[str | int, ...] = ()) -> Any:
    """Give a value of a document as JSON has it.

    Parameters
    ----------
    value : object
        Mappings, sequences, arrays, numbers, strings.
    lost : list
        Is given [path, text] for each number that JSON, as the catalogue writes it, cannot say; see `from_json`.
    path : tuple of (str or int)
        Where the value is.
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
    """Undo `to_json` on a document: put back the numbers that JSON could not say. Changes and returns `value`."""
    for path, text in lost:
        parent = value
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = int(text) if text.lstrip("-").isdigit() else float(text)
    return value
