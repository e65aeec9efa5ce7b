"""Store derived runs: their documents in logs like those of raw runs, their large arrays in HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beamline.storage.large_arrays import LargeArrays
from beamline.storage.recorder import Recorder


class DerivedRuns:
    """Store the derived runs that a reduction emits: documents in logs, large arrays in HDF5.

    Callable with (name, document).

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._recorder = Recorder(data_dir)
        self._arrays = LargeArrays(data_dir)

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Store the next document."""
        for document in self._arrays(name, doc):
            self._recorder(*document)

    def close(self) -> None:
        """Close the logs."""
        self._recorder.close()
