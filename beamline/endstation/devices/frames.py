"""References to frames in an HDF5 file, as area detectors give them: the file is a resource, each frame a datum."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Document = tuple[str, dict[str, Any]]


@dataclass
class FrameReferences:
    """The file of one stage of a camera, and the documents that refer to its frames.

    Attributes
    ----------
    path : Path or None
        The file; None before the first.
    resource : str
        Its uid.
    """

    path: Path | None = None
    resource: str = ""
    _documents: list[Document] = field(default_factory=list)

    @classmethod
    def for_new_file(cls, folder: Path, name: str) -> Self:
        """Name a new file in a folder after the device of that name; nothing is written."""
        resource = str(uuid.uuid4())
        path = folder / f"{name}_{resource}.h5"
        document = {
            "uid": resource,
            "spec": "AD_HDF5",
            "root": str(folder),
            "resource_path": path.name,
            "resource_kwargs": {"frame_per_point": 1},
            "path_semantics": "posix",
        }
        return cls(path, resource, [("resource", document)])

    def add(self, number: int) -> str:
        """Refer to a frame by its index in the file; give the reference that stands for it in events."""
        datum = f"{self.resource}/{number}"
        self._documents.append(
            ("datum", {"resource": self.resource, "datum_id": datum, "datum_kwargs": {"point_number": number}})
        )
        return datum

    def collect(self) -> Iterator[Document]:
        """Give the documents that have not been given yet."""
        documents, self._documents = self._documents, []
        yield from documents


def describe_frames(shape: tuple[int, int], *, source: str, units: str) -> dict[str, Any]:
    """Give the data key of frames of 16 bit that events refer to."""
    return {
        "dtype": "array",
        "dtype_numpy": "<u2",
        "shape": list(shape),
        "source": source,
        "external": "FILESTORE:",
        "units": units,
    }
