"""Read what the page is sent."""

import json
import struct

import numpy as np


def unpack(packed):
    """Read a panel as the page does."""
    (length,) = struct.unpack_from("<I", packed)
    head = json.loads(packed[4 : 4 + length])
    at, arrays = 4 + length, {}
    for name, shape in head["arrays"].items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(packed, "<f4", count, at).reshape(shape)
        at += 4 * count
    assert at == len(packed)
    return head, arrays
