"""Check the global heaps of an HDF5 file, where its texts are: libhdf5 reads a damaged one without end.

The layout is that of section III.E of the HDF5 file format specification: a signature, the size of the collection, and
objects that each give their own size. An object of size zero, or one that reaches beyond its collection, is damage.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

SIGNATURE = b"GCOL\x01\0\0\0"  # with version 1 and three reserved bytes
HEADER = struct.Struct("<8sQ")
OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, size
LARGEST = 1 << 30  # bytes of a collection; one has 4 kB, or as many as its largest object


def check_heaps(path: Path) -> None:
    """Look for damage in the heaps of a file.

    Raises
    ------
    ValueError
        When a heap is damaged; names the file and the byte.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.find(SIGNATURE)
        while place >= 0:
            _check_collection(path, data, place)
            place = data.find(SIGNATURE, place + len(SIGNATURE))


def _check_collection(path: Path, data: mmap.mmap, place: int) -> None:
    if place + HEADER.size > len(data):
        return  # cut off; libhdf5 says so
    _, size = HEADER.unpack_from(data, place)
    end = place + size
    if size > LARGEST or end > len(data):
        return  # libhdf5 says so
    at = place + HEADER.size
    while at + OBJECT.size <= end:
        index, _, _, length = OBJECT.unpack_from(data, at)
        step = length if index == 0 else OBJECT.size + (length + 7) // 8 * 8  # index 0: the free space, header included
        if not 0 < step <= end - at:
            raise ValueError(f"{path.name}: damaged at byte {at}: an object of {length:,} bytes in a heap of {size:,}")
        at += step
